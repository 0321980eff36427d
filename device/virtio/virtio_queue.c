/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_queue.c - split virtqueues (virtio 1.2, 2.7).
 *
 * pop turns one available entry into a chain of host segments; push gives it back. A ring that makes no sense (an index out of bounds, memory
 * that is not RAM, a loop, an indirect table in an indirect table, a readable descriptor behind a writable one) is
 * "broken": the transport then sets NEEDS_RESET. Loops are bounded by the number of descriptors in the table.
 */
#include <holon/host.h>

#include "virtio_queue.h"

#define DESC_F_NEXT 1u
#define DESC_F_WRITE 2u
#define DESC_F_INDIRECT 4u
#define AVAIL_F_NO_INTERRUPT 1u

struct virtio_descriptor {
	uint64_t address;
	uint32_t length;
	uint16_t flags;
	uint16_t next;
};
struct virtio_used_element {
	uint32_t id;
	uint32_t length;
};

void virtio_queue_reset(struct virtio_queue *queue)
{
	*queue = (struct virtio_queue){
		.memory = queue->memory, .size_max = queue->size_max, .size = queue->size_max, .vector = VIRTIO_NO_VECTOR};
}

bool virtio_queue_plausible(const struct virtio_queue *queue)
{
	const uint64_t last = UINT64_MAX - 16 * VIRTIO_QUEUE_SIZE_MAX; /* none of the areas is longer */

	return queue->size && queue->size <= queue->size_max && !(queue->size & (queue->size - 1)) && !(queue->descriptor & 15) &&
	       !(queue->driver & 1) && !(queue->device & 3) && queue->descriptor <= last && queue->driver <= last &&
	       queue->device <= last;
}

/* One 16-bit ring field, read once. */
static bool ring_load(const struct virtio_queue *queue, uint64_t gpa, uint16_t *value)
{
	const uint8_t *hva = guest_memory_at(queue->memory, gpa, 2);

	if (!hva)
		return false;
	*value = __atomic_load_n((const uint16_t *)(const void *)hva, __ATOMIC_ACQUIRE);
	return true;
}

static bool ring_store(struct virtio_queue *queue, uint64_t gpa, uint16_t value)
{
	uint8_t *hva = guest_memory_write_begin(queue->memory, gpa, 2);

	if (!hva)
		return false;
	__atomic_store_n((uint16_t *)(void *)hva, value, __ATOMIC_RELEASE);
	guest_memory_write_end(queue->memory, gpa, 2);
	return true;
}

static bool chain_segment_add(struct virtio_queue *queue, struct virtio_chain *chain, uint64_t gpa, uint64_t length, bool write)
{
	const struct memory_slot *slot = guest_memory_slot_find(queue->memory, gpa);
	uint8_t *hva;

	if (!slot || chain->segments == VIRTIO_SEGMENTS)
		return false;
	if (write)
		hva = guest_memory_write_begin(queue->memory, gpa, length);
	else
		hva = slot->hva + (gpa - slot->gpa);
	if (!hva)
		return false;
	chain->segment[chain->segments] = (struct block_segment){hva, length};
	chain->gpa[chain->segments++] = gpa;
	if (!write)
		chain->readable = chain->segments;
	return true;
}

/* One descriptor's buffer; RAM that continues in the next slot makes another segment. */
static bool chain_buffer_add(struct virtio_queue *queue, struct virtio_chain *chain, const struct virtio_descriptor *descriptor)
{
	bool write = descriptor->flags & DESC_F_WRITE;
	uint64_t gpa = descriptor->address, left = descriptor->length;

	if (!write && chain->segments != chain->readable)
		return false; /* readable behind writable: 2.7.4.2 */
	while (left) {
		const struct memory_slot *slot = guest_memory_slot_find(queue->memory, gpa);
		uint64_t here;

		if (!slot)
			return false;
		here = slot->gpa + slot->length - gpa;
		if (here > left)
			here = left;
		if (!chain_segment_add(queue, chain, gpa, here, write))
			return false;
		gpa += here;
		left -= here;
	}
	return true;
}

static bool chain_walk(struct virtio_queue *queue, struct virtio_chain *chain)
{
	uint64_t table = queue->descriptor;
	uint32_t count = queue->size, left = queue->size, index = chain->head;
	bool indirect = false;

	for (;;) {
		struct virtio_descriptor descriptor;

		if (index >= count || left-- == 0)
			return false;
		if (guest_memory_read(queue->memory, table + 16 * (uint64_t)index, &descriptor, sizeof(descriptor)) != STATUS_OK)
			return false;
		if (descriptor.flags & DESC_F_INDIRECT) {
			if (indirect || !queue->indirect || descriptor.flags & DESC_F_NEXT || descriptor.length % 16 ||
			    descriptor.length == 0 || descriptor.length / 16 > VIRTIO_QUEUE_SIZE_MAX)
				return false;
			indirect = true;
			table = descriptor.address;
			count = left = descriptor.length / 16;
			index = 0;
			continue;
		}
		if (!chain_buffer_add(queue, chain, &descriptor))
			return false;
		if (!(descriptor.flags & DESC_F_NEXT))
			return true;
		index = descriptor.next;
	}
}

enum virtio_pop virtio_queue_pop(struct virtio_queue *queue, struct virtio_chain *chain)
{
	uint16_t available, slot = queue->next_available & (queue->size - 1);

