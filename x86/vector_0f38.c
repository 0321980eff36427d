/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vector_0f38.c - the rows of the 0F 38 map (and VEX map 2). See vector_table.h.
 */
#include "x86/vector_table.h"

/* clang-format off */
#define ANY VECTOR_ANY
#define BLEND_XMM0(number, name) \
	SSE(number, 66, BOTH, vector_run, name, FEATURE(SSE41), RD | AL, 16, VRW, VR, .implicit = X86_IMPLICIT_XMM0_READ)
/* Sign or zero extension: the source is a half, a quarter or an eighth. */
#define EXTEND(number, name, size)                                                                                    \
	SSE(number, 66, BOTH, vector_run, name, FEATURE(SSE41), RD, size, VW, VR),                                    \
	VEX(number, 66, 0, ANY, BOTH, vector_run, "v" name, FEATURE(AVX), RD, size, VW, VR, 0),                       \
	VEX(number, 66, 1, ANY, BOTH, vector_run, "v" name, FEATURE(AVX2), RD, 2 * (size), VW, VR, 0)
/* VEX only, both lengths, a given W. The first feature is that of both lengths. */
#define VEX_BINARY(number, w, name, feature_)                                                                         \
	VEX(number, 66, 0, w, BOTH, vector_run, name, FEATURE(feature_), RD, 16, VW, VR, VR),                         \
	VEX(number, 66, 1, w, BOTH, vector_run, name, FEATURE(feature_), RD, 32, VW, VR, VR)
#define TEST(number, w, name)                                                                                         \
	VEX(number, 66, 0, w, BOTH, vector_run, name, FEATURE(AVX), RD, 16, VR, VR, 0, FLAGS_ALL),                    \
	VEX(number, 66, 1, w, BOTH, vector_run, name, FEATURE(AVX), RD, 32, VR, VR, 0, FLAGS_ALL)
/* From memory with AVX (`feature_`), from a register with AVX2. */
#define BROADCAST(number, l, name, feature_, size)                                                                    \
	VEX(number, 66, l, 0, MEMORY, vector_run, name, FEATURE(feature_), RD, size, VW, 0, 0),                       \
	VEX(number, 66, l, 0, REGISTER, vector_run, name, FEATURE(AVX2), 0, 0, VW, VR, 0)
#define MASK_LOAD(number, w, name, feature_)                                                                          \
	VEX(number, 66, 0, w, MEMORY, vector_mask_load, name, FEATURE(feature_), RD, 16, VW, 0, VR),                  \
	VEX(number, 66, 1, w, MEMORY, vector_mask_load, name, FEATURE(feature_), RD, 32, VW, 0, VR)
#define MASK_STORE(number, w, name, feature_)                                                                         \
	VEX(number, 66, 0, w, MEMORY, vector_mask_store, name, FEATURE(feature_), WR, 16, VR, 0, VR),                 \
	VEX(number, 66, 1, w, MEMORY, vector_mask_store, name, FEATURE(feature_), WR, 32, VR, 0, VR)
/* operand_size is that of one element. */
#define GATHER(number, w, name, size)                                                                                 \
	VEX(number, 66, 0, w, MEMORY, vector_gather, name, FEATURE(AVX2), RD, size, VRW, 0, VRW, .implicit = X86_IMPLICIT_VSIB), \
	VEX(number, 66, 1, w, MEMORY, vector_gather, name, FEATURE(AVX2), RD, size, VRW, 0, VRW, .implicit = X86_IMPLICIT_VSIB)
#define FMA_PACKED(number, name)                                                                                      \
	VEX(number, 66, 0, 0, BOTH, vector_run, name "ps", FEATURE(FMA), RD, 16, VRW, VR, VR),                        \
	VEX(number, 66, 1, 0, BOTH, vector_run, name "ps", FEATURE(FMA), RD, 32, VRW, VR, VR),                        \
	VEX(number, 66, 0, 1, BOTH, vector_run, name "pd", FEATURE(FMA), RD, 16, VRW, VR, VR),                        \
	VEX(number, 66, 1, 1, BOTH, vector_run, name "pd", FEATURE(FMA), RD, 32, VRW, VR, VR)
#define FMA_SCALAR(number, name)                                                                                      \
	VEX(number, 66, ANY, 0, BOTH, vector_run, name "ss", FEATURE(FMA), RD, 4, VRW, VR, VR),                       \
	VEX(number, 66, ANY, 1, BOTH, vector_run, name "sd", FEATURE(FMA), RD, 8, VRW, VR, VR)
#define FMA_ORDER(high, order)                                                                                        \
	FMA_PACKED(high | 0x6, "vfmaddsub" order), FMA_PACKED(high | 0x7, "vfmsubadd" order)
