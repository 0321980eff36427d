/* SPDX-License-Identifier: Apache-2.0 */
/* fault_test.c - proves that faults have the vectors, error codes and saved state that SDM vol. 3, 6.15 gives them. */
#include "test/guest/long.h"

static uint64_t trap_rip_of; /* where the faulting instruction is */

static void divide_by_zero(void *unused)
{
	(void)unused;
	__asm__ volatile("lea 1f(%%rip), %%rax; mov %%rax, %0; xor %%eax, %%eax; xor %%edx, %%edx; xor %%ecx, %%ecx; 1: div %%ecx"
			 : "=m"(trap_rip_of)
			 :
			 : "rax", "rcx", "rdx");
}
static void divide_overflow(void *unused)
{
	(void)unused;
	__asm__ volatile("mov $0x80000000, %%eax; cltd; mov $-1, %%ecx; idiv %%ecx" : : : "rax", "rcx", "rdx");
}
/* Sixteen bytes: prefixes that mean nothing, and instructions that a translator could take for themselves. */
#define TOO_LONG(name, bytes)                                                              \
	static void name(void *unused)                                                     \
	{                                                                                  \
		(void)unused;                                                              \
		__asm__ volatile(".fill 14, 1, 0x2e; .byte " bytes : : : "rax", "memory"); \
	}
TOO_LONG(long_move, "0x89, 0xc0")
TOO_LONG(long_selector, "0x8c, 0xd0")
TOO_LONG(long_jump, "0xeb, 0x00")
TOO_LONG(long_condition, "0x74, 0x00")
TOO_LONG(long_call, "0xff, 0xd0")
TOO_LONG(long_x87, "0xd9, 0xe8")

static void undefined(void *unused)
{
	(void)unused;
	__asm__ volatile("ud2");
}
static void lock_on_register(void *unused)
{
	(void)unused;
	__asm__ volatile(".byte 0xf0, 0x01, 0xc0"); /* lock add %eax, %eax */
}
static void too_long(void *unused)
{
	(void)unused;
	__asm__ volatile(".fill 15, 1, 0x66\n nop"); /* 16 bytes */
}
static void breakpoint(void *unused)
{
	(void)unused;
	__asm__ volatile("lea 1f(%%rip), %%rax; mov %%rax, %0; int3; 1:" : "=m"(trap_rip_of) : : "rax");
}
static void int_not_present(void *unused)
{
	(void)unused;
	__asm__ volatile("int $0x90");
}
static void int_past_limit(void *unused)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) shorter = {0x90 * 16 - 1, (uint64_t)idt};

	(void)unused;
	__asm__ volatile("lidt %0; int $0x91" : : "m"(shorter));
}
static void read_noncanonical(void *address)
{
	__asm__ volatile("mov (%0), %%rax" : : "r"(address) : "rax");
}
static void push_noncanonical(void *unused)
{
	(void)unused;
	__asm__ volatile("mov %%rsp, %%rbx; movabs $0x8000000000000000, %%rsp; push %%rax; mov %%rbx, %%rsp" : : : "rbx", "memory");
}
static void rbp_noncanonical(void *unused)
{
	(void)unused;
	__asm__ volatile("push %%rbp; movabs $0x8000000000000000, %%rbp; mov (%%rbp), %%rax; pop %%rbp" : : : "rax", "memory");
}
static void jump_noncanonical(void *address)
{
	__asm__ volatile("jmp *%0" : : "r"(address));
}
static void load_ss(void *selector)
{
	__asm__ volatile("mov %0, %%ss" : : "r"(selector));
}
static void load_ds(void *selector)
{
	__asm__ volatile("mov %0, %%ds; mov %1, %%ds" : : "r"(selector), "r"(KERNEL_SS));
}
static void load_ldt(void *selector)
{
	__asm__ volatile("lldt %w0" : : "r"(selector));
}
static void load_tr(void *selector)
{
	__asm__ volatile("ltr %w0" : : "r"(selector));
}
static void far_jump(void *selector)
{
	struct {
		uint32_t offset;
		uint16_t selector;
	} __attribute__((packed)) pointer = {0, (uint16_t)(uint64_t)selector};

	__asm__ volatile("ljmp *%0" : : "m"(pointer));
}
static void write_cr4_reserved(void *unused)
{
	(void)unused;
	write_cr4(read_cr4() | 1ull << 31);
}
static void cr0_pg_without_pe(void *unused)
{
	(void)unused;
	write_cr0(read_cr0() & ~1ull);
}
static void clear_pae(void *unused)
{
	(void)unused;
	write_cr4(read_cr4() & ~0x20ull);
}
static void unknown_msr(void *unused)
{
	(void)unused;
	rdmsr(0x4000beef);
}
static void lstar_noncanonical(void *unused)
{
	(void)unused;
	wrmsr(0xc0000082, 0x8000000000000000);
}
static void efer_reserved(void *unused)
{
	(void)unused;
	wrmsr(0xc0000080, rdmsr(0xc0000080) | 1ull << 40);
}
static void cr8_reserved(void *unused)
{
	(void)unused;
	__asm__ volatile("mov %0, %%cr8" : : "r"(0x10ull));
}
static void movaps_misaligned(void *address)
{
	__asm__ volatile("movaps 1(%0), %%xmm0" : : "r"(address));
}
static void cmpxchg16b_misaligned(void *address)
{
	__asm__ volatile("cmpxchg16b 8(%0)" : : "r"(address) : "rax", "rdx", "memory");
}
static void write_page(void *address)
{
	*(volatile uint64_t *)address = 1;
}
static void read_page(void *address)
{
	(void)*(volatile uint64_t *)address;
}
static void call_page(void *address)
{
	((void (*)(void))address)();
}

