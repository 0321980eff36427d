/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vector_0f.c - the rows of the 0F map (and VEX map 1). See vector_table.h for the shorthand; SDM vol. 2, appendix A for the order.
 */
#include "x86/vector_table.h"

#define ANY VECTOR_ANY
/* Loads and stores of whole vectors. `align` is AL or 0. */
/* clang-format off */
#define WHOLE_LOAD(number, pp, name, align)                                                             \
	SSE(number, pp, BOTH, vector_load, name, 0, RD | (align), 16, VW, VR),                          \
	VEX2(number, pp, ANY, BOTH, vector_load, "v" name, AVX, RD | (align), VW, VR, 0)
#define WHOLE_STORE(number, pp, name, align)                                                            \
	SSE(number, pp, BOTH, vector_store, name, 0, WR | (align), 16, VR, VW),                         \
	VEX2(number, pp, ANY, BOTH, vector_store, "v" name, AVX, WR | (align), VR, VW, 0)
#define STREAM_STORE(number, pp, name)                                                                  \
	SSE(number, pp, MEMORY, vector_store, name, 0, WR | AL, 16, VR, 0),                             \
	VEX2(number, pp, ANY, MEMORY, vector_store, "v" name, AVX, WR | AL, VR, 0, 0)
/* MOVSS, MOVSD: the register form merges, the load clears. */
#define SCALAR_MOVE(number, pp, name, size, reg, rm, load_or_store, traits)                             \
	SSE(number, pp, MEMORY, load_or_store, name, 0, traits, size, reg, 0),                          \
	SSE(number, pp, REGISTER, vector_scalar_move, name, 0, 0, 0, (reg) | VR, (rm) | VR),            \
	VEX(number, pp, ANY, ANY, MEMORY, load_or_store, "v" name, FEATURE(AVX), traits, size, reg, 0, 0), \
	VEX(number, pp, ANY, ANY, REGISTER, vector_run, "v" name, FEATURE(AVX), 0, 0, reg, rm, VR)
/* MOVLPS and its like: eight bytes to or from half a register. */
#define HALF_LOAD(number, pp, name)                                                                     \
	SSE(number, pp, MEMORY, vector_half_load, name, 0, RD, 8, VRW, 0),                              \
	VEX(number, pp, 0, ANY, MEMORY, vector_run, "v" name, FEATURE(AVX), RD, 8, VW, 0, VR)
#define HALF_STORE(number, pp, name)                                                                    \
	SSE(number, pp, MEMORY, vector_half_load, name, 0, WR, 8, VR, 0),                               \
	VEX(number, pp, 0, ANY, MEMORY, vector_half_load, "v" name, FEATURE(AVX), WR, 8, VR, 0, 0)
#define HALF_MOVE(number, name)                                                                         \
	SSE(number, NONE, REGISTER, vector_run, name, 0, 0, 0, VRW, VR),                                \
	VEX(number, NONE, 0, ANY, REGISTER, vector_run, "v" name, FEATURE(AVX), 0, 0, VW, VR, VR)
/* Width by W. */
#define FROM_GPR(number, pp, name)                                                                      \
	ROW(number, pp, 0, ANY, 0, BOTH, ANY, vector_run, name, 0, X86_SSE | RD, 4, VRW, GR, 0),        \
	ROW(number, pp, 0, ANY, 1, BOTH, ANY, vector_run, name, 0, X86_SSE | RD, 8, VRW, GR, 0),        \
	VEX(number, pp, ANY, 0, BOTH, vector_run, "v" name, FEATURE(AVX), RD, 4, VW, GR, VR),           \
	VEX(number, pp, ANY, 1, BOTH, vector_run, "v" name, FEATURE(AVX), RD, 8, VW, GR, VR)
#define TO_GPR(number, pp, name, size)                                                                  \
	SSE(number, pp, BOTH, vector_run, name, 0, RD | GD, size, GW, VR),                              \
	VEX(number, pp, ANY, ANY, BOTH, vector_run, "v" name, FEATURE(AVX), RD | GD, size, GW, VR, 0)
