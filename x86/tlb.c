/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tlb.c - the software TLB's upkeep: filling, flushing, contexts. The shape and its rules are in tlb.h; memory.c fills it.
 *
 * A context's memory is touched as its entries come into use. That works because a zeroed entry hits only an access whose last byte is
 * in page 1: those have index 1 (or 0, and cross). Only these two are written when a context is taken up for the first time.
 */
#include "x86/tlb.h"

#include <holon/host.h>

#include "x86/cpu.h"
#include "x86/memory.h"

#define PCID_UNUSED UINT16_MAX

/* A tag that no address with this index has: see tlb.h. */
static uint64_t empty_tag(unsigned index)
{
	return index <= 1 ? X86_TLB_EMPTY_LOW : X86_TLB_EMPTY;
}

/* Not memset, which may use vector registers: they may hold the guest's (engine/jit/thunk.c). Multiples of 8 bytes. */
static void words_clear(void *words, uint64_t bytes)
{
	uint64_t count = bytes / sizeof(uint64_t);

	__asm__ volatile("rep stosq" : "+D"(words), "+c"(count) : "a"(UINT64_C(0)) : "memory");
}

static void copies_drop(struct x86_tlb *tlb)
{
	for (unsigned mode = 0; mode < X86_TLB_MODES; mode++)
		for (unsigned write = 0; write < 2; write++)
			tlb->stack[mode][write] = (struct x86_tlb_copy){0};
}

static void victims_drop(struct x86_jump_array *jump)
{
	if (!jump->victims)
		return;
	for (unsigned i = 0; i < X86_JUMP_VICTIMS; i++)
		jump->victim[i].tag = 0;
	jump->victims = false;
}

static void jump_tags_clear(struct x86_jump_array *jump)
{
	victims_drop(jump);
	if (jump->used > X86_JUMP_LOG)
		words_clear(jump->tag, sizeof(jump->tag));
	for (unsigned i = 0; i < jump->used && i < X86_JUMP_LOG; i++)
		jump->tag[jump->log[i]] = 0;
	jump->used = 0;
}

static void jump_flush(struct x86_jump_array *jump)
{
	jump->again = false;
	jump_tags_clear(jump);
}

/* Before entries go that may stand again: those that have gone for good are marked. */
static void jump_again_begin(struct x86_jump_array *jump)
{
	if (jump->again)
		return;
	for (unsigned i = 0; i < X86_JUMP_ENTRIES; i++)
		if (!jump->tag[i])
			jump->place[i] = 0;
	jump->again = true;
}

static void jump_rest(struct x86_jump_array *jump)
{
	if (!jump->used)
		return;
	jump_again_begin(jump);
	jump_tags_clear(jump);
}

/* How many may be in use, and which the i-th of those is. */
static unsigned jump_count(const struct x86_jump_array *jump)
{
	return jump->used > X86_JUMP_LOG ? X86_JUMP_ENTRIES : jump->used;
}

static unsigned jump_at(const struct x86_jump_array *jump, unsigned i)
{
	return jump->used > X86_JUMP_LOG ? i : jump->log[i];
}

/* What is dropped stays in the log: it may be set again before the next flush, and then appears there twice. */
static void jump_page_clear(struct x86_jump_array *jump, uint64_t page)
{
	victims_drop(jump);
	for (unsigned i = 0; i < jump_count(jump); i++) {
		unsigned index = jump_at(jump, i);

		if (jump->place[index] >> 4 == page || jump->place[index] == X86_JUMP_PAGES)
			jump->tag[index] = 0;
	}
}

/* Bytes below a page where what begins may end in it. */
#define CROSSING 15

/* What is for RIPs in [begin, begin + size), or may lie over the page's end before. mask: the array's. */
static void jump_rest_within(struct x86_jump_array *jump, uint64_t mask, uint64_t begin, uint64_t size)
{
	unsigned shift = (unsigned)__builtin_ctzll(mask), count = jump_count(jump);
	uint64_t low = begin - CROSSING, length = size + CROSSING, first = low >> shift;
	uint64_t places = ((begin + size - 1) >> shift) - first + 1;
	bool near = places < count;

	if (!jump->used)
		return;
	victims_drop(jump);
	jump_again_begin(jump);
	for (unsigned i = 0; i < (near ? places : count); i++) {
		unsigned index = near ? (unsigned)(first + i) & (X86_JUMP_ENTRIES - 1) : jump_at(jump, i);

		if (0 - jump->tag[index] - low < length)
			jump->tag[index] = 0;
	}
}

