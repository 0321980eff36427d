/* SPDX-License-Identifier: Apache-2.0 */
/*
 * emit.h - writes host instructions: the few forms that the translator needs of its own, and the guest's instructions with other operands.
 *
 * None of the translator's own forms touches a flag: the guest's flags live in the host's EFLAGS and nowhere else.
 */
#ifndef HOLON_JIT_EMIT_H
#define HOLON_JIT_EMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "x86/insn.h"

/* Host register numbers. RCX and R14 are the translator's own, RSP is the context. */
enum host_register {
	HOST_RAX,
	HOST_RCX,
	HOST_RDX,
	HOST_RBX,
	HOST_RSP,
	HOST_RBP,
	HOST_RSI,
	HOST_RDI,
	HOST_R8,
	HOST_R9,
	HOST_R10,
	HOST_R11,
	HOST_R12,
	HOST_R13,
	HOST_R14,
	HOST_R15,
	HOST_NONE = 255
};

struct emitter {
	uint8_t *p;       /* in the writable mapping */
	unsigned context; /* the host register that points at the context: RSP, or R15 while RSP is the guest's (direct.c) */
	/* What is emitted by these functions and writes the register ends it: */
	bool distance; /* RCX holds CPL 0's window's distance (operand.c) */
	unsigned home; /* R14 holds the value of this guest register, which has no host register; or HOST_NONE */
};

static inline void emit_forget(struct emitter *e)
{
	e->distance = false;
	e->home = HOST_NONE;
}
static inline void emit8(struct emitter *e, unsigned byte)
{
	*e->p++ = (uint8_t)byte;
}
static inline void emit16(struct emitter *e, unsigned value)
{
	__builtin_memcpy(e->p, &(uint16_t){(uint16_t)value}, 2);
	e->p += 2;
}
static inline void emit32(struct emitter *e, uint32_t value)
{
	__builtin_memcpy(e->p, &value, 4);
	e->p += 4;
}
static inline void emit64(struct emitter *e, uint64_t value)
{
	__builtin_memcpy(e->p, &value, 8);
	e->p += 8;
}

/* ModRM, SIB and displacement of [base + index << scale + disp]; index HOST_NONE: none. base HOST_NONE: [disp32] or [index + disp32]. */
void emit_address(struct emitter *e, unsigned reg, unsigned base, unsigned index, unsigned scale, int32_t disp);
/* REX.W opcode reg, [base + index << scale + disp]: mov loads, mov stores, lea. */
void emit_memory(struct emitter *e, bool wide, unsigned opcode, unsigned reg, unsigned base, unsigned index, unsigned scale,
		 int32_t disp);

#define EMIT_LOAD 0x8b
#define EMIT_STORE 0x89
#define EMIT_LEA 0x8d
#define EMIT_GS 0x65 /* a prefix */

static inline void emit_load(struct emitter *e, unsigned reg, unsigned base, int32_t disp)
{
	emit_memory(e, true, EMIT_LOAD, reg, base, HOST_NONE, 0, disp);
}
static inline void emit_store(struct emitter *e, unsigned reg, unsigned base, int32_t disp)
{
	emit_memory(e, true, EMIT_STORE, reg, base, HOST_NONE, 0, disp);
}
static inline void emit_lea(struct emitter *e, unsigned reg, unsigned base, int32_t disp)
{
	emit_memory(e, true, EMIT_LEA, reg, base, HOST_NONE, 0, disp);
}
void emit_move(struct emitter *e, unsigned to, unsigned from);
/* xchg rsp, r15 */
void emit_exchange(struct emitter *e);
void emit_push(struct emitter *e, unsigned reg);
void emit_pop(struct emitter *e, unsigned reg);
void emit_move_imm(struct emitter *e, unsigned to, uint64_t value);
/* pext to, from, [context + disp] */
void emit_pext(struct emitter *e, unsigned to, unsigned from, int32_t disp);
/* reg &= [context + disp], by PEXT and PDEP: no flag changes */
void emit_and(struct emitter *e, unsigned reg, int32_t disp);
/* movzx to, byte or word [base + index + disp]; index HOST_NONE: none */
void emit_load_narrow(struct emitter *e, unsigned to, unsigned base, unsigned index, int32_t disp, unsigned size);
/*
 * call [context + disp], and how long it is. Thunks are called with RSP = context: where R15 is that, both are exchanged first, which the caller undoes if the
 * call comes back.
 */
#define EMIT_CALL_BYTES(disp) ((disp) == (int8_t)(disp) ? 4 : 7)
void emit_call(struct emitter *e, int32_t disp);
/* jmp [context + index * 8 + disp] */
void emit_jump_table(struct emitter *e, unsigned index, int32_t disp);
/* jmp rel32, to be set later: returns where the displacement is. */
uint8_t *emit_jump(struct emitter *e);
uint8_t *emit_jump_condition(struct emitter *e, unsigned condition);
static inline void emit_jump_set(uint8_t *displacement, const uint8_t *target)
{
	int32_t distance = (int32_t)(target - (displacement + 4));

	__builtin_memcpy(displacement, &distance, 4);
}

/*
 * The guest's instruction with host operands: `reg` for ModRM.reg (or its extension), `vvvv`, and for rm either host register `rm` or, with
 * memory, [base + index + disp]. high: byte operands are as in an encoding without REX (AH..BH); every register must then be below 8.
 */
struct emit_operands {
	unsigned reg, rm, vvvv;
	bool memory;
	unsigned base, index; /* index HOST_NONE: none */
	int32_t disp;
	bool gs; /* and GS's base is added */
	bool high;
};
void emit_guest(struct emitter *e, const struct x86_insn *insn, const struct emit_operands *operands, unsigned imm_size);

#endif
