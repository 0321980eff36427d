/* SPDX-License-Identifier: Apache-2.0 */
/*
 * integer_count.c - BSF BSR TZCNT LZCNT POPCNT CRC32 and the BMI instructions.
 *
 * Each is the host's own instruction, flags restored before (what it does not define then is the host's). A CPU model has a feature only if the host has it;
 * without it #UD is raised, but TZCNT and LZCNT are BSF and BSR then, as on processors that ignore their prefix.
 */
#include "x86/integer.h"
#include "x86/operand.h"

/* Functions made by macros, laid out by hand. */
// clang-format off

#define THREE(name) { [1] = name##16, name##32, name##64 }
#define TWO(name) { [2] = name##32, name##64 }

/* reg = op(r/m). The destination's old value goes in whole and comes out whole: BSF and BSR leave it alone when the source is 0. */
#define SCAN_VALUE(op, bits, modifier)                                                                                \
	static inline void op##_value##bits(struct x86_cpu *cpu, const struct x86_insn *insn, uint##bits##_t source)  \
	{                                                                                                             \
		uint64_t value = cpu->reg[insn->reg];                                                                 \
		uint16_t ax = cpu->flags;                                                                             \
                                                                                                                      \
		asm(FLAGS_RESTORE #op " %[source], %" modifier "[value]" FLAGS_SAVE                                   \
		    : [value] "+&r"(value), "+&a"(ax) : [source] "r"(source) : "cc");                                 \
		cpu->reg[insn->reg] = value;                                                                          \
		cpu->flags = ax;                                                                                      \
	}
