/* SPDX-License-Identifier: Apache-2.0 */
/*
 * direct.c - a program's stack without checks: in a window of CPL 3 the host's RSP is the guest's, plus the window's distance, and R15 is the context. For other
 * operands the base of GS is that distance (find_direct_set).
 *
 *         push rbx                        push rbx
 *         sub  rsp, 24                    sub  rsp, 24
 *         mov  [rsp + 8], rdi             mov  [rsp + 8], rdi
 *
 * What is not translated for that, handlers among it, runs in the usual state, RSP = context and R15 = the guest's RSP, with a few instructions before and
 * behind it (direct_leave, direct_enter); at a block's edges the state is always direct. No signal's frame comes to lie there: handlers have stacks of their own.
 *
 * Why no address escapes. RSP is always within STACK_NEAR of an address in a block of the window, and around that there is nothing (window.h):
 *
 *   - C lets code begin only where that is so (windows_state), and what may have written RSP in any way is followed by a check of it (direct_enter).
 *   - LEAVE, PUSH, POP, CALL and RET access memory where RSP is, or less than 8 bytes from there; what is not the window's traps, with the instruction undone.
 *     (RET imm16 moves it by up to 64 KiB more, upwards.)
 *   - Constants move it by STACK_NEAR / 2 in a block at most, and only in one that also makes such an access, or reads a byte before (stack_touched). So
 *     between two that are made RSP moves by twice that at most, whatever way the program takes.
 *
 * Why flags are exact. ADD and SUB of a constant see the guest's RSP plus a multiple of 2 MiB. Carry, overflow, sign and zero could tell only near
 * 0 and 2^47: programs' windows show no page below WINDOW_LOW, which is more than STACK_NEAR, and none above 2^47.
 */
#include "engine/jit/translate.h"

#define STACK_NEAR (32u << 10)
#define STEP_MOST (STACK_NEAR / 4)
#define TOUCH_FAR 4096

bool direct_memory(const struct translation *t, const struct x86_insn *insn)
{
	return !(insn->row->traits & X86_MODRM) || insn->mod == 3 ||
	       (operand_windowed(t, insn) && operand_address_possible(t, insn));
}

/* ADD, SUB RSP, constant; LEA RSP, [RSP + constant]. */
static bool step_constant(const struct x86_insn *insn, int32_t *by)
{
	unsigned operation = insn->reg & 7;

	if (insn->encoding != X86_LEGACY || insn->map != X86_MAP_1BYTE || insn->operand_size != 8 ||
	    insn->prefixes & X86_PREFIX_LOCK)
		return false;
	if ((insn->opcode == 0x81 || insn->opcode == 0x83) && insn->mod == 3 && insn->rm == X86_RSP &&
	    (operation == 0 || operation == 5)) {
		*by = (int32_t)insn->imm;
		return true;
	}
	*by = insn->disp;
	return insn->opcode == 0x8d && insn->mod != 3 && insn->reg == X86_RSP && insn->base == X86_RSP &&
	       insn->index == X86_NO_REG && insn->address_size == 8;
}

static unsigned way(int32_t by)
{
	return by < 0 ? 0u - (unsigned)by : (unsigned)by;
}

static bool step_possible(const struct translation *t, const struct x86_insn *insn, int32_t *by)
{
	return step_constant(insn, by) && way(*by) <= STEP_MOST && t->stack_way + way(*by) <= STACK_NEAR / 2;
}

/* MOV r64, RSP. `to`: the register. */
static bool reads_stack(const struct x86_insn *insn, unsigned *to)
{
	if (insn->encoding != X86_LEGACY || insn->map != X86_MAP_1BYTE || insn->operand_size != 8 || insn->mod != 3 ||
	    insn->prefixes & X86_PREFIX_LOCK)
		return false;
	if (insn->opcode == 0x89 && insn->reg == X86_RSP) {
		*to = insn->rm;
		return insn->rm != X86_RSP;
	}
	*to = insn->reg;
	return insn->opcode == 0x8b && insn->rm == X86_RSP && insn->reg != X86_RSP;
}

/* Does a field name RSP? A number may be AH's, or a part of the opcode: no harm. */
static bool names_stack(const struct x86_insn *insn, unsigned form)
{
	bool rm = form & FORM_OPCODE_REG || (insn->row->traits & X86_MODRM && insn->mod == 3);

	return (form & FORM_REG && insn->reg == X86_RSP) || (rm && insn->rm == X86_RSP) ||
	       (form & FORM_VVVV && insn->vvvv == X86_RSP);
}

static bool vector_direct(const struct translation *t, const struct x86_insn *insn)
{
	const struct x86_opcode *row = insn->row;

	return translate_vector_possible(t, insn) && !translate_uses_mmx(row) && direct_memory(t, insn) &&
	       !(x86_operand_is(row->reg_kind, X86_OPERAND_GPR) && insn->reg == X86_RSP) &&
	       !(x86_operand_is(row->rm_kind, X86_OPERAND_GPR) && insn->mod == 3 && insn->rm == X86_RSP);
}

