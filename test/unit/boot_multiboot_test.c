/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot_multiboot_test.c - multiboot kernels: ELF of both classes and the a.out kludge, the info structure, the module, headers that lie.
 */
#include "boot_fixture.h"

#define KERNEL_SIZE 0x3000u
#define HEADER 0x400u

static uint8_t kernel[KERNEL_SIZE];

static void header_draw(uint32_t flags)
{
	boot_write32(kernel + HEADER, 0x1badb002);
	boot_write32(kernel + HEADER + 4, flags);
	boot_write32(kernel + HEADER + 8, -(0x1badb002 + flags));
}

static void elf_kernel_draw(bool is64)
{
	struct elf_sketch sketch = {
		.is64 = is64,
		.segments = 1,
		.entry = 0x100010,
		.segment = {{1, 0x1000, 0x100000, 0x100000, 0x1000, 0x3000}},
	};

	memset(kernel, 0, sizeof(kernel));
	elf_draw(kernel, &sketch);
	memset(kernel + 0x1000, 0xf4, 0x1000);
	header_draw(3);
}

/* Loads from 0x200 of the file to 0x100000, data ends at 0x102000, BSS at 0x104000. */
static void kludge_draw(void)
{
	memset(kernel, 0x33, sizeof(kernel));
	header_draw(0x10003);
	boot_write32(kernel + HEADER + 12, 0x100000 + HEADER - 0x200);
	boot_write32(kernel + HEADER + 16, 0x100000);
	boot_write32(kernel + HEADER + 20, 0x102000);
	boot_write32(kernel + HEADER + 24, 0x104000);
	boot_write32(kernel + HEADER + 28, 0x100123);
}

static void info_is_complete(struct machine *machine, const char *cmdline)
{
	uint64_t info = machine->state.gpr[X86_RBX], map, at;
	unsigned entry = 0;

	state_is_flat32(&machine->state);
	assert_int_equal(machine->state.gpr[X86_RAX], 0x2badb002);
	assert_int_equal(guest32(machine, info), 0x24d);
	assert_int_equal(guest32(machine, info + 4), 640);
	assert_int_equal(guest32(machine, info + 8), machine->boot.input.range[2].length >> 10);
	guest_string_is(machine, guest32(machine, info + 16), cmdline);
	guest_string_is(machine, guest32(machine, info + 64), "holon");
	map = guest32(machine, info + 48);
	for (at = map; at < map + guest32(machine, info + 44); at += guest32(machine, at) + 4, entry++) {
		assert_int_equal(guest64(machine, at + 4), machine->boot.input.range[entry].base);
		assert_int_equal(guest64(machine, at + 12), machine->boot.input.range[entry].length);
		assert_int_equal(guest32(machine, at + 20), machine->boot.input.range[entry].type);
	}
	assert_int_equal(entry, machine->boot.input.ranges);
}

static void elf_kernels_start(void **unused)
{
	(void)unused;
	for (int is64 = 0; is64 <= 1; is64++) {
		struct machine *machine = machine_new(is64 ? 4096 * MIB : 16 * MIB);

		elf_kernel_draw(is64);
		kernel_set(machine, kernel, sizeof(kernel));
		memset(machine->ram + 0x101000, 0x55, 0x2000);
		machine_boot(machine);
		info_is_complete(machine, "/k console=ttyS0");
		assert_int_equal(machine->state.rip, 0x100010);
		assert_memory_equal(machine->ram + 0x100000, kernel + 0x1000, 0x1000);
		assert_int_equal(machine->ram[0x101000] | machine->ram[0x102fff], 0);
		assert_int_equal(guest32(machine, machine->state.gpr[X86_RBX] + 20), 0);
		machine_free(machine);
	}
}

static void kludge_says_where_the_bytes_go(void **unused)
{
	struct machine *machine = machine_new(16 * MIB);

	(void)unused;
	kludge_draw();
	kernel_set(machine, kernel, sizeof(kernel));
	memset(machine->ram + 0x102000, 0x55, 0x2000);
	machine->boot.input.cmdline = "";
	machine_boot(machine);
	info_is_complete(machine, "/k");
	assert_int_equal(machine->state.rip, 0x100123);
	assert_memory_equal(machine->ram + 0x100000, kernel + 0x200, 0x2000);
	assert_int_equal(machine->ram[0x102000] | machine->ram[0x103fff], 0);
	/* Both ends left out: the rest of the file, no BSS. */
	boot_write32(kernel + HEADER + 20, 0);
	boot_write32(kernel + HEADER + 24, 0);
	machine_boot(machine);
	assert_memory_equal(machine->ram + 0x100000, kernel + 0x200, KERNEL_SIZE - 0x200);
	machine_free(machine);
}

