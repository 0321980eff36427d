/* SPDX-License-Identifier: Apache-2.0 */
/*
 * opcode_0f.c - the integer and system rows of the two and three-byte opcode maps (SDM vol. 2, tables) and of VEX.
 *
 * What is left out here (SSE, MMX, AVX, FXSAVE and its kin) is asked of x86_vector_decode.
 */
#include "x86/integer.h"
#include "x86/system.h"

/* Tables, laid out by hand. */
// clang-format off
#define R (X86_MODRM | X86_MEMORY_READ)
#define W (X86_MODRM | X86_MEMORY_WRITE)
#define RW (X86_MODRM | X86_MEMORY_READ | X86_MEMORY_WRITE)
#define RWL (RW | X86_LOCKABLE)
#define B X86_BYTE_OPERANDS
#define ENDS X86_ENDS_BLOCK
#define PRIVILEGED X86_PRIVILEGED
#define CF X86_FLAG_CF
#define PF X86_FLAG_PF
#define AF X86_FLAG_AF
#define ZF X86_FLAG_ZF
#define SF X86_FLAG_SF
#define OF X86_FLAG_OF

/* One handler for both kinds of operand, only a memory operand, only a register. */
#define BOTH(name, fn, size, traits) OPCODE_SYSTEM(name, X86_ONE_HANDLER(fn), size, IMM_NONE, traits)
#define MEMORY(name, fn, size, traits) OPCODE_SYSTEM(name, X86_MEMORY_HANDLER(fn), size, IMM_NONE, traits)
#define REGISTER(name, fn, size, traits) OPCODE_SYSTEM(name, X86_REGISTER_HANDLER(fn), size, IMM_NONE, traits)
#define WORD(name, fn, size, traits, written) OPCODE_SIZED(name, X86_ONE_HANDLER(fn), size, IMM_NONE, traits, 2, 0, written, 0)
#define UNDEFINED(traits) BOTH("(undefined)", x86_integer_undefined, SIZE_V, X86_UNDEFINED | ENDS | (traits))
#define ONLY_NO_PREFIX(...) OPCODE_SUBS(OPCODE_PP, __VA_ARGS__, UNDEFINED(0), UNDEFINED(0), UNDEFINED(0))

static const struct opcode_entry group6[8] = {
	WORD("sldt", x86_op_sldt, SIZE_V, W, 0),
	WORD("str", x86_op_str, SIZE_V, W, 0),
	WORD("lldt", x86_op_lldt, SIZE_WORD, R | PRIVILEGED, 0),
	WORD("ltr", x86_op_ltr, SIZE_WORD, R | PRIVILEGED, 0),
	WORD("verr", x86_op_verr, SIZE_WORD, R, ZF),
	WORD("verw", x86_op_verw, SIZE_WORD, R, ZF),
	UNDEFINED(0), UNDEFINED(0),
};

