/* SPDX-License-Identifier: Apache-2.0 */
/*
 * raw_step.c - a request as a series of system calls: continued after short transfers, repeated after EINTR,
 * with a plainer call where the file system does not know the better one.
 *
 * backend_word[0] counts finished bytes, [1] fruitless attempts; [2] and [3] hold an iovec for what is left of a segment.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <string.h>

#include <holon/host.h>

#include "disk_failure.h"
#include "raw_disk.h"

#define RAW_ATTEMPTS 1000 /* of EAGAIN in a row, before we believe that it will not pass */
#define RAW_ZEROES (256u << 10)

/* Never written: the kernel shows its one zero page here, so it costs no memory. */
static uint8_t raw_zeroes[RAW_ZEROES] __attribute__((aligned(4096)));

_Static_assert(sizeof(struct block_segment) == sizeof(struct iovec), "segments are handed to the kernel as they are");
_Static_assert(offsetof(struct block_segment, length) == offsetof(struct iovec, iov_len), "likewise");

void raw_step_begin(struct block_request *request)
{
	memset(request->backend_word, 0, sizeof(request->backend_word));
}

static struct iovec *request_vector(struct block_request *request)
{
	_Static_assert(sizeof(struct iovec) == 2 * sizeof(request->backend_word[0]), "an iovec fits two words");
	return (struct iovec *)(void *)&request->backend_word[2];
}

/* Whole segments go as they are; what is left of one that was cut in the middle goes alone. */
static void step_transfer(struct block_request *request, struct raw_step *step)
{
	uint64_t skip = request->backend_word[0];
	unsigned i = 0;

	step->call = request->operation == BLOCK_READ ? RAW_READV : RAW_WRITEV;
	step->offset = request->offset + skip;
	while (skip >= request->segment[i].length)
		skip -= request->segment[i++].length;
	if (skip) {
		*request_vector(request) =
			(struct iovec){(uint8_t *)request->segment[i].base + skip, request->segment[i].length - skip};
		step->vector = request_vector(request);
		step->vectors = 1;
		return;
	}
	step->vector = (const struct iovec *)(const void *)&request->segment[i];
	step->vectors = request->segments - i < IOV_MAX ? request->segments - i : IOV_MAX;
}

static void step_zero(struct raw_disk *disk, struct block_request *request, struct raw_step *step)
{
	uint64_t done = request->backend_word[0], left = request->length - done;

	step->offset = request->offset + done;
	step->length = left;
	step->call = RAW_FALLOCATE;
	if (request->may_unmap && !atomic_load(&disk->no_punch)) {
		step->mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	} else if (!atomic_load(&disk->no_zero_range)) {
		step->mode = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
	} else {
		*request_vector(request) = (struct iovec){raw_zeroes, left < RAW_ZEROES ? left : RAW_ZEROES};
		step->call = RAW_WRITEV;
		step->vector = request_vector(request);
		step->vectors = 1;
	}
}

void raw_step_next(struct raw_disk *disk, struct block_request *request, struct raw_step *step)
{
	*step = (struct raw_step){0};
	if (request == &disk->behind.request) {
		*step = (struct raw_step){.call = RAW_WRITE_OUT, .offset = request->offset, .length = request->length};
		return;
	}
	switch (request->operation) {
	case BLOCK_READ:
	case BLOCK_WRITE: step_transfer(request, step); break;
	case BLOCK_FLUSH: step->call = RAW_FDATASYNC; break;
	case BLOCK_DISCARD:
		step->call = RAW_FALLOCATE;
		step->mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
		step->offset = request->offset;
		step->length = request->length;
		break;
	case BLOCK_WRITE_ZEROES: step_zero(disk, request, step); break;
	}
}

static const char *operation_name(enum block_operation operation)
{
	static const char *const name[] = {"read", "write", "flush", "discard", "write of zeroes"};

	return name[operation];
}

static enum status errno_status(int error)
{
	switch (error) {
	case ENOSPC:
	case EDQUOT:
	case EFBIG: return STATUS_NO_SPACE;
	case EPERM:
	case EROFS: return STATUS_PERMISSION;
	default: return STATUS_IO;
	}
}

/* What fallocate cannot do here, something else can. Returns false where that is not the trouble. */
static bool zero_fall_back(struct raw_disk *disk, const struct block_request *request)
{
	if (request->may_unmap && !atomic_load(&disk->no_punch)) {
		atomic_store(&disk->no_punch, true);
		return true;
	}
	return !atomic_exchange(&disk->no_zero_range, true);
}

static bool step_failed(struct raw_disk *disk, struct block_request *request, int error, enum status *status)
{
	bool unsupported = error == EOPNOTSUPP || error == ENOSYS || error == ENODEV;

	if (error == EINTR || (error == EAGAIN && request->backend_word[1]++ < RAW_ATTEMPTS))
		return false;
	if (unsupported && request->operation == BLOCK_DISCARD) {
		*status = STATUS_OK; /* a hint, not an order */
		return true;
	}
	if (unsupported && request->operation == BLOCK_WRITE_ZEROES) {
		/* Another request may have found out first, while this one was under way. */
		if (zero_fall_back(disk, request) || request->backend_word[1]++ < 4)
			return false;
	}
	*status = errno_status(error);
	disk_failure_log(disk->path, operation_name(request->operation), request->offset, request->length, error);
	return true;
}

/* Nothing has been written there yet. */
static void transfer_zero(struct block_request *request)
{
	uint64_t skip = request->backend_word[0];

	for (unsigned i = 0; i < request->segments; i++) {
		uint64_t length = request->segment[i].length;

		if (skip < length)
			memset((uint8_t *)request->segment[i].base + skip, 0, length - skip);
		skip -= skip < length ? skip : length;
	}
}

bool raw_step_result(struct raw_disk *disk, struct block_request *request, int result, enum status *status)
{
	bool transfer = request->operation == BLOCK_READ || request->operation == BLOCK_WRITE;

	*status = STATUS_OK;
	if (request == &disk->behind.request) /* the flush tries again, and reports */
		return true;
	if (result < 0)
		return step_failed(disk, request, -result, status);
	/* Only writing zeroes has a call that counts bytes and one that does not, and that one returns 0. */
	if (result == 0 && !transfer)
		return true;
	if (result == 0 && disk->lent && request->operation == BLOCK_READ) {
		transfer_zero(request);
		return true;
	}
	if (result == 0) /* the file has become shorter than it was when we opened it */
		return step_failed(disk, request, EIO, status);
	request->backend_word[0] += (uint64_t)result;
	request->backend_word[1] = 0;
	return request->backend_word[0] >= request->length;
}
