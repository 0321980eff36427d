/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image.c - opens images of either format with their backing chains: see image.h. Called by qcow2_block.c, `holon disk`, and recursively.
 */
#include "image.h"

#include <stdlib.h>
#include <string.h>

#include <holon/host.h>

#include "image_lock.h"
#include "qcow2.h"
#include "qcow2_image.h"

#define SECTOR UINT64_C(512)

bool image_format_parse(const char *name, enum image_format *format)
{
	*format = strcmp(name, "qcow2") ? IMAGE_RAW : IMAGE_QCOW2;
	return *format == IMAGE_QCOW2 || !strcmp(name, "raw");
}

const char *image_format_name(enum image_format format)
{
	return format == IMAGE_QCOW2 ? "qcow2" : "raw";
}

enum image_format image_format_of_name(const char *path)
{
	size_t length = strlen(path);

	return length >= 6 && !strcmp(path + length - 6, ".qcow2") ? IMAGE_QCOW2 : IMAGE_RAW;
}

enum status image_format_of(const char *path, enum image_format *format, struct reason *why)
{
	struct image_file file;
	enum status status;

	*format = image_format_of_name(path);
	status = image_file_open(&file, path, true, why);
	if (status) /* a raw disk's is found again, and said better, by who opens it */
		return *format == IMAGE_RAW ? STATUS_OK : status;
	if (!qcow2_recognize(&file))
		*format = IMAGE_RAW;
	else if (*format == IMAGE_RAW)
		host_log(
			HOST_LOG_WARN,
			"disk %s: it begins like a qcow2 image and is used as a raw disk; if it is qcow2, name it .qcow2 or say so",
			path);
	image_file_close(&file);
	return STATUS_OK;
}

char *image_path_beside(const char *overlay, const char *path)
{
	const char *slash = strrchr(overlay, '/');
	size_t folder = slash ? (size_t)(slash - overlay) + 1 : 0;
	char *joined;

	if (path[0] == '/' || !folder)
		return strdup(path);
	joined = malloc(folder + strlen(path) + 1);
	if (joined) {
		memcpy(joined, overlay, folder);
		strcpy(joined + folder, path);
	}
	return joined;
}

/* The images that are being opened, the outermost last: a file that is among them would be a loop. */
struct chain {
	const struct chain *outer;
	const struct image_file *file;
	unsigned depth;
};

static enum status image_open_in(struct image **out, const char *path, enum image_format format,
				 const struct image_options *options, const struct chain *outer, struct reason *why);

static enum status chain_check(const struct chain *outer, const struct image_file *file, struct reason *why)
{
	for (const struct chain *link = outer; link; link = link->outer)
		if (link->file->device == file->device && link->file->inode == file->inode)
			return reason_give(why, STATUS_INVALID,
					   "disk %s: it is its own backing file; mend the chain: holon disk rebase -u", file->path);
	if (outer && outer->depth >= IMAGE_CHAIN_MAX)
		return reason_give(why, STATUS_INVALID,
				   "disk %s: it is the end of a chain of more than %u images; join some: holon disk commit",
				   file->path, IMAGE_CHAIN_MAX);
	return STATUS_OK;
}

/* A name such as json:... or nbd://... means no file to QEMU. */
static bool name_is_protocol(const char *path)
{
	size_t colon = strcspn(path, ":");

	return path[colon] && !memchr(path, '/', colon);
}

/* Which format a backing file has is for the overlay's header to say; a guest may have written the file's own first bytes. */
static enum status backing_format_find(const struct qcow2 *q, const char *path, enum image_format *format, struct reason *why)
{
	struct image_file file;
	enum status status;
	bool looks;

	*format = IMAGE_RAW;
	if (q->backing_format && image_format_parse(q->backing_format, format))
		return STATUS_OK;
	if (q->backing_format)
		return reason_give(why, STATUS_UNSUPPORTED,
				   "disk %s: its backing file has the format %.32s, which Holon does not have", q->file.path,
				   q->backing_format);
	status = image_file_open(&file, path, true, why);
	if (status)
		return status;
	looks = qcow2_recognize(&file);
	image_file_close(&file);
	if (looks)
		return reason_give(
			why, STATUS_INVALID,
			"disk %s: it does not say which format its backing file has, and that looks like qcow2; say it: holon "
			"disk rebase -u -F qcow2 -b %s %s",
			q->file.path, q->backing_path, q->file.path);
	return STATUS_OK;
}

static enum status backing_open(struct image *image, const struct chain *outer, struct reason *why)
{
	static const struct image_options readonly = {.readonly = true};
	struct qcow2 *q = image->qcow2;
	struct chain here = {outer, &q->file, outer ? outer->depth + 1 : 1};
	const char *name = q->backing_path;
	struct reason inner = {""};
	enum image_format format;
	enum status status;
	char *path;

