/* SPDX-License-Identifier: Apache-2.0 */
/*
 * x87_test.c - all of D8 to DF against the host's processor, with random control words, stacks, pending and unmasked exceptions.
 *
 * The last instruction and operand pointers are left out of the comparison (AMD's processors keep them only for exceptions) and tested by themselves.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "test/cpu/native.h"

#define TRIALS 400
#define MEMORY_OFFSET 2048u

static bool prepare(uint8_t opcode, uint8_t modrm, bool prefix_66, struct x86_insn *insn)
{
	bool memory = modrm < 0xc0;

	*insn = (struct x86_insn){
		.length = prefix_66 ? 3 : 2,
		.opcode = opcode,
		.map = X86_MAP_1BYTE,
		.encoding = X86_LEGACY,
		.operand_size = prefix_66 ? 2 : 4,
		.address_size = 8,
		.code_size = 8,
		.mod = memory ? 0 : 3,
		.reg = modrm >> 3 & 7,
		.rm = modrm & 7,
		.base = memory ? X86_RSI : X86_NO_REG,
		.index = X86_NO_REG,
		.segment = X86_DS,
	};
	insn->row = x86_vector_decode(insn, modrm, &insn->execute);
	return insn->row;
}

/* Loads want extended, double and integer values alike. */
static void operand_fill(void)
{
	random_vector(native_area + MEMORY_OFFSET, 128);
	if (random_below(2)) {
		uint8_t keep[512];

		memcpy(keep, native.fx, 512);
		random_x87();
		memcpy(native_area + MEMORY_OFFSET, native.fx + 32, 16);
		memcpy(native.fx, keep, 512);
	}
}

/* An environment that FLDENV may get: the words' upper halves, random tags; pointers are zero, as the host would change them. */
static void environment_fill(unsigned word)
{
	uint8_t *env = native_area + MEMORY_OFFSET, keep[512];

	memcpy(keep, native.fx, 512);
	random_x87();
	memset(env, 0, 7 * word);
	memcpy(env, native.fx, 2);
	memcpy(env + word, native.fx + 2, 2);
	random_bytes(env + 2 * word, 2);
	for (unsigned i = 0; i < 8; i++)
		memcpy(env + 7 * word + 10 * i, native.fx + 32 + 16 * i, 10);
	memcpy(native.fx, keep, 512);
}

static bool trial(uint8_t opcode, uint8_t modrm, bool prefix_66)
{
	static uint8_t before[NATIVE_AREA], after[NATIVE_AREA];
	uint8_t bytes[3], *end = bytes;
	unsigned word = prefix_66 ? 2 : 4, digit = modrm >> 3 & 7;
	bool environment = modrm < 0xc0 && ((opcode == 0xd9 && (digit & 5) == 4) || (opcode == 0xdd && (digit & 5) == 4));
	bool defined = true, good;
	struct x86_insn insn;
	int expected, got;
	const char *why;

	if (prefix_66)
		*end++ = 0x66;
	*end++ = opcode;
	*end++ = modrm;
	defined = prepare(opcode, modrm, prefix_66, &insn);
	random_registers();
	if (!defined)
		memset(native.fx + 2, 0, 2);
	operand_fill();
	if (environment)
		environment_fill(word);
	native.gpr[X86_RSI] = (uintptr_t)native_area + MEMORY_OFFSET;
	if (random_below(32) == 0)
		native.gpr[X86_RSI] = (uintptr_t)native_area + NATIVE_AREA - random_below(12);
	cpu_from_native();
	cpu.reg[X86_RIP] = 0x1234;
	memcpy(before, native_area, NATIVE_AREA);
	expected = native_run(bytes, (unsigned)(end - bytes));
	memcpy(after, native_area, NATIVE_AREA);
	memcpy(native_area, before, NATIVE_AREA);
	if (!defined) {
		if (expected != X86_UD)
			print_message("%02x %02x is not in the tables, native %d\n", opcode, modrm, expected);
		return expected == X86_UD;
	}
	got = cpu_execute(insn.execute, &insn);
	if (environment && !(digit & 1 && opcode == 0xd9) && (digit & 2)) { /* stored pointers */
		memset(native_area + MEMORY_OFFSET + 3 * word, 0, 4 * word);
		memset(after + MEMORY_OFFSET + 3 * word, 0, 4 * word);
	}
	why = cpu_difference(true);
	good = expected == got && !why && !memcmp(after, native_area, NATIVE_AREA);
	if (!good) {
		print_message("%02x %02x %s%s: exception %d, native %d; %s\n", opcode, modrm, insn.row->name,
			      prefix_66 ? " 66" : "", got, expected, why ? why : "memory");
	}
	return good;
}

