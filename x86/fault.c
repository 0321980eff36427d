/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault.c - raising faults and turning them into deliveries, with the rules of double and triple faults (SDM vol. 3, 6.15).
 *
 * A handler that meets a fault notes it in the cpu and leaves through cpu->unwind, to the engine (or to events_serve or step). There
 * x86_fault_deliver makes it an event; event.c pushes the frame; a fault met on that way comes back here and is combined with the first.
 */
#include "x86/event.h"
#include "x86/execute.h"
#include "x86/memory.h"

static _Noreturn void leave(struct x86_cpu *cpu)
{
	__builtin_longjmp(cpu->unwind, 1);
}

void x86_raise(struct x86_cpu *cpu, unsigned vector)
{
	cpu->fault_vector = (uint8_t)vector;
	cpu->fault_has_error = false;
	cpu->fault_error = 0;
	leave(cpu);
}

void x86_raise_error(struct x86_cpu *cpu, unsigned vector, uint32_t error)
{
	cpu->fault_vector = (uint8_t)vector;
	cpu->fault_has_error = true;
	cpu->fault_error = error;
	if (vector >= X86_TS && vector <= X86_GP && cpu->event_external)
		cpu->fault_error |= 1;
	leave(cpu);
}

void x86_raise_page_fault(struct x86_cpu *cpu, uint64_t linear, uint32_t error)
{
	cpu->fault_vector = X86_PF;
	cpu->fault_has_error = true;
	cpu->fault_error = error;
	cpu->fault_address = linear;
	cpu->s.cr2 = linear;
	leave(cpu);
}

enum fault_class { FAULT_BENIGN, FAULT_CONTRIBUTORY, FAULT_PAGE, FAULT_DOUBLE };

static enum fault_class class_of(const struct x86_event *event)
{
	if (event->type != X86_EVENT_EXCEPTION)
		return FAULT_BENIGN;
	switch (event->vector) {
	case X86_DE:
	case X86_TS:
	case X86_NP:
	case X86_SS_FAULT:
	case X86_GP: return FAULT_CONTRIBUTORY;
	case X86_PF: return FAULT_PAGE;
	case X86_DF: return FAULT_DOUBLE;
	default: return FAULT_BENIGN;
	}
}

/* The fault noted in the cpu, met while `first` was delivered. false: triple fault. */
static bool combine(const struct x86_cpu *cpu, struct x86_event *first)
{
	struct x86_event second = {.type = X86_EVENT_EXCEPTION,
				   .vector = cpu->fault_vector,
				   .has_error = cpu->fault_has_error,
				   .error = cpu->fault_error};
	enum fault_class was = class_of(first), is = class_of(&second);

	if (was == FAULT_DOUBLE && is != FAULT_BENIGN)
		return false;
	if ((was == FAULT_CONTRIBUTORY && is == FAULT_CONTRIBUTORY) || (was == FAULT_PAGE && is != FAULT_BENIGN))
		second = (struct x86_event){.type = X86_EVENT_EXCEPTION, .vector = X86_DF, .has_error = true};
	*first = second;
	return true;
}

/* One attempt; false: it met a fault, which is noted in the cpu. */
static __attribute__((noinline)) bool try_deliver(struct x86_cpu *cpu, const struct x86_event *event)
{
	if (__builtin_setjmp(cpu->unwind))
		return false;
	x86_event_deliver(cpu, event->type, event->vector, event->has_error, event->error, cpu->reg[X86_RIP]);
	return true;
}

void x86_event_chain(struct x86_cpu *cpu, const struct x86_event *event)
{
	struct x86_event current = *event;
	void *unwind[5];

	__builtin_memcpy(unwind, cpu->unwind, sizeof(unwind));
	cpu->insn = 0;
	/* Every turn but one that starts benign goes up the table's classes: this ends. */
	while (!try_deliver(cpu, &current)) {
		if (!combine(cpu, &current)) {
			cpu->s.activity = X86_SHUTDOWN;
			x86_attention(cpu, X86_ATTENTION_ACTIVITY);
			break;
		}
	}
	cpu->event_external = false;
	__builtin_memcpy(cpu->unwind, unwind, sizeof(unwind));
}

void x86_fault_deliver(struct x86_cpu *cpu)
{
	struct x86_event event = {.type = X86_EVENT_EXCEPTION,
				  .vector = cpu->fault_vector,
				  .has_error = cpu->fault_has_error,
				  .error = cpu->fault_error};

	if (cpu->insn) {
		cpu->reg[X86_RIP] -= cpu->insn->length;
		if (cpu->code_size != 8)
			cpu->reg[X86_RIP] = (uint32_t)cpu->reg[X86_RIP];
	}
	cpu->debug_hits = 0;
	cpu->event_external = false;
	x86_store_done(cpu);
	x86_event_chain(cpu, &event);
}

struct exclusive_call {
	struct x86_cpu *cpu;
	void (*fn)(struct x86_cpu *cpu, void *argument);
	void *argument;
	bool faulted;
};

static void exclusive_body(void *argument)
{
	struct exclusive_call *call = argument;

	if (__builtin_setjmp(call->cpu->unwind)) {
		call->faulted = true;
		return;
	}
	call->fn(call->cpu, call->argument);
}

void x86_exclusive(struct x86_cpu *cpu, void (*fn)(struct x86_cpu *cpu, void *argument), void *argument)
{
	struct exclusive_call call = {.cpu = cpu, .fn = fn, .argument = argument};
	void *unwind[5];

	__builtin_memcpy(unwind, cpu->unwind, sizeof(unwind));
	cpu->platform->exclusive(cpu->machine, exclusive_body, &call);
	__builtin_memcpy(cpu->unwind, unwind, sizeof(unwind));
	if (call.faulted)
		leave(cpu);
}
