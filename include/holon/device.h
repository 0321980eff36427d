/* SPDX-License-Identifier: Apache-2.0 */
/*
 * device.h - what every device has in common: a name, a reset, a saved state, an end.
 *
 * The board creates devices in the order of its table and registers each with vm_device_add; reset and save walk that list. A device's
 * create function gets what it is wired to (bus, irq, clock, backend) as arguments. A device serves guest accesses under its own
 * lock (bus_region.lock); reset and state functions run while no vcpu runs, and take it too.
 *
 * quiesce and resume are for devices with a backend. A device begins quiet: resume connects it. Both run while no vcpu runs and no timer fires.
 * After quiesce nothing of the device is with its backend any more, what came back is in guest memory and in the device's state, and the
 * backend does not call in before resume. A quiet device is resumed, or saved and resumed, or destroyed; a new one is loaded and resumed.
 */
#ifndef HOLON_DEVICE_H
#define HOLON_DEVICE_H

#include <holon/state.h>

struct device {
	const char *name;
	unsigned instance;
	const struct state_table *state; /* NULL: it has none (say why at the table's place) */
	void (*reset)(void *object);     /* power-on values; backends stay connected. NULL: nothing to reset */
	void (*quiesce)(void *object);   /* NULL: it has no backend that works by itself */
	void (*resume)(void *object);  /* NULL: likewise. Also when the VM starts. Looks for work that nobody will announce again */
	void (*destroy)(void *object); /* NULL: nothing to release */
	const char *obstacle;          /* what, and why its state cannot be taken elsewhere (snapshot, migration); NULL: it can */
	void *object;
	struct device *next;
};

#endif
