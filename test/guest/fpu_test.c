/* SPDX-License-Identifier: Apache-2.0 */
/* fpu_test.c - proves #NM, #MF, #XM, #AC and #UD of x87, SSE and AVX by CR0, CR4, XCR0, and lazy switching (SDM vol. 3, 13 and 2.5). */
#include "test/guest/long.h"

#define CR0_MP 2u
#define CR0_EM 4u
#define CR0_TS 8u
#define CR0_NE 0x20u
#define CR0_AM 0x40000u
#define CR4_OSFXSR 0x200u
#define CR4_OSXMMEXCPT 0x400u
#define CR4_OSXSAVE 0x40000u

static uint64_t at_rip;

static void x87(void *unused)
{
	(void)unused;
	__asm__ volatile("fnop");
}
static void sse(void *unused)
{
	(void)unused;
	__asm__ volatile("xorps %%xmm0, %%xmm0" : : : "memory");
}
static void mmx(void *unused)
{
	(void)unused;
	__asm__ volatile("pxor %%mm0, %%mm0; emms" : : : "memory");
}
static void avx(void *unused)
{
	(void)unused;
	__asm__ volatile("vxorps %%ymm0, %%ymm0, %%ymm0" : : : "memory");
}
static void fwait(void *unused)
{
	(void)unused;
	__asm__ volatile("fwait");
}
static void integer_sse(void *unused)
{
	(void)unused;
	__asm__ volatile("sfence; lfence; prefetcht0 (%%rsp)" : : : "memory");
}

static void switches(void)
{
	uint64_t cr0 = read_cr0(), cr4 = read_cr4();

	write_cr0(cr0 | CR0_TS);
	check_trap(trap_run(x87, NULL), NM, 0, "CR0.TS: x87 raises #NM");
	check_trap(trap_run(sse, NULL), NM, 0, "CR0.TS: SSE raises #NM");
	check_trap(trap_run(mmx, NULL), NM, 0, "CR0.TS: MMX raises #NM");
	check_trap(trap_run(integer_sse, NULL), NO_TRAP, 0, "CR0.TS: fences and prefetches do not");
	check_trap(trap_run(fwait, NULL), NM, 0, "CR0.TS with MP: FWAIT raises #NM");
	write_cr0((cr0 | CR0_TS) & ~(uint64_t)CR0_MP);
	check_trap(trap_run(fwait, NULL), NO_TRAP, 0, "CR0.TS without MP: FWAIT does not");
	__asm__ volatile("clts");
	check_trap(trap_run(x87, NULL), NO_TRAP, 0, "CLTS clears TS");
	write_cr0(cr0 | CR0_EM);
	check_trap(trap_run(x87, NULL), NM, 0, "CR0.EM: x87 raises #NM");
	check_trap(trap_run(sse, NULL), UD, 0, "CR0.EM: SSE raises #UD");
	check_trap(trap_run(mmx, NULL), UD, 0, "CR0.EM: MMX raises #UD");
	write_cr0(cr0);
	write_cr4(cr4 & ~(uint64_t)CR4_OSFXSR);
	check_trap(trap_run(sse, NULL), UD, 0, "without CR4.OSFXSR SSE raises #UD");
	check_trap(trap_run(mmx, NULL), NO_TRAP, 0, "MMX does not mind");
	write_cr4(cr4);
}

static void divide_x87(void *unused)
{
	uint16_t control = 0x37b; /* divide by zero unmasked */

	(void)unused;
	__asm__ volatile("fninit; fldcw %1; fld1; fldz\n"
			 "fdivrp %%st, %%st(1)\n" /* 1 / 0: noted, not yet raised */
			 "mov $1, %%eax\n"
			 "lea 1f(%%rip), %%rcx; mov %%rcx, %0\n"
			 "1: fwait"
			 : "=m"(at_rip)
			 : "m"(control)
			 : "rax", "rcx", "memory");
}
static void divide_sse(void *mxcsr)
{
	uint32_t value = (uint32_t)(uint64_t)mxcsr;

	__asm__ volatile("ldmxcsr %1\n"
			 "pcmpeqd %%xmm0, %%xmm0; pslld $25, %%xmm0; psrld $2, %%xmm0\n" /* 1.0f in each lane */
			 "xorps %%xmm1, %%xmm1\n"
			 "lea 1f(%%rip), %%rcx; mov %%rcx, %0\n"
			 "1: divps %%xmm1, %%xmm0"
			 : "=m"(at_rip)
			 : "m"(value)
			 : "rcx", "memory");
}
static void ldmxcsr_reserved(void *unused)
{
	uint32_t value = 0x10000000;

	(void)unused;
	__asm__ volatile("ldmxcsr %0" : : "m"(value));
}

