/* SPDX-License-Identifier: Apache-2.0 */
/*
 * post_port.c - port 80h: takes bytes, gives the last one back.
 */
#include "device/post_port.h"

static uint64_t post_port_read(void *device, uint64_t offset, unsigned size)
{
	struct post_port *post_port = device;

	(void)offset;
	(void)size;
	return __atomic_load_n(&post_port->value, __ATOMIC_RELAXED);
}

static void post_port_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct post_port *post_port = device;

	(void)offset;
	(void)size;
	__atomic_store_n(&post_port->value, (uint8_t)value, __ATOMIC_RELAXED);
}

static void post_port_reset(void *object)
{
	struct post_port *post_port = object;

	__atomic_store_n(&post_port->value, 0, __ATOMIC_RELAXED);
}

static const struct state_field post_port_fields[] = {STATE_FIELD(struct post_port, value)};
static const struct state_table post_port_state = {.name = "post_port", .version = 1, STATE_TABLE_FIELDS(post_port_fields)};

void post_port_init(struct post_port *post_port)
{
	__builtin_memset(post_port, 0, sizeof(*post_port));
	post_port->region = (struct bus_region){
		.name = "post",
		.length = 1,
		.read = post_port_read,
		.write = post_port_write,
		.device = post_port,
	};
	post_port->device = (struct device){
		.name = "post_port",
		.state = &post_port_state,
		.reset = post_port_reset,
		.object = post_port,
	};
}
