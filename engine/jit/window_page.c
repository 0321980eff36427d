/* SPDX-License-Identifier: Apache-2.0 */
/*
 * window_page.c - the pages that a window shows: the list of them, showing and hiding, whether one is still right.
 */
#include "engine/jit/window_page.h"

#define FLAGGED_MOST 16 /* pages of a large one that are hidden one by one */

static unsigned hash_of(uint64_t gva)
{
	return (unsigned)((gva >> GUEST_PAGE_SHIFT) * UINT64_C(0x9e3779b97f4a7c15) >> 40) % WINDOW_HASH;
}

static void hash_add(struct window *window, unsigned number)
{
	unsigned slot = hash_of(window->page[number].gva);

	while (window->hash[slot])
		slot = (slot + 1) % WINDOW_HASH;
	window->hash[slot] = (uint16_t)(number + 1);
}

/* The mapping that begins at gva and has that size. */
struct window_page *window_page_at(const struct window *window, uint64_t gva, uint64_t size)
{
	for (unsigned slot = hash_of(gva); window->hash[slot]; slot = (slot + 1) % WINDOW_HASH) {
		struct window_page *page = &window->page[window->hash[slot] - 1];

		if (page->gva == gva && page->size == size)
			return page;
	}
	return 0;
}

/* The mappings that have gva in them: a small one may lie over a part of a large one. */
struct window_page *window_page_small(const struct window *window, uint64_t gva)
{
	return window_page_at(window, gva & ~(uint64_t)(GUEST_PAGE_SIZE - 1), GUEST_PAGE_SIZE);
}
struct window_page *window_page_large(const struct window *window, uint64_t gva)
{
	return window_page_at(window, gva & ~(LARGE_PAGE - 1), LARGE_PAGE);
}

/* A Linux program's addresses. */
#define HOST_FIRST 0x10000
#define HOST_END ((INT64_C(1) << 47) - 4096)

bool window_page_block(const struct window *window, uint32_t number)
{
	for (unsigned i = 0; i < window->blocks; i++)
		if (window->block[i].number == number)
			return true;
	return false;
}

uint8_t *window_page_place(const struct window *window, uint64_t gva)
{
	int64_t at = (int64_t)(gva + (uint64_t)window->distance);

	return window_page_block(window, block_of(gva)) && at >= HOST_FIRST && at < HOST_END ? (uint8_t *)(uintptr_t)at : 0;
}

void window_page_range(const struct window *window, unsigned i, uint8_t **begin, uint64_t *size)
{
	uint32_t number = window->block[i].number;
	int64_t first = block_begin(number) + window->distance - (int64_t)GUARD, last = first + (int64_t)(BLOCK_SIZE + 2 * GUARD);

	for (unsigned other = 0; other < i; other++) {
		if (window->block[other].number + 1 == number)
			first += (int64_t)(2 * GUARD);
		if (window->block[other].number == number + 1)
			last -= (int64_t)(2 * GUARD);
	}
	first = first < HOST_FIRST ? HOST_FIRST : first;
	last = last > HOST_END ? HOST_END : last;
	*begin = (uint8_t *)(uintptr_t)first;
	*size = first < last ? (uint64_t)(last - first) : 0;
}

static void list_empty(struct window *window)
{
	if (window->pages)
		__builtin_memset(window->hash, 0, WINDOW_HASH * sizeof(*window->hash));
	window->pages = window->gone = window->drops = 0;
	window->stale = window->own_stale = false;
}

static bool blocks_hide(const struct window *window)
{
	bool done = true;

	for (unsigned i = 0; i < window->blocks && window->pages; i++) {
		uint8_t *begin;
		uint64_t size;

		window_page_range(window, i, &begin, &size);
		done &= host_view_hide(begin, size) == STATUS_OK;
	}
	return done;
}

/* To cut a mapping takes another one, which the host may not have; when all that was reserved is hidden, some must become free. */
static void all_forget(struct windows *windows)
{
	bool done;

	for (unsigned round = 0; round < 2; round++) {
		done = true;
		for (unsigned i = 0; i < WINDOWS; i++)
			done &= !windows->window[i].used || blocks_hide(&windows->window[i]);
	}
	bug_on(!done);
	for (unsigned i = 0; i < WINDOWS; i++)
		list_empty(&windows->window[i]);
}

/* All pages go. */
void window_page_forget(struct windows *windows, struct window *window)
{
	if (blocks_hide(window))
		list_empty(window);
	else
		all_forget(windows);
}

void window_page_hide(struct windows *windows, struct window *window, struct window_page *page)
{
	if (host_view_hide(window_page_place(window, page->gva), page->size) != STATUS_OK) {
		window_page_forget(windows, window);
		return;
	}
	page->size = 0;
	window->gone++;
}

