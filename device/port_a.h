/* SPDX-License-Identifier: Apache-2.0 */
/*
 * port_a.h - system control port A (92h): fast reset and the A20 gate, which is always open whatever the bit says (ICH9, 13.7.3).
 */
#ifndef HOLON_DEVICE_PORT_A_H
#define HOLON_DEVICE_PORT_A_H

#include <stdint.h>

#include <holon/bus.h>
#include <holon/device.h>

struct port_a {
	struct device device;
	struct bus_region region; /* 1 port: 0x92 */
	struct host_mutex lock;
	void (*reset)(void *machine); /* INIT_NOW went from 0 to 1; under the lock */
	void *machine;
	uint8_t value;
};

void port_a_init(struct port_a *port_a, void (*reset)(void *machine), void *machine);

#endif