static void jumps_rest(struct x86_tlb *tlb, bool user)
{
	for (unsigned mode = 0; mode < X86_TLB_MODES; mode++) {
		if ((mode == X86_MODE_USER) != user)
			continue;
		jump_rest(&tlb->jump[mode]);
		jump_rest(&tlb->ret[mode]);
	}
}

/* Jump targets stand only while their page is in the fetch array of their privilege, or has been displaced there by another page. */
static void fetch_clear(struct x86_tlb *tlb, unsigned index, bool user)
{
	uint64_t empty = empty_tag(index), bit = UINT64_C(1) << index % 64;

	if (tlb->fetch[user].tag[index] == empty && !(tlb->displaced[user][index / 64] & bit))
		return;
	tlb->fetch[user].tag[index] = empty;
	tlb->displaced[user][index / 64] &= ~bit;
	jumps_rest(tlb, user);
}

/* all: the supervisor's fetch entry too, even if it is global. Its jump targets are dear: a kernel's code is looked up all the time. */
static void index_clear(struct x86_tlb *tlb, unsigned index, bool all)
{
	uint64_t empty = empty_tag(index), bit = UINT64_C(1) << index % 64;

	for (unsigned mode = 0; mode < X86_TLB_MODES; mode++) {
		tlb->read[mode].tag[index] = empty;
		tlb->write[mode].tag[index] = empty;
	}
	fetch_clear(tlb, index, true);
	tlb->nonglobal[index / 64] &= ~bit;
	if (!all && !(tlb->nonglobal_fetch[index / 64] & bit) && tlb->fetch[0].tag[index] != empty)
		return;
	fetch_clear(tlb, index, false);
	tlb->nonglobal_fetch[index / 64] &= ~bit;
	tlb->used[index / 64] &= ~bit;
}

void x86_tlb_jumps_flush_mode(struct x86_tlb *tlb, unsigned mode)
{
	jump_flush(&tlb->jump[mode]);
	jump_flush(&tlb->ret[mode]);
}

void x86_tlb_jumps_flush(struct x86_cpu *cpu)
{
	for (unsigned context = 0; context <= X86_TLB_CONTEXTS; context++)
		for (unsigned mode = 0; mode < X86_TLB_MODES; mode++)
			x86_tlb_jumps_flush_mode(x86_tlb_context(cpu, context), mode);
}

static void jump_flush_page(struct x86_jump_array *jump, uint64_t page)
{
	jump->again = false;
	jump_page_clear(jump, page);
}

static void jump_flush_targets(struct x86_jump_array *jump, uint64_t begin, uint64_t end)
{
	victims_drop(jump);
	jump->again = false;
	for (unsigned i = 0; i < jump_count(jump); i++) {
		unsigned index = jump_at(jump, i);

		if (jump->target[index] >= begin && jump->target[index] < end)
			jump->tag[index] = 0;
	}
}

void x86_tlb_jumps_flush_targets(struct x86_cpu *cpu, const void *begin, const void *end)
{
	for (unsigned context = 0; context <= X86_TLB_CONTEXTS; context++)
		for (unsigned mode = 0; mode < X86_TLB_MODES; mode++) {
			struct x86_tlb *tlb = x86_tlb_context(cpu, context);

			jump_flush_targets(&tlb->jump[mode], (uintptr_t)begin, (uintptr_t)end);
			jump_flush_targets(&tlb->ret[mode], (uintptr_t)begin, (uintptr_t)end);
		}
}

void x86_tlb_jumps_flush_page(struct x86_cpu *cpu, uint64_t page)
{
	for (unsigned context = 0; context <= X86_TLB_CONTEXTS; context++)
		for (unsigned mode = 0; mode < X86_TLB_MODES; mode++) {
			jump_flush_page(&x86_tlb_context(cpu, context)->jump[mode], page);
			jump_flush_page(&x86_tlb_context(cpu, context)->ret[mode], page);
		}
}

