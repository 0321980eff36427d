/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state_test.c - the portable CPU state: set then get is the identity, impossible states are refused, RESET, INIT and SIPI leave what the SDM says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "test/cpu/machine.h"

static void fill(void *at, size_t size, uint8_t seed)
{
	for (size_t i = 0; i < size; i++)
		((uint8_t *)at)[i] = (uint8_t)(seed + i * 7);
}

/* A 64-bit user state with every field different from its reset value. */
static void rich_state(struct x86_state *s)
{
	machine_long(3);
	x86_cpu_get(&m.cpu, s);
	fill(s->gpr, sizeof(s->gpr), 1);
	s->rip = UINT64_C(0x123456789a);
	s->rflags = X86_FLAG_FIXED | X86_FLAG_CF | X86_FLAG_PF | X86_FLAG_AF | X86_FLAG_ZF | X86_FLAG_SF | X86_FLAG_OF |
		    X86_FLAG_IF | X86_FLAG_DF | X86_FLAG_TF | X86_FLAG_AC | X86_FLAG_ID | X86_FLAG_RF;
	s->segment[X86_FS].base = UINT64_C(0x7f0000001000);
	s->cr2 = UINT64_C(0xdeadbeef0000);
	s->cr4 |= X86_CR4_PCIDE | X86_CR4_SMEP | X86_CR4_SMAP | X86_CR4_OSFXSR | X86_CR4_OSXSAVE;
	s->cr3 |= 5;
	s->cr8 = 9;
	fill(s->dr, sizeof(s->dr), 2);
	s->dr6 = X86_DR6_FIXED | X86_DR6_BS;
	s->xcr0 = m.model.xcr0_allowed;
	s->star = UINT64_C(0x0023001000000000);
	s->lstar = UINT64_C(0xffffffff81000000);
	s->kernel_gs_base = UINT64_C(0xffff888000000000);
	s->tsc_adjust = 77;
	s->tsc_aux = 3;
	s->mtrr_fixed[2] = UINT64_C(0x0606060606060606);
	s->mtrr_variable[1] = 0x800;
	s->amd_hwcr = 0x1000010;
	s->pvclock_msr = 0x5001;
	fill(&s->x87, sizeof(s->x87), 3);
	s->x87.mxcsr = 0x1fa0;
	s->x87.mxcsr_mask = 0xffff;
	fill(s->vector, sizeof(s->vector), 4);
	s->pkru = 0x55555554;
	s->activity = X86_HALTED;
	s->interrupt_shadow = X86_SHADOW_STI;
	s->nmi_masked = 1;
	s->nmi_pending = 1;
	s->sipi_vector = 0x9a;
	s->pending_debug = X86_DR6_BS | 2;
	s->pending = (struct x86_pending_event){.valid = 1, .vector = 0x30, .type = X86_EVENT_INTERRUPT};
	fill(&s->apic, sizeof(s->apic), 5);
	m.tpr = 9;
}

static void test_set_then_get_is_the_identity(void **state)
{
	struct x86_state before, after;

	(void)state;
	rich_state(&before);
	assert_int_equal(x86_cpu_set(&m.cpu, &before), STATUS_OK);
	memset(&after, 0xee, sizeof(after));
	x86_cpu_get(&m.cpu, &after);
	assert_memory_equal(&before, &after, sizeof(before));
	/* And with no APIC attached. */
	m.cpu.apic_ops = NULL;
	assert_int_equal(x86_cpu_set(&m.cpu, &before), STATUS_OK);
	memset(&after, 0xee, sizeof(after));
	x86_cpu_get(&m.cpu, &after);
	assert_memory_equal(&before, &after, sizeof(before));
}

static void test_every_mode_survives(void **state)
{
	struct x86_state before, after;

	(void)state;
	for (unsigned mode = 0; mode < 4; mode++) {
		if (mode == 0)
			machine_real();
		else if (mode == 1)
			machine_protected(3);
		else
			machine_long(mode == 2 ? 0 : 3);
		x86_cpu_get(&m.cpu, &before);
		x86_cpu_reset(&m.cpu, false);
		assert_int_equal(x86_cpu_set(&m.cpu, &before), STATUS_OK);
		x86_cpu_get(&m.cpu, &after);
		assert_memory_equal(&before, &after, sizeof(before));
		assert_int_equal(m.cpu.cpl, mode == 1 || mode == 3 ? 3 : 0);
		assert_int_equal(m.cpu.code_size, mode == 0 ? 2 : mode == 1 ? 4 : 8);
	}
}

#define REFUSED(change)                                                    \
	do {                                                               \
		struct x86_state s, kept, now;                             \
		rich_state(&s);                                            \
		x86_cpu_get(&m.cpu, &kept);                                \
		change;                                                    \
		assert_int_equal(x86_cpu_set(&m.cpu, &s), STATUS_INVALID); \
		x86_cpu_get(&m.cpu, &now);                                 \
		assert_memory_equal(&kept, &now, sizeof(now));             \
	} while (0)

