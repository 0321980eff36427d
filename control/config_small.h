/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_small.h - the small devices among the words of `holon run`: random numbers, watchdog, balloon, sockets, console ports.
 */
#ifndef HOLON_CONTROL_CONFIG_SMALL_H
#define HOLON_CONTROL_CONFIG_SMALL_H

#include <holon/config.h>
#include <holon/status.h>

/* `bps=SIZE[,bps-burst=SIZE]` or `unlimited`, the value of --rng. */
enum status config_rng_parse(struct vm_config *config, const char *value, struct reason *why) must_check;
/* `reset`, `off` or `crash`, the value of --watchdog. */
enum status config_watchdog_parse(struct vm_config *config, const char *value, struct reason *why) must_check;
/* `on` or `PROPERTY[,PROPERTY]`: target=SIZE, stats=SECONDS; the value of --balloon. */
enum status config_balloon_parse(struct vm_config *config, const char *value, struct reason *why) must_check;
/* `NAME=unix:PATH`, the value of --console-port. */
enum status config_port_parse(struct vm_config *config, const char *value, struct reason *why) must_check;
/* `PATH[,cid=N]`, the value of --vsock. */
/* After all words: what depends on others. */
enum status config_small_finish(const struct vm_config *config, struct reason *why) must_check;
enum status config_vsock_parse(struct vm_config *config, const char *value, struct reason *why) must_check;
void config_small_free(struct vm_config *config);

#endif