/* 0F 01, register forms, by reg then rm. Those with a mandatory prefix (CET, UINTR, SNP, ...) this CPU has not. */
static const struct opcode_entry group7_0[8] = { /* C0..C7 */
	UNDEFINED(X86_MODRM), BOTH("vmcall", x86_op_vmcall, SIZE_V, X86_MODRM | ENDS), UNDEFINED(X86_MODRM), UNDEFINED(X86_MODRM),
	UNDEFINED(X86_MODRM), UNDEFINED(X86_MODRM), UNDEFINED(X86_MODRM), UNDEFINED(X86_MODRM),
};
static const struct opcode_entry group7_1[8] = { /* C8..CF */
	BOTH("monitor", x86_op_monitor, SIZE_V, X86_MODRM | PRIVILEGED), BOTH("mwait", x86_op_mwait, SIZE_V, X86_MODRM | PRIVILEGED | ENDS),
	BOTH("clac", x86_op_clac, SIZE_V, X86_MODRM | PRIVILEGED | ENDS), BOTH("stac", x86_op_stac, SIZE_V, X86_MODRM | PRIVILEGED | ENDS),
	UNDEFINED(X86_MODRM), UNDEFINED(X86_MODRM), UNDEFINED(X86_MODRM), UNDEFINED(X86_MODRM),
};
static const struct opcode_entry group7_2[8] = { /* D0..D7 */
	BOTH("xgetbv", x86_op_xgetbv, SIZE_V, X86_MODRM), BOTH("xsetbv", x86_op_xsetbv, SIZE_V, X86_MODRM | PRIVILEGED | ENDS),
	UNDEFINED(X86_MODRM), UNDEFINED(X86_MODRM), UNDEFINED(X86_MODRM), UNDEFINED(X86_MODRM), UNDEFINED(X86_MODRM), UNDEFINED(X86_MODRM),
};
static const struct opcode_entry group7_3[8] = { /* D8..DF: AMD's SVM; VMMCALL is the other vendor's VMCALL */
	UNDEFINED(X86_MODRM), BOTH("vmmcall", x86_op_vmcall, SIZE_V, X86_MODRM | ENDS), UNDEFINED(X86_MODRM), UNDEFINED(X86_MODRM),
	UNDEFINED(X86_MODRM), UNDEFINED(X86_MODRM), UNDEFINED(X86_MODRM), UNDEFINED(X86_MODRM),
};
static const struct opcode_entry group7_5[8] = { /* E8..EF */
	UNDEFINED(X86_MODRM), UNDEFINED(X86_MODRM), UNDEFINED(X86_MODRM), UNDEFINED(X86_MODRM), UNDEFINED(X86_MODRM), UNDEFINED(X86_MODRM),
	BOTH("rdpkru", x86_op_rdpkru, SIZE_V, X86_MODRM), BOTH("wrpkru", x86_op_wrpkru, SIZE_V, X86_MODRM | ENDS),
};
static const struct opcode_entry group7_7[8] = { /* F8..FF */
	BOTH("swapgs", x86_op_swapgs, SIZE_V, X86_MODRM | PRIVILEGED | X86_ONLY_64), BOTH("rdtscp", x86_op_rdtscp, SIZE_V, X86_MODRM),
	UNDEFINED(X86_MODRM), UNDEFINED(X86_MODRM), UNDEFINED(X86_MODRM), UNDEFINED(X86_MODRM), UNDEFINED(X86_MODRM), UNDEFINED(X86_MODRM),
};
#define PREFIXLESS_RM(name) ONLY_NO_PREFIX(OPCODE_SUB(OPCODE_RM, name))
static const struct opcode_entry group7_register[8] = {
	PREFIXLESS_RM(group7_0),
	PREFIXLESS_RM(group7_1),
	PREFIXLESS_RM(group7_2),
	OPCODE_SUB(OPCODE_RM, group7_3), /* VMGEXIT, with F2 or F3, is VMMCALL without SEV-ES */
	WORD("smsw", x86_op_smsw, SIZE_V, W, 0),
	PREFIXLESS_RM(group7_5),
	WORD("lmsw", x86_op_lmsw, SIZE_WORD, R | PRIVILEGED | ENDS, 0),
	OPCODE_SUB(OPCODE_RM, group7_7),
};
static const struct opcode_entry group7_memory[8] = {
	MEMORY("sgdt", x86_op_sgdt, SIZE_NATIVE, W),
	MEMORY("sidt", x86_op_sidt, SIZE_NATIVE, W),
	MEMORY("lgdt", x86_op_lgdt, SIZE_V, R | PRIVILEGED),
	MEMORY("lidt", x86_op_lidt, SIZE_V, R | PRIVILEGED),
	WORD("smsw", x86_op_smsw, SIZE_WORD, W, 0),
	UNDEFINED(0),
	WORD("lmsw", x86_op_lmsw, SIZE_WORD, R | PRIVILEGED | ENDS, 0),
	OPCODE_SIZED("invlpg", X86_MEMORY_HANDLER(x86_op_invlpg), SIZE_BYTE, IMM_NONE, X86_MODRM | PRIVILEGED | ENDS, 1, 0, 0, 0),
};
static const struct opcode_entry group7[2] = { OPCODE_SUB(OPCODE_GROUP, group7_memory), OPCODE_SUB(OPCODE_GROUP, group7_register) };

