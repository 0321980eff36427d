/* SPDX-License-Identifier: Apache-2.0 */
/*
 * real_test.c - proves real mode and the ways between modes: protected to real and back, the interrupt vector table, limits of FFFF, segments kept over
 * the switch ("unreal"), LMSW, single step; protected to compatibility to 64-bit mode and back (SDM vol. 3, 10.9, 21.1).
 */
#include "test/guest/protected.h"

/* What the 16-bit code leaves behind, at 0x7e00: below, its entry is at 0x7f00 and its stack under 0x7000. */
struct left {
	uint16_t cs, ds, ss, sp, flags, value[8];
	uint16_t counts[8]; /* by handler: 0, 1, 4, 5, 6, 13, 0x40, - */
	uint32_t wide[4];
	uint16_t saved_ip[4];
};
#define LEFT ((volatile struct left *)left_at)
static uint32_t left_at = 0x7e00;

extern const uint8_t blob[], blob_end[];
void real_run(uint32_t routine);
uint32_t real_esp;

#define IN_BLOB(label) "(" #label " - blob + 0x8000)"
#define ROUTINE(name) extern const uint8_t name[]
ROUTINE(real_registers);
ROUTINE(real_interrupt);
ROUTINE(real_divide);
ROUTINE(real_limit);
ROUTINE(real_top);
ROUTINE(real_wide);
ROUTINE(real_unreal);
ROUTINE(real_undefined);
ROUTINE(real_step);
ROUTINE(real_lidt);
ROUTINE(real_lmsw);
ROUTINE(real_far);
ROUTINE(handler_0);
ROUTINE(handler_1);
ROUTINE(handler_4);
ROUTINE(handler_5);
ROUTINE(handler_6);
ROUTINE(handler_13);
ROUTINE(handler_40);

