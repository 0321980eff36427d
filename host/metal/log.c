/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.c - lines on the serial port and the screen. Holon's own begin with "holon: "; what a guest can cause passes a rate limit, as on Linux.
 */
#include <stdarg.h>

#include "host/metal/internal.h"

#define LINES_BURST 200
#define NS_PER_LINE 10000000

static struct host_mutex lock;
static bool panic;                                               /* nothing else will run */
static uint64_t credit_ns = (uint64_t)LINES_BURST * NS_PER_LINE; /* under lock */
static uint64_t last_ns;
static uint64_t swallowed;

void log_panic(void)
{
	panic = true;
}

static void log_lock(void)
{
	if (!panic)
		host_mutex_lock(&lock);
}

static void log_unlock(void)
{
	if (!panic)
		host_mutex_unlock(&lock);
}

static void write_locked(const char *text, size_t length)
{
	uart_write(text, length);
	screen_write(text, length);
}

void log_write(const char *text, size_t length)
{
	log_lock();
	write_locked(text, length);
	log_unlock();
}

static bool line_allowed_locked(enum host_log_level level)
{
	uint64_t now = host_time_ns();

	credit_ns += now - last_ns;
	if (credit_ns > (uint64_t)LINES_BURST * NS_PER_LINE)
		credit_ns = (uint64_t)LINES_BURST * NS_PER_LINE;
	last_ns = now;
	if (level != HOST_LOG_ERROR && credit_ns < NS_PER_LINE) {
		swallowed++;
		return false;
	}
	credit_ns -= credit_ns < NS_PER_LINE ? credit_ns : NS_PER_LINE;
	return true;
}

/* Guest bytes may be in it: a terminal must not see control characters. */
static size_t line_finish(char *line, int length, size_t size)
{
	size_t end = (size_t)length < size - 2 ? (size_t)length : size - 2;

	for (size_t i = 0; i < end; i++) {
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
			line[i] = '?';
	}
	line[end++] = '\n';
	return end;
}

void host_log(enum host_log_level level, const char *format, ...)
{
	static const char *const names[] = {"error: ", "warn: ", "", "debug: "};
	char line[512];
	va_list arguments;
	int length;

	if (level > HOST_LOG_INFO)
		return;
	length = host_format(line, sizeof(line), "holon: %s", names[level]);
	va_start(arguments, format);
	length += host_format_v(line + length, sizeof(line) - (size_t)length, format, arguments);
	va_end(arguments);
	log_lock();
	if (line_allowed_locked(level)) {
		if (swallowed) {
			char left_out[64];

			write_locked(left_out, line_finish(left_out,
							   host_format(left_out, sizeof(left_out),
								       "holon: warn: %lu lines were left out here", swallowed),
							   sizeof(left_out)));
			swallowed = 0;
		}
		write_locked(line, line_finish(line, length, sizeof(line)));
	}
	log_unlock();
}

_Noreturn void host_bug(const char *file, int line, const char *what)
{
	__asm__ volatile("cli");
	log_panic();
	host_log(HOST_LOG_ERROR, "bug in Holon at %s:%d: %s; please report it with this line", file, line, what);
	power_end(1);
}