static const struct opcode_entry group8[8] = {
	UNDEFINED(0), UNDEFINED(0), UNDEFINED(0), UNDEFINED(0),
	OPCODE("bt", x86_integer_bt_imm, SIZE_V, IMM_U8, R, 0, CF, F_BUT(CF | ZF)),
	OPCODE("bts", x86_integer_bts_imm, SIZE_V, IMM_U8, RWL, 0, CF, F_BUT(CF | ZF)),
	OPCODE("btr", x86_integer_btr_imm, SIZE_V, IMM_U8, RWL, 0, CF, F_BUT(CF | ZF)),
	OPCODE("btc", x86_integer_btc_imm, SIZE_V, IMM_U8, RWL, 0, CF, F_BUT(CF | ZF)),
};

static const struct opcode_entry cmpxchg8b[2] = {
	OPCODE_SIZED("cmpxchg8b", x86_integer_cmpxchg8b, SIZE_Y, IMM_NONE, RWL, 8, 0, ZF, 0),
	OPCODE_FEATURE(CX16, "cmpxchg16b", x86_integer_cmpxchg16b, SIZE_Y, IMM_NONE, RWL | X86_ALIGNED, 16, 0, ZF, 0),
};
static const struct opcode_entry cmpxchg8b_mode[2] = { /* REX.W exists in 64-bit code only, so W says it all */
	OPCODE_SUB(OPCODE_W, cmpxchg8b), OPCODE_SUB(OPCODE_W, cmpxchg8b),
};
#define RANDOM(feature, name, handlers) OPCODE_FEATURE(feature, name, handlers, SIZE_V, IMM_NONE, X86_MODRM, 0, 0, F_ALL, 0)
static const struct opcode_entry rdrand_pp[4] = {
	RANDOM(RDRAND, "rdrand", x86_integer_rdrand), RANDOM(RDRAND, "rdrand", x86_integer_rdrand), UNDEFINED(0), UNDEFINED(0),
};
static const struct opcode_entry rdseed_pp[4] = {
	RANDOM(RDSEED, "rdseed", x86_integer_rdseed), RANDOM(RDSEED, "rdseed", x86_integer_rdseed),
	REGISTER("rdpid", x86_op_rdpid, SIZE_NATIVE, X86_MODRM), UNDEFINED(0),
};
/* Memory forms: /1 is ours, /3 to /5 are the vector decoder's, /6 and /7 are VMX. */
static const struct opcode_entry group9_memory[8] = {
	[0] = UNDEFINED(0), [1] = OPCODE_SUB(OPCODE_MODE, cmpxchg8b_mode), [2] = UNDEFINED(0), [6] = UNDEFINED(0), [7] = UNDEFINED(0),
};
static const struct opcode_entry group9_register[8] = {
	UNDEFINED(0), UNDEFINED(0), UNDEFINED(0), UNDEFINED(0), UNDEFINED(0), UNDEFINED(0),
	OPCODE_SUB(OPCODE_PP, rdrand_pp), OPCODE_SUB(OPCODE_PP, rdseed_pp),
};
static const struct opcode_entry group9[2] = { OPCODE_SUB(OPCODE_GROUP, group9_memory), OPCODE_SUB(OPCODE_GROUP, group9_register) };

#define FSGSBASE(name, fn) \
	OPCODE_SUBS(OPCODE_PP, UNDEFINED(0), UNDEFINED(0), REGISTER(name, fn, SIZE_Y, X86_MODRM | X86_ONLY_64), UNDEFINED(0))
