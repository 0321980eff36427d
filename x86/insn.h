/* SPDX-License-Identifier: Apache-2.0 */
/*
 * insn.h - one decoded instruction, and the row of the opcode tables that it came from.
 *
 * x86_decode() fills a struct x86_insn from bytes alone: it never reads guest memory or CPU state, so a decoded
 * instruction can be kept as long as its bytes and the code size (16, 32, 64) stay the same. What faults only when executed
 * (#UD for an invalid encoding, LOCK where it is not allowed, more than 15 bytes: #GP) decodes to an instruction whose handler raises it.
 */
#ifndef HOLON_X86_INSN_H
#define HOLON_X86_INSN_H

#include <stdbool.h>
#include <stdint.h>

struct x86_cpu;
struct x86_insn;

/* Does what the instruction does. On entry cpu->reg[X86_RIP] already points behind it. Faults leave through x86_raise*(). */
typedef void x86_handler(struct x86_cpu *cpu, const struct x86_insn *insn);

/* Indices into cpu->reg[] for address computation, beside the 16 GPRs. */
#define X86_NO_REG 16 /* always 0 */
#define X86_RIP 17    /* of the next instruction: RIP-relative operands need no special case */

enum x86_map { X86_MAP_1BYTE, X86_MAP_0F, X86_MAP_0F38, X86_MAP_0F3A };
enum x86_mandatory { X86_PP_NONE, X86_PP_66, X86_PP_F3, X86_PP_F2 }; /* VEX.pp's encoding; for legacy the last F2/F3, else 66 */
enum x86_encoding { X86_LEGACY, X86_VEX2, X86_VEX3 };

#define X86_PREFIX_LOCK 1u
#define X86_PREFIX_REP 2u   /* F3 */
#define X86_PREFIX_REPNE 4u /* F2 */
#define X86_PREFIX_66 8u
#define X86_PREFIX_67 16u
#define X86_PREFIX_SEGMENT 32u
#define X86_PREFIX_REX 64u /* a REX byte is there: SPL..DIL instead of AH..BH */

/* Traits of an opcode: what an engine must know without knowing the instruction. */
#define X86_MODRM X86_TRAIT(0)
#define X86_LOCKABLE X86_TRAIT(1)     /* with a memory destination */
#define X86_MEMORY_READ X86_TRAIT(2)  /* reads its ModRM memory operand (if it is one) */
#define X86_MEMORY_WRITE X86_TRAIT(3) /* writes it; both: read-modify-write */
#define X86_ENDS_BLOCK X86_TRAIT(4)   /* jumps, or changes what decoding, paging or interrupts depend on, or serialises */
#define X86_PRIVILEGED X86_TRAIT(5)   /* #GP above CPL 0 */
#define X86_SSE X86_TRAIT(6)          /* #UD/#NM by CR0.EM, CR0.TS, CR4.OSFXSR */
#define X86_AVX X86_TRAIT(7)          /* #UD by CR4.OSXSAVE, XCR0; #NM by CR0.TS */
#define X86_X87 X86_TRAIT(8)          /* #NM by CR0.EM/TS */
#define X86_MMX X86_TRAIT(9)          /* #UD by CR0.EM, #NM by CR0.TS */
#define X86_STACK X86_TRAIT(10)       /* implicit stack access: 64-bit operands by default in 64-bit mode */
#define X86_STRING X86_TRAIT(11)      /* implicit rSI/rDI access, REP applies */
#define X86_NOT_64 X86_TRAIT(12)      /* #UD in 64-bit mode */
#define X86_ONLY_64 X86_TRAIT(13)
#define X86_BRANCH X86_TRAIT(14) /* near relative jump or call, conditional or not: target = next rip + imm */
#define X86_CONDITIONAL X86_TRAIT(15)
#define X86_INDIRECT X86_TRAIT(16) /* near indirect jump, call or return */
#define X86_CALL X86_TRAIT(17)
#define X86_BYTE_OPERANDS X86_TRAIT(18) /* operand_size is 1 */
#define X86_GPR_DEST X86_TRAIT(19)      /* vector row that writes a GPR (the ModRM reg or rm) */
#define X86_ALIGNED X86_TRAIT(20)       /* memory operand must be aligned to its size: #GP */
#define X86_UNDEFINED X86_TRAIT(21)     /* the handler raises #UD or #GP whatever the operands: nothing else to know */
#define X86_IMM8 X86_TRAIT(22)          /* vector row: an imm8 follows (integer rows have their own way to say so) */
#define X86_WAITING X86_TRAIT(23)       /* x87, MMX: #MF first if an unmasked x87 exception is pending */
#define X86_TRAIT(n) (UINT32_C(1) << (n))

