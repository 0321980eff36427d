/* SPDX-License-Identifier: Apache-2.0 */
/*
 * native.c - instructions that the host runs as they are, with their operands put where host registers allow it.
 *
 * Scratch registers are two, R14 and RCX; a memory operand's host address takes R14. Where an instruction would need more than there are, its
 * handler is called instead. A guest register that has no host register is best as a memory operand, its place in the context.
 */
#include "engine/jit/translate.h"

struct scratch {
	unsigned free[2];
	unsigned count;
};

/* The host register for a guest GPR: its own, or a scratch one (HOST_NONE: there is none left). */
static unsigned take(const struct translation *t, struct scratch *scratch, unsigned guest)
{
	if (operand_pinned(t, guest) != HOST_NONE)
		return operand_pinned(t, guest);
	return scratch->count ? scratch->free[--scratch->count] : HOST_NONE;
}

static unsigned memory_size(const struct x86_insn *insn)
{
	return insn->row->operand_size ? insn->row->operand_size : insn->operand_size;
}

/* Does a byte operand name AH, CH, DH or BH? */
static bool names_high(const struct x86_insn *insn, unsigned form)
{
	bool byte_reg = insn->operand_size == 1 && form & FORM_REG;
	bool byte_rm = insn->operand_size == 1 || (insn->map == X86_MAP_0F && (insn->opcode == 0xb6 || insn->opcode == 0xbe)) ||
		       (insn->map == X86_MAP_0F38 && insn->opcode == 0xf0 && insn->pp == X86_PP_F2);
	bool rm_is_register = form & FORM_OPCODE_REG || (insn->row->traits & X86_MODRM && insn->mod == 3 && form & FORM_RM);

	if (insn->prefixes & X86_PREFIX_REX || insn->encoding != X86_LEGACY)
		return false;
	return (byte_reg && insn->reg >= 4 && insn->reg < 8) || (byte_rm && rm_is_register && insn->rm >= 4 && insn->rm < 8);
}

/* Guest RCX, or CL and CH, for which the host's RCX stands in where no REX byte may be. */
static bool high_uses_rcx(const struct x86_insn *insn, unsigned form)
{
	bool reg = form & FORM_REG && (insn->reg == 1 || (insn->operand_size == 1 && insn->reg == 5));
	bool rm = !(insn->row->traits & X86_MODRM && insn->mod != 3) && (insn->rm == 1 || insn->rm == 5);

	return reg || rm || form & FORM_CL;
}

/* AH..BH without a REX byte anywhere: registers below 8, in their own place but for RCX; memory operands at [RCX]. */
static bool high_possible(const struct translation *t, const struct x86_insn *insn, unsigned form)
{
	bool memory = insn->row->traits & X86_MODRM && insn->mod != 3;

	if (insn->operand_size == 8 || form & FORM_VVVV)
		return false;
	if (form & FORM_REG && (insn->reg > 7 || (insn->operand_size != 1 && insn->reg == X86_RSP)))
		return false;
	return memory ? !high_uses_rcx(insn, form) && operand_address_possible(t, insn) : insn->rm < 8;
}

/* The host's RCX may be one of the operands. ModRM.reg may be a part of the opcode that looks like it: no harm. */
static void emit_native(struct translation *t, const struct x86_insn *insn, const struct emit_operands *operands, bool traps)
{
	t->e.distance &= operands->reg != HOST_RCX && operands->rm != HOST_RCX && operands->vvvv != HOST_RCX && !operands->high;
	if (operands->reg == HOST_R14 || operands->rm == HOST_R14 || operands->vvvv == HOST_R14)
		t->e.home = HOST_NONE;
	emit_guest(&t->e, insn, operands, jit_form_immediate(insn));
	if (traps)
		trap_here(t);
}

