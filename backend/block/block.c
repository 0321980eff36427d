/* SPDX-License-Identifier: Apache-2.0 */
/*
 * block.c - the door to every disk backend: what is out of bounds never gets past it.
 */
#include <holon/block.h>

static enum status block_request_check(const struct block *block, const struct block_request *request)
{
	uint64_t length = 0, size = block->size;

	if (request->operation == BLOCK_FLUSH)
		return STATUS_OK;
	if (request->operation != BLOCK_READ && block->readonly)
		return STATUS_PERMISSION;
	if (request->offset > size || request->length > size - request->offset)
		return STATUS_RANGE;
	if ((request->offset | request->length) & (block->block_size - 1))
		return STATUS_RANGE;
	if (request->operation != BLOCK_READ && request->operation != BLOCK_WRITE)
		return STATUS_OK;
	for (unsigned i = 0; i < request->segments; i++) {
		if (__builtin_add_overflow(length, request->segment[i].length, &length))
			return STATUS_RANGE;
	}
	return length == request->length ? STATUS_OK : STATUS_RANGE;
}

void block_submit(struct block *block, struct block_request *list)
{
	struct block_request *good = NULL, **good_end = &good, *answered = NULL, **answered_end = &answered;

	for (; list; list = list->next) {
		enum status status = block_request_check(block, list);

		list->backend_word[0] = status;
		if (status == STATUS_OK && (list->operation == BLOCK_FLUSH || list->length)) {
			*good_end = list;
			good_end = &list->next;
		} else {
			*answered_end = list;
			answered_end = &list->next;
		}
	}
	*good_end = *answered_end = NULL;
	if (good)
		block->submit(block, good);
	while (answered) {
		struct block_request *request = answered;

		answered = request->next; /* done() may use the request again */
		request->done(request, (enum status)request->backend_word[0]);
	}
}

void block_size_set(struct block *block, uint64_t size)
{
	if (size <= block->size)
		return;
	block->size = size;
	if (block->resized)
		block->resized(block->device);
}

enum status block_extend(struct block *block, uint64_t size, struct reason *why)
{
	enum status status;

	if (!block->extend)
		return reason_give(why, STATUS_UNSUPPORTED, "disk %s: its size cannot be changed from here", block->path);
	if (block->readonly)
		return reason_give(why, STATUS_PERMISSION, "disk %s: it is read-only; its size stays", block->path);
	if (size % block->block_size)
		return reason_give(why, STATUS_USAGE, "disk %s: %llu bytes are no whole blocks of %u; round the size", block->path,
				   (unsigned long long)size, block->block_size);
	if (size < block->size)
		return reason_give(why, STATUS_RANGE, "disk %s: it has %llu bytes; a disk in use can only grow", block->path,
				   (unsigned long long)block->size);
	if (!host_mutex_try(&block->extending))
		return reason_give(why, STATUS_BUSY, "disk %s: it is becoming longer already; try again", block->path);
	status = block->extend(block, size, why);
	host_mutex_unlock(&block->extending);
	return status;
}

enum status block_resize(struct block *block, uint64_t size, struct reason *why)
{
	enum status status = block_extend(block, size, why);

	if (!status)
		block_size_set(block, size);
	return status;
}

uint64_t block_host_size(struct block *block)
{
	struct block *back = block;
	uint64_t size;

	while (back->inner)
		back = back->inner;
	size = back->host_size ? back->host_size(back) : block->size;
	return size - size % block->block_size;
}