#define FENCE(name, handlers) ONLY_NO_PREFIX(OPCODE_SYSTEM(name, handlers, SIZE_V, IMM_NONE, X86_MODRM))
#define CACHE_LINE(feature, name, handlers) OPCODE_FEATURE(feature, name, handlers, SIZE_BYTE, IMM_NONE, R, 1, 0, 0, 0)
static const struct opcode_entry group15_register[8] = {
	FSGSBASE("rdfsbase", x86_op_rdfsbase), FSGSBASE("rdgsbase", x86_op_rdgsbase),
	FSGSBASE("wrfsbase", x86_op_wrfsbase), FSGSBASE("wrgsbase", x86_op_wrgsbase),
	UNDEFINED(0),
	FENCE("lfence", x86_integer_lfence), FENCE("mfence", x86_integer_mfence), FENCE("sfence", x86_integer_sfence),
};
/* Memory forms: without a prefix all but /7 are the vector decoder's. */
static const struct opcode_entry group15_6[4] = { { .kind = OPCODE_VECTOR }, CACHE_LINE(CLWB, "clwb", x86_integer_clwb), UNDEFINED(0), UNDEFINED(0) };
static const struct opcode_entry group15_7[4] = {
	OPCODE_SIZED("clflush", x86_integer_cache_line, SIZE_BYTE, IMM_NONE, R, 1, 0, 0, 0),
	CACHE_LINE(CLFLUSHOPT, "clflushopt", x86_integer_clflushopt), UNDEFINED(0), UNDEFINED(0),
};
static const struct opcode_entry group15_memory[8] = { [6] = OPCODE_SUB(OPCODE_PP, group15_6), [7] = OPCODE_SUB(OPCODE_PP, group15_7) };
static const struct opcode_entry group15[2] = { OPCODE_SUB(OPCODE_GROUP, group15_memory), OPCODE_SUB(OPCODE_GROUP, group15_register) };

#define BITSCAN(name, handlers) OPCODE(name, handlers, SIZE_V, IMM_NONE, R, 0, ZF, F_BUT(ZF))
static const struct opcode_entry bsf_pp[4] = {
	BITSCAN("bsf", x86_integer_bsf), BITSCAN("bsf", x86_integer_bsf),
	OPCODE("tzcnt", x86_integer_tzcnt, SIZE_V, IMM_NONE, R, 0, CF | ZF, F_BUT(CF | ZF)), BITSCAN("bsf", x86_integer_bsf),
};
static const struct opcode_entry bsr_pp[4] = {
	BITSCAN("bsr", x86_integer_bsr), BITSCAN("bsr", x86_integer_bsr),
	OPCODE("lzcnt", x86_integer_lzcnt, SIZE_V, IMM_NONE, R, 0, CF | ZF, F_BUT(CF | ZF)), BITSCAN("bsr", x86_integer_bsr),
};
static const struct opcode_entry popcnt_pp[4] = {
	UNDEFINED(0), UNDEFINED(0), OPCODE_FEATURE(POPCNT, "popcnt", x86_integer_popcnt, SIZE_V, IMM_NONE, R, 0, 0, F_ALL, 0), UNDEFINED(0),
};

#define HINT OPCODE_SYSTEM("nop", x86_integer_nop, SIZE_V, IMM_NONE, X86_MODRM)
#define MOVE_CONTROL(name_, fn_, traits_)                                                                        \
	{ .kind = OPCODE_PLAIN, .size = SIZE_NATIVE, .operands = OPERANDS_IGNORE_MOD, .handlers = &X86_ONE_HANDLER(fn_), \
	  .row = { .name = name_, .traits = X86_MODRM | X86_PRIVILEGED | (traits_) } }
#define FAR_POINTER(name) MEMORY(name, x86_op_load_far_pointer, SIZE_V, R | ENDS)
#define SHIFT_DOUBLE(name, handlers, immediate) OPCODE(name, handlers, SIZE_V, immediate, RW, F_ALL, F_BUT(AF | OF), AF | OF)
#define CONDITIONS(ROW)                                                                                          \
	ROW(0, "o", OF), ROW(1, "no", OF), ROW(2, "b", CF), ROW(3, "ae", CF), ROW(4, "e", ZF), ROW(5, "ne", ZF), ROW(6, "be", CF | ZF), \
	ROW(7, "a", CF | ZF), ROW(8, "s", SF), ROW(9, "ns", SF), ROW(10, "p", PF), ROW(11, "np", PF), ROW(12, "l", SF | OF),  \
	ROW(13, "ge", SF | OF), ROW(14, "le", ZF | SF | OF), ROW(15, "g", ZF | SF | OF)
#define CMOV(n, name, read) [0x40 + (n)] = OPCODE("cmov" name, x86_integer_cmovcc[n], SIZE_V, IMM_NONE, R, read, 0, 0)
#define JUMP(n, name, read) \
	[0x80 + (n)] = OPCODE("j" name, x86_integer_jcc[n], SIZE_NEAR, IMM_NEAR, X86_BRANCH | X86_CONDITIONAL | ENDS, read, 0, 0)