static void selectors(void)
{
	unsigned free = FREE_SELECTOR / 8;

	gdt[free] = 0x00cf13000000ffff;     /* data, not present */
	gdt[free + 1] = 0x00cf1b000000ffff; /* code, not present */
	gdt[free + 2] = 0x00af9a000000ffff; /* 64-bit code, to be marked accessed */
	gdt[free + 3] = 0x00cf91000000ffff; /* data, read-only */
	gdt[free + 4] = 0x00ef9b000000ffff; /* code with both L and D */
	gdt[free + 5] = 0x00cff3000000ffff; /* data, DPL 3 */

	check_trap(trap_run(load_ds, (void *)0), NO_TRAP, 0, "a null selector may be loaded into DS");
	check_trap(trap_run(load_ss, (void *)3), GP, 0, "SS with a null selector of RPL 3 at CPL 0: #GP(0)");
	check_trap(trap_run(load_ds, (void *)0xfff8), GP, 0xfff8, "a selector past the GDT's limit: #GP(selector)");
	check_trap(trap_run(load_ds, (void *)0xffff), GP, 0xfffc, "a selector of the missing LDT: #GP(selector without RPL)");
	check_trap(trap_run(load_ds, (void *)FREE_SELECTOR), NP, FREE_SELECTOR, "data that is not present: #NP(selector)");
	check_trap(trap_run(load_ss, (void *)FREE_SELECTOR), SS, FREE_SELECTOR, "SS that is not present: #SS(selector)");
	check_trap(trap_run(load_ss, (void *)(FREE_SELECTOR + 24)), GP, FREE_SELECTOR + 24, "SS that is read-only: #GP(selector)");
	check_trap(trap_run(load_ss, (void *)(FREE_SELECTOR + 40)), GP, FREE_SELECTOR + 40,
		   "SS with a DPL that is not the CPL: #GP(selector)");
	check_trap(trap_run(load_ds, (void *)KERNEL_CS32), NO_TRAP, 0, "readable code may be loaded into DS");
	check_trap(trap_run(far_jump, (void *)0), GP, 0, "a far jump to a null selector: #GP(0)");
	check_trap(trap_run(far_jump, (void *)(FREE_SELECTOR + 8)), NP, FREE_SELECTOR + 8,
		   "a far jump to absent code: #NP(selector)");
	check_trap(trap_run(far_jump, (void *)(FREE_SELECTOR + 24)), GP, FREE_SELECTOR + 24, "a far jump to data: #GP(selector)");
	check_trap(trap_run(far_jump, (void *)(FREE_SELECTOR + 32)), GP, FREE_SELECTOR + 32,
		   "a far jump to code with L and D: #GP(selector)");
	check_trap(trap_run(load_ldt, (void *)KERNEL_SS), GP, KERNEL_SS, "LLDT of what is no LDT: #GP(selector)");
	check_trap(trap_run(load_tr, (void *)0), GP, 0, "LTR of a null selector: #GP(0)");
	check_trap(trap_run(load_tr, (void *)0x50), GP, 0x50, "LTR of a busy TSS: #GP(selector)");
}

