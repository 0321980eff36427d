/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vector_table.h - the rows of vector_0f.c, vector_0f38.c and vector_0f3a.c, and the handlers that they name.
 *
 * A table is ordered by opcode byte; all rows of an opcode follow one another and the first that matches counts. Legacy, VEX.128 and
 * VEX.256 forms are rows of their own, so that operand_size is exact. The macros below make two or three rows from a line.
 */
#ifndef HOLON_X86_VECTOR_TABLE_H
#define HOLON_X86_VECTOR_TABLE_H

#include "x86/cpu.h"
#include "x86/cpuid.h"

#define VECTOR_ANY 9 /* of l, w, digit */
enum vector_form { VECTOR_BOTH, VECTOR_MEMORY, VECTOR_REGISTER };

struct vector_row {
	struct x86_opcode opcode;
	x86_handler *execute;
	uint8_t number; /* the opcode byte */
	uint8_t pp;     /* enum x86_mandatory */
	uint8_t vex;    /* bool */
	uint8_t l, w;
	uint8_t form;  /* enum vector_form: what ModRM.mod may be */
	uint8_t digit; /* ModRM.reg */
};

struct vector_table {
	const struct vector_row *row;
	unsigned rows;
};
extern const struct vector_table vector_table_0f, vector_table_0f38, vector_table_0f3a;

/* x87.c: D8-DF and 9B. */
const struct x86_opcode *x87_decode(const struct x86_insn *insn, uint8_t modrm, x86_handler **execute);

/* vector_run.c */
x86_handler vector_run;
/* vector_move.c: plain moves, without the way through the host */
x86_handler vector_load, vector_store, vector_scalar_load, vector_scalar_store, vector_scalar_move, vector_half_load,
	vector_gpr_load, vector_gpr_store, vector_quad_load, vector_quad_store, vector_xor, vector_zero;
/* vector_masked.c: element by element, with the faults of each */
x86_handler vector_mask_load, vector_mask_store, vector_gather, vector_maskmov;
/* vector_mmx.c */
x86_handler mmx_load, mmx_store, mmx_emms;
uint64_t mmx_get(const struct x86_cpu *cpu, unsigned reg);
void mmx_enter(struct x86_cpu *cpu);                             /* TOP = 0, no register empty: what every MMX instruction does */
void mmx_set(struct x86_cpu *cpu, unsigned reg, uint64_t value); /* after mmx_enter */
/* x87_environment.c */
x86_handler x87_fnstenv, x87_fldenv, x87_fnsave, x87_frstor;
void x87_init(struct x86_x87 *x87); /* FNINIT */
void x87_top_set(struct x86_x87 *x87, unsigned top);
/* xsave.c */
x86_handler x86_op_ldmxcsr, x86_op_stmxcsr, x86_op_fxsave, x86_op_fxrstor, x86_op_xsave, x86_op_xsaveopt, x86_op_xsavec,
	x86_op_xrstor;
#define VECTOR_MXCSR_MASK 0xffffu /* MXCSR bits that the guest may set */

/* Short forms for the tables. */
#define FEATURE(name) (1 + X86_FEATURE_##name)
#define VR (X86_OPERAND_VECTOR | X86_OPERAND_READ)
#define VW (X86_OPERAND_VECTOR | X86_OPERAND_WRITTEN)
#define VRW (VR | VW)
#define GR (X86_OPERAND_GPR | X86_OPERAND_READ)
#define GW (X86_OPERAND_GPR | X86_OPERAND_WRITTEN)
#define PR (X86_OPERAND_MMX | X86_OPERAND_READ)
#define PW (X86_OPERAND_MMX | X86_OPERAND_WRITTEN)
#define PRW (PR | PW)
#define RD X86_MEMORY_READ
#define WR X86_MEMORY_WRITE
#define AL X86_ALIGNED
#define I8 X86_IMM8
#define MMX_ (X86_MMX | X86_WAITING)
#define GD X86_GPR_DEST
#define FLAGS_ALL .flags_written = X86_FLAGS_STATUS

/* The most general row. Further initialisers of `opcode` may follow. */
/* clang-format off */
#define ROW(number_, pp_, vex_, l_, w_, form_, digit_, execute_, name_, feature_, traits_, size_, reg_, rm_, vvvv_, ...)            \
	{                                                                                                                          \
		.number = number_, .pp = X86_PP_##pp_, .vex = vex_, .l = l_, .w = w_, .form = VECTOR_##form_, .digit = digit_,     \
		.execute = execute_, .opcode = {                                                                                   \
			.name = name_,                                                                                             \
			.traits = X86_MODRM | (traits_),                                                                           \
			.operand_size = size_,                                                                                     \
			.reg_kind = reg_,                                                                                          \
			.rm_kind = rm_,                                                                                            \
			.vvvv_kind = vvvv_,                                                                                        \
			.feature = feature_,                                                                                       \
			__VA_ARGS__                                                                                                \
		}                                                                                                                  \
	}
