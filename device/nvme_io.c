/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nvme_io.c - the NVM command set (NVM Express 1.4, 6): commands become requests to the disk, and their results statuses.
 */
#include "device/nvme_internal.h"

#define OPCODE_FLUSH 0x00
#define OPCODE_WRITE 0x01
#define OPCODE_READ 0x02
#define OPCODE_WRITE_ZEROES 0x08
#define OPCODE_DATASET_MANAGEMENT 0x09
#define DWORD12_FUA (1u << 30)
#define DWORD12_DEAC (1u << 25)
#define DATASET_DEALLOCATE 4u
#define SECTOR 512u

static void nvme_done(struct block_request *block, enum status status);

static uint64_t blocks_of(const struct nvme *nvme)
{
	return nvme->block->size / nvme->block->block_size;
}

/* SLBA and NLB, with every command that has them (6.9). */
static bool range_get(const struct nvme *nvme, const struct nvme_command *command, struct nvme_request *request)
{
	uint64_t first = command->dword10 | (uint64_t)command->dword11 << 32, blocks = (command->dword12 & 0xffff) + 1;
	uint64_t size = blocks_of(nvme);

	if (first > size || blocks > size - first)
		return false;
	request->block.offset = first * nvme->block->block_size;
	request->block.length = blocks * nvme->block->block_size;
	return true;
}

static bool write_through(const struct nvme *nvme, const struct nvme_command *command)
{
	return command->dword12 & DWORD12_FUA || !(nvme->feature[NVME_FEATURE_WRITE_CACHE] & 1);
}

static uint16_t transfer_start(struct nvme *nvme, struct nvme_request *request, const struct nvme_command *command)
{
	bool write = command->opcode == OPCODE_WRITE;
	uint16_t status;

	if (!range_get(nvme, command, request))
		return NVME_LBA_OUT_OF_RANGE;
	if (write && nvme->block->readonly)
		return NVME_WRITE_PROTECTED;
	status = nvme_data_map(nvme, request, command, request->block.length, !write);
	if (status != NVME_OK)
		return status;
	request->block.segment = request->segment;
	request->block.segments = request->segments;
	request->flush_follows = write && write_through(nvme, command);
	if (write) {
		nvme->smart.writes++;
		nvme->smart.sectors_written += request->block.length / SECTOR;
	} else {
		nvme->smart.reads++;
		nvme->smart.sectors_read += request->block.length / SECTOR;
	}
	return NVME_ANSWER_LATER;
}

static uint16_t zeroes_start(struct nvme *nvme, struct nvme_request *request, const struct nvme_command *command)
{
	if (!range_get(nvme, command, request))
		return NVME_LBA_OUT_OF_RANGE;
	if (nvme->block->readonly)
		return NVME_WRITE_PROTECTED;
	request->block.operation = BLOCK_WRITE_ZEROES;
	request->block.may_unmap = command->dword12 & DWORD12_DEAC;
	request->flush_follows = write_through(nvme, command);
	return NVME_ANSWER_LATER;
}

/* The next range of a deallocation that is not empty. false: that was the last. */
static bool range_next(struct nvme *nvme, struct nvme_request *request)
{
	while (request->range_next < request->ranges) {
		const struct nvme_range *range = &request->range[request->range_next++];

		if (!range->blocks)
			continue;
		request->block = (struct block_request){.operation = BLOCK_DISCARD,
							.offset = range->first * nvme->block->block_size,
							.length = (uint64_t)range->blocks * nvme->block->block_size,
							.done = nvme_done,
							.device = request};
		return true;
	}
	return false;
}

static uint16_t dataset_start(struct nvme *nvme, struct nvme_request *request, const struct nvme_command *command)
{
	unsigned ranges = (command->dword10 & 0xff) + 1;
	uint64_t size = blocks_of(nvme);
	uint16_t status = nvme_data_read(nvme, command, request->range, ranges * sizeof(struct nvme_range));

	if (status != NVME_OK)
		return status;
	for (unsigned i = 0; i < ranges; i++)
		if (request->range[i].first > size || request->range[i].blocks > size - request->range[i].first)
			return NVME_LBA_OUT_OF_RANGE;
	if (!(command->dword11 & DATASET_DEALLOCATE))
		return NVME_OK; /* the other attributes are hints */
	if (nvme->block->readonly)
		return NVME_WRITE_PROTECTED;
	request->ranges = ranges;
	request->range_next = 0;
	return range_next(nvme, request) ? NVME_ANSWER_LATER : NVME_OK;
}

uint16_t nvme_io(struct nvme *nvme, struct nvme_request *request, const struct nvme_command *command)
{
	request->block = (struct block_request){.done = nvme_done, .device = request};
	request->flush_follows = false;
	request->segments = request->ranges = request->range_next = 0;
	if (command->flags & 3)
		return NVME_INVALID_FIELD; /* fused operations */
	if (command->namespace != 1 && !(command->opcode == OPCODE_FLUSH && command->namespace == NVME_ALL_NAMESPACES))
		return NVME_INVALID_NAMESPACE;
	switch (command->opcode) {
	case OPCODE_FLUSH: request->block.operation = BLOCK_FLUSH; return NVME_ANSWER_LATER;
	case OPCODE_WRITE:
	case OPCODE_READ: return transfer_start(nvme, request, command);
	case OPCODE_WRITE_ZEROES: return zeroes_start(nvme, request, command);
	case OPCODE_DATASET_MANAGEMENT: return dataset_start(nvme, request, command);
	default: return NVME_INVALID_OPCODE;
	}
}

static uint16_t status_of(const struct block_request *block, enum status status)
{
	switch (status) {
	case STATUS_OK: return NVME_OK;
	case STATUS_NO_SPACE: return NVME_CAPACITY_EXCEEDED;
	case STATUS_RANGE: return NVME_LBA_OUT_OF_RANGE;
	case STATUS_PERMISSION: return NVME_WRITE_PROTECTED;
	default: return block->operation == BLOCK_READ ? NVME_READ_ERROR : NVME_WRITE_FAULT;
	}
}

/* Any thread, without the lock. */
static void nvme_done(struct block_request *block, enum status status)
{
	struct nvme_request *request = block->device;
	struct nvme *nvme = request->nvme;
	uint16_t queue = request->queue;

	if (status == STATUS_OK && (request->flush_follows || range_next(nvme, request))) {
		if (request->flush_follows) {
			request->flush_follows = false;
			*block = (struct block_request){.operation = BLOCK_FLUSH, .done = nvme_done, .device = request};
		}
		block_submit(nvme->block, block);
		return;
	}
	host_mutex_lock(&nvme->lock);
	if (status != STATUS_OK)
		nvme->smart.media_errors++;
	nvme_data_release(nvme, request);
	nvme->submission[queue].under_way--;
	nvme_answer(nvme, queue, request->id, status_of(block, status), 0);
	nvme_deletion_continue(nvme, queue);
	nvme_request_free(nvme, request);
	nvme_under_way_end(nvme);
	nvme_run(nvme);
	host_mutex_unlock(&nvme->lock);
}
