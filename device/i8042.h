/* SPDX-License-Identifier: Apache-2.0 */
/*
 * i8042.h - a PC/AT keyboard controller with nothing plugged in.
 *
 * IBM PC/AT Technical Reference, "Keyboard Controller". What is left of it: self-tests, the command byte, the output port with the reset
 * line (FEh pulses it), A20, which is always on. A byte for the keyboard is answered at once with FEh and the timeout bit, as the
 * controller does when no keyboard clocks it in: a probe ends quickly. There is no auxiliary port: its commands answer so that a probe sees that.
 */
#ifndef HOLON_DEVICE_I8042_H
#define HOLON_DEVICE_I8042_H

#include <stdbool.h>
#include <stdint.h>

#include <holon/bus.h>
#include <holon/device.h>
#include <holon/irq.h>

struct i8042 {
	struct device device;
	struct bus_region data;    /* 1 port: 0x60 */
	struct bus_region command; /* 1 port: 0x64 */
	struct host_mutex lock;
	struct irq *irq;
	unsigned gsi;
	void (*reset)(void *machine); /* the reset line was pulled; under the lock */
	void *machine;
	uint8_t status, command_byte, output, output_port;
	uint8_t expecting; /* the command whose data byte comes next through port 60h; 0: none */
	uint8_t line;
};

/* `gsi` is 1 on a PC. */
void i8042_init(struct i8042 *i8042, struct irq *irq, unsigned gsi, void (*reset)(void *machine), void *machine);

#endif
