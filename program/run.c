/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run.c - the verb `run`: picks engine, backends and host for one VM, lives with it and takes it down. Called from holon.c.
 *
 * Everything that can be wrong with what the user named is found before the guest runs. Each step notes in struct run what it made;
 * run_release undoes what was made, in the reverse order, whether the VM ran or a step failed.
 */
#include "program/run.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <holon/board.h>
#include <holon/vm.h>

#include "backend/console/console.h"
#include "backend/vsock/vsock_unix.h"
#include "control/code_dump.h"
#include "control/config.h"
#include "control/decompress.h"
#include "control/engine_choice.h"
#include "control/stats.h"
#include "host/linux/linux.h"
#include "program/control.h"
#include "program/disks.h"
#include "program/exit.h"
#include "program/nets.h"
#include "program/peers.h"
#include "program/ports.h"
#include "program/trials.h"
#include "program/trouble.h"
#include "x86/cpuid.h"

/* How long the guest has to power off by itself when it is asked to. */
#define POWER_OFF_NS UINT64_C(10000000000)
#define WISH_PAUSE_NS UINT64_C(50000000)

struct run {
	struct vm_config config;
	struct engine_choice engine;
	struct vm vm;
	bool vm_made;
	uint8_t *ram;
	int ram_fd;
	struct board_backends backends;
	struct board *board;
	bool console_was_there; /* the file of --console file=PATH */
	struct host_thread *signals;
	bool signals_end;
	bool asked_early; /* to stop, before there was a guest that could be asked */
	struct trials *trials;
	struct control *control;
};

/* What the user named: each check says which option is wrong. */

static enum status model_check(struct run *run, struct reason *why)
{
	static struct x86_cpu_model model; /* large; the board finds its own */
	struct reason found = {""};
	enum status status = x86_cpu_model_find(&model, run->config.cpu_model, run->config.cpus, host_tsc_khz(), &found);

	if (!status)
		return STATUS_OK;
	/* A name that is not there is a wrong word, not a missing file. */
	return reason_give(why, status == STATUS_NOT_FOUND ? STATUS_USAGE : status, "%s", found.text);
}

static void image_settled(const struct board_image *image)
{
	host_file_settled(image->bytes, image->length);
}

static enum status image_map(struct board_image *image, const char *path, const char *what, struct reason *why)
{
	image->path = path;
	return path ? host_file_map(&image->bytes, &image->length, path, what, why) : STATUS_OK;
}

/* Any thread. A reset may be waiting for what a disk keeps until its host or its server recovers. */
static void run_end(struct run *run)
{
	vm_end_request(&run->vm, VM_END_POWER_OFF);
	disks_give_up(run->backends.disk, &run->config);
	peers_give_up(&run->backends, &run->config);
}

static void console_leave(void *argument)
{
	host_log(HOST_LOG_INFO, "left by Ctrl-] q: the VM is stopped");
	run_end(argument);
}

static enum status console_open(struct run *run, struct reason *why)
{
	switch (run->config.console) {
	case CONSOLE_STDIO: return console_stdio_open(&run->backends.console, console_leave, run, why);
	case CONSOLE_FILE:
		run->console_was_there = !access(run->config.console_path, F_OK);
		return console_file_open(&run->backends.console, run->config.console_path, why);
	default: return STATUS_OK;
	}
}

/* What a signal wants of the machine, as soon as nobody holds that: this thread must not wait for it, or the signal that ends the VM would not be heard. */
struct wishes {
	bool button, look;
};

static void wishes_grant(struct run *run, struct wishes *wishes)
{
	if ((!wishes->button && !wishes->look) || !vm_board_try(&run->vm))
		return;
	if (wishes->button)
		board_power_button(run->board);
	if (wishes->look)
		disks_look(run->backends.disk, &run->config);
	vm_board_unlock(&run->vm);
	*wishes = (struct wishes){false, false};
}

static uint64_t wait_until(const struct wishes *wishes, uint64_t deadline)
{
	uint64_t again = wishes->button || wishes->look ? host_time_ns() + WISH_PAUSE_NS : HOST_FOREVER;

	return again < deadline ? again : deadline;
}

/*
 * The first signal asks the guest to power off, as the power button does; the second, or ten seconds, ends the VM. So does the first where it came while the host was
 * still looked at.
 */
