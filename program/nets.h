/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nets.h - the networks of the verb `run`: from the configuration to what the board gets.
 */
#ifndef HOLON_PROGRAM_NETS_H
#define HOLON_PROGRAM_NETS_H

#include <holon/config.h>
#include <holon/net.h>

/* Opens all of them. On failure those that are open stay in `net`, for nets_close. */
enum status nets_open(struct net **net, const struct vm_config *config, struct reason *why) must_check;
/* The VM is about to run; it does not run any more. */
enum status nets_start(struct net **net, const struct vm_config *config, struct reason *why) must_check;
void nets_stop(struct net **net, const struct vm_config *config);
void nets_close(struct net **net, const struct vm_config *config);

#endif
