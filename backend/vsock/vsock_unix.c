/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vsock_unix.c - see vsock_unix.h. One thread has all connections and polls their sockets; a kick of the device is an eventfd.
 *
 * A connection is a Unix socket, a pair of ports and two flows. Guest to host: bytes wait in `output` until the socket takes them; its size is the credit
 * that the guest has, so a guest that sends more broke the rules. Host to guest: one piece is read when the guest has credit for it, and
 * kept in `input` until its ring has room. What is to be said besides (RESPONSE, SHUTDOWN, ...) is a bit in `wanted`, so nothing grows.
 * Everything that comes from the guest is a copy; ports and counters are only compared and subtracted modulo 2^32.
 */
#include "backend/vsock/vsock_unix.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "backend/unix_listen.h"

#define CONNECTIONS 256u
#define BUFFER_SIZE 65536u /* the guest's credit */
#define PIECE 4096u        /* fits into the receive buffers that Linux offers */
#define LINE_MAX_BYTES 32u /* "CONNECT 4294967295\n" */
#define REFUSALS 64u
#define PORT_FIRST 0x40000000u /* of connections from the host */
#define BACKLOG 64
#define BATCH 256u /* packets in a row before sockets are looked at again */

enum state {
	FREE,
	GREETING,  /* the host's program has not said CONNECT yet */
	REQUESTED, /* the guest has not answered yet */
	OPEN,
	CLOSING, /* the socket is gone; the guest is to say RST */
};

enum wanted { WANT_REQUEST = 1, WANT_RESPONSE = 2, WANT_CREDIT = 4, WANT_SHUTDOWN = 8, WANT_RST = 16 };

struct connection {
	enum state state;
	int fd; /* -1: gone */
	uint32_t guest_port, host_port;
	unsigned wanted;
	unsigned shut_down; /* VSOCK_SHUTDOWN_*: what we have told, or are to tell, the guest */
	bool guest_sends_no_more, guest_receives_no_more, host_sends_no_more;
	/* Host to guest. */
	uint32_t peer_size, peer_forwarded, sent;
	uint32_t input_length;
	uint8_t input[PIECE]; /* while GREETING: the line so far */
	/* Guest to host: a ring. */
	uint32_t received, forwarded, told; /* told: the `forwarded` that the guest knows */
	uint8_t *output;
};

struct refusal {
	uint32_t guest_port, host_port;
	uint64_t host_cid; /* as the guest wrote it */
};

struct vsock_unix {
	struct vsock vsock;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	int listener, event;
	struct host_thread *thread;
	_Atomic bool stopping, reset_wanted;
	uint32_t port_next;
	struct connection connection[CONNECTIONS];
	struct refusal refusal[REFUSALS];
	unsigned refusals;
	uint8_t payload[VSOCK_PAYLOAD_MAX];
};

