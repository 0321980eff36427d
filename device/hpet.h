/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hpet.h - the high precision event timer: a 64-bit counter at 100 MHz (10 ns, exactly) and three comparators.
 *
 * IA-PC HPET specification 1.0a. Every comparator is 64 bits wide, can be periodic, and can interrupt by a GSI of its routing
 * mask, by FSB message (MSI), or in legacy replacement mode (comparator 0 as IRQ 0, 1 as IRQ 8: `legacy` tells the board, which disconnects PIT and RTC).
 *
 * One-shot comparators match on equality, as the specification says: one that is written too late matches when the counter comes
 * round. A periodic one that is late goes on with the next multiple of its period. A period below HPET_MIN_PERIOD_NS interrupts once
 * in as many periods as fit.
 */
#ifndef HOLON_DEVICE_HPET_H
#define HOLON_DEVICE_HPET_H

#include <stdbool.h>
#include <stdint.h>

#include <holon/bus.h>
#include <holon/device.h>
#include <holon/irq.h>
#include <holon/timer.h>

#define HPET_LENGTH 0x400
#define HPET_COMPARATORS 3
#define HPET_TICK_NS 10u
#define HPET_ID 0x8086a201u /* low half of the capabilities register; ACPI's HPET table repeats it */
#define HPET_MIN_PERIOD_NS 100000u

struct hpet;

struct hpet_comparator {
	struct hpet *hpet;
	unsigned index;
	struct timer timer;
	uint64_t config; /* Tn_CONF, the writable bits */
	uint64_t comparator;
	uint64_t period;
	uint64_t fsb;     /* Tn_FSB: address in the high half, data in the low */
	uint64_t match;   /* guest tick at which it matches next; UINT64_MAX: never */
	uint8_t asserted; /* `gsi` is held high */
	uint8_t gsi;
};

struct hpet {
	struct device device;
	struct bus_region region; /* MMIO, usually at 0xfed00000 */
	struct host_mutex lock;
	struct vm_clock *clock;
	struct irq *irq;
	uint32_t routes;                      /* Tn_INT_ROUTE_CAP: a bit a GSI */
	void (*legacy)(void *owner, bool on); /* under the lock; only changes. May be NULL */
	void *owner;
	uint64_t config;  /* GEN_CONF */
	uint64_t status;  /* GINTR_STA */
	uint64_t counter; /* main counter: as it stands while halted, */
	uint64_t start;   /* or as it stood at this guest tick */
	struct hpet_comparator comparator[HPET_COMPARATORS];
};

/* `routes`: the GSIs that comparators may drive, none of them shared with another device. */
void hpet_init(struct hpet *hpet, struct vm_clock *clock, struct irq *irq, uint32_t routes, void (*legacy)(void *owner, bool on),
	       void *owner);

#endif
