/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image_lock.h - keeps two programs off one image: byte locks that QEMU and its tools understand.
 *
 * QEMU locks bytes of the image file itself, with open-file-description locks (fcntl(2), F_OFD_SETLK), which belong to an open file and go away with it.
 * Byte 100 + N says "I do N", byte 200 + N says "nobody else may do N"; N counts the permissions below. All locks are shared ones, so
 * taking them never fails: each opener then asks whether somebody else's stand against it. Two that open at the same instant may both
 * be refused, and never both succeed. Bytes may lie behind the file's end.
 */
#ifndef HOLON_BLOCK_IMAGE_LOCK_H
#define HOLON_BLOCK_IMAGE_LOCK_H

#include <stdbool.h>

#include <holon/status.h>

/*
 * A reader shares the image with readers, a writer with nobody. `fd` is open for reading at least. STATUS_BUSY: another VM or program, or another open of
 * this process, stands against it. File systems without locks are warned of, and used.
 */
enum status image_lock(int fd, bool writer, const char *path, struct reason *why) must_check;

#endif
