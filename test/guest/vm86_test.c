/* SPDX-License-Identifier: Apache-2.0 */
/* vm86_test.c - proves VM86 mode: entry and exit, 16-bit segments, what IOPL guards, interrupts and their frames, VME (SDM vol. 3, 21). */
#include "test/guest/protected.h"

#define CODE_SEGMENT 0x1000u /* linear 0x10000 */
#define STACK_SEGMENT 0x2000u

/* In 16-bit code: INT 0x80 leaves (with IOPL 3: its gate has DPL 3). */
#define V86(name, text) CODE(name, ".code16\n" text "\n.code32")
V86(v86_segments, "mov %cs, %ax; mov %ds, %bx; mov %ss, %cx; mov $0x1234, %dx; mov %dx, %fs; mov %fs, %si; int $0x80");
V86(v86_memory, "movw $0xbeef, 0x10; mov 0x10, %ax; push $0x55; pop %bx; mov %sp, %cx; int $0x80");
V86(v86_wide, "mov $0x12345678, %eax; mov $0x20, %ebx; mov %eax, (%ebx); mov (%bx), %cx; int $0x80");
V86(v86_limit, "mov $0xffff, %bx; mov (%bx), %ax; int $0x80");
V86(v86_limit32, "mov $0x10000, %ebx; mov (%ebx), %al; int $0x80");
V86(v86_cli, "cli; int $0x80");
V86(v86_pushf, "pushf; pop %ax; int $0x80");
V86(v86_popf, "push $0x3202; popf; int $0x80");
V86(v86_int21, "int $0x21; hlt");
V86(v86_iret, "pushf; push %cs; push $1f - v86_iret; iret; hlt\n1: int $0x80");
V86(v86_hlt, "hlt");
V86(v86_mov_cr, "mov %cr0, %eax");
V86(v86_out, "mov $0, %al; out %al, $0x80; int $0x80");
V86(v86_lgdt, "lgdt 0");
V86(v86_far, "ljmp $0x1000, $1f - v86_far\n nop; nop\n1: mov $0x77, %ax; int $0x80");
V86(v86_lar, "lar %ax, %ax");
V86(v86_sti, "sti; pushf; pop %ax; int $0x80");
/* Its interrupt handler at 0x1000:0x200 for VME's redirection. */
V86(v86_handler, "mov $0x4242, %di; iret");

static int run(const uint8_t *begin, const uint8_t *end, uint32_t flags)
{
	struct user_start start = {.eip = 0,
				   .cs = CODE_SEGMENT,
				   .eflags = 2 | FLAG_VM | flags,
				   .esp = 0x1000,
				   .ss = STACK_SEGMENT,
				   .vm_ds = 0x3000,
				   .vm_es = 0x3100,
				   .vm_fs = 0x3200,
				   .vm_gs = 0x3300};
	uint8_t *to = (uint8_t *)(CODE_SEGMENT << 4);
	unsigned i;

	__asm__("" : "+r"(to));
	for (i = 0; begin + i < end; i++)
		to[i] = begin[i];
	return user_run(&start);
}
#define RUN(name, flags) run(name, name##_end, flags)
#define IOPL3 0x3000u

static void basics(void)
{
	check_trap(RUN(v86_segments, IOPL3), NO_TRAP, 0, "IRET enters VM86, INT leaves it");
	check_equal(trap.eax & 0xffff, CODE_SEGMENT, "CS is a paragraph");
	check_equal(trap.ebx & 0xffff, 0x3000, "so is DS");
	check_equal(trap.ecx & 0xffff, STACK_SEGMENT, "and SS");
	check_equal(trap.esi & 0xffff, 0x1234, "any value may be loaded");
	check_equal(trap.eflags & FLAG_VM, FLAG_VM, "the saved EFLAGS has VM");
	check_equal(trap.vm_fs, 0x1234, "FS is in the frame");
	check_equal(trap.vm_ds, 0x3000, "so is DS");
	check_equal(trap.vm_es, 0x3100, "and ES");
	check_equal(trap.vm_gs, 0x3300, "and GS");
	check_equal(trap.ss, STACK_SEGMENT, "and SS");
	check_equal(trap.ds, 0, "DS itself is null in the handler");
	check_trap(RUN(v86_memory, IOPL3), NO_TRAP, 0, "memory and stack");
	check_equal(trap.eax & 0xffff, 0xbeef, "addresses are segment * 16 + offset");
	check_equal(*(volatile uint16_t *)0x30010, 0xbeef, "in linear memory");
	check_equal(trap.ebx & 0xffff, 0x55, "the stack has 16-bit words");
	check_trap(RUN(v86_wide, IOPL3), NO_TRAP, 0, "prefixes give 32 bits");
	check_equal(trap.ecx & 0xffff, 0x5678, "of operands and addresses");
	check_trap(RUN(v86_far, IOPL3), NO_TRAP, 0, "a far jump");
	check_equal(trap.eax & 0xffff, 0x77, "goes where it says");
	check_trap(RUN(v86_limit, IOPL3), GP, 0, "a word at offset FFFF: #GP(0)");
	check_trap(RUN(v86_limit32, IOPL3), GP, 0, "an offset of 10000: #GP(0)");
}

