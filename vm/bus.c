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
	}
	host_mutex_unlock(&bus->lock);
}

/* The last region whose base is not above `address`, or NULL; it may end before the address. Garbage while the table changes. */
static struct bus_region *region_below(struct bus *bus, uint64_t address)
{
	uint32_t low = 0, high = __atomic_load_n(&bus->count, __ATOMIC_RELAXED);
	struct bus_region *region;

	while (low < high) {
		uint32_t middle = (low + high) / 2;

		region = __atomic_load_n(&bus->sorted[middle], __ATOMIC_RELAXED);
		if (__atomic_load_n(&region->base, __ATOMIC_RELAXED) <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low ? __atomic_load_n(&bus->sorted[low - 1], __ATOMIC_RELAXED) : NULL;
}

/* The region that holds `address`. *offset is the address in it, *left how many bytes from there to its end. */
static struct bus_region *region_find(struct bus *bus, uint64_t address, uint64_t *offset, uint64_t *left)
{
	for (;;) {
		uint32_t sequence = atomic_load_explicit(&bus->sequence, memory_order_acquire);
		struct bus_region *region;
		uint64_t length = 0;

		if (sequence & 1) {
			host_yield();
			continue;
		}
		region = region_below(bus, address);
		if (region) {
			*offset = address - __atomic_load_n(&region->base, __ATOMIC_RELAXED);
			length = __atomic_load_n(&region->length, __ATOMIC_RELAXED);
		}
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (atomic_load_explicit(&bus->sequence, memory_order_relaxed) != sequence)
			continue;
		if (!region || *offset >= length)
			return NULL;
		*left = length - *offset;
		return region;
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

/* Does no region touch [address, address + size)? Then it is one unclaimed access, not `size` of them. */
static bool range_unclaimed(struct bus *bus, uint64_t address, unsigned size)
{
	uint64_t offset, left;
	unsigned i;

	for (i = 0; i < size; i++)
		if (region_find(bus, address + i, &offset, &left))
			return false;
	return true;
}

bool bus_read(struct bus *bus, uint64_t address, unsigned size, uint64_t *value)
{
	uint64_t offset, left;
	struct bus_region *region = region_find(bus, address, &offset, &left);
	unsigned i;

	if (region && left >= size) {
		*value = region_read(region, offset, size);
		return true;
	}
	*value = size_mask(size);
	if (size == 1 || range_unclaimed(bus, address, size)) {
		count_unclaimed(bus);
		return false;
	}
	for (i = 0; i < size; i++) {
		region = region_find(bus, address + i, &offset, &left);
		if (region)
			*value = (*value & ~(UINT64_C(0xff) << 8 * i)) | region_read(region, offset, 1) << 8 * i;
	}
	return true;
}

bool bus_write(struct bus *bus, uint64_t address, unsigned size, uint64_t value)
{
	uint64_t offset, left;
	struct bus_region *region = region_find(bus, address, &offset, &left);
	unsigned i;

	if (region && left >= size) {
		region_write(region, offset, size, value);
		return true;
	}
	if (size == 1 || range_unclaimed(bus, address, size)) {
		count_unclaimed(bus);
		return false;
	}
	for (i = 0; i < size; i++) {
		region = region_find(bus, address + i, &offset, &left);
		if (region)
			region_write(region, offset, 1, value >> 8 * i & 0xff);
	}
	return true;
}
