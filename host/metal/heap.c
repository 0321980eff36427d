/* SPDX-License-Identifier: Apache-2.0 */
/*
 * heap.c - host_allocate and code pages on the bare machine.
 *
 * From a page on, an allocation is an *area*: addresses of its own, with a page behind it that is mapped nowhere. Its frames are promised when it is
 * made and come when a page is first touched (heap_fault), so guest memory and tables cost what is used of them, and a touch never fails. Code pages
 * are two areas over the same frames: a touch of either maps the page in both. Smaller allocations are powers of two from 64 on, cut from frames.
 */
#include "host/metal/internal.h"
#include "host/metal/lock.h"

#define SMALL_LEAST 64u
#define SMALL_SIZES 6u
#define SMALL_MOST (SMALL_LEAST << (SMALL_SIZES - 1)) /* half a page */
#define PAGE_FAULT_PRESENT 1u
#define PAGE_FAULT_WRITE 2u
#define PAGE_FAULT_FETCH 16u

struct area {
	struct area *next;
	uint64_t address, pages; /* without the guard page */
	uint64_t flags;
	struct area *twin; /* the other mapping of the same frames */
};

static struct {
	struct lock lock;
	uint8_t *small[SMALL_SIZES]; /* free ones, linked by their first word */
	struct area *used;
	struct area *gaps; /* addresses that were given back, in order */
	uint64_t next;     /* addresses above this were never given out */
} heap = {.next = HEAP_FIRST};

/* --- small ones --- */

static unsigned small_index(size_t size)
{
	unsigned index = 0;

	while ((SMALL_LEAST << index) < size)
		index++;
	return index;
}

static void small_push_locked(unsigned index, uint8_t *memory)
{
	__builtin_memcpy(memory, &heap.small[index], sizeof(heap.small[index]));
	heap.small[index] = memory;
}

static bool small_refill_locked(unsigned index)
{
	uint8_t *page;

	if (!frame_promise(1))
		return false;
	page = page_direct(frame_take());
	for (unsigned at = 0; at < PAGE_SIZE; at += SMALL_LEAST << index)
		small_push_locked(index, page + at);
	return true;
}

static void *small_allocate(size_t size)
{
	unsigned index = small_index(size);
	uint64_t flags = lock_take(&heap.lock);
	uint8_t *memory = NULL;

	if (heap.small[index] || small_refill_locked(index)) {
		memory = heap.small[index];
		__builtin_memcpy(&heap.small[index], memory, sizeof(heap.small[index]));
	}
	lock_release(&heap.lock, flags);
	if (memory)
		__builtin_memset(memory, 0, SMALL_LEAST << index);
	return memory;
}

static void small_free(void *memory, size_t size)
{
	uint64_t flags = lock_take(&heap.lock);

	small_push_locked(small_index(size), memory);
	lock_release(&heap.lock, flags);
}

/* --- areas --- */

/* Addresses for `pages` and a guard page: the first gap that is large enough, or new ones. 0: none. */
static uint64_t addresses_take_locked(uint64_t pages, struct area **emptied)
{
	uint64_t address;

	for (struct area **at = &heap.gaps; *at; at = &(*at)->next) {
		struct area *gap = *at;

		if (gap->pages < pages + 1)
			continue;
		address = gap->address;
		gap->address += (pages + 1) * PAGE_SIZE;
		gap->pages -= pages + 1;
		if (!gap->pages) {
			*at = gap->next;
			*emptied = gap;
		}
		return address;
	}
	if (pages >= (HEAP_LAST - heap.next) / PAGE_SIZE)
		return 0;
	address = heap.next;
	heap.next += (pages + 1) * PAGE_SIZE;
	return address;
}

/* The area's struct becomes a gap, or part of its neighbours; what is left over is linked into *spare. */
static void addresses_give_locked(struct area *area, struct area **spare)
{
	struct area **at = &heap.gaps, *previous = NULL, *next;

	while (*at && (*at)->address < area->address) {
		previous = *at;
		at = &(*at)->next;
	}
	area->pages++; /* the guard */
	next = area->next = *at;
	*at = area;
	if (next && area->address + area->pages * PAGE_SIZE == next->address) {
		area->pages += next->pages;
		area->next = next->next;
		next->next = *spare;
		*spare = next;
	}
	if (previous && previous->address + previous->pages * PAGE_SIZE == area->address) {
		previous->pages += area->pages;
		previous->next = area->next;
		area->next = *spare;
		*spare = area;
	}
}

