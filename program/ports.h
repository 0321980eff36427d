/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ports.h - the sockets of a vm's console ports, in the order of its config. Called by run.c.
 */
#ifndef HOLON_PROGRAM_PORTS_H
#define HOLON_PROGRAM_PORTS_H

#include <holon/chardev.h>
#include <holon/config.h>
#include <holon/status.h>

enum status ports_open(struct chardev **port, const struct vm_config *config, struct reason *why) must_check;
enum status ports_start(struct chardev **port, const struct vm_config *config, struct reason *why) must_check;
/* Those that there are. */
void ports_stop(struct chardev **port, const struct vm_config *config);
void ports_close(struct chardev **port, const struct vm_config *config);

#endif
