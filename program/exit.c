/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exit.c - how the verbs end: exit.h.
 */
#include "program/exit.h"

#include <stdbool.h>
#include <stdio.h>

#include <holon/host.h>

int exit_status_of(enum status status)
{
	switch (status) {
	case STATUS_OK: return EXIT_DONE;
	case STATUS_USAGE:
	case STATUS_INVALID:
	case STATUS_RANGE: return EXIT_USAGE;
	case STATUS_NOT_FOUND: return EXIT_NOT_FOUND;
	default: return EXIT_FAILURE_HOST;
	}
}

int exit_with(enum status status, const struct reason *why)
{
	bool written = !fflush(stdout) && !ferror(stdout);

	if (!written && !(why && why->text[0])) {
		host_log(HOST_LOG_ERROR, "stdout: cannot be written; give it a place with room");
		status = STATUS_IO;
	} else if (status) {
		host_log(HOST_LOG_ERROR, "%s", why && why->text[0] ? why->text : status_name(status));
	}
	return exit_status_of(status);
}
