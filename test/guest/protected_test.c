/* SPDX-License-Identifier: Apache-2.0 */
/* protected_test.c - proves segment limits and types, expand-down and conforming segments, call gates, far returns and 16-bit code (SDM vol. 3, 5). */
#include "test/guest/protected.h"

#define SELECTOR(n) (FREE_SELECTOR + 8u * (n))
static void set(unsigned n, uint64_t value)
{
	gdt[FREE_SELECTOR / 8 + n] = value;
}

struct access {
	uint32_t selector, offset;
};
static void read8(void *argument)
{
	const struct access *a = argument;

	__asm__ volatile("mov %w0, %%gs; movb %%gs:(%1), %%al; mov %2, %%gs"
			 :
			 : "r"(a->selector), "r"(a->offset), "r"(KERNEL_DS)
			 : "eax", "memory");
}
static void read32(void *argument)
{
	const struct access *a = argument;

	__asm__ volatile("mov %w0, %%gs; movl %%gs:(%1), %%eax; mov %2, %%gs"
			 :
			 : "r"(a->selector), "r"(a->offset), "r"(KERNEL_DS)
			 : "eax", "memory");
}
static void write8(void *argument)
{
	const struct access *a = argument;

	__asm__ volatile("mov %w0, %%gs; movb $0, %%gs:(%1); mov %2, %%gs"
			 :
			 : "r"(a->selector), "r"(a->offset), "r"(KERNEL_DS)
			 : "memory");
}
CODE(user_push, "push %eax; int $0x80");
#define TRY(fn, s, o) trap_run(fn, &(struct access){s, o})

static void limits(void)
{
	uint32_t buffer = (uint32_t)page_allocate();

	set(0, descriptor(buffer, 99, 0x4093)); /* bytes 0 to 99 */
	set(1, descriptor(buffer, 99, 0x4097)); /* expand-down: 100 to 4 GiB */
	set(2, descriptor(buffer, 99, 0x0097)); /* expand-down, B clear: 100 to 65535 */
	set(3, descriptor(buffer, 0, 0xc093));  /* one page */
	set(4, descriptor(buffer, 99, 0x4091)); /* read-only */
	set(5, descriptor(buffer, 99, 0x4099)); /* execute-only */
	check_trap(TRY(read8, SELECTOR(0), 99), NO_TRAP, 0, "the last byte of a segment");
	check_trap(TRY(read8, SELECTOR(0), 100), GP, 0, "the byte behind it: #GP(0)");
	check_trap(TRY(read32, SELECTOR(0), 96), NO_TRAP, 0, "its last four bytes");
	check_trap(TRY(read32, SELECTOR(0), 97), GP, 0, "one byte too far: #GP(0)");
	check_trap(TRY(read32, SELECTOR(0), 0xfffffffe), GP, 0, "around the end of the address space: #GP(0)");
	check_trap(TRY(read8, SELECTOR(1), 99), GP, 0, "expand-down: up to the limit nothing is there");
	check_trap(TRY(read8, SELECTOR(1), 100), NO_TRAP, 0, "expand-down: behind the limit");
	check_trap(TRY(read8, SELECTOR(2), 0xffff), NO_TRAP, 0, "expand-down with B clear: up to 65535");
	check_trap(TRY(read8, SELECTOR(2), 0x10000), GP, 0, "expand-down with B clear: not above");
	check_trap(TRY(read8, SELECTOR(3), 4095), NO_TRAP, 0, "a limit in pages: the last byte");
	check_trap(TRY(read8, SELECTOR(3), 4096), GP, 0, "a limit in pages: behind it");
	check_trap(TRY(read8, SELECTOR(4), 0), NO_TRAP, 0, "read-only data can be read");
	check_trap(TRY(write8, SELECTOR(4), 0), GP, 0, "and not written: #GP(0)");
	check_trap(TRY(read8, SELECTOR(5), 0), GP, SELECTOR(5), "execute-only code cannot even be loaded: #GP(selector)");
	check_trap(TRY(read8, 0, 0), GP, 0, "an access through a null selector: #GP(0)");
	{
		struct user_start start = {
			.eip = (uint32_t)user_push, .cs = USER_CS, .eflags = 2, .esp = 100, .ss = SELECTOR(7) | 3};

		set(7, descriptor(buffer, 99, 0x40f3));
		check_trap(user_run(&start), NO_TRAP, 0, "a push just under the stack's limit");
		start.esp = 103;
		check_trap(user_run(&start), SS, 0, "a push past the stack's limit: #SS(0)");
		start.esp = 2;
		check_trap(user_run(&start), SS, 0, "a push around the stack's beginning: #SS(0)");
	}
	check((gdt[FREE_SELECTOR / 8 + 3] >> 40 & 1) == 1, "loading a segment sets its accessed bit");
	{
		set(6, descriptor(0, 0xfffff, 0xc092)); /* not accessed yet */
		TRY(read8, SELECTOR(6), buffer);
		check((gdt[FREE_SELECTOR / 8 + 6] >> 40 & 1) == 1, "and where it was clear too");
	}
}

