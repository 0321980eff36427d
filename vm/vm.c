/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vm.c - the life of a virtual machine (include/holon/vm.h). Called from control/; the vcpus' side is vm/vcpu.c.
 *
 * Any thread may wish for an end, a reset or a pause. Ends and resets are served by one thread, in vm_wait; a pause by
 * whoever asks. Both need every vcpu to stand: VCPU_PAUSE and VCPU_RESET are set and cleared under vm->lock, and a vcpu that
 * stands looks at them under it before it goes on. A paused VM is not reset before it is resumed. Next read: hold.c, then rebuild.c.
 */
#include <stdatomic.h>

#include "vm/vm_internal.h"

/* 2020-01-01: a deterministic VM starts its wall clock there, whenever it is run. */
#define COUNTED_WALL_NS (UINT64_C(1577836800) * 1000000000)

void vm_device_add(struct vm *vm, struct device *device)
{
	device->next = NULL;
	*vm->devices_end = device;
	vm->devices_end = &device->next;
}

static enum status vcpus_allocate(struct vm *vm)
{
	for (; vm->vcpus < vm->config->cpus; vm->vcpus++) {
		struct vcpu *vcpu = host_allocate(sizeof(*vcpu));

		if (!vcpu)
			return STATUS_NO_MEMORY;
		vcpu->vm = vm;
		vcpu->id = vm->vcpus;
		vm->vcpu[vm->vcpus] = vcpu;
		if (vcpu_image_create(vcpu)) {
			host_free(vcpu, sizeof(*vcpu));
			return STATUS_NO_MEMORY;
		}
	}
	return STATUS_OK;
}

enum status vm_create(struct vm *vm, const struct vm_config *config, const struct engine *engine, uint8_t *ram, struct reason *why)
{
	enum status status;

	__builtin_memset(vm, 0, sizeof(*vm));
	vm->config = config;
	vm->engine = engine;
	vm->end = VM_END_NONE;
	vm->devices_end = &vm->devices;
	vm->clock_mode = config->deterministic ? CLOCK_COUNTED : CLOCK_REAL;
	bus_init(&vm->ports, "ports");
	bus_init(&vm->mmio, "mmio");
	status = vm_clock_init(&vm->clock, host_tsc_khz());
	if (status)
		return reason_give(why, status, "the clock: a TSC of %u kHz cannot be used; this host's TSC is broken",
				   host_tsc_khz());
	status = guest_memory_init(&vm->memory, ram, config->memory);
	if (!status)
		status = vcpus_allocate(vm);
	if (status) {
		vm_destroy(vm);
		return reason_give(why, status, "the VM's own tables: %s; free some memory or give the VM less",
				   status_name(status));
	}
	vm->clock_device = (struct device){.name = "clock", .state = &vm_clock_state, .object = &vm->clock};
	vm_device_add(vm, &vm->clock_device);
	pvclock_add(vm);
	return STATUS_OK;
}

enum status vm_vcpus_create(struct vm *vm, struct reason *why)
{
	enum status status;

	if (vm->engine->vm_attach) {
		status = vm->engine->vm_attach(vm, why);
		if (status)
			return status;
	}
	vm->attached = true;
	for (; vm->vcpus_created < vm->vcpus; vm->vcpus_created++) {
		struct vcpu *vcpu = vm->vcpu[vm->vcpus_created];

		status = vm->engine->vcpu_create(vcpu, why);
		if (status)
			return status;
		atomic_store(&vcpu->attached, true);
	}
	return STATUS_OK;
}

static void stats_add(struct engine_stats *sum, const struct engine_stats *more)
{
	sum->instructions += more->instructions;
	sum->blocks_translated += more->blocks_translated;
	sum->cache_flushes += more->cache_flushes;
	sum->tlb_misses += more->tlb_misses;
	sum->slow_path_calls += more->slow_path_calls;
	sum->exits_port += more->exits_port;
	sum->exits_mmio += more->exits_mmio;
	sum->exits_halt += more->exits_halt;
	sum->exits_interrupt += more->exits_interrupt;
	sum->exits_exception += more->exits_exception;
	sum->exits_kick += more->exits_kick;
	sum->exits_fallback += more->exits_fallback;
}

void vm_stats(struct vm *vm, struct engine_stats *out)
{
	struct engine_stats now = {0};

	*out = vm->stats_before;
	if (vm->attached && vm->engine->stats) {
		vm->engine->stats(vm, &now);
		stats_add(out, &now);
	}
}

void vm_vcpus_destroy(struct vm *vm)
{
	vm_stats(vm, &vm->stats_before);
	while (vm->vcpus_created) {
		struct vcpu *vcpu = vm->vcpu[--vm->vcpus_created];

		atomic_store(&vcpu->attached, false);
		while (atomic_load(&vcpu->kickers))
			host_yield();
		vm->engine->vcpu_destroy(vcpu);
	}
	if (vm->attached && vm->engine->vm_detach)
		vm->engine->vm_detach(vm);
	vm->attached = false;
}

static enum status machine_reset(struct vm *vm, struct reason *why)
{
	struct device *device;
	enum status status;
	unsigned i;

	for (device = vm->devices; device; device = device->next)
		if (device->reset)
			device->reset(device->object);
	for (i = 0; i < vm->vcpus; i++) {
		status = vcpu_reset(vm->vcpu[i]);
		if (status)
			return reason_give(why, status, "vcpu %u: engine %s refuses the reset state: %s", i, vm->engine->name,
					   status_name(status));
	}
	if (vm->boot)
		vm->boot(vm->board);
	return STATUS_OK;
}

