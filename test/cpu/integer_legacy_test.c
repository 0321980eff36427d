/* SPDX-License-Identifier: Apache-2.0 */
/*
 * integer_legacy_test.c - integer handlers that the host cannot run for us in 64-bit code: 16 and 32-bit code, decimal arithmetic, the stack, branches,
 * and what a fault or an interruption in mid-instruction leaves behind.
 *
 * The processor is native_memory.c's: segments have the area's address as their base, so that offsets are small.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "test/cpu/native.h"
#include "x86/memory.h"

#define SF X86_FLAG_SF
#define ZF X86_FLAG_ZF
#define AF X86_FLAG_AF
#define PF X86_FLAG_PF
#define CF X86_FLAG_CF

static int prepare(void **state)
{
	(void)state;
	native_begin();
	memset(cpu.reg, 0, sizeof(cpu.reg));
	memset(native_area, 0, NATIVE_AREA);
	cpu_tlb_use(true);
	cpu.s.rflags = 2;
	cpu.flags = x86_status_from_rflags(0);
	cpu.attention = 0;
	for (unsigned i = 0; i < 6; i++)
		cpu.s.segment[i] = (struct x86_segment){.base = (uintptr_t)native_area, .limit = 0xffff, .attributes = 0x93};
	return 0;
}

static void mode(unsigned code_size)
{
	cpu.code_size = cpu.stack_size = (uint8_t)code_size;
	cpu.flat = 0;
	if (code_size == 8)
		cpu.flat = 63;
}

/* One instruction at `rip`; the exception or NATIVE_OK. */
static int execute(const char *bytes, unsigned length, uint64_t rip)
{
	static struct x86_insn insn;
	uint8_t padded[16] = {0};

	memcpy(padded, bytes, length);
	assert_int_equal(x86_decode(&insn, padded, 15, cpu.code_size), X86_DECODE_OK);
	assert_int_equal(insn.length, length);
	cpu.reg[X86_RIP] = rip + length;
	return cpu_execute(insn.execute, &insn);
}
#define RUN(bytes) execute(bytes, sizeof(bytes) - 1, 0x100)
#define OK(bytes) assert_int_equal(RUN(bytes), NATIVE_OK)

static uint64_t status(void)
{
	return x86_status_to_rflags(cpu.flags);
}
static uint16_t word_at(unsigned offset)
{
	uint16_t value;

	memcpy(&value, native_area + offset, 2);
	return value;
}

/* Packed digits: ADD then DAA, SUB then DAS give decimal results and carries. */
static void packed_decimal_arithmetic_is_decimal(void **state)
{
	(void)state;
	mode(4);
	for (unsigned a = 0; a < 100; a++) {
		for (unsigned b = 0; b < 100; b++) {
			unsigned sum = (a + b) % 100, difference = (100 + a - b) % 100;

			cpu.reg[X86_RBX] = b / 10 << 4 | b % 10;
			cpu.reg[X86_RAX] = 0xabcd00 | a / 10 << 4 | a % 10;
			OK("\x00\xd8"); /* ADD AL, BL */
			OK("\x27");
			assert_int_equal(cpu.reg[X86_RAX], 0xabcd00 | sum / 10 << 4 | sum % 10);
			assert_int_equal(!!(status() & CF), a + b > 99);
			assert_int_equal(!!(status() & ZF), sum == 0);
			cpu.reg[X86_RAX] = 0xabcd00 | a / 10 << 4 | a % 10;
			OK("\x28\xd8"); /* SUB AL, BL */
			OK("\x2f");
			assert_int_equal(cpu.reg[X86_RAX], 0xabcd00 | difference / 10 << 4 | difference % 10);
			assert_int_equal(!!(status() & CF), a < b);
		}
	}
}

static void unpacked_decimal_arithmetic_is_decimal(void **state)
{
	(void)state;
	mode(2);
	for (unsigned a = 0; a < 10; a++) {
		for (unsigned b = 0; b < 10; b++) {
			cpu.reg[X86_RBX] = b;
			cpu.reg[X86_RAX] = a;
			OK("\x00\xd8");
			OK("\x37"); /* AAA */
			assert_int_equal(cpu.reg[X86_RAX], (a + b) / 10 << 8 | (a + b) % 10);
			assert_int_equal(!!(status() & CF), a + b > 9);
			cpu.reg[X86_RAX] = 0x100 | a;
			OK("\x28\xd8");
			OK("\x3f"); /* AAS */
			assert_int_equal(cpu.reg[X86_RAX], (a < b ? 0 : 0x100) | (10 + a - b) % 10);
			assert_int_equal(!!(status() & AF), a < b);
			cpu.reg[X86_RAX] = a * b;
			OK("\xd4\x0a"); /* AAM */
			assert_int_equal(cpu.reg[X86_RAX], a * b / 10 << 8 | a * b % 10);
			OK("\xd5\x0a"); /* AAD */
			assert_int_equal(cpu.reg[X86_RAX], a * b);
			assert_int_equal(status() & (ZF | SF | PF), (a * b != 0 ? 0 : ZF) | (__builtin_parity(a * b) ? 0 : PF));
		}
	}
	assert_int_equal(RUN("\xd4\x00"), X86_DE);
}

