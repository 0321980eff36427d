/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serial.h - a 16550A UART, National Semiconductor PC16550D datasheet.
 *
 * The wire is a chardev: it takes bytes at once, so THR and the shift register are always empty, and the baud rate is kept
 * but sets no pace. Input waits at the chardev while the receive FIFO is full. The character timeout is as if four character times
 * had passed already: bytes below the trigger level interrupt at once, as a timeout (IIR 0xcc). Parity, framing and break do not occur.
 * INTR is not gated by OUT2. The line status, modem status and interrupt identification are exact otherwise, loopback mode too.
 *
 * The chardev is called without the lock held: it may call back.
 */
#ifndef HOLON_DEVICE_SERIAL_H
#define HOLON_DEVICE_SERIAL_H

#include <stdbool.h>
#include <stdint.h>

#include <holon/bus.h>
#include <holon/chardev.h>
#include <holon/device.h>
#include <holon/irq.h>

#define SERIAL_FIFO 16

struct serial {
	struct device device;
	struct bus_region region; /* 8 ports: 0x3f8 for COM1 */
	struct host_mutex lock;
	struct chardev *chardev;
	struct chardev_frontend frontend;
	struct irq *irq;
	unsigned gsi;
	bool line;    /* level of the interrupt line */
	bool starved; /* the chardev has been told that there is no room */
	uint8_t ier, fcr, lcr, mcr, lsr, msr, scr;
	uint16_t divisor;
	uint8_t thre_pending; /* the THRE interrupt has not been seen yet */
	uint8_t fifo[SERIAL_FIFO];
	uint8_t fifo_first, fifo_count; /* count is at most 1 while the FIFOs are off */
};

/* `instance` tells several apart in a saved state: 0 for COM1. Connects itself to `chardev`, which may be NULL, when it is resumed. */
void serial_init(struct serial *serial, unsigned instance, struct irq *irq, unsigned gsi, struct chardev *chardev);

#endif
