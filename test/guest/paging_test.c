/* SPDX-License-Identifier: Apache-2.0 */
/* paging_test.c - proves 4-level paging's permissions, A and D bits, SMEP, SMAP, PKU, PCID, INVPCID, global and large pages (SDM vol. 3, 4). */
#include "test/guest/long.h"

#define AT TEST_SPACE

static volatile uint64_t *entry;
static uint64_t *page;

static void write_page(void *address)
{
	*(volatile uint64_t *)address = 1;
}
static void read_page(void *address)
{
	(void)*(volatile uint64_t *)address;
}
static void read_page_stac(void *address)
{
	__asm__ volatile("stac; mov (%0), %%rax; clac" : : "r"(address) : "rax", "memory");
}
static void call_page(void *address)
{
	((void (*)(void))address)();
}

CODE(user_read, "mov (%rdi), %rax; int $0x80");
CODE(user_write, "movq $5, (%rdi); int $0x80");
CODE(user_jump, "jmp *%rdi");

static uint64_t read_code, write_code, jump_code, stack;

static int user(uint64_t code, uint64_t argument)
{
	struct user_start start = {.rip = code, .cs = USER_CS64, .rflags = 2, .rsp = stack, .ss = USER_SS, .rdi = argument};

	return user_run(&start);
}

static void set(uint64_t flags)
{
	*entry = (uint64_t)page | flags;
	invlpg(AT);
}

static void permissions(void)
{
	set(PTE_P | PTE_W);
	check_trap(user(read_code, AT), PF, 5, "user reads a supervisor page: #PF(P U)");
	check_trap(user(write_code, AT), PF, 7, "user writes a supervisor page: #PF(P W U)");
	set(PTE_P | PTE_U);
	check_trap(user(read_code, AT), NO_TRAP, 0, "user reads a user page");
	check_trap(user(write_code, AT), PF, 7, "user writes a read-only user page: #PF(P W U)");
	set(PTE_P | PTE_U | PTE_W | PTE_NX);
	check_trap(user(write_code, AT), NO_TRAP, 0, "user writes a writable user page");
	check_equal(page[0], 5, "and the value is there");
	check_trap(user(jump_code, AT), PF, 0x15, "user runs a page with NX: #PF(P U I)");
	check_trap(user(jump_code, AT + 4096), PF, 0x14, "user runs an absent page: #PF(U I)");
	/* CR0.WP */
	set(PTE_P);
	check_trap(trap_run(write_page, (void *)AT), PF, 3, "supervisor writes a read-only page with WP: #PF(P W)");
	write_cr0(read_cr0() & ~0x10000ull);
	check_trap(trap_run(write_page, (void *)AT), NO_TRAP, 0, "supervisor writes a read-only page without WP");
	check((*entry & PTE_D) != 0, "which marks it dirty");
	write_cr0(read_cr0() | 0x10000);
	check_trap(trap_run(write_page, (void *)AT), PF, 3, "and WP is back at once");
	/* Permissions of upper levels count too. */
	page_map[1] &= ~(uint64_t)PTE_U;
	tlb_flush();
	set(PTE_P | PTE_U | PTE_W);
	check_trap(user(read_code, AT), PF, 5, "a PML4 entry without U denies user mode the page");
	page_map[1] = (page_map[1] | PTE_U) & ~(uint64_t)PTE_W;
	tlb_flush();
	check_trap(trap_run(write_page, (void *)AT), PF, 3, "a PML4 entry without W denies writes");
	page_map[1] |= PTE_W;
	tlb_flush();
}

static void accessed_dirty(void)
{
	set(PTE_P | PTE_U | PTE_W);
	check_equal(*entry & (PTE_A | PTE_D), 0, "an unused entry has neither A nor D");
	read_page((void *)AT);
	check_equal(*entry & (PTE_A | PTE_D), PTE_A, "a read sets A alone");
	write_page((void *)AT);
	check_equal(*entry & (PTE_A | PTE_D), PTE_A | PTE_D, "a write sets D too, though the translation was cached");
	*entry &= ~(uint64_t)(PTE_A | PTE_D);
	invlpg(AT);
	write_page((void *)AT);
	check_equal(*entry & (PTE_A | PTE_D), PTE_A | PTE_D, "a first write sets A and D");
	set(PTE_P | PTE_U);
	trap_run(write_page, (void *)AT);
	check_equal(*entry & PTE_D, 0, "a write that faults sets no D");
	check((page_map[1] & PTE_A) != 0, "upper levels have A");
	check((page_map[1] & PTE_D) == 0, "upper levels have no D");
}

