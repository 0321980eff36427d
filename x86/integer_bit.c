/* SPDX-License-Identifier: Apache-2.0 */
/*
 * integer_bit.c - BT BTS BTR BTC.
 *
 * With a register offset and a memory operand the bit string is not bounded by the operand: the offset, signed, chooses the word. Only CF is
 * defined; the flags are restored before, so that the rest is the host's.
 */
#include "x86/integer.h"
#include "x86/operand.h"

/* Functions made by macros, laid out by hand. */
// clang-format off

/* Linear address of the word that has bit `bit` (signed) of the memory operand. */
static inline uint64_t bit_word(struct x86_cpu *cpu, const struct x86_insn *insn, int64_t bit, unsigned size, bool write)
{
	uint64_t offset = x86_offset(cpu, insn) + (uint64_t)((bit >> (size == 2 ? 4 : size == 4 ? 5 : 6)) * (int64_t)size);

	return x86_linear(cpu, insn->segment, offset & width_mask(insn->address_size), size, write);
}

#define BIT_VALUE(op, bits)                                                                                           \
	static inline uint##bits##_t op##_value##bits(uint##bits##_t a, uint##bits##_t bit, uint16_t *flags)          \
	{                                                                                                             \
		uint16_t ax = *flags;                                                                                 \
                                                                                                                      \
		asm(FLAGS_RESTORE #op " %[bit], %[a]" FLAGS_SAVE : [a] "+&r"(a), "+&a"(ax) : [bit] "r"(bit) : "cc");  \
		*flags = ax;                                                                                          \
		return a;                                                                                             \
	}

#define BIT_TEST(bits)                                                                                                \
	BIT_VALUE(bt, bits)                                                                                           \
	static void bt_r_reg##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                                  \
	{                                                                                                             \
		bt_value##bits(reg_get##bits(cpu, insn, insn->rm), reg_get##bits(cpu, insn, insn->reg), &cpu->flags); \
	}                                                                                                             \
	static void bt_r_mem##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                                  \
	{                                                                                                             \
		uint##bits##_t bit = reg_get##bits(cpu, insn, insn->reg);                                             \
		uint64_t linear = bit_word(cpu, insn, (int##bits##_t)bit, bits / 8, false);                           \
                                                                                                                      \
		bt_value##bits(x86_read##bits(cpu, linear), bit, &cpu->flags);                                        \
	}                                                                                                             \
	static void bt_imm_reg##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                                \
	{                                                                                                             \
		bt_value##bits(reg_get##bits(cpu, insn, insn->rm), (uint##bits##_t)insn->imm, &cpu->flags);           \
	}                                                                                                             \
	static void bt_imm_mem##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                                \
	{                                                                                                             \
		bt_value##bits(operand_read##bits(cpu, insn), (uint##bits##_t)insn->imm, &cpu->flags);                \
	}
BIT_TEST(16)
BIT_TEST(32)
BIT_TEST(64)

/* `bit` is below `bits` when it comes to memory: the host must not go to another word. */
#define BIT_CHANGE(op, bits, suffix)                                                                                  \
	BIT_VALUE(op, bits)                                                                                           \
	static inline void op##_memory##bits(struct x86_cpu *cpu, uint64_t linear, uint##bits##_t bit)                \
	{                                                                                                             \
		void *p = x86_pointer(cpu, linear, bits / 8);                                                         \
		uint16_t ax = cpu->flags;                                                                             \
                                                                                                                      \
		if (likely(p))                                                                                        \
			asm volatile(FLAGS_RESTORE #op suffix " %[bit], (%[p])" FLAGS_SAVE                            \
				     : "+&a"(ax) : [bit] "r"(bit), [p] "r"(p) : "cc", "memory");                      \
		else                                                                                                  \
			x86_write##bits(cpu, linear, op##_value##bits(x86_read##bits(cpu, linear), bit, &ax));        \
		cpu->flags = ax;                                                                                      \
	}                                                                                                             \
	static inline void op##_locked##bits(struct x86_cpu *cpu, const struct x86_insn *insn, uint64_t linear, uint##bits##_t bit, \
					     x86_handler *plain)                                                      \
	{                                                                                                             \
		void *p = x86_pointer(cpu, linear, bits / 8);                                                         \
		uint16_t ax = cpu->flags;                                                                             \
                                                                                                                      \
		if (unlikely(!p)) {                                                                                   \
			x86_integer_exclusive(cpu, insn, plain);                                                      \
			return;                                                                                       \
		}                                                                                                     \
		asm volatile(FLAGS_RESTORE "lock; " #op suffix " %[bit], (%[p])" FLAGS_SAVE                           \
			     : "+&a"(ax) : [bit] "r"(bit), [p] "r"(p) : "cc", "memory");                              \
		cpu->flags = ax;                                                                                      \
	}                                                                                                             \
	static void op##_r_reg##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                                \
	{                                                                                                             \
		uint##bits##_t a = reg_get##bits(cpu, insn, insn->rm), bit = reg_get##bits(cpu, insn, insn->reg);     \
                                                                                                                      \
		reg_set##bits(cpu, insn, insn->rm, op##_value##bits(a, bit, &cpu->flags));                            \
	}                                                                                                             \
	static void op##_r_mem##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                                \
	{                                                                                                             \
		uint##bits##_t bit = reg_get##bits(cpu, insn, insn->reg);                                             \
                                                                                                                      \
		op##_memory##bits(cpu, bit_word(cpu, insn, (int##bits##_t)bit, bits / 8, true), bit & (bits - 1));    \
	}                                                                                                             \
	static void op##_r_lock##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                               \
	{                                                                                                             \
		uint##bits##_t bit = reg_get##bits(cpu, insn, insn->reg);                                             \
		uint64_t linear = bit_word(cpu, insn, (int##bits##_t)bit, bits / 8, true);                            \
                                                                                                                      \
		op##_locked##bits(cpu, insn, linear, bit & (bits - 1), op##_r_mem##bits);                             \
	}                                                                                                             \
	static void op##_imm_reg##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                              \
	{                                                                                                             \
		uint##bits##_t a = reg_get##bits(cpu, insn, insn->rm);                                                \
                                                                                                                      \
		reg_set##bits(cpu, insn, insn->rm, op##_value##bits(a, (uint##bits##_t)insn->imm, &cpu->flags));      \
	}                                                                                                             \
	static void op##_imm_mem##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                              \
	{                                                                                                             \
		op##_memory##bits(cpu, x86_operand(cpu, insn, bits / 8, true), (uint##bits##_t)insn->imm & (bits - 1)); \
	}                                                                                                             \
	static void op##_imm_lock##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                             \
	{                                                                                                             \
		uint64_t linear = x86_operand(cpu, insn, bits / 8, true);                                             \
                                                                                                                      \
		op##_locked##bits(cpu, insn, linear, (uint##bits##_t)insn->imm & (bits - 1), op##_imm_mem##bits);     \
	}
#define BIT_CHANGE_ALL(op) BIT_CHANGE(op, 16, "w") BIT_CHANGE(op, 32, "l") BIT_CHANGE(op, 64, "q")
BIT_CHANGE_ALL(bts)
BIT_CHANGE_ALL(btr)
BIT_CHANGE_ALL(btc)

#define THREE(name) { [1] = name##16, name##32, name##64 }
#define HANDLERS(op, form) { .reg = THREE(op##_##form##_reg), .mem = THREE(op##_##form##_mem), .lock = THREE(op##_##form##_lock) }
const struct x86_handlers x86_integer_bt_r = { .reg = THREE(bt_r_reg), .mem = THREE(bt_r_mem) };
const struct x86_handlers x86_integer_bt_imm = { .reg = THREE(bt_imm_reg), .mem = THREE(bt_imm_mem) };
const struct x86_handlers x86_integer_bts_r = HANDLERS(bts, r);
const struct x86_handlers x86_integer_bts_imm = HANDLERS(bts, imm);
const struct x86_handlers x86_integer_btr_r = HANDLERS(btr, r);
const struct x86_handlers x86_integer_btr_imm = HANDLERS(btr, imm);
const struct x86_handlers x86_integer_btc_r = HANDLERS(btc, r);
const struct x86_handlers x86_integer_btc_imm = HANDLERS(btc, imm);