static void context_start(struct x86_cpu *cpu, unsigned context, uint16_t pcid)
{
	struct x86_tlb *tlb = x86_tlb_context(cpu, context);

	if (cpu->tlb_pcid[context] == PCID_UNUSED) {
		index_clear(tlb, 0, true);
		index_clear(tlb, 1, true);
	}
	cpu->tlb_pcid[context] = pcid;
}

enum status x86_tlb_create(struct x86_cpu *cpu)
{
	if (!cpu->tlb_contexts) {
		cpu->tlb_contexts = host_allocate((X86_TLB_CONTEXTS + 1) * sizeof(struct x86_tlb));
		cpu->tlb_stride = sizeof(struct x86_tlb);
		cpu->tlb_own = true;
	}
	if (!cpu->tlb_contexts)
		return STATUS_NO_MEMORY;
	for (unsigned context = 0; context < X86_TLB_CONTEXTS; context++)
		cpu->tlb_pcid[context] = PCID_UNUSED;
	context_start(cpu, 0, 0);
	index_clear(x86_tlb_context(cpu, X86_TLB_CONTEXTS), 0, true);
	index_clear(x86_tlb_context(cpu, X86_TLB_CONTEXTS), 1, true);
	cpu->tlb_current = 0;
	cpu->tlb_random = 1;
	cpu->tlb = cpu->tlb_contexts;
	return STATUS_OK;
}

void x86_tlb_destroy(struct x86_cpu *cpu)
{
	if (cpu->tlb_own)
		host_free(cpu->tlb_contexts, (X86_TLB_CONTEXTS + 1) * sizeof(struct x86_tlb));
	cpu->tlb_contexts = 0;
	cpu->tlb_own = false;
	cpu->tlb = 0;
}

void x86_tlb_select(struct x86_cpu *cpu)
{
	bool armed = cpu->cpl == 3 && (cpu->s.cr0 & X86_CR0_AM) && (cpu->s.rflags & X86_FLAG_AC);

	cpu->tlb = x86_tlb_context(cpu, armed ? X86_TLB_CONTEXTS : cpu->tlb_current);
}

static void context_flush(struct x86_tlb *tlb, bool global)
{
	copies_drop(tlb);
	for (unsigned word = 0; word < X86_TLB_ENTRIES / 64; word++) {
		uint64_t gone = global ? tlb->used[word] : tlb->nonglobal[word] | tlb->nonglobal_fetch[word];

		for (; gone; gone &= gone - 1)
			index_clear(tlb, word * 64 + (unsigned)__builtin_ctzll(gone), global);
	}
	if (global) {
		words_clear(tlb->large, sizeof(tlb->large));
		words_clear(tlb->huge, sizeof(tlb->huge));
	}
}

static void dropped(struct x86_cpu *cpu, enum x86_drop what, uint64_t which)
{
	if (cpu->dropped)
		cpu->dropped(cpu, what, which);
}

void x86_tlb_flush_all(struct x86_cpu *cpu)
{
	dropped(cpu, X86_DROP_ALL, 0);
	for (unsigned context = 0; context < X86_TLB_CONTEXTS; context++)
		if (cpu->tlb_pcid[context] != PCID_UNUSED)
			context_flush(x86_tlb_context(cpu, context), true);
}

void x86_tlb_flush_context(struct x86_cpu *cpu, unsigned context)
{
	if (cpu->tlb_pcid[context] == PCID_UNUSED)
		return;
	dropped(cpu, X86_DROP_PCID, cpu->tlb_pcid[context]);
	context_flush(x86_tlb_context(cpu, context), false);
}

void x86_tlb_pkru_written(struct x86_cpu *cpu)
{
	if (cpu->s.cr4 & X86_CR4_PKE)
		x86_tlb_flush_all(cpu);
}

static unsigned large_hash(uint64_t gva)
{
	return (unsigned)((gva >> 22) * UINT64_C(0x9e3779b97f4a7c15) >> 52); /* 12 bits */
}

static unsigned huge_hash(uint64_t gva)
{
	return (unsigned)((gva >> 30) * UINT64_C(0x9e3779b97f4a7c15) >> 56); /* 8 bits */
}

