/* SPDX-License-Identifier: Apache-2.0 */
/*
 * size.h - sizes as people write them.
 */
#ifndef HOLON_CONTROL_SIZE_H
#define HOLON_CONTROL_SIZE_H

#include <stdint.h>

#include <holon/status.h>

/* "512M", "2G": a positive number and K, M, G or T. STATUS_USAGE for anything else. */
enum status size_parse(uint64_t *bytes, const char *text) must_check;
/* That, or a number of bytes. 0: neither. */
uint64_t size_or_bytes(const char *text);
/* A disk's: "8G", "1048576" (bytes), and from `now` on "+8G". Whole sectors: rounded up. */
enum status size_disk_parse(uint64_t *bytes, const char *text, uint64_t now, struct reason *why) must_check;

#endif
