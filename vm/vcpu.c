/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vcpu.c - a vcpu's thread: runs the engine, stands still when asked to, sleeps when halted; and what the CPU core asks of the
 * machine (struct x86_platform). Called from vm/vm.c; next read: the engine's vcpu_run.
 *
 * VCPU_NMI, INIT, SIPI, INTERRUPT and UNHALT are the engine's to take inside vcpu_run. PAUSE, RESET and STOP are served here, between two runs.
 */
#include <stdatomic.h>

#include "vm/vm_internal.h"
#include "x86/cpu.h"
#include "x86/cpuid.h"
#include "x86/state.h"

/* Without an engine there is nobody to tell: the next one looks at vcpu->requests when it begins. */
void vcpu_kick(struct vcpu *vcpu)
{
	atomic_fetch_add(&vcpu->kickers, 1);
	if (atomic_load(&vcpu->attached))
		vcpu->vm->engine->vcpu_kick(vcpu);
	atomic_fetch_sub(&vcpu->kickers, 1);
}

void vcpu_request(struct vcpu *vcpu, uint32_t request)
{
	atomic_fetch_or(&vcpu->requests, request);
	vcpu_kick(vcpu);
	host_event_set(&vcpu->wake);
}

static uint32_t requests_of(struct vcpu *vcpu)
{
	return atomic_load(&vcpu->requests);
}

/* Counts the vcpu among those that stand. Under vm->lock. */
static void stand_locked(struct vcpu *vcpu, bool stopped)
{
	if (vcpu->stopped == stopped)
		return;
	vcpu->stopped = stopped;
	vcpu->vm->stopped_vcpus += stopped ? 1u : -1u;
	host_event_set(&vcpu->vm->vcpu_stopped);
}

/* PAUSE and RESET bits change under vm->lock only, so a vcpu that goes on has seen that there is none. */
static void vcpu_stand(struct vcpu *vcpu)
{
	struct vm *vm = vcpu->vm;

	host_mutex_lock(&vm->lock);
	while ((requests_of(vcpu) & (VCPU_PAUSE | VCPU_RESET)) && !(requests_of(vcpu) & VCPU_STOP)) {
		stand_locked(vcpu, true);
		host_mutex_unlock(&vm->lock);
		host_event_wait(&vcpu->wake, HOST_FOREVER);
		host_mutex_lock(&vm->lock);
	}
	if (!(requests_of(vcpu) & VCPU_STOP))
		stand_locked(vcpu, false);
	host_mutex_unlock(&vm->lock);
}

/* A vcpu that is counted as halted and has something to do is about to wake. */
static bool vcpus_have_requests(struct vm *vm)
{
	unsigned i;

	for (i = 0; i < vm->vcpus; i++)
		if (requests_of(vm->vcpu[i]))
			return true;
	return false;
}

/* In COUNTED time nothing moves while every vcpu is halted: the last one to halt moves the clock to the next timer. */
static void vcpu_halt(struct vcpu *vcpu)
{
	struct vm *vm = vcpu->vm;
	bool counted = vm->clock_mode == CLOCK_COUNTED;

	if (counted && atomic_fetch_add(&vm->halted_vcpus, 1) + 1 == vm->vcpus && !vcpus_have_requests(vm) &&
	    vm_clock_skip_idle(&vm->clock))
		host_event_set(&vcpu->wake);
	host_event_wait(&vcpu->wake, HOST_FOREVER);
	if (counted)
		atomic_fetch_sub(&vm->halted_vcpus, 1);
}

static void triple_fault(struct vcpu *vcpu)
{
	struct vm *vm = vcpu->vm;

	host_log(HOST_LOG_WARN, "vcpu %u: triple fault: the guest %s", vcpu->id,
		 vm->config->no_reboot ? "has crashed" : "is reset");
	if (vm->config->no_reboot)
		vm_end_request(vm, VM_END_CRASH);
	else
		vm_reset_request(vm);
}

void vcpu_main(void *argument)
{
	struct vcpu *vcpu = argument;
	struct vm *vm = vcpu->vm;

	while (!(requests_of(vcpu) & VCPU_STOP)) {
		if (requests_of(vcpu) & (VCPU_PAUSE | VCPU_RESET)) {
			vcpu_stand(vcpu);
			continue;
		}
		switch (vm->engine->vcpu_run(vcpu)) {
		case RUN_KICKED: break;
		case RUN_HALTED: vcpu_halt(vcpu); break;
		case RUN_SHUTDOWN: triple_fault(vcpu); break;
		case RUN_FAILED: vm_end_request(vm, VM_END_FAILURE); break;
		}
	}
	host_mutex_lock(&vm->lock);
	stand_locked(vcpu, true);
	host_mutex_unlock(&vm->lock);
}

/* Power-on and RESET (SDM vol. 3, table 10-1). */

static struct x86_segment segment_at_reset(uint16_t type)
{
	return (struct x86_segment){.limit = 0xffff, .attributes = (uint16_t)(X86_SEGMENT_P | type)};
}

/* RESET leaves family, model and stepping in EDX. */
static uint32_t model_signature(const struct x86_cpu_model *model)
{
	unsigned i;

	for (i = 0; model && i < model->leaves; i++)
		if (model->leaf[i].leaf == 1)
			return model->leaf[i].eax;
	return 0;
}

