/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_rate.c - see virtio_rate.h. Used by virtio_net and virtio_rng.
 */
#include "virtio_rate.h"

#define NS_PER_SECOND UINT64_C(1000000000)
#define RATE_UNITS_MAX (UINT64_MAX / NS_PER_SECOND / 2)

void virtio_rate_init(struct virtio_rate *rate, uint64_t second, uint64_t burst)
{
	*rate = (struct virtio_rate){.second = second};
	if (!second)
		return;
	if (burst > RATE_UNITS_MAX)
		burst = RATE_UNITS_MAX;
	rate->burst_ns = burst ? burst * NS_PER_SECOND / second : NS_PER_SECOND / 10;
	if (!rate->burst_ns)
		rate->burst_ns = 1;
}

bool virtio_rate_open(const struct virtio_rate *rate, uint64_t now_ns, uint64_t *due_ns)
{
	if (!rate->second || rate->full_ns < now_ns + rate->burst_ns)
		return true;
	*due_ns = rate->full_ns - rate->burst_ns + 1;
	return false;
}

void virtio_rate_spend(struct virtio_rate *rate, uint64_t now_ns, uint64_t units)
{
	uint64_t cost;

	if (!rate->second)
		return;
	if (rate->full_ns < now_ns) {
		rate->full_ns = now_ns;
		rate->rest = 0;
	}
	/* units * 10^9 < 2^62, and rest < second: a rate beyond 2^63 would cost nothing anyway. */
	cost = units * NS_PER_SECOND + (rate->rest & INT64_MAX);
	rate->full_ns += cost / rate->second;
	rate->rest = cost % rate->second;
}

void virtio_rate_loaded(struct virtio_rate *rate, uint64_t now_ns, uint64_t most)
{
	uint64_t latest;

	if (!rate->second)
		return;
	latest = now_ns + rate->burst_ns + most * NS_PER_SECOND / rate->second;
	if (rate->full_ns > latest)
		rate->full_ns = latest;
	if (rate->rest >= rate->second)
		rate->rest = 0;
}
