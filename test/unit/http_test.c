/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_test.c - proves that a VM's control socket answers what it is asked, survives what it is sent, and that `holon show` and `set` believe nothing that an answer claims.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <holon/host.h>

#include "backend/unix_listen.h"
#include "control/client.h"
#include "control/http.h"
#include "control/plain_text.h"

#define GARBAGE_RUNS 300u
#define ANSWER_SECONDS 20

struct place {
	char folder[32];
	char path[64];
	int listener;
	int stop;
	struct host_thread *thread;
	struct http_owner owner;
	const char *lie; /* what a server that lies says; NULL: endless text */
};

/* Says what it was asked, or refuses by the path's name. */
static enum status echo(void *owner, const struct http_request *request, json_t **answer, struct reason *why)
{
	(void)owner;
	if (!strcmp(request->path, "/refuse"))
		return reason_give(why, STATUS_BUSY, "not now");
	if (!strcmp(request->path, "/silent"))
		return STATUS_NO_SPACE;
	if (!strcmp(request->path, "/foreign"))
		return reason_give(why, STATUS_USAGE, "\xff is no text");
	*answer = json_pack("{s:s, s:s}", "method", request->method, "path", request->path);
	if (request->body)
		json_object_set(*answer, "body", (json_t *)request->body);
	return STATUS_OK;
}

static void serve_main(void *argument)
{
	struct place *place = argument;

	http_serve(place->listener, place->stop, &place->owner);
}

static struct place *place_make(void)
{
	struct place *place = calloc(1, sizeof(*place));

	strcpy(place->folder, "/tmp/holon-http.XXXXXX");
	assert_non_null(mkdtemp(place->folder));
	snprintf(place->path, sizeof(place->path), "%s/socket", place->folder);
	assert_int_equal(unix_listen(&place->listener, place->path, 0600, 16, "test", NULL), STATUS_OK);
	place->stop = eventfd(0, EFD_CLOEXEC);
	place->owner.answer = echo;
	return place;
}

static int setup(void **state)
{
	struct place *place = place_make();

	assert_int_equal(host_thread_start(&place->thread, "control", serve_main, place), STATUS_OK);
	*state = place;
	return 0;
}

static int teardown(void **state)
{
	struct place *place = *state;

	eventfd_write(place->stop, 1);
	host_thread_join(place->thread);
	close(place->stop);
	unlink(place->path);
	rmdir(place->folder);
	free(place);
	return 0;
}

static int place_connect(const struct place *place)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct timeval patience = {ANSWER_SECONDS, 0};

	strcpy(address.sun_path, place->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return fd;
}

static void bytes_send(int fd, const void *bytes, size_t length)
{
	const char *at = bytes;

	while (length) {
		ssize_t sent = send(fd, at, length, MSG_NOSIGNAL);

		if (sent <= 0)
			return; /* it hung up */
		at += sent;
		length -= (size_t)sent;
	}
}

/* All that comes until it hangs up. */
static void all_receive(int fd, char *into, size_t room)
{
	size_t length = 0;
	ssize_t got;

	while (length < room - 1 && (got = recv(fd, into + length, room - 1 - length, 0)) > 0)
		length += (size_t)got;
	into[length] = 0;
}

static enum status ask(const struct place *place, const char *method, const char *path, const char *body, json_t **answer,
		       struct reason *why)
{
	json_t *sent = body ? json_loads(body, JSON_DECODE_ANY, NULL) : NULL;
	enum status status = client_ask(place->path, method, path, sent, ANSWER_SECONDS, answer, why);

	json_decref(sent);
	return status;
}

static void answers_well(const struct place *place)
{
	json_t *answer = NULL;

	assert_int_equal(ask(place, "GET", "/", NULL, &answer, NULL), STATUS_OK);
	assert_string_equal(json_string_value(json_object_get(answer, "path")), "/");
	json_decref(answer);
}

