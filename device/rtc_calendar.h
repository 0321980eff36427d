/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rtc_calendar.h - seconds since 1970 to date and time and back: proleptic Gregorian, UTC, for rtc.c.
 */
#ifndef HOLON_DEVICE_RTC_CALENDAR_H
#define HOLON_DEVICE_RTC_CALENDAR_H

#include <stdint.h>

struct rtc_date {
	uint32_t year;       /* 0 to 9999 */
	uint32_t month, day; /* from 1 */
	uint32_t hour, minute, second;
	uint32_t weekday; /* 1 is Sunday */
};

/* Seconds count modulo 2^64, so that years before 1970 work; beyond year 9999 the date wraps. */
void rtc_date_from_seconds(uint64_t seconds, struct rtc_date *date);
/* Fields out of range carry over into the next (a month 13 is January); weekday is ignored. */
uint64_t rtc_date_to_seconds(const struct rtc_date *date);

#endif
