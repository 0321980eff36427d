/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot.c - direct kernel boot: which protocol a kernel speaks, where things go in guest memory, the entry state.
 *
 * board/pc.c calls boot_prepare() at creation and boot_commit() at every start and reset. Next: boot_linux.c, boot_elf.c, boot_multiboot.c.
 */
#include "board/boot.h"

#include <holon/host.h>

#define TABLES_LOWEST 0x1000u   /* page 0 has the real-mode vectors and the BIOS data area */
#define TABLES_HIGHEST 0x9ffffu /* what every protocol's kernel finds mapped */

#define PAGE_PRESENT_WRITABLE 0x3u
#define PAGE_LARGE 0x80u

/* Selectors of the entry state: Linux demands __BOOT_CS and __BOOT_DS (Documentation/x86/boot.rst), the others do not mind. */
#define BOOT_CS 0x10u
#define BOOT_DS 0x18u
#define BOOT_TR 0x20u
#define ATTRIBUTES_CODE64 0xa09bu /* G L P S code readable accessed */
#define ATTRIBUTES_CODE32 0xc09bu
#define ATTRIBUTES_DATA 0xc093u
#define ATTRIBUTES_TSS 0x008bu /* P, busy 32/64-bit TSS */
#define TSS_LIMIT 0x67u

static const struct {
	const char *name;
	enum status (*plan)(struct boot *boot, bool *mine, struct reason *why);
} protocols[] = {
	/* PVH before multiboot: a kernel that has both (Xen) would look for BIOS services under multiboot. */
	{"Linux boot protocol", boot_linux_plan},
	{"PVH", boot_pvh_plan},
	{"multiboot", boot_multiboot_plan},
	{"Linux ELF", boot_vmlinux_plan},
};

static uint64_t chunk_last(const struct boot_chunk *chunk)
{
	return chunk->gpa + chunk->length - 1;
}

static const struct boot_chunk *chunk_overlapping(const struct boot_plan *plan, uint64_t gpa, uint64_t length)
{
	unsigned i;

	for (i = 0; i < plan->chunks; i++)
		if (gpa <= chunk_last(&plan->chunk[i]) && plan->chunk[i].gpa <= gpa + length - 1)
			return &plan->chunk[i];
	return NULL;
}

static bool range_is_ram(const struct boot_input *input, uint64_t gpa, uint64_t length)
{
	unsigned i;

	for (i = 0; i < input->ranges; i++) {
		const struct boot_range *range = &input->range[i];

		if (range->type == BOOT_RAM && gpa >= range->base && gpa - range->base < range->length &&
		    length <= range->length - (gpa - range->base))
			return true;
	}
	return false;
}

enum status boot_chunk_add(struct boot *boot, const struct boot_chunk *chunk, struct reason *why)
{
	const char *path = boot->input.kernel.path;
	const struct boot_chunk *other;

	if (!chunk->length)
		return STATUS_OK;
	if (!range_is_ram(&boot->input, chunk->gpa, chunk->length))
		return reason_give(
			why, STATUS_RANGE,
			"kernel %s: %s needs 0x%llx bytes at 0x%llx, where this VM has no RAM; give it more memory (--memory)",
			path, chunk->what, (unsigned long long)chunk->length, (unsigned long long)chunk->gpa);
	other = chunk_overlapping(&boot->plan, chunk->gpa, chunk->length);
	if (other)
		return reason_give(why, STATUS_INVALID,
				   "kernel %s: %s at 0x%llx overlaps %s at 0x%llx; the file is corrupt or not a kernel", path,
				   chunk->what, (unsigned long long)chunk->gpa, other->what, (unsigned long long)other->gpa);
	if (boot->plan.chunks == BOOT_CHUNKS)
		return reason_give(why, STATUS_RANGE, "kernel %s: more than %u parts to load; the file is corrupt or not a kernel",
				   path, BOOT_CHUNKS);
	boot->plan.chunk[boot->plan.chunks++] = *chunk;
	return STATUS_OK;
}

