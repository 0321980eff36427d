/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segment_test.c - segment loads, gates, far returns, task switches, fast system calls: real instruction bytes through x86_step.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "test/cpu/machine.h"

#define RIP m.cpu.reg[X86_RIP]
#define RSP m.cpu.reg[X86_RSP]
#define USER_STACK 0x6800u

static uint32_t stack32(unsigned slot)
{
	return (uint32_t)machine_read(RSP + slot * 4, 4);
}

static void gdt(uint16_t selector, uint64_t low)
{
	machine_write(GDT_BASE + (selector & 0xfff8), 8, low);
}

/* MOV DS, EAX with this selector, in a fresh mode: the vector of its fault or -1; the error code is checked. */
static int load_ds(unsigned cpl, uint16_t selector, uint64_t d)
{
	machine_protected(cpl);
	if (selector & 0xfffc)
		gdt(selector, d);
	m.cpu.reg[X86_RAX] = selector;
	CODE(CODE_BASE, 0x8e, 0xd8);
	machine_step(1);
	if (RIP == CODE_BASE + 2)
		return -1;
	assert_int_equal(stack32(0), selector & 0xfffc);
	for (int vector = 0; vector < 32; vector++)
		if (in_handler((unsigned)vector))
			return vector;
	return 99;
}

static void test_data_segment_loads(void **state)
{
	(void)state;
	assert_int_equal(load_ds(0, 0, 0), -1);
	assert_true(m.cpu.s.segment[X86_DS].attributes & X86_SEGMENT_UNUSABLE);
	assert_int_equal(load_ds(0, SEL_FREE, descriptor(0x1234, 0xfff, 0x0092)), -1);
	assert_int_equal(m.cpu.s.segment[X86_DS].base, 0x1234);
	assert_int_equal(m.cpu.s.segment[X86_DS].limit, 0xfff);
	assert_int_equal(machine_read(GDT_BASE + SEL_FREE + 5, 1), 0x93); /* accessed */
	assert_int_equal(load_ds(0, SEL_FREE, descriptor(0, 0xfffff, 0x8090)), -1);
	assert_int_equal(m.cpu.s.segment[X86_DS].limit, UINT32_MAX);
	assert_int_equal(load_ds(0, SEL_FREE, descriptor(0, 0xfff, 0x0012)), X86_NP);
	assert_int_equal(load_ds(0, SEL_FREE, descriptor(0, 0xfff, 0x0098)), X86_GP); /* execute-only */
	assert_int_equal(load_ds(0, SEL_FREE, descriptor(0, 0xfff, 0x009a)), -1);     /* readable code */
	assert_int_equal(load_ds(0, SEL_FREE, descriptor(0, 0xfff, 0x0089)), X86_GP); /* a TSS */
	assert_int_equal(load_ds(3, SEL_FREE, descriptor(0, 0xfff, 0x0092)), X86_GP); /* DPL 0 */
	assert_int_equal(load_ds(3, SEL_FREE | 3, descriptor(0, 0xfff, 0x00f2)), -1);
	assert_int_equal(load_ds(3, SEL_FREE | 3, descriptor(0, 0xfff, 0x009e)), -1);     /* conforming code: no DPL check */
	assert_int_equal(load_ds(0, SEL_FREE | 3, descriptor(0, 0xfff, 0x0092)), X86_GP); /* RPL 3 */
	assert_int_equal(load_ds(0, GDT_SIZE, descriptor(0, 0xfff, 0x0092)), X86_GP);     /* beyond the limit */
	assert_int_equal(load_ds(0, SEL_FREE | 4, 0), X86_GP);                            /* no LDT */
}

static uint64_t offset, width;
static bool store;
static uint64_t attempt_value;

static void access_ds(void)
{
	uint64_t linear = x86_linear(&m.cpu, X86_DS, offset, (unsigned)width, store);

	attempt_value = linear;
}

static int access(uint64_t at, unsigned size, bool write)
{
	offset = at;
	width = size;
	store = write;
	return try_call(access_ds);
}