bool direct_possible(const struct translation *t, const struct x86_insn *insn)
{
	unsigned form = jit_form(insn), to;
	int32_t by;

	if (insn->row->traits & X86_UNDEFINED || insn->prefixes & X86_PREFIX_LOCK)
		return false;
	if (insn->row->traits & X86_ENDS_BLOCK)
		return branch_direct(t, insn);
	if (stack_direct(t, insn) || step_possible(t, insn, &by) || reads_stack(insn, &to))
		return true;
	if (form)
		return !names_stack(insn, form) && direct_memory(t, insn);
	return vector_direct(t, insn);
}

static bool stack_operation(const struct x86_insn *insn)
{
	if (insn->encoding != X86_LEGACY || insn->map != X86_MAP_1BYTE)
		return false;
	switch (insn->opcode) {
	case 0x50 ... 0x5f:
	case 0x68:
	case 0x6a:
	case 0xe8:
	case 0xc2:
	case 0xc3:
	case 0xc9: return true;
	default: return false;
	}
}

/* Does it access memory near RSP, whatever its operands are? A masked vector may access nothing. */
static bool touches(const struct translation *t, const struct x86_insn *insn)
{
	if (!direct_possible(t, insn))
		return false;
	if (stack_operation(insn))
		return true;
	return jit_form(insn) && insn->row->traits & X86_MODRM && insn->mod != 3 && insn->base == X86_RSP &&
	       insn->index == X86_NO_REG && insn->address_size == 8 && insn->segment < X86_FS && insn->disp < TOUCH_FAR &&
	       insn->disp > -TOUCH_FAR;
}

/* Has an instruction of this block done so, or will one before it can be left? */
static bool stack_touched(const struct translation *t)
{
	for (unsigned i = 0; i < t->index; i++)
		if (touches(t, &t->insn[i]))
			return true;
	for (unsigned i = t->index + 1; i < t->count; i++) {
		if (touches(t, &t->insn[i]))
			return true;
		if (t->insn[i].row->traits & X86_ENDS_BLOCK || !direct_possible(t, &t->insn[i]))
			return false;
	}
	return false;
}

/* May it write RSP in another way than those that are direct? */
static bool may_write_stack(const struct x86_insn *insn)
{
	unsigned form = jit_form(insn);

	if (form)
		return names_stack(insn, form);
	return !(insn->row->traits & X86_X87);
}

void direct_stack(struct translation *t, unsigned scratch)
{
	emit_load(&t->e, scratch, t->e.context, JIT_OFFSET(undistance));
	emit_memory(&t->e, true, EMIT_LEA, scratch, HOST_RSP, scratch, 0, 0);
}

void direct_leave(struct translation *t)
{
	struct emitter *e = &t->e;

	if (!direct_now(t))
		return;
	emit_exchange(e);
	e->context = HOST_RSP;
	emit_load(e, HOST_RCX, HOST_RSP, JIT_OFFSET(undistance));
	emit_memory(e, true, EMIT_LEA, HOST_R15, HOST_R15, HOST_RCX, 0, 0);
}

/* What traps here does it behind the instruction. */
static void stack_check(struct translation *t)
{
	struct emitter *e = &t->e;

	emit_pext(e, HOST_RCX, HOST_R15, JIT_OFFSET(guard_mask));
	emit_memory(e, false, EMIT_LOAD, HOST_RCX, HOST_RSP, HOST_RCX, JIT_GUARD_SCALE, JIT_GUARD(true));
	emit_load(e, HOST_RCX, HOST_RSP, JIT_OFFSET(program_distance));
	emit_load_narrow(e, HOST_R14, HOST_R15, HOST_RCX, 0, 1);
	trap_behind(t);
}

void direct_enter(struct translation *t, const struct x86_insn *insn)
{
	struct emitter *e = &t->e;

	/* What was to touch the stack, and was left to a handler after all, has done so by the page tables. */
	if (may_write_stack(insn) || touches(t, insn))
		stack_check(t);
	else
		emit_load(e, HOST_RCX, HOST_RSP, JIT_OFFSET(program_distance));
	emit_memory(e, true, EMIT_LEA, HOST_R15, HOST_R15, HOST_RCX, 0, 0);
	emit_exchange(e);
	e->context = HOST_R15;
}

static void translate_step(struct translation *t, const struct x86_insn *insn, int32_t by)
{
	struct emit_operands operands = {.reg = insn->reg & 7u, .rm = HOST_RSP, .index = HOST_NONE};

	if (!stack_touched(t)) {
		emit_load_narrow(&t->e, HOST_RCX, HOST_RSP, HOST_NONE, 0, 1);
		t->traps_here = true;
	}
	t->stack_way += way(by);
	if (insn->opcode == 0x8d)
		emit_lea(&t->e, HOST_RSP, HOST_RSP, by);
	else
		emit_guest(&t->e, insn, &operands, jit_form_immediate(insn));
}

bool translate_direct(struct translation *t, const struct x86_insn *insn)
{
	unsigned to, scratch;
	int32_t by;

	if (step_possible(t, insn, &by)) {
		translate_step(t, insn, by);
		return true;
	}
	if (!reads_stack(insn, &to))
		return false;
	scratch = operand_pinned(t, to) == HOST_NONE ? (unsigned)HOST_R14 : operand_pinned(t, to);
	direct_stack(t, scratch);
	if (scratch == HOST_R14)
		operand_store(t, to, scratch);
	return true;
}
