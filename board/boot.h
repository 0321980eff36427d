/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot.h - direct kernel boot: from the bytes of a kernel file to guest memory and the registers of the first vcpu.
 *
 * Two steps. boot_prepare() reads the kernel file, which may be anything an attacker likes, and makes a plan: which bytes go where, which
 * tables are built, what the registers are. It writes nothing, so that a bad kernel is refused before the machine exists. boot_commit() carries
 * the plan out, at every start and reset. Each protocol is a file (boot_linux.c, boot_elf.c, boot_multiboot.c) and makes a plan with the
 * functions at the end of this header.
 */
#ifndef HOLON_BOARD_BOOT_H
#define HOLON_BOARD_BOOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <holon/guest_memory.h>
#include <holon/status.h>

#include "x86/state.h"

/* Address range types of ACPI's E820 (ACPI 6.4, table 15.9); multiboot and PVH use the same numbers. */
#define BOOT_RAM 1u
#define BOOT_RESERVED 2u

#define BOOT_RANGES 16
#define BOOT_CHUNKS 64
#define BOOT_TABLES_SIZE 0x20000u /* all that a protocol builds itself: page tables, parameters, command lines */

struct boot_range {
	uint64_t base;
	uint64_t length;
	uint32_t type;
};

struct boot_file {
	const char *path;
	const uint8_t *bytes;
	uint64_t size;
};

/* What the machine gives. `kernel` and `initrd` stay as they are while the VM lives. */
struct boot_input {
	struct boot_file kernel;
	struct boot_file initrd; /* bytes NULL: none */
	const char *cmdline;
	uint64_t rsdp; /* where the ACPI tables begin */
	struct boot_range range[BOOT_RANGES];
	unsigned ranges;
	/* As in struct board_backends; NULL: the host has no decompressor. */
	enum status (*decompress)(const uint8_t *in, uint64_t in_length, uint8_t **out, uint64_t *out_length, struct reason *why);
	void (*decompress_free)(uint8_t *out, uint64_t out_length);
};

/* [gpa, gpa + length) is taken: `bytes` come first, zeros fill the rest; `untouched`: the kernel needs it, nothing is written. */
struct boot_chunk {
	uint64_t gpa;
	uint64_t length;
	const uint8_t *bytes;
	uint64_t bytes_length;
	bool untouched;
	const char *what; /* for messages */
};

struct boot_registers {
	bool long_mode;
	uint64_t rip, rax, rbx, rsi;
	uint64_t cr3; /* long mode */
	uint64_t gdt; /* the table that boot_descriptors_add() has built */
};

struct boot_plan {
	struct boot_chunk chunk[BOOT_CHUNKS];
	unsigned chunks;
	struct boot_registers registers;
	uint8_t *tables; /* BOOT_TABLES_SIZE bytes, while the plan is there */
	uint64_t tables_used;
	uint8_t *image; /* a kernel that was decompressed on the host */
	uint64_t image_size;
};

struct boot {
	struct boot_input input;
	struct boot_plan plan;
	bool planned;
	const char *protocol; /* of the last plan, for the log */
};

/* Makes the plan. `why` names the file, the reason and the next step. */
enum status boot_prepare(struct boot *boot, struct reason *why) must_check;
/*
 * Writes the plan into guest memory, changes `state` (the vcpu's own, after a reset) to the protocol's entry state, and frees the plan: a decompressed
 * kernel is tens of MiB, a reset makes it anew.
 */
enum status boot_commit(struct boot *boot, struct guest_memory *memory, struct x86_state *state, struct reason *why) must_check;
void boot_release(struct boot *boot);

/* --- for the protocols --- */

/* Takes [gpa, gpa + length). STATUS_RANGE where it is not all in one range of RAM, STATUS_INVALID where it overlaps what is there. */
enum status boot_chunk_add(struct boot *boot, const struct boot_chunk *chunk, struct reason *why) must_check;
/* A free range of RAM within [lowest, highest], the highest or the lowest that there is. false: there is none. */
bool boot_place(const struct boot *boot, uint64_t length, uint64_t alignment, uint64_t lowest, uint64_t highest, bool top,
		uint64_t *gpa);
/* Zeroed room for a table below 640 KiB, which appears in the guest at *gpa. NULL: no room, `why` says it. */
uint8_t *boot_table_add(struct boot *boot, uint64_t length, uint64_t alignment, uint64_t *gpa, struct reason *why);
/* A string as such a table. */
enum status boot_string_add(struct boot *boot, const char *first, const char *second, uint64_t *gpa, struct reason *why) must_check;
/* The initrd at the highest or lowest place that there is; *gpa is 0 without one. */
enum status boot_initrd_add(struct boot *boot, uint64_t lowest, uint64_t highest, bool top, uint64_t *gpa,
			    struct reason *why) must_check;
/* The GDT that goes with the entry state, and for long mode page tables that map the first 4 GiB to themselves. */
enum status boot_descriptors_add(struct boot *boot, struct reason *why) must_check;
enum status boot_identity_map_add(struct boot *boot, struct reason *why) must_check;

/* Each looks whether the kernel is of its kind: *mine says so; if it is, the status is that of the plan. */
enum status boot_linux_plan(struct boot *boot, bool *mine, struct reason *why) must_check;
enum status boot_pvh_plan(struct boot *boot, bool *mine, struct reason *why) must_check;
enum status boot_multiboot_plan(struct boot *boot, bool *mine, struct reason *why) must_check;
enum status boot_vmlinux_plan(struct boot *boot, bool *mine, struct reason *why) must_check;

/* boot_linux.c: plans a decompressed kernel of which `header` (NULL: none) is the setup header; the segments are in the plan already. */
enum status boot_linux_enter(struct boot *boot, const uint8_t *header, uint64_t header_length, uint64_t initrd_highest,
			     uint64_t entry, struct reason *why) must_check;

/* Unaligned little-endian fields. */
static inline uint16_t boot_read16(const uint8_t *bytes)
{
	uint16_t value;

	__builtin_memcpy(&value, bytes, sizeof(value));
	return value;
}
static inline uint32_t boot_read32(const uint8_t *bytes)
{
	uint32_t value;

	__builtin_memcpy(&value, bytes, sizeof(value));
	return value;
}
static inline uint64_t boot_read64(const uint8_t *bytes)
{
	uint64_t value;

	__builtin_memcpy(&value, bytes, sizeof(value));
	return value;
}
static inline void boot_write16(uint8_t *bytes, uint16_t value)
{
	__builtin_memcpy(bytes, &value, sizeof(value));
}
static inline void boot_write32(uint8_t *bytes, uint32_t value)
{
	__builtin_memcpy(bytes, &value, sizeof(value));
}
static inline void boot_write64(uint8_t *bytes, uint64_t value)
{
	__builtin_memcpy(bytes, &value, sizeof(value));
}

#endif
