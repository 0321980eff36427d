/* SPDX-License-Identifier: Apache-2.0 */
/*
 * barrier.c - a full memory barrier in every thread of the process: membarrier(2), or where a sandbox forbids that, a change of
 * page protection, for which the kernel interrupts every processor that runs one of our threads.
 */
#include <linux/membarrier.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "host/linux/linux.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool have_membarrier;
static volatile char *page; /* the fallback's */
static struct host_mutex page_lock;

static void barrier_prepare(void)
{
	void *memory;

	have_membarrier = !syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
	if (have_membarrier)
		return;
	memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bug_on(memory == MAP_FAILED);
	/* Locked: a page that is swapped out has no TLB entries to shoot down. Best effort. */
	mlock(memory, 4096);
	page = memory;
}

void host_barrier_all(void)
{
	pthread_once(&once, barrier_prepare);
	if (have_membarrier && !syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0))
		return;
	bug_on(!page);
	host_mutex_lock(&page_lock);
	*page = 1; /* dirty: taking the right to write away must reach every TLB */
	bug_on(mprotect((void *)page, 4096, PROT_READ));
	bug_on(mprotect((void *)page, 4096, PROT_READ | PROT_WRITE));
	host_mutex_unlock(&page_lock);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}
