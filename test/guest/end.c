/* SPDX-License-Identifier: Apache-2.0 */
/* end.c - a guest that ends in the way that its command line asks for ("end=WORD"): for the tests of exit statuses (test/system/exit_test). */
#include "test/guest/protected.h"

extern uint32_t multiboot_info;

static bool asked(const char *word)
{
	const char *text = (const char *)((uint32_t *)multiboot_info)[4];
	unsigned i;

	for (; *text; text++) {
		for (i = 0; word[i] && text[i] == word[i]; i++)
			continue;
		if (!word[i])
			return true;
	}
	return false;
}

static void triple_fault(void)
{
	static const struct {
		uint16_t limit;
		uint32_t base;
	} __attribute__((packed)) none = {0, 0};

	__asm__ volatile("lidt %0; ud2" : : "m"(none));
}

/* Paging on with a directory that maps nothing: the next fetch faults, and so does every delivery of that. */
static void tables_empty(void)
{
	static uint32_t directory[1024] __attribute__((aligned(4096)));

	write_cr3((uintptr_t)directory);
	write_cr0(read_cr0() | 0x80000001);
}

/* Physical memory that nobody answers for, below the PCI devices' window. */
#define NOWHERE 0xd0000000u

static bool nowhere_answers(void)
{
	volatile uint32_t *nowhere = (uint32_t *)NOWHERE;

	*nowhere = 0x12345678;
	return *nowhere != 0xffffffff;
}

/* The decimal number behind a word; 0 where there is none. */
static unsigned number_after(const char *word)
{
	const char *text = (const char *)((uint32_t *)multiboot_info)[4];
	unsigned i, value = 0;

	for (; *text; text++) {
		for (i = 0; word[i] && text[i] == word[i]; i++)
			continue;
		if (!word[i]) {
			for (; text[i] >= '0' && text[i] <= '9'; i++)
				value = value * 10 + (unsigned)(text[i] - '0');
			return value;
		}
	}
	return 0;
}

#define APIC UINT32_C(0xfee00000)
#define COUNT 500000000u /* of 1 GHz */
#define LEAF_TSC_KHZ 0x40000010u

static volatile uint32_t *apic_register(uint32_t offset)
{
	return (volatile uint32_t *)(APIC + offset);
}

/* The TSC is read before the count begins and after each look at it: the count is never ahead by more than so many percent. */
static bool count_runs_ahead(void)
{
	uint32_t leaf[4], left, percent = number_after("percent=");
	bool ahead = false;
	uint64_t begin;

	cpuid(LEAF_TSC_KHZ, 0, leaf);
	*apic_register(0xf0) = 0x1ff;
	*apic_register(0x320) = 0x10040; /* one-shot, masked */
	*apic_register(0x3e0) = 0xb;
	begin = rdtsc();
	*apic_register(0x380) = COUNT;
	do {
		left = *apic_register(0x390);
		ahead |= (uint64_t)(COUNT - left) * leaf[0] > (rdtsc() - begin) / 100 * (100 + percent) * 1000000;
	} while (left && !ahead);
	return ahead;
}

#define PIT_HZ 1193182u

static volatile unsigned ticks;

static void tick(struct frame *frame)
{
	(void)frame;
	ticks++;
	outb(0x20, 0x20);
}

/* So many interrupts of the PIC's IRQ 0, each of which ends a HLT: the PIT's, "hz=" a second, or whoever raises that line. */
static void pic_ticks(unsigned count)
{
	unsigned hz = number_after("hz=");

	handlers[0x20] = tick;
	pic_mask_all();
	*apic_register(0xf0) = 0x1ff;
	*apic_register(0x350) = 0x700; /* ExtINT */
	if (hz) {
		outb(0x43, 0x34); /* channel 0, mode 2 */
		outb(0x40, (uint8_t)(PIT_HZ / hz));
		outb(0x40, (uint8_t)(PIT_HZ / hz >> 8));
	}
	outb(0x21, 0xfe);
	while (ticks < count)
		__asm__ volatile("sti; hlt; cli");
}

void guest_main(void)
{
	print("end: started\n");
	if (asked("end=triple"))
		triple_fault();
	if (asked("end=tables"))
		tables_empty();
	if (asked("end=nowhere"))
		guest_exit(nowhere_answers());
	if (asked("end=jump"))
		((void (*)(void))NOWHERE)();
	if (asked("end=keyboard"))
		outb(0x64, 0xfe);
	if (asked("end=cf9"))
		outb(0xcf9, 0x06);
	if (asked("end=pvpanic"))
		outb(0x505, 1);
	if (asked("end=exit"))
		guest_exit(number_after("value="));
	if (asked("end=count"))
		guest_exit(count_runs_ahead());
	if (asked("end=pic")) {
		pic_ticks(number_after("value="));
		guest_exit(0);
	}
	if (asked("end=memory")) {
		uint32_t at;

		/* Touches every page up to 64 MiB. */
		for (at = 0x400000; at < 0x4000000; at += 4096)
			*(volatile uint32_t *)at = at;
		guest_exit(*(volatile uint32_t *)0x3fff000 != 0x3fff000);
	}
	/* Known numbers of accesses, for test/system/stats_test. */
	if (asked("end=ports") || asked("end=mmio")) {
		bool ports = asked("end=ports");

		for (unsigned i = number_after("value="); i; i--) {
			if (ports)
				outb(0x80, (uint8_t)i);
			else
				(void)*(volatile uint32_t *)0xfee00030; /* the APIC's version */
		}
		guest_exit(0);
	}
	for (;;)
		__asm__ volatile("hlt");
}
