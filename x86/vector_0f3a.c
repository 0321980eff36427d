/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vector_0f3a.c - the rows of the 0F 3A map (and VEX map 3): all have an imm8. See vector_table.h.
 */
#include "x86/vector_table.h"

/* clang-format off */
#define ANY VECTOR_ANY
#define VEX_BINARY(number, w, name, feature_)                                                                         \
	VEX(number, 66, 0, w, BOTH, vector_run, name, FEATURE(feature_), RD | I8, 16, VW, VR, VR),                    \
	VEX(number, 66, 1, w, BOTH, vector_run, name, FEATURE(feature_), RD | I8, 32, VW, VR, VR)
#define VEX_UNARY(number, w, name, feature_)                                                                          \
	VEX(number, 66, 0, w, BOTH, vector_run, name, FEATURE(feature_), RD | I8, 16, VW, VR, 0),                     \
	VEX(number, 66, 1, w, BOTH, vector_run, name, FEATURE(feature_), RD | I8, 32, VW, VR, 0)
#define VEX_256(number, w, name, feature_, vvvv) \
	VEX(number, 66, 1, w, BOTH, vector_run, name, FEATURE(feature_), RD | I8, 32, VW, VR, vvvv)
#define INSERT_128(number, name, feature_) \
	VEX(number, 66, 1, 0, BOTH, vector_run, name, FEATURE(feature_), RD | I8, 16, VW, VR, VR)
#define EXTRACT_128(number, name, feature_) \
	VEX(number, 66, 1, 0, BOTH, vector_run, name, FEATURE(feature_), WR | I8, 16, VR, VW, 0)
/* To or from a GPR or memory; the width of D and Q by W. */
#define EXTRACT(number, name, size)                                                                                   \
	SSE(number, 66, BOTH, vector_run, name, FEATURE(SSE41), WR | GD | I8, size, VR, GW),                          \
	VEX(number, 66, 0, ANY, BOTH, vector_run, "v" name, FEATURE(AVX), WR | GD | I8, size, VR, GW, 0)
#define EXTRACT_W(number, w, name, size)                                                                              \
	ROW(number, 66, 0, ANY, w, BOTH, ANY, vector_run, name, FEATURE(SSE41), X86_SSE | WR | GD | I8, size, VR, GW, 0), \
	VEX(number, 66, 0, w, BOTH, vector_run, "v" name, FEATURE(AVX), WR | GD | I8, size, VR, GW, 0)
#define INSERT(number, w, name, size)                                                                                 \
	ROW(number, 66, 0, ANY, w, BOTH, ANY, vector_run, name, FEATURE(SSE41), X86_SSE | RD | I8, size, VRW, GR, 0), \
	VEX(number, 66, 0, w, BOTH, vector_run, "v" name, FEATURE(AVX), RD | I8, size, VW, GR, VR)
#define BLEND_IS4(number, name, wide)                                                                                 \
	VEX(number, 66, 0, 0, BOTH, vector_run, name, FEATURE(AVX), RD | I8, 16, VW, VR, VR, .implicit = X86_IMPLICIT_IS4_READ), \
	VEX(number, 66, 1, 0, BOTH, vector_run, name, FEATURE(wide), RD | I8, 32, VW, VR, VR, .implicit = X86_IMPLICIT_IS4_READ)
/* No alignment, even in legacy form. */
#define STRING(number, name, implicit_)                                                                               \
	SSE(number, 66, BOTH, vector_run, name, FEATURE(SSE42), RD | I8, 16, VR, VR, FLAGS_ALL, .implicit = implicit_), \
	VEX(number, 66, 0, ANY, BOTH, vector_run, "v" name, FEATURE(AVX), RD | I8, 16, VR, VR, 0, FLAGS_ALL, .implicit = implicit_)

