/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rtc.c - the MC146818 real-time clock. See rtc.h for what it promises and rtc_calendar.c for dates.
 *
 * While the clock runs, the time registers in `cmos` are refreshed when looked at; while SET or the divider stops it they are plain
 * memory, from which the offsets are made when it starts again. interrupts_update_locked finds the flags, drives the line and sets
 * the timer; everything ends there.
 */
#include "device/rtc.h"

#include "device/byte_port.h"
#include "device/rtc_calendar.h"
#include "device/ticks.h"

enum rtc_register {
	RTC_SECONDS,
	RTC_SECONDS_ALARM,
	RTC_MINUTES,
	RTC_MINUTES_ALARM,
	RTC_HOURS,
	RTC_HOURS_ALARM,
	RTC_WEEKDAY,
	RTC_DAY,
	RTC_MONTH,
	RTC_YEAR,
	RTC_A,
	RTC_B,
	RTC_C,
	RTC_D,
	RTC_RAM,
	RTC_CENTURY = 0x32,
};

#define A_UIP 0x80u
#define A_DIVIDER 0x70u
#define A_DIVIDER_32768 0x20u
#define A_RATE 0x0fu

#define B_SET 0x80u
#define B_PIE 0x40u
#define B_AIE 0x20u
#define B_UIE 0x10u
#define B_SQWE 0x08u
#define B_BINARY 0x04u
#define B_24_HOURS 0x02u

#define C_IRQF 0x80u
#define C_PF 0x40u
#define C_AF 0x20u
#define C_UF 0x10u

#define D_VRT 0x80u

#define ALARM_ANY 0xc0u
#define HOURS_PM 0x80u

#define SECOND_NS 1000000000u
#define UIP_NS 244000u
#define DIVIDER_RELEASE_NS 500000000u
#define PERIODIC_HZ 32768u

static bool is_running(const struct rtc *rtc)
{
	return !(rtc->cmos[RTC_B] & B_SET) && (rtc->cmos[RTC_A] & A_DIVIDER) == A_DIVIDER_32768;
}

static uint64_t shifted_ns(const struct rtc *rtc)
{
	return vm_clock_wall_ns(rtc->clock) + rtc->phase_ns;
}

static uint64_t second_now(const struct rtc *rtc)
{
	return shifted_ns(rtc) / SECOND_NS + rtc->seconds_offset; /* read once where two uses must agree */
}

static uint8_t encode(const struct rtc *rtc, uint32_t value)
{
	return (uint8_t)(rtc->cmos[RTC_B] & B_BINARY ? value : value / 10 << 4 | value % 10);
}

static uint32_t decode(const struct rtc *rtc, uint8_t value)
{
	return rtc->cmos[RTC_B] & B_BINARY ? value : (value >> 4) * 10u + (value & 15);
}

static uint8_t hours_encode(const struct rtc *rtc, uint32_t hour)
{
	if (rtc->cmos[RTC_B] & B_24_HOURS)
		return encode(rtc, hour);
	return encode(rtc, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? HOURS_PM : 0);
}

static uint32_t hours_decode(const struct rtc *rtc, uint8_t value)
{
	if (rtc->cmos[RTC_B] & B_24_HOURS)
		return decode(rtc, value);
	return decode(rtc, value & (uint8_t)~HOURS_PM) % 12 + (value & HOURS_PM ? 12 : 0);
}

/* The running clock into the time registers. */
static void time_refresh(struct rtc *rtc)
{
	struct rtc_date date;

	rtc_date_from_seconds(second_now(rtc), &date);
	rtc->cmos[RTC_SECONDS] = encode(rtc, date.second);
	rtc->cmos[RTC_MINUTES] = encode(rtc, date.minute);
	rtc->cmos[RTC_HOURS] = hours_encode(rtc, date.hour);
	rtc->cmos[RTC_WEEKDAY] = encode(rtc, (date.weekday - 1 + rtc->weekday_offset) % 7 + 1);
	rtc->cmos[RTC_DAY] = encode(rtc, date.day);
	rtc->cmos[RTC_MONTH] = encode(rtc, date.month);
	rtc->cmos[RTC_YEAR] = encode(rtc, date.year % 100);
	rtc->cmos[RTC_CENTURY] = encode(rtc, date.year / 100);
}

