/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exclusive.c - runs a function while no vcpu executes guest instructions (include/holon/vm.h). For engines whose vcpus
 * are threads of this process: split locked accesses, first code on a page, dirty logging.
 *
 * Each vcpu says in in_guest whether it executes. Entering is a store, a full fence and a load; the runner does the same with the
 * roles exchanged (store `exclusive`, fence, load each in_guest), so one of the two always sees the other. Whoever enters
 * while a section is wanted steps back and waits on the section's mutex. A vcpu that wants a section counts itself out first:
 * several that want one at once queue up on the mutex, and nobody waits for a waiter.
 */
#include <stdatomic.h>

#include <holon/vm.h>

void exclusive_vcpu_enter(struct vcpu *vcpu)
{
	struct vm *vm = vcpu->vm;

	for (;;) {
		atomic_store(&vcpu->in_guest, 1);
		if (__builtin_expect(!atomic_load(&vm->exclusive), 1))
			return;
		exclusive_vcpu_leave(vcpu);
		host_mutex_lock(&vm->exclusive_lock);
		host_mutex_unlock(&vm->exclusive_lock);
	}
}

void exclusive_vcpu_leave(struct vcpu *vcpu)
{
	struct vm *vm = vcpu->vm;

	atomic_store(&vcpu->in_guest, 0);
	if (__builtin_expect(atomic_load(&vm->exclusive), 0))
		host_event_set(&vm->exclusive_idle);
}

static bool vcpus_in_guest(struct vm *vm)
{
	unsigned i;

	for (i = 0; i < vm->vcpus; i++)
		if (atomic_load(&vm->vcpu[i]->in_guest))
			return true;
	return false;
}

void exclusive_run(struct vm *vm, struct vcpu *self, void (*fn)(void *argument), void *argument)
{
	bool was_in_guest = self && atomic_load_explicit(&self->in_guest, memory_order_relaxed);
	unsigned i;

	if (was_in_guest)
		exclusive_vcpu_leave(self);
	host_mutex_lock(&vm->exclusive_lock);
	atomic_store(&vm->exclusive, 1);
	for (i = 0; i < vm->vcpus; i++)
		if (atomic_load(&vm->vcpu[i]->in_guest))
			vm->engine->vcpu_kick(vm->vcpu[i]);
	while (vcpus_in_guest(vm))
		host_event_wait(&vm->exclusive_idle, HOST_FOREVER);
	fn(argument);
	atomic_store(&vm->exclusive, 0);
	host_mutex_unlock(&vm->exclusive_lock);
	if (was_in_guest)
		exclusive_vcpu_enter(self);
}
