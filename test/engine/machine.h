/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machine.h - a whole VM in the test's process, for tests of engines: made from a kernel file, its console kept in memory, driven by the test.
 */
#ifndef HOLON_TEST_ENGINE_MACHINE_H
#define HOLON_TEST_ENGINE_MACHINE_H

#include <holon/board.h>
#include <holon/vm.h>

#define MACHINE_OUTPUT (256u << 10)

struct machine {
	struct vm vm;
	struct vm_config config; /* complete it before machine_create */
	struct board_backends backends;
	struct board *board;
	uint8_t *ram;
	int ram_fd;
	struct chardev console;
	char output[MACHINE_OUTPUT + 1]; /* what the guest printed; the rest is dropped */
	_Atomic size_t output_length;
};

/* Usual settings; text arguments outlive the machine. */
struct machine *machine_describe(const char *engine, const char *kernel, const char *cmdline, unsigned cpus);
/* Ends the process with a message where it cannot. The guest does not run yet: vm_start. */
void machine_create(struct machine *machine);
/* After vm_wait. */
void machine_destroy(struct machine *machine);

#endif
