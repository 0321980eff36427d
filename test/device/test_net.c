/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_net.c - see test_net.h.
 */
#include "test_net.h"

static void test_net_kick(struct net *net, unsigned pair)
{
	((struct test_net *)net)->kicks[pair]++;
}

static void test_net_receives(struct net *net, unsigned offloads)
{
	((struct test_net *)net)->receives = offloads;
}

static void test_net_pairs(struct net *net, unsigned pairs)
{
	((struct test_net *)net)->pairs_used = pairs;
	((struct test_net *)net)->tells++;
}

void test_net_create(struct test_net *net, unsigned pairs, unsigned offloads)
{
	*net = (struct test_net){.net = {.kick = test_net_kick,
					 .receives = test_net_receives,
					 .pairs_set = pairs > 1 ? test_net_pairs : NULL,
					 .offloads = offloads,
					 .gives = offloads,
					 .pairs = pairs,
					 .mtu = 1500}};
}

size_t test_net_take(struct test_net *net, unsigned pair, struct net_header *header, uint8_t *frame)
{
	const struct net_frontend *frontend = net_enter(&net->net, pair);
	size_t length = frontend ? frontend->take(frontend->device, pair, header, frame) : 0;

	net_leave(&net->net, pair);
	return length;
}

bool test_net_give(struct test_net *net, unsigned pair, const struct net_header *header, const uint8_t *frame, size_t length)
{
	const struct net_frontend *frontend = net_enter(&net->net, pair);
	bool given = frontend && frontend->give(frontend->device, pair, header, frame, length);

	net_leave(&net->net, pair);
	return given;
}
