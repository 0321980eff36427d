/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apic.c - the processor's local APIC, of which only the timer is used (SDM vol. 3, 11.5.4). Its registers are in memory, or MSRs where the firmware
 * has switched it to x2APIC mode. The PICs are masked: no device interrupts.
 */
#include "host/metal/internal.h"

#define MSR_APIC_BASE 0x1bu
#define APIC_BASE_X2APIC 0x400u
#define APIC_BASE_ENABLED 0x800u
#define MSR_X2APIC 0x800u
#define APIC_EOI 0xb0u
#define APIC_SPURIOUS 0xf0u
#define APIC_LVT_TIMER 0x320u
#define APIC_LVT_LINT0 0x350u
#define APIC_TIMER_INITIAL 0x380u
#define APIC_TIMER_CURRENT 0x390u
#define APIC_TIMER_DIVIDE 0x3e0u
#define DIVIDE_BY_1 0xbu
#define LVT_MASKED 0x10000u
#define SPURIOUS_ENABLE 0x100u
#define CALIBRATE_NS 10000000u

#define PIC_MASTER 0x20u
#define PIC_SLAVE 0xa0u

static volatile uint8_t *registers; /* NULL: x2APIC */
static uint64_t timer_hz;

static void apic_write(unsigned offset, uint32_t value)
{
	if (registers)
		*(volatile uint32_t *)(registers + offset) = value;
	else
		msr_write(MSR_X2APIC + offset / 16, value);
}

static uint32_t apic_read(unsigned offset)
{
	return registers ? *(volatile uint32_t *)(registers + offset) : (uint32_t)msr_read(MSR_X2APIC + offset / 16);
}

/* The vectors are moved away from the exceptions all the same: a PIC can raise a spurious interrupt with every line masked. */
static void pics_mask(void)
{
	static const uint16_t port[2] = {PIC_MASTER, PIC_SLAVE};

	for (unsigned i = 0; i < 2; i++) {
		outb(port[i], 0x11); /* ICW1: ICW4 follows */
		outb((uint16_t)(port[i] + 1), (uint8_t)(VECTOR_PIC + 8 * i));
		outb((uint16_t)(port[i] + 1), i ? 2 : 4); /* ICW3: the cascade is line 2 */
		outb((uint16_t)(port[i] + 1), 1);         /* ICW4: 8086 mode */
		outb((uint16_t)(port[i] + 1), 0xff);
	}
}

static uint32_t timer_current(void)
{
	return apic_read(APIC_TIMER_CURRENT);
}

static uint64_t timer_measure(void)
{
	uint64_t begin, end;
	uint32_t first = 0, last = 0;

	apic_write(APIC_TIMER_INITIAL, UINT32_MAX);
	begin = time_pair(timer_current, &first);
	time_spin(CALIBRATE_NS);
	end = time_pair(timer_current, &last);
	apic_write(APIC_TIMER_INITIAL, 0);
	return multiply_divide(first - last, (uint64_t)host_tsc_khz() * 1000, end - begin);
}

static void timer_calibrate(void)
{
	apic_write(APIC_TIMER_DIVIDE, DIVIDE_BY_1);
	apic_write(APIC_LVT_TIMER, LVT_MASKED | VECTOR_TIMER);
	timer_hz = time_measure(timer_measure);
	if (!timer_hz) {
		host_log(HOST_LOG_ERROR, "the local APIC's timer stands still; Holon needs it");
		power_end(1);
	}
	apic_write(APIC_LVT_TIMER, VECTOR_TIMER);
}

void apic_start(void)
{
	uint64_t base = msr_read(MSR_APIC_BASE);

	if (!(base & APIC_BASE_ENABLED))
		msr_write(MSR_APIC_BASE, base | APIC_BASE_ENABLED);
	if (!(base & APIC_BASE_X2APIC)) {
		registers = page_table_device(base & PAGE_ADDRESS, PAGE_SIZE);
		bug_on(!registers);
	}
	pics_mask();
	apic_write(APIC_SPURIOUS, SPURIOUS_ENABLE | VECTOR_SPURIOUS);
	apic_write(APIC_LVT_LINT0, LVT_MASKED);
	timer_calibrate();
}

void apic_end_of_interrupt(void)
{
	apic_write(APIC_EOI, 0);
}

void apic_timer_set(uint64_t deadline_ns)
{
	uint64_t now = host_time_ns(), ns = deadline_ns > now ? deadline_ns - now : 0, ticks = 0;

	if (deadline_ns != HOST_FOREVER) {
		/* More than the counter holds: it comes early, and is set again. */
		ticks = ns < NS_PER_S ? multiply_divide(ns, timer_hz, NS_PER_S) + 1 : timer_hz;
		if (ticks > UINT32_MAX)
			ticks = UINT32_MAX;
	}
	apic_write(APIC_TIMER_INITIAL, (uint32_t)ticks);
}
