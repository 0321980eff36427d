/* SPDX-License-Identifier: Apache-2.0 */
/*
 * raw.c - opens a raw disk: a file or a block device of the host. block_raw_submit hands its requests to raw_submit.c.
 *
 * image_lock.c locks it against other VMs and programs. block_raw_lend makes a block of a file that another format's backend has opened.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <holon/host.h>

#include "image_lock.h"
#include "raw.h"
#include "raw_disk.h"

#define RAW_SECTOR 512u
#define RAW_DIRECT_THREADS 2 /* for what the host would refuse as it is */

static struct raw_disk *raw_of(struct block *block)
{
	return (struct raw_disk *)(void *)((uint8_t *)block - offsetof(struct raw_disk, block));
}

/* Before the device may send the write that goes on with this one. A request that is to be submitted, or NULL. */
static struct block_request *raw_behind_look(struct raw_disk *disk, const struct block_request *request, enum status status)
{
	struct block_request *behind;

	if (request->operation != BLOCK_WRITE || status || disk->direct || disk->in_memory)
		return NULL;
	pthread_mutex_lock(&disk->lock);
	behind = raw_behind_written(disk, request->offset, request->length);
	pthread_mutex_unlock(&disk->lock);
	return behind;
}

void raw_request_done(struct raw_disk *disk, struct block_request *request, enum status status)
{
	struct block_request *behind = raw_behind_look(disk, request, status);

	if (disk->direct)
		raw_direct_done(disk, request);
	request->done(request, status);
	if (behind) { /* counts as under way in the place of the other */
		raw_step_begin(behind);
		disk->io->submit(disk, behind);
		return;
	}
	pthread_mutex_lock(&disk->lock);
	if (--disk->under_way == 0)
		pthread_cond_broadcast(&disk->idle);
	pthread_mutex_unlock(&disk->lock);
}

static void block_raw_submit(struct block *block, struct block_request *list)
{
	struct raw_disk *disk = raw_of(block);
	unsigned count = 0;

	for (struct block_request *request = list; request; request = request->next) {
		raw_step_begin(request);
		count++;
	}
	pthread_mutex_lock(&disk->lock);
	disk->under_way += count;
	pthread_mutex_unlock(&disk->lock);
	raw_submit(disk, list);
}

static void block_raw_drain(struct block *block)
{
	struct raw_disk *disk = raw_of(block);

	pthread_mutex_lock(&disk->lock);
	while (disk->under_way)
		pthread_cond_wait(&disk->idle, &disk->lock);
	pthread_mutex_unlock(&disk->lock);
}

static enum status raw_size_now(struct raw_disk *disk, bool *file, uint64_t *size, struct reason *why)
{
	struct stat stat;

	if (fstat(disk->fd, &stat))
		return reason_give(why, STATUS_IO, "disk %s: cannot be examined: %s", disk->path, strerror(errno));
	*file = S_ISREG(stat.st_mode);
	*size = (uint64_t)stat.st_size;
	if (!*file && ioctl(disk->fd, BLKGETSIZE64, size))
		return reason_give(why, STATUS_IO, "disk %s: does not tell its size: %s", disk->path, strerror(errno));
	return STATUS_OK;
}

static uint64_t block_raw_host_size(struct block *block)
{
	struct raw_disk *disk = raw_of(block);
	uint64_t size;
	bool file;

	if (raw_size_now(disk, &file, &size, NULL))
		return block->size;
	return disk->direct ? size - size % disk->direct_offset : size;
}

/* A file is made longer, with a hole; a block device must have become so already. */
static enum status block_raw_extend(struct block *block, uint64_t size, struct reason *why)
{
	struct raw_disk *disk = raw_of(block);
	uint64_t now;
	bool file;
	enum status status = raw_size_now(disk, &file, &now, why);

	if (status)
		return status;
	if (disk->direct && size % disk->direct_offset)
		return reason_give(why, STATUS_USAGE,
				   "disk %s: cache=none needs whole blocks of the host's, of %u bytes; round the size", disk->path,
				   disk->direct_offset);
	if (now < size && !file)
		return reason_give(why, STATUS_RANGE, "disk %s: the device has %llu bytes; enlarge it on the host first",
				   disk->path, (unsigned long long)now);
	if (now < size && ftruncate(disk->fd, (off_t)size))
		return reason_give(why, errno == ENOSPC || errno == EFBIG ? STATUS_NO_SPACE : STATUS_IO,
				   "disk %s: cannot become %llu bytes long: %s", disk->path, (unsigned long long)size,
				   strerror(errno));
	return STATUS_OK;
}