/* The time registers into the running clock, `into_ns` into the second that they name. */
static void time_take(struct rtc *rtc, uint64_t into_ns)
{
	uint64_t wall = vm_clock_wall_ns(rtc->clock);
	struct rtc_date date = {
		.year = decode(rtc, rtc->cmos[RTC_CENTURY]) % 100 * 100 + decode(rtc, rtc->cmos[RTC_YEAR]) % 100,
		.month = decode(rtc, rtc->cmos[RTC_MONTH]),
		.day = decode(rtc, rtc->cmos[RTC_DAY]),
		.hour = hours_decode(rtc, rtc->cmos[RTC_HOURS]),
		.minute = decode(rtc, rtc->cmos[RTC_MINUTES]),
		.second = decode(rtc, rtc->cmos[RTC_SECONDS]),
	};
	uint32_t weekday = decode(rtc, rtc->cmos[RTC_WEEKDAY]);
	uint64_t seconds = rtc_date_to_seconds(&date);

	rtc_date_from_seconds(seconds, &date);
	rtc->weekday_offset = (uint8_t)((weekday % 7 + 7 - date.weekday) % 7);
	rtc->phase_ns = (uint32_t)((into_ns + SECOND_NS - wall % SECOND_NS) % SECOND_NS);
	rtc->seconds_offset = seconds - (wall + rtc->phase_ns) / SECOND_NS;
	rtc->seen_second = seconds;
}

static bool alarm_field_is(uint8_t alarm, uint32_t wanted, uint32_t value)
{
	return alarm >= ALARM_ANY || wanted == value;
}

/* The first second after `after`, within a day, at which the alarm matches; false: it names no time. */
static bool alarm_next(const struct rtc *rtc, uint64_t after, uint64_t *match)
{
	const uint8_t *alarm = rtc->cmos;
	uint32_t second = decode(rtc, alarm[RTC_SECONDS_ALARM]), minute = decode(rtc, alarm[RTC_MINUTES_ALARM]);
	uint32_t hour = hours_decode(rtc, alarm[RTC_HOURS_ALARM]);
	uint64_t hour_start, at = after + 1;
	struct rtc_date date;

	for (unsigned hours = 0; hours <= 24; hours++) {
		rtc_date_from_seconds(at, &date);
		hour_start = at - date.minute * 60 - date.second;
		at = hour_start + 3600;
		if (!alarm_field_is(alarm[RTC_HOURS_ALARM], hour, date.hour))
			continue;
		for (; date.minute < 60; date.minute++, date.second = 0) {
			uint32_t hit = alarm[RTC_SECONDS_ALARM] >= ALARM_ANY ? date.second : second;

			if (!alarm_field_is(alarm[RTC_MINUTES_ALARM], minute, date.minute) || hit < date.second || hit > 59)
				continue;
			*match = hour_start + date.minute * 60 + hit;
			return true;
		}
	}
	return false;
}

static uint32_t period_ticks(const struct rtc *rtc)
{
	uint32_t rate = rtc->cmos[RTC_A] & A_RATE;

	if (rate == 0 || (rtc->cmos[RTC_A] & A_DIVIDER) != A_DIVIDER_32768)
		return 0;
	return 1u << (rate <= 2 ? rate + 6 : rate - 1);
}

static uint64_t periodic_tick_now(const struct rtc *rtc)
{
	return ticks_from_ns(vm_clock_ns(rtc->clock), PERIODIC_HZ);
}

/* What has happened since the flags were last looked at. */
static void flags_update_locked(struct rtc *rtc)
{
	uint32_t period = period_ticks(rtc);
	uint64_t tick = periodic_tick_now(rtc), second = second_now(rtc), match;

	if (period && tick / period != rtc->seen_period / period)
		rtc->cmos[RTC_C] |= C_PF;
	rtc->seen_period = tick;
	if (!is_running(rtc))
		return;
	if (second != rtc->seen_second) {
		rtc->cmos[RTC_C] |= C_UF;
		if (alarm_next(rtc, rtc->seen_second, &match) && match - rtc->seen_second <= second - rtc->seen_second)
			rtc->cmos[RTC_C] |= C_AF;
		rtc->seen_second = second;
	}
}

static void line_set_locked(struct rtc *rtc, bool level)
{
	if (!rtc->disconnected && level != rtc->line)
		irq_line_set(rtc->irq, rtc->gsi, level);
	rtc->line = level;
}

/* Guest ns at which RTC second `second` begins. */
static uint64_t second_to_ns(const struct rtc *rtc, uint64_t second)
{
	uint64_t now = vm_clock_ns(rtc->clock), shifted = shifted_ns(rtc);

	return now + (second - (shifted / SECOND_NS + rtc->seconds_offset)) * SECOND_NS - shifted % SECOND_NS;
}