#define SET(n, name, read) [0x90 + (n)] = OPCODE("set" name, x86_integer_setcc[n], SIZE_BYTE, IMM_NONE, W | B, read, 0, 0)
#define EXTEND(name, handlers, bytes) OPCODE_SIZED(name, handlers, SIZE_V, IMM_NONE, R, bytes, 0, 0, 0)

const struct opcode_entry x86_opcode_0f[256] = {
	[0x00] = OPCODE_SUB(OPCODE_GROUP, group6),
	[0x01] = OPCODE_SUB(OPCODE_MOD, group7),
	[0x02] = WORD("lar", x86_op_lar, SIZE_V, R, ZF),
	[0x03] = WORD("lsl", x86_op_lsl, SIZE_V, R, ZF),
	[0x04] = UNDEFINED(0),
	[0x05] = OPCODE("syscall", X86_ONE_HANDLER(x86_op_syscall), SIZE_V, IMM_NONE, ENDS, F_ALL, F_ALL, 0),
	[0x06] = BOTH("clts", x86_op_clts, SIZE_V, PRIVILEGED | ENDS),
	[0x07] = OPCODE("sysret", X86_ONE_HANDLER(x86_op_sysret), SIZE_Y, IMM_NONE, PRIVILEGED | ENDS, 0, F_ALL, 0),
	[0x08] = BOTH("invd", x86_op_invd, SIZE_V, PRIVILEGED | ENDS),
	[0x09] = BOTH("wbinvd", x86_op_wbinvd, SIZE_V, PRIVILEGED | ENDS),
	[0x0a] = UNDEFINED(0),
	[0x0b] = BOTH("ud2", x86_integer_undefined, SIZE_V, X86_UNDEFINED | ENDS),
	[0x0c] = UNDEFINED(0),
	[0x0d] = OPCODE_SYSTEM("prefetch", x86_integer_prefetch, SIZE_V, IMM_NONE, X86_MODRM),
	[0x18 ... 0x1f] = HINT, /* prefetches, ENDBR, and what has been reserved as NOP */
	[0x20] = MOVE_CONTROL("mov", x86_op_mov_from_cr, 0),
	[0x21] = MOVE_CONTROL("mov", x86_op_mov_from_dr, 0),
	[0x22] = MOVE_CONTROL("mov", x86_op_mov_to_cr, ENDS),
	[0x23] = MOVE_CONTROL("mov", x86_op_mov_to_dr, ENDS),
	[0x24 ... 0x27] = UNDEFINED(0),
	[0x30] = BOTH("wrmsr", x86_op_wrmsr, SIZE_V, PRIVILEGED | ENDS),
	[0x31] = BOTH("rdtsc", x86_op_rdtsc, SIZE_V, 0),
	[0x32] = BOTH("rdmsr", x86_op_rdmsr, SIZE_V, PRIVILEGED),
	[0x33] = BOTH("rdpmc", x86_op_rdpmc, SIZE_V, 0),
	[0x34] = BOTH("sysenter", x86_op_sysenter, SIZE_V, ENDS),
	[0x35] = BOTH("sysexit", x86_op_sysexit, SIZE_Y, PRIVILEGED | ENDS),
	[0x36] = UNDEFINED(0),
	[0x37] = UNDEFINED(0), /* GETSEC */
	[0x39] = UNDEFINED(0),
	[0x3b ... 0x3f] = UNDEFINED(0),
	CONDITIONS(CMOV),
	CONDITIONS(JUMP),
	CONDITIONS(SET),
	[0xa0] = BOTH("push fs", x86_op_push_sreg, SIZE_STACK, X86_STACK),
	[0xa1] = BOTH("pop fs", x86_op_pop_sreg, SIZE_STACK, X86_STACK | ENDS),
	[0xa2] = BOTH("cpuid", x86_op_cpuid, SIZE_V, ENDS),
	[0xa3] = OPCODE("bt", x86_integer_bt_r, SIZE_V, IMM_NONE, R, 0, CF, F_BUT(CF | ZF)),
	[0xa4] = SHIFT_DOUBLE("shld", x86_integer_shld_imm, IMM_U8),
	[0xa5] = SHIFT_DOUBLE("shld", x86_integer_shld_cl, IMM_NONE),
	[0xa6 ... 0xa7] = UNDEFINED(0),
	[0xa8] = BOTH("push gs", x86_op_push_sreg, SIZE_STACK, X86_STACK),
	[0xa9] = BOTH("pop gs", x86_op_pop_sreg, SIZE_STACK, X86_STACK | ENDS),
	[0xaa] = UNDEFINED(0), /* RSM: there is no system management mode to leave */
	[0xab] = OPCODE("bts", x86_integer_bts_r, SIZE_V, IMM_NONE, RWL, 0, CF, F_BUT(CF | ZF)),
	[0xac] = SHIFT_DOUBLE("shrd", x86_integer_shrd_imm, IMM_U8),
	[0xad] = SHIFT_DOUBLE("shrd", x86_integer_shrd_cl, IMM_NONE),
	[0xae] = OPCODE_SUB(OPCODE_MOD, group15),
	[0xaf] = OPCODE("imul", x86_integer_imul_r_rm, SIZE_V, IMM_NONE, R, 0, CF | OF, F_BUT(CF | OF)),
	[0xb0] = OPCODE("cmpxchg", x86_integer_cmpxchg, SIZE_BYTE, IMM_NONE, RWL | B, 0, F_ALL, 0),
	[0xb1] = OPCODE("cmpxchg", x86_integer_cmpxchg, SIZE_V, IMM_NONE, RWL, 0, F_ALL, 0),
	[0xb2] = FAR_POINTER("lss"),
	[0xb3] = OPCODE("btr", x86_integer_btr_r, SIZE_V, IMM_NONE, RWL, 0, CF, F_BUT(CF | ZF)),
	[0xb4] = FAR_POINTER("lfs"),
	[0xb5] = FAR_POINTER("lgs"),
	[0xb6] = EXTEND("movzx", x86_integer_movzx8, 1),
	[0xb7] = EXTEND("movzx", x86_integer_movzx16, 2),
	[0xb8] = OPCODE_SUB(OPCODE_PP, popcnt_pp),
	[0xb9] = BOTH("ud1", x86_integer_undefined, SIZE_V, X86_UNDEFINED | ENDS), /* Intel fetches a ModRM, AMD does not: #UD is what counts */
	[0xba] = OPCODE_SUB(OPCODE_GROUP, group8),
	[0xbb] = OPCODE("btc", x86_integer_btc_r, SIZE_V, IMM_NONE, RWL, 0, CF, F_BUT(CF | ZF)),
	[0xbc] = OPCODE_SUB(OPCODE_PP, bsf_pp),
	[0xbd] = OPCODE_SUB(OPCODE_PP, bsr_pp),
	[0xbe] = EXTEND("movsx", x86_integer_movsx8, 1),
	[0xbf] = EXTEND("movsx", x86_integer_movsx16, 2),
	[0xc0] = OPCODE("xadd", x86_integer_xadd, SIZE_BYTE, IMM_NONE, RWL | B, 0, F_ARITHMETIC, 0),
	[0xc1] = OPCODE("xadd", x86_integer_xadd, SIZE_V, IMM_NONE, RWL, 0, F_ARITHMETIC, 0),
	[0xc3] = ONLY_NO_PREFIX(OPCODE_SYSTEM("movnti", x86_integer_movnti, SIZE_Y, IMM_NONE, W)),
	[0xc7] = OPCODE_SUB(OPCODE_MOD, group9),
	[0xc8 ... 0xcf] = OPCODE_SYSTEM("bswap", x86_integer_bswap, SIZE_V, IMM_NONE, 0),
	[0xff] = BOTH("ud0", x86_integer_undefined, SIZE_V, X86_UNDEFINED | ENDS),
};