static void test_limits_and_types(void **state)
{
	(void)state;
	load_ds(0, SEL_FREE, descriptor(0x5000, 0xfff, 0x0092));
	assert_int_equal(access(0xffc, 4, true), -1);
	assert_int_equal(attempt_value, 0x5ffc);
	assert_int_equal(access(0xffd, 4, false), X86_GP);
	load_ds(0, SEL_FREE, descriptor(0x5000, 0xfff, 0x0090));
	assert_int_equal(access(0, 4, false), -1);
	assert_int_equal(access(0, 4, true), X86_GP);
	load_ds(0, SEL_FREE, descriptor(0x5000, 0xfff, 0x0096)); /* expand down, 16-bit: 0x1000 to 0xffff */
	assert_int_equal(access(0xfff, 1, true), X86_GP);
	assert_int_equal(access(0x1000, 4, true), -1);
	assert_int_equal(access(0xfffd, 4, true), X86_GP);
	load_ds(0, SEL_FREE, descriptor(0x5000, 0xfff, 0x4096)); /* expand down, 32-bit */
	assert_int_equal(access(0xfffffff0, 4, true), -1);
	assert_int_equal(attempt_value, 0x4ff0);
	load_ds(0, 0, 0);
	assert_int_equal(access(0, 1, false), X86_GP);
	/* Unreal mode: limits outlive the way back. */
	load_ds(0, SEL_DATA, descriptor(0, 0xfffff, 0xc093));
	m.cpu.s.cr0 &= ~X86_CR0_PE;
	x86_cpu_mode_changed(&m.cpu);
	assert_int_equal(access(0x00200000, 4, true), -1);
}

static void test_lar_lsl_verr(void **state)
{
	(void)state;
	machine_protected(3);
	gdt(SEL_FREE, descriptor(0, 0x12345, 0x80f2));
	m.cpu.reg[X86_RBX] = SEL_FREE | 3;
	CODE(CODE_BASE, 0x0f, 0x02, 0xc3, 0x0f, 0x03, 0xcb, 0x0f, 0x00, 0xe3, 0x0f, 0x00,
	     0xeb); /* LAR EAX,EBX; LSL ECX,EBX; VERR BX; VERW BX */
	machine_step(4);
	assert_int_equal(m.cpu.reg[X86_RAX], 0x0080f200 | 1 << 16);
	assert_int_equal(m.cpu.reg[X86_RCX], 0x12345fff);
	assert_true(x86_rflags(&m.cpu) & X86_FLAG_ZF);
	gdt(SEL_FREE, descriptor(0, 0, 0x0092)); /* DPL 0 is invisible at CPL 3 */
	m.cpu.reg[X86_RAX] = 7;
	RIP = CODE_BASE;
	machine_step(1);
	assert_int_equal(m.cpu.reg[X86_RAX], 7);
	assert_false(x86_rflags(&m.cpu) & X86_FLAG_ZF);
}

/* CALL far through a 32-bit call gate to CPL 0 with two parameters, RET far 8 back. */
static void test_call_gate_with_parameters(void **state)
{
	(void)state;
	machine_protected(3);
	gdt(SEL_FREE,
	    (uint64_t)SEL_CODE32 << 16 | 0xa000 | UINT64_C(0xec02) << 32); /* present, DPL 3, call gate 32, 2 parameters */
	machine_write(STACK_TOP, 4, 0x11111111);
	machine_write(STACK_TOP + 4, 4, 0x22222222);
	CODE(CODE_BASE, 0x9a, 0, 0, 0, 0, SEL_FREE | 3, 0);
	CODE(0xa000, 0xca, 8, 0);
	machine_step(1);
	assert_int_equal(RIP, 0xa000);
	assert_int_equal(m.cpu.cpl, 0);
	assert_int_equal(m.cpu.s.segment[X86_CS].selector, SEL_CODE32);
	assert_int_equal(RSP, KERNEL_STACK_TOP - 24);
	assert_int_equal(stack32(0), CODE_BASE + 7);
	assert_int_equal(stack32(1), SEL_USER_CODE32);
	assert_int_equal(stack32(2), 0x11111111);
	assert_int_equal(stack32(3), 0x22222222);
	assert_int_equal(stack32(4), STACK_TOP);
	assert_int_equal(stack32(5), SEL_USER_DATA);
	m.cpu.s.segment[X86_ES] = m.cpu.s.segment[X86_SS]; /* DPL 0: must not leak out */
	machine_step(1);
	assert_int_equal(RIP, CODE_BASE + 7);
	assert_int_equal(m.cpu.cpl, 3);
	assert_int_equal(RSP, STACK_TOP + 8);
	assert_true(m.cpu.s.segment[X86_ES].attributes & X86_SEGMENT_UNUSABLE);
	assert_false(m.cpu.s.segment[X86_DS].attributes & X86_SEGMENT_UNUSABLE);
	/* JMP may not go inward; a gate of DPL 0 is not for CPL 3. */
	CODE(CODE_BASE + 7, 0xea, 0, 0, 0, 0, SEL_FREE | 3, 0);
	machine_step(1);
	assert_true(in_handler(X86_GP));
	assert_int_equal(stack32(0), SEL_CODE32);
	machine_protected(3);
	gdt(SEL_FREE, (uint64_t)SEL_CODE32 << 16 | 0xa000 | UINT64_C(0x8c00) << 32);
	machine_step(1);
	assert_true(in_handler(X86_GP));
	assert_int_equal(stack32(0), SEL_FREE);
}

