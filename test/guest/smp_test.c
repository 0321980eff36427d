/* SPDX-License-Identifier: Apache-2.0 */
/*
 * smp_test.c - proves that several processors start by INIT and SIPI, that locked operations are atomic between them, that stores are ordered,
 * that IPIs, TLB shootdowns and code that another processor changes arrive.
 */
#include "test/guest/long.h"

#define ROUNDS 20000u

static unsigned cpus_here;
static unsigned handovers; /* on one processor each costs as long as a vcpu may run at a time */
static volatile unsigned go;
static struct {
	volatile uint64_t plain __attribute__((aligned(64)));
	volatile uint64_t incremented __attribute__((aligned(64)));
	volatile uint64_t added __attribute__((aligned(64)));
	volatile uint64_t compared __attribute__((aligned(64)));
	volatile uint64_t spin __attribute__((aligned(64)));
	volatile uint64_t wide[2] __attribute__((aligned(64)));
	volatile uint8_t bytes[8] __attribute__((aligned(64)));
	uint8_t line[128] __attribute__((aligned(64)));
} shared;
static uint8_t page_pair[8192] __attribute__((aligned(4096)));

static void on_all(void (*fn)(void *))
{
	unsigned i;

	go = 0;
	for (i = 1; i < cpus_here; i++)
		cpu_run(i, fn, (void *)(uint64_t)i);
	__atomic_store_n(&go, 1, __ATOMIC_SEQ_CST);
	fn(NULL);
	for (i = 1; i < cpus_here; i++)
		cpu_wait(i);
}

static bool locked_add_one(volatile uint64_t *value, uint64_t expected)
{
	uint8_t good;

	__asm__ volatile("lock cmpxchg %3, %1; setz %0" : "=r"(good), "+m"(*value), "+a"(expected) : "r"(expected + 1) : "memory");
	return good;
}

/* *low and *high become what is there if that is something else. */
static bool locked_add_wide(volatile uint64_t *pair, uint64_t *low, uint64_t *high)
{
	uint8_t good;

	__asm__ volatile("lea 1(%%rax), %%rbx; lea 2(%%rdx), %%rcx; lock cmpxchg16b (%3); setz %0"
			 : "=q"(good), "+a"(*low), "+d"(*high)
			 : "r"(pair)
			 : "rbx", "rcx", "memory");
	return good;
}

static void counters(void *number)
{
	unsigned i;

	while (!go)
		pause();
	for (i = 0; i < ROUNDS; i++) {
		uint64_t one = 1, low, high;

		__asm__ volatile("lock incq %0" : "+m"(shared.incremented));
		__asm__ volatile("lock xadd %1, %0" : "+m"(shared.added), "+r"(one));
		while (!locked_add_one(&shared.compared, shared.compared))
			continue;
		/* XCHG is a lock of its own. */
		for (one = 1;;) {
			__asm__ volatile("xchg %0, %1" : "+r"(one), "+m"(shared.spin) : : "memory");
			if (!one)
				break;
			pause();
		}
		shared.plain++;
		__asm__ volatile("movq $0, %0" : "=m"(shared.spin) : : "memory");
		low = shared.wide[0];
		high = shared.wide[1];
		while (!locked_add_wide(shared.wide, &low, &high))
			continue;
		__asm__ volatile("lock incb %0" : "+m"(shared.bytes[(uint64_t)number & 7]));
	}
}

/* Locked operations on what no single access can reach: over a cache line's end and over a page's. */
static void split(void *unused)
{
	unsigned i;

	(void)unused;
	while (!go)
		pause();
	for (i = 0; i < 500; i++) {
		__asm__ volatile("lock incq %0" : "+m"(*(uint64_t *)(shared.line + 60)));
		__asm__ volatile("lock incl %0" : "+m"(*(uint32_t *)(page_pair + 4094)));
	}
}

