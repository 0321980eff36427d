/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nvme_queue.c - commands off the submission queues and answers into the completion queues (NVM Express 1.4, 4.1, 7.2).
 *
 * A doorbell's write, or a request that comes back, runs nvme_run: it gathers what all queues hold under the lock and submits the batch
 * without it. A command is fetched only when its completion queue has a place for the answer, which is then promised to it, and
 * when the pool has a request; so nothing is ever held that could not be answered.
 */
#include "device/nvme_internal.h"

#define ENTRY_SUBMISSION 64u
#define OPCODE_EVENT_REQUEST 0x0c
/* A guest whose processors ring for more without end holds up no thread: after so many rounds others run for a while. */
#define ROUNDS_MAX (2 * BLOCK_ROUNDS_MAX)
#define PAUSE_NS UINT64_C(100000)

struct completion_entry { /* 4.6 */
	uint32_t result;
	uint32_t reserved;
	uint16_t head, queue;
	uint32_t id_phase_status;
};

_Static_assert(sizeof(struct nvme_command) == ENTRY_SUBMISSION, "a submission queue entry");
_Static_assert(sizeof(struct completion_entry) == 16, "a completion queue entry");

static uint16_t after(uint16_t index, uint16_t entries)
{
	return index + 1 == entries ? 0 : (uint16_t)(index + 1);
}

static uint32_t completion_room(const struct nvme_completion *completion)
{
	return (completion->head + completion->entries - completion->tail - 1u) % completion->entries;
}

/* By pin: asserted while an unmasked queue has entries that the guest has not taken (7.5.1.1). */
void nvme_interrupts_update(struct nvme *nvme)
{
	bool level = false;

	for (unsigned i = 0; i < NVME_QUEUES; i++) {
		const struct nvme_completion *completion = &nvme->completion[i];

		level = level || (completion->exists && completion->interrupts && completion->head != completion->tail);
	}
	pci_intx_set(&nvme->function, level && nvme->pin_used && !(nvme->interrupt_mask & 1));
}

static void nvme_interrupt(struct nvme *nvme, const struct nvme_completion *completion)
{
	bool pin_before = nvme->pin_used;

	if (!completion->interrupts)
		return;
	nvme->pin_used = !pci_msix_raise(&nvme->msix, completion->vector);
	if (nvme->pin_used || pin_before)
		nvme_interrupts_update(nvme);
}

/* Writes one entry, its phase last. */
static bool completion_post(struct nvme *nvme, struct nvme_completion *completion, const struct completion_entry *entry)
{
	uint64_t gpa = completion->base + 16u * (uint64_t)completion->tail;
	uint8_t *hva = guest_memory_write_begin(nvme->memory, gpa, sizeof(*entry));

	if (!hva)
		return false;
	__builtin_memcpy(hva, entry, offsetof(struct completion_entry, id_phase_status));
	__atomic_store_n((uint32_t *)(void *)(hva + 12), entry->id_phase_status, __ATOMIC_RELEASE);
	guest_memory_write_end(nvme->memory, gpa, sizeof(*entry));
	completion->tail = after(completion->tail, completion->entries);
	if (completion->tail == 0)
		completion->phase ^= 1;
	return true;
}

void nvme_answer(struct nvme *nvme, unsigned queue, uint16_t id, uint16_t status, uint32_t result)
{
	const struct nvme_submission *submission = &nvme->submission[queue];
	struct nvme_completion *completion = &nvme->completion[submission->completion];
	struct completion_entry entry = {
		.result = result,
		.head = submission->head,
		.queue = (uint16_t)queue,
		.id_phase_status = id | (uint32_t)completion->phase << 16 | (uint32_t)status << 17,
	};

	completion->promised--;
	if (nvme->resetting || nvme->status & NVME_CSTS_CFS)
		return;
	if (!completion_post(nvme, completion, &entry)) {
		nvme_fail(nvme, "a completion queue is not in RAM");
		return;
	}
	nvme_interrupt(nvme, completion);
}

void nvme_deletion_continue(struct nvme *nvme, unsigned queue)
{
	struct nvme_submission *submission = &nvme->submission[queue];

	if (!submission->deleting || submission->under_way)
		return;
	nvme->completion[submission->completion].users--;
	nvme_answer(nvme, 0, submission->delete_id, NVME_OK, 0);
	*submission = (struct nvme_submission){0};
}

/* --- asynchronous events, 5.2 --- */

static const struct {
	uint8_t event, type, info, page;
} events[] = {
	{NVME_EVENT_BAD_DOORBELL, 0, 0, 1},
	{NVME_EVENT_BAD_DOORBELL_VALUE, 0, 1, 1},
	{NVME_EVENT_NAMESPACE_CHANGED, 2, 0, 4},
};

/* An event request's place in the completion queue is not promised while it waits. */
void nvme_events_tell(struct nvme *nvme)
{
	struct nvme_completion *completion = &nvme->completion[0];

	for (unsigned i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
		if (!(nvme->event_pending & events[i].event) || nvme->event_masked & 1u << events[i].type)
			continue;
		if (!nvme->event_commands || !nvme_serving(nvme) || completion_room(completion) <= completion->promised)
			return;
		nvme->event_pending &= (uint8_t)~events[i].event;
		nvme->event_masked |= (uint8_t)(1u << events[i].type);
		completion->promised++;
		nvme_answer(nvme, 0, nvme->event_command[--nvme->event_commands], NVME_OK,
			    events[i].type | (uint32_t)events[i].info << 8 | (uint32_t)events[i].page << 16);
	}
}

void nvme_event(struct nvme *nvme, uint8_t event)
{
	nvme->event_pending |= event;
	nvme_events_tell(nvme);
}

/* --- gathering --- */