/* clang-format off */
__asm__(".text\n.code32\n"
	"real_run:\n"
	"	mov 4(%esp), %eax\n"
	"	mov %eax, 0x7f00\n"
	"	pusha\n"
	"	mov %esp, real_esp\n"
	"	lidt real_idt\n"
	"	ljmp $0x28, $0x8000\n"
	"real_back:\n"
	"	mov $0x10, %eax\n"
	"	mov %eax, %ds; mov %eax, %es; mov %eax, %ss; mov %eax, %fs; mov %eax, %gs\n"
	"	mov real_esp, %esp\n"
	"	call idt_load\n"
	"	popa\n"
	"	ret\n"
	"real_idt: .word 0x3ff; .long 0\n"

	".code16\n"
	"blob:\n" /* at 0x8000; 16-bit protected mode here */
	"	mov $0x30, %ax\n"
	"	mov %ax, %ds; mov %ax, %es; mov %ax, %ss; mov %ax, %gs\n"
	"	mov $0x10, %ax; mov %ax, %fs\n" /* 4 GiB: kept in real mode */
	"	mov %cr0, %eax; and $~1, %eax; mov %eax, %cr0\n"
	"	ljmp $0, $" IN_BLOB(1f) "\n"
	"1:	xor %ax, %ax\n"
	"	mov %ax, %ds; mov %ax, %es; mov %ax, %ss\n"
	"	mov $0x7000, %sp\n"
	"	call *0x7f00\n"
	"	cli\n"
	"	mov %cr0, %eax; or $1, %eax; mov %eax, %cr0\n"
	"	ljmpl $0x08, $real_back\n"

	"real_registers:\n"
	"	mov %cs, %ax; mov %ax, 0x7e00\n"
	"	mov %ds, %ax; mov %ax, 0x7e02\n"
	"	mov %ss, %ax; mov %ax, 0x7e04\n"
	"	mov %sp, 0x7e06\n"
	"	smsw %ax; mov %ax, 0x7e0a\n"
	"	ret\n"
	"real_interrupt:\n"
	"	sti; int $0x40; pushf; pop %ax; mov %ax, 0x7e08\n"
	"	mov $1, %al; add $0x7f, %al; into\n"
	"	movw $5, 0x7d00; movw $9, 0x7d02; mov $11, %ax; bound %ax, 0x7d00\n"
	"	cli; ret\n"
	"real_divide:\n"
	"	xor %cl, %cl; mov $7, %ax; div %cl\n" /* its handler steps over 2 bytes */
	"	ret\n"
	"real_limit:\n"
	"	mov $0xffff, %bx; mov (%bx), %ax\n"  /* 2 bytes: the word at FFFF */
	"	mov $0xffff, %bx; mov (%bx), %al\n"  /* a byte is good */
	"	mov $1, %ax; mov %ax, 0x7e0a\n"
	"	ret\n"
	"real_top:\n" /* FFFF:0010 is 1 MiB */
	"	mov $0xffff, %ax; mov %ax, %es\n"
	"	mov %es:0x10, %ax; mov %ax, 0x7e0a\n"
	"	mov $0x1234, %ax; mov %ax, %es; movw $0xabcd, %es:0x20\n"
	"	ret\n"
	"real_wide:\n"
	"	mov $0x12345678, %eax; mov $0x7d00, %ebx; mov %eax, 4(%ebx)\n"
	"	movzwl 6(%bx), %ecx; shl $16, %ecx; mov %ecx, 0x7e2c\n" /* wide[0] */
	"	mov %sp, %ax; pushal; sub %sp, %ax; mov %ax, 0x7e0a; popal\n"
	"	ret\n"
	"real_unreal:\n"
	"	mov $0x200000, %ebx; movl $0xfeedface, %fs:(%ebx)\n"
	"	ret\n"
	"real_undefined:\n" /* 3 bytes each: the handler steps over them */
	"	lldt %ax; ltr %ax; sldt %ax; lar %ax, %ax; verr %ax\n"
	"	ret\n"
	"real_step:\n"
	"	pushf; pop %ax; or $0x100, %ax; push %ax; popf\n"
	"	nop; nop; pushf; pop %ax; and $~0x100, %ax; push %ax; popf\n"
	"	ret\n"
	"real_lidt:\n" /* the vector table moves to 0x6000 */
	"	xor %si, %si; mov $0x6000, %di; mov $512, %cx; cld; rep movsw\n"
	"	movw $" IN_BLOB(handler_40_moved) ", 0x6100\n"
	"	lidtl " IN_BLOB(2f) "\n"
	"	int $0x40\n"
	"	lidtl " IN_BLOB(3f) "\n"
	"	ret\n"
	"2:	.word 0x3ff; .long 0x6000\n"
	"3:	.word 0x3ff; .long 0\n"
	"handler_40_moved: movw $0x4321, 0x7e0c; iret\n"
	"real_lmsw:\n" /* LMSW sets PE and cannot clear it */
	"	smsw %ax; or $1, %ax; lmsw %ax\n"
	"	smsw %bx; mov %bx, 0x7e0a\n"
	"	and $~1, %ax; lmsw %ax\n"
	"	smsw %bx; mov %bx, 0x7e0c\n"
	"	mov %cr0, %eax; and $~1, %eax; mov %eax, %cr0\n"
	"	smsw %bx; mov %bx, 0x7e0e\n"
	"	ret\n"
	"real_far:\n"
	"	lcall $0x800, $(4f - blob)\n" /* 0800:x is the same place */
	"	mov %ax, 0x7e0a\n"
	"	ret\n"
	"4:	mov %cs, %ax; lret\n"

	"handler_0: incw 0x7e1a; push %bp; mov %sp, %bp; addw $2, 2(%bp); pop %bp; iret\n"
	"handler_1: incw 0x7e1c; iret\n"
	"handler_4: incw 0x7e1e; iret\n"
	"handler_5: incw 0x7e20; push %bp; mov %sp, %bp; addw $4, 2(%bp); pop %bp; iret\n"
	"handler_6: incw 0x7e22; push %bp; mov %sp, %bp; addw $3, 2(%bp); pop %bp; iret\n"
	"handler_13: incw 0x7e24; push %bp; mov %sp, %bp; addw $2, 2(%bp); pop %bp; iret\n"
	"handler_40: incw 0x7e26; pushf; popw 0x7e16; iret\n"
	"blob_end:\n"
	".code32\n");
/* clang-format on */

static uint32_t in_blob(const uint8_t *routine)
{
	return 0x8000 + (uint32_t)(routine - blob);
}

static void run(const uint8_t *routine)
{
	volatile uint8_t *left = (volatile uint8_t *)left_at;
	unsigned i;

	for (i = 0; i < 0x60; i++)
		left[i] = 0;
	real_run(in_blob(routine));
}