#define COMPARE(number, pp, name, size)                                                                 \
	SSE(number, pp, BOTH, vector_run, name, 0, RD, size, VR, VR, FLAGS_ALL),                        \
	VEX(number, pp, ANY, ANY, BOTH, vector_run, "v" name, FEATURE(AVX), RD, size, VR, VR, 0, FLAGS_ALL)
#define LOGIC(number, name, run_or_xor)                                                                 \
	SSE(number, NONE, BOTH, run_or_xor, name "ps", 0, RD | AL, 16, VRW, VR),                        \
	VEX2(number, NONE, ANY, BOTH, run_or_xor, "v" name "ps", AVX, RD, VW, VR, VR),                  \
	SSE(number, 66, BOTH, run_or_xor, name "pd", 0, RD | AL, 16, VRW, VR),                          \
	VEX2(number, 66, ANY, BOTH, run_or_xor, "v" name "pd", AVX, RD, VW, VR, VR)
#define SHIFT_IMM_VECTOR(number, digit, name)                                                           \
	ROW(number, 66, 0, ANY, ANY, REGISTER, digit, vector_run, name, 0, X86_SSE | I8, 0, X86_OPERAND_EXTENSION, VRW, 0), \
	ROW(number, 66, 1, 0, ANY, REGISTER, digit, vector_run, "v" name, FEATURE(AVX), X86_AVX | I8, 0, X86_OPERAND_EXTENSION, VR, VW), \
	ROW(number, 66, 1, 1, ANY, REGISTER, digit, vector_run, "v" name, FEATURE(AVX2), X86_AVX | I8, 0, X86_OPERAND_EXTENSION, VR, VW)
#define SHIFT_IMM(number, digit, name)                                                                  \
	ROW(number, NONE, 0, ANY, ANY, REGISTER, digit, vector_run, name, 0, MMX_ | I8, 0, X86_OPERAND_EXTENSION, PRW, 0), \
	SHIFT_IMM_VECTOR(number, digit, name)
/* Low halves of MMX registers: 4 bytes of memory. */
#define UNPACK_LOW(number, name)                                                                        \
	MMX(number, BOTH, vector_run, name, 0, RD, 4, PRW, PR), BINARY(number, 66, name, 0, AVX2)
#define SAVE(number, digit, w, execute, name, feature, traits, size) \
	ROW(number, NONE, 0, ANY, w, MEMORY, digit, execute, name, feature, traits, size, X86_OPERAND_EXTENSION, 0, 0)