static bool tag_within(uint64_t tag, uint64_t gva, unsigned shift)
{
	return !(((X86_TLB_TAG(0) - tag) ^ gva) >> shift);
}

/* Drops that range's fetch entry at an index. true: there may be jump targets in the range. */
static bool fetch_drop(struct x86_tlb *tlb, unsigned index, bool user, uint64_t gva, unsigned shift)
{
	struct x86_tlb_array *fetch = &tlb->fetch[user];
	uint64_t empty = empty_tag(index);

	if (fetch->tag[index] == empty || !tag_within(fetch->tag[index], gva, shift))
		return tlb->displaced[user][index / 64] >> index % 64 & 1;
	fetch->tag[index] = empty;
	return true;
}

/* The naturally aligned range of 1 << shift bytes around an address goes: its entries at an index, */
struct range {
	uint64_t gva;
	unsigned shift;
	bool jumps[2]; /* and jump targets, supervisor's and user's, if there may be some */
};

/* Others of the same index stay. */
static void index_drop(struct x86_tlb *tlb, unsigned index, struct range *range)
{
	uint64_t empty = empty_tag(index);

	for (unsigned mode = 0; mode < X86_TLB_MODES; mode++) {
		if (tag_within(tlb->read[mode].tag[index], range->gva, range->shift))
			tlb->read[mode].tag[index] = empty;
		if (tag_within(tlb->write[mode].tag[index], range->gva, range->shift))
			tlb->write[mode].tag[index] = empty;
	}
	for (unsigned user = 0; user < 2; user++)
		range->jumps[user] |= fetch_drop(tlb, index, user, range->gva, range->shift);
}

static void range_drop(struct x86_tlb *tlb, uint64_t gva, unsigned shift)
{
	struct range range = {.gva = gva, .shift = shift};
	uint64_t size = UINT64_C(1) << shift;
	unsigned pages = shift < 12 + X86_TLB_BITS ? 1u << (shift - 12) : X86_TLB_ENTRIES;
	unsigned first = (unsigned)(gva >> 12) & (X86_TLB_ENTRIES - 1) & ~(pages - 1);

	for (unsigned index = first; index < first + pages; index++)
		if (tlb->used[index / 64] >> index % 64 & 1)
			index_drop(tlb, index, &range);
	for (unsigned mode = 0; mode < X86_TLB_MODES; mode++) {
		if (!range.jumps[mode == X86_MODE_USER])
			continue;
		jump_rest_within(&tlb->jump[mode], X86_JUMP_MASK, gva & ~(size - 1), size);
		jump_rest_within(&tlb->ret[mode], X86_RETURN_MASK, gva & ~(size - 1), size);
	}
}

void x86_tlb_flush_page(struct x86_cpu *cpu, uint64_t gva)
{
	unsigned large = large_hash(gva), huge = huge_hash(gva);

	dropped(cpu, X86_DROP_PAGE, gva);
	for (unsigned context = 0; context < X86_TLB_CONTEXTS; context++) {
		struct x86_tlb *tlb = x86_tlb_context(cpu, context);

		if (cpu->tlb_pcid[context] == PCID_UNUSED)
			continue;
		copies_drop(tlb);
		if (tlb->huge[huge / 64] >> huge % 64 & 1)
			range_drop(tlb, gva, 30);
		else if (tlb->large[large / 64] >> large % 64 & 1)
			range_drop(tlb, gva, 22);
		else
			range_drop(tlb, gva, 12);
	}
}

/* --- protecting pages --- */

static struct x86_tlb_written *written_at(struct x86_cpu *cpu, uint64_t page)
{
	return &cpu->tlb_written[(page >> 12) * UINT64_C(0x9e3779b97f4a7c15) >> (64 - __builtin_ctz(X86_TLB_WRITTEN))];
}

/* There is a write entry for the RAM page at the index. */
static void written_note(struct x86_cpu *cpu, unsigned index, uint64_t page)
{
	struct x86_tlb_written *written = written_at(cpu, page);

	if (written->index[0] == X86_TLB_WRITTEN_MORE)
		return;
	for (unsigned i = 0; i < X86_TLB_WRITTEN_INDICES; i++) {
		if (written->index[i] == index + 1)
			return;
		if (!written->index[i]) {
			written->index[i] = (uint16_t)(index + 1);
			return;
		}
	}
	written->index[0] = X86_TLB_WRITTEN_MORE;
}

