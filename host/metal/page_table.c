/* SPDX-License-Identifier: Apache-2.0 */
/*
 * page_table.c - the address space of the bare-metal Holon: no page of it is writable and executable.
 *
 *   DIRECT_MAP   all RAM but the image, at its physical address; what of firmware and devices was asked for
 *   HEAP_FIRST   what heap.c gives out
 *   link_base    the image: text read-only and executable, constants read-only, data writable
 *
 * Nothing is mapped at the low half: a NULL pointer faults.
 */
#include "host/metal/internal.h"
#include "host/metal/lock.h"

#define LARGE_SIZE UINT64_C(0x200000)
#define PAGE_LARGE UINT64_C(0x80)
#define LEVELS 4u
#define ENTRIES 512u

static uint64_t top;     /* physical */
static uint64_t made;    /* tables, ever */
static struct lock lock; /* whoever makes some */

static unsigned index_of(uint64_t address, unsigned level)
{
	return (unsigned)(address >> (12 + 9 * level)) & (ENTRIES - 1);
}

/* The entry for `address` at `level` (0: small pages, 1: large ones). NULL: no table there, or a large page above. */
static uint64_t *entry_at(uint64_t address, unsigned level, bool make)
{
	uint64_t table = top;

	for (unsigned at = LEVELS - 1; at > level; at--) {
		uint64_t *entry = (uint64_t *)page_direct(table) + index_of(address, at);

		if (!(*entry & PAGE_PRESENT)) {
			if (!make)
				return NULL;
			*entry = frame_take() | PAGE_PRESENT | PAGE_WRITE;
			made++;
		} else if (*entry & PAGE_LARGE) {
			return NULL;
		}
		table = *entry & PAGE_ADDRESS;
	}
	return (uint64_t *)page_direct(table) + index_of(address, level);
}

uint64_t *page_table_entry(uint64_t address)
{
	return entry_at(address, 0, false);
}

/* At each level the tables of so many pages, and one more where they begin in the middle of one. */
static uint64_t tables_at_most(uint64_t pages)
{
	return pages / ENTRIES + pages / (ENTRIES * ENTRIES) + 2 * (LEVELS - 1);
}

bool page_table_prepare(uint64_t address, uint64_t pages)
{
	uint64_t promised = tables_at_most(pages), flags, before;

	if (!frame_promise(promised))
		return false;
	flags = lock_take(&lock);
	before = made;
	for (uint64_t i = 0; i < pages; i++)
		(void)entry_at(address + i * PAGE_SIZE, 0, true);
	promised -= made - before;
	lock_release(&lock, flags);
	frame_promise_return(promised);
	return true;
}

/* From promised frames. Pages that are mapped already stay. */
static void map(uint64_t address, uint64_t physical, uint64_t length, uint64_t flags)
{
	uint64_t end = physical + length;

	while (physical < end) {
		bool large = !((address | physical) & (LARGE_SIZE - 1)) && end - physical >= LARGE_SIZE;
		uint64_t *entry = entry_at(address, large ? 1 : 0, true);

		if (entry && !(*entry & PAGE_PRESENT))
			*entry = physical | flags | PAGE_PRESENT | (large ? PAGE_LARGE : 0);
		address += large ? LARGE_SIZE : PAGE_SIZE;
		physical += large ? LARGE_SIZE : PAGE_SIZE;
	}
}

static void image_map(const uint8_t *begin, const uint8_t *end, uint64_t flags)
{
	map((uint64_t)(uintptr_t)begin, start_image + (uint64_t)(begin - link_begin), (uint64_t)(end - begin), flags);
}

/* RAM in the direct map, whole pages, without the image. */
static void ram_map(uint64_t begin, uint64_t end)
{
	uint64_t image_end = start_image + (uint64_t)(link_end - link_begin);

	begin = (begin + PAGE_SIZE - 1) & ~(uint64_t)(PAGE_SIZE - 1);
	end &= ~(uint64_t)(PAGE_SIZE - 1);
	if (begin < start_image && image_end < end) {
		ram_map(begin, start_image);
		begin = image_end;
	} else if (begin >= start_image && begin < image_end) {
		begin = image_end;
	} else if (end > start_image && end <= image_end) {
		end = start_image;
	}
	if (begin < end)
		map(DIRECT_MAP + begin, begin, end - begin, PAGE_WRITE | PAGE_NO_EXECUTE);
}

void page_table_start(const struct multiboot *multiboot)
{
	uint64_t promised = frame_free();

	/* Only the boot runs: it may take what it likes, and gives the rest back. */
	bug_on(!frame_promise(promised));
	top = frame_take();
	made = 1;
	for (unsigned i = 0; i < multiboot->ranges; i++) {
		if (multiboot->range[i].type == MULTIBOOT_RAM)
			ram_map(multiboot->range[i].base, multiboot->range[i].base + multiboot->range[i].length);
	}
	image_map(link_begin, link_text_end, 0);
	image_map(link_text_end, link_rodata_end, PAGE_NO_EXECUTE);
	image_map(link_rodata_end, link_guard, PAGE_WRITE | PAGE_NO_EXECUTE);
	image_map(link_guard + PAGE_SIZE, link_end, PAGE_WRITE | PAGE_NO_EXECUTE);
	__asm__ volatile("movq %0, %%cr3" : : "r"(top) : "memory");
	frame_promise_return(promised - made);
}

/* More of the physical address space, after the start. */
static void *direct_add(uint64_t physical, uint64_t length, uint64_t page_flags)
{
	uint64_t begin = physical & ~(uint64_t)(PAGE_SIZE - 1);
	uint64_t pages = (physical + length - begin + PAGE_SIZE - 1) / PAGE_SIZE, promised = tables_at_most(pages), flags, before;

	if (physical + length < physical || !frame_promise(promised))
		return NULL;
	flags = lock_take(&lock);
	before = made;
	map(DIRECT_MAP + begin, begin, pages * PAGE_SIZE, page_flags);
	promised -= made - before;
	lock_release(&lock, flags);
	frame_promise_return(promised);
	return page_direct(physical);
}

void *page_table_firmware(uint64_t physical, uint64_t length)
{
	return direct_add(physical, length, PAGE_NO_EXECUTE);
}

void *page_table_device(uint64_t physical, uint64_t length)
{
	return direct_add(physical, length, PAGE_WRITE | PAGE_NO_EXECUTE | PAGE_UNCACHED);
}
