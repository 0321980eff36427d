/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot_linux.c - Linux's boot protocol (Documentation/arch/x86/boot.rst): bzImage at its 64-bit entry, or its 32-bit entry if it has no other.
 *
 * A bzImage is a setup header, a decompressor and a compressed vmlinux. Where the host can decompress (input.decompress), the vmlinux's
 * segments are loaded to where it was linked to run and entered at startup_64, as the decompressor would have done, but on
 * the host's processor rather than on an emulated one. The kernel's relocations (address space randomisation) are not applied. Whatever is unusual
 * about the payload makes us take the plain way: the file as it is, entered at the decompressor.
 */
#include <holon/host.h>

#include "board/boot.h"
#include "board/elf.h"

/* Setup header; the offsets are those in the file and in struct boot_params alike. */
#define HEADER 0x1f1u
#define SETUP_SECTS 0x1f1
#define SYSSIZE 0x1f4
#define VID_MODE 0x1fa
#define BOOT_FLAG 0x1fe
#define JUMP_LENGTH 0x201 /* the header ends at 0x202 plus this byte */
#define MAGIC 0x202
#define VERSION 0x206
#define TYPE_OF_LOADER 0x210
#define LOADFLAGS 0x211
#define CODE32_START 0x214
#define RAMDISK_IMAGE 0x218
#define RAMDISK_SIZE 0x21c
#define CMD_LINE_PTR 0x228
#define INITRD_ADDR_MAX 0x22c
#define KERNEL_ALIGNMENT 0x230
#define RELOCATABLE_KERNEL 0x234
#define XLOADFLAGS 0x236
#define CMDLINE_SIZE 0x238
#define PAYLOAD_OFFSET 0x248
#define PAYLOAD_LENGTH 0x24c
#define PREF_ADDRESS 0x258
#define INIT_SIZE 0x260
#define HEADER_LAST 0x290u /* what follows in boot_params is not the header's */

#define BOOT_FLAG_VALUE 0xaa55u
#define MAGIC_VALUE 0x53726448u /* HdrS */
#define LOADED_HIGH 1u
#define XLF_KERNEL_64 1u
#define VID_MODE_NORMAL 0xffffu
#define LOADER_UNKNOWN 0xffu
#define VERSION_CMDLINE_SIZE 0x206u
#define VERSION_PAYLOAD 0x208u
#define VERSION_PREF_ADDRESS 0x20au
#define VERSION_XLOADFLAGS 0x20cu
#define VERSION_NEWEST 0x20fu
#define ENTRY_64 0x200u

/* struct boot_params (arch/x86/include/uapi/asm/bootparam.h). */
#define PARAMS_SIZE 4096u
#define PARAMS_RSDP 0x70
#define PARAMS_EXT_RAMDISK_IMAGE 0xc0
#define PARAMS_EXT_RAMDISK_SIZE 0xc4
#define PARAMS_EXT_CMD_LINE_PTR 0xc8
#define PARAMS_E820_ENTRIES 0x1e8
#define PARAMS_E820_TABLE 0x2d0
#define E820_ENTRY_SIZE 20u

#define LOAD_LOWEST 0x100000u
#define DEFAULT_INITRD_MAX 0x37ffffffu
#define DEFAULT_CMDLINE_SIZE 2047u
#define IMAGE_MAX (UINT64_C(1) << 30)

struct linux_kernel {
	const uint8_t *header; /* the file's first bytes */
	uint64_t header_last;  /* offset of the first byte behind the header */
	const uint8_t *code;   /* the protected-mode part */
	uint64_t code_size;
	unsigned version;
	bool entry64;
	bool relocatable;
	uint64_t alignment, preferred, init_size;
	uint64_t initrd_max;
	uint64_t cmdline_size;
};

static enum status linux_damaged(const struct boot *boot, const char *what, struct reason *why)
{
	return reason_give(why, STATUS_INVALID, "kernel %s: %s; the file is truncated or corrupt, get it again",
			   boot->input.kernel.path, what);
}

static bool linux_detect(const struct boot_file *kernel)
{
	return kernel->size >= MAGIC + 4 && boot_read16(kernel->bytes + BOOT_FLAG) == BOOT_FLAG_VALUE &&
	       boot_read32(kernel->bytes + MAGIC) == MAGIC_VALUE;
}