static void a_request_is_answered(void **state)
{
	json_t *answer = NULL, *body;

	assert_int_equal(ask(*state, "PATCH", "/disk0", "{\"size\": \"20G\", \"more\": [1, true]}", &answer, NULL), STATUS_OK);
	assert_string_equal(json_string_value(json_object_get(answer, "method")), "PATCH");
	assert_string_equal(json_string_value(json_object_get(answer, "path")), "/disk0");
	body = json_object_get(answer, "body");
	assert_string_equal(json_string_value(json_object_get(body, "size")), "20G");
	assert_int_equal(json_array_size(json_object_get(body, "more")), 2);
	json_decref(answer);
}

static void a_refusal_says_why(void **state)
{
	struct reason why = {""};
	json_t *answer = NULL;

	assert_int_equal(ask(*state, "GET", "/refuse", NULL, &answer, &why), STATUS_USAGE);
	assert_string_equal(why.text, "not now");
	assert_int_equal(ask(*state, "GET", "/silent", NULL, &answer, &why), STATUS_USAGE);
	assert_string_equal(why.text, status_name(STATUS_NO_SPACE));
	assert_int_equal(ask(*state, "GET", "/foreign", NULL, &answer, &why), STATUS_USAGE);
	assert_string_equal(why.text, status_name(STATUS_USAGE));
	assert_null(answer);
}

/* A request as it is, and the beginning of what comes back. */
static void raw_expect(const struct place *place, const char *head, const char *body, size_t length, const char *expected)
{
	char text[512], answer[2048];
	int fd = place_connect(place);

	snprintf(text, sizeof(text), "%s HTTP/1.1\r\nHost: vm\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n", head, length);
	bytes_send(fd, text, strlen(text));
	bytes_send(fd, body, length);
	all_receive(fd, answer, sizeof(answer));
	close(fd);
	assert_memory_equal(answer, expected, strlen(expected));
}

static void a_body_that_is_none_is_refused(void **state)
{
	static char zeroes[HTTP_BODY_MAX + 1], deep[HTTP_BODY_MAX];
	char *big = zeroes;

	raw_expect(*state, "PATCH /disk0", "{\"size\":", 8, "HTTP/1.1 400 ");
	raw_expect(*state, "PATCH /disk0", "{\"a\": 1, \"a\": 2}", 16, "HTTP/1.1 400 ");
	raw_expect(*state, "PATCH /disk0", zeroes, 8, "HTTP/1.1 400 ");
	memset(deep, '[', sizeof(deep));
	raw_expect(*state, "PATCH /disk0", deep, sizeof(deep), "HTTP/1.1 400 ");
	memset(big, ' ', sizeof(zeroes));
	memcpy(big, "{}", 2);
	raw_expect(*state, "PATCH /disk0", big, HTTP_BODY_MAX, "HTTP/1.1 200 ");
	raw_expect(*state, "PATCH /disk0", big, HTTP_BODY_MAX + 1, "HTTP/1.1 400 ");
	raw_expect(*state, "GET /refuse", "", 0, "HTTP/1.1 409 ");
	raw_expect(*state, "GET /silent", "", 0, "HTTP/1.1 507 ");
	answers_well(*state);
}

/* Requests with some bytes changed, cut short, or random from the beginning; who sends them hangs up without listening. */
static void garbage_is_survived(void **state)
{
	static const char good[] =
		"PATCH /disk0 HTTP/1.1\r\nHost: vm\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{\"size\": \"20G\"} \r\n0\r\n\r\n";
	unsigned seed = 7;

	for (unsigned run = 0; run < GARBAGE_RUNS; run++) {
		char bytes[sizeof(good) - 1];
		int fd = place_connect(*state);

		memcpy(bytes, good, sizeof(bytes));
		for (unsigned i = 0; i < (run % 4 ? run % 8 : sizeof(bytes)); i++)
			bytes[(unsigned)rand_r(&seed) % sizeof(bytes)] = (char)rand_r(&seed);
		bytes_send(fd, bytes, (unsigned)rand_r(&seed) % 3 ? sizeof(bytes) : (unsigned)rand_r(&seed) % sizeof(bytes));
		close(fd);
	}
	answers_well(*state);
}

