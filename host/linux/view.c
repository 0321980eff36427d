/* SPDX-License-Identifier: Apache-2.0 */
/*
 * view.c - views of guest RAM (include/holon/host.h) on Linux: its memfd mapped a second time.
 */
#include "host/linux/view.h"

#include <pthread.h>
#include <stdbool.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <asm/prctl.h>

#include <holon/host.h>

#define PAGE 4096u

/* The memfds of guest RAM, for views of it. */
#define SOURCES 4
static struct {
	pthread_mutex_t lock;
	struct {
		const uint8_t *base;
		uint64_t size;
		int fd;
	} source[SOURCES];
} sources = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Replaces the entry of `old` (NULL: a free one). Without room that RAM has no views. */
void view_source_set(const uint8_t *old, const uint8_t *base, uint64_t size, int fd)
{
	pthread_mutex_lock(&sources.lock);
	for (unsigned i = 0; i < SOURCES; i++) {
		if (sources.source[i].base != old)
			continue;
		sources.source[i].base = base;
		sources.source[i].size = size;
		sources.source[i].fd = fd;
		break;
	}
	pthread_mutex_unlock(&sources.lock);
}

/* Where in which memfd [ram, ram + size) lies. */
static bool source_find(const uint8_t *ram, uint64_t size, int *fd, uint64_t *offset)
{
	bool found = false;

	pthread_mutex_lock(&sources.lock);
	for (unsigned i = 0; i < SOURCES && !found; i++) {
		*offset = (uint64_t)(ram - sources.source[i].base);
		found = sources.source[i].base && ram >= sources.source[i].base && *offset < sources.source[i].size &&
			size <= sources.source[i].size - *offset;
		*fd = sources.source[i].fd;
	}
	pthread_mutex_unlock(&sources.lock);
	return found;
}

/* ThreadSanitizer ends a process that maps more than a small part of its addresses. */
#ifdef __SANITIZE_THREAD__
#define VIEWS_POSSIBLE false
#else
#define VIEWS_POSSIBLE true
#endif

static uint8_t *reserve(uint8_t *at, uint64_t size, int flags)
{
	void *memory =
		VIEWS_POSSIBLE ? mmap(at, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0) : MAP_FAILED;

	if (memory == MAP_FAILED)
		return NULL;
	madvise(memory, size, MADV_DONTDUMP);
	return memory;
}

enum status host_view_reserve(uint8_t **base, uint64_t size)
{
	*base = reserve(NULL, size, 0);
	return *base ? STATUS_OK : STATUS_UNSUPPORTED;
}

enum status host_view_reserve_at(uint8_t *base, uint64_t size)
{
	uint8_t *memory = reserve(base, size, MAP_FIXED_NOREPLACE);

	if (memory && memory != base) { /* Linux before 4.17 */
		munmap(memory, size);
		memory = NULL;
	}
	return memory ? STATUS_OK : STATUS_UNSUPPORTED;
}

enum status host_view_memory(uint8_t *at, uint64_t size, bool readable, bool writable)
{
	int protection = (readable ? PROT_READ : 0) | (writable ? PROT_WRITE : 0);

	return mprotect(at, size, protection) ? STATUS_NO_MEMORY : STATUS_OK;
}

void host_view_release(uint8_t *base, uint64_t size)
{
	munmap(base, size);
}

enum status host_view_show(uint8_t *at, const uint8_t *ram, uint64_t size, bool writable)
{
	int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
	uint64_t offset;
	int fd;

	if (!source_find(ram, size, &fd, &offset))
		return STATUS_UNSUPPORTED;
	/* One page is wanted at once; of many, perhaps few. */
	return mmap(at, size, protection, MAP_SHARED | MAP_FIXED | (size == PAGE ? MAP_POPULATE : 0), fd, (off_t)offset) ==
			       MAP_FAILED
		       ? STATUS_NO_MEMORY
		       : STATUS_OK;
}

enum status host_view_hide(uint8_t *at, uint64_t size)
{
	return mmap(at, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED
		       ? STATUS_NO_MEMORY
		       : STATUS_OK;
}

#define HWCAP2_WRGSBASE 2 /* the kernel lets programs write it themselves (5.9, and the processor) */

enum status host_gs_set(uint64_t base)
{
	if (getauxval(AT_HWCAP2) & HWCAP2_WRGSBASE) {
		__asm__ volatile("wrgsbase %0" : : "r"(base));
		return STATUS_OK;
	}
	return syscall(SYS_arch_prctl, ARCH_SET_GS, base) ? STATUS_UNSUPPORTED : STATUS_OK;
}