/* Call gates. */
extern const uint8_t gate_target[], gate_target_ret[], gate_same[];
static volatile struct {
	uint32_t cs, ss, esp, words[6];
} seen;
__asm__(".text\n"
	"gate_target:\n" /* from CPL 3, two parameters; ring 0 stack: parameters, old SS:ESP behind them */
	"	mov %cs, %eax; mov %eax, seen\n"
	"	mov %ss, %eax; mov %eax, seen+4\n"
	"	mov %esp, seen+8\n"
	"	mov (%esp), %eax; mov %eax, seen+12\n"   /* return EIP */
	"	mov 4(%esp), %eax; mov %eax, seen+16\n"  /* return CS */
	"	mov 8(%esp), %eax; mov %eax, seen+20\n"  /* parameter 2 */
	"	mov 12(%esp), %eax; mov %eax, seen+24\n" /* parameter 1 */
	"	mov 16(%esp), %eax; mov %eax, seen+28\n" /* ESP */
	"	mov 20(%esp), %eax; mov %eax, seen+32\n" /* SS */
	"	lret $8\n"
	"gate_same:\n"
	"	mov %cs, %eax; mov %eax, seen\n"
	"	mov %esp, seen+8\n"
	"	lret\n");
CODE(user_gate, "push $0x1111; push $0x2222; lcall $0x83, $0; mov %esp, %ebx; mov %cs, %ecx; mov %ss, %edx; int $0x80");
CODE(user_conforming, "lcall $0x8b, $0; mov %esp, %ebx; int $0x80");
#define GATE (FREE_SELECTOR + 0x40) /* 0x80 */
#define CONFORMING_GATE (FREE_SELECTOR + 0x48)

static uint32_t user_stack_top;
static int user(const uint8_t *code)
{
	struct user_start start = {.eip = (uint32_t)code, .cs = USER_CS, .eflags = 2, .esp = user_stack_top, .ss = USER_DS};

	return user_run(&start);
}
static void call_gate_kernel(void *selector)
{
	struct {
		uint32_t offset;
		uint16_t selector;
	} __attribute__((packed)) pointer = {0, (uint16_t)(uint32_t)selector};

	__asm__ volatile("lcall *%0" : : "m"(pointer) : "eax", "memory");
}
static void call_gates(void)
{
	gdt[GATE / 8] = call_gate(KERNEL_CS, (uint32_t)gate_target, 2, 3);
	check_trap(user(user_gate), NO_TRAP, 0, "a call gate from CPL 3 to CPL 0 and back");
	check_equal(seen.cs, KERNEL_CS, "runs at CPL 0");
	check_equal(seen.ss, KERNEL_DS, "on the stack segment of the TSS");
	check_equal(seen.esp, tss.esp0 - 24, "on its stack, 6 words deep");
	check_equal(seen.words[1], USER_CS, "the caller's CS is there");
	check_equal(seen.words[2], 0x2222, "the last parameter");
	check_equal(seen.words[3], 0x1111, "the first parameter");
	check_equal(seen.words[4], user_stack_top - 8, "the caller's ESP");
	check_equal(seen.words[5], USER_DS, "the caller's SS");
	check_equal(trap.ebx, user_stack_top, "RET 8 takes the parameters off both stacks");
	check_equal(trap.ecx, USER_CS, "back at CPL 3");
	gdt[GATE / 8] = call_gate(KERNEL_CS, (uint32_t)gate_target, 2, 0);
	check_trap(user(user_gate), GP, GATE, "a gate of DPL 0 from CPL 3: #GP(gate)");
	gdt[GATE / 8] = call_gate(KERNEL_CS, (uint32_t)gate_target, 2, 3) & ~(UINT64_C(0x80) << 40);
	check_trap(user(user_gate), NP, GATE, "a gate that is not present: #NP(gate)");
	gdt[GATE / 8] = call_gate(0, (uint32_t)gate_target, 2, 3);
	check_trap(user(user_gate), GP, 0, "a gate to a null selector: #GP(0)");
	gdt[GATE / 8] = call_gate(KERNEL_DS, (uint32_t)gate_target, 2, 3);
	check_trap(user(user_gate), GP, KERNEL_DS, "a gate to data: #GP(selector)");
	gdt[GATE / 8] = call_gate(KERNEL_CS, (uint32_t)gate_target, 2, 3);
	gdt[CONFORMING_GATE / 8] = call_gate(KERNEL_CS, (uint32_t)gate_same, 0, 3);
	check_trap(trap_run(call_gate_kernel, (void *)CONFORMING_GATE), NO_TRAP, 0, "a call gate at the same privilege");
	check_equal(seen.cs, KERNEL_CS, "does not change CS's RPL");
	/* Conforming code runs at the caller's privilege. */
	set(10, descriptor(0, 0xfffff, 0xc09f));
	gdt[CONFORMING_GATE / 8] = call_gate(SELECTOR(10), (uint32_t)gate_same, 0, 3);
	check_trap(user(user_conforming), NO_TRAP, 0, "a call of conforming code");
	check_equal(seen.cs, SELECTOR(10) | 3, "keeps CPL 3");
}

