/* SPDX-License-Identifier: Apache-2.0 */
/*
 * time.c - the host's clocks, and how fast its TSC runs.
 *
 * The frequency: what CPUID says exactly (leaf 0x15; the hypervisor leaf 0x40000010), else the factor with which the kernel turns TSC into ns (perf's
 * mmap page tells it), else measured.
 */
#include <cpuid.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "host/linux/linux.h"

#define CPUID_TSC 0x15u
#define CPUID_HYPERVISOR 0x40000000u
#define CPUID_HYPERVISOR_TIMING 0x40000010u
#define CPUID_1_ECX_HYPERVISOR (1u << 31)
#define MEASURE_NS 20000000

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

uint64_t host_time_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

uint64_t host_wall_time_ns(void)
{
	return clock_ns(CLOCK_REALTIME);
}

static uint32_t khz_from_cpuid(void)
{
	unsigned eax, ebx, ecx, edx;

	/* The core crystal in Hz and the ratio, both or it does not count. */
	if (__get_cpuid(CPUID_TSC, &eax, &ebx, &ecx, &edx) && eax && ebx && ecx)
		return (uint32_t)((uint64_t)ecx * ebx / eax / 1000);
	if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & CPUID_1_ECX_HYPERVISOR))
		return 0;
	__cpuid(CPUID_HYPERVISOR, eax, ebx, ecx, edx);
	if (eax < CPUID_HYPERVISOR_TIMING || eax > CPUID_HYPERVISOR + 0xffff)
		return 0;
	__cpuid(CPUID_HYPERVISOR_TIMING, eax, ebx, ecx, edx);
	return eax;
}

/* ns = tsc * time_mult >> time_shift (perf_event_open(2)). */
static uint32_t khz_from_kernel(void)
{
	struct perf_event_attr attributes = {.type = PERF_TYPE_SOFTWARE,
					     .config = PERF_COUNT_SW_DUMMY,
					     .size = sizeof(attributes),
					     .exclude_kernel = 1,
					     .exclude_hv = 1};
	const struct perf_event_mmap_page *page;
	uint32_t khz = 0;
	int fd = (int)syscall(SYS_perf_event_open, &attributes, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);

	if (fd < 0)
		return 0;
	page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	if (page != MAP_FAILED) {
		if (page->cap_user_time && page->time_mult && page->time_shift < 44)
			khz = (uint32_t)(((UINT64_C(1000000) << page->time_shift) + page->time_mult / 2) / page->time_mult);
		munmap((void *)page, 4096);
	}
	close(fd);
	return khz;
}

/* A TSC value and the time at which it was read: the tightest of a few tries. */
static void tsc_and_time(uint64_t *tsc, uint64_t *ns)
{
	uint64_t best = UINT64_MAX;
	unsigned i;

	for (i = 0; i < 8; i++) {
		uint64_t before = host_tsc(), now = clock_ns(CLOCK_MONOTONIC_RAW), after = host_tsc();

		if (after - before < best) {
			best = after - before;
			*tsc = before + best / 2;
			*ns = now;
		}
	}
}

static uint32_t khz_measured(void)
{
	struct timespec pause = {.tv_nsec = MEASURE_NS};
	uint64_t tsc[2], ns[2];

	tsc_and_time(&tsc[0], &ns[0]);
	nanosleep(&pause, NULL);
	tsc_and_time(&tsc[1], &ns[1]);
	return (uint32_t)((tsc[1] - tsc[0]) * 1000000 / (ns[1] - ns[0]));
}

static pthread_once_t khz_once = PTHREAD_ONCE_INIT;
static uint32_t khz;

static void khz_find(void)
{
	khz = khz_from_cpuid();
	if (!khz)
		khz = khz_from_kernel();
	if (!khz)
		khz = khz_measured();
}

uint32_t host_tsc_khz(void)
{
	pthread_once(&khz_once, khz_find);
	return khz;
}
