/* SPDX-License-Identifier: Apache-2.0 */
/*
 * opcode_1byte.c - the one-byte opcode map (SDM vol. 2, table A-2) and its groups.
 *
 * A row says what an engine must know of an operation without knowing it; see struct x86_opcode. A shift whose count may be 0 reads all flags: it may hand
 * them on. Conventions: traits first by operand (R, W, RW below), then the rest.
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
#define CF X86_FLAG_CF
#define PF X86_FLAG_PF
#define AF X86_FLAG_AF
#define ZF X86_FLAG_ZF
#define SF X86_FLAG_SF
#define OF X86_FLAG_OF
#define UNDEFINED OPCODE_SYSTEM("(undefined)", X86_ONE_HANDLER(x86_integer_undefined), SIZE_V, IMM_NONE, X86_UNDEFINED | ENDS)

/* The six encodings of ADD..CMP; `rm` is the traits of the form that writes r/m. */
#define ALU(n, name, rm, read, written, undefined)                                                            \
	[n * 8 + 0] = OPCODE(name, x86_integer_alu_rm_r[n], SIZE_BYTE, IMM_NONE, rm | B, read, written, undefined), \
	[n * 8 + 1] = OPCODE(name, x86_integer_alu_rm_r[n], SIZE_V, IMM_NONE, rm, read, written, undefined),  \
	[n * 8 + 2] = OPCODE(name, x86_integer_alu_r_rm[n], SIZE_BYTE, IMM_NONE, R | B, read, written, undefined), \
	[n * 8 + 3] = OPCODE(name, x86_integer_alu_r_rm[n], SIZE_V, IMM_NONE, R, read, written, undefined),   \
	[n * 8 + 4] = OPCODE_ACCUMULATOR(name, x86_integer_alu_rm_imm[n], SIZE_BYTE, IMM_8, read, written, undefined), \
	[n * 8 + 5] = OPCODE_ACCUMULATOR(name, x86_integer_alu_rm_imm[n], SIZE_V, IMM_Z, read, written, undefined)

#define GROUP1(name, size, immediate, byte)                                                                      \
	static const struct opcode_entry name[8] = {                                                             \
		OPCODE("add", x86_integer_alu_rm_imm[0], size, immediate, RWL | byte, 0, F_ARITHMETIC, 0),       \
		OPCODE("or", x86_integer_alu_rm_imm[1], size, immediate, RWL | byte, 0, F_LOGIC, AF),            \
		OPCODE("adc", x86_integer_alu_rm_imm[2], size, immediate, RWL | byte, CF, F_ARITHMETIC, 0),      \
		OPCODE("sbb", x86_integer_alu_rm_imm[3], size, immediate, RWL | byte, CF, F_ARITHMETIC, 0),      \
		OPCODE("and", x86_integer_alu_rm_imm[4], size, immediate, RWL | byte, 0, F_LOGIC, AF),           \
		OPCODE("sub", x86_integer_alu_rm_imm[5], size, immediate, RWL | byte, 0, F_ARITHMETIC, 0),       \
		OPCODE("xor", x86_integer_alu_rm_imm[6], size, immediate, RWL | byte, 0, F_LOGIC, AF),           \
		OPCODE("cmp", x86_integer_alu_rm_imm[7], size, immediate, R | byte, 0, F_ARITHMETIC, 0),         \
	}
GROUP1(group1_byte, SIZE_BYTE, IMM_8, B);
GROUP1(group1_z, SIZE_V, IMM_Z, 0);
GROUP1(group1_8, SIZE_V, IMM_8, 0);
static const struct opcode_entry group1_82[2] = { OPCODE_SUB(OPCODE_GROUP, group1_byte) };

