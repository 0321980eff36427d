/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot_multiboot.c - Multiboot 0.6.96: test kernels and unikernels. The image is ELF (32-bit, or 64-bit with a 32-bit entry) or says
 * in its header where its bytes go (the "a.out kludge"). The initrd is the one module.
 */
#include <holon/host.h>

#include "board/boot.h"
#include "board/elf.h"

#define SEARCH_SIZE 8192u /* the header lies in these first bytes, at a multiple of 4 */
#define HEADER_MAGIC 0x1badb002u
#define LOADER_MAGIC 0x2badb002u
#define HEADER_FLAGS 4
#define HEADER_CHECKSUM 8
#define HEADER_ADDRESS 12
#define HEADER_LOAD_ADDRESS 16
#define HEADER_LOAD_END 20
#define HEADER_BSS_END 24
#define HEADER_ENTRY 28
#define WANTS_VIDEO 4u
#define MANDATORY_UNKNOWN 0xfff8u
#define HAS_ADDRESSES 0x10000u

#define INFO_SIZE 88u
#define INFO_MEM_LOWER 4
#define INFO_MEM_UPPER 8
#define INFO_CMDLINE 16
#define INFO_MODS_COUNT 20
#define INFO_MODS_ADDRESS 24
#define INFO_MMAP_LENGTH 44
#define INFO_MMAP_ADDRESS 48
#define INFO_LOADER_NAME 64
#define INFO_HAS_MEMORY 1u
#define INFO_HAS_CMDLINE 4u
#define INFO_HAS_MODULES 8u
#define INFO_HAS_MMAP 0x40u
#define INFO_HAS_LOADER_NAME 0x200u
#define MODULE_SIZE 16u
#define MMAP_ENTRY_SIZE 24u /* with the size field, which does not count itself */

static const uint8_t *header_find(const struct boot_file *kernel, uint64_t *offset)
{
	uint64_t last = kernel->size < SEARCH_SIZE ? kernel->size : SEARCH_SIZE;
	uint64_t at;

	for (at = 0; at + 12 <= last; at += 4) {
		const uint8_t *header = kernel->bytes + at;

		if (boot_read32(header) == HEADER_MAGIC &&
		    boot_read32(header) + boot_read32(header + HEADER_FLAGS) + boot_read32(header + HEADER_CHECKSUM) == 0) {
			*offset = at;
			return header;
		}
	}
	return NULL;
}

static enum status multiboot_damaged(const struct boot *boot, const char *what, struct reason *why)
{
	return reason_give(why, STATUS_INVALID, "kernel %s: %s; the file is truncated or corrupt, get it again",
			   boot->input.kernel.path, what);
}

static enum status kludge_load(struct boot *boot, const uint8_t *header, uint64_t header_offset, struct reason *why)
{
	const struct boot_file *kernel = &boot->input.kernel;
	uint32_t header_address, load, load_end, bss_end;
	struct boot_chunk chunk = {.what = "the kernel"};
	uint64_t start;

	if (kernel->size - header_offset < HEADER_ENTRY + 4)
		return multiboot_damaged(boot, "it ends inside its multiboot header", why);
	header_address = boot_read32(header + HEADER_ADDRESS);
	load = boot_read32(header + HEADER_LOAD_ADDRESS);
	load_end = boot_read32(header + HEADER_LOAD_END);
	bss_end = boot_read32(header + HEADER_BSS_END);
	if (load > header_address || header_address - load > header_offset)
		return multiboot_damaged(boot, "its multiboot header loads bytes from before the file", why);
	start = header_offset - (header_address - load);
	chunk.gpa = load;
	chunk.bytes = kernel->bytes + start;
	chunk.bytes_length = kernel->size - start;
	if (load_end) { /* 0: to the end of the file */
		if (load_end < load || load_end - load > chunk.bytes_length)
			return multiboot_damaged(boot, "its multiboot header loads more bytes than it has", why);
		chunk.bytes_length = load_end - load;
	}
	chunk.length = chunk.bytes_length;
	if (bss_end) { /* 0: there is none */
		if (bss_end < load || bss_end - load < chunk.bytes_length)
			return multiboot_damaged(boot, "its multiboot header ends the BSS before the data", why);
		chunk.length = bss_end - load;
	}
	boot->plan.registers.rip = boot_read32(header + HEADER_ENTRY);
	return boot_chunk_add(boot, &chunk, why);
}

static enum status elf_image_load(struct boot *boot, struct reason *why)
{
	const struct boot_file *kernel = &boot->input.kernel;
	struct elf_file elf;
	enum status status;

	if (!elf_detect(kernel->bytes, kernel->size))
		return multiboot_damaged(boot, "its multiboot header gives no load addresses and it is no ELF file", why);
	status = elf_open(&elf, kernel->bytes, kernel->size, kernel->path, why);
	if (status == STATUS_OK)
		status = elf_load(&elf, boot, why);
	if (status == STATUS_OK && (!elf_entry_find(&elf, &boot->plan.registers.rip) || boot->plan.registers.rip > UINT32_MAX))
		status = multiboot_damaged(boot, "its entry point lies in no segment below 4 GiB", why);
	return status;
}

