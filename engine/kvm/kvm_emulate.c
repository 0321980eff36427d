/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvm_emulate.c - the instruction that KVM gave up (KVM_INTERNAL_ERROR_EMULATION), executed by x86/, which knows them all: typically a vector instruction on a
 * device's memory. The registers come over, one step, and go back.
 *
 * The local APIC stays in the kernel: an instruction that touches its page cannot be done here.
 */
#include "engine/kvm/kvm_engine.h"
#include "x86/cpu.h"
#include "x86/execute.h"

static int apic_none(void *apic)
{
	(void)apic;
	return -1;
}

static uint8_t apic_tpr_get(void *apic)
{
	return (uint8_t)((const struct x86_state *)apic)->cr8;
}

static void apic_tpr_set(void *apic, uint8_t cr8)
{
	((struct x86_state *)apic)->cr8 = cr8;
}

static bool apic_msr_read(void *apic, uint32_t msr, uint64_t *value)
{
	*value = ((const struct x86_state *)apic)->apic.base_msr;
	return msr == X86_MSR_APIC_BASE;
}

static bool apic_msr_write(void *apic, uint32_t msr, uint64_t value)
{
	(void)apic;
	(void)msr;
	(void)value;
	return false;
}

static uint64_t apic_base(void *apic)
{
	(void)apic;
	return UINT64_MAX;
}

static void apic_init(void *apic)
{
	(void)apic;
}

static void apic_get(void *apic, struct x86_apic_state *out)
{
	*out = ((const struct x86_state *)apic)->apic;
}

static void apic_set(void *apic, const struct x86_apic_state *in)
{
	(void)apic;
	(void)in;
}

/* An APIC that never interrupts: `apic` is the vcpu's struct x86_state. */
static const struct local_apic_ops apic_ops = {
	.pending = apic_none,
	.accept = apic_none,
	.tpr_get = apic_tpr_get,
	.tpr_set = apic_tpr_set,
	.msr_read = apic_msr_read,
	.msr_write = apic_msr_write,
	.base = apic_base,
	.init = apic_init,
	.get = apic_get,
	.set = apic_set,
};

/* The APIC's page is no device on our buses. */
static bool apic_page_touched(struct vcpu *vcpu, uint64_t gpa)
{
	struct kvm_vcpu *self = vcpu->engine;

	if ((gpa ^ self->emulation_apic_base) & ~(uint64_t)(GUEST_PAGE_SIZE - 1))
		return false;
	self->emulation_failed = true;
	return true;
}

static uint64_t mmio_read(void *machine, uint64_t gpa, unsigned size)
{
	return apic_page_touched(machine, gpa) ? 0 : vcpu_platform.mmio_read(machine, gpa, size);
}

static void mmio_write(void *machine, uint64_t gpa, unsigned size, uint64_t value)
{
	if (!apic_page_touched(machine, gpa))
		vcpu_platform.mmio_write(machine, gpa, size, value);
}

static bool step(struct x86_cpu *cpu, struct x86_state *state)
{
	if (x86_cpu_set(cpu, state) != STATUS_OK)
		return false;
	x86_step(cpu);
	x86_cpu_get(cpu, state);
	return true;
}

bool kvm_emulate(struct kvm_vcpu *self)
{
	struct vcpu *vcpu = self->vcpu;
	struct x86_cpu *cpu = host_allocate(sizeof(*cpu));
	struct x86_state *state = host_allocate(sizeof(*state));
	struct x86_platform platform = vcpu_platform;
	const char *what;
	bool done = false;

	platform.mmio_read = mmio_read;
	platform.mmio_write = mmio_write;
	self->emulation_failed = false;

	if (cpu && state && kvm_state_read(self, state, true, &what) >= 0) {
		self->emulation_apic_base = state->apic.base_msr;
		cpu->id = vcpu->id;
		cpu->memory = &vcpu->vm->memory;
		cpu->platform = &platform;
		cpu->machine = vcpu;
		cpu->model = vcpu->vm->cpu_model;
		cpu->apic_ops = &apic_ops;
		cpu->apic = state;
		if (x86_cpu_create(cpu) == STATUS_OK) {
			done = step(cpu, state) && !self->emulation_failed && kvm_state_write(self, state, false, &what) >= 0;
			x86_cpu_destroy(cpu);
		}
	}
	if (cpu)
		host_free(cpu, sizeof(*cpu));
	if (state)
		host_free(state, sizeof(*state));
	return done;
}
