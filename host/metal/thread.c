/* SPDX-License-Identifier: Apache-2.0 */
/*
 * thread.c - threads of the bare-metal Holon, on one processor: those that are ready take turns of a millisecond, the others sleep on a word
 * (host/sync.h) until they are woken or their deadline comes.
 *
 * A switch is always a trap, by the timer or by INT VECTOR_SWITCH: so every thread that does not run has all its registers in a trap_frame, and C code
 * and translated code are switched alike. A thread whose deadline has come goes on at once, before those that wait for their turn: it is mostly
 * the clock of a vm. The idle thread runs when no other can, and halts the processor.
 */
#include "host/metal/internal.h"
#include "host/metal/lock.h"
#include "host/sync.h"

#define STACK_BYTES (64u << 10)
#define TURN_NS 1000000u
#define RFLAGS_INTERRUPTS 0x202u

enum thread_state { THREAD_READY, THREAD_RUNNING, THREAD_SLEEPING, THREAD_ENDED };

struct host_thread {
	struct trap_frame frame; /* while it does not run */
	uint8_t *vector;         /* likewise */
	enum thread_state state;
	struct host_thread *next; /* in the ready queue or among the sleepers */
	const _Atomic uint32_t *sleeps_on;
	uint64_t deadline_ns;
	_Atomic uint32_t ended; /* and never runs again: join may free it */
	void (*main)(void *);
	void *argument;
	uint8_t *stack;
	char name[16];
};

static struct {
	struct lock lock;
	struct host_thread *running;
	struct host_thread *ready, **ready_end;
	struct host_thread *sleepers;
	struct host_thread first, *idle;
} threads = {.ready_end = &threads.ready};

static void switch_now(void)
{
	__asm__ volatile("int %0" : : "i"(VECTOR_SWITCH) : "memory");
}

static void ready_first_locked(struct host_thread *thread)
{
	thread->state = THREAD_READY;
	thread->next = threads.ready;
	if (!threads.ready)
		threads.ready_end = &thread->next;
	threads.ready = thread;
}

static void ready_last_locked(struct host_thread *thread)
{
	thread->state = THREAD_READY;
	thread->next = NULL;
	*threads.ready_end = thread;
	threads.ready_end = &thread->next;
}

static struct host_thread *ready_take_locked(void)
{
	struct host_thread *thread = threads.ready;

	if (!thread)
		return threads.idle;
	threads.ready = thread->next;
	if (!threads.ready)
		threads.ready_end = &threads.ready;
	return thread;
}

/* Those that sleep on `word`, one or all. true: there was one. */
static bool wake_locked(const _Atomic uint32_t *word, bool all)
{
	struct host_thread **at = &threads.sleepers, *thread;
	bool any = false;

	while (*at && (all || !any)) {
		thread = *at;
		if (thread->sleeps_on != word) {
			at = &thread->next;
			continue;
		}
		*at = thread->next;
		ready_last_locked(thread);
		any = true;
	}
	return any;
}

static void wake_due_locked(uint64_t now)
{
	struct host_thread **at = &threads.sleepers, *thread;

	while (*at) {
		thread = *at;
		if (thread->deadline_ns > now) {
			at = &thread->next;
			continue;
		}
		*at = thread->next;
		ready_first_locked(thread);
	}
}

static void timer_arm_locked(uint64_t now)
{
	uint64_t next = threads.ready ? now + TURN_NS : HOST_FOREVER;

	for (const struct host_thread *thread = threads.sleepers; thread; thread = thread->next) {
		if (thread->deadline_ns < next)
			next = thread->deadline_ns;
	}
	apic_timer_set(next);
}

/* Puts the running thread where it belongs now. */
static void running_leave_locked(struct host_thread *thread)
{
	switch (thread->state) {
	case THREAD_RUNNING:
		if (thread == threads.idle)
			thread->state = THREAD_READY;
		else
			ready_last_locked(thread);
		break;
	case THREAD_SLEEPING:
		thread->next = threads.sleepers;
		threads.sleepers = thread;
		break;
	case THREAD_ENDED:
		atomic_store(&thread->ended, 1);
		(void)wake_locked(&thread->ended, true);
		break;
	case THREAD_READY: break;
	}
}

struct trap_frame *thread_switch(struct trap_frame *frame)
{
	uint64_t flags = lock_take(&threads.lock), now = host_time_ns();
	struct host_thread *before = threads.running, *next;