/* Within [first, last], which is RAM: each turn passes a chunk, so there are at most as many turns as chunks. */
static bool place_within(const struct boot_plan *plan, uint64_t length, uint64_t alignment, uint64_t first, uint64_t last, bool top,
			 uint64_t *gpa)
{
	uint64_t at;

	for (;;) {
		const struct boot_chunk *other;

		if (last < first || last - first < length - 1)
			return false;
		at = top ? (last - (length - 1)) & ~(alignment - 1) : first;
		if (!top && (at & (alignment - 1))) {
			if (__builtin_add_overflow(at, alignment - 1, &at))
				return false;
			at &= ~(alignment - 1);
		}
		if (at < first || at > last || last - at < length - 1)
			return false;
		other = chunk_overlapping(plan, at, length);
		if (!other) {
			*gpa = at;
			return true;
		}
		if (top) {
			if (!other->gpa)
				return false;
			last = other->gpa - 1;
		} else {
			first = chunk_last(other) + 1;
		}
	}
}

bool boot_place(const struct boot *boot, uint64_t length, uint64_t alignment, uint64_t lowest, uint64_t highest, bool top,
		uint64_t *gpa)
{
	bool found = false;
	unsigned i;

	if (!length)
		return false;
	for (i = 0; i < boot->input.ranges; i++) {
		const struct boot_range *range = &boot->input.range[i];
		uint64_t first = range->base > lowest ? range->base : lowest;
		uint64_t last = range->base + range->length - 1 < highest ? range->base + range->length - 1 : highest;
		uint64_t at;

		if (range->type != BOOT_RAM || !place_within(&boot->plan, length, alignment, first, last, top, &at))
			continue;
		if (!found || (top ? at > *gpa : at < *gpa))
			*gpa = at;
		found = true;
	}
	return found;
}

uint8_t *boot_table_add(struct boot *boot, uint64_t length, uint64_t alignment, uint64_t *gpa, struct reason *why)
{
	struct boot_plan *plan = &boot->plan;
	struct boot_chunk chunk = {.what = "a boot table"};

	if (length <= BOOT_TABLES_SIZE - plan->tables_used &&
	    boot_place(boot, length, alignment, TABLES_LOWEST, TABLES_HIGHEST, false, &chunk.gpa)) {
		chunk.bytes = plan->tables + plan->tables_used;
		chunk.length = chunk.bytes_length = length;
		if (boot_chunk_add(boot, &chunk, why) != STATUS_OK)
			return NULL;
		plan->tables_used += length;
		*gpa = chunk.gpa;
		return plan->tables + (plan->tables_used - length);
	}
	(void)reason_give(
		why, STATUS_RANGE,
		"kernel %s: no room for %llu bytes of boot data below 640 KiB; shorten --cmdline or use a kernel that loads higher",
		boot->input.kernel.path, (unsigned long long)length);
	return NULL;
}

static uint64_t string_length(const char *string)
{
	uint64_t length = 0;

	while (string[length])
		length++;
	return length;
}

enum status boot_string_add(struct boot *boot, const char *first, const char *second, uint64_t *gpa, struct reason *why)
{
	uint64_t length = string_length(first);
	uint64_t second_length = second ? string_length(second) : 0;
	uint8_t *bytes;

	/* Zeroed room is one longer than the text, and a space joins two. */
	bytes = boot_table_add(boot, length + (second_length ? second_length + 1 : 0) + 1, 1, gpa, why);
	if (!bytes)
		return STATUS_RANGE;
	__builtin_memcpy(bytes, first, length);
	if (second_length) {
		bytes[length] = ' ';
		__builtin_memcpy(bytes + length + 1, second, second_length);
	}
	return STATUS_OK;
}

enum status boot_initrd_add(struct boot *boot, uint64_t lowest, uint64_t highest, bool top, uint64_t *gpa, struct reason *why)
{
	const struct boot_file *initrd = &boot->input.initrd;
	struct boot_chunk chunk = {
		.what = "the initrd", .bytes = initrd->bytes, .bytes_length = initrd->size, .length = initrd->size};

