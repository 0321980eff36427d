/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rebuild.c - a live machine under another engine, and a live machine made anew from its own saved state. Called from program/trials.c and from tests.
 *
 * Both hold the machine (hold.c). A switch asks each vcpu's state of the old engine and gives it to the new one; devices stay. A rebuild goes the
 * way that a snapshot goes, save to load, within one process and without RAM: what a device does not save is lost at once, under
 * a guest that works, and not in a year in somebody's file.
 */
#include <stdatomic.h>

#include "vm/vm_internal.h"

static enum status images_get(struct vm *vm, struct reason *why)
{
	enum status status = STATUS_OK;
	unsigned i;

	for (i = 0; i < vm->vcpus && !status; i++)
		status = vcpu_image_get(vm->vcpu[i], why);
	return status;
}

static void engine_leave(struct vm *vm)
{
	unsigned i;

	vm_vcpus_destroy(vm);
	for (i = 0; i < vm->vcpus; i++)
		vcpu_forget(vm->vcpu[i]);
}

static enum status engine_enter(struct vm *vm, const struct engine *engine, struct reason *why)
{
	enum status status;
	unsigned i;

	vm->engine = engine;
	status = vm_vcpus_create(vm, why);
	for (i = 0; i < vm->vcpus && !status; i++)
		status = vcpu_image_set(vm->vcpu[i], why);
	return status;
}

static enum status engine_move(struct vm *vm, const struct engine *engine, struct reason *why)
{
	const struct engine *old = vm->engine;
	enum status status = images_get(vm, why);
	struct reason again = {""};

	if (status)
		return status;
	engine_leave(vm);
	status = engine_enter(vm, engine, why);
	if (!status) {
		atomic_fetch_add(&vm->engine_switches, 1);
		return STATUS_OK;
	}
	engine_leave(vm);
	if (engine_enter(vm, old, &again)) {
		host_log(HOST_LOG_ERROR, "back to engine %s: %s", old->name, again.text);
		vm_end_request(vm, VM_END_FAILURE);
	}
	return status;
}

enum status vm_engine_switch(struct vm *vm, const struct engine *engine, struct reason *why)
{
	enum status status;

	if (!vm_hold(vm))
		return STATUS_CANCELLED;
	/* Who logs for whom would have to move as well. */
	if (vm->memory.logging)
		status = reason_give(why, STATUS_BUSY, "engine %s: dirty pages are being logged; wait until that has ended",
				     engine->name);
	else
		status = engine_move(vm, engine, why);
	vm_release(vm);
	return status;
}

/* The machine as bytes, in memory of its own. */
static enum status machine_save(struct vm *vm, struct state_writer *writer, struct reason *why)
{
	enum status status;

	*writer = (struct state_writer){.bytes = NULL};
	status = vm_save(vm, writer, why);
	if (status)
		return status;
	writer->capacity = writer->length;
	writer->length = 0;
	writer->bytes = host_allocate(writer->capacity);
	if (!writer->bytes)
		return reason_give(why, STATUS_NO_MEMORY, "saved state: no host memory for %zu bytes; free some", writer->capacity);
	status = vm_save(vm, writer, why);
	bug_on(!status && writer->length != writer->capacity);
	return status;
}

static enum status machine_remake(struct vm *vm, const struct state_writer *saved, struct reason *why)
{
	struct state_reader reader = {.bytes = saved->bytes, .length = saved->length};
	enum status status;

	engine_leave(vm);
	status = vm->devices_remake(vm->board, why);
	if (!status)
		status = vm_vcpus_create(vm, why);
	if (!status)
		status = vm_load(vm, &reader, why);
	if (status)
		vm_end_request(vm, VM_END_FAILURE);
	else
		atomic_fetch_add(&vm->rebuilds, 1);
	return status;
}

enum status vm_rebuild(struct vm *vm, struct reason *why)
{
	struct state_writer saved;
	enum status status;

	if (!vm_hold(vm))
		return STATUS_CANCELLED;
	status = machine_save(vm, &saved, why);
	if (!status && vm->memory.logging)
		status = reason_give(why, STATUS_BUSY, "rebuild: dirty pages are being logged; wait until that has ended");
	if (!status)
		status = machine_remake(vm, &saved, why);
	if (saved.bytes)
		host_free(saved.bytes, saved.capacity);
	vm_release(vm);
	return status;
}
