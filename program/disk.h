/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk.h - the verb `disk`, for holon.c.
 */
#ifndef HOLON_PROGRAM_DISK_H
#define HOLON_PROGRAM_DISK_H

extern const char help_disk[];

/* The words behind `disk`. Returns the exit status. */
int disk(int count, char **arguments);

#endif