static void smep_smap(void)
{
	set(PTE_P | PTE_U | PTE_W);
	*(uint8_t *)page = 0xc3; /* RET */
	if (HAS_SMEP) {
		check_trap(trap_run(call_page, (void *)AT), NO_TRAP, 0, "without SMEP the supervisor runs user pages");
		write_cr4(read_cr4() | 1 << 20);
		check_trap(trap_run(call_page, (void *)AT), PF, 0x11, "with SMEP: #PF(P I)");
		write_cr4(read_cr4() & ~(1ull << 20));
	} else {
		skip("SMEP");
	}
	if (!HAS_SMAP) {
		skip("SMAP");
		return;
	}
	check_trap(trap_run(read_page, (void *)AT), NO_TRAP, 0, "without SMAP the supervisor reads user pages");
	write_cr4(read_cr4() | 1 << 21);
	check_trap(trap_run(read_page, (void *)AT), PF, 1, "with SMAP: #PF(P)");
	check_trap(trap_run(write_page, (void *)AT), PF, 3, "with SMAP a write: #PF(P W)");
	check_trap(trap_run(read_page_stac, (void *)AT), NO_TRAP, 0, "STAC lifts SMAP");
	check_trap(trap_run(read_page, (void *)AT), PF, 1, "CLAC brings it back");
	check_trap(user(read_code, AT), NO_TRAP, 0, "user mode is not SMAP's concern");
	write_cr4(read_cr4() & ~(1ull << 21));
}

static void wrpkru(uint32_t value)
{
	__asm__ volatile("wrpkru" : : "a"(value), "c"(0), "d"(0) : "memory");
}

static void protection_keys(void)
{
	uint32_t value;

	if (!HAS_PKU) {
		skip("protection keys");
		return;
	}
	write_cr4(read_cr4() | 1 << 22);
	set(PTE_P | PTE_U | PTE_W | 3ull << 59);
	wrpkru(0);
	__asm__ volatile("rdpkru" : "=a"(value) : "c"(0) : "rdx");
	check_equal(value, 0, "RDPKRU reads what WRPKRU wrote");
	check_trap(user(write_code, AT), NO_TRAP, 0, "key 3 with no restriction");
	wrpkru(2u << 6);
	check_trap(user(read_code, AT), NO_TRAP, 0, "key 3 write-disabled: reads pass");
	check_trap(user(write_code, AT), PF, 0x27, "key 3 write-disabled: #PF(P W U PK)");
	check_trap(trap_run(write_page, (void *)AT), PF, 0x23, "the supervisor too with WP: #PF(P W PK)");
	wrpkru(1u << 6);
	check_trap(user(read_code, AT), PF, 0x25, "key 3 access-disabled: #PF(P U PK)");
	check_trap(trap_run(read_page, (void *)AT), PF, 0x21, "the supervisor too: #PF(P PK)");
	wrpkru(1u << 8);
	check_trap(user(read_code, AT), NO_TRAP, 0, "other keys do not matter");
	wrpkru(0);
	write_cr4(read_cr4() & ~(1ull << 22));
	set(PTE_P | PTE_U | PTE_W);
}

static uint64_t *other;

static uint64_t peek(void)
{
	return *(volatile uint64_t *)AT;
}

static void invpcid(uint64_t type, uint64_t pcid, uint64_t address)
{
	struct {
		uint64_t pcid, address;
	} descriptor = {pcid, address};

	__asm__ volatile("invpcid %0, %1" : : "m"(descriptor), "r"(type) : "memory");
}

static void bad_invpcid(void *unused)
{
	(void)unused;
	invpcid(4, 0, 0);
}
static void invpcid_reserved(void *unused)
{
	(void)unused;
	invpcid(1, 0x1000, 0);
}
static void pcide_with_pcid(void *unused)
{
	(void)unused;
	write_cr3(read_cr3() | 0x10);
	write_cr4(read_cr4() | 1 << 17);
}

