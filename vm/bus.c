/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bus.c - finds the device behind an address (include/holon/bus.h). Every port and MMIO access of every engine
 * passes bus_read or bus_write; next stop is the region's function in device/.
 *
 * Lookups take no lock: the sorted table is read under a sequence counter and read again if it changed meanwhile. A
 * region found so belongs to a device, which lives as long as the VM, so calling it after it was disabled is harmless.
 */
#include <stdatomic.h>

#include <holon/bus.h>

void bus_init(struct bus *bus, const char *name)
{
	__builtin_memset(bus, 0, sizeof(*bus));
	bus->name = name;
}

static void change_begin(struct bus *bus)
{
	atomic_store_explicit(&bus->sequence, bus->sequence + 1, memory_order_relaxed);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void change_end(struct bus *bus)
{
	atomic_store(&bus->sequence, bus->sequence + 1);
}

static bool regions_overlap(const struct bus_region *a, const struct bus_region *b)
{
	return a->base <= b->base + (b->length - 1) && b->base <= a->base + (a->length - 1);
}

static void observer_tell_locked(struct bus *bus, struct bus_region *region, bool enabled)
{
	if (bus->observe && (region->doorbells || region->posted))
		bus->observe(bus->observer, region, enabled);
}

static enum status enable_locked(struct bus *bus, struct bus_region *region)
{
	uint32_t at, i;

	if (region->enabled)
		return STATUS_OK;
	if (!region->length || region->base + (region->length - 1) < region->base)
		return STATUS_RANGE;
	if (bus->count == BUS_REGIONS)
		return STATUS_NO_SPACE;
	for (at = 0; at < bus->count && bus->sorted[at]->base < region->base; at++)
		;
	if ((at > 0 && regions_overlap(bus->sorted[at - 1], region)) ||
	    (at < bus->count && regions_overlap(bus->sorted[at], region)))
		return STATUS_BUSY;
	change_begin(bus);
	for (i = bus->count; i > at; i--)
		__atomic_store_n(&bus->sorted[i], bus->sorted[i - 1], __ATOMIC_RELAXED);
	__atomic_store_n(&bus->sorted[at], region, __ATOMIC_RELAXED);
	__atomic_store_n(&bus->count, bus->count + 1, __ATOMIC_RELAXED);
	region->enabled = true;
	change_end(bus);
	observer_tell_locked(bus, region, true);
	return STATUS_OK;
}

enum status bus_enable(struct bus *bus, struct bus_region *region)
{
	enum status status;

	host_mutex_lock(&bus->lock);
	status = enable_locked(bus, region);
	host_mutex_unlock(&bus->lock);
	return status;
}

void bus_disable(struct bus *bus, struct bus_region *region)
{
	uint32_t at;

	host_mutex_lock(&bus->lock);
	for (at = 0; at < bus->count && bus->sorted[at] != region; at++)
		;
	if (at < bus->count) {
		change_begin(bus);
		for (; at + 1 < bus->count; at++)
			__atomic_store_n(&bus->sorted[at], bus->sorted[at + 1], __ATOMIC_RELAXED);
		__atomic_store_n(&bus->count, bus->count - 1, __ATOMIC_RELAXED);
		region->enabled = false;
		change_end(bus);
		observer_tell_locked(bus, region, false);
	}
	host_mutex_unlock(&bus->lock);
}

void bus_observe(struct bus *bus, void (*observe)(void *observer, struct bus_region *region, bool enabled), void *observer)
{
	uint32_t i;

	host_mutex_lock(&bus->lock);
	bus->observe = observe;
	bus->observer = observer;
	for (i = 0; i < bus->count; i++)
		observer_tell_locked(bus, bus->sorted[i], true);
	host_mutex_unlock(&bus->lock);
}

/* How many enabled regions have a base that is not above `address`. Garbage while the table changes. */
static uint32_t regions_below(struct bus *bus, uint64_t address, uint32_t count)
{
	uint32_t low = 0, high = count;

	while (low < high) {
		uint32_t middle = (low + high) / 2;
		struct bus_region *region = __atomic_load_n(&bus->sorted[middle], __ATOMIC_RELAXED);

		if (__atomic_load_n(&region->base, __ATOMIC_RELAXED) <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* What is at an address: a region, where in it, and how many bytes from there to its end; or a gap and how many bytes to the next region. */
struct place {
	struct bus_region *region; /* NULL: a gap */
	uint64_t offset;
	uint64_t left;
};

static struct place place_read(struct bus *bus, uint64_t address)
{
	uint32_t count = __atomic_load_n(&bus->count, __ATOMIC_RELAXED), below = regions_below(bus, address, count);
	struct place place = {NULL, 0, UINT64_MAX};
	struct bus_region *region;

	if (below) {
		region = __atomic_load_n(&bus->sorted[below - 1], __ATOMIC_RELAXED);
		place.offset = address - __atomic_load_n(&region->base, __ATOMIC_RELAXED);
		place.left = __atomic_load_n(&region->length, __ATOMIC_RELAXED) - place.offset;
		if (place.offset < __atomic_load_n(&region->length, __ATOMIC_RELAXED)) {
			place.region = region;
			return place;
		}
		place.left = UINT64_MAX;
	}
	if (below < count) {
		region = __atomic_load_n(&bus->sorted[below], __ATOMIC_RELAXED);
		place.left = __atomic_load_n(&region->base, __ATOMIC_RELAXED) - address;
	}
	return place;
}

/* From one state of the table: what moves meanwhile is seen in one place, in the other or in none. */
static struct place place_find(struct bus *bus, uint64_t address)
{
	for (;;) {
		uint32_t sequence = atomic_load_explicit(&bus->sequence, memory_order_acquire);
		struct place place;

		if (sequence & 1) {
			host_yield();
			continue;
		}
		place = place_read(bus, address);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (atomic_load_explicit(&bus->sequence, memory_order_relaxed) == sequence)
			return place;
	}
}

static uint64_t size_mask(unsigned size)
{
	return size >= 8 ? UINT64_MAX : (UINT64_C(1) << 8 * size) - 1;
}

static uint64_t region_read(struct bus_region *region, uint64_t offset, unsigned size)
{
	uint64_t value;

	if (!region->read)
		return size_mask(size);
	if (region->lock)
		host_mutex_lock(region->lock);
	value = region->read(region->device, offset, size);
	if (region->lock)
		host_mutex_unlock(region->lock);
	return value & size_mask(size);
}

static void region_write(struct bus_region *region, uint64_t offset, unsigned size, uint64_t value)
{
	if (!region->write)
		return;
	if (region->lock)
		host_mutex_lock(region->lock);
	region->write(region->device, offset, size, value & size_mask(size));
	if (region->lock)
		host_mutex_unlock(region->lock);
}

static void count_unclaimed(struct bus *bus)
{
	atomic_fetch_add_explicit(&bus->unclaimed, 1, memory_order_relaxed);
}

bool bus_read(struct bus *bus, uint64_t address, unsigned size, uint64_t *value)
{
	struct place place = place_find(bus, address);
	unsigned i;

	if (place.region && place.left >= size) {
		*value = region_read(place.region, place.offset, size);
		return true;
	}
	*value = size_mask(size);
	if (!place.region && place.left >= size) {
		count_unclaimed(bus);
		return false;
	}
	for (i = 0; i < size; i++) {
		place = place_find(bus, address + i);
		if (place.region)
			*value = (*value & ~(UINT64_C(0xff) << 8 * i)) | region_read(place.region, place.offset, 1) << 8 * i;
	}
	return true;
}

bool bus_write(struct bus *bus, uint64_t address, unsigned size, uint64_t value)
{
	struct place place = place_find(bus, address);
	unsigned i;

	if (place.region && place.left >= size) {
		region_write(place.region, place.offset, size, value);
		return true;
	}
	if (!place.region && place.left >= size) {
		count_unclaimed(bus);
		return false;
	}
	for (i = 0; i < size; i++) {
		place = place_find(bus, address + i);
		if (place.region)
			region_write(place.region, place.offset, 1, value >> 8 * i & 0xff);
	}
	return true;
}