static void numeric(void)
{
	uint64_t cr4 = read_cr4();
	uint32_t mxcsr, normal = 0x1f80;
	uint16_t status;

	check_trap(trap_run(divide_x87, NULL), MF, 0, "an unmasked x87 exception is raised at the next x87 instruction: #MF");
	check_equal(this_cpu()->trap.rip, at_rip, "whose address is RIP");
	__asm__ volatile("fnstsw %0" : "=m"(status));
	check_equal(status & 0x8084, 0x8084, "the status word has ES, B and ZE");
	__asm__ volatile("fnclex; fninit");
	check_trap(trap_run(x87, NULL), NO_TRAP, 0, "FNCLEX ends it");
	check_trap(trap_run(divide_sse, (void *)0x1d80), XM, 0, "an unmasked SSE exception: #XM");
	check_equal(this_cpu()->trap.rip, at_rip, "at the instruction itself");
	__asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
	check_equal(mxcsr, 0x1d84, "MXCSR has ZE");
	write_cr4(cr4 & ~(uint64_t)CR4_OSXMMEXCPT);
	check_trap(trap_run(divide_sse, (void *)0x1d80), UD, 0, "without CR4.OSXMMEXCPT: #UD");
	write_cr4(cr4);
	check_trap(trap_run(ldmxcsr_reserved, NULL), GP, 0, "a reserved bit of MXCSR: #GP(0)");
	__asm__ volatile("ldmxcsr %0" : : "m"(normal));
	check_trap(trap_run(divide_sse, (void *)0x1f80), NO_TRAP, 0, "masked, it is only noted");
}

static void xsetbv(void *value)
{
	__asm__ volatile("xsetbv" : : "a"((uint32_t)(uint64_t)value), "d"(0), "c"(0));
}
static void xgetbv(void *unused)
{
	(void)unused;
	__asm__ volatile("xgetbv" : : "c"(0) : "rax", "rdx");
}
static void xgetbv_bad(void *unused)
{
	(void)unused;
	__asm__ volatile("xgetbv" : : "c"(5) : "rax", "rdx");
}

static void extended(void)
{
	uint64_t cr4 = read_cr4();
	uint32_t out[4], low, high;

	if (!HAS_XSAVE) {
		skip("XSAVE");
		return;
	}
	check_trap(trap_run(xgetbv, NULL), UD, 0, "XGETBV without CR4.OSXSAVE: #UD");
	check(!cpu_has(1, 2, 27), "CPUID.OSXSAVE is clear");
	write_cr4(cr4 | CR4_OSXSAVE);
	check(cpu_has(1, 2, 27), "CPUID.OSXSAVE follows CR4");
	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	check_equal(low, 1, "XCR0 starts as x87 alone");
	check_trap(trap_run(xsetbv, (void *)0), GP, 0, "XCR0 without x87: #GP(0)");
	check_trap(trap_run(xsetbv, (void *)5), GP, 0, "XCR0 with AVX and without SSE: #GP(0)");
	check_trap(trap_run(xsetbv, (void *)0x80000001), GP, 0, "XCR0 with a reserved bit: #GP(0)");
	check_trap(trap_run(xgetbv_bad, NULL), GP, 0, "XGETBV of a register that does not exist: #GP(0)");
	if (HAS_AVX) {
		check_trap(trap_run(avx, NULL), UD, 0, "AVX that XCR0 does not enable: #UD");
		xsetbv((void *)7);
		check_trap(trap_run(avx, NULL), NO_TRAP, 0, "AVX that XCR0 enables");
		cpuid(13, 0, out);
		check_equal(out[1], 832, "CPUID.D: x87, SSE and AVX take 832 bytes");
		write_cr0(read_cr0() | CR0_TS);
		check_trap(trap_run(avx, NULL), NM, 0, "CR0.TS: AVX raises #NM");
		__asm__ volatile("clts");
		write_cr4(cr4);
		check_trap(trap_run(avx, NULL), UD, 0, "AVX without CR4.OSXSAVE: #UD");
	} else {
		skip("AVX");
	}
	write_cr4(cr4);
}

