/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nvme_data.c - where a command's data is: Physical Region Pages (NVM Express 1.4, 4.3).
 *
 * PRP1 names the first page and an offset in it; PRP2 the second page, or a list of pages whose last entry may lead to another list. Only
 * the first list may begin inside a page, so each further one describes 511 pages at least: a transfer's length bounds the walk.
 */
#include "device/nvme_internal.h"

#define PRP_ENTRIES (NVME_PAGE / 8)

struct prp_walk {
	struct nvme_extent *extent;
	unsigned extents;
	uint64_t left;
};

static void prp_add(struct prp_walk *walk, uint64_t gpa, uint64_t length)
{
	struct nvme_extent *last = walk->extents ? &walk->extent[walk->extents - 1] : NULL;

	if (length > walk->left)
		length = walk->left;
	if (last && last->gpa + last->length == gpa)
		last->length += length;
	else
		walk->extent[walk->extents++] = (struct nvme_extent){gpa, length};
	walk->left -= length;
}

static uint16_t prp_list_walk(const struct nvme *nvme, struct prp_walk *walk, uint64_t list)
{
	uint64_t entry[PRP_ENTRIES];

	if (list & 7)
		return NVME_PRP_OFFSET_INVALID;
	while (walk->left) {
		unsigned room = (unsigned)(NVME_PAGE - list % NVME_PAGE) / 8, i;
		unsigned wanted = (unsigned)((walk->left + NVME_PAGE - 1) / NVME_PAGE);
		bool more = wanted > room;

		if (more)
			wanted = room;
		if (guest_memory_read(nvme->memory, list, entry, 8 * wanted) != STATUS_OK)
			return NVME_DATA_TRANSFER_ERROR;
		for (i = 0; i < wanted - more; i++) {
			if (entry[i] % NVME_PAGE)
				return NVME_PRP_OFFSET_INVALID;
			prp_add(walk, entry[i], NVME_PAGE);
		}
		if (!more)
			return NVME_OK;
		list = entry[i];
		if (list % NVME_PAGE)
			return NVME_PRP_OFFSET_INVALID;
	}
	return NVME_OK;
}

uint16_t nvme_extents(const struct nvme *nvme, const struct nvme_command *command, uint64_t length,
		      struct nvme_extent extent[NVME_EXTENTS], unsigned *extents)
{
	struct prp_walk walk = {.extent = extent, .left = length};
	uint16_t status = NVME_OK;

	*extents = 0;
	if (command->flags >> 6) /* SGLs, which Identify does not offer */
		return NVME_INVALID_FIELD;
	if (length > (uint64_t)NVME_TRANSFER_PAGES * NVME_PAGE)
		return NVME_INVALID_FIELD;
	if (command->prp1 & 3)
		return NVME_PRP_OFFSET_INVALID;
	prp_add(&walk, command->prp1, NVME_PAGE - command->prp1 % NVME_PAGE);
	if (walk.left > NVME_PAGE)
		status = prp_list_walk(nvme, &walk, command->prp2);
	else if (walk.left && command->prp2 % NVME_PAGE)
		status = NVME_PRP_OFFSET_INVALID;
	else if (walk.left)
		prp_add(&walk, command->prp2, NVME_PAGE);
	*extents = walk.extents;
	return status;
}

uint16_t nvme_data_write(struct nvme *nvme, const struct nvme_command *command, const void *bytes, uint64_t length)
{
	struct nvme_extent extent[NVME_EXTENTS];
	const uint8_t *from = bytes;
	unsigned extents;
	uint16_t status = nvme_extents(nvme, command, length, extent, &extents);

	for (unsigned i = 0; status == NVME_OK && i < extents; i++) {
		if (guest_memory_write(nvme->memory, extent[i].gpa, from, extent[i].length) != STATUS_OK)
			status = NVME_DATA_TRANSFER_ERROR;
		from += extent[i].length;
	}
	return status;
}

uint16_t nvme_data_read(const struct nvme *nvme, const struct nvme_command *command, void *bytes, uint64_t length)
{
	struct nvme_extent extent[NVME_EXTENTS];
	uint8_t *to = bytes;
	unsigned extents;
	uint16_t status = nvme_extents(nvme, command, length, extent, &extents);

	for (unsigned i = 0; status == NVME_OK && i < extents; i++) {
		if (guest_memory_read(nvme->memory, extent[i].gpa, to, extent[i].length) != STATUS_OK)
			status = NVME_DATA_TRANSFER_ERROR;
		to += extent[i].length;
	}
	return status;
}

void nvme_data_release(struct nvme *nvme, struct nvme_request *request)
{
	if (request->block.operation == BLOCK_READ)
		for (unsigned i = 0; i < request->segments; i++)
			guest_memory_write_end(nvme->memory, request->extent[i].gpa, request->extent[i].length);
	request->segments = 0;
}

/* One run, cut where RAM continues in another slot. Slots begin and end on pages, so there are not more pieces than pages. */
static bool extent_map(struct nvme *nvme, struct nvme_request *request, struct nvme_extent extent, bool device_writes)
{
	while (extent.length) {
		const struct memory_slot *slot = guest_memory_slot_find(nvme->memory, extent.gpa);
		uint64_t here;
		uint8_t *hva;

		if (!slot || request->segments == NVME_EXTENTS)
			return false;
		here = slot->gpa + slot->length - extent.gpa;
		if (here > extent.length)
			here = extent.length;
		hva = device_writes ? guest_memory_write_begin(nvme->memory, extent.gpa, here)
				    : slot->hva + (extent.gpa - slot->gpa);
		if (!hva)
			return false;
		request->segment[request->segments] = (struct block_segment){hva, here};
		request->extent[request->segments++] = (struct nvme_extent){extent.gpa, here};
		extent.gpa += here;
		extent.length -= here;
	}
	return true;
}

uint16_t nvme_data_map(struct nvme *nvme, struct nvme_request *request, const struct nvme_command *command, uint64_t length,
		       bool device_writes)
{
	struct nvme_extent extent[NVME_EXTENTS];
	unsigned extents;
	uint16_t status = nvme_extents(nvme, command, length, extent, &extents);

	request->block.operation = device_writes ? BLOCK_READ : BLOCK_WRITE;
	request->segments = 0;
	for (unsigned i = 0; status == NVME_OK && i < extents; i++)
		if (!extent_map(nvme, request, extent[i], device_writes))
			status = NVME_DATA_TRANSFER_ERROR;
	if (status != NVME_OK)
		nvme_data_release(nvme, request);
	return status;
}