/* Of a large one only the page of that RAM: a small one may take its place. */
void window_page_hide_part(struct windows *windows, struct window *window, struct window_page *page, const uint8_t *ram)
{
	if (page->size == GUEST_PAGE_SIZE)
		window_page_hide(windows, window, page);
	else if (host_view_hide(window_page_place(window, page->gva + (uint64_t)(ram - page->ram)), GUEST_PAGE_SIZE) != STATUS_OK)
		window_page_forget(windows, window);
}

struct window_page *window_page_add(struct window *window, const struct window_page *page)
{
	window->page[window->pages] = *page;
	hash_add(window, window->pages);
	return &window->page[window->pages++];
}

void window_page_compact(struct window *window)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < window->pages; i++)
		if (window->page[i].size)
			window->page[kept++] = window->page[i];
	__builtin_memset(window->hash, 0, WINDOW_HASH * sizeof(*window->hash));
	window->pages = kept;
	window->gone = 0;
	for (unsigned i = 0; i < kept; i++)
		hash_add(window, i);
}

/* Is the large page at one place of the host, and how many of its pages may not be written directly? */
static bool large_possible(const struct x86_cpu *cpu, uint64_t gpa, const uint8_t *ram, unsigned *flagged)
{
	const struct guest_memory *memory = cpu->memory;
	const uint8_t *first = guest_memory_at(memory, gpa & ~(LARGE_PAGE - 1), LARGE_PAGE);
	uint64_t number;

	*flagged = 0;
	if (!first || first != ram - (gpa & (LARGE_PAGE - 1)) || cpu->s.dr7 & 0xff)
		return false;
	number = guest_memory_page(memory, first);
	for (unsigned i = 0; i < LARGE_PAGE / GUEST_PAGE_SIZE; i++)
		*flagged += atomic_load_explicit(&memory->page_flags[number + i], memory_order_relaxed) != 0;
	return true;
}

/* What may be mapped for an access to gva. `flagged`: pages of it that are not to be written directly. */
bool window_page_find(const struct windows *windows, const struct window *window, uint64_t gva, enum x86_access access,
		      struct window_page *out, unsigned *flagged)
{
	struct x86_cpu *cpu = windows->cpu;
	bool kernel = is_kernel(windows, window);
	struct x86_translation translation;
	const uint8_t *ram;

	*flagged = 0;
	if (x86_page_find(cpu, gva, access, kernel ? X86_MODE_SUPERVISOR_SMAP : X86_MODE_USER, &translation, &ram) !=
		    X86_REFILL_DONE ||
	    (access == X86_WRITE && !translation.writable))
		return false;
	out->global = translation.global;
	out->size = GUEST_PAGE_SIZE;
	if (translation.page_size >= LARGE_PAGE && large_possible(cpu, translation.gpa, ram, flagged) &&
	    (!translation.writable || *flagged <= FLAGGED_MOST))
		out->size = LARGE_PAGE;
	out->gva = gva & ~(uint64_t)(out->size - 1);
	out->ram = ram - (gva - out->gva);
	out->writable = translation.writable;
	return true;
}

void window_page_check(struct windows *windows, struct window *window, struct window_page *page)
{
	struct window_page now;
	unsigned flagged;

	window->credit -= WINDOW_COST_CHECK;
	if (window_page_find(windows, window, page->gva, X86_PROBE, &now, &flagged) && now.size >= page->size &&
	    now.ram + (page->gva - now.gva) == page->ram && now.writable >= page->writable)
		return;
	window->credit -= WINDOW_COST_REFUSED;
	window_page_hide(windows, window, page);
}

/* A page is shown, but for what of it may not be written directly. false: all of it is hidden. */
bool window_page_show(struct windows *windows, struct window *window, struct window_page *page, unsigned flagged)
{
	const struct guest_memory *memory = windows->cpu->memory;
	uint8_t *place = window_page_place(window, page->gva);
	uint64_t number = guest_memory_page(memory, page->ram);

	if (host_view_show(place, page->ram, page->size, page->writable) != STATUS_OK) {
		/* What is at that place now, is not known. */
		window_page_hide(windows, window, page);
		return false;
	}
	for (unsigned i = 0; page->writable && flagged && i < page->size / GUEST_PAGE_SIZE; i++) {
		if (!atomic_load_explicit(&memory->page_flags[number + i], memory_order_relaxed))
			continue;
		if (host_view_hide(place + (uint64_t)i * GUEST_PAGE_SIZE, GUEST_PAGE_SIZE) != STATUS_OK) {
			window_page_forget(windows, window);
			return false;
		}
	}
	return true;
}
