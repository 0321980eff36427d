/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image_lock.c - QEMU's byte locks on an image file; image_lock.h explains them. Called by raw.c and image_file.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <holon/host.h>

#include "image_lock.h"

#define LOCK_DOES 100    /* the first byte of what an opener does */
#define LOCK_FORBIDS 200 /* of what it lets nobody else do */
#define PATIENCE 20      /* times that a locked image is tried again, in PATIENCE_NS */
#define PATIENCE_NS 500000000

/* QEMU's block permissions that concern others (its docs/devel and block/file-posix.c): the numbers of bytes. */
enum permission { PERMISSION_READ, PERMISSION_WRITE, PERMISSION_WRITE_UNCHANGED, PERMISSION_RESIZE };

#define PERMISSIONS 4
#define BIT(permission) (1u << (permission))
#define ALTERATIONS (BIT(PERMISSION_WRITE) | BIT(PERMISSION_RESIZE))

static int byte_lock(int fd, off_t byte)
{
	struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

	return fcntl(fd, F_OFD_SETLK, &lock) ? errno : 0;
}

/* Does another open file hold it? */
static int byte_test(int fd, off_t byte, bool *held)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

	*held = false;
	if (fcntl(fd, F_OFD_GETLK, &lock))
		return errno;
	*held = lock.l_type != F_UNLCK;
	return 0;
}

static int locks_take(int fd, unsigned does)
{
	int error = 0;

	for (unsigned i = 0; !error && i < PERMISSIONS; i++) {
		if (does & BIT(i))
			error = byte_lock(fd, LOCK_DOES + (off_t)i);
		if (!error && ALTERATIONS & BIT(i))
			error = byte_lock(fd, LOCK_FORBIDS + (off_t)i);
	}
	return error;
}

static int locks_test(int fd, unsigned does, bool *conflict)
{
	int error = 0;

	*conflict = false;
	for (unsigned i = 0; !error && !*conflict && i < PERMISSIONS; i++) {
		if (does & BIT(i))
			error = byte_test(fd, LOCK_FORBIDS + (off_t)i, conflict);
		if (!error && !*conflict && ALTERATIONS & BIT(i))
			error = byte_test(fd, LOCK_DOES + (off_t)i, conflict);
	}
	return error;
}

static void locks_drop(int fd)
{
	struct flock lock = {
		.l_type = F_UNLCK, .l_whence = SEEK_SET, .l_start = LOCK_DOES, .l_len = LOCK_FORBIDS + PERMISSIONS - LOCK_DOES};

	fcntl(fd, F_OFD_SETLK, &lock);
}

static int locks_try(int fd, unsigned does, bool *conflict)
{
	int error = locks_take(fd, does);

	*conflict = false;
	if (!error)
		error = locks_test(fd, does, conflict);
	/* An exclusive lock of a program that does not know of permissions refuses ours. */
	*conflict = *conflict || error == EAGAIN || error == EACCES;
	return error;
}

enum status image_lock(int fd, bool writer, const char *path, struct reason *why)
{
	unsigned does = BIT(PERMISSION_READ) | (writer ? ALTERATIONS : 0);
	struct timespec pause = {0, PATIENCE_NS / PATIENCE};
	bool conflict;
	int error = locks_try(fd, does, &conflict);

	/* The kernel closes the files of a killed process a moment after the process is gone, where io_uring had requests under way. */
	for (unsigned i = 0; conflict && i < PATIENCE; i++) {
		locks_drop(fd);
		nanosleep(&pause, NULL);
		error = locks_try(fd, does, &conflict);
	}
	if (conflict)
		return reason_give(why, STATUS_BUSY, "disk %s: locked by another VM or program; stop that one first%s", path,
				   writer ? ", or open the disk with ,readonly in both" : "");
	if (error)
		/* Some network file systems have no locks: the owner has to take care. */
		host_log(HOST_LOG_WARN, "disk %s: its file system cannot lock files (%s): make sure that no other VM uses it", path,
			 strerror(error));
	return STATUS_OK;
}
