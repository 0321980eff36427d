/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limit.h - a disk in front of another that lets requests and bytes through at a rate.
 */
#ifndef HOLON_BLOCK_LIMIT_H
#define HOLON_BLOCK_LIMIT_H

#include <holon/block.h>
#include <holon/config.h>

/*
 * Puts the filter in front of *block, which it then owns: closing the filter closes both. A rate of 0 limits nothing. On failure *block
 * stays what it was.
 */
enum status block_limit_add(struct block **block, const struct disk_rate *requests, const struct disk_rate *bytes,
			    struct reason *why) must_check;

#endif
