/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image_change.c - creating, converting, committing, rebasing and resizing images: see image_change.h. Called by program/disk.c.
 */
#include "image_change.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <holon/host.h>

#include "qcow2_image.h"

#define CHUNK (UINT64_C(2) << 20) /* a multiple of every cluster size */
#define PAGE 4096u

static const struct image_options for_reading = {.readonly = true}, for_writing = {.readonly = false};
static const struct image_options for_writing_alone = {.alone = true};

static enum status failed(const char *path, const char *what, enum status status, struct reason *why)
{
	return reason_give(why, status, "disk %s: %s: %s", path, what, status_name(status));
}

static enum status progress_step(struct image_progress *progress, uint64_t done, uint64_t of)
{
	return !progress || progress->step(progress, done, of) ? STATUS_OK : STATUS_CANCELLED;
}

static bool all_zero(const uint8_t *bytes, size_t length)
{
	return length == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0);
}

/* What was made of a file before something failed. */
static void file_remove(const char *path)
{
	struct stat there;

	if (!stat(path, &there) && S_ISREG(there.st_mode))
		unlink(path);
}

/* Creating */

static enum status raw_create(const struct image_file *file, uint64_t size, struct reason *why)
{
	uint64_t there;
	enum status status;

	if (file->regular) {
		status = image_file_truncate(file, size);
		return status ? failed(file->path, "it cannot become that long", status, why) : STATUS_OK;
	}
	status = image_file_length(file, &there);
	if (status)
		return failed(file->path, "its size cannot be found", status, why);
	if (there < size)
		return reason_give(why, STATUS_USAGE, "disk %s: the device has %llu bytes and not %llu; choose a larger one",
				   file->path, (unsigned long long)there, (unsigned long long)size);
	return STATUS_OK;
}

enum status image_create(const char *path, enum image_format format, const struct qcow2_format *shape, uint64_t size,
			 struct reason *why)
{
	struct image_file file;
	bool made;
	enum status status = image_file_create(&file, path, &made, why);

	if (status)
		return status;
	if (format == IMAGE_QCOW2)
		status = qcow2_create(&file, shape, size, why);
	else
		status = raw_create(&file, size, why);
	image_file_close(&file);
	if (status && made)
		unlink(path);
	return status;
}

/* Converting */

struct conversion {
	struct image *source, *target;
	bool packed;
	bool blank; /* the target reads as zeroes where nothing has been written */
	uint8_t *buffer;
};

static enum status packed_write(struct conversion *conversion, uint64_t offset, uint64_t length)
{
	struct qcow2 *q = conversion->target->qcow2;
	enum status status = STATUS_OK;

	for (uint64_t at = 0; !status && at < length; at += q->cluster_size) {
		uint64_t part = length - at < q->cluster_size ? length - at : q->cluster_size;

		if (part < q->cluster_size) /* the disk ends in this one */
			memset(conversion->buffer + at + part, 0, q->cluster_size - part);
		if (!all_zero(conversion->buffer + at, q->cluster_size))
			status = qcow2_write_packed(q, offset + at, conversion->buffer + at);
	}
	return status;
}

/* Writes the buffer but for its zeroes, a page at a time. */
static enum status sparse_write(struct conversion *conversion, uint64_t offset, uint64_t length)
{
	enum status status = STATUS_OK;
	uint64_t at = 0, run;

	while (!status && at < length) {
		bool zero = false;

		for (run = 0; at + run < length; run += PAGE) {
			uint64_t part = length - at - run < PAGE ? length - at - run : PAGE;
			bool now = all_zero(conversion->buffer + at + run, part);

			if (run && now != zero)
				break;
			zero = now;
		}
		run = at + run < length ? run : length - at;
		if (!zero)
			status = image_write_bytes(conversion->target, offset + at, run, conversion->buffer + at);
		else if (!conversion->blank)
			status = image_write_zeroes(conversion->target, offset + at, run);
		at += run;
	}
	return status;
}

