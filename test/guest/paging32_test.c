/* SPDX-License-Identifier: Apache-2.0 */
/* paging32_test.c - proves 2-level paging with and without 4 MiB pages, and PAE paging with its four PDPTEs and NX (SDM vol. 3, 4.3, 4.4). */
#include "test/guest/protected.h"

#define P 1u
#define W 2u
#define U 4u
#define A 0x20u
#define D 0x40u
#define LARGE 0x80u
#define AT 0x40000000u /* where the tests map what they try */

static uint32_t *page;
static uint32_t stack_top;
CODE(user_read, "mov 0x40000000, %eax; int $0x80");
CODE(user_write, "movl $5, 0x40000000; int $0x80");

static void read_at(void *address)
{
	(void)*(volatile uint32_t *)address;
}
static void write_at(void *address)
{
	*(volatile uint32_t *)address = 1;
}
static void call_at(void *address)
{
	((void (*)(void))address)();
}
static int user(const uint8_t *code)
{
	struct user_start start = {.eip = (uint32_t)code, .cs = USER_CS, .eflags = 2, .esp = stack_top, .ss = USER_DS};

	return user_run(&start);
}
static void flush(void)
{
	write_cr3(read_cr3());
}

static void two_levels(void)
{
	uint32_t *directory = page_allocate(), *table = page_allocate(), *identity;
	unsigned i, j;

	/* The first 16 MiB by tables: the guest itself. For user mode too, which runs its code in place. */
	for (i = 0; i < 4; i++) {
		identity = page_allocate();
		directory[i] = (uint32_t)identity | P | W | U;
		for (j = 0; j < 1024; j++)
			identity[j] = (i << 22 | j << 12) | P | W | U;
	}
	directory[AT >> 22] = (uint32_t)table | P | W | U;
	write_cr3((uintptr_t)directory);
	write_cr0(read_cr0() | 0x80010000); /* PG, WP */
	page[0] = 0x1234;
	table[0] = (uint32_t)page | P | W | U;
	check_equal(*(volatile uint32_t *)AT, 0x1234, "2-level: a 4 KiB page");
	check_equal(table[0] & (A | D), A, "has A after a read");
	check_equal(directory[AT >> 22] & (A | D), A, "its directory entry too");
	*(volatile uint32_t *)AT = 1;
	check_equal(table[0] & (A | D), A | D, "and D after a write");
	check_trap(user(user_read), NO_TRAP, 0, "user mode may read it");
	table[0] = (uint32_t)page | P | W;
	flush();
	check_trap(user(user_read), PF, 5, "without U it may not: #PF(P U)");
	table[0] = (uint32_t)page | P | U;
	flush();
	check_trap(user(user_write), PF, 7, "without W it may not write: #PF(P W U)");
	check_equal(trap_cr2, AT, "CR2 is the address");
	check_trap(trap_run(write_at, (void *)AT), PF, 3, "nor may the supervisor with WP: #PF(P W)");
	write_cr0(read_cr0() & ~0x10000ul);
	check_trap(trap_run(write_at, (void *)AT), NO_TRAP, 0, "without WP it may");
	write_cr0(read_cr0() | 0x10000);
	table[0] = 0;
	flush();
	check_trap(trap_run(read_at, (void *)AT), PF, 0, "an absent page: #PF(0)");
	check_trap(trap_run(call_at, (void *)AT), PF, 0, "a fetch says no more without NX");
	directory[AT >> 22] = (uint32_t)table | P | W;
	table[0] = (uint32_t)page | P | W | U;
	flush();
	check_trap(user(user_read), PF, 5, "a directory entry without U denies it too");
	/* PSE. */
	page[0] = 0x77;
	directory[AT >> 22] = P | W | LARGE;
	flush();
	write_cr4(read_cr4() & ~0x10ul);
	write_cr4(read_cr4() | 0x10);
	check_equal(*(volatile uint32_t *)(AT + (uint32_t)page), 0x77, "4 MiB pages with CR4.PSE");
	check_equal(directory[AT >> 22] & A, A, "have their A bit in the directory");
	*(volatile uint32_t *)(AT + (uint32_t)page) = 0x78;
	check_equal(directory[AT >> 22] & D, D, "and D");
	directory[AT >> 22] = P | W | LARGE | 1u << 21;
	flush();
	check_trap(trap_run(read_at, (void *)AT), PF, 9, "a reserved bit of a 4 MiB entry: #PF(P RSVD)");
	write_cr4(read_cr4() & ~0x10ul);
	directory[AT >> 22] = (uint32_t)table | P | W | LARGE;
	flush();
	check_equal(*(volatile uint32_t *)AT, 0x78, "without PSE the bit means nothing");
	write_cr0(read_cr0() & ~0x80000000ul);
}