	if (!strncmp(name, "file:", 5))
		name += 5;
	else if (name_is_protocol(name))
		return reason_give(why, STATUS_UNSUPPORTED, "disk %s: its backing file %.128s is no file; Holon takes files only",
				   q->file.path, name);
	path = image_path_beside(q->file.path, name);
	if (!path)
		return reason_give(why, STATUS_NO_MEMORY, "disk %s: out of memory", q->file.path);
	status = backing_format_find(q, path, &format, &inner);
	if (!status)
		status = image_open_in(&image->backing, path, format, &readonly, &here, &inner);
	free(path);
	q->backing = image->backing;
	if (status == STATUS_NOT_FOUND)
		return reason_give(why, status, "disk %s: its backing file is missing: %.300s", q->file.path, inner.text);
	return status ? reason_give(why, status, "%s", inner.text) : STATUS_OK;
}

static enum status raw_measure(struct image *image, struct reason *why)
{
	enum status status = image_file_length(&image->file, &image->size);

	image->path = image->file.path;
	image->size = (image->size + SECTOR - 1) & ~(SECTOR - 1); /* what is no whole sector reads on as zeroes, for QEMU too */
	return status ? reason_give(why, status, "disk %s: its size cannot be found", image->path) : STATUS_OK;
}

static enum status image_fill(struct image *image, const struct image_options *options, const struct chain *outer,
			      struct reason *why)
{
	enum status status = chain_check(outer, &image->file, why); /* before the lock, which a loop would find taken */

	if (!status && !options->unlocked)
		status = image_lock(image->file.fd, !options->readonly, image->file.path, why);
	if (status)
		return status;
	if (image->format == IMAGE_RAW)
		return raw_measure(image, why);
	status = qcow2_open(&image->qcow2, &image->file, options, why);
	if (status)
		return status;
	image->path = image->qcow2->file.path;
	image->size = image->qcow2->size;
	return image->qcow2->backing_path && !options->alone ? backing_open(image, outer, why) : STATUS_OK;
}

static enum status image_open_in(struct image **out, const char *path, enum image_format format,
				 const struct image_options *options, const struct chain *outer, struct reason *why)
{
	struct image *image = calloc(1, sizeof(*image));
	enum status status;

	*out = NULL;
	if (!image)
		return reason_give(why, STATUS_NO_MEMORY, "disk %s: out of memory", path);
	image->format = format;
	image->readonly = options->readonly;
	image->file.fd = -1;
	status = image_file_open(&image->file, path, options->readonly, why);
	if (!status)
		status = image_fill(image, options, outer, why);
	if (status) {
		if (image_close(image)) /* nothing was written */
			return status;
		return status;
	}
	*out = image;
	return STATUS_OK;
}

enum status image_open(struct image **image, const char *path, enum image_format format, const struct image_options *options,
		       struct reason *why)
{
	return image_open_in(image, path, format, options, NULL, why);
}

enum status image_close(struct image *image)
{
	enum status status = STATUS_OK, backing = STATUS_OK;

	if (!image)
		return STATUS_OK;
	if (image->qcow2)
		status = qcow2_close(image->qcow2);
	image_file_close(&image->file);
	backing = image_close(image->backing);
	free(image);
	return status ? status : backing;
}

enum status image_read(struct image *image, uint64_t offset, uint64_t length, struct image_cursor *to)
{
	uint64_t there = offset >= image->size ? 0 : image->size - offset;
	enum status status = STATUS_OK;

	if (there > length)
		there = length;
	if (there && image->qcow2)
		status = qcow2_read(image->qcow2, offset, there, to);
	else if (there)
		status = image_file_read_pieces(&image->file, offset, to, there);
	if (!status && there < length)
		image_cursor_zero(to, length - there);
	return status;
}

enum status image_write(struct image *image, uint64_t offset, uint64_t length, struct image_cursor *from)
{
	return image->qcow2 ? qcow2_write(image->qcow2, offset, length, from)
			    : image_file_write_pieces(&image->file, offset, from, length);
}

enum status image_write_zeroes(struct image *image, uint64_t offset, uint64_t length)
{
	return image->qcow2 ? qcow2_write_zeroes(image->qcow2, offset, length, true)
			    : image_file_zero(&image->file, offset, length, true);
}

enum status image_flush(struct image *image)
{
	return image->qcow2 ? qcow2_flush(image->qcow2) : image_file_sync(&image->file);
}

enum status image_read_bytes(struct image *image, uint64_t offset, uint64_t length, void *to)
{
	struct iovec piece = {to, length};
	struct image_cursor cursor = image_cursor_of(&piece);

	return image_read(image, offset, length, &cursor);
}

enum status image_write_bytes(struct image *image, uint64_t offset, uint64_t length, const void *from)
{
	struct iovec piece = {(void *)from, length};
	struct image_cursor cursor = image_cursor_of(&piece);

	return image_write(image, offset, length, &cursor);
}

enum status image_is_data(struct image *image, uint64_t offset, uint64_t length, bool *data, uint64_t *run)
{
	bool own, zero;
	enum status status;

	*data = false;
	*run = length;
	if (!image || offset >= image->size)
		return STATUS_OK;
	if (length > image->size - offset)
		*run = length = image->size - offset;
	if (!image->qcow2) {
		*data = image_file_is_data(&image->file, offset, length, run);
		return STATUS_OK;
	}
	status = qcow2_is_own(image->qcow2, offset, length, &own, &zero, run);
	*data = own && !zero;
	if (status || own)
		return status;
	return image_is_data(image->backing, offset, *run, data, run);
}
