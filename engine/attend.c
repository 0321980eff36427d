/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attend.c - between two runs of guest code: requests, events, halts, and what interp and jit do alike for struct engine. See attend.h.
 */
#include "engine/attend.h"

#include "x86/execute.h"

/* Takes what others asked of this vcpu; false: vcpu_run must return for the rest. */
static bool requests_take(struct vcpu *vcpu, struct x86_cpu *cpu)
{
	uint32_t taken = VCPU_NMI | VCPU_INIT | VCPU_SIPI | VCPU_INTERRUPT;
	uint32_t requests = atomic_load_explicit(&vcpu->requests, memory_order_seq_cst);

	if (!requests)
		return true;
	if (cpu->s.activity == X86_HALTED)
		taken |= VCPU_UNHALT;
	requests = atomic_fetch_and_explicit(&vcpu->requests, ~taken, memory_order_seq_cst);
	if (requests & taken & VCPU_UNHALT)
		cpu->s.activity = X86_RUNNING;
	if (requests & VCPU_INIT)
		x86_cpu_init(cpu, vcpu->id == 0);
	if (requests & VCPU_SIPI && cpu->s.activity == X86_WAIT_FOR_SIPI)
		x86_cpu_sipi(cpu, atomic_load_explicit(&vcpu->sipi_vector, memory_order_seq_cst));
	if (requests & VCPU_NMI)
		cpu->s.nmi_pending = 1;
	return !(requests & ~(taken | VCPU_UNHALT));
}

void attend_count(struct vcpu *vcpu, struct x86_cpu *cpu, uint64_t executed)
{
	struct vm_clock *clock = &vcpu->vm->clock;

	cpu->instructions += executed;
	if (executed && cpu->instructions % VM_CLOCK_QUANTUM == 0 && clock->mode == CLOCK_COUNTED)
		vm_clock_count(clock, VM_CLOCK_QUANTUM);
}

bool attend(struct vcpu *vcpu, struct x86_cpu *cpu, struct attend_counts *counts, enum run_end *end)
{
	uint32_t why = atomic_exchange_explicit(&cpu->attention, 0, memory_order_seq_cst);
	bool shadow;

	if (why & X86_ATTENTION_EXCLUSIVE) {
		exclusive_vcpu_leave(vcpu);
		exclusive_vcpu_enter(vcpu);
	}
	if (!requests_take(vcpu, cpu)) {
		counts->kick++;
		*end = RUN_KICKED;
		return false;
	}
	if (cpu->s.activity == X86_SHUTDOWN) {
		*end = RUN_SHUTDOWN;
		return false;
	}
	if (cpu->s.activity == X86_WAIT_FOR_SIPI || (cpu->s.activity == X86_HALTED && !x86_events_deliverable(cpu))) {
		counts->halt++;
		*end = RUN_HALTED;
		return false;
	}
	shadow = cpu->s.interrupt_shadow;
	if (x86_events_serve(cpu))
		counts->interrupt++;
	cpu->event_waiting = cpu->s.nmi_pending || (cpu->apic_ops && cpu->apic_ops->pending(cpu->apic) >= 0);
	/* What was deliverable may have gone before it was taken. */
	if (cpu->s.activity == X86_HALTED) {
		counts->halt++;
		*end = RUN_HALTED;
		return false;
	}
	/* A shadow, a trap flag or a code breakpoint: one instruction, and look again. */
	if (shadow || cpu->s.rflags & (X86_FLAG_TF | X86_FLAG_RF) || cpu->s.dr7 & 0xff) {
		x86_step(cpu);
		attend_count(vcpu, cpu, x86_executed(cpu));
		x86_attention(cpu, X86_ATTENTION_EVENT);
	}
	return true;
}

struct dirty {
	struct vm *vm;
	struct x86_cpu *(*cpu_of)(const struct vcpu *vcpu);
	uint64_t *bitmap;
	enum status status;
};

static void protect_all(struct dirty *dirty)
{
	for (unsigned i = 0; i < dirty->vm->vcpus; i++)
		x86_tlb_protect_all(dirty->cpu_of(dirty->vm->vcpu[i]));
}

static void dirty_start(void *argument)
{
	struct dirty *dirty = argument;

	dirty->status = guest_memory_dirty_start(&dirty->vm->memory);
	protect_all(dirty);
}

enum status attend_dirty_start(struct vm *vm, struct x86_cpu *(*cpu_of)(const struct vcpu *vcpu))
{
	struct dirty dirty = {.vm = vm, .cpu_of = cpu_of};

	exclusive_run(vm, 0, dirty_start, &dirty);
	return dirty.status;
}

static void dirty_collect(void *argument)
{
	struct dirty *dirty = argument;

	guest_memory_dirty_collect(&dirty->vm->memory, dirty->bitmap);
	protect_all(dirty);
}

enum status attend_dirty_collect(struct vm *vm, uint64_t *bitmap, struct x86_cpu *(*cpu_of)(const struct vcpu *vcpu))
{
	exclusive_run(vm, 0, dirty_collect, &(struct dirty){.vm = vm, .cpu_of = cpu_of, .bitmap = bitmap});
	return STATUS_OK;
}

static void apic_connect(const struct vcpu *vcpu, struct x86_cpu *cpu)
{
	cpu->apic = vcpu->apic;
	cpu->apic_ops = vcpu->apic_ops;
}

enum status attend_vcpu_get(struct vcpu *vcpu, struct x86_cpu *cpu, struct x86_state *out)
{
	apic_connect(vcpu, cpu);
	x86_cpu_get(cpu, out);
	out->pvclock_msr = vcpu->pvclock_msr;
	__builtin_memcpy(out->paravirt_msr, vcpu->paravirt_msr, sizeof(out->paravirt_msr));
	return STATUS_OK;
}

enum status attend_vcpu_set(struct vcpu *vcpu, struct x86_cpu *cpu, const struct x86_state *in)
{
	enum status status;

	apic_connect(vcpu, cpu);
	status = x86_cpu_set(cpu, in);
	if (status)
		return status;
	vcpu->pvclock_msr = in->pvclock_msr;
	__builtin_memcpy(vcpu->paravirt_msr, in->paravirt_msr, sizeof(vcpu->paravirt_msr));
	return STATUS_OK;
}
