/* SPDX-License-Identifier: Apache-2.0 */
/*
 * format.c - snprintf's subset for the freestanding folders (include/holon/host.h): on Linux the C library's own.
 */
#include <stdarg.h>
#include <stdio.h>

#include <holon/host.h>

int host_format_v(char *buffer, size_t size, const char *format, va_list arguments)
{
	return vsnprintf(buffer, size, format, arguments);
}

int host_format(char *buffer, size_t size, const char *format, ...)
{
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = vsnprintf(buffer, size, format, arguments);
	va_end(arguments);
	return length;
}