static void test_call_gate_64(void **state)
{
	(void)state;
	machine_long(3);
	gdt(SEL_FREE, (uint64_t)SEL_CODE64 << 16 | 0xa000 | UINT64_C(0xec00) << 32);
	gdt(SEL_FREE + 8, 0);
	machine_write(0x600000, 8, (uint64_t)(SEL_FREE | 3) << 32);
	m.cpu.reg[X86_RBX] = 0x600000;
	CODE(CODE_BASE, 0xff, 0x1b); /* CALL far [RBX] */
	CODE(0xa000, 0x48, 0xcb);    /* RETFQ */
	machine_step(1);
	assert_int_equal(RIP, 0xa000);
	assert_int_equal(m.cpu.cpl, 0);
	assert_int_equal(RSP, KERNEL_STACK_TOP - 32);
	assert_int_equal(m.cpu.s.segment[X86_SS].selector, 0);
	machine_step(1);
	assert_int_equal(RIP, CODE_BASE + 2);
	assert_int_equal(m.cpu.cpl, 3);
	assert_int_equal(RSP, STACK_TOP);
	/* The second half's type field must be 0. */
	machine_long(3);
	gdt(SEL_FREE, (uint64_t)SEL_CODE64 << 16 | 0xa000 | UINT64_C(0xec00) << 32);
	gdt(SEL_FREE + 8, UINT64_C(1) << 40);
	m.cpu.reg[X86_RBX] = 0x600000;
	machine_step(1);
	assert_true(in_handler(X86_GP));
}

static void test_modes_change_by_far_jumps(void **state)
{
	(void)state;
	machine_long(0);
	machine_write(0x600000, 8, (uint64_t)SEL_CODE32 << 32 | 0xa000);
	m.cpu.reg[X86_RBX] = 0x600000;
	CODE(CODE_BASE, 0xff, 0x2b); /* JMP far [RBX]: to compatibility mode */
	machine_step(1);
	assert_int_equal(m.cpu.code_size, 4);
	assert_int_equal(RIP, 0xa000);
	CODE(0xa000, 0xea, 0x00, 0xb0, 0, 0, SEL_CODE64, 0);
	machine_step(1);
	assert_int_equal(m.cpu.code_size, 8);
	assert_int_equal(RIP, 0xb000);
	gdt(SEL_FREE, descriptor(0, 0xfffff, 0xe09b)); /* L and D */
	machine_write(0x600000, 8, (uint64_t)SEL_FREE << 32 | 0xa000);
	CODE(0xb000, 0xff, 0x2b);
	machine_step(1);
	assert_true(in_handler(X86_GP));
}

static void task2_make(uint32_t eip, uint32_t eflags)
{
	machine_write(TSS2_BASE + 0x1c, 4, 0);
	machine_write(TSS2_BASE + 0x20, 4, eip);
	machine_write(TSS2_BASE + 0x24, 4, eflags);
	for (unsigned i = 0; i < 8; i++)
		machine_write(TSS2_BASE + 0x28 + i * 4, 4, 0x100 + i);
	machine_write(TSS2_BASE + 0x38, 4, USER_STACK);
	for (unsigned i = 0; i < 6; i++)
		machine_write(TSS2_BASE + 0x48 + i * 4, 4, i == X86_CS ? SEL_CODE32 : SEL_DATA);
	machine_write(TSS2_BASE + 0x60, 4, SEL_LDT);
	machine_write(TSS2_BASE + 0x64, 4, 0x00680000);
}

