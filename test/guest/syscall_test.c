/* SPDX-License-Identifier: Apache-2.0 */
/* syscall_test.c - proves SYSCALL, SYSRET, SYSENTER, SYSEXIT, SWAPGS and IRET between 64-bit, compatibility and user mode. */
#include "test/guest/long.h"

#define MSR_STAR 0xc0000081
#define MSR_LSTAR 0xc0000082
#define MSR_CSTAR 0xc0000083
#define MSR_SFMASK 0xc0000084
#define MSR_FS_BASE 0xc0000100
#define MSR_GS_BASE 0xc0000101
#define MSR_KERNEL_GS 0xc0000102

static struct {
	uint64_t rcx, r11, cs, ss, rflags, rsp;
} seen;

/* Where SYSCALL lands: notes what it finds and ends the run. */
__asm__(".text\n"
	"syscall_entry:\n"
	"	mov %rcx, seen(%rip)\n"
	"	mov %r11, seen+8(%rip)\n"
	"	mov %cs, %rax; mov %rax, seen+16(%rip)\n"
	"	mov %ss, %rax; mov %rax, seen+24(%rip)\n"
	"	mov %rsp, seen+40(%rip)\n"
	"	lea syscall_stack+4096(%rip), %rsp\n"
	"	pushfq; pop %rax; mov %rax, seen+32(%rip)\n"
	"	int $0x81\n"
	"syscall_return:\n" /* to user mode, with R11 and RCX as they are; RSP stays the kernel's */
	"	mov seen+40(%rip), %rsp\n"
	"	sysretq\n"
	"syscall_return32:\n"
	"	mov seen+40(%rip), %rsp\n"
	"	sysretl\n"
	"sysenter_entry:\n"
	"	mov %cs, %rax; mov %rax, seen+16(%rip)\n"
	"	mov %ss, %rax; mov %rax, seen+24(%rip)\n"
	"	mov %rsp, seen+40(%rip)\n"
	"	pushfq; pop %rax; mov %rax, seen+32(%rip)\n"
	"	int $0x81\n"
	"sysenter_return:\n"
	"	mov sysexit_to(%rip), %rdx\n"
	"	mov sysexit_rsp(%rip), %rcx\n"
	"	rex.w sysexit\n"
	".bss\n"
	"syscall_stack: .skip 4096\n"
	".text\n");
extern uint8_t syscall_entry[], syscall_return[], syscall_return32[], sysenter_entry[], sysenter_return[], syscall_stack[];
uint64_t sysexit_to, sysexit_rsp;

CODE(user_syscall, "mov $0x11223344, %r11; syscall; pushfq; pop %rax; int $0x80");
CODE(user_sysenter, "sysenter; int $0x80");
CODE(user_ends, "int $0x80");
CODE(user_32, ".code32; mov $0x12345678, %eax; inc %eax; int $0x80; .code64"); /* INC: a REX prefix in 64-bit mode */
CODE(user_syscall32, ".code32; syscall; int $0x80; .code64");
CODE(user_hlt, "hlt");
CODE(user_swapgs, "swapgs");
CODE(user_iret_kernel, "mov %rsp, %rbx; push $0x18; push %rbx; pushfq; push $0x10; lea 0(%rip), %rax; push %rax; iretq");

static uint64_t stack;

static int user(uint64_t code, uint64_t cs, uint64_t rflags)
{
	struct user_start start = {.rip = code, .cs = cs, .rflags = rflags, .rsp = stack, .ss = USER_SS};

	return user_run(&start);
}

static void go(void *at)
{
	__asm__ volatile("mov %0, %%rcx; mov $0x246, %%r11; jmp *%1"
			 :
			 : "r"(((uint64_t *)at)[0]), "r"(((uint64_t *)at)[1])
			 : "rcx", "r11");
}