static void raw_free(struct raw_disk *disk)
{
	if (disk->fd >= 0 && !disk->lent)
		close(disk->fd);
	pthread_cond_destroy(&disk->idle);
	pthread_mutex_destroy(&disk->lock);
	free(disk->path);
	free(disk);
}

static void block_raw_close(struct block *block)
{
	struct raw_disk *disk = raw_of(block);

	block_raw_drain(block);
	disk->io->stop(disk);
	if (disk->writer)
		raw_pool_stop(disk->writer);
	raw_free(disk);
}

static enum status raw_file_open(struct raw_disk *disk, bool readonly, struct reason *why)
{
	const char *path = disk->path;

	/* O_NONBLOCK: a FIFO must not hold us up until we have seen what it is. */
	disk->fd = open(path, (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (disk->fd >= 0)
		return STATUS_OK;
	switch (errno) {
	case ENOENT:
	case ENOTDIR:
		return readonly ? reason_give(why, STATUS_NOT_FOUND, "disk %s: no such file; check the path", path)
				: reason_give(
					  why, STATUS_NOT_FOUND,
					  "disk %s: no such file; check the path, or make an empty disk: holon disk create %s 8G",
					  path, path);
	case EISDIR: return reason_give(why, STATUS_INVALID, "disk %s: is a directory; name a disk image or a block device", path);
	case EROFS:
	case EACCES:
	case EPERM:
		return reason_give(why, STATUS_PERMISSION, "disk %s: %s; change its mode or owner%s", path, strerror(errno),
				   readonly ? "" : ", or add ,readonly");
	default: return reason_give(why, STATUS_IO, "disk %s: cannot be opened: %s", path, strerror(errno));
	}
}

/* What a block device discards in one piece, from sysfs; a partition's queue is its disk's. */
static uint64_t device_discard_granularity(dev_t device)
{
	static const char *const place[] = {"/sys/dev/block/%u:%u/queue/discard_granularity",
					    "/sys/dev/block/%u:%u/../queue/discard_granularity"};
	unsigned long long bytes = 0;
	char path[96];

	for (unsigned i = 0; i < 2; i++) {
		FILE *file;
		bool found;

		snprintf(path, sizeof(path), i ? place[1] : place[0], major(device), minor(device));
		file = fopen(path, "re");
		found = file && fscanf(file, "%llu", &bytes) == 1;
		if (file)
			fclose(file);
		if (found)
			break;
	}
	return bytes;
}

/* Holes behind the end of the file change nothing, but tell whether holes can be made. */
static uint64_t file_discard_granularity(struct raw_disk *disk, const struct stat *stat)
{
	off_t behind = (off_t)(((uint64_t)stat->st_size + 0xfffff) & ~UINT64_C(0xfffff));

	if (fallocate(disk->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, behind, 4096) == 0)
		return (uint64_t)stat->st_blksize;
	disk->no_punch = true;
	return 0;
}

static enum status raw_size_find(struct raw_disk *disk, struct reason *why)
{
	const char *path = disk->path;
	struct stat stat;
	uint64_t size;

	if (fstat(disk->fd, &stat))
		return reason_give(why, STATUS_IO, "disk %s: cannot be examined: %s", path, strerror(errno));
	if (S_ISREG(stat.st_mode))
		size = (uint64_t)stat.st_size;
	else if (S_ISDIR(stat.st_mode))
		return reason_give(why, STATUS_INVALID, "disk %s: is a directory; name a disk image or a block device", path);
	else if (!S_ISBLK(stat.st_mode))
		return reason_give(why, STATUS_INVALID, "disk %s: is neither a file nor a block device; name one of those", path);
	else if (ioctl(disk->fd, BLKGETSIZE64, &size))
		return reason_give(why, STATUS_IO, "disk %s: does not tell its size: %s", path, strerror(errno));
	if (size < RAW_SECTOR)
		return reason_give(why, STATUS_INVALID,
				   "disk %s: is %llu bytes, shorter than a sector (512); enlarge it: truncate -s 8G %s", path,
				   (unsigned long long)size, path);
	if (size % RAW_SECTOR)
		host_log(HOST_LOG_WARN,
			 "disk %s: the last %u bytes are no whole sector, and the guest does not see them; fill it up: truncate -s "
			 "%%512 %s",
			 path, (unsigned)(size % RAW_SECTOR), path);
	disk->block.size = size - size % RAW_SECTOR;
	if (!disk->block.readonly)
		disk->block.discard_granularity =
			S_ISBLK(stat.st_mode) ? device_discard_granularity(stat.st_rdev) : file_discard_granularity(disk, &stat);
	return STATUS_OK;
}

static enum status raw_io_start(struct raw_disk *disk, struct reason *why)
{
	const char *forbidden = getenv("HOLON_NO_IO_URING");
	enum status status = STATUS_UNSUPPORTED;

	if (!forbidden || strcmp(forbidden, "1") != 0) {
		disk->io = &raw_uring;
		status = disk->io->start(disk);
	}
	if (status == STATUS_OK)
		return STATUS_OK;
	disk->io = &raw_threads;
	status = disk->io->start(disk);
	if (status == STATUS_OK)
		return STATUS_OK;
	return reason_give(why, status, "disk %s: no thread could be started for it; check the limit on processes (ulimit -u)",
			   disk->path);
}

/*
 * A guest that writes past RLIMIT_FSIZE must get an error, not kill its VM: the signal that comes with EFBIG is ignored, unless the
 * program wants it otherwise.
 */
static void raw_file_limit_ignore(void)
{
	struct sigaction action;

	if (sigaction(SIGXFSZ, NULL, &action) == 0 && !(action.sa_flags & SA_SIGINFO) && action.sa_handler == SIG_DFL)
		signal(SIGXFSZ, SIG_IGN);
}

static struct raw_disk *raw_disk_make(const char *path, bool readonly)
{
	struct raw_disk *disk = calloc(1, sizeof(*disk));

	if (!disk || !(disk->path = strdup(path))) {
		free(disk);
		return NULL;
	}
	disk->fd = -1;
	pthread_mutex_init(&disk->lock, NULL);
	pthread_cond_init(&disk->idle, NULL);
	disk->block = (struct block){.submit = block_raw_submit,
				     .drain = block_raw_drain,
				     .close = block_raw_close,
				     .extend = block_raw_extend,
				     .host_size = block_raw_host_size,
				     .block_size = RAW_SECTOR,
				     .readonly = readonly,
				     .path = disk->path};
	raw_file_limit_ignore();
	return disk;
}

/* The last step of opening: `status` is that of those before it. */
static enum status raw_disk_start(struct block **block, struct raw_disk *disk, enum status status, struct reason *why)
{
	raw_submit_open(disk);
	if (status == STATUS_OK)
		status = raw_io_start(disk, why);
	if (status != STATUS_OK) {
		if (disk->writer)
			raw_pool_stop(disk->writer);
		raw_free(disk);
		return status;
	}
	*block = &disk->block;
	return STATUS_OK;
}

static enum status direct_start(struct raw_disk *disk, struct reason *why)
{
	enum status status = raw_direct_open(disk, why);

	if (!status && raw_pool_start(&disk->writer, disk, RAW_DIRECT_THREADS) != STATUS_OK)
		return reason_give(why, STATUS_NO_MEMORY,
				   "disk %s: no thread could be started for it; check the limit on processes (ulimit -u)",
				   disk->path);
	return status;
}

static enum status raw_open(struct block **block, const char *path, bool readonly, bool direct, struct reason *why)
{
	struct raw_disk *disk = raw_disk_make(path, readonly);
	enum status status;

	*block = NULL;
	if (!disk)
		return reason_give(why, STATUS_NO_MEMORY, "disk %s: out of memory", path);
	status = raw_file_open(disk, readonly, why);
	if (status == STATUS_OK)
		status = raw_size_find(disk, why);
	if (status == STATUS_OK)
		status = image_lock(disk->fd, !readonly, path, why);
	/* Without O_NONBLOCK io_uring may wait in a worker instead of answering EAGAIN. */
	if (status == STATUS_OK && fcntl(disk->fd, F_SETFL, fcntl(disk->fd, F_GETFL) & ~O_NONBLOCK))
		status = reason_give(why, STATUS_IO, "disk %s: cannot be set up: %s", path, strerror(errno));
	if (status == STATUS_OK && direct)
		status = direct_start(disk, why);
	return raw_disk_start(block, disk, status, why);
}

enum status block_raw_open(struct block **block, const char *path, bool readonly, struct reason *why)
{
	return raw_open(block, path, readonly, false, why);
}

enum status block_raw_open_direct(struct block **block, const char *path, bool readonly, struct reason *why)
{
	return raw_open(block, path, readonly, true, why);
}

enum status block_raw_lend(struct block **block, int fd, const char *path, bool readonly, struct reason *why)
{
	struct raw_disk *disk = raw_disk_make(path, readonly);

	*block = NULL;
	if (!disk)
		return reason_give(why, STATUS_NO_MEMORY, "disk %s: out of memory", path);
	disk->fd = fd;
	disk->lent = true;
	disk->block.host_size = NULL;
	disk->block.size = INT64_MAX & ~(uint64_t)(RAW_SECTOR - 1);
	return raw_disk_start(block, disk, STATUS_OK, why);
}
