/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nvme_admin.c - the admin command set (NVM Express 1.4, 5): queues, features, identify, logs, abort, asynchronous events.
 */
#include "device/nvme_internal.h"

#define FEATURE_ARBITRATION 0x01
#define FEATURE_POWER 0x02
#define FEATURE_TEMPERATURE 0x04
#define FEATURE_ERROR_RECOVERY 0x05
#define FEATURE_QUEUES 0x07
#define FEATURE_COALESCING 0x08
#define FEATURE_VECTOR 0x09
#define FEATURE_ATOMICITY 0x0a
#define FEATURE_SAVE (1u << 31)
#define QUEUE_CONTIGUOUS 1u
#define QUEUE_INTERRUPTS 2u
#define NOT_ABORTED 1u

bool nvme_queue_base_good(uint64_t base)
{
	return base % NVME_PAGE == 0 && base <= UINT64_MAX - (uint64_t)64 * 4096;
}

static bool queue_number_good(unsigned queue)
{
	return queue && queue < NVME_QUEUES;
}

static uint16_t completion_create(struct nvme *nvme, const struct nvme_command *command)
{
	unsigned queue = command->dword10 & 0xffff, entries = (command->dword10 >> 16) + 1, vector = command->dword11 >> 16;

	if (!queue_number_good(queue) || nvme->completion[queue].exists)
		return NVME_INVALID_QUEUE;
	if (entries < 2 || entries > NVME_QUEUE_ENTRIES)
		return NVME_INVALID_QUEUE_SIZE;
	if (!(command->dword11 & QUEUE_CONTIGUOUS))
		return NVME_INVALID_FIELD;
	if (!nvme_queue_base_good(command->prp1))
		return NVME_PRP_OFFSET_INVALID;
	if (vector >= nvme->msix.vectors)
		return NVME_INVALID_VECTOR;
	nvme->completion[queue] = (struct nvme_completion){
		.exists = 1,
		.interrupts = (command->dword11 & QUEUE_INTERRUPTS) != 0,
		.phase = 1,
		.vector = (uint16_t)vector,
		.entries = (uint16_t)entries,
		.base = command->prp1,
	};
	return NVME_OK;
}

static uint16_t submission_create(struct nvme *nvme, const struct nvme_command *command)
{
	unsigned queue = command->dword10 & 0xffff, entries = (command->dword10 >> 16) + 1, completion = command->dword11 >> 16;

	if (!queue_number_good(completion) || !nvme->completion[completion].exists)
		return NVME_COMPLETION_QUEUE_INVALID;
	if (!queue_number_good(queue) || nvme->submission[queue].exists)
		return NVME_INVALID_QUEUE;
	if (entries < 2 || entries > NVME_QUEUE_ENTRIES)
		return NVME_INVALID_QUEUE_SIZE;
	if (!(command->dword11 & QUEUE_CONTIGUOUS))
		return NVME_INVALID_FIELD;
	if (!nvme_queue_base_good(command->prp1))
		return NVME_PRP_OFFSET_INVALID;
	nvme->submission[queue] = (struct nvme_submission){
		.exists = 1,
		.entries = (uint16_t)entries,
		.completion = (uint16_t)completion,
		.base = command->prp1,
	};
	nvme->completion[completion].users++;
	return NVME_OK;
}

static uint16_t completion_delete(struct nvme *nvme, const struct nvme_command *command)
{
	unsigned queue = command->dword10 & 0xffff;

	if (!queue_number_good(queue) || !nvme->completion[queue].exists)
		return NVME_INVALID_QUEUE;
	if (nvme->completion[queue].users)
		return NVME_INVALID_QUEUE_DELETION;
	nvme->completion[queue] = (struct nvme_completion){0};
	nvme_interrupts_update(nvme);
	return NVME_OK;
}

static uint16_t submission_delete(struct nvme *nvme, const struct nvme_command *command)
{
	unsigned queue = command->dword10 & 0xffff;

	if (!queue_number_good(queue) || !nvme->submission[queue].exists || nvme->submission[queue].deleting)
		return NVME_INVALID_QUEUE;
	nvme->submission[queue].deleting = 1;
	nvme->submission[queue].delete_id = command->id;
	nvme_deletion_continue(nvme, queue);
	return NVME_ANSWER_LATER;
}

/* An event request can be taken back. What is with the disk cannot, and says so; what was never here neither (5.1). */
static uint16_t command_abort(struct nvme *nvme, const struct nvme_command *command, uint32_t *result)
{
	uint16_t queue = (uint16_t)command->dword10, id = (uint16_t)(command->dword10 >> 16);

	*result = NOT_ABORTED;
	for (unsigned i = 0; queue == 0 && i < nvme->event_commands; i++) {
		if (nvme->event_command[i] != id)
			continue;
		/* Its answer takes a place that nobody has promised it yet; one is kept for this command alone. */
		if ((nvme->completion[0].head + nvme->completion[0].entries - nvme->completion[0].tail - 1u) %
			    nvme->completion[0].entries <=
		    nvme->completion[0].promised)
			break;
		nvme->event_command[i] = nvme->event_command[--nvme->event_commands];
		nvme->completion[0].promised++;
		nvme_answer(nvme, 0, id, NVME_ABORT_REQUESTED, 0);
		*result = 0;
		break;
	}
	return NVME_OK;
}