/* Translations that must go, and those that may not be seen from another PCID. */
static void translations(void)
{
	uint64_t cr3 = read_cr3();

	other = page_allocate();
	page[0] = 1;
	other[0] = 2;
	set(PTE_P | PTE_W);
	peek();
	*entry = (uint64_t)other | PTE_P | PTE_W;
	invlpg(AT);
	check_equal(peek(), 2, "INVLPG drops a translation");
	*entry = (uint64_t)page | PTE_P | PTE_W;
	write_cr3(cr3);
	check_equal(peek(), 1, "a write to CR3 drops it");
	/* Global pages outlive CR3 writes only where CR4.PGE is set. */
	write_cr4(read_cr4() & ~0x80ull);
	*entry = (uint64_t)other | PTE_P | PTE_W | PTE_G;
	write_cr3(cr3);
	check_equal(peek(), 2, "without PGE, G means nothing");
	write_cr4(read_cr4() | 0x80);
	*entry = (uint64_t)page | PTE_P | PTE_W | PTE_G;
	write_cr4(read_cr4() & ~0x80ull);
	check_equal(peek(), 1, "a change of CR4.PGE drops global translations");
	write_cr4(read_cr4() | 0x80);
	peek();
	*entry = (uint64_t)other | PTE_P | PTE_W | PTE_G;
	invlpg(AT);
	check_equal(peek(), 2, "INVLPG drops global translations");

	if (!HAS_PCID) {
		skip("PCID");
		return;
	}
	check_trap(trap_run(pcide_with_pcid, NULL), GP, 0, "CR4.PCIDE with CR3 11:0 not 0: #GP(0)");
	write_cr3(cr3);
	write_cr4(read_cr4() | 1 << 17);
	*entry = (uint64_t)page | PTE_P | PTE_W;
	invlpg(AT);
	write_cr3(cr3 | 1);
	check_equal(peek(), 1, "PCID 1 sees the page");
	write_cr3(cr3 | 2);
	*entry = (uint64_t)other | PTE_P | PTE_W;
	check_equal(peek(), 2, "a PCID that is loaded without bit 63 starts afresh");
	write_cr3(cr3 | 1);
	check_equal(peek(), 2, "so does one that was used before");
	*entry = (uint64_t)page | PTE_P | PTE_W;
	write_cr3(cr3 | 3 | 1ull << 63);
	check_equal(read_cr3() >> 63, 0, "CR3 keeps no bit 63");
	peek();
	if (HAS_INVPCID) {
		invpcid(0, 1, AT);
		write_cr3(cr3 | 1 | 1ull << 63);
		check_equal(peek(), 1, "INVPCID 0 drops one address of another PCID");
		*entry = (uint64_t)other | PTE_P | PTE_W;
		write_cr3(cr3 | 3 | 1ull << 63);
		invpcid(1, 1, 0);
		write_cr3(cr3 | 1 | 1ull << 63);
		check_equal(peek(), 2, "INVPCID 1 drops another PCID");
		*entry = (uint64_t)page | PTE_P | PTE_W;
		write_cr3(cr3 | 3 | 1ull << 63);
		invpcid(3, 0, 0);
		write_cr3(cr3 | 1 | 1ull << 63);
		check_equal(peek(), 1, "INVPCID 3 drops every PCID");
		*entry = (uint64_t)other | PTE_P | PTE_W | PTE_G;
		invpcid(2, 0, 0);
		check_equal(peek(), 2, "INVPCID 2 drops everything");
		*entry = (uint64_t)page | PTE_P | PTE_W | PTE_G;
		invpcid(2, 0, 0);
		check_equal(peek(), 1, "global translations too");
		check_trap(trap_run(bad_invpcid, NULL), GP, 0, "INVPCID 4: #GP(0)");
		check_trap(trap_run(invpcid_reserved, NULL), GP, 0, "INVPCID with a reserved bit: #GP(0)");
	} else {
		skip("INVPCID");
	}
	write_cr3(cr3);
	write_cr4(read_cr4() & ~(1ull << 17));
	*entry = (uint64_t)page | PTE_P | PTE_W;
	tlb_flush();
}

