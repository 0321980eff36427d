/* SPDX-License-Identifier: Apache-2.0 */
/*
 * integer_multiply.c - MUL IMUL DIV IDIV.
 *
 * The flags are restored before the host's instruction: what it leaves alone or undefined comes out as on the host. DIV and IDIV look for #DE
 * themselves, so that the host's never faults.
 */
#include "x86/integer.h"
#include "x86/operand.h"

/* Functions made by macros, laid out by hand. */
// clang-format off

/* In the wide forms rAX holds flags when the asm begins and ends, and the operand in between; MOV leaves flags alone. */
#define WIDE_ASM(op, rax) FLAGS_RESTORE "mov %[low], %%" rax "\n\t" op " %[source]\n\tmov %%" rax ", %[low]" FLAGS_SAVE

#define MULTIPLY(op, bits, rax)                                                                                       \
	static void op##_value##bits(struct x86_cpu *cpu, const struct x86_insn *insn, uint##bits##_t source)         \
	{                                                                                                             \
		uint##bits##_t low = (uint##bits##_t)cpu->reg[X86_RAX], high;                                         \
		uint16_t ax = cpu->flags;                                                                             \
                                                                                                                      \
		asm(WIDE_ASM(#op, rax) : [low] "+&r"(low), "+&a"(ax), "=&d"(high) : [source] "r"(source) : "cc");     \
		reg_set##bits(cpu, insn, X86_RAX, low);                                                               \
		reg_set##bits(cpu, insn, X86_RDX, high);                                                              \
		cpu->flags = ax;                                                                                      \
	}                                                                                                             \
	WIDE_HANDLERS(op, bits)
/* 8 bits: AX = AL * source. */
#define MULTIPLY8(op)                                                                                                 \
	static void op##_value8(struct x86_cpu *cpu, const struct x86_insn *insn, uint8_t source)                     \
	{                                                                                                             \
		uint16_t low = (uint16_t)cpu->reg[X86_RAX], ax = cpu->flags;                                          \
                                                                                                                      \
		asm(WIDE_ASM(#op "b", "ax") : [low] "+&r"(low), "+&a"(ax) : [source] "r"(source) : "cc");             \
		reg_set16(cpu, insn, X86_RAX, low);                                                                   \
		cpu->flags = ax;                                                                                      \
	}                                                                                                             \
	WIDE_HANDLERS(op, 8)
#define WIDE_HANDLERS(op, bits)                                                                                       \
	static void op##_reg##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                                  \
	{                                                                                                             \
		op##_value##bits(cpu, insn, reg_get##bits(cpu, insn, insn->rm));                                      \
	}                                                                                                             \
	static void op##_mem##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                                  \
	{                                                                                                             \
		op##_value##bits(cpu, insn, operand_read##bits(cpu, insn));                                           \
	}
MULTIPLY8(mul)
MULTIPLY(mul, 16, "ax") MULTIPLY(mul, 32, "eax") MULTIPLY(mul, 64, "rax")
MULTIPLY8(imul)
MULTIPLY(imul, 16, "ax") MULTIPLY(imul, 32, "eax") MULTIPLY(imul, 64, "rax")

/* Does |high:low| / |source| leave the range of a quotient? `high`'s sign is the dividend's. */
#define QUOTIENT_FITS(bits, wide)                                                                                     \
	static inline bool quotient_fits##bits(uint##bits##_t high, uint##bits##_t low, uint##bits##_t source)        \
	{                                                                                                             \
		wide dividend = (wide)high << bits | low, magnitude = high >> (bits - 1) ? -dividend : dividend;      \
		uint##bits##_t divisor = source >> (bits - 1) ? (uint##bits##_t)-source : source;                     \
		bool negative = (high ^ source) >> (bits - 1);                                                        \
		wide most = ((wide)1 << (bits - 1)) - 1 + negative; /* the largest magnitude that fits */             \
                                                                                                                      \
		/* magnitude / divisor <= most, without dividing */                                                   \
		return divisor && magnitude <= most * divisor + (wide)(divisor - 1);                                  \
	}
QUOTIENT_FITS(16, uint32_t)
QUOTIENT_FITS(32, uint64_t)
QUOTIENT_FITS(64, unsigned __int128)
#define QUOTIENT_FITS_UNSIGNED(high, low, source) ((high) < (source))

#define DIVIDE(op, bits, rax, fits)                                                                                   \
	static void op##_value##bits(struct x86_cpu *cpu, const struct x86_insn *insn, uint##bits##_t source)         \
	{                                                                                                             \
		uint##bits##_t low = (uint##bits##_t)cpu->reg[X86_RAX], high = (uint##bits##_t)cpu->reg[X86_RDX];     \
		uint16_t ax = cpu->flags;                                                                             \
                                                                                                                      \
		if (unlikely(!fits(high, low, source)))                                                               \
			x86_raise(cpu, X86_DE);                                                                       \
		asm(WIDE_ASM(#op, rax) : [low] "+&r"(low), "+&a"(ax), "+&d"(high) : [source] "r"(source) : "cc");     \
		reg_set##bits(cpu, insn, X86_RAX, low);                                                               \
		reg_set##bits(cpu, insn, X86_RDX, high);                                                              \
		cpu->flags = ax;                                                                                      \
	}                                                                                                             \
	WIDE_HANDLERS(op, bits)
DIVIDE(div, 16, "ax", QUOTIENT_FITS_UNSIGNED)
DIVIDE(div, 32, "eax", QUOTIENT_FITS_UNSIGNED)
DIVIDE(div, 64, "rax", QUOTIENT_FITS_UNSIGNED)
DIVIDE(idiv, 16, "ax", quotient_fits16)
DIVIDE(idiv, 32, "eax", quotient_fits32)
DIVIDE(idiv, 64, "rax", quotient_fits64)

/* 8 bits: AL, AH = AX / source. */
#define DIVIDE8(op, fits)                                                                                             \
	static void op##_value8(struct x86_cpu *cpu, const struct x86_insn *insn, uint8_t source)                     \
	{                                                                                                             \
		uint16_t low = (uint16_t)cpu->reg[X86_RAX], ax = cpu->flags;                                          \
                                                                                                                      \
		if (unlikely(!(fits)))                                                                                \
			x86_raise(cpu, X86_DE);                                                                       \
		asm(WIDE_ASM(#op "b", "ax") : [low] "+&r"(low), "+&a"(ax) : [source] "r"(source) : "cc");             \
		reg_set16(cpu, insn, X86_RAX, low);                                                                   \
		cpu->flags = ax;                                                                                      \
	}                                                                                                             \
	WIDE_HANDLERS(op, 8)
static inline bool quotient_fits8(int16_t dividend, int8_t source)
{
	return source && dividend / source >= INT8_MIN && dividend / source <= INT8_MAX;
}
DIVIDE8(div, low >> 8 < source)
DIVIDE8(idiv, quotient_fits8((int16_t)low, (int8_t)source))

/* IMUL with two and three operands: reg = a * b. */
#define MULTIPLY_REG(bits)                                                                                            \
	static inline void imul_to_reg##bits(struct x86_cpu *cpu, const struct x86_insn *insn, uint##bits##_t a, uint##bits##_t b) \
	{                                                                                                             \
		uint16_t ax = cpu->flags;                                                                             \
                                                                                                                      \
		asm(FLAGS_RESTORE "imul %[b], %[a]" FLAGS_SAVE : [a] "+&r"(a), "+&a"(ax) : [b] "r"(b) : "cc");        \
		reg_set##bits(cpu, insn, insn->reg, a);                                                               \
		cpu->flags = ax;                                                                                      \
	}                                                                                                             \
	static void imul_r_rm_reg##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                             \
	{                                                                                                             \
		imul_to_reg##bits(cpu, insn, reg_get##bits(cpu, insn, insn->reg), reg_get##bits(cpu, insn, insn->rm)); \
	}                                                                                                             \
	static void imul_r_rm_mem##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                             \
	{                                                                                                             \
		imul_to_reg##bits(cpu, insn, reg_get##bits(cpu, insn, insn->reg), operand_read##bits(cpu, insn));     \
	}                                                                                                             \
	static void imul_r_rm_imm_reg##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                         \
	{                                                                                                             \
		imul_to_reg##bits(cpu, insn, reg_get##bits(cpu, insn, insn->rm), (uint##bits##_t)insn->imm);          \
	}                                                                                                             \
	static void imul_r_rm_imm_mem##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                         \
	{                                                                                                             \
		imul_to_reg##bits(cpu, insn, operand_read##bits(cpu, insn), (uint##bits##_t)insn->imm);               \
	}
MULTIPLY_REG(16)
MULTIPLY_REG(32)
MULTIPLY_REG(64)

#define FOUR(name) { name##8, name##16, name##32, name##64 }
#define THREE(name) { [1] = name##16, name##32, name##64 }
const struct x86_handlers x86_integer_mul = { .reg = FOUR(mul_reg), .mem = FOUR(mul_mem) };
const struct x86_handlers x86_integer_imul = { .reg = FOUR(imul_reg), .mem = FOUR(imul_mem) };
const struct x86_handlers x86_integer_div = { .reg = FOUR(div_reg), .mem = FOUR(div_mem) };
const struct x86_handlers x86_integer_idiv = { .reg = FOUR(idiv_reg), .mem = FOUR(idiv_mem) };
const struct x86_handlers x86_integer_imul_r_rm = { .reg = THREE(imul_r_rm_reg), .mem = THREE(imul_r_rm_mem) };
const struct x86_handlers x86_integer_imul_r_rm_imm = { .reg = THREE(imul_r_rm_imm_reg), .mem = THREE(imul_r_rm_imm_mem) };
