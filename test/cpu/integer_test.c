/* SPDX-License-Identifier: Apache-2.0 */
/*
 * integer_test.c - the integer handlers against the host's processor, in 64-bit code.
 *
 * Random encodings of every user-mode integer instruction that neither jumps nor uses the stack run on both sides with the same
 * registers and the same memory operand; registers, all status flags (the undefined ones too), memory and exceptions must be equal. Memory operands are tried
 * with TLB entries and without (the handlers' slow ways). What needs other code sizes or a stack is integer_legacy_test.c's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "test/cpu/native.h"
#include "x86/memory.h"

#ifdef __SANITIZE_ADDRESS__ /* slow; what is wrong with memory shows in fewer */
#define ROUNDS 120000
#define STRING_ROUNDS 30000
#else
#define ROUNDS 400000
#define STRING_ROUNDS 100000
#endif

static uint8_t before[NATIVE_AREA], after[NATIVE_AREA];

/* An encoding: prefixes, a map, an opcode, the rest noise. */
static void random_encoding(uint8_t bytes[16])
{
	static const uint8_t prefixes[] = {0x66, 0xf2, 0xf3, 0x67};
	uint8_t *at = bytes;
	unsigned map = random_below(16);

	random_bytes(bytes, 16);
	while (random_below(3) == 0 && at < bytes + 3)
		*at++ = prefixes[random_below(4)];
	if (map == 0) { /* VEX.L 0 */
		*at++ = 0xc4;
		*at = (uint8_t)((*at & 0xe0) | (random_below(4) ? 2 : 3));
		at[1] &= (uint8_t)~4;
		at[2] = (uint8_t)(at[0] & 1 ? 0xf0 : 0xf2 + random_below(6));
		return;
	}
	if (random_below(2))
		*at++ = (uint8_t)(0x40 | random_below(16));
	if (map < 8)
		*at++ = 0x0f;
	if (map == 1) {
		*at++ = 0x38;
		*at = (uint8_t)(0xf0 + random_below(7));
	}
}

/* Instructions that mean the same on both sides: no jump, stack, segment, system or string instruction, no RSP, no RIP. */
static bool comparable(const struct x86_insn *insn)
{
	static const char *const elsewhere[] = {"rdrand", "rdseed", "pause"};
	bool byte = insn->row->traits & X86_BYTE_OPERANDS && !(insn->prefixes & X86_PREFIX_REX);

	if (insn->row->traits & (X86_UNDEFINED | X86_ENDS_BLOCK | X86_STACK | X86_STRING | X86_PRIVILEGED | X86_SSE | X86_AVX |
				 X86_X87 | X86_MMX | X86_WAITING) ||
	    insn->row->reg_kind || insn->row->rm_kind || insn->prefixes & X86_PREFIX_SEGMENT)
		return false;
	for (unsigned i = 0; i < sizeof(elsewhere) / sizeof(elsewhere[0]); i++)
		if (!strcmp(insn->row->name, elsewhere[i]))
			return false;
	if ((insn->map == X86_MAP_1BYTE && (insn->opcode == 0x8c || (insn->opcode & 0xfc) == 0xa0 || insn->opcode == 0xd7 ||
					    insn->opcode == 0xfd || (insn->opcode & 0xf4) == 0xe4)) ||
	    (insn->map == X86_MAP_0F &&
	     (insn->opcode < 0x0d || (insn->opcode >= 0x30 && insn->opcode < 0x38) || insn->opcode == 0xae)) ||
	    (insn->map == X86_MAP_0F && insn->opcode == 0xc7 && insn->mod == 3))
		return false;
	if (insn->base == X86_RSP || insn->base == X86_RIP || insn->vvvv == X86_RSP ||
	    (!byte && (insn->reg == X86_RSP || insn->rm == X86_RSP)))
		return false;
	/* SETcc, MOVZX: bytes without X86_BYTE_OPERANDS on both operands */
	return true;
}

/* Points the memory operand into the area. */
static bool operand_aim(const struct x86_insn *insn, uint64_t target)
{
	if (insn->mod == 3)
		return true;
	if (insn->base == X86_NO_REG || insn->address_size != 8)
		return insn->opcode == 0x8d && insn->map == X86_MAP_1BYTE;
	memcpy(cpu.reg, native.gpr, sizeof(native.gpr));
	native.gpr[insn->base] += target - x86_offset(&cpu, insn);
	memcpy(cpu.reg, native.gpr, sizeof(native.gpr));
	return x86_offset(&cpu, insn) == target;
}

static void fail_with(const uint8_t *bytes, const struct x86_insn *insn, const char *what)
{
	print_message("%s:", insn->row->name);
	for (unsigned i = 0; i < insn->length; i++)
		print_message(" %02x", bytes[i]);
	print_message(": %s\n", what);
	fail();
}

