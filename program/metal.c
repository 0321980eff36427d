/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metal.c - Holon with nothing under it: runs each guest that the boot loader brought along, one after the other, on the machine that hosted VMs
 * have too. Called from host/metal/start.c.
 *
 * The words behind a guest's file in the boot loader's configuration: its name, then `memory=SIZE` (a multiple of 1 MiB; else half of what is
 * free), `cpus=N` (1), `engine=interp|jit` (interp), `debug-exit=PORT` (0x501); what follows `--` is the guest's command line. Each line of a guest's
 * serial port is printed behind its name. A guest passes that powers off or leaves through the debug exit port with 0. The last lines are TAP: a case a
 * guest, and how many there were.
 */
#include <holon/board.h>
#include <holon/vm.h>

#include "host/metal/metal.h"

#define NAME_MAX 24
#define LINE_MAX 256
#define DEBUG_EXIT_PORT 0x501
#define MEMORY_GRAIN (UINT64_C(1) << 20)

extern const struct engine engine_interp;
extern const struct engine engine_jit;

static const struct engine *const engines_here[] = {&engine_interp, &engine_jit}; /* the first is taken where nothing is said */
#define ENGINES (sizeof(engines_here) / sizeof(engines_here[0]))

/* The guest's serial port: whole lines go out, each behind the guest's name. */
struct console {
	struct chardev chardev;
	struct host_mutex lock;
	char line[LINE_MAX];
	size_t begin; /* behind the name */
	size_t used;
};

struct guest {
	const struct metal_module *module;
	char name[NAME_MAX];
	struct vm_config config;
	const struct engine *engine;
	struct console console;
	struct board_backends backends;
	uint8_t *ram;
	struct vm vm;
	bool vm_made;
	struct board *board;
};

static void line_flush_locked(struct console *console)
{
	console->line[console->used++] = '\n';
	log_write(console->line, console->used);
	console->used = console->begin;
}

static void console_write(struct chardev *chardev, const uint8_t *bytes, size_t length)
{
	struct console *console = (struct console *)chardev; /* its first member */

	host_mutex_lock(&console->lock);
	for (size_t i = 0; i < length; i++) {
		if (bytes[i] == '\n')
			line_flush_locked(console);
		else if (bytes[i] != '\r')
			console->line[console->used++] = bytes[i] < ' ' || bytes[i] == 0x7f ? '?' : (char)bytes[i];
		if (console->used == LINE_MAX - 1)
			line_flush_locked(console);
	}
	host_mutex_unlock(&console->lock);
}

static void console_make(struct guest *guest)
{
	struct console *console = &guest->console;

	console->chardev.write = console_write;
	console->begin = console->used = (size_t)host_format(console->line, NAME_MAX + 2, "%s| ", guest->name);
	guest->backends.console = &console->chardev;
}

/* What stands behind `--`. */
static const char *guest_cmdline(const char *words)
{
	for (; *words; words++) {
		if (words[0] == '-' && words[1] == '-' && words[2] == ' ' && words[-1] == ' ')
			return words + 3;
	}
	return "";
}

static void name_take(struct guest *guest)
{
	const char *words = guest->module->words;
	size_t length = 0;

	while (words[length] && words[length] != ' ' && length < NAME_MAX - 1)
		length++;
	__builtin_memcpy(guest->name, words, length);
}

/* A number behind `word=`, or what is taken where the word is not there. */
static enum status number_take(const struct guest *guest, const char *word, uint64_t otherwise, uint64_t least, uint64_t most,
			       uint64_t *number, struct reason *why)
{
	size_t length;
	const char *value = words_find(guest->module->words, word, &length);

	*number = otherwise;
	if (value && (!words_number(value, length, number) || *number < least || *number > most))
		return reason_give(why, STATUS_USAGE,
				   "%s=%s: it must be from %lu to %lu; change it in the boot loader's configuration", word, value,
				   least, most);
	return STATUS_OK;
}

static enum status engine_take(struct guest *guest, struct reason *why)
{
	struct reason found = {""};
	size_t length;
	const char *value = words_find(guest->module->words, "engine", &length);

	guest->engine = engines_here[0];
	if (!value)
		return STATUS_OK;
	for (unsigned i = 0; i < ENGINES; i++) {
		guest->engine = engines_here[i];
		if (words_is(value, length, guest->engine->name))
			return guest->engine->probe(&found) ? reason_give(why, STATUS_UNSUPPORTED, "engine %s", found.text)
							    : STATUS_OK;
	}
	return reason_give(why, STATUS_USAGE, "engine=%s: there are interp and jit", value);
}

static enum status config_take(struct guest *guest, struct reason *why)
{
	struct vm_config *config = &guest->config;
	uint64_t half = host_memory_free() / 2 / MEMORY_GRAIN * MEMORY_GRAIN, cpus = 1, port = 0;
	enum status status = engine_take(guest, why);