#define SCAN_HANDLERS(op, bits, value, require)                                                                       \
	static void op##_reg##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                                  \
	{                                                                                                             \
		require;                                                                                              \
		value(cpu, insn, reg_get##bits(cpu, insn, insn->rm));                                                 \
	}                                                                                                             \
	static void op##_mem##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                                  \
	{                                                                                                             \
		require;                                                                                              \
		value(cpu, insn, operand_read##bits(cpu, insn));                                                      \
	}
#define SCAN(op, bits, modifier) SCAN_VALUE(op, bits, modifier) SCAN_HANDLERS(op, bits, op##_value##bits, (void)0)
SCAN(bsf, 16, "w") SCAN(bsf, 32, "k") SCAN(bsf, 64, "q")
SCAN(bsr, 16, "w") SCAN(bsr, 32, "k") SCAN(bsr, 64, "q")

/* `without` stands in for the operation on models that have not got it. */
#define COUNT(op, bits, modifier, has, without)                                                                       \
	SCAN_VALUE(op, bits, modifier)                                                                                \
	static inline void op##_or_not##bits(struct x86_cpu *cpu, const struct x86_insn *insn, uint##bits##_t source) \
	{                                                                                                             \
		if (likely(x86_has(cpu->model, has)))                                                                 \
			op##_value##bits(cpu, insn, source);                                                          \
		else                                                                                                  \
			without##_value##bits(cpu, insn, source);                                                     \
	}                                                                                                             \
	SCAN_HANDLERS(op, bits, op##_or_not##bits, (void)0)
#define TZCNT(bits, modifier) COUNT(tzcnt, bits, modifier, X86_FEATURE_BMI1, bsf)
#define LZCNT(bits, modifier) COUNT(lzcnt, bits, modifier, X86_FEATURE_LZCNT, bsr)
#define POPCNT(bits, modifier) \
	SCAN_VALUE(popcnt, bits, modifier) SCAN_HANDLERS(popcnt, bits, popcnt_value##bits, feature_require(cpu, X86_FEATURE_POPCNT))
TZCNT(16, "w") TZCNT(32, "k") TZCNT(64, "q")
LZCNT(16, "w") LZCNT(32, "k") LZCNT(64, "q")
POPCNT(16, "w") POPCNT(32, "k") POPCNT(64, "q")

#define HANDLERS(op) { .reg = THREE(op##_reg), .mem = THREE(op##_mem) }
const struct x86_handlers x86_integer_bsf = HANDLERS(bsf);
const struct x86_handlers x86_integer_bsr = HANDLERS(bsr);
const struct x86_handlers x86_integer_tzcnt = HANDLERS(tzcnt);
const struct x86_handlers x86_integer_lzcnt = HANDLERS(lzcnt);
const struct x86_handlers x86_integer_popcnt = HANDLERS(popcnt);

/* CRC32: the sum is 32 bits wide whatever the source is. */
#define CRC32(bits, suffix, modifier)                                                                                 \
	static inline void crc32_value##bits(struct x86_cpu *cpu, const struct x86_insn *insn, uint##bits##_t source) \
	{                                                                                                             \
		uint64_t sum = (uint32_t)cpu->reg[insn->reg];                                                         \
                                                                                                                      \
		asm("crc32" suffix " %[source], %" modifier "[sum]" : [sum] "+r"(sum) : [source] "r"(source));        \
		cpu->reg[insn->reg] = sum;                                                                            \
	}                                                                                                             \
	SCAN_HANDLERS(crc32, bits, crc32_value##bits, feature_require(cpu, X86_FEATURE_SSE42))
CRC32(8, "b", "k") CRC32(16, "w", "k") CRC32(32, "l", "k") CRC32(64, "q", "q")
const struct x86_handlers x86_integer_crc32_8 = { .reg = { [2] = crc32_reg8, crc32_reg8 }, .mem = { [2] = crc32_mem8, crc32_mem8 } };
const struct x86_handlers x86_integer_crc32_v = { .reg = THREE(crc32_reg), .mem = THREE(crc32_mem) };

/* BMI: VEX-encoded, so they do not exist in real and VM86 mode. */
static inline void bmi_require(struct x86_cpu *cpu, enum x86_feature feature)
{
	if (unlikely(!x86_has(cpu->model, feature) || !x86_protected(cpu)))
		x86_raise(cpu, X86_UD);
}

/* `text` computes [out] from [source] (r/m) and [other] (VEX.vvvv); `to` is the destination. */
#define BMI(name, bits, feature, text, to)                                                                            \
	static inline void name##_value##bits(struct x86_cpu *cpu, const struct x86_insn *insn, uint##bits##_t source) \
	{                                                                                                             \
		uint##bits##_t out, other = (uint##bits##_t)cpu->reg[insn->vvvv];                                     \
		uint16_t ax = cpu->flags;                                                                             \
                                                                                                                      \
		asm(FLAGS_RESTORE text FLAGS_SAVE : [out] "=&r"(out), "+&a"(ax) : [source] "r"(source), [other] "r"(other) : "cc"); \
		cpu->reg[to] = out;                                                                                   \
		cpu->flags = ax;                                                                                      \
	}                                                                                                             \
	static void name##_reg##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                                \
	{                                                                                                             \
		bmi_require(cpu, feature);                                                                            \
		name##_value##bits(cpu, insn, reg_get##bits(cpu, insn, insn->rm));                                    \
	}                                                                                                             \
	static void name##_mem##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                                \
	{                                                                                                             \
		bmi_require(cpu, feature);                                                                            \
		name##_value##bits(cpu, insn, operand_read##bits(cpu, insn));                                         \
	}
#define BMI_BOTH(name, feature, text, to)                                                                             \
	BMI(name, 32, feature, text, to)                                                                              \
	BMI(name, 64, feature, text, to)                                                                              \
	const struct x86_handlers x86_integer_##name = { .reg = TWO(name##_reg), .mem = TWO(name##_mem) };
BMI_BOTH(andn, X86_FEATURE_BMI1, "andn %[source], %[other], %[out]", insn->reg)
BMI_BOTH(blsr, X86_FEATURE_BMI1, "blsr %[source], %[out]", insn->vvvv)
BMI_BOTH(blsmsk, X86_FEATURE_BMI1, "blsmsk %[source], %[out]", insn->vvvv)
BMI_BOTH(blsi, X86_FEATURE_BMI1, "blsi %[source], %[out]", insn->vvvv)
BMI_BOTH(bextr, X86_FEATURE_BMI1, "bextr %[other], %[source], %[out]", insn->reg)
BMI_BOTH(bzhi, X86_FEATURE_BMI2, "bzhi %[other], %[source], %[out]", insn->reg)
BMI_BOTH(pext, X86_FEATURE_BMI2, "pext %[source], %[other], %[out]", insn->reg)
BMI_BOTH(pdep, X86_FEATURE_BMI2, "pdep %[source], %[other], %[out]", insn->reg)
BMI_BOTH(shlx, X86_FEATURE_BMI2, "shlx %[other], %[source], %[out]", insn->reg)
BMI_BOTH(sarx, X86_FEATURE_BMI2, "sarx %[other], %[source], %[out]", insn->reg)
BMI_BOTH(shrx, X86_FEATURE_BMI2, "shrx %[other], %[source], %[out]", insn->reg)

/* RORX has its count in the immediate; MULX two destinations, of which reg wins when they are one. Neither touches flags. */
#define BMI_PLAIN(bits, wide)                                                                                         \
	static inline void rorx_value##bits(struct x86_cpu *cpu, const struct x86_insn *insn, uint##bits##_t source)  \
	{                                                                                                             \
		unsigned count = insn->imm & (bits - 1);                                                              \
                                                                                                                      \
		cpu->reg[insn->reg] = (uint##bits##_t)(source >> count | source << (-count & (bits - 1)));            \
	}                                                                                                             \
	SCAN_HANDLERS(rorx, bits, rorx_value##bits, bmi_require(cpu, X86_FEATURE_BMI2))                               \
	static inline void mulx_value##bits(struct x86_cpu *cpu, const struct x86_insn *insn, uint##bits##_t source)  \
	{                                                                                                             \
		wide product = (wide)source * (uint##bits##_t)cpu->reg[X86_RDX];                                      \
                                                                                                                      \
		cpu->reg[insn->vvvv] = (uint##bits##_t)product;                                                       \
		cpu->reg[insn->reg] = (uint##bits##_t)(product >> bits);                                              \
	}                                                                                                             \
	SCAN_HANDLERS(mulx, bits, mulx_value##bits, bmi_require(cpu, X86_FEATURE_BMI2))
BMI_PLAIN(32, uint64_t)
BMI_PLAIN(64, unsigned __int128)
const struct x86_handlers x86_integer_rorx = { .reg = TWO(rorx_reg), .mem = TWO(rorx_mem) };
const struct x86_handlers x86_integer_mulx = { .reg = TWO(mulx_reg), .mem = TWO(mulx_mem) };