	*gpa = 0;
	if (!initrd->bytes)
		return STATUS_OK;
	if (!initrd->size)
		return reason_give(why, STATUS_INVALID, "initrd %s: the file is empty; give an initramfs or leave --initrd out",
				   initrd->path);
	if (!boot_place(boot, initrd->size, GUEST_PAGE_SIZE, lowest, highest, top, &chunk.gpa))
		return reason_give(
			why, STATUS_RANGE,
			"initrd %s: its %llu KiB do not fit beside the kernel in the VM's memory; give it more (--memory)",
			initrd->path, (unsigned long long)(initrd->size + 1023) / 1024);
	*gpa = chunk.gpa;
	return boot_chunk_add(boot, &chunk, why);
}

static uint64_t descriptor(uint64_t attributes, uint64_t limit)
{
	return (attributes & 0xff) << 40 | (attributes & 0xf000) << 40 | (limit & 0xffff) | (limit >> 16 & 0xf) << 48;
}

#define GDT_ENTRIES 6u /* null, free, code, data, TSS (two entries in long mode) */

enum status boot_descriptors_add(struct boot *boot, struct reason *why)
{
	struct boot_registers *registers = &boot->plan.registers;
	uint8_t *gdt = boot_table_add(boot, GDT_ENTRIES * 8, 16, &registers->gdt, why);

	if (!gdt)
		return STATUS_RANGE;
	boot_write64(gdt + BOOT_CS, descriptor(registers->long_mode ? ATTRIBUTES_CODE64 : ATTRIBUTES_CODE32, 0xfffff));
	boot_write64(gdt + BOOT_DS, descriptor(ATTRIBUTES_DATA, 0xfffff));
	boot_write64(gdt + BOOT_TR, descriptor(ATTRIBUTES_TSS, TSS_LIMIT));
	return STATUS_OK;
}

enum status boot_identity_map_add(struct boot *boot, struct reason *why)
{
	uint64_t *cr3 = &boot->plan.registers.cr3;
	uint8_t *tables = boot_table_add(boot, 6 * GUEST_PAGE_SIZE, GUEST_PAGE_SIZE, cr3, why);
	unsigned i;

	if (!tables)
		return STATUS_RANGE;
	/* PML4, page directory pointers, four page directories of 2 MiB pages. */
	boot_write64(tables, (*cr3 + GUEST_PAGE_SIZE) | PAGE_PRESENT_WRITABLE);
	for (i = 0; i < 4; i++)
		boot_write64(tables + GUEST_PAGE_SIZE + i * 8, (*cr3 + (2 + i) * GUEST_PAGE_SIZE) | PAGE_PRESENT_WRITABLE);
	for (i = 0; i < 4 * 512; i++)
		boot_write64(tables + 2 * GUEST_PAGE_SIZE + i * 8, (uint64_t)i << 21 | PAGE_PRESENT_WRITABLE | PAGE_LARGE);
	return STATUS_OK;
}

void boot_release(struct boot *boot)
{
	struct boot_plan *plan = &boot->plan;

	if (plan->tables)
		host_free(plan->tables, BOOT_TABLES_SIZE);
	if (plan->image)
		boot->input.decompress_free(plan->image, plan->image_size);
	__builtin_memset(plan, 0, sizeof(*plan));
	boot->planned = false;
}

static enum status kernel_unknown(const struct boot_file *kernel, struct reason *why)
{
	static const uint8_t gzip[] = {0x1f, 0x8b}, xz[] = {0xfd, '7', 'z', 'X', 'Z'}, zstd[] = {0x28, 0xb5, 0x2f, 0xfd};

	if ((kernel->size >= sizeof(gzip) && !__builtin_memcmp(kernel->bytes, gzip, sizeof(gzip))) ||
	    (kernel->size >= sizeof(xz) && !__builtin_memcmp(kernel->bytes, xz, sizeof(xz))) ||
	    (kernel->size >= sizeof(zstd) && !__builtin_memcmp(kernel->bytes, zstd, sizeof(zstd))))
		return reason_give(why, STATUS_INVALID, "kernel %s: a compressed file; decompress it first", kernel->path);
	return reason_give(
		why, STATUS_INVALID,
		"kernel %s: not a bzImage, nor ELF with a PVH note, nor multiboot; give an x86 kernel (on Debian: /boot/vmlinuz-*)",
		kernel->path);
}