static void test_task_switch_and_return(void **state)
{
	(void)state;
	machine_protected(0);
	task2_make(0xa000, 2);
	m.cpu.reg[X86_RAX] = 0xabcd;
	CODE(CODE_BASE, 0x9a, 0, 0, 0, 0, SEL_TSS2, 0, 0x90); /* CALL TSS */
	CODE(0xa000, 0x90, 0xcf);
	machine_step(1);
	assert_int_equal(RIP, 0xa000);
	assert_int_equal(m.cpu.reg[X86_RDI], 0x107);
	assert_int_equal(RSP, USER_STACK);
	assert_int_equal(m.cpu.s.tr.selector, SEL_TSS2);
	assert_int_equal(m.cpu.s.ldtr.base, LDT_BASE);
	assert_true(m.cpu.s.rflags & X86_FLAG_NT);
	assert_true(m.cpu.s.cr0 & X86_CR0_TS);
	assert_int_equal(machine_read(TSS2_BASE, 2), SEL_TSS);
	assert_int_equal(machine_read(TSS_BASE + 0x20, 4), CODE_BASE + 7);
	assert_int_equal(machine_read(TSS_BASE + 0x28, 4), 0xabcd);
	assert_int_equal(machine_read(GDT_BASE + SEL_TSS2 + 5, 1), 0x8b);
	assert_int_equal(machine_read(GDT_BASE + SEL_TSS + 5, 1), 0x8b); /* the caller stays busy */
	machine_step(2);
	assert_int_equal(RIP, CODE_BASE + 7);
	assert_int_equal(m.cpu.reg[X86_RAX], 0xabcd);
	assert_int_equal(m.cpu.s.tr.selector, SEL_TSS);
	assert_int_equal(machine_read(GDT_BASE + SEL_TSS2 + 5, 1), 0x89);
	assert_false(m.cpu.s.rflags & X86_FLAG_NT);
}

static void test_task_gate_serves_a_fault(void **state)
{
	(void)state;
	machine_protected(0);
	task2_make(0xa000, 2);
	machine_gate(X86_GP, SEL_TSS2, 0, 0x85, 0);
	m.cpu.reg[X86_RAX] = SEL_FREE;
	gdt(SEL_FREE, descriptor(0, 0, 0x0098));
	CODE(CODE_BASE, 0x8e, 0xd8);
	machine_step(1);
	assert_int_equal(RIP, 0xa000);
	assert_int_equal(RSP, USER_STACK - 4);
	assert_int_equal(stack32(0), SEL_FREE);
	assert_int_equal(machine_read(TSS_BASE + 0x20, 4), CODE_BASE);
	/* A bad segment in the new task: #TS in its context, at its own first instruction. */
	machine_protected(0);
	task2_make(0xa000, 2);
	machine_write(TSS2_BASE + 0x48 + X86_DS * 4, 4, SEL_TSS);
	CODE(CODE_BASE, 0xea, 0, 0, 0, 0, SEL_TSS2, 0);
	machine_step(1);
	assert_true(in_handler(X86_TS));
	assert_int_equal(stack32(0), SEL_TSS);
	assert_int_equal(stack32(1), 0xa000);
	assert_int_equal(m.cpu.s.tr.selector, SEL_TSS2);
}

static void star_set(void)
{
	m.cpu.s.star = (uint64_t)SEL_CODE64 << 32 | (uint64_t)(SEL_USER_CODE32) << 48;
	m.cpu.s.lstar = 0xa000;
	m.cpu.s.sfmask = X86_FLAG_IF | X86_FLAG_TF;
}

