/* SPDX-License-Identifier: Apache-2.0 */
/*
 * size.c - sizes as people write them, in options, in the words of `holon disk` and in what is asked of a running VM.
 */
#include "control/size.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define SECTOR UINT64_C(512)

enum status size_parse(uint64_t *bytes, const char *text)
{
	static const char units[] = "KMGT";
	unsigned long long number;
	const char *unit;
	unsigned shift;
	char *end;

	if (*text < '0' || *text > '9')
		return STATUS_USAGE;
	number = strtoull(text, &end, 10);
	unit = *end ? strchr(units, *end & ~0x20) : NULL;
	if (!unit || end[1])
		return STATUS_USAGE;
	shift = 10 * (unsigned)(unit - units + 1);
	/* strtoull says ULLONG_MAX where the number did not fit: that does not fit here either. */
	if (!number || number > UINT64_MAX >> shift)
		return STATUS_USAGE;
	*bytes = (uint64_t)number << shift;
	return STATUS_OK;
}

uint64_t size_or_bytes(const char *text)
{
	uint64_t size = 0;
	char *end;

	if (size_parse(&size, text) == 0)
		return size;
	size = *text >= '0' && *text <= '9' ? strtoull(text, &end, 10) : 0;
	return size && !*end ? size : 0;
}

enum status size_disk_parse(uint64_t *bytes, const char *text, uint64_t now, struct reason *why)
{
	bool more = now && text[0] == '+';
	uint64_t size = size_or_bytes(text + more);

	if (size < SECTOR) /* who writes 8 has forgotten the G */
		size = 0;
	if (more && size > INT64_MAX - now)
		size = 0;
	size += size && more ? now : 0;
	if (!size || size > INT64_MAX - SECTOR)
		return reason_give(why, STATUS_USAGE, "%.64s: not a size; write a number and a unit: 512M or 8G", text);
	*bytes = (size + SECTOR - 1) / SECTOR * SECTOR;
	return STATUS_OK;
}
