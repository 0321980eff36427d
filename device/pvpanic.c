/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pvpanic.c - a port by which a guest says that it has panicked. A read tells which events are understood.
 */
#include "device/pvpanic.h"

#define EVENTS (PVPANIC_PANICKED | PVPANIC_CRASHLOADED)

static uint64_t pvpanic_read(void *device, uint64_t offset, unsigned size)
{
	(void)device;
	(void)offset;
	(void)size;
	return EVENTS;
}

static void pvpanic_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct pvpanic *pvpanic = device;

	(void)offset;
	(void)size;
	if (value & EVENTS)
		pvpanic->event(pvpanic->machine, (uint8_t)(value & EVENTS));
}

void pvpanic_init(struct pvpanic *pvpanic, void (*event)(void *machine, uint8_t events), void *machine)
{
	__builtin_memset(pvpanic, 0, sizeof(*pvpanic));
	pvpanic->event = event;
	pvpanic->machine = machine;
	pvpanic->region = (struct bus_region){
		.name = "pvpanic",
		.length = 1,
		.lock = &pvpanic->lock,
		.read = pvpanic_read,
		.write = pvpanic_write,
		.device = pvpanic,
	};
	pvpanic->device = (struct device){.name = "pvpanic", .object = pvpanic};
}