static uint16_t event_request(struct nvme *nvme, const struct nvme_command *command)
{
	if (nvme->event_commands == NVME_EVENTS_MAX)
		return NVME_EVENT_LIMIT;
	nvme->event_command[nvme->event_commands++] = command->id;
	return NVME_ANSWER_LATER;
}

static uint16_t identify(struct nvme *nvme, const struct nvme_command *command)
{
	uint8_t bytes[NVME_PAGE];
	uint16_t status;

	if (!nvme_identify(nvme, command->dword10 & 0xff, command->namespace, bytes, &status))
		return status;
	return nvme_data_write(nvme, command, bytes, sizeof(bytes));
}

static uint16_t log_get(struct nvme *nvme, const struct nvme_command *command)
{
	uint64_t wanted = 4 * ((uint64_t)(command->dword10 >> 16 | (command->dword11 & 0xffff) << 16) + 1);
	uint64_t offset = command->dword12 | (uint64_t)command->dword13 << 32;
	uint8_t bytes[NVME_PAGE];
	uint32_t length;
	struct nvme_extent extent[NVME_EXTENTS];
	unsigned extents;
	uint16_t status;

	if (command->namespace != 0 && command->namespace != NVME_ALL_NAMESPACES)
		return NVME_INVALID_FIELD; /* no page is a namespace's own */
	status = nvme_extents(nvme, command, wanted, extent, &extents);
	if (status != NVME_OK) /* before a page is read that clears itself */
		return status;
	if (!nvme_log(nvme, command->dword10 & 0xff, command->dword10 & 0x8000, bytes, &length))
		return NVME_INVALID_LOG_PAGE;
	if (offset & 3 || offset >= length)
		return NVME_INVALID_FIELD;
	/* What is asked for behind the page's end is undefined: it stays as it is. */
	return nvme_data_write(nvme, command, bytes + offset, wanted < length - offset ? wanted : length - offset);
}

/* 5.21.1.7. Both counts are one less than the number; so is what is granted. */
static uint16_t feature_queues(struct nvme *nvme, uint32_t value, uint32_t *result)
{
	uint32_t submission = value & 0xffff, completion = value >> 16, most = NVME_QUEUES - 2;

	if (submission == 0xffff || completion == 0xffff)
		return NVME_INVALID_FIELD;
	submission = submission < most ? submission : most;
	completion = completion < most ? completion : most;
	nvme->feature[FEATURE_QUEUES] = submission | completion << 16;
	*result = nvme->feature[FEATURE_QUEUES];
	return NVME_OK;
}

static uint16_t feature_set(struct nvme *nvme, const struct nvme_command *command, uint32_t *result)
{
	uint8_t feature = command->dword10 & 0xff;
	uint32_t value = command->dword11;

	if (command->dword10 & FEATURE_SAVE)
		return NVME_FEATURE_NOT_SAVEABLE;
	switch (feature) {
	case FEATURE_QUEUES: return feature_queues(nvme, value, result);
	case FEATURE_POWER:
		if (value & 0x1f)
			return NVME_INVALID_FIELD; /* there is one power state */
		break;
	case FEATURE_TEMPERATURE:
		if (value & 0x3f0000)
			return NVME_OK; /* sensors that there are not, the lower limit: taken, and never reached */
		break;
	case FEATURE_VECTOR:
		if ((value & 0xffff) >= nvme->msix.vectors)
			return NVME_INVALID_FIELD;
		return NVME_OK; /* no vector's interrupts are coalesced */
	case NVME_FEATURE_WRITE_CACHE: value &= 1; break;
	case FEATURE_ARBITRATION:
	case FEATURE_ERROR_RECOVERY:
	case FEATURE_COALESCING:
	case FEATURE_ATOMICITY:
	case NVME_FEATURE_EVENTS: break;
	default: return NVME_INVALID_FIELD;
	}
	nvme->feature[feature] = value;
	return NVME_OK;
}

static uint16_t feature_get(struct nvme *nvme, const struct nvme_command *command, uint32_t *result)
{
	uint8_t feature = command->dword10 & 0xff;

	if (!feature || feature >= NVME_FEATURES || feature == 3) /* 3: LBA ranges */
		return NVME_INVALID_FIELD;
	if (feature == FEATURE_VECTOR) {
		if ((command->dword11 & 0xffff) >= nvme->msix.vectors)
			return NVME_INVALID_FIELD;
		*result = (command->dword11 & 0xffff) | 1u << 16; /* coalescing disabled */
	} else if (feature == FEATURE_TEMPERATURE && command->dword11 & 0x3f0000) {
		*result = 0;
	} else {
		*result = nvme->feature[feature];
	}
	return NVME_OK;
}

uint16_t nvme_admin(struct nvme *nvme, const struct nvme_command *command, uint32_t *result)
{
	if (command->flags & 3)
		return NVME_INVALID_FIELD; /* fused operations */
	switch (command->opcode) {
	case 0x00: return submission_delete(nvme, command);
	case 0x01: return submission_create(nvme, command);
	case 0x02: return log_get(nvme, command);
	case 0x04: return completion_delete(nvme, command);
	case 0x05: return completion_create(nvme, command);
	case 0x06: return identify(nvme, command);
	case 0x08: return command_abort(nvme, command, result);
	case 0x09: return feature_set(nvme, command, result);
	case 0x0a: return feature_get(nvme, command, result);
	case 0x0c: return event_request(nvme, command);
	default: return NVME_INVALID_OPCODE;
	}
}