static bool emit_high(struct translation *t, const struct x86_insn *insn, unsigned form)
{
	struct emit_operands operands = {.reg = insn->reg, .rm = insn->rm, .index = HOST_NONE, .high = true};
	bool rcx = high_uses_rcx(insn, form);

	if (!high_possible(t, insn, form))
		return false;
	if (insn->row->traits & X86_MODRM && insn->mod != 3) {
		struct place place = operand_place(t, insn, memory_size(insn), insn->row->traits & X86_MEMORY_WRITE);

		emit_memory(&t->e, true, EMIT_LEA, HOST_RCX, place.base, place.index, 0, place.disp);
		operands.memory = true;
		operands.gs = place.gs;
		operands.base = HOST_RCX;
	}
	if (rcx)
		operand_load(t, HOST_RCX, X86_RCX);
	emit_native(t, insn, &operands, form & FORM_TRAPS);
	if (rcx)
		operand_store(t, X86_RCX, HOST_RCX);
	return true;
}

/* Does a written 8- or 16-bit register keep its upper part, so that a scratch copy must hold it? */
static bool merges(const struct x86_insn *insn)
{
	return insn->operand_size < 4;
}

/* Can rm, a register without a host register, be a memory operand? Not where memory would be something else, or a zero-extension is due. */
static bool home_possible(const struct x86_insn *insn, unsigned form)
{
	bool exchange = insn->map == X86_MAP_1BYTE && (insn->opcode & 0xfe) == 0x86; /* locks */
	bool bit_string =
		insn->map == X86_MAP_0F && (insn->opcode & 7) == 3 && insn->opcode >> 4 >= 0xa && insn->opcode >> 4 <= 0xb;

	return !exchange && !bit_string && insn->encoding == X86_LEGACY && insn->rm != insn->reg &&
	       !(form & FORM_RM_WRITE && insn->operand_size == 4);
}

/* The same instruction with its registers changed over, where one has such a twin. */
static bool twin(const struct x86_insn *insn, struct x86_insn *out)
{
	bool arithmetic = insn->opcode < 0x40 && (insn->opcode & 7) < 4, move = insn->opcode >= 0x88 && insn->opcode <= 0x8b;

	if (insn->encoding != X86_LEGACY || insn->map != X86_MAP_1BYTE || (!arithmetic && !move && (insn->opcode & 0xfe) != 0x84))
		return false;
	*out = *insn;
	out->opcode ^= arithmetic || move ? 2 : 0;
	out->reg = insn->rm;
	out->rm = insn->reg;
	return true;
}

static void operands_place(struct emit_operands *operands, struct place place)
{
	operands->base = place.base;
	operands->index = place.index;
	operands->disp = place.disp;
	operands->gs = place.gs;
}