static void test_impossible_states_are_refused(void **state)
{
	(void)state;
	REFUSED(s.cr0 &= ~X86_CR0_PE);
	REFUSED(s.cr0 |= X86_CR0_NW);
	REFUSED(s.cr0 |= X86_BIT(40));
	REFUSED(s.cr4 &= ~X86_CR4_PAE);
	REFUSED(s.cr4 |= X86_CR4_VME);
	REFUSED(s.cr4 |= X86_BIT(31));
	REFUSED(s.efer &= ~X86_EFER_LMA);
	REFUSED(s.efer &= ~X86_EFER_LME);
	REFUSED(s.efer |= X86_BIT(12));
	REFUSED(s.cr3 |= UINT64_C(1) << 51);
	REFUSED(s.cr8 = 16);
	REFUSED(s.xcr0 = 0);
	REFUSED(s.xcr0 = X86_XCR0_X87 | X86_XCR0_AVX);
	REFUSED(s.xcr0 |= X86_BIT(5));
	REFUSED(s.rflags |= X86_FLAG_VM);
	REFUSED(s.rflags &= ~X86_FLAG_FIXED);
	REFUSED(s.rflags |= X86_BIT(3));
	REFUSED(s.segment[X86_CS].attributes |= X86_SEGMENT_DB);
	REFUSED(s.segment[X86_FS].base = UINT64_C(1) << 57);
	REFUSED(s.segment[X86_SS].base = UINT64_C(1) << 33);
	REFUSED(s.lstar = UINT64_C(1) << 57);
	REFUSED(s.gdtr.limit = 0x10000);
	REFUSED(s.x87.mxcsr = 0x10000); /* would fault on the host */
	REFUSED(s.pat = 2);
	REFUSED(s.activity = 4);
	REFUSED(s.interrupt_shadow = 0x80);
	REFUSED(s.pending.type = 7);
	REFUSED(s.pending = ((struct x86_pending_event){.valid = 1, .type = X86_EVENT_EXCEPTION, .vector = 32}));
	REFUSED(s.dr7 = UINT64_C(1) << 32);
	REFUSED(s.dr6 = 0);
	REFUSED(s.xss = 1);
}

/* A guest that has five levels of page tables leaves such addresses behind when it goes back to four, as by INIT. */
static void test_addresses_of_five_levels_outlive_them(void **state)
{
	struct x86_state s;

	(void)state;
	rich_state(&s);
	s.cr4 |= X86_CR4_LA57;
	s.lstar = s.kernel_gs_base = UINT64_C(0xff11000000000000);
	assert_int_equal(x86_cpu_set(&m.cpu, &s), STATUS_OK);
	x86_cpu_init(&m.cpu, false);
	x86_cpu_get(&m.cpu, &s);
	assert_int_equal(s.cr4, 0);
	assert_int_equal(s.lstar, UINT64_C(0xff11000000000000));
	assert_int_equal(x86_cpu_set(&m.cpu, &s), STATUS_OK);
	m.model.linear_bits = 48; /* no guest of this model could have them */
	assert_int_equal(x86_cpu_set(&m.cpu, &s), STATUS_INVALID);
}

static void test_reset_and_init(void **state)
{
	struct x86_state s;

	(void)state;
	x86_cpu_reset(&m.cpu, true);
	x86_cpu_get(&m.cpu, &s);
	assert_int_equal(s.rip, 0xfff0);
	assert_int_equal(s.segment[X86_CS].base, 0xffff0000);
	assert_int_equal(s.segment[X86_CS].selector, 0xf000);
	assert_int_equal(s.cr0, 0x60000010);
	assert_int_equal(s.rflags, 2);
	assert_int_equal(s.gpr[X86_RDX], 0x30661);
	assert_int_equal(s.dr6, 0xffff0ff0);
	assert_int_equal(s.dr7, 0x400);
	assert_int_equal(s.x87.mxcsr, 0x1f80);
	assert_int_equal(s.x87.fcw, 0x40);
	assert_int_equal(s.activity, X86_RUNNING);
	/* INIT */
	rich_state(&s);
	assert_int_equal(x86_cpu_set(&m.cpu, &s), STATUS_OK);
	x86_cpu_init(&m.cpu, false);
	x86_cpu_get(&m.cpu, &s);
	assert_int_equal(s.activity, X86_WAIT_FOR_SIPI);
	assert_false(x86_events_deliverable(&m.cpu));
	assert_int_equal(s.cr0, X86_CR0_ET); /* CD and NW as they were */
	assert_int_equal(s.efer, 0);
	assert_int_equal(s.gpr[X86_RAX], 0);
	assert_int_equal(s.x87.mxcsr, 0x1fa0);
	assert_int_equal(s.lstar, UINT64_C(0xffffffff81000000));
	assert_int_equal(s.tsc_adjust, 77);
	assert_int_equal(s.nmi_masked, 0);
	x86_cpu_sipi(&m.cpu, 0x9a);
	assert_int_equal(m.cpu.s.segment[X86_CS].base, 0x9a000);
	assert_int_equal(m.cpu.s.segment[X86_CS].selector, 0x9a00);
	assert_int_equal(m.cpu.reg[X86_RIP], 0);
	assert_int_equal(m.cpu.s.activity, X86_RUNNING);
}

static void test_shadow_of_a_snapshot_covers_the_next_instruction(void **state)
{
	struct x86_state s;

	(void)state;
	machine_long(0);
	CODE(CODE_BASE, 0x90, 0x90);
	x86_cpu_get(&m.cpu, &s);
	s.rflags |= X86_FLAG_IF;
	s.interrupt_shadow = X86_SHADOW_STI;
	assert_int_equal(x86_cpu_set(&m.cpu, &s), STATUS_OK);
	m.interrupt = 0x60;
	assert_false(x86_events_serve(&m.cpu));
	machine_step(1);
	assert_true(x86_events_serve(&m.cpu));
	assert_true(in_handler(0x60));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, machine_setup, machine_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_set_then_get_is_the_identity),
		TEST(test_every_mode_survives),
		TEST(test_impossible_states_are_refused),
		TEST(test_addresses_of_five_levels_outlive_them),
		TEST(test_reset_and_init),
		TEST(test_shadow_of_a_snapshot_covers_the_next_instruction),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
