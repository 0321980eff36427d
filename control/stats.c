/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats.c - writes a VM's counters as JSON. Called from program/run.c after vm_wait.
 */
#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <sys/resource.h>

#include <holon/board.h>

#include "control/json.h"
#include "control/stats.h"

static json_t *engine_stats_json(const struct engine_stats *stats)
{
	json_t *exits = json_object(), *engine = json_object();

	json_count(exits, "port", stats->exits_port);
	json_count(exits, "mmio", stats->exits_mmio);
	json_count(exits, "halt", stats->exits_halt);
	json_count(exits, "interrupt", stats->exits_interrupt);
	json_count(exits, "exception", stats->exits_exception);
	json_count(exits, "kick", stats->exits_kick);
	json_count(exits, "fallback", stats->exits_fallback);
	json_count(engine, "instructions", stats->instructions);
	json_count(engine, "blocks_translated", stats->blocks_translated);
	json_count(engine, "cache_flushes", stats->cache_flushes);
	json_count(engine, "tlb_misses", stats->tlb_misses);
	json_count(engine, "slow_path_calls", stats->slow_path_calls);
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
	json_count(process, "max_resident_kib", usage.ru_maxrss);
	return process;
}

enum status stats_write(struct vm *vm, const char *path, int exit_status, uint64_t elapsed_ns, struct reason *why)
{
	struct engine_stats engine = {0};
	struct balloon_report balloon;
	json_t *root = json_object(), *guest = json_object();
	int failed;

	vm_stats(vm, &engine);
	json_count(guest, "cpus", vm->vcpus);
	json_count(guest, "memory", vm->memory.size);
	json_count(guest, "clock_ns", vm_clock_ns(&vm->clock));
	json_count(guest, "unclaimed_port_accesses", vm->ports.unclaimed);
	json_count(guest, "unclaimed_mmio_accesses", vm->mmio.unclaimed);
	json_count(guest, "engine_switches", vm->engine_switches);
	json_count(guest, "rebuilds", vm->rebuilds);
	json_count(guest, "dirty_checks", vm->dirty_checks);
	json_object_set_new(root, "engine_name", json_string(vm->engine->name));
	json_object_set_new(root, "exit_status", json_integer(exit_status));
	json_object_set_new(root, "engine", engine_stats_json(&engine));
	json_object_set_new(root, "guest", guest);
	if (vm->board && board_balloon_report(vm->board, &balloon))
		json_object_set_new(root, "balloon", balloon_json(&balloon));
	json_object_set_new(root, "process", process_json(elapsed_ns));
	errno = 0;
	failed = json_dump_file(root, path, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
	json_decref(root);
	if (failed)
		return reason_give(why, STATUS_IO, "--stats %s: %s; name a file that can be written", path,
				   errno ? strerror(errno) : "not written");
	return STATUS_OK;
}
