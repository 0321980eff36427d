/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net_backend.h - the networks that a VM's cards can be plugged into.
 *
 * Each makes a `struct net`, which is closed by its own close. `config` outlives it.
 */
#ifndef HOLON_NET_BACKEND_H
#define HOLON_NET_BACKEND_H

#include <holon/config.h>
#include <holon/net.h>

/* --net user: a network of the guest's own behind the host's sockets, by libslirp (net_user.c). No privilege is needed. */
enum status net_user_open(struct net **net, const struct net_config *config, struct reason *why) must_check;
/* --net tap=NAME and --net bridge=NAME (net_tap.c). */
enum status net_tap_open(struct net **net, const struct net_config *config, struct reason *why) must_check;
/* --net switch=NAME: among the VMs of one user on this host (net_switch.c). */
enum status net_switch_open(struct net **net, const struct net_config *config, struct reason *why) must_check;

#endif
