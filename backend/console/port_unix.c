/* SPDX-License-Identifier: Apache-2.0 */
/*
 * port_unix.c - see port_unix.h. One thread polls the listening socket, the program that is connected, and an eventfd by which the device tells of room and output.
 *
 * Output waits in `output` until the program takes it; the device sees by write_room how much there may be, so a program that reads slowly holds up
 * the guest's and nothing is lost. Input is read in pieces when the last one has been delivered.
 */
#include "backend/console/port_unix.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "backend/unix_listen.h"

#define OUTPUT_SIZE 65536u
#define INPUT_SIZE 4096u
#define FINISH_NS UINT64_C(1000000000)

struct port {
	struct chardev chardev;
	struct host_thread *thread;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	int listener, wake_fd;
	atomic_bool kicked, stopping;
	/* The thread's. */
	int program; /* -1: none is connected */
	bool ended;  /* it sends no more */
	uint8_t input[INPUT_SIZE];
	size_t input_length;
	/* Under output_lock, a leaf. */
	struct host_mutex output_lock;
	bool connected;
	uint8_t output[OUTPUT_SIZE];
	size_t output_first, output_length;
};

static struct port *port_of(struct chardev *chardev)
{
	return (struct port *)(void *)chardev;
}

static void port_kick(struct chardev *chardev)
{
	struct port *port = port_of(chardev);
	uint64_t one = 1;

	if (atomic_exchange(&port->kicked, true))
		return;
	while (write(port->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

static size_t port_write_room(struct chardev *chardev)
{
	struct port *port = port_of(chardev);
	size_t room;

	host_mutex_lock(&port->output_lock);
	room = port->connected ? OUTPUT_SIZE - port->output_length : OUTPUT_SIZE; /* what nobody hears is gone */
	host_mutex_unlock(&port->output_lock);
	return room;
}

static void port_write(struct chardev *chardev, const uint8_t *bytes, size_t length)
{
	struct port *port = port_of(chardev);
	bool first;

	host_mutex_lock(&port->output_lock);
	if (!port->connected)
		length = 0;
	if (length > OUTPUT_SIZE - port->output_length)
		length = OUTPUT_SIZE - port->output_length;
	first = port->output_length == 0 && length;
	for (size_t i = 0; i < length; i++)
		port->output[(port->output_first + port->output_length++) % OUTPUT_SIZE] = bytes[i];
	host_mutex_unlock(&port->output_lock);
	if (first)
		port_kick(chardev);
}

static void program_set(struct port *port, int fd)
{
	if (port->program >= 0)
		close(port->program);
	port->program = fd;
	port->ended = false;
	host_mutex_lock(&port->output_lock);
	port->connected = fd >= 0;
	port->output_first = port->output_length = 0;
	host_mutex_unlock(&port->output_lock);
}

/* The bytes that lie together. Only this thread takes them away, so they stay there without the lock. */
static size_t output_next(struct port *port, const uint8_t **bytes)
{
	size_t length;

	host_mutex_lock(&port->output_lock);
	*bytes = port->output + port->output_first;
	length = port->output_length < OUTPUT_SIZE - port->output_first ? port->output_length : OUTPUT_SIZE - port->output_first;
	host_mutex_unlock(&port->output_lock);
	return length;
}

static void output_send(struct port *port)
{
	const uint8_t *bytes;
	size_t length;

	while (port->program >= 0 && (length = output_next(port, &bytes)) != 0) {
		ssize_t sent = send(port->program, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0 && errno == EAGAIN)
			return;
		if (sent < 0) {
			program_set(port, -1);
			return;
		}
		host_mutex_lock(&port->output_lock);
		port->output_first = (port->output_first + (size_t)sent) % OUTPUT_SIZE;
		port->output_length -= (size_t)sent;
		host_mutex_unlock(&port->output_lock);
	}
}

static void input_read(struct port *port)
{
	ssize_t got = recv(port->program, port->input, sizeof(port->input), MSG_DONTWAIT);

	if (got > 0)
		port->input_length = (size_t)got;
	else if (got == 0)
		port->ended = true; /* it may still read; a hang-up says when it does not */
	else if (errno != EAGAIN && errno != EINTR)
		program_set(port, -1);
}

/* What the device takes of the last piece. */
static void input_deliver(struct port *port)
{
	size_t taken = port->input_length ? chardev_deliver(&port->chardev, port->input, port->input_length) : 0;

	port->input_length -= taken;
	memmove(port->input, port->input + taken, port->input_length);
}

enum { POLL_WAKE, POLL_LISTENER, POLL_PROGRAM, POLLS };

static void wait_for_event(struct port *port, struct pollfd polls[POLLS], bool at_once)
{
	const uint8_t *bytes;
	uint64_t count;
	short events = 0;

	if (port->program >= 0 && !port->input_length && !port->ended)
		events |= POLLIN;
	if (port->program >= 0 && output_next(port, &bytes))
		events |= POLLOUT;
	polls[POLL_WAKE] = (struct pollfd){.fd = port->wake_fd, .events = POLLIN};
	polls[POLL_LISTENER] = (struct pollfd){.fd = port->program < 0 ? port->listener : -1, .events = POLLIN};
	/* A hang-up is told whatever is asked for; while a piece of input waits, what else the program has sent must not be missed for it. */
	polls[POLL_PROGRAM] = (struct pollfd){.fd = events || port->ended ? port->program : -1, .events = events};
	if (poll(polls, POLLS, at_once ? 0 : -1) <= 0)
		return;
	if (polls[POLL_WAKE].revents) {
		while (read(port->wake_fd, &count, sizeof(count)) < 0 && errno == EINTR)
			;
		/* From here on a kick writes again; what came before it, the next look at the device sees. */
		atomic_store(&port->kicked, false);
	}
}

/* The vm has ended: what it said last still goes to a program that reads. */
static void output_finish(struct port *port)
{
	uint64_t deadline = host_time_ns() + FINISH_NS;
	const uint8_t *bytes;

	output_send(port);
	while (port->program >= 0 && output_next(port, &bytes) && host_time_ns() < deadline) {
		struct pollfd poll_for = {.fd = port->program, .events = POLLOUT};

		poll(&poll_for, 1, 100);
		output_send(port);
	}
}

static void port_main(void *argument)
{
	struct port *port = argument;
	struct pollfd polls[POLLS];
	bool again = false;

	while (!atomic_load(&port->stopping)) {
		wait_for_event(port, polls, again);
		if (polls[POLL_LISTENER].revents)
			program_set(port, accept4(port->listener, NULL, NULL, SOCK_CLOEXEC));
		else if (polls[POLL_PROGRAM].revents & POLLIN)
			input_read(port);
		else if (polls[POLL_PROGRAM].revents & (POLLHUP | POLLERR))
			program_set(port, -1);
		input_deliver(port);
		output_send(port);
		again = chardev_state(&port->chardev, port->program >= 0);
	}
	output_finish(port);
}

static enum status listener_open(struct port *port, const char *path, struct reason *why)
{
	enum status status = unix_listen(&port->listener, path, 0777, 1, "--console-port", why);

	if (!status)
		strcpy(port->path, path); /* it is ours to remove */
	return status;
}

enum status port_unix_open(struct chardev **chardev, const char *path, struct reason *why)
{
	struct port *port = calloc(1, sizeof(*port));
	enum status status;

	*chardev = NULL;
	if (!port)
		return reason_give(why, STATUS_NO_MEMORY, "--console-port %s: out of memory; free some", path);
	port->chardev = (struct chardev){.write = port_write, .write_room = port_write_room, .room_again = port_kick};
	port->listener = port->program = -1;
	port->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (port->wake_fd < 0)
		status = reason_give(why, STATUS_IO, "--console-port %s: eventfd: %s; raise the limit on open files", path,
				     strerror(errno));
	else
		status = listener_open(port, path, why);
	if (status) {
		port_unix_close(&port->chardev);
		return status;
	}
	*chardev = &port->chardev;
	return STATUS_OK;
}

enum status port_unix_start(struct chardev *chardev, struct reason *why)
{
	struct port *port = port_of(chardev);
	enum status status = host_thread_start(&port->thread, "port", port_main, port);

	return status ? reason_give(why, status, "--console-port: no thread: %s; raise the limit on threads", status_name(status))
		      : STATUS_OK;
}

void port_unix_stop(struct chardev *chardev)
{
	struct port *port = port_of(chardev);

	if (!port->thread)
		return;
	atomic_store(&port->stopping, true);
	port_kick(chardev);
	host_thread_join(port->thread);
	port->thread = NULL;
}

void port_unix_close(struct chardev *chardev)
{
	struct port *port = port_of(chardev);

	port_unix_stop(chardev);
	if (port->program >= 0)
		close(port->program);
	if (port->listener >= 0)
		close(port->listener);
	if (port->wake_fd >= 0)
		close(port->wake_fd);
	if (port->path[0])
		unlink(port->path);
	free(port);
}