static void real_mode(void)
{
	volatile uint32_t *vectors = (volatile uint32_t *)0;
	uint8_t *to = (uint8_t *)0x8000;
	static const struct {
		unsigned vector;
		const uint8_t *handler;
	} handler[] = {{0, handler_0}, {1, handler_1},   {4, handler_4},    {5, handler_5},
		       {6, handler_6}, {13, handler_13}, {0x40, handler_40}};
	unsigned i;

	__asm__("" : "+r"(vectors), "+r"(to));
	for (i = 0; blob + i < blob_end; i++)
		to[i] = blob[i];
	for (i = 0; i < sizeof(handler) / sizeof(handler[0]); i++)
		vectors[handler[i].vector] = in_blob(handler[i].handler);
	run(real_registers);
	check_equal(LEFT->cs, 0, "real mode: CS");
	check_equal(LEFT->ds, 0, "DS");
	check_equal(LEFT->ss, 0, "SS");
	check_equal(LEFT->sp, 0x6ffe, "SP has 16 bits");
	check_equal(LEFT->value[0] & 1, 0, "CR0.PE is clear");
	run(real_interrupt);
	check_equal(LEFT->counts[6], 1, "INT goes through the vector table");
	check_equal(LEFT->value[6] & FLAG_IF, 0, "its handler runs with IF clear");
	check_equal(LEFT->flags & FLAG_IF, FLAG_IF, "IRET restores it");
	check_equal(LEFT->counts[2], 1, "INTO is vector 4");
	check_equal(LEFT->counts[3], 1, "BOUND is vector 5, at the instruction");
	run(real_divide);
	check_equal(LEFT->counts[0], 1, "DIV by 0 is vector 0, at the instruction, without an error code");
	run(real_limit);
	check_equal(LEFT->counts[5], 1, "a word at offset FFFF is vector 13");
	check_equal(LEFT->value[0], 1, "a byte there is not");
	{
		volatile uint16_t *mib = (volatile uint16_t *)0x100000, *low = (volatile uint16_t *)0x12360;

		run(real_top);
		check_equal(LEFT->value[0], *mib, "FFFF:0010 is the second MiB");
		check_equal(*low, 0xabcd, "1234:0020 is 12360");
	}
	run(real_wide);
	check_equal(LEFT->wide[0], 0x12340000, "prefixes give 32-bit operands and addresses");
	check_equal(LEFT->value[0], 32, "PUSHAL takes 32 bytes");
	*(volatile uint32_t *)0x200000 = 0;
	run(real_unreal);
	check_equal(*(volatile uint32_t *)0x200000, 0xfeedface, "a segment loaded in protected mode keeps its limit");
	run(real_undefined);
	check_equal(LEFT->counts[4], 5, "LLDT, LTR, SLDT, LAR and VERR do not exist: vector 6");
	run(real_lidt);
	check_equal(LEFT->value[1], 0x4321, "LIDT moves the vector table");
	run(real_lmsw);
	check_equal(LEFT->value[0] & 1, 1, "LMSW sets PE");
	check_equal(LEFT->value[1] & 1, 1, "and does not clear it");
	check_equal(LEFT->value[2] & 1, 0, "MOV to CR0 does");
	run(real_far);
	check_equal(LEFT->value[0], 0x800, "a far call to another paragraph and back");
	run(real_step);
	check(LEFT->counts[1] >= 1, "TF is vector 1");
}

/* --- long mode --- */