const struct opcode_entry x86_opcode_0f38_80[8] = {
	/* INVEPT, INVVPID: VMX, which this CPU has not. The rest of 0F38 is the vector decoder's. */
	[0] = UNDEFINED(0), [1] = UNDEFINED(0),
	[2] = OPCODE_SUBS(OPCODE_PP, UNDEFINED(0),
			  OPCODE_SIZED("invpcid", X86_MEMORY_HANDLER(x86_op_invpcid), SIZE_NATIVE, IMM_NONE, R | PRIVILEGED | ENDS, 16, 0, 0, 0),
			  UNDEFINED(0), UNDEFINED(0)),
};

#define MOVBE_LOAD OPCODE_FEATURE(MOVBE, "movbe", x86_integer_movbe_load, SIZE_V, IMM_NONE, R, 0, 0, 0, 0)
#define MOVBE_STORE OPCODE_FEATURE(MOVBE, "movbe", x86_integer_movbe_store, SIZE_V, IMM_NONE, W, 0, 0, 0, 0)
const struct opcode_entry x86_opcode_0f38_f0[16] = {
	[0] = OPCODE_SUBS(OPCODE_PP, MOVBE_LOAD, MOVBE_LOAD, UNDEFINED(0),
			  OPCODE_FEATURE(SSE42, "crc32", x86_integer_crc32_8, SIZE_Y, IMM_NONE, R, 1, 0, 0, 0)),
	[1] = OPCODE_SUBS(OPCODE_PP, MOVBE_STORE, MOVBE_STORE, UNDEFINED(0),
			  OPCODE_FEATURE(SSE42, "crc32", x86_integer_crc32_v, SIZE_V, IMM_NONE, R, 0, 0, 0, 0)),
	[6] = OPCODE_SUBS(OPCODE_PP, UNDEFINED(0), OPCODE_FEATURE(ADX, "adcx", x86_integer_adcx, SIZE_Y, IMM_NONE, R, 0, CF, CF, 0),
			  OPCODE_FEATURE(ADX, "adox", x86_integer_adox, SIZE_Y, IMM_NONE, R, 0, OF, OF, 0), UNDEFINED(0)),
	[2 ... 5] = UNDEFINED(0), [7 ... 15] = UNDEFINED(0),
};

