/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nets.c - opens the network that each card is plugged into, and closes it. Called from run.c.
 */
#include "program/nets.h"

#include "backend/net/net_backend.h"

enum status nets_open(struct net **net, const struct vm_config *config, struct reason *why)
{
	static enum status (*const open[])(struct net * *net, const struct net_config *config, struct reason *why) = {
		[NET_USER] = net_user_open,
		[NET_TAP] = net_tap_open,
		[NET_BRIDGE] = net_tap_open,
		[NET_SWITCH] = net_switch_open,
	};
	enum status status = STATUS_OK;
	unsigned i;

	for (i = 0; !status && i < config->nets; i++)
		status = open[config->net[i].kind](&net[i], &config->net[i], why);
	return status;
}

enum status nets_start(struct net **net, const struct vm_config *config, struct reason *why)
{
	enum status status = STATUS_OK;
	unsigned i;

	for (i = 0; !status && i < config->nets; i++)
		status = net[i]->start(net[i], why);
	return status;
}

void nets_stop(struct net **net, const struct vm_config *config)
{
	unsigned i;

	for (i = 0; i < config->nets; i++)
		if (net[i])
			net[i]->stop(net[i]);
}

void nets_close(struct net **net, const struct vm_config *config)
{
	unsigned i;

	for (i = 0; i < config->nets; i++)
		if (net[i])
			net[i]->close(net[i]);
}
