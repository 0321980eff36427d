/* SPDX-License-Identifier: Apache-2.0 */
/*
 * event_test.c - interrupts, exceptions, double and triple faults, shadows, single step, breakpoints, NMIs, port instructions: real instruction bytes
 * through x86_step and x86_events_serve.
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

static uint64_t stack64(unsigned slot)
{
	return machine_read(RSP + slot * 8, 8);
}

static uint32_t stack32(unsigned slot)
{
	return (uint32_t)machine_read(RSP + slot * 4, 4);
}

static void test_long_mode_fault_frame(void **state)
{
	(void)state;
	machine_long(0);
	RSP = STACK_TOP - 4;         /* the frame is aligned to 16 */
	CODE(CODE_BASE, 0x0f, 0x0b); /* UD2 */
	m.cpu.s.rflags |= X86_FLAG_IF;
	machine_step(1);
	assert_true(in_handler(X86_UD));
	assert_int_equal(RSP, STACK_TOP - 16 - 40);
	assert_int_equal(stack64(0), CODE_BASE);
	assert_int_equal(stack64(1), SEL_CODE64);
	assert_int_equal(stack64(2), X86_FLAG_FIXED | X86_FLAG_IF | X86_FLAG_RF);
	assert_int_equal(stack64(3), STACK_TOP - 4);
	assert_int_equal(stack64(4), SEL_DATA);
	assert_false(m.cpu.s.rflags & X86_FLAG_IF);
}

static void test_long_mode_page_fault_from_user_switches_stacks(void **state)
{
	(void)state;
	machine_long(3);
	machine_map(UINT64_C(0x40000000), 0);
	CODE(CODE_BASE, 0x48, 0xa3, 0x08, 0x00, 0x00, 0x40, 0, 0, 0, 0); /* MOV [0x40000008], RAX */
	machine_step(1);
	assert_true(in_handler(X86_PF));
	assert_int_equal(m.cpu.cpl, 0);
	assert_int_equal(m.cpu.s.cr2, 0x40000008);
	assert_int_equal(RSP, KERNEL_STACK_TOP - 48);
	assert_int_equal(stack64(0), X86_PF_W | X86_PF_U);
	assert_int_equal(stack64(1), CODE_BASE);
	assert_int_equal(stack64(2), SEL_USER_CODE64);
	assert_int_equal(stack64(4), STACK_TOP);
	assert_int_equal(stack64(5), SEL_USER_DATA);
	assert_int_equal(m.cpu.s.segment[X86_SS].selector, 0);
	/* IRETQ goes back to where it was. */
	RSP += 8;
	CODE(RIP, 0x48, 0xcf);
	machine_step(1);
	assert_int_equal(RIP, CODE_BASE);
	assert_int_equal(m.cpu.cpl, 3);
	assert_int_equal(RSP, STACK_TOP);
	assert_int_equal(m.cpu.s.segment[X86_SS].selector, SEL_USER_DATA);
	assert_true(m.cpu.s.rflags & X86_FLAG_RF);
}

static void test_ist_and_software_interrupts(void **state)
{
	(void)state;
	machine_long(3);
	machine_gate(0x80, SEL_CODE64, HANDLER_BASE + 0x800, 0xee, 1); /* DPL 3, IST 1 */
	CODE(CODE_BASE, 0xcd, 0x80, 0xcd, 0x81);
	machine_step(1);
	assert_true(in_handler(0x80));
	assert_int_equal(RSP, IST_STACK_TOP - 40);
	assert_int_equal(stack64(0), CODE_BASE + 2);
	CODE(RIP, 0x48, 0xcf);
	machine_step(1);
	/* A gate of DPL 0: #GP with the vector in the error code, IDT bit set, EXT clear, RIP at the instruction. */
	machine_step(1);
	assert_true(in_handler(X86_GP));
	assert_int_equal(stack64(0), 0x81 * 8 + 2);
	assert_int_equal(stack64(1), CODE_BASE + 2);
}

