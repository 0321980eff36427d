/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2_crash_log.h - a log of what a process does to one file, and the file as a power cut would leave it.
 */
#ifndef HOLON_TEST_BLOCK_QCOW2_CRASH_LOG_H
#define HOLON_TEST_BLOCK_QCOW2_CRASH_LOG_H

#include <stdint.h>

#include "disk.h"

/* The file as it is now is where every replay begins. */
void crash_log_begin(const char *path);
/* At least so many calls must have been seen, or the linker did not put it between. */
void crash_log_end(unsigned least);
/* Instants count the beginnings and ends of calls. */
uint64_t crash_log_now(void);
/* Makes `path` what the file could be if power failed at the instant `at`. */
void crash_log_replay(const char *path, uint64_t at, struct disk_random *dice);

#endif
