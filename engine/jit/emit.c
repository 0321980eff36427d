/* SPDX-License-Identifier: Apache-2.0 */
/*
 * emit.c - encodes host instructions. See emit.h; formats: SDM vol. 2, 2.
 */
#include "engine/jit/emit.h"

#include <holon/host.h>

void emit_address(struct emitter *e, unsigned reg, unsigned base, unsigned index, unsigned scale, int32_t disp)
{
	unsigned mod = disp == 0 && (base & 7) != HOST_RBP ? 0 : disp == (int8_t)disp ? 1 : 2;

	if (base == HOST_NONE) {
		emit8(e, (reg & 7) << 3 | 4);
		emit8(e, scale << 6 | (index == HOST_NONE ? 4u : index & 7) << 3 | 5);
		emit32(e, (uint32_t)disp);
		return;
	}
	if (index != HOST_NONE || (base & 7) == HOST_RSP) {
		emit8(e, mod << 6 | (reg & 7) << 3 | 4);
		emit8(e, scale << 6 | (index == HOST_NONE ? 4u : index & 7) << 3 | (base & 7));
	} else {
		emit8(e, mod << 6 | (reg & 7) << 3 | (base & 7));
	}
	if (mod == 1)
		emit8(e, (uint8_t)disp);
	else if (mod == 2)
		emit32(e, (uint32_t)disp);
}

/* Never the context's register: whatever is wrong above, it stays. */
static void written(struct emitter *e, unsigned reg)
{
	bug_on(reg == e->context);
	e->distance &= reg != HOST_RCX;
	if (reg == HOST_R14)
		e->home = HOST_NONE;
}

static unsigned rex(bool wide, unsigned reg, unsigned index, unsigned base)
{
	return 0x40 | (unsigned)wide << 3 | (reg != HOST_NONE ? reg >> 3 & 1 : 0) << 2 |
	       (index != HOST_NONE ? index >> 3 & 1 : 0) << 1 | (base != HOST_NONE ? base >> 3 & 1 : 0);
}

void emit_memory(struct emitter *e, bool wide, unsigned opcode, unsigned reg, unsigned base, unsigned index, unsigned scale,
		 int32_t disp)
{
	unsigned prefix = rex(wide, reg, index, base);

	if (opcode == EMIT_LOAD || opcode == EMIT_LEA)
		written(e, reg);
	if (prefix != 0x40)
		emit8(e, prefix);
	emit8(e, opcode);
	emit_address(e, reg, base, index, scale, disp);
}

void emit_move(struct emitter *e, unsigned to, unsigned from)
{
	if (to == from)
		return;
	written(e, to);
	emit8(e, rex(true, from, HOST_NONE, to));
	emit8(e, 0x89);
	emit8(e, 0xc0 | (from & 7) << 3 | (to & 7));
}

void emit_exchange(struct emitter *e)
{
	emit8(e, 0x49);
	emit8(e, 0x87);
	emit8(e, 0xc0 | HOST_RSP << 3 | (HOST_R15 & 7));
}

void emit_push(struct emitter *e, unsigned reg)
{
	if (reg >= 8)
		emit8(e, 0x41);
	emit8(e, 0x50 | (reg & 7));
}

void emit_pop(struct emitter *e, unsigned reg)
{
	written(e, reg);
	if (reg >= 8)
		emit8(e, 0x41);
	emit8(e, 0x58 | (reg & 7));
}

void emit_move_imm(struct emitter *e, unsigned to, uint64_t value)
{
	written(e, to);
	if (value == (uint32_t)value) {
		if (to >= 8)
			emit8(e, 0x41);
		emit8(e, 0xb8 | (to & 7));
		emit32(e, (uint32_t)value);
	} else if (value == (uint64_t)(int64_t)(int32_t)value) {
		emit8(e, rex(true, HOST_NONE, HOST_NONE, to));
		emit8(e, 0xc7);
		emit8(e, 0xc0 | (to & 7));
		emit32(e, (uint32_t)value);
	} else {
		emit8(e, rex(true, HOST_NONE, HOST_NONE, to));
		emit8(e, 0xb8 | (to & 7));
		emit64(e, value);
	}
}

