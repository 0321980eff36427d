/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run.h - the verb `run`, for holon.c.
 */
#ifndef HOLON_PROGRAM_RUN_H
#define HOLON_PROGRAM_RUN_H

#include <holon/status.h>

/* The exit statuses of every verb, beside those of enum vm_end. */
#define EXIT_DONE 0
#define EXIT_USAGE 64
#define EXIT_NOT_FOUND 66
#define EXIT_FAILURE_HOST 74

int exit_status_of(enum status status);

/* The words behind `run`. Returns the exit status. */
int run(int count, char **arguments);

#endif
