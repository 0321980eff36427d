/* SPDX-License-Identifier: Apache-2.0 */
/*
 * console_private.h - struct console, for the files of this folder.
 */
#ifndef HOLON_CONSOLE_PRIVATE_H
#define HOLON_CONSOLE_PRIVATE_H

#include <holon/chardev.h>

#include "backend/console/console_output.h"

#define CONSOLE_PENDING_BYTES 4096u

struct console {
	struct chardev chardev;                                            /* first: a chardev of ours is a console */
	enum status (*start)(struct console *console, struct reason *why); /* NULL: nothing to do */
	void (*stop)(struct console *console);                             /* NULL: there is no input to stop */
	void (*close)(struct console *console);
	struct console_output output;
	/* stdio.c's reader; its thread's own but for wake_fd and stopping */
	struct host_thread *reader;
	int wake_fd; /* eventfd: room again, or the end */
	bool stopping;
	bool terminal; /* stdin is one: escapes are honoured */
	bool escaped;  /* Ctrl-] was the last character */
	bool end_of_input;
	size_t pending_length; /* read and not yet taken by the device */
	uint8_t pending[CONSOLE_PENDING_BYTES];
	void (*leave)(void *argument);
	void *leave_argument;
};

#endif