static enum status chunk_convert(struct conversion *conversion, uint64_t offset, uint64_t length)
{
	enum status status = STATUS_OK;
	uint64_t at, run;
	bool data = false;

	for (at = 0; !status && !data && at < length; at += run)
		status = image_is_data(conversion->source, offset + at, length - at, &data, &run);
	if (status || (!data && conversion->blank))
		return status;
	if (!data)
		return image_write_zeroes(conversion->target, offset, length);
	status = image_read_bytes(conversion->source, offset, length, conversion->buffer);
	if (status)
		return status;
	return conversion->packed ? packed_write(conversion, offset, length) : sparse_write(conversion, offset, length);
}

static enum status conversion_run(struct conversion *conversion, struct image_progress *progress)
{
	uint64_t size = conversion->source->size, offset;
	enum status status = STATUS_OK;

	conversion->buffer = malloc(CHUNK);
	if (!conversion->buffer)
		return STATUS_NO_MEMORY;
	for (offset = 0; !status && offset < size; offset += CHUNK) {
		status = progress_step(progress, offset, size);
		if (!status)
			status = chunk_convert(conversion, offset, size - offset < CHUNK ? size - offset : CHUNK);
	}
	if (!status)
		status = image_flush(conversion->target);
	if (!status)
		status = progress_step(progress, size, size);
	free(conversion->buffer);
	return status;
}

enum status image_convert(const struct image_copying *copying, struct image_progress *progress, struct reason *why)
{
	struct conversion conversion = {.packed = copying->packed};
	bool made, closed;
	enum status status = image_open(&conversion.source, copying->source, copying->source_format, &for_reading, why);

	if (status)
		return status;
	status = image_create(copying->target, copying->target_format, copying->shape, conversion.source->size, why);
	made = !status;
	if (!status)
		status = image_open(&conversion.target, copying->target, copying->target_format, &for_writing, why);
	if (!status) {
		conversion.blank = copying->target_format == IMAGE_QCOW2 || conversion.target->file.regular;
		status = conversion_run(&conversion, progress);
		if (status)
			failed(copying->target, "the copy failed (the lines above say more)", status, why);
	}
	closed = !image_close(conversion.target);
	if (!status && !closed)
		status = failed(copying->target, "its end could not be written", STATUS_IO, why);
	if (image_close(conversion.source) && !status)
		status = STATUS_IO;
	if (status && made)
		file_remove(copying->target);
	return status;
}

/* What a snapshot does not hold itself it reads from the backing file, as the image does: with other data below it would be another one. */
static enum status snapshots_refuse(const struct image *image, const char *what, struct reason *why)
{
	if (!image->qcow2->snapshots)
		return STATUS_OK;
	return reason_give(why, STATUS_USAGE,
			   "disk %s: it has snapshots, which %s would change; delete them first: holon disk snapshot", image->path,
			   what);
}

/* Committing */

static enum status own_commit(struct image *overlay, struct image *backing, uint64_t offset, uint64_t length, uint8_t *buffer)
{
	enum status status = STATUS_OK;
	uint64_t run;
	bool own, zero;

	for (; !status && length; offset += run, length -= run) {
		status = qcow2_is_own(overlay->qcow2, offset, length, &own, &zero, &run);
		if (status || !own)
			continue;
		if (zero) {
			status = image_write_zeroes(backing, offset, run);
			continue;
		}
		status = image_read_bytes(overlay, offset, run, buffer);
		if (!status)
			status = image_write_bytes(backing, offset, run, buffer);
	}
	return status;
}

static enum status commit_run(struct image *overlay, struct image *backing, struct image_progress *progress)
{
	uint8_t *buffer = malloc(CHUNK);
	enum status status = buffer ? STATUS_OK : STATUS_NO_MEMORY;