/* Shifts by 1: everything but AF is defined. */
#define GROUP2_ONE(name, size, byte)                                                                             \
	static const struct opcode_entry name[8] = {                                                             \
		OPCODE("rol", x86_integer_shift_1[0], size, IMM_NONE, RW | byte, 0, CF | OF, 0),                 \
		OPCODE("ror", x86_integer_shift_1[1], size, IMM_NONE, RW | byte, 0, CF | OF, 0),                 \
		OPCODE("rcl", x86_integer_shift_1[2], size, IMM_NONE, RW | byte, CF, CF | OF, 0),                \
		OPCODE("rcr", x86_integer_shift_1[3], size, IMM_NONE, RW | byte, CF, CF | OF, 0),                \
		OPCODE("shl", x86_integer_shift_1[4], size, IMM_NONE, RW | byte, 0, F_LOGIC, AF),                \
		OPCODE("shr", x86_integer_shift_1[5], size, IMM_NONE, RW | byte, 0, F_LOGIC, AF),                \
		OPCODE("shl", x86_integer_shift_1[6], size, IMM_NONE, RW | byte, 0, F_LOGIC, AF),                \
		OPCODE("sar", x86_integer_shift_1[7], size, IMM_NONE, RW | byte, 0, F_LOGIC, AF),                \
	}
GROUP2_ONE(group2_one_byte, SIZE_BYTE, B);
GROUP2_ONE(group2_one_v, SIZE_V, 0);
/* By CL: the count may be 0. */
#define GROUP2_CL(name, size, byte)                                                                              \
	static const struct opcode_entry name[8] = {                                                             \
		OPCODE("rol", x86_integer_shift_cl[0], size, IMM_NONE, RW | byte, F_ALL, CF, OF),                \
		OPCODE("ror", x86_integer_shift_cl[1], size, IMM_NONE, RW | byte, F_ALL, CF, OF),                \
		OPCODE("rcl", x86_integer_shift_cl[2], size, IMM_NONE, RW | byte, F_ALL, CF, OF),                \
		OPCODE("rcr", x86_integer_shift_cl[3], size, IMM_NONE, RW | byte, F_ALL, CF, OF),                \
		OPCODE("shl", x86_integer_shift_cl[4], size, IMM_NONE, RW | byte, F_ALL, F_BUT(AF | OF), AF | OF), \
		OPCODE("shr", x86_integer_shift_cl[5], size, IMM_NONE, RW | byte, F_ALL, F_BUT(AF | OF), AF | OF), \
		OPCODE("shl", x86_integer_shift_cl[6], size, IMM_NONE, RW | byte, F_ALL, F_BUT(AF | OF), AF | OF), \
		OPCODE("sar", x86_integer_shift_cl[7], size, IMM_NONE, RW | byte, F_ALL, F_BUT(AF | OF), AF | OF), \
	}
GROUP2_CL(group2_cl_byte, SIZE_BYTE, B);
GROUP2_CL(group2_cl_v, SIZE_V, 0);
/* By an immediate: a count of 0 has a row of its own, which leaves the flags alone. */
#define SHIFT_NONE(name_, traits_) { .kind = OPCODE_PLAIN, .row = { .name = name_, .traits = traits_, .flags_read = F_ALL } }
#define SHIFT_IMM(n, name_, size_, traits_, read_, written_, undefined_)                                         \
	{ .kind = OPCODE_SHIFT, .size = size_, .immediate = IMM_U8, .handlers = &x86_integer_shift_imm[n],       \
	  .row = { .name = name_, .traits = traits_, .flags_read = read_, .flags_written = written_, .flags_undefined = undefined_ }, \
	  .sub = &(const struct opcode_entry)SHIFT_NONE(name_, traits_) }
#define GROUP2_IMM(name, size, byte)                                                                             \
	static const struct opcode_entry name[8] = {                                                             \
		SHIFT_IMM(0, "rol", size, RW | byte, 0, CF, OF),                                                 \
		SHIFT_IMM(1, "ror", size, RW | byte, 0, CF, OF),                                                 \
		SHIFT_IMM(2, "rcl", size, RW | byte, F_ALL, CF, OF), /* 8 and 16 bits: may be 0 modulo 9 or 17 */ \
		SHIFT_IMM(3, "rcr", size, RW | byte, F_ALL, CF, OF),                                             \
		SHIFT_IMM(4, "shl", size, RW | byte, 0, F_BUT(AF | OF), AF | OF),                                \
		SHIFT_IMM(5, "shr", size, RW | byte, 0, F_BUT(AF | OF), AF | OF),                                \
		SHIFT_IMM(6, "shl", size, RW | byte, 0, F_BUT(AF | OF), AF | OF),                                \
		SHIFT_IMM(7, "sar", size, RW | byte, 0, F_BUT(AF | OF), AF | OF),                                \
	}