#define CODE64_SELECTOR (FREE_SELECTOR + 0x20) /* 0x60 */
static uint64_t *page_map;
uint32_t long_root, long_cr4 = 0x20;
uint64_t long_probe, long_probed;
extern uint64_t long_result[4];
void long_run(void);
__asm__(".data\n"
	".balign 8\n"
	"long_result: .quad 0, 0, 0, 0\n"
	".text\n.code32\n"
	"long_run:\n"
	"	pusha\n"
	"	mov %cr4, %eax; or long_cr4, %eax; mov %eax, %cr4\n"
	"	mov long_root, %eax; mov %eax, %cr3\n"
	"	mov $0xc0000080, %ecx; rdmsr; or $0x100, %eax; wrmsr\n"
	"	rdmsr; and $0x400, %eax; mov %eax, long_result\n" /* LMA before PG */
	"	mov %cr0, %eax; or $0x80000000, %eax; mov %eax, %cr0\n"
	"	jmp 1f\n"
	"1:	rdmsr; and $0x400, %eax; mov %eax, long_result+4\n"          /* and with it: compatibility mode now */
	"	mov $0x7fffffff, %eax; inc %eax; mov %eax, long_result+24\n" /* INC EAX: 40h is no prefix here */
	"	lcall $0x60, $2f\n"
	"	mov %cr0, %eax; and $0x7fffffff, %eax; mov %eax, %cr0\n"
	"	jmp 4f\n"
	"4:	mov $0xc0000080, %ecx; rdmsr; mov %eax, %edx; and $0x400, %edx; mov %edx, long_result+28\n"
	"	and $~0x100, %eax; xor %edx, %edx; wrmsr\n"
	"	mov %cr4, %eax; and $~0x1020, %eax; mov %eax, %cr4\n"
	"	popa\n"
	"	ret\n"
	".code64\n"
	"2:	movabs $0x123456789abcdef0, %r15\n"
	"	lea (%r15,%r15), %rax; mov %rax, long_result+8(%rip)\n"
	"	mov %cs, %eax; mov %rax, long_result+16(%rip)\n"
	"	mov long_probe(%rip), %rax; mov (%rax), %rax; mov %rax, long_probed(%rip)\n"
	"	lretl\n"
	".code32\n");

static void pg_without_pae(void *unused)
{
	(void)unused;
	wrmsr(0xc0000080, rdmsr(0xc0000080) | 0x100);
	write_cr0(read_cr0() | 0x80000000);
}

static void long_mode(void)
{
	uint64_t *pointers = page_allocate();
	unsigned i;

	if (!cpu_has(0x80000001, 3, 29)) {
		skip("long mode");
		return;
	}
	page_map = page_allocate();
	page_map[0] = (uint32_t)pointers | 7;
	for (i = 0; i < 4; i++) {
		uint64_t *directory = page_allocate();
		unsigned j;

		pointers[i] = (uint32_t)directory | 7;
		for (j = 0; j < 512; j++)
			directory[j] = (uint64_t)i << 30 | (uint64_t)j << 21 | 0x87;
	}
	long_root = (uint32_t)page_map;
	gdt[CODE64_SELECTOR / 8] = 0x00af9b000000ffff;
	*(volatile uint64_t *)0x300000 = 0x1122334455667788;
	long_probe = 0x300000;
	for (i = 0; i < 3; i++) {
		long_result[0] = long_result[1] = long_result[2] = long_result[3] = 0;
		long_run();
		check_equal((uint32_t)long_result[0], 0, "EFER.LMA is clear before paging is on");
		check_equal(long_result[0] >> 32, 0x400, "and set with it");
		check_equal((uint32_t)long_result[3], 0x80000000, "compatibility mode runs 32-bit code");
		check_equal(long_result[1], 0x2468acf13579bde0, "64-bit mode has 64-bit registers");
		check_equal(long_result[2], CODE64_SELECTOR, "through its code segment");
		check_equal(long_result[3] >> 32, 0, "EFER.LMA is clear when paging is off again");
		check_equal(long_probed, 0x1122334455667788, "4-level paging");
	}
	if (cpu_has(7, 2, 16)) {
		uint64_t *top = page_allocate();

		top[0] = top[0x80] = (uint32_t)page_map | 7;
		long_root = (uint32_t)top;
		long_cr4 = 0x1020;                            /* LA57, PAE */
		long_probe = UINT64_C(0x80) << 48 | 0x300000; /* 56 bits: canonical with five levels only */
		long_probed = 0;
		long_run();
		check_equal(long_probed, 0x1122334455667788, "5-level paging");
		check_equal(top[0x80] & 0x20, 0x20, "has A in its fifth level");
		long_cr4 = 0x20;
		long_root = (uint32_t)page_map;
		long_probe = 0x300000;
	} else {
		skip("5-level paging");
	}
	check_trap(trap_run(pg_without_pae, NULL), GP, 0, "CR0.PG with EFER.LME and without CR4.PAE: #GP(0)");
	wrmsr(0xc0000080, rdmsr(0xc0000080) & ~0x100ull);
}

void guest_main(void)
{
	real_mode();
	long_mode();
	real_mode();
}
