/* SPDX-License-Identifier: Apache-2.0 */
/* io_test.c - proves who may reach I/O ports (IOPL, the TSS's bitmap), string I/O with faults in mid-way, PUSHF/POPF/CLI at CPL 3, UMIP, TSD; device memory reached by what reaches RAM too. */
#include "test/guest/long.h"

static uint64_t stack;

CODE(user_out80, "mov $0x5a, %al; out %al, $0x80; int $0x80");
CODE(user_out81w, "mov $0x5a, %ax; out %ax, $0x81; int $0x80");
CODE(user_in_dx, "mov $0x1f00, %dx; in (%dx), %al; int $0x80");
CODE(user_cli, "cli; int $0x80");
CODE(user_popf, "pushq $0x3202; popfq; pushfq; pop %rax; int $0x80"); /* IOPL 3 and IF */
CODE(user_popf_off, "pushq $0x2; popfq; pushfq; pop %rax; int $0x80");
CODE(user_sgdt, "sub $16, %rsp; sgdt (%rsp); int $0x80");
CODE(user_smsw, "smsw %eax; int $0x80");
CODE(user_rdtsc, "rdtsc; int $0x80");
CODE(user_rdpmc, "xor %ecx, %ecx; rdpmc; int $0x80");
CODE(user_mov_cr, "mov %cr0, %rax; int $0x80");
CODE(user_wrmsr, "xor %ecx, %ecx; wrmsr; int $0x80");
CODE(user_invlpg, "invlpg (%rsp); int $0x80");

static int user(const uint8_t *begin, const uint8_t *end, uint64_t rflags)
{
	struct user_start start = {
		.rip = user_code(begin, end), .cs = USER_CS64, .rflags = rflags, .rsp = stack - 64, .ss = USER_SS};

	return user_run(&start);
}
#define USER(name, rflags) user(name, name##_end, rflags)

/* The TSS's limit is in the GDT's descriptor; LTR reads it anew once the busy bit is cleared. */
static void tss_limit(uint64_t limit)
{
	gdt[0x50 / 8] = (gdt[0x50 / 8] & ~UINT64_C(0x000f02000000ffff)) | limit;
	__asm__ volatile("ltr %w0" : : "r"(0x50));
}

static void bitmap(void)
{
	struct tss *tss = &this_cpu()->tss;
	unsigned i;

	check_trap(USER(user_out80, 0x3002), NO_TRAP, 0, "IOPL 3: user mode may OUT");
	check_trap(USER(user_out80, 0x2), GP, 0, "IOPL 0 and no bitmap: #GP(0)");
	tss->iomap = offsetof(struct tss, bitmap);
	for (i = 0; i < sizeof(tss->bitmap); i++)
		tss->bitmap[i] = 0xff;
	tss->bitmap[0x80 / 8] = 0xfe;
	tss_limit(offsetof(struct tss, bitmap) + 0x100 / 8);
	check_trap(USER(user_out80, 0x2), NO_TRAP, 0, "a clear bit in the bitmap allows the port");
	check_trap(USER(user_out81w, 0x2), GP, 0, "a set bit does not: #GP(0)");
	tss->bitmap[0x81 / 8] = 0xfc;
	check_trap(USER(user_out81w, 0x2), GP, 0, "a word needs both its bits");
	tss->bitmap[0x81 / 8] = 0xf8;
	check_trap(USER(user_out81w, 0x2), NO_TRAP, 0, "and may with both clear");
	check_trap(USER(user_in_dx, 0x2), GP, 0, "a port past the TSS's limit: #GP(0)");
	tss->iomap = sizeof(struct tss);
	tss_limit(offsetof(struct tss, bitmap) - 1);
}