/* 16-bit code and a 16-bit stack in protected mode: operands, IP and SP have 16 bits. Called through a far pointer, returns by a 32-bit far return. */
uint32_t code16(void);
__asm__(".text\n"
	"code16:\n"
	"	push %ebx; push %esi\n"
	"	lcall $0x28, $0x9000\n" /* a copy below 64 KiB */
	"	mov %ebx, %eax\n"
	"	pop %esi; pop %ebx\n"
	"	ret\n"
	".code16\n"
	"code16_begin:\n"
	"	mov $0xabcdffff, %ebx\n"
	"	add $1, %bx\n" /* 16 bits: abcd0000 and carry */
	"	adc $0, %bx\n" /* abcd0001 */
	"	mov $0x7, %si\n"
	"	lea -8(%si), %si\n" /* ffff */
	"	add %si, %bx\n"     /* abcd0000 */
	"	lretl\n"
	"code16_end:\n"
	".code32\n");
extern const uint8_t code16_begin[], code16_end[];

static void sixteen_bits(void)
{
	uint8_t *to = (uint8_t *)0x9000;
	unsigned i;

	__asm__("" : "+r"(to));
	for (i = 0; code16_begin + i < code16_end; i++)
		to[i] = code16_begin[i];
	check_equal(code16(), 0xabcd0000, "16-bit code in protected mode has 16-bit operands and addresses");
}

static void bound(void *index)
{
	static const int32_t limits[2] = {5, 10};

	__asm__ volatile("bound %0, %1" : : "r"(index), "m"(limits));
}
static void into(void *unused)
{
	(void)unused;
	__asm__ volatile("mov $0x7fffffff, %%eax; add $1, %%eax; into" : : : "eax");
}
static void aam_zero(void *unused)
{
	(void)unused;
	__asm__ volatile(".byte 0xd4, 0x00" : : : "eax");
}

static void old_instructions(void)
{
	uint32_t value;

	check_trap(trap_run(bound, (void *)7), NO_TRAP, 0, "BOUND within");
	check_trap(trap_run(bound, (void *)11), BR, 0, "BOUND above: #BR");
	check_trap(trap_run(bound, (void *)4), BR, 0, "BOUND below: #BR");
	check_trap(trap_run(into, NULL), OF, 0, "INTO after an overflow: #OF");
	check_trap(trap_run(aam_zero, NULL), DE, 0, "AAM 0: #DE");
	__asm__ volatile("mov $0x0f, %%eax; add $0x09, %%al; daa" : "=a"(value)); /* 0f + 09 = 18, AF: 1e */
	check_equal(value & 0xff, 0x1e, "DAA");
	value = 0x20;
	__asm__ volatile("arpl %w1, %w0" : "+r"(value) : "r"(3));
	check_equal(value, 0x23, "ARPL raises the RPL");
}

void guest_main(void)
{
	user_stack_top = (uint32_t)page_allocate() + 4096;
	limits();
	call_gates();
	sixteen_bits();
	old_instructions();
}
