/* SPDX-License-Identifier: Apache-2.0 */
/*
 * code.c - code pages and the traps of guest instructions in them (include/holon/host.h) on Linux.
 *
 * A memfd is mapped twice, so that no page is ever writable and executable at one address. Traps arrive as signals on the thread that met them; the
 * handlers run on the alternate stack where a thread has one, look only at the interrupted context and hand on what is not ours.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <holon/host.h>

enum status host_code_allocate(struct host_code *code, size_t size)
{
	int fd = memfd_create("holon-code", MFD_CLOEXEC);
	enum status status = STATUS_NO_MEMORY;
	void *write, *execute;

	*code = (struct host_code){0};
	if (fd < 0)
		return status;
	size = (size + 4095) & ~(size_t)4095;
	if (ftruncate(fd, (off_t)size) < 0)
		goto close_fd;
	write = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (write == MAP_FAILED)
		goto close_fd;
	execute = mmap(NULL, size, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	if (execute == MAP_FAILED) {
		status = errno == EACCES || errno == EPERM ? STATUS_PERMISSION : STATUS_NO_MEMORY;
		munmap(write, size);
		goto close_fd;
	}
	*code = (struct host_code){write, execute, size};
	status = STATUS_OK;
close_fd:
	close(fd);
	return status;
}

void host_code_free(struct host_code *code)
{
	if (!code->write)
		return;
	munmap(code->write, code->size);
	munmap(code->execute, code->size);
	*code = (struct host_code){0};
}

/* The pages stay in the memfd and in the other mapping; only this one's page-table entries go, and come back when written again. */
void host_code_settled(struct host_code *code, size_t from, size_t to)
{
	size_t mask = (size_t)sysconf(_SC_PAGESIZE) - 1;

	from = (from + mask) & ~mask;
	to &= ~mask;
	if (from < to)
		madvise(code->write + from, to - from, MADV_DONTNEED);
}

#define RANGES 80

/* SIGBUS: #SS, of an address that is not canonical off RBP or RSP; #AC. */
static const int trap_signals[] = {SIGFPE, SIGSEGV, SIGILL, SIGBUS};
#define SIGNALS (sizeof(trap_signals) / sizeof(trap_signals[0]))

static struct {
	pthread_mutex_t lock;
	struct trap_range {
		_Atomic uintptr_t begin; /* 0: free; published last */
		uintptr_t end;
		void (*resume)(void);
		bool (*fault)(void *argument, struct host_trap *trap);
		void *argument;
		bool redirect;
	} range[RANGES];
	bool installed;
	struct sigaction previous[SIGNALS]; /* written before the first range is published */
} traps = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Not ours: as if our handler were not there. */
static void trap_chain(int number, siginfo_t *info, void *context)
{
	const struct sigaction *previous = NULL;
	struct sigaction fallback = {.sa_handler = SIG_DFL};

	for (unsigned i = 0; i < SIGNALS; i++) {
		if (trap_signals[i] == number)
			previous = &traps.previous[i];
	}
	if (previous && (previous->sa_flags & SA_SIGINFO)) {
		previous->sa_sigaction(number, info, context);
		return;
	}
	if (previous && previous->sa_handler != SIG_DFL && previous->sa_handler != SIG_IGN) {
		previous->sa_handler(number);
		return;
	}
	if (previous && previous->sa_handler == SIG_IGN && info->si_code <= 0)
		return; /* sent by someone, and ignored */
	/* A fault comes again as soon as we return, and then ends the process with a true core; what was sent must be sent again. */
	sigaction(number, &fallback, NULL);
	if (info->si_code <= 0)
		raise(number);
}

#define PAGE_FAULT 14
#define PAGE_FAULT_WRITE 2

/* 0: no page fault. */
static uint64_t fault_address(const ucontext_t *user, const siginfo_t *info)
{
	return user->uc_mcontext.gregs[REG_TRAPNO] == PAGE_FAULT ? (uint64_t)(uintptr_t)info->si_addr : 0;
}