static void event_raise(struct vsock_unix *unix_vsock)
{
	const uint64_t one = 1;

	while (write(unix_vsock->event, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

static uint32_t output_used(const struct connection *connection)
{
	return connection->received - connection->forwarded;
}

static void connection_free(struct connection *connection)
{
	if (connection->fd >= 0)
		close(connection->fd);
	free(connection->output);
	*connection = (struct connection){.state = FREE, .fd = -1};
}

/* A free place; if there is none, that of a connection which only waits for the guest's last word. */
static struct connection *connection_new(struct vsock_unix *unix_vsock, int fd, enum state state)
{
	struct connection *found = NULL;
	unsigned i;

	for (i = 0; i < CONNECTIONS; i++) {
		struct connection *connection = &unix_vsock->connection[i];

		if (connection->state == FREE || (!found && connection->state == CLOSING))
			found = connection;
		if (connection->state == FREE)
			break;
	}
	if (!found)
		return NULL;
	connection_free(found);
	found->output = malloc(BUFFER_SIZE);
	if (!found->output)
		return NULL;
	found->state = state;
	found->fd = fd;
	return found;
}

static struct connection *connection_find(struct vsock_unix *unix_vsock, uint32_t guest_port, uint32_t host_port)
{
	unsigned i;

	for (i = 0; i < CONNECTIONS; i++) {
		struct connection *connection = &unix_vsock->connection[i];

		if (connection->state > GREETING && connection->guest_port == guest_port && connection->host_port == host_port)
			return connection;
	}
	return NULL;
}

/* The socket is gone or of no use; the guest hears of it. */
static void connection_hang_up(struct connection *connection)
{
	if (connection->state == GREETING) {
		connection_free(connection);
		return;
	}
	if (connection->fd >= 0)
		close(connection->fd);
	connection->fd = -1;
	connection->input_length = 0;
	if (connection->state == OPEN) {
		connection->wanted = (connection->wanted & WANT_RESPONSE) | WANT_SHUTDOWN;
		connection->shut_down = VSOCK_SHUTDOWN_RECEIVE | VSOCK_SHUTDOWN_SEND;
		connection->state = CLOSING;
	} else if (connection->state == REQUESTED) {
		connection->wanted = WANT_RST;
	}
}

/* Nothing but the RST is to be said. */
static void connection_end(struct connection *connection)
{
	if (connection->fd >= 0)
		close(connection->fd);
	connection->fd = -1;
	connection->input_length = 0;
	connection->state = REQUESTED;
	connection->wanted = WANT_RST;
}

/* --- from the host's sockets --- */

static void output_flush(struct connection *connection)
{
	while (connection->fd >= 0 && output_used(connection)) {
		uint32_t at = connection->forwarded % BUFFER_SIZE, here = BUFFER_SIZE - at;
		ssize_t done;

		if (here > output_used(connection))
			here = output_used(connection);
		done = send(connection->fd, connection->output + at, here, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return;
		if (done <= 0) {
			connection_hang_up(connection);
			return;
		}
		connection->forwarded += (uint32_t)done;
	}
	if (connection->guest_sends_no_more && connection->guest_receives_no_more && !output_used(connection))
		connection_end(connection);
	else if (connection->fd >= 0 && connection->guest_sends_no_more && !output_used(connection))
		shutdown(connection->fd, SHUT_WR);
	/* The guest may send on when half of its credit is used up and back. */
	if (connection->forwarded - connection->told >= BUFFER_SIZE / 2)
		connection->wanted |= WANT_CREDIT;
}

/* How much the guest has room for. Its numbers may be any. */
static uint32_t credit_of(const struct connection *connection)
{
	uint32_t under_way = connection->sent - connection->peer_forwarded;

	return under_way < connection->peer_size ? connection->peer_size - under_way : 0;
}

static bool input_wanted(const struct connection *connection)
{
	if (connection->fd < 0 || connection->host_sends_no_more)
		return false;
	if (connection->state == GREETING)
		return true;
	return connection->state == OPEN && !connection->input_length && !connection->guest_receives_no_more &&
	       credit_of(connection);
}

/* "CONNECT PORT\n": byte by byte, so that nothing of the stream behind it is taken. */
static void greeting_read(struct vsock_unix *unix_vsock, struct connection *connection)
{
	char *line = (char *)connection->input, *end;
	unsigned long port;

	for (;;) {
		ssize_t done = recv(connection->fd, line + connection->input_length, 1, MSG_DONTWAIT);

		if (done < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (done <= 0 || connection->input_length == LINE_MAX_BYTES) {
			connection_free(connection);
			return;
		}
		if (line[connection->input_length++] == '\n')
			break;
	}
	line[connection->input_length - 1] = 0;
	port = strncmp(line, "CONNECT ", 8) == 0 && line[8] >= '0' && line[8] <= '9' ? strtoul(line + 8, &end, 10) : ULONG_MAX;
	if (port > UINT32_MAX || (*end && strcmp(end, "\r") != 0)) {
		connection_free(connection);
		return;
	}
	do
		connection->host_port = PORT_FIRST + unix_vsock->port_next++ % PORT_FIRST;
	while (connection_find(unix_vsock, (uint32_t)port, connection->host_port));
	connection->guest_port = (uint32_t)port;
	connection->input_length = 0;
	connection->state = REQUESTED;
	connection->wanted = WANT_REQUEST;
}

static void input_read(struct connection *connection)
{
	uint32_t most = credit_of(connection) < PIECE ? credit_of(connection) : PIECE;
	ssize_t done = recv(connection->fd, connection->input, most, MSG_DONTWAIT);

	if (done < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (done < 0) {
		connection_hang_up(connection);
	} else if (!done) {
		connection->host_sends_no_more = true;
		connection->shut_down |= VSOCK_SHUTDOWN_SEND;
		connection->wanted |= WANT_SHUTDOWN;
	} else {
		connection->input_length = (uint32_t)done;
	}
}

static void socket_serve(struct vsock_unix *unix_vsock, struct connection *connection, short events)
{
	if (events & POLLOUT)
		output_flush(connection);
	if (events & (POLLIN | POLLHUP) && input_wanted(connection)) {
		if (connection->state == GREETING)
			greeting_read(unix_vsock, connection);
		else
			input_read(connection);
	} else if (events & (POLLHUP | POLLERR) && (connection->host_sends_no_more || connection->state != OPEN)) {
		/* Both directions are closed; what was still to be read has been. */
		connection_hang_up(connection);
	}
}

static void listener_serve(struct vsock_unix *unix_vsock)
{
	int fd = accept4(unix_vsock->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0 && !connection_new(unix_vsock, fd, GREETING))
		close(fd);
}

/* --- to the guest --- */

static struct vsock_header header_of(const struct vsock_unix *unix_vsock, const struct connection *connection, uint16_t operation)
{
	return (struct vsock_header){.source_cid = VSOCK_HOST_CID,
				     .target_cid = unix_vsock->vsock.guest_cid,
				     .source_port = connection->host_port,
				     .target_port = connection->guest_port,
				     .type = VSOCK_STREAM,
				     .operation = operation,
				     .buffer_size = BUFFER_SIZE,
				     .forwarded = connection->forwarded};
}

static bool word_give(struct vsock_unix *unix_vsock, const struct vsock_frontend *frontend, struct connection *connection,
		      enum wanted bit)
{
	static const struct {
		enum wanted bit;
		uint16_t operation;
	} words[] = {{WANT_REQUEST, VSOCK_REQUEST},
		     {WANT_RESPONSE, VSOCK_RESPONSE},
		     {WANT_CREDIT, VSOCK_CREDIT_UPDATE},
		     {WANT_SHUTDOWN, VSOCK_SHUTDOWN},
		     {WANT_RST, VSOCK_RST}};
	struct vsock_header header;
	uint32_t given;
	unsigned i;

	for (i = 0; words[i].bit != bit; i++)
		;
	header = header_of(unix_vsock, connection, words[i].operation);
	if (bit == WANT_SHUTDOWN)
		header.flags = connection->shut_down;
	if (!frontend->give(frontend->device, &header, NULL, &given))
		return false;
	connection->told = connection->forwarded;
	connection->wanted &= ~(unsigned)bit;
	return true;
}

static bool input_give(struct vsock_unix *unix_vsock, const struct vsock_frontend *frontend, struct connection *connection)
{
	struct vsock_header header = header_of(unix_vsock, connection, VSOCK_RW);
	uint32_t given;

	header.length = connection->input_length;
	if (!frontend->give(frontend->device, &header, connection->input, &given))
		return false;
	connection->told = connection->forwarded;
	connection->sent += given;
	connection->input_length -= given;
	memmove(connection->input, connection->input + given, connection->input_length);
	return true;
}

/* Everything that one connection has to say. false: the guest has no room. */
static bool connection_give(struct vsock_unix *unix_vsock, const struct vsock_frontend *frontend, struct connection *connection)
{
	/* Data before the word that there is no more of it. */
	static const enum wanted first[] = {WANT_REQUEST, WANT_RESPONSE, WANT_CREDIT}, last[] = {WANT_SHUTDOWN, WANT_RST};
	unsigned i;

	for (i = 0; i < 3; i++)
		if (connection->wanted & first[i] && !word_give(unix_vsock, frontend, connection, first[i]))
			return false;
	while (connection->state == OPEN && connection->input_length)
		if (!input_give(unix_vsock, frontend, connection))
			return false;
	for (i = 0; i < 2; i++)
		if (connection->wanted & last[i] && !word_give(unix_vsock, frontend, connection, last[i]))
			return false;
	if (connection->fd < 0 && !connection->wanted && connection->state != CLOSING)
		connection_free(connection);
	return true;
}

static bool refusals_give(struct vsock_unix *unix_vsock, const struct vsock_frontend *frontend)
{
	while (unix_vsock->refusals) {
		const struct refusal *refusal = &unix_vsock->refusal[unix_vsock->refusals - 1];
		const struct vsock_header header = {.source_cid = refusal->host_cid,
						    .target_cid = unix_vsock->vsock.guest_cid,
						    .source_port = refusal->host_port,
						    .target_port = refusal->guest_port,
						    .type = VSOCK_STREAM,
						    .operation = VSOCK_RST};
		uint32_t given;

		if (!frontend->give(frontend->device, &header, NULL, &given))
			return false;
		unix_vsock->refusals--;
	}
	return true;
}

static void guest_give(struct vsock_unix *unix_vsock, const struct vsock_frontend *frontend)
{
	unsigned i;

	if (!refusals_give(unix_vsock, frontend))
		return;
	for (i = 0; i < CONNECTIONS; i++)
		if (unix_vsock->connection[i].state != FREE && !connection_give(unix_vsock, frontend, &unix_vsock->connection[i]))
			return;
}

/* --- from the guest --- */

/* There is room: no packet is taken while there is not. */
static void refuse(struct vsock_unix *unix_vsock, const struct vsock_header *header)
{
	if (header->operation != VSOCK_RST)
		unix_vsock->refusal[unix_vsock->refusals++] =
			(struct refusal){header->source_port, header->target_port, header->target_cid};
}

/* The guest wants the host's PATH_PORT. */
static void request(struct vsock_unix *unix_vsock, const struct vsock_header *header)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct connection *connection = NULL;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int length = snprintf(address.sun_path, sizeof(address.sun_path), "%s_%u", unix_vsock->path, header->target_port);

	if (fd >= 0 && length < (int)sizeof(address.sun_path) && !connect(fd, (struct sockaddr *)&address, sizeof(address)))
		connection = connection_new(unix_vsock, fd, OPEN);
	if (!connection) {
		if (fd >= 0)
			close(fd);
		refuse(unix_vsock, header);
		return;
	}
	connection->guest_port = header->source_port;
	connection->host_port = header->target_port;
	connection->peer_size = header->buffer_size;
	connection->peer_forwarded = header->forwarded;
	connection->wanted = WANT_RESPONSE;
}

static void output_add(struct connection *connection, const uint8_t *bytes, uint32_t length)
{
	uint32_t at = connection->received % BUFFER_SIZE, here = BUFFER_SIZE - at < length ? BUFFER_SIZE - at : length;

	memcpy(connection->output + at, bytes, here);
	memcpy(connection->output, bytes + here, length - here);
	connection->received += length;
}

static void response(struct connection *connection)
{
	char line[LINE_MAX_BYTES];
	int length = snprintf(line, sizeof(line), "OK %u\n", connection->host_port);

	connection->state = OPEN;
	/* Not the guest's bytes: the socket is new and has room for a line. */
	if (send(connection->fd, line, (size_t)length, MSG_NOSIGNAL | MSG_DONTWAIT) != length)
		connection_hang_up(connection);
}

static void guest_shut_down(struct connection *connection, uint32_t flags)
{
	connection->guest_receives_no_more |= (flags & VSOCK_SHUTDOWN_RECEIVE) != 0;
	connection->guest_sends_no_more |= (flags & VSOCK_SHUTDOWN_SEND) != 0;
	/* What the socket does not take now, it takes before it is closed. */
	if (connection->fd >= 0)
		output_flush(connection);
	else if (connection->guest_receives_no_more && connection->guest_sends_no_more)
		connection_end(connection);
}

static void packet_serve(struct vsock_unix *unix_vsock, const struct vsock_header *header)
{
	struct connection *connection = connection_find(unix_vsock, header->source_port, header->target_port);

	if (header->source_cid != unix_vsock->vsock.guest_cid)
		return;
	if (header->target_cid != VSOCK_HOST_CID || header->type != VSOCK_STREAM || !connection ||
	    header->operation == VSOCK_REQUEST) {
		if (header->target_cid == VSOCK_HOST_CID && header->type == VSOCK_STREAM && !connection &&
		    header->operation == VSOCK_REQUEST)
			request(unix_vsock, header);
		else
			refuse(unix_vsock, header);
		return;
	}
	connection->peer_size = header->buffer_size;
	connection->peer_forwarded = header->forwarded;
	switch (header->operation) {
	case VSOCK_RST: connection_free(connection); break;
	case VSOCK_RESPONSE:
		if (connection->state == REQUESTED && connection->fd >= 0)
			response(connection);
		else
			connection_end(connection);
		break;
	case VSOCK_SHUTDOWN: guest_shut_down(connection, header->flags); break;
	case VSOCK_CREDIT_UPDATE: break;
	case VSOCK_CREDIT_REQUEST: connection->wanted |= WANT_CREDIT; break;
	case VSOCK_RW:
		if (connection->state == CLOSING)
			break; /* on its way when we hung up */
		if (connection->state != OPEN || header->length > BUFFER_SIZE - output_used(connection)) {
			connection_end(connection); /* more than its credit */
			break;
		}
		output_add(connection, unix_vsock->payload, header->length);
		output_flush(connection);
		break;
	default: connection_end(connection);
	}
}

/* Returns whether there may be more. */
static bool guest_take(struct vsock_unix *unix_vsock, const struct vsock_frontend *frontend)
{
	struct vsock_header header;
	unsigned i;

	for (i = 0; i < BATCH && unix_vsock->refusals < REFUSALS; i++) {
		if (!frontend->take(frontend->device, &header, unix_vsock->payload))
			return false;
		packet_serve(unix_vsock, &header);
	}
	return unix_vsock->refusals < REFUSALS;
}

/* --- the thread --- */

/* Those that the guest has not heard of yet stay, unless all go: a program may connect while the guest boots. */
static void connections_drop(struct vsock_unix *unix_vsock, bool all)
{
	unsigned i;

	for (i = 0; i < CONNECTIONS; i++) {
		struct connection *connection = &unix_vsock->connection[i];

		if (connection->state != FREE && (all || (connection->state != GREETING && !(connection->wanted & WANT_REQUEST))))
			connection_free(connection);
	}
	unix_vsock->refusals = 0;
}

/* Packets both ways until neither side has any. Returns whether there may be more at once. */
static bool guest_serve(struct vsock_unix *unix_vsock)
{
	const struct vsock_frontend *frontend = vsock_enter(&unix_vsock->vsock);
	bool more = false;

	if (atomic_exchange(&unix_vsock->reset_wanted, false))
		connections_drop(unix_vsock, false);
	if (frontend) {
		more = guest_take(unix_vsock, frontend);
		guest_give(unix_vsock, frontend);
	}
	vsock_leave(&unix_vsock->vsock);
	return more;
}

static void sockets_poll(struct vsock_unix *unix_vsock, bool wait)
{
	struct pollfd polled[CONNECTIONS + 2] = {{.fd = unix_vsock->event, .events = POLLIN},
						 {.fd = unix_vsock->listener, .events = POLLIN}};
	uint64_t count;
	unsigned i;

	for (i = 0; i < CONNECTIONS; i++) {
		struct connection *connection = &unix_vsock->connection[i];
		short events = (short)((input_wanted(connection) ? POLLIN : 0) | (output_used(connection) ? POLLOUT : 0));
		/* A socket that hung up says so always: it is asked only when that can be acted upon. */
		bool asked = events || (connection->state != FREE && connection->host_sends_no_more);

		polled[2 + i] = (struct pollfd){.fd = asked ? connection->fd : -1, .events = events};
	}
	if (poll(polled, CONNECTIONS + 2, wait ? -1 : 0) <= 0)
		return;
	if (polled[0].revents && read(unix_vsock->event, &count, sizeof(count)) < 0 && errno != EAGAIN)
		host_log(HOST_LOG_WARN, "vsock: eventfd: %s", strerror(errno));
	if (polled[1].revents)
		listener_serve(unix_vsock);
	for (i = 0; i < CONNECTIONS; i++)
		if (polled[2 + i].revents && unix_vsock->connection[i].fd == polled[2 + i].fd)
			socket_serve(unix_vsock, &unix_vsock->connection[i], polled[2 + i].revents);
}

static void vsock_main(void *argument)
{
	struct vsock_unix *unix_vsock = argument;

	while (!atomic_load(&unix_vsock->stopping))
		sockets_poll(unix_vsock, !guest_serve(unix_vsock));
}

static struct vsock_unix *unix_of(struct vsock *vsock)
{
	return (struct vsock_unix *)vsock; /* its first member */
}

static void unix_kick(struct vsock *vsock)
{
	event_raise(unix_of(vsock));
}

static void unix_reset(struct vsock *vsock)
{
	atomic_store(&unix_of(vsock)->reset_wanted, true);
	event_raise(unix_of(vsock));
}

static enum status unix_start(struct vsock *vsock, struct reason *why)
{
	enum status status = host_thread_start(&unix_of(vsock)->thread, "vsock", vsock_main, vsock);

	if (status)
		reason_give(why, status, "vsock: no thread: %s; raise the limit on threads", status_name(status));
	return status;
}

static void unix_stop(struct vsock *vsock)
{
	struct vsock_unix *unix_vsock = unix_of(vsock);

	if (!unix_vsock->thread)
		return;
	atomic_store(&unix_vsock->stopping, true);
	event_raise(unix_vsock);
	host_thread_join(unix_vsock->thread);
	unix_vsock->thread = NULL;
	connections_drop(unix_vsock, true);
}

static void unix_close(struct vsock *vsock)
{
	struct vsock_unix *unix_vsock = unix_of(vsock);

	if (unix_vsock->listener >= 0) {
		unlink(unix_vsock->path);
		close(unix_vsock->listener);
	}
	if (unix_vsock->event >= 0)
		close(unix_vsock->event);
	free(unix_vsock);
}

static enum status listener_open(struct vsock_unix *unix_vsock, const char *path, struct reason *why)
{
	/* The guest's ports, up to 10 digits, are put behind it. */
	size_t room = sizeof(unix_vsock->path) - sizeof("_4294967295");

	if (strlen(path) > room)
		return reason_give(why, STATUS_USAGE,
				   "--vsock %s: a socket's path has at most %zu bytes here; choose a shorter one", path, room);
	strcpy(unix_vsock->path, path);
	return unix_listen(&unix_vsock->listener, path, 0777, BACKLOG, "--vsock", why);
}

enum status vsock_unix_open(struct vsock **out, const char *path, uint64_t guest_cid, struct reason *why)
{
	struct vsock_unix *unix_vsock = calloc(1, sizeof(*unix_vsock));
	enum status status;
	unsigned i;

	*out = NULL;
	if (!unix_vsock)
		return reason_give(why, STATUS_NO_MEMORY, "--vsock %s: no memory", path);
	unix_vsock->vsock = (struct vsock){.kick = unix_kick,
					   .reset = unix_reset,
					   .start = unix_start,
					   .stop = unix_stop,
					   .close = unix_close,
					   .guest_cid = guest_cid};
	unix_vsock->listener = -1;
	for (i = 0; i < CONNECTIONS; i++)
		unix_vsock->connection[i].fd = -1;
	unix_vsock->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	status = unix_vsock->event < 0 ? reason_give(why, STATUS_NO_MEMORY, "--vsock %s: eventfd: %s", path, strerror(errno))
				       : listener_open(unix_vsock, path, why);
	if (status) {
		unix_close(&unix_vsock->vsock);
		return status;
	}
	*out = &unix_vsock->vsock;
	return STATUS_OK;
}
