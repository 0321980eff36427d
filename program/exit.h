/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exit.h - how the verbs end.
 */
#ifndef HOLON_PROGRAM_EXIT_H
#define HOLON_PROGRAM_EXIT_H

#include <holon/status.h>

/* The exit statuses of every verb, beside those of enum vm_end. */
#define EXIT_DONE 0
#define EXIT_USAGE 64
#define EXIT_NOT_FOUND 66
#define EXIT_FAILURE_HOST 74

int exit_status_of(enum status status);

/* The end of a verb that has printed something: stdout may be a full disk. Says why it failed, if it did, and returns the exit status. */
int exit_with(enum status status, const struct reason *why);

#endif
