/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_net.h - a network that does what a test says when it says so, on the test's thread.
 */
#ifndef HOLON_TEST_NET_H
#define HOLON_TEST_NET_H

#include <holon/net.h>

struct test_net {
	struct net net;
	unsigned kicks[NET_PAIRS_MAX];
	unsigned receives;
	unsigned pairs_used;
	unsigned tells; /* how often it was told */
};

#define TEST_NET_OFFLOADS (NET_OFFLOAD_CHECKSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 | NET_OFFLOAD_ECN)

void test_net_create(struct test_net *net, unsigned pairs, unsigned offloads);
/* One frame, as a batch of its own. */
size_t test_net_take(struct test_net *net, unsigned pair, struct net_header *header, uint8_t *frame);
bool test_net_give(struct test_net *net, unsigned pair, const struct net_header *header, const uint8_t *frame, size_t length);

#endif
