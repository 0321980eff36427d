/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot_linux_test.c - the Linux boot protocol: where kernel, initrd and boot_params go, both ways of a bzImage, vmlinux, and bad files.
 */
#include "boot_fixture.h"

#define SETUP_SIZE 1024u
#define CODE_SIZE 4096u
#define KERNEL_SIZE (SETUP_SIZE + CODE_SIZE)
#define PAYLOAD 512u
#define PAYLOAD_SIZE 1024u

static uint8_t image[64 * 1024]; /* what the payload decompresses to */
static size_t image_size;
static unsigned decompressions, images_out;

static enum status decompress(const uint8_t *in, uint64_t in_length, uint8_t **out, uint64_t *out_length, struct reason *why)
{
	decompressions++;
	if (in_length != PAYLOAD_SIZE || in[0] != 'P')
		return reason_give(why, in[0] == 'D' ? STATUS_INVALID : STATUS_UNSUPPORTED, "not this format, or damaged");
	*out = malloc(image_size);
	memcpy(*out, image, image_size);
	*out_length = image_size;
	images_out++;
	return STATUS_OK;
}

static void decompress_free(uint8_t *out, uint64_t out_length)
{
	assert_int_equal(out_length, image_size);
	images_out--;
	free(out);
}

/* Protocol 2.15, relocatable, prefers 16 MiB, needs 2 MiB. */
static void bzimage_draw(uint8_t *bytes)
{
	memset(bytes, 0, KERNEL_SIZE);
	bytes[0x1f1] = SETUP_SIZE / 512 - 1;
	boot_write32(bytes + 0x1f4, CODE_SIZE / 16);
	boot_write16(bytes + 0x1fe, 0xaa55);
	bytes[0x200] = 0xeb;
	bytes[0x201] = 0x6a;
	memcpy(bytes + 0x202, "HdrS", 4);
	boot_write16(bytes + 0x206, 0x20f);
	bytes[0x211] = 1;
	boot_write32(bytes + 0x22c, 0x7fffffff);
	boot_write32(bytes + 0x230, 0x200000);
	bytes[0x234] = 1;
	boot_write16(bytes + 0x236, 1);
	boot_write32(bytes + 0x238, 255);
	boot_write32(bytes + 0x248, PAYLOAD);
	boot_write32(bytes + 0x24c, PAYLOAD_SIZE);
	boot_write64(bytes + 0x258, 16 * MIB);
	boot_write32(bytes + 0x260, 2 * MIB);
	memset(bytes + SETUP_SIZE, 0x90, CODE_SIZE);
	bytes[SETUP_SIZE + PAYLOAD] = 'P';
	boot_write32(bytes + SETUP_SIZE + PAYLOAD + PAYLOAD_SIZE - 4, (uint32_t)image_size);
}

static void vmlinux_draw(void)
{
	struct elf_sketch sketch = {
		.is64 = true,
		.segments = 2,
		.entry = 0x1000040,
		.segment = {{1, 0x1000, 0xffffffff81000000, 0x1000000, 0x2000, 0x2000},
			    {1, 0x3000, 0xffffffff81200000, 0x1200000, 0x800, 0x9000}},
	};

	image_size = 0x4000;
	memset(image, 0xcc, image_size);
	memset(image, 0, 0x1000);
	elf_draw(image, &sketch);
}

static void state_is_long_mode(struct machine *machine)
{
	const struct x86_state *state = &machine->state;
	uint64_t pdpt = guest64(machine, state->cr3) & ~UINT64_C(0xfff);

	assert_int_equal(state->efer, X86_EFER_LME | X86_EFER_LMA);
	assert_int_equal(state->cr4, X86_CR4_PAE);
	assert_true(state->cr0 & X86_CR0_PG);
	assert_int_equal(state->rflags & X86_FLAG_IF, 0);
	assert_int_equal(state->segment[X86_CS].selector, 0x10);
	assert_int_equal(state->segment[X86_CS].attributes, 0xa09b);
	assert_int_equal(state->segment[X86_DS].selector, 0x18);
	/* The descriptors that the guest would load say the same. */
	assert_int_equal(guest64(machine, state->gdtr.base + 0x10), 0x00af9b000000ffff);
	assert_int_equal(guest64(machine, state->gdtr.base + 0x18), 0x00cf93000000ffff);
	/* 0xc0200000 maps to itself. */
	assert_int_equal(guest64(machine, (guest64(machine, pdpt + 3 * 8) & ~UINT64_C(0xfff)) + 8), 0xc0200083);
}

