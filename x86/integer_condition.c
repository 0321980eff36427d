/* SPDX-License-Identifier: Apache-2.0 */
/*
 * integer_condition.c - SETcc CMOVcc Jcc: a handler for each condition, so that x86_condition folds to one test.
 */
#include "x86/integer.h"
#include "x86/operand.h"

/* Functions made by macros, laid out by hand. */
// clang-format off

#define CMOV(n, bits)                                                                                                 \
	/* A 32-bit destination is extended even if nothing moves. */                                                 \
	static void cmov##n##_reg##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                             \
	{                                                                                                             \
		unsigned source = x86_condition(cpu->flags, n) ? insn->rm : insn->reg;                                \
                                                                                                                      \
		reg_set##bits(cpu, insn, insn->reg, (uint##bits##_t)cpu->reg[source]);                                \
	}                                                                                                             \
	static void cmov##n##_mem##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                             \
	{                                                                                                             \
		uint##bits##_t value = operand_read##bits(cpu, insn);                                                 \
                                                                                                                      \
		if (!x86_condition(cpu->flags, n))                                                                    \
			value = (uint##bits##_t)cpu->reg[insn->reg];                                                  \
		reg_set##bits(cpu, insn, insn->reg, value);                                                           \
	}
#define CONDITION(n)                                                                                                  \
	CMOV(n, 16) CMOV(n, 32) CMOV(n, 64)                                                                           \
	static void set##n##_reg(struct x86_cpu *cpu, const struct x86_insn *insn)                                    \
	{                                                                                                             \
		reg_set8(cpu, insn, insn->rm, x86_condition(cpu->flags, n));                                          \
	}                                                                                                             \
	static void set##n##_mem(struct x86_cpu *cpu, const struct x86_insn *insn)                                    \
	{                                                                                                             \
		operand_write8(cpu, insn, x86_condition(cpu->flags, n));                                              \
	}                                                                                                             \
	static void jump##n(struct x86_cpu *cpu, const struct x86_insn *insn)                                         \
	{                                                                                                             \
		if (x86_condition(cpu->flags, n))                                                                     \
			jump_near(cpu, insn, cpu->reg[X86_RIP] + insn->imm);                                          \
	}
CONDITION(0) CONDITION(1) CONDITION(2) CONDITION(3) CONDITION(4) CONDITION(5) CONDITION(6) CONDITION(7)
CONDITION(8) CONDITION(9) CONDITION(10) CONDITION(11) CONDITION(12) CONDITION(13) CONDITION(14) CONDITION(15)

#define SIXTEEN(ROW) \
	{ ROW(0), ROW(1), ROW(2), ROW(3), ROW(4), ROW(5), ROW(6), ROW(7), ROW(8), ROW(9), ROW(10), ROW(11), ROW(12), ROW(13), ROW(14), ROW(15) }
#define SET_ROW(n) { .reg = { set##n##_reg }, .mem = { set##n##_mem } }
#define CMOV_ROW(n) { .reg = { [1] = cmov##n##_reg16, cmov##n##_reg32, cmov##n##_reg64 }, \
		      .mem = { [1] = cmov##n##_mem16, cmov##n##_mem32, cmov##n##_mem64 } }
#define JUMP_ROW(n) { .reg = { [1] = jump##n, jump##n, jump##n } }
const struct x86_handlers x86_integer_setcc[16] = SIXTEEN(SET_ROW);
const struct x86_handlers x86_integer_cmovcc[16] = SIXTEEN(CMOV_ROW);
const struct x86_handlers x86_integer_jcc[16] = SIXTEEN(JUMP_ROW);
