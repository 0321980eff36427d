/* SPDX-License-Identifier: Apache-2.0 */
/*
 * board_test.c - the whole machine without a CPU: a stand-in engine keeps each vcpu's state, the test makes the accesses.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include <holon/board.h>
#include <holon/vm.h>

#include "board/pc_map.h"
#include "device/acpi_pm.h"
#include "x86/cpuid.h"
#include "x86/state.h"

#define MIB (UINT64_C(1) << 20)

static enum status state_get(struct vcpu *vcpu, struct x86_state *out)
{
	memcpy(out, vcpu->engine, sizeof(*out));
	return STATUS_OK;
}

static enum status state_set(struct vcpu *vcpu, const struct x86_state *in)
{
	memcpy(vcpu->engine, in, sizeof(*in));
	return STATUS_OK;
}

static void kick(struct vcpu *vcpu)
{
	(void)vcpu;
}

static const struct engine stand_in = {.name = "stand-in", .vcpu_get = state_get, .vcpu_set = state_set, .vcpu_kick = kick};

struct machine {
	struct vm vm;
	struct vm_config config;
	struct board_backends backends;
	struct board *board;
	struct reason why;
	uint8_t *ram;
	struct x86_state state[VM_CPUS_MAX];
};

/* A multiboot kernel that is its header. */
static const uint32_t kernel[16] = {0x1badb002, 0x10003, -(0x1badb002 + 0x10003), 0x100000, 0x100000, 0x100040, 0, 0x100020};

static struct block_request *pending_request;
static void block_swallow(struct block *block, struct block_request *request)
{
	(void)block;
	pending_request = request;
}
static void block_nothing(struct block *block)
{
	(void)block;
}
static struct block disk = {
	.submit = block_swallow, .drain = block_nothing, .close = block_nothing, .size = MIB, .block_size = 512, .path = "/d"};

static struct machine *machine_describe(unsigned cpus, uint64_t memory, unsigned disks)
{
	struct machine *machine = calloc(1, sizeof(*machine));

	machine->config = (struct vm_config){.name = "test",
					     .engine = "stand-in",
					     .cpu_model = "max",
					     .cpus = cpus,
					     .memory = memory,
					     .cmdline = "",
					     .debug_exit_port = 0xf4};
	machine->config.disks = disks;
	for (unsigned i = 0; i < disks; i++)
		machine->backends.disk[i] = &disk;
	machine->backends.kernel = (struct board_image){(const uint8_t *)kernel, sizeof(kernel), "/k"};
	machine->ram = mmap(NULL, memory, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_true(machine->ram != MAP_FAILED);
	assert_int_equal(vm_create(&machine->vm, &machine->config, &stand_in, machine->ram, &machine->why), STATUS_OK);
	for (unsigned i = 0; i < cpus; i++)
		machine->vm.vcpu[i]->engine = &machine->state[i];
	return machine;
}

static void reset(struct machine *machine)
{
	for (struct device *device = machine->vm.devices; device; device = device->next)
		if (device->reset)
			device->reset(device->object);
	machine->vm.boot(machine->vm.board);
}

static struct machine *machine_new(unsigned cpus, uint64_t memory, unsigned disks)
{
	struct machine *machine = machine_describe(cpus, memory, disks);

