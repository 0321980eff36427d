/* SPDX-License-Identifier: Apache-2.0 */
/*
 * signal.c - the signals that ask Holon for something, taken synchronously by one thread; and the last words of a crash.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "host/linux/linux.h"

static void signals_wanted(sigset_t *set)
{
	static const int wanted[] = {SIGINT, SIGTERM, SIGHUP, SIGCONT, SIGUSR1, SIGUSR2};
	unsigned i;

	sigemptyset(set);
	for (i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		sigaddset(set, wanted[i]);
}

static void (*_Atomic crash_hook)(void);

void host_crash_hook_set(void (*hook)(void))
{
	atomic_store(&crash_hook, hook);
}

_Noreturn void host_crash(int signal_number)
{
	void (*hook)(void) = atomic_exchange(&crash_hook, NULL);
	sigset_t set;

	if (hook)
		hook();
	signal(signal_number, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, signal_number);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	raise(signal_number);
	_exit(128 + signal_number);
}

/* Only where nobody has a handler yet: host/linux/code.c sees faults of guest instructions first and calls host_crash for the others. */
static void crash_handlers_install(void)
{
	static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS, SIGQUIT};
	struct sigaction action = {.sa_handler = (void (*)(int))host_crash, .sa_flags = SA_ONSTACK}, old;
	unsigned i;

	for (i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		if (!sigaction(faults[i], NULL, &old) && !(old.sa_flags & SA_SIGINFO) && old.sa_handler == SIG_DFL)
			sigaction(faults[i], &action, NULL);
}

__attribute__((no_sanitize("address", "thread", "undefined"))) void host_signal_keep(int signal_number)
{
	uint64_t set = UINT64_C(1) << (signal_number - 1); /* as the kernel has it */

	syscall(SYS_rt_sigprocmask, SIG_BLOCK, &set, NULL, sizeof(set));
}

void host_signals_block(void)
{
	sigset_t set;

	signals_wanted(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	crash_handlers_install();
}

int host_signal_wait(uint64_t deadline_ns)
{
	struct timespec left;
	uint64_t now;
	sigset_t set;
	int got;

	signals_wanted(&set);
	for (;;) {
		now = host_time_ns();
		if (deadline_ns <= now)
			return 0;
		/* sigtimedwait's limit is relative; a long wait is cut into pieces that fit its type. */
		left.tv_sec = (time_t)((deadline_ns - now) / 1000000000);
		left.tv_nsec = (long)((deadline_ns - now) % 1000000000);
		got = deadline_ns == HOST_FOREVER ? sigwaitinfo(&set, NULL) : sigtimedwait(&set, NULL, &left);
		if (got > 0)
			return got;
	}
}

bool host_signal_asks(void)
{
	sigset_t come;

	sigpending(&come);
	return sigismember(&come, SIGINT) > 0 || sigismember(&come, SIGTERM) > 0 || sigismember(&come, SIGHUP) > 0;
}

_Noreturn void host_bug(const char *file, int line, const char *what)
{
	host_log(HOST_LOG_ERROR, "bug in Holon at %s:%d: %s; please report it with this line", file, line, what);
	abort();
}
