/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.c - see http.h. Called by program/control.c; what requests mean is in api.c.
 *
 * Whoever connects is an attacker's program as far as this file is concerned: so many connections, so much memory for each, so long a silence, a body of so many bytes.
 */
#include "control/http.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <microhttpd.h>

#include <holon/host.h>
#include <holon/library.h>

#define CONNECTIONS_MAX 16u
#define CONNECTION_BYTES 32768u
#define SILENCE_SECONDS 10u
#define IMPATIENCE (1u << 20) /* bytes of a body that is refused in any case */
#define FAILURE_PAUSE_MS 1000
#define EMPTY_PAUSE_MS 10

#define MHD_FUNCTIONS(row)                                                                                         \
	row(MHD, start_daemon) row(MHD, stop_daemon) row(MHD, run) row(MHD, get_timeout) row(MHD, get_daemon_info) \
		row(MHD, create_response_from_buffer) row(MHD, add_response_header) row(MHD, queue_response)       \
			row(MHD, destroy_response)

static struct {
	MHD_FUNCTIONS(LIBRARY_POINTER)
} mhd;

/* A request whose body comes in. */
struct exchange {
	size_t length;
	size_t too_much; /* bytes that found no room */
	char body[HTTP_BODY_MAX];
};

static unsigned code_of(enum status status)
{
	switch (status) {
	case STATUS_OK: return MHD_HTTP_OK;
	case STATUS_USAGE:
	case STATUS_INVALID:
	case STATUS_RANGE: return MHD_HTTP_BAD_REQUEST;
	case STATUS_NOT_FOUND: return MHD_HTTP_NOT_FOUND;
	case STATUS_PERMISSION: return MHD_HTTP_FORBIDDEN;
	case STATUS_UNSUPPORTED:
	case STATUS_BUSY: return MHD_HTTP_CONFLICT;
	case STATUS_NO_SPACE: return MHD_HTTP_INSUFFICIENT_STORAGE;
	default: return MHD_HTTP_INTERNAL_SERVER_ERROR;
	}
}

static enum MHD_Result answer_send(struct MHD_Connection *connection, enum status status, json_t *answer)
{
	char *text = answer ? json_dumps(answer, JSON_INDENT(2)) : NULL;
	struct MHD_Response *response = text ? mhd.create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE) : NULL;
	enum MHD_Result result = MHD_NO;

	if (response) {
		mhd.add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
		result = mhd.queue_response(connection, code_of(status), response);
		mhd.destroy_response(response);
	} else {
		free(text);
	}
	json_decref(answer);
	return result; /* MHD_NO closes the connection */
}

static enum status body_parse(const struct exchange *exchange, json_t **body, struct reason *why)
{
	json_error_t error;

	*body = NULL;
	if (exchange->too_much)
		return reason_give(why, STATUS_USAGE, "the body is longer than %u bytes", HTTP_BODY_MAX);
	if (!exchange->length)
		return STATUS_OK;
	*body = json_loadb(exchange->body, exchange->length, JSON_REJECT_DUPLICATES, &error);
	if (!*body)
		return reason_give(why, STATUS_USAGE, "the body is no JSON: line %d: %s", error.line, error.text);
	return STATUS_OK;
}

static enum MHD_Result exchange_end(struct MHD_Connection *connection, const struct exchange *exchange, const char *url,
				    const char *method, const struct http_owner *owner)
{
	struct reason why = {""};
	json_t *body = NULL, *answer = NULL;
	enum status status = body_parse(exchange, &body, &why);
	const struct http_request request = {method, url, body};

	if (!status)
		status = owner->answer(owner->owner, &request, &answer, &why);
	json_decref(body);
	if (status) {
		answer = json_pack("{s:s}", "error", why.text[0] ? why.text : status_name(status));
		if (!answer) /* it quotes what is no UTF-8 */
			answer = json_pack("{s:s}", "error", status_name(status));
	}
	return answer_send(connection, status, answer);
}

