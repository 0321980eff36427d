/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot_elf_test.c - PVH: the note, the start info and what it points at, the entry state; ELF files that lie.
 */
#include "boot_fixture.h"

#define KERNEL_SIZE 0x3000u
#define NOTES 0x200u

static uint8_t kernel[KERNEL_SIZE];

/* A load segment of 0x1000 bytes and 0x1000 more of BSS at 1 MiB, notes with another one first. */
static void pvh_draw(bool is64)
{
	struct elf_sketch sketch = {
		.is64 = is64,
		.segments = 2,
		.entry = 0x100000,
		.segment = {{1, 0x1000, 0xc0100000, 0x100000, 0x1000, 0x2000}, {4, NOTES, 0, 0, 64, 64}},
	};
	static const uint8_t notes[] = {
		4, 0, 0, 0, 3, 0, 0, 0, 1,  0, 0, 0, 'G', 'N', 'U', 0, 7,    7,    7,    0,
		4, 0, 0, 0, 4, 0, 0, 0, 18, 0, 0, 0, 'X', 'e', 'n', 0, 0x20, 0x00, 0x10, 0x00,
	};

	memset(kernel, 0, sizeof(kernel));
	elf_draw(kernel, &sketch);
	memcpy(kernel + NOTES, notes, sizeof(notes));
	memset(kernel + 0x1000, 0xf4, 0x1000);
}

static void start_info_is_complete(void **unused)
{
	static const uint8_t initrd[4097] = {9, 8, 7};

	(void)unused;
	for (int is64 = 0; is64 <= 1; is64++) {
		struct machine *machine = machine_new(is64 ? 5120 * MIB : 16 * MIB);
		uint64_t info, module, map;

		pvh_draw(is64);
		kernel_set(machine, kernel, sizeof(kernel));
		initrd_set(machine, initrd, sizeof(initrd));
		memset(machine->ram + 0x101000, 0x55, 0x1000);
		machine_boot(machine);
		state_is_flat32(&machine->state);
		assert_int_equal(machine->state.rip, 0x100020);
		assert_memory_equal(machine->ram + 0x100000, kernel + 0x1000, 0x1000);
		assert_int_equal(machine->ram[0x101000], 0);
		info = machine->state.gpr[X86_RBX];
		assert_int_equal(guest32(machine, info), 0x336ec578);
		assert_int_equal(guest32(machine, info + 4), 1);
		assert_int_equal(guest32(machine, info + 12), 1);
		module = guest64(machine, info + 16);
		assert_int_equal(guest64(machine, module) % GUEST_PAGE_SIZE, 0);
		assert_int_equal(guest64(machine, module + 8), sizeof(initrd));
		assert_memory_equal(guest_memory_at(&machine->memory, guest64(machine, module), sizeof(initrd)), initrd,
				    sizeof(initrd));
		guest_string_is(machine, guest64(machine, info + 24), "console=ttyS0");
		assert_int_equal(guest64(machine, info + 32), RSDP);
		map = guest64(machine, info + 40);
		assert_int_equal(guest32(machine, info + 48), machine->boot.input.ranges);
		for (unsigned i = 0; i < machine->boot.input.ranges; i++) {
			assert_int_equal(guest64(machine, map + i * 24), machine->boot.input.range[i].base);
			assert_int_equal(guest64(machine, map + i * 24 + 8), machine->boot.input.range[i].length);
			assert_int_equal(guest32(machine, map + i * 24 + 16), machine->boot.input.range[i].type);
		}
		machine_free(machine);
	}
}

static void without_an_initrd_there_is_no_module(void **unused)
{
	struct machine *machine = machine_new(16 * MIB);

	(void)unused;
	pvh_draw(true);
	kernel_set(machine, kernel, sizeof(kernel));
	machine_boot(machine);
	assert_int_equal(guest32(machine, machine->state.gpr[X86_RBX] + 12), 0);
	assert_int_equal(guest64(machine, machine->state.gpr[X86_RBX] + 16), 0);
	machine_free(machine);
}

