/* SPDX-License-Identifier: Apache-2.0 */
/* apic_test.c - proves the local APIC: timer in its modes, self-IPIs, priorities with TPR and CR8, NMI, EOI, x2APIC (SDM vol. 3, 11). */
#include "test/guest/long.h"

static volatile unsigned count[256];
static volatile unsigned order[16], ordered;

static void counted(struct frame *frame)
{
	count[frame->vector]++;
	if (ordered < 16)
		order[ordered++] = (unsigned)frame->vector;
	apic_write(APIC_EOI, 0);
}

static void nmi(struct frame *frame)
{
	count[frame->vector]++;
}

/* Waits up to about a second of TSC for `*value` to reach `wanted`. */
static bool reaches(volatile unsigned *value, unsigned wanted)
{
	uint64_t start = rdtsc();

	interrupts_on();
	while (*value < wanted && rdtsc() - start < UINT64_C(20000000000))
		pause();
	interrupts_off();
	return *value >= wanted;
}

static void self_ipi(unsigned vector)
{
	ipi_send(0, 0x44000 | vector);
}

static void registers(void)
{
	check_equal(rdmsr(0x1b) & 0xfffffffffffff900, 0xfee00900, "IA32_APIC_BASE: at FEE00000, enabled, bootstrap processor");
	check((apic_read(0x30) & 0xff) >= 0x14, "the version says integrated APIC");
	check_equal(apic_read(APIC_LVT_LINT0) >> 16 & 1, apic_read(APIC_LVT_LINT0) >> 16 & 1, "LVT registers can be read");
	apic_write(APIC_TPR, 0x20);
	check_equal(apic_read(APIC_TPR), 0x20, "TPR reads back");
	apic_write(APIC_TPR, 0);
	apic_write(APIC_LVT_TIMER, 0x10055);
	check_equal(apic_read(APIC_LVT_TIMER) & 0x100ff, 0x10055, "the timer's LVT reads back");
}

static void priorities(void)
{
	unsigned vector;

	for (vector = 0x30; vector < 0xf0; vector++)
		handlers[vector] = counted;
	interrupts_off();
	self_ipi(0x41);
	check_equal(apic_read(APIC_IRR + 0x20) >> 1 & 1, 1, "a self-IPI waits in IRR while IF is clear");
	check(reaches(&count[0x41], 1), "and comes when IF is set");
	check_equal(apic_read(APIC_IRR + 0x20), 0, "IRR is clear again");
	check_equal(apic_read(APIC_ISR + 0x20), 0, "ISR too after EOI");
	ordered = 0;
	self_ipi(0x51);
	self_ipi(0x91);
	self_ipi(0x71);
	self_ipi(0x91);
	check(reaches(&count[0x51], 1) && order[0] == 0x91 && order[1] == 0x71 && order[2] == 0x51,
	      "the highest vector comes first");
	check_equal(count[0x91], 1, "an interrupt that already waits is not counted twice");
	apic_write(APIC_TPR, 0x80);
	self_ipi(0x61);
	self_ipi(0xa1);
	check(reaches(&count[0xa1], 1), "TPR lets higher classes through");
	check_equal(count[0x61], 0, "and holds lower ones back");
	__asm__ volatile("mov %0, %%cr8" : : "r"(0ull) : "memory");
	check_equal(apic_read(APIC_TPR), 0, "CR8 is TPR 7:4");
	check(reaches(&count[0x61], 1), "and lets it come");
	handlers[NMI] = nmi;
	ipi_send(0, 0x400); /* NMI to APIC 0: this processor */
	check(reaches(&count[NMI], 1), "an NMI comes though IF is clear");
	handlers[NMI] = NULL;
}

static volatile unsigned nested_inner_first;
static void nested_low(struct frame *frame)
{
	(void)frame;
	self_ipi(0xb1);
	self_ipi(0x35);
	interrupts_on();
	__asm__ volatile("nop; nop" : : : "memory");
	interrupts_off();
	nested_inner_first = count[0xb1] == 1 && count[0x35] == 0;
	apic_write(APIC_EOI, 0);
}

static void nesting(void)
{
	count[0xb1] = count[0x35] = 0;
	handlers[0x36] = nested_low;
	self_ipi(0x36);
	check(reaches(&count[0x35], 1), "a vector of the class in service waits for its EOI");
	check(nested_inner_first, "one of a higher class interrupts its handler");
}

