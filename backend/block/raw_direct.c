/* SPDX-License-Identifier: Apache-2.0 */
/*
 * raw_direct.c - cache=none: transfers go past the host's page cache (O_DIRECT), and those that the host would refuse so go through a buffer.
 *
 * The host wants places in the file, and addresses in memory, that are multiples of something. What is goes to io_uring as it is: that does not block, and
 * nothing is copied. The rest goes to threads, which read or write whole host blocks in a buffer of their own. A write of part of a block must read that block first, and
 * no other write may come in between: it has the file alone (the gate). With host blocks of 512 bytes, the usual ones, nobody ever does.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "raw_disk.h"

#define SECTOR 512u
#define PAGE 4096u
#define BOUNCE (256u << 10) /* of one piece */

/* --- what the host wants --- */

static enum status refused(const struct raw_disk *disk, const char *what, struct reason *why)
{
	return reason_give(why, STATUS_UNSUPPORTED,
			   "disk %s: its file system does not let the page cache be passed by (O_DIRECT%s%s); leave out cache=none",
			   disk->path, *what ? ": " : "", what);
}

/* Kernels and file systems that do not tell: the smallest blocks that can be read. */
static enum status alignment_probe(struct raw_disk *disk, struct reason *why)
{
	uint8_t *page;
	ssize_t got = -1;

	if (posix_memalign((void **)&page, PAGE, PAGE))
		return reason_give(why, STATUS_NO_MEMORY, "disk %s: out of memory", disk->path);
	for (uint32_t align = SECTOR; got < 0 && align <= PAGE; align *= 8) {
		got = pread(disk->fd, page, align, 0);
		disk->direct_offset = disk->direct_memory = align;
	}
	free(page);
	return got < 0 ? refused(disk, strerror(errno), why) : STATUS_OK;
}

enum status raw_direct_open(struct raw_disk *disk, struct reason *why)
{
	int flags = fcntl(disk->fd, F_GETFL), block = 0;
	enum status status = STATUS_OK;
	struct statx found;

	if (flags < 0 || fcntl(disk->fd, F_SETFL, flags | O_DIRECT))
		return refused(disk, strerror(errno), why);
	if (!statx(disk->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &found) && found.stx_mask & STATX_DIOALIGN) {
		disk->direct_offset = found.stx_dio_offset_align;
		disk->direct_memory = found.stx_dio_mem_align;
	} else if (!ioctl(disk->fd, BLKSSZGET, &block) && block > 0) {
		disk->direct_offset = disk->direct_memory = (uint32_t)block;
	} else {
		status = alignment_probe(disk, why);
	}
	if (!status && (!disk->direct_offset || disk->direct_offset > PAGE || !disk->direct_memory || disk->direct_memory > PAGE))
		return refused(disk, "", why);
	if (!status && disk->block.size % disk->direct_offset)
		return reason_give(
			why, STATUS_INVALID,
			"disk %s: cache=none needs whole blocks of the host's, of %u bytes; enlarge it: truncate -s %%%u %s",
			disk->path, disk->direct_offset, disk->direct_offset, disk->path);
	disk->held_end = &disk->held;
	disk->direct = !status;
	return status;
}

/* --- the way of a request --- */

static bool places_fit(const struct raw_disk *disk, const struct block_request *request)
{
	return !((request->offset | request->length) & (disk->direct_offset - 1));
}

/* Can io_uring have it as it is? */
static bool request_fits(const struct raw_disk *disk, const struct block_request *request)
{
	uintptr_t memory = 0;
	uint64_t length = 0;

	if (request->operation == BLOCK_FLUSH)
		return true;
	if (!places_fit(disk, request))
		return false;
	if (request->operation != BLOCK_READ && request->operation != BLOCK_WRITE)
		return true;
	for (unsigned i = 0; i < request->segments; i++) {
		memory |= (uintptr_t)request->segment[i].base;
		length |= request->segment[i].length;
	}
	return !(memory & (disk->direct_memory - 1)) && !(length & (disk->direct_offset - 1));
}

/* Only where host blocks are larger than the guest's can a write concern what another one writes. */
static bool request_gated(const struct raw_disk *disk, const struct block_request *request)
{
	return disk->direct_offset > SECTOR && request->operation != BLOCK_READ && request->operation != BLOCK_FLUSH;
}

static bool gate_pass_locked(struct raw_disk *disk, const struct block_request *request)
{
	bool alone = !places_fit(disk, request);

	if (disk->alone || (alone && disk->writers))
		return false;
	disk->alone = alone;
	disk->writers += !alone;
	return true;
}

struct ways {
	struct block_request *straight, **straight_end, *bounced, **bounced_end;
};

static void ways_add(const struct raw_disk *disk, struct ways *ways, struct block_request *request)
{
	struct block_request ***end = request_fits(disk, request) ? &ways->straight_end : &ways->bounced_end;

	**end = request;
	*end = &request->next;
}

