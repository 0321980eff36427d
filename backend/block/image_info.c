/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image_info.c - describes an image: see image_info.h.
 */
#include "image_info.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "qcow2_image.h"

static char *text_copy(const char *text)
{
	return text ? strdup(text) : NULL;
}

static enum status qcow2_describe(struct image_info *info, struct qcow2 *q, struct reason *why)
{
	info->version = q->version;
	info->refcount_bits = 1u << q->refcount_order;
	info->cluster_size = q->cluster_size;
	info->compression = q->compression == QCOW2_COMPRESSION_ZSTD ? "zstd" : "zlib";
	info->extended_l2 = q->units > 1;
	info->lazy_refcounts = q->compatible & QCOW2_COMPATIBLE_LAZY_REFCOUNTS;
	info->dirty = q->incompatible & QCOW2_INCOMPATIBLE_DIRTY;
	info->corrupt = q->incompatible & QCOW2_INCOMPATIBLE_CORRUPT;
	info->backing = text_copy(q->backing_path);
	info->backing_format = text_copy(q->backing_format);
	return qcow2_snapshots_read(q, &info->snapshots, why);
}

enum status image_info_read(struct image_info *info, const char *path, enum image_format format, struct reason *why)
{
	static const struct image_options options = {.readonly = true, .unlocked = true, .alone = true, .damaged = true};
	struct image *image;
	struct stat stat;
	enum status status = image_open(&image, path, format, &options, why);

	*info = (struct image_info){0};
	if (status)
		return status;
	info->size = image->size;
	if (!fstat(image->qcow2 ? image->qcow2->file.fd : image->file.fd, &stat))
		info->disk_size = (uint64_t)stat.st_blocks * 512;
	if (image->qcow2)
		status = qcow2_describe(info, image->qcow2, why);
	if (image_close(image) && !status)
		status = STATUS_IO;
	if (status)
		image_info_free(info);
	return status;
}

void image_info_free(struct image_info *info)
{
	free(info->backing);
	free(info->backing_format);
	qcow2_snapshots_free(&info->snapshots);
}