/* Legacy SSE; MMX; VEX with given L and W. */
#define SSE(number, pp, form, execute, name, feature, traits, size, reg, rm, ...) \
	ROW(number, pp, 0, VECTOR_ANY, VECTOR_ANY, form, VECTOR_ANY, execute, name, feature, X86_SSE | (traits), size, reg, rm, 0, __VA_ARGS__)
#define MMX(number, form, execute, name, feature, traits, size, reg, rm, ...) \
	ROW(number, NONE, 0, VECTOR_ANY, VECTOR_ANY, form, VECTOR_ANY, execute, name, feature, MMX_ | (traits), size, reg, rm, 0, __VA_ARGS__)
#define VEX(number, pp, l, w, form, execute, name, feature, traits, size, reg, rm, vvvv, ...) \
	ROW(number, pp, 1, l, w, form, VECTOR_ANY, execute, name, feature, X86_AVX | (traits), size, reg, rm, vvvv, __VA_ARGS__)
/* Both lengths, memory operand 16 and 32 bytes; `wide` is the feature of the 256-bit form. */
#define VEX2(number, pp, w, form, execute, name, wide, traits, reg, rm, vvvv, ...)                                         \
	VEX(number, pp, 0, w, form, execute, name, FEATURE(AVX), traits, 16, reg, rm, vvvv, __VA_ARGS__),                  \
	VEX(number, pp, 1, w, form, execute, name, FEATURE(wide), traits, 32, reg, rm, vvvv, __VA_ARGS__)

/* xmm op= xmm/m128 (aligned); v: dest = vvvv op xmm/ymm/m. */
#define BINARY(number, pp, name, feature, wide, ...)                                                                       \
	SSE(number, pp, BOTH, vector_run, name, feature, RD | AL, 16, VRW, VR, __VA_ARGS__),                               \
	VEX2(number, pp, VECTOR_ANY, BOTH, vector_run, "v" name, wide, RD, VW, VR, VR, __VA_ARGS__)
#define BINARY_IMM(number, pp, name, feature, wide)                                                                        \
	SSE(number, pp, BOTH, vector_run, name, feature, RD | AL | I8, 16, VRW, VR),                                       \
	VEX2(number, pp, VECTOR_ANY, BOTH, vector_run, "v" name, wide, RD | I8, VW, VR, VR)
/* xmm = op xmm/m128. */
#define UNARY(number, pp, name, feature, wide)                                                                             \
	SSE(number, pp, BOTH, vector_run, name, feature, RD | AL, 16, VW, VR),                                             \
	VEX2(number, pp, VECTOR_ANY, BOTH, vector_run, "v" name, wide, RD, VW, VR, 0)
#define UNARY_IMM(number, pp, name, feature, wide)                                                                         \
	SSE(number, pp, BOTH, vector_run, name, feature, RD | AL | I8, 16, VW, VR),                                        \
	VEX2(number, pp, VECTOR_ANY, BOTH, vector_run, "v" name, wide, RD | I8, VW, VR, 0)
/* Low element only, the rest from the first source. */
#define SCALAR(number, pp, name, feature, size, traits_)                                                                   \
	SSE(number, pp, BOTH, vector_run, name, feature, RD | (traits_), size, VRW, VR),                                   \
	VEX(number, pp, VECTOR_ANY, VECTOR_ANY, BOTH, vector_run, "v" name, FEATURE(AVX), RD | (traits_), size, VW, VR, VR)
/* All four of addps, addpd, addss, addsd. */
#define ARITHMETIC(number, name)                                                                                           \
	BINARY(number, NONE, name "ps", 0, AVX), BINARY(number, 66, name "pd", 0, AVX), SCALAR(number, F3, name "ss", 0, 4, 0), \
	SCALAR(number, F2, name "sd", 0, 8, 0)
/* mm op= mm/m64, and the same at 66 for vectors. */
#define INTEGER(number, name, mmx_feature, feature)                                                                        \
	MMX(number, BOTH, vector_run, name, mmx_feature, RD, 8, PRW, PR), BINARY(number, 66, name, feature, AVX2)
/* The shift count is an xmm register or 16 bytes for 256 bits too. */
#define SHIFT(number, name)                                                                                                \
	MMX(number, BOTH, vector_run, name, 0, RD, 8, PRW, PR),                                                            \
	SSE(number, 66, BOTH, vector_run, name, 0, RD | AL, 16, VRW, VR),                                                  \
	VEX(number, 66, 0, VECTOR_ANY, BOTH, vector_run, "v" name, FEATURE(AVX), RD, 16, VW, VR, VR),                      \
	VEX(number, 66, 1, VECTOR_ANY, BOTH, vector_run, "v" name, FEATURE(AVX2), RD, 16, VW, VR, VR)
/* clang-format on */

#endif
