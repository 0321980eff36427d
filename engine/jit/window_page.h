/* SPDX-License-Identifier: Apache-2.0 */
/*
 * window_page.h - what is mapped in a window: between window.c and window_page.c. What a window is: window.h.
 */
#ifndef HOLON_JIT_WINDOW_PAGE_H
#define HOLON_JIT_WINDOW_PAGE_H

#include <holon/host.h>

#include "engine/jit/window.h"
#include "x86/memory.h"

#define BLOCK_SIZE (UINT64_C(1) << JIT_BLOCK_SHIFT)
#define GUARD (UINT64_C(64) << 20) /* nothing, on either side of a block */
#define WINDOW_HASH (WINDOW_PAGES * 2)
#define LARGE_PAGE (UINT64_C(2) << 20)
/* ns: of a fault that shows a page, of one that does not, of a page that is looked up again */
#define WINDOW_COST_FILL 20000
#define WINDOW_COST_REFUSED 6000
#define WINDOW_COST_CHECK 300
#define KERNEL 0 /* the number of CPL 0's window */

static inline bool is_kernel(const struct windows *windows, const struct window *window)
{
	return window == &windows->window[KERNEL];
}

static inline uint32_t block_of(uint64_t gva)
{
	return (uint32_t)(gva >> JIT_BLOCK_SHIFT) & 0x3ffff;
}

/* Where a block begins, in canonical form. */
static inline int64_t block_begin(uint32_t number)
{
	return (int64_t)((uint64_t)number << 46) >> 16;
}

/* The list, in which a page stays at its place until _compact and _forget: the mapping that begins at gva and has that size, or NULL. */
struct window_page *window_page_at(const struct window *window, uint64_t gva, uint64_t size);
/* The mappings that have gva in them: a small one may lie over a part of a large one. */
struct window_page *window_page_small(const struct window *window, uint64_t gva);
struct window_page *window_page_large(const struct window *window, uint64_t gva);
/* Does the window have it? */
bool window_page_block(const struct window *window, uint32_t number);
/* Where gva lies in the host; NULL: the window does not have its block, or there the host cannot have it. */
uint8_t *window_page_place(const struct window *window, uint64_t gva);
/* The host addresses that block i has for itself, when those before it have theirs. */
void window_page_range(const struct window *window, unsigned i, uint8_t **begin, uint64_t *size);
/* The list has room. */
struct window_page *window_page_add(struct window *window, const struct window_page *page);
/* Makes room in the list. */
void window_page_compact(struct window *window);
/* All pages go. */
void window_page_forget(struct windows *windows, struct window *window);
void window_page_hide(struct windows *windows, struct window *window, struct window_page *page);
/* Of a large one only the page of that RAM: a small one may take its place. */
void window_page_hide_part(struct windows *windows, struct window *window, struct window_page *page, const uint8_t *ram);
/* What may be mapped for an access to gva. `flagged`: pages of it that are not to be written directly. */
bool window_page_find(const struct windows *windows, const struct window *window, uint64_t gva, enum x86_access access,
		      struct window_page *out, unsigned *flagged);
/* A page is shown, but for what of it may not be written directly. false: all of it is hidden. */
bool window_page_show(struct windows *windows, struct window *window, struct window_page *page, unsigned flagged);
/* Hides the page unless its translation is still the same. */
void window_page_check(struct windows *windows, struct window *window, struct window_page *page);

#endif
