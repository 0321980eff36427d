/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trial_dirty.c - does dirty logging find every write? A live VM's RAM is copied while the guest and its devices write on, the pages that the log names are
 * copied again, and when at last the machine stands still the copy has to be the RAM: what a live migration will rely on. Called from trials.c.
 */
#include <stdatomic.h>
#include <string.h>

#include "program/trials.h"

#define LIVE_ROUNDS 2

struct trial_dirty {
	struct vm *vm;
	uint8_t *copy;
	uint64_t *bitmap;
	uint64_t bitmap_size;
	uint64_t pages; /* copied again so far */
};

static enum status no_memory(struct reason *why)
{
	return reason_give(why, STATUS_NO_MEMORY,
			   "--check-dirty-every: no memory for a copy of the guest's; free some, or use a smaller --memory");
}

enum status trial_dirty_create(struct trial_dirty **made, struct vm *vm, struct reason *why)
{
	struct trial_dirty *trial = host_allocate(sizeof(*trial));

	*made = trial;
	if (!trial)
		return no_memory(why);
	trial->vm = vm;
	trial->bitmap_size = ((vm->memory.size >> GUEST_PAGE_SHIFT) + 63) / 64 * sizeof(uint64_t);
	trial->copy = host_allocate(vm->memory.size);
	trial->bitmap = host_allocate(trial->bitmap_size);
	return trial->copy && trial->bitmap ? STATUS_OK : no_memory(why);
}

void trial_dirty_destroy(struct trial_dirty *trial)
{
	if (!trial)
		return;
	if (trial->copy)
		host_free(trial->copy, trial->vm->memory.size);
	if (trial->bitmap)
		host_free(trial->bitmap, trial->bitmap_size);
	host_free(trial, sizeof(*trial));
}

static enum status log_follow(struct trial_dirty *trial)
{
	const struct guest_memory *memory = &trial->vm->memory;
	enum status status;

	memset(trial->bitmap, 0, trial->bitmap_size);
	status = trial->vm->engine->dirty_collect(trial->vm, trial->bitmap);
	for (uint64_t page = 0; !status && page < memory->size >> GUEST_PAGE_SHIFT; page++) {
		if (!(trial->bitmap[page / 64] >> page % 64 & 1))
			continue;
		memcpy(trial->copy + (page << GUEST_PAGE_SHIFT), memory->base + (page << GUEST_PAGE_SHIFT), GUEST_PAGE_SIZE);
		trial->pages++;
	}
	return status;
}

static enum status compare(const struct trial_dirty *trial, struct reason *why)
{
	const struct guest_memory *memory = &trial->vm->memory;

	for (uint64_t at = 0; at < memory->size; at += GUEST_PAGE_SIZE)
		if (memcmp(trial->copy + at, memory->base + at, GUEST_PAGE_SIZE))
			return reason_give(why, STATUS_INVALID,
					   "--check-dirty-every: engine %s: RAM page 0x%llx was written and is not dirty",
					   trial->vm->engine->name, (unsigned long long)(at >> GUEST_PAGE_SHIFT));
	return STATUS_OK;
}

enum status trial_dirty_run(struct trial_dirty *trial, struct reason *why)
{
	struct vm *vm = trial->vm;
	enum status status = vm->engine->dirty_start(vm);

	if (status)
		return reason_give(why, status, "--check-dirty-every: engine %s does not log: %s", vm->engine->name,
				   status_name(status));
	memcpy(trial->copy, vm->memory.base, vm->memory.size);
	for (unsigned i = 0; i < LIVE_ROUNDS && !status; i++)
		status = log_follow(trial);
	if (!vm_hold(vm)) {
		vm->engine->dirty_stop(vm);
		return STATUS_CANCELLED;
	}
	if (!status)
		status = log_follow(trial);
	if (status)
		reason_give(why, status, "--check-dirty-every: engine %s does not give its log: %s", vm->engine->name,
			    status_name(status));
	else
		status = compare(trial, why);
	vm->engine->dirty_stop(vm);
	vm_release(vm);
	if (!status)
		atomic_fetch_add(&vm->dirty_checks, 1);
	host_log(HOST_LOG_DEBUG, "--check-dirty-every: %llu pages so far were dirty", (unsigned long long)trial->pages);
	return status;
}
