/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.c - see client.h. Called by program/vms.c; http.c is the other side.
 */
#include "control/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <curl/curl.h>

#include <holon/host.h>
#include <holon/library.h>

#include "control/plain_text.h"

#define ANSWER_MAX (1u << 20)
#define BUSY_PAUSE_NS 20000000

#define CURL_FUNCTIONS(row)                                                                                                  \
	row(curl, easy_init) row(curl, easy_setopt) row(curl, easy_perform) row(curl, easy_getinfo) row(curl, easy_strerror) \
		row(curl, easy_cleanup) row(curl, slist_append) row(curl, slist_free_all)

static struct {
	CURL_FUNCTIONS(LIBRARY_POINTER)
} curl;

struct text {
	char *bytes;
	size_t length;
};

static enum status curl_load(struct reason *why)
{
	static const char *const names[] = {CURL_FUNCTIONS(LIBRARY_NAME)};
	static const struct library library = {
		{"libcurl.so.4", "libcurl-gnutls.so.4"}, "libcurl4", names, sizeof(names) / sizeof(names[0])};

	return library_load(&library, &curl, "asking a running VM", why);
}

/* The library's, for each part of an answer. Anything but `count` ends the exchange. */
static size_t answer_part(char *data, size_t one, size_t count, void *argument)
{
	struct text *text = argument;
	char *longer = count <= ANSWER_MAX - text->length ? realloc(text->bytes, text->length + count) : NULL;

	(void)one;
	if (!longer)
		return 0;
	memcpy(longer + text->length, data, count);
	text->bytes = longer;
	text->length += count;
	return count;
}

/* Where so many wait to be served that the kernel lets no more wait, the library takes the refusal (EAGAIN) for the beginning of a connection that then fails without a reason. */
static CURLcode perform(CURL *handle, unsigned seconds, long *error)
{
	const struct timespec pause = {.tv_nsec = BUSY_PAUSE_NS};
	uint64_t deadline = host_time_ns() + seconds * UINT64_C(1000000000);
	CURLcode code;

	for (;;) {
		*error = 0;
		code = curl.easy_perform(handle);
		curl.easy_getinfo(handle, CURLINFO_OS_ERRNO, error);
		if (code != CURLE_COULDNT_CONNECT || (*error && *error != EAGAIN) || host_time_ns() > deadline)
			return code;
		nanosleep(&pause, NULL);
	}
}

static enum status failed(CURLcode code, long error, struct reason *why)
{
	if (code == CURLE_OPERATION_TIMEDOUT || (code == CURLE_COULDNT_CONNECT && (!error || error == EAGAIN)))
		return reason_give(why, STATUS_TIMEOUT, "it does not answer");
	if (code != CURLE_COULDNT_CONNECT)
		return reason_give(why, STATUS_IO, "%s", curl.easy_strerror(code));
	if (error == ENOENT || error == ECONNREFUSED || error == ENOTDIR)
		return reason_give(why, STATUS_NOT_FOUND, "nobody listens there");
	return reason_give(why, error == EACCES || error == EPERM ? STATUS_PERMISSION : STATUS_IO, "%s", strerror((int)error));
}

static enum status answer_read(CURL *handle, const struct text *text, json_t **answer, struct reason *why)
{
	json_t *read = json_loadb(text->bytes ? text->bytes : "", text->length, JSON_REJECT_DUPLICATES, NULL);
	const char *error = json_string_value(json_object_get(read, "error"));
	long code = 0;
	enum status status = STATUS_OK;

	curl.easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &code);
	if (!json_is_object(read))
		status = reason_give(why, STATUS_INVALID, "it answers nonsense; is it a VM?");
	else if (code != 200)
		status = reason_give(why, STATUS_USAGE, "%s", error ? error : "it refuses, and does not say why");
	if (status && why)
		plain_text(why->text);
	if (!status)
		*answer = json_incref(read);
	json_decref(read);
	return status;
}

static enum status exchange(CURL *handle, const char *place, const char *method, const char *path, const char *body,
			    unsigned seconds, struct text *text, struct reason *why)
{
	/* It must not wait for leave to send the body. */
	struct curl_slist *headers = curl.slist_append(NULL, "Expect:");
	CURLcode code;
	char url[256];
	long error;

	snprintf(url, sizeof(url), "http://vm%s", path);
	curl.easy_setopt(handle, CURLOPT_URL, url);
	curl.easy_setopt(handle, CURLOPT_PROXY, ""); /* whatever the environment says */
	curl.easy_setopt(handle, CURLOPT_UNIX_SOCKET_PATH, place);
	curl.easy_setopt(handle, CURLOPT_CUSTOMREQUEST, method);
	curl.easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
	curl.easy_setopt(handle, CURLOPT_TIMEOUT, (long)seconds);
	curl.easy_setopt(handle, CURLOPT_WRITEFUNCTION, answer_part);
	curl.easy_setopt(handle, CURLOPT_WRITEDATA, text);
	curl.easy_setopt(handle, CURLOPT_HTTPHEADER, headers);
	if (body)
		curl.easy_setopt(handle, CURLOPT_POSTFIELDS, body);
	code = perform(handle, seconds, &error);
	curl.slist_free_all(headers);
	return code == CURLE_OK ? STATUS_OK : failed(code, error, why);
}

enum status client_ask(const char *place, const char *method, const char *path, const json_t *body, unsigned seconds,
		       json_t **answer, struct reason *why)
{
	char *sent = body ? json_dumps(body, 0) : NULL;
	struct text text = {NULL, 0};
	CURL *handle = NULL;
	enum status status = curl_load(why);

	if (!status) {
		handle = curl.easy_init();
		status = handle && (sent || !body) ? exchange(handle, place, method, path, sent, seconds, &text, why)
						   : reason_give(why, STATUS_NO_MEMORY, "no memory");
	}
	if (!status)
		status = answer_read(handle, &text, answer, why);
	if (handle)
		curl.easy_cleanup(handle);
	free(sent);
	free(text.bytes);
	return status;
}
