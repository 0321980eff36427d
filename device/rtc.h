/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rtc.h - the real-time clock and CMOS RAM of a PC: MC146818, with 128 bytes and the century at 32h.
 *
 * Motorola MC146818A datasheet; ICH9 datasheet, 13.6. The time is vm_clock_wall_ns plus what the guest has set. UIP is up for the
 * last 244 us of each second; the update itself takes no time. Flags in register C are found when they are looked at; a timer runs
 * only while an interrupt is enabled. Divider settings other than 32768 Hz stop the clock (as DV = 11x does); leaving
 * them, the first update comes after 500 ms. Reset keeps the time and the RAM (there is a battery) and clears the interrupt enables.
 */
#ifndef HOLON_DEVICE_RTC_H
#define HOLON_DEVICE_RTC_H

#include <stdbool.h>
#include <stdint.h>

#include <holon/bus.h>
#include <holon/device.h>
#include <holon/irq.h>
#include <holon/timer.h>

#define RTC_CMOS_SIZE 128

struct rtc {
	struct device device;
	struct bus_region region; /* 2 ports: 0x70 */
	struct host_mutex lock;
	struct vm_clock *clock;
	struct irq *irq;
	unsigned gsi;
	struct timer timer;
	uint8_t index;
	uint8_t cmos[RTC_CMOS_SIZE];
	uint64_t seconds_offset; /* RTC second = wall clock second + this (modulo 2^64) */
	uint32_t phase_ns;       /* RTC seconds begin this much before the wall clock's: below 10^9 */
	uint8_t weekday_offset;  /* what the guest set against what the date says, 0 to 6 */
	uint64_t seen_second;    /* the RTC second up to which UF and AF are known */
	uint64_t seen_period;    /* likewise the 32768 Hz tick for PF */
	uint64_t frozen_ns;      /* stopped by SET or the divider: how far into its second the clock stood */
	uint8_t line;
	uint8_t disconnected; /* HPET's legacy routing has taken the IRQ */
};

/* `gsi` is 8 on a PC. The board fills in what firmware would know (memory size) with rtc_cmos_set. */
void rtc_init(struct rtc *rtc, struct vm_clock *clock, struct irq *irq, unsigned gsi);
/* For indices from 0eh that are not the century's. Survives resets. */
void rtc_cmos_set(struct rtc *rtc, unsigned index, uint8_t value);
/* The HPET takes IRQ 8 over or gives it back. Any thread; `device` is a struct rtc *. */
void rtc_disconnect(void *device, bool disconnected);

#endif