static void areas_free(struct area *list)
{
	while (list) {
		struct area *next = list->next;

		small_free(list, sizeof(*list));
		list = next;
	}
}

/* Takes an area that is in no list out of the address space, and its frames where it is the last mapping. */
static void area_unmap(struct area *area)
{
	uint64_t untouched = 0;
	bool last = !area->twin;

	for (uint64_t i = 0; i < area->pages; i++) {
		uint64_t address = area->address + i * PAGE_SIZE, *entry = page_table_entry(address), was = *entry;

		*entry = 0;
		if (!(was & PAGE_PRESENT)) {
			untouched++;
			continue;
		}
		__asm__ volatile("invlpg (%0)" : : "r"(address) : "memory");
		if (last)
			frame_give(was & PAGE_ADDRESS);
	}
	if (last)
		frame_promise_return(untouched);
	else
		area->twin->twin = NULL;
}

static void area_destroy(struct area *area)
{
	struct area **at = &heap.used, *spare = NULL;
	uint64_t flags = lock_take(&heap.lock);

	while (*at != area)
		at = &(*at)->next;
	*at = area->next;
	lock_release(&heap.lock, flags);
	area_unmap(area);
	flags = lock_take(&heap.lock);
	addresses_give_locked(area, &spare);
	lock_release(&heap.lock, flags);
	areas_free(spare);
}

/* `frames`: its own, promised here; else it will be the twin of one that has them. */
static struct area *area_make(uint64_t pages, uint64_t page_flags, bool frames)
{
	struct area *area = small_allocate(sizeof(*area)), *emptied = NULL;
	uint64_t flags;

	if (!area)
		return NULL;
	if (frames && !frame_promise(pages))
		goto free_area;
	flags = lock_take(&heap.lock);
	area->address = addresses_take_locked(pages, &emptied);
	lock_release(&heap.lock, flags);
	if (emptied)
		small_free(emptied, sizeof(*emptied));
	if (!area->address)
		goto return_promise;
	area->pages = pages;
	area->flags = page_flags;
	if (!page_table_prepare(area->address, pages))
		goto return_addresses;
	flags = lock_take(&heap.lock);
	area->next = heap.used;
	heap.used = area;
	lock_release(&heap.lock, flags);
	return area;

return_addresses:
	flags = lock_take(&heap.lock);
	emptied = NULL;
	addresses_give_locked(area, &emptied);
	lock_release(&heap.lock, flags);
	areas_free(emptied);
	area = NULL;
return_promise:
	if (frames)
		frame_promise_return(pages);
free_area:
	if (area)
		small_free(area, sizeof(*area));
	return NULL;
}

static struct area *area_find_locked(uint64_t address)
{
	for (struct area *area = heap.used; area; area = area->next) {
		if (address >= area->address && address - area->address < area->pages * PAGE_SIZE)
			return area;
	}
	return NULL;
}

static bool access_allowed(const struct area *area, uint64_t error)
{
	if (error & PAGE_FAULT_WRITE)
		return area->flags & PAGE_WRITE;
	return !(error & PAGE_FAULT_FETCH) || !(area->flags & PAGE_NO_EXECUTE);
}

bool heap_fault(uint64_t address, uint64_t error)
{
	struct area *area;
	uint64_t flags, page, frame;
	bool mine;

	if (error & PAGE_FAULT_PRESENT)
		return false;
	flags = lock_take(&heap.lock);
	area = area_find_locked(address);
	mine = area && access_allowed(area, error);
	if (mine && !(*page_table_entry(address) & PAGE_PRESENT)) {
		page = (address - area->address) & ~(uint64_t)(PAGE_SIZE - 1);
		frame = frame_take();
		*page_table_entry(area->address + page) = frame | area->flags | PAGE_PRESENT;
		if (area->twin)
			*page_table_entry(area->twin->address + page) = frame | area->twin->flags | PAGE_PRESENT;
	}
	lock_release(&heap.lock, flags);
	return mine;
}

/* --- host.h --- */

static struct area *area_of(const void *memory)
{
	uint64_t flags = lock_take(&heap.lock);
	struct area *area = area_find_locked((uint64_t)(uintptr_t)memory);