static void every_opcode_behaves_as_on_the_host(void **state)
{
	unsigned failed = 0;

	(void)state;
	native_begin();
	for (unsigned opcode = 0xd8; opcode <= 0xdf; opcode++) {
		for (unsigned modrm = 6; modrm < 256; modrm = modrm < 0x3e ? modrm + 8 : modrm < 0xc0 ? 0xc0 : modrm + 1) {
			bool good = true;

			for (unsigned n = 0; n < (modrm < 0xc0 ? TRIALS * 4 : TRIALS) && good; n++)
				good = trial((uint8_t)opcode, (uint8_t)modrm, n & 1);
			failed += !good;
		}
	}
	assert_int_equal(failed, 0);
}

static struct x86_insn memory_insn(uint8_t opcode, uint8_t digit, uint8_t operand_size)
{
	struct x86_insn insn;

	assert_true(prepare(opcode, (uint8_t)(digit << 3 | 6), operand_size == 2, &insn));
	return insn;
}

static int run(const struct x86_insn *insn)
{
	return cpu_execute(insn->execute, insn);
}

static void clean(void)
{
	memset(native.fx, 0, sizeof(native.fx));
	native.fx[0] = 0x7f;
	native.fx[1] = 0x03;
	native.gpr[X86_RSI] = (uintptr_t)native_area;
	native.mxcsr = 0x1f80;
	native.rflags = 2;
	cpu_from_native();
}

static uint32_t word_at(unsigned offset)
{
	uint32_t value;

	memcpy(&value, native_area + offset, 4);
	return value;
}

static void pointers_name_the_last_instruction(void **state)
{
	struct x86_insn fld = memory_insn(0xd9, 0, 4), store = memory_insn(0xd9, 6, 4), control = memory_insn(0xd9, 7, 4),
			store16 = memory_insn(0xd9, 6, 2);

	(void)state;
	native_begin();
	clean();
	memset(native_area, 0, 64);
	cpu.reg[X86_RIP] = 0x11223344;
	assert_int_equal(run(&fld), NATIVE_OK);
	cpu.reg[X86_RIP] = 0x55555555; /* a control instruction leaves no trace */
	assert_int_equal(run(&control), NATIVE_OK);
	assert_int_equal(run(&store), NATIVE_OK);
	assert_int_equal(word_at(0), 0xffff037f);
	assert_int_equal(word_at(4), 0xffff3800);
	assert_int_equal(word_at(8), 0xffff7fff); /* +0.0: physical register 7 is zero */
	assert_int_equal(word_at(12), 0x11223342);
	assert_int_equal(word_at(16), 0x01060000); /* D9 06; no selector */
	assert_int_equal(word_at(20), (uint32_t)(uintptr_t)native_area);
	assert_int_equal(word_at(24), 0xffff0000);
	assert_int_equal(run(&store16), NATIVE_OK);
	assert_int_equal(word_at(4), 0x33427fff);
	assert_int_equal(word_at(8), (uint32_t)(uintptr_t)native_area << 16);
}

