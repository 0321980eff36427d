/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uart.c - output on a serial port, a 16550, polled: 115200 bit/s, 8 data bits, no parity. `serial=PORT` on Holon's command line says where it is,
 * `serial=none` that there is none. COM1 where nothing is said. A port that does not answer, or stops taking bytes, is left alone.
 */
#include "host/metal/internal.h"

#define COM1 0x3f8u
#define DATA 0u
#define INTERRUPTS 1u
#define FIFO 2u
#define LINE_CONTROL 3u
#define MODEM_CONTROL 4u
#define LINE_STATUS 5u
#define LINE_CONTROL_8N1 3u
#define LINE_CONTROL_DIVISOR 0x80u
#define MODEM_DTR_RTS_OUT2 0xbu
#define MODEM_LOOP 0x1eu
#define STATUS_SENT 0x20u
#define PATIENCE 1000000u /* reads of the status, about a microsecond each */

static uint16_t port; /* 0: none */

static void uart_out(unsigned offset, uint8_t value)
{
	outb((uint16_t)(port + offset), value);
}

static uint8_t uart_in(unsigned offset)
{
	return inb((uint16_t)(port + offset));
}

/* In loopback, what is sent is received. */
static bool uart_answers(void)
{
	unsigned tries;

	uart_out(MODEM_CONTROL, MODEM_LOOP);
	uart_out(DATA, 0xae);
	for (tries = 0; tries < 1000 && uart_in(DATA) != 0xae; tries++)
		;
	return tries < 1000;
}

void uart_start(const char *words)
{
	size_t length;
	const char *value = words_find(words, "serial", &length);
	uint64_t number = COM1;

	if (value && (!words_number(value, length, &number) || number > UINT16_MAX - 7))
		return; /* "none" */
	port = (uint16_t)number;
	uart_out(INTERRUPTS, 0);
	uart_out(LINE_CONTROL, LINE_CONTROL_DIVISOR);
	uart_out(DATA, 1);
	uart_out(INTERRUPTS, 0);
	uart_out(LINE_CONTROL, LINE_CONTROL_8N1);
	uart_out(FIFO, 0xc7);
	if (uart_answers())
		uart_out(MODEM_CONTROL, MODEM_DTR_RTS_OUT2);
	else
		port = 0;
}

static void uart_put(char c)
{
	unsigned tries;

	for (tries = 0; !(uart_in(LINE_STATUS) & STATUS_SENT); tries++) {
		if (tries == PATIENCE) {
			port = 0;
			return;
		}
	}
	uart_out(DATA, (uint8_t)c);
}

void uart_write(const char *text, size_t length)
{
	for (size_t i = 0; i < length && port; i++) {
		if (text[i] == '\n')
			uart_put('\r');
		if (port)
			uart_put(text[i]);
	}
}
