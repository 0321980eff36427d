/* SPDX-License-Identifier: Apache-2.0 */
/*
 * file.c - files that the owner names: read-only mappings for kernels, locks for disks, and errno in our words.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/linux/linux.h"

enum status host_status_of_errno(int error)
{
	switch (error) {
	case 0: return STATUS_OK;
	case ENOENT:
	case ENOTDIR:
	case ENXIO:
	case ENODEV: return STATUS_NOT_FOUND;
	case EACCES:
	case EPERM:
	case EROFS: return STATUS_PERMISSION;
	case EBUSY:
	case EAGAIN:
	case ETXTBSY: return STATUS_BUSY;
	case ENOMEM: return STATUS_NO_MEMORY;
	case ENOSPC:
	case EDQUOT:
	case EFBIG: return STATUS_NO_SPACE;
	case EINVAL:
	case EISDIR:
	case ENAMETOOLONG:
	case ELOOP: return STATUS_INVALID;
	case ENOSYS:
	case EOPNOTSUPP: return STATUS_UNSUPPORTED;
	case ETIMEDOUT: return STATUS_TIMEOUT;
	case ECANCELED: return STATUS_CANCELLED;
	default: return STATUS_IO;
	}
}

static const char *next_step(enum status status)
{
	switch (status) {
	case STATUS_NOT_FOUND: return "check the path";
	case STATUS_PERMISSION: return "make it readable for this user";
	default: return "name a readable file";
	}
}

static enum status regular_file_check(int fd, struct stat *stat, const char *path, const char *what, struct reason *why)
{
	if (fstat(fd, stat))
		return reason_give(why, host_status_of_errno(errno), "%s %s: %s; name a readable file", what, path,
				   strerror(errno));
	if (S_ISDIR(stat->st_mode))
		return reason_give(why, STATUS_INVALID, "%s %s: it is a directory; name a file", what, path);
	if (!S_ISREG(stat->st_mode))
		return reason_give(why, STATUS_INVALID, "%s %s: it is not a regular file; name a file", what, path);
	if (!stat->st_size)
		return reason_give(why, STATUS_INVALID, "%s %s: it is empty; was it written completely?", what, path);
	return STATUS_OK;
}

enum status host_file_map(const uint8_t **bytes, uint64_t *length, const char *path, const char *what, struct reason *why)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not hold us up */
	enum status status;
	struct stat stat;
	void *memory;

	if (fd < 0) {
		status = host_status_of_errno(errno);
		return reason_give(why, status, "%s %s: %s; %s", what, path, strerror(errno), next_step(status));
	}
	status = regular_file_check(fd, &stat, path, what, why);
	if (!status) {
		memory = mmap(NULL, (size_t)stat.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (memory == MAP_FAILED) {
			status = reason_give(why, host_status_of_errno(errno), "%s %s: %s; copy it to a local disk", what, path,
					     strerror(errno));
		} else {
			*bytes = memory;
			*length = (uint64_t)stat.st_size;
		}
	}
	close(fd);
	return status;
}

void host_file_settled(const uint8_t *bytes, uint64_t length)
{
	if (bytes)
		madvise((void *)bytes, length, MADV_DONTNEED); /* clean pages of a file: read again when touched */
}

void host_file_unmap(const uint8_t *bytes, uint64_t length)
{
	if (bytes)
		munmap((void *)bytes, length);
}

enum status host_file_lock(int fd, bool alone, const char *path, struct reason *why)
{
	struct flock lock = {.l_type = (short)(alone ? F_WRLCK : F_RDLCK), .l_whence = SEEK_SET};

	if (!fcntl(fd, F_OFD_SETLK, &lock))
		return STATUS_OK;
	if (errno == EAGAIN || errno == EACCES)
		return reason_give(why, STATUS_BUSY,
				   "disk %s: another VM or program has locked it; stop that one or open it readonly in both", path);
	/* A file system without locks (some network ones): go on, but say so. */
	if (errno == ENOLCK || errno == EOPNOTSUPP || errno == ENOSYS) {
		host_log(HOST_LOG_WARN, "disk %s: its file system has no locks; see to it that no other VM uses it", path);
		return STATUS_OK;
	}
	return reason_give(why, host_status_of_errno(errno), "disk %s: lock: %s; move it to a file system with locks", path,
			   strerror(errno));
}

/* A file that is opened for its place alone can be neither read nor written: EBADF, as without one. */
void host_stdio_reserve(void)
{
	int fd;

	do
		fd = open("/", O_PATH);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}