static void initrd_is_the_module_behind_the_kernel(void **unused)
{
	static const uint8_t initrd[100] = {5, 4, 3};
	struct machine *machine = machine_new(16 * MIB);
	uint64_t info, list;

	(void)unused;
	elf_kernel_draw(false);
	kernel_set(machine, kernel, sizeof(kernel));
	initrd_set(machine, initrd, sizeof(initrd));
	machine_boot(machine);
	info = machine->state.gpr[X86_RBX];
	assert_int_equal(guest32(machine, info + 20), 1);
	list = guest32(machine, info + 24);
	assert_int_equal(guest32(machine, list), 0x103000);
	assert_int_equal(guest32(machine, list + 4), 0x103000 + sizeof(initrd));
	guest_string_is(machine, guest32(machine, list + 8), "/i");
	assert_memory_equal(machine->ram + 0x103000, initrd, sizeof(initrd));
	machine_free(machine);
}

static void kernel_may_lie_in_low_memory(void **unused)
{
	struct machine *machine = machine_new(16 * MIB);

	(void)unused;
	kludge_draw();
	boot_write32(kernel + HEADER + 12, 0x1000 + HEADER - 0x200);
	boot_write32(kernel + HEADER + 16, 0x1000);
	boot_write32(kernel + HEADER + 20, 0x3000);
	boot_write32(kernel + HEADER + 24, 0x90000);
	kernel_set(machine, kernel, sizeof(kernel));
	machine_boot(machine);
	assert_in_range(machine->state.gpr[X86_RBX], 0x90000, 0x9ffff);
	boot_write32(kernel + HEADER + 24, 0xa0000);
	machine_refuses(machine, STATUS_RANGE, "no room for");
	machine_free(machine);
}

static void lies_are_refused_with_a_reason(void **unused)
{
	struct machine *machine = machine_new(16 * MIB);

	(void)unused;
	kernel_set(machine, kernel, sizeof(kernel));
	kludge_draw();
	boot_write32(kernel + HEADER + 16, 0x200000);
	machine_refuses(machine, STATUS_INVALID, "before the file");
	kludge_draw();
	boot_write32(kernel + HEADER + 20, 0x200000);
	machine_refuses(machine, STATUS_INVALID, "more bytes than it has");
	kludge_draw();
	boot_write32(kernel + HEADER + 24, 0x101fff);
	machine_refuses(machine, STATUS_INVALID, "BSS before the data");
	kludge_draw();
	boot_write32(kernel + HEADER + 24, 0xf0000000);
	machine_refuses(machine, STATUS_RANGE, "no RAM");
	elf_kernel_draw(false);
	header_draw(0x10);
	machine_refuses(machine, STATUS_INVALID, "flags 0x10");
	elf_kernel_draw(false);
	boot_write32(kernel + 24, 0x7000000);
	machine_refuses(machine, STATUS_INVALID, "entry point lies in no segment");
	memset(kernel, 0, HEADER);
	machine_refuses(machine, STATUS_INVALID, "no ELF file");
	/* A wrong checksum is no header at all. */
	boot_write32(kernel + HEADER + 8, 1);
	machine_refuses(machine, STATUS_INVALID, "not a bzImage");
	machine_free(machine);
}

static void long_command_line_is_refused(void **unused)
{
	struct machine *machine = machine_new(16 * MIB);
	char *cmdline = calloc(1, 1 << 20);

	(void)unused;
	memset(cmdline, 'x', (1 << 20) - 1);
	elf_kernel_draw(false);
	kernel_set(machine, kernel, sizeof(kernel));
	machine->boot.input.cmdline = cmdline;
	machine_refuses(machine, STATUS_RANGE, "shorten --cmdline");
	free(cmdline);
	machine_free(machine);
}

static void mutated_headers_are_refused_or_sound(void **unused)
{
	static const uint8_t initrd[100] = {1};
	struct machine *machine = machine_new(16 * MIB);

	(void)unused;
	initrd_set(machine, initrd, sizeof(initrd));
	kludge_draw();
	assert_int_not_equal(mutations_run(machine, kernel + HEADER, KERNEL_SIZE - HEADER, 32, 20000, 6), 0);
	elf_kernel_draw(false);
	assert_int_not_equal(mutations_run(machine, kernel, KERNEL_SIZE, 96, 20000, 7), 0);
	machine_free(machine);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(elf_kernels_start),
		cmocka_unit_test(kludge_says_where_the_bytes_go),
		cmocka_unit_test(initrd_is_the_module_behind_the_kernel),
		cmocka_unit_test(kernel_may_lie_in_low_memory),
		cmocka_unit_test(lies_are_refused_with_a_reason),
		cmocka_unit_test(long_command_line_is_refused),
		cmocka_unit_test(mutated_headers_are_refused_or_sound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
