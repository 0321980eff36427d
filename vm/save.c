/* SPDX-License-Identifier: Apache-2.0 */
/*
 * save.c - the whole machine but RAM as bytes, and back. Called by rebuild.c; what a snapshot file or a migration will carry, beside RAM.
 *
 * The bytes are sections of vm/state.c, one behind the other: "machine" (whose state this is), each device of vm->devices in its order, each
 * vcpu. Devices come before vcpus, because a device that is loaded may set its line, and the local APIC is part of the vcpu: what the vcpus are
 * given last is what counts. RAM is complete when the devices are quiet, so it is written after them and loaded before.
 *
 * The bytes are attacker's input. state_load checks shapes and checksums, each after_load what its device relies on, the engine what
 * vcpu_set is given. What passes may be nonsense, but no guest can do worse to Holon with it than with a state of its own making.
 */
#include "vm/vm_internal.h"
#include "x86/cpuid.h"

#define MODEL_NAME 32

/* Whose state it is. */
struct machine {
	const struct vm *vm;
	uint32_t cpus;
	uint32_t devices;
	uint64_t memory;
	uint8_t cpu_model[MODEL_NAME];
	uint64_t cpuid; /* a sum of all that CPUID says: `host` and `max` differ from host to host */
};

/* FNV-1a. */
static uint64_t cpuid_sum(const struct x86_cpu_model *model)
{
	uint64_t sum = UINT64_C(0xcbf29ce484222325);
	const uint8_t *bytes = (const uint8_t *)model->leaf;

	for (size_t i = 0; i < model->leaves * sizeof(model->leaf[0]); i++)
		sum = (sum ^ bytes[i]) * UINT64_C(0x100000001b3);
	return sum;
}

static void machine_describe(struct machine *machine, const struct vm *vm)
{
	const char *name = vm->cpu_model->name;

	*machine = (struct machine){.vm = vm, .cpus = vm->vcpus, .memory = vm->memory.size, .cpuid = cpuid_sum(vm->cpu_model)};
	for (unsigned i = 0; i < MODEL_NAME && name[i]; i++)
		machine->cpu_model[i] = (uint8_t)name[i];
	for (const struct device *device = vm->devices; device; device = device->next)
		machine->devices += device->state != NULL;
}

static enum status machine_loaded(void *object, uint32_t version, struct reason *why)
{
	const struct machine *machine = object;
	struct machine own;

	(void)version;
	machine_describe(&own, machine->vm);
	if (machine->cpus != own.cpus)
		return reason_give(why, STATUS_INVALID,
				   "saved state: the machine had %u vcpus and this one has %u; give it as many", machine->cpus,
				   own.cpus);
	if (machine->memory != own.memory)
		return reason_give(why, STATUS_INVALID,
				   "saved state: the machine had %llu bytes of RAM and this one has %llu; give it as much",
				   (unsigned long long)machine->memory, (unsigned long long)own.memory);
	if (machine->devices != own.devices)
		return reason_give(why, STATUS_INVALID,
				   "saved state: the machine had %u devices and this one has %u; give it the same ones",
				   machine->devices, own.devices);
	if (__builtin_memcmp(machine->cpu_model, own.cpu_model, MODEL_NAME) != 0 || machine->cpuid != own.cpuid)
		return reason_give(why, STATUS_INVALID,
				   "saved state: the machine had another CPU model than %s, or the model of another host; choose "
				   "x86-64-v2 or x86-64-v3 for machines that move",
				   machine->vm->cpu_model->name);
	return STATUS_OK;
}

static const struct state_field machine_fields[] = {
	STATE_FIELD(struct machine, cpus),     STATE_FIELD(struct machine, devices), STATE_FIELD(struct machine, memory),
	STATE_BLOB(struct machine, cpu_model), STATE_FIELD(struct machine, cpuid),
};
static const struct state_table machine_table = {
	.name = "machine", .version = 1, STATE_TABLE_FIELDS(machine_fields), .after_load = machine_loaded};

static void machine_write(struct vm *vm, struct state_writer *writer)
{
	struct machine machine;
	struct device *device;
	unsigned i;

	machine_describe(&machine, vm);
	state_save(writer, &machine_table, 0, &machine);
	for (device = vm->devices; device; device = device->next)
		if (device->state)
			state_save(writer, device->state, device->instance, device->object);
	for (i = 0; i < vm->vcpus; i++)
		vcpu_image_save(vm->vcpu[i], writer);
}

enum status vm_movable(const struct vm *vm, struct reason *why)
{
	const struct device *device;

	for (device = vm->devices; device; device = device->next)
		if (device->obstacle)
			return reason_give(why, STATUS_UNSUPPORTED, "%s: this VM cannot be saved or moved: %s", device->name,
					   device->obstacle);
	return STATUS_OK;
}

enum status vm_save(struct vm *vm, struct state_writer *writer, struct reason *why)
{
	struct state_writer settle = {.bytes = NULL};
	enum status status = STATUS_OK;
	unsigned i;

	/* before_save catches up with time, and so may raise an interrupt at a chip that was written already. Time stands: the second round finds nothing. */
	machine_write(vm, &settle);
	for (i = 0; i < vm->vcpus && !status; i++)
		status = vcpu_image_get(vm->vcpu[i], why);
	if (!status)
		machine_write(vm, writer);
	return status;
}

enum status vm_load(struct vm *vm, struct state_reader *reader, struct reason *why)
{
	struct machine machine = {.vm = vm};
	enum status status = state_load(reader, &machine_table, 0, &machine, why);
	struct device *device;
	unsigned i;

	for (device = vm->devices; device && !status; device = device->next)
		if (device->state)
			status = state_load(reader, device->state, device->instance, device->object, why);
	for (i = 0; i < vm->vcpus && !status; i++)
		status = vcpu_image_load(vm->vcpu[i], reader, why);
	if (!status && reader->position != reader->length)
		status = reason_give(why, STATUS_INVALID, "saved state: %zu bytes are left over; the file is damaged",
				     reader->length - reader->position);
	for (i = 0; i < vm->vcpus && !status; i++)
		status = vcpu_image_set(vm->vcpu[i], why);
	return status;
}