#define BMI(name, handlers, written, undefined) OPCODE_FEATURE(BMI1, name, handlers, SIZE_Y, IMM_NONE, R, 0, 0, written, undefined)
#define BMI2(name, handlers, written, undefined) OPCODE_FEATURE(BMI2, name, handlers, SIZE_Y, IMM_NONE, R, 0, 0, written, undefined)
static const struct opcode_entry group17[8] = {
	UNDEFINED(0),
	BMI("blsr", x86_integer_blsr, F_BUT(AF | PF), AF | PF),
	BMI("blsmsk", x86_integer_blsmsk, F_BUT(AF | PF), AF | PF),
	BMI("blsi", x86_integer_blsi, F_BUT(AF | PF), AF | PF),
	UNDEFINED(0), UNDEFINED(0), UNDEFINED(0), UNDEFINED(0),
};
const struct opcode_entry x86_opcode_vex_0f38_f0[16] = {
	[0 ... 1] = UNDEFINED(0), [4] = UNDEFINED(0), [8 ... 15] = UNDEFINED(0),
	[2] = ONLY_NO_PREFIX(BMI("andn", x86_integer_andn, F_BUT(AF | PF), AF | PF)),
	[3] = ONLY_NO_PREFIX(OPCODE_SUB(OPCODE_GROUP, group17)),
	[5] = OPCODE_SUBS(OPCODE_PP, BMI2("bzhi", x86_integer_bzhi, F_BUT(AF | PF), AF | PF), UNDEFINED(0), BMI2("pext", x86_integer_pext, 0, 0),
			  BMI2("pdep", x86_integer_pdep, 0, 0)),
	[6] = OPCODE_SUBS(OPCODE_PP, UNDEFINED(0), UNDEFINED(0), UNDEFINED(0), BMI2("mulx", x86_integer_mulx, 0, 0)),
	[7] = OPCODE_SUBS(OPCODE_PP, BMI("bextr", x86_integer_bextr, CF | ZF | OF, AF | PF | SF), BMI2("shlx", x86_integer_shlx, 0, 0),
			  BMI2("sarx", x86_integer_sarx, 0, 0), BMI2("shrx", x86_integer_shrx, 0, 0)),
};
const struct opcode_entry x86_opcode_vex_0f3a_f0 =
	OPCODE_SUBS(OPCODE_PP, UNDEFINED(0), UNDEFINED(0), UNDEFINED(0), OPCODE_FEATURE(BMI2, "rorx", x86_integer_rorx, SIZE_Y, IMM_U8, R, 0, 0, 0, 0));
