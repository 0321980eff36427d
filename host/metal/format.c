/* SPDX-License-Identifier: Apache-2.0 */
/*
 * format.c - the subset of snprintf that host.h promises, for a machine without a C library. test/unit/metal_test.c compares it with the library's.
 */
#include <stdarg.h>

#include <holon/host.h>

#define DIGITS_MAX 32

struct out {
	char *buffer;
	size_t size;
	size_t length; /* what was, or would have been, written */
};

struct directive {
	bool left, zero;
	unsigned width;
	int precision; /* -1: none */
	enum { LENGTH_INT, LENGTH_CHAR, LENGTH_SHORT, LENGTH_LONG } length;
};

static void put(struct out *out, char c)
{
	if (out->length + 1 < out->size)
		out->buffer[out->length] = c;
	out->length++;
}

static void pad(struct out *out, char c, size_t count)
{
	while (count--)
		put(out, c);
}

static size_t text_length(const char *text, int precision)
{
	size_t length = 0;

	while ((precision < 0 || length < (size_t)precision) && text[length])
		length++;
	return length;
}

static void put_text(struct out *out, const struct directive *directive, const char *text, size_t length)
{
	size_t space = directive->width > length ? directive->width - length : 0;

	if (!directive->left)
		pad(out, ' ', space);
	for (size_t i = 0; i < length; i++)
		put(out, text[i]);
	if (directive->left)
		pad(out, ' ', space);
}

/* sign and base mark, zeros, digits; spaces on either side. */
static void put_number(struct out *out, const struct directive *directive, uint64_t value, const char *prefix, unsigned base,
		       bool capital)
{
	const char *symbols = capital ? "0123456789ABCDEF" : "0123456789abcdef";
	size_t prefixed = text_length(prefix, -1), digits = 0, zeros = 0, space;
	char reversed[DIGITS_MAX];

	for (; value || (!digits && directive->precision); value /= base) {
		reversed[digits++] = symbols[value % base];
		if (value < base)
			break;
	}
	if (directive->precision > 0 && (size_t)directive->precision > digits)
		zeros = (size_t)directive->precision - digits;
	if (directive->zero && !directive->left && directive->precision < 0 && directive->width > prefixed + digits)
		zeros = directive->width - prefixed - digits;
	space = directive->width > prefixed + zeros + digits ? directive->width - prefixed - zeros - digits : 0;
	if (!directive->left)
		pad(out, ' ', space);
	for (size_t i = 0; i < prefixed; i++)
		put(out, prefix[i]);
	pad(out, '0', zeros);
	while (digits)
		put(out, reversed[--digits]);
	if (directive->left)
		pad(out, ' ', space);
}

static unsigned number_read(const char **format)
{
	unsigned number = 0;

	for (; **format >= '0' && **format <= '9'; (*format)++)
		number = number * 10 + (unsigned)(**format - '0');
	return number;
}

static void directive_read(struct directive *directive, const char **format)
{
	*directive = (struct directive){.precision = -1};
	for (; **format == '-' || **format == '0'; (*format)++) {
		directive->left |= **format == '-';
		directive->zero |= **format == '0';
	}
	directive->width = number_read(format);
	if (**format == '.') {
		(*format)++;
		directive->precision = (int)number_read(format);
	}
	for (; **format == 'l' || **format == 'z'; (*format)++)
		directive->length = LENGTH_LONG; /* long, long long and size_t are 64 bits */
	for (; **format == 'h'; (*format)++)
		directive->length = directive->length == LENGTH_SHORT ? LENGTH_CHAR : LENGTH_SHORT;
}

static void put_signed(struct out *out, const struct directive *directive, int64_t value)
{
	if (directive->length == LENGTH_SHORT)
		value = (short)value;
	else if (directive->length == LENGTH_CHAR)
		value = (value & 0x7f) - (value & 0x80);
	put_number(out, directive, value < 0 ? -(uint64_t)value : (uint64_t)value, value < 0 ? "-" : "", 10, false);
}

static void put_unsigned(struct out *out, const struct directive *directive, uint64_t value, unsigned base, bool capital)
{
	if (directive->length == LENGTH_SHORT)
		value = (unsigned short)value;
	else if (directive->length == LENGTH_CHAR)
		value = (unsigned char)value;
	put_number(out, directive, value, "", base, capital);
}

int host_format_v(char *buffer, size_t size, const char *format, va_list arguments)
{
	struct out out = {buffer, size, 0};
	struct directive directive;
	const char *text;
	char c;

	for (; *format; format++) {
		if (*format != '%') {
			put(&out, *format);
			continue;
		}
		format++;
		directive_read(&directive, &format);
		switch (*format) {
		case 's':
			text = va_arg(arguments, const char *);
			put_text(&out, &directive, text, text_length(text, directive.precision));
			break;
		case 'c':
			c = (char)va_arg(arguments, int);
			put_text(&out, &directive, &c, 1);
			break;
		case 'd':
		case 'i':
			put_signed(&out, &directive,
				   directive.length == LENGTH_LONG ? va_arg(arguments, int64_t) : va_arg(arguments, int));
			break;
		case 'u':
		case 'x':
		case 'X':
			put_unsigned(&out, &directive,
				     directive.length == LENGTH_LONG ? va_arg(arguments, uint64_t) : va_arg(arguments, unsigned),
				     *format == 'u' ? 10 : 16, *format == 'X');
			break;
		case 'p': put_number(&out, &directive, (uintptr_t)va_arg(arguments, void *), "0x", 16, false); break;
		case '%': put(&out, '%'); break;
		default: bug_on(true);
		}
	}
	if (size)
		buffer[out.length < size ? out.length : size - 1] = 0;
	return (int)out.length;
}

int host_format(char *buffer, size_t size, const char *format, ...)
{
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = host_format_v(buffer, size, format, arguments);
	va_end(arguments);
	return length;
}
