/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image_change.h - whole-image work for `holon disk`: making, describing, copying, committing, rebasing, resizing.
 *
 * Everything fails with one line in `why`. What is cut off leaves source images as they are; see each for the image that is changed.
 */
#ifndef HOLON_BLOCK_IMAGE_CHANGE_H
#define HOLON_BLOCK_IMAGE_CHANGE_H

#include "image.h"
#include "qcow2.h"

/* Told now and then how much of the work is done. false: the work ends with STATUS_CANCELLED. NULL: nobody cares. */
struct image_progress {
	bool (*step)(struct image_progress *progress, uint64_t done, uint64_t of);
};

/* A new image; what was made of it is removed again on failure. A block device may be named for a raw image that fits. */
enum status image_create(const char *path, enum image_format format, const struct qcow2_format *shape, uint64_t size,
			 struct reason *why) must_check;

struct image_copying {
	const char *source, *target;
	enum image_format source_format, target_format;
	const struct qcow2_format *shape; /* of a qcow2 target */
	bool packed;                      /* compressed clusters */
};
/* Copies what the guest sees, backing files included, into a new image; what was made of it is removed again on failure. */
enum status image_convert(const struct image_copying *copying, struct image_progress *progress, struct reason *why) must_check;

/* Writes what an overlay holds into its backing file, and empties the overlay unless `keep`. Cut off, it can be repeated. */
enum status image_commit(const char *path, bool keep, struct image_progress *progress, struct reason *why) must_check;

/*
 * Gives an overlay another backing file (NULL: none), and the clusters in which that differs from the old one, so that the guest sees no change.
 * blind: only the name is changed; for a file that has moved. Cut off, the old backing file is still named.
 */
enum status image_rebase(const char *path, const char *backing, enum image_format backing_format, bool blind,
			 struct image_progress *progress, struct reason *why) must_check;

/* shrink: the disk may become shorter, and what lay behind is lost. */
enum status image_resize(const char *path, enum image_format format, uint64_t size, bool shrink, struct reason *why) must_check;

#endif