static void division_faults_before_anything_changes(void **state)
{
	static const struct {
		uint64_t rdx, rax, divisor;
		bool sign, fits;
	} cases[] = {
		{0, 5, 0, false, false},
		{1, 0, 1, false, false},
		{0, UINT64_MAX, 1, false, true},
		{4, 0, 5, false, true},
		{5, 0, 5, false, false},
		{UINT64_MAX, UINT64_C(1) << 63, UINT64_MAX, true, false},
		{UINT64_MAX, UINT64_C(1) << 63, 1, true, true},
		{UINT64_C(1) << 63, 0, UINT64_MAX, true, false},
		{0, 7, 0, true, false},
		{UINT64_C(1) << 62, 0, UINT64_C(1) << 63, true, true},
		{UINT64_C(1) << 62, 0, UINT64_MAX >> 1, true, false},
	};

	(void)state;
	mode(8);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cpu.reg[X86_RDX] = cases[i].rdx;
		cpu.reg[X86_RAX] = cases[i].rax;
		cpu.reg[X86_RCX] = cases[i].divisor;
		cpu.flags = x86_status_from_rflags(CF | SF);
		assert_int_equal(cases[i].sign ? RUN("\x48\xf7\xf9") : RUN("\x48\xf7\xf1"), cases[i].fits ? NATIVE_OK : X86_DE);
		if (!cases[i].fits) {
			assert_true(cpu.reg[X86_RDX] == cases[i].rdx && cpu.reg[X86_RAX] == cases[i].rax);
			assert_int_equal(status(), CF | SF);
		}
	}
}

static void pusha_and_popa_move_all_registers(void **state)
{
	uint64_t kept[8];

	(void)state;
	mode(2);
	for (unsigned i = 0; i < 8; i++)
		cpu.reg[i] = 0x55550000 | (0x1111 * (i + 1));
	cpu.reg[X86_RSP] = 0x55550808;
	memcpy(kept, cpu.reg, sizeof(kept));
	OK("\x60");
	assert_int_equal(cpu.reg[X86_RSP], 0x555507f8);
	assert_int_equal(word_at(0x806), 0x1111);
	assert_int_equal(word_at(0x7fe), 0x0808); /* SP as it was */
	for (unsigned i = 0; i < 8; i++)
		if (i != X86_RSP)
			cpu.reg[i] = 0x55550000;
	OK("\x61");
	assert_memory_equal(cpu.reg, kept, sizeof(kept));
	/* SP wraps in 64 KiB: the last pushes would be outside the area. */
	cpu.reg[X86_RSP] = 6;
	memcpy(kept, cpu.reg, sizeof(kept));
	assert_int_equal(RUN("\x60"), X86_PF);
	assert_memory_equal(cpu.reg, kept, sizeof(kept));
	/* What came before the one that faults is stored: processors push one after the other (tried, at every distance from a page's end). */
	assert_int_equal(word_at(4), 0x1111);
	assert_int_equal(word_at(0), 0x3333);
}

static void enter_copies_display_pointers(void **state)
{
	(void)state;
	mode(4);
	cpu.reg[X86_RSP] = 0x800;
	cpu.reg[X86_RBP] = 0x900;
	memcpy(native_area + 0x8fc, "\x11\x22\x33\x44", 4);
	memcpy(native_area + 0x8f8, "\x55\x66\x77\x88", 4);
	OK("\xc8\x10\x00\x03"); /* ENTER 16, 3 */
	assert_int_equal(cpu.reg[X86_RBP], 0x7fc);
	assert_int_equal(cpu.reg[X86_RSP], 0x7f0 - 16);
	assert_int_equal(word_at(0x7fc), 0x900);
	assert_int_equal(word_at(0x7f8), 0x2211);
	assert_int_equal(word_at(0x7f4), 0x6655);
	assert_int_equal(word_at(0x7f0), 0x7fc);
	OK("\xc9");
	assert_int_equal(cpu.reg[X86_RSP], 0x800);
	assert_int_equal(cpu.reg[X86_RBP], 0x900);
	/* Locals beyond the stack: nothing happens. */
	assert_int_equal(RUN("\xc8\xff\xff\x00"), X86_PF);
	assert_int_equal(cpu.reg[X86_RSP], 0x800);
	assert_int_equal(cpu.reg[X86_RBP], 0x900);
}