	running_leave_locked(before);
	wake_due_locked(now);
	next = ready_take_locked();
	if (next != before) {
		before->frame = *frame;
		xstate_save(before->vector);
		xstate_load(next->vector);
		threads.running = next;
		frame = &next->frame;
	}
	next->state = THREAD_RUNNING;
	timer_arm_locked(now);
	lock_release(&threads.lock, flags);
	return frame;
}

void sync_word_wait(_Atomic uint32_t *word, uint32_t value, uint64_t deadline_ns)
{
	uint64_t flags = lock_take(&threads.lock);
	struct host_thread *thread = threads.running;
	bool sleep = atomic_load(word) == value;

	/* From here on the next switch, whoever causes it, takes the processor away until there is a wake. */
	if (sleep) {
		thread->sleeps_on = word;
		thread->deadline_ns = deadline_ns;
		thread->state = THREAD_SLEEPING;
	}
	lock_release(&threads.lock, flags);
	if (sleep)
		switch_now();
}

void sync_word_wake(_Atomic uint32_t *word, bool all)
{
	uint64_t flags = lock_take(&threads.lock);

	/* The running thread had the processor for itself: now there are turns. */
	if (wake_locked(word, all))
		timer_arm_locked(host_time_ns());
	lock_release(&threads.lock, flags);
}

static void idle_main(void *argument)
{
	(void)argument;
	for (;;)
		__asm__ volatile("hlt");
}

static void thread_main(struct host_thread *thread)
{
	thread->main(thread->argument);
	thread->state = THREAD_ENDED;
	switch_now();
	__builtin_unreachable();
}

static void name_set(struct host_thread *thread, const char *name)
{
	host_format(thread->name, sizeof(thread->name), "%s", name);
}

static struct host_thread *thread_make(const char *name, void (*main)(void *), void *argument)
{
	struct host_thread *thread = host_allocate(sizeof(*thread));

	if (!thread)
		return NULL;
	thread->vector = host_allocate(xstate_size());
	thread->stack = heap_stack_make(STACK_BYTES);
	if (!thread->vector || !thread->stack) {
		host_free(thread->vector, xstate_size());
		host_free(thread->stack, STACK_BYTES);
		host_free(thread, sizeof(*thread));
		return NULL;
	}
	xstate_init(thread->vector);
	name_set(thread, name);
	thread->main = main;
	thread->argument = argument;
	thread->frame = (struct trap_frame){
		.rip = (uint64_t)(uintptr_t)thread_main,
		.cs = SELECTOR_CODE,
		.rflags = RFLAGS_INTERRUPTS,
		.rsp = (uint64_t)(uintptr_t)thread->stack + STACK_BYTES - 8, /* as after a call */
		.ss = SELECTOR_DATA,
		.rdi = (uint64_t)(uintptr_t)thread,
	};
	return thread;
}

void thread_start(void)
{
	threads.first.vector = host_allocate(xstate_size());
	name_set(&threads.first, "main");
	threads.first.state = THREAD_RUNNING;
	threads.running = &threads.first;
	threads.idle = thread_make("idle", idle_main, NULL);
	if (!threads.idle || !threads.first.vector) {
		host_log(HOST_LOG_ERROR, "no memory for the first threads; Holon needs a machine with more");
		power_end(1);
	}
	xstate_init(threads.first.vector);
	__asm__ volatile("sti" : : : "memory");
}

enum status host_thread_start(struct host_thread **started, const char *name, void (*main)(void *), void *argument)
{
	struct host_thread *thread = thread_make(name, main, argument);
	uint64_t flags;

	if (!thread)
		return STATUS_NO_MEMORY;
	*started = thread;
	flags = lock_take(&threads.lock);
	ready_last_locked(thread);
	timer_arm_locked(host_time_ns());
	lock_release(&threads.lock, flags);
	return STATUS_OK;
}

void host_thread_join(struct host_thread *thread)
{
	while (!atomic_load(&thread->ended))
		sync_word_wait(&thread->ended, 0, HOST_FOREVER);
	host_free(thread->vector, xstate_size());
	host_free(thread->stack, STACK_BYTES);
	host_free(thread, sizeof(*thread));
}

void host_yield(void)
{
	switch_now();
}

/* One processor: whatever another thread did before it was switched away from, it did. */
void host_barrier_all(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

const char *thread_name(void)
{
	return threads.running ? threads.running->name : "main";
}