/* teardown does not wait for it. */
static void half_a_request_holds_nobody_up(void **state)
{
	static const char half[] = "PATCH /disk0 HTTP/1.1\r\nContent-Length: 100\r\n\r\n{";
	int fd[4];

	for (unsigned i = 0; i < 4; i++) {
		fd[i] = place_connect(*state);
		bytes_send(fd[i], half, sizeof(half) - 1);
	}
	answers_well(*state);
	teardown(state);
	for (unsigned i = 0; i < 4; i++)
		close(fd[i]);
	setup(state);
}

/* As many as are served at once, and they all go by timing out in one moment. */
static void silence_is_ended_and_others_are_served(void **state)
{
	int fd[16];
	char byte;

	for (unsigned i = 0; i < 16; i++)
		fd[i] = place_connect(*state);
	for (unsigned i = 0; i < 16; i++) {
		assert_int_equal(recv(fd[i], &byte, 1, 0), 0);
		close(fd[i]);
	}
	answers_well(*state);
}

static void text_becomes_plain(void **state)
{
	char text[] = "a\x1b[1m\xc2\x9b"
		      "31m\n\x7f\xc3\xa4";

	(void)state;
	setenv("LC_ALL", "C.UTF-8", 1);
	plain_text(text);
	assert_string_equal(text, "a?[1m?31m??\xc3\xa4");
}

static void nobody_there_is_said(void **state)
{
	json_t *answer = NULL;

	(void)state;
	assert_int_equal(client_ask("/nowhere/at/all", "GET", "/", NULL, ANSWER_SECONDS, &answer, NULL), STATUS_NOT_FOUND);
}

/* Answers one connection with a lie. */
static void lie_main(void *argument)
{
	struct place *place = argument;
	struct pollfd wait = {.fd = place->listener, .events = POLLIN};
	char request[4096];
	int fd;

	poll(&wait, 1, ANSWER_SECONDS * 1000);
	fd = accept(place->listener, NULL, NULL);
	if (recv(fd, request, sizeof(request), 0) > 0 && place->lie)
		bytes_send(fd, place->lie, strlen(place->lie));
	for (unsigned i = 0; !place->lie && i < 4096; i++)
		bytes_send(fd, i ? request : "HTTP/1.1 200 OK\r\n\r\n{", i ? sizeof(request) : 20);
	close(fd);
}

static void lies_are_not_believed(void **state)
{
	static const char *const lies[] = {"",
					   "nonsense",
					   "HTTP/1.1 200 OK\r\n\r\n",
					   "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",
					   "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n[[]]",
					   "HTTP/1.1 400 Bad\r\nContent-Length: 2\r\n\r\n{}",
					   "HTTP/1.1 500 Bad\r\nContent-Length: 14\r\n\r\n{\"error\": [1]}",
					   "HTTP/1.1 301 Gone\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n",
					   NULL};

	(void)state;
	for (unsigned i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		struct place *place = place_make();
		struct reason why = {""};
		json_t *answer = NULL;

		place->lie = lies[i];
		assert_int_equal(host_thread_start(&place->thread, "liar", lie_main, place), STATUS_OK);
		assert_int_not_equal(ask(place, "GET", "/", NULL, &answer, &why), STATUS_OK);
		assert_null(answer);
		assert_true(why.text[0]);
		close(place->listener);
		teardown((void **)&place);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_request_is_answered, setup, teardown),
		cmocka_unit_test_setup_teardown(a_refusal_says_why, setup, teardown),
		cmocka_unit_test_setup_teardown(a_body_that_is_none_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(garbage_is_survived, setup, teardown),
		cmocka_unit_test_setup_teardown(half_a_request_holds_nobody_up, setup, teardown),
		cmocka_unit_test_setup_teardown(silence_is_ended_and_others_are_served, setup, teardown),
		cmocka_unit_test(text_becomes_plain),
		cmocka_unit_test(nobody_there_is_said),
		cmocka_unit_test(lies_are_not_believed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