GROUP2_IMM(group2_imm_byte, SIZE_BYTE, B);
GROUP2_IMM(group2_imm_v, SIZE_V, 0);

#define GROUP3(name, size, test_imm, byte)                                                                       \
	static const struct opcode_entry name[8] = {                                                             \
		OPCODE("test", x86_integer_test_rm_imm, size, test_imm, R | byte, 0, F_LOGIC, AF),               \
		OPCODE("test", x86_integer_test_rm_imm, size, test_imm, R | byte, 0, F_LOGIC, AF),               \
		OPCODE("not", x86_integer_not, size, IMM_NONE, RWL | byte, 0, 0, 0),                             \
		OPCODE("neg", x86_integer_neg, size, IMM_NONE, RWL | byte, 0, F_ARITHMETIC, 0),                  \
		OPCODE("mul", x86_integer_mul, size, IMM_NONE, R | byte, 0, CF | OF, F_BUT(CF | OF)),            \
		OPCODE("imul", x86_integer_imul, size, IMM_NONE, R | byte, 0, CF | OF, F_BUT(CF | OF)),          \
		OPCODE("div", x86_integer_div, size, IMM_NONE, R | byte, 0, 0, F_ALL),                           \
		OPCODE("idiv", x86_integer_idiv, size, IMM_NONE, R | byte, 0, 0, F_ALL),                         \
	}
GROUP3(group3_byte, SIZE_BYTE, IMM_8, B);
GROUP3(group3_v, SIZE_V, IMM_Z, 0);

static const struct opcode_entry group4[8] = {
	OPCODE("inc", x86_integer_inc, SIZE_BYTE, IMM_NONE, RWL | B, 0, F_INC, 0),
	OPCODE("dec", x86_integer_dec, SIZE_BYTE, IMM_NONE, RWL | B, 0, F_INC, 0),
};
static const struct opcode_entry group5[8] = {
	OPCODE("inc", x86_integer_inc, SIZE_V, IMM_NONE, RWL, 0, F_INC, 0),
	OPCODE("dec", x86_integer_dec, SIZE_V, IMM_NONE, RWL, 0, F_INC, 0),
	OPCODE_SYSTEM("call", x86_integer_call_rm, SIZE_NEAR, IMM_NONE, R | X86_INDIRECT | X86_CALL | X86_STACK | ENDS),
	OPCODE_SYSTEM("call far", X86_MEMORY_HANDLER(x86_op_call_far), SIZE_V, IMM_NONE, R | ENDS),
	OPCODE_SYSTEM("jmp", x86_integer_jmp_rm, SIZE_NEAR, IMM_NONE, R | X86_INDIRECT | ENDS),
	OPCODE_SYSTEM("jmp far", X86_MEMORY_HANDLER(x86_op_jmp_far), SIZE_V, IMM_NONE, R | ENDS),
	OPCODE_SYSTEM("push", x86_integer_push_rm, SIZE_STACK, IMM_NONE, R | X86_STACK),
};

static const struct opcode_entry mov_imm_byte[8] = { OPCODE_SYSTEM("mov", x86_integer_mov_rm_imm, SIZE_BYTE, IMM_8, W | B) };
static const struct opcode_entry mov_imm_v[8] = { OPCODE_SYSTEM("mov", x86_integer_mov_rm_imm, SIZE_V, IMM_Z, W) };
static const struct opcode_entry pop_rm[8] = { OPCODE_SYSTEM("pop", x86_integer_pop_rm, SIZE_STACK, IMM_NONE, W | X86_STACK) };

/* Outside 64-bit code 62 is BOUND, or EVEX (which this CPU has not) when ModRM.mod is 3; in 64-bit code it is always EVEX. */
static const struct opcode_entry bound_mode[2] = {
	OPCODE_SYSTEM("bound", x86_integer_bound, SIZE_V, IMM_NONE, R),
	UNDEFINED,
};
static const struct opcode_entry arpl_movsxd[2] = {
	OPCODE_SIZED("arpl", X86_ONE_HANDLER(x86_op_arpl), SIZE_WORD, IMM_NONE, RW, 2, 0, ZF, 0),
	OPCODE_SIZED("movsxd", x86_integer_movsxd, SIZE_V, IMM_NONE, R, 4, 0, 0, 0),
};
/* 90 would exchange rAX with itself: it is NOP (EAX is not extended), or PAUSE after F3, unless REX.B makes it R8. */
#define XCHG OPCODE_SYSTEM("xchg", x86_integer_xchg_accumulator, SIZE_V, IMM_NONE, 0)
#define NOP OPCODE_SYSTEM("nop", x86_integer_nop, SIZE_V, IMM_NONE, 0)
static const struct opcode_entry nop_pause[4] = { NOP, NOP, OPCODE_SYSTEM("pause", x86_integer_pause, SIZE_V, IMM_NONE, 0), NOP };
static const struct opcode_entry nop_xchg[2] = { OPCODE_SUB(OPCODE_PP, nop_pause), XCHG };