static bool fault_served(const struct trap_range *range, ucontext_t *user, const siginfo_t *info)
{
	greg_t *reg = user->uc_mcontext.gregs;
	struct host_trap trap = {
		.address = fault_address(user, info),
		.write = reg[REG_ERR] & PAGE_FAULT_WRITE,
		.rsp = (uint64_t)reg[REG_RSP],
		.r15 = (uint64_t)reg[REG_R15],
	};

	if (range->fault(range->argument, &trap))
		return true;
	reg[REG_RSP] = (greg_t)trap.rsp;
	reg[REG_R15] = (greg_t)trap.r15;
	return false;
}

static void trap_handle(int number, siginfo_t *info, void *context)
{
	ucontext_t *user = context;
	uintptr_t rip = (uintptr_t)user->uc_mcontext.gregs[REG_RIP];

	for (unsigned i = 0; i < RANGES && info->si_code > 0; i++) {
		const struct trap_range *range = &traps.range[i];
		uintptr_t begin = atomic_load_explicit(&range->begin, memory_order_acquire);

		if (!begin || rip < begin || rip >= range->end)
			continue;
		if (range->fault && fault_served(range, user, info))
			return;
		if (range->redirect) {
			user->uc_mcontext.gregs[REG_RCX] = (greg_t)rip;
		} else {
			user->uc_mcontext.gregs[REG_RAX] = user->uc_mcontext.gregs[REG_TRAPNO];
			user->uc_mcontext.gregs[REG_RDX] = user->uc_mcontext.fpregs ? user->uc_mcontext.fpregs->mxcsr : 0;
		}
		user->uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)range->resume;
		return;
	}
	trap_chain(number, info, context);
}

/* Under traps.lock, once. */
static enum status handlers_install(void)
{
	for (unsigned i = 0; i < SIGNALS; i++) {
		struct sigaction action = {.sa_sigaction = trap_handle, .sa_flags = SA_SIGINFO | SA_ONSTACK};

		sigemptyset(&action.sa_mask);
		/* The previous one first: once ours is there, it may be called. */
		if (sigaction(trap_signals[i], NULL, &traps.previous[i]) < 0 || sigaction(trap_signals[i], &action, NULL) < 0) {
			while (i-- > 0)
				sigaction(trap_signals[i], &traps.previous[i], NULL);
			return STATUS_UNSUPPORTED;
		}
	}
	traps.installed = true;
	return STATUS_OK;
}

static enum status range_add(const uint8_t *begin, const uint8_t *end, void (*resume)(void), bool redirect,
			     bool (*fault)(void *argument, struct host_trap *trap), void *argument)
{
	enum status status = STATUS_NO_SPACE;

	pthread_mutex_lock(&traps.lock);
	if (!traps.installed) {
		status = handlers_install();
		if (status != STATUS_OK)
			goto unlock;
		status = STATUS_NO_SPACE;
	}
	for (unsigned i = 0; i < RANGES; i++) {
		struct trap_range *range = &traps.range[i];

		if (atomic_load(&range->begin))
			continue;
		range->end = (uintptr_t)end;
		range->resume = resume;
		range->redirect = redirect;
		range->fault = fault;
		range->argument = argument;
		atomic_store_explicit(&range->begin, (uintptr_t)begin, memory_order_release);
		status = STATUS_OK;
		break;
	}
unlock:
	pthread_mutex_unlock(&traps.lock);
	return status;
}

enum status host_trap_range_add(const uint8_t *begin, const uint8_t *end, void (*resume)(void))
{
	return range_add(begin, end, resume, false, NULL, NULL);
}

enum status host_trap_redirect_add(const uint8_t *begin, const uint8_t *end, void (*resume)(void),
				   bool (*fault)(void *argument, struct host_trap *trap), void *argument)
{
	return range_add(begin, end, resume, true, fault, argument);
}

void host_trap_range_remove(const uint8_t *begin)
{
	pthread_mutex_lock(&traps.lock);
	for (unsigned i = 0; i < RANGES; i++) {
		if (atomic_load(&traps.range[i].begin) == (uintptr_t)begin)
			atomic_store(&traps.range[i].begin, 0);
	}
	pthread_mutex_unlock(&traps.lock);
}
