/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_small.c - parses the options of the small devices. Called from config.c.
 */
#include "control/config_small.h"

#include <stdlib.h>
#include <string.h>

#include <holon/vsock.h>

#include "control/config.h"
#include "control/size.h"

#define BYTES_MAX (UINT64_C(1) << 40)
#define STATS_SECONDS_MAX 86400u

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
	return !size_parse(bytes, value) && *bytes <= BYTES_MAX;
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

/* `stats=SECONDS` up to a comma or the end. */
static bool seconds_property(const char **text, unsigned *seconds)
{
	static const char name[] = "stats=";
	unsigned long number;
	char *end;

	if (strncmp(*text, name, sizeof(name) - 1) != 0 || (*text)[sizeof(name) - 1] < '0' || (*text)[sizeof(name) - 1] > '9')
		return false;
	number = strtoul(*text + sizeof(name) - 1, &end, 10);
	*text = end;
	*seconds = (unsigned)number;
	return number >= 1 && number <= STATS_SECONDS_MAX;
}

enum status config_balloon_parse(struct vm_config *config, const char *value, struct reason *why)
{
	struct balloon_config balloon = {.present = true};
	const char *at = value;
	bool good = true;

	if (strcmp(value, "on") != 0) {
		do
			good = size_property(&at, "target", &balloon.target) || seconds_property(&at, &balloon.stats_seconds);
		while (good && *at == ',' && at++);
	}
	if (!good || (at != value && *at))
		return reason_give(why, STATUS_USAGE, "--balloon %s: write on, or target=SIZE, stats=SECONDS or both with a comma",
				   value);
	config->balloon = balloon;
	return STATUS_OK;
}

enum status config_small_finish(const struct vm_config *config, struct reason *why)
{
	if (config->balloon.target < config->memory)
		return STATUS_OK;
	return reason_give(why, STATUS_USAGE, "--balloon target=%lluM: the guest has no more than %lluM; ask for less",
			   (unsigned long long)(config->balloon.target >> 20), (unsigned long long)(config->memory >> 20));
}

enum status config_vsock_parse(struct vm_config *config, const char *value, struct reason *why)
{
	static const char property[] = "cid=";
	char *text = strdup(value), *cid, *end;

	if (!text)
		return reason_give(why, STATUS_NO_MEMORY, "--vsock %s: no memory", value);
	config->vsock_path = config->vsock_text = text;
	config->vsock_cid = VSOCK_CID_MIN;
	cid = config_comma_split(text);
	if (cid && strncmp(cid, property, sizeof(property) - 1) != 0)
		return reason_give(why, STATUS_USAGE,
				   "--vsock %s: property '%s' is unknown; write PATH,cid=3, and a comma in a path as ,,", value,
				   cid);
	if (cid) {
		cid += sizeof(property) - 1;
		config->vsock_cid = *cid >= '0' && *cid <= '9' ? strtoull(cid, &end, 10) : 0;
		if (config->vsock_cid < VSOCK_CID_MIN || config->vsock_cid > VSOCK_CID_MAX || *end)
			return reason_give(why, STATUS_USAGE, "--vsock %s: a cid is a number from %u to %u; write PATH,cid=3",
					   value, VSOCK_CID_MIN, VSOCK_CID_MAX);
	}
	return *text ? STATUS_OK
		     : reason_give(why, STATUS_USAGE, "--vsock %s: the socket's path is missing; write PATH,cid=3", value);
}

static bool port_name_good(const char *name, size_t length)
{
	if (length == 0 || length > VM_PORT_NAME_MAX)
		return false;
	for (size_t i = 0; i < length; i++)
		if (!(name[i] >= 'a' && name[i] <= 'z') && !(name[i] >= 'A' && name[i] <= 'Z') &&
		    !(name[i] >= '0' && name[i] <= '9') && !strchr("._-", name[i]))
			return false;
	return true;
}

enum status config_port_parse(struct vm_config *config, const char *value, struct reason *why)
{
	static const char kind[] = "=unix:";
	struct port_config *port = &config->port[config->ports];
	const char *path = strstr(value, kind);
	size_t length = path ? (size_t)(path - value) : 0;
	unsigned i;

	if (config->ports == VM_PORTS_MAX)
		return reason_give(why, STATUS_USAGE, "--console-port %s: a VM has at most %u; leave one out", value, VM_PORTS_MAX);
	if (!path || !port_name_good(value, length) || !path[sizeof(kind) - 1])
		return reason_give(why, STATUS_USAGE,
				   "--console-port %s: write NAME=unix:PATH, the name of 1 to %u letters, digits, '_', '.' or '-'",
				   value, VM_PORT_NAME_MAX);
	memcpy(port->name, value, length);
	port->name[length] = 0;
	for (i = 0; i < config->ports; i++)
		if (!strcmp(config->port[i].name, port->name))
			return reason_give(why, STATUS_USAGE,
					   "--console-port %s: there is a port of that name already; choose another", value);
	port->path = strdup(path + sizeof(kind) - 1);
	if (!port->path)
		return reason_give(why, STATUS_NO_MEMORY, "--console-port %s: no memory", value);
	config->ports++;
	return STATUS_OK;
}

void config_small_free(struct vm_config *config)
{
	while (config->ports)
		free(config->port[--config->ports].path);
	free(config->vsock_text);
	config->vsock_text = NULL;
}
