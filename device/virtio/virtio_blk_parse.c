/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_blk_parse.c - reads and checks one request (virtio 1.2, 5.2.6). Executing it is virtio_blk.c's.
 */
#include "virtio_blk_parse.h"

#define VIRTIO_BLK_T_IN 0
#define VIRTIO_BLK_T_OUT 1
#define VIRTIO_BLK_T_FLUSH 4
#define VIRTIO_BLK_T_GET_ID 8
#define VIRTIO_BLK_T_DISCARD 11
#define VIRTIO_BLK_T_WRITE_ZEROES 13
#define WRITE_ZEROES_UNMAP 1u

struct virtio_blk_header {
	uint32_t type;
	uint32_t reserved;
	uint64_t sector;
};
struct virtio_blk_range {
	uint64_t sector;
	uint32_t sectors;
	uint32_t flags;
};

static bool parse_answer(struct virtio_blk_command *command, uint8_t status)
{
	command->kind = VIRTIO_BLK_ANSWER;
	command->status = status;
	return true;
}

static bool range_good(const struct virtio_blk_limits *limits, uint64_t sector, uint64_t sectors)
{
	return sector <= limits->sectors && sectors <= limits->sectors - sector;
}

static bool parse_transfer(const struct virtio_blk_limits *limits, const struct virtio_blk_header *header, uint64_t length,
			   struct virtio_blk_command *command)
{
	bool write = header->type == VIRTIO_BLK_T_OUT;

	if (length % VIRTIO_BLK_SECTOR || !range_good(limits, header->sector, length / VIRTIO_BLK_SECTOR) ||
	    (write && limits->readonly))
		return parse_answer(command, VIRTIO_BLK_S_IOERR);
	if (length == 0)
		return parse_answer(command, VIRTIO_BLK_S_OK);
	command->kind = VIRTIO_BLK_IO;
	command->operation = write ? BLOCK_WRITE : BLOCK_READ;
	command->offset = header->sector * VIRTIO_BLK_SECTOR;
	command->length = length;
	return true;
}

/* One segment each: that is what max_discard_seg and max_write_zeroes_seg say. */
static bool parse_range(const struct virtio_blk_limits *limits, uint32_t type, struct virtio_chain *chain,
			struct virtio_blk_command *command)
{
	bool discard = type == VIRTIO_BLK_T_DISCARD;
	uint32_t flags = discard ? 0 : WRITE_ZEROES_UNMAP;
	uint32_t most = discard ? VIRTIO_BLK_DISCARD_SECTORS_MAX : VIRTIO_BLK_WRITE_ZEROES_SECTORS_MAX;
	struct virtio_blk_range range;

	if (!(limits->features & (discard ? VIRTIO_BLK_F_DISCARD : VIRTIO_BLK_F_WRITE_ZEROES)))
		return parse_answer(command, VIRTIO_BLK_S_UNSUPP);
	if (virtio_chain_readable(chain) != sizeof(range))
		return parse_answer(command, VIRTIO_BLK_S_IOERR);
	virtio_chain_take(chain, &range, sizeof(range));
	if (range.flags & ~flags)
		return parse_answer(command, VIRTIO_BLK_S_UNSUPP);
	if (range.sectors > most || !range_good(limits, range.sector, range.sectors) || limits->readonly)
		return parse_answer(command, VIRTIO_BLK_S_IOERR);
	if (range.sectors == 0)
		return parse_answer(command, VIRTIO_BLK_S_OK);
	command->kind = VIRTIO_BLK_IO;
	command->operation = discard ? BLOCK_DISCARD : BLOCK_WRITE_ZEROES;
	command->may_unmap = range.flags & WRITE_ZEROES_UNMAP;
	command->offset = range.sector * VIRTIO_BLK_SECTOR;
	command->length = (uint64_t)range.sectors * VIRTIO_BLK_SECTOR;
	return true;
}

bool virtio_blk_parse(const struct virtio_blk_limits *limits, struct virtio_queue *queue, struct virtio_chain *chain,
		      struct virtio_blk_command *command)
{
	struct virtio_blk_header header;

	*command = (struct virtio_blk_command){0};
	if (chain->segments == chain->readable)
		return false;
	command->status_gpa = virtio_chain_cut_last(queue, chain);
	if (virtio_chain_take(chain, &header, sizeof(header)) != sizeof(header))
		return parse_answer(command, VIRTIO_BLK_S_IOERR);
	switch (header.type) {
	case VIRTIO_BLK_T_IN: return parse_transfer(limits, &header, virtio_chain_writable(chain), command);
	case VIRTIO_BLK_T_OUT: return parse_transfer(limits, &header, virtio_chain_readable(chain), command);
	case VIRTIO_BLK_T_FLUSH:
		command->kind = VIRTIO_BLK_IO;
		command->operation = BLOCK_FLUSH;
		return true;
	case VIRTIO_BLK_T_GET_ID: command->kind = VIRTIO_BLK_GET_ID; return true;
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES: return parse_range(limits, header.type, chain, command);
	default: return parse_answer(command, VIRTIO_BLK_S_UNSUPP);
	}
}