static void atomics(void)
{
	uint64_t total = (uint64_t)ROUNDS * cpus_here;

	on_all(counters);
	check_equal(shared.incremented, total, "LOCK INC");
	check_equal(shared.added, total, "LOCK XADD");
	check_equal(shared.compared, total, "LOCK CMPXCHG");
	check_equal(shared.plain, total, "a spin lock of XCHG guards a plain counter");
	check_equal(shared.wide[0], total, "LOCK CMPXCHG16B, lower half");
	check_equal(shared.wide[1], 2 * total, "LOCK CMPXCHG16B, upper half");
	on_all(split);
	check_equal(*(uint64_t *)(shared.line + 60), 500 * cpus_here, "LOCK INC over a cache line's end");
	check_equal(*(uint32_t *)(page_pair + 4094), 500 * cpus_here, "LOCK INC over a page's end");
}

/* Message passing: x86 lets no store pass an older store, no load an older load. */
static volatile uint64_t message, flag_word __attribute__((aligned(64)));
static volatile unsigned disorder;

static void receiver(void *unused)
{
	uint64_t i;

	(void)unused;
	for (i = 1; i <= ROUNDS; i++) {
		while (flag_word < i)
			;
		if (message < i)
			disorder++;
	}
}

/* Store buffering with MFENCE: both cannot read 0. */
static volatile uint64_t left, right __attribute__((aligned(64)));
static volatile uint64_t saw_right[1], phase __attribute__((aligned(64))), phase_done __attribute__((aligned(64)));

static void buffer_partner(void *unused)
{
	uint64_t i;

	(void)unused;
	for (i = 1; i <= handovers; i++) {
		while (phase < i)
			;
		left = 1;
		__asm__ volatile("mfence" : : : "memory");
		saw_right[0] = right;
		phase_done = i;
	}
}

static void ordering(void)
{
	uint64_t i, both = 0;

	cpu_run(1, receiver, NULL);
	for (i = 1; i <= ROUNDS; i++) {
		message = i;
		__asm__ volatile("" : : : "memory");
		flag_word = i;
	}
	cpu_wait(1);
	check_equal(disorder, 0, "a flag is never seen before the message that it announces");
	cpu_run(1, buffer_partner, NULL);
	for (i = 1; i <= handovers; i++) {
		uint64_t saw_left;

		left = right = 0;
		__asm__ volatile("mfence" : : : "memory");
		phase = i;
		right = 1;
		__asm__ volatile("mfence" : : : "memory");
		saw_left = left;
		while (phase_done < i)
			;
		both += !saw_left && !saw_right[0];
	}
	cpu_wait(1);
	check_equal(both, 0, "with MFENCE two processors never both miss the other's store");
}

static volatile unsigned ipis[CPUS_MAX], nmis;
static void ipi(struct frame *frame)
{
	(void)frame;
	__atomic_fetch_add(&ipis[this_cpu()->number], 1, __ATOMIC_SEQ_CST);
	apic_write(APIC_EOI, 0);
}
static void nmi(struct frame *frame)
{
	(void)frame;
	__atomic_fetch_add(&nmis, 1, __ATOMIC_SEQ_CST);
}
static volatile unsigned apic_ids[CPUS_MAX], sleeping[CPUS_MAX];
static void sleep_once(void *number)
{
	apic_ids[(uint64_t)number] = apic_read(APIC_ID) >> 24;
	__atomic_store_n(&sleeping[(uint64_t)number], 1, __ATOMIC_SEQ_CST);
	while (!ipis[(uint64_t)number])
		interrupt_wait();
}

static void interrupts(void)
{
	unsigned i, seen = 0;

	handlers[0x40] = ipi;
	for (i = 1; i < cpus_here; i++)
		cpu_run(i, sleep_once, (void *)(uint64_t)i);
	for (i = 1; i < cpus_here; i++)
		while (!sleeping[i])
			pause();
	for (i = 1; i < cpus_here; i++)
		ipi_send(apic_ids[i], 0x4040);
	for (i = 1; i < cpus_here; i++) {
		cpu_wait(i);
		seen += ipis[i] == 1;
	}
	check_equal(seen, cpus_here - 1, "an IPI wakes each halted processor");
	for (i = 1; i < cpus_here; i++) {
		ipis[i] = sleeping[i] = 0;
		cpu_run(i, sleep_once, (void *)(uint64_t)i);
	}
	for (i = 1; i < cpus_here; i++)
		while (!sleeping[i])
			pause();
	ipi_send(0, 0xc4040); /* to all but self */
	for (i = 1; i < cpus_here; i++)
		cpu_wait(i);
	check(true, "a broadcast IPI wakes all of them");
	handlers[NMI] = nmi;
	ipi_send(0, 0xc4400);
	while (nmis < cpus_here - 1)
		pause();
	check(true, "an NMI reaches all of them");
	handlers[NMI] = NULL;
}

