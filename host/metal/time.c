/* SPDX-License-Identifier: Apache-2.0 */
/*
 * time.c - the machine's time is its TSC. How fast that runs: what CPUID says exactly (leaf 0x15, or a hypervisor's leaf 0x40000010), else measured
 * with ACPI's timer, else with the PIT. The wall clock is read once from the RTC, which is taken to run in UTC.
 */
#include "host/metal/internal.h"

#define CPUID_TSC 0x15u
#define CPUID_HYPERVISOR 0x40000000u
#define CPUID_HYPERVISOR_TIMING 0x40000010u
#define CPUID_1_ECX_HYPERVISOR (1u << 31)
#define CPUID_POWER 0x80000007u
#define CPUID_POWER_EDX_INVARIANT_TSC (1u << 8)

#define MEASURE_NS 25000000u
#define MEASURES 10u          /* until two agree */
#define MEASURES_DIFFER 1000u /* by a thousandth at most */
#define PAIRS 16u
#define PM_TIMER_HZ 3579545u
#define PIT_HZ 1193182u
#define PIT_COUNT 0xfffeu
#define PIT_CHANNEL_2 0x42u
#define PIT_COMMAND 0x43u
#define PIT_2_MODE_0 0xb0u /* both bytes, counts down once, then its output goes up */
#define PORT_B 0x61u
#define PORT_B_GATE_2 1u
#define PORT_B_SPEAKER 2u
#define PORT_B_OUTPUT_2 0x20u

#define RTC_INDEX 0x70u
#define RTC_DATA 0x71u
#define RTC_NMI_OFF 0x80u
#define RTC_A_UPDATING 0x80u
#define RTC_B_24_HOURS 2u
#define RTC_B_BINARY 4u
#define RTC_HOUR_PM 0x80u

static uint32_t khz;
static uint64_t tsc_start;
static uint64_t wall_start_ns; /* at tsc_start */

static uint32_t khz_from_cpuid(void)
{
	struct cpuid leaf = cpuid(0, 0);

	if (leaf.eax >= CPUID_TSC) {
		leaf = cpuid(CPUID_TSC, 0);
		/* The core crystal in Hz and the ratio, both or it does not count. */
		if (leaf.eax && leaf.ebx && leaf.ecx)
			return (uint32_t)((uint64_t)leaf.ecx * leaf.ebx / leaf.eax / 1000);
	}
	if (!(cpuid(1, 0).ecx & CPUID_1_ECX_HYPERVISOR))
		return 0;
	leaf = cpuid(CPUID_HYPERVISOR, 0);
	if (leaf.eax < CPUID_HYPERVISOR_TIMING || leaf.eax > CPUID_HYPERVISOR + 0xffff)
		return 0;
	return cpuid(CPUID_HYPERVISOR_TIMING, 0).eax;
}

static uint32_t pm_timer(void)
{
	return fadt.pm_timer.memory ? *(const volatile uint32_t *)page_direct(fadt.pm_timer.address)
				    : inl((uint16_t)fadt.pm_timer.address);
}

uint64_t time_pair(uint32_t (*other)(void), uint32_t *value)
{
	uint64_t least = UINT64_MAX, tsc = 0;

	for (unsigned i = 0; i < PAIRS; i++) {
		uint64_t before = host_tsc();
		uint32_t read = other();
		uint64_t took = host_tsc() - before;

		if (took < least) {
			least = took;
			tsc = before + took / 2;
			*value = read;
		}
	}
	return tsc;
}

uint64_t time_measure(uint64_t (*measure)(void))
{
	uint64_t last = 0, now = 0;

	for (unsigned i = 0; i < MEASURES; i++) {
		now = measure();
		if (!now || (now > last ? now - last : last - now) <= now / MEASURES_DIFFER)
			break;
		last = now;
	}
	return now;
}

/* 0: it stands still. */
static uint64_t khz_from_pm_timer(void)
{
	const uint32_t wanted = (uint32_t)((uint64_t)PM_TIMER_HZ * MEASURE_NS / NS_PER_S);
	uint32_t mask = fadt.pm_timer_32 ? UINT32_MAX : 0xffffff, first = 0, now, same = 0;
	uint64_t begin = time_pair(pm_timer, &first), end;

	now = first;
	while (((now - first) & mask) < wanted) {
		uint32_t next = pm_timer();

		if (next == now && ++same > 10000000)
			return 0;
		now = next;
	}
	end = time_pair(pm_timer, &now);
	return multiply_divide(end - begin, PM_TIMER_HZ / 1000, (now - first) & mask);
}

