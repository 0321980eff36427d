/* SPDX-License-Identifier: Apache-2.0 */
/*
 * post_port.h - port 80h, where firmware shows its progress and kernels write to pass a microsecond: takes bytes, gives the last one back.
 */
#ifndef HOLON_DEVICE_POST_PORT_H
#define HOLON_DEVICE_POST_PORT_H

#include <stdint.h>

#include <holon/bus.h>
#include <holon/device.h>

struct post_port {
	struct device device;
	struct bus_region region; /* 1 port: 0x80 */
	uint8_t value;            /* __atomic: this port takes no lock */
};

void post_port_init(struct post_port *post_port);

#endif