static void stack_instructions_keep_rsp_when_they_fault(void **state)
{
	(void)state;
	mode(8);
	cpu.reg[X86_RSP] = (uintptr_t)native_area; /* the next push is outside */
	assert_int_equal(RUN("\x50"), X86_PF);
	assert_int_equal(RUN("\xe8\x00\x00\x00\x00"), X86_PF);
	assert_int_equal(cpu.reg[X86_RSP], (uintptr_t)native_area);
	assert_int_equal(cpu.reg[X86_RIP], 0x105);
	/* POP [0]: the load is good, the store is not */
	assert_int_equal(RUN("\x8f\x04\x25\x00\x00\x00\x00"), X86_PF);
	assert_int_equal(cpu.reg[X86_RSP], (uintptr_t)native_area);
	/* A non-canonical stack is #SS, also of PUSH with a good memory operand. */
	cpu.reg[X86_RSP] = UINT64_C(0x8000000000000000);
	cpu.reg[X86_RAX] = (uintptr_t)native_area;
	assert_int_equal(RUN("\xff\x30"), X86_SS_FAULT);
	assert_int_equal(RUN("\x58"), X86_SS_FAULT);
	/* POP [RSP]: the address counts with RSP after the pop. */
	cpu.reg[X86_RSP] = (uintptr_t)native_area + 64;
	memcpy(native_area + 64, "\x12\x34", 2);
	OK("\x8f\x04\x24");
	assert_int_equal(word_at(72), 0x3412);
	assert_int_equal(cpu.reg[X86_RSP], (uintptr_t)native_area + 72);
	OK("\x5c"); /* POP RSP */
	assert_int_equal(cpu.reg[X86_RSP], 0x3412);
}

static void branches_check_their_target(void **state)
{
	(void)state;
	mode(8);
	cpu.reg[X86_RAX] = UINT64_C(0x0000800000000000);
	cpu.reg[X86_RSP] = (uintptr_t)native_area + 64;
	assert_int_equal(RUN("\xff\xe0"), X86_GP);
	assert_int_equal(RUN("\xff\xd0"), X86_GP);
	assert_int_equal(cpu.reg[X86_RSP], (uintptr_t)native_area + 64);
	cpu.s.cr4 |= X86_CR4_LA57;
	OK("\xff\xe0");
	assert_int_equal(cpu.reg[X86_RIP], UINT64_C(0x0000800000000000));
	cpu.s.cr4 &= ~X86_CR4_LA57;
	OK("\x66\xe9\x00\x00\x00\x80"); /* 66 does nothing to a near branch */
	assert_int_equal(cpu.reg[X86_RIP], 0x106 - UINT64_C(0x80000000));
	mode(2);
	cpu.reg[X86_RAX] = 0x12345678;
	OK("\xff\xe0");
	assert_int_equal(cpu.reg[X86_RIP], 0x5678);
	assert_int_equal(RUN("\x66\xff\xe0"), X86_GP); /* over CS's limit */
	OK("\xeb\x80");
	assert_int_equal(cpu.reg[X86_RIP], 0x82);
	assert_int_equal(execute("\xeb\x80", 2, 0x10), NATIVE_OK);
	assert_int_equal(cpu.reg[X86_RIP], 0xff92); /* IP wraps */
}

static void loops_count_in_the_address_size(void **state)
{
	(void)state;
	mode(2);
	cpu.reg[X86_RCX] = 0x10001;
	OK("\xe2\x10");
	assert_int_equal(cpu.reg[X86_RIP], 0x102);
	assert_int_equal(cpu.reg[X86_RCX], 0x10000);
	OK("\xe3\x10"); /* JCXZ */
	assert_int_equal(cpu.reg[X86_RIP], 0x112);
	OK("\x67\xe3\x10"); /* JECXZ */
	assert_int_equal(cpu.reg[X86_RIP], 0x103);
	OK("\x67\xe2\x10");
	assert_int_equal(cpu.reg[X86_RIP], 0x113);
	assert_int_equal(cpu.reg[X86_RCX], 0xffff);
	cpu.flags = x86_status_from_rflags(ZF);
	OK("\xe0\x10"); /* LOOPNE ends at ZF */
	assert_int_equal(cpu.reg[X86_RIP], 0x102);
	OK("\xe1\x10");
	assert_int_equal(cpu.reg[X86_RIP], 0x112);
}

