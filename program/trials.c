/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trials.c - tries a live VM every so many milliseconds: moves it to the next engine of this host, rebuilds it from its saved state,
 * makes its disks longer, or checks its dirty log (trial_dirty.c).
 *
 * A thread of its own between run.c and vm/rebuild.c. The next trial is due a period after the last one has ended, so that the guest gets on however
 * long they take. One that fails ends the VM: a test must see it.
 */
#include "program/trials.h"

#include <holon/block.h>
#include <holon/board.h>

#define TRIAL_ENGINES 8
#define MS_NS UINT64_C(1000000)
#define GROWTH (UINT64_C(1) << 20)

struct trials {
	struct vm *vm;
	const struct engine *engine[TRIAL_ENGINES]; /* that work here, the table's order */
	unsigned engines, current;
	struct block **disk;
	uint64_t switch_due_ns, rebuild_due_ns, grow_due_ns, dirty_due_ns; /* host time */
	struct trial_dirty *dirty;
	struct host_thread *thread;
	struct host_event wake;
	_Atomic bool stopping;
};

static enum status engines_find(struct trials *trials, struct reason *why)
{
	for (unsigned i = 0; engines[i] && trials->engines < TRIAL_ENGINES; i++) {
		struct reason found = {""};

		if (engines[i] != trials->vm->engine && engines[i]->probe(&found)) {
			host_log(HOST_LOG_INFO, "--engine-switch-every: not engine %s", found.text);
			continue;
		}
		if (engines[i] == trials->vm->engine)
			trials->current = trials->engines;
		trials->engine[trials->engines++] = engines[i];
	}
	if (trials->engines > 1)
		return STATUS_OK;
	return reason_give(why, STATUS_UNSUPPORTED,
			   "--engine-switch-every: only engine %s works on this host, and there must be two; leave it out",
			   trials->vm->engine->name);
}

enum status trials_create(struct trials **made, struct vm *vm, struct block **disk, struct reason *why)
{
	const struct vm_config *config = vm->config;
	struct trials *trials;
	enum status status = STATUS_OK;

	*made = NULL;
	if (!config->engine_switch_ms && !config->rebuild_ms && !config->grow_ms && !config->check_dirty_ms)
		return STATUS_OK;
	trials = host_allocate(sizeof(*trials));
	if (!trials)
		return reason_give(why, STATUS_NO_MEMORY, "no memory for trials of the running VM; free some");
	trials->vm = vm;
	trials->disk = disk;
	if (config->engine_switch_ms)
		status = engines_find(trials, why);
	if (!status && config->check_dirty_ms)
		status = trial_dirty_create(&trials->dirty, vm, why);
	if (status)
		trials_destroy(trials);
	else
		*made = trials;
	return status;
}

static uint64_t due_after(uint32_t ms)
{
	return ms ? host_time_ns() + ms * MS_NS : HOST_FOREVER;
}

static enum status next_engine(struct trials *trials, struct reason *why)
{
	trials->current = (trials->current + 1) % trials->engines;
	return vm_engine_switch(trials->vm, trials->engine[trials->current], why);
}

static enum status disks_grow(struct trials *trials, struct reason *why)
{
	enum status status = STATUS_OK;

	for (unsigned i = 0; !status && i < trials->vm->config->disks; i++)
		if (trials->disk[i] && !trials->disk[i]->readonly)
			status = board_disk_resize(trials->vm->board, i, trials->disk[i]->size + GROWTH, why);
	return status;
}

/* The trial that is due, if one is. */
static enum status trial(struct trials *trials, struct reason *why)
{
	const struct vm_config *config = trials->vm->config;
	uint64_t now = host_time_ns();
	enum status status = STATUS_OK;

	if (now >= trials->switch_due_ns) {
		status = next_engine(trials, why);
		trials->switch_due_ns = due_after(config->engine_switch_ms);
	} else if (now >= trials->rebuild_due_ns) {
		status = vm_rebuild(trials->vm, why);
		trials->rebuild_due_ns = due_after(config->rebuild_ms);
	} else if (now >= trials->grow_due_ns) {
		status = disks_grow(trials, why);
		trials->grow_due_ns = due_after(config->grow_ms);
	} else if (now >= trials->dirty_due_ns) {
		status = trial_dirty_run(trials->dirty, why);
		trials->dirty_due_ns = due_after(config->check_dirty_ms);
	}
	return status;
}

static uint64_t next_due(const struct trials *trials)
{
	uint64_t due = trials->switch_due_ns < trials->rebuild_due_ns ? trials->switch_due_ns : trials->rebuild_due_ns;

	due = due < trials->grow_due_ns ? due : trials->grow_due_ns;
	return due < trials->dirty_due_ns ? due : trials->dirty_due_ns;
}

static void trials_main(void *argument)
{
	struct trials *trials = argument;
	enum status status = STATUS_OK;
	struct reason why = {""};

	while (!status && !trials->stopping) {
		host_event_wait(&trials->wake, next_due(trials));
		if (!trials->stopping)
			status = trial(trials, &why);
	}
	if (!status || status == STATUS_CANCELLED)
		return;
	host_log(HOST_LOG_ERROR, "%s", why.text[0] ? why.text : status_name(status));
	vm_end_request(trials->vm, VM_END_FAILURE);
}

void trials_start(struct trials *trials)
{
	enum status status;

	if (!trials)
		return;
	trials->switch_due_ns = due_after(trials->vm->config->engine_switch_ms);
	trials->rebuild_due_ns = due_after(trials->vm->config->rebuild_ms);
	trials->grow_due_ns = due_after(trials->vm->config->grow_ms);
	trials->dirty_due_ns = due_after(trials->vm->config->check_dirty_ms);
	status = host_thread_start(&trials->thread, "trials", trials_main, trials);
	if (status) {
		host_log(HOST_LOG_ERROR, "trials of the running VM: no thread: %s; raise the limit on threads",
			 status_name(status));
		vm_end_request(trials->vm, VM_END_FAILURE);
	}
}

void trials_stop(struct trials *trials)
{
	if (!trials || !trials->thread)
		return;
	trials->stopping = true;
	host_event_set(&trials->wake);
	host_thread_join(trials->thread);
	trials->thread = NULL;
}

void trials_destroy(struct trials *trials)
{
	if (!trials)
		return;
	trial_dirty_destroy(trials->dirty);
	host_free(trials, sizeof(*trials));
}
