/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan.c - finds memory accesses of a block that one check can serve: [rsp + 8], [rsp + 16], a run of PUSHes, the fields of one structure.
 *
 * Accesses off one base register, whose changes in between are constants, lie at known distances. The first is checked for the whole range that
 * they touch (which must lie in one page), its addend is kept in the context, and the others use it. Where the range
 * does not lie in one page of RAM, the block goes on as its careful version, without groups.
 *
 * Nothing is checked early that would not be done: a group is for reading or for writing, and its first member does just that on the same page; so
 * accessed and dirty bits and faults come when and where they should. 64-bit code only: there base + displacement wraps as the host's does.
 * What is not known to leave a base register alone ends its groups; handlers end all.
 */
#include "engine/jit/translate.h"

#define SPAN 256 /* bytes; a group of them crosses a page one time in sixteen at worst */
/* In a window a group is about a block (window.h), for reads and writes alike. With a displacement this stays in what lies around the block. */
#define WINDOW_SPAN (INT64_C(1) << 24)

static bool windowed(const struct translation *t)
{
	return t->key & JIT_KEY_WINDOW && t->mode != X86_MODE_SUPERVISOR;
}

/* Everything about one instruction that matters here. */
struct effect {
	bool access, write; /* a memory operand off `base` without index */
	unsigned base;
	int32_t disp;
	unsigned size;
	uint32_t written; /* GPRs that get an unknown value; bit 31: forget everything */
	unsigned moved;   /* a GPR that moves by a constant after the access, or X86_NO_REG */
	int64_t by;
};
#define FORGET (UINT32_C(1) << 31)

static uint32_t bit(unsigned reg)
{
	return UINT32_C(1) << reg;
}

/* A byte register without REX may be AH..BH. */
static uint32_t byte_bit(const struct x86_insn *insn, unsigned reg)
{
	return bit(insn->operand_size == 1 && !(insn->prefixes & X86_PREFIX_REX) && reg >= 4 ? reg & 3 : reg);
}

/* Registers that a native instruction writes and its fields do not name. */
static uint32_t implicit_written(const struct x86_insn *insn)
{
	uint32_t rax = bit(X86_RAX), rdx = bit(X86_RDX);

	if (insn->encoding != X86_LEGACY)
		return 0;
	if (insn->map == X86_MAP_1BYTE) {
		if (insn->opcode < 0x40)
			return (insn->opcode & 7) >= 4 ? rax : 0;
		if ((insn->opcode >= 0x90 && insn->opcode <= 0x9f) || insn->opcode == 0xf6 || insn->opcode == 0xf7)
			return rax | rdx;
	}
	if (insn->map == X86_MAP_0F && (insn->opcode == 0xb0 || insn->opcode == 0xb1))
		return rax;
	if (insn->map == X86_MAP_0F && insn->opcode == 0xc7) /* CMPXCHG8B */
		return rax | rdx;
	return 0;
}

static uint32_t native_written(const struct x86_insn *insn, unsigned form)
{
	uint32_t written = implicit_written(insn);

	if (form & FORM_REG_WRITE)
		written |= byte_bit(insn, insn->reg);
	if (form & FORM_RM_WRITE && (form & FORM_OPCODE_REG || insn->mod == 3))
		written |= byte_bit(insn, insn->rm);
	if (form & FORM_VVVV_WRITE)
		written |= bit(insn->vvvv);
	return written;
}

static uint32_t vector_written(const struct x86_insn *insn)
{
	uint32_t written = insn->row->implicit & X86_IMPLICIT_RCX_WRITTEN ? bit(X86_RCX) : 0;

	if (x86_operand_is(insn->row->reg_kind, X86_OPERAND_GPR))
		written |= bit(insn->reg);
	if (x86_operand_is(insn->row->rm_kind, X86_OPERAND_GPR) && insn->mod == 3)
		written |= bit(insn->rm);
	return written;
}

static void operand_effect(const struct x86_insn *insn, struct effect *effect, unsigned size)
{
	if (!(insn->row->traits & X86_MODRM) || insn->mod == 3 || insn->base >= 16 || insn->index != X86_NO_REG ||
	    insn->address_size != 8 || insn->segment >= X86_FS)
		return;
	effect->access = true;
	effect->write = insn->row->traits & X86_MEMORY_WRITE;
	effect->base = insn->base;
	effect->disp = insn->disp;
	effect->size = size;
}

/* ADD, SUB r64, imm; LEA r64, [r64 + disp]. */
static bool moves_by_constant(const struct x86_insn *insn, struct effect *effect)
{
	unsigned operation = insn->reg & 7;

	if (insn->encoding != X86_LEGACY || insn->map != X86_MAP_1BYTE || insn->operand_size != 8)
		return false;
	if ((insn->opcode == 0x81 || insn->opcode == 0x83) && insn->mod == 3 && (operation == 0 || operation == 5)) {
		effect->moved = insn->rm;
		effect->by = operation ? -(int64_t)insn->imm : (int64_t)insn->imm;
		return true;
	}
	if (insn->opcode == 0x8d && insn->mod != 3 && insn->base == insn->reg && insn->index == X86_NO_REG &&
	    insn->address_size == 8) {
		effect->moved = insn->reg;
		effect->by = insn->disp;
		return true;
	}
	return false;
}

static void stack_effect(struct effect *effect, bool push)
{
	effect->access = true;
	effect->write = push;
	effect->base = X86_RSP;
	effect->disp = push ? -8 : 0;
	effect->size = 8;
	effect->moved = X86_RSP;
	effect->by = push ? -8 : 8;
}

