/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.h - from the words of `holon run` to a struct vm_config (include/holon/config.h).
 */
#ifndef HOLON_CONTROL_CONFIG_H
#define HOLON_CONTROL_CONFIG_H

#include <holon/config.h>
#include <holon/status.h>

/*
 * arguments: the words behind `run`. Strings of the config point into them or, for disks, belong to the config. On STATUS_USAGE `why` is one line:
 * the thing, the reason, the next step.
 */
enum status config_parse(struct vm_config *config, int count, char **arguments, struct reason *why) must_check;
void config_free(struct vm_config *config);

/* Cuts `text` at its first single comma and makes each double one before it a comma. Returns what follows, or NULL. */
char *config_comma_split(char *text);

/* Memory against what the host has (host_bytes) unless config->overcommit. */
enum status config_memory_check(const struct vm_config *config, uint64_t host_bytes, struct reason *why) must_check;

#endif