CODE(user_misaligned, "mov 1(%rsp), %rax; int $0x80");
CODE(user_misaligned_sse, "movups 1(%rsp), %xmm0; movsd 1(%rsp), %xmm0; int $0x80");
CODE(user_misaligned_x87, "fldl 1(%rsp); int $0x80");

static int user(const uint8_t *begin, const uint8_t *end, uint64_t rflags, uint64_t stack)
{
	struct user_start start = {
		.rip = user_code(begin, end), .cs = USER_CS64, .rflags = rflags, .rsp = stack - 64, .ss = USER_SS};

	return user_run(&start);
}
static void misaligned(void *at)
{
	__asm__ volatile("pushfq; orq $0x40000, (%%rsp); popfq; mov 1(%0), %%rax; pushfq; andq $~0x40000, (%%rsp); popfq"
			 :
			 : "r"(at)
			 : "rax", "memory");
}

static void alignment(void)
{
	uint64_t cr0 = read_cr0(), stack = user_stack();

	write_cr0(cr0 | CR0_AM);
	check_trap(user(user_misaligned, user_misaligned_end, 2, stack), NO_TRAP, 0, "misaligned without EFLAGS.AC");
	check_trap(user(user_misaligned, user_misaligned_end, 2 | FLAG_AC, stack), AC, 0,
		   "misaligned with CR0.AM and EFLAGS.AC in user mode: #AC(0)");
	check_trap(user(user_misaligned_sse, user_misaligned_sse_end, 2 | FLAG_AC, stack), AC, 0, "misaligned MOVSD: #AC(0)");
	check_trap(user(user_misaligned_x87, user_misaligned_x87_end, 2 | FLAG_AC, stack), AC, 0, "misaligned FLD: #AC(0)");
	check_trap(trap_run(misaligned, page_allocate()), NO_TRAP, 0, "the supervisor is never checked");
	write_cr0(cr0);
	check_trap(user(user_misaligned, user_misaligned_end, 2 | FLAG_AC, stack), NO_TRAP, 0, "misaligned without CR0.AM");
}

/* What the last x87 instruction leaves: its own address and its operand's, in every image (SDM vol. 1, 8.1.8). */
static void traces(void)
{
	static uint8_t fx[512] __attribute__((aligned(64))), area[1024] __attribute__((aligned(64)));
	static double one = 1.0, two = 2.0;
	uint32_t environment[7];
	uint64_t add, load, cr4 = read_cr4();

	__asm__ volatile("fninit\n"
			 "lea 1f(%%rip), %%rax; mov %%rax, %[load]\n"
			 "lea 2f(%%rip), %%rax; mov %%rax, %[add]\n"
			 "1: fldl %[one]\n"
			 "fxsave64 %[fx]\n"
			 "fldl %[two]\n"
			 "2: faddp\n"
			 "fnop; fnstsw %%ax; fwait\n" /* leave none */
			 "fxsave64 %[area]\n"
			 "fnstenv %[env]\n"
			 : [load] "=m"(load), [add] "=m"(add), [fx] "=m"(fx), [area] "=m"(area), [env] "=m"(environment)
			 : [one] "m"(one), [two] "m"(two)
			 : "rax", "memory");
	check_equal(*(uint64_t *)(fx + 8), load, "FXSAVE64: FIP is the guest's");
	check_equal(*(uint64_t *)(fx + 16), (uint64_t)&one, "FDP too");
	check_equal(*(uint16_t *)(fx + 6) & 0x738, 0x500, "FOP is that of FLD m64");
	check_equal(*(uint64_t *)(area + 8), add, "an instruction without a memory operand moves FIP");
	check_equal(*(uint64_t *)(area + 16), (uint64_t)&two, "and leaves FDP");
	check_equal(*(uint16_t *)(area + 6), 0x6c1, "FOP is that of FADDP");
	check_equal(environment[3], (uint32_t)add, "FNSTENV agrees");
	check_equal(environment[5], (uint32_t)(uint64_t)&two, "of both");
	__asm__ volatile("fninit; fxsave64 %0" : "=m"(fx));
	check_equal(*(uint64_t *)(fx + 8) | *(uint64_t *)(fx + 16) | *(uint16_t *)(fx + 6), 0, "FNINIT clears all three");
	write_cr4(cr4 | CR4_OSXSAVE);
	__asm__ volatile("lea 1f(%%rip), %%rcx; mov %%rcx, %1\n"
			 "1: fldpi; xsave64 %0"
			 : "=m"(area), "=m"(load)
			 : "a"(1), "d"(0)
			 : "rcx", "memory");
	check_equal(*(uint64_t *)(area + 8), load, "XSAVE64: FIP is the guest's");
	write_cr4(cr4);
	__asm__ volatile("fninit");
}