/* An index's write entries of a context: those for the page go, the others are noted. */
static void index_protect(struct x86_cpu *cpu, struct x86_tlb *tlb, unsigned index, uint64_t page)
{
	uint64_t empty = empty_tag(index);

	for (unsigned mode = 0; mode < X86_TLB_MODES; mode++) {
		struct x86_tlb_array *write = &tlb->write[mode];
		uint64_t there = write->addend[index] + GUEST_PAGE_SIZE - write->tag[index];

		if (write->tag[index] == empty)
			continue;
		if (there == page)
			write->tag[index] = empty;
		else
			written_note(cpu, index, there);
	}
}

static void all_protect(struct x86_cpu *cpu, struct x86_tlb *tlb, uint64_t page)
{
	for (unsigned word = 0; word < X86_TLB_ENTRIES / 64; word++)
		for (uint64_t used = tlb->used[word]; used; used &= used - 1)
			index_protect(cpu, tlb, word * 64 + (unsigned)__builtin_ctzll(used), page);
}

static void context_protect(struct x86_cpu *cpu, struct x86_tlb *tlb, struct x86_tlb_written at, uint64_t page)
{
	/* Of entries that may have been displaced since, and are noted nowhere. */
	copies_drop(tlb);
	if (at.index[0] == X86_TLB_WRITTEN_MORE)
		all_protect(cpu, tlb, page);
	else
		for (unsigned i = 0; i < X86_TLB_WRITTEN_INDICES && at.index[i]; i++)
			index_protect(cpu, tlb, at.index[i] - 1u, page);
}

void x86_tlb_protect_page(struct x86_cpu *cpu, const uint8_t *hva)
{
	uint64_t page = (uintptr_t)hva & ~UINT64_C(0xfff);
	struct x86_tlb_written *written = written_at(cpu, page), at = *written;

	dropped(cpu, X86_DROP_WRITES, (uintptr_t)hva);
	if (at.index[0] == X86_TLB_WRITTEN_MORE)
		words_clear(cpu->tlb_written, sizeof(cpu->tlb_written));
	else
		*written = (struct x86_tlb_written){0};
	for (unsigned context = 0; context < X86_TLB_CONTEXTS; context++)
		if (cpu->tlb_pcid[context] != PCID_UNUSED)
			context_protect(cpu, x86_tlb_context(cpu, context), at, page);
}

void x86_tlb_protect_all(struct x86_cpu *cpu)
{
	dropped(cpu, X86_DROP_WRITES, 0);
	words_clear(cpu->tlb_written, sizeof(cpu->tlb_written));
	for (unsigned context = 0; context < X86_TLB_CONTEXTS; context++) {
		struct x86_tlb *tlb = x86_tlb_context(cpu, context);

		if (cpu->tlb_pcid[context] == PCID_UNUSED)
			continue;
		copies_drop(tlb);
		for (unsigned index = 0; index < X86_TLB_ENTRIES; index++)
			for (unsigned mode = 0; mode < X86_TLB_MODES; mode++)
				if (tlb->used[index / 64] >> index % 64 & 1)
					tlb->write[mode].tag[index] = empty_tag(index);
	}
}

/*
 * The context for a PCID that has none: a free one, or any but the current one. Not the one that was current longest ago: of five processes in a pipeline, each would
 * find its own gone whenever its turn comes.
 */
static unsigned context_choose(struct x86_cpu *cpu)
{
	for (unsigned context = 0; context < X86_TLB_CONTEXTS; context++)
		if (cpu->tlb_pcid[context] == PCID_UNUSED)
			return context;
	cpu->tlb_random = cpu->tlb_random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (cpu->tlb_current + 1 + (unsigned)(cpu->tlb_random >> 33) % (X86_TLB_CONTEXTS - 1)) % X86_TLB_CONTEXTS;
}