static void test_double_and_triple_fault(void **state)
{
	(void)state;
	machine_long(0);
	CODE(CODE_BASE, 0x0f, 0x0b);
	machine_gate(X86_UD, SEL_CODE64, 0, 0x0e, 0); /* not present: #NP, whose gate is bad too: #GP... */
	machine_step(1);
	assert_true(in_handler(X86_NP)); /* #UD is benign */
	assert_int_equal(stack64(0), X86_UD * 8 + 2 + 1);
	/* #GP while delivering #NP */
	machine_long(0);
	machine_gate(X86_UD, SEL_CODE64, 0, 0x0e, 0);
	machine_gate(X86_NP, 0xfff8, 0, 0x8e, 0);
	machine_step(1);
	assert_true(in_handler(X86_DF));
	assert_int_equal(stack64(0), 0);
	assert_int_equal(stack64(1), CODE_BASE);
	/* And no double fault handler */
	machine_long(0);
	machine_gate(X86_UD, SEL_CODE64, 0, 0x0e, 0);
	machine_gate(X86_NP, 0xfff8, 0, 0x8e, 0);
	machine_gate(X86_DF, 0xfff8, 0, 0x8e, 0);
	machine_step(1);
	assert_int_equal(m.cpu.s.activity, X86_SHUTDOWN);
	assert_true(m.cpu.attention & X86_ATTENTION_ACTIVITY);
	/* A page fault on the way of a contributory fault is delivered as itself; on the way of a page fault it doubles. */
	machine_long(0);
	CODE(CODE_BASE, 0x31, 0xc9, 0xf7, 0xf1); /* XOR ECX, ECX; DIV ECX */
	RSP = UINT64_C(0x40000000);
	machine_gate(X86_PF, SEL_CODE64, HANDLER_BASE + 14 * 16, 0x8e, 1);
	machine_step(2);
	assert_true(in_handler(X86_PF));
	machine_long(0);
	RSP = UINT64_C(0x40000000);
	CODE(CODE_BASE, 0x50); /* PUSH */
	machine_gate(X86_DF, SEL_CODE64, HANDLER_BASE + 8 * 16, 0x8e, 1);
	machine_step(1);
	assert_true(in_handler(X86_DF));
}

static void test_sti_shadow_lasts_one_instruction(void **state)
{
	(void)state;
	machine_long(0);
	m.interrupt = 0x41;
	CODE(CODE_BASE, 0xfb, 0x90, 0x90, 0x90); /* STI; NOP... */
	assert_false(x86_events_serve(&m.cpu));
	machine_step(1);
	assert_int_equal(m.cpu.s.interrupt_shadow, X86_SHADOW_STI);
	assert_false(x86_events_deliverable(&m.cpu));
	assert_false(x86_events_serve(&m.cpu));
	assert_false(x86_events_serve(&m.cpu)); /* looking does not age it */
	x86_instruction_done(&m.cpu);           /* nor does an engine that reports twice */
	assert_false(x86_events_serve(&m.cpu));
	machine_step(1);
	assert_true(x86_events_deliverable(&m.cpu));
	assert_true(x86_events_serve(&m.cpu));
	assert_true(in_handler(0x41));
	assert_int_equal(stack64(0), CODE_BASE + 2);
	/* STI when IF is set already casts none. */
	machine_long(0);
	m.cpu.s.rflags |= X86_FLAG_IF;
	machine_step(1);
	m.interrupt = 0x42;
	assert_true(x86_events_serve(&m.cpu));
}

static void test_single_step(void **state)
{
	(void)state;
	machine_long(0);
	/* PUSHF; OR [RSP], 0x100; POPF; NOP; NOP */
	CODE(CODE_BASE, 0x9c, 0x81, 0x0c, 0x24, 0x00, 0x01, 0x00, 0x00, 0x9d, 0x90, 0x90);
	machine_run(3);
	assert_false(x86_events_serve(&m.cpu)); /* POPF itself does not trap */
	assert_true(m.cpu.attention & X86_ATTENTION_EVENT);
	machine_step(1);
	assert_true(x86_events_serve(&m.cpu));
	assert_true(in_handler(X86_DB));
	assert_int_equal(stack64(0), CODE_BASE + 10);
	assert_true(m.cpu.s.dr6 & X86_DR6_BS);
	assert_true(stack64(2) & X86_FLAG_TF);
	assert_false(stack64(2) & X86_FLAG_RF); /* a trap */
	assert_false(m.cpu.s.rflags & X86_FLAG_TF);
	CODE(RIP, 0x48, 0xcf); /* IRETQ to TF: the next instruction traps, not this one */
	machine_step(1);
	assert_false(x86_events_serve(&m.cpu));
	machine_step(1);
	assert_true(x86_events_serve(&m.cpu));
	assert_int_equal(stack64(0), CODE_BASE + 11);
}