static void timer(void)
{
	uint32_t before, after;
	unsigned got;

	apic_write(APIC_TIMER_DIVIDE, 0xb); /* by 1 */
	apic_write(APIC_LVT_TIMER, 0x44);
	apic_write(APIC_TIMER_INITIAL, 1000000);
	before = apic_read(APIC_TIMER_CURRENT);
	check(before <= 1000000, "the timer starts at its initial count");
	check(reaches(&count[0x44], 1), "one-shot: it fires");
	check_equal(apic_read(APIC_TIMER_CURRENT), 0, "and stays at 0");
	check_equal(count[0x44], 1, "once");
	apic_write(APIC_LVT_TIMER, 0x20045);
	apic_write(APIC_TIMER_INITIAL, 500000);
	check(reaches(&count[0x45], 5), "periodic: it fires again and again");
	apic_write(APIC_TIMER_INITIAL, 0);
	interrupts_on();
	__asm__ volatile("nop; nop" : : : "memory");
	interrupts_off();
	got = count[0x45];
	after = apic_read(APIC_TIMER_CURRENT);
	check(after == 0 && got == count[0x45], "an initial count of 0 stops it");
	/* Masked: it counts, and nothing comes. */
	apic_write(APIC_LVT_TIMER, 0x10046);
	apic_write(APIC_TIMER_INITIAL, 1000);
	while (apic_read(APIC_TIMER_CURRENT))
		pause();
	interrupts_on();
	__asm__ volatile("nop; nop" : : : "memory");
	interrupts_off();
	check_equal(count[0x46], 0, "masked: it does not fire");
	/* HLT ends with it. */
	apic_write(APIC_LVT_TIMER, 0x47);
	apic_write(APIC_TIMER_INITIAL, 10000000);
	while (!count[0x47])
		interrupt_wait();
	check_equal(count[0x47], 1, "HLT ends with the timer's interrupt");
	if (!HAS_TSC_DEADLINE) {
		skip("TSC deadline");
		return;
	}
	apic_write(APIC_LVT_TIMER, 0x40048);
	{
		uint64_t deadline = rdtsc() + 20000000;

		wrmsr(0x6e0, deadline);
		check_equal(rdmsr(0x6e0), deadline, "the TSC deadline reads back");
		while (!count[0x48])
			interrupt_wait();
		check(rdtsc() >= deadline, "TSC deadline: it fires no sooner");
		check_equal(rdmsr(0x6e0), 0, "and the MSR is 0 then");
		wrmsr(0x6e0, 1);
		check(reaches(&count[0x48], 2), "a deadline in the past fires at once");
	}
	apic_write(APIC_LVT_TIMER, 0x10000);
}

static void base_set(void *value)
{
	wrmsr(0x1b, (uint64_t)value);
}
static void x2apic_bad(void *msr)
{
	rdmsr((uint32_t)(uint64_t)msr);
}
static void x2apic_reserved(void *unused)
{
	(void)unused;
	wrmsr(0x808, 0x100);
}
static void counted2(struct frame *frame)
{
	count[frame->vector]++;
	wrmsr(0x80b, 0);
}

static void x2apic(void)
{
	uint64_t base = rdmsr(0x1b);

	if (!HAS_X2APIC) {
		skip("x2APIC");
		return;
	}
	check_trap(trap_run(x2apic_bad, (void *)0x802), GP, 0, "x2APIC's MSRs do not exist in xAPIC mode: #GP(0)");
	wrmsr(0x1b, base | 0x400);
	check_equal(rdmsr(0x802), 0, "x2APIC: the ID");
	handlers[0x49] = counted2;
	wrmsr(0x83f, 0x49); /* SELF IPI */
	check(reaches(&count[0x49], 1), "x2APIC: a self-IPI comes");
	wrmsr(0x830, 0x49); /* ICR in one write: to ID 0 */
	check(reaches(&count[0x49], 2), "x2APIC: ICR is one MSR");
	check_trap(trap_run(x2apic_bad, (void *)0x80e), GP, 0, "x2APIC: a register that is not there: #GP(0)");
	check_trap(trap_run(x2apic_bad, (void *)0x80b), GP, 0, "x2APIC: reading EOI: #GP(0)");
	check_trap(trap_run(x2apic_reserved, NULL), GP, 0, "x2APIC: a reserved bit of TPR: #GP(0)");
	check_trap(trap_run(base_set, (void *)base), GP, 0, "from x2APIC straight to xAPIC: #GP(0)");
	wrmsr(0x1b, base & ~0x800ull);
	check(!cpu_has(1, 3, 9), "a disabled APIC is gone from CPUID");
	wrmsr(0x1b, base);
	check(cpu_has(1, 3, 9), "and back");
	check_equal(apic_read(APIC_SVR) & 0x1ff, 0xff, "with reset values");
	apic_enable();
	handlers[0x49] = counted;
	self_ipi(0x49);
	check(reaches(&count[0x49], 3), "and it works");
}

void guest_main(void)
{
	apic_enable();
	pic_mask_all();
	registers();
	priorities();
	nesting();
	timer();
	x2apic();
}
