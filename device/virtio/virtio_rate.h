/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_rate.h - a limit on how much passes in a second of the guest's time, with bursts.
 *
 * A bucket of credit that fills with time, kept as the time at which it will be full again. Whatever comes while there is any credit passes whole and
 * may leave a debt, so that no single item is too large for the bucket. Under the owner's lock.
 */
#ifndef HOLON_VIRTIO_RATE_H
#define HOLON_VIRTIO_RATE_H

#include <stdbool.h>
#include <stdint.h>

struct virtio_rate {
	uint64_t second;   /* units a second; 0: no limit */
	uint64_t burst_ns; /* how long an empty bucket takes to fill */
	uint64_t full_ns;  /* guest time */
	uint64_t rest;     /* of the division that made full_ns */
};

/* burst: what the bucket holds; 0: a tenth of a second's worth. It is full. */
void virtio_rate_init(struct virtio_rate *rate, uint64_t second, uint64_t burst);
/* May anything pass at guest time `now_ns`? If not, *due_ns says when. */
bool virtio_rate_open(const struct virtio_rate *rate, uint64_t now_ns, uint64_t *due_ns);
/* At most 2^32 units. */
void virtio_rate_spend(struct virtio_rate *rate, uint64_t now_ns, uint64_t units);
/* full_ns and rest come from a saved state: no debt is larger than what one item of `most` units leaves. */
void virtio_rate_loaded(struct virtio_rate *rate, uint64_t now_ns, uint64_t most);

#endif