#define DATA_AT_RESET (X86_SEGMENT_S | X86_SEGMENT_WRITABLE | X86_SEGMENT_ACCESSED)
#define CODE_AT_RESET (X86_SEGMENT_S | X86_SEGMENT_CODE | X86_SEGMENT_READABLE | X86_SEGMENT_ACCESSED)
#define LDT_TYPE 2u
#define BUSY_TSS_TYPE 11u
#define PAT_AT_RESET UINT64_C(0x0007040600070406)
#define MISC_ENABLE_FAST_STRINGS X86_BIT(0)
#define FCW_AT_RESET 0x40 /* FINIT makes it 0x37f */
#define FTW_AT_RESET 0xff /* abridged: tagged zero, that is, not empty */
#define MXCSR_AT_RESET 0x1f80

static void state_reset(struct x86_state *state, const struct vcpu *vcpu)
{
	struct x86_apic_state apic = state->apic;
	uint32_t mxcsr_mask = state->x87.mxcsr_mask;
	unsigned i;

	__builtin_memset(state, 0, sizeof(*state));
	state->apic = apic;
	state->gpr[2] = model_signature(vcpu->vm->cpu_model);
	state->rip = 0xfff0;
	state->rflags = 2;
	for (i = 0; i < 6; i++)
		state->segment[i] = segment_at_reset(DATA_AT_RESET);
	state->segment[X86_CS] = segment_at_reset(CODE_AT_RESET);
	state->segment[X86_CS].selector = 0xf000;
	state->segment[X86_CS].base = 0xffff0000;
	state->ldtr = segment_at_reset(LDT_TYPE);
	state->tr = segment_at_reset(BUSY_TSS_TYPE);
	state->gdtr.limit = state->idtr.limit = 0xffff;
	state->cr0 = X86_CR0_CD | X86_CR0_NW | X86_CR0_ET;
	state->dr6 = X86_DR6_FIXED;
	state->dr7 = X86_DR7_FIXED;
	state->xcr0 = X86_XCR0_X87;
	state->pat = PAT_AT_RESET;
	state->misc_enable = MISC_ENABLE_FAST_STRINGS;
	state->x87.fcw = FCW_AT_RESET;
	state->x87.ftw = FTW_AT_RESET;
	state->x87.mxcsr = MXCSR_AT_RESET;
	state->x87.mxcsr_mask = mxcsr_mask;
	paravirt_reset(state->paravirt_msr);
	state->activity = vcpu->id == 0 ? X86_RUNNING : X86_WAIT_FOR_SIPI;
}

enum status vcpu_reset(struct vcpu *vcpu)
{
	const struct engine *engine = vcpu->vm->engine;
	static struct x86_state state; /* large; the program's thread alone resets */
	enum status status;

	status = engine->vcpu_get(vcpu, &state);
	if (status)
		return status;
	/* The board's local APIC is a device and has been reset as one; an engine with an APIC of its own takes its registers over. */
	if (vcpu->apic_ops)
		vcpu->apic_ops->get(vcpu->apic, &state.apic);
	state_reset(&state, vcpu);
	return engine->vcpu_set(vcpu, &state);
}

/* struct x86_platform */

static uint64_t platform_port_read(void *machine, uint16_t port, unsigned size)
{
	uint64_t value;

	bus_read(&((struct vcpu *)machine)->vm->ports, port, size, &value);
	return value;
}

static void platform_port_write(void *machine, uint16_t port, unsigned size, uint64_t value)
{
	bus_write(&((struct vcpu *)machine)->vm->ports, port, size, value);
}

static uint64_t platform_mmio_read(void *machine, uint64_t gpa, unsigned size)
{
	uint64_t value;

	bus_read(&((struct vcpu *)machine)->vm->mmio, gpa, size, &value);
	return value;
}

static void platform_mmio_write(void *machine, uint64_t gpa, unsigned size, uint64_t value)
{
	bus_write(&((struct vcpu *)machine)->vm->mmio, gpa, size, value);
}

static uint64_t platform_tsc(void *machine)
{
	return vm_clock_tsc(&((struct vcpu *)machine)->vm->clock);
}

static bool platform_msr_read(void *machine, uint32_t msr, uint64_t *value)
{
	return pvclock_msr_read(machine, msr, value) || paravirt_msr_read(machine, msr, value);
}

static bool platform_msr_write(void *machine, uint32_t msr, uint64_t value)
{
	return pvclock_msr_write(machine, msr, value) || paravirt_msr_write(machine, msr, value);
}

static int64_t platform_hypercall(void *machine, bool wide, uint64_t number, const uint64_t argument[4])
{
	return paravirt_hypercall(machine, wide, number, argument);
}

static void platform_exclusive(void *machine, void (*fn)(void *argument), void *argument)
{
	struct vcpu *vcpu = machine;

	exclusive_run(vcpu->vm, vcpu, fn, argument);
}

const struct x86_platform vcpu_platform = {
	.port_read = platform_port_read,
	.port_write = platform_port_write,
	.mmio_read = platform_mmio_read,
	.mmio_write = platform_mmio_write,
	.tsc = platform_tsc,
	.msr_read = platform_msr_read,
	.msr_write = platform_msr_write,
	.hypercall = platform_hypercall,
	.exclusive = platform_exclusive,
};