enum status boot_prepare(struct boot *boot, struct reason *why)
{
	const struct boot_file *kernel = &boot->input.kernel;
	enum status status = STATUS_OK;
	bool mine = false;
	unsigned i;

	boot_release(boot);
	if (!kernel->size)
		return reason_give(why, STATUS_INVALID, "kernel %s: the file is empty; give an x86 kernel", kernel->path);
	boot->plan.tables = host_allocate(BOOT_TABLES_SIZE);
	if (!boot->plan.tables)
		return reason_give(why, STATUS_NO_MEMORY, "kernel %s: no host memory for the boot tables", kernel->path);
	for (i = 0; i < sizeof(protocols) / sizeof(protocols[0]) && !mine; i++) {
		boot->protocol = protocols[i].name;
		status = protocols[i].plan(boot, &mine, why);
	}
	if (!mine)
		status = kernel_unknown(kernel, why);
	if (status != STATUS_OK)
		boot_release(boot);
	else
		boot->planned = true;
	return status;
}

static enum status chunk_write(const struct boot_chunk *chunk, struct guest_memory *memory)
{
	uint8_t *at;

	if (chunk->untouched)
		return STATUS_OK;
	at = guest_memory_write_begin(memory, chunk->gpa, chunk->length);
	if (!at)
		return STATUS_RANGE;
	__builtin_memcpy(at, chunk->bytes, chunk->bytes_length);
	__builtin_memset(at + chunk->bytes_length, 0, chunk->length - chunk->bytes_length);
	guest_memory_write_end(memory, chunk->gpa, chunk->length);
	return STATUS_OK;
}

static void segment_set(struct x86_segment *segment, unsigned selector, unsigned attributes, uint32_t limit)
{
	*segment = (struct x86_segment){.limit = limit, .selector = (uint16_t)selector, .attributes = (uint16_t)attributes};
}

static void state_enter(struct x86_state *state, const struct boot_registers *registers)
{
	unsigned i;

	__builtin_memset(state->gpr, 0, sizeof(state->gpr));
	state->gpr[X86_RAX] = registers->rax;
	state->gpr[X86_RBX] = registers->rbx;
	state->gpr[X86_RSI] = registers->rsi;
	state->rip = registers->rip;
	state->rflags = X86_FLAG_FIXED;
	for (i = 0; i < 6; i++)
		segment_set(&state->segment[i], BOOT_DS, ATTRIBUTES_DATA, UINT32_MAX);
	segment_set(&state->segment[X86_CS], BOOT_CS, registers->long_mode ? ATTRIBUTES_CODE64 : ATTRIBUTES_CODE32, UINT32_MAX);
	segment_set(&state->tr, BOOT_TR, ATTRIBUTES_TSS, TSS_LIMIT);
	segment_set(&state->ldtr, 0, X86_SEGMENT_UNUSABLE, 0);
	state->gdtr = (struct x86_table){registers->gdt, GDT_ENTRIES * 8 - 1};
	state->idtr = (struct x86_table){0, 0};
	state->cr0 = X86_CR0_PE | X86_CR0_ET;
	state->cr3 = 0;
	state->cr4 = 0;
	state->efer = 0;
	if (registers->long_mode) {
		state->cr0 |= X86_CR0_PG;
		state->cr3 = registers->cr3;
		state->cr4 = X86_CR4_PAE;
		state->efer = X86_EFER_LME | X86_EFER_LMA;
	}
	state->activity = X86_RUNNING;
}

enum status boot_commit(struct boot *boot, struct guest_memory *memory, struct x86_state *state, struct reason *why)
{
	enum status status = STATUS_OK;
	unsigned i;

	if (!boot->planned)
		status = boot_prepare(boot, why);
	for (i = 0; i < boot->plan.chunks && status == STATUS_OK; i++) {
		status = chunk_write(&boot->plan.chunk[i], memory);
		if (status != STATUS_OK)
			(void)reason_give(why, status, "kernel %s: no RAM at 0x%llx, where the memory map has some",
					  boot->input.kernel.path, (unsigned long long)boot->plan.chunk[i].gpa);
	}
	if (status == STATUS_OK)
		state_enter(state, &boot->plan.registers);
	boot_release(boot);
	return status;
}