/*
 * Vector, MMX and x87 rows: what the fields reg, rm (as a register) and vvvv name, and how that register is used. 0 where the field is not
 * used. A GPR has 32 bits, 64 with W in 64-bit mode (W is ignored elsewhere); a written one has its upper half zeroed.
 */
#define X86_OPERAND_KIND 0x0f
#define X86_OPERAND_EXTENSION 1 /* reg: extends the opcode */
#define X86_OPERAND_GPR 2
#define X86_OPERAND_VECTOR 3
#define X86_OPERAND_MMX 4
#define X86_OPERAND_ST 5 /* rm: ST(i) */
#define X86_OPERAND_READ 0x10
#define X86_OPERAND_WRITTEN 0x20

static inline bool x86_operand_is(uint8_t field, unsigned kind)
{
	return (field & X86_OPERAND_KIND) == kind;
}

/* x86_opcode.implicit: registers that no field names. */
#define X86_IMPLICIT_XMM0_READ 1u
#define X86_IMPLICIT_XMM0_WRITTEN 2u
#define X86_IMPLICIT_RCX_WRITTEN 4u  /* ECX, zero-extended */
#define X86_IMPLICIT_RAX_RDX_READ 8u /* 64 bits of them with W */
#define X86_IMPLICIT_RDI_READ 16u    /* MASKMOVQ, MASKMOVDQU: the store's address; the row has no ModRM memory operand */
#define X86_IMPLICIT_IS4_READ 32u    /* imm8 7:4 names a vector register */
#define X86_IMPLICIT_VSIB 64u        /* gather: SIB's index is a vector register (X86_NO_REG in insn->index: number 4) */

struct x86_opcode {
	const char *name; /* the SDM's mnemonic in lower case */
	uint32_t traits;
	uint16_t flags_read; /* status flags (X86_FLAG_*) that it reads */
	uint16_t
		flags_written; /* defined results; for a shift by CL: those it may write. All that are neither written nor undefined stay */
	uint16_t flags_undefined; /* left as the host's processor leaves them */
	uint8_t operand_size; /* bytes of the memory operand where insn->operand_size does not say it (vector, x87, system); else 0 */
	uint8_t reg_kind, rm_kind, vvvv_kind; /* X86_OPERAND_*, vector rows */
	uint8_t implicit;                     /* X86_IMPLICIT_* */
	uint8_t feature;                      /* 0: every model has it; else 1 + enum x86_feature: #UD on a model without */
};

struct x86_insn {
	x86_handler *execute;
	const struct x86_opcode *row; /* never NULL */
	uint64_t imm;                 /* sign-extended as the instruction uses it; moffs; far pointer's offset */
	int32_t disp;
	uint16_t imm2;  /* far pointer's selector, ENTER's level, is4 */
	uint8_t length; /* 1 to 15 */
	uint8_t opcode;
	uint8_t map;      /* enum x86_map */
	uint8_t pp;       /* enum x86_mandatory */
	uint8_t encoding; /* enum x86_encoding */
	uint8_t prefixes;
	uint8_t operand_size; /* 1, 2, 4, 8 of the integer operation (after 66, REX.W, defaults) */
	uint8_t address_size; /* 2, 4, 8 */
	uint8_t code_size;    /* 2, 4, 8: the mode it was decoded for */
	uint8_t w, l;         /* REX.W or VEX.W, VEX.L */
	uint8_t mod;          /* 3: rm is a register */
	uint8_t reg;          /* 0-15, REX.R applied; the opcode's extension for groups is reg & 7 */
	uint8_t rm;           /* 0-15, valid if mod == 3, or the register in the opcode's low bits (PUSH, BSWAP, MOV imm) */
	uint8_t base, index;  /* 0-17: cpu->reg index; X86_NO_REG where there is none */
	uint8_t scale;        /* shift count */
	uint8_t segment;      /* of the memory operand: override or default */
	uint8_t vvvv;         /* 0-15 */
};

enum x86_decode_status {
	X86_DECODE_OK,
	X86_DECODE_MORE, /* `available` bytes end inside the instruction (never for available >= 15) */
};

/* code_size: 2, 4 or 8 (64-bit mode). Any bytes whatever give OK or MORE. */
enum x86_decode_status x86_decode(struct x86_insn *insn, const uint8_t *bytes, unsigned available, unsigned code_size);

#endif
