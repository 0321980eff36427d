/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot_fixture.h - guest memory as the board lays it out, and kernels made by hand, for the boot protocols' tests.
 */
#ifndef HOLON_BOOT_FIXTURE_H
#define HOLON_BOOT_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "board/boot.h"
#include "board/pc_memory.h"

#define MIB (UINT64_C(1) << 20)
#define RSDP UINT64_C(0xe0000)

struct machine {
	struct guest_memory memory;
	uint8_t *ram;
	struct boot boot;
	struct acpi_window memory64;
	struct x86_state state;
	struct reason why;
};

static inline struct machine *machine_new(uint64_t size)
{
	struct machine *machine = calloc(1, sizeof(*machine));

	assert_non_null(machine);
	machine->ram = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_true(machine->ram != MAP_FAILED);
	assert_int_equal(guest_memory_init(&machine->memory, machine->ram, size), STATUS_OK);
	machine->boot.input.cmdline = "console=ttyS0";
	machine->boot.input.rsdp = RSDP;
	machine->boot.input.kernel.path = "/k";
	machine->boot.input.initrd.path = "/i";
	assert_int_equal(pc_memory_build(&machine->memory, 46, &machine->boot.input, &machine->memory64, &machine->why), STATUS_OK);
	return machine;
}

static inline void machine_free(struct machine *machine)
{
	uint64_t size = machine->memory.size;

	boot_release(&machine->boot);
	guest_memory_destroy(&machine->memory);
	munmap(machine->ram, size);
	free(machine);
}

static inline void kernel_set(struct machine *machine, const uint8_t *bytes, size_t size)
{
	machine->boot.input.kernel.bytes = bytes;
	machine->boot.input.kernel.size = size;
}

static inline void initrd_set(struct machine *machine, const uint8_t *bytes, size_t size)
{
	machine->boot.input.initrd.bytes = bytes;
	machine->boot.input.initrd.size = size;
}

/* The state before is rubbish: what the protocol demands must be set, whatever was there. */
static inline void machine_boot(struct machine *machine)
{
	memset(&machine->state, 0xa5, sizeof(machine->state));
	machine->why.text[0] = 0;
	if (boot_prepare(&machine->boot, &machine->why) != STATUS_OK ||
	    boot_commit(&machine->boot, &machine->memory, &machine->state, &machine->why) != STATUS_OK)
		fail_msg("%s", machine->why.text);
}

/* The plan is refused with one line that has this in it. */
static inline void machine_refuses(struct machine *machine, enum status status, const char *text)
{
	machine->why.text[0] = 0;
	assert_int_equal(boot_prepare(&machine->boot, &machine->why), status);
	if (!strstr(machine->why.text, text) || strchr(machine->why.text, '\n'))
		fail_msg("'%s' is not in: %s", text, machine->why.text);
}

static inline uint64_t guest64(struct machine *machine, uint64_t gpa)
{
	uint64_t value;

	assert_int_equal(guest_memory_read(&machine->memory, gpa, &value, sizeof(value)), STATUS_OK);
	return value;
}

static inline uint32_t guest32(struct machine *machine, uint64_t gpa)
{
	uint32_t value;

	assert_int_equal(guest_memory_read(&machine->memory, gpa, &value, sizeof(value)), STATUS_OK);
	return value;
}

static inline void guest_string_is(struct machine *machine, uint64_t gpa, const char *wanted)
{
	const uint8_t *bytes = guest_memory_at(&machine->memory, gpa, strlen(wanted) + 1);

	assert_non_null(bytes);
	assert_string_equal((const char *)bytes, wanted);
}

static inline void state_is_flat32(const struct x86_state *state)
{
	assert_int_equal(state->cr0 & (X86_CR0_PE | X86_CR0_PG), X86_CR0_PE);
	assert_int_equal(state->cr4, 0);
	assert_int_equal(state->efer, 0);
	assert_int_equal(state->rflags, X86_FLAG_FIXED);
	assert_int_equal(state->segment[X86_CS].base, 0);
	assert_int_equal(state->segment[X86_CS].limit, UINT32_MAX);
	assert_int_equal(state->segment[X86_CS].attributes, 0xc09b);
	assert_int_equal(state->segment[X86_DS].attributes, 0xc093);
	assert_int_equal(state->segment[X86_SS].limit, UINT32_MAX);
	assert_int_equal(state->tr.attributes, 0x8b);
	assert_int_equal(state->activity, X86_RUNNING);
}

/* An ELF file: header, `segments` program headers to fill in, 4 KiB of header room in all. */
struct elf_sketch {
	bool is64;
	unsigned segments;
	uint64_t entry;
	struct {
		uint32_t type;
		uint64_t offset, vaddr, paddr, filesz, memsz;
	} segment[4];
};

