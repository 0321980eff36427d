/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pit.h - the 8254 programmable interval timer, and the speaker port 61h that holds its channel 2.
 *
 * Intel 8254 datasheet; ICH9 datasheet, 5.7 and 13.7 (port 61h). All six modes; the input clock is PIT_HZ and counts guest time. The gates of
 * channels 0 and 1 are tied high; channel 2's is bit 0 of port 61h. Channel 0's OUT is ISA IRQ 0.
 *
 * An interrupt is a pulse of the line down and up at each rising edge of OUT; the low phases in between are seen in the
 * status byte only. A period below PIT_MIN_PERIOD_TICKS interrupts once in as many periods as fit; late ticks are made up for, a few at most.
 */
#ifndef HOLON_DEVICE_PIT_H
#define HOLON_DEVICE_PIT_H

#include <stdbool.h>
#include <stdint.h>

#include <holon/bus.h>
#include <holon/device.h>
#include <holon/irq.h>
#include <holon/timer.h>

#define PIT_HZ 1193182u
#define PIT_MIN_PERIOD_TICKS 120u /* 100 us */

struct pit_channel {
	uint8_t mode; /* 0 to 5 */
	uint8_t bcd;
	uint8_t access;     /* 1: low byte, 2: high byte, 3: low then high */
	uint8_t write_high; /* access 3: the next write is the high byte, */
	uint8_t write_low;  /* after this low one */
	uint8_t read_high;  /* likewise for reading */
	uint8_t status_latched, status;
	uint8_t count_latched; /* how many bytes of `latch` are still to be read */
	uint16_t latch;
	uint8_t gate;
	uint8_t loaded;    /* a count has been written since the control word */
	uint8_t running;   /* CE counts: in modes 1 and 5 after a trigger */
	uint8_t suspended; /* the gate is low in modes 0, 2, 3, 4 */
	uint8_t pending;   /* modes 2 and 3: `reload` counts from tick `boundary` on, beginning with OUT `boundary_low` */
	uint8_t boundary_low;
	uint32_t reload;  /* CR: 1 to 65536 */
	uint32_t count;   /* what CE was loaded with */
	uint64_t start;   /* the tick at which it was */
	uint64_t elapsed; /* ticks counted so far, while suspended */
	uint64_t boundary;
};

struct pit {
	struct device device;
	struct bus_region region; /* 4 ports: 0x40 */
	struct bus_region port61; /* 1 port: 0x61 */
	struct host_mutex lock;
	struct vm_clock *clock;
	struct irq *irq;
	unsigned gsi;
	struct timer timer;
	struct pit_channel channel[3];
	uint64_t edge;        /* channel 0's next rising edge, a tick; UINT64_MAX: none */
	uint8_t line;         /* level of the IRQ as channel 0 wants it */
	uint8_t disconnected; /* HPET's legacy routing has taken the IRQ */
	uint8_t speaker;      /* bits 1 to 3 of port 61h */
};

/* `gsi` is 0 on a PC. */
void pit_init(struct pit *pit, struct vm_clock *clock, struct irq *irq, unsigned gsi);
/* The HPET takes IRQ 0 over or gives it back. Any thread; `device` is a struct pit *. Part of the saved state here. */
void pit_disconnect(void *device, bool disconnected);

#endif
