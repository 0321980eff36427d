/* SPDX-License-Identifier: Apache-2.0 */
/*
 * device.h - what every device has in common: a name, a reset, a saved state.
 *
 * The board creates devices in the order of its table and registers each with vm_device_add; reset and save walk that list. A device's
 * create function gets what it is wired to (bus, irq, clock, backend) as arguments. A device serves guest accesses under its own
 * lock (bus_region.lock); reset and state functions run while no vcpu runs, and take it too.
 */
#ifndef HOLON_DEVICE_H
#define HOLON_DEVICE_H

#include <holon/state.h>

struct device {
	const char *name;
	unsigned instance;
	const struct state_table *state; /* NULL: it has none (say why at the table's place) */
	void (*reset)(void *object);     /* power-on values; backends stay connected. NULL: nothing to reset */
	void (*destroy)(void *object);   /* NULL: nothing to release */
	void *object;
	struct device *next;
};

#endif