static uint64_t khz_from_pit(void)
{
	uint8_t port_b = inb(PORT_B) & (uint8_t) ~(PORT_B_SPEAKER | PORT_B_GATE_2);
	uint64_t begin;
	uint32_t tries = 0;

	outb(PORT_B, port_b);
	outb(PIT_COMMAND, PIT_2_MODE_0);
	outb(PIT_CHANNEL_2, PIT_COUNT & 0xff);
	outb(PIT_CHANNEL_2, PIT_COUNT >> 8);
	outb(PORT_B, port_b | PORT_B_GATE_2);
	begin = host_tsc();
	while (!(inb(PORT_B) & PORT_B_OUTPUT_2)) {
		if (++tries > 10000000)
			return 0;
	}
	return multiply_divide(host_tsc() - begin, PIT_HZ / 1000, PIT_COUNT + 1);
}

static uint8_t rtc_read(unsigned index)
{
	outb(RTC_INDEX, (uint8_t)(index | RTC_NMI_OFF));
	return inb(RTC_DATA);
}

struct rtc_time {
	uint8_t second, minute, hour, day, month, year;
};

static struct rtc_time rtc_registers(void)
{
	unsigned tries;

	for (tries = 0; tries < 1000000 && rtc_read(10) & RTC_A_UPDATING; tries++)
		;
	return (struct rtc_time){rtc_read(0), rtc_read(2), rtc_read(4), rtc_read(7), rtc_read(8), rtc_read(9)};
}

static unsigned rtc_number(uint8_t value, uint8_t b)
{
	return b & RTC_B_BINARY ? value : (value >> 4) * 10u + (value & 15u);
}

/* Days from 1970-01-01 to a day of the Gregorian calendar: years begin in March, so that leap days come last. */
static uint64_t days_since_1970(unsigned year, unsigned month, unsigned day)
{
	unsigned y = month > 2 ? year : year - 1, m = month > 2 ? month - 3 : month + 9;

	return (uint64_t)y * 365 + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719468;
}

static uint64_t rtc_seconds(void)
{
	struct rtc_time now = rtc_registers(), again = rtc_registers();
	unsigned tries, hour, month, year;
	uint8_t b = rtc_read(11);

	/* Twice the same: no update came between. */
	for (tries = 0; tries < 10 && __builtin_memcmp(&now, &again, sizeof(now)); tries++) {
		now = again;
		again = rtc_registers();
	}
	hour = rtc_number(now.hour & (uint8_t)~RTC_HOUR_PM, b);
	if (!(b & RTC_B_24_HOURS))
		hour = hour % 12 + (now.hour & RTC_HOUR_PM ? 12 : 0);
	month = rtc_number(now.month, b);
	year = 2000 + rtc_number(now.year, b);
	if (month < 1 || month > 12)
		return 0;
	return days_since_1970(year, month, rtc_number(now.day, b)) * 86400 + hour * 3600 + rtc_number(now.minute, b) * 60 +
	       rtc_number(now.second, b);
}

void time_start(void)
{
	khz = khz_from_cpuid();
	if (!khz && fadt.pm_timer.address)
		khz = (uint32_t)time_measure(khz_from_pm_timer);
	if (!khz)
		khz = (uint32_t)time_measure(khz_from_pit);
	if (!khz) {
		host_log(HOST_LOG_ERROR, "no way to measure the TSC: no ACPI timer, no PIT; Holon needs one of them");
		power_end(1);
	}
	if (cpuid(0x80000000, 0).eax < CPUID_POWER || !(cpuid(CPUID_POWER, 0).edx & CPUID_POWER_EDX_INVARIANT_TSC))
		host_log(HOST_LOG_WARN, "this processor does not promise an invariant TSC: time may run unevenly");
	tsc_start = host_tsc();
	wall_start_ns = rtc_seconds() * NS_PER_S;
}

uint64_t host_time_ns(void)
{
	/* Before the frequency is known no time has passed. */
	return khz ? multiply_divide(host_tsc() - tsc_start, 1000000, khz) : 0;
}

uint64_t host_wall_time_ns(void)
{
	return wall_start_ns + host_time_ns();
}

uint32_t host_tsc_khz(void)
{
	return khz;
}

void time_spin(uint64_t ns)
{
	uint64_t begin = host_time_ns();

	while (host_time_ns() - begin < ns)
		__builtin_ia32_pause();
}
