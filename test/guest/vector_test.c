/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vector_test.c - proves that YMM registers live through what an engine does between two instructions: lookups of code that has not been there for long, of code
 * whose pages take each other's place, and of memory far from all that was touched before.
 */
#include "test/guest/long.h"

#define CR4_OSFXSR 0x200u
#define CR4_OSXSAVE 0x40000u
#define CR4_SMAP 0x200000u
#define CODE_APART UINT64_C(0x2000000) /* pages of translation caches of 8,192 entries, and of smaller ones, at the same index */
#define DATA_APART UINT64_C(0x40000000)
#define PAGE_SIZE 4096
#define CALLED_PAGES 8
#define ROUNDS 6

struct vectors {
	uint8_t ymm[16][32];
};
static struct vectors wanted, got;

#define EACH(access)                                                                                                              \
	access(0) access(1) access(2) access(3) access(4) access(5) access(6) access(7) access(8) access(9) access(10) access(11) \
		access(12) access(13) access(14) access(15)
#define LOAD(n) "vmovdqu 32*" #n "(%%rsi), %%ymm" #n "\n\t"
#define STORE(n) "vmovdqu %%ymm" #n ", 32*" #n "(%%rdi)\n\t"

/* The registers over a call of code, which returns at once, and a load of data. */
static bool lives(uint64_t code, uint64_t data)
{
	bool same = true;

	__asm__ volatile(EACH(LOAD) "call *%0\n\t"
				    "mov (%1), %%rax\n\t" EACH(STORE)
			 :
			 : "r"(code), "r"(data), "S"(&wanted), "D"(&got)
			 : "rax", "memory");
	for (unsigned i = 0; i < 16 * 32; i++)
		same &= got.ymm[i / 32][i % 32] == wanted.ymm[i / 32][i % 32];
	return same;
}

static uint64_t page_of_returns(uint64_t linear)
{
	uint8_t *page = page_allocate();

	for (unsigned i = 0; i < PAGE_SIZE; i++)
		page[i] = 0xc3; /* RET */
	page_set(linear, (uint64_t)page | PTE_P | PTE_W);
	return linear;
}

/* More targets of indirect calls than any list of them holds. */
static void many_calls(uint64_t returns)
{
	for (unsigned i = 0; i < CALLED_PAGES * PAGE_SIZE; i += 8)
		__asm__ volatile("call *%0" : : "r"(returns + i) : "memory");
}

static void code_moves(void)
{
	uint64_t end = TEST_SPACE + CALLED_PAGES * PAGE_SIZE, page[2];
	unsigned good = 0;

	for (uint64_t at = TEST_SPACE; at < end; at += PAGE_SIZE)
		page_of_returns(at);
	page[0] = page_of_returns(end);
	page[1] = page_of_returns(end + CODE_APART);
	for (unsigned i = 0; i < ROUNDS; i++) {
		many_calls(TEST_SPACE);
		good += lives(page[i % 2], (uint64_t)&got);
	}
	check_equal(good, ROUNDS, "YMM registers live over calls of pages that take each other's place");
}

static void data_far(void)
{
	uint64_t returns = page_of_returns(TEST_SPACE);
	unsigned good = 0;

	for (unsigned i = 1; i <= ROUNDS; i++) {
		page_set(TEST_SPACE + i * DATA_APART, (uint64_t)page_allocate() | PTE_P | PTE_W);
		good += lives(returns, TEST_SPACE + i * DATA_APART);
	}
	check_equal(good, ROUNDS, "YMM registers live over the first load from memory far away");
}

void guest_main(void)
{
	if (!HAS_AVX || !HAS_XSAVE) {
		skip("no AVX");
		guest_exit(0);
	}
	write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXSAVE | (HAS_SMAP ? CR4_SMAP : 0));
	__asm__ volatile("xsetbv" : : "a"(7), "c"(0), "d"(0));
	for (unsigned i = 0; i < 16 * 32; i++)
		wanted.ymm[i / 32][i % 32] = (uint8_t)(i * 7 + 1);
	code_moves();
	data_far();
	guest_exit(0);
}