	if (!ring_load(queue, queue->driver + 2, &available))
		return VIRTIO_POP_BROKEN;
	if (available == queue->next_available)
		return VIRTIO_POP_EMPTY;
	if ((uint16_t)(available - queue->next_available) > queue->size)
		return VIRTIO_POP_BROKEN;
	chain->first = chain->readable = chain->segments = 0;
	if (!ring_load(queue, queue->driver + 4 + 2 * (uint64_t)slot, &chain->head))
		return VIRTIO_POP_BROKEN;
	if (!chain_walk(queue, chain)) {
		virtio_chain_release(queue, chain);
		return VIRTIO_POP_BROKEN;
	}
	queue->next_available++;
	return VIRTIO_POP_CHAIN;
}

void virtio_chain_release(struct virtio_queue *queue, struct virtio_chain *chain)
{
	for (unsigned i = chain->readable; i < chain->segments; i++)
		guest_memory_write_end(queue->memory, chain->gpa[i], chain->segment[i].length);
	chain->segments = chain->readable;
}

bool virtio_queue_put(struct virtio_queue *queue, unsigned ahead, uint16_t head, uint32_t written)
{
	struct virtio_used_element element = {head, written};
	uint64_t slot = (queue->next_used + ahead) & (queue->size - 1u);

	return guest_memory_write(queue->memory, queue->device + 4 + 8 * slot, &element, sizeof(element)) == STATUS_OK;
}

bool virtio_queue_publish(struct virtio_queue *queue, unsigned count)
{
	if (!ring_store(queue, queue->device + 2, (uint16_t)(queue->next_used + count)))
		return false;
	queue->next_used = (uint16_t)(queue->next_used + count);
	return true;
}

bool virtio_queue_push(struct virtio_queue *queue, uint16_t head, uint32_t written)
{
	return virtio_queue_put(queue, 0, head, written) && virtio_queue_publish(queue, 1);
}

void virtio_queue_unpop(struct virtio_queue *queue, unsigned count)
{
	queue->next_available = (uint16_t)(queue->next_available - count);
}

/* 2.7.7.2. The used index must be visible before we look what the driver asks for, which writes in the other order. */
bool virtio_queue_signal_wanted(struct virtio_queue *queue)
{
	uint16_t before = queue->signalled_used, event, flags;
	bool first = !queue->signalled;

	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!queue->event_index)
		return ring_load(queue, queue->driver, &flags) && !(flags & AVAIL_F_NO_INTERRUPT);
	if (!ring_load(queue, queue->driver + 4 + 2 * (uint64_t)queue->size, &event))
		return false;
	queue->signalled_used = queue->next_used;
	queue->signalled = true;
	return first || (uint16_t)(queue->next_used - event - 1) < (uint16_t)(queue->next_used - before);
}

/* 2.7.10. Without EVENT_IDX the driver notifies always: we never set NO_NOTIFY. */
bool virtio_queue_arm(struct virtio_queue *queue)
{
	uint16_t available;

	if (queue->event_index && !ring_store(queue, queue->device + 4 + 8 * (uint64_t)queue->size, queue->next_available))
		return false;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return ring_load(queue, queue->driver + 2, &available) && available != queue->next_available;
}

static uint64_t segments_length(const struct virtio_chain *chain, unsigned from, unsigned to)
{
	uint64_t length = 0;

	for (unsigned i = from; i < to; i++)
		length += chain->segment[i].length;
	return length;
}

uint64_t virtio_chain_readable(const struct virtio_chain *chain)
{
	return segments_length(chain, chain->first, chain->readable);
}

uint64_t virtio_chain_writable(const struct virtio_chain *chain)
{
	return segments_length(chain, chain->readable, chain->segments);
}

uint64_t virtio_chain_take(struct virtio_chain *chain, void *buffer, uint64_t length)
{
	uint64_t done = 0;

	while (done < length && chain->first < chain->readable) {
		struct block_segment *segment = &chain->segment[chain->first];
		uint64_t here = segment->length < length - done ? segment->length : length - done;

		__builtin_memcpy((uint8_t *)buffer + done, segment->base, here);
		segment->base = (uint8_t *)segment->base + here;
		segment->length -= here;
		chain->gpa[chain->first] += here;
		done += here;
		if (segment->length == 0)
			chain->first++;
	}
	return done;
}

void virtio_chain_skip(struct virtio_chain *chain, uint64_t length)
{
	while (length && chain->first < chain->readable) {
		struct block_segment *segment = &chain->segment[chain->first];
		uint64_t here = segment->length < length ? segment->length : length;

		segment->base = (uint8_t *)segment->base + here;
		segment->length -= here;
		chain->gpa[chain->first] += here;
		length -= here;
		if (segment->length == 0)
			chain->first++;
	}
}

uint64_t virtio_chain_fill_at(struct virtio_chain *chain, uint64_t skip, const void *buffer, uint64_t length)
{
	uint64_t done = 0;

	for (unsigned i = chain->readable; i < chain->segments && done < length; i++) {
		const struct block_segment *segment = &chain->segment[i];
		uint64_t over = skip < segment->length ? skip : segment->length, room = segment->length - over;
		uint64_t here = room < length - done ? room : length - done;

		__builtin_memcpy((uint8_t *)segment->base + over, (const uint8_t *)buffer + done, here);
		skip -= over;
		done += here;
	}
	return done;
}

uint64_t virtio_chain_fill(struct virtio_chain *chain, const void *buffer, uint64_t length)
{
	return virtio_chain_fill_at(chain, 0, buffer, length);
}

uint64_t virtio_chain_cut_last(struct virtio_queue *queue, struct virtio_chain *chain)
{
	unsigned last = chain->segments - 1u;
	struct block_segment *segment = &chain->segment[last];
	uint64_t gpa = chain->gpa[last] + segment->length - 1;

	guest_memory_write_end(queue->memory, chain->gpa[last], segment->length);
	if (--segment->length == 0)
		chain->segments--;
	else
		bug_on(!guest_memory_write_begin(queue->memory, chain->gpa[last], segment->length));
	return gpa;
}