static enum status header_read(const struct boot *boot, struct linux_kernel *bz, struct reason *why)
{
	const struct boot_file *kernel = &boot->input.kernel;
	const uint8_t *bytes = kernel->bytes;
	uint64_t setup_size;

	*bz = (struct linux_kernel){.header = bytes};
	setup_size = ((bytes[SETUP_SECTS] ? bytes[SETUP_SECTS] : 4u) + 1u) * 512u;
	if (kernel->size <= setup_size || kernel->size < HEADER_LAST)
		return linux_damaged(boot, "it ends inside its setup code", why);
	bz->version = boot_read16(bytes + VERSION);
	if (bz->version < VERSION_CMDLINE_SIZE || !(bytes[LOADFLAGS] & LOADED_HIGH))
		return reason_give(why, STATUS_INVALID,
				   "kernel %s: boot protocol %u.%02u is older than 2.06 or loads below 1 MiB; give a kernel from "
				   "2007 or later",
				   kernel->path, bz->version >> 8, bz->version & 0xff);
	bz->header_last = MAGIC + bytes[JUMP_LENGTH];
	if (bz->header_last > HEADER_LAST)
		bz->header_last = HEADER_LAST;
	bz->code = bytes + setup_size;
	bz->code_size = kernel->size - setup_size;
	/* syssize counts paragraphs, the last one may not be whole. */
	if ((uint64_t)boot_read32(bytes + SYSSIZE) * 16 > bz->code_size + 15)
		return linux_damaged(boot, "it is shorter than its header says", why);
	bz->relocatable = bytes[RELOCATABLE_KERNEL];
	bz->alignment = boot_read32(bytes + KERNEL_ALIGNMENT);
	if (!bz->alignment || (bz->alignment & (bz->alignment - 1)))
		bz->alignment = LOAD_LOWEST;
	bz->initrd_max = boot_read32(bytes + INITRD_ADDR_MAX) ? boot_read32(bytes + INITRD_ADDR_MAX) : DEFAULT_INITRD_MAX;
	bz->cmdline_size = boot_read32(bytes + CMDLINE_SIZE);
	bz->preferred = LOAD_LOWEST;
	bz->init_size = bz->code_size;
	if (bz->version >= VERSION_PREF_ADDRESS) {
		bz->preferred = boot_read64(bytes + PREF_ADDRESS);
		if (boot_read32(bytes + INIT_SIZE) > bz->init_size)
			bz->init_size = boot_read32(bytes + INIT_SIZE);
	}
	bz->entry64 = bz->version >= VERSION_XLOADFLAGS && (boot_read16(bytes + XLOADFLAGS) & XLF_KERNEL_64);
	return STATUS_OK;
}

static enum status initrd_and_cmdline_add(struct boot *boot, uint8_t *params, uint64_t initrd_highest, struct reason *why)
{
	const struct boot_file *initrd = &boot->input.initrd;
	uint64_t initrd_gpa, cmdline_gpa;
	enum status status = boot_initrd_add(boot, LOAD_LOWEST, initrd_highest, true, &initrd_gpa, why);

	if (status == STATUS_OK)
		status = boot_string_add(boot, boot->input.cmdline, NULL, &cmdline_gpa, why);
	if (status != STATUS_OK)
		return status;
	if (initrd_gpa) {
		boot_write32(params + RAMDISK_IMAGE, (uint32_t)initrd_gpa);
		boot_write32(params + PARAMS_EXT_RAMDISK_IMAGE, (uint32_t)(initrd_gpa >> 32));
		boot_write32(params + RAMDISK_SIZE, (uint32_t)initrd->size);
		boot_write32(params + PARAMS_EXT_RAMDISK_SIZE, (uint32_t)(initrd->size >> 32));
	}
	boot_write32(params + CMD_LINE_PTR, (uint32_t)cmdline_gpa);
	boot_write32(params + PARAMS_EXT_CMD_LINE_PTR, (uint32_t)(cmdline_gpa >> 32));
	return STATUS_OK;
}

static enum status params_add(struct boot *boot, const uint8_t *header, uint64_t header_last, uint64_t initrd_highest,
			      struct reason *why)
{
	const struct boot_input *input = &boot->input;
	uint8_t *params = boot_table_add(boot, PARAMS_SIZE, GUEST_PAGE_SIZE, &boot->plan.registers.rsi, why);
	unsigned i;

