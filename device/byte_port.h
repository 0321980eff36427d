/* SPDX-License-Identifier: Apache-2.0 */
/*
 * byte_port.h - an 8-bit ISA device on the bus: wider accesses arrive as consecutive bytes, lowest first.
 */
#ifndef HOLON_DEVICE_BYTE_PORT_H
#define HOLON_DEVICE_BYTE_PORT_H

#include <stdint.h>

static inline uint64_t byte_port_read(uint8_t (*read)(void *device, unsigned offset), void *device, uint64_t offset, unsigned size)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)read(device, (unsigned)offset + i) << (8 * i);
	return value;
}

static inline void byte_port_write(void (*write)(void *device, unsigned offset, uint8_t value), void *device, uint64_t offset,
				   unsigned size, uint64_t value)
{
	for (unsigned i = 0; i < size; i++)
		write(device, (unsigned)offset + i, (uint8_t)(value >> (8 * i)));
}

#endif
