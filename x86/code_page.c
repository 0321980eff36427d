/* SPDX-License-Identifier: Apache-2.0 */
/*
 * code_page.c - marks pages that hold decoded code, and finds out when a store hits it.
 *
 * Called by engine/interp and engine/jit before they decode, and by vm/guest_memory.c after a store to a marked page.
 */
#include "x86/code_page.h"

#define GRANULE_SHIFT 6

/* The bits of the granules that [offset, offset + length) touches; length > 0, within the page. */
static uint64_t granule_mask(unsigned offset, unsigned length)
{
	unsigned first = offset >> GRANULE_SHIFT;
	unsigned last = (offset + length - 1) >> GRANULE_SHIFT;

	return (UINT64_MAX >> (63 - (last - first))) << first;
}

/* The store is done; guest_memory.h says when this is called. */
static void code_written(void *opaque, uint64_t page, unsigned offset, unsigned length)
{
	struct x86_code_pages *pages = opaque;
	uint64_t mask = granule_mask(offset, length);

	host_mutex_lock(&pages->lock);
	if (pages->granule[page] & mask) {
		pages->granule[page] = 0;
		atomic_fetch_add_explicit(&pages->memory->code_generation[page], 1, memory_order_seq_cst);
		atomic_fetch_and_explicit(&pages->memory->page_flags[page], (uint8_t)~GUEST_PAGE_CODE, memory_order_seq_cst);
		if (pages->invalidated)
			pages->invalidated(pages->engine, page);
	}
	host_mutex_unlock(&pages->lock);
}

struct protection {
	struct x86_code_pages *pages;
	const uint8_t *hva;
};

/* Exclusive: from here on every store to the page takes the slow way. */
static void page_protect(void *opaque)
{
	struct protection *protection = opaque;
	struct x86_code_pages *pages = protection->pages;
	uint64_t page = guest_memory_page(pages->memory, protection->hva);

	atomic_fetch_or_explicit(&pages->memory->page_flags[page], GUEST_PAGE_CODE, memory_order_seq_cst);
	for (unsigned i = 0; i < pages->cpus; i++)
		x86_tlb_protect_page(pages->cpu[i], protection->hva);
}

uint32_t x86_code_page_mark(struct x86_code_pages *pages, struct x86_cpu *cpu, const uint8_t *hva, unsigned length)
{
	uint64_t page = guest_memory_page(pages->memory, hva);
	uint64_t mask = granule_mask((unsigned)((uintptr_t)hva & (GUEST_PAGE_SIZE - 1)), length);

	for (;;) {
		host_mutex_lock(&pages->lock);
		if (atomic_load_explicit(&pages->memory->page_flags[page], memory_order_seq_cst) & GUEST_PAGE_CODE) {
			uint32_t generation = atomic_load_explicit(&pages->memory->code_generation[page], memory_order_seq_cst);

			pages->granule[page] |= mask;
			host_mutex_unlock(&pages->lock);
			return generation;
		}
		host_mutex_unlock(&pages->lock);
		cpu->platform->exclusive(cpu->machine, page_protect, &(struct protection){pages, hva});
	}
}

void x86_code_pages_cpu_add(struct x86_code_pages *pages, struct x86_cpu *cpu)
{
	bug_on(pages->cpus >= X86_CODE_CPUS);
	pages->cpu[pages->cpus++] = cpu;
}

enum status x86_code_pages_init(struct x86_code_pages *pages, struct guest_memory *memory)
{
	pages->memory = memory;
	pages->pages = memory->size >> GUEST_PAGE_SHIFT;
	pages->granule = host_allocate(pages->pages * sizeof(*pages->granule));
	if (!pages->granule)
		return STATUS_NO_MEMORY;
	memory->code_written = code_written;
	memory->engine = pages;
	return STATUS_OK;
}

void x86_code_pages_destroy(struct x86_code_pages *pages)
{
	if (!pages->granule)
		return;
	pages->memory->code_written = 0;
	pages->memory->engine = 0;
	/* Another engine may follow: a flag without its granules would make every store to the page slow for ever. */
	for (uint64_t page = 0; page < pages->pages; page++)
		if (atomic_load_explicit(&pages->memory->page_flags[page], memory_order_relaxed) & GUEST_PAGE_CODE)
			atomic_fetch_and_explicit(&pages->memory->page_flags[page], (uint8_t)~GUEST_PAGE_CODE,
						  memory_order_seq_cst);
	host_free(pages->granule, pages->pages * sizeof(*pages->granule));
	pages->granule = 0;
}
