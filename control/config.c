/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.c - parses the options of `holon run`. Called from program/run.c. One row an option; adding one is a row and a function.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/config.h"
#include "control/config_disk.h"
#include "control/config_net.h"
#include "control/config_small.h"
#include "control/size.h"

#define MEMORY_DEFAULT (UINT64_C(1) << 30)
#define MIB (UINT64_C(1) << 20)
#define JIT_CACHE_MIN (UINT64_C(1) << 20)
#define JIT_CACHE_MAX (UINT64_C(2) << 30)
#define PORT_MAX 0xffff
#define PERIOD_MS_MAX 3600000u
#define NAME_MAX_LENGTH 64

static enum status number_parse(unsigned long *number, const char *text, unsigned long low, unsigned long high)
{
	char *end;

	if (*text < '0' || *text > '9')
		return STATUS_USAGE;
	*number = strtoul(text, &end, 0);
	return *end || *number < low || *number > high ? STATUS_USAGE : STATUS_OK;
}

static enum status parse_engine(struct vm_config *config, const char *value, struct reason *why)
{
	(void)why; /* program/run.c knows which engines there are */
	config->engine = value;
	return STATUS_OK;
}

static enum status parse_name(struct vm_config *config, const char *value, struct reason *why)
{
	for (const char *at = value; *at; at++)
		if ((unsigned char)*at < ' ' || *at == 0x7f || at - value == NAME_MAX_LENGTH)
			return reason_give(why, STATUS_USAGE,
					   "--name %.70s: a name has at most %d bytes, and no control characters; choose another",
					   value, NAME_MAX_LENGTH);
	config->name = value;
	return STATUS_OK;
}

static enum status parse_cpu(struct vm_config *config, const char *value, struct reason *why)
{
	(void)why; /* x86/cpuid.c knows the models */
	config->cpu_model = value;
	return STATUS_OK;
}

static enum status parse_kernel(struct vm_config *config, const char *value, struct reason *why)
{
	(void)why;
	config->kernel = value;
	return STATUS_OK;
}

static enum status parse_initrd(struct vm_config *config, const char *value, struct reason *why)
{
	(void)why;
	config->initrd = value;
	return STATUS_OK;
}

static enum status parse_cmdline(struct vm_config *config, const char *value, struct reason *why)
{
	(void)why;
	config->cmdline = value;
	return STATUS_OK;
}

static enum status parse_stats(struct vm_config *config, const char *value, struct reason *why)
{
	(void)why;
	config->stats_path = value;
	return STATUS_OK;
}

static enum status parse_control(struct vm_config *config, const char *value, struct reason *why)
{
	(void)why;
	config->no_control = !strcmp(value, "none");
	config->control_path = value;
	return STATUS_OK;
}

static enum status parse_jit_dump(struct vm_config *config, const char *value, struct reason *why)
{
	(void)why;
	config->jit_dump_path = value;
	return STATUS_OK;
}

static enum status parse_cpus(struct vm_config *config, const char *value, struct reason *why)
{
	unsigned long number;

	if (number_parse(&number, value, 1, VM_CPUS_MAX))
		return reason_give(why, STATUS_USAGE, "--cpus %s: not a number from 1 to %u; write --cpus 2", value, VM_CPUS_MAX);
	config->cpus = (unsigned)number;
	return STATUS_OK;
}

static enum status parse_memory(struct vm_config *config, const char *value, struct reason *why)
{
	uint64_t bytes;

	if (size_parse(&bytes, value))
		return reason_give(why, STATUS_USAGE, "--memory %s: not a size; write a number and a unit: 512M or 2G", value);
	if (bytes < VM_MEMORY_MIN || bytes > VM_MEMORY_MAX)
		return reason_give(why, STATUS_USAGE, "--memory %s: a VM has from 16M to 512G; choose a size between them", value);
	if (bytes % MIB)
		return reason_give(why, STATUS_USAGE, "--memory %s: not whole MiB; round it to a multiple of 1M", value);
	config->memory = bytes;
	return STATUS_OK;
}

static enum status parse_jit_cache(struct vm_config *config, const char *value, struct reason *why)
{
	uint64_t bytes;

	if (size_parse(&bytes, value) || bytes < JIT_CACHE_MIN || bytes > JIT_CACHE_MAX)
		return reason_give(why, STATUS_USAGE, "--jit-cache %s: not a size from 1M to 2G; write --jit-cache 64M", value);
	config->jit_cache = bytes;
	return STATUS_OK;
}