#define FMA_ALL(high, order)                                                                                          \
	FMA_PACKED(high | 0x8, "vfmadd" order), FMA_SCALAR(high | 0x9, "vfmadd" order), FMA_PACKED(high | 0xa, "vfmsub" order), \
	FMA_SCALAR(high | 0xb, "vfmsub" order), FMA_PACKED(high | 0xc, "vfnmadd" order), FMA_SCALAR(high | 0xd, "vfnmadd" order), \
	FMA_PACKED(high | 0xe, "vfnmsub" order), FMA_SCALAR(high | 0xf, "vfnmsub" order)
#define SHA(number, name, ...) SSE(number, NONE, BOTH, vector_run, name, FEATURE(SHA), RD | AL, 16, VRW, VR, __VA_ARGS__)
#define AES_ROUND(number, name)                                                                                       \
	SSE(number, 66, BOTH, vector_run, name, FEATURE(AES), RD | AL, 16, VRW, VR),                                  \
	VEX(number, 66, 0, ANY, BOTH, vector_run, "v" name, FEATURE(AES), RD, 16, VW, VR, VR),                        \
	VEX(number, 66, 1, ANY, BOTH, vector_run, "v" name, FEATURE(VAES), RD, 32, VW, VR, VR)
#define SSSE3(number, name) INTEGER(number, name, FEATURE(SSSE3), FEATURE(SSSE3))
#define SSSE3_UNARY(number, name)                                                                                     \
	MMX(number, BOTH, vector_run, name, FEATURE(SSSE3), RD, 8, PW, PR), UNARY(number, 66, name, FEATURE(SSSE3), AVX2)
#define SSE41(number, name) BINARY(number, 66, name, FEATURE(SSE41), AVX2)