static void test_stack_load_holds_off_single_step(void **state)
{
	(void)state;
	machine_long(0);
	m.cpu.reg[X86_RAX] = SEL_DATA;
	CODE(CODE_BASE, 0x8e, 0xd0, 0x90, 0x90); /* MOV SS, EAX; NOP */
	m.cpu.s.rflags |= X86_FLAG_TF | X86_FLAG_IF;
	m.cpu.s.nmi_pending = 1;
	machine_step(1);
	assert_false(x86_events_serve(&m.cpu));
	machine_step(1);
	assert_true(x86_events_serve(&m.cpu)); /* traps come before NMIs */
	assert_true(in_handler(X86_DB));
	assert_int_equal(stack64(0), CODE_BASE + 3);
	assert_true(x86_events_serve(&m.cpu));
	assert_true(in_handler(X86_NMI));
}

static void test_nmi_masks_itself_until_iret(void **state)
{
	(void)state;
	machine_long(0);
	m.cpu.s.nmi_pending = 1;
	assert_true(x86_events_serve(&m.cpu));
	assert_true(in_handler(X86_NMI));
	m.cpu.s.nmi_pending = 1;
	assert_false(x86_events_deliverable(&m.cpu));
	assert_false(x86_events_serve(&m.cpu));
	CODE(RIP, 0x48, 0xcf);
	machine_step(1);
	assert_true(m.cpu.attention & X86_ATTENTION_EVENT);
	assert_true(x86_events_serve(&m.cpu));
}

static void test_code_breakpoints_and_rf(void **state)
{
	(void)state;
	machine_long(0);
	CODE(CODE_BASE, 0x90, 0x90, 0x90);
	m.cpu.s.dr[2] = CODE_BASE + 1;
	m.cpu.s.dr7 |= 1u << 4;
	machine_step(2);
	assert_true(in_handler(X86_DB));
	assert_int_equal(stack64(0), CODE_BASE + 1); /* a fault */
	assert_int_equal(m.cpu.s.dr6 & 15, 4);
	machine_write(RSP + 16, 8, stack64(2) | X86_FLAG_RF); /* the handler's business */
	CODE(RIP, 0x48, 0xcf);
	machine_step(1);
	assert_true(m.cpu.s.rflags & X86_FLAG_RF);
	machine_step(1);
	assert_int_equal(RIP, CODE_BASE + 2);
	assert_false(m.cpu.s.rflags & X86_FLAG_RF);
	/* A data breakpoint is a trap after its instruction. */
	machine_long(0);
	m.cpu.reg[X86_RBX] = 0x600000;
	CODE(CODE_BASE, 0x89, 0x03, 0x90); /* MOV [RBX], EAX */
	m.cpu.s.dr[0] = 0x600000;
	m.cpu.s.dr7 |= 1 | 0xd << 16;
	machine_step(1);
	assert_true(x86_events_serve(&m.cpu));
	assert_int_equal(stack64(0), CODE_BASE + 2);
	assert_int_equal(m.cpu.s.dr6 & 15, 1);
	/* DR7.GD: any access to a debug register, cleared on the way in */
	machine_long(0);
	m.cpu.s.dr7 |= X86_DR7_GD;
	CODE(CODE_BASE, 0x0f, 0x21, 0xc0); /* MOV RAX, DR0 */
	machine_step(1);
	assert_true(in_handler(X86_DB));
	assert_true(m.cpu.s.dr6 & X86_DR6_BD);
	assert_false(m.cpu.s.dr7 & X86_DR7_GD);
}

static void test_halt_wakes_for_interrupts(void **state)
{
	(void)state;
	machine_long(0);
	CODE(CODE_BASE, 0xfb, 0xf4); /* STI; HLT */
	m.interrupt = 0x50;
	machine_step(2);
	assert_int_equal(m.cpu.s.activity, X86_HALTED);
	assert_true(m.cpu.attention & X86_ATTENTION_ACTIVITY);
	assert_true(x86_events_deliverable(&m.cpu));
	assert_true(x86_events_serve(&m.cpu));
	assert_int_equal(m.cpu.s.activity, X86_RUNNING);
	assert_int_equal(stack64(0), CODE_BASE + 2);
}

static void test_real_mode_interrupts(void **state)
{
	(void)state;
	machine_real();
	machine_write(0x21 * 4, 4, 0x01230045);
	m.cpu.s.rflags |= X86_FLAG_IF;
	CODE(CODE_BASE, 0xcd, 0x21);
	machine_step(1);
	assert_int_equal(m.cpu.s.segment[X86_CS].base + RIP, 0x1230 + 0x45);
	assert_int_equal(machine_read(STACK_TOP - 6, 2), CODE_BASE + 2);
	assert_int_equal(machine_read(STACK_TOP - 2, 2), X86_FLAG_FIXED | X86_FLAG_IF);
	assert_false(m.cpu.s.rflags & X86_FLAG_IF);
	CODE(0x1230 + 0x45, 0xcf);
	machine_step(1);
	assert_int_equal(RIP, CODE_BASE + 2);
	assert_true(m.cpu.s.rflags & X86_FLAG_IF);
	/* An IDT that ends before the vector, and before the double fault's: shutdown */
	m.cpu.s.idtr.limit = 7;
	RIP = CODE_BASE;
	machine_step(1);
	assert_int_equal(m.cpu.s.activity, X86_SHUTDOWN);
}