/* A shootdown: each processor reads through a translation that is taken away, until its own INVLPG. */
static volatile uint64_t *entry;
static volatile unsigned invalidated;
static volatile bool stop;
static void shootdown(struct frame *frame)
{
	(void)frame;
	invlpg(TEST_SPACE);
	__atomic_fetch_add(&invalidated, 1, __ATOMIC_SEQ_CST);
	apic_write(APIC_EOI, 0);
}
static volatile uint64_t stale;
static volatile uint64_t valid_from;
static void reader(void *unused)
{
	(void)unused;
	interrupts_on();
	while (!stop) {
		uint64_t oldest = valid_from, value = *(volatile uint64_t *)TEST_SPACE;

		if (value < oldest)
			__atomic_fetch_add(&stale, 1, __ATOMIC_SEQ_CST);
	}
	interrupts_off();
}

static void shootdowns(void)
{
	uint64_t *page[2] = {page_allocate(), page_allocate()}, i;
	unsigned n;

	handlers[0x41] = shootdown;
	page[0][0] = 1;
	entry = page_set(TEST_SPACE, (uint64_t)page[0] | PTE_P | PTE_W | PTE_A | PTE_D);
	valid_from = 1;
	for (n = 1; n < cpus_here; n++)
		cpu_run(n, reader, NULL);
	for (i = 2; i < 200; i++) {
		page[i & 1][0] = i;
		*entry = (uint64_t)page[i & 1] | PTE_P | PTE_W | PTE_A | PTE_D;
		invlpg(TEST_SPACE);
		invalidated = 0;
		ipi_send(0, 0xc4041);
		while (invalidated < cpus_here - 1)
			pause();
		valid_from = i; /* nobody may read the other page from here on: it holds less */
	}
	stop = true;
	for (n = 1; n < cpus_here; n++)
		cpu_wait(n);
	check_equal(stale, 0, "no processor reads through a translation that was shot down");
}

/* Cross-modifying code (SDM vol. 3, 9.1.3): one writes, says so, the others serialise and run it. */
static volatile uint64_t code_version;
static volatile unsigned code_wrong, code_seen[CPUS_MAX];
static uint8_t *code;
static void runner(void *number)
{
	uint64_t version = 0;
	uint32_t out[4];

	while (version < 200) {
		uint64_t now = code_version;

		if (now == version) {
			pause();
			continue;
		}
		cpuid(0, 0, out); /* serialises */
		if (((uint32_t(*)(void))code)() < now)
			__atomic_fetch_add(&code_wrong, 1, __ATOMIC_SEQ_CST);
		version = now;
		code_seen[(uint64_t)number] = (unsigned)version;
	}
}

static void cross_modification(void)
{
	uint32_t version;
	unsigned n;

	code = page_allocate();
	code[0] = 0xb8; /* MOV EAX, imm32; RET */
	code[5] = 0xc3;
	for (n = 1; n < cpus_here; n++)
		cpu_run(n, runner, (void *)(uint64_t)n);
	for (version = 1; version <= 200; version++) {
		*(volatile uint32_t *)(code + 1) = version;
		code_version = version;
		for (n = 1; n < cpus_here; n++)
			while (code_seen[n] < version)
				pause();
	}
	for (n = 1; n < cpus_here; n++)
		cpu_wait(n);
	check_equal(code_wrong, 0, "code that another processor wrote is what runs");
}

void guest_main(void)
{
	unsigned expected = number_told("cpus=", 1);

	handovers = number_told("handovers=", 5000);
	cpus_here = cpus_start(expected);
	check_equal(cpus_here, expected, "INIT and SIPI start every processor");
	if (cpus_here < 2) {
		skip("one processor: nothing more to see");
		return;
	}
	atomics();
	ordering();
	interrupts();
	shootdowns();
	cross_modification();
}
