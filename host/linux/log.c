/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.c - lines on stderr: each one write(2), so that lines of several threads never mix. A guest can make Holon log; so
 * everything below ERROR passes a rate limit (bursts of 200 lines, then 100 a second), and what it swallowed is counted.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/linux/linux.h"

#define LINES_BURST 200
#define NS_PER_LINE 10000000

static enum host_log_level level_wanted = HOST_LOG_INFO;
static struct host_mutex lock;
static uint64_t credit_ns = (uint64_t)LINES_BURST * NS_PER_LINE; /* under lock */
static uint64_t last_ns;
static uint64_t swallowed;

static const char *const level_names[] = {"error", "warn", "info", "debug"};

void host_log_start(void)
{
	const char *name = getenv("HOLON_LOG");
	unsigned i;

	for (i = 0; name && i < sizeof(level_names) / sizeof(level_names[0]); i++)
		if (!strcmp(name, level_names[i]))
			level_wanted = (enum host_log_level)i;
}

/* May this line go out? *before is how many lines were swallowed since the last one. */
static bool line_allowed(enum host_log_level level, uint64_t *before)
{
	uint64_t now = host_time_ns();
	bool allowed;

	host_mutex_lock(&lock);
	credit_ns += now - last_ns;
	if (credit_ns > (uint64_t)LINES_BURST * NS_PER_LINE)
		credit_ns = (uint64_t)LINES_BURST * NS_PER_LINE;
	last_ns = now;
	allowed = level == HOST_LOG_ERROR || credit_ns >= NS_PER_LINE;
	if (allowed) {
		credit_ns -= credit_ns < NS_PER_LINE ? credit_ns : NS_PER_LINE;
		*before = swallowed;
		swallowed = 0;
	} else {
		swallowed++;
	}
	host_mutex_unlock(&lock);
	return allowed;
}

static void line_write(const char *line, size_t length)
{
	ssize_t done;

	do
		done = write(STDERR_FILENO, line, length);
	while (done < 0 && errno == EINTR);
}

/* Guest bytes may be in it: a terminal must not see control characters. The terminal may be raw: hence the carriage return. */
static size_t line_finish(char *line, int length, size_t size)
{
	size_t end = (size_t)length < size - 3 ? (size_t)length : size - 3, i;

	for (i = 0; i < end; i++)
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
			line[i] = '?';
	if (isatty(STDERR_FILENO))
		line[end++] = '\r';
	line[end++] = '\n';
	return end;
}

void host_log(enum host_log_level level, const char *format, ...)
{
	char line[1024];
	uint64_t before;
	va_list arguments;
	int length, saved_errno = errno;

	if (level > level_wanted || !line_allowed(level, &before))
		return;
	if (before) {
		length = snprintf(line, sizeof(line), "holon: warn: %llu lines were left out here", (unsigned long long)before);
		line_write(line, line_finish(line, length, sizeof(line)));
	}
	length = snprintf(line, sizeof(line), level == HOST_LOG_INFO ? "holon: " : "holon: %s: ", level_names[level]);
	va_start(arguments, format);
	length += vsnprintf(line + length, sizeof(line) - (size_t)length, format, arguments);
	va_end(arguments);
	line_write(line, line_finish(line, length, sizeof(line)));
	errno = saved_errno;
}
