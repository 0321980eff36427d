/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vhost_fuse.c - the answer to a guest's file system when its server has gone. Called by vhost_ring.c.
 *
 * Linux's virtiofs takes no notice of a device that asks for a reset: programs that use the folder would hang in the kernel for good, and the guest
 * could not even be powered off in order. So each request is refused as one on a FUSE mount without its server is: ENOTCONN.
 */
#include <endian.h>
#include <string.h>

#include "backend/vhost/vhost_internal.h"

#define FUSE_ENOTCONN 107 /* Linux's, as all error numbers of FUSE */

/* The beginnings of all requests and answers (virtio 1.2, 5.11.6; Linux's fuse.h). */
struct fuse_in {
	uint32_t length, opcode;
	uint64_t unique;
};
struct fuse_out {
	uint32_t length;
	int32_t error;
	uint64_t unique;
};

/* Between `bytes` and the segments from `at` to before `end`. Returns how many there was room for. */
static size_t segments_copy(const struct block_segment *at, const struct block_segment *end, void *bytes, size_t length, bool out)
{
	size_t done = 0;

	for (; at < end && done < length; at++) {
		size_t part = at->length < length - done ? (size_t)at->length : length - done;

		memcpy(out ? at->base : (uint8_t *)bytes + done, out ? (uint8_t *)bytes + done : at->base, part);
		done += part;
	}
	return done;
}

uint32_t vhost_fuse_refuse(const struct peer_request *request)
{
	const struct block_segment *middle = request->segment + request->readable, *end = request->segment + request->segments;
	struct fuse_in in = {0};
	struct fuse_out out = {.length = htole32(sizeof(out)), .error = (int32_t)htole32((uint32_t)-FUSE_ENOTCONN)};

	segments_copy(request->segment, middle, &in, sizeof(in), false);
	out.unique = in.unique;
	return (uint32_t)segments_copy(middle, end, &out, sizeof(out), true);
}
