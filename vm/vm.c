/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vm.c - the life of a virtual machine (include/holon/vm.h). Called from control/; the vcpus' side is vm/vcpu.c.
 *
 * Any thread may wish for an end, a reset or a pause. Ends and resets are served by one thread, in vm_wait; a pause by
 * whoever asks. Both need every vcpu to stand: VCPU_PAUSE and VCPU_RESET are set and cleared under vm->lock, and a vcpu that
 * stands looks at them under it before it goes on. A paused VM is not reset before it is resumed.
 */
#include <stdatomic.h>

#include <holon/state.h>
#include <holon/vm.h>

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
		status = vm->engine->vcpu_create(vm->vcpu[vm->vcpus_created], why);
		if (status)
			return status;
	}
	return STATUS_OK;
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
	enum status status;

	if (vm->config->deterministic)
		vm->clock.wall_offset_ns = COUNTED_WALL_NS;
	status = machine_reset(vm, why);
	if (status)
		return status;
	vm_clock_mode_set(&vm->clock, vm->clock_mode);
	return threads_start(vm, why);
}

/* Clears a request of every vcpu and lets those that stood for it go on. Under vm->lock. */
static void request_clear_locked(struct vm *vm, uint32_t request)
{
	unsigned i;

	for (i = 0; i < vm->vcpus; i++) {
		atomic_fetch_and(&vm->vcpu[i]->requests, ~request);
		host_event_set(&vm->vcpu[i]->wake);
	}
}

/* Waits until every vcpu stands, then says that the machine is being rebuilt. false: the VM ended or was paused first. */
static bool reset_begin(struct vm *vm)
{
	for (;;) {
		bool done, ready;

		host_mutex_lock(&vm->lock);
		done = vm->end != VM_END_NONE || vm->paused;
		ready = !done && vm->stopped_vcpus == vm->vcpus;
		if (ready)
			vm->resetting = true;
		host_mutex_unlock(&vm->lock);
		if (done || ready) {
			host_event_set(&vm->vcpu_stopped); /* a pause may wait for it too */
			return ready;
		}
		host_event_wait(&vm->vcpu_stopped, HOST_FOREVER);
	}
}

static void vm_reset(struct vm *vm)
{
	struct reason why = {""};
	unsigned i;

	if (!reset_begin(vm))
		return;
	vm_clock_mode_set(&vm->clock, CLOCK_PAUSED);
	for (i = 0; i < vm->vcpus; i++)
		atomic_fetch_and(&vm->vcpu[i]->requests, VCPU_PAUSE | VCPU_RESET | VCPU_STOP);
	if (machine_reset(vm, &why)) {
		host_log(HOST_LOG_ERROR, "reset: %s", why.text);
		vm_end_request(vm, VM_END_FAILURE);
	}
	/* A backend's thread may have raised an interrupt since. */
	for (i = 0; i < vm->vcpus; i++)
		vcpu_interrupt(vm->vcpu[i]);
	vm_clock_mode_set(&vm->clock, vm->clock_mode);
	host_mutex_lock(&vm->lock);
	vm->resetting = false;
	vm->reset_wanted = false;
	request_clear_locked(vm, VCPU_RESET);
	host_mutex_unlock(&vm->lock);
	host_event_set(&vm->vcpu_stopped);
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
	while (vm->vcpus_created) {
		vm->vcpus_created--;
		vm->engine->vcpu_destroy(vm->vcpu[vm->vcpus_created]);
	}
	if (vm->attached && vm->engine->vm_detach)
		vm->engine->vm_detach(vm);
	vm->attached = false;
	for (i = 0; i < vm->vcpus; i++)
		host_free(vm->vcpu[i], sizeof(*vm->vcpu[i]));
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
	vm->paused = true;
	for (i = 0; i < vm->vcpus; i++)
		vcpu_request(vm->vcpu[i], VCPU_PAUSE);
	host_mutex_unlock(&vm->lock);
	for (;;) {
		host_mutex_lock(&vm->lock);
		standing = vm->stopped_vcpus == vm->vcpus && !vm->resetting;
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
	if (vm->paused && vm->end == VM_END_NONE) {
		vm_clock_mode_set(&vm->clock, vm->clock_mode);
		vm->paused = false;
		request_clear_locked(vm, VCPU_PAUSE);
	}
	host_mutex_unlock(&vm->lock);
	host_event_set(&vm->changed);
}