static void test_protected_interrupt_from_user(void **state)
{
	(void)state;
	machine_protected(3);
	m.cpu.s.rflags |= X86_FLAG_IF;
	m.interrupt = 0x33;
	assert_true(x86_events_serve(&m.cpu));
	assert_true(in_handler(0x33));
	assert_int_equal(RSP, KERNEL_STACK_TOP - 20);
	assert_int_equal(stack32(0), CODE_BASE);
	assert_int_equal(stack32(1), SEL_USER_CODE32);
	assert_int_equal(stack32(3), STACK_TOP);
	assert_int_equal(stack32(4), SEL_USER_DATA);
	assert_int_equal(m.cpu.s.segment[X86_SS].selector, SEL_DATA);
	CODE(RIP, 0xcf);
	machine_step(1);
	assert_int_equal(m.cpu.cpl, 3);
	assert_int_equal(RSP, STACK_TOP);
	/* Faults of an external delivery carry EXT. */
	machine_protected(3);
	m.cpu.s.rflags |= X86_FLAG_IF;
	machine_gate(0x33, SEL_CODE32, HANDLER_BASE, 0x0e, 0);
	m.interrupt = 0x33;
	assert_true(x86_events_serve(&m.cpu));
	assert_true(in_handler(X86_NP));
	assert_int_equal(stack32(0), 0x33 * 8 + 2 + 1);
}

static void test_vm86_round_trip(void **state)
{
	(void)state;
	machine_protected(0);
	RSP = STACK_TOP - 36;
	machine_write(RSP, 4, 0x100);                             /* IP */
	machine_write(RSP + 4, 4, 0x0900);                        /* CS */
	machine_write(RSP + 8, 4, X86_FLAG_VM | X86_FLAG_IF | 2); /* IOPL 0 */
	machine_write(RSP + 12, 4, 0x1f0);                        /* SP */
	machine_write(RSP + 16, 4, 0x0680);                       /* SS ES DS FS GS */
	for (unsigned i = 0; i < 4; i++)
		machine_write(RSP + 20 + i * 4, 4, 0x1000 + i);
	CODE(CODE_BASE, 0xcf);
	machine_step(1);
	assert_true(m.cpu.s.rflags & X86_FLAG_VM);
	assert_int_equal(m.cpu.cpl, 3);
	assert_int_equal(m.cpu.code_size, 2);
	assert_int_equal(m.cpu.s.segment[X86_CS].base, 0x9000);
	assert_int_equal(m.cpu.s.segment[X86_GS].base, 0x10030);
	/* INT n at IOPL 0 is #GP(0) for the monitor, with the whole frame. */
	CODE(0x9100, 0xcd, 0x21);
	machine_step(1);
	assert_true(in_handler(X86_GP));
	assert_false(m.cpu.s.rflags & X86_FLAG_VM);
	assert_int_equal(RSP, KERNEL_STACK_TOP - 40);
	assert_int_equal(stack32(0), 0);
	assert_int_equal(stack32(1), 0x100);
	assert_int_equal(stack32(2), 0x0900);
	assert_true(stack32(3) & X86_FLAG_VM);
	assert_int_equal(stack32(4), 0x1f0);
	assert_int_equal(stack32(5), 0x0680);
	assert_int_equal(stack32(6), 0x1000);
	assert_int_equal(stack32(9), 0x1003);
	assert_true(m.cpu.s.segment[X86_DS].attributes & X86_SEGMENT_UNUSABLE);
}