static enum status parse_jit_window(struct vm_config *config, const char *value, struct reason *why)
{
	if (!strcmp(value, "auto"))
		config->jit_window = JIT_WINDOW_AUTO;
	else if (!strcmp(value, "always"))
		config->jit_window = JIT_WINDOW_ALWAYS;
	else if (!strcmp(value, "never"))
		config->jit_window = JIT_WINDOW_NEVER;
	else
		return reason_give(why, STATUS_USAGE, "--jit-window %s: there are auto, always and never", value);
	return STATUS_OK;
}

static enum status parse_debug_exit(struct vm_config *config, const char *value, struct reason *why)
{
	unsigned long port;

	if (number_parse(&port, value, 0, PORT_MAX))
		return reason_give(why, STATUS_USAGE, "--debug-exit %s: not an I/O port from 0 to 0xffff; write --debug-exit 0xf4",
				   value);
	config->debug_exit_port = (int)port;
	return STATUS_OK;
}

static enum status parse_console(struct vm_config *config, const char *value, struct reason *why)
{
	if (!strcmp(value, "stdio")) {
		config->console = CONSOLE_STDIO;
	} else if (!strcmp(value, "none")) {
		config->console = CONSOLE_NONE;
	} else if (!strncmp(value, "file=", 5) && value[5]) {
		config->console = CONSOLE_FILE;
		config->console_path = value + 5;
	} else {
		return reason_give(why, STATUS_USAGE, "--console %s: unknown kind; write stdio, none or file=PATH", value);
	}
	return STATUS_OK;
}

static enum status parse_overcommit(struct vm_config *config, const char *value, struct reason *why)
{
	(void)value, (void)why;
	config->overcommit = true;
	return STATUS_OK;
}

static enum status parse_no_reboot(struct vm_config *config, const char *value, struct reason *why)
{
	(void)value, (void)why;
	config->no_reboot = true;
	return STATUS_OK;
}

static enum status parse_period(uint32_t *ms, const char *name, const char *value, struct reason *why)
{
	unsigned long number;

	if (number_parse(&number, value, 1, PERIOD_MS_MAX))
		return reason_give(why, STATUS_USAGE, "%s %s: not a number of milliseconds from 1 to %u; write %s 100", name, value,
				   PERIOD_MS_MAX, name);
	*ms = (uint32_t)number;
	return STATUS_OK;
}

static enum status parse_engine_switch(struct vm_config *config, const char *value, struct reason *why)
{
	return parse_period(&config->engine_switch_ms, "--engine-switch-every", value, why);
}

static enum status parse_rebuild(struct vm_config *config, const char *value, struct reason *why)
{
	return parse_period(&config->rebuild_ms, "--rebuild-every", value, why);
}

static enum status parse_grow(struct vm_config *config, const char *value, struct reason *why)
{
	return parse_period(&config->grow_ms, "--grow-every", value, why);
}

static enum status parse_check_dirty(struct vm_config *config, const char *value, struct reason *why)
{
	return parse_period(&config->check_dirty_ms, "--check-dirty-every", value, why);
}

static enum status parse_deterministic(struct vm_config *config, const char *value, struct reason *why)
{
	(void)value, (void)why;
	config->deterministic = true;
	return STATUS_OK;
}

static const struct option {
	const char *name;
	bool takes_value;
	bool repeats;
	bool may_be_empty;
	enum status (*parse)(struct vm_config *config, const char *value, struct reason *why);
} options[] = {
	{"--engine", true, false, false, parse_engine},
	{"--kernel", true, false, false, parse_kernel},
	{"--initrd", true, false, false, parse_initrd},
	{"--cmdline", true, false, true, parse_cmdline},
	{"--cpus", true, false, false, parse_cpus},
	{"--memory", true, false, false, parse_memory},
	{"--overcommit", false, false, false, parse_overcommit},
	{"--disk", true, true, false, config_disk_parse},
	{"--cdrom", true, true, false, config_cdrom_parse},
	{"--share", true, true, false, config_share_parse},
	{"--net", true, true, false, config_net_parse},
	{"-p", true, true, false, config_publish_parse},
	{"--watchdog", true, false, false, config_watchdog_parse},
	{"--console-port", true, true, false, config_port_parse},
	{"--vsock", true, false, false, config_vsock_parse},
	{"--balloon", true, false, false, config_balloon_parse},
	{"--rng", true, false, false, config_rng_parse},
	{"--name", true, false, false, parse_name},
	{"--control", true, false, false, parse_control},
	{"--cpu", true, false, false, parse_cpu},
	{"--debug-exit", true, false, false, parse_debug_exit},
	{"--no-reboot", false, false, false, parse_no_reboot},
	{"--console", true, false, false, parse_console},
	{"--stats", true, false, false, parse_stats},
	{"--deterministic", false, false, false, parse_deterministic},
	{"--engine-switch-every", true, false, false, parse_engine_switch},
	{"--rebuild-every", true, false, false, parse_rebuild},
	{"--grow-every", true, false, false, parse_grow},
	{"--check-dirty-every", true, false, false, parse_check_dirty},
	{"--jit-cache", true, false, false, parse_jit_cache},
	{"--jit-window", true, false, false, parse_jit_window},
	{"--jit-dump", true, false, false, parse_jit_dump},
};
#define OPTIONS (sizeof(options) / sizeof(options[0]))

