/* SPDX-License-Identifier: Apache-2.0 */
/*
 * power.c - how the machine is left: `end=halt`, `off` (ACPI 6.4, 7.4.2: S5), `reset`, or `exit=PORT` for QEMU's isa-debug-exit.
 */
#include "host/metal/internal.h"

#define PM1_SCI_ENABLE 1u
#define PM1_SLEEP_TYPE_SHIFT 10
#define PM1_SLEEP_ENABLE 0x2000u
#define ACPI_ENABLE_NS (3 * NS_PER_S) /* as long as other systems wait */
#define RESET_CONTROL 0xcf9u
#define RESET_HARD 0x06u
#define KEYBOARD_COMMAND 0x64u
#define KEYBOARD_PULSE_RESET 0xfeu

static enum { END_HALT, END_OFF, END_RESET } end_wanted;
static uint16_t exit_port; /* 0: none */

void power_start(const char *words)
{
	size_t length;
	const char *end = words_find(words, "end", &length), *port;
	uint64_t number;

	if (words_is(end, length, "off"))
		end_wanted = END_OFF;
	else if (words_is(end, length, "reset"))
		end_wanted = END_RESET;
	else if (end && !words_is(end, length, "halt"))
		host_log(HOST_LOG_WARN, "end=%s: there are halt, off and reset; the machine will halt", end);
	port = words_find(words, "exit", &length);
	if (port && words_number(port, length, &number) && number <= UINT16_MAX)
		exit_port = (uint16_t)number;
}

static void power_off(void)
{
	uint64_t begin = host_time_ns();

	if (!fadt.off_known || !fadt.pm1a_control) {
		host_log(HOST_LOG_WARN, "this machine's ACPI tables do not say how to switch it off: it halts");
		return;
	}
	if (fadt.smi_command && fadt.acpi_enable && !(inw((uint16_t)fadt.pm1a_control) & PM1_SCI_ENABLE)) {
		outb((uint16_t)fadt.smi_command, fadt.acpi_enable);
		while (!(inw((uint16_t)fadt.pm1a_control) & PM1_SCI_ENABLE) && host_time_ns() - begin < ACPI_ENABLE_NS)
			__builtin_ia32_pause();
	}
	outw((uint16_t)fadt.pm1a_control, (uint16_t)(fadt.off_type[0] << PM1_SLEEP_TYPE_SHIFT | PM1_SLEEP_ENABLE));
	if (fadt.pm1b_control)
		outw((uint16_t)fadt.pm1b_control, (uint16_t)(fadt.off_type[1] << PM1_SLEEP_TYPE_SHIFT | PM1_SLEEP_ENABLE));
}

/* Every way there is, the proper one first. */
static void power_reset(void)
{
	static const struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) no_idt = {0};

	if (fadt.reset.address && fadt.reset.memory)
		*(volatile uint8_t *)page_direct(fadt.reset.address) = fadt.reset_value;
	else if (fadt.reset.address)
		outb((uint16_t)fadt.reset.address, fadt.reset_value);
	time_spin(NS_PER_S / 100);
	outb(RESET_CONTROL, RESET_HARD);
	time_spin(NS_PER_S / 100);
	outb(KEYBOARD_COMMAND, KEYBOARD_PULSE_RESET);
	time_spin(NS_PER_S / 100);
	__asm__ volatile("lidt %0\n\tint3" : : "m"(no_idt));
}

_Noreturn void power_end(int status)
{
	__asm__ volatile("cli");
	if (exit_port)
		outl(exit_port, (uint32_t)status);
	if (end_wanted == END_OFF)
		power_off();
	else if (end_wanted == END_RESET)
		power_reset();
	for (;;)
		__asm__ volatile("cli\n\thlt");
}