static void real_mode_formats_hold_linear_addresses(void **state)
{
	struct x86_insn fld = memory_insn(0xd9, 0, 4), store = memory_insn(0xd9, 6, 4), load = memory_insn(0xd9, 4, 4),
			store16 = memory_insn(0xd9, 6, 2);
	struct x86_x87 saved;

	(void)state;
	native_begin();
	clean();
	memset(native_area, 0, 64);
	cpu.s.cr0 &= ~X86_CR0_PE;
	cpu.s.segment[X86_CS].base = 0x12340;
	cpu.reg[X86_RIP] = 0xa002;
	assert_int_equal(run(&fld), NATIVE_OK);
	cpu.s.x87.fdp = 0xabcde;
	assert_int_equal(run(&store), NATIVE_OK);
	assert_int_equal(word_at(12), 0xffffc340);
	assert_int_equal(word_at(16), 0x00001106);
	assert_int_equal(word_at(20), 0xffffbcde);
	assert_int_equal(word_at(24), 0x0000a000);
	saved = cpu.s.x87;
	cpu.s.x87.fip = cpu.s.x87.fdp = cpu.s.x87.fop = 0;
	assert_int_equal(run(&load), NATIVE_OK);
	assert_memory_equal(&cpu.s.x87, &saved, sizeof(saved));
	assert_int_equal(run(&store16), NATIVE_OK);
	assert_int_equal(word_at(4), 0xc3407fff);
	assert_int_equal(word_at(8), 0xbcde1106);
	cpu.s.cr0 |= X86_CR0_PE;
	cpu.s.segment[X86_CS].base = 0;
}

static void exceptions_wait_for_the_next_waiting_instruction(void **state)
{
	struct x86_insn fdiv, status, fwait = {.opcode = 0x9b, .length = 1, .code_size = 8, .mod = 3};

	(void)state;
	native_begin();
	fwait.row = x86_vector_decode(&fwait, 0, &fwait.execute);
	assert_non_null(fwait.row);
	assert_true(prepare(0xd8, 0xf1, false, &fdiv));
	assert_true(prepare(0xdf, 0xe0, false, &status));
	clean();
	cpu.s.x87.fcw = 0x037b; /* division by zero is not masked */
	cpu.s.x87.ftw = 3;
	cpu.s.x87.st[0][7] = 0x80;
	cpu.s.x87.st[0][8] = 0xff;
	cpu.s.x87.st[0][9] = 0x3f; /* 1.0 / 0.0 */
	assert_int_equal(run(&fdiv), NATIVE_OK);
	assert_int_equal(run(&status), NATIVE_OK); /* does not wait */
	assert_int_equal(cpu.reg[X86_RAX] & 0x80ff, 0x8084);
	assert_int_equal(run(&fwait), X86_MF);
	assert_int_equal(run(&fdiv), X86_MF);
	cpu.s.cr0 &= ~X86_CR0_NE; /* nobody listens to FERR# */
	assert_int_equal(run(&fwait), NATIVE_OK);
	assert_int_equal(run(&fdiv), NATIVE_OK);
	cpu.s.cr0 |= X86_CR0_NE;
	assert_int_equal(cpu.s.x87.fsw & 0x80ff, 0x8084);
	cpu.s.cr0 |= X86_CR0_TS;
	assert_int_equal(run(&fwait), X86_MF); /* without MP it does not look at TS */
	cpu.s.cr0 |= X86_CR0_MP;
	assert_int_equal(run(&fwait), X86_NM);
	assert_int_equal(run(&status), X86_NM);
	cpu.s.cr0 &= ~(X86_CR0_TS | X86_CR0_MP);
	cpu.s.cr0 |= X86_CR0_EM;
	assert_int_equal(run(&status), X86_NM);
	cpu.s.cr0 &= ~X86_CR0_EM;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_opcode_behaves_as_on_the_host),
		cmocka_unit_test(pointers_name_the_last_instruction),
		cmocka_unit_test(real_mode_formats_hold_linear_addresses),
		cmocka_unit_test(exceptions_wait_for_the_next_waiting_instruction),
	};

	if (!native_setup())
		return 77; /* meson: skipped */
	cpu_setup();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