/* The library's: once when the head of a request has come, then for each part of its body, then once without one. */
static enum MHD_Result request_serve(void *argument, struct MHD_Connection *connection, const char *url, const char *method,
				     const char *version, const char *data, size_t *length, void **place)
{
	struct exchange *exchange = *place;

	(void)version;
	if (!exchange) {
		*place = calloc(1, sizeof(*exchange));
		return *place ? MHD_YES : MHD_NO;
	}
	if (!*length)
		return exchange_end(connection, exchange, url, method, argument);
	if (*length > sizeof(exchange->body) - exchange->length) {
		exchange->too_much += *length;
	} else {
		memcpy(exchange->body + exchange->length, data, *length);
		exchange->length += *length;
	}
	*length = 0;
	return exchange->too_much < IMPATIENCE ? MHD_YES : MHD_NO; /* which closes the connection */
}

static void request_over(void *argument, struct MHD_Connection *connection, void **place, enum MHD_RequestTerminationCode why)
{
	(void)argument, (void)connection, (void)why;
	free(*place);
	*place = NULL;
}

static struct MHD_Daemon *daemon_start(int listener, const struct http_owner *owner)
{
	static const char *const names[] = {MHD_FUNCTIONS(LIBRARY_NAME)};
	static const struct library library = {{"libmicrohttpd.so.12"}, "libmicrohttpd12", names, sizeof(names) / sizeof(names[0])};
	struct MHD_Daemon *daemon = NULL;
	struct reason why = {""};

	if (library_load(&library, &mhd, "the control socket", &why)) {
		host_log(HOST_LOG_WARN, "%s", why.text);
		return NULL;
	}
	daemon = mhd.start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, request_serve, (void *)owner, MHD_OPTION_LISTEN_SOCKET, listener,
				  MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
				  (size_t)CONNECTION_BYTES, MHD_OPTION_CONNECTION_TIMEOUT, SILENCE_SECONDS,
				  MHD_OPTION_NOTIFY_COMPLETED, request_over, NULL, MHD_OPTION_END);
	if (!daemon)
		host_log(HOST_LOG_WARN, "the control socket: no memory or no descriptor to serve it");
	return daemon;
}

/* Waits until one of both is readable, or so many milliseconds; -1: for ever. false: it is time to stop. */
static bool readable_wait(int fd, int stop, int milliseconds)
{
	struct pollfd wait[] = {{.fd = stop, .events = POLLIN}, {.fd = fd, .events = POLLIN}};

	while (poll(wait, 2, milliseconds) < 0 && errno == EINTR)
		;
	return !wait[0].revents;
}

/* Without the library, or memory: who has come is sent away, and the next one may be luckier. NULL: it is time to stop. */
static struct MHD_Daemon *daemon_begin(int listener, int stop, const struct http_owner *owner)
{
	struct MHD_Daemon *daemon = NULL;

	while (!daemon && readable_wait(listener, stop, -1)) {
		daemon = daemon_start(listener, owner);
		if (!daemon)
			close(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
		if (!daemon && !readable_wait(-1, stop, FAILURE_PAUSE_MS))
			break;
	}
	return daemon;
}

static unsigned connections_of(struct MHD_Daemon *daemon)
{
	return mhd.get_daemon_info(daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS)->num_connections;
}

static void daemon_run(struct MHD_Daemon *daemon, int stop)
{
	unsigned before;

	do {
		before = connections_of(daemon);
		mhd.run(daemon);
		/* At its limit it does not listen, and where the last go by timing out, it listens again in the run after that only. */
	} while (connections_of(daemon) < before);
	/* Nobody is there: he has gone already, or there was no descriptor for him, and the listener stays readable. */
	if (!connections_of(daemon))
		(void)readable_wait(-1, stop, EMPTY_PAUSE_MS);
}

static int timeout_of(struct MHD_Daemon *daemon)
{
	MHD_UNSIGNED_LONG_LONG timeout;

	if (mhd.get_timeout(daemon, &timeout) != MHD_YES)
		return -1;
	return timeout < INT32_MAX ? (int)timeout : INT32_MAX;
}

void http_serve(int listener, int stop, const struct http_owner *owner)
{
	struct MHD_Daemon *daemon = daemon_begin(listener, stop, owner);
	int events;

	if (!daemon) {
		close(listener);
		return;
	}
	events = mhd.get_daemon_info(daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
	while (readable_wait(events, stop, timeout_of(daemon)))
		daemon_run(daemon, stop);
	mhd.stop_daemon(daemon); /* closes the listener */
}
