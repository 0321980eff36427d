/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sync.h - what host/sync.c asks of a platform to make mutexes and events: threads that sleep on a word, as with Linux's futex(2).
 */
#ifndef HOLON_HOST_SYNC_H
#define HOLON_HOST_SYNC_H

#include <stdbool.h>
#include <stdint.h>

/* Sleeps if *word is `value`, until a wake of that word or host_time_ns() reaches the deadline; may also return for no reason. */
void sync_word_wait(_Atomic uint32_t *word, uint32_t value, uint64_t deadline_ns);
/* Wakes one of those that sleep on it, or all. */
void sync_word_wake(_Atomic uint32_t *word, bool all);

#endif
