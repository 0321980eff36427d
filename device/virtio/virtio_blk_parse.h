/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_blk_parse.h - from a chain to what the driver wants of the disk.
 */
#ifndef HOLON_VIRTIO_BLK_PARSE_H
#define HOLON_VIRTIO_BLK_PARSE_H

#include <holon/block.h>

#include "virtio_queue.h"

#define VIRTIO_BLK_SECTOR 512u
#define VIRTIO_BLK_ID_LENGTH 20
#define VIRTIO_BLK_DISCARD_SECTORS_MAX (1u << 22)      /* 2 GiB */
#define VIRTIO_BLK_WRITE_ZEROES_SECTORS_MAX (1u << 17) /* 64 MiB: it may have to be written out */

#define VIRTIO_BLK_F_DISCARD (UINT64_C(1) << 13)
#define VIRTIO_BLK_F_WRITE_ZEROES (UINT64_C(1) << 14)

/* The status byte (5.2.6). */
#define VIRTIO_BLK_S_OK 0
#define VIRTIO_BLK_S_IOERR 1
#define VIRTIO_BLK_S_UNSUPP 2

enum virtio_blk_kind {
	VIRTIO_BLK_IO,     /* `operation` goes to the backend */
	VIRTIO_BLK_GET_ID, /* answered at once */
	VIRTIO_BLK_ANSWER, /* `status` is the answer */
};

/* The disk as far as requests depend on it. */
struct virtio_blk_limits {
	uint64_t sectors;
	bool readonly;
	uint64_t features; /* negotiated */
};

struct virtio_blk_command {
	enum virtio_blk_kind kind;
	uint8_t status;
	enum block_operation operation;
	bool may_unmap;
	uint64_t offset; /* bytes */
	uint64_t length;
	uint64_t status_gpa;
};

/*
 * Consumes the chain's header and cuts off its status byte: what is left of readable or writable segments is the data.
 * false: there is no byte to put a status in, the driver broke the rules.
 */
bool virtio_blk_parse(const struct virtio_blk_limits *limits, struct virtio_queue *queue, struct virtio_chain *chain,
		      struct virtio_blk_command *command) must_check;

#endif