bool translate_native(struct translation *t, const struct x86_insn *insn)
{
	unsigned form = jit_form(insn);
	bool modrm = insn->row->traits & X86_MODRM, home;
	struct emit_operands operands = {.rm = HOST_NONE, .index = HOST_NONE, .memory = modrm && insn->mod != 3};
	struct scratch scratch = {{HOST_RCX, HOST_R14}, 2};
	struct x86_insn other;

	if (!form)
		return false;
	if (names_high(insn, form))
		return emit_high(t, insn, form);
	if (modrm && insn->mod == 3 && form & FORM_REG && operand_pinned(t, insn->reg) == HOST_NONE &&
	    operand_pinned(t, insn->rm) != HOST_NONE && twin(insn, &other)) {
		insn = &other;
		form = jit_form(insn);
	}
	home = modrm && insn->mod == 3 && form & FORM_RM && operand_pinned(t, insn->rm) == HOST_NONE && home_possible(insn, form);
	if (operands.memory) {
		if (!operand_address_possible(t, insn))
			return false;
		scratch = (struct scratch){{HOST_RCX}, 1};
	}
	if (form & FORM_CL)
		scratch = (struct scratch){{HOST_R14}, operands.memory ? 0 : 1};
	/* Fields, then scratch registers for those that need one; nothing is emitted before it is known that all can be had. */
	operands.reg = form & FORM_REG ? take(t, &scratch, insn->reg) : modrm ? insn->reg & 7u : 0;
	if (operands.reg == HOST_NONE)
		return false;
	if ((modrm && !operands.memory && !home && form & FORM_RM) || form & FORM_OPCODE_REG) {
		operands.rm = form & FORM_REG && insn->rm == insn->reg ? operands.reg : take(t, &scratch, insn->rm);
		if (operands.rm == HOST_NONE)
			return false;
	}
	if (form & FORM_VVVV) {
		operands.vvvv = form & FORM_REG && insn->vvvv == insn->reg            ? operands.reg
				: !operands.memory && !home && insn->vvvv == insn->rm ? operands.rm
										      : take(t, &scratch, insn->vvvv);
		if (operands.vvvv == HOST_NONE)
			return false;
	}
	if (operands.memory) {
		struct place place = operand_place(t, insn, memory_size(insn), insn->row->traits & X86_MEMORY_WRITE);

		bool vvvv_scratch = form & FORM_VVVV && operands.vvvv == HOST_RCX;

		if (form & FORM_CL)
			place = operand_fold(t, place);
		else if (form & FORM_REG && operands.reg == HOST_RCX)
			operands.reg = operand_spare(t, &place);
		if (vvvv_scratch)
			operands.vvvv = form & FORM_REG && insn->vvvv == insn->reg ? operands.reg : operand_spare(t, &place);
		operands_place(&operands, place);
	}
	if (home) {
		operands.memory = true;
		operands_place(&operands, (struct place){t->e.context, HOST_NONE, operand_home(insn->rm), false});
	}
	if (form & FORM_CL)
		operand_load(t, HOST_RCX, X86_RCX);
	if (form & FORM_REG && operand_pinned(t, insn->reg) == HOST_NONE && (form & FORM_REG_READ || merges(insn)))
		operand_load(t, operands.reg, insn->reg);
	if (operands.rm != HOST_NONE && operand_pinned(t, insn->rm) == HOST_NONE && (form & FORM_RM_READ || merges(insn)) &&
	    !(operands.rm == operands.reg && form & FORM_REG_READ))
		operand_load(t, operands.rm, insn->rm);
	if (form & FORM_VVVV_READ && operand_pinned(t, insn->vvvv) == HOST_NONE)
		operand_load(t, operands.vvvv, insn->vvvv);

	bug_on((form & FORM_REG && operands.reg == t->e.context) || (form & FORM_VVVV && operands.vvvv == t->e.context) ||
	       operands.rm == t->e.context);
	emit_native(t, insn, &operands, form & FORM_TRAPS);
	if (home && form & FORM_RM_WRITE)
		operand_home_written(t, insn->rm);

	if (form & FORM_REG_WRITE && operand_pinned(t, insn->reg) == HOST_NONE)
		operand_store(t, insn->reg, operands.reg);
	if (form & FORM_RM_WRITE && operands.rm != HOST_NONE && operand_pinned(t, insn->rm) == HOST_NONE)
		operand_store(t, insn->rm, operands.rm);
	if (form & FORM_VVVV_WRITE && operand_pinned(t, insn->vvvv) == HOST_NONE)
		operand_store(t, insn->vvvv, operands.vvvv);
	return true;
}

/* The guest's vector registers in the host's, from here to the next handler. */
static void vector_ready(struct translation *t)
{
	uint8_t *branch;

	if (t->vector_ready)
		return;
	emit_load(&t->e, HOST_RCX, t->e.context, JIT_OFFSET(vector_out));
	emit8(&t->e, 0xe3); /* jrcxz */
	emit8(&t->e, 0);
	branch = t->e.p;
	emit_call(&t->e, JIT_OFFSET(vector_load));
	if (direct_now(t))
		emit_exchange(&t->e);
	branch[-1] = (uint8_t)(t->e.p - branch);
	t->vector_ready = true;
}

bool translate_uses_mmx(const struct x86_opcode *row)
{
	return row->traits & X86_MMX || x86_operand_is(row->reg_kind, X86_OPERAND_MMX) ||
	       x86_operand_is(row->rm_kind, X86_OPERAND_MMX);
}

