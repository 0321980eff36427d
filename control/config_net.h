/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_net.h - the networks among the words of `holon run`.
 */
#ifndef HOLON_CONTROL_CONFIG_NET_H
#define HOLON_CONTROL_CONFIG_NET_H

#include <holon/config.h>
#include <holon/status.h>

/* `KIND[=NAME][,PROPERTY]...`, the value of --net. */
enum status config_net_parse(struct vm_config *config, const char *value, struct reason *why) must_check;
/* `[ADDRESS:]HOST:GUEST[/udp]`, the value of -p. */
enum status config_publish_parse(struct vm_config *config, const char *value, struct reason *why) must_check;
/* After all words: the network that a VM has without asking, published ports, MAC addresses. */
enum status config_nets_finish(struct vm_config *config, struct reason *why) must_check;
void config_nets_free(struct vm_config *config);

#endif
