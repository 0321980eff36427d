/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machine.c - see machine.h. Does what program/run.c does for a user.
 */
#include "test/engine/machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/decompress.h"
#include "host/linux/linux.h"

static _Noreturn void give_up(const struct reason *why)
{
	fprintf(stderr, "machine: %s\n", why->text);
	exit(1);
}

static void console_write(struct chardev *chardev, const uint8_t *bytes, size_t length)
{
	struct machine *machine = (struct machine *)((char *)chardev - offsetof(struct machine, console));
	size_t used = machine->output_length;

	if (length > MACHINE_OUTPUT - used)
		length = MACHINE_OUTPUT - used;
	memcpy(machine->output + used, bytes, length);
	machine->output_length = used + length;
}

struct machine *machine_describe(const char *engine, const char *kernel, const char *cmdline, unsigned cpus)
{
	struct machine *machine = calloc(1, sizeof(*machine));

	if (!machine)
		give_up(&(struct reason){"no memory"});
	machine->config = (struct vm_config){.name = "test",
					     .engine = engine,
					     .cpu_model = "max",
					     .cpus = cpus,
					     .memory = UINT64_C(32) << 20,
					     .kernel = kernel,
					     .cmdline = cmdline,
					     .console = CONSOLE_NONE,
					     .debug_exit_port = 0x501,
					     .no_reboot = true};
	return machine;
}

static void image_map(struct board_image *image, const char *path, const char *what)
{
	struct reason why = {""};

	image->path = path;
	if (path && host_file_map(&image->bytes, &image->length, path, what, &why))
		give_up(&why);
}

void machine_create(struct machine *machine)
{
	const struct engine *engine = NULL;
	struct reason why = {""};
	enum status status;

	for (unsigned i = 0; engines[i]; i++)
		if (!strcmp(engines[i]->name, machine->config.engine))
			engine = engines[i];
	if (!engine)
		give_up(&(struct reason){"no such engine in this build"});
	image_map(&machine->backends.kernel, machine->config.kernel, "kernel");
	image_map(&machine->backends.initrd, machine->config.initrd, "initrd");
	machine->console.write = console_write;
	machine->backends.console = &machine->console;
	machine->backends.decompress = decompress;
	machine->backends.decompress_free = decompress_free;
	status = host_ram_create(&machine->ram, &machine->ram_fd, machine->config.memory, true, &why);
	if (!status)
		status = vm_create(&machine->vm, &machine->config, engine, machine->ram, &why);
	if (!status)
		status = board_create(&machine->board, &machine->vm, &machine->backends, &why);
	if (!status)
		status = vm_vcpus_create(&machine->vm, &why);
	if (status)
		give_up(&why);
}

void machine_destroy(struct machine *machine)
{
	board_destroy(machine->board);
	vm_destroy(&machine->vm);
	host_ram_destroy(machine->ram, machine->ram_fd, machine->config.memory);
	host_file_unmap(machine->backends.kernel.bytes, machine->backends.kernel.length);
	host_file_unmap(machine->backends.initrd.bytes, machine->backends.initrd.length);
	free(machine);
}