static void plain_way_enters_behind_the_load_address(void **unused)
{
	struct machine *machine = machine_new(128 * MIB);
	uint8_t kernel[KERNEL_SIZE];
	uint64_t params;

	(void)unused;
	bzimage_draw(kernel);
	kernel_set(machine, kernel, sizeof(kernel));
	machine_boot(machine);
	state_is_long_mode(machine);
	params = machine->state.gpr[X86_RSI];
	assert_int_equal(machine->state.rip, 16 * MIB + 0x200);
	assert_memory_equal(machine->ram + 16 * MIB, kernel + SETUP_SIZE, CODE_SIZE);
	assert_int_equal(guest32(machine, params + 0x202), 0x53726448);
	assert_int_equal(guest32(machine, params + 0x210) & 0xff, 0xff);
	assert_int_equal(guest64(machine, params + 0x70), RSDP);
	guest_string_is(machine, guest32(machine, params + 0x228), "console=ttyS0");
	assert_int_equal(guest32(machine, params + 0x218), 0);
	machine_free(machine);
}

static void memory_map_is_the_boards(void **unused)
{
	static const uint64_t sizes[] = {18 * MIB, 3072 * MIB, 3073 * MIB, 6144 * MIB};

	(void)unused;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct machine *machine = machine_new(sizes[i]);
		uint8_t kernel[KERNEL_SIZE];
		uint64_t params, total = 0;
		unsigned entries;

		bzimage_draw(kernel);
		kernel_set(machine, kernel, sizeof(kernel));
		machine_boot(machine);
		params = machine->state.gpr[X86_RSI];
		entries = guest32(machine, params + 0x1e8) & 0xff;
		assert_int_equal(entries, sizes[i] > 3072 * MIB ? 5 : 4);
		for (unsigned entry = 0; entry < entries; entry++) {
			uint64_t at = params + 0x2d0 + entry * 20, base = guest64(machine, at), length = guest64(machine, at + 8);

			if (guest32(machine, at + 16) != BOOT_RAM)
				continue;
			total += length;
			assert_non_null(guest_memory_at(&machine->memory, base, length));
		}
		assert_int_equal(total, sizes[i] - 0x60000);
		machine_free(machine);
	}
}

static void initrd_is_at_the_top_below_its_limit(void **unused)
{
	static uint8_t initrd[5000];
	struct machine *machine = machine_new(6144 * MIB);
	uint8_t kernel[KERNEL_SIZE];
	uint64_t params;

	(void)unused;
	memset(initrd, 0x17, sizeof(initrd));
	bzimage_draw(kernel);
	kernel_set(machine, kernel, sizeof(kernel));
	initrd_set(machine, initrd, sizeof(initrd));
	machine_boot(machine);
	params = machine->state.gpr[X86_RSI];
	assert_int_equal(guest32(machine, params + 0x218), 0x7fffe000);
	assert_int_equal(guest32(machine, params + 0x21c), sizeof(initrd));
	assert_memory_equal(machine->ram + 0x7fffe000, initrd, sizeof(initrd));
	machine_free(machine);
}

static void initrd_that_does_not_fit_is_refused(void **unused)
{
	struct machine *machine = machine_new(32 * MIB);
	uint8_t kernel[KERNEL_SIZE];
	uint8_t *initrd = mmap(NULL, 32 * MIB, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)unused;
	bzimage_draw(kernel);
	kernel_set(machine, kernel, sizeof(kernel));
	initrd_set(machine, initrd, 32 * MIB);
	machine_refuses(machine, STATUS_RANGE, "initrd /i: its 32768 KiB do not fit");
	initrd_set(machine, initrd, 14 * MIB);
	machine_boot(machine);
	initrd_set(machine, initrd, 0);
	machine_refuses(machine, STATUS_INVALID, "initrd /i: the file is empty");
	munmap(initrd, 32 * MIB);
	machine_free(machine);
}

static void relocatable_kernel_moves_where_there_is_room(void **unused)
{
	struct machine *machine = machine_new(16 * MIB);
	uint8_t kernel[KERNEL_SIZE];

	(void)unused;
	bzimage_draw(kernel);
	kernel_set(machine, kernel, sizeof(kernel));
	machine_boot(machine);
	assert_int_equal(machine->state.rip, 2 * MIB + 0x200);
	boot_write32(kernel + 0x260, 15 * MIB);
	machine_refuses(machine, STATUS_RANGE, "give the VM more");
	boot_write32(kernel + 0x260, 2 * MIB);
	kernel[0x234] = 0;
	machine_refuses(machine, STATUS_RANGE, "no RAM");
	machine_free(machine);
}