	if (!params)
		return STATUS_RANGE;
	if (header) {
		__builtin_memcpy(params + HEADER, header + HEADER, header_last - HEADER);
	} else {
		boot_write16(params + BOOT_FLAG, BOOT_FLAG_VALUE);
		boot_write32(params + MAGIC, MAGIC_VALUE);
		boot_write16(params + VERSION, VERSION_NEWEST);
		params[LOADFLAGS] = LOADED_HIGH;
		boot_write32(params + KERNEL_ALIGNMENT, LOAD_LOWEST);
	}
	params[TYPE_OF_LOADER] = LOADER_UNKNOWN;
	boot_write16(params + VID_MODE, VID_MODE_NORMAL);
	boot_write64(params + PARAMS_RSDP, input->rsdp);
	params[PARAMS_E820_ENTRIES] = (uint8_t)input->ranges;
	for (i = 0; i < input->ranges; i++) {
		uint8_t *entry = params + PARAMS_E820_TABLE + i * E820_ENTRY_SIZE;

		boot_write64(entry, input->range[i].base);
		boot_write64(entry + 8, input->range[i].length);
		boot_write32(entry + 16, input->range[i].type);
	}
	return initrd_and_cmdline_add(boot, params, initrd_highest, why);
}

enum status boot_linux_enter(struct boot *boot, const uint8_t *header, uint64_t header_length, uint64_t initrd_highest,
			     uint64_t entry, struct reason *why)
{
	struct boot_registers *registers = &boot->plan.registers;
	enum status status;

	registers->long_mode = true;
	registers->rip = entry;
	status = params_add(boot, header, header_length, initrd_highest, why);
	if (status == STATUS_OK)
		status = boot_descriptors_add(boot, why);
	if (status == STATUS_OK)
		status = boot_identity_map_add(boot, why);
	return status;
}

/*
 * The vmlinux in the payload, decompressed; its trailing four bytes say how long it is. `why` only tells the debug log
 * why the plain way is taken, unless the payload is `damaged`: of a format that is known, and broken. Then the guest could not unpack it either.
 */
static enum status payload_decompress(struct boot *boot, const struct linux_kernel *bz, bool *damaged, struct reason *why)
{
	struct boot_plan *plan = &boot->plan;
	uint64_t offset, length;
	enum status status;

	if (!boot->input.decompress || bz->version < VERSION_PAYLOAD)
		return reason_give(why, STATUS_UNSUPPORTED, "no decompressor for it");
	offset = boot_read32(bz->header + PAYLOAD_OFFSET);
	length = boot_read32(bz->header + PAYLOAD_LENGTH);
	if (length <= 4 || offset > bz->code_size || length > bz->code_size - offset)
		return reason_give(why, STATUS_INVALID, "the payload lies outside the file");
	if (boot_read32(bz->code + offset + length - 4) > IMAGE_MAX)
		return reason_give(why, STATUS_INVALID, "the payload is said to be too large");
	status = boot->input.decompress(bz->code + offset, length, &plan->image, &plan->image_size, why);
	if (status != STATUS_OK) {
		*damaged = status == STATUS_INVALID;
		plan->image = NULL;
		return status;
	}
	if (plan->image_size != boot_read32(bz->code + offset + length - 4)) {
		*damaged = true;
		return reason_give(
			why, STATUS_INVALID,
			"its compressed payload is damaged: it unpacks to another length than it says; fetch the file again");
	}
	return STATUS_OK;
}

/* Plans the decompressed kernel's segments; on failure the plan is as empty as before. */
static enum status vmlinux_load(struct boot *boot, const struct linux_kernel *bz, uint64_t *entry, bool *damaged,
				struct reason *why)
{
	struct boot_plan *plan = &boot->plan;
	struct elf_file elf;
	enum status status;