static const struct vector_row rows[] = {
	SSSE3(0x00, "pshufb"),
	SSSE3(0x01, "phaddw"),
	SSSE3(0x02, "phaddd"),
	SSSE3(0x03, "phaddsw"),
	SSSE3(0x04, "pmaddubsw"),
	SSSE3(0x05, "phsubw"),
	SSSE3(0x06, "phsubd"),
	SSSE3(0x07, "phsubsw"),
	SSSE3(0x08, "psignb"),
	SSSE3(0x09, "psignw"),
	SSSE3(0x0a, "psignd"),
	SSSE3(0x0b, "pmulhrsw"),
	VEX_BINARY(0x0c, 0, "vpermilps", AVX),
	VEX_BINARY(0x0d, 0, "vpermilpd", AVX),
	TEST(0x0e, 0, "vtestps"),
	TEST(0x0f, 0, "vtestpd"),
	BLEND_XMM0(0x10, "pblendvb"),
	VEX(0x13, 66, 0, 0, BOTH, vector_run, "vcvtph2ps", FEATURE(F16C), RD, 8, VW, VR, 0),
	VEX(0x13, 66, 1, 0, BOTH, vector_run, "vcvtph2ps", FEATURE(F16C), RD, 16, VW, VR, 0),
	BLEND_XMM0(0x14, "blendvps"),
	BLEND_XMM0(0x15, "blendvpd"),
	VEX(0x16, 66, 1, 0, BOTH, vector_run, "vpermps", FEATURE(AVX2), RD, 32, VW, VR, VR),
	SSE(0x17, 66, BOTH, vector_run, "ptest", FEATURE(SSE41), RD | AL, 16, VR, VR, FLAGS_ALL),
	TEST(0x17, ANY, "vptest"),
	BROADCAST(0x18, 0, "vbroadcastss", AVX, 4),
	BROADCAST(0x18, 1, "vbroadcastss", AVX, 4),
	BROADCAST(0x19, 1, "vbroadcastsd", AVX, 8),
	VEX(0x1a, 66, 1, 0, MEMORY, vector_run, "vbroadcastf128", FEATURE(AVX), RD, 16, VW, 0, 0),
	SSSE3_UNARY(0x1c, "pabsb"),
	SSSE3_UNARY(0x1d, "pabsw"),
	SSSE3_UNARY(0x1e, "pabsd"),
	EXTEND(0x20, "pmovsxbw", 8),
	EXTEND(0x21, "pmovsxbd", 4),
	EXTEND(0x22, "pmovsxbq", 2),
	EXTEND(0x23, "pmovsxwd", 8),
	EXTEND(0x24, "pmovsxwq", 4),
	EXTEND(0x25, "pmovsxdq", 8),
	SSE41(0x28, "pmuldq"),
	SSE41(0x29, "pcmpeqq"),
	SSE(0x2a, 66, MEMORY, vector_load, "movntdqa", FEATURE(SSE41), RD | AL, 16, VW, 0),
	VEX2(0x2a, 66, ANY, MEMORY, vector_load, "vmovntdqa", AVX2, RD | AL, VW, 0, 0),
	SSE41(0x2b, "packusdw"),
	MASK_LOAD(0x2c, 0, "vmaskmovps", AVX),
	MASK_LOAD(0x2d, 0, "vmaskmovpd", AVX),
	MASK_STORE(0x2e, 0, "vmaskmovps", AVX),
	MASK_STORE(0x2f, 0, "vmaskmovpd", AVX),
	EXTEND(0x30, "pmovzxbw", 8),
	EXTEND(0x31, "pmovzxbd", 4),
	EXTEND(0x32, "pmovzxbq", 2),
	EXTEND(0x33, "pmovzxwd", 8),
	EXTEND(0x34, "pmovzxwq", 4),
	EXTEND(0x35, "pmovzxdq", 8),
	VEX(0x36, 66, 1, 0, BOTH, vector_run, "vpermd", FEATURE(AVX2), RD, 32, VW, VR, VR),
	BINARY(0x37, 66, "pcmpgtq", FEATURE(SSE42), AVX2),
	SSE41(0x38, "pminsb"),
	SSE41(0x39, "pminsd"),
	SSE41(0x3a, "pminuw"),
	SSE41(0x3b, "pminud"),
	SSE41(0x3c, "pmaxsb"),
	SSE41(0x3d, "pmaxsd"),
	SSE41(0x3e, "pmaxuw"),
	SSE41(0x3f, "pmaxud"),
	SSE41(0x40, "pmulld"),
	SSE(0x41, 66, BOTH, vector_run, "phminposuw", FEATURE(SSE41), RD | AL, 16, VW, VR),
	VEX(0x41, 66, 0, ANY, BOTH, vector_run, "vphminposuw", FEATURE(AVX), RD, 16, VW, VR, 0),
	VEX_BINARY(0x45, 0, "vpsrlvd", AVX2),
	VEX_BINARY(0x45, 1, "vpsrlvq", AVX2),
	VEX_BINARY(0x46, 0, "vpsravd", AVX2),
	VEX_BINARY(0x47, 0, "vpsllvd", AVX2),
	VEX_BINARY(0x47, 1, "vpsllvq", AVX2),
	BROADCAST(0x58, 0, "vpbroadcastd", AVX2, 4),
	BROADCAST(0x58, 1, "vpbroadcastd", AVX2, 4),
	BROADCAST(0x59, 0, "vpbroadcastq", AVX2, 8),
	BROADCAST(0x59, 1, "vpbroadcastq", AVX2, 8),
	VEX(0x5a, 66, 1, 0, MEMORY, vector_run, "vbroadcasti128", FEATURE(AVX2), RD, 16, VW, 0, 0),
	BROADCAST(0x78, 0, "vpbroadcastb", AVX2, 1),
	BROADCAST(0x78, 1, "vpbroadcastb", AVX2, 1),
	BROADCAST(0x79, 0, "vpbroadcastw", AVX2, 2),
	BROADCAST(0x79, 1, "vpbroadcastw", AVX2, 2),
	MASK_LOAD(0x8c, 0, "vpmaskmovd", AVX2),
	MASK_LOAD(0x8c, 1, "vpmaskmovq", AVX2),
	MASK_STORE(0x8e, 0, "vpmaskmovd", AVX2),
	MASK_STORE(0x8e, 1, "vpmaskmovq", AVX2),
	GATHER(0x90, 0, "vpgatherdd", 4),
	GATHER(0x90, 1, "vpgatherdq", 8),
	GATHER(0x91, 0, "vpgatherqd", 4),
	GATHER(0x91, 1, "vpgatherqq", 8),
	GATHER(0x92, 0, "vgatherdps", 4),
	GATHER(0x92, 1, "vgatherdpd", 8),
	GATHER(0x93, 0, "vgatherqps", 4),
	GATHER(0x93, 1, "vgatherqpd", 8),
	FMA_ORDER(0x90, "132"),
	FMA_ALL(0x90, "132"),
	FMA_ORDER(0xa0, "213"),
	FMA_ALL(0xa0, "213"),
	FMA_ORDER(0xb0, "231"),
	FMA_ALL(0xb0, "231"),
	SHA(0xc8, "sha1nexte"),
	SHA(0xc9, "sha1msg1"),
	SHA(0xca, "sha1msg2"),
	SHA(0xcb, "sha256rnds2", .implicit = X86_IMPLICIT_XMM0_READ),
	SHA(0xcc, "sha256msg1"),
	SHA(0xcd, "sha256msg2"),
	SSE(0xdb, 66, BOTH, vector_run, "aesimc", FEATURE(AES), RD | AL, 16, VW, VR),
	VEX(0xdb, 66, 0, ANY, BOTH, vector_run, "vaesimc", FEATURE(AES), RD, 16, VW, VR, 0),
	AES_ROUND(0xdc, "aesenc"),
	AES_ROUND(0xdd, "aesenclast"),
	AES_ROUND(0xde, "aesdec"),
	AES_ROUND(0xdf, "aesdeclast"),
};
/* clang-format on */

const struct vector_table vector_table_0f38 = {rows, sizeof(rows) / sizeof(rows[0])};