static void ways_go(struct raw_disk *disk, struct ways *ways)
{
	*ways->straight_end = *ways->bounced_end = NULL;
	if (ways->straight)
		disk->io->submit(disk, ways->straight);
	if (ways->bounced)
		raw_pool_submit(disk->writer, ways->bounced);
}

void raw_direct_submit(struct raw_disk *disk, struct block_request *list)
{
	struct ways ways = {NULL, &ways.straight, NULL, &ways.bounced};

	while (list) {
		struct block_request *request = list;
		bool wait = false;

		list = request->next;
		if (request_gated(disk, request)) {
			pthread_mutex_lock(&disk->lock);
			wait = disk->held || !gate_pass_locked(disk, request);
			if (wait) {
				request->next = NULL;
				*disk->held_end = request;
				disk->held_end = &request->next;
			}
			pthread_mutex_unlock(&disk->lock);
		}
		if (!wait)
			ways_add(disk, &ways, request);
	}
	ways_go(disk, &ways);
}

void raw_direct_done(struct raw_disk *disk, const struct block_request *request)
{
	struct ways ways = {NULL, &ways.straight, NULL, &ways.bounced};

	if (!request_gated(disk, request))
		return;
	pthread_mutex_lock(&disk->lock);
	if (places_fit(disk, request))
		disk->writers--;
	else
		disk->alone = false;
	while (disk->held && gate_pass_locked(disk, disk->held)) {
		struct block_request *next = disk->held;

		disk->held = next->next;
		if (!disk->held)
			disk->held_end = &disk->held;
		ways_add(disk, &ways, next);
	}
	pthread_mutex_unlock(&disk->lock);
	ways_go(disk, &ways);
}

/* --- through a buffer, on a thread of the pool --- */

bool raw_direct_fits(const struct raw_disk *disk, const struct raw_step *step)
{
	uintptr_t memory = 0;
	uint64_t length = 0;

	for (unsigned i = 0; i < step->vectors; i++) {
		memory |= (uintptr_t)step->vector[i].iov_base;
		length |= step->vector[i].iov_len;
	}
	return !(memory & (disk->direct_memory - 1)) && !((length | step->offset) & (disk->direct_offset - 1));
}

/* Copies between the buffer and the front of the step's pieces. */
static void pieces_copy(const struct raw_step *step, uint8_t *buffer, uint64_t length)
{
	for (unsigned i = 0; length; i++) {
		size_t here = step->vector[i].iov_len < length ? step->vector[i].iov_len : (size_t)length;

		if (step->call == RAW_READV)
			memcpy(step->vector[i].iov_base, buffer, here);
		else
			memcpy(buffer, step->vector[i].iov_base, here);
		buffer += here;
		length -= here;
	}
}

static bool blocks_read(struct raw_disk *disk, uint8_t *buffer, uint64_t offset, uint64_t length)
{
	while (length) {
		ssize_t got = pread(disk->fd, buffer, length, (off_t)offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got == 0)
			errno = EIO; /* the file has become shorter */
		if (got <= 0)
			return false;
		buffer += got;
		offset += (uint64_t)got;
		length -= (uint64_t)got;
	}
	return true;
}

static bool blocks_write(struct raw_disk *disk, const uint8_t *buffer, uint64_t offset, uint64_t length)
{
	while (length) {
		ssize_t put = pwrite(disk->fd, buffer, length, (off_t)offset);

		if (put < 0 && errno == EINTR)
			continue;
		if (put == 0)
			errno = EIO;
		if (put <= 0)
			return false;
		buffer += put;
		offset += (uint64_t)put;
		length -= (uint64_t)put;
	}
	return true;
}

int raw_direct_transfer(struct raw_disk *disk, const struct raw_step *step)
{
	uint64_t block = disk->direct_offset, length = 0, from = step->offset & ~(block - 1), skip = step->offset - from, whole;
	uint8_t *buffer;
	bool good = true;

	for (unsigned i = 0; i < step->vectors && length < BOUNCE; i++)
		length += step->vector[i].iov_len;
	if (length > BOUNCE - skip)
		length = BOUNCE - skip;
	whole = (skip + length + block - 1) & ~(block - 1);
	if (posix_memalign((void **)&buffer, PAGE, whole))
		return -ENOMEM;
	if (step->call == RAW_READV || skip)
		good = blocks_read(disk, buffer, from, step->call == RAW_READV ? whole : block);
	if (good && step->call == RAW_WRITEV && whole != skip + length && (whole > block || !skip))
		good = blocks_read(disk, buffer + whole - block, from + whole - block, block);
	if (good)
		pieces_copy(step, buffer + skip, length);
	if (good && step->call == RAW_WRITEV)
		good = blocks_write(disk, buffer, from, whole);
	if (!good)
		length = (uint64_t)errno;
	free(buffer);
	return good ? (int)length : -(int)length;
}