/* ES CS SS DS FS GS; CS cannot be loaded. */
#define MOV_FROM_SREG OPCODE_SIZED("mov", X86_ONE_HANDLER(x86_op_mov_from_sreg), SIZE_V, IMM_NONE, W, 2, 0, 0, 0)
#define MOV_TO_SREG OPCODE_SIZED("mov", X86_ONE_HANDLER(x86_op_mov_to_sreg), SIZE_V, IMM_NONE, R | ENDS, 2, 0, 0, 0)
static const struct opcode_entry mov_from_sreg[8] = {
	MOV_FROM_SREG, MOV_FROM_SREG, MOV_FROM_SREG, MOV_FROM_SREG, MOV_FROM_SREG, MOV_FROM_SREG, UNDEFINED, UNDEFINED,
};
static const struct opcode_entry mov_to_sreg[8] = {
	MOV_TO_SREG, UNDEFINED, MOV_TO_SREG, MOV_TO_SREG, MOV_TO_SREG, MOV_TO_SREG, UNDEFINED, UNDEFINED,
};

/* A string instruction with REP may stop between two iterations with RIP on itself: it ends its block. */
#define STRING(name, handlers, size, traits, read, written)                                                      \
	OPCODE_SUBS(OPCODE_REP, OPCODE(name, handlers, size, IMM_NONE, X86_STRING | (traits), read, written, 0), \
		    OPCODE("rep " name, handlers, size, IMM_NONE, X86_STRING | ENDS | (traits), (read) | (written), written, 0))
#define PUSH_SREG(name) OPCODE_SYSTEM("push " name, X86_ONE_HANDLER(x86_op_push_sreg), SIZE_STACK, IMM_NONE, X86_STACK | X86_NOT_64)
#define POP_SREG(name) OPCODE_SYSTEM("pop " name, X86_ONE_HANDLER(x86_op_pop_sreg), SIZE_STACK, IMM_NONE, X86_STACK | X86_NOT_64 | ENDS)
#define JCC(n, name, read) \
	[0x70 + (n)] = OPCODE(name, x86_integer_jcc[n], SIZE_NEAR, IMM_8, X86_BRANCH | X86_CONDITIONAL | ENDS, read, 0, 0)
#define COUNTED(name, handlers, read) OPCODE(name, handlers, SIZE_NEAR, IMM_8, X86_BRANCH | X86_CONDITIONAL | ENDS, read, 0, 0)