static void syscall_sysret(void)
{
	uint64_t code = user_code(user_syscall, user_syscall_end), code32 = user_code(user_32, user_32_end);
	uint64_t ends = user_code(user_ends, user_ends_end), jump[2];
	const struct frame *trap = &this_cpu()->trap;
	int vector;

	wrmsr(MSR_STAR, (uint64_t)0x20 << 48 | (uint64_t)KERNEL_CS << 32);
	wrmsr(MSR_LSTAR, (uint64_t)syscall_entry);
	wrmsr(MSR_SFMASK, FLAG_DF | FLAG_IF | FLAG_CF);
	vector = user(code, USER_CS64, 0x2 | FLAG_DF | FLAG_CF | FLAG_ZF);
	check_trap(vector, 0x81, 0, "SYSCALL lands at LSTAR");
	check_equal(seen.rcx, code + (uint64_t)(user_syscall_end - user_syscall) - 4, "RCX is the address behind SYSCALL");
	check_equal(seen.r11, 0x2 | FLAG_DF | FLAG_CF | FLAG_ZF, "R11 is RFLAGS");
	check_equal(seen.rflags, 0x2 | FLAG_ZF, "RFLAGS lost the bits of SFMASK");
	check_equal(seen.cs, KERNEL_CS, "CS is STAR's");
	check_equal(seen.ss, KERNEL_SS, "SS is STAR's plus 8");
	check_equal(seen.rsp, stack, "RSP is the user's");

	seen.rsp = stack;
	jump[0] = ends;
	jump[1] = (uint64_t)syscall_return;
	vector = trap_run(go, jump);
	check_trap(vector, 0x80, 0, "SYSRET to 64-bit user mode");
	check_equal(trap->cs, USER_CS64, "CS is STAR's plus 16, RPL 3");
	check_equal(trap->ss, USER_SS, "SS is STAR's plus 8, RPL 3");
	check_equal(trap->rflags & ~(uint64_t)FLAG_RF, 0x246, "RFLAGS is R11");
	jump[0] = code32;
	jump[1] = (uint64_t)syscall_return32;
	vector = trap_run(go, jump);
	check_trap(vector, 0x80, 0, "SYSRET to compatibility mode");
	check_equal(trap->cs, USER_CS32, "CS is STAR's, RPL 3");
	check_equal(trap->rax, 0x12345679, "and 32-bit code runs");

	wrmsr(0xc0000080, rdmsr(0xc0000080) & ~1ull);
	check_trap(user(code, USER_CS64, 2), UD, 0, "SYSCALL without EFER.SCE: #UD");
	wrmsr(0xc0000080, rdmsr(0xc0000080) | 1);
	wrmsr(MSR_CSTAR, (uint64_t)syscall_entry);
	vector = user(user_code(user_syscall32, user_syscall32_end), USER_CS32, 2);
	{
		uint32_t out[4];

		cpuid(0, 0, out);
		if (out[1] == 0x756e6547) /* Genu: Intel has SYSCALL in 64-bit mode only */
			check_trap(vector, UD, 0, "SYSCALL in compatibility mode on Intel: #UD");
		else
			check_trap(vector, 0x81, 0, "SYSCALL in compatibility mode on AMD lands at CSTAR");
	}
}

static void sysenter_sysexit(void)
{
	uint64_t code = user_code(user_sysenter, user_sysenter_end), ends = user_code(user_ends, user_ends_end), jump[2];
	const struct frame *trap = &this_cpu()->trap;
	uint32_t out[4];
	int vector;

	cpuid(0, 0, out);
	wrmsr(0x174, 0);
	if (out[1] != 0x756e6547) {
		check_trap(user(code, USER_CS64, 2), UD, 0, "SYSENTER in long mode on AMD: #UD");
		return;
	}
	check_trap(user(code, USER_CS64, 2), GP, 0, "SYSENTER with a null SYSENTER_CS: #GP(0)");
	/* SYSENTER's segments: CS, +8 SS, and for SYSEXIT +16 CS32, +24 SS32, +32 CS64, +40 SS64. */
	gdt[FREE_SELECTOR / 8] = gdt[KERNEL_CS / 8];
	gdt[FREE_SELECTOR / 8 + 1] = gdt[KERNEL_SS / 8];
	gdt[FREE_SELECTOR / 8 + 2] = gdt[USER_CS32 / 8];
	gdt[FREE_SELECTOR / 8 + 3] = gdt[USER_SS / 8];
	gdt[FREE_SELECTOR / 8 + 4] = gdt[USER_CS64 / 8];
	gdt[FREE_SELECTOR / 8 + 5] = gdt[USER_SS / 8];
	wrmsr(0x174, FREE_SELECTOR);
	wrmsr(0x175, (uint64_t)syscall_stack + 4096);
	wrmsr(0x176, (uint64_t)sysenter_entry);
	vector = user(code, USER_CS64, 0x202);
	check_trap(vector, 0x81, 0, "SYSENTER lands at SYSENTER_EIP");
	check_equal(seen.cs, FREE_SELECTOR, "CS is SYSENTER_CS");
	check_equal(seen.ss, FREE_SELECTOR + 8, "SS is 8 behind");
	check_equal(seen.rsp, (uint64_t)syscall_stack + 4096, "RSP is SYSENTER_ESP");
	check_equal(seen.rflags & FLAG_IF, 0, "IF is clear");
	sysexit_to = ends;
	sysexit_rsp = stack;
	jump[0] = 0;
	jump[1] = (uint64_t)sysenter_return;
	vector = trap_run(go, jump);
	check_trap(vector, 0x80, 0, "SYSEXIT to 64-bit user mode");
	check_equal(trap->cs, FREE_SELECTOR + 32 + 3, "CS is 32 behind, RPL 3");
	check_equal(trap->ss, FREE_SELECTOR + 40 + 3, "SS is 40 behind, RPL 3");
	check_equal(trap->rsp, stack, "RSP is RCX");
}

