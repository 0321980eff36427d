/* SPDX-License-Identifier: Apache-2.0 */
/*
 * port_a.c - system control port A: fast reset and A20. See port_a.h.
 */
#include "device/port_a.h"

#define INIT_NOW 0x01u
#define ALT_A20_GATE 0x02u

static uint64_t port_a_read(void *device, uint64_t offset, unsigned size)
{
	struct port_a *port_a = device;

	(void)offset;
	(void)size;
	return port_a->value;
}

static void port_a_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct port_a *port_a = device;
	uint8_t before = port_a->value;

	(void)offset;
	(void)size;
	port_a->value = (uint8_t)(value & (INIT_NOW | ALT_A20_GATE));
	if ((port_a->value & INIT_NOW) && !(before & INIT_NOW))
		port_a->reset(port_a->machine);
}

static void port_a_reset(void *object)
{
	struct port_a *port_a = object;

	host_mutex_lock(&port_a->lock);
	port_a->value = ALT_A20_GATE; /* as firmware leaves it */
	host_mutex_unlock(&port_a->lock);
}

static enum status port_a_after_load(void *object, uint32_t version, struct reason *why)
{
	struct port_a *port_a = object;

	(void)version;
	(void)why;
	port_a->value &= INIT_NOW | ALT_A20_GATE;
	return STATUS_OK;
}

static const struct state_field port_a_fields[] = {STATE_FIELD(struct port_a, value)};
static const struct state_table port_a_state = {
	.name = "port_a",
	.version = 1,
	STATE_TABLE_FIELDS(port_a_fields),
	.after_load = port_a_after_load,
};

void port_a_init(struct port_a *port_a, void (*reset)(void *machine), void *machine)
{
	__builtin_memset(port_a, 0, sizeof(*port_a));
	port_a->reset = reset;
	port_a->machine = machine;
	port_a->region = (struct bus_region){
		.name = "port-a",
		.length = 1,
		.lock = &port_a->lock,
		.read = port_a_read,
		.write = port_a_write,
		.device = port_a,
	};
	port_a->device = (struct device){.name = "port_a", .state = &port_a_state, .reset = port_a_reset, .object = port_a};
	port_a_reset(port_a);
}
