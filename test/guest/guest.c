/* SPDX-License-Identifier: Apache-2.0 */
/* guest.c - the serial line, TAP and the end of a test guest (guest.h). */
#include <stdarg.h>

#include "test/guest/guest.h"

static unsigned cases, failures;

static void put(char c)
{
	unsigned tries = 100000;

	while (!(inb(COM1 + 5) & 0x20) && --tries)
		pause();
	outb(COM1, (uint8_t)c);
}

static void put_number(uint64_t value, bool hex, unsigned width)
{
	char digits[24];
	unsigned length = 0, low;

	do {
		if (hex) {
			digits[length++] = "0123456789abcdef"[value & 15];
			value >>= 4;
		} else {
			/* No 64-bit division in 32-bit guests: decimal numbers are small. */
			low = (uint32_t)value;
			digits[length++] = (char)('0' + low % 10);
			value = low / 10;
		}
	} while (value);
	while (width > length) {
		put('0');
		width--;
	}
	while (length)
		put(digits[--length]);
}

static void print_v(const char *format, va_list arguments)
{
	for (; *format; format++) {
		unsigned width = 0, longs = 0;
		const char *s;

		if (*format != '%') {
			if (*format == '\n')
				put('\r');
			put(*format);
			continue;
		}
		for (format++; *format >= '0' && *format <= '9'; format++)
			width = width * 10 + (unsigned)(*format - '0');
		for (; *format == 'l'; format++)
			longs++;
		switch (*format) {
		case 's':
			for (s = va_arg(arguments, const char *); *s; s++)
				put(*s);
			break;
		case 'c': put((char)va_arg(arguments, int)); break;
		case 'd': {
			int value = va_arg(arguments, int);

			if (value < 0)
				put('-');
			put_number((uint64_t)(value < 0 ? -(int64_t)value : value), false, width);
			break;
		}
		case 'p': put_number((uintptr_t)va_arg(arguments, void *), true, width); break;
		case 'u':
		case 'x':
			put_number(longs > 1    ? va_arg(arguments, unsigned long long)
				   : longs == 1 ? va_arg(arguments, unsigned long)
						: va_arg(arguments, unsigned),
				   *format == 'x', width);
			break;
		default: put(*format); break;
		}
	}
}

void print(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	print_v(format, arguments);
	va_end(arguments);
}

bool check(bool good, const char *format, ...)
{
	va_list arguments;

	cases++;
	failures += !good;
	print("%sok %u - ", good ? "" : "not ", cases);
	va_start(arguments, format);
	print_v(format, arguments);
	va_end(arguments);
	print("\n");
	return good;
}

void skip(const char *format, ...)
{
	va_list arguments;

	print("ok %u # SKIP ", ++cases);
	va_start(arguments, format);
	print_v(format, arguments);
	va_end(arguments);
	print("\n");
}

bool check_equal(uint64_t got, uint64_t wanted, const char *what)
{
	if (got == wanted)
		return check(true, "%s", what);
	return check(false, "%s: %llx, not %llx", what, (unsigned long long)got, (unsigned long long)wanted);
}

_Noreturn void guest_exit(unsigned value)
{
	outb(DEBUG_EXIT, (uint8_t)value);
	for (;;)
		__asm__ volatile("cli; hlt");
}

_Noreturn void guest_run(void);
_Noreturn void guest_run(void)
{
	outb(COM1 + 1, 0);
	guest_main();
	print("1..%u\n", cases);
	guest_exit(failures != 0);
}

/* gcc calls these even in freestanding code. */
void *memcpy(void *to, const void *from, size_t size);
void *memcpy(void *to, const void *from, size_t size)
{
	void *start = to;

	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
	return start;
}
void *memset(void *to, int value, size_t size);
void *memset(void *to, int value, size_t size)
{
	void *start = to;

	__asm__ volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(value) : "memory");
	return start;
}