/* PUSH, POP, LEA; CALL and RET at the block's end. False: none of them. */
static bool own_effect(const struct x86_insn *insn, struct effect *effect)
{
	bool branch = insn->row->traits & X86_ENDS_BLOCK;

	if (insn->encoding != X86_LEGACY || insn->map != X86_MAP_1BYTE)
		return false;
	switch (insn->opcode) {
	case 0x50 ... 0x57:
	case 0x68:
	case 0x6a: stack_effect(effect, true); return insn->operand_size == 8;
	case 0x58 ... 0x5f:
		stack_effect(effect, false);
		if (insn->rm == X86_RSP)
			effect->moved = X86_NO_REG;
		effect->written = bit(insn->rm);
		return insn->operand_size == 8;
	case 0x8d: effect->written = bit(insn->reg); return insn->mod != 3;
	case 0xe8: stack_effect(effect, true); return branch && insn->operand_size == 8;
	case 0xc2:
	case 0xc3: stack_effect(effect, false); return branch && insn->operand_size == 8;
	default: return false;
	}
}

static void effect_of(const struct translation *t, const struct x86_insn *insn, struct effect *effect)
{
	unsigned form = jit_form(insn);

	*effect = (struct effect){.moved = X86_NO_REG};
	if (branch_conditional(insn))
		return;
	if (moves_by_constant(insn, effect) || own_effect(insn, effect))
		return;
	*effect = (struct effect){.moved = X86_NO_REG};
	if (form) {
		operand_effect(insn, effect, insn->row->operand_size ? insn->row->operand_size : insn->operand_size);
		effect->written = native_written(insn, form);
	} else if (translate_vector_possible(t, insn)) {
		operand_effect(insn, effect, insn->row->operand_size);
		effect->written = vector_written(insn);
	} else if (x87_possible(t, insn)) {
		operand_effect(insn, effect, insn->row->operand_size);
		effect->written = insn->row->traits & X86_GPR_DEST ? bit(X86_RAX) : 0; /* FNSTSW AX */
	} else {
		effect->written = FORGET;
	}
}

/* For each base register: how far it has moved, and its open groups. */
struct base {
	int64_t moved;
	int8_t reads, writes; /* group numbers, or -1 */
};

static bool group_join(const struct translation *t, struct jit_group *group, int64_t first, int64_t end)
{
	int64_t span = windowed(t) ? WINDOW_SPAN : SPAN;
	int64_t low = first < group->low ? first : group->low, high = end > group->high ? end : group->high;

	if (high - low > span)
		return false;
	group->low = low;
	group->high = high;
	group->members++;
	return true;
}

static int8_t group_open(struct translation *t, int64_t first, int64_t end, bool write)
{
	if (t->groups == JIT_BLOCK_INSNS)
		return -1;
	t->group[t->groups] =
		(struct jit_group){.low = first, .high = end, .members = 1, .write = write, .slot = -1, .first = (uint8_t)t->index};
	return (int8_t)t->groups++;
}

static int8_t group_for(struct translation *t, struct base *base, const struct effect *effect)
{
	int64_t first = base->moved + effect->disp, end = first + effect->size;

	if (base->writes >= 0 && group_join(t, &t->group[base->writes], first, end))
		return base->writes;
	if (effect->write || windowed(t))
		return base->writes = group_open(t, first, end, true);
	if (base->reads >= 0 && group_join(t, &t->group[base->reads], first, end))
		return base->reads;
	return base->reads = group_open(t, first, end, false);
}

static void bases_forget(struct base *base, uint32_t written)
{
	for (uint32_t left = written & FORGET ? 0xffff : written; left; left &= left - 1)
		base[__builtin_ctz(left)] = (struct base){.reads = -1, .writes = -1};
}

void plan_groups(struct translation *t)
{
	struct base base[16];
	int slots = 0;

	t->groups = 0;
	for (unsigned i = 0; i < t->count; i++)
		t->plan[i] = (struct jit_plan){.group = -1};
	if (!t->wide || t->key & JIT_KEY_CAREFUL)
		return;
	bases_forget(base, FORGET);
	for (unsigned i = 0; i < t->count; i++) {
		struct effect effect;

		t->index = i;
		effect_of(t, &t->insn[i], &effect);
		/* Behind STI an instruction has its own check: a group that fails would let an interrupt in before it. */
		if (i && t->insn[i - 1].map == X86_MAP_1BYTE && t->insn[i - 1].opcode == 0xfb)
			effect.access = false;
		/* A group's displacements stay small, however they are added. */
		if (operand_far(effect.disp) || (windowed(t) && !operand_windowed(t, &t->insn[i])))
			effect.access = false;
		if (effect.access)
			t->plan[i] = (struct jit_plan){group_for(t, &base[effect.base], &effect), base[effect.base].moved};
		bases_forget(base, effect.written);
		if (effect.moved != X86_NO_REG && !(effect.written & bit(effect.moved)))
			base[effect.moved].moved += effect.by;
	}
	/* A group of one is no group; the context has room for so many. */
	for (unsigned i = 0; i < t->count; i++) {
		struct jit_group *group = &t->group[t->plan[i].group < 0 ? 0 : t->plan[i].group];

		if (t->plan[i].group < 0)
			continue;
		if (windowed(t)) /* needs no slot */
			group->slot = group->members > 1 ? 0 : -1;
		else if (group->slot < 0 && group->members > 1 && slots < JIT_GROUP_SLOTS)
			group->slot = (int8_t)slots++;
		if (group->slot < 0)
			t->plan[i].group = -1;
	}
}
