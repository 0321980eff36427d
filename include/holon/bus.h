/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bus.h - guest addresses to devices: one `struct bus` for I/O ports, one for physical memory outside RAM.
 *
 * A region belongs to the device that embeds it and is handed offsets, never addresses: the device does
 * not know where it sits. Thread: bus_read and bus_write run on vcpu threads and take the region's
 * lock around the device's function; regions are added at creation, moved and switched at any time
 * (PCI BARs). Lock order: a region's lock before anything that the device takes itself.
 */
#ifndef HOLON_BUS_H
#define HOLON_BUS_H

#include <stdbool.h>
#include <stdint.h>

#include <holon/host.h>
#include <holon/status.h>

#define BUS_REGIONS 256

struct bus_region {
	const char *name;
	uint64_t base;
	uint64_t length;
	struct host_mutex *lock; /* NULL: the functions lock for themselves */
	/* size is 1, 2, 4 or 8, offset + size <= length. A read returns the value in the low bytes; the bus masks it. */
	uint64_t (*read)(void *device, uint64_t offset, unsigned size);
	void (*write)(void *device, uint64_t offset, unsigned size, uint64_t value);
	void *device;
	/*
	 * Doorbells: 4-byte places from doorbell_offset on where a write of any size and value only says "look": several may become one, and
	 * an engine may serve them a little later on a thread of its own. 0: there are none.
	 */
	uint32_t doorbell_offset;
	uint32_t doorbells;
	/*
	 * Posted: what is written to the first so many bytes matters only to a later access of some vcpu; an engine may hold it back until then, or for a
	 * second. For index registers.
	 */
	uint32_t posted;
	bool enabled;
};
#define BUS_DOORBELL_STRIDE 4u

struct bus {
	const char *name;
	struct host_mutex lock;    /* changes only */
	_Atomic uint32_t sequence; /* odd while the table changes: readers retry */
	uint32_t count;
	struct bus_region *sorted[BUS_REGIONS]; /* the enabled regions, by base */
	_Atomic uint64_t unclaimed;             /* accesses that no region took */
	/* An engine that wants to know which regions with doorbells or posted bytes there are (bus_observe). */
	void (*observe)(void *observer, struct bus_region *region, bool enabled);
	void *observer;
};

void bus_init(struct bus *bus, const char *name);

/* Switches a region on at its base. STATUS_BUSY where it would overlap another, STATUS_NO_SPACE past BUS_REGIONS. */
enum status bus_enable(struct bus *bus, struct bus_region *region) must_check;
/* Switches it off; accesses that already run on other vcpus may still finish. Harmless if it is off. */
void bus_disable(struct bus *bus, struct bus_region *region);

/*
 * `observe` hears of each region with doorbells or posted bytes when it is switched on, those that are on now included, and off; NULL: no more. Under bus.lock, on the
 * thread that switches, where `observe` may wait for a write that it has under way on another: device functions never switch regions under a device lock.
 */
void bus_observe(struct bus *bus, void (*observe)(void *observer, struct bus_region *region, bool enabled), void *observer);

/* What no region claims reads as all ones and swallows writes; false says so. Accesses that straddle regions go byte by byte. */
bool bus_read(struct bus *bus, uint64_t address, unsigned size, uint64_t *value);
bool bus_write(struct bus *bus, uint64_t address, unsigned size, uint64_t value);

#endif
