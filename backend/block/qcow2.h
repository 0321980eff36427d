/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2.h - qcow2 images (versions 2 and 3) for who opens, reads, writes and changes them; qcow2.c has the essay. All calls wait. block_qcow2 in
 * qcow2_block.h is the asynchronous disk on top.
 *
 * Reads and writes may run on several threads at once; a caller with several keeps a write off the clusters that another call is in (qcow2_range_enter).
 * Errors of the running image are logged; they come back as a status and the call can be made again.
 */
#ifndef HOLON_BLOCK_QCOW2_H
#define HOLON_BLOCK_QCOW2_H

#include "image.h"
#include "image_file.h"

struct qcow2;
struct qcow2_range;

struct qcow2_format {     /* of a new image */
	unsigned version; /* 2 or 3 */
	unsigned cluster_bits;
	unsigned refcount_order;
	unsigned compression; /* QCOW2_COMPRESSION_ZLIB or _ZSTD */
	bool extended_l2;
	bool lazy_refcounts;
	const char *backing, *backing_format; /* NULL: none */
};
extern const struct qcow2_format qcow2_format_default;

/* Does the file begin as a qcow2 image does? */
bool qcow2_recognize(const struct image_file *file);

/* Takes `file` over, also on failure. `backing` may be NULL: see image_open, which opens it. */
enum status qcow2_open(struct qcow2 **out, struct image_file *file, const struct image_options *options,
		       struct reason *why) must_check;
/* Writes back what is dirty, then closes; the backing image is the caller's. */
enum status qcow2_close(struct qcow2 *q);
/* Makes an empty image of `size` bytes in an empty file. */
enum status qcow2_create(const struct image_file *file, const struct qcow2_format *format, uint64_t size,
			 struct reason *why) must_check;

enum status qcow2_read(struct qcow2 *q, uint64_t offset, uint64_t length, struct image_cursor *to) must_check;
enum status qcow2_write(struct qcow2 *q, uint64_t offset, uint64_t length, struct image_cursor *from) must_check;
/* Reads as zeroes afterwards. may_unmap: its clusters may be given back. */
enum status qcow2_write_zeroes(struct qcow2 *q, uint64_t offset, uint64_t length, bool may_unmap) must_check;
/* Whole clusters in the range are given back. They read as zeroes; of a version 2 image with a backing file they stay as they are. */
enum status qcow2_discard(struct qcow2 *q, uint64_t offset, uint64_t length) must_check;
/* One whole cluster at an aligned offset that has never been written, compressed if that makes it shorter. One thread only. */
enum status qcow2_write_packed(struct qcow2 *q, uint64_t offset, const uint8_t *cluster) must_check;
/* All that was written is on stable storage. */
enum status qcow2_flush(struct qcow2 *q) must_check;
enum status qcow2_resize(struct qcow2 *q, uint64_t size, struct reason *why) must_check;
/* Gives back everything: the backing file shows through. */
enum status qcow2_empty(struct qcow2 *q) must_check;
/* What the header says of the backing file from now on; NULL: none. */
enum status qcow2_backing_set(struct qcow2 *q, const char *path, const char *format, struct reason *why) must_check;

/* Is the range this image's own, or does the backing file (or nothing) show through? For `*run` bytes. */
enum status qcow2_is_own(struct qcow2 *q, uint64_t offset, uint64_t length, bool *own, bool *zero, uint64_t *run) must_check;

#endif
