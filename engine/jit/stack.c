/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stack.c - PUSH, POP, LEAVE, and LEA, which only looks like a memory access. RSP moves last: until then the instruction has not happened.
 *
 * In a window of CPL 3 PUSH and POP are the host's (direct.c). In another, where the only way out of the middle of a PUSH or POP is a trap, a run of them moves RSP once, at its end; a trap's site says how far RSP is
 * behind. Between them may be what has nothing to do with RSP. Everything else finds RSP where it should be.
 */
#include "engine/jit/translate.h"

/* Of a register but RSP, or of an immediate. */
static bool moves_on(const struct translation *t, const struct x86_insn *insn)
{
	if (!t->wide || t->direct || !operand_windowed(t, insn) || insn->encoding != X86_LEGACY || insn->map != X86_MAP_1BYTE ||
	    insn->operand_size != 8)
		return false;
	return (insn->opcode >> 4 == 5 && insn->rm != X86_RSP) || insn->opcode == 0x68 || insn->opcode == 0x6a;
}

/* Does it not matter to an integer instruction where RSP is? A register numbered 4 may be AH: no harm. */
static bool apart(const struct translation *t, const struct x86_insn *insn)
{
	unsigned form = jit_form(insn);
	bool memory = insn->row->traits & X86_MODRM && insn->mod != 3;
	bool address = insn->encoding == X86_LEGACY && insn->map == X86_MAP_1BYTE && insn->opcode == 0x8d;

	if (!operand_windowed(t, insn) || insn->encoding != X86_LEGACY || (!form && !address))
		return false;
	if (memory && insn->base == X86_RSP)
		return false;
	return insn->reg != X86_RSP && (memory || insn->rm != X86_RSP);
}

void stack_settle(struct translation *t)
{
	if (t->stack_moved)
		emit_lea(&t->e, HOST_R15, HOST_R15, t->stack_moved);
	t->stack_moved = 0;
}

void stack_begin(struct translation *t, const struct x86_insn *insn)
{
	if (t->stack_moved && !moves_on(t, insn) && !apart(t, insn))
		stack_settle(t);
	t->stack_before = t->stack_moved;
}

void stack_adjust(struct translation *t, int32_t by)
{
	if (moves_on(t, &t->insn[t->index])) {
		t->stack_moved += by;
		return;
	}
	if (direct_now(t))
		emit_lea(&t->e, HOST_RSP, HOST_RSP, by);
	else
		emit_memory(&t->e, t->wide, EMIT_LEA, HOST_R15, HOST_R15, HOST_NONE, 0, by);
}

static struct place push_place(struct translation *t, unsigned size)
{
	return operand_place_at(t, X86_RSP, -(int32_t)size, size, true);
}

static struct place pop_place(struct translation *t, unsigned size)
{
	return operand_place_at(t, X86_RSP, 0, size, false);
}

/* Only the sizes that compilers use; 66 PUSH and POP go to their handlers. */
static bool stack_possible(const struct translation *t, const struct x86_insn *insn)
{
	return insn->operand_size == (t->wide ? 8 : 4) && !(t->key & JIT_KEY_STACK16);
}

/* Of a register that has no host register: where it lies. */
static void stack_home(struct translation *t, unsigned opcode, unsigned extension, unsigned guest)
{
	emit_memory(&t->e, false, opcode, extension, t->e.context, HOST_NONE, 0, operand_home(guest));
}

static void push_register(struct translation *t, const struct x86_insn *insn)
{
	unsigned source = operand_pinned(t, insn->rm);
	struct place place;

	if (direct_now(t)) {
		if (source == HOST_NONE)
			stack_home(t, 0xff, 6, insn->rm);
		else
			emit_push(&t->e, source);
		t->traps_here = true;
		return;
	}
	place = push_place(t, insn->operand_size);
	if (source == HOST_NONE) {
		source = operand_spare(t, &place);
		operand_load(t, source, insn->rm);
	}
	emit_place(&t->e, t->wide, EMIT_STORE, source, place);
	stack_adjust(t, -insn->operand_size);
}

static void push_immediate(struct translation *t, const struct x86_insn *insn)
{
	if (direct_now(t)) {
		emit8(&t->e, 0x68);
		emit32(&t->e, (uint32_t)insn->imm);
		t->traps_here = true;
		return;
	}
	emit_place(&t->e, t->wide, 0xc7, 0, push_place(t, insn->operand_size));
	emit32(&t->e, (uint32_t)insn->imm);
	stack_adjust(t, -insn->operand_size);
}

static bool push_memory(struct translation *t, const struct x86_insn *insn)
{
	struct place place;
	unsigned scratch;

	if (!operand_address_possible(t, insn))
		return false;
	emit_place(&t->e, t->wide, EMIT_LOAD, HOST_RCX, operand_place(t, insn, insn->operand_size, false));
	if (direct_now(t)) {
		emit_push(&t->e, HOST_RCX);
		return true;
	}
	emit_store(&t->e, HOST_RCX, HOST_RSP, JIT_OFFSET(spill));
	place = push_place(t, insn->operand_size);
	scratch = operand_spare(t, &place);
	emit_load(&t->e, scratch, HOST_RSP, JIT_OFFSET(spill));
	emit_place(&t->e, t->wide, EMIT_STORE, scratch, place);
	stack_adjust(t, -insn->operand_size);
	return true;
}