static void registers(void)
{
	check_trap(trap_run(write_cr4_reserved, NULL), GP, 0, "a reserved bit of CR4: #GP(0)");
	check_trap(trap_run(cr0_pg_without_pe, NULL), GP, 0, "CR0.PG without PE: #GP(0)");
	check_trap(trap_run(clear_pae, NULL), GP, 0, "clearing CR4.PAE in long mode: #GP(0)");
	check_trap(trap_run(cr8_reserved, NULL), GP, 0, "a reserved bit of CR8: #GP(0)");
	check_trap(trap_run(unknown_msr, NULL), GP, 0, "an MSR that does not exist: #GP(0)");
	check_trap(trap_run(lstar_noncanonical, NULL), GP, 0, "a non-canonical LSTAR: #GP(0)");
	check_trap(trap_run(efer_reserved, NULL), GP, 0, "a reserved bit of EFER: #GP(0)");
}

static void pages(void)
{
	uint64_t at = TEST_SPACE;
	volatile uint64_t *entry = page_set(at, (uint64_t)page_allocate() | PTE_P);
	int vector;

	check_trap(trap_run(write_page, (void *)at), PF, 3, "a write to a read-only page with CR0.WP: #PF(P W)");
	check_equal(this_cpu()->trap_cr2, at, "CR2 is the address");
	*entry &= ~(uint64_t)PTE_P;
	invlpg(at);
	check_trap(trap_run(read_page, (void *)(at + 16)), PF, 0, "a read of an absent page: #PF(0)");
	check_equal(this_cpu()->trap_cr2, at + 16, "CR2 is the address of the byte");
	check_trap(trap_run(write_page, (void *)at), PF, 2, "a write to an absent page: #PF(W)");
	vector = trap_run(call_page, (void *)at);
	check_trap(vector, PF, 0x10, "a fetch from an absent page with NXE: #PF(I)");
	check_equal(this_cpu()->trap.rip, at, "RIP is where the fetch was");
	*entry |= PTE_P | PTE_NX;
	check_trap(trap_run(call_page, (void *)at), PF, 0x11, "a fetch from a page with NX: #PF(P I)");
	*entry = (*entry & ~PTE_NX) | 1ull << 51;
	invlpg(at);
	check_trap(trap_run(read_page, (void *)at), PF, 9, "a reserved bit of a page entry: #PF(P RSVD)");
	*entry = 0;
	invlpg(at);
	/* An access over two pages reports the byte that is missing. */
	page_set(at, (uint64_t)page_allocate() | PTE_P | PTE_W);
	page_set(at + 4096, 0);
	invlpg(at + 4096);
	check_trap(trap_run(write_page, (void *)(at + 4092)), PF, 2, "a write over a page's end into an absent one: #PF(W)");
	check_equal(this_cpu()->trap_cr2, at + 4096, "CR2 is the second page's first byte");
	check_equal(*(volatile uint32_t *)(at + 4092), 0, "and nothing of it was written");
}

/* A fault while a fault is delivered. The stack that #PF needs is not there; #DF has one of its own. */
static void fault_without_stack(void *unused)
{
	(void)unused;
	/* Both addresses are in TEST_SPACE, where nothing is mapped. */
	__asm__ volatile("mov %%rsp, %%rbx; movabs $0x8000102000, %%rsp; movabs 0x8000200000, %%rax; mov %%rbx, %%rsp"
			 :
			 :
			 : "rax", "rbx", "memory");
}
static void unmapped_idt_entry(void *unused)
{
	(void)unused;
	__asm__ volatile("ud2");
}