static void test_port_permissions(void **state)
{
	(void)state;
	machine_protected(3);
	m.port_value = 0x1234;
	CODE(CODE_BASE, 0xe5, 0x64); /* IN EAX, 0x64 */
	machine_step(1);
	assert_true(in_handler(X86_GP));
	assert_int_equal(m.port_reads, 0);
	machine_protected(3);
	machine_write(TSS_BASE + 0x68 + 0x64 / 8, 1, 0x0f); /* 64-67 are allowed */
	machine_step(1);
	assert_int_equal(m.port_reads, 1);
	assert_int_equal(m.port_size, 4);
	assert_int_equal(m.cpu.reg[X86_RAX], 0x1234);
	machine_protected(3);
	machine_write(TSS_BASE + 0x68 + 0x64 / 8, 1, 0x8f); /* 67 is not */
	machine_step(1);
	assert_true(in_handler(X86_GP));
	machine_protected(3);
	m.cpu.s.rflags |= X86_FLAG_IOPL;
	machine_write(TSS_BASE + 0x68 + 0x64 / 8, 1, 0xff);
	machine_step(1);
	assert_int_equal(m.port_reads, 2);
}

static void test_string_ports_restart(void **state)
{
	unsigned steps = 0;

	(void)state;
	machine_long(0);
	machine_map(UINT64_C(0x40000000), 0x600000 | 7);
	machine_map(UINT64_C(0x40001000), 0);
	m.cpu.reg[X86_RDI] = 0x40000000 + 0xff0;
	m.cpu.reg[X86_RCX] = 20;
	m.cpu.reg[X86_RDX] = 0x1f0;
	CODE(CODE_BASE, 0xf3, 0x6d, 0x90); /* REP INSD */
	while (!in_handler(X86_PF) && steps++ < 30)
		machine_step(1);
	assert_true(in_handler(X86_PF));
	assert_int_equal(m.port_reads, 4); /* the port was not read for the store that faults */
	assert_int_equal(m.cpu.reg[X86_RCX], 16);
	assert_int_equal(m.cpu.reg[X86_RDI], 0x40001000);
	assert_int_equal(stack64(1), CODE_BASE);
	assert_int_equal(machine_read(0x600ffc, 4), 3);
	/* OUTS over an interrupt: RIP stays on the instruction until it is done. */
	machine_long(0);
	m.cpu.reg[X86_RSI] = 0x600ff0;
	m.cpu.reg[X86_RCX] = 3;
	m.cpu.s.rflags |= X86_FLAG_IF;
	CODE(CODE_BASE, 0xf3, 0x6e, 0x90);
	x86_attention(&m.cpu, X86_ATTENTION_REQUEST);
	machine_step(1);
	assert_int_equal(m.port_writes, 1);
	assert_int_equal(RIP, CODE_BASE);
	machine_step(2);
	assert_int_equal(m.port_writes, 3);
	assert_int_equal(RIP, CODE_BASE + 2);
}

static void test_pending_event_of_a_snapshot(void **state)
{
	struct x86_state s;

	(void)state;
	machine_long(0);
	x86_cpu_get(&m.cpu, &s);
	s.pending = (struct x86_pending_event){
		.valid = 1, .vector = X86_GP, .type = X86_EVENT_EXCEPTION, .has_error = 1, .error = 0x18};
	assert_int_equal(x86_cpu_set(&m.cpu, &s), STATUS_OK);
	assert_true(x86_events_serve(&m.cpu));
	assert_true(in_handler(X86_GP));
	assert_int_equal(stack64(0), 0x18);
	assert_int_equal(m.cpu.s.pending.valid, 0);
}

static void exclusive_fault(struct x86_cpu *cpu, void *argument)
{
	(void)argument;
	x86_raise_error(cpu, X86_SS_FAULT, 0x77);
}

static void exclusive_call(void)
{
	x86_exclusive(&m.cpu, exclusive_fault, NULL);
}

static void test_fault_leaves_an_exclusive_section(void **state)
{
	(void)state;
	machine_long(0);
	assert_int_equal(try_call(exclusive_call), X86_SS_FAULT);
	assert_int_equal(m.cpu.fault_error, 0x77);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, machine_setup, machine_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_long_mode_fault_frame),
		TEST(test_long_mode_page_fault_from_user_switches_stacks),
		TEST(test_ist_and_software_interrupts),
		TEST(test_double_and_triple_fault),
		TEST(test_sti_shadow_lasts_one_instruction),
		TEST(test_single_step),
		TEST(test_stack_load_holds_off_single_step),
		TEST(test_nmi_masks_itself_until_iret),
		TEST(test_code_breakpoints_and_rf),
		TEST(test_halt_wakes_for_interrupts),
		TEST(test_real_mode_interrupts),
		TEST(test_protected_interrupt_from_user),
		TEST(test_vm86_round_trip),
		TEST(test_port_permissions),
		TEST(test_string_ports_restart),
		TEST(test_pending_event_of_a_snapshot),
		TEST(test_fault_leaves_an_exclusive_section),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
