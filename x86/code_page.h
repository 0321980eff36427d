/* SPDX-License-Identifier: Apache-2.0 */
/*
 * code_page.h - which guest pages hold code that an engine has decoded or translated, and when that code went stale.
 *
 * Before an engine reads bytes to decode, it marks them. A marked page gets GUEST_PAGE_CODE, so every store to it, by any vcpu or device, takes the slow
 * way and ends in code_written (guest_memory.h). There a bitmap of 64-byte granules decides whether code was hit, so
 * that data beside code costs a slow store and no more. If it was, the page's generation is stepped and the page is forgotten: blocks
 * remember the generation that they were made under and are stale when it differs.
 *
 * Why no stale block can survive: a marker sets the granule bits before it reads the bytes, a writer stores before it looks at the bits, and both
 * go through `lock`. So either the marker reads the new bytes or the writer sees the bits.
 */
#ifndef HOLON_X86_CODE_PAGE_H
#define HOLON_X86_CODE_PAGE_H

#include <holon/guest_memory.h>
#include <holon/host.h>

#include "x86/cpu.h"

#define X86_CODE_CPUS 64

struct x86_code_pages {
	struct guest_memory *memory;
	struct host_mutex lock; /* a leaf, but for `invalidated` */
	uint64_t *granule;      /* by RAM page: a bit 64 bytes */
	uint64_t pages;
	struct x86_cpu *cpu[X86_CODE_CPUS]; /* whose TLBs lose their write entries */
	unsigned cpus;
	/* The engine's, optional: the page's code is stale from now on. Under `lock`, on any thread. */
	void (*invalidated)(void *engine, uint64_t page);
	void *engine;
};

/* Allocates the bitmap and makes itself memory's code_written. Destroy: no vcpu runs, no device writes; the pages are nobody's code any more. */
enum status x86_code_pages_init(struct x86_code_pages *pages, struct guest_memory *memory) must_check;
void x86_code_pages_destroy(struct x86_code_pages *pages);
void x86_code_pages_cpu_add(struct x86_code_pages *pages, struct x86_cpu *cpu);

/*
 * On a vcpu's thread, between instructions: [hva, hva + length), within one page, is about to be read and decoded. Returns the page's
 * generation. May run an exclusive section (the page's first code).
 */
uint32_t x86_code_page_mark(struct x86_code_pages *pages, struct x86_cpu *cpu, const uint8_t *hva, unsigned length);

#endif
