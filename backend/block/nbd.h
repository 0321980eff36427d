/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nbd.h - a disk on an NBD server, through libnbd.
 */
#ifndef HOLON_BLOCK_NBD_H
#define HOLON_BLOCK_NBD_H

#include <stdbool.h>

#include <holon/block.h>
#include <holon/status.h>

/* Connects. On failure `why` has one line and *block is NULL. The URI is copied. */
enum status block_nbd_open(struct block **block, const char *uri, bool readonly, struct reason *why) must_check;

#endif