static const struct vector_row rows[] = {
	VEX_256(0x00, 1, "vpermq", AVX2, 0),
	VEX_256(0x01, 1, "vpermpd", AVX2, 0),
	VEX_BINARY(0x02, 0, "vpblendd", AVX2),
	VEX_UNARY(0x04, 0, "vpermilps", AVX),
	VEX_UNARY(0x05, 0, "vpermilpd", AVX),
	VEX_256(0x06, 0, "vperm2f128", AVX, VR),
	UNARY_IMM(0x08, 66, "roundps", FEATURE(SSE41), AVX),
	UNARY_IMM(0x09, 66, "roundpd", FEATURE(SSE41), AVX),
	SCALAR(0x0a, 66, "roundss", FEATURE(SSE41), 4, I8),
	SCALAR(0x0b, 66, "roundsd", FEATURE(SSE41), 8, I8),
	BINARY_IMM(0x0c, 66, "blendps", FEATURE(SSE41), AVX),
	BINARY_IMM(0x0d, 66, "blendpd", FEATURE(SSE41), AVX),
	BINARY_IMM(0x0e, 66, "pblendw", FEATURE(SSE41), AVX2),
	MMX(0x0f, BOTH, vector_run, "palignr", FEATURE(SSSE3), RD | I8, 8, PRW, PR),
	BINARY_IMM(0x0f, 66, "palignr", FEATURE(SSSE3), AVX2),
	EXTRACT(0x14, "pextrb", 1),
	EXTRACT(0x15, "pextrw", 2),
	EXTRACT_W(0x16, 0, "pextrd", 4),
	EXTRACT_W(0x16, 1, "pextrq", 8),
	EXTRACT(0x17, "extractps", 4),
	INSERT_128(0x18, "vinsertf128", AVX),
	EXTRACT_128(0x19, "vextractf128", AVX),
	VEX(0x1d, 66, 0, 0, BOTH, vector_run, "vcvtps2ph", FEATURE(F16C), WR | I8, 8, VR, VW, 0),
	VEX(0x1d, 66, 1, 0, BOTH, vector_run, "vcvtps2ph", FEATURE(F16C), WR | I8, 16, VR, VW, 0),
	INSERT(0x20, ANY, "pinsrb", 1),
	SSE(0x21, 66, BOTH, vector_run, "insertps", FEATURE(SSE41), RD | I8, 4, VRW, VR),
	VEX(0x21, 66, 0, VECTOR_ANY, BOTH, vector_run, "vinsertps", FEATURE(AVX), RD | I8, 4, VW, VR, VR), /* 128 bits only */
	INSERT(0x22, 0, "pinsrd", 4),
	INSERT(0x22, 1, "pinsrq", 8),
	INSERT_128(0x38, "vinserti128", AVX2),
	EXTRACT_128(0x39, "vextracti128", AVX2),
	BINARY_IMM(0x40, 66, "dpps", FEATURE(SSE41), AVX),
	SSE(0x41, 66, BOTH, vector_run, "dppd", FEATURE(SSE41), RD | AL | I8, 16, VRW, VR),
	VEX(0x41, 66, 0, ANY, BOTH, vector_run, "vdppd", FEATURE(AVX), RD | I8, 16, VW, VR, VR),
	BINARY_IMM(0x42, 66, "mpsadbw", FEATURE(SSE41), AVX2),
	SSE(0x44, 66, BOTH, vector_run, "pclmulqdq", FEATURE(PCLMULQDQ), RD | AL | I8, 16, VRW, VR),
	VEX(0x44, 66, 0, ANY, BOTH, vector_run, "vpclmulqdq", FEATURE(PCLMULQDQ), RD | I8, 16, VW, VR, VR),
	VEX(0x44, 66, 1, ANY, BOTH, vector_run, "vpclmulqdq", FEATURE(VPCLMULQDQ), RD | I8, 32, VW, VR, VR),
	VEX_256(0x46, 0, "vperm2i128", AVX2, VR),
	BLEND_IS4(0x4a, "vblendvps", AVX),
	BLEND_IS4(0x4b, "vblendvpd", AVX),
	BLEND_IS4(0x4c, "vpblendvb", AVX2),
	STRING(0x60, "pcmpestrm", X86_IMPLICIT_RAX_RDX_READ | X86_IMPLICIT_XMM0_WRITTEN),
	STRING(0x61, "pcmpestri", X86_IMPLICIT_RAX_RDX_READ | X86_IMPLICIT_RCX_WRITTEN),
	STRING(0x62, "pcmpistrm", X86_IMPLICIT_XMM0_WRITTEN),
	STRING(0x63, "pcmpistri", X86_IMPLICIT_RCX_WRITTEN),
	SSE(0xcc, NONE, BOTH, vector_run, "sha1rnds4", FEATURE(SHA), RD | AL | I8, 16, VRW, VR),
	SSE(0xdf, 66, BOTH, vector_run, "aeskeygenassist", FEATURE(AES), RD | AL | I8, 16, VW, VR),
	VEX(0xdf, 66, 0, ANY, BOTH, vector_run, "vaeskeygenassist", FEATURE(AES), RD | I8, 16, VW, VR, 0),
};
/* clang-format on */

const struct vector_table vector_table_0f3a = {rows, sizeof(rows) / sizeof(rows[0])};