static void guarded(void)
{
	check_trap(RUN(v86_cli, IOPL3), NO_TRAP, 0, "CLI with IOPL 3");
	check_trap(RUN(v86_cli, 0), GP, 0, "CLI with IOPL 0: #GP(0)");
	check_trap(RUN(v86_pushf, 0), GP, 0, "PUSHF with IOPL 0: #GP(0)");
	check_trap(RUN(v86_popf, 0), GP, 0, "POPF with IOPL 0: #GP(0)");
	check_trap(RUN(v86_iret, 0), GP, 0, "IRET with IOPL 0: #GP(0)");
	check_trap(RUN(v86_int21, 0), GP, 0, "INT with IOPL 0: #GP(0)");
	check_trap(RUN(v86_int21, IOPL3), GP, 0x21 * 8 + 2, "INT with IOPL 3 through a gate of DPL 0: #GP(gate)");
	check_trap(RUN(v86_iret, IOPL3), NO_TRAP, 0, "IRET with IOPL 3 stays in VM86");
	check_trap(RUN(v86_hlt, IOPL3), GP, 0, "HLT: #GP(0)");
	check_trap(RUN(v86_mov_cr, IOPL3), GP, 0, "MOV from CR0: #GP(0)");
	check_trap(RUN(v86_lgdt, IOPL3), GP, 0, "LGDT: #GP(0)");
	check_trap(RUN(v86_lar, IOPL3), UD, 0, "LAR does not exist: #UD");
	check_trap(RUN(v86_out, IOPL3), GP, 0, "OUT asks the bitmap even with IOPL 3: #GP(0)");
	tss.bitmap[0x80 / 8] &= 0xfe;
	check_trap(RUN(v86_out, 0), GP, 0, "and INT 80h with IOPL 0 is #GP(0), behind the OUT");
	check_equal(trap.eip, 4, "which passed");
	tss.bitmap[0x80 / 8] = 0xff;
}

/* VME: CR4 bit 0. Software interrupts go to the task's own table where the TSS's redirection bit is clear; VIF stands in for IF. */
static void extensions(void)
{
	uint32_t i;
	uint8_t *handler = (uint8_t *)((CODE_SEGMENT << 4) + 0x200);
	volatile uint32_t *vectors = (volatile uint32_t *)0;

	if (!cpu_has(1, 3, 1)) {
		skip("VME");
		return;
	}
	__asm__("" : "+r"(handler), "+r"(vectors));
	for (i = 0; v86_handler + i < v86_handler_end; i++)
		handler[i] = v86_handler[i];
	vectors[0x21] = CODE_SEGMENT << 16 | 0x200;
	write_cr4(read_cr4() | 1);
	for (i = 0; i < 32; i++)
		tss.redirection[i] = 0xff;
	check_trap(RUN(v86_int21, 0), GP, 0, "VME: an INT whose redirection bit is set, with IOPL 0: #GP(0)");
	tss.redirection[0x21 / 8] = (uint8_t) ~(1u << (0x21 & 7));
	check_trap(RUN(v86_int21, IOPL3), GP, 0, "VME: a redirected INT returns to the HLT behind itself");
	check_equal(trap.eip, 2, "with IP there");
	check_equal(trap.edi & 0xffff, 0x4242, "after the handler in the task's own memory has run");
	check_trap(RUN(v86_cli, FLAG_VIF), GP, 0, "VME: CLI with IOPL 0 works");
	check_equal(trap.eip, 1, "the fault is INT 80h's behind it");
	check_equal(trap.eflags & FLAG_VIF, 0, "and clears VIF, not IF");
	check_trap(RUN(v86_sti, 0), GP, 0, "VME: STI with IOPL 0 works");
	check_equal(trap.eflags & FLAG_VIF, FLAG_VIF, "and sets VIF");
	check_equal(trap.eax & 0x3200, 0x3200, "PUSHF shows VIF as IF and IOPL 3");
	check_trap(RUN(v86_sti, FLAG_VIP), GP, 0, "VME: STI with VIP set: #GP(0)");
	check_equal(trap.eip, 0, "at the STI");
	write_cr4(read_cr4() & ~1ul);
}

void guest_main(void)
{
	basics();
	guarded();
	extensions();
}
