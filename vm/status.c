/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status.c - the words for enum status, and the one line that explains a failure (include/holon/status.h).
 */
#include <stdarg.h>

#include <holon/host.h>
#include <holon/status.h>

enum status reason_give(struct reason *why, enum status status, const char *format, ...)
{
	va_list arguments;

	if (why) {
		va_start(arguments, format);
		host_format_v(why->text, sizeof(why->text), format, arguments);
		va_end(arguments);
	}
	return status;
}

static const char *const status_names[] = {
	[STATUS_OK] = "done",
	[STATUS_USAGE] = "usage error",
	[STATUS_NOT_FOUND] = "not found",
	[STATUS_INVALID] = "malformed",
	[STATUS_PERMISSION] = "not permitted",
	[STATUS_BUSY] = "in use",
	[STATUS_NO_MEMORY] = "out of memory",
	[STATUS_NO_SPACE] = "no space left",
	[STATUS_IO] = "input/output error",
	[STATUS_RANGE] = "out of range",
	[STATUS_UNSUPPORTED] = "not supported here",
	[STATUS_TIMEOUT] = "timed out",
	[STATUS_CANCELLED] = "cancelled",
};

const char *status_name(enum status status)
{
	if ((unsigned)status >= sizeof(status_names) / sizeof(status_names[0]))
		return "unknown";
	return status_names[status];
}