static void privileged(void)
{
	uint64_t cr4 = read_cr4();

	check_trap(USER(user_cli, 2), GP, 0, "CLI with IOPL 0: #GP(0)");
	check_trap(USER(user_cli, 0x3002), NO_TRAP, 0, "CLI with IOPL 3");
	check_trap(USER(user_popf, 0x2), NO_TRAP, 0, "POPF of IOPL and IF in user mode does not fault");
	check_equal(this_cpu()->trap.rax & 0x3200, 0, "and changes neither");
	check_trap(USER(user_popf_off, 0x3002), NO_TRAP, 0, "POPF with IOPL 3");
	check_equal(this_cpu()->trap.rax & 0x3000, 0x3000, "keeps IOPL");
	check_trap(USER(user_mov_cr, 2), GP, 0, "MOV from CR0 in user mode: #GP(0)");
	check_trap(USER(user_wrmsr, 2), GP, 0, "WRMSR in user mode: #GP(0)");
	check_trap(USER(user_invlpg, 2), GP, 0, "INVLPG in user mode: #GP(0)");
	check_trap(USER(user_rdpmc, 2), GP, 0, "RDPMC in user mode: #GP(0)");
	check_trap(USER(user_rdtsc, 2), NO_TRAP, 0, "RDTSC in user mode");
	write_cr4(cr4 | 4);
	check_trap(USER(user_rdtsc, 2), GP, 0, "RDTSC with CR4.TSD: #GP(0)");
	write_cr4(cr4);
	check_trap(USER(user_sgdt, 2), NO_TRAP, 0, "SGDT in user mode");
	if (HAS_UMIP) {
		write_cr4(cr4 | 1 << 11);
		check_trap(USER(user_sgdt, 2), GP, 0, "SGDT with CR4.UMIP: #GP(0)");
		check_trap(USER(user_smsw, 2), GP, 0, "SMSW with CR4.UMIP: #GP(0)");
		write_cr4(cr4);
	} else {
		skip("UMIP");
	}
}

/* REP OUTSB and INSB that run into an absent page stop there, with what was done counted. */
static void rep_outs(void *at)
{
	__asm__ volatile("cld; mov %0, %%rsi; mov $64, %%ecx; mov $0x80, %%edx; rep outsb"
			 :
			 : "r"(at)
			 : "rsi", "rcx", "rdx", "memory");
}
static void rep_ins(void *at)
{
	__asm__ volatile("cld; mov %0, %%rdi; mov $64, %%ecx; mov $0x71, %%edx; rep insb"
			 :
			 : "r"(at)
			 : "rdi", "rcx", "rdx", "memory");
}

static void strings(void)
{
	const struct frame *trap = &this_cpu()->trap;
	uint8_t *page = page_allocate();

	page_set(TEST_SPACE, (uint64_t)page | PTE_P | PTE_W);
	page_set(TEST_SPACE + 4096, 0);
	check_trap(trap_run(rep_outs, (void *)(TEST_SPACE + 4096 - 24)), PF, 0, "REP OUTSB into an absent page: #PF");
	check_equal(trap->rcx, 40, "RCX counts what is left");
	check_equal(trap->rsi, TEST_SPACE + 4096, "RSI is at the page");
	check_trap(trap_run(rep_ins, (void *)(TEST_SPACE + 4096 - 24)), PF, 2, "REP INSB into an absent page: #PF(W)");
	check_equal(trap->rcx, 40, "RCX counts what is left");
	check_equal(trap->rdi, TEST_SPACE + 4096, "RDI is at the page");
}

/* Selects a register, writes it, reads both back. */
static __attribute__((noinline)) uint64_t select_and_write(volatile uint32_t *registers, uint32_t index, uint32_t value)
{
	registers[0] = index;
	registers[4] = value;
	return (uint64_t)registers[0] << 32 | registers[4];
}

/* An engine may find another way to devices for code that has been there often; the same code still has to reach RAM. (Under SMAP the kernel's memory may be mapped for it.) */
static void devices_and_memory(void)
{
	static uint32_t memory[8];
	volatile uint32_t *ioapic = (volatile uint32_t *)0xfec00000;
	uint64_t cr4 = read_cr4();
	unsigned device = 0, ram = 0;

	if (HAS_SMAP)
		write_cr4(cr4 | 1 << 21);
	for (uint32_t i = 0; i < 400; i++) {
		uint32_t masked = 0x10000 | (i & 0xff), index = 0x10 + 2 * (i % 24);

		device += select_and_write(ioapic, index, masked) == ((uint64_t)index << 32 | masked);
		if (i % 7 == 0)
			ram += select_and_write(memory, i, ~i) == ((uint64_t)i << 32 | (uint32_t)~i) && memory[0] == i &&
			       memory[4] == ~i;
	}
	write_cr4(cr4);
	check_equal(device, 400, "400 writes of a device's registers, and reads");
	check_equal(ram, 58, "by code that writes and reads RAM in between");
}

void guest_main(void)
{
	stack = user_stack();
	check_equal(inb(0x2f0), 0xff, "a port that nobody has reads as ones");
	check_equal(inl(0x2f0), 0xffffffff, "in every width");
	outl(0x2f0, 0x12345678);
	check_equal(*(volatile uint32_t *)0xfe000000, 0xffffffff, "so does memory that nobody has");
	*(volatile uint32_t *)0xfe000000 = 1;
	bitmap();
	privileged();
	strings();
	devices_and_memory();
}