static void signals_main(void *argument)
{
	struct run *run = argument;
	struct wishes wishes = {false, false};
	uint64_t deadline = HOST_FOREVER;

	for (;; wishes_grant(run, &wishes)) {
		int got = host_signal_wait(wait_until(&wishes, deadline));

		if (__atomic_load_n(&run->signals_end, __ATOMIC_SEQ_CST))
			return;
		if (got == 0 && host_time_ns() < deadline)
			continue;
		if (got == SIGCONT) {
			console_terminal_continue();
		} else if (got == SIGUSR2) {
			wishes.look = !run->config.grow_ms;
		} else if (got == 0 || (got != SIGUSR1 && (deadline != HOST_FOREVER || run->asked_early))) {
			host_log(HOST_LOG_INFO, "%s: the VM is stopped",
				 !got               ? "the guest did not power off in 10 s"
				 : run->asked_early ? "asked to stop before the guest began"
						    : "asked again");
			deadline = HOST_FOREVER;
			run_end(run);
		} else if (got != SIGUSR1) {
			host_log(HOST_LOG_INFO, "asked to stop: pressing the guest's power button; once more stops the VM at once");
			deadline = host_time_ns() + POWER_OFF_NS;
			wishes.button = true;
		}
	}
}

static void signals_stop(struct run *run)
{
	if (!run->signals)
		return;
	__atomic_store_n(&run->signals_end, true, __ATOMIC_SEQ_CST);
	kill(getpid(), SIGUSR1);
	host_thread_join(run->signals);
	run->signals = NULL;
}

/* What the user named is good: files, disks, sizes, names. */
static enum status inputs_open(struct run *run, struct reason *why)
{
	enum status status = config_memory_check(&run->config, host_memory_total(), why);

	if (!status)
		status = model_check(run, why);
	if (!status)
		status = image_map(&run->backends.kernel, run->config.kernel, "kernel", why);
	if (!status)
		status = image_map(&run->backends.initrd, run->config.initrd, "initrd", why);
	if (!status)
		status = disks_open(run->backends.disk, &run->config, why);
	if (!status)
		status = peers_connect(&run->backends, &run->config, why);
	if (!status)
		status = nets_open(run->backends.net, &run->config, why);
	if (!status)
		status = ports_open(run->backends.port, &run->config, why);
	if (!status && run->config.vsock_path)
		status = vsock_unix_open(&run->backends.vsock, run->config.vsock_path, run->config.vsock_cid, why);
	if (!status)
		status = control_open(&run->control, &run->config, why);
	if (!status)
		status = engine_pick(&run->engine, engines, run->config.engine, run->config.deterministic, why);
	return status;
}

static enum status code_watches_open(struct run *run, struct reason *why)
{
	enum status status = STATUS_OK;

	if (run->config.jit_dump_path)
		status = code_dump_open(&run->vm.code_watch, run->config.jit_dump_path, getenv("HOLON_DISASSEMBLER"), why);
	if (!status && getenv("HOLON_PERF_MAP"))
		status = perf_map_open(&run->vm.code_watch, why);
	return status;
}

static void vm_unmake(struct run *run)
{
	board_destroy(run->board);
	run->board = NULL;
	vm_destroy(&run->vm);
	run->vm_made = false;
	code_dump_close(run->vm.code_watch);
}

/* The machine without its RAM, on the first engine that takes it. */
static enum status vm_make(struct run *run, struct reason *why)
{
	for (;;) {
		enum status status = vm_create(&run->vm, &run->config, run->engine.engine, run->ram, why);

		if (status)
			return status;
		run->vm_made = true;
		status = code_watches_open(run, why);
		if (!status)
			status = board_create(&run->board, &run->vm, &run->backends, why);
		if (status)
			return status;
		status = vm_vcpus_create(&run->vm, why);
		if (!status || !engine_pick_next(&run->engine, engines, why))
			return status;
		vm_unmake(run);
	}
}

/* KVM maps large pages, which most hosts give to private memory only; a process that serves a device needs a file. */
static bool ram_is_shared(struct run *run)
{
	return !run->engine.engine->maps_large_pages || peers_any(&run->backends, &run->config);
}

static enum status machine_make(struct run *run, struct reason *why)
{
	enum status status = host_ram_create(&run->ram, &run->ram_fd, run->config.memory, ram_is_shared(run), why);