	if (board_create(&machine->board, &machine->vm, &machine->backends, &machine->why) != STATUS_OK)
		fail_msg("%s", machine->why.text);
	reset(machine);
	return machine;
}

static void machine_free(struct machine *machine)
{
	if (machine->board)
		board_destroy(machine->board);
	vm_destroy(&machine->vm);
	munmap(machine->ram, machine->config.memory);
	free(machine);
}

static uint32_t port_in(struct machine *machine, uint16_t port, unsigned size)
{
	uint64_t value;

	bus_read(&machine->vm.ports, port, size, &value);
	return (uint32_t)value;
}

static void port_out(struct machine *machine, uint16_t port, unsigned size, uint32_t value)
{
	bus_write(&machine->vm.ports, port, size, value);
}

static uint32_t config_long(struct machine *machine, unsigned slot, unsigned function, unsigned offset)
{
	port_out(machine, 0xcf8, 4, 0x80000000u | slot << 11 | function << 8 | offset);
	return port_in(machine, 0xcfc, 4);
}

static uint32_t ecam_long(struct machine *machine, unsigned slot, unsigned function, unsigned offset)
{
	uint64_t value;

	assert_true(bus_read(&machine->vm.mmio, PC_ECAM + (slot << 15 | function << 12 | offset), 4, &value));
	return (uint32_t)value;
}

static void every_place_answers(void **unused)
{
	static const uint16_t ports[] = {0x20, 0x21,  0xa0,  0xa1,  0x4d0, 0x40,  0x43,  0x61,  0x70,  0x71,  0x60, 0x64,
					 0x92, 0x3f8, 0x3ff, 0x505, 0x600, 0x604, 0x608, 0x620, 0xcf8, 0xcfc, 0xf4};
	static const uint64_t memory[] = {PC_IOAPIC, PC_HPET, PC_ECAM};
	struct machine *machine = machine_new(1, 64 * MIB, 0);
	uint64_t value;

	(void)unused;
	for (size_t i = 0; i < sizeof(ports) / sizeof(ports[0]); i++)
		if (!bus_read(&machine->vm.ports, ports[i], 1, &value))
			fail_msg("nothing at port 0x%x", ports[i]);
	for (size_t i = 0; i < sizeof(memory) / sizeof(memory[0]); i++)
		if (!bus_read(&machine->vm.mmio, memory[i], 4, &value))
			fail_msg("nothing at 0x%llx", (unsigned long long)memory[i]);
	assert_false(bus_read(&machine->vm.ports, 0x5f0, 1, &value));
	assert_int_equal(value, 0xff);
	machine_free(machine);
}

static void slots_are_fixed_and_both_config_ways_agree(void **unused)
{
	struct machine *machine = machine_new(2, 64 * MIB, 3);
	unsigned functions = 0;

	(void)unused;
	for (unsigned slot = 0; slot < 32; slot++)
		for (unsigned function = 0; function < 8; function++) {
			uint32_t id = config_long(machine, slot, function, 0);

			assert_int_equal(id, ecam_long(machine, slot, function, 0));
			functions += id != UINT32_MAX;
		}
	assert_int_equal(functions, 1 + 2 + 3 + PC_ROOT_PORTS + 1);
	assert_int_equal(config_long(machine, 0, 0, 0), 0x29c08086);
	assert_int_equal(config_long(machine, PC_SLOT_LPC, 0, 0), 0x29188086);
	assert_int_equal(config_long(machine, PC_SLOT_RNG, 0, 0), 0x10441af4);
	assert_int_equal(config_long(machine, PC_SLOT_CONSOLE, 0, 0), 0x10431af4);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(config_long(machine, PC_SLOT_DISK + i, 0, 0), 0x10421af4);
	machine_free(machine);
}

/* Firmware's work: memory BARs lie in the windows, apart from one another, and answer. */
static void bars_are_assigned(void **unused)
{
	struct machine *machine = machine_new(1, 5120 * MIB, VM_DISKS_MAX);
	uint64_t taken[64], lengths = 0;
	unsigned bars = 0;

	(void)unused;
	(void)lengths;
	for (unsigned slot = 1; slot < PC_SLOT_ROOT_PORTS; slot++) {
		if (config_long(machine, slot, 0, 0) == UINT32_MAX)
			continue;
		assert_int_equal(config_long(machine, slot, 0, 4) & 2, 2);
		assert_in_range(config_long(machine, slot, 0, 0x3c) & 0xff, 10, 11);
		for (unsigned bar = 0; bar < 6; bar++) {
			uint32_t low = config_long(machine, slot, 0, 0x10 + 4 * bar);
			uint64_t base = low & ~15u, value;

			if (!low)
				continue;
			if (low & 4)
				base |= (uint64_t)config_long(machine, slot, 0, 0x14 + 4 * bar++) << 32;
			assert_true((base >= PC_MEMORY32_FIRST && base <= PC_MEMORY32_LAST) || base >= PC_RAM_ABOVE + 2048 * MIB);
			assert_true(bus_read(&machine->vm.mmio, base, 4, &value));
			for (unsigned i = 0; i < bars; i++)
				assert_int_not_equal(taken[i], base);
			taken[bars++] = base;
		}
	}
	assert_true(bars >= 2 + VM_DISKS_MAX);
	for (unsigned i = 0; i < PC_ROOT_PORTS; i++)
		assert_int_equal(config_long(machine, PC_SLOT_ROOT_PORTS, i, 0x18) & 0xffffff, (i + 1) << 16 | (i + 1) << 8);
	machine_free(machine);
}

static void kernel_and_tables_are_there_after_every_reset(void **unused)
{
	struct machine *machine = machine_new(4, 6144 * MIB, 1);

	(void)unused;
	for (unsigned round = 0; round < 3; round++) {
		const struct x86_state *state = &machine->state[0];

		assert_memory_equal(machine->ram + 0x100000, kernel, sizeof(kernel));
		assert_memory_equal(machine->ram + PC_ACPI_TABLES, "RSD PTR ", 8);
		assert_int_equal(state->rip, 0x100020);
		assert_int_equal(state->gpr[X86_RAX], 0x2badb002);
		for (unsigned i = 0; i < 4; i++) {
			assert_int_equal(machine->state[i].mtrr_def_type, 0xc06);
			assert_int_equal(machine->state[i].apic.reg[0x36], 0x400);
		}
		assert_int_equal(machine->state[0].apic.reg[0x35], 0x700);
		assert_int_equal(machine->state[1].apic.reg[0x35], 0);
		memset(machine->ram + 0x100000, 0, sizeof(kernel));
		memset(machine->ram + PC_ACPI_TABLES, 0, 36);
		memset(machine->state, 0, sizeof(machine->state));
		reset(machine);
	}
	machine_free(machine);
}

static void cf9_and_debug_exit_end_the_vm(void **unused)
{
	struct machine *machine = machine_new(1, 64 * MIB, 0);

	(void)unused;
	machine->config.no_reboot = true;
	port_out(machine, 0xcf9, 1, 2);
	assert_int_equal(machine->vm.end, VM_END_NONE);
	port_out(machine, 0xcf9, 1, 6);
	assert_int_equal(machine->vm.end, VM_END_RESET);
	machine_free(machine);
	machine = machine_new(1, 64 * MIB, 0);
	port_out(machine, 0xf4, 4, 21);
	assert_int_equal(machine->vm.end, VM_END_DEBUG_EXIT + 43);
	machine_free(machine);
	machine = machine_new(1, 64 * MIB, 0);
	port_out(machine, 0x505, 1, 1);
	assert_int_equal(machine->vm.end, VM_END_CRASH);
	machine_free(machine);
	machine = machine_new(1, 64 * MIB, 0);
	port_out(machine, 0x604, 2, ACPI_PM_SLP_TYP_S5 << 10 | 1u << 13);
	assert_int_equal(machine->vm.end, VM_END_POWER_OFF);
	machine_free(machine);
}

/* PMBASE in the LPC bridge moves the ACPI registers. */
static void pm_registers_follow_the_bridge(void **unused)
{
	struct machine *machine = machine_new(1, 64 * MIB, 0);
	uint64_t value;

	(void)unused;
	port_out(machine, 0xcf8, 4, 0x80000000u | PC_SLOT_LPC << 11 | 0x40);
	port_out(machine, 0xcfc, 4, 0xb001);
	assert_true(bus_read(&machine->vm.ports, 0xb008, 4, &value));
	assert_false(bus_read(&machine->vm.ports, 0x608, 4, &value));
	reset(machine);
	assert_true(bus_read(&machine->vm.ports, 0x608, 4, &value));
	machine_free(machine);
}

/* Local APICs are saved with their vcpu (struct x86_state); the others keep nothing. A new device is in this list or declares its state. */
static bool stateless(const struct device *device)
{
	static const char *const names[] = {"lapic", "pvpanic", "debug_exit"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcmp(names[i], device->name))
			return true;
	return false;
}

static uint32_t dice(void)
{
	static uint64_t state = 0x484f4c4f4e;

	state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(state >> 32);
}

/* Leaves every device in some state that it is not reset to. */
static void devices_stir(struct machine *machine)
{
	static const uint16_t ports[] = {0x20, 0x21, 0xa0, 0xa1,  0x4d0, 0x40,  0x41,  0x42,  0x43,  0x61,  0x70,  0x71,  0x60,
					 0x64, 0x92, 0x80, 0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3ff, 0x600, 0x602, 0x604, 0x620};

	for (unsigned i = 0; i < 20000; i++) {
		uint32_t value = dice(), slot = dice() & 31, function = dice() & 7;

		port_out(machine, ports[dice() % (sizeof(ports) / sizeof(ports[0]))], 1, value);
		bus_write(&machine->vm.mmio, PC_IOAPIC + (dice() & 1) * 0x10, 4, dice() & 1 ? value & 0x3f : value);
		bus_write(&machine->vm.mmio, PC_HPET + (dice() & 0x1f8), 8, (uint64_t)dice() << 32 | value);
		/* Registers that every function has, BARs and decoding left alone: interrupt line, cache line size, capabilities. */
		bus_write(&machine->vm.mmio, PC_ECAM + (slot << 15 | function << 12 | 0x3c), 1, value);
		bus_write(&machine->vm.mmio, PC_ECAM + (slot << 15 | function << 12 | 0x0c), 1, value);
		port_out(machine, 0xcf8, 4, value);
	}
}

static size_t device_save(struct device *device, uint8_t *bytes, size_t capacity)
{
	struct state_writer writer = {.bytes = bytes, .capacity = capacity};

	state_save(&writer, device->state, device->instance, device->object);
	assert_true(writer.length <= capacity);
	return writer.length;
}

static void every_device_is_saved_and_restored(void **unused)
{
	enum { ROOM = 1 << 17 };
	struct machine *from = machine_new(3, 64 * MIB, 2), *into = machine_new(3, 64 * MIB, 2);
	uint8_t *fresh = malloc(ROOM), *saved = malloc(ROOM), *again = malloc(ROOM);
	unsigned devices = 0, stirred = 0;

	(void)unused;
	devices_stir(from);
	for (struct device *source = from->vm.devices, *target = into->vm.devices; source;
	     source = source->next, target = target->next) {
		struct state_reader reader = {.bytes = saved};
		size_t fresh_length;

		assert_non_null(target);
		assert_string_equal(source->name, target->name);
		if (!source->state != stateless(source))
			fail_msg("device %s: %s", source->name, source->state ? "is listed as stateless" : "declares no state");
		if (!source->state)
			continue;
		devices++;
		fresh_length = device_save(target, fresh, ROOM);
		reader.length = device_save(source, saved, ROOM);
		if (fresh_length != reader.length || memcmp(fresh, saved, fresh_length))
			stirred++;
		if (state_load(&reader, target->state, target->instance, target->object, &into->why))
			fail_msg("device %s: %s", source->name, into->why.text);
		if (device_save(target, again, ROOM) != reader.length || memcmp(saved, again, reader.length))
			fail_msg("device %s %u: another state after it was restored", source->name, source->instance);
	}
	assert_true(devices >= 20);
	assert_true(stirred >= 15); /* the comparison means something */
	free(fresh);
	free(saved);
	free(again);
	machine_free(from);
	machine_free(into);
}

static void what_cannot_be_built_is_refused(void **unused)
{
	struct machine *machine = machine_describe(1, 64 * MIB, 0);
	uint8_t junk[64] = {0};

	(void)unused;
	machine->backends.kernel.bytes = NULL;
	assert_int_equal(board_create(&machine->board, &machine->vm, &machine->backends, &machine->why), STATUS_USAGE);
	assert_non_null(strstr(machine->why.text, "--kernel"));
	machine->backends.kernel.bytes = junk;
	assert_int_equal(board_create(&machine->board, &machine->vm, &machine->backends, &machine->why), STATUS_INVALID);
	assert_null(machine->board);
	machine_free(machine);
	machine = machine_describe(1, 64 * MIB, 0);
	machine->config.debug_exit_port = 0x3f8;
	assert_int_equal(board_create(&machine->board, &machine->vm, &machine->backends, &machine->why), STATUS_USAGE);
	assert_non_null(strstr(machine->why.text, "--debug-exit"));
	machine_free(machine);
	machine = machine_describe(1, 64 * MIB, 0);
	machine->config.cpu_model = "486";
	assert_int_not_equal(board_create(&machine->board, &machine->vm, &machine->backends, &machine->why), STATUS_OK);
	machine_free(machine);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_place_answers),
		cmocka_unit_test(slots_are_fixed_and_both_config_ways_agree),
		cmocka_unit_test(bars_are_assigned),
		cmocka_unit_test(kernel_and_tables_are_there_after_every_reset),
		cmocka_unit_test(cf9_and_debug_exit_end_the_vm),
		cmocka_unit_test(pm_registers_follow_the_bridge),
		cmocka_unit_test(every_device_is_saved_and_restored),
		cmocka_unit_test(what_cannot_be_built_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
