/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image_info.h - what an image says of itself, for `holon disk info`.
 */
#ifndef HOLON_BLOCK_IMAGE_INFO_H
#define HOLON_BLOCK_IMAGE_INFO_H

#include "image.h"
#include "qcow2_snapshot.h"

struct image_info {
	uint64_t size;      /* bytes that the guest sees */
	uint64_t disk_size; /* bytes that the file takes on the host */
	/* Of qcow2 only. */
	unsigned version, refcount_bits;
	uint64_t cluster_size;
	const char *compression;
	bool extended_l2, lazy_refcounts, dirty, corrupt;
	char *backing, *backing_format; /* NULL: none, not said */
	struct qcow2_snapshots snapshots;
};

/* Looks at the header only, so an image that a running VM holds can be described as well. */
enum status image_info_read(struct image_info *info, const char *path, enum image_format format, struct reason *why) must_check;
void image_info_free(struct image_info *info);

#endif