	for (uint64_t offset = 0; !status && offset < overlay->size; offset += CHUNK) {
		uint64_t length = overlay->size - offset < CHUNK ? overlay->size - offset : CHUNK;

		status = progress_step(progress, offset, overlay->size);
		if (!status)
			status = own_commit(overlay, backing, offset, length, buffer);
	}
	if (!status)
		status = image_flush(backing);
	if (!status)
		status = progress_step(progress, overlay->size, overlay->size);
	free(buffer);
	return status;
}

static enum status open_image_resize(struct image *image, uint64_t size, struct reason *why)
{
	enum status status;

	if (image->qcow2) {
		status = qcow2_resize(image->qcow2, size, why);
	} else if (!image->file.regular) {
		status = reason_give(why, STATUS_USAGE, "disk %s: a block device has the size that it has; resize it on the host",
				     image->path);
	} else {
		status = image_file_truncate(&image->file, size);
		if (status)
			failed(image->path, "it cannot be resized", status, why);
	}
	if (!status)
		image->size = size;
	return status;
}

/* Opens the backing file of an overlay that was opened without it, for writing. */
static enum status backing_open_writable(struct image *overlay, struct image **backing, struct reason *why)
{
	const struct qcow2 *q = overlay->qcow2;
	enum image_format format;
	enum status status;
	char *path;

	if (!q->backing_path)
		return reason_give(why, STATUS_USAGE, "disk %s: it has no backing file, so there is nowhere to commit to",
				   overlay->path);
	if (!q->backing_format || !image_format_parse(q->backing_format, &format))
		return reason_give(
			why, STATUS_USAGE,
			"disk %s: it does not say that its backing file is raw or qcow2; say it: holon disk rebase -u -F "
			"FORMAT -b %.128s %.128s",
			overlay->path, q->backing_path, overlay->path);
	path = image_path_beside(overlay->path, q->backing_path + (strncmp(q->backing_path, "file:", 5) ? 0 : 5));
	if (!path)
		return reason_give(why, STATUS_NO_MEMORY, "disk %s: out of memory", overlay->path);
	status = image_open(backing, path, format, &for_writing, why);
	free(path);
	return status;
}

/* Is every image there and none its own backing file? Else the overlay's own lock would be in the way later, and blamed on another program. */
static enum status chain_examine(const char *path, struct reason *why)
{
	struct image *image;
	enum status status = image_open(&image, path, IMAGE_QCOW2, &for_reading, why);

	if (!status)
		status = image_close(image);
	return status;
}

enum status image_commit(const char *path, bool keep, struct image_progress *progress, struct reason *why)
{
	struct image *overlay, *backing = NULL;
	enum status status = chain_examine(path, why);

	if (!status)
		status = image_open(&overlay, path, IMAGE_QCOW2, &for_writing_alone, why);
	if (status)
		return status;
	status = snapshots_refuse(overlay, "a commit", why);
	if (!status)
		status = backing_open_writable(overlay, &backing, why);
	if (!status && backing->size < overlay->size)
		status = open_image_resize(backing, overlay->size, why);
	if (!status) {
		status = commit_run(overlay, backing, progress);
		if (status)
			failed(backing->path, "the commit failed (the lines above say more); it can be repeated", status, why);
	}
	if (!status && !keep) {
		status = qcow2_empty(overlay->qcow2);
		if (status)
			failed(path, "all is committed, but the overlay cannot be emptied", status, why);
	}
	if (image_close(backing) && !status)
		status = failed(path, "its backing file could not be written to its end", STATUS_IO, why);
	if (image_close(overlay) && !status)
		status = failed(path, "it could not be written to its end", STATUS_IO, why);
	return status;
}

/* Rebasing */

/* What the guest sees where the overlay holds nothing itself is written into it where the new backing file differs. */
static enum status chunk_rebase(struct image *overlay, struct image *new, uint64_t offset, uint64_t length, uint8_t *buffer)
{
	uint8_t *other = buffer + CHUNK;
	enum status status = STATUS_OK;
	uint64_t run, at, part;
	bool own, zero;