static void test_syscall_and_sysret(void **state)
{
	(void)state;
	machine_long(3);
	star_set();
	m.cpu.s.rflags |= X86_FLAG_IF;
	CODE(CODE_BASE, 0x0f, 0x05);
	CODE(0xa000, 0x48, 0x0f, 0x07);
	machine_step(1);
	assert_int_equal(RIP, 0xa000);
	assert_int_equal(m.cpu.cpl, 0);
	assert_int_equal(m.cpu.s.segment[X86_CS].selector, SEL_CODE64);
	assert_int_equal(m.cpu.s.segment[X86_SS].selector, SEL_CODE64 + 8);
	assert_int_equal(m.cpu.reg[X86_RCX], CODE_BASE + 2);
	assert_int_equal(m.cpu.reg[X86_R11], X86_FLAG_IF | X86_FLAG_FIXED);
	assert_false(m.cpu.s.rflags & X86_FLAG_IF);
	machine_step(1);
	assert_int_equal(RIP, CODE_BASE + 2);
	assert_int_equal(m.cpu.cpl, 3);
	assert_int_equal(m.cpu.code_size, 8);
	assert_int_equal(m.cpu.s.segment[X86_CS].selector, SEL_USER_CODE64);
	assert_int_equal(m.cpu.s.segment[X86_SS].selector, SEL_USER_DATA);
	assert_true(m.cpu.s.rflags & X86_FLAG_IF);
	/* Intel: SYSRET to a non-canonical address faults before it leaves CPL 0. */
	machine_long(0);
	star_set();
	m.cpu.reg[X86_RCX] = UINT64_C(0x800000000000);
	CODE(CODE_BASE, 0x48, 0x0f, 0x07);
	machine_step(1);
	assert_true(in_handler(X86_GP));
	assert_int_equal(machine_read(RSP + 16, 8), SEL_CODE64);
	/* Without EFER.SCE there is no such instruction. */
	machine_long(3);
	m.cpu.s.efer &= ~X86_EFER_SCE;
	CODE(CODE_BASE, 0x0f, 0x05);
	machine_step(1);
	assert_true(in_handler(X86_UD));
}

static void compatibility(void)
{
	struct x86_state s;

	machine_long(3);
	x86_cpu_get(&m.cpu, &s);
	s.segment[X86_CS].selector = SEL_USER_CODE32;
	s.segment[X86_CS].attributes = 0xc0fb;
	assert_int_equal(x86_cpu_set(&m.cpu, &s), STATUS_OK);
	star_set();
	m.cpu.s.cstar = 0xb000;
	m.cpu.s.sysenter_cs = SEL_CODE64;
	m.cpu.s.sysenter_esp = KERNEL_STACK_TOP;
	m.cpu.s.sysenter_eip = 0xa000;
}

static void test_vendors_differ_in_compatibility_mode(void **state)
{
	(void)state;
	CODE(CODE_BASE, 0x0f, 0x05, 0x0f, 0x34);
	compatibility();
	machine_step(1);
	assert_true(in_handler(X86_UD)); /* Intel: no SYSCALL */
	compatibility();
	RIP = CODE_BASE + 2;
	machine_step(1);
	assert_int_equal(RIP, 0xa000);
	assert_int_equal(RSP, KERNEL_STACK_TOP);
	assert_int_equal(m.cpu.code_size, 8);
	m.model.intel = false;
	compatibility();
	machine_step(1);
	assert_int_equal(RIP, 0xb000);
	assert_int_equal(m.cpu.reg[X86_RCX], CODE_BASE + 2);
	compatibility();
	RIP = CODE_BASE + 2;
	machine_step(1);
	assert_true(in_handler(X86_UD)); /* AMD: no SYSENTER in long mode */
}

static void test_sysexit(void **state)
{
	(void)state;
	machine_long(0);
	m.cpu.s.sysenter_cs = SEL_CODE64;
	m.cpu.reg[X86_RDX] = 0xb000;
	m.cpu.reg[X86_RCX] = USER_STACK;
	CODE(CODE_BASE, 0x48, 0x0f, 0x35);
	machine_step(1);
	assert_int_equal(RIP, 0xb000);
	assert_int_equal(RSP, USER_STACK);
	assert_int_equal(m.cpu.s.segment[X86_CS].selector, SEL_CODE64 + 32 + 3);
	assert_int_equal(m.cpu.s.segment[X86_SS].selector, SEL_CODE64 + 40 + 3);
	assert_int_equal(m.cpu.cpl, 3);
	/* SYSENTER_CS of 0: #GP(0) */
	machine_protected(3);
	CODE(CODE_BASE, 0x0f, 0x34);
	machine_step(1);
	assert_true(in_handler(X86_GP));
}