static void mmx_and_x87(void)
{
	uint8_t fx[512] __attribute__((aligned(16)));
	uint64_t value = 0x1122334455667788, back;

	__asm__ volatile("fninit; fld1; fldpi\n"
			 "movq %2, %%mm3\n"
			 "fxsave64 %0\n"
			 "movq %%mm3, %1\n"
			 : "=m"(fx), "=m"(back)
			 : "m"(value)
			 : "memory");
	check_equal(back, value, "an MMX register holds what was moved there");
	check_equal(fx[4], 0xff, "an MMX instruction makes no register empty");
	check_equal(*(uint16_t *)(fx + 2) & 0x3800, 0, "and TOP 0");
	check_equal(*(uint64_t *)(fx + 32 + 3 * 16), value, "MM3 is R3's significand");
	check_equal(*(uint16_t *)(fx + 32 + 3 * 16 + 8), 0xffff, "with all ones above");
	__asm__ volatile("emms; fxsave64 %0; fninit" : "=m"(fx));
	check_equal(fx[4], 0, "EMMS makes all empty");
}

/* CR0.NE clear: this machine wires no FERR#, so a pending exception stops nothing. */
static void without_ne(void)
{
	uint64_t cr0 = read_cr0();
	uint16_t status;

	write_cr0(cr0 & ~(uint64_t)CR0_NE);
	check_trap(trap_run(divide_x87, NULL), NO_TRAP, 0, "without CR0.NE a pending exception raises nothing");
	__asm__ volatile("fld1; fld1; faddp; fnstsw %0" : "=m"(status));
	check_equal(status & 0x8084, 0x8084, "and stays pending over further instructions");
	__asm__ volatile("fninit");
	write_cr0(cr0);
	check_trap(trap_run(divide_x87, NULL), MF, 0, "with it the next instruction raises #MF again");
	__asm__ volatile("fninit");
}

static void undefined(void *unused)
{
	(void)unused;
	__asm__ volatile("ud2");
}

/* Long sums in the x87's registers over other exits: the state goes out and comes in again, whole. */
static void state_survives(void)
{
	uint32_t eax, ebx, ecx, edx;
	uint64_t sum = 0;
	unsigned i;

	__asm__ volatile("fninit; fldz; fld1");
	for (i = 0; i < 3000; i++) {
		__asm__ volatile("fadd %st, %st(1)");
		if (i % 3 == 0)
			__asm__ volatile("cpuid" : "=a"(eax), "=b"(ebx), "=c"(ecx), "=d"(edx) : "a"(0), "c"(0));
		if (i % 7 == 0)
			trap_run(undefined, NULL);
	}
	__asm__ volatile("fstp %%st; fistpll %0" : "=m"(sum));
	check_equal(sum, 3000, "x87 registers live on over exits and traps");
}

void guest_main(void)
{
	traces();
	mmx_and_x87();
	without_ne();
	state_survives();
	switches();
	numeric();
	extended();
	alignment();
}