/* SSE, AVX and MMX rows without registers that no field names, or gathers. */
bool translate_vector_possible(const struct translation *t, const struct x86_insn *insn)
{
	const struct x86_opcode *row = insn->row;

	if (!(row->traits & (X86_SSE | X86_AVX | X86_MMX)) ||
	    row->traits & (X86_X87 | X86_UNDEFINED | X86_ENDS_BLOCK | X86_PRIVILEGED))
		return false;
	/* EMMS, VZEROUPPER, VZEROALL; in 32-bit code these two leave registers 8 to 15 alone. */
	if (row->traits & X86_MODRM ? !row->reg_kind && !row->rm_kind : insn->opcode != 0x77 || (!t->wide && row->traits & X86_AVX))
		return false;
	if (row->traits & X86_SSE && !(t->key & JIT_KEY_SSE))
		return false;
	if (row->traits & X86_AVX && !(t->key & JIT_KEY_AVX))
		return false;
	if (translate_uses_mmx(row) && !(t->key & JIT_KEY_X87))
		return false;
	if (row->implicit & ~(X86_IMPLICIT_XMM0_READ | X86_IMPLICIT_XMM0_WRITTEN | X86_IMPLICIT_IS4_READ |
			      X86_IMPLICIT_RCX_WRITTEN | X86_IMPLICIT_RAX_RDX_READ))
		return false;
	if (x86_operand_is(row->vvvv_kind, X86_OPERAND_GPR))
		return false;
	/* What saves and restores state would show the host's x87; LDMXCSR and STMXCSR are welcome. */
	if (insn->map == X86_MAP_0F && (insn->opcode == 0xc7 || (insn->opcode == 0xae && (insn->mod == 3 || (insn->reg & 6) != 2))))
		return false;
	return !(insn->prefixes & X86_PREFIX_LOCK);
}

bool translate_vector(struct translation *t, const struct x86_insn *insn)
{
	const struct x86_opcode *row = insn->row;
	struct emit_operands operands = {
		.reg = insn->reg, .rm = insn->rm, .vvvv = insn->vvvv, .index = HOST_NONE, .memory = insn->mod != 3};
	struct scratch scratch = {{HOST_R14, HOST_RCX}, 2};
	bool reg_gpr = x86_operand_is(row->reg_kind, X86_OPERAND_GPR);
	bool rm_gpr = !operands.memory && x86_operand_is(row->rm_kind, X86_OPERAND_GPR);

	if (!translate_vector_possible(t, insn) || (operands.memory && !operand_address_possible(t, insn)))
		return false;
	if (!(row->traits & X86_MODRM)) {
		operands.memory = false;
		operands.rm = HOST_NONE;
	}
	if (translate_uses_mmx(row))
		x87_ready(t);
	if (row->traits & (X86_SSE | X86_AVX))
		vector_ready(t);
	if (reg_gpr)
		operands.reg = take(t, &scratch, insn->reg);
	if (operands.memory) {
		struct place place = operand_place(t, insn, row->operand_size, row->traits & X86_MEMORY_WRITE);

		if (reg_gpr && operand_pinned(t, insn->reg) == HOST_NONE) {
			operands.reg = operand_spare(t, &place);
		}
		operands_place(&operands, place);
	}
	if (reg_gpr) {
		if (operand_pinned(t, insn->reg) == HOST_NONE && row->reg_kind & X86_OPERAND_READ)
			operand_load(t, operands.reg, insn->reg);
	}
	if (rm_gpr) {
		operands.rm = take(t, &scratch, insn->rm);
		if (operand_pinned(t, insn->rm) == HOST_NONE && row->rm_kind & X86_OPERAND_READ)
			operand_load(t, operands.rm, insn->rm);
	}
	emit_native(t, insn, &operands, true);
	if (row->implicit & X86_IMPLICIT_RCX_WRITTEN) {
		t->e.distance = false;
		operand_store(t, X86_RCX, HOST_RCX);
	}
	if (reg_gpr && operand_pinned(t, insn->reg) == HOST_NONE && row->reg_kind & X86_OPERAND_WRITTEN)
		operand_store(t, insn->reg, operands.reg);
	if (rm_gpr && operand_pinned(t, insn->rm) == HOST_NONE && row->rm_kind & X86_OPERAND_WRITTEN)
		operand_store(t, insn->rm, operands.rm);
	return true;
}
