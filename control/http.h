/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.h - serves requests with JSON bodies to the programs that connect to a socket (HTTP/1.1, by libmicrohttpd).
 *
 * A VM that nobody talks to pays a sleeping thread: the library is loaded when the first program connects.
 */
#ifndef HOLON_CONTROL_HTTP_H
#define HOLON_CONTROL_HTTP_H

#include <jansson.h>

#include <holon/status.h>

#define HTTP_BODY_MAX 65536u

struct http_request {
	const char *method; /* "GET", "PATCH" */
	const char *path;   /* begins with a slash; decoded, without the query */
	const json_t *body; /* NULL: there is none */
};

struct http_owner {
	/* Answers one request, on the thread that serves. STATUS_OK and *answer, the caller's from then on; else `why` is what the other side reads. */
	enum status (*answer)(void *owner, const struct http_request *request, json_t **answer, struct reason *why);
	void *owner;
};

/*
 * Serves what comes in at `listener`, which it closes, until `stop` (an eventfd) becomes readable: on the caller's thread, one request at a time. Where the library is absent or the
 * host has no memory, a line on stderr says so and who has come is sent away.
 */
void http_serve(int listener, int stop, const struct http_owner *owner);

#endif
