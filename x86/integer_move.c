/* SPDX-License-Identifier: Apache-2.0 */
/*
 * integer_move.c - MOV in all its forms, MOVZX MOVSX MOVSXD MOVBE MOVNTI LEA XCHG BSWAP XLAT CBW CWD.
 */
#include "x86/integer.h"
#include "x86/operand.h"

/* Functions made by macros, laid out by hand. */
// clang-format off

#define FOUR(name) { name##8, name##16, name##32, name##64 }
#define THREE(name) { [1] = name##16, name##32, name##64 }
#define HANDLERS(name) { .reg = FOUR(name##_reg), .mem = FOUR(name##_mem) }

#define MOV(bits)                                                                                                     \
	static void mov_rm_r_reg##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                              \
	{                                                                                                             \
		reg_set##bits(cpu, insn, insn->rm, reg_get##bits(cpu, insn, insn->reg));                              \
	}                                                                                                             \
	static void mov_rm_r_mem##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                              \
	{                                                                                                             \
		operand_write##bits(cpu, insn, reg_get##bits(cpu, insn, insn->reg));                                  \
	}                                                                                                             \
	static void mov_r_rm_reg##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                              \
	{                                                                                                             \
		reg_set##bits(cpu, insn, insn->reg, reg_get##bits(cpu, insn, insn->rm));                              \
	}                                                                                                             \
	static void mov_r_rm_mem##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                              \
	{                                                                                                             \
		reg_set##bits(cpu, insn, insn->reg, operand_read##bits(cpu, insn));                                   \
	}                                                                                                             \
	static void mov_rm_imm_reg##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                            \
	{                                                                                                             \
		reg_set##bits(cpu, insn, insn->rm, (uint##bits##_t)insn->imm);                                        \
	}                                                                                                             \
	static void mov_rm_imm_mem##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                            \
	{                                                                                                             \
		operand_write##bits(cpu, insn, (uint##bits##_t)insn->imm);                                            \
	}                                                                                                             \
	static void mov_load_offset##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                           \
	{                                                                                                             \
		uint64_t linear = x86_linear(cpu, insn->segment, insn->imm, bits / 8, false);                         \
		uint##bits##_t value = x86_read##bits(cpu, linear);                                                   \
                                                                                                                      \
		reg_set##bits(cpu, insn, X86_RAX, value);                                                             \
	}                                                                                                             \
	static void mov_store_offset##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                          \
	{                                                                                                             \
		uint64_t linear = x86_linear(cpu, insn->segment, insn->imm, bits / 8, true);                          \
                                                                                                                      \
		x86_write##bits(cpu, linear, (uint##bits##_t)cpu->reg[X86_RAX]);                                      \
	}                                                                                                             \
	static void xchg_reg##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                                  \
	{                                                                                                             \
		uint##bits##_t a = reg_get##bits(cpu, insn, insn->rm), b = reg_get##bits(cpu, insn, insn->reg);       \
                                                                                                                      \
		reg_set##bits(cpu, insn, insn->rm, b);                                                                \
		reg_set##bits(cpu, insn, insn->reg, a);                                                               \
	}                                                                                                             \
	static void xchg_plain##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                                \
	{                                                                                                             \
		uint64_t linear = x86_operand(cpu, insn, bits / 8, true);                                             \
		uint##bits##_t value = x86_read##bits(cpu, linear);                                                   \
                                                                                                                      \
		x86_write##bits(cpu, linear, reg_get##bits(cpu, insn, insn->reg));                                    \
		reg_set##bits(cpu, insn, insn->reg, value);                                                           \
	}                                                                                                             \
	/* Locked with and without the prefix. */                                                                     \
	static void xchg_mem##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                                  \
	{                                                                                                             \
		void *p = x86_pointer(cpu, x86_operand(cpu, insn, bits / 8, true), bits / 8);                         \
		uint##bits##_t value = reg_get##bits(cpu, insn, insn->reg);                                           \
                                                                                                                      \
		if (unlikely(!p)) {                                                                                   \
			x86_integer_exclusive(cpu, insn, xchg_plain##bits);                                           \
			return;                                                                                       \
		}                                                                                                     \
		asm volatile("xchg %[value], (%[p])" : [value] "+r"(value) : [p] "r"(p) : "memory");                  \
		reg_set##bits(cpu, insn, insn->reg, value);                                                           \
	}
MOV(8)
MOV(16)
MOV(32)
MOV(64)
const struct x86_handlers x86_integer_mov_rm_r = HANDLERS(mov_rm_r);
const struct x86_handlers x86_integer_mov_r_rm = HANDLERS(mov_r_rm);
const struct x86_handlers x86_integer_mov_rm_imm = HANDLERS(mov_rm_imm);
const struct x86_handlers x86_integer_mov_load_offset = { .reg = FOUR(mov_load_offset) };
const struct x86_handlers x86_integer_mov_store_offset = { .reg = FOUR(mov_store_offset) };
const struct x86_handlers x86_integer_movnti = { .mem = { [2] = mov_rm_r_mem32, mov_rm_r_mem64 } };
const struct x86_handlers x86_integer_xchg = { .reg = FOUR(xchg_reg), .mem = FOUR(xchg_mem), .lock = FOUR(xchg_mem) };

/* 90+r */
#define XCHG_ACCUMULATOR(bits)                                                                                        \
	static void xchg_accumulator##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                          \
	{                                                                                                             \
		uint##bits##_t a = reg_get##bits(cpu, insn, insn->rm), b = reg_get##bits(cpu, insn, X86_RAX);         \
                                                                                                                      \
		reg_set##bits(cpu, insn, insn->rm, b);                                                                \
		reg_set##bits(cpu, insn, X86_RAX, a);                                                                 \
	}
XCHG_ACCUMULATOR(16) XCHG_ACCUMULATOR(32) XCHG_ACCUMULATOR(64)
const struct x86_handlers x86_integer_xchg_accumulator = { .reg = THREE(xchg_accumulator) };

#define EXTEND(name, from, kind, bits)                                                                                \
	static void name##from##_reg##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                          \
	{                                                                                                             \
		reg_set##bits(cpu, insn, insn->reg, (uint##bits##_t)(kind##from##_t)reg_get##from(cpu, insn, insn->rm)); \
	}                                                                                                             \
	static void name##from##_mem##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                          \
	{                                                                                                             \
		reg_set##bits(cpu, insn, insn->reg, (uint##bits##_t)(kind##from##_t)operand_read##from(cpu, insn));   \
	}
#define EXTEND_ALL(name, from, kind) EXTEND(name, from, kind, 16) EXTEND(name, from, kind, 32) EXTEND(name, from, kind, 64)
EXTEND_ALL(movzx, 8, uint)
EXTEND_ALL(movzx, 16, uint)
EXTEND_ALL(movsx, 8, int)
EXTEND_ALL(movsx, 16, int)
EXTEND(movsx, 32, int, 32)
EXTEND(movsx, 32, int, 64)
#define EXTENSION(name) { .reg = THREE(name##_reg), .mem = THREE(name##_mem) }
const struct x86_handlers x86_integer_movzx8 = EXTENSION(movzx8);
const struct x86_handlers x86_integer_movzx16 = EXTENSION(movzx16);
const struct x86_handlers x86_integer_movsx8 = EXTENSION(movsx8);
const struct x86_handlers x86_integer_movsx16 = EXTENSION(movsx16);
/* Without REX.W, MOVSXD is a plain move. */
const struct x86_handlers x86_integer_movsxd = {
	.reg = { [1] = mov_r_rm_reg16, movsx32_reg32, movsx32_reg64 },
	.mem = { [1] = mov_r_rm_mem16, movsx32_mem32, movsx32_mem64 },
};

#define MOVBE(bits)                                                                                                   \
	static void movbe_load##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                                \
	{                                                                                                             \
		feature_require(cpu, X86_FEATURE_MOVBE);                                                              \
		reg_set##bits(cpu, insn, insn->reg, __builtin_bswap##bits(operand_read##bits(cpu, insn)));            \
	}                                                                                                             \
	static void movbe_store##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                               \
	{                                                                                                             \
		feature_require(cpu, X86_FEATURE_MOVBE);                                                              \
		operand_write##bits(cpu, insn, __builtin_bswap##bits(reg_get##bits(cpu, insn, insn->reg)));           \
	}                                                                                                             \
	static void lea##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                                       \
	{                                                                                                             \
		reg_set##bits(cpu, insn, insn->reg, (uint##bits##_t)x86_offset(cpu, insn));                           \
	}
MOVBE(16) MOVBE(32) MOVBE(64)
const struct x86_handlers x86_integer_movbe_load = { .mem = THREE(movbe_load) };
const struct x86_handlers x86_integer_movbe_store = { .mem = THREE(movbe_store) };
const struct x86_handlers x86_integer_lea = { .mem = THREE(lea) };

/* 16 bits are undefined: done by the host. */
static void bswap16(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t value = cpu->reg[insn->rm];

	asm(".byte 0x66\n\tbswap %%eax" : "+a"(value));
	cpu->reg[insn->rm] = value;
}
static void bswap32(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	cpu->reg[insn->rm] = __builtin_bswap32((uint32_t)cpu->reg[insn->rm]);
}
static void bswap64(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	cpu->reg[insn->rm] = __builtin_bswap64(cpu->reg[insn->rm]);
}
const struct x86_handlers x86_integer_bswap = { .reg = THREE(bswap) };

static void xlat(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t offset = (cpu->reg[X86_RBX] + (uint8_t)cpu->reg[X86_RAX]) & width_mask(insn->address_size);
	uint8_t value = x86_read8(cpu, x86_linear(cpu, insn->segment, offset, 1, false));

	cpu->reg[X86_RAX] = (cpu->reg[X86_RAX] & ~UINT64_C(0xff)) | value;
}
const struct x86_handlers x86_integer_xlat = { .reg = { xlat } };

/* CBW CWDE CDQE, and CWD CDQ CQO. */
#define WIDEN(bits, half)                                                                                             \
	static void cbw##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                                       \
	{                                                                                                             \
		reg_set##bits(cpu, insn, X86_RAX, (uint##bits##_t)(int##half##_t)cpu->reg[X86_RAX]);                  \
	}                                                                                                             \
	static void cwd##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                                       \
	{                                                                                                             \
		reg_set##bits(cpu, insn, X86_RDX, (uint##bits##_t)((int##bits##_t)cpu->reg[X86_RAX] >> (bits - 1)));  \
	}
WIDEN(16, 8) WIDEN(32, 16) WIDEN(64, 32)
const struct x86_handlers x86_integer_cbw = { .reg = THREE(cbw) };
const struct x86_handlers x86_integer_cwd = { .reg = THREE(cwd) };
