/* SPDX-License-Identifier: Apache-2.0 */
/* smc_test.c - proves that a processor that changes its own code runs what it wrote, at once and through every alias (SDM vol. 3, 9.1.3). */
#include "test/guest/long.h"

static uint8_t *code;

static uint32_t run_at(uint64_t address)
{
	return ((uint32_t(*)(void))address)();
}

static void immediate(uint32_t value)
{
	*(volatile uint32_t *)(code + 1) = value;
}

/* Writes the operand of an instruction that comes right behind in the same straight line. */
uint32_t change_next(uint32_t value);
uint32_t change_loop(void);
uint32_t change_opcode(void);
uint32_t change_rep(void);
__asm__(".section .data\n" /* writable by the identity map anyway */
	".balign 64\n"
	"change_next:\n"
	"	mov %edi, 1f+1(%rip)\n"
	"	jmp 1f\n"
	"1:	mov $0x11111111, %eax\n"
	"	ret\n"
	".balign 64\n"
	"change_loop:\n" /* an ADD whose immediate grows each time around: 1 + 2 + ... + 100 */
	"	xor %eax, %eax\n"
	"	mov $1, %ecx\n"
	"1:	mov %ecx, 2f+1(%rip)\n"
	"2:	add $0x11111111, %eax\n"
	"	inc %ecx\n"
	"	cmp $101, %ecx\n"
	"	jne 1b\n"
	"	ret\n"
	".balign 64\n"
	"change_opcode:\n" /* INC EAX becomes DEC EAX: FF C0 to FF C8 */
	"	mov $10, %eax\n"
	"	mov $5, %ecx\n"
	"1:	xorb $8, 2f+1(%rip)\n"
	"2:	inc %eax\n"
	"	loop 1b\n"
	"	movb $0xc0, 2b+1(%rip)\n"
	"	ret\n"
	".balign 64\n"
	"change_rep:\n" /* REP STOS over the instructions that follow it: NOPs for INCs */
	"	xor %edx, %edx\n"
	"	lea 1f(%rip), %rdi\n"
	"	mov $16, %ecx\n"
	"	mov $0x90, %eax\n"
	"	cld\n"
	"	rep stosb\n"
	"	jmp 1f\n"
	"1:	.rept 8\n"
	"	inc %edx\n"
	"	.endr\n"
	"	mov %edx, %eax\n"
	"	ret\n"
	".text\n");

static void aliases(void)
{
	uint64_t one = TEST_SPACE, two = TEST_SPACE + 0x1000;
	unsigned i;
	bool good = true;

	page_set(one, (uint64_t)code | PTE_P | PTE_W);
	page_set(two, (uint64_t)code | PTE_P | PTE_W);
	for (i = 0; i < 100; i++) {
		*(volatile uint32_t *)(two + 1) = i;
		good &= run_at(one) == i && run_at((uint64_t)code) == i;
		*(volatile uint32_t *)(one + 1) = ~i;
		good &= run_at(two) == ~i;
	}
	check(good, "code written through one address runs anew through all of them");
	/* The page behind an address changes. */
	{
		uint8_t *other = page_allocate();

		other[0] = 0xb8;
		*(uint32_t *)(other + 1) = 4711;
		other[5] = 0xc3;
		immediate(4710);
		check_equal(run_at(one), 4710, "code at an address");
		page_set(one, (uint64_t)other | PTE_P | PTE_W);
		invlpg(one);
		check_equal(run_at(one), 4711, "another page at that address");
		page_set(one, (uint64_t)code | PTE_P | PTE_W);
		write_cr3(read_cr3());
		check_equal(run_at(one), 4710, "and the first again");
	}
}

static void page_crossing(void)
{
	uint8_t *pair = page_allocate();
	uint32_t i;
	bool good = true;

	page_allocate(); /* the next page */
	pair[4093] = 0xb8;
	pair[4098] = 0xc3;
	for (i = 0; i < 50; i++) {
		*(volatile uint32_t *)(pair + 4094) = i * 0x01010101;
		good &= run_at((uint64_t)pair + 4093) == i * 0x01010101;
		*(volatile uint16_t *)(pair + 4096) = (uint16_t)~i; /* only what is on the second page */
		good &= run_at((uint64_t)pair + 4093) == ((i * 0x01010101 & 0xffff) | (uint32_t)(uint16_t)~i << 16);
	}
	check(good, "an instruction over two pages, written on either");
}

void guest_main(void)
{
	uint32_t i;
	bool good = true;

	code = page_allocate();
	code[0] = 0xb8; /* MOV EAX, imm32; RET */
	code[5] = 0xc3;
	for (i = 0; i < 2000; i++) {
		immediate(i);
		good &= run_at((uint64_t)code) == i;
	}
	check(good, "a function rewritten 2,000 times runs each version");
	for (i = 0, good = true; i < 300; i++)
		good &= change_next(i) == i;
	check(good, "an instruction that the one before it wrote");
	for (i = 0, good = true; i < 20; i++)
		good &= change_loop() == 5050;
	check(good, "a loop that rewrites its own body");
	for (i = 0, good = true; i < 20; i++)
		good &= change_opcode() == 9; /* DEC INC DEC INC DEC */
	check(good, "an opcode that changes while it is run");
	check_equal(change_rep(), 0, "code that REP STOS overwrote ahead of itself");
	aliases();
	page_crossing();
}
