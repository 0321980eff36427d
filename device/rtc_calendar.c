/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rtc_calendar.c - the Gregorian calendar for the real-time clock (rtc.c).
 *
 * Days are counted in years that begin in March, so that the leap day is a year's last; 400 years have 146097 days.
 */
#include "device/rtc_calendar.h"

#define DAY_SECONDS 86400u
#define DAYS_400_YEARS 146097u
#define DAYS_10000_YEARS (25u * DAYS_400_YEARS)
#define DAYS_TO_1970 719468u /* from March 1st of year 0 */

void rtc_date_from_seconds(uint64_t seconds, struct rtc_date *date)
{
	/* Years 0 to 9999, counted from 1970 on: what lies before 1970 is a wrapped number. */
	const uint64_t cycle = (uint64_t)DAYS_10000_YEARS * DAY_SECONDS;
	int64_t since_1970 = (int64_t)seconds % (int64_t)cycle;
	uint64_t since_march_0 = ((uint64_t)(since_1970 + (int64_t)cycle) + (uint64_t)DAYS_TO_1970 * DAY_SECONDS) % cycle;
	uint32_t days = (uint32_t)(since_march_0 / DAY_SECONDS), second = (uint32_t)(since_march_0 % DAY_SECONDS);
	uint32_t era = days / DAYS_400_YEARS, in_era = days % DAYS_400_YEARS;
	uint32_t year = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
	uint32_t in_year = in_era - (365 * year + year / 4 - year / 100);
	uint32_t march_month = (5 * in_year + 2) / 153;

	date->day = in_year - (153 * march_month + 2) / 5 + 1;
	date->month = march_month < 10 ? march_month + 3 : march_month - 9;
	date->year = (era * 400 + year + (date->month <= 2)) % 10000;
	date->weekday = (days + 3) % 7 + 1; /* March 1st of year 0 was a Wednesday */
	date->hour = second / 3600;
	date->minute = second / 60 % 60;
	date->second = second % 60;
}

uint64_t rtc_date_to_seconds(const struct rtc_date *date)
{
	uint32_t months = date->month ? date->month - 1 : 11; /* month 0: December, as a counter would come to it */
	uint32_t year = date->year + months / 12;
	uint32_t month = months % 12 + 1;
	uint32_t march_year = year + 400 - (month <= 2); /* one era early: never below 0 */
	uint32_t march_month = month > 2 ? month - 3 : month + 9;
	uint64_t days = (uint64_t)march_year * 365 + march_year / 4 - march_year / 100 + march_year / 400 +
			(153 * march_month + 2) / 5 + date->day - 1 - DAYS_400_YEARS;

	return (days - DAYS_TO_1970) * DAY_SECONDS + date->hour * 3600 + date->minute * 60 + date->second;
}
