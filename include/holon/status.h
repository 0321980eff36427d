/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status.h - how a function says that the host or the operator was at fault.
 *
 * A guest's mistake is never a status: a device completes the request with an error and goes on.
 * A function that can fail for the operator's reasons returns enum status and, where a human will
 * read about it, takes a `struct reason` that it fills with one line: what, why, what next.
 */
#ifndef HOLON_STATUS_H
#define HOLON_STATUS_H

#define must_check __attribute__((warn_unused_result))

enum status {
	STATUS_OK = 0,
	STATUS_USAGE,     /* an option or a file's text that makes no sense */
	STATUS_NOT_FOUND, /* a file, device or name that is not there */
	STATUS_INVALID,   /* a file or stream that is there and is malformed */
	STATUS_PERMISSION,
	STATUS_BUSY, /* locked by another VM, already in use */
	STATUS_NO_MEMORY,
	STATUS_NO_SPACE, /* disk, table or address space is full */
	STATUS_IO,
	STATUS_RANGE,       /* outside the object: past the end of a disk, not RAM */
	STATUS_UNSUPPORTED, /* right, but this host or build cannot do it */
	STATUS_TIMEOUT,
	STATUS_CANCELLED,
};

/* One line for a person. Empty text means that nobody has explained yet. */
struct reason {
	char text[512];
};

/* Formats the line into `why` (which may be NULL) and returns `status`: `return reason_give(why, STATUS_IO, ...)`. */
enum status reason_give(struct reason *why, enum status status, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* A short English name, for logs: "not found". Never NULL. */
const char *status_name(enum status status);

#endif
