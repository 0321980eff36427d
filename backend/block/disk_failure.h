/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk_failure.h - what is said of failed calls on a disk's file.
 */
#ifndef HOLON_BACKEND_BLOCK_DISK_FAILURE_H
#define HOLON_BACKEND_BLOCK_DISK_FAILURE_H

#include <stdbool.h>
#include <stdint.h>

/* Has this, of this kind, not been asked for a minute? */
bool disk_failure_is_news(const char *text, int kind);
void disk_failure_log(const char *path, const char *what, uint64_t offset, uint64_t length, int error);

#endif