static void notes_aligned_to_eight_are_found(void **unused)
{
	struct machine *machine = machine_new(16 * MIB);
	static const uint8_t notes[] = {
		4, 0, 0, 0, 4, 0, 0, 0, 5,  0, 0, 0, 'G', 'N', 'U', 0, 7,    7,    7,    7,    0, 0, 0, 0,
		4, 0, 0, 0, 8, 0, 0, 0, 18, 0, 0, 0, 'X', 'e', 'n', 0, 0x30, 0x00, 0x10, 0x00, 0, 0, 0, 0,
	};

	(void)unused;
	pvh_draw(true);
	memcpy(kernel + NOTES, notes, sizeof(notes));
	boot_write64(kernel + 64 + 56 + 48, 8);
	kernel_set(machine, kernel, sizeof(kernel));
	machine_boot(machine);
	assert_int_equal(machine->state.rip, 0x100030);
	machine_free(machine);
}

static void lies_are_refused_with_a_reason(void **unused)
{
	struct machine *machine = machine_new(16 * MIB);
	uint8_t *segment = kernel + 64;

	(void)unused;
	kernel_set(machine, kernel, sizeof(kernel));
	pvh_draw(true);
	boot_write64(segment + 24, 15 * MIB + 0xff000);
	machine_refuses(machine, STATUS_RANGE, "no RAM");
	pvh_draw(true);
	boot_write64(segment + 24, 0xa0000);
	machine_refuses(machine, STATUS_RANGE, "no RAM");
	pvh_draw(true);
	boot_write64(segment + 24, 0xfffffffffffff000);
	machine_refuses(machine, STATUS_RANGE, "no RAM");
	pvh_draw(true);
	boot_write64(segment + 32, 0x2001);
	machine_refuses(machine, STATUS_INVALID, "past its end");
	pvh_draw(true);
	boot_write64(segment + 40, 0x800);
	machine_refuses(machine, STATUS_INVALID, "larger in the file than in memory");
	pvh_draw(true);
	boot_write64(kernel + 32, 0xffffffffffffff00);
	machine_refuses(machine, STATUS_INVALID, "program headers lie past its end");
	pvh_draw(true);
	boot_write16(kernel + 18, 183);
	machine_refuses(machine, STATUS_INVALID, "another processor");
	pvh_draw(true);
	boot_write32(segment, 0);
	machine_refuses(machine, STATUS_INVALID, "without a segment to load");
	pvh_draw(false);
	boot_write32(kernel + 64 + 32, 0);
	machine_refuses(machine, STATUS_INVALID, "neither a PVH note");
	machine_free(machine);
}

static void segments_that_overlap_are_refused(void **unused)
{
	struct machine *machine = machine_new(16 * MIB);
	struct elf_sketch sketch = {
		.is64 = true,
		.segments = 3,
		.segment = {{1, 0x1000, 0, 0x100000, 0x1000, 0x2000},
			    {4, NOTES, 0, 0, 64, 64},
			    {1, 0x1000, 0, 0x101fff, 0x10, 0x10}},
	};

	(void)unused;
	pvh_draw(true);
	elf_draw(kernel, &sketch);
	kernel_set(machine, kernel, sizeof(kernel));
	machine_refuses(machine, STATUS_INVALID, "overlaps");
	machine_free(machine);
}

static void mutated_files_are_refused_or_sound(void **unused)
{
	struct machine *machine = machine_new(16 * MIB);

	(void)unused;
	pvh_draw(true);
	assert_int_not_equal(mutations_run(machine, kernel, sizeof(kernel), NOTES + 64, 20000, 4), 0);
	pvh_draw(false);
	assert_int_not_equal(mutations_run(machine, kernel, sizeof(kernel), NOTES + 64, 20000, 5), 0);
	machine_free(machine);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(start_info_is_complete),
		cmocka_unit_test(without_an_initrd_there_is_no_module),
		cmocka_unit_test(notes_aligned_to_eight_are_found),
		cmocka_unit_test(lies_are_refused_with_a_reason),
		cmocka_unit_test(segments_that_overlap_are_refused),
		cmocka_unit_test(mutated_files_are_refused_or_sound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
