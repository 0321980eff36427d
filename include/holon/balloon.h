/* SPDX-License-Identifier: Apache-2.0 */
/*
 * balloon.h - what is known of the memory that a guest gives back, for statistics.
 */
#ifndef HOLON_BALLOON_H
#define HOLON_BALLOON_H

#include <stdint.h>

/* Statistics of the guest's own, by the tags of virtio 1.2, 5.5.6.4. */
enum balloon_stat {
	BALLOON_SWAP_IN,
	BALLOON_SWAP_OUT,
	BALLOON_MAJOR_FAULTS,
	BALLOON_MINOR_FAULTS,
	BALLOON_FREE,
	BALLOON_TOTAL,
	BALLOON_AVAILABLE,
	BALLOON_CACHES,
	BALLOON_HUGETLB_ALLOCATIONS,
	BALLOON_HUGETLB_FAILURES,
	BALLOON_STATS
};
#define BALLOON_STAT_UNKNOWN UINT64_MAX

struct balloon_report {
	uint64_t target;    /* bytes that the guest is asked to give back */
	uint64_t actual;    /* that it says it has */
	uint64_t discarded; /* that went back to the host so far, inflated and reported */
	uint64_t reported;  /* of them, reported free */
	uint64_t stat[BALLOON_STATS];
};

#endif
