/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot_elf.c - ELF kernels: PVH, the way that Xen's documentation gives (docs/misc/pvh.pandoc: 32-bit entry, hvm_start_info in EBX), and, for
 * those that have no PVH note, a Linux vmlinux at its 64-bit entry. Multiboot kernels are often ELF too: see boot_multiboot.c.
 */
#include "board/boot.h"
#include "board/elf.h"

#define XEN_ELFNOTE_PHYS32_ENTRY 18u

/* struct hvm_start_info, version 1, and what it points at (xen/include/public/arch-x86/hvm/start_info.h). */
#define START_INFO_MAGIC 0x336ec578u
#define START_INFO_SIZE 56u
#define START_INFO_VERSION 4
#define START_INFO_MODULES 12
#define START_INFO_MODULE_LIST 16
#define START_INFO_CMDLINE 24
#define START_INFO_RSDP 32
#define START_INFO_MEMORY_MAP 40
#define START_INFO_MEMORY_MAP_ENTRIES 48
#define MODULE_SIZE 32u
#define MEMORY_MAP_ENTRY_SIZE 24u

static enum status start_info_add(struct boot *boot, uint64_t initrd, struct reason *why)
{
	const struct boot_input *input = &boot->input;
	uint64_t map_gpa, module_gpa, cmdline_gpa, info_gpa;
	uint8_t *map, *module, *info;
	unsigned i;

	map = boot_table_add(boot, (uint64_t)input->ranges * MEMORY_MAP_ENTRY_SIZE, 8, &map_gpa, why);
	module = map ? boot_table_add(boot, MODULE_SIZE, 8, &module_gpa, why) : NULL;
	info = module ? boot_table_add(boot, START_INFO_SIZE, 8, &info_gpa, why) : NULL;
	if (!info || boot_string_add(boot, input->cmdline, NULL, &cmdline_gpa, why) != STATUS_OK)
		return STATUS_RANGE;
	for (i = 0; i < input->ranges; i++) {
		boot_write64(map + i * MEMORY_MAP_ENTRY_SIZE, input->range[i].base);
		boot_write64(map + i * MEMORY_MAP_ENTRY_SIZE + 8, input->range[i].length);
		boot_write32(map + i * MEMORY_MAP_ENTRY_SIZE + 16, input->range[i].type);
	}
	boot_write32(info, START_INFO_MAGIC);
	boot_write32(info + START_INFO_VERSION, 1);
	if (initrd) {
		boot_write64(module, initrd);
		boot_write64(module + 8, input->initrd.size);
		boot_write32(info + START_INFO_MODULES, 1);
		boot_write64(info + START_INFO_MODULE_LIST, module_gpa);
	}
	boot_write64(info + START_INFO_CMDLINE, cmdline_gpa);
	boot_write64(info + START_INFO_RSDP, input->rsdp);
	boot_write64(info + START_INFO_MEMORY_MAP, map_gpa);
	boot_write32(info + START_INFO_MEMORY_MAP_ENTRIES, input->ranges);
	boot->plan.registers.rbx = info_gpa;
	return STATUS_OK;
}

enum status boot_pvh_plan(struct boot *boot, bool *mine, struct reason *why)
{
	const struct boot_file *kernel = &boot->input.kernel;
	const uint8_t *descriptor;
	struct elf_file elf;
	enum status status;
	uint32_t length;
	uint64_t initrd;

	if (!elf_detect(kernel->bytes, kernel->size))
		return STATUS_OK;
	/* From here on it is an ELF file: what is wrong with it is worth saying. */
	status = elf_open(&elf, kernel->bytes, kernel->size, kernel->path, why);
	if (status != STATUS_OK) {
		*mine = true;
		return status;
	}
	if (!elf_note_find(&elf, "Xen", XEN_ELFNOTE_PHYS32_ENTRY, &descriptor, &length) || (length != 4 && length != 8))
		return STATUS_OK;
	*mine = true;
	boot->plan.registers.rip = length == 8 ? boot_read64(descriptor) : boot_read32(descriptor);
	if (boot->plan.registers.rip > UINT32_MAX)
		return reason_give(why, STATUS_INVALID,
				   "kernel %s: its PVH entry lies above 4 GiB; the file is corrupt, get it again", kernel->path);
	status = elf_load(&elf, boot, why);
	if (status == STATUS_OK)
		status = boot_initrd_add(boot, 0x100000, UINT32_MAX, true, &initrd, why);
	if (status == STATUS_OK)
		status = start_info_add(boot, initrd, why);
	if (status == STATUS_OK)
		status = boot_descriptors_add(boot, why);
	return status;
}

enum status boot_vmlinux_plan(struct boot *boot, bool *mine, struct reason *why)
{
	const struct boot_file *kernel = &boot->input.kernel;
	struct elf_file elf;
	enum status status;
	uint64_t entry;

	if (!elf_detect(kernel->bytes, kernel->size))
		return STATUS_OK;
	*mine = true;
	status = elf_open(&elf, kernel->bytes, kernel->size, kernel->path, why);
	if (status != STATUS_OK)
		return status;
	if (!elf.is64 || elf.type != ELF_ET_EXEC)
		return reason_give(why, STATUS_INVALID,
				   "kernel %s: an ELF file with neither a PVH note nor a multiboot header, and no 64-bit vmlinux; "
				   "give a bzImage, PVH or multiboot kernel",
				   kernel->path);
	status = elf_load(&elf, boot, why);
	if (status != STATUS_OK)
		return status;
	if (!elf_entry_find(&elf, &entry))
		return reason_give(why, STATUS_INVALID,
				   "kernel %s: its entry point lies in no segment; the file is corrupt, get it again",
				   kernel->path);
	return boot_linux_enter(boot, NULL, 0, 0x7fffffff, entry, why);
}