	status = payload_decompress(boot, bz, damaged, why);
	if (status == STATUS_OK)
		status = elf_open(&elf, plan->image, plan->image_size, boot->input.kernel.path, why);
	if (status == STATUS_OK && (!elf.is64 || elf.type != ELF_ET_EXEC))
		status = reason_give(why, STATUS_UNSUPPORTED, "the payload is no 64-bit executable");
	if (status == STATUS_OK)
		status = elf_load(&elf, boot, why);
	if (status == STATUS_OK && !elf_entry_find(&elf, entry))
		status = reason_give(why, STATUS_UNSUPPORTED, "the payload's entry lies in no segment");
	/* Page tables of the entry state reach to 4 GiB. */
	if (status == STATUS_OK && *entry > UINT32_MAX)
		status = reason_give(why, STATUS_UNSUPPORTED, "the payload's entry lies above 4 GiB");
	if (status == STATUS_OK)
		return STATUS_OK;
	plan->chunks = 0;
	if (plan->image)
		boot->input.decompress_free(plan->image, plan->image_size);
	plan->image = NULL;
	return status;
}

/* The plain way: the protected-mode part where it prefers to be, or where there is room. */
static enum status image_load(struct boot *boot, const struct linux_kernel *bz, uint64_t *gpa, struct reason *why)
{
	const struct boot_input *input = &boot->input;
	uint64_t lowest = bz->preferred > LOAD_LOWEST ? bz->preferred : LOAD_LOWEST;
	enum status status;

	*gpa = bz->preferred;
	if (bz->relocatable && !boot_place(boot, bz->init_size, bz->alignment, lowest, UINT32_MAX, false, gpa) &&
	    !boot_place(boot, bz->init_size, bz->alignment, LOAD_LOWEST, UINT32_MAX, false, gpa))
		return reason_give(why, STATUS_RANGE,
				   "kernel %s: it needs %llu KiB of memory to start; give the VM more (--memory)",
				   input->kernel.path, (unsigned long long)(bz->init_size + 1023) / 1024);
	status = boot_chunk_add(boot,
				&(struct boot_chunk){.gpa = *gpa,
						     .length = bz->code_size,
						     .bytes = bz->code,
						     .bytes_length = bz->code_size,
						     .what = "the kernel"},
				why);
	if (status == STATUS_OK && bz->init_size > bz->code_size)
		status = boot_chunk_add(boot,
					&(struct boot_chunk){.gpa = *gpa + bz->code_size,
							     .length = bz->init_size - bz->code_size,
							     .untouched = true,
							     .what = "the kernel's work space"},
					why);
	return status;
}

static enum status plain_plan(struct boot *boot, const struct linux_kernel *bz, struct reason *why)
{
	struct boot_registers *registers = &boot->plan.registers;
	enum status status;
	uint64_t gpa;

	status = image_load(boot, bz, &gpa, why);
	if (status != STATUS_OK)
		return status;
	if (bz->entry64) {
		status = boot_linux_enter(boot, bz->header, bz->header_last, bz->initrd_max, gpa + ENTRY_64, why);
	} else {
		registers->rip = gpa;
		status = params_add(boot, bz->header, bz->header_last, bz->initrd_max, why);
		if (status == STATUS_OK)
			status = boot_descriptors_add(boot, why);
	}
	return status;
}

static uint64_t cmdline_length(const struct boot *boot)
{
	uint64_t length = 0;

	while (boot->input.cmdline[length])
		length++;
	return length;
}

enum status boot_linux_plan(struct boot *boot, bool *mine, struct reason *why)
{
	struct reason plain = {""};
	struct linux_kernel bz;
	enum status status;
	bool damaged = false;
	uint64_t entry;

	if (!linux_detect(&boot->input.kernel))
		return STATUS_OK;
	*mine = true;
	status = header_read(boot, &bz, why);
	if (status != STATUS_OK)
		return status;
	if (cmdline_length(boot) > (bz.cmdline_size ? bz.cmdline_size : DEFAULT_CMDLINE_SIZE))
		return reason_give(
			why, STATUS_USAGE, "kernel %s: its command line holds %llu bytes, --cmdline has %llu; shorten it",
			boot->input.kernel.path, (unsigned long long)bz.cmdline_size, (unsigned long long)cmdline_length(boot));
	if (bz.entry64 && vmlinux_load(boot, &bz, &entry, &damaged, &plain) == STATUS_OK)
		return boot_linux_enter(boot, bz.header, bz.header_last, bz.initrd_max, entry, why);
	if (damaged)
		return reason_give(why, STATUS_INVALID, "kernel %s: %s", boot->input.kernel.path, plain.text);
	if (plain.text[0])
		host_log(HOST_LOG_DEBUG, "kernel %s: the guest decompresses it: %s", boot->input.kernel.path, plain.text);
	return plain_plan(boot, &bz, why);
}
