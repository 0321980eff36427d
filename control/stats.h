/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats.h - `holon run --stats FILE`: what the VM did, as JSON, after it ended.
 */
#ifndef HOLON_CONTROL_STATS_H
#define HOLON_CONTROL_STATS_H

#include <holon/vm.h>

enum status stats_write(struct vm *vm, const char *path, int exit_status, uint64_t elapsed_ns, struct reason *why) must_check;

#endif