/* `--name` or `--name=value`; *value is then behind the '='. */
static const struct option *option_find(const char *word, const char **value)
{
	size_t length = strcspn(word, "="), i;

	for (i = 0; i < OPTIONS; i++) {
		if (strlen(options[i].name) == length && !strncmp(options[i].name, word, length)) {
			*value = word[length] ? word + length + 1 : NULL;
			return &options[i];
		}
	}
	return NULL;
}

/* One option at arguments[*at]; steps *at behind it. */
static enum status option_parse(struct vm_config *config, int count, char **arguments, int *at, uint64_t *seen, struct reason *why)
{
	const char *word = arguments[(*at)++], *value = NULL;
	const struct option *option = option_find(word, &value);
	uint64_t bit;

	if (!option)
		return reason_give(why, STATUS_USAGE, "%s: unknown option; `holon help run` lists them", word);
	bit = UINT64_C(1) << (option - options);
	if (*seen & bit && !option->repeats)
		return reason_give(why, STATUS_USAGE, "%s: it is there twice; give it once", option->name);
	*seen |= bit;
	if (!option->takes_value) {
		if (value)
			return reason_give(why, STATUS_USAGE, "%s: it takes no value; write it without '='", option->name);
		return option->parse(config, NULL, why);
	}
	if (!value) {
		if (*at == count)
			return reason_give(why, STATUS_USAGE, "%s: its value is missing; `holon help run` shows what it takes",
					   option->name);
		value = arguments[(*at)++];
	}
	if (!*value && !option->may_be_empty)
		return reason_give(why, STATUS_USAGE, "%s: its value is empty; `holon help run` shows what it takes", option->name);
	return option->parse(config, value, why);
}

char *config_comma_split(char *text)
{
	char *in = text, *out = text;

	for (; *in; in++) {
		if (*in == ',' && *++in != ',') {
			*out = 0;
			return in;
		}
		*out++ = *in;
	}
	*out = 0;
	return NULL;
}

enum status config_parse(struct vm_config *config, int count, char **arguments, struct reason *why)
{
	enum status status = STATUS_OK;
	uint64_t seen = 0;
	int at = 0;

	*config = (struct vm_config){.name = "vm",
				     .engine = "auto",
				     .cpu_model = "max",
				     .cpus = 1,
				     .memory = MEMORY_DEFAULT,
				     .cmdline = "",
				     .rng = VM_RNG_DEFAULT,
				     .debug_exit_port = -1};
	while (!status && at < count)
		status = option_parse(config, count, arguments, &at, &seen, why);
	if (!status && !config->kernel)
		status = reason_give(why, STATUS_USAGE, "--kernel: missing; a VM starts from a kernel: --kernel FILE");
	if (!status)
		status = config_nets_finish(config, why);
	if (!status)
		status = config_small_finish(config, why);
	if (status)
		config_free(config);
	return status;
}

void config_free(struct vm_config *config)
{
	config_disks_free(config);
	config_nets_free(config);
	config_small_free(config);
}

enum status config_memory_check(const struct vm_config *config, uint64_t host_bytes, struct reason *why)
{
	if (config->overcommit || config->memory <= host_bytes)
		return STATUS_OK;
	return reason_give(why, STATUS_USAGE,
			   "--memory %lluM: this host has %lluM of memory and swap; choose less, or add --overcommit",
			   (unsigned long long)(config->memory / MIB), (unsigned long long)(host_bytes / MIB));
}
