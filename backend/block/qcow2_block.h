/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2_block.h - a qcow2 image with its backing chain as a disk for a device.
 */
#ifndef HOLON_BLOCK_QCOW2_BLOCK_H
#define HOLON_BLOCK_QCOW2_BLOCK_H

#include <stdbool.h>

#include <holon/block.h>
#include <holon/status.h>

/*
 * Opens and locks the image and its chain: the image shared with readers when readonly, else alone; the backing files shared. On failure `why` has
 * one line and *block is NULL. Release it with block->close after the device that uses it; that writes back what is left.
 */
enum status block_qcow2_open(struct block **block, const char *path, bool readonly, struct reason *why) must_check;

#endif
