/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image_file.c - waiting calls on an image's file: see image_file.h. Called by image.c and by the files of qcow2.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <holon/host.h>

#include "disk_failure.h"
#include "image_file.h"
#include "image_lock.h"

#define PIECES 64 /* of one call */
#define ZEROES (64u << 10)

static const uint8_t zeroes[ZEROES];

static enum status file_failed(const struct image_file *file, const char *what, uint64_t offset, uint64_t length)
{
	int error = errno;

	disk_failure_log(file->path, what, offset, length, error);
	switch (error) {
	case ENOSPC:
	case EDQUOT:
	case EFBIG: return STATUS_NO_SPACE;
	case EPERM:
	case EROFS: return STATUS_PERMISSION;
	default: return STATUS_IO;
	}
}

static enum status open_failed(const char *path, bool readonly, struct reason *why)
{
	switch (errno) {
	case ENOENT:
	case ENOTDIR: return reason_give(why, STATUS_NOT_FOUND, "disk %s: no such file; check the path", path);
	case EISDIR: return reason_give(why, STATUS_INVALID, "disk %s: is a directory; name a disk image or a block device", path);
	case EROFS:
	case EACCES:
	case EPERM:
		return reason_give(why, STATUS_PERMISSION, "disk %s: %s; change its mode or owner%s", path, strerror(errno),
				   readonly ? "" : ", or open it readonly");
	default: return reason_give(why, STATUS_IO, "disk %s: cannot be opened: %s", path, strerror(errno));
	}
}

/* Fills in what the open descriptor is. */
static enum status file_settle(struct image_file *file, struct reason *why)
{
	struct stat stat;

	if (fstat(file->fd, &stat))
		return reason_give(why, STATUS_IO, "disk %s: cannot be examined: %s", file->path, strerror(errno));
	if (!S_ISREG(stat.st_mode) && !S_ISBLK(stat.st_mode))
		return reason_give(why, STATUS_INVALID, "disk %s: is neither a file nor a block device; name one of those",
				   file->path);
	file->regular = S_ISREG(stat.st_mode);
	file->device = stat.st_dev;
	file->inode = stat.st_ino;
	if (fcntl(file->fd, F_SETFL, fcntl(file->fd, F_GETFL) & ~O_NONBLOCK))
		return reason_give(why, STATUS_IO, "disk %s: cannot be set up: %s", file->path, strerror(errno));
	return STATUS_OK;
}

static enum status file_begin(struct image_file *file, const char *path, bool readonly, struct reason *why)
{
	*file = (struct image_file){.fd = -1, .readonly = readonly, .path = strdup(path)};
	return file->path ? STATUS_OK : reason_give(why, STATUS_NO_MEMORY, "disk %s: out of memory", path);
}

enum status image_file_open(struct image_file *file, const char *path, bool readonly, struct reason *why)
{
	enum status status = file_begin(file, path, readonly, why);

