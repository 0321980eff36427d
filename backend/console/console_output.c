/* SPDX-License-Identifier: Apache-2.0 */
/*
 * console_output.c - the ring and the writer thread behind a console. Called from stdio.c and console_file.c.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "backend/console/console_output.h"

#define CHUNK_BYTES 4096u /* what a pipe that polls writable takes without blocking */
#define ROOM_WAIT_NS UINT64_C(500000000)
#define CLOSE_WAIT_NS UINT64_C(2000000000)
#define POLL_MS 200 /* how soon a close is noticed behind a reader who does not read */

static size_t room_locked(const struct console_output *output)
{
	return (size_t)(CONSOLE_RING_BYTES - (output->in - output->out));
}

static size_t put_locked(struct console_output *output, const uint8_t *bytes, size_t length)
{
	size_t room = room_locked(output), put = length < room ? length : room, at = output->in % CONSOLE_RING_BYTES;
	size_t first = put < CONSOLE_RING_BYTES - at ? put : CONSOLE_RING_BYTES - at;

	memcpy(output->ring + at, bytes, first);
	memcpy(output->ring, bytes + first, put - first);
	output->in += put;
	return put;
}

void console_output_write(struct console_output *output, const uint8_t *bytes, size_t length)
{
	uint64_t deadline = 0;

	host_mutex_lock(&output->lock);
	while (length && !output->broken) {
		size_t put = put_locked(output, bytes, length);

		bytes += put;
		length -= put;
		if (!length || output->stalled)
			break;
		host_mutex_unlock(&output->lock);
		host_event_set(&output->filled);
		if (!deadline)
			deadline = host_time_ns() + ROOM_WAIT_NS;
		put = host_event_wait(&output->freed, deadline);
		host_mutex_lock(&output->lock);
		if (!put && !room_locked(output))
			output->stalled = true;
	}
	output->dropped += length;
	host_mutex_unlock(&output->lock);
	host_event_set(&output->filled);
}

/* Copies out what comes next; 0: nothing. *end: nothing will come any more. */
static size_t chunk_take(struct console_output *output, uint8_t *chunk, bool *end)
{
	size_t at, length;

	host_mutex_lock(&output->lock);
	at = output->out % CONSOLE_RING_BYTES;
	length = (size_t)(output->in - output->out);
	if (length > CONSOLE_RING_BYTES - at)
		length = CONSOLE_RING_BYTES - at;
	if (length > CHUNK_BYTES)
		length = CHUNK_BYTES;
	memcpy(chunk, output->ring + at, length);
	*end = output->broken || (output->closing && (!length || host_time_ns() >= output->closing_deadline_ns));
	host_mutex_unlock(&output->lock);
	return length;
}

/* broken: an errno that will not pass, or 0. */
static void chunk_done(struct console_output *output, size_t length, int broken)
{
	host_mutex_lock(&output->lock);
	output->out += length;
	output->broken = broken;
	if (length)
		output->stalled = false;
	host_mutex_unlock(&output->lock);
	host_event_set(&output->freed);
}

static void output_main(void *argument)
{
	struct console_output *output = argument;
	uint8_t chunk[CHUNK_BYTES];
	bool end;

	for (;;) {
		size_t length = chunk_take(output, chunk, &end);
		struct pollfd poll_fd = {.fd = output->fd, .events = POLLOUT};
		ssize_t done;

		if (end)
			return;
		if (!length) {
			host_event_wait(&output->filled, HOST_FOREVER);
			continue;
		}
		if (poll(&poll_fd, 1, POLL_MS) <= 0)
			continue;
		done = write(output->fd, chunk, length);
		if (done >= 0)
			chunk_done(output, (size_t)done, 0);
		else if (errno != EAGAIN && errno != EINTR)
			chunk_done(output, 0, errno);
	}
}

enum status console_output_open(struct console_output *output, int fd)
{
	output->fd = fd;
	return host_thread_start(&output->thread, "console-out", output_main, output);
}

void console_output_close(struct console_output *output)
{
	host_mutex_lock(&output->lock);
	output->closing = true;
	output->closing_deadline_ns = host_time_ns() + CLOSE_WAIT_NS;
	host_mutex_unlock(&output->lock);
	host_event_set(&output->filled);
	host_thread_join(output->thread);
	close(output->fd);
	output->dropped += output->in - output->out;
	if (output->dropped)
		host_log(HOST_LOG_WARN, "console: %llu bytes of output were dropped: %s", (unsigned long long)output->dropped,
			 output->broken ? strerror(output->broken) : "whoever reads it did not keep up");
}