static void pop_register(struct translation *t, const struct x86_insn *insn)
{
	unsigned target = operand_pinned(t, insn->rm);
	struct place place;

	if (direct_now(t)) {
		if (target == HOST_NONE) {
			stack_home(t, 0x8f, 0, insn->rm);
			operand_home_written(t, insn->rm);
		} else {
			emit_pop(&t->e, target);
		}
		t->traps_here = true;
		return;
	}
	place = pop_place(t, insn->operand_size);
	emit_place(&t->e, t->wide, EMIT_LOAD, target == HOST_NONE ? HOST_RCX : target, place);
	if (target == HOST_NONE)
		operand_store(t, insn->rm, HOST_RCX);
	if (insn->rm != X86_RSP) /* POP rSP: what was popped stays */
		stack_adjust(t, insn->operand_size);
}

static void leave(struct translation *t, const struct x86_insn *insn)
{
	struct place place = operand_place_at(t, X86_RBP, 0, insn->operand_size, false);

	if (operand_windowed(t, insn)) { /* the access may trap: it comes first */
		emit_place(&t->e, true, EMIT_LOAD, HOST_R14, place);
		if (direct_now(t)) {
			emit_load(&t->e, HOST_RCX, t->e.context, JIT_OFFSET(program_distance));
			emit_memory(&t->e, true, EMIT_LEA, HOST_RSP, HOST_RBP, HOST_RCX, 0, insn->operand_size);
		} else {
			emit_lea(&t->e, HOST_R15, HOST_RBP, insn->operand_size);
		}
		emit_move(&t->e, HOST_RBP, HOST_R14);
		return;
	}
	emit_memory(&t->e, t->wide, EMIT_LEA, HOST_R15, HOST_RBP, HOST_NONE, 0, insn->operand_size);
	emit_place(&t->e, t->wide, EMIT_LOAD, HOST_RBP, place);
}

/* No memory access and no segment: the address computation alone, cut to the operand's size. */
static bool load_address(struct translation *t, const struct x86_insn *insn)
{
	struct x86_insn plain = *insn;
	unsigned target = operand_pinned(t, insn->reg);

	if (insn->operand_size < 4 || insn->address_size == 2 || insn->mod == 3)
		return false;
	plain.segment = X86_DS;
	if (insn->base == X86_RSP && insn->index == X86_NO_REG && target != HOST_NONE && direct_now(t)) {
		emit_load(&t->e, HOST_RCX, t->e.context, JIT_OFFSET(undistance));
		emit_memory(&t->e, insn->operand_size == 8 && insn->address_size == 8, EMIT_LEA, target, HOST_RSP, HOST_RCX, 0,
			    insn->disp);
		return true;
	}
	if (target != HOST_NONE && insn->base < 16 && operand_pinned(t, insn->base) != HOST_NONE &&
	    operand_address_possible(t, &plain) && insn->address_size == (t->wide ? 8 : 4) &&
	    (insn->index == X86_NO_REG || operand_pinned(t, insn->index) != HOST_NONE)) {
		emit_memory(&t->e, insn->operand_size == 8, EMIT_LEA, target, operand_pinned(t, insn->base),
			    insn->index == X86_NO_REG ? (unsigned)HOST_NONE : operand_pinned(t, insn->index), insn->scale,
			    insn->disp);
		return true;
	}
	if (!operand_address(t, &plain))
		return false;
	if (target == HOST_NONE) {
		if (insn->operand_size == 4) /* mov r14d, r14d */
			emit_memory(&t->e, false, EMIT_LEA, HOST_R14, HOST_R14, HOST_NONE, 0, 0);
		operand_store(t, insn->reg, HOST_R14);
	} else {
		emit_memory(&t->e, insn->operand_size == 8, EMIT_LEA, target, HOST_R14, HOST_NONE, 0, 0);
	}
	return true;
}

bool stack_direct(const struct translation *t, const struct x86_insn *insn)
{
	if (insn->encoding != X86_LEGACY || insn->map != X86_MAP_1BYTE || insn->prefixes & X86_PREFIX_LOCK)
		return false;
	if (insn->opcode == 0x8d)
		return insn->reg != X86_RSP && insn->operand_size >= 4 && insn->address_size != 2 && insn->mod != 3;
	if (insn->operand_size != 8)
		return false;
	switch (insn->opcode) {
	case 0x50 ... 0x5f: return insn->rm != X86_RSP;
	case 0x68:
	case 0x6a: return true;
	case 0xc9: return operand_windowed(t, insn);
	case 0xff: return (insn->reg & 7) == 6 && direct_memory(t, insn) && (insn->mod != 3 || insn->rm != X86_RSP);
	default: return false;
	}
}

bool translate_stack(struct translation *t, const struct x86_insn *insn)
{
	if (insn->encoding != X86_LEGACY || insn->map != X86_MAP_1BYTE || insn->prefixes & X86_PREFIX_LOCK)
		return false;
	if (insn->opcode == 0x8d)
		return load_address(t, insn);
	if (!stack_possible(t, insn))
		return false;
	switch (insn->opcode) {
	case 0x50 ... 0x57: push_register(t, insn); return true;
	case 0x58 ... 0x5f: pop_register(t, insn); return true;
	case 0x68:
	case 0x6a: push_immediate(t, insn); return true;
	case 0xc9: leave(t, insn); return true;
	case 0xff:
		if ((insn->reg & 7) != 6)
			return false;
		if (insn->mod != 3)
			return push_memory(t, insn);
		push_register(t, insn);
		return true;
	default: return false;
	}
}