static void swapgs(void)
{
	uint64_t value;

	wrmsr(MSR_GS_BASE, 0x1111);
	wrmsr(MSR_KERNEL_GS, 0xffff800000002222);
	__asm__ volatile("swapgs" : : : "memory");
	check_equal(rdmsr(MSR_GS_BASE), 0xffff800000002222, "SWAPGS brings in KERNEL_GS_BASE");
	check_equal(rdmsr(MSR_KERNEL_GS), 0x1111, "and keeps GS's base there");
	wrmsr(MSR_GS_BASE, (uint64_t)&sysexit_to);
	sysexit_to = 0x77;
	__asm__ volatile("mov %%gs:0, %0" : "=r"(value));
	check_equal(value, 0x77, "GS's base counts");
	check_trap(user(user_code(user_swapgs, user_swapgs_end), USER_CS64, 2), GP, 0, "SWAPGS in user mode: #GP(0)");
	if (HAS_FSGSBASE) {
		write_cr4(read_cr4() | 1 << 16);
		__asm__ volatile("wrfsbase %1; rdfsbase %0" : "=r"(value) : "r"(0x123456789a));
		check_equal(value, 0x123456789a, "WRFSBASE and RDFSBASE");
		check_equal(rdmsr(MSR_FS_BASE), 0x123456789a, "the MSR says the same");
		write_cr4(read_cr4() & ~(1ull << 16));
	} else {
		skip("FSGSBASE");
	}
}

static void iret_to(void *frame)
{
	uint64_t *f = frame;

	__asm__ volatile("push %0; push %1; push %2; push %3; push %4; iretq"
			 :
			 : "r"(f[4]), "r"(f[3]), "r"(f[2]), "r"(f[1]), "r"(f[0]));
}

static void iret(void)
{
	uint64_t ends = user_code(user_ends, user_ends_end), code32 = user_code(user_32, user_32_end);
	const struct frame *trap = &this_cpu()->trap;
	uint64_t frame[5] = {ends, USER_CS64, 0x2, stack, USER_SS};

	check_trap(trap_run(iret_to, frame), 0x80, 0, "IRET to user mode");
	check_equal(trap->rsp, stack, "with its stack");
	check_trap(user(code32, USER_CS32, 2), NO_TRAP, 0, "IRET to compatibility mode");
	check_equal(trap->rax, 0x12345679, "and 32-bit code runs");
	frame[4] = KERNEL_SS;
	check_trap(trap_run(iret_to, frame), GP, KERNEL_SS, "IRET with SS of another privilege: #GP(selector)");
	frame[4] = 0;
	check_trap(trap_run(iret_to, frame), GP, 0, "IRET to CPL 3 with a null SS: #GP(0)");
	frame[4] = USER_SS;
	frame[1] = USER_SS;
	check_trap(trap_run(iret_to, frame), GP, USER_SS & ~3, "IRET to data: #GP(selector)");
	frame[1] = KERNEL_CS | 3;
	check_trap(trap_run(iret_to, frame), GP, KERNEL_CS, "IRET to RPL 3 with code of DPL 0: #GP(selector)");
	frame[1] = 0;
	check_trap(trap_run(iret_to, frame), GP, 0, "IRET to a null CS: #GP(0)");
	frame[1] = USER_CS64;
	frame[0] = 0x8000000000000000;
	check_trap(trap_run(iret_to, frame), GP, 0, "IRET to a non-canonical address: #GP(0)");
	frame[0] = ends;
	frame[2] = 2 | FLAG_NT;
	check_trap(trap_run(iret_to, frame), 0x80, 0, "IRET may set NT");
	check((trap->rflags & FLAG_NT) != 0, "and it is there");
	check_trap(user(user_code(user_hlt, user_hlt_end), USER_CS64, 2), GP, 0, "HLT in user mode: #GP(0)");
	check_trap(user(user_code(user_iret_kernel, user_iret_kernel_end), USER_CS64, 2), GP, KERNEL_CS,
		   "IRET from user mode to more privilege: #GP(selector)");
}

static void iret_nt(void *unused)
{
	(void)unused;
	__asm__ volatile("pushfq; orq $0x4000, (%%rsp); popfq; iretq" : : : "memory");
}

void guest_main(void)
{
	stack = user_stack();
	idt[0x81].type = 0x8e;
	syscall_sysret();
	sysenter_sysexit();
	swapgs();
	iret();
	check_trap(trap_run(iret_nt, NULL), GP, 0, "IRET with NT in long mode: #GP(0)");
}
