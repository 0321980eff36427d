/* SPDX-License-Identifier: Apache-2.0 */
/*
 * opcode.h - the shape of the opcode tables: between opcode_*.c (the tables), decode.c (which walks them) and integer.h (what they point to).
 */
#ifndef HOLON_X86_OPCODE_H
#define HOLON_X86_OPCODE_H

#include "x86/cpuid.h"
#include "x86/insn.h"
#include "x86/registers.h"

/*
 * The handlers of one operation, by log2 of the operand size: for a register operand, a memory operand, a memory operand with LOCK. NULL: #UD. Operations
 * without ModRM count as register forms.
 */
struct x86_handlers {
	x86_handler *reg[4], *mem[4], *lock[4];
};

#define X86_ONE_HANDLER(fn) ((const struct x86_handlers){.reg = {fn, fn, fn, fn}, .mem = {fn, fn, fn, fn}})
#define X86_REGISTER_HANDLER(fn) ((const struct x86_handlers){.reg = {fn, fn, fn, fn}})
#define X86_MEMORY_HANDLER(fn) ((const struct x86_handlers){.mem = {fn, fn, fn, fn}})

enum opcode_kind {
	OPCODE_VECTOR, /* not ours: ask x86_vector_decode; also what a table leaves out */
	OPCODE_PLAIN,
	OPCODE_SHIFT, /* plain; sub: the row to show when the count is 0 */
	OPCODE_MODE,  /* sub[0]: 16 and 32-bit code, sub[1]: 64-bit code */
	OPCODE_REP,   /* sub[0]: no F2 or F3, sub[1]: one of them */
	OPCODE_PP,    /* sub[enum x86_mandatory] */
	OPCODE_W,     /* sub[REX.W] */
	OPCODE_B,     /* sub[REX.B] */
	OPCODE_GROUP, /* sub[ModRM.reg] */
	OPCODE_MOD,   /* sub[0]: memory operand, sub[1]: register operand */
	OPCODE_RM,    /* sub[ModRM.rm] */
};

/* How operand_size comes about. */
enum opcode_size {
	SIZE_V, /* 2, 4, 8: by 66, REX.W and the code size */
	SIZE_BYTE,
	SIZE_WORD,
	SIZE_Z,      /* 2, 4: REX.W has no meaning */
	SIZE_Y,      /* 4, 8: 66 has no meaning */
	SIZE_STACK,  /* as V, but 8 is the default in 64-bit code and 4 does not exist there */
	SIZE_NEAR,   /* near branches: always 8 in 64-bit code */
	SIZE_NATIVE, /* 8 in 64-bit code, 4 elsewhere */
};

enum opcode_immediate {
	IMM_NONE,
	IMM_8, /* sign-extended */
	IMM_U8,
	IMM_U16,
	IMM_Z,      /* 2 or 4 bytes by operand size, sign-extended */
	IMM_V,      /* 2, 4, 8 */
	IMM_NEAR,   /* displacement of a near branch: 4 in 64-bit code, else by operand size */
	IMM_OFFSET, /* by address size */
	IMM_FAR,
	IMM_ENTER,
};

enum opcode_operands {
	OPERANDS_LOW,         /* without ModRM: rm is the register in the opcode's low bits */
	OPERANDS_ACCUMULATOR, /* rm is rAX */
	OPERANDS_IGNORE_MOD,  /* MOV CR and DR: a register whatever ModRM.mod says */
};

struct opcode_entry {
	struct x86_opcode row; /* first: insn->row points here */
	uint8_t kind, size, immediate, operands;
	const struct x86_handlers *handlers;
	const struct opcode_entry *sub;
};

extern const struct opcode_entry x86_opcode_1byte[256], x86_opcode_0f[256];
/* By opcode - 0x80 and - 0xf0; the rest of these maps is the vector decoder's. */
extern const struct opcode_entry x86_opcode_0f38_80[8], x86_opcode_0f38_f0[16];
/* VEX 0F38 F0..FF and VEX 0F3A F0. */
extern const struct opcode_entry x86_opcode_vex_0f38_f0[16], x86_opcode_vex_0f3a_f0;

/* For rows: sets of status flags. */
#define F_NONE 0
#define F_ALL X86_FLAGS_STATUS
#define F_ARITHMETIC X86_FLAGS_STATUS
#define F_LOGIC (X86_FLAG_CF | X86_FLAG_PF | X86_FLAG_ZF | X86_FLAG_SF | X86_FLAG_OF) /* and AF is undefined */
#define F_INC (X86_FLAGS_STATUS & ~X86_FLAG_CF)
#define F_BUT(flags) (X86_FLAGS_STATUS & ~(flags))

// clang-format off
#define OPCODE(name_, handlers_, size_, immediate_, traits_, read_, written_, undefined_) \
	{ .kind = OPCODE_PLAIN, .size = (size_), .immediate = (immediate_), .handlers = &(handlers_), \
	  .row = { .name = (name_), .traits = (traits_), .flags_read = (read_), .flags_written = (written_), .flags_undefined = (undefined_) } }
/* Which a model may lack. */
#define OPCODE_FEATURE(feature_, name_, handlers_, size_, immediate_, traits_, bytes_, read_, written_, undefined_) \
	{ .kind = OPCODE_PLAIN, .size = (size_), .immediate = (immediate_), .handlers = &(handlers_), \
	  .row = { .name = (name_), .traits = (traits_), .flags_read = (read_), .flags_written = (written_), .flags_undefined = (undefined_), \
		   .operand_size = (bytes_), .feature = 1 + X86_FEATURE_##feature_ } }
/* With a memory operand of `bytes` whatever the operand size. */
#define OPCODE_SIZED(name_, handlers_, size_, immediate_, traits_, bytes_, read_, written_, undefined_) \
	{ .kind = OPCODE_PLAIN, .size = (size_), .immediate = (immediate_), .handlers = &(handlers_), \
	  .row = { .name = (name_), .traits = (traits_), .flags_read = (read_), .flags_written = (written_), .flags_undefined = (undefined_), \
		   .operand_size = (bytes_) } }
/* An operation on rAX and an immediate. */
#define OPCODE_ACCUMULATOR(name_, handlers_, size_, immediate_, read_, written_, undefined_) \
	{ .kind = OPCODE_PLAIN, .size = (size_), .immediate = (immediate_), .operands = OPERANDS_ACCUMULATOR, .handlers = &(handlers_), \
	  .row = { .name = (name_), .traits = (size_) == SIZE_BYTE ? X86_BYTE_OPERANDS : 0, .flags_read = (read_), .flags_written = (written_), \
		   .flags_undefined = (undefined_) } }
/* No status flag read or written. */
#define OPCODE_SYSTEM(name_, handlers_, size_, immediate_, traits_) OPCODE(name_, handlers_, size_, immediate_, traits_, 0, 0, 0)
#define OPCODE_SUB(kind_, sub_) { .kind = (kind_), .sub = (sub_) }
#define OPCODE_SUBS(kind_, ...) { .kind = (kind_), .sub = (const struct opcode_entry[]){ __VA_ARGS__ } }

#endif
