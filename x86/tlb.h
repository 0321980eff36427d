/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tlb.h - the software TLB: guest-virtual pages to host addresses, shaped for the JIT's inline check.
 *
 * One `struct x86_tlb` is a context (a PCID); a vcpu has a few, so that a CR3 switch is a change of base. In a context each access mode has a read
 * and a write array, direct-mapped by the low bits of the page number. The index is that of an access's FIRST byte; the entry hits if tag + the
 * address of the LAST byte is 4096..8191, so an access that crosses pages misses by itself. (That >> 12 is 1 and not 0 for a hit is what the
 * host's LOOP instruction tests without flags.)
 * hva = gva + addend. Only RAM has entries; a page with flags (guest_memory.h) or ROM has no write entry, nor has a page with a data breakpoint.
 * A free entry's tag is one that no address with its index can match.
 */
#ifndef HOLON_X86_TLB_H
#define HOLON_X86_TLB_H

#include <stdbool.h>
#include <stdint.h>

#include <holon/status.h>

#define X86_TLB_BITS 13
#define X86_TLB_ENTRIES (1u << X86_TLB_BITS)
#define X86_TLB_CONTEXTS 4
#define X86_TLB_TAG(gva) (UINT64_C(4096) - ((gva) & ~UINT64_C(0xfff)))
#define X86_TLB_EMPTY \
	X86_TLB_TAG(4096) /* 0. Page 1: addresses with index 1, or 0 if they cross. These two have X86_TLB_EMPTY_LOW */
#define X86_TLB_EMPTY_LOW X86_TLB_TAG(UINT64_C(2048) << 12)
#define X86_TLB_MODES 3 /* enum x86_access_mode */

/* In two arrays, so that an index scales to both. */
struct x86_tlb_array {
	uint64_t tag[X86_TLB_ENTRIES];    /* X86_TLB_TAG */
	uint64_t addend[X86_TLB_ENTRIES]; /* hva - gva */
};

/*
 * The jump cache: guest-virtual targets to an engine's code for them. Two arrays an access mode, for returns by RIP's low bits and for
 * calls and jumps, whose targets are often aligned, by others. An entry stands only while its page's code stands, and while the fetch array has an entry for its
 * page or had one that another page of the same index displaced: so whoever drops a page drops the entries.
 *
 * Most of what goes with a fetch entry comes back with it, for most flushes change little: such an entry has no tag any more, but keeps its target and where its
 * code was, and if RIP is there again it stands again (x86_tlb_jump_again). Whatever else drops entries clears `again`: all that have no tag then are lost.
 */
#define X86_RETURN_MASK UINT64_C(0x1fff)
#define X86_JUMP_MASK UINT64_C(0x1fff0)
#define X86_JUMP_ENTRIES (1u << 13)
#define X86_JUMP_LOG 2048
#define X86_JUMP_VICTIMS 256
#define X86_JUMP_PAGES UINT32_MAX /* more than one: dropped with any page */
struct x86_jump_array {
	uint64_t tag[X86_JUMP_ENTRIES]; /* minus RIP; 0: RIP 0, which has index 0, or nothing */
	uint64_t target[X86_JUMP_ENTRIES];
	uint32_t place[X86_JUMP_ENTRIES]; /* the RAM page of the code << 4 | RIP's low bits, X86_JUMP_PAGES, or 0 */
	bool again;
	uint32_t used; /* how many of `log`; more than X86_JUMP_LOG: all may be in use */
	uint16_t log[X86_JUMP_LOG];
	/* What another target of the same index displaced last: two that take turns find each other here. Whatever drops entries drops all of these. */
	bool victims;
	struct x86_jump_victim {
		uint64_t tag, target;
		uint32_t place;
	} victim[X86_JUMP_VICTIMS];
};

/*
 * The page that the stack was last found on: a copy of an entry of a read or write array, made by an engine for accesses that mostly stay on one
 * page. Whatever drops an entry of these arrays drops all copies. No index says where an access begins, so alignment must: an aligned group of 8
 * bytes is on the page if tag + its address is 1 in the bits of the mask.
 */
struct x86_tlb_copy {
	uint64_t tag; /* 1 - the gva of the page */
	uint64_t addend;
	uint64_t mask; /* X86_TLB_COPY_MASK; 0: an empty copy, which hits nothing */
};
#define X86_TLB_COPY_MASK (~UINT64_C(0xfff) | 7)

/*
 * Where write entries for a RAM page may be, so that protecting it need not look at all: by a hash of the page, the indices at which such entries have been made,
 * plus 1, and 0 behind the last. Entries go without a word here, so what is noted grows, and all is noted anew when a hash has more than it can hold.
 */
#define X86_TLB_WRITTEN (1u << 12)
#define X86_TLB_WRITTEN_INDICES 4
#define X86_TLB_WRITTEN_MORE UINT16_MAX /* the first: more than these */
struct x86_tlb_written {
	uint16_t index[X86_TLB_WRITTEN_INDICES];
};

#define X86_TLB_ENGINE 1536 /* bytes of the engine's own, reached from one base register with the arrays */

struct x86_tlb {
	struct x86_tlb_copy stack[X86_TLB_MODES][2]; /* for reads, for writes */
	uint64_t engine_stack[2];                    /* below `engine`: a return address */
	uint8_t engine[X86_TLB_ENGINE];
	struct x86_tlb_array read[X86_TLB_MODES];
	struct x86_tlb_array write[X86_TLB_MODES];
	struct x86_tlb_array fetch[2]; /* supervisor, user */
	struct x86_jump_array jump[X86_TLB_MODES], ret[X86_TLB_MODES];
	/* What is in use, so that a flush touches no more than that: a bit an index, all arrays alike. */
	uint64_t used[X86_TLB_ENTRIES / 64];
	uint64_t nonglobal[X86_TLB_ENTRIES / 64]; /* some entry at this index but for the supervisor's fetch entry is not global, */
	uint64_t nonglobal_fetch[X86_TLB_ENTRIES / 64]; /* and that one */
	/* By supervisor and user: there may be jump targets of a page that another has displaced in the fetch array. */
	uint64_t displaced[2][X86_TLB_ENTRIES / 64];
	/* Where large pages gave entries, hashed: INVLPG of one address drops its whole page. */
	uint64_t large[64]; /* by gva >> 22: 2M and 4M pages */
	uint64_t huge[4];   /* by gva >> 30: 1G pages */
};

struct x86_cpu;
struct x86_translation;

/* What goes, for x86_cpu.dropped. */
enum x86_drop {
	X86_DROP_ALL,
	X86_DROP_PCID,   /* which: the PCID */
	X86_DROP_PAGE,   /* which: a linear address; of every PCID */
	X86_DROP_WRITES, /* which: the host address of a RAM page, or 0: of all. Stores must not go there directly any more */
};

enum status x86_tlb_create(struct x86_cpu *cpu) must_check;
void x86_tlb_destroy(struct x86_cpu *cpu);

void x86_tlb_flush_all(struct x86_cpu *cpu);                       /* every context, global too */
void x86_tlb_flush_context(struct x86_cpu *cpu, unsigned context); /* not global entries */
void x86_tlb_flush_page(struct x86_cpu *cpu, uint64_t gva);        /* INVLPG: in every context */
/* No write entry for this host page any more, in any context: it got flags (the vcpu stands still or is the caller's). */
void x86_tlb_protect_page(struct x86_cpu *cpu, const uint8_t *hva);
void x86_tlb_protect_all(struct x86_cpu *cpu); /* no write entry at all: dirty logging starts */
/* CR3 was written (value's PCID and no-flush bit apply): chooses or recycles a context, flushes as the SDM says (vol. 3, 4.10.4). */
void x86_tlb_cr3_written(struct x86_cpu *cpu, uint64_t value, bool keep);
/* cpu->tlb: the current context's, or the one that stays empty while #AC is armed. */
void x86_tlb_select(struct x86_cpu *cpu);
/* s.pkru has changed (WRPKRU, XRSTOR): entries hold what it allowed. */
void x86_tlb_pkru_written(struct x86_cpu *cpu);
/*
 * memory.c: a translation to RAM may be kept, hva being that of `linear`. The access (write: a store) gets its entry, and the
 * other kind gets one where that displaces no other page. writable: stores may go to hva directly.
 */
void x86_tlb_fill(struct x86_cpu *cpu, uint64_t linear, const uint8_t *hva, bool write, unsigned mode,
		  const struct x86_translation *translation, bool writable);
/* Empties the jump caches: all, or a context's of one mode. */
void x86_tlb_jumps_flush(struct x86_cpu *cpu);
void x86_tlb_jumps_flush_mode(struct x86_tlb *tlb, unsigned mode);
/* Drops their entries for host code in [begin, end). */
void x86_tlb_jumps_flush_targets(struct x86_cpu *cpu, const void *begin, const void *end);
/* Drops the jump caches' entries for code on a RAM page. */
void x86_tlb_jumps_flush_page(struct x86_cpu *cpu, uint64_t page);
void x86_tlb_fill_fetch(struct x86_cpu *cpu, uint64_t linear, const uint8_t *hva, const struct x86_translation *translation);

/* Of code on a RAM page; on one too far up, X86_JUMP_PAGES will do. */
static inline uint32_t x86_jump_place(uint64_t page, uint64_t rip)
{
	return page >> 28 ? X86_JUMP_PAGES : (uint32_t)(page << 4 | (rip & 15));
}

static inline void x86_tlb_jump_stand(struct x86_jump_array *array, unsigned index, uint64_t rip)
{
	if (!array->tag[index]) {
		if (array->used < X86_JUMP_LOG)
			array->log[array->used] = (uint16_t)index;
		if (array->used <= X86_JUMP_LOG)
			array->used++;
	}
	array->tag[index] = 0 - rip;
}

/* What stood at the index goes where victims are. */
static inline void x86_tlb_jump_enter(struct x86_jump_array *array, unsigned index, uint64_t rip, uint64_t target, uint32_t place)
{
	if (array->tag[index]) {
		array->victim[index % X86_JUMP_VICTIMS] = (struct x86_jump_victim){
			.tag = array->tag[index], .target = array->target[index], .place = array->place[index]};
		array->victims = true;
	}
	x86_tlb_jump_stand(array, index, rip);
	array->target[index] = target;
	array->place[index] = place;
}

/* index: RIP's bits in the array's mask. Index 0 is never used (false): the engine has its own target there. */
static inline bool x86_tlb_jump_set(struct x86_jump_array *array, unsigned index, uint64_t rip, const void *target, uint64_t page)
{
	if (!index)
		return false;
	x86_tlb_jump_enter(array, index, rip, (uintptr_t)target, x86_jump_place(page, rip));
	return true;
}

/* Does a victim take its place again? */
static inline bool x86_tlb_jump_swap(struct x86_jump_array *array, unsigned index, uint64_t rip)
{
	struct x86_jump_victim victim = array->victim[index % X86_JUMP_VICTIMS];

	if (!array->victims || !index || victim.tag != 0 - rip)
		return false;
	array->victim[index % X86_JUMP_VICTIMS].tag = 0;
	x86_tlb_jump_enter(array, index, rip, victim.target, victim.place);
	return true;
}

/* Does an entry that went with its fetch entry stand again? RIP is on this page now, by the fetch array. Page 0 with 0 bits is as good as none. */
static inline bool x86_tlb_jump_again(struct x86_jump_array *array, unsigned index, uint64_t rip, uint64_t page)
{
	uint32_t place = x86_jump_place(page, rip);

	if (!array->again || !index || array->tag[index] || !place || place == X86_JUMP_PAGES || array->place[index] != place)
		return false;
	x86_tlb_jump_stand(array, index, rip);
	return true;
}

#endif
