/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run.h - the verb `run`, for holon.c.
 */
#ifndef HOLON_PROGRAM_RUN_H
#define HOLON_PROGRAM_RUN_H

/* The words behind `run`. Returns the exit status. */
int run(int count, char **arguments);

#endif
