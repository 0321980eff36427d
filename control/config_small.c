/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_small.c - parses the options of the small devices. Called from config.c.
 */
#include "control/config_small.h"

#include <string.h>

#include "control/config.h"

#define BYTES_MAX (UINT64_C(1) << 40)

/* `NAME=SIZE` up to a comma. *text moves behind it; false: it is not that, or no size from 1K to 1T. */
static bool size_property(const char **text, const char *name, uint64_t *bytes)
{
	size_t named = strlen(name), length = strcspn(*text, ",");
	char value[32];

	if (strncmp(*text, name, named) != 0 || (*text)[named] != '=' || length - named - 1 >= sizeof(value))
		return false;
	memcpy(value, *text + named + 1, length - named - 1);
	value[length - named - 1] = 0;
	*text += length;
	return !config_size_parse(bytes, value) && *bytes <= BYTES_MAX;
}

enum status config_rng_parse(struct vm_config *config, const char *value, struct reason *why)
{
	struct rng_config rng = {0};
	const char *at = value;

	if (!strcmp(value, "unlimited")) {
		config->rng = rng;
		return STATUS_OK;
	}
	if (!size_property(&at, "bps", &rng.second) || (*at == ',' && (at++, !size_property(&at, "bps-burst", &rng.burst))) || *at)
		return reason_give(why, STATUS_USAGE,
				   "--rng %s: write unlimited, bps=SIZE or bps=SIZE,bps-burst=SIZE, each from 1K to 1T", value);
	config->rng = rng;
	return STATUS_OK;
}

enum status config_watchdog_parse(struct vm_config *config, const char *value, struct reason *why)
{
	static const struct {
		const char *name;
		enum watchdog_action action;
	} actions[] = {{"reset", WATCHDOG_RESET}, {"off", WATCHDOG_POWER_OFF}, {"crash", WATCHDOG_CRASH}};
	unsigned i;

	for (i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
		if (!strcmp(value, actions[i].name)) {
			config->watchdog = actions[i].action;
			return STATUS_OK;
		}
	}
	return reason_give(why, STATUS_USAGE, "--watchdog %s: unknown action; there are reset, off and crash", value);
}
