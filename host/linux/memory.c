/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.c - creation-time memory (small: the C library's; from a page on: mmap, committed when touched) and guest RAM.
 *
 * Guest RAM is a memfd where another process has to see it, or private memory: most hosts give large pages to private memory only.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "host/linux/linux.h"
#include "host/linux/view.h"

#define PAGE 4096u
#define LARGE_PAGE (UINT64_C(2) << 20)
#define CACHE_LINE 64u

void *host_allocate(size_t size)
{
	void *memory;

	if (size >= PAGE) {
		memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		return memory == MAP_FAILED ? NULL : memory;
	}
	size = (size + CACHE_LINE - 1) & ~(size_t)(CACHE_LINE - 1);
	memory = aligned_alloc(CACHE_LINE, size ? size : CACHE_LINE);
	if (memory)
		memset(memory, 0, size ? size : CACHE_LINE);
	return memory;
}

void host_free(void *memory, size_t size)
{
	if (!memory)
		return;
	if (size >= PAGE)
		munmap(memory, size);
	else
		free(memory);
}

void host_ram_discard(uint8_t *ram, size_t size)
{
	/* The pages of a memfd go in every mapping; private ones just go. */
	if (madvise(ram, size, MADV_REMOVE) && madvise(ram, size, MADV_DONTNEED))
		memset(ram, 0, size);
}

static enum status map_failed(uint64_t size, struct reason *why)
{
	return reason_give(why, host_status_of_errno(errno),
			   "guest memory: %llu MiB: %s; use a smaller --memory or raise the address space limit (ulimit -v)",
			   (unsigned long long)(size >> 20), strerror(errno));
}

/*
 * Begins at a large page, so that KVM can map it so. A child process must not get it: each page would be copied. A page before and one behind stay empty: they
 * catch who runs over, and keep what the kernel puts next to it from being aligned as well (a thread's stack would be one large page).
 */
static enum status private_create(uint8_t **ram, uint64_t size, struct reason *why)
{
	uint8_t *all = mmap(NULL, size + 2 * LARGE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), *memory,
		*end;

	if (all == MAP_FAILED)
		return map_failed(size, why);
	memory = all + LARGE_PAGE - ((uintptr_t)all & (LARGE_PAGE - 1));
	end = all + size + 2 * LARGE_PAGE;
	if (memory - PAGE > all)
		munmap(all, (size_t)(memory - PAGE - all));
	if (end > memory + size + PAGE)
		munmap(memory + size + PAGE, (size_t)(end - (memory + size + PAGE)));
	if (mprotect(memory, size, PROT_READ | PROT_WRITE)) {
		enum status status = map_failed(size, why);

		munmap(memory - PAGE, size + 2 * PAGE);
		return status;
	}
	*ram = memory;
	madvise(*ram, size, MADV_DONTDUMP);
	madvise(*ram, size, MADV_DONTFORK);
	return STATUS_OK;
}

enum status host_ram_create(uint8_t **ram, int *fd, uint64_t size, bool shared, struct reason *why)
{
	enum status status;
	void *memory;

	*fd = -1;
	if (!shared)
		return private_create(ram, size, why);
	*fd = memfd_create("holon-ram", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (*fd < 0)
		return reason_give(why, host_status_of_errno(errno), "guest memory: memfd_create: %s; allow it to this process",
				   strerror(errno));
	if (ftruncate(*fd, (off_t)size)) {
		status = host_status_of_errno(errno);
		reason_give(why, status,
			    "guest memory: %llu MiB: %s; use a smaller --memory or raise the file size limit (ulimit -f)",
			    (unsigned long long)(size >> 20), strerror(errno));
		goto close_fd;
	}
	/* A process that serves a device has it too, and must not cut it off under our feet. */
	if (fcntl(*fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
		status = host_status_of_errno(errno);
		reason_give(why, status, "guest memory: its size cannot be sealed: %s; allow fcntl to this process",
			    strerror(errno));
		goto close_fd;
	}
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, *fd, 0);
	if (memory == MAP_FAILED) {
		status = map_failed(size, why);
		goto close_fd;
	}
	madvise(memory, size, MADV_DONTDUMP);
	*ram = memory;
	view_source_set(NULL, memory, size, *fd);
	return STATUS_OK;
close_fd:
	close(*fd);
	*fd = -1;
	return status;
}

void host_ram_destroy(uint8_t *ram, int fd, uint64_t size)
{
	view_source_set(ram, NULL, 0, -1);
	if (fd < 0) {
		munmap(ram - PAGE, size + 2 * PAGE);
		return;
	}
	munmap(ram, size);
	close(fd);
}

/* A cgroup's limit file: a number of bytes, or "max". */
static uint64_t limit_read(const char *path)
{
	FILE *file = fopen(path, "re");
	unsigned long long limit;
	bool good;

	if (!file)
		return UINT64_MAX;
	good = fscanf(file, "%llu", &limit) == 1;
	fclose(file);
	return good ? limit : UINT64_MAX;
}

uint64_t host_memory_total(void)
{
	/* The root of the cgroup namespace: what a container sees as its own limit (v2, v1). Swap there is on top and unknown: not counted. */
	static const char *const limits[] = {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"};
	struct sysinfo info;
	uint64_t total, limit;
	unsigned i;

	if (sysinfo(&info))
		return UINT64_MAX;
	total = ((uint64_t)info.totalram + info.totalswap) * info.mem_unit;
	for (i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		limit = limit_read(limits[i]);
		if (limit < total)
			total = limit;
	}
	return total;
}