	for (; !status && length; offset += run, length -= run) {
		status = qcow2_is_own(overlay->qcow2, offset, length, &own, &zero, &run);
		if (status || own)
			continue;
		memset(other, 0, run);
		status = image_read_bytes(overlay, offset, run, buffer);
		if (!status && new)
			status = image_read_bytes(new, offset, run, other);
		for (at = 0; !status && at < run; at += part) {
			part = run - at < overlay->qcow2->unit_size ? run - at : overlay->qcow2->unit_size;
			if (memcmp(buffer + at, other + at, part) != 0)
				status = image_write_bytes(overlay, offset + at, part, buffer + at);
		}
	}
	return status;
}

static enum status rebase_run(struct image *overlay, struct image *new, struct image_progress *progress)
{
	uint8_t *buffer = malloc(2 * CHUNK);
	enum status status = buffer ? STATUS_OK : STATUS_NO_MEMORY;

	for (uint64_t offset = 0; !status && offset < overlay->size; offset += CHUNK) {
		uint64_t length = overlay->size - offset < CHUNK ? overlay->size - offset : CHUNK;

		status = progress_step(progress, offset, overlay->size);
		if (!status)
			status = chunk_rebase(overlay, new, offset, length, buffer);
	}
	if (!status)
		status = image_flush(overlay);
	if (!status)
		status = progress_step(progress, overlay->size, overlay->size);
	free(buffer);
	return status;
}

static enum status new_backing_open(const char *overlay, const char *backing, enum image_format format, struct image **new,
				    struct reason *why)
{
	char *path = image_path_beside(overlay, backing);
	enum status status;

	if (!path)
		return reason_give(why, STATUS_NO_MEMORY, "disk %s: out of memory", overlay);
	status = image_open(new, path, format, &for_reading, why);
	if (status == STATUS_BUSY)
		reason_give(why, status,
			    "disk %.128s: %.128s cannot be under it: that is the same image, or lies over it, or another program "
			    "writes to it",
			    overlay, backing);
	free(path);
	return status;
}

enum status image_rebase(const char *path, const char *backing, enum image_format backing_format, bool blind,
			 struct image_progress *progress, struct reason *why)
{
	struct image *overlay, *new = NULL;
	enum status status = STATUS_OK;

	/* Before the overlay is locked: it may not be in the new one's chain, which the lock then finds. */
	status = image_open(&overlay, path, IMAGE_QCOW2, blind ? &for_writing_alone : &for_writing, why);
	if (status)
		return status;
	if (!blind)
		status = snapshots_refuse(overlay, "another backing file", why);
	if (!status && backing && !blind)
		status = new_backing_open(path, backing, backing_format, &new, why);
	if (!status && !blind) {
		status = rebase_run(overlay, new, progress);
		if (status)
			failed(path, "the rebase failed (the lines above say more); it can be repeated", status, why);
	}
	if (!status)
		status = qcow2_backing_set(overlay->qcow2, backing, backing ? image_format_name(backing_format) : NULL, why);
	if (image_close(new) && !status)
		status = STATUS_IO;
	if (image_close(overlay) && !status)
		status = failed(path, "it could not be written to its end", STATUS_IO, why);
	return status;
}

enum status image_resize(const char *path, enum image_format format, uint64_t size, bool shrink, struct reason *why)
{
	struct image *image;
	enum status status = image_open(&image, path, format, &for_writing, why);

	if (status)
		return status;
	if (size < image->size && !shrink)
		status = reason_give(why, STATUS_USAGE,
				     "disk %s: it has %llu bytes; with --shrink it becomes shorter, and what lies behind is lost",
				     path, (unsigned long long)image->size);
	if (!status)
		status = open_image_resize(image, size, why);
	if (!status) {
		status = image_flush(image);
		if (status)
			failed(path, "it cannot be resized", status, why);
	}
	if (image_close(image) && !status)
		status = failed(path, "it could not be written to its end", STATUS_IO, why);
	return status;
}
