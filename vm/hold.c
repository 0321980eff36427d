/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hold.c - gives one thread the machine to itself: vcpus stand, time stands, devices are quiet. For vm_reset (vm.c) and vm/rebuild.c, later for snapshots.
 *
 * In this order: every vcpu is asked to stand (VCPU_RESET) and waited for; the clock is paused, which waits for a timer's callback; devices are made quiet in the reverse
 * order of their creation, so what drains may still use what it stands on. What comes back meanwhile raises interrupts as ever. From then on
 * only threads from outside could call in: they take board_lock (vm_board_lock) or do no more than note a wish under vm->lock.
 *
 * `held` is true for one thread at a time. VCPU_RESET stays set while anybody holds, wants to hold, or has asked for a reset.
 */
#include <stdatomic.h>

#include "vm/vm_internal.h"

void hold_request_clear_locked(struct vm *vm, uint32_t request)
{
	unsigned i;

	for (i = 0; i < vm->vcpus; i++) {
		atomic_fetch_and(&vm->vcpu[i]->requests, ~request);
		host_event_set(&vm->vcpu[i]->wake);
	}
}

static void holder_gone_locked(struct vm *vm)
{
	vm->holders--;
	if (!vm->holders && !vm->reset_wanted)
		hold_request_clear_locked(vm, VCPU_RESET);
}

bool hold_vcpus(struct vm *vm, bool paused_too)
{
	bool done, ready;
	unsigned i;

	host_mutex_lock(&vm->lock);
	vm->holders++;
	for (i = 0; i < vm->vcpus; i++)
		vcpu_request(vm->vcpu[i], VCPU_RESET);
	for (;;) {
		done = vm->end != VM_END_NONE || (vm->paused && !paused_too);
		ready = !done && !vm->held && vm->stopped_vcpus == vm->vcpus;
		if (ready)
			vm->held = true;
		else if (done)
			holder_gone_locked(vm);
		host_mutex_unlock(&vm->lock);
		if (done || ready) {
			host_event_set(&vm->vcpu_stopped); /* others may wait for it too */
			break;
		}
		host_event_wait(&vm->vcpu_stopped, HOST_FOREVER);
		host_mutex_lock(&vm->lock);
	}
	if (ready)
		vm_clock_mode_set(&vm->clock, CLOCK_PAUSED);
	return ready;
}

void hold_end(struct vm *vm)
{
	unsigned i;

	/* Whatever was raised while a vcpu had no engine, or another one, is looked at. */
	for (i = 0; i < vm->vcpus; i++)
		vcpu_interrupt(vm->vcpu[i]);
	host_mutex_lock(&vm->lock);
	vm->held = false;
	if (!vm->paused)
		vm_clock_mode_set(&vm->clock, vm->clock_mode);
	holder_gone_locked(vm);
	host_mutex_unlock(&vm->lock);
	host_event_set(&vm->vcpu_stopped);
}

/* The last one first. The list is linked the other way round and short. */
static void devices_quiesce(struct device *first)
{
	struct device *end = NULL, *device;

	while (end != first) {
		for (device = first; device->next != end; device = device->next)
			;
		if (device->quiesce)
			device->quiesce(device->object);
		end = device;
	}
}

bool vm_hold(struct vm *vm)
{
	if (!hold_vcpus(vm, true))
		return false;
	host_mutex_lock(&vm->board_lock);
	devices_quiesce(vm->devices);
	return true;
}

void vm_release(struct vm *vm)
{
	struct device *device;
	bool lives;

	host_mutex_lock(&vm->lock);
	lives = vm->end == VM_END_NONE;
	host_mutex_unlock(&vm->lock);
	/* After an end nobody needs them, and after a failure nothing may come of what they hold. */
	for (device = lives ? vm->devices : NULL; device; device = device->next)
		if (device->resume)
			device->resume(device->object);
	host_mutex_unlock(&vm->board_lock);
	hold_end(vm);
}

void vm_board_lock(struct vm *vm)
{
	host_mutex_lock(&vm->board_lock);
}

bool vm_board_try(struct vm *vm)
{
	return host_mutex_try(&vm->board_lock);
}

void vm_board_unlock(struct vm *vm)
{
	host_mutex_unlock(&vm->board_lock);
}
