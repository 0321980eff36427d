/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.h - how instructions reach memory: segment check, TLB, page walk, RAM or device.
 *
 * Two steps. x86_linear() turns segment:offset into a linear address (limits, types, canonical form; #GP, #SS). x86_read/x86_write
 * take a linear address. An instruction must have met every fault before it changes anything: read-modify-write and
 * multi-store instructions first call x86_write_check or get a pointer with x86_pointer_*.
 * Anything here may leave through cpu->unwind with a fault noted.
 */
#ifndef HOLON_X86_MEMORY_H
#define HOLON_X86_MEMORY_H

#include "x86/cpu.h"

enum x86_access {
	X86_READ,
	X86_WRITE,
	X86_FETCH,
	X86_PROBE, /* of page walks: a read that nobody sees; what no access has used yet is not there */
};

/* Full checks for [offset, offset + size) in `segment`. write: the segment must be writable. */
uint64_t x86_linear_checked(struct x86_cpu *cpu, unsigned segment, uint64_t offset, unsigned size, bool write);

static inline uint64_t x86_linear(struct x86_cpu *cpu, unsigned segment, uint64_t offset, unsigned size, bool write)
{
	/* 64-bit mode: only FS and GS have a base; non-canonical addresses miss the TLB and fault in the slow way (#SS for the stack segment: cpu->insn->segment tells). */
	if (__builtin_expect(cpu->code_size == 8, 1))
		return segment >= X86_FS ? cpu->s.segment[segment].base + offset : offset;
	if (cpu->flat >> segment & 1 && offset + size - 1 <= UINT32_MAX)
		return offset;
	return x86_linear_checked(cpu, segment, offset, size, write);
}

/* The memory operand's offset in its segment: base + index << scale + disp, cut to the address size. */
static inline uint64_t x86_offset(const struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t offset = cpu->reg[insn->base] + (cpu->reg[insn->index] << insn->scale) + (uint64_t)(int64_t)insn->disp;

	if (__builtin_expect(insn->address_size == 8, 1))
		return offset;
	return insn->address_size == 4 ? (uint32_t)offset : (uint16_t)offset;
}
/* Its linear address, checked for an access of `size` bytes. */
static inline uint64_t x86_operand(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned size, bool write)
{
	return x86_linear(cpu, insn->segment, x86_offset(cpu, insn), size, write);
}

/*
 * Fills the TLB for an explicit access in the current mode. Raises nothing. FAULT: it is a page fault, with its error code in cpu->fault_error and its address
 * in cpu->fault_address; NOT: it cannot be done by a TLB hit for another reason (it crosses pages, is no RAM...).
 */
enum x86_refill { X86_REFILL_DONE, X86_REFILL_FAULT, X86_REFILL_NOT };
enum x86_refill x86_tlb_refill(struct x86_cpu *cpu, uint64_t linear, unsigned size, enum x86_access access);
/* The same for a fetch: where the byte is, or NULL. */
const uint8_t *x86_fetch_refill(struct x86_cpu *cpu, uint64_t linear);
/*
 * What a TLB may keep for explicit accesses to linear's page in a mode: it is RAM or ROM, allowed, without breakpoints. hva is that of `linear`;
 * translation.writable: stores may go there directly. Raises nothing; returns the same.
 */
enum x86_refill x86_page_find(struct x86_cpu *cpu, uint64_t linear, enum x86_access access, unsigned mode,
			      struct x86_translation *translation, const uint8_t **hva);

/* The slow ways: page crossing, TLB miss, devices, breakpoints. `mode` is enum x86_access_mode. */
uint64_t x86_read_slow(struct x86_cpu *cpu, uint64_t linear, unsigned size, unsigned mode);
void x86_write_slow(struct x86_cpu *cpu, uint64_t linear, unsigned size, uint64_t value, unsigned mode);

static inline uint8_t *x86_tlb_hit(const struct x86_tlb_array *array, uint64_t linear, unsigned size)
{
	unsigned index = linear >> 12 & (X86_TLB_ENTRIES - 1);

	return (array->tag[index] + linear + size - 1) >> 12 == 1 ? (uint8_t *)(linear + array->addend[index]) : (uint8_t *)0;
}

/* x86_read8 .. x86_write64: explicit data accesses in the current mode; the _system ones are implicit supervisor accesses (descriptor tables, TSS). */
#define X86_MEMORY_ACCESSORS(bits)                                                                              \
	static inline uint##bits##_t x86_read##bits(struct x86_cpu *cpu, uint64_t linear)                       \
	{                                                                                                       \
		const uint8_t *p = x86_tlb_hit(&cpu->tlb->read[cpu->mode], linear, bits / 8);                   \
		uint##bits##_t value;                                                                           \
                                                                                                                \
		if (__builtin_expect(!p, 0))                                                                    \
			return (uint##bits##_t)x86_read_slow(cpu, linear, bits / 8, cpu->mode);                 \
		__builtin_memcpy(&value, p, sizeof(value));                                                     \
		return value;                                                                                   \
	}                                                                                                       \
	static inline void x86_write##bits(struct x86_cpu *cpu, uint64_t linear, uint##bits##_t value)          \
	{                                                                                                       \
		uint8_t *p = x86_tlb_hit(&cpu->tlb->write[cpu->mode], linear, bits / 8);                        \
                                                                                                                \
		if (__builtin_expect(!p, 0))                                                                    \
			x86_write_slow(cpu, linear, bits / 8, value, cpu->mode);                                \
		else                                                                                            \
			__builtin_memcpy(p, &value, sizeof(value));                                             \
	}                                                                                                       \
	static inline uint##bits##_t x86_read##bits##_system(struct x86_cpu *cpu, uint64_t linear)              \
	{                                                                                                       \
		return (uint##bits##_t)x86_read_slow(cpu, linear, bits / 8, X86_MODE_SUPERVISOR_SMAP);          \
	}                                                                                                       \
	static inline void x86_write##bits##_system(struct x86_cpu *cpu, uint64_t linear, uint##bits##_t value) \
	{                                                                                                       \
		x86_write_slow(cpu, linear, bits / 8, value, X86_MODE_SUPERVISOR_SMAP);                         \
	}
X86_MEMORY_ACCESSORS(8)
X86_MEMORY_ACCESSORS(16)
X86_MEMORY_ACCESSORS(32)
X86_MEMORY_ACCESSORS(64)

/* Any length (16, 32, 512, ...): vector operands, XSAVE images. write checks the whole range before its first byte. */
void x86_read_bytes(struct x86_cpu *cpu, uint64_t linear, void *buffer, unsigned size);
void x86_write_bytes(struct x86_cpu *cpu, uint64_t linear, const void *buffer, unsigned size);
/* Faults now if a write of [linear, linear + size) would; size up to 4096. */
void x86_write_check(struct x86_cpu *cpu, uint64_t linear, unsigned size);
void x86_read_check(struct x86_cpu *cpu, uint64_t linear, unsigned size);
/* The same for any access and mode (stacks of another privilege, descriptor tables). */
void x86_access_check(struct x86_cpu *cpu, uint64_t linear, unsigned size, enum x86_access access, unsigned mode);
/* Sets bits of a byte in a descriptor table or TSS, atomically where it is RAM: accessed and busy bits. */
void x86_system_or8(struct x86_cpu *cpu, uint64_t linear, uint8_t bits);
/* Bits 47 (56 with LA57) to 63 are all alike. */
static inline bool x86_canonical(const struct x86_cpu *cpu, uint64_t address)
{
	unsigned spare = cpu->s.cr4 & X86_CR4_LA57 ? 7 : 16;

	return (uint64_t)((int64_t)(address << spare) >> spare) == address;
}

/*
 * A host pointer for a read-modify-write of `size` bytes, good until the instruction ends; the page has been checked for writing.
 * NULL: no such pointer (device memory, page crossing): read, compute, write with the functions above, for LOCK inside x86_exclusive().
 */
void *x86_pointer_slow(struct x86_cpu *cpu, uint64_t linear, unsigned size);
static inline void *x86_pointer(struct x86_cpu *cpu, uint64_t linear, unsigned size)
{
	uint8_t *p = x86_tlb_hit(&cpu->tlb->write[cpu->mode], linear, size);

	return __builtin_expect(p != 0, 1) ? p : x86_pointer_slow(cpu, linear, size);
}

/*
 * For code fetch: host address of the byte at linear RIP and how many bytes follow on its page (in *available), or NULL when code
 * lies in device memory (then x86_fetch_bytes). Raises #PF, #GP.
 */
const uint8_t *x86_fetch_pointer(struct x86_cpu *cpu, uint64_t linear, unsigned *available);
/* Copies up to 15 bytes at linear, over page ends; returns how many were there before a page that faults (0: raised the fault). */
unsigned x86_fetch_bytes(struct x86_cpu *cpu, uint64_t linear, uint8_t *buffer, unsigned size);

/* Engine glue: after the instruction whose store went to a page with flags (cpu->special_store). */
void x86_store_done(struct x86_cpu *cpu);

/* paging.c: the walk. Returns the physical address or raises #PF; sets accessed and dirty bits atomically. */
struct x86_translation {
	uint64_t gpa;
	bool writable; /* a write entry may be made: the D bit is set and permissions allow it in this mode */
	bool global;
	uint64_t page_size;
};
/* Notes in cpu->debug_hits the data breakpoints that an access touches. */
void x86_debug_access(struct x86_cpu *cpu, uint64_t linear, unsigned size, bool write);
/* access by `mode`; on failure *error is the #PF error code and the result false (nothing raised). */
bool x86_page_walk(struct x86_cpu *cpu, uint64_t linear, enum x86_access access, unsigned mode, struct x86_translation *out,
		   uint32_t *error);
/* PAE: (re)loads the four PDPTEs from cr3; false: a reserved bit is set (#GP(0)). */
bool x86_pdptes_load(struct x86_cpu *cpu, uint64_t cr3);

#endif