/* VEX.LZ.pp.0F38.W1 F5 /r: pext (F3) or pdep (F2) to, from(vvvv), [context + disp] */
static void emit_bits(struct emitter *e, enum x86_mandatory pp, unsigned to, unsigned from, int32_t disp)
{
	written(e, to);
	emit8(e, 0xc4);
	emit8(e, (~to >> 3 & 1) << 7 | 0x40 | (~e->context >> 3 & 1) << 5 | 2);
	emit8(e, 0x80 | (~from & 15) << 3 | pp);
	emit8(e, 0xf5);
	emit_address(e, to, e->context, HOST_NONE, 0, disp);
}

void emit_pext(struct emitter *e, unsigned to, unsigned from, int32_t disp)
{
	emit_bits(e, X86_PP_F3, to, from, disp);
}

void emit_and(struct emitter *e, unsigned reg, int32_t disp)
{
	emit_bits(e, X86_PP_F3, reg, reg, disp);
	emit_bits(e, X86_PP_F2, reg, reg, disp);
}

void emit_load_narrow(struct emitter *e, unsigned to, unsigned base, unsigned index, int32_t disp, unsigned size)
{
	unsigned prefix = rex(false, to, index, base);

	written(e, to);
	if (prefix != 0x40)
		emit8(e, prefix);
	emit8(e, 0x0f);
	emit8(e, size == 1 ? 0xb6 : 0xb7);
	emit_address(e, to, base, index, 0, disp);
}

void emit_call(struct emitter *e, int32_t disp)
{
	e->distance = false;
	e->home = HOST_NONE;
	if (e->context != HOST_RSP)
		emit_exchange(e);
	emit8(e, 0xff);
	emit_address(e, 2, HOST_RSP, HOST_NONE, 0, disp);
}

void emit_jump_table(struct emitter *e, unsigned index, int32_t disp)
{
	unsigned prefix = rex(false, 0, index, e->context);

	if (prefix != 0x40)
		emit8(e, prefix);
	emit8(e, 0xff);
	emit_address(e, 4, e->context, index, 3, disp);
}

uint8_t *emit_jump(struct emitter *e)
{
	emit8(e, 0xe9);
	emit32(e, 0);
	return e->p - 4;
}

uint8_t *emit_jump_condition(struct emitter *e, unsigned condition)
{
	emit8(e, 0x0f);
	emit8(e, 0x80 | condition);
	emit32(e, 0);
	return e->p - 4;
}

static void emit_imm(struct emitter *e, uint64_t value, unsigned size)
{
	switch (size) {
	case 1: emit8(e, (uint8_t)value); break;
	case 2: emit16(e, (uint16_t)value); break;
	case 4: emit32(e, (uint32_t)value); break;
	case 8: emit64(e, value); break;
	default: break;
	}
}

static void emit_modrm(struct emitter *e, const struct emit_operands *operands)
{
	if (operands->memory)
		emit_address(e, operands->reg, operands->base, operands->index, 0, operands->disp);
	else
		emit8(e, 0xc0 | (operands->reg & 7) << 3 | (operands->rm & 7));
}

static void emit_vex(struct emitter *e, const struct x86_insn *insn, const struct emit_operands *operands)
{
	unsigned index = operands->memory ? operands->index : HOST_NONE;
	unsigned base = operands->memory ? operands->base : operands->rm;
	unsigned prefix = rex(false, operands->reg, index, base);
	/* W is ignored outside 64-bit code where it would widen a GPR. */
	bool gpr = x86_operand_is(insn->row->reg_kind, X86_OPERAND_GPR) || x86_operand_is(insn->row->rm_kind, X86_OPERAND_GPR) ||
		   !(insn->row->traits & X86_AVX) || insn->row->implicit & X86_IMPLICIT_RAX_RDX_READ;
	bool w = insn->w && (insn->code_size == 8 || !gpr);

	emit8(e, 0xc4);
	emit8(e, (~prefix & 7) << 5 | insn->map);
	emit8(e, (unsigned)w << 7 | (~operands->vvvv & 15) << 3 | (unsigned)insn->l << 2 | insn->pp);
	emit8(e, insn->opcode);
}

