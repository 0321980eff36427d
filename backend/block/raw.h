/* SPDX-License-Identifier: Apache-2.0 */
/*
 * raw.h - a disk that is a plain file or a block device of the host.
 *
 * Requests run in io_uring, or in a small pool of threads where the host forbids that (or HOLON_NO_IO_URING=1 is set).
 */
#ifndef HOLON_BLOCK_RAW_H
#define HOLON_BLOCK_RAW_H

#include <stdbool.h>

#include <holon/block.h>
#include <holon/status.h>

/*
 * Opens and locks it: shared with readers when readonly, else alone, so that no two VMs write one disk (image_lock.h). On failure `why` has one line and *block is
 * NULL. The path is copied. Release it with block->close after the device that uses it.
 */
enum status block_raw_open(struct block **block, const char *path, bool readonly, struct reason *why) must_check;

/*
 * The same past the host's page cache (O_DIRECT). STATUS_UNSUPPORTED where the file system refuses that. Requests need not be aligned to anything but sectors.
 */
enum status block_raw_open_direct(struct block **block, const char *path, bool readonly, struct reason *why) must_check;

/*
 * The same for a file that the backend of another format has opened and locked. It has no bounds: it grows by writes, and reads
 * behind its end are zeroes. `fd` stays the caller's; close it after block->close.
 */
enum status block_raw_lend(struct block **block, int fd, const char *path, bool readonly, struct reason *why) must_check;

#endif
