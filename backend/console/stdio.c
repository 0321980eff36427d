/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stdio.c - the console on stdin and stdout: raw terminal and its restoration, the reader thread, the way out.
 *
 * Backpressure: a pipe is read only while the device has room and nothing is pending. A terminal is always read, so that Ctrl-] works when
 * the guest hangs; what neither the device nor `pending` takes is lost, as on a real line.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "backend/console/console.h"
#include "backend/console/console_private.h"

#define ESCAPE 0x1d /* Ctrl-] */

/* One terminal a process; read in signal context. */
static struct termios terminal_found;
static _Atomic int terminal_raw;

static void terminal_make_raw(void)
{
	struct termios raw = terminal_found;

	cfmakeraw(&raw);
	tcsetattr(STDIN_FILENO, TCSANOW, &raw);
}

static void terminal_take(void)
{
	static bool registered;

	if (tcgetattr(STDIN_FILENO, &terminal_found))
		return;
	if (!registered)
		atexit(console_terminal_restore);
	registered = true;
	atomic_store(&terminal_raw, 1);
	terminal_make_raw();
}

void console_terminal_restore(void)
{
	int saved_errno = errno;

	if (atomic_exchange(&terminal_raw, 0))
		tcsetattr(STDIN_FILENO, TCSANOW, &terminal_found);
	errno = saved_errno;
}

void console_terminal_continue(void)
{
	if (atomic_load(&terminal_raw))
		terminal_make_raw();
}

static void wake(struct console *console)
{
	uint64_t one = 1;

	while (write(console->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

static void stdio_room_again(struct chardev *chardev)
{
	wake((struct console *)chardev);
}

static void stdio_write(struct chardev *chardev, const uint8_t *bytes, size_t length)
{
	console_output_write(&((struct console *)chardev)->output, bytes, length);
}

/* Hands pending bytes to the device, as many as it takes. */
static void pending_deliver(struct console *console)
{
	size_t taken;

	while (console->pending_length) {
		taken = chardev_deliver(&console->chardev, console->pending, console->pending_length);
		if (!taken)
			return;
		console->pending_length -= taken;
		memmove(console->pending, console->pending + taken, console->pending_length);
	}
}

static void pending_add(struct console *console, uint8_t byte)
{
	if (console->pending_length < CONSOLE_PENDING_BYTES)
		console->pending[console->pending_length++] = byte;
}

/* Ctrl-] q leaves, Ctrl-] Ctrl-] is one Ctrl-], Ctrl-] anything else is both. */
static void input_byte(struct console *console, uint8_t byte)
{
	if (!console->terminal) {
		pending_add(console, byte);
		return;
	}
	if (!console->escaped) {
		if (byte == ESCAPE)
			console->escaped = true;
		else
			pending_add(console, byte);
		return;
	}
	console->escaped = false;
	if (byte == 'q' || byte == 'Q') {
		console->leave(console->leave_argument);
		return;
	}
	pending_add(console, ESCAPE);
	if (byte != ESCAPE)
		pending_add(console, byte);
}

static void input_read(struct console *console)
{
	uint8_t bytes[512];
	ssize_t got = read(STDIN_FILENO, bytes, sizeof(bytes)), i;

	if (!got || (got < 0 && errno != EINTR && errno != EAGAIN))
		console->end_of_input = true;
	for (i = 0; i < got; i++)
		input_byte(console, bytes[i]);
}

static bool wants_input(const struct console *console)
{
	return !console->end_of_input && (console->terminal || !console->pending_length);
}

static void reader_main(void *argument)
{
	struct console *console = argument;
	uint64_t count;

	while (!__atomic_load_n(&console->stopping, __ATOMIC_SEQ_CST)) {
		struct pollfd fds[2] = {
			{.fd = console->wake_fd, .events = POLLIN},
			{.fd = wants_input(console) ? STDIN_FILENO : -1, .events = POLLIN},
		};

		if (poll(fds, 2, -1) < 0)
			continue;
		if (fds[0].revents && read(console->wake_fd, &count, sizeof(count)) < 0 && errno != EAGAIN && errno != EINTR)
			return;
		if (fds[1].revents)
			input_read(console);
		pending_deliver(console);
	}
}

static void stdio_stop(struct console *console)
{
	if (!console->reader)
		return;
	__atomic_store_n(&console->stopping, true, __ATOMIC_SEQ_CST);
	wake(console);
	host_thread_join(console->reader);
	console->reader = NULL;
}

static void stdio_close(struct console *console)
{
	stdio_stop(console);
	close(console->wake_fd);
	console_output_close(&console->output);
	console_terminal_restore();
	host_free(console, sizeof(*console));
}

/*
 * A descriptor for stdout of our own. Terminals and pipes are opened anew, non-blocking: setting O_NONBLOCK on the one that we
 * inherited would set it for the shell and everyone else who shares it.
 */
static int stdout_open(void)
{
	struct stat stat;
	int fd = -1;

	if (!fstat(STDOUT_FILENO, &stat) && (S_ISCHR(stat.st_mode) || S_ISFIFO(stat.st_mode)))
		fd = open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return fd >= 0 ? fd : fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
}

static enum status stdio_start(struct console *console, struct reason *why)
{
	enum status status;
	int fd = stdout_open();

	if (fd < 0)
		return reason_give(why, STATUS_IO, "console: stdout: %s; give it a place to write to, or use --console none",
				   strerror(errno));
	console->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (console->wake_fd < 0) {
		status = reason_give(why, STATUS_IO, "console: eventfd: %s; raise the limit on open files", strerror(errno));
		goto close_fd;
	}
	status = console_output_open(&console->output, fd);
	if (status)
		goto no_thread;
	console->terminal = isatty(STDIN_FILENO);
	if (console->terminal)
		terminal_take();
	status = host_thread_start(&console->reader, "console-in", reader_main, console);
	if (!status)
		return STATUS_OK;
	console_terminal_restore();
	console_output_close(&console->output);
	fd = -1;
no_thread:
	reason_give(why, status, "console: no thread: %s; raise the limit on threads", status_name(status));
	close(console->wake_fd);
close_fd:
	if (fd >= 0)
		close(fd);
	return status;
}

enum status console_stdio_open(struct chardev **chardev, void (*leave)(void *argument), void *argument, struct reason *why)
{
	struct console *console = host_allocate(sizeof(*console));
	enum status status;

	if (!console)
		return reason_give(why, STATUS_NO_MEMORY, "console: out of memory; free some");
	console->chardev.write = stdio_write;
	console->chardev.room_again = stdio_room_again;
	console->stop = stdio_stop;
	console->close = stdio_close;
	console->leave = leave;
	console->leave_argument = argument;
	status = stdio_start(console, why);
	if (status) {
		host_free(console, sizeof(*console));
		return status;
	}
	*chardev = &console->chardev;
	return STATUS_OK;
}