/* F2 and F3 that mean something: always in vector rows, in the integer rows only for these. */
static bool prefix_selects(const struct x86_insn *insn)
{
	if (insn->row->reg_kind || insn->row->rm_kind || insn->row->traits & (X86_SSE | X86_AVX | X86_MMX | X86_X87))
		return true;
	switch (insn->map) {
	case X86_MAP_0F: return insn->opcode >= 0xb8 && insn->opcode <= 0xbd; /* POPCNT, TZCNT, LZCNT */
	case X86_MAP_0F38: return true;                                       /* CRC32, ADOX */
	default: return false;
	}
}

static void emit_legacy_prefixes(struct emitter *e, const struct x86_insn *insn)
{
	bool vector = insn->row->traits & (X86_SSE | X86_MMX);

	if (insn->prefixes & X86_PREFIX_LOCK)
		emit8(e, 0xf0);
	if (vector ? insn->pp == X86_PP_66
		   : insn->prefixes & X86_PREFIX_66 && (insn->operand_size == 2 || insn->map >= X86_MAP_0F38))
		emit8(e, 0x66);
	if (prefix_selects(insn)) {
		if (insn->pp == X86_PP_F3)
			emit8(e, 0xf3);
		else if (insn->pp == X86_PP_F2)
			emit8(e, 0xf2);
	}
}

static bool has_byte_operand(const struct x86_insn *insn)
{
	return insn->operand_size == 1 || (insn->map == X86_MAP_0F && (insn->opcode == 0xb6 || insn->opcode == 0xbe)) ||
	       (insn->map == X86_MAP_0F38 && insn->opcode == 0xf0);
}

void emit_guest(struct emitter *e, const struct x86_insn *insn, const struct emit_operands *operands, unsigned imm_size)
{
	bool modrm = insn->row->traits & X86_MODRM;

	if (operands->memory && operands->gs)
		emit8(e, EMIT_GS);
	if (insn->encoding != X86_LEGACY) {
		emit_vex(e, insn, operands);
	} else {
		unsigned index = modrm && operands->memory ? operands->index : HOST_NONE;
		unsigned base = modrm && operands->memory ? operands->base : operands->rm;
		bool wide = insn->operand_size == 8 || (insn->row->traits & (X86_SSE | X86_MMX) && insn->w);
		unsigned prefix = rex(wide, operands->reg, index, base);

		emit_legacy_prefixes(e, insn);
		/* Byte registers 4-7 are SPL..DIL only behind a REX, and that is what a number means here unless `high`. */
		if (prefix != 0x40 || (!operands->high && has_byte_operand(insn)))
			emit8(e, prefix);
		if (insn->map != X86_MAP_1BYTE)
			emit8(e, 0x0f);
		if (insn->map == X86_MAP_0F38)
			emit8(e, 0x38);
		else if (insn->map == X86_MAP_0F3A)
			emit8(e, 0x3a);
		emit8(e, insn->row->traits & X86_MODRM || operands->rm == HOST_NONE ? insn->opcode
										    : (insn->opcode & 0xf8u) | (operands->rm & 7));
	}
	if (modrm)
		emit_modrm(e, operands);
	/* is4's top bit names registers that only 64-bit code has. */
	if (insn->row->implicit & X86_IMPLICIT_IS4_READ && insn->code_size != 8)
		emit_imm(e, insn->imm & 0x7f, imm_size);
	else
		emit_imm(e, insn->imm, imm_size);
}