static uint64_t next_interrupt_ns(const struct rtc *rtc)
{
	uint32_t period = period_ticks(rtc);
	uint64_t next = UINT64_MAX, at, match;

	/* A flag that stands already keeps the line up: nothing new can happen until C is read. */
	if (rtc->cmos[RTC_C] & C_IRQF)
		return UINT64_MAX;
	if ((rtc->cmos[RTC_B] & B_PIE) && period)
		next = ticks_to_ns((rtc->seen_period / period + 1) * period, PERIODIC_HZ);
	if (!is_running(rtc))
		return next;
	if (rtc->cmos[RTC_B] & B_UIE) {
		at = second_to_ns(rtc, rtc->seen_second + 1);
		next = at < next ? at : next;
	} else if ((rtc->cmos[RTC_B] & B_AIE) && alarm_next(rtc, rtc->seen_second, &match)) {
		at = second_to_ns(rtc, match);
		next = at < next ? at : next;
	}
	return next;
}

static void interrupts_update_locked(struct rtc *rtc)
{
	uint64_t next;

	flags_update_locked(rtc);
	if (rtc->cmos[RTC_C] & rtc->cmos[RTC_B] & (C_PF | C_AF | C_UF))
		rtc->cmos[RTC_C] |= C_IRQF;
	else
		rtc->cmos[RTC_C] &= (uint8_t)~C_IRQF;
	line_set_locked(rtc, rtc->cmos[RTC_C] & C_IRQF);
	next = next_interrupt_ns(rtc);
	if (next == UINT64_MAX)
		timer_cancel(&rtc->timer);
	else
		timer_set(&rtc->timer, next);
}

static void timer_fire(void *device)
{
	struct rtc *rtc = device;

	host_mutex_lock(&rtc->lock);
	interrupts_update_locked(rtc);
	host_mutex_unlock(&rtc->lock);
}

/* A or B changes: the clock may stop, or start from what the time registers say. */
static void control_write(struct rtc *rtc, unsigned index, uint8_t value)
{
	bool ran = is_running(rtc), divider_ran = (rtc->cmos[RTC_A] & A_DIVIDER) == A_DIVIDER_32768;

	if (ran) {
		time_refresh(rtc);
		rtc->frozen_ns = shifted_ns(rtc) % SECOND_NS;
	}
	if (index == RTC_A) {
		rtc->cmos[RTC_A] = value & (uint8_t)~A_UIP;
		if (!divider_ran && (value & A_DIVIDER) == A_DIVIDER_32768)
			rtc->frozen_ns = SECOND_NS - DIVIDER_RELEASE_NS;
	} else {
		/* SET inhibits the update interrupt by clearing its enable. */
		rtc->cmos[RTC_B] = value & B_SET ? value & (uint8_t)~B_UIE : value;
	}
	if (!ran && is_running(rtc))
		time_take(rtc, rtc->frozen_ns);
}

static bool is_time(unsigned index)
{
	return index == RTC_SECONDS || index == RTC_MINUTES || index == RTC_HOURS || (index >= RTC_WEEKDAY && index <= RTC_YEAR) ||
	       index == RTC_CENTURY;
}

static void data_write(struct rtc *rtc, unsigned index, uint8_t value)
{
	flags_update_locked(rtc);
	if (index == RTC_A || index == RTC_B) {
		control_write(rtc, index, value);
	} else if (is_time(index)) {
		if (is_running(rtc))
			time_refresh(rtc);
		rtc->cmos[index] = value;
		if (is_running(rtc))
			time_take(rtc, shifted_ns(rtc) % SECOND_NS);
	} else if (index != RTC_C && index != RTC_D) {
		rtc->cmos[index] = value;
	}
	interrupts_update_locked(rtc);
}

static uint8_t data_read(struct rtc *rtc, unsigned index)
{
	uint8_t value;

	if (is_time(index) && is_running(rtc))
		time_refresh(rtc);
	switch (index) {
	case RTC_A:
		value = rtc->cmos[RTC_A];
		if (is_running(rtc) && shifted_ns(rtc) % SECOND_NS >= SECOND_NS - UIP_NS)
			value |= A_UIP;
		return value;
	case RTC_C: /* reading clears all flags */
		interrupts_update_locked(rtc);
		value = rtc->cmos[RTC_C];
		rtc->cmos[RTC_C] = 0;
		/* The pin is released here, even if the next flag is set a moment later: an edge that did not come would be waited for for ever. */
		line_set_locked(rtc, false);
		interrupts_update_locked(rtc);
		return value;
	case RTC_D: return D_VRT;
	default: return rtc->cmos[index];
	}
}

static void rtc_byte_write(void *device, unsigned offset, uint8_t value)
{
	struct rtc *rtc = device;

	if (offset == 0) /* bit 7 is the NMI mask, and nothing here raises such NMIs */
		rtc->index = value & 0x7f;
	else
		data_write(rtc, rtc->index, value);
}

static uint8_t rtc_byte_read(void *device, unsigned offset)
{
	struct rtc *rtc = device;

	return offset == 0 ? 0xff : data_read(rtc, rtc->index); /* the index port is write-only */
}