static inline void elf_draw(uint8_t *bytes, const struct elf_sketch *sketch)
{
	bool is64 = sketch->is64;

	memcpy(bytes, is64 ? "\177ELF\2\1\1" : "\177ELF\1\1\1", 7);
	boot_write16(bytes + 16, 2);
	boot_write16(bytes + 18, is64 ? 62 : 3);
	boot_write32(bytes + 20, 1);
	if (is64) {
		boot_write64(bytes + 24, sketch->entry);
		boot_write64(bytes + 32, 64);
	} else {
		boot_write32(bytes + 24, (uint32_t)sketch->entry);
		boot_write32(bytes + 28, 64);
	}
	boot_write16(bytes + (is64 ? 54 : 42), is64 ? 56 : 32);
	boot_write16(bytes + (is64 ? 56 : 44), (uint16_t)sketch->segments);
	for (unsigned i = 0; i < sketch->segments; i++) {
		uint8_t *segment = bytes + 64 + i * (is64 ? 56 : 32);

		boot_write32(segment, sketch->segment[i].type);
		if (is64) {
			boot_write64(segment + 8, sketch->segment[i].offset);
			boot_write64(segment + 16, sketch->segment[i].vaddr);
			boot_write64(segment + 24, sketch->segment[i].paddr);
			boot_write64(segment + 32, sketch->segment[i].filesz);
			boot_write64(segment + 40, sketch->segment[i].memsz);
			boot_write64(segment + 48, 4);
		} else {
			boot_write32(segment + 4, (uint32_t)sketch->segment[i].offset);
			boot_write32(segment + 8, (uint32_t)sketch->segment[i].vaddr);
			boot_write32(segment + 12, (uint32_t)sketch->segment[i].paddr);
			boot_write32(segment + 16, (uint32_t)sketch->segment[i].filesz);
			boot_write32(segment + 20, (uint32_t)sketch->segment[i].memsz);
			boot_write32(segment + 28, 4);
		}
	}
}

/* xorshift: the same mutations at every run. */
static inline uint32_t random_next(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return (uint32_t)(*seed >> 16);
}

/* Every chunk of an accepted plan lies in RAM and apart from the others. */
static inline void plan_is_sound(const struct boot *boot)
{
	for (unsigned i = 0; i < boot->plan.chunks; i++) {
		const struct boot_chunk *chunk = &boot->plan.chunk[i];
		bool ram = false;

		for (unsigned r = 0; r < boot->input.ranges; r++) {
			const struct boot_range *range = &boot->input.range[r];

			ram |= range->type == BOOT_RAM && chunk->gpa >= range->base && chunk->length <= range->length &&
			       chunk->gpa - range->base <= range->length - chunk->length;
		}
		assert_true(ram);
		assert_true(chunk->untouched || chunk->bytes_length <= chunk->length);
		for (unsigned j = 0; j < i; j++)
			assert_true(chunk->gpa + chunk->length <= boot->plan.chunk[j].gpa ||
				    boot->plan.chunk[j].gpa + boot->plan.chunk[j].length <= chunk->gpa);
	}
}

/*
 * Spoils a kernel in many ways, mostly in its first `hot` bytes and sometimes in its length, and plans it. Each copy is as long as it says, so that
 * ASan sees any byte read past its end. Now and then a plan is carried out. Returns how many plans were accepted.
 */
static inline unsigned mutations_run(struct machine *machine, const uint8_t *kernel, size_t size, size_t hot, unsigned rounds,
				     uint64_t seed)
{
	static const uint32_t interesting[] = {0,          1,          0xff,       0xfff,      0x1000,   0xffff,
					       0x7fffffff, 0x80000000, 0xfffffff0, 0xffffffff, 0x100000, 0xa0000};
	unsigned accepted = 0;

	for (unsigned round = 0; round < rounds; round++) {
		size_t length = random_next(&seed) % 8 ? size : random_next(&seed) % (size + 1);
		uint8_t *copy = malloc(length + 1);
		unsigned spoils = random_next(&seed) % 6;

		assert_non_null(copy);
		memcpy(copy, kernel, length);
		while (spoils-- && length >= 8) {
			size_t at = random_next(&seed) % (random_next(&seed) % 8 && hot < length ? hot : length);
			uint32_t value = random_next(&seed) % 2 ? interesting[random_next(&seed) % 12] : random_next(&seed);
			size_t width = (size_t)1 << random_next(&seed) % 3;

			memcpy(copy + at, &value, width < length - at ? width : length - at);
		}
		copy = realloc(copy, length ? length : 1);
		kernel_set(machine, copy, length);
		machine->why.text[0] = 0;
		if (boot_prepare(&machine->boot, &machine->why) == STATUS_OK) {
			accepted++;
			plan_is_sound(&machine->boot);
			if (accepted % 64 == 0)
				assert_int_equal(boot_commit(&machine->boot, &machine->memory, &machine->state, &machine->why),
						 STATUS_OK);
		} else {
			assert_int_not_equal(machine->why.text[0], 0);
			assert_null(strchr(machine->why.text, '\n'));
			assert_null(machine->boot.plan.tables);
		}
		boot_release(&machine->boot);
		free(copy);
	}
	return accepted;
}

#endif
