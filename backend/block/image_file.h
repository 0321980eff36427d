/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image_file.h - an image's file on the host: opened, locked, read and written with calls that wait.
 *
 * What is behind the file's end reads as zeroes: image formats let a file grow as it is written. Every call is safe on any thread. A
 * failure of the host is logged here, with the file's path, and comes back as a status.
 */
#ifndef HOLON_BLOCK_IMAGE_FILE_H
#define HOLON_BLOCK_IMAGE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <holon/status.h>

struct image_file {
	int fd; /* -1: none */
	char *path;
	bool readonly;
	bool regular; /* a file that grows; else a block device, whose end is final */
	dev_t device; /* which file it is */
	ino_t inode;
};

/* A place in a caller's memory that is a list of pieces; calls below step it forward. */
struct image_cursor {
	const struct iovec *piece;
	size_t skip; /* bytes of *piece that are done */
};

static inline struct image_cursor image_cursor_of(const struct iovec *piece)
{
	return (struct image_cursor){piece, 0};
}

/* A regular file or a block device, not locked yet: see image_lock.h. `why` has one line. */
enum status image_file_open(struct image_file *file, const char *path, bool readonly, struct reason *why) must_check;
/* A new file, locked for writing; of what is there already only a block device is taken, as it is. *made: the file is new. */
enum status image_file_create(struct image_file *file, const char *path, bool *made, struct reason *why) must_check;
void image_file_close(struct image_file *file);

enum status image_file_read(const struct image_file *file, uint64_t offset, void *buffer, size_t length) must_check;
enum status image_file_write(const struct image_file *file, uint64_t offset, const void *buffer, size_t length) must_check;
enum status image_file_read_pieces(const struct image_file *file, uint64_t offset, struct image_cursor *to,
				   uint64_t length) must_check;
enum status image_file_write_pieces(const struct image_file *file, uint64_t offset, struct image_cursor *from,
				    uint64_t length) must_check;
/* The range reads as zeroes afterwards; with holes where the host has them and `holes` wants them. */
enum status image_file_zero(const struct image_file *file, uint64_t offset, uint64_t length, bool holes) must_check;
/* Gives the range back to the host if it can; its bytes are of no use to anybody. */
void image_file_punch(const struct image_file *file, uint64_t offset, uint64_t length);
/* All that has been written is on stable storage. */
enum status image_file_sync(const struct image_file *file) must_check;
enum status image_file_length(const struct image_file *file, uint64_t *length) must_check;
enum status image_file_truncate(const struct image_file *file, uint64_t length) must_check;
/* From `offset` on: is there data or a hole, and for how many bytes (at most `length`)? Where the host cannot tell, all is data. */
bool image_file_is_data(const struct image_file *file, uint64_t offset, uint64_t length, uint64_t *run);

/* Copies between pieces and plain memory, stepping the cursor. */
void image_cursor_fill(struct image_cursor *to, const void *from, uint64_t length);
void image_cursor_zero(struct image_cursor *to, uint64_t length);
void image_cursor_take(struct image_cursor *from, void *to, uint64_t length);
void image_cursor_step(struct image_cursor *cursor, uint64_t length);

#endif
