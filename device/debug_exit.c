/* SPDX-License-Identifier: Apache-2.0 */
/*
 * debug_exit.c - a port by which a test kernel ends the VM with a value of its own. Reads as 0.
 */
#include "device/debug_exit.h"

#define PORTS 4

static uint64_t debug_exit_read(void *device, uint64_t offset, unsigned size)
{
	(void)device;
	(void)offset;
	(void)size;
	return 0;
}

static void debug_exit_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct debug_exit *debug_exit = device;

	(void)offset;
	(void)size;
	debug_exit->exit(debug_exit->machine, (uint32_t)value);
}

void debug_exit_init(struct debug_exit *debug_exit, void (*exit)(void *machine, uint32_t value), void *machine)
{
	__builtin_memset(debug_exit, 0, sizeof(*debug_exit));
	debug_exit->exit = exit;
	debug_exit->machine = machine;
	debug_exit->region = (struct bus_region){
		.name = "debug-exit",
		.length = PORTS,
		.lock = &debug_exit->lock,
		.read = debug_exit_read,
		.write = debug_exit_write,
		.device = debug_exit,
	};
	debug_exit->device = (struct device){.name = "debug_exit", .object = debug_exit};
}
