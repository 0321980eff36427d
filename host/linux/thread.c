/* SPDX-License-Identifier: Apache-2.0 */
/*
 * thread.c - threads, and how they sleep on a word (futex(2)), of which host/sync.c makes the mutex and the event. include/holon/host.h has the
 * contract.
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "host/linux/linux.h"
#include "host/sync.h"

/* Room for libslirp, which a vcpu calls with frames of 64 KiB on the stack, one call within another. Committed when touched. */
#define STACK_BYTES (2 << 20)
#define SIGNAL_STACK_BYTES (32 << 10) /* a signal frame with all of AVX-512 is 4 KiB */
#define TIMER_SLACK_NS 1000

void sync_word_wait(_Atomic uint32_t *word, uint32_t value, uint64_t deadline_ns)
{
	const struct timespec until = {.tv_sec = (time_t)(deadline_ns / 1000000000), .tv_nsec = (long)(deadline_ns % 1000000000)};
	/* The kernel refuses seconds beyond KTIME_MAX; such a deadline never comes either. */
	bool forever = deadline_ns > INT64_MAX;

	/* The _BITSET form takes an absolute CLOCK_MONOTONIC time, which is host_time_ns(). */
	syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, value, forever ? NULL : &until, NULL, FUTEX_BITSET_MATCH_ANY);
}

void sync_word_wake(_Atomic uint32_t *word, bool all)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, all ? INT_MAX : 1, NULL, NULL, 0);
}

struct host_thread {
	pthread_t pthread;
	void (*main)(void *);
	void *argument;
	char name[16];
};

static void *thread_main(void *argument)
{
	struct host_thread *thread = argument;
	uint8_t signal_stack[SIGNAL_STACK_BYTES];
	/* Translated code has no stack: RSP is its context. Traps in it need one of their own. */
	stack_t alternate = {.ss_sp = signal_stack, .ss_size = sizeof(signal_stack)};

	sigaltstack(&alternate, NULL);
	pthread_setname_np(pthread_self(), thread->name);
	prctl(PR_SET_TIMERSLACK, TIMER_SLACK_NS); /* the guest's timers */
	thread->main(thread->argument);
	alternate.ss_flags = SS_DISABLE;
	sigaltstack(&alternate, NULL);
	return NULL;
}

/* Asynchronous signals belong to the main thread; faults stay where they happen. */
static void signals_to_main(sigset_t *old)
{
	static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGABRT, SIGSYS};
	sigset_t set;
	unsigned i;

	sigfillset(&set);
	for (i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		sigdelset(&set, faults[i]);
	pthread_sigmask(SIG_BLOCK, &set, old);
}

enum status host_thread_start(struct host_thread **started, const char *name, void (*main)(void *), void *argument)
{
	struct host_thread *thread = calloc(1, sizeof(*thread));
	pthread_attr_t attributes;
	sigset_t old;
	int error;

	if (!thread)
		return STATUS_NO_MEMORY;
	thread->main = main;
	thread->argument = argument;
	snprintf(thread->name, sizeof(thread->name), "%s", name);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	signals_to_main(&old);
	error = pthread_create(&thread->pthread, &attributes, thread_main, thread);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attributes);
	if (error) {
		free(thread);
		return host_status_of_errno(error == EAGAIN ? ENOMEM : error);
	}
	*started = thread;
	return STATUS_OK;
}

void host_thread_join(struct host_thread *thread)
{
	pthread_join(thread->pthread, NULL);
	free(thread);
}

void host_yield(void)
{
	sched_yield();
}
