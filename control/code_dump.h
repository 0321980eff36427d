/* SPDX-License-Identifier: Apache-2.0 */
/*
 * code_dump.h - what a translating engine makes, for people: `--jit-dump FILE`, and names for a profiler.
 */
#ifndef HOLON_CONTROL_CODE_DUMP_H
#define HOLON_CONTROL_CODE_DUMP_H

#include <holon/code_watch.h>
#include <holon/status.h>

/* Writes guest and host code side by side. disassembler: a name, or NULL for the best that is there. */
enum status code_dump_open(struct code_watch **watch, const char *path, const char *disassembler, struct reason *why) must_check;
/* `perf report`'s map of this process: /tmp/perf-PID.map. */
enum status perf_map_open(struct code_watch **watch, struct reason *why) must_check;
/* Either; NULL is all right. */
void code_dump_close(struct code_watch *watch);

#endif