static void bound_compares_signed(void **state)
{
	(void)state;
	mode(2);
	memcpy(native_area + 16, "\xfe\xff\x05\x00", 4); /* -2 to 5 */
	cpu.reg[X86_RBX] = 16;
	for (int index = -4; index < 8; index++) {
		cpu.reg[X86_RAX] = (uint16_t)index;
		assert_int_equal(RUN("\x62\x07"), index >= -2 && index <= 5 ? NATIVE_OK : X86_BR);
	}
}

static void high_bytes_and_extension(void **state)
{
	(void)state;
	mode(8);
	cpu.reg[X86_RAX] = UINT64_C(0x1122334455667788);
	cpu.reg[X86_RSP] = UINT64_C(0xaabbccddeeff0011);
	OK("\x88\xe0"); /* MOV AL, AH */
	assert_int_equal(cpu.reg[X86_RAX], UINT64_C(0x1122334455667777));
	OK("\x40\x88\xe0"); /* MOV AL, SPL */
	assert_int_equal(cpu.reg[X86_RAX], UINT64_C(0x1122334455667711));
	OK("\xb4\xcc"); /* MOV AH, 0xcc */
	assert_int_equal(cpu.reg[X86_RAX], UINT64_C(0x112233445566cc11));
	OK("\x90");
	assert_int_equal(cpu.reg[X86_RAX], UINT64_C(0x112233445566cc11));
	OK("\x87\xc0"); /* XCHG EAX, EAX by ModRM extends */
	assert_int_equal(cpu.reg[X86_RAX], 0x5566cc11);
	mode(4);
	cpu.flags = x86_status_from_rflags(CF);
	OK("\xd6"); /* SALC */
	assert_int_equal(cpu.reg[X86_RAX], 0x5566ccff);
}

/* Indices wrap in 64 KiB; a run goes up to the segment's limit; what is done before a fault stays done. */
static void strings_wrap_and_stop_in_16_bit_code(void **state)
{
	(void)state;
	mode(2);
	cpu.s.segment[X86_ES].limit = 0x10f;
	cpu.reg[X86_RAX] = 0x5a;
	cpu.reg[X86_RDI] = 0x77770100;
	cpu.reg[X86_RCX] = 0x33330010;
	OK("\xf3\xaa");
	assert_int_equal(cpu.reg[X86_RDI], 0x77770110);
	assert_int_equal(cpu.reg[X86_RCX], 0x33330000);
	assert_int_equal(word_at(0x10e), 0x5a5a);
	assert_int_equal(word_at(0x110), 0);
	/* SI runs over FFFF to 0: outside the area at the top, so start with what is there. */
	cpu.reg[X86_RSI] = 0xfffe;
	cpu.reg[X86_RCX] = 4;
	cpu.s.segment[X86_DS].base = (uintptr_t)native_area - 0xf000; /* FFFE is in the area, 0 is not */
	assert_int_equal(RUN("\xf3\xac"), X86_PF);
	assert_int_equal(cpu.reg[X86_RSI], 0);
	assert_int_equal(cpu.reg[X86_RCX], 2);
	/* Descending */
	cpu.s.rflags |= X86_FLAG_DF;
	cpu.s.segment[X86_DS].base = (uintptr_t)native_area;
	memcpy(native_area, "abcdefgh", 8);
	cpu.reg[X86_RSI] = 6;
	cpu.reg[X86_RDI] = 0x86;
	cpu.reg[X86_RCX] = 4;
	OK("\xf3\xa5");
	assert_memory_equal(native_area + 0x80, "abcdefgh", 8);
	assert_int_equal(cpu.reg[X86_RSI], 0xfffe);
}