static void memory_sizes_write(const struct boot_input *input, uint8_t *info)
{
	uint64_t lower = 0, upper = 0;
	unsigned i;

	for (i = 0; i < input->ranges; i++) {
		const struct boot_range *range = &input->range[i];

		if (range->type == BOOT_RAM && range->base == 0)
			lower = range->length >> 10;
		if (range->type == BOOT_RAM && range->base == 0x100000)
			upper = range->length >> 10;
	}
	boot_write32(info + INFO_MEM_LOWER, (uint32_t)(lower < 640 ? lower : 640));
	boot_write32(info + INFO_MEM_UPPER, (uint32_t)upper);
}

static enum status module_add(struct boot *boot, uint8_t *info, uint64_t kernel_last, struct reason *why)
{
	const struct boot_file *initrd = &boot->input.initrd;
	uint64_t gpa, list_gpa, name_gpa;
	enum status status;
	uint8_t *list;

	if (!initrd->bytes)
		return STATUS_OK;
	/* Right behind the kernel: small kernels map little memory. */
	status = boot_initrd_add(boot, kernel_last, UINT32_MAX - GUEST_PAGE_SIZE, false, &gpa, why);
	if (status == STATUS_OK)
		status = boot_string_add(boot, initrd->path, NULL, &name_gpa, why);
	if (status != STATUS_OK)
		return status;
	list = boot_table_add(boot, MODULE_SIZE, 4, &list_gpa, why);
	if (!list)
		return STATUS_RANGE;
	boot_write32(list, (uint32_t)gpa);
	boot_write32(list + 4, (uint32_t)(gpa + initrd->size));
	boot_write32(list + 8, (uint32_t)name_gpa);
	boot_write32(info + INFO_MODS_COUNT, 1);
	boot_write32(info + INFO_MODS_ADDRESS, (uint32_t)list_gpa);
	return STATUS_OK;
}

static enum status mmap_add(struct boot *boot, uint8_t *info, struct reason *why)
{
	const struct boot_input *input = &boot->input;
	uint32_t length = input->ranges * MMAP_ENTRY_SIZE;
	uint64_t gpa;
	uint8_t *map = boot_table_add(boot, length, 4, &gpa, why);
	unsigned i;

	if (!map)
		return STATUS_RANGE;
	for (i = 0; i < input->ranges; i++, map += MMAP_ENTRY_SIZE) {
		boot_write32(map, MMAP_ENTRY_SIZE - 4);
		boot_write64(map + 4, input->range[i].base);
		boot_write64(map + 12, input->range[i].length);
		boot_write32(map + 20, input->range[i].type);
	}
	boot_write32(info + INFO_MMAP_LENGTH, length);
	boot_write32(info + INFO_MMAP_ADDRESS, (uint32_t)gpa);
	return STATUS_OK;
}

static enum status info_add(struct boot *boot, struct reason *why)
{
	uint64_t kernel_last = 0x100000, cmdline_gpa, name_gpa;
	uint8_t *info;
	unsigned i;

	for (i = 0; i < boot->plan.chunks; i++)
		if (boot->plan.chunk[i].gpa + boot->plan.chunk[i].length > kernel_last)
			kernel_last = boot->plan.chunk[i].gpa + boot->plan.chunk[i].length;
	info = boot_table_add(boot, INFO_SIZE, 4, &boot->plan.registers.rbx, why);
	if (!info || mmap_add(boot, info, why) != STATUS_OK)
		return STATUS_RANGE;
	/* By custom the command line begins with the kernel's name. */
	if (boot_string_add(boot, boot->input.kernel.path, boot->input.cmdline, &cmdline_gpa, why) != STATUS_OK ||
	    boot_string_add(boot, "holon", NULL, &name_gpa, why) != STATUS_OK)
		return STATUS_RANGE;
	boot_write32(info, INFO_HAS_MEMORY | INFO_HAS_CMDLINE | INFO_HAS_MODULES | INFO_HAS_MMAP | INFO_HAS_LOADER_NAME);
	memory_sizes_write(&boot->input, info);
	boot_write32(info + INFO_CMDLINE, (uint32_t)cmdline_gpa);
	boot_write32(info + INFO_LOADER_NAME, (uint32_t)name_gpa);
	return module_add(boot, info, kernel_last, why);
}

enum status boot_multiboot_plan(struct boot *boot, bool *mine, struct reason *why)
{
	const struct boot_file *kernel = &boot->input.kernel;
	uint64_t header_offset;
	const uint8_t *header = header_find(kernel, &header_offset);
	enum status status;
	uint32_t flags;

	if (!header)
		return STATUS_OK;
	*mine = true;
	flags = boot_read32(header + HEADER_FLAGS);
	if (flags & MANDATORY_UNKNOWN)
		return reason_give(why, STATUS_INVALID,
				   "kernel %s: its multiboot header demands features that nobody defined (flags 0x%x); rebuild it "
				   "without them",
				   kernel->path, flags);
	if (flags & WANTS_VIDEO)
		host_log(HOST_LOG_WARN, "kernel %s wants a video mode; there is no display, it gets none", kernel->path);
	status = flags & HAS_ADDRESSES ? kludge_load(boot, header, header_offset, why) : elf_image_load(boot, why);
	if (status == STATUS_OK)
		status = info_add(boot, why);
	if (status == STATUS_OK)
		status = boot_descriptors_add(boot, why);
	boot->plan.registers.rax = LOADER_MAGIC;
	return status;
}