static void kernel_without_64_bit_entry_gets_the_32_bit_one(void **unused)
{
	struct machine *machine = machine_new(64 * MIB);
	uint8_t kernel[KERNEL_SIZE];

	(void)unused;
	bzimage_draw(kernel);
	boot_write16(kernel + 0x236, 0);
	kernel_set(machine, kernel, sizeof(kernel));
	machine_boot(machine);
	state_is_flat32(&machine->state);
	assert_int_equal(machine->state.rip, 16 * MIB);
	assert_int_equal(machine->state.gpr[X86_RBX] | machine->state.gpr[X86_RBP] | machine->state.gpr[X86_RDI], 0);
	assert_int_equal(guest32(machine, machine->state.gpr[X86_RSI] + 0x202), 0x53726448);
	machine_free(machine);
}

static void payload_is_loaded_where_it_was_linked(void **unused)
{
	struct machine *machine = machine_new(64 * MIB);
	uint8_t kernel[KERNEL_SIZE];

	(void)unused;
	vmlinux_draw();
	bzimage_draw(kernel);
	kernel_set(machine, kernel, sizeof(kernel));
	machine->boot.input.decompress = decompress;
	machine->boot.input.decompress_free = decompress_free;
	/* Twice: a reset does it again, and the BSS is zero again. */
	for (unsigned round = 1; round <= 2; round++) {
		memset(machine->ram + 0x1200000, 0xee, 0x9000);
		decompressions = 0;
		if (round == 1) {
			machine_boot(machine);
		} else {
			assert_int_equal(boot_commit(&machine->boot, &machine->memory, &machine->state, &machine->why), STATUS_OK);
		}
		assert_int_equal(decompressions, 1);
		assert_int_equal(images_out, 0); /* tens of MiB are not kept */
		state_is_long_mode(machine);
		assert_int_equal(machine->state.rip, 0x1000040);
		assert_memory_equal(machine->ram + 0x1000000, image + 0x1000, 0x2000);
		assert_memory_equal(machine->ram + 0x1200000, image + 0x3000, 0x800);
		for (size_t i = 0x800; i < 0x9000; i++)
			assert_int_equal(machine->ram[0x1200000 + i], 0);
		assert_int_equal(guest32(machine, machine->state.gpr[X86_RSI] + 0x202), 0x53726448);
	}
	machine_free(machine);
}

static void virtual_entry_becomes_physical(void **unused)
{
	struct machine *machine = machine_new(64 * MIB);
	uint8_t kernel[KERNEL_SIZE];

	(void)unused;
	vmlinux_draw();
	boot_write64(image + 24, 0xffffffff81000080);
	bzimage_draw(kernel);
	kernel_set(machine, kernel, sizeof(kernel));
	machine->boot.input.decompress = decompress;
	machine->boot.input.decompress_free = decompress_free;
	machine_boot(machine);
	assert_int_equal(machine->state.rip, 0x1000080);
	machine_free(machine);
}

/* Whatever else is wrong with the payload, the guest's decompressor gets its chance. */
static void odd_payload_takes_the_plain_way(void **unused)
{
	struct machine *machine = machine_new(64 * MIB);
	uint8_t kernel[KERNEL_SIZE];

	(void)unused;
	machine->boot.input.decompress = decompress;
	machine->boot.input.decompress_free = decompress_free;
	kernel_set(machine, kernel, sizeof(kernel));
	for (unsigned fault = 0; fault < 6; fault++) {
		vmlinux_draw();
		bzimage_draw(kernel);
		switch (fault) {
		case 0: kernel[SETUP_SIZE + PAYLOAD] = 'Q'; break;
		case 1: boot_write32(kernel + 0x248, 0xfffffff0); break;
		case 2: boot_write32(kernel + 0x24c, CODE_SIZE); break;
		case 3: boot_write16(image + 16, 3); break;                  /* ET_DYN */
		case 4: boot_write64(image + 64 + 24, 0x10000000000); break; /* no RAM there */
		case 5: boot_write64(image + 24, 0x77); break;               /* entry in no segment */
		}
		machine_boot(machine);
		assert_int_equal(machine->state.rip, 16 * MIB + 0x200);
		assert_int_equal(images_out, 0);
	}
	machine_free(machine);
}