static void double_faults(void)
{
	struct gate saved = idt[UD];

	idt[DF].ist = 1;
	check_trap(trap_run(fault_without_stack, NULL), DF, 0, "a page fault while one is delivered: #DF(0)");
	idt[UD].type = 0x0e;
	check_trap(trap_run(unmapped_idt_entry, NULL), NP, UD * 8 + 2 + 1, "#UD through an absent gate: #NP(gate, IDT, EXT)");
	idt[UD] = saved;
	idt[UD].selector = 0;
	check_trap(trap_run(unmapped_idt_entry, NULL), GP, 1, "#UD through a gate with a null selector: #GP(EXT)");
	idt[UD].selector = KERNEL_SS;
	check_trap(trap_run(unmapped_idt_entry, NULL), GP, KERNEL_SS + 1, "#UD through a gate to data: #GP(selector, EXT)");
	idt[UD] = saved;
	/* #GP while #NP is delivered: contributory on contributory. */
	{
		struct gate gp = idt[GP], np = idt[NP];

		idt[GP].type = 0x0e;
		idt[NP].type = 0x0e;
		check_trap(trap_run(read_noncanonical, (void *)0x8000000000000000), DF, 0, "#NP while #GP is delivered: #DF(0)");
		idt[GP] = gp;
		idt[NP] = np;
	}
	idt[DF].ist = 0;
}

void guest_main(void)
{
	struct gate saved;

	check_trap(trap_run(divide_by_zero, NULL), DE, 0, "DIV by 0: #DE");
	check_equal(this_cpu()->trap.rip, trap_rip_of, "RIP is the DIV");
	check((this_cpu()->trap.rflags & FLAG_RF) != 0, "a fault saves RF set");
	check_trap(trap_run(divide_overflow, NULL), DE, 0, "an IDIV whose quotient does not fit: #DE");
	check_trap(trap_run(undefined, NULL), UD, 0, "UD2: #UD");
	check_trap(trap_run(long_move, NULL), GP, 0, "16 bytes of MOV: #GP(0)");
	check_trap(trap_run(long_selector, NULL), GP, 0, "of MOV from SS");
	check_trap(trap_run(long_jump, NULL), GP, 0, "of JMP");
	check_trap(trap_run(long_condition, NULL), GP, 0, "of JE");
	check_trap(trap_run(long_call, NULL), GP, 0, "of CALL");
	check_trap(trap_run(long_x87, NULL), GP, 0, "of FLD1");
	check_trap(trap_run(lock_on_register, NULL), UD, 0, "LOCK on a register: #UD");
	check_trap(trap_run(too_long, NULL), GP, 0, "more than 15 bytes: #GP(0)");
	check_trap(trap_run(breakpoint, NULL), BP, 0, "INT3: #BP");
	check_equal(this_cpu()->trap.rip, trap_rip_of, "RIP is behind the INT3");
	check((this_cpu()->trap.rflags & FLAG_RF) == 0, "a trap saves RF clear");
	check_equal(this_cpu()->trap.ss, KERNEL_SS, "SS is saved even without a change of privilege");
	saved = idt[0x90];
	idt[0x90].type = 0x0e;
	check_trap(trap_run(int_not_present, NULL), NP, 0x90 * 8 + 2, "INT through an absent gate: #NP(gate, IDT)");
	idt[0x90].type = 0x85;
	check_trap(trap_run(int_not_present, NULL), GP, 0x90 * 8 + 2, "INT through what is no gate: #GP(gate, IDT)");
	idt[0x90] = saved;
	check_trap(trap_run(int_past_limit, NULL), GP, 0x91 * 8 + 2, "INT past the IDT's limit: #GP(gate, IDT)");
	{
		struct {
			uint16_t limit;
			uint64_t base;
		} __attribute__((packed)) whole = {4095, (uint64_t)idt};

		__asm__ volatile("lidt %0" : : "m"(whole));
	}
	check_trap(trap_run(read_noncanonical, (void *)0x8000000000000000), GP, 0, "a non-canonical address: #GP(0)");
	idt[SS].ist = idt[GP].ist = 1; /* the stack that the fault would be pushed on is the one that is wrong */
	check_trap(trap_run(push_noncanonical, NULL), SS, 0, "a push to a non-canonical address: #SS(0)");
	idt[SS].ist = idt[GP].ist = 0;
	check_trap(trap_run(rbp_noncanonical, NULL), SS, 0, "a non-canonical address based on RBP: #SS(0)");
	check_trap(trap_run(jump_noncanonical, (void *)0x8000000000000000), GP, 0, "a jump to a non-canonical address: #GP(0)");
	check_trap(trap_run(movaps_misaligned, (void *)0x200000), GP, 0, "MOVAPS from a misaligned address: #GP(0)");
	check_trap(trap_run(cmpxchg16b_misaligned, (void *)0x200000), GP, 0, "CMPXCHG16B of a misaligned address: #GP(0)");
	selectors();
	registers();
	pages();
	double_faults();
}