static const struct vector_row rows[] = {
	WHOLE_LOAD(0x10, NONE, "movups", 0),
	WHOLE_LOAD(0x10, 66, "movupd", 0),
	SCALAR_MOVE(0x10, F3, "movss", 4, VW, VR, vector_scalar_load, RD),
	SCALAR_MOVE(0x10, F2, "movsd", 8, VW, VR, vector_scalar_load, RD),
	WHOLE_STORE(0x11, NONE, "movups", 0),
	WHOLE_STORE(0x11, 66, "movupd", 0),
	SCALAR_MOVE(0x11, F3, "movss", 4, VR, VW, vector_scalar_store, WR),
	SCALAR_MOVE(0x11, F2, "movsd", 8, VR, VW, vector_scalar_store, WR),
	HALF_LOAD(0x12, NONE, "movlps"),
	HALF_LOAD(0x12, 66, "movlpd"),
	HALF_MOVE(0x12, "movhlps"),
	UNARY(0x12, F3, "movsldup", FEATURE(SSE3), AVX),
	SSE(0x12, F2, BOTH, vector_run, "movddup", FEATURE(SSE3), RD, 8, VW, VR),
	VEX(0x12, F2, 0, ANY, BOTH, vector_run, "vmovddup", FEATURE(AVX), RD, 8, VW, VR, 0),
	VEX(0x12, F2, 1, ANY, BOTH, vector_run, "vmovddup", FEATURE(AVX), RD, 32, VW, VR, 0),
	HALF_STORE(0x13, NONE, "movlps"),
	HALF_STORE(0x13, 66, "movlpd"),
	BINARY(0x14, NONE, "unpcklps", 0, AVX),
	BINARY(0x14, 66, "unpcklpd", 0, AVX),
	BINARY(0x15, NONE, "unpckhps", 0, AVX),
	BINARY(0x15, 66, "unpckhpd", 0, AVX),
	HALF_LOAD(0x16, NONE, "movhps"),
	HALF_LOAD(0x16, 66, "movhpd"),
	HALF_MOVE(0x16, "movlhps"),
	UNARY(0x16, F3, "movshdup", FEATURE(SSE3), AVX),
	HALF_STORE(0x17, NONE, "movhps"),
	HALF_STORE(0x17, 66, "movhpd"),
	WHOLE_LOAD(0x28, NONE, "movaps", AL),
	WHOLE_LOAD(0x28, 66, "movapd", AL),
	WHOLE_STORE(0x29, NONE, "movaps", AL),
	WHOLE_STORE(0x29, 66, "movapd", AL),
	/* From memory no MMX register is concerned: no transition, no #MF. */
	ROW(0x2a, NONE, 0, ANY, ANY, MEMORY, ANY, vector_run, "cvtpi2ps", 0, X86_SSE | RD, 8, VRW, 0, 0),
	ROW(0x2a, NONE, 0, ANY, ANY, REGISTER, ANY, vector_run, "cvtpi2ps", 0, X86_SSE | MMX_, 0, VRW, PR, 0),
	ROW(0x2a, 66, 0, ANY, ANY, MEMORY, ANY, vector_run, "cvtpi2pd", 0, X86_SSE | RD, 8, VW, 0, 0),
	ROW(0x2a, 66, 0, ANY, ANY, REGISTER, ANY, vector_run, "cvtpi2pd", 0, X86_SSE | MMX_, 0, VW, PR, 0),
	FROM_GPR(0x2a, F3, "cvtsi2ss"),
	FROM_GPR(0x2a, F2, "cvtsi2sd"),
	STREAM_STORE(0x2b, NONE, "movntps"),
	STREAM_STORE(0x2b, 66, "movntpd"),
	SSE(0x2c, NONE, BOTH, vector_run, "cvttps2pi", 0, MMX_ | RD, 8, PW, VR),
	SSE(0x2c, 66, BOTH, vector_run, "cvttpd2pi", 0, MMX_ | RD | AL, 16, PW, VR),
	TO_GPR(0x2c, F3, "cvttss2si", 4),
	TO_GPR(0x2c, F2, "cvttsd2si", 8),
	SSE(0x2d, NONE, BOTH, vector_run, "cvtps2pi", 0, MMX_ | RD, 8, PW, VR),
	SSE(0x2d, 66, BOTH, vector_run, "cvtpd2pi", 0, MMX_ | RD | AL, 16, PW, VR),
	TO_GPR(0x2d, F3, "cvtss2si", 4),
	TO_GPR(0x2d, F2, "cvtsd2si", 8),
	COMPARE(0x2e, NONE, "ucomiss", 4),
	COMPARE(0x2e, 66, "ucomisd", 8),
	COMPARE(0x2f, NONE, "comiss", 4),
	COMPARE(0x2f, 66, "comisd", 8),
	SSE(0x50, NONE, REGISTER, vector_run, "movmskps", 0, GD, 0, GW, VR),
	SSE(0x50, 66, REGISTER, vector_run, "movmskpd", 0, GD, 0, GW, VR),
	VEX2(0x50, NONE, ANY, REGISTER, vector_run, "vmovmskps", AVX, GD, GW, VR, 0),
	VEX2(0x50, 66, ANY, REGISTER, vector_run, "vmovmskpd", AVX, GD, GW, VR, 0),
	UNARY(0x51, NONE, "sqrtps", 0, AVX),
	UNARY(0x51, 66, "sqrtpd", 0, AVX),
	SCALAR(0x51, F3, "sqrtss", 0, 4, 0),
	SCALAR(0x51, F2, "sqrtsd", 0, 8, 0),
	UNARY(0x52, NONE, "rsqrtps", 0, AVX),
	SCALAR(0x52, F3, "rsqrtss", 0, 4, 0),
	UNARY(0x53, NONE, "rcpps", 0, AVX),
	SCALAR(0x53, F3, "rcpss", 0, 4, 0),
	LOGIC(0x54, "and", vector_run),
	LOGIC(0x55, "andn", vector_run),
	LOGIC(0x56, "or", vector_run),
	LOGIC(0x57, "xor", vector_xor),
	ARITHMETIC(0x58, "add"),
	ARITHMETIC(0x59, "mul"),
	SSE(0x5a, NONE, BOTH, vector_run, "cvtps2pd", 0, RD, 8, VW, VR),
	VEX(0x5a, NONE, 0, ANY, BOTH, vector_run, "vcvtps2pd", FEATURE(AVX), RD, 8, VW, VR, 0),
	VEX(0x5a, NONE, 1, ANY, BOTH, vector_run, "vcvtps2pd", FEATURE(AVX), RD, 16, VW, VR, 0),
	UNARY(0x5a, 66, "cvtpd2ps", 0, AVX),
	SCALAR(0x5a, F3, "cvtss2sd", 0, 4, 0),
	SCALAR(0x5a, F2, "cvtsd2ss", 0, 8, 0),
	UNARY(0x5b, NONE, "cvtdq2ps", 0, AVX),
	UNARY(0x5b, 66, "cvtps2dq", 0, AVX),
	UNARY(0x5b, F3, "cvttps2dq", 0, AVX),
	ARITHMETIC(0x5c, "sub"),
	ARITHMETIC(0x5d, "min"),
	ARITHMETIC(0x5e, "div"),
	ARITHMETIC(0x5f, "max"),
	UNPACK_LOW(0x60, "punpcklbw"),
	UNPACK_LOW(0x61, "punpcklwd"),
	UNPACK_LOW(0x62, "punpckldq"),
	INTEGER(0x63, "packsswb", 0, 0),
	INTEGER(0x64, "pcmpgtb", 0, 0),
	INTEGER(0x65, "pcmpgtw", 0, 0),
	INTEGER(0x66, "pcmpgtd", 0, 0),
	INTEGER(0x67, "packuswb", 0, 0),
	INTEGER(0x68, "punpckhbw", 0, 0),
	INTEGER(0x69, "punpckhwd", 0, 0),
	INTEGER(0x6a, "punpckhdq", 0, 0),
	INTEGER(0x6b, "packssdw", 0, 0),
	BINARY(0x6c, 66, "punpcklqdq", 0, AVX2),
	BINARY(0x6d, 66, "punpckhqdq", 0, AVX2),
	ROW(0x6e, NONE, 0, ANY, 0, BOTH, ANY, vector_run, "movd", 0, MMX_ | RD, 4, PW, GR, 0),
	ROW(0x6e, NONE, 0, ANY, 1, BOTH, ANY, vector_run, "movq", 0, MMX_ | RD, 8, PW, GR, 0),
	ROW(0x6e, 66, 0, ANY, 0, BOTH, ANY, vector_gpr_load, "movd", 0, X86_SSE | RD, 4, VW, GR, 0),
	ROW(0x6e, 66, 0, ANY, 1, BOTH, ANY, vector_gpr_load, "movq", 0, X86_SSE | RD, 8, VW, GR, 0),
	VEX(0x6e, 66, 0, 0, BOTH, vector_gpr_load, "vmovd", FEATURE(AVX), RD, 4, VW, GR, 0),
	VEX(0x6e, 66, 0, 1, BOTH, vector_gpr_load, "vmovq", FEATURE(AVX), RD, 8, VW, GR, 0),
	MMX(0x6f, BOTH, mmx_load, "movq", 0, RD, 8, PW, PR),
	WHOLE_LOAD(0x6f, 66, "movdqa", AL),
	WHOLE_LOAD(0x6f, F3, "movdqu", 0),
	MMX(0x70, BOTH, vector_run, "pshufw", 0, RD | I8, 8, PW, PR),
	UNARY_IMM(0x70, 66, "pshufd", 0, AVX2),
	UNARY_IMM(0x70, F3, "pshufhw", 0, AVX2),
	UNARY_IMM(0x70, F2, "pshuflw", 0, AVX2),
	SHIFT_IMM(0x71, 2, "psrlw"),
	SHIFT_IMM(0x71, 4, "psraw"),
	SHIFT_IMM(0x71, 6, "psllw"),
	SHIFT_IMM(0x72, 2, "psrld"),
	SHIFT_IMM(0x72, 4, "psrad"),
	SHIFT_IMM(0x72, 6, "pslld"),
	SHIFT_IMM(0x73, 2, "psrlq"),
	SHIFT_IMM_VECTOR(0x73, 3, "psrldq"),
	SHIFT_IMM(0x73, 6, "psllq"),
	SHIFT_IMM_VECTOR(0x73, 7, "pslldq"),
	INTEGER(0x74, "pcmpeqb", 0, 0),
	INTEGER(0x75, "pcmpeqw", 0, 0),
	INTEGER(0x76, "pcmpeqd", 0, 0),
	{.number = 0x77, .pp = X86_PP_NONE, .vex = 0, .l = ANY, .w = ANY, .form = VECTOR_BOTH, .digit = ANY, .execute = mmx_emms,
	 .opcode = {.name = "emms", .traits = MMX_}},
	{.number = 0x77, .pp = X86_PP_NONE, .vex = 1, .l = 0, .w = ANY, .form = VECTOR_BOTH, .digit = ANY, .execute = vector_zero,
	 .opcode = {.name = "vzeroupper", .traits = X86_AVX, .feature = FEATURE(AVX)}},
	{.number = 0x77, .pp = X86_PP_NONE, .vex = 1, .l = 1, .w = ANY, .form = VECTOR_BOTH, .digit = ANY, .execute = vector_zero,
	 .opcode = {.name = "vzeroall", .traits = X86_AVX, .feature = FEATURE(AVX)}},
	BINARY(0x7c, 66, "haddpd", FEATURE(SSE3), AVX),
	BINARY(0x7c, F2, "haddps", FEATURE(SSE3), AVX),
	BINARY(0x7d, 66, "hsubpd", FEATURE(SSE3), AVX),
	BINARY(0x7d, F2, "hsubps", FEATURE(SSE3), AVX),
	ROW(0x7e, NONE, 0, ANY, 0, BOTH, ANY, vector_run, "movd", 0, MMX_ | WR | GD, 4, PR, GW, 0),
	ROW(0x7e, NONE, 0, ANY, 1, BOTH, ANY, vector_run, "movq", 0, MMX_ | WR | GD, 8, PR, GW, 0),
	ROW(0x7e, 66, 0, ANY, 0, BOTH, ANY, vector_gpr_store, "movd", 0, X86_SSE | WR | GD, 4, VR, GW, 0),
	ROW(0x7e, 66, 0, ANY, 1, BOTH, ANY, vector_gpr_store, "movq", 0, X86_SSE | WR | GD, 8, VR, GW, 0),
	VEX(0x7e, 66, 0, 0, BOTH, vector_gpr_store, "vmovd", FEATURE(AVX), WR | GD, 4, VR, GW, 0),
	VEX(0x7e, 66, 0, 1, BOTH, vector_gpr_store, "vmovq", FEATURE(AVX), WR | GD, 8, VR, GW, 0),
	SSE(0x7e, F3, BOTH, vector_quad_load, "movq", 0, RD, 8, VW, VR),
	VEX(0x7e, F3, 0, ANY, BOTH, vector_quad_load, "vmovq", FEATURE(AVX), RD, 8, VW, VR, 0),
	MMX(0x7f, BOTH, mmx_store, "movq", 0, WR, 8, PR, PW),
	WHOLE_STORE(0x7f, 66, "movdqa", AL),
	WHOLE_STORE(0x7f, F3, "movdqu", 0),
	SAVE(0xae, 0, ANY, x86_op_fxsave, "fxsave", 0, WR, 0),
	SAVE(0xae, 1, ANY, x86_op_fxrstor, "fxrstor", 0, RD, 0),
	SAVE(0xae, 2, ANY, x86_op_ldmxcsr, "ldmxcsr", 0, X86_SSE | RD, 4),
	SAVE(0xae, 3, ANY, x86_op_stmxcsr, "stmxcsr", 0, X86_SSE | WR, 4),
	SAVE(0xae, 4, ANY, x86_op_xsave, "xsave", FEATURE(XSAVE), RD | WR, 0),
	SAVE(0xae, 5, ANY, x86_op_xrstor, "xrstor", FEATURE(XSAVE), RD | X86_ENDS_BLOCK, 0), /* PKRU changes what loads mean */
	SAVE(0xae, 6, ANY, x86_op_xsaveopt, "xsaveopt", FEATURE(XSAVEOPT), RD | WR, 0),
	ROW(0xae, NONE, 1, 0, ANY, MEMORY, 2, x86_op_ldmxcsr, "vldmxcsr", FEATURE(AVX), X86_AVX | RD, 4, X86_OPERAND_EXTENSION, 0, 0),
	ROW(0xae, NONE, 1, 0, ANY, MEMORY, 3, x86_op_stmxcsr, "vstmxcsr", FEATURE(AVX), X86_AVX | WR, 4, X86_OPERAND_EXTENSION, 0, 0),
	BINARY_IMM(0xc2, NONE, "cmpps", 0, AVX),
	BINARY_IMM(0xc2, 66, "cmppd", 0, AVX),
	SCALAR(0xc2, F3, "cmpss", 0, 4, I8),
	SCALAR(0xc2, F2, "cmpsd", 0, 8, I8),
	MMX(0xc4, BOTH, vector_run, "pinsrw", 0, RD | I8, 2, PRW, GR),
	SSE(0xc4, 66, BOTH, vector_run, "pinsrw", 0, RD | I8, 2, VRW, GR),
	VEX(0xc4, 66, 0, ANY, BOTH, vector_run, "vpinsrw", FEATURE(AVX), RD | I8, 2, VW, GR, VR),
	MMX(0xc5, REGISTER, vector_run, "pextrw", 0, GD | I8, 0, GW, PR),
	SSE(0xc5, 66, REGISTER, vector_run, "pextrw", 0, GD | I8, 0, GW, VR),
	VEX(0xc5, 66, 0, ANY, REGISTER, vector_run, "vpextrw", FEATURE(AVX), GD | I8, 0, GW, VR, 0),
	BINARY_IMM(0xc6, NONE, "shufps", 0, AVX),
	BINARY_IMM(0xc6, 66, "shufpd", 0, AVX),
	SAVE(0xc7, 4, ANY, x86_op_xsavec, "xsavec", FEATURE(XSAVEC), RD | WR, 0),
	BINARY(0xd0, 66, "addsubpd", FEATURE(SSE3), AVX),
	BINARY(0xd0, F2, "addsubps", FEATURE(SSE3), AVX),
	SHIFT(0xd1, "psrlw"),
	SHIFT(0xd2, "psrld"),
	SHIFT(0xd3, "psrlq"),
	INTEGER(0xd4, "paddq", 0, 0),
	INTEGER(0xd5, "pmullw", 0, 0),
	SSE(0xd6, 66, BOTH, vector_quad_store, "movq", 0, WR, 8, VR, VW),
	VEX(0xd6, 66, 0, ANY, BOTH, vector_quad_store, "vmovq", FEATURE(AVX), WR, 8, VR, VW, 0),
	SSE(0xd6, F3, REGISTER, vector_run, "movq2dq", 0, MMX_, 0, VW, PR),
	SSE(0xd6, F2, REGISTER, vector_run, "movdq2q", 0, MMX_, 0, PW, VR),
	MMX(0xd7, REGISTER, vector_run, "pmovmskb", 0, GD, 0, GW, PR),
	SSE(0xd7, 66, REGISTER, vector_run, "pmovmskb", 0, GD, 0, GW, VR),
	VEX2(0xd7, 66, ANY, REGISTER, vector_run, "vpmovmskb", AVX2, GD, GW, VR, 0),
	INTEGER(0xd8, "psubusb", 0, 0),
	INTEGER(0xd9, "psubusw", 0, 0),
	INTEGER(0xda, "pminub", 0, 0),
	INTEGER(0xdb, "pand", 0, 0),
	INTEGER(0xdc, "paddusb", 0, 0),
	INTEGER(0xdd, "paddusw", 0, 0),
	INTEGER(0xde, "pmaxub", 0, 0),
	INTEGER(0xdf, "pandn", 0, 0),
	INTEGER(0xe0, "pavgb", 0, 0),
	SHIFT(0xe1, "psraw"),
	SHIFT(0xe2, "psrad"),
	INTEGER(0xe3, "pavgw", 0, 0),
	INTEGER(0xe4, "pmulhuw", 0, 0),
	INTEGER(0xe5, "pmulhw", 0, 0),
	UNARY(0xe6, 66, "cvttpd2dq", 0, AVX),
	SSE(0xe6, F3, BOTH, vector_run, "cvtdq2pd", 0, RD, 8, VW, VR),
	VEX(0xe6, F3, 0, ANY, BOTH, vector_run, "vcvtdq2pd", FEATURE(AVX), RD, 8, VW, VR, 0),
	VEX(0xe6, F3, 1, ANY, BOTH, vector_run, "vcvtdq2pd", FEATURE(AVX), RD, 16, VW, VR, 0),
	UNARY(0xe6, F2, "cvtpd2dq", 0, AVX),
	MMX(0xe7, MEMORY, mmx_store, "movntq", 0, WR, 8, PR, 0),
	STREAM_STORE(0xe7, 66, "movntdq"),
	INTEGER(0xe8, "psubsb", 0, 0),
	INTEGER(0xe9, "psubsw", 0, 0),
	INTEGER(0xea, "pminsw", 0, 0),
	INTEGER(0xeb, "por", 0, 0),
	INTEGER(0xec, "paddsb", 0, 0),
	INTEGER(0xed, "paddsw", 0, 0),
	INTEGER(0xee, "pmaxsw", 0, 0),
	MMX(0xef, BOTH, vector_run, "pxor", 0, RD, 8, PRW, PR),
	SSE(0xef, 66, BOTH, vector_xor, "pxor", 0, RD | AL, 16, VRW, VR),
	VEX2(0xef, 66, ANY, BOTH, vector_xor, "vpxor", AVX2, RD, VW, VR, VR),
	SSE(0xf0, F2, MEMORY, vector_load, "lddqu", FEATURE(SSE3), RD, 16, VW, 0),
	VEX2(0xf0, F2, ANY, MEMORY, vector_load, "vlddqu", AVX, RD, VW, 0, 0),
	SHIFT(0xf1, "psllw"),
	SHIFT(0xf2, "pslld"),
	SHIFT(0xf3, "psllq"),
	INTEGER(0xf4, "pmuludq", 0, 0),
	INTEGER(0xf5, "pmaddwd", 0, 0),
	INTEGER(0xf6, "psadbw", 0, 0),
	MMX(0xf7, REGISTER, vector_maskmov, "maskmovq", 0, 0, 0, PR, PR, .implicit = X86_IMPLICIT_RDI_READ),
	SSE(0xf7, 66, REGISTER, vector_maskmov, "maskmovdqu", 0, 0, 0, VR, VR, .implicit = X86_IMPLICIT_RDI_READ),
	VEX(0xf7, 66, 0, ANY, REGISTER, vector_maskmov, "vmaskmovdqu", FEATURE(AVX), 0, 0, VR, VR, 0, .implicit = X86_IMPLICIT_RDI_READ),
	INTEGER(0xf8, "psubb", 0, 0),
	INTEGER(0xf9, "psubw", 0, 0),
	INTEGER(0xfa, "psubd", 0, 0),
	INTEGER(0xfb, "psubq", 0, 0),
	INTEGER(0xfc, "paddb", 0, 0),
	INTEGER(0xfd, "paddw", 0, 0),
	INTEGER(0xfe, "paddd", 0, 0),
};
/* clang-format on */

const struct vector_table vector_table_0f = {rows, sizeof(rows) / sizeof(rows[0])};