	if (status)
		return status;
	status = peers_start(&run->backends, &run->config, run->ram, run->ram_fd, why);
	if (!status)
		status = console_open(run, why);
	if (!status)
		status = vm_make(run, why);
	if (!status && run->engine.line.text[0])
		host_log(HOST_LOG_INFO, "engine %s", run->engine.line.text);
	if (!status) {
		run->asked_early = host_signal_asks();
		status = host_thread_start(&run->signals, "signals", signals_main, run);
		if (status)
			reason_give(why, status, "signals: no thread: %s; raise the limit on threads", status_name(status));
	}
	if (!status)
		status = console_start(run->backends.console, why);
	if (!status)
		status = nets_start(run->backends.net, &run->config, why);
	if (!status)
		status = ports_start(run->backends.port, &run->config, why);
	if (!status && run->backends.vsock)
		status = run->backends.vsock->start(run->backends.vsock, why);
	if (!status)
		status = trouble_start(&run->vm, why);
	if (!status)
		status = trials_create(&run->trials, &run->vm, run->backends.disk, why);
	if (!status)
		status = control_start(run->control, &run->vm, &run->backends, why);
	if (!status)
		status = vm_start(&run->vm, why);
	return status;
}

static void inputs_close(struct run *run)
{
	control_close(run->control);
	nets_close(run->backends.net, &run->config);
	ports_close(run->backends.port, &run->config);
	if (run->backends.vsock)
		run->backends.vsock->close(run->backends.vsock);
	disks_close(run->backends.disk, &run->config);
	peers_close(&run->backends, &run->config);
	host_file_unmap(run->backends.kernel.bytes, run->backends.kernel.length);
	host_file_unmap(run->backends.initrd.bytes, run->backends.initrd.length);
}

/* No vcpu runs. Backends first fall silent, then the devices go, then what the devices stood on. */
static void run_release(struct run *run)
{
	signals_stop(run);
	disks_give_up(run->backends.disk, &run->config);
	peers_give_up(&run->backends, &run->config);
	control_stop(run->control);
	trouble_stop();
	trials_destroy(run->trials);
	disks_drain(run->backends.disk, &run->config);
	nets_stop(run->backends.net, &run->config);
	ports_stop(run->backends.port, &run->config);
	if (run->backends.vsock)
		run->backends.vsock->stop(run->backends.vsock);
	console_stop(run->backends.console);
	if (run->board)
		board_destroy(run->board);
	console_close(run->backends.console);
	if (run->vm_made)
		vm_destroy(&run->vm);
	code_dump_close(run->vm.code_watch);
	if (run->ram)
		host_ram_destroy(run->ram, run->ram_fd, run->config.memory);
	inputs_close(run);
	config_free(&run->config);
}

static const char *end_text(int end)
{
	switch (end) {
	case VM_END_CRASH: return "the guest crashed";
	case VM_END_RESET: return "the guest reset, and --no-reboot ends the VM";
	case VM_END_FAILURE: return "the VM was ended by a failure of the host or of Holon; the lines above say which";
	default: return NULL;
	}
}

static int vm_live(struct run *run)
{
	uint64_t begin = host_time_ns();
	struct reason why = {""};
	int end, status;

	trials_start(run->trials);
	end = vm_wait(&run->vm);
	status = end >= VM_END_DEBUG_EXIT ? end - VM_END_DEBUG_EXIT : end;
	disks_give_up(run->backends.disk, &run->config); /* a trial may wait for what a disk keeps */
	peers_give_up(&run->backends, &run->config);
	trials_stop(run->trials);
	if (end_text(end))
		host_log(end == VM_END_FAILURE ? HOST_LOG_ERROR : HOST_LOG_INFO, "%s", end_text(end));
	if (run->config.stats_path && stats_write(&run->vm, run->config.stats_path, status, host_time_ns() - begin, &why)) {
		host_log(HOST_LOG_ERROR, "%s", why.text);
		if (status == EXIT_DONE)
			status = EXIT_FAILURE_HOST;
	}
	return status;
}

int run(int count, char **arguments)
{
	static struct run run; /* one VM a process; zero */
	struct reason why = {""};
	enum status status;
	int result;

	host_signals_block();
	host_crash_hook_set(console_terminal_restore);
	run.backends.decompress = decompress;
	run.backends.decompress_free = decompress_free;
	run.backends.image_settled = image_settled;
	status = config_parse(&run.config, count, arguments, &why);
	if (!status)
		status = inputs_open(&run, &why);
	if (!status)
		status = machine_make(&run, &why);
	result = status ? exit_status_of(status) : vm_live(&run);
	run_release(&run);
	if (status) {
		/* After the terminal is itself again. */
		host_log(HOST_LOG_ERROR, "%s", why.text[0] ? why.text : status_name(status));
		if (run.config.console == CONSOLE_FILE && run.vm_made && !run.console_was_there)
			unlink(run.config.console_path);
	}
	return result;
}
