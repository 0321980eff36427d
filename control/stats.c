/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats.c - writes a VM's counters as JSON. Called from program/run.c after vm_wait.
 */
#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <sys/resource.h>

#include <holon/board.h>

#include "control/stats.h"

#define COUNTER(object, name, value) json_object_set_new(object, name, json_integer((json_int_t)(value)))

static json_t *engine_stats_json(const struct engine_stats *stats)
{
	json_t *exits = json_object(), *engine = json_object();

	COUNTER(exits, "port", stats->exits_port);
	COUNTER(exits, "mmio", stats->exits_mmio);
	COUNTER(exits, "halt", stats->exits_halt);
	COUNTER(exits, "interrupt", stats->exits_interrupt);
	COUNTER(exits, "exception", stats->exits_exception);
	COUNTER(exits, "kick", stats->exits_kick);
	COUNTER(exits, "fallback", stats->exits_fallback);
	COUNTER(engine, "instructions", stats->instructions);
	COUNTER(engine, "blocks_translated", stats->blocks_translated);
	COUNTER(engine, "cache_flushes", stats->cache_flushes);
	COUNTER(engine, "tlb_misses", stats->tlb_misses);
	COUNTER(engine, "slow_path_calls", stats->slow_path_calls);
	json_object_set_new(engine, "exits", exits);
	return engine;
}

static double seconds_of(struct timeval time)
{
	return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

static json_t *process_json(uint64_t elapsed_ns)
{
	json_t *process = json_object();
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	json_object_set_new(process, "elapsed_seconds", json_real((double)elapsed_ns / 1e9));
	json_object_set_new(process, "user_seconds", json_real(seconds_of(usage.ru_utime)));
	json_object_set_new(process, "system_seconds", json_real(seconds_of(usage.ru_stime)));
	COUNTER(process, "max_resident_kib", usage.ru_maxrss);
	return process;
}

/* What the guest does not tell is left out. */
static void balloon_json(json_t *root, const struct balloon_report *report)
{
	static const char *const names[BALLOON_STATS] = {
		"swap_in", "swap_out",  "major_faults", "minor_faults",        "free",
		"total",   "available", "disk_caches",  "hugetlb_allocations", "hugetlb_failures"};
	json_t *balloon = json_object(), *guest = json_object();
	unsigned i;

	COUNTER(balloon, "target", report->target);
	COUNTER(balloon, "actual", report->actual);
	COUNTER(balloon, "discarded", report->discarded);
	COUNTER(balloon, "reported_free", report->reported);
	for (i = 0; i < BALLOON_STATS; i++)
		if (report->stat[i] != BALLOON_STAT_UNKNOWN)
			COUNTER(guest, names[i], report->stat[i]);
	json_object_set_new(balloon, "guest", guest);
	json_object_set_new(root, "balloon", balloon);
}

enum status stats_write(struct vm *vm, const char *path, int exit_status, uint64_t elapsed_ns, struct reason *why)
{
	struct engine_stats engine = {0};
	struct balloon_report balloon;
	json_t *root = json_object(), *guest = json_object();
	int failed;

	vm_stats(vm, &engine);
	COUNTER(guest, "cpus", vm->vcpus);
	COUNTER(guest, "memory", vm->memory.size);
	COUNTER(guest, "clock_ns", vm_clock_ns(&vm->clock));
	COUNTER(guest, "unclaimed_port_accesses", vm->ports.unclaimed);
	COUNTER(guest, "unclaimed_mmio_accesses", vm->mmio.unclaimed);
	COUNTER(guest, "engine_switches", vm->engine_switches);
	COUNTER(guest, "rebuilds", vm->rebuilds);
	COUNTER(guest, "dirty_checks", vm->dirty_checks);
	json_object_set_new(root, "engine_name", json_string(vm->engine->name));
	json_object_set_new(root, "exit_status", json_integer(exit_status));
	json_object_set_new(root, "engine", engine_stats_json(&engine));
	json_object_set_new(root, "guest", guest);
	if (vm->board && board_balloon_report(vm->board, &balloon))
		balloon_json(root, &balloon);
	json_object_set_new(root, "process", process_json(elapsed_ns));
	errno = 0;
	failed = json_dump_file(root, path, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
	json_decref(root);
	if (failed)
		return reason_give(why, STATUS_IO, "--stats %s: %s; name a file that can be written", path,
				   errno ? strerror(errno) : "not written");
	return STATUS_OK;
}