static uint64_t rtc_read(void *device, uint64_t offset, unsigned size)
{
	return byte_port_read(rtc_byte_read, device, offset, size);
}

static void rtc_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	byte_port_write(rtc_byte_write, device, offset, size, value);
}

void rtc_cmos_set(struct rtc *rtc, unsigned index, uint8_t value)
{
	bug_on(index < RTC_RAM || index >= RTC_CMOS_SIZE || index == RTC_CENTURY);
	host_mutex_lock(&rtc->lock);
	rtc->cmos[index] = value;
	host_mutex_unlock(&rtc->lock);
}

void rtc_disconnect(void *device, bool disconnected)
{
	struct rtc *rtc = device;

	host_mutex_lock(&rtc->lock);
	if (disconnected != rtc->disconnected) {
		if (disconnected && rtc->line)
			irq_line_set(rtc->irq, rtc->gsi, false);
		rtc->disconnected = disconnected;
		if (!disconnected && rtc->line)
			irq_line_set(rtc->irq, rtc->gsi, true);
	}
	host_mutex_unlock(&rtc->lock);
}

/* The RESET pin (MC146818A, "RESET"): interrupt enables and flags go, time, divider and RAM stay. */
static void rtc_reset(void *object)
{
	struct rtc *rtc = object;

	host_mutex_lock(&rtc->lock);
	rtc->index = 0;
	flags_update_locked(rtc);
	rtc->cmos[RTC_B] &= (uint8_t) ~(B_PIE | B_AIE | B_UIE | B_SQWE);
	rtc->cmos[RTC_C] = 0;
	interrupts_update_locked(rtc);
	rtc->disconnected = 0;
	host_mutex_unlock(&rtc->lock);
}

static void rtc_before_save(void *object)
{
	struct rtc *rtc = object;

	host_mutex_lock(&rtc->lock);
	interrupts_update_locked(rtc);
	if (is_running(rtc)) /* kept as offsets, which stay right when the state is loaded later */
		time_refresh(rtc);
	host_mutex_unlock(&rtc->lock);
}

static enum status rtc_after_load(void *object, uint32_t version, struct reason *why)
{
	struct rtc *rtc = object;

	(void)version;
	(void)why;
	host_mutex_lock(&rtc->lock);
	rtc->index &= 0x7f;
	rtc->phase_ns %= SECOND_NS;
	rtc->frozen_ns %= SECOND_NS;
	rtc->weekday_offset %= 7;
	rtc->cmos[RTC_A] &= (uint8_t)~A_UIP;
	interrupts_update_locked(rtc);
	host_mutex_unlock(&rtc->lock);
	return STATUS_OK;
}

static const struct state_field rtc_fields[] = {
	STATE_FIELD(struct rtc, index),          STATE_BLOB(struct rtc, cmos),
	STATE_FIELD(struct rtc, seconds_offset), STATE_FIELD(struct rtc, phase_ns),
	STATE_FIELD(struct rtc, weekday_offset), STATE_FIELD(struct rtc, seen_second),
	STATE_FIELD(struct rtc, seen_period),    STATE_FIELD(struct rtc, frozen_ns),
	STATE_FIELD(struct rtc, line),           STATE_FIELD(struct rtc, disconnected),
};
static const struct state_table rtc_state = {
	.name = "rtc",
	.version = 1,
	STATE_TABLE_FIELDS(rtc_fields),
	.before_save = rtc_before_save,
	.after_load = rtc_after_load,
};

static void rtc_destroy(void *object)
{
	struct rtc *rtc = object;

	timer_cancel_wait(&rtc->timer);
}

void rtc_init(struct rtc *rtc, struct vm_clock *clock, struct irq *irq, unsigned gsi)
{
	__builtin_memset(rtc, 0, sizeof(*rtc));
	rtc->clock = clock;
	rtc->irq = irq;
	rtc->gsi = gsi;
	timer_init(&rtc->timer, clock, timer_fire, rtc);
	rtc->cmos[RTC_A] = A_DIVIDER_32768 | 6; /* 1024 Hz, as firmware leaves it */
	rtc->cmos[RTC_B] = B_24_HOURS;
	rtc->region = (struct bus_region){
		.name = "rtc",
		.length = 2,
		.lock = &rtc->lock,
		.read = rtc_read,
		.write = rtc_write,
		.device = rtc,
		.posted = 1, /* the index */
	};
	rtc->device =
		(struct device){.name = "rtc", .state = &rtc_state, .reset = rtc_reset, .destroy = rtc_destroy, .object = rtc};
	rtc->seen_second = second_now(rtc);
	rtc->seen_period = periodic_tick_now(rtc);
	rtc_reset(rtc);
}
