/* SPDX-License-Identifier: Apache-2.0 */
/*
 * halt_test.c - proves that a vcpu which is set while it is halted and the PIC interrupts wakes up, whatever engine it was halted under: `halt_test ENGINE end.elf`. The guest halts
 * until IRQ 0. While its machine is held the test raises that, and sets the state anew, as a rebuild does. Nothing else happens that could wake the vcpu.
 */
#include <stdio.h>
#include <stdlib.h>

#include "test/engine/machine.h"
#include "x86/state.h"

#define ROUNDS 20u
#define WAKE_NS UINT64_C(5000000000)
#define HALT_NS UINT64_C(30000000000)

static struct machine *machine;

/* Held, halted and nothing pending: true. */
static bool hold_halted(struct x86_state *state)
{
	struct vm *vm = &machine->vm;
	uint64_t end = host_time_ns() + HALT_NS;

	while (host_time_ns() < end) {
		if (!vm_hold(vm))
			return false;
		if (vm->engine->vcpu_get(vm->vcpu[0], state))
			abort();
		if (state->activity == X86_HALTED && !vm->irq.extint_pending(vm->irq.pic))
			return true;
		vm_release(vm);
		host_yield();
	}
	return false;
}

static bool interrupt_taken(struct vm *vm)
{
	uint64_t end = host_time_ns() + WAKE_NS;

	while (vm->irq.extint_pending(vm->irq.pic) && host_time_ns() < end)
		host_yield();
	return !vm->irq.extint_pending(vm->irq.pic);
}

int main(int count, char **arguments)
{
	static struct x86_state state;
	struct reason why = {""};
	unsigned woken = 0;
	bool good = true;

	if (count < 3)
		return 64;
	machine = machine_describe(arguments[1], arguments[2], "end=pic value=4000000", 1);
	machine_create(machine);
	if (vm_start(&machine->vm, &why)) {
		fprintf(stderr, "%s\n", why.text);
		return 1;
	}
	while (good && woken < ROUNDS) {
		struct vm *vm = &machine->vm;

		good = hold_halted(&state);
		if (!good)
			break;
		irq_line_set(&vm->irq, 0, false);
		irq_line_set(&vm->irq, 0, true);
		good = vm->irq.extint_pending(vm->irq.pic) && vm->engine->vcpu_set(vm->vcpu[0], &state) == STATUS_OK;
		vm_release(vm);
		good = good && interrupt_taken(vm);
		woken += good;
	}
	printf("%sok 1 - a halted vcpu takes the PIC's interrupt that came while it was set: %u times [%s]\n1..1\n",
	       good ? "" : "not ", woken, arguments[1]);
	vm_end_request(&machine->vm, VM_END_POWER_OFF);
	vm_wait(&machine->vm);
	machine_destroy(machine);
	return !good;
}
