/* SPDX-License-Identifier: Apache-2.0 */
/*
 * elf.h - ELF kernels as three of the boot protocols need them (System V ABI, chapter 5): both classes in one form, all checked.
 */
#ifndef HOLON_BOARD_ELF_H
#define HOLON_BOARD_ELF_H

#include <stdbool.h>
#include <stdint.h>

#include "board/boot.h"

#define ELF_ET_EXEC 2u
#define ELF_PT_LOAD 1u
#define ELF_PT_NOTE 4u

struct elf_file {
	const uint8_t *bytes;
	uint64_t size;
	bool is64;
	uint16_t type;
	uint64_t entry;
	uint64_t headers; /* offset of the program headers; all of them are inside the file */
	uint16_t header_count;
	uint16_t header_size;
};

struct elf_segment {
	uint32_t type;
	uint64_t offset, vaddr, paddr, filesz, memsz, align;
};

/* Starts with the magic number? */
bool elf_detect(const uint8_t *bytes, uint64_t size);
/* Reads the header; what it says lies inside the file afterwards. */
enum status elf_open(struct elf_file *elf, const uint8_t *bytes, uint64_t size, const char *path, struct reason *why) must_check;
/* index < header_count. STATUS_INVALID where the segment's bytes are not in the file. */
enum status elf_segment_read(const struct elf_file *elf, unsigned index, struct elf_segment *segment) must_check;
/* Adds the PT_LOAD segments to the plan at their physical addresses. */
enum status elf_load(const struct elf_file *elf, struct boot *boot, struct reason *why) must_check;
/* The physical address of the entry point, which files give as virtual or physical. false: it is in no segment. */
bool elf_entry_find(const struct elf_file *elf, uint64_t *gpa);
/* The descriptor of a note. */
bool elf_note_find(const struct elf_file *elf, const char *name, uint32_t type, const uint8_t **descriptor, uint32_t *length);

#endif
