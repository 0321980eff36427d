/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lock.h - a ticket lock that keeps interrupts off while it is held: what the scheduler, the heap and the frames stand on, also in trap handlers.
 * Zeroed memory is an unlocked one. First come, first served, should there be more than one processor.
 */
#ifndef HOLON_HOST_METAL_LOCK_H
#define HOLON_HOST_METAL_LOCK_H

#include <stdatomic.h>
#include <stdint.h>

struct lock {
	_Atomic uint32_t next, serving;
};

/* Returns the flags for lock_release: whether interrupts were on. */
static inline uint64_t lock_take(struct lock *lock)
{
	uint64_t flags;
	uint32_t ticket;

	__asm__ volatile("pushfq\n\tpopq %0\n\tcli" : "=r"(flags) : : "memory");
	ticket = atomic_fetch_add_explicit(&lock->next, 1, memory_order_relaxed);
	while (atomic_load_explicit(&lock->serving, memory_order_acquire) != ticket)
		__builtin_ia32_pause();
	return flags;
}

static inline void lock_release(struct lock *lock, uint64_t flags)
{
	atomic_store_explicit(&lock->serving, atomic_load_explicit(&lock->serving, memory_order_relaxed) + 1, memory_order_release);
	if (flags & 0x200)
		__asm__ volatile("sti" : : : "memory");
}

#endif
