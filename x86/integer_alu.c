/* SPDX-License-Identifier: Apache-2.0 */
/*
 * integer_alu.c - ADD OR ADC SBB AND SUB XOR CMP and TEST.
 *
 * For each operation and width: the operation on values, on host memory, and on host memory with the host's LOCK, each the same host instruction; then the handlers
 * for r/m,r - r,r/m - r/m,imm. The opcode tables find them through the arrays at the end (integer.h).
 */
#include "x86/integer.h"
#include "x86/operand.h"

/* Functions made by macros, laid out by hand. */
// clang-format off

#define CARRY_NONE ""

/* op: the host's mnemonic. ax_in: how AX comes in ("=&a" not at all, "+&a" as the flags); before: what to do with it first. */
#define ALU_VALUE(op, bits, ax_in, before)                                                                            \
	static inline uint##bits##_t op##_value##bits(uint##bits##_t a, uint##bits##_t b, uint16_t *flags)            \
	{                                                                                                             \
		uint16_t ax = *flags;                                                                                 \
                                                                                                                      \
		asm(before #op " %[b], %[a]" FLAGS_SAVE : [a] "+&r"(a), ax_in(ax) : [b] "r"(b) : "cc");               \
		*flags = ax;                                                                                          \
		return a;                                                                                             \
	}
#define ALU_MEMORY(op, bits, suffix, ax_in, before)                                                                   \
	static inline void op##_at##bits(void *p, uint##bits##_t b, uint16_t *flags)                                  \
	{                                                                                                             \
		uint16_t ax = *flags;                                                                                 \
                                                                                                                      \
		asm volatile(before #op suffix " %[b], (%[p])" FLAGS_SAVE : ax_in(ax) : [b] "r"(b), [p] "r"(p) : "cc", "memory"); \
		*flags = ax;                                                                                          \
	}                                                                                                             \
	static inline void op##_lock##bits(void *p, uint##bits##_t b, uint16_t *flags)                                \
	{                                                                                                             \
		uint16_t ax = *flags;                                                                                 \
                                                                                                                      \
		asm volatile(before "lock; " #op suffix " %[b], (%[p])" FLAGS_SAVE                                    \
			     : ax_in(ax) : [b] "r"(b), [p] "r"(p) : "cc", "memory");                                  \
		*flags = ax;                                                                                          \
	}                                                                                                             \
	/* No pointer: a device, or two pages. Nothing changes before the write is through. */                        \
	static __attribute__((noinline)) void op##_slow##bits(struct x86_cpu *cpu, uint64_t linear, uint##bits##_t b) \
	{                                                                                                             \
		uint16_t flags = cpu->flags;                                                                          \
                                                                                                                      \
		x86_write##bits(cpu, linear, op##_value##bits(x86_read##bits(cpu, linear), b, &flags));               \
		cpu->flags = flags;                                                                                   \
	}                                                                                                             \
	static inline void op##_memory##bits(struct x86_cpu *cpu, const struct x86_insn *insn, uint##bits##_t b)      \
	{                                                                                                             \
		uint64_t linear = x86_operand(cpu, insn, bits / 8, true);                                             \
		void *p = x86_pointer(cpu, linear, bits / 8);                                                         \
                                                                                                                      \
		if (likely(p))                                                                                        \
			op##_at##bits(p, b, &cpu->flags);                                                             \
		else                                                                                                  \
			op##_slow##bits(cpu, linear, b);                                                              \
	}
#define IN_NONE(ax) "=&a"(ax)
#define IN_FLAGS(ax) "+&a"(ax)

#define ALU_HANDLERS_READ(op, bits)                                                                                   \
	static void op##_r_rm_reg##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                             \
	{                                                                                                             \
		uint##bits##_t a = reg_get##bits(cpu, insn, insn->reg), b = reg_get##bits(cpu, insn, insn->rm);       \
                                                                                                                      \
		reg_set##bits(cpu, insn, insn->reg, op##_value##bits(a, b, &cpu->flags));                             \
	}                                                                                                             \
	static void op##_r_rm_mem##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                             \
	{                                                                                                             \
		uint##bits##_t b = operand_read##bits(cpu, insn), a = reg_get##bits(cpu, insn, insn->reg);            \
                                                                                                                      \
		reg_set##bits(cpu, insn, insn->reg, op##_value##bits(a, b, &cpu->flags));                             \
	}
#define ALU_HANDLERS_WRITE(op, form, source, bits)                                                                    \
	static void op##_##form##_reg##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                         \
	{                                                                                                             \
		uint##bits##_t a = reg_get##bits(cpu, insn, insn->rm), b = source(bits);                              \
                                                                                                                      \
		reg_set##bits(cpu, insn, insn->rm, op##_value##bits(a, b, &cpu->flags));                              \
	}                                                                                                             \
	static void op##_##form##_mem##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                         \
	{                                                                                                             \
		op##_memory##bits(cpu, insn, source(bits));                                                           \
	}                                                                                                             \
	static void op##_##form##_lock##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                        \
	{                                                                                                             \
		void *p = x86_pointer(cpu, x86_operand(cpu, insn, bits / 8, true), bits / 8);                         \
                                                                                                                      \
		if (likely(p))                                                                                        \
			op##_lock##bits(p, source(bits), &cpu->flags);                                                \
		else                                                                                                  \
			x86_integer_exclusive(cpu, insn, op##_##form##_mem##bits);                                    \
	}
#define SOURCE_REG(bits) reg_get##bits(cpu, insn, insn->reg)
#define SOURCE_IMM(bits) (uint##bits##_t)insn->imm

#define ALU(op, bits, suffix, ax_in, before)                                                                          \
	ALU_VALUE(op, bits, ax_in, before)                                                                            \
	ALU_MEMORY(op, bits, suffix, ax_in, before)                                                                   \
	ALU_HANDLERS_READ(op, bits)                                                                                   \
	ALU_HANDLERS_WRITE(op, rm_r, SOURCE_REG, bits)                                                                \
	ALU_HANDLERS_WRITE(op, rm_imm, SOURCE_IMM, bits)
#define ALU_ALL(op, ax_in, before)                                                                                    \
	ALU(op, 8, "b", ax_in, before)                                                                                \
	ALU(op, 16, "w", ax_in, before)                                                                               \
	ALU(op, 32, "l", ax_in, before)                                                                               \
	ALU(op, 64, "q", ax_in, before)
ALU_ALL(add, IN_NONE, CARRY_NONE)
ALU_ALL(or, IN_NONE, CARRY_NONE)
ALU_ALL(adc, IN_FLAGS, FLAGS_RESTORE_CARRY)
ALU_ALL(sbb, IN_FLAGS, FLAGS_RESTORE_CARRY)
ALU_ALL(and, IN_NONE, CARRY_NONE)
ALU_ALL(sub, IN_NONE, CARRY_NONE)
ALU_ALL(xor, IN_NONE, CARRY_NONE)

/* CMP and TEST write nothing but flags. */
#define COMPARE(op, bits)                                                                                             \
	static inline uint16_t op##_value##bits(uint##bits##_t a, uint##bits##_t b)                                   \
	{                                                                                                             \
		uint16_t ax;                                                                                          \
                                                                                                                      \
		asm(#op " %[b], %[a]" FLAGS_SAVE : "=&a"(ax) : [a] "r"(a), [b] "r"(b) : "cc");                        \
		return ax;                                                                                            \
	}                                                                                                             \
	static void op##_rm_r_reg##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                             \
	{                                                                                                             \
		cpu->flags = op##_value##bits(reg_get##bits(cpu, insn, insn->rm), reg_get##bits(cpu, insn, insn->reg)); \
	}                                                                                                             \
	static void op##_rm_r_mem##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                             \
	{                                                                                                             \
		cpu->flags = op##_value##bits(operand_read##bits(cpu, insn), reg_get##bits(cpu, insn, insn->reg));    \
	}                                                                                                             \
	static void op##_rm_imm_reg##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                           \
	{                                                                                                             \
		cpu->flags = op##_value##bits(reg_get##bits(cpu, insn, insn->rm), (uint##bits##_t)insn->imm);         \
	}                                                                                                             \
	static void op##_rm_imm_mem##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                           \
	{                                                                                                             \
		cpu->flags = op##_value##bits(operand_read##bits(cpu, insn), (uint##bits##_t)insn->imm);              \
	}
#define COMPARE_TO_REGISTER(op, bits)                                                                                 \
	static void op##_r_rm_reg##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                             \
	{                                                                                                             \
		cpu->flags = op##_value##bits(reg_get##bits(cpu, insn, insn->reg), reg_get##bits(cpu, insn, insn->rm)); \
	}                                                                                                             \
	static void op##_r_rm_mem##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                             \
	{                                                                                                             \
		cpu->flags = op##_value##bits(reg_get##bits(cpu, insn, insn->reg), operand_read##bits(cpu, insn));    \
	}
COMPARE(cmp, 8) COMPARE(cmp, 16) COMPARE(cmp, 32) COMPARE(cmp, 64)
COMPARE_TO_REGISTER(cmp, 8) COMPARE_TO_REGISTER(cmp, 16) COMPARE_TO_REGISTER(cmp, 32) COMPARE_TO_REGISTER(cmp, 64)
COMPARE(test, 8) COMPARE(test, 16) COMPARE(test, 32) COMPARE(test, 64)

#define FOUR(name) { name##8, name##16, name##32, name##64 }
#define HANDLERS_WRITE(op, form) { .reg = FOUR(op##_##form##_reg), .mem = FOUR(op##_##form##_mem), .lock = FOUR(op##_##form##_lock) }
#define HANDLERS_READ(op, form) { .reg = FOUR(op##_##form##_reg), .mem = FOUR(op##_##form##_mem) }
#define EIGHT(form, HANDLERS) \
	{ HANDLERS(add, form), HANDLERS(or, form), HANDLERS(adc, form), HANDLERS(sbb, form), HANDLERS(and, form), HANDLERS(sub, form), \
	  HANDLERS(xor, form), HANDLERS_READ(cmp, form) }

const struct x86_handlers x86_integer_alu_rm_r[8] = EIGHT(rm_r, HANDLERS_WRITE);
const struct x86_handlers x86_integer_alu_r_rm[8] = EIGHT(r_rm, HANDLERS_READ);
const struct x86_handlers x86_integer_alu_rm_imm[8] = EIGHT(rm_imm, HANDLERS_WRITE);
const struct x86_handlers x86_integer_test_rm_r = HANDLERS_READ(test, rm_r);
const struct x86_handlers x86_integer_test_rm_imm = HANDLERS_READ(test, rm_imm);
