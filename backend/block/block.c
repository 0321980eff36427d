/* SPDX-License-Identifier: Apache-2.0 */
/*
 * block.c - the door to every disk backend: what is out of bounds never gets past it.
 */
#include <holon/block.h>

static enum status block_request_check(const struct block *block, const struct block_request *request)
{
	uint64_t length = 0;

	if (request->operation == BLOCK_FLUSH)
		return STATUS_OK;
	if (request->operation != BLOCK_READ && block->readonly)
		return STATUS_PERMISSION;
	if (request->offset > block->size || request->length > block->size - request->offset)
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