const struct opcode_entry x86_opcode_1byte[256] = {
	ALU(0, "add", RWL, 0, F_ARITHMETIC, 0),
	ALU(1, "or", RWL, 0, F_LOGIC, AF),
	ALU(2, "adc", RWL, CF, F_ARITHMETIC, 0),
	ALU(3, "sbb", RWL, CF, F_ARITHMETIC, 0),
	ALU(4, "and", RWL, 0, F_LOGIC, AF),
	ALU(5, "sub", RWL, 0, F_ARITHMETIC, 0),
	ALU(6, "xor", RWL, 0, F_LOGIC, AF),
	ALU(7, "cmp", R, 0, F_ARITHMETIC, 0),
	[0x06] = PUSH_SREG("es"), [0x07] = POP_SREG("es"),
	[0x0e] = PUSH_SREG("cs"),
	[0x16] = PUSH_SREG("ss"), [0x17] = POP_SREG("ss"),
	[0x1e] = PUSH_SREG("ds"), [0x1f] = POP_SREG("ds"),
	[0x27] = OPCODE("daa", x86_integer_daa, SIZE_BYTE, IMM_NONE, X86_NOT_64 | B, CF | AF, F_BUT(OF), OF),
	[0x2f] = OPCODE("das", x86_integer_das, SIZE_BYTE, IMM_NONE, X86_NOT_64 | B, CF | AF, F_BUT(OF), OF),
	[0x37] = OPCODE("aaa", x86_integer_aaa, SIZE_BYTE, IMM_NONE, X86_NOT_64 | B, AF, CF | AF, F_BUT(CF | AF)),
	[0x3f] = OPCODE("aas", x86_integer_aas, SIZE_BYTE, IMM_NONE, X86_NOT_64 | B, AF, CF | AF, F_BUT(CF | AF)),
	[0x40 ... 0x47] = OPCODE("inc", x86_integer_inc, SIZE_V, IMM_NONE, X86_NOT_64, 0, F_INC, 0),
	[0x48 ... 0x4f] = OPCODE("dec", x86_integer_dec, SIZE_V, IMM_NONE, X86_NOT_64, 0, F_INC, 0),
	[0x50 ... 0x57] = OPCODE_SYSTEM("push", x86_integer_push_r, SIZE_STACK, IMM_NONE, X86_STACK),
	[0x58 ... 0x5f] = OPCODE_SYSTEM("pop", x86_integer_pop_r, SIZE_STACK, IMM_NONE, X86_STACK),
	[0x60] = OPCODE_SYSTEM("pusha", x86_integer_pusha, SIZE_V, IMM_NONE, X86_STACK | X86_NOT_64),
	[0x61] = OPCODE_SYSTEM("popa", x86_integer_popa, SIZE_V, IMM_NONE, X86_STACK | X86_NOT_64),
	[0x62] = OPCODE_SUB(OPCODE_MODE, bound_mode),
	[0x63] = OPCODE_SUB(OPCODE_MODE, arpl_movsxd),
	[0x68] = OPCODE_SYSTEM("push", x86_integer_push_imm, SIZE_STACK, IMM_Z, X86_STACK),
	[0x69] = OPCODE("imul", x86_integer_imul_r_rm_imm, SIZE_V, IMM_Z, R, 0, CF | OF, F_BUT(CF | OF)),
	[0x6a] = OPCODE_SYSTEM("push", x86_integer_push_imm, SIZE_STACK, IMM_8, X86_STACK),
	[0x6b] = OPCODE("imul", x86_integer_imul_r_rm_imm, SIZE_V, IMM_8, R, 0, CF | OF, F_BUT(CF | OF)),
	[0x6c] = STRING("ins", X86_ONE_HANDLER(x86_op_ins), SIZE_BYTE, B, 0, 0),
	[0x6d] = STRING("ins", X86_ONE_HANDLER(x86_op_ins), SIZE_Z, 0, 0, 0),
	[0x6e] = STRING("outs", X86_ONE_HANDLER(x86_op_outs), SIZE_BYTE, B, 0, 0),
	[0x6f] = STRING("outs", X86_ONE_HANDLER(x86_op_outs), SIZE_Z, 0, 0, 0),
	JCC(0, "jo", OF), JCC(1, "jno", OF), JCC(2, "jb", CF), JCC(3, "jae", CF), JCC(4, "je", ZF), JCC(5, "jne", ZF),
	JCC(6, "jbe", CF | ZF), JCC(7, "ja", CF | ZF), JCC(8, "js", SF), JCC(9, "jns", SF), JCC(10, "jp", PF), JCC(11, "jnp", PF),
	JCC(12, "jl", SF | OF), JCC(13, "jge", SF | OF), JCC(14, "jle", ZF | SF | OF), JCC(15, "jg", ZF | SF | OF),
	[0x80] = OPCODE_SUB(OPCODE_GROUP, group1_byte),
	[0x81] = OPCODE_SUB(OPCODE_GROUP, group1_z),
	[0x82] = OPCODE_SUB(OPCODE_MODE, group1_82),
	[0x83] = OPCODE_SUB(OPCODE_GROUP, group1_8),
	[0x84] = OPCODE("test", x86_integer_test_rm_r, SIZE_BYTE, IMM_NONE, R | B, 0, F_LOGIC, AF),
	[0x85] = OPCODE("test", x86_integer_test_rm_r, SIZE_V, IMM_NONE, R, 0, F_LOGIC, AF),
	[0x86] = OPCODE_SYSTEM("xchg", x86_integer_xchg, SIZE_BYTE, IMM_NONE, RWL | B),
	[0x87] = OPCODE_SYSTEM("xchg", x86_integer_xchg, SIZE_V, IMM_NONE, RWL),
	[0x88] = OPCODE_SYSTEM("mov", x86_integer_mov_rm_r, SIZE_BYTE, IMM_NONE, W | B),
	[0x89] = OPCODE_SYSTEM("mov", x86_integer_mov_rm_r, SIZE_V, IMM_NONE, W),
	[0x8a] = OPCODE_SYSTEM("mov", x86_integer_mov_r_rm, SIZE_BYTE, IMM_NONE, R | B),
	[0x8b] = OPCODE_SYSTEM("mov", x86_integer_mov_r_rm, SIZE_V, IMM_NONE, R),
	[0x8c] = OPCODE_SUB(OPCODE_GROUP, mov_from_sreg),
	[0x8d] = OPCODE_SYSTEM("lea", x86_integer_lea, SIZE_V, IMM_NONE, X86_MODRM),
	[0x8e] = OPCODE_SUB(OPCODE_GROUP, mov_to_sreg),
	[0x8f] = OPCODE_SUB(OPCODE_GROUP, pop_rm),
	[0x90] = OPCODE_SUB(OPCODE_B, nop_xchg),
	[0x91 ... 0x97] = XCHG,
	[0x98] = OPCODE_SYSTEM("cbw", x86_integer_cbw, SIZE_V, IMM_NONE, 0),
	[0x99] = OPCODE_SYSTEM("cwd", x86_integer_cwd, SIZE_V, IMM_NONE, 0),
	[0x9a] = OPCODE_SYSTEM("call far", X86_ONE_HANDLER(x86_op_call_far), SIZE_V, IMM_FAR, X86_NOT_64 | ENDS),
	[0x9c] = OPCODE("pushf", X86_ONE_HANDLER(x86_op_pushf), SIZE_STACK, IMM_NONE, X86_STACK, F_ALL, 0, 0),
	[0x9d] = OPCODE("popf", X86_ONE_HANDLER(x86_op_popf), SIZE_STACK, IMM_NONE, X86_STACK | ENDS, 0, F_ALL, 0),
	[0x9e] = OPCODE("sahf", x86_integer_sahf, SIZE_BYTE, IMM_NONE, B, 0, F_BUT(OF), 0),
	[0x9f] = OPCODE("lahf", x86_integer_lahf, SIZE_BYTE, IMM_NONE, B, F_BUT(OF), 0, 0),
	[0xa0] = OPCODE_SYSTEM("mov", x86_integer_mov_load_offset, SIZE_BYTE, IMM_OFFSET, B),
	[0xa1] = OPCODE_SYSTEM("mov", x86_integer_mov_load_offset, SIZE_V, IMM_OFFSET, 0),
	[0xa2] = OPCODE_SYSTEM("mov", x86_integer_mov_store_offset, SIZE_BYTE, IMM_OFFSET, B),
	[0xa3] = OPCODE_SYSTEM("mov", x86_integer_mov_store_offset, SIZE_V, IMM_OFFSET, 0),
	[0xa4] = STRING("movs", x86_string_movs, SIZE_BYTE, B, 0, 0),
	[0xa5] = STRING("movs", x86_string_movs, SIZE_V, 0, 0, 0),
	[0xa6] = STRING("cmps", x86_string_cmps, SIZE_BYTE, B, 0, F_ALL),
	[0xa7] = STRING("cmps", x86_string_cmps, SIZE_V, 0, 0, F_ALL),
	[0xa8] = OPCODE_ACCUMULATOR("test", x86_integer_test_rm_imm, SIZE_BYTE, IMM_8, 0, F_LOGIC, AF),
	[0xa9] = OPCODE_ACCUMULATOR("test", x86_integer_test_rm_imm, SIZE_V, IMM_Z, 0, F_LOGIC, AF),
	[0xaa] = STRING("stos", x86_string_stos, SIZE_BYTE, B, 0, 0),
	[0xab] = STRING("stos", x86_string_stos, SIZE_V, 0, 0, 0),
	[0xac] = STRING("lods", x86_string_lods, SIZE_BYTE, B, 0, 0),
	[0xad] = STRING("lods", x86_string_lods, SIZE_V, 0, 0, 0),
	[0xae] = STRING("scas", x86_string_scas, SIZE_BYTE, B, 0, F_ALL),
	[0xaf] = STRING("scas", x86_string_scas, SIZE_V, 0, 0, F_ALL),
	[0xb0 ... 0xb7] = OPCODE_SYSTEM("mov", x86_integer_mov_rm_imm, SIZE_BYTE, IMM_8, B),
	[0xb8 ... 0xbf] = OPCODE_SYSTEM("mov", x86_integer_mov_rm_imm, SIZE_V, IMM_V, 0),
	[0xc0] = OPCODE_SUB(OPCODE_GROUP, group2_imm_byte),
	[0xc1] = OPCODE_SUB(OPCODE_GROUP, group2_imm_v),
	[0xc2] = OPCODE_SYSTEM("ret", x86_integer_ret_imm, SIZE_NEAR, IMM_U16, X86_INDIRECT | X86_STACK | ENDS),
	[0xc3] = OPCODE_SYSTEM("ret", x86_integer_ret, SIZE_NEAR, IMM_NONE, X86_INDIRECT | X86_STACK | ENDS),
	[0xc4] = OPCODE_SYSTEM("les", X86_MEMORY_HANDLER(x86_op_load_far_pointer), SIZE_V, IMM_NONE, R | X86_NOT_64 | ENDS),
	[0xc5] = OPCODE_SYSTEM("lds", X86_MEMORY_HANDLER(x86_op_load_far_pointer), SIZE_V, IMM_NONE, R | X86_NOT_64 | ENDS),
	[0xc6] = OPCODE_SUB(OPCODE_GROUP, mov_imm_byte),
	[0xc7] = OPCODE_SUB(OPCODE_GROUP, mov_imm_v),
	[0xc8] = OPCODE_SYSTEM("enter", x86_integer_enter, SIZE_STACK, IMM_ENTER, X86_STACK),
	[0xc9] = OPCODE_SYSTEM("leave", x86_integer_leave, SIZE_STACK, IMM_NONE, X86_STACK),
	[0xca] = OPCODE_SYSTEM("ret far", X86_ONE_HANDLER(x86_op_ret_far), SIZE_V, IMM_U16, ENDS),
	[0xcb] = OPCODE_SYSTEM("ret far", X86_ONE_HANDLER(x86_op_ret_far), SIZE_V, IMM_NONE, ENDS),
	[0xcc] = OPCODE("int3", X86_ONE_HANDLER(x86_op_int3), SIZE_V, IMM_NONE, ENDS, F_ALL, 0, 0),
	[0xcd] = OPCODE("int", X86_ONE_HANDLER(x86_op_int), SIZE_V, IMM_U8, ENDS, F_ALL, 0, 0),
	[0xce] = OPCODE("into", X86_ONE_HANDLER(x86_op_into), SIZE_V, IMM_NONE, X86_NOT_64 | ENDS, F_ALL, 0, 0),
	[0xcf] = OPCODE("iret", X86_ONE_HANDLER(x86_op_iret), SIZE_V, IMM_NONE, ENDS, F_ALL, F_ALL, 0),
	[0xd0] = OPCODE_SUB(OPCODE_GROUP, group2_one_byte),
	[0xd1] = OPCODE_SUB(OPCODE_GROUP, group2_one_v),
	[0xd2] = OPCODE_SUB(OPCODE_GROUP, group2_cl_byte),
	[0xd3] = OPCODE_SUB(OPCODE_GROUP, group2_cl_v),
	[0xd4] = OPCODE("aam", x86_integer_aam, SIZE_BYTE, IMM_U8, X86_NOT_64 | B, 0, PF | ZF | SF, CF | AF | OF),
	[0xd5] = OPCODE("aad", x86_integer_aad, SIZE_BYTE, IMM_U8, X86_NOT_64 | B, 0, PF | ZF | SF, CF | AF | OF),
	[0xd6] = OPCODE("salc", x86_integer_salc, SIZE_BYTE, IMM_NONE, X86_NOT_64 | B, CF, 0, 0),
	[0xd7] = OPCODE_SYSTEM("xlat", x86_integer_xlat, SIZE_BYTE, IMM_NONE, B),
	/* D8..DF: x87, the vector decoder's */
	[0xe0] = COUNTED("loopne", x86_integer_loopne, ZF),
	[0xe1] = COUNTED("loope", x86_integer_loope, ZF),
	[0xe2] = COUNTED("loop", x86_integer_loop, 0),
	[0xe3] = COUNTED("jcxz", x86_integer_jcxz, 0),
	[0xe4] = OPCODE_SYSTEM("in", X86_ONE_HANDLER(x86_op_in), SIZE_BYTE, IMM_U8, B),
	[0xe5] = OPCODE_SYSTEM("in", X86_ONE_HANDLER(x86_op_in), SIZE_Z, IMM_U8, 0),
	[0xe6] = OPCODE_SYSTEM("out", X86_ONE_HANDLER(x86_op_out), SIZE_BYTE, IMM_U8, B),
	[0xe7] = OPCODE_SYSTEM("out", X86_ONE_HANDLER(x86_op_out), SIZE_Z, IMM_U8, 0),
	[0xe8] = OPCODE_SYSTEM("call", x86_integer_call, SIZE_NEAR, IMM_NEAR, X86_BRANCH | X86_CALL | X86_STACK | ENDS),
	[0xe9] = OPCODE_SYSTEM("jmp", x86_integer_jmp, SIZE_NEAR, IMM_NEAR, X86_BRANCH | ENDS),
	[0xea] = OPCODE_SYSTEM("jmp far", X86_ONE_HANDLER(x86_op_jmp_far), SIZE_V, IMM_FAR, X86_NOT_64 | ENDS),
	[0xeb] = OPCODE_SYSTEM("jmp", x86_integer_jmp, SIZE_NEAR, IMM_8, X86_BRANCH | ENDS),
	[0xec] = OPCODE_SYSTEM("in", X86_ONE_HANDLER(x86_op_in), SIZE_BYTE, IMM_NONE, B),
	[0xed] = OPCODE_SYSTEM("in", X86_ONE_HANDLER(x86_op_in), SIZE_Z, IMM_NONE, 0),
	[0xee] = OPCODE_SYSTEM("out", X86_ONE_HANDLER(x86_op_out), SIZE_BYTE, IMM_NONE, B),
	[0xef] = OPCODE_SYSTEM("out", X86_ONE_HANDLER(x86_op_out), SIZE_Z, IMM_NONE, 0),
	[0xf1] = OPCODE("int1", X86_ONE_HANDLER(x86_op_int1), SIZE_V, IMM_NONE, ENDS, F_ALL, 0, 0),
	[0xf4] = OPCODE_SYSTEM("hlt", X86_ONE_HANDLER(x86_op_hlt), SIZE_V, IMM_NONE, X86_PRIVILEGED | ENDS),
	[0xf5] = OPCODE("cmc", x86_integer_cmc, SIZE_BYTE, IMM_NONE, 0, CF, CF, 0),
	[0xf6] = OPCODE_SUB(OPCODE_GROUP, group3_byte),
	[0xf7] = OPCODE_SUB(OPCODE_GROUP, group3_v),
	[0xf8] = OPCODE("clc", x86_integer_clc, SIZE_BYTE, IMM_NONE, 0, 0, CF, 0),
	[0xf9] = OPCODE("stc", x86_integer_stc, SIZE_BYTE, IMM_NONE, 0, 0, CF, 0),
	[0xfa] = OPCODE_SYSTEM("cli", X86_ONE_HANDLER(x86_op_cli), SIZE_V, IMM_NONE, ENDS),
	[0xfb] = OPCODE_SYSTEM("sti", X86_ONE_HANDLER(x86_op_sti), SIZE_V, IMM_NONE, ENDS),
	[0xfc] = OPCODE_SYSTEM("cld", x86_integer_cld, SIZE_V, IMM_NONE, 0),
	[0xfd] = OPCODE_SYSTEM("std", x86_integer_std, SIZE_V, IMM_NONE, 0),
	[0xfe] = OPCODE_SUB(OPCODE_GROUP, group4),
	[0xff] = OPCODE_SUB(OPCODE_GROUP, group5),
};