/* Runs the instruction on both sides; memory as the host left it is in `after`. */
static void compare(const uint8_t *bytes, const struct x86_insn *insn)
{
	int host, ours;
	const char *difference;

	memcpy(before, native_area, NATIVE_AREA);
	cpu_from_native();
	cpu.s.rflags = (native.rflags & X86_FLAG_DF) | 2;
	host = native_run(bytes, insn->length);
	memcpy(after, native_area, NATIVE_AREA);
	memcpy(native_area, before, NATIVE_AREA);
	do {
		cpu.reg[X86_RIP] = 0x1000 + insn->length;
		ours = cpu_execute(insn->execute, insn);
	} while (ours == NATIVE_OK && cpu.reg[X86_RIP] == 0x1000); /* REP, not done */
	if (host != ours) {
		char text[64];

		snprintf(text, sizeof(text), "exception %d, native %d", ours, host);
		fail_with(bytes, insn, text);
	}
	difference = cpu_difference(false);
	if (difference)
		fail_with(bytes, insn, difference);
	if (memcmp(native_area, after, NATIVE_AREA))
		fail_with(bytes, insn, "memory");
}

/* Which of a processor's 12 and more encodings of an operation were met is left to chance, and there are enough of them. */
static void handlers_do_what_the_host_does(void **state)
{
	static bool seen[4][256];
	unsigned done = 0, opcodes = 0;

	(void)state;
	native_begin();
	while (done < ROUNDS) {
		uint8_t bytes[16];
		struct x86_insn insn;

		random_encoding(bytes);
		assert_int_equal(x86_decode(&insn, bytes, 15, 8), X86_DECODE_OK);
		if (!comparable(&insn))
			continue;
		if (done % 64 == 0) {
			random_bytes(native_area, NATIVE_AREA);
			cpu_tlb_use(random_below(4) != 0);
			cpu.mode = X86_MODE_SUPERVISOR;
		}
		random_registers();
		native.mxcsr = 0x1f80;
		if (random_below(2)) /* CMPXCHG should succeed now and then */
			memcpy(native_area + 4096 - 64, &native.gpr[X86_RAX], 8);
		/* BT's bit strings stay near the operand */
		if (insn.map == X86_MAP_0F && (insn.opcode & 0xe7) == 0xa3 && insn.mod != 3) {
			if (insn.reg == insn.base || insn.reg == insn.index)
				continue;
			native.gpr[insn.reg] = (uint64_t)((int64_t)random64() >> 50);
		}
		if (!operand_aim(&insn, (uintptr_t)native_area + (random_below(2) ? 4096 - 64 : 4096 - 24 + random_below(40))))
			continue;
		if (insn.row->traits & X86_ALIGNED && !operand_aim(&insn, (uintptr_t)native_area + 4096 - 64))
			continue;
		compare(bytes, &insn);
		seen[insn.map][insn.opcode] = true;
		done++;
	}
	for (unsigned i = 0; i < 1024; i++)
		opcodes += seen[i / 256][i % 256];
	assert_true(opcodes > 185);
}

/* REP and plain string instructions, both directions, all widths, overlapping, over page ends, and into memory that is not there. */
static void strings_do_what_the_host_does(void **state)
{
	static const uint8_t opcodes[] = {0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf};

	(void)state;
	native_begin();
	for (unsigned round = 0; round < STRING_ROUNDS; round++) {
		uint8_t bytes[16];
		unsigned n = 0, span = random_below(4) ? 200 : NATIVE_AREA + 16;
		struct x86_insn insn;

		if (round % 64 == 0) {
			random_bytes(native_area, NATIVE_AREA);
			cpu_tlb_use(random_below(4) != 0);
		}
		switch (random_below(4)) {
		case 0: break;
		case 1: bytes[n++] = 0xf2; break;
		default: bytes[n++] = 0xf3; break;
		}
		if (random_below(3) == 0)
			bytes[n++] = random_below(2) ? 0x66 : 0x48;
		bytes[n++] = opcodes[random_below(sizeof(opcodes))];
		assert_int_equal(x86_decode(&insn, bytes, 15, 8), X86_DECODE_OK);
		random_registers();
		native.mxcsr = 0x1f80;
		native.rflags |= random_below(3) ? 0 : X86_FLAG_DF;
		native.gpr[X86_RCX] = random_below(span);
		native.gpr[X86_RSI] = (uintptr_t)native_area + random_below(NATIVE_AREA);
		native.gpr[X86_RDI] = random_below(2) ? (uintptr_t)native_area + random_below(NATIVE_AREA)
						      : native.gpr[X86_RSI] + random_below(40) - 20;
		if (random_below(3) == 0) { /* equal runs for CMPS and SCAS */
			unsigned from = random_below(NATIVE_AREA / 2);

			memset(native_area + from, (int)(native.gpr[X86_RAX] = random_below(2) ? 0 : 0x0101010101010101),
			       NATIVE_AREA / 2);
		}
		compare(bytes, &insn);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(handlers_do_what_the_host_does),
		cmocka_unit_test(strings_do_what_the_host_does),
	};

	if (!native_setup())
		return 77; /* meson: skipped. The host has no AVX2 to compare with */
	cpu_setup();
	cpu_model.intel = __builtin_cpu_is("intel");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
