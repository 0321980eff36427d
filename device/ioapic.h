/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ioapic.h - the I/O APIC: 24 pins to MSIs. Intel 82093AA, with the EOI register of version 0x20 (ICH9 datasheet, 13.5).
 *
 * A sink of struct irq. GSI n is pin n, except: GSI 0 (ISA IRQ 0, the PIT) is pin 2 and GSI 2 (the PIC's cascade) is no pin; the
 * MADT tells the guest so with an interrupt source override. Lines carry "asserted", not a voltage: the polarity bit is kept and means nothing.
 *
 * Level-triggered pins: Remote IRR from delivery until ioapic_eoi (irq_eoi's target) or a write of the EOI register; a line that is
 * still asserted then is delivered again. An edge on a masked pin is lost, as the datasheet says.
 */
#ifndef HOLON_DEVICE_IOAPIC_H
#define HOLON_DEVICE_IOAPIC_H

#include <stdbool.h>
#include <stdint.h>

#include <holon/bus.h>
#include <holon/device.h>
#include <holon/irq.h>

#define IOAPIC_PINS 24
#define IOAPIC_LENGTH 0x1000

struct ioapic {
	struct device device;
	struct bus_region region; /* MMIO, usually at 0xfec00000 */
	struct host_mutex lock;
	struct irq *irq; /* for irq_msi */
	uint8_t select;  /* IOREGSEL */
	uint8_t id;      /* bits 27:24 of IOAPICID */
	uint64_t redirection[IOAPIC_PINS];
	uint32_t line; /* asserted pins */
};

/* `id` is what the MADT gives as the IOAPIC's ID (and the register shows after reset), 0 to 15. */
void ioapic_init(struct ioapic *ioapic, struct irq *irq, uint8_t id);
/* struct irq_sink's `set`. Any thread. */
void ioapic_set(void *chip, unsigned gsi, bool level);
/* struct irq's `eoi`. */
void ioapic_eoi(void *chip, uint8_t vector);

#endif
