/* SPDX-License-Identifier: Apache-2.0 */
/*
 * elf.c - reading ELF kernels. Every number in the file is the attacker's: it is checked here, against the file's size and against RAM.
 */
#include "board/elf.h"

#define EI_CLASS 4
#define EI_DATA 5
#define ELFCLASS32 1
#define ELFCLASS64 2
#define ELFDATA2LSB 1
#define EM_386 3u
#define EM_X86_64 62u
#define HEADER_SIZE_32 52u
#define HEADER_SIZE_64 64u
#define SEGMENT_SIZE_32 32u
#define SEGMENT_SIZE_64 56u

bool elf_detect(const uint8_t *bytes, uint64_t size)
{
	return size >= 4 && !__builtin_memcmp(bytes, "\177ELF", 4);
}

static enum status elf_damaged(const char *path, const char *what, struct reason *why)
{
	return reason_give(why, STATUS_INVALID, "kernel %s: %s; the file is truncated or corrupt, get it again", path, what);
}

enum status elf_open(struct elf_file *elf, const uint8_t *bytes, uint64_t size, const char *path, struct reason *why)
{
	uint16_t machine;

	*elf = (struct elf_file){.bytes = bytes, .size = size};
	if (size < HEADER_SIZE_32 || !elf_detect(bytes, size))
		return elf_damaged(path, "no complete ELF header", why);
	elf->is64 = bytes[EI_CLASS] == ELFCLASS64;
	if (bytes[EI_DATA] != ELFDATA2LSB || (!elf->is64 && bytes[EI_CLASS] != ELFCLASS32) || (elf->is64 && size < HEADER_SIZE_64))
		return elf_damaged(path, "an ELF header of no x86 class", why);
	elf->type = boot_read16(bytes + 16);
	machine = boot_read16(bytes + 18);
	if (machine != EM_386 && machine != EM_X86_64)
		return reason_give(why, STATUS_INVALID,
				   "kernel %s: an ELF file for another processor (machine %u); give an x86 kernel", path, machine);
	elf->entry = elf->is64 ? boot_read64(bytes + 24) : boot_read32(bytes + 24);
	elf->headers = elf->is64 ? boot_read64(bytes + 32) : boot_read32(bytes + 28);
	elf->header_size = boot_read16(bytes + (elf->is64 ? 54 : 42));
	elf->header_count = boot_read16(bytes + (elf->is64 ? 56 : 44));
	if (elf->header_size < (elf->is64 ? SEGMENT_SIZE_64 : SEGMENT_SIZE_32))
		return elf_damaged(path, "program headers of a wrong size", why);
	if (elf->headers > size || (uint64_t)elf->header_size * elf->header_count > size - elf->headers)
		return elf_damaged(path, "its program headers lie past its end", why);
	return STATUS_OK;
}

enum status elf_segment_read(const struct elf_file *elf, unsigned index, struct elf_segment *segment)
{
	const uint8_t *bytes = elf->bytes + elf->headers + (uint64_t)index * elf->header_size;

	segment->type = boot_read32(bytes);
	if (elf->is64) {
		segment->offset = boot_read64(bytes + 8);
		segment->vaddr = boot_read64(bytes + 16);
		segment->paddr = boot_read64(bytes + 24);
		segment->filesz = boot_read64(bytes + 32);
		segment->memsz = boot_read64(bytes + 40);
		segment->align = boot_read64(bytes + 48);
	} else {
		segment->offset = boot_read32(bytes + 4);
		segment->vaddr = boot_read32(bytes + 8);
		segment->paddr = boot_read32(bytes + 12);
		segment->filesz = boot_read32(bytes + 16);
		segment->memsz = boot_read32(bytes + 20);
		segment->align = boot_read32(bytes + 28);
	}
	if (segment->offset > elf->size || segment->filesz > elf->size - segment->offset)
		return STATUS_INVALID;
	return STATUS_OK;
}

enum status elf_load(const struct elf_file *elf, struct boot *boot, struct reason *why)
{
	const char *path = boot->input.kernel.path;
	bool loaded = false;
	unsigned i;

	for (i = 0; i < elf->header_count; i++) {
		struct elf_segment segment;
		enum status status = elf_segment_read(elf, i, &segment);

		if (segment.type != ELF_PT_LOAD || (status == STATUS_OK && !segment.memsz))
			continue;
		if (status != STATUS_OK)
			return elf_damaged(path, "a segment's bytes lie past its end", why);
		if (segment.filesz > segment.memsz)
			return elf_damaged(path, "a segment is larger in the file than in memory", why);
		status = boot_chunk_add(boot,
					&(struct boot_chunk){.gpa = segment.paddr,
							     .length = segment.memsz,
							     .bytes = elf->bytes + segment.offset,
							     .bytes_length = segment.filesz,
							     .what = "an ELF segment"},
					why);
		if (status != STATUS_OK)
			return status;
		loaded = true;
	}
	return loaded ? STATUS_OK : elf_damaged(path, "an ELF file without a segment to load", why);
}

bool elf_entry_find(const struct elf_file *elf, uint64_t *gpa)
{
	bool found = false;
	unsigned i;

	for (i = 0; i < elf->header_count; i++) {
		struct elf_segment segment;

		if (elf_segment_read(elf, i, &segment) != STATUS_OK || segment.type != ELF_PT_LOAD)
			continue;
		if (elf->entry >= segment.paddr && elf->entry - segment.paddr < segment.memsz) {
			*gpa = elf->entry;
			return true;
		}
		/* A physical match in a later segment is better than this. */
		if (!found && elf->entry >= segment.vaddr && elf->entry - segment.vaddr < segment.memsz) {
			*gpa = segment.paddr + (elf->entry - segment.vaddr);
			found = true;
		}
	}
	return found;
}

static uint64_t padded(uint64_t length, uint64_t alignment)
{
	return (length + alignment - 1) & ~(alignment - 1);
}

/* The notes of one segment: name size, descriptor size, type, then name and descriptor, padded. Each turn takes 12 bytes or more. */
static bool notes_search(const uint8_t *notes, uint64_t size, uint64_t alignment, const char *name, uint32_t type,
			 const uint8_t **descriptor, uint32_t *length)
{
	uint32_t wanted = 1;

	while (name[wanted - 1])
		wanted++;
	while (size >= 12) {
		uint32_t name_size = boot_read32(notes), descriptor_size = boot_read32(notes + 4);
		uint64_t at = padded(12 + (uint64_t)name_size, alignment), next = padded(at + descriptor_size, alignment);

		if (at > size || descriptor_size > size - at)
			return false;
		if (boot_read32(notes + 8) == type && name_size == wanted && !__builtin_memcmp(notes + 12, name, wanted)) {
			*descriptor = notes + at;
			*length = descriptor_size;
			return true;
		}
		if (next > size)
			return false;
		notes += next;
		size -= next;
	}
	return false;
}

bool elf_note_find(const struct elf_file *elf, const char *name, uint32_t type, const uint8_t **descriptor, uint32_t *length)
{
	unsigned i;

	for (i = 0; i < elf->header_count; i++) {
		struct elf_segment segment;

		if (elf_segment_read(elf, i, &segment) != STATUS_OK || segment.type != ELF_PT_NOTE)
			continue;
		if (notes_search(elf->bytes + segment.offset, segment.filesz, segment.align == 8 ? 8 : 4, name, type, descriptor,
				 length))
			return true;
	}
	return false;
}
