/* SPDX-License-Identifier: Apache-2.0 */
/*
 * console_file.c - a console whose output goes to a file (`--console file=PATH`) and that has no input; console_start, console_stop and console_close for both kinds.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/console/console.h"
#include "backend/console/console_private.h"

static void file_write(struct chardev *chardev, const uint8_t *bytes, size_t length)
{
	console_output_write(&((struct console *)chardev)->output, bytes, length);
}

/* What a run that was refused has not written over is still there. */
static enum status file_start(struct console *console, struct reason *why)
{
	struct stat stat;

	if (fstat(console->output.fd, &stat) || !S_ISREG(stat.st_mode) || !ftruncate(console->output.fd, 0))
		return STATUS_OK;
	return reason_give(why, STATUS_IO, "console file: it cannot be emptied: %s; name another", strerror(errno));
}

static void file_close(struct console *console)
{
	console_output_close(&console->output);
	host_free(console, sizeof(*console));
}

enum status console_file_open(struct chardev **chardev, const char *path, struct reason *why)
{
	struct console *console;
	enum status status;
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0666);

	if (fd < 0)
		return reason_give(why,
				   errno == ENOENT   ? STATUS_NOT_FOUND
				   : errno == EISDIR ? STATUS_INVALID
				   : errno == EACCES ? STATUS_PERMISSION
						     : STATUS_IO,
				   "console file %s: %s; name a file that can be written", path, strerror(errno));
	console = host_allocate(sizeof(*console));
	if (!console) {
		status = reason_give(why, STATUS_NO_MEMORY, "console: out of memory; free some");
		goto close_fd;
	}
	console->chardev.write = file_write;
	console->start = file_start;
	console->close = file_close;
	status = console_output_open(&console->output, fd);
	if (status) {
		reason_give(why, status, "console: no thread: %s; raise the limit on threads", status_name(status));
		goto free_console;
	}
	*chardev = &console->chardev;
	return STATUS_OK;
free_console:
	host_free(console, sizeof(*console));
close_fd:
	close(fd);
	return status;
}

enum status console_start(struct chardev *chardev, struct reason *why)
{
	struct console *console = (struct console *)chardev;

	return console && console->start ? console->start(console, why) : STATUS_OK;
}

void console_stop(struct chardev *chardev)
{
	struct console *console = (struct console *)chardev;

	if (console && console->stop)
		console->stop(console);
}

void console_close(struct chardev *chardev)
{
	struct console *console = (struct console *)chardev;

	if (console)
		console->close(console);
}