	*config = (struct vm_config){.name = guest->name, .cpu_model = "max", .rng = VM_RNG_DEFAULT, .no_reboot = true};
	if (!status)
		status = number_take(guest, "memory", half < VM_MEMORY_MAX ? half : VM_MEMORY_MAX, VM_MEMORY_MIN, VM_MEMORY_MAX,
				     &config->memory, why);
	if (!status)
		status = number_take(guest, "cpus", 1, 1, VM_CPUS_MAX, &cpus, why);
	if (!status)
		status = number_take(guest, "debug-exit", DEBUG_EXIT_PORT, 1, UINT16_MAX, &port, why);
	if (status)
		return status;
	if (config->memory < VM_MEMORY_MIN || config->memory % MEMORY_GRAIN)
		return reason_give(why, STATUS_USAGE, "memory: a guest needs whole MiB and %lu of them; %lu MiB are free",
				   VM_MEMORY_MIN >> 20, host_memory_free() >> 20);
	config->engine = guest->engine->name;
	config->cpus = (unsigned)cpus;
	config->debug_exit_port = (int)port;
	config->cmdline = guest_cmdline(guest->module->words);
	config->console = CONSOLE_STDIO;
	return STATUS_OK;
}

static enum status guest_make(struct guest *guest, struct reason *why)
{
	enum status status = config_take(guest, why);

	if (status)
		return status;
	console_make(guest);
	guest->backends.kernel = (struct board_image){guest->module->bytes, guest->module->length, guest->name};
	guest->ram = host_allocate(guest->config.memory);
	if (!guest->ram)
		return reason_give(why, STATUS_NO_MEMORY, "memory: %lu MiB for the guest, but %lu MiB are free; give it less",
				   guest->config.memory >> 20, host_memory_free() >> 20);
	status = vm_create(&guest->vm, &guest->config, guest->engine, guest->ram, why);
	if (status)
		return status;
	guest->vm_made = true;
	status = board_create(&guest->board, &guest->vm, &guest->backends, why);
	if (!status)
		status = vm_vcpus_create(&guest->vm, why);
	if (!status)
		status = vm_start(&guest->vm, why);
	return status;
}

static void guest_release(struct guest *guest)
{
	if (guest->board)
		board_destroy(guest->board);
	if (guest->vm_made)
		vm_destroy(&guest->vm);
	host_free(guest->ram, guest->config.memory);
	if (guest->console.used > guest->console.begin)
		line_flush_locked(&guest->console);
}

static bool guest_passed(int end)
{
	return end == VM_END_POWER_OFF || end == VM_END_DEBUG_EXIT + 1; /* isa-debug-exit's form of 0 */
}

static bool guest_run(const struct metal_module *module, unsigned number)
{
	struct guest *guest = host_allocate(sizeof(*guest));
	struct reason why = {""};
	bool passed = false;
	enum status status;
	int end;

	if (!guest) {
		host_log(HOST_LOG_ERROR, "no memory for a guest");
		return false;
	}
	guest->module = module;
	name_take(guest);
	status = guest_make(guest, &why);
	if (status) {
		host_log(HOST_LOG_ERROR, "%s: %s", guest->name, why.text[0] ? why.text : status_name(status));
	} else {
		host_log(HOST_LOG_INFO, "%s: %u vcpu, %lu MiB, engine %s", guest->name, guest->config.cpus,
			 guest->config.memory >> 20, guest->engine->name);
		end = vm_wait(&guest->vm);
		passed = guest_passed(end);
		if (!passed)
			host_log(HOST_LOG_ERROR, "%s: ended with %d", guest->name, end);
	}
	guest_release(guest);
	host_log(HOST_LOG_INFO, "%s %u - %s", passed ? "ok" : "not ok", number, guest->name);
	host_free(guest, sizeof(*guest));
	return passed;
}

int metal_main(const struct metal_boot *boot)
{
	uint64_t free_before = host_memory_free();
	unsigned passed = 0;

	host_log(HOST_LOG_INFO, "version " HOLON_VERSION " on the bare machine, loaded by %s",
		 boot->loader[0] ? boot->loader : "?");
	host_log(HOST_LOG_INFO, "%lu MiB free, TSC %u kHz, %u guests", free_before >> 20, host_tsc_khz(), boot->modules);
	if (boot->modules_left_out)
		host_log(HOST_LOG_WARN, "%u guests more than fit in the table are left out", boot->modules_left_out);
	for (unsigned i = 0; i < boot->modules; i++)
		passed += guest_run(&boot->module[i], i + 1);
	host_log(HOST_LOG_INFO, "1..%u", boot->modules);
	host_log(HOST_LOG_INFO, "%u passed, %u failed; %lu MiB free", passed, boot->modules - passed, host_memory_free() >> 20);
	return passed != boot->modules;
}
