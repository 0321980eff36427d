/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pic.h - the two cascaded 8259A interrupt controllers of a PC, and the ELCR.
 *
 * Intel 8259A datasheet; ICH9 datasheet, 5.8 and 13.4 (ELCR at 4d0h: which inputs are level-triggered; ICW1's LTIM does nothing). A sink of
 * struct irq: GSI n below 16 is ISA IRQ n, on the slave from 8; GSI 2 is the cascade and no input. An edge-triggered request stands
 * as long as its line: a line that falls before the acknowledge cycle takes its request back.
 *
 * The INT output goes to `output`, called under the PIC's lock whenever it changes (irq_lint0). The CPU core's acknowledge cycle is pic_accept.
 */
#ifndef HOLON_DEVICE_PIC_H
#define HOLON_DEVICE_PIC_H

#include <stdbool.h>
#include <stdint.h>

#include <holon/bus.h>
#include <holon/device.h>

struct pic_chip {
	uint8_t irr; /* edge requests that are latched; level ones follow `line` */
	uint8_t imr, isr, line, elcr;
	uint8_t base;   /* ICW2 */
	uint8_t lowest; /* the input with the lowest priority: 7 after ICW1 */
	uint8_t icw;    /* the initialisation word that is expected next: 2, 3, 4, or 0 */
	uint8_t icw1, icw3;
	/* Flags; bytes rather than bool because a saved state may hold anything. */
	uint8_t initialised; /* an initialisation sequence has been completed */
	uint8_t auto_eoi, rotate_on_auto_eoi, fully_nested, special_mask;
	uint8_t poll, read_isr;
};

struct pic {
	struct device device;
	struct bus_region region[2];   /* ports, 2 bytes each: usually 0x20 and 0xa0 */
	struct bus_region elcr_region; /* 2 bytes: 0x4d0 */
	struct host_mutex lock;
	struct pic_chip chip[2]; /* master, slave */
	bool output_level;       /* INT of the master; __atomic, written under lock */
	void (*output)(void *owner, bool level);
	void *owner;
};

void pic_init(struct pic *pic, void (*output)(void *owner, bool level), void *owner);
/* struct irq_sink's `set`. Any thread. */
void pic_set(void *device, unsigned gsi, bool level);
/* Is INT high? Any thread, without the lock. `device` is a struct pic * (struct lapic_wiring). */
bool pic_pending(void *device);
/* The acknowledge cycle: the vector. A request that has gone meanwhile gives the spurious IRQ 7 (or 15), as the chip does. */
int pic_accept(void *device);

#endif
