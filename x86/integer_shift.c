/* SPDX-License-Identifier: Apache-2.0 */
/*
 * integer_shift.c - rotates, shifts and double shifts.
 *
 * All flags are restored before the host's instruction: a count of 0 keeps them, rotates keep most. The count is CL on the host whatever it is in
 * the guest.
 */
#include "x86/integer.h"
#include "x86/operand.h"

/* Functions made by macros, laid out by hand. */
// clang-format off

#define SHIFT(op, bits)                                                                                               \
	static inline uint##bits##_t op##_value##bits(uint##bits##_t a, uint8_t count, uint16_t *flags)               \
	{                                                                                                             \
		uint16_t ax = *flags;                                                                                 \
                                                                                                                      \
		asm(FLAGS_RESTORE #op " %%cl, %[a]" FLAGS_SAVE : [a] "+&r"(a), "+&a"(ax) : "c"(count) : "cc");        \
		*flags = ax;                                                                                          \
		return a;                                                                                             \
	}                                                                                                             \
	static inline void op##_memory##bits(struct x86_cpu *cpu, const struct x86_insn *insn, uint8_t count)         \
	{                                                                                                             \
		uint64_t linear = x86_operand(cpu, insn, bits / 8, true);                                             \
		void *p = x86_pointer(cpu, linear, bits / 8);                                                         \
		uint16_t flags = cpu->flags;                                                                          \
		uint##bits##_t a;                                                                                     \
                                                                                                                      \
		if (likely(p)) {                                                                                      \
			__builtin_memcpy(&a, p, sizeof(a));                                                           \
			a = op##_value##bits(a, count, &flags);                                                       \
			__builtin_memcpy(p, &a, sizeof(a));                                                           \
		} else {                                                                                              \
			x86_write##bits(cpu, linear, op##_value##bits(x86_read##bits(cpu, linear), count, &flags));   \
		}                                                                                                     \
		cpu->flags = flags;                                                                                   \
	}                                                                                                             \
	SHIFT_FORM(op, bits, 1, 1)                                                                                    \
	SHIFT_FORM(op, bits, imm, (uint8_t)insn->imm)                                                                 \
	SHIFT_FORM(op, bits, cl, (uint8_t)cpu->reg[X86_RCX])
#define SHIFT_FORM(op, bits, form, count)                                                                             \
	static void op##_##form##_reg##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                         \
	{                                                                                                             \
		uint##bits##_t a = reg_get##bits(cpu, insn, insn->rm);                                                \
                                                                                                                      \
		reg_set##bits(cpu, insn, insn->rm, op##_value##bits(a, count, &cpu->flags));                          \
	}                                                                                                             \
	static void op##_##form##_mem##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                         \
	{                                                                                                             \
		op##_memory##bits(cpu, insn, count);                                                                  \
	}
#define SHIFT_ALL(op) SHIFT(op, 8) SHIFT(op, 16) SHIFT(op, 32) SHIFT(op, 64)
SHIFT_ALL(rol)
SHIFT_ALL(ror)
SHIFT_ALL(rcl)
SHIFT_ALL(rcr)
SHIFT_ALL(shl)
SHIFT_ALL(shr)
SHIFT_ALL(sar)

#define FOUR(name) { name##8, name##16, name##32, name##64 }
#define HANDLERS(op, form) { .reg = FOUR(op##_##form##_reg), .mem = FOUR(op##_##form##_mem) }
#define EIGHT(form) { HANDLERS(rol, form), HANDLERS(ror, form), HANDLERS(rcl, form), HANDLERS(rcr, form), HANDLERS(shl, form), \
		      HANDLERS(shr, form), HANDLERS(shl, form), HANDLERS(sar, form) }
const struct x86_handlers x86_integer_shift_1[8] = EIGHT(1);
const struct x86_handlers x86_integer_shift_imm[8] = EIGHT(imm);
const struct x86_handlers x86_integer_shift_cl[8] = EIGHT(cl);

#define SHIFT_DOUBLE(op, bits)                                                                                        \
	static inline uint##bits##_t op##_value##bits(uint##bits##_t a, uint##bits##_t b, uint8_t count, uint16_t *flags) \
	{                                                                                                             \
		uint16_t ax = *flags;                                                                                 \
                                                                                                                      \
		asm(FLAGS_RESTORE #op " %%cl, %[b], %[a]" FLAGS_SAVE : [a] "+&r"(a), "+&a"(ax) : [b] "r"(b), "c"(count) : "cc"); \
		*flags = ax;                                                                                          \
		return a;                                                                                             \
	}                                                                                                             \
	SHIFT_DOUBLE_FORM(op, bits, imm, (uint8_t)insn->imm)                                                          \
	SHIFT_DOUBLE_FORM(op, bits, cl, (uint8_t)cpu->reg[X86_RCX])
#define SHIFT_DOUBLE_FORM(op, bits, form, count)                                                                      \
	static void op##_##form##_reg##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                         \
	{                                                                                                             \
		uint##bits##_t a = reg_get##bits(cpu, insn, insn->rm), b = reg_get##bits(cpu, insn, insn->reg);       \
                                                                                                                      \
		reg_set##bits(cpu, insn, insn->rm, op##_value##bits(a, b, count, &cpu->flags));                       \
	}                                                                                                             \
	static void op##_##form##_mem##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                         \
	{                                                                                                             \
		uint64_t linear = x86_operand(cpu, insn, bits / 8, true);                                             \
		void *p = x86_pointer(cpu, linear, bits / 8);                                                         \
		uint##bits##_t a, b = reg_get##bits(cpu, insn, insn->reg);                                            \
		uint16_t flags = cpu->flags;                                                                          \
                                                                                                                      \
		if (likely(p)) {                                                                                      \
			__builtin_memcpy(&a, p, sizeof(a));                                                           \
			a = op##_value##bits(a, b, count, &flags);                                                    \
			__builtin_memcpy(p, &a, sizeof(a));                                                           \
		} else {                                                                                              \
			a = op##_value##bits(x86_read##bits(cpu, linear), b, count, &flags);                          \
			x86_write##bits(cpu, linear, a);                                                              \
		}                                                                                                     \
		cpu->flags = flags;                                                                                   \
	}
SHIFT_DOUBLE(shld, 16) SHIFT_DOUBLE(shld, 32) SHIFT_DOUBLE(shld, 64)
SHIFT_DOUBLE(shrd, 16) SHIFT_DOUBLE(shrd, 32) SHIFT_DOUBLE(shrd, 64)

#define THREE(name) { [1] = name##16, name##32, name##64 }
#define HANDLERS_DOUBLE(op, form) { .reg = THREE(op##_##form##_reg), .mem = THREE(op##_##form##_mem) }
const struct x86_handlers x86_integer_shld_imm = HANDLERS_DOUBLE(shld, imm);
const struct x86_handlers x86_integer_shld_cl = HANDLERS_DOUBLE(shld, cl);
const struct x86_handlers x86_integer_shrd_imm = HANDLERS_DOUBLE(shrd, imm);
const struct x86_handlers x86_integer_shrd_cl = HANDLERS_DOUBLE(shrd, cl);