static void repeated_strings_leave_when_they_are_wanted(void **state)
{
	(void)state;
	mode(8);
	/* An engine that asks is served after one round, with registers that say what is done. */
	cpu.attention = X86_ATTENTION_REQUEST;
	cpu.reg[X86_RDI] = (uintptr_t)native_area + 100;
	cpu.reg[X86_RCX] = NATIVE_AREA - 100;
	OK("\xf3\xaa");
	assert_int_equal(cpu.reg[X86_RIP], 0x100);
	assert_true(cpu.reg[X86_RCX] > 0 && cpu.reg[X86_RCX] < NATIVE_AREA - 100);
	assert_int_equal(cpu.reg[X86_RDI] + cpu.reg[X86_RCX], (uintptr_t)native_area + NATIVE_AREA);
	/* Single step: an iteration at a time. */
	cpu.attention = 0;
	cpu.s.rflags |= X86_FLAG_TF;
	cpu.reg[X86_RDI] = (uintptr_t)native_area;
	cpu.reg[X86_RCX] = 2;
	OK("\xf3\xaa");
	assert_int_equal(cpu.reg[X86_RIP], 0x100);
	assert_int_equal(cpu.reg[X86_RCX], 1);
	OK("\xf3\xaa");
	assert_int_equal(cpu.reg[X86_RIP], 0x102);
	/* And by itself after a while. */
	cpu.s.rflags &= ~X86_FLAG_TF;
	cpu_tlb_use(false);
	cpu.reg[X86_RDI] = (uintptr_t)native_area;
	cpu.reg[X86_RCX] = NATIVE_AREA;
	OK("\xf3\xaa");
	assert_int_equal(cpu.reg[X86_RIP], 0x100);
	/* A count of 0 touches nothing. */
	cpu.reg[X86_RDI] = 0;
	cpu.reg[X86_RCX] = 0;
	OK("\xf3\xaa");
	assert_int_equal(cpu.reg[X86_RIP], 0x102);
}

static void models_refuse_what_they_lack(void **state)
{
	uint64_t all = cpu_model.features;

	(void)state;
	mode(8);
	cpu.reg[X86_RCX] = 0x10;
	cpu_model.features = 0;
	assert_int_equal(RUN("\xf3\x0f\xb8\xc1"), X86_UD);     /* POPCNT */
	assert_int_equal(RUN("\x0f\xc7\xf0"), X86_UD);         /* RDRAND */
	assert_int_equal(RUN("\xc4\xe2\x78\xf2\xc1"), X86_UD); /* ANDN */
	assert_int_equal(RUN("\x66\x0f\x38\xf6\xc1"), X86_UD); /* ADCX */
	OK("\xf3\x0f\xbd\xc1");                                /* LZCNT is BSR */
	assert_int_equal(cpu.reg[X86_RAX], 4);
	cpu_model.features = all;
	OK("\xf3\x0f\xbd\xc1");
	assert_int_equal(cpu.reg[X86_RAX], 27);
	OK("\x0f\xc7\xf0");
	assert_int_equal(status(), CF);
	/* VEX does not exist in real mode. */
	mode(2);
	cpu.s.cr0 &= ~X86_CR0_PE;
	assert_int_equal(RUN("\xc4\xe2\x78\xf2\xc1"), X86_UD);
	cpu.s.cr0 |= X86_CR0_PE;
}

static void cmpxchg16b_wants_alignment(void **state)
{
	(void)state;
	mode(8);
	cpu.reg[X86_RSI] = (uintptr_t)native_area + 8;
	assert_int_equal(RUN("\xf0\x48\x0f\xc7\x0e"), X86_GP);
	cpu.reg[X86_RSI] = (uintptr_t)native_area;
	cpu.reg[X86_RBX] = 7;
	cpu.reg[X86_RCX] = 9;
	OK("\xf0\x48\x0f\xc7\x0e");
	assert_int_equal(status() & ZF, ZF);
	assert_int_equal(word_at(8), 9);
	OK("\xf0\x48\x0f\xc7\x0e");
	assert_int_equal(status() & ZF, 0);
	assert_true(cpu.reg[X86_RAX] == 7 && cpu.reg[X86_RDX] == 9);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(packed_decimal_arithmetic_is_decimal, prepare),
		cmocka_unit_test_setup(unpacked_decimal_arithmetic_is_decimal, prepare),
		cmocka_unit_test_setup(division_faults_before_anything_changes, prepare),
		cmocka_unit_test_setup(pusha_and_popa_move_all_registers, prepare),
		cmocka_unit_test_setup(enter_copies_display_pointers, prepare),
		cmocka_unit_test_setup(stack_instructions_keep_rsp_when_they_fault, prepare),
		cmocka_unit_test_setup(branches_check_their_target, prepare),
		cmocka_unit_test_setup(loops_count_in_the_address_size, prepare),
		cmocka_unit_test_setup(bound_compares_signed, prepare),
		cmocka_unit_test_setup(high_bytes_and_extension, prepare),
		cmocka_unit_test_setup(strings_wrap_and_stop_in_16_bit_code, prepare),
		cmocka_unit_test_setup(repeated_strings_leave_when_they_are_wanted, prepare),
		cmocka_unit_test_setup(models_refuse_what_they_lack, prepare),
		cmocka_unit_test_setup(cmpxchg16b_wants_alignment, prepare),
	};

	if (!native_setup())
		return 77; /* meson: skipped */
	cpu_setup();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
