/* SPDX-License-Identifier: Apache-2.0 */
/*
 * debug_exit.h - a port by which a test kernel ends the VM with a value of its own.
 */
#ifndef HOLON_DEVICE_DEBUG_EXIT_H
#define HOLON_DEVICE_DEBUG_EXIT_H

#include <stdint.h>

#include <holon/bus.h>
#include <holon/device.h>

struct debug_exit {
	struct device device;     /* no state: the VM is over after the write */
	struct bus_region region; /* 4 ports; an OUT of 1, 2 or 4 bytes to any of them */
	struct host_mutex lock;
	void (*exit)(void *machine, uint32_t value); /* under the lock */
	void *machine;
};

void debug_exit_init(struct debug_exit *debug_exit, void (*exit)(void *machine, uint32_t value), void *machine);

#endif