	if (status)
		return status;
	/* O_NONBLOCK: a FIFO must not hold us up until we have seen what it is. */
	file->fd = open(path, (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	status = file->fd < 0 ? open_failed(path, readonly, why) : file_settle(file, why);
	if (status)
		image_file_close(file);
	return status;
}

enum status image_file_create(struct image_file *file, const char *path, bool *made, struct reason *why)
{
	enum status status = file_begin(file, path, false, why);
	struct stat there;

	*made = false;
	if (status)
		return status;
	file->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	*made = file->fd >= 0;
	if (file->fd < 0 && errno == EEXIST && !stat(path, &there) && S_ISBLK(there.st_mode))
		file->fd = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (file->fd >= 0)
		status = file_settle(file, why);
	else if (errno == EEXIST)
		status = reason_give(why, STATUS_USAGE, "disk %s: it is there already; remove it first, or choose another name",
				     path);
	else if (errno == ENOENT)
		status = reason_give(why, STATUS_NOT_FOUND, "disk %s: its folder is not there; make it first", path);
	else
		status = open_failed(path, false, why);
	if (!status)
		status = image_lock(file->fd, true, path, why);
	if (status) {
		if (*made)
			unlink(path);
		image_file_close(file);
	}
	return status;
}

void image_file_close(struct image_file *file)
{
	if (file->fd >= 0)
		close(file->fd);
	file->fd = -1;
	free(file->path);
	file->path = NULL;
}

/* At most PIECES pieces of at most `length` bytes. Returns how many pieces; *bytes is what they hold. */
static int cursor_pieces(const struct image_cursor *cursor, uint64_t length, struct iovec *out, uint64_t *bytes)
{
	const struct iovec *piece = cursor->piece;
	size_t skip = cursor->skip;
	int count = 0;

	*bytes = 0;
	while (*bytes < length && count < PIECES) {
		size_t size = piece->iov_len - skip;

		if (size > length - *bytes)
			size = (size_t)(length - *bytes);
		if (size)
			out[count++] = (struct iovec){(uint8_t *)piece->iov_base + skip, size};
		*bytes += size;
		skip = 0;
		piece++;
	}
	return count;
}

/* The next bytes that lie together, at most `*left`, which it counts down. NULL: none are left. */
static uint8_t *cursor_next(struct image_cursor *cursor, uint64_t *left, size_t *size)
{
	uint8_t *at;

	if (!*left)
		return NULL;
	while (cursor->skip == cursor->piece->iov_len) {
		cursor->piece++;
		cursor->skip = 0;
	}
	at = (uint8_t *)cursor->piece->iov_base + cursor->skip;
	*size = cursor->piece->iov_len - cursor->skip;
	if (*size > *left)
		*size = (size_t)*left;
	cursor->skip += *size;
	*left -= *size;
	return at;
}

void image_cursor_step(struct image_cursor *cursor, uint64_t length)
{
	size_t size;

	while (cursor_next(cursor, &length, &size))
		;
}

void image_cursor_fill(struct image_cursor *to, const void *from, uint64_t length)
{
	const uint8_t *next = from;
	uint8_t *at;
	size_t size;

	for (; (at = cursor_next(to, &length, &size)) != NULL; next += size)
		memcpy(at, next, size);
}

void image_cursor_zero(struct image_cursor *to, uint64_t length)
{
	uint8_t *at;
	size_t size;

	while ((at = cursor_next(to, &length, &size)) != NULL)
		memset(at, 0, size);
}

void image_cursor_take(struct image_cursor *from, void *to, uint64_t length)
{
	uint8_t *next = to;
	const uint8_t *at;
	size_t size;

	for (; (at = cursor_next(from, &length, &size)) != NULL; next += size)
		memcpy(next, at, size);
}

enum status image_file_read_pieces(const struct image_file *file, uint64_t offset, struct image_cursor *to, uint64_t length)
{
	struct iovec piece[PIECES];

	while (length) {
		uint64_t bytes;
		int pieces = cursor_pieces(to, length, piece, &bytes);
		ssize_t got = preadv(file->fd, piece, pieces, (off_t)offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return file_failed(file, "read", offset, length);
		if (got == 0) {
			image_cursor_zero(to, length);
			return STATUS_OK;
		}
		image_cursor_step(to, (uint64_t)got);
		offset += (uint64_t)got;
		length -= (uint64_t)got;
	}
	return STATUS_OK;
}

enum status image_file_write_pieces(const struct image_file *file, uint64_t offset, struct image_cursor *from, uint64_t length)
{
	struct iovec piece[PIECES];

	while (length) {
		uint64_t bytes;
		int pieces = cursor_pieces(from, length, piece, &bytes);
		ssize_t put = pwritev(file->fd, piece, pieces, (off_t)offset);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return file_failed(file, "write", offset, length);
		image_cursor_step(from, (uint64_t)put);
		offset += (uint64_t)put;
		length -= (uint64_t)put;
	}
	return STATUS_OK;
}

enum status image_file_read(const struct image_file *file, uint64_t offset, void *buffer, size_t length)
{
	struct iovec piece = {buffer, length};
	struct image_cursor cursor = image_cursor_of(&piece);

	return image_file_read_pieces(file, offset, &cursor, length);
}

enum status image_file_write(const struct image_file *file, uint64_t offset, const void *buffer, size_t length)
{
	struct iovec piece = {(void *)buffer, length};
	struct image_cursor cursor = image_cursor_of(&piece);

	return image_file_write_pieces(file, offset, &cursor, length);
}

static bool zero_by_call(const struct image_file *file, uint64_t offset, uint64_t length, bool holes)
{
	uint64_t end;

	/* Neither call makes a file longer, but a hole behind its end would not be there to be read by others. */
	if (image_file_length(file, &end) || offset + length > end)
		return false;
	if (holes && !fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)length))
		return true;
	return !fallocate(file->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)length);
}

enum status image_file_zero(const struct image_file *file, uint64_t offset, uint64_t length, bool holes)
{
	/* Small ranges are quicker written. */
	if (length > ZEROES && zero_by_call(file, offset, length, holes))
		return STATUS_OK;
	while (length) {
		size_t part = length < ZEROES ? (size_t)length : ZEROES;
		enum status status = image_file_write(file, offset, zeroes, part);

		if (status)
			return status;
		offset += part;
		length -= part;
	}
	return STATUS_OK;
}

void image_file_punch(const struct image_file *file, uint64_t offset, uint64_t length)
{
	/* A host without holes keeps the bytes. */
	if (fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)length))
		return;
}

enum status image_file_sync(const struct image_file *file)
{
	int result;

	do
		result = fdatasync(file->fd);
	while (result && errno == EINTR);
	return result ? file_failed(file, "flush", 0, 0) : STATUS_OK;
}

enum status image_file_length(const struct image_file *file, uint64_t *length)
{
	struct stat stat;

	if (!file->regular && !ioctl(file->fd, BLKGETSIZE64, length))
		return STATUS_OK;
	if (!file->regular || fstat(file->fd, &stat))
		return file_failed(file, "examination", 0, 0);
	*length = (uint64_t)stat.st_size;
	return STATUS_OK;
}

enum status image_file_truncate(const struct image_file *file, uint64_t length)
{
	if (!file->regular)
		return STATUS_OK;
	return ftruncate(file->fd, (off_t)length) ? file_failed(file, "change of length", length, 0) : STATUS_OK;
}

bool image_file_is_data(const struct image_file *file, uint64_t offset, uint64_t length, uint64_t *run)
{
	off_t data = lseek(file->fd, (off_t)offset, SEEK_DATA), hole;

	*run = length;
	if (data < 0)
		return errno != ENXIO; /* ENXIO: nothing but a hole up to the end */
	if ((uint64_t)data > offset) {
		*run = (uint64_t)data - offset < length ? (uint64_t)data - offset : length;
		return false;
	}
	hole = lseek(file->fd, (off_t)offset, SEEK_HOLE);
	if (hole > 0 && (uint64_t)hole > offset && (uint64_t)hole - offset < length)
		*run = (uint64_t)hole - offset;
	return true;
}