static uint64_t *pointers;
static void cr3_reload(void *unused)
{
	(void)unused;
	write_cr3((uintptr_t)pointers);
}

static void pae(void)
{
	uint64_t *directories[4], *table = page_allocate();
	unsigned i, j;

	pointers = page_allocate();
	for (i = 0; i < 4; i++) {
		directories[i] = page_allocate();
		pointers[i] = (uint32_t)directories[i] | P; /* W and U are reserved here */
		for (j = 0; j < 512; j++)
			directories[i][j] = (uint64_t)i << 30 | (uint64_t)j << 21 | P | W | U | LARGE;
	}
	directories[AT >> 30][(AT >> 21) & 511] = (uint32_t)table | P | W | U;
	write_cr4(read_cr4() | 0x20);
	write_cr3((uintptr_t)pointers);
	write_cr0(read_cr0() | 0x80000000);
	page[0] = 0x4321;
	table[0] = (uint32_t)page | P | W | U;
	check_equal(*(volatile uint32_t *)AT, 0x4321, "PAE: a 4 KiB page");
	check_equal(table[0] & (A | D), A, "has A after a read");
	check_trap(user(user_write), NO_TRAP, 0, "user mode may write it");
	check_equal(table[0] & (A | D), A | D, "and D after a write");
	check_equal(*(volatile uint32_t *)(uint32_t)page, 5, "2 MiB pages show the rest");
	/* NX. */
	wrmsr(0xc0000080, rdmsr(0xc0000080) | 0x800);
	table[0] |= UINT64_C(1) << 63;
	*(uint8_t *)page = 0xc3;
	flush();
	check_trap(trap_run(call_at, (void *)AT), PF, 0x11, "a fetch from a page with NX: #PF(P I)");
	check_trap(trap_run(read_at, (void *)AT), NO_TRAP, 0, "reads pass");
	wrmsr(0xc0000080, rdmsr(0xc0000080) & ~0x800ull);
	flush();
	check_trap(trap_run(read_at, (void *)AT), PF, 9, "NX without EFER.NXE: #PF(P RSVD)");
	table[0] = (uint32_t)page | P | W | U;
	flush();
	/* PDPTEs are loaded with CR3, not when they are used. */
	pointers[3] = 0;
	check_trap(trap_run(read_at, (void *)0xfee00020), NO_TRAP, 0, "a PDPTE that changes in memory stays as it was loaded");
	check_trap(trap_run(cr3_reload, NULL), NO_TRAP, 0, "CR3 loads them anew");
	check_trap(trap_run(read_at, (void *)0xfee00020), PF, 0, "and the missing one is missed");
	pointers[3] = (uint32_t)directories[3] | P | W;
	check_trap(trap_run(cr3_reload, NULL), GP, 0, "a PDPTE with a reserved bit: #GP(0) from MOV to CR3");
	pointers[3] = (uint32_t)directories[3] | P;
	write_cr3((uintptr_t)pointers);
	check_trap(trap_run(read_at, (void *)0xfee00020), NO_TRAP, 0, "all four are back");
	write_cr0(read_cr0() & ~0x80000000ul);
	write_cr4(read_cr4() & ~0x20ul);
}

void guest_main(void)
{
	page = page_allocate();
	stack_top = (uint32_t)page_allocate() + 4096;
	two_levels();
	pae();
}
