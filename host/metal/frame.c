/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frame.c - physical memory, a page at a time: all RAM of the loader's map but the first MiB (the firmware's, and real mode's) and what the loader
 * put there for us.
 *
 * Frames are promised before they are taken, so that no first touch of an allocated page ever finds none left. A free frame is either above the
 * mark of its region or in a list that runs through the frames themselves.
 */
#include "host/metal/internal.h"
#include "host/metal/lock.h"

#define LOW_MEMORY_END UINT64_C(0x100000)
#define REGIONS (MULTIBOOT_RANGES + METAL_MODULES_MAX + 4)
#define TAKEN_MAX (METAL_MODULES_MAX + 3)

struct span {
	uint64_t begin, end;
};

static struct {
	struct lock lock;
	struct span region[REGIONS]; /* by address; `begin` is the mark */
	unsigned regions, current;
	uint64_t list; /* first free frame; 0: none */
	uint64_t free, promised;
} frames;

static uint64_t page_up(uint64_t address)
{
	return (address + PAGE_SIZE - 1) & ~(uint64_t)(PAGE_SIZE - 1);
}

static void region_add(uint64_t begin, uint64_t end)
{
	unsigned i;

	begin = page_up(begin);
	end &= ~(uint64_t)(PAGE_SIZE - 1);
	if (begin >= end || frames.regions == REGIONS)
		return;
	for (i = frames.regions++; i && frames.region[i - 1].begin > begin; i--)
		frames.region[i] = frames.region[i - 1];
	frames.region[i] = (struct span){begin, end};
	frames.free += (end - begin) / PAGE_SIZE;
}

/* [begin, end) less what is taken. */
static void region_add_cut(uint64_t begin, uint64_t end, const struct span *taken, unsigned count)
{
	for (unsigned i = 0; i < count && begin < end; i++) {
		if (taken[i].end <= begin || taken[i].begin >= end)
			continue;
		region_add_cut(begin, taken[i].begin, taken + i + 1, count - i - 1);
		begin = taken[i].end;
	}
	if (begin < end)
		region_add(begin, end);
}

void frame_start(const struct multiboot *multiboot)
{
	static struct span taken[TAKEN_MAX];
	unsigned count = 0;

	taken[count++] = (struct span){0, LOW_MEMORY_END};
	taken[count++] = (struct span){start_image, start_image + (uint64_t)(link_end - link_begin)};
	taken[count++] = (struct span){multiboot->information, multiboot->information + multiboot->information_length};
	for (unsigned i = 0; i < multiboot->boot.modules; i++)
		taken[count++] = (struct span){multiboot->module_address[i],
					       multiboot->module_address[i] + multiboot->boot.module[i].length};
	for (unsigned i = 0; i < multiboot->ranges; i++) {
		const struct multiboot_range *range = &multiboot->range[i];

		if (range->type == MULTIBOOT_RAM)
			region_add_cut(range->base, range->base + range->length, taken, count);
	}
}

bool frame_promise(uint64_t count)
{
	uint64_t flags = lock_take(&frames.lock);
	bool enough = frames.free - frames.promised >= count;

	if (enough)
		frames.promised += count;
	lock_release(&frames.lock, flags);
	return enough;
}

void frame_promise_return(uint64_t count)
{
	uint64_t flags = lock_take(&frames.lock);

	frames.promised -= count;
	lock_release(&frames.lock, flags);
}

static uint64_t take_locked(void)
{
	uint64_t frame = frames.list;

	if (frame) {
		__builtin_memcpy(&frames.list, page_direct(frame), sizeof(frames.list));
		return frame;
	}
	while (frames.region[frames.current].begin == frames.region[frames.current].end)
		frames.current++;
	frame = frames.region[frames.current].begin;
	frames.region[frames.current].begin += PAGE_SIZE;
	return frame;
}

uint64_t frame_take(void)
{
	uint64_t flags = lock_take(&frames.lock), frame;

	bug_on(!frames.promised || !frames.free);
	frames.promised--;
	frames.free--;
	frame = take_locked();
	lock_release(&frames.lock, flags);
	__builtin_memset(page_direct(frame), 0, PAGE_SIZE);
	return frame;
}

static void give(uint64_t frame, unsigned promised)
{
	uint64_t flags = lock_take(&frames.lock);

	__builtin_memcpy(page_direct(frame), &frames.list, sizeof(frames.list));
	frames.list = frame;
	frames.free++;
	frames.promised += promised;
	lock_release(&frames.lock, flags);
}

void frame_give(uint64_t frame)
{
	give(frame, 0);
}

void frame_give_promised(uint64_t frame)
{
	give(frame, 1);
}

uint64_t frame_free(void)
{
	uint64_t flags = lock_take(&frames.lock), count = frames.free - frames.promised;

	lock_release(&frames.lock, flags);
	return count;
}
