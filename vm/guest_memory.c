/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guest_memory.c - where guest RAM is, and the brackets around every write to it (include/holon/guest_memory.h).
 *
 * What has to hold for dirty logging: a store that a collection misses is seen by the next one. Two kinds of writers:
 * - vcpus take the slow way while a page is CLEAN, and never run during start and collect (the caller's duty), so for
 *   them flag and bit change together;
 * - devices run at any time, so they set the dirty bit after every store, whatever the flag says, and leave CLEAN alone.
 *   collect takes the bit before anyone copies the page: a store whose bit was taken happened before the copy, any other
 *   leaves its bit for the next collection.
 * What has to hold for code: store, fence, look at the flag here; set the flag, fence, read the bytes in the engine. One of the
 * two sees the other.
 */
#include <stdatomic.h>

#include <holon/guest_memory.h>
#include <holon/host.h>

#define DIRTY_WORD_BITS 64

static size_t dirty_bytes(uint64_t pages)
{
	return (size_t)((pages + DIRTY_WORD_BITS - 1) / DIRTY_WORD_BITS * sizeof(uint64_t));
}

static uint64_t memory_pages(const struct guest_memory *memory)
{
	return memory->size >> GUEST_PAGE_SHIFT;
}

enum status guest_memory_init(struct guest_memory *memory, uint8_t *base, uint64_t size)
{
	uint64_t pages = size >> GUEST_PAGE_SHIFT;

	__builtin_memset(memory, 0, sizeof(*memory));
	if (!pages || size & (GUEST_PAGE_SIZE - 1))
		return STATUS_RANGE;
	memory->base = base;
	memory->size = size;
	/* Committed when touched: a page's share is that of the RAM that the guest uses. */
	memory->page_flags = host_allocate(pages);
	memory->code_generation = host_allocate(pages * sizeof(uint32_t));
	memory->dirty = host_allocate(dirty_bytes(pages));
	if (!memory->page_flags || !memory->code_generation || !memory->dirty) {
		guest_memory_destroy(memory);
		return STATUS_NO_MEMORY;
	}
	return STATUS_OK;
}

void guest_memory_destroy(struct guest_memory *memory)
{
	uint64_t pages = memory_pages(memory);

	if (memory->page_flags)
		host_free((void *)memory->page_flags, pages);
	if (memory->code_generation)
		host_free((void *)memory->code_generation, pages * sizeof(uint32_t));
	if (memory->dirty)
		host_free((void *)memory->dirty, dirty_bytes(pages));
	__builtin_memset(memory, 0, sizeof(*memory));
}

enum status guest_memory_slot_add(struct guest_memory *memory, uint64_t gpa, uint64_t length, uint64_t offset, bool readonly)
{
	struct memory_slot *slot;
	unsigned i;

	if (!length || (gpa | length | offset) & (GUEST_PAGE_SIZE - 1))
		return STATUS_RANGE;
	if (gpa + (length - 1) < gpa || offset > memory->size || length > memory->size - offset)
		return STATUS_RANGE;
	if (memory->slots == GUEST_MEMORY_SLOTS)
		return STATUS_NO_SPACE;
	for (i = 0; i < memory->slots; i++)
		if (gpa <= memory->slot[i].gpa + (memory->slot[i].length - 1) && memory->slot[i].gpa <= gpa + (length - 1))
			return STATUS_BUSY;
	slot = &memory->slot[memory->slots];
	*slot = (struct memory_slot){
		.id = memory->slots, .gpa = gpa, .length = length, .hva = memory->base + offset, .readonly = readonly};
	memory->slots++;
	return STATUS_OK;
}

const struct memory_slot *guest_memory_slot_find(const struct guest_memory *memory, uint64_t gpa)
{
	unsigned i;

	for (i = 0; i < memory->slots; i++)
		if (gpa - memory->slot[i].gpa < memory->slot[i].length)
			return &memory->slot[i];
	return NULL;
}

static const struct memory_slot *slot_of_range(const struct guest_memory *memory, uint64_t gpa, uint64_t length)
{
	const struct memory_slot *slot = guest_memory_slot_find(memory, gpa);

	return slot && length <= slot->length - (gpa - slot->gpa) ? slot : NULL;
}

const uint8_t *guest_memory_at(const struct guest_memory *memory, uint64_t gpa, uint64_t length)
{
	const struct memory_slot *slot = slot_of_range(memory, gpa, length);

	return slot ? slot->hva + (gpa - slot->gpa) : NULL;
}

uint8_t *guest_memory_write_begin(struct guest_memory *memory, uint64_t gpa, uint64_t length)
{
	const struct memory_slot *slot = slot_of_range(memory, gpa, length);

	return slot && !slot->readonly ? slot->hva + (gpa - slot->gpa) : NULL;
}

static void dirty_set(struct guest_memory *memory, uint64_t page)
{
	atomic_fetch_or(&memory->dirty[page / DIRTY_WORD_BITS], UINT64_C(1) << page % DIRTY_WORD_BITS);
}

static void code_written(struct guest_memory *memory, uint64_t page, unsigned offset, unsigned length)
{
	if (memory->code_written)
		memory->code_written(memory->engine, page, offset, length);
}

void guest_memory_write_end(struct guest_memory *memory, uint64_t gpa, uint64_t length)
{
	const struct memory_slot *slot = slot_of_range(memory, gpa, length);
	bool logging;
	uint64_t at, end;

	if (!slot || !length)
		return;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	logging = __atomic_load_n(&memory->logging, __ATOMIC_SEQ_CST);
	at = (uint64_t)(slot->hva - memory->base) + (gpa - slot->gpa);
	for (end = at + length; at < end;) {
		uint64_t page = at >> GUEST_PAGE_SHIFT;
		uint64_t next = (page + 1) << GUEST_PAGE_SHIFT < end ? (page + 1) << GUEST_PAGE_SHIFT : end;

		if (logging)
			dirty_set(memory, page);
		if (atomic_load(&memory->page_flags[page]) & GUEST_PAGE_CODE)
			code_written(memory, page, at & (GUEST_PAGE_SIZE - 1), (unsigned)(next - at));
		at = next;
	}
}

void guest_memory_page_written(struct guest_memory *memory, const uint8_t *hva, unsigned length)
{
	uint64_t page = guest_memory_page(memory, hva);
	uint8_t flags;

	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	flags = atomic_load(&memory->page_flags[page]);
	if (flags & GUEST_PAGE_CLEAN) {
		dirty_set(memory, page);
		atomic_fetch_and(&memory->page_flags[page], (uint8_t)~GUEST_PAGE_CLEAN);
	}
	if (flags & GUEST_PAGE_CODE)
		code_written(memory, page, (unsigned)(hva - memory->base) & (GUEST_PAGE_SIZE - 1), length);
}

/* The slots from gpa on hold `length` bytes (writable ones)? */
static bool range_is_ram(const struct guest_memory *memory, uint64_t gpa, uint64_t length, bool write)
{
	while (length) {
		const struct memory_slot *slot = guest_memory_slot_find(memory, gpa);
		uint64_t left;

		if (!slot || (write && slot->readonly))
			return false;
		left = slot->length - (gpa - slot->gpa);
		if (left >= length)
			return true;
		gpa += left;
		length -= left;
	}
	return true;
}

enum status guest_memory_read(const struct guest_memory *memory, uint64_t gpa, void *buffer, uint64_t length)
{
	uint8_t *out = buffer;

	if (!range_is_ram(memory, gpa, length, false))
		return STATUS_RANGE;
	while (length) {
		const struct memory_slot *slot = guest_memory_slot_find(memory, gpa);
		uint64_t left = slot->length - (gpa - slot->gpa);
		uint64_t part = left < length ? left : length;

		__builtin_memcpy(out, slot->hva + (gpa - slot->gpa), part);
		out += part;
		gpa += part;
		length -= part;
	}
	return STATUS_OK;
}

enum status guest_memory_write(struct guest_memory *memory, uint64_t gpa, const void *buffer, uint64_t length)
{
	const uint8_t *in = buffer;

	if (!range_is_ram(memory, gpa, length, true))
		return STATUS_RANGE;
	while (length) {
		const struct memory_slot *slot = guest_memory_slot_find(memory, gpa);
		uint64_t left = slot->length - (gpa - slot->gpa);
		uint64_t part = left < length ? left : length;

		__builtin_memcpy(slot->hva + (gpa - slot->gpa), in, part);
		guest_memory_write_end(memory, gpa, part);
		in += part;
		gpa += part;
		length -= part;
	}
	return STATUS_OK;
}

/* The part of [gpa, gpa + length) that is in one slot. */
static uint64_t discard_in_slot(struct guest_memory *memory, const struct memory_slot *slot, uint64_t gpa, uint64_t length)
{
	/* Slots begin and end with pages; so this never leaves them. */
	uint64_t first = (gpa + GUEST_PAGE_SIZE - 1) & ~(uint64_t)(GUEST_PAGE_SIZE - 1);
	uint64_t end = (gpa + length) & ~(uint64_t)(GUEST_PAGE_SIZE - 1);

	if (first >= end || slot->readonly)
		return 0;
	host_ram_discard(slot->hva + (first - slot->gpa), end - first);
	guest_memory_write_end(memory, first, end - first);
	return end - first;
}

uint64_t guest_memory_discard(struct guest_memory *memory, uint64_t gpa, uint64_t length)
{
	uint64_t done = 0;
	unsigned i;

	/* Slot by slot, not page by page: a guest may name any range, most of it nothing. */
	for (i = 0; i < memory->slots; i++) {
		const struct memory_slot *slot = &memory->slot[i];
		uint64_t begin = gpa > slot->gpa ? gpa : slot->gpa;
		uint64_t last = gpa + length - 1 < slot->gpa + slot->length - 1 ? gpa + length - 1 : slot->gpa + slot->length - 1;

		if (length && gpa + length - 1 >= gpa && begin <= last)
			done += discard_in_slot(memory, slot, begin, last - begin + 1);
	}
	return done;
}

static void clean_set(struct guest_memory *memory, uint64_t page)
{
	atomic_fetch_or(&memory->page_flags[page], GUEST_PAGE_CLEAN);
}

enum status guest_memory_dirty_start(struct guest_memory *memory)
{
	uint64_t page, word, words = dirty_bytes(memory_pages(memory)) / sizeof(uint64_t);

	if (memory->logging)
		return STATUS_BUSY;
	for (word = 0; word < words; word++)
		atomic_store_explicit(&memory->dirty[word], 0, memory_order_relaxed);
	__atomic_store_n(&memory->logging, true, __ATOMIC_SEQ_CST);
	for (page = 0; page < memory_pages(memory); page++)
		clean_set(memory, page);
	return STATUS_OK;
}

void guest_memory_dirty_collect(struct guest_memory *memory, uint64_t *bitmap)
{
	uint64_t word, words = dirty_bytes(memory_pages(memory)) / sizeof(uint64_t);

	for (word = 0; word < words; word++) {
		uint64_t bits = atomic_exchange(&memory->dirty[word], 0), left;

		bitmap[word] = bits;
		for (left = bits; left; left &= left - 1)
			clean_set(memory, word * DIRTY_WORD_BITS + (unsigned)__builtin_ctzll(left));
	}
}

void guest_memory_dirty_stop(struct guest_memory *memory)
{
	uint64_t page;

	if (!memory->logging)
		return;
	__atomic_store_n(&memory->logging, false, __ATOMIC_SEQ_CST);
	for (page = 0; page < memory_pages(memory); page++)
		atomic_fetch_and(&memory->page_flags[page], (uint8_t)~GUEST_PAGE_CLEAN);
}