static void damaged_payload_is_refused(void **unused)
{
	struct machine *machine = machine_new(64 * MIB);
	uint8_t kernel[KERNEL_SIZE];

	(void)unused;
	vmlinux_draw();
	bzimage_draw(kernel);
	kernel[SETUP_SIZE + PAYLOAD] = 'D';
	kernel_set(machine, kernel, sizeof(kernel));
	machine->boot.input.decompress = decompress;
	machine->boot.input.decompress_free = decompress_free;
	machine_refuses(machine, STATUS_INVALID, "kernel /k: not this format, or damaged");
	bzimage_draw(kernel);
	boot_write32(kernel + SETUP_SIZE + PAYLOAD + PAYLOAD_SIZE - 4, 77); /* not what it unpacks to */
	machine_refuses(
		machine, STATUS_INVALID,
		"kernel /k: its compressed payload is damaged: it unpacks to another length than it says; fetch the file again");
	machine_free(machine);
}

static void vmlinux_by_itself_is_entered_at_64_bits(void **unused)
{
	struct machine *machine = machine_new(64 * MIB);

	(void)unused;
	vmlinux_draw();
	kernel_set(machine, image, image_size);
	machine_boot(machine);
	state_is_long_mode(machine);
	assert_int_equal(machine->state.rip, 0x1000040);
	assert_int_equal(guest32(machine, machine->state.gpr[X86_RSI] + 0x202), 0x53726448);
	guest_string_is(machine, guest32(machine, machine->state.gpr[X86_RSI] + 0x228), "console=ttyS0");
	machine_free(machine);
}

static void bad_files_are_refused_with_a_reason(void **unused)
{
	struct machine *machine = machine_new(64 * MIB);
	static char cmdline[300];
	uint8_t kernel[KERNEL_SIZE];

	(void)unused;
	bzimage_draw(kernel);
	kernel_set(machine, kernel, 0);
	machine_refuses(machine, STATUS_INVALID, "kernel /k: the file is empty");
	kernel_set(machine, kernel, 400);
	machine_refuses(machine, STATUS_INVALID, "not a bzImage");
	kernel_set(machine, kernel, 600);
	machine_refuses(machine, STATUS_INVALID, "ends inside its setup");
	kernel_set(machine, kernel, KERNEL_SIZE - 100);
	machine_refuses(machine, STATUS_INVALID, "shorter than its header says");
	kernel_set(machine, kernel, KERNEL_SIZE);
	memset(cmdline, 'a', sizeof(cmdline) - 1);
	machine->boot.input.cmdline = cmdline;
	machine_refuses(machine, STATUS_USAGE, "holds 255 bytes, --cmdline has 299");
	machine->boot.input.cmdline = "";
	boot_write16(kernel + 0x206, 0x204);
	machine_refuses(machine, STATUS_INVALID, "older than 2.06");
	memcpy(kernel, "\x1f\x8b", 2);
	memset(kernel + 0x1fe, 0, 16);
	machine_refuses(machine, STATUS_INVALID, "a compressed file; decompress it");
	machine_free(machine);
}

static void mutated_headers_are_refused_or_sound(void **unused)
{
	struct machine *machine = machine_new(32 * MIB);
	uint8_t kernel[KERNEL_SIZE], initrd[3000] = {1};

	(void)unused;
	vmlinux_draw();
	bzimage_draw(kernel);
	initrd_set(machine, initrd, sizeof(initrd));
	assert_int_not_equal(mutations_run(machine, kernel + 0, sizeof(kernel), 0x270, 20000, 1), 0);
	machine->boot.input.decompress = decompress;
	machine->boot.input.decompress_free = decompress_free;
	assert_int_not_equal(mutations_run(machine, kernel, sizeof(kernel), 0x270, 20000, 2), 0);
	assert_int_not_equal(mutations_run(machine, image, image_size, 64 + 2 * 56, 20000, 3), 0);
	assert_int_equal(images_out, 0);
	machine_free(machine);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_way_enters_behind_the_load_address),
		cmocka_unit_test(memory_map_is_the_boards),
		cmocka_unit_test(initrd_is_at_the_top_below_its_limit),
		cmocka_unit_test(initrd_that_does_not_fit_is_refused),
		cmocka_unit_test(relocatable_kernel_moves_where_there_is_room),
		cmocka_unit_test(kernel_without_64_bit_entry_gets_the_32_bit_one),
		cmocka_unit_test(payload_is_loaded_where_it_was_linked),
		cmocka_unit_test(virtual_entry_becomes_physical),
		cmocka_unit_test(odd_payload_takes_the_plain_way),
		cmocka_unit_test(damaged_payload_is_refused),
		cmocka_unit_test(vmlinux_by_itself_is_entered_at_64_bits),
		cmocka_unit_test(bad_files_are_refused_with_a_reason),
		cmocka_unit_test(mutated_headers_are_refused_or_sound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