/* Ends every vcpu's thread that runs. The guest never runs again. */
static void vcpus_stop(struct vm *vm)
{
	unsigned i;

	for (i = 0; i < vm->vcpus; i++)
		vcpu_request(vm->vcpu[i], VCPU_STOP);
	for (i = 0; i < vm->vcpus; i++) {
		if (vm->vcpu[i]->thread)
			host_thread_join(vm->vcpu[i]->thread);
		vm->vcpu[i]->thread = NULL;
	}
	vm_clock_mode_set(&vm->clock, CLOCK_PAUSED);
}

static enum status threads_start(struct vm *vm, struct reason *why)
{
	enum status status = vm_clock_thread_start(&vm->clock);
	char name[16];
	unsigned i;

	for (i = 0; !status && i < vm->vcpus; i++) {
		host_format(name, sizeof(name), "vcpu%u", i);
		status = host_thread_start(&vm->vcpu[i]->thread, name, vcpu_main, vm->vcpu[i]);
	}
	if (status) {
		vcpus_stop(vm);
		return reason_give(why, status, "thread of vcpu %u: %s; raise the limit on threads or give the VM fewer vcpus",
				   i ? i - 1 : 0, status_name(status));
	}
	return STATUS_OK;
}

enum status vm_start(struct vm *vm, struct reason *why)
{
	struct device *device;
	enum status status;

	if (vm->config->deterministic)
		vm->clock.wall_offset_ns = COUNTED_WALL_NS;
	status = machine_reset(vm, why);
	if (status)
		return status;
	for (device = vm->devices; device; device = device->next)
		if (device->resume)
			device->resume(device->object);
	vm_clock_mode_set(&vm->clock, vm->clock_mode);
	return threads_start(vm, why);
}

static void vm_reset(struct vm *vm)
{
	struct reason why = {""};
	unsigned i;

	if (!hold_vcpus(vm, false))
		return;
	for (i = 0; i < vm->vcpus; i++)
		atomic_fetch_and(&vm->vcpu[i]->requests, VCPU_PAUSE | VCPU_RESET | VCPU_STOP);
	if (machine_reset(vm, &why)) {
		host_log(HOST_LOG_ERROR, "reset: %s", why.text);
		vm_end_request(vm, VM_END_FAILURE);
	}
	host_mutex_lock(&vm->lock);
	vm->reset_wanted = false;
	host_mutex_unlock(&vm->lock);
	hold_end(vm);
}

int vm_wait(struct vm *vm)
{
	for (;;) {
		enum vm_end end;
		bool reset;

		host_mutex_lock(&vm->lock);
		end = vm->end;
		reset = vm->reset_wanted && !vm->paused;
		host_mutex_unlock(&vm->lock);
		if (end != VM_END_NONE) {
			vcpus_stop(vm);
			return (int)end;
		}
		if (reset)
			vm_reset(vm);
		else
			host_event_wait(&vm->changed, HOST_FOREVER);
	}
}

void vm_destroy(struct vm *vm)
{
	unsigned i;

	vcpus_stop(vm);
	vm_clock_destroy(&vm->clock);
	vm_vcpus_destroy(vm);
	for (i = 0; i < vm->vcpus; i++) {
		vcpu_image_destroy(vm->vcpu[i]);
		host_free(vm->vcpu[i], sizeof(*vm->vcpu[i]));
	}
	vm->vcpus = 0;
	guest_memory_destroy(&vm->memory);
}

void vm_end_request(struct vm *vm, enum vm_end end)
{
	unsigned i;

	host_mutex_lock(&vm->lock);
	if (vm->end == VM_END_NONE)
		vm->end = end;
	host_mutex_unlock(&vm->lock);
	for (i = 0; i < vm->vcpus; i++)
		vcpu_request(vm->vcpu[i], VCPU_STOP);
	host_event_set(&vm->changed);
	host_event_set(&vm->vcpu_stopped);
}

void vm_reset_request(struct vm *vm)
{
	unsigned i;

	if (vm->config->no_reboot) {
		vm_end_request(vm, VM_END_RESET);
		return;
	}
	host_mutex_lock(&vm->lock);
	vm->reset_wanted = true;
	for (i = 0; i < vm->vcpus; i++)
		vcpu_request(vm->vcpu[i], VCPU_RESET);
	host_mutex_unlock(&vm->lock);
	host_event_set(&vm->changed);
}

void vm_debug_exit(struct vm *vm, uint32_t value)
{
	vm_end_request(vm, (enum vm_end)(VM_END_DEBUG_EXIT + ((value << 1 | 1) & 0xff)));
}

void vm_pause(struct vm *vm)
{
	bool standing;
	unsigned i;

	host_mutex_lock(&vm->lock);
	vm->pauses++;
	vm->paused = true;
	for (i = 0; i < vm->vcpus; i++)
		vcpu_request(vm->vcpu[i], VCPU_PAUSE);
	host_mutex_unlock(&vm->lock);
	for (;;) {
		host_mutex_lock(&vm->lock);
		standing = vm->stopped_vcpus == vm->vcpus && !vm->held;
		host_mutex_unlock(&vm->lock);
		if (standing)
			break;
		host_event_wait(&vm->vcpu_stopped, HOST_FOREVER);
	}
	host_event_set(&vm->vcpu_stopped);
	vm_clock_mode_set(&vm->clock, CLOCK_PAUSED);
}

void vm_resume(struct vm *vm)
{
	host_mutex_lock(&vm->lock);
	if (vm->pauses && --vm->pauses == 0 && vm->end == VM_END_NONE) {
		if (!vm->held) /* else whoever holds the machine sets the clock going */
			vm_clock_mode_set(&vm->clock, vm->clock_mode);
		vm->paused = false;
		hold_request_clear_locked(vm, VCPU_PAUSE);
	}
	host_mutex_unlock(&vm->lock);
	host_event_set(&vm->changed);
}
