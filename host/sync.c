/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sync.c - the mutex and the event of host.h, on any platform whose threads can sleep on a word (sync.h).
 *
 * mutex: 0 free, 1 taken, 2 taken and somebody may sleep. event: 0 unset, 1 set, 2 unset and somebody may sleep.
 * An event wakes every sleeper; the first takes it and the others sleep again.
 */
#include "host/sync.h"

#include <stdatomic.h>

#include <holon/host.h>

#define SPINS 40

static bool exchange_if(_Atomic uint32_t *word, uint32_t from, uint32_t to)
{
	return atomic_compare_exchange_strong(word, &from, to);
}

void host_mutex_lock(struct host_mutex *mutex)
{
	unsigned spin;

	for (spin = 0; spin < SPINS; spin++) {
		if (exchange_if(&mutex->word, 0, 1))
			return;
		__builtin_ia32_pause();
	}
	while (atomic_exchange(&mutex->word, 2))
		sync_word_wait(&mutex->word, 2, HOST_FOREVER);
}

bool host_mutex_try(struct host_mutex *mutex)
{
	return exchange_if(&mutex->word, 0, 1);
}

void host_mutex_unlock(struct host_mutex *mutex)
{
	if (atomic_exchange(&mutex->word, 0) == 2)
		sync_word_wake(&mutex->word, false);
}

void host_event_set(struct host_event *event)
{
	if (atomic_exchange(&event->word, 1) == 2)
		sync_word_wake(&event->word, true);
}

bool host_event_wait(struct host_event *event, uint64_t deadline_ns)
{
	for (;;) {
		if (exchange_if(&event->word, 1, 0))
			return true;
		if (deadline_ns != HOST_FOREVER && host_time_ns() >= deadline_ns)
			return false;
		if (exchange_if(&event->word, 0, 2) || atomic_load(&event->word) == 2)
			sync_word_wait(&event->word, 2, deadline_ns);
	}
}