	lock_release(&heap.lock, flags);
	bug_on(!area);
	return area;
}

static void *area_memory(const struct area *area)
{
	return area ? (void *)(uintptr_t)area->address : NULL;
}

static uint64_t pages_of(size_t size)
{
	return (uint64_t)size / PAGE_SIZE + (size % PAGE_SIZE != 0);
}

void *host_allocate(size_t size)
{
	if (size <= SMALL_MOST)
		return small_allocate(size);
	return area_memory(area_make(pages_of(size), PAGE_WRITE | PAGE_NO_EXECUTE, true));
}

void host_free(void *memory, size_t size)
{
	if (!memory)
		return;
	if (size <= SMALL_MOST)
		small_free(memory, size);
	else
		area_destroy(area_of(memory));
}

uint8_t *heap_stack_make(size_t size)
{
	/* Addresses grow upwards, so what is below an area is the guard page of another, or what was one; the first area has nothing below. */
	uint8_t *stack = host_allocate(size);

	/* All of it now: a trap handler must not find that its interrupted code holds the heap's lock. */
	for (size_t at = 0; stack && at < size; at += PAGE_SIZE)
		*(volatile uint8_t *)(stack + at) = 0;
	return stack;
}

enum status host_code_allocate(struct host_code *code, size_t size)
{
	struct area *write = area_make(pages_of(size), PAGE_WRITE | PAGE_NO_EXECUTE, true), *execute;

	*code = (struct host_code){0};
	if (!write)
		return STATUS_NO_MEMORY;
	execute = area_make(pages_of(size), 0, false);
	if (!execute) {
		area_destroy(write);
		return STATUS_NO_MEMORY;
	}
	write->twin = execute;
	execute->twin = write;
	*code = (struct host_code){area_memory(write), area_memory(execute), pages_of(size) * PAGE_SIZE};
	return STATUS_OK;
}

void host_code_free(struct host_code *code)
{
	if (!code->write)
		return;
	area_destroy(area_of(code->execute));
	area_destroy(area_of(code->write));
	*code = (struct host_code){0};
}

/* There is nothing besides the frames that could be dropped. */
void host_code_settled(struct host_code *code, size_t from, size_t to)
{
	(void)code;
	(void)from;
	(void)to;
}

/* Views, later: here they would cost a page-table entry each. */
enum status host_view_reserve(uint8_t **base, __attribute__((unused)) uint64_t size)
{
	*base = 0;
	return STATUS_UNSUPPORTED;
}

enum status host_view_reserve_at(__attribute__((unused)) uint8_t *base, __attribute__((unused)) uint64_t size)
{
	return STATUS_UNSUPPORTED;
}

enum status host_view_memory(__attribute__((unused)) uint8_t *at, __attribute__((unused)) uint64_t size,
			     __attribute__((unused)) bool readable, __attribute__((unused)) bool writable)
{
	return STATUS_UNSUPPORTED;
}

void host_view_release(__attribute__((unused)) uint8_t *base, __attribute__((unused)) uint64_t size)
{
}

enum status host_view_show(__attribute__((unused)) uint8_t *at, __attribute__((unused)) const uint8_t *ram,
			   __attribute__((unused)) uint64_t size, __attribute__((unused)) bool writable)
{
	return STATUS_UNSUPPORTED;
}

enum status host_view_hide(__attribute__((unused)) uint8_t *at, __attribute__((unused)) uint64_t size)
{
	return STATUS_UNSUPPORTED;
}

enum status host_gs_set(__attribute__((unused)) uint64_t base)
{
	return STATUS_UNSUPPORTED;
}

/* The frames are the guest's by promise, and are promised again. */
void host_ram_discard(uint8_t *ram, size_t size)
{
	for (size_t at = 0; at < size; at += PAGE_SIZE) {
		uint64_t address = (uint64_t)(uintptr_t)ram + at, flags = lock_take(&heap.lock);
		uint64_t *entry = page_table_entry(address), was = *entry;

		if (was & PAGE_PRESENT) {
			*entry = 0;
			__asm__ volatile("invlpg (%0)" : : "r"(address) : "memory");
			frame_give_promised(was & PAGE_ADDRESS);
		}
		lock_release(&heap.lock, flags);
	}
}

uint64_t host_memory_free(void)
{
	return frame_free() * PAGE_SIZE;
}
