/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image.h - a disk image of either format with its backing chain, for calls that wait: `holon disk`, and what the qcow2 disk reads through.
 *
 * Which format a file has is never guessed from its bytes alone, for a guest can write those (image_format_of). A backing file has the format that the overlay's
 * header names; where it names none it is raw, and refused if it looks like qcow2. Relative names are relative to the overlay's folder.
 */
#ifndef HOLON_BLOCK_IMAGE_H
#define HOLON_BLOCK_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include <holon/status.h>

#include "image_file.h"

#define IMAGE_CHAIN_MAX 64 /* images in a chain */

struct qcow2;

enum image_format { IMAGE_RAW, IMAGE_QCOW2 };

struct image {
	enum image_format format;
	struct image_file file; /* of a raw image */
	struct qcow2 *qcow2;    /* of the other */
	const char *path;
	uint64_t size; /* bytes, whole sectors */
	bool readonly;
	struct image *backing;
};

struct image_options {
	bool readonly;
	bool unlocked; /* to look at the header only */
	bool alone;    /* without its backing file, whose bytes then read as zeroes */
	bool damaged;  /* also if its refcounts are unusable, or it is marked corrupt: for the check */
};

/* "raw" or "qcow2"; false: neither. */
bool image_format_parse(const char *name, enum image_format *format);
const char *image_format_name(enum image_format format);
/* By a new file's name. */
enum image_format image_format_of_name(const char *path);
/* Of an existing file that nobody has named a format for: qcow2 if its name ends in .qcow2 and its header agrees, else raw. */
enum status image_format_of(const char *path, enum image_format *format, struct reason *why) must_check;

enum status image_open(struct image **image, const char *path, enum image_format format, const struct image_options *options,
		       struct reason *why) must_check;
/* Writes back what is dirty. STATUS_OK: it is all on its way to the disk. */
enum status image_close(struct image *image);

/* What lies behind the image's end reads as zeroes. */
enum status image_read(struct image *image, uint64_t offset, uint64_t length, struct image_cursor *to) must_check;
enum status image_write(struct image *image, uint64_t offset, uint64_t length, struct image_cursor *from) must_check;
enum status image_write_zeroes(struct image *image, uint64_t offset, uint64_t length) must_check;
enum status image_flush(struct image *image) must_check;
/* The same with plain memory. */
enum status image_read_bytes(struct image *image, uint64_t offset, uint64_t length, void *to) must_check;
enum status image_write_bytes(struct image *image, uint64_t offset, uint64_t length, const void *from) must_check;

/* Does the range hold bytes, or zeroes that need not be read, for `*run` bytes? Through the whole chain. */
enum status image_is_data(struct image *image, uint64_t offset, uint64_t length, bool *data, uint64_t *run) must_check;

/* The backing file's name as it can be opened: relative to the overlay's folder. For free(); NULL: no memory. */
char *image_path_beside(const char *overlay, const char *path);

#endif