void x86_tlb_cr3_written(struct x86_cpu *cpu, uint64_t value, bool keep)
{
	uint16_t pcid = cpu->s.cr4 & X86_CR4_PCIDE ? (uint16_t)(value & 0xfff) : 0;
	unsigned context;

	for (context = 0; context < X86_TLB_CONTEXTS; context++)
		if (cpu->tlb_pcid[context] == pcid)
			break;
	if (context == X86_TLB_CONTEXTS) {
		/* Global entries are as good under the new PCID as they were under the old one. */
		context = context_choose(cpu);
		keep = false;
		context_start(cpu, context, pcid);
	}
	if (!keep) {
		dropped(cpu, X86_DROP_PCID, pcid);
		context_flush(x86_tlb_context(cpu, context), false);
	}
	cpu->tlb_current = (uint8_t)context;
	x86_tlb_select(cpu);
}

/* nonglobal: the bitmap for the arrays that the entry goes to. */
static void index_use(struct x86_tlb *tlb, uint64_t *nonglobal, uint64_t linear, const struct x86_translation *translation)
{
	unsigned index = (unsigned)(linear >> 12) & (X86_TLB_ENTRIES - 1);
	unsigned hash;

	tlb->used[index / 64] |= UINT64_C(1) << index % 64;
	if (!translation->global)
		nonglobal[index / 64] |= UINT64_C(1) << index % 64;
	if (translation->page_size == GUEST_PAGE_SIZE)
		return;
	if (translation->page_size > UINT64_C(4) << 20) {
		hash = huge_hash(linear);
		tlb->huge[hash / 64] |= UINT64_C(1) << hash % 64;
	} else {
		hash = large_hash(linear);
		tlb->large[hash / 64] |= UINT64_C(1) << hash % 64;
	}
}

static void entry_set(struct x86_tlb_array *array, uint64_t linear, const uint8_t *hva)
{
	unsigned index = (unsigned)(linear >> 12) & (X86_TLB_ENTRIES - 1);

	array->tag[index] = X86_TLB_TAG(linear);
	array->addend[index] = (uint64_t)(uintptr_t)hva - linear;
}

/* An entry that nobody asked for yet: it takes no other page's place. A copy between buffers 16 MiB apart would miss at every turn. */
static void entry_offer(struct x86_tlb_array *array, uint64_t linear, const uint8_t *hva)
{
	unsigned index = (unsigned)(linear >> 12) & (X86_TLB_ENTRIES - 1);

	if (array->tag[index] == empty_tag(index) || array->tag[index] == X86_TLB_TAG(linear))
		entry_set(array, linear, hva);
}

void x86_tlb_fill(struct x86_cpu *cpu, uint64_t linear, const uint8_t *hva, bool write, unsigned mode,
		  const struct x86_translation *translation, bool writable)
{
	struct x86_tlb *tlb = cpu->tlb;
	unsigned index = (unsigned)(linear >> 12) & (X86_TLB_ENTRIES - 1);

	if (tlb == x86_tlb_context(cpu, X86_TLB_CONTEXTS))
		return;
	index_use(tlb, tlb->nonglobal, linear, translation);
	if (write && writable) {
		entry_set(&tlb->write[mode], linear, hva);
		entry_offer(&tlb->read[mode], linear, hva);
	} else {
		entry_set(&tlb->read[mode], linear, hva);
		if (writable)
			entry_offer(&tlb->write[mode], linear, hva);
	}
	if (writable && tlb->write[mode].tag[index] == X86_TLB_TAG(linear))
		written_note(cpu, index, (uintptr_t)hva & ~UINT64_C(0xfff));
}

void x86_tlb_fill_fetch(struct x86_cpu *cpu, uint64_t linear, const uint8_t *hva, const struct x86_translation *translation)
{
	struct x86_tlb *tlb = cpu->tlb;
	bool user = cpu->cpl == 3;
	uint64_t old;
	unsigned index = (unsigned)(linear >> 12) & (X86_TLB_ENTRIES - 1);

	if (tlb == x86_tlb_context(cpu, X86_TLB_CONTEXTS))
		return;
	index_use(tlb, user ? tlb->nonglobal : tlb->nonglobal_fetch, linear, translation);
	old = tlb->fetch[user].tag[index];
	if (old != empty_tag(index) && old != X86_TLB_TAG(linear))
		tlb->displaced[user][index / 64] |= UINT64_C(1) << index % 64;
	entry_set(&tlb->fetch[user], linear, hva);
}