static struct nvme_request *request_next(struct nvme *nvme)
{
	if (nvme->free)
		return nvme->free;
	return nvme->used < NVME_REQUESTS ? &nvme->request[nvme->used] : NULL;
}

static void request_take(struct nvme *nvme, struct nvme_request *request)
{
	if (request == nvme->free)
		nvme->free = request->next_free;
	else
		nvme->used++;
	request->nvme = nvme;
}

void nvme_request_free(struct nvme *nvme, struct nvme_request *request)
{
	request->next_free = nvme->free;
	nvme->free = request;
}

static bool queue_ready(struct nvme *nvme, unsigned queue)
{
	const struct nvme_submission *submission = &nvme->submission[queue];
	const struct nvme_completion *completion = &nvme->completion[submission->completion];

	return nvme_serving(nvme) && submission->exists && !submission->deleting && submission->head != submission->tail &&
	       completion_room(completion) > completion->promised;
}

static void admin_serve(struct nvme *nvme, const struct nvme_command *command)
{
	uint32_t result = 0;
	uint16_t status = nvme_admin(nvme, command, &result);

	/* An event request keeps no place; any other that is answered later has its own. */
	if (status != NVME_ANSWER_LATER)
		nvme_answer(nvme, 0, command->id, status, result);
	else if (command->opcode == OPCODE_EVENT_REQUEST)
		nvme->completion[0].promised--;
}

/* Returns the request if there is something for the disk to do. */
static struct nvme_request *command_serve(struct nvme *nvme, unsigned queue, const struct nvme_command *command)
{
	struct nvme_request *request;
	uint16_t status;

	if (queue == 0) {
		admin_serve(nvme, command);
		nvme_events_tell(nvme);
		return NULL;
	}
	request = request_next(nvme);
	request_take(nvme, request);
	request->queue = (uint16_t)queue;
	request->id = command->id;
	status = nvme_io(nvme, request, command);
	if (status == NVME_ANSWER_LATER) {
		nvme->submission[queue].under_way++;
		nvme->under_way++;
		return request;
	}
	nvme_request_free(nvme, request);
	nvme_answer(nvme, queue, command->id, status, 0);
	return NULL;
}

/* At most a queue's length of commands. Returns the end of the list. */
static struct block_request **queue_gather(struct nvme *nvme, unsigned queue, struct block_request **end)
{
	struct nvme_submission *submission = &nvme->submission[queue];
	unsigned left = nvme->ended ? 0 : submission->entries;

	nvme->pending &= ~(1u << queue);
	while (queue_ready(nvme, queue) && left-- && request_next(nvme)) {
		uint64_t gpa = submission->base + ENTRY_SUBMISSION * (uint64_t)submission->head;
		struct nvme_command command;
		struct nvme_request *request;

		if (guest_memory_read(nvme->memory, gpa, &command, sizeof(command)) != STATUS_OK) {
			nvme_fail(nvme, "a submission queue is not in RAM");
			return end;
		}
		submission->head = after(submission->head, submission->entries);
		nvme->completion[submission->completion].promised++;
		request = command_serve(nvme, queue, &command);
		if (request) {
			*end = &request->block;
			end = &request->block.next;
		}
	}
	if (!nvme->ended && queue_ready(nvme, queue))
		nvme->pending |= 1u << queue;
	return end;
}

void nvme_run(struct nvme *nvme)
{
	unsigned rounds = 0;

	if (nvme->running)
		return;
	nvme->running = true;
	for (; nvme->pending && request_next(nvme) && rounds < ROUNDS_MAX; rounds++) {
		struct block_request *list = NULL, **end = &list;
		uint32_t pending = nvme->pending;

		for (unsigned queue = 0; queue < NVME_QUEUES; queue++)
			if (pending & 1u << queue)
				end = queue_gather(nvme, queue, end);
		*end = NULL;
		host_mutex_unlock(&nvme->lock);
		block_rounds_bound(list, rounds);
		if (list)
			block_submit(nvme->block, list);
		host_mutex_lock(&nvme->lock);
	}
	nvme->running = false;
	if (nvme->pending && request_next(nvme))
		timer_set(&nvme->timer, vm_clock_ns(nvme->clock) + PAUSE_NS);
}

void nvme_doorbell(struct nvme *nvme, unsigned index, uint32_t value)
{
	unsigned queue = index / 2;
	struct nvme_submission *submission = &nvme->submission[queue];
	struct nvme_completion *completion = &nvme->completion[queue];
	bool head = index & 1;

	if (!(nvme->status & NVME_CSTS_RDY) || nvme->resetting)
		return;
	if (!(head ? completion->exists : submission->exists && !submission->deleting)) {
		nvme_event(nvme, NVME_EVENT_BAD_DOORBELL);
		return;
	}
	if (value >= (head ? completion->entries : submission->entries)) {
		nvme_event(nvme, NVME_EVENT_BAD_DOORBELL_VALUE);
		return;
	}
	if (!head) {
		submission->tail = (uint16_t)value;
		nvme->pending |= 1u << queue;
	} else {
		/* Entries that were never posted cannot have been taken. */
		if ((value + completion->entries - completion->head) % completion->entries >
		    (uint32_t)(completion->tail + completion->entries - completion->head) % completion->entries) {
			nvme_event(nvme, NVME_EVENT_BAD_DOORBELL_VALUE);
			return;
		}
		completion->head = (uint16_t)value;
		nvme_interrupts_update(nvme);
		for (unsigned i = 0; i < NVME_QUEUES; i++)
			if (nvme->submission[i].exists && nvme->submission[i].completion == queue)
				nvme->pending |= 1u << i;
		if (queue == 0)
			nvme_events_tell(nvme);
	}
	nvme_run(nvme);
}
