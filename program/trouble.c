/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trouble.c - onerror=pause: one thread that pauses the VM as long as any of its disks waits for the host. Called from disks.c and run.c.
 *
 * Disks report from threads that must go on, so that a request can come back and a vcpu can stand; pausing waits for every vcpu, so it is
 * done here.
 */
#include "program/trouble.h"

#include <stdatomic.h>

#include <holon/vm.h>

static struct {
	struct vm *vm;
	struct host_thread *thread;
	struct host_event changed;
	_Atomic int disks; /* that wait */
	_Atomic bool end;
} trouble; /* one VM a process */

static void trouble_waiting(void *object, bool waiting)
{
	(void)object;
	atomic_fetch_add(&trouble.disks, waiting ? 1 : -1);
	host_event_set(&trouble.changed);
}

const struct block_retry_owner trouble_owner = {trouble_waiting, NULL};

static void trouble_main(void *argument)
{
	bool paused = false;

	(void)argument;
	for (;;) {
		bool wanted;

		host_event_wait(&trouble.changed, HOST_FOREVER);
		if (atomic_load(&trouble.end))
			return;
		wanted = atomic_load(&trouble.disks) > 0;
		if (wanted && !paused)
			vm_pause(trouble.vm);
		else if (!wanted && paused)
			vm_resume(trouble.vm);
		paused = wanted;
	}
}

enum status trouble_start(struct vm *vm, struct reason *why)
{
	enum status status;

	trouble.vm = vm;
	status = host_thread_start(&trouble.thread, "trouble", trouble_main, NULL);
	return status ? reason_give(why, status, "disks: no thread: %s; raise the limit on threads", status_name(status))
		      : STATUS_OK;
}

void trouble_stop(void)
{
	if (!trouble.thread)
		return;
	atomic_store(&trouble.end, true);
	host_event_set(&trouble.changed);
	host_thread_join(trouble.thread);
	trouble.thread = NULL;
}
