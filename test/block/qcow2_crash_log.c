/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2_crash_log.c - logs writes, holes and flushes by standing between the backend and the C library (ld --wrap): see qcow2_crash_log.h.
 *
 * A write that ended before a flush began is on the disk when that flush has ended. Any other write that had begun by the cut is there in part: each
 * of its sectors or not, in the order of the calls.
 */
#include "qcow2_crash_log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define SECTOR 512u
#define CALLS 200000

enum kind { CALL_WRITE, CALL_ZERO, CALL_FLUSH };

struct call {
	enum kind kind;
	uint64_t begin, end; /* instants; end is 0 while it is under way */
	uint64_t offset, length;
	uint8_t *bytes;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool logging;
static struct stat file;
static uint8_t *base;
static uint64_t base_length, now;
static struct call *call;
static unsigned calls;

ssize_t __real_pwritev64(int fd, const struct iovec *vector, int count, off64_t offset);
ssize_t __wrap_pwritev64(int fd, const struct iovec *vector, int count, off64_t offset);
ssize_t __wrap_pwritev64v2(int fd, const struct iovec *vector, int count, off64_t offset, int flags);
int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
int __real_fallocate64(int fd, int mode, off64_t offset, off64_t length);
int __wrap_fallocate64(int fd, int mode, off64_t offset, off64_t length);

static struct call *call_begin(int fd, enum kind kind, uint64_t offset, uint64_t length, uint8_t *bytes)
{
	struct stat stat;
	struct call *mine = NULL;

	pthread_mutex_lock(&lock);
	if (logging && !fstat(fd, &stat) && stat.st_dev == file.st_dev && stat.st_ino == file.st_ino) {
		if (calls == CALLS)
			disk_die("the log is full");
		mine = &call[calls++];
		*mine = (struct call){.kind = kind, .begin = ++now, .offset = offset, .length = length, .bytes = bytes};
	}
	pthread_mutex_unlock(&lock);
	if (!mine)
		free(bytes);
	return mine;
}

static void call_end(struct call *mine)
{
	pthread_mutex_lock(&lock);
	if (mine)
		mine->end = ++now;
	pthread_mutex_unlock(&lock);
}

ssize_t __wrap_pwritev64(int fd, const struct iovec *vector, int count, off64_t offset)
{
	uint64_t length = 0, at = 0;
	struct call *mine;
	uint8_t *bytes;
	ssize_t result;

	for (int i = 0; i < count; i++)
		length += vector[i].iov_len;
	bytes = malloc(length + 1);
	for (int i = 0; i < count; i++) {
		memcpy(bytes + at, vector[i].iov_base, vector[i].iov_len);
		at += vector[i].iov_len;
	}
	mine = call_begin(fd, CALL_WRITE, (uint64_t)offset, length, bytes);
	result = __real_pwritev64(fd, vector, count, offset);
	if (result < 0 || (uint64_t)result != length)
		disk_die("a write of the host was cut short");
	call_end(mine);
	return result;
}

/* What would be done at once on the submitter's thread (raw_submit.c) takes the long way, or is a write like any other. */
ssize_t __wrap_pwritev64v2(int fd, const struct iovec *vector, int count, off64_t offset, int flags)
{
	if (!flags)
		return __wrap_pwritev64(fd, vector, count, offset);
	errno = EOPNOTSUPP;
	return -1;
}

int __wrap_fdatasync(int fd)
{
	struct call *mine = call_begin(fd, CALL_FLUSH, 0, 0, NULL);
	int result = __real_fdatasync(fd);

	call_end(mine);
	return result;
}

int __wrap_fallocate64(int fd, int mode, off64_t offset, off64_t length)
{
	struct call *mine = call_begin(fd, CALL_ZERO, (uint64_t)offset, (uint64_t)length, NULL);
	int result = __real_fallocate64(fd, mode, offset, length);

	if (result)
		disk_die("the host's file system makes no holes: the log would be wrong");
	call_end(mine);
	return result;
}

void crash_log_begin(const char *path)
{
	int fd = open(path, O_RDONLY);

	if (fd < 0 || fstat(fd, &file))
		disk_die("%s: cannot be opened", path);
	if (!call)
		call = calloc(CALLS, sizeof(*call));
	base_length = (uint64_t)file.st_size;
	free(base);
	base = malloc(base_length);
	if (!call || !base || pread(fd, base, base_length, 0) != (ssize_t)base_length)
		disk_die("%s: cannot be read", path);
	close(fd);
	for (unsigned i = 0; i < calls; i++)
		free(call[i].bytes);
	calls = 0;
	now = 0;
	logging = true;
}

void crash_log_end(unsigned least)
{
	pthread_mutex_lock(&lock);
	logging = false;
	pthread_mutex_unlock(&lock);
	if (calls < least)
		disk_die("the log saw only %u calls: the linker did not put it between", calls);
}

uint64_t crash_log_now(void)
{
	uint64_t instant;

	pthread_mutex_lock(&lock);
	instant = now;
	pthread_mutex_unlock(&lock);
	return instant;
}

/* Was there a flush that began after the call had ended and that had ended by the cut? */
static bool call_is_stable(const struct call *mine, uint64_t last_flush)
{
	return mine->end && mine->end < last_flush;
}

void crash_log_replay(const char *path, uint64_t at, struct disk_random *dice)
{
	static const uint8_t zero[SECTOR];
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	uint64_t last_flush = 0; /* the latest beginning of a flush that was over */

	if (fd < 0 || pwrite(fd, base, base_length, 0) != (ssize_t)base_length)
		disk_die("%s: cannot be written", path);
	for (unsigned i = 0; i < calls; i++)
		if (call[i].kind == CALL_FLUSH && call[i].end && call[i].end <= at && call[i].begin > last_flush)
			last_flush = call[i].begin;
	for (unsigned i = 0; i < calls && call[i].begin <= at; i++) {
		const struct call *mine = &call[i];
		unsigned part = (unsigned)disk_random(dice, 4); /* of 4: none, some, many, nearly all */

		if (mine->kind == CALL_FLUSH)
			continue;
		for (uint64_t done = 0; done < mine->length; done += SECTOR) {
			size_t bytes = mine->length - done < SECTOR ? (size_t)(mine->length - done) : SECTOR;
			const uint8_t *from = mine->kind == CALL_WRITE ? mine->bytes + done : zero;

			if (!call_is_stable(mine, last_flush) && disk_random(dice, 4) >= part)
				continue;
			/* A hole behind the end does not make a file longer. */
			if (pwrite(fd, from, bytes, (off_t)(mine->offset + done)) != (ssize_t)bytes)
				disk_die("%s: cannot be written", path);
		}
	}
	close(fd);
}