static void large_pages(void)
{
	uint64_t *pointers = page_allocate(), *directory = page_allocate(), base = UINT64_C(2) << 39;

	page_map[2] = (uint64_t)pointers | PTE_P | PTE_W;
	pointers[0] = (uint64_t)directory | PTE_P | PTE_W;
	directory[0] = PTE_P | PTE_W | PTE_PS; /* 2 MiB at 0 */
	*(volatile uint64_t *)0x100ff8 = *(volatile uint64_t *)0x100ff8;
	check_equal(*(volatile uint64_t *)(base + 0x100000), *(volatile uint64_t *)0x100000, "a 2 MiB page");
	check_equal(directory[0] & (PTE_A | PTE_D), PTE_A, "has its A bit in the directory");
	directory[1] = PTE_P | PTE_W | PTE_PS | 1 << 13;
	check_trap(trap_run(read_page, (void *)(base + 0x200000)), PF, 9, "a reserved bit of a 2 MiB entry: #PF(P RSVD)");
	pointers[1] = PTE_P | PTE_W | PTE_PS;
	if (HAS_PAGE1GB)
		check_equal(*(volatile uint64_t *)(base + 0x40000000 + 0x100000), *(volatile uint64_t *)0x100000, "a 1 GiB page");
	else
		check_trap(trap_run(read_page, (void *)(base + 0x40000000)), PF, 9,
			   "PS where there are no 1 GiB pages: #PF(P RSVD)");
	page_map[3] = (uint64_t)pointers | PTE_P | PTE_W | PTE_PS;
	check_trap(trap_run(read_page, (void *)(UINT64_C(3) << 39)), PF, 9, "PS in a PML4 entry: #PF(P RSVD)");
	page_map[3] = 0;
	/* NX is reserved without EFER.NXE. */
	wrmsr(0xc0000080, rdmsr(0xc0000080) & ~0x800ull);
	*entry = (uint64_t)page | PTE_P | PTE_W | PTE_NX;
	tlb_flush();
	check_trap(trap_run(read_page, (void *)AT), PF, 9, "NX without EFER.NXE: #PF(P RSVD)");
	check_trap(trap_run(call_page, (void *)(AT + 4096)), PF, 0, "without NXE and SMEP a fetch does not say so: #PF(0)");
	wrmsr(0xc0000080, rdmsr(0xc0000080) | 0x800);
	*entry = (uint64_t)page | PTE_P | PTE_W;
	tlb_flush();
	page_map[2] = 0;
	tlb_flush();
}

/* A page walk's own writes go through to memory that another address shows. */
static void aliases(void)
{
	volatile uint64_t *alias = page_set(AT + 0x10000, (uint64_t)page | PTE_P | PTE_W);

	set(PTE_P | PTE_W);
	*(volatile uint64_t *)AT = 77;
	check_equal(*(volatile uint64_t *)(AT + 0x10000), 77, "two addresses of one page show the same bytes");
	*(volatile uint64_t *)(AT + 0x10008) = 78;
	check_equal(*(volatile uint64_t *)(AT + 8), 78, "in both directions");
	*alias = 0;
	invlpg(AT + 0x10000);
}

static uint64_t left;
static void store_around(void *count)
{
	uint64_t to = (uint64_t)-2;

	left = (uint64_t)count;
	__asm__ volatile("rep stosl" : "+D"(to), "+c"(left) : "a"(0x55555555) : "memory");
}

/* A string that begins in the last page, which had a translation's place in the TLB used before, and would end in page 1. */
static void around(void)
{
	volatile uint64_t *last = page_set(AT + 0x1fff000, (uint64_t)page | PTE_P | PTE_W);

	page[0] = 1;
	for (unsigned i = 0; i < 4; i++) {
		*(volatile uint64_t *)(AT + 0x1fff000) = 2;
		invlpg(AT + 0x1fff000);
		check_trap(trap_run(store_around, (void *)(uint64_t)(0x400 + 0x100 * i)), PF, 2,
			   "a string of 4096 bytes and more from the last addresses around to the first: #PF(W)");
		check_equal(this_cpu()->trap_cr2, (uint64_t)-2, "at its first byte");
	}
	*last = 0;
	invlpg(AT + 0x1fff000);
}

void guest_main(void)
{
	page = page_allocate();
	entry = page_set(AT, 0);
	read_code = user_code(user_read, user_read_end);
	write_code = user_code(user_write, user_write_end);
	jump_code = user_code(user_jump, user_jump_end);
	stack = user_stack();
	permissions();
	accessed_dirty();
	smep_smap();
	protection_keys();
	translations();
	large_pages();
	aliases();
	around();
}