static void test_swapgs_and_bases(void **state)
{
	(void)state;
	machine_long(0);
	m.cpu.s.kernel_gs_base = 0x12345;
	m.cpu.s.cr4 |= X86_CR4_FSGSBASE;
	CODE(CODE_BASE, 0x0f, 0x01, 0xf8, 0xf3, 0x48, 0x0f, 0xae, 0xc8, 0xf3, 0x48, 0x0f, 0xae,
	     0xd3); /* SWAPGS; RDGSBASE RAX; WRFSBASE RBX */
	m.cpu.reg[X86_RBX] = UINT64_C(0x7fff00001000);
	machine_step(3);
	assert_int_equal(m.cpu.reg[X86_RAX], 0x12345);
	assert_int_equal(m.cpu.s.kernel_gs_base, 0);
	assert_int_equal(m.cpu.s.segment[X86_FS].base, UINT64_C(0x7fff00001000));
	m.cpu.reg[X86_RBX] = UINT64_C(0x800000000000);
	RIP = CODE_BASE + 8;
	machine_step(1);
	assert_true(in_handler(X86_GP));
}

/* From RESET to 64-bit mode by the instructions that a kernel uses. */
static void test_the_way_to_long_mode(void **state)
{
	static const uint8_t real[] = {
		0x66, 0xb8, 0x20, 0x00, 0x00, 0x00,                /* MOV EAX, PAE */
		0x0f, 0x22, 0xe0,                                  /* MOV CR4, EAX */
		0x66, 0xb8, 0x00, 0x00, 0x01, 0x00,                /* MOV EAX, PAGE_TABLES */
		0x0f, 0x22, 0xd8,                                  /* MOV CR3, EAX */
		0x66, 0xb9, 0x80, 0x00, 0x00, 0xc0,                /* MOV ECX, EFER */
		0x0f, 0x32,                                        /* RDMSR */
		0x66, 0x0d, 0x00, 0x01, 0x00, 0x00,                /* OR EAX, LME */
		0x0f, 0x30,                                        /* WRMSR */
		0x66, 0xb8, 0x01, 0x00, 0x00, 0x80,                /* MOV EAX, PG | PE */
		0x0f, 0x22, 0xc0,                                  /* MOV CR0, EAX */
		0x66, 0xea, 0x00, 0xa0, 0,    0,    SEL_CODE64, 0, /* JMP 8:A000 */
	};

	(void)state;
	machine_long(0); /* for its tables */
	machine_real();
	m.cpu.s.gdtr = (struct x86_table){GDT_BASE, GDT_SIZE - 1};
	machine_code(CODE_BASE, real, sizeof(real));
	machine_step(11);
	assert_int_equal(RIP, 0xa000);
	assert_int_equal(m.cpu.code_size, 8);
	assert_true(m.cpu.s.efer & X86_EFER_LMA);
	/* Paging cannot go off in 64-bit mode, nor PAE. */
	CODE(0xa000, 0x0f, 0x22, 0xe0);
	m.cpu.reg[X86_RAX] = 0;
	m.cpu.s.idtr = (struct x86_table){IDT_BASE, 0xfff};
	m.cpu.s.segment[X86_SS].limit = UINT32_MAX;
	machine_write(GDT_BASE + SEL_DATA, 8, descriptor(0, 0xfffff, 0xc093));
	machine_step(1);
	assert_true(in_handler(X86_GP));
	assert_true(m.cpu.s.cr4 & X86_CR4_PAE);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, machine_setup, machine_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_data_segment_loads),
		TEST(test_limits_and_types),
		TEST(test_lar_lsl_verr),
		TEST(test_call_gate_with_parameters),
		TEST(test_call_gate_64),
		TEST(test_modes_change_by_far_jumps),
		TEST(test_task_switch_and_return),
		TEST(test_task_gate_serves_a_fault),
		TEST(test_syscall_and_sysret),
		TEST(test_vendors_differ_in_compatibility_mode),
		TEST(test_sysexit),
		TEST(test_swapgs_and_bases),
		TEST(test_the_way_to_long_mode),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
