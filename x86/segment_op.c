/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segment_op.c - the instructions on segment registers and descriptor tables: MOV Sreg, PUSH, POP, LDS.., LAR, LSL, VERR, ARPL, LLDT, LTR, LGDT...
 */
#include "x86/execute.h"
#include "x86/memory.h"
#include "x86/segment.h"
#include "x86/system.h"

static void need_cpl0(struct x86_cpu *cpu)
{
	if (cpu->cpl)
		x86_raise_error(cpu, X86_GP, 0);
}

/* SGDT, SIDT, SLDT, STR under CR4.UMIP. */
static void umip_check(struct x86_cpu *cpu)
{
	if (cpu->cpl && (cpu->s.cr4 & X86_CR4_UMIP))
		x86_raise_error(cpu, X86_GP, 0);
}

/* LAR, LSL, VERR, VERW, ARPL, LLDT, LTR, SLDT, STR do not exist in real and VM86 mode. */
static void need_protected(struct x86_cpu *cpu)
{
	if (!x86_protected(cpu))
		x86_raise(cpu, X86_UD);
}

static uint16_t source16(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	if (insn->mod == 3)
		return (uint16_t)cpu->reg[insn->rm];
	return x86_read16(cpu, x86_operand(cpu, insn, 2, false));
}

/* A 16-bit value to memory, or zero-extended to a register of the operand size. */
static void store16(struct x86_cpu *cpu, const struct x86_insn *insn, uint16_t value)
{
	if (insn->mod == 3)
		x86_gpr_write(cpu, insn->rm, insn->operand_size, value);
	else
		x86_write16(cpu, x86_operand(cpu, insn, 2, true), value);
}

/* A load of SS holds off events until the next instruction has run; two in a row do so once. */
static void stack_shadow(struct x86_cpu *cpu)
{
	if (cpu->s.interrupt_shadow & X86_SHADOW_MOV_SS)
		return;
	cpu->s.interrupt_shadow |= X86_SHADOW_MOV_SS;
	cpu->shadow_fresh = true;
	x86_attention(cpu, X86_ATTENTION_EVENT);
}

void x86_op_mov_to_sreg(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned segment = insn->reg & 7;

	if (segment == X86_CS || segment > X86_GS)
		x86_raise(cpu, X86_UD);
	x86_segment_load(cpu, segment, source16(cpu, insn));
	if (segment == X86_SS)
		stack_shadow(cpu);
}

void x86_op_mov_from_sreg(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned segment = insn->reg & 7;

	if (segment > X86_GS)
		x86_raise(cpu, X86_UD);
	store16(cpu, insn, cpu->s.segment[segment].selector);
}

/* 06 0E 16 1E 0FA0 0FA8 and the POPs one above: bits 5:3 are the register (A0: 4 = FS, A8: 5 = GS). */
void x86_op_push_sreg(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint16_t selector = cpu->s.segment[insn->opcode >> 3 & 7].selector;
	struct x86_stack stack;

	x86_stack_current(cpu, &stack);
	if (insn->operand_size == 4) {
		/* 32-bit operands: only the low word of the slot is written (SDM vol. 2, PUSH). */
		stack.pointer -= 2;
		x86_stack_push(&stack, 2, selector);
	} else {
		x86_stack_push(&stack, insn->operand_size, selector);
	}
	x86_stack_commit(&stack);
}

void x86_op_pop_sreg(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned segment = insn->opcode >> 3 & 7;
	struct x86_stack stack;
	uint16_t selector;

	x86_stack_current(cpu, &stack);
	if (insn->operand_size == 4) {
		selector = (uint16_t)x86_stack_pop(&stack, 2);
		stack.pointer += 2;
	} else {
		selector = (uint16_t)x86_stack_pop(&stack, insn->operand_size);
	}
	x86_segment_load(cpu, segment, selector);
	x86_stack_commit(&stack);
	if (segment == X86_SS)
		stack_shadow(cpu);
}

void x86_op_load_far_pointer(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned segment = insn->map == X86_MAP_1BYTE ? (insn->opcode == 0xc4 ? X86_ES : X86_DS)
			   : insn->opcode == 0xb2     ? X86_SS
						      : insn->opcode & 7; /* B4: FS, B5: GS */
	unsigned size = insn->operand_size;
	uint64_t linear, offset;
	uint16_t selector;

	if (insn->mod == 3)
		x86_raise(cpu, X86_UD);
	linear = x86_operand(cpu, insn, size + 2, false);
	offset = x86_read_slow(cpu, linear, size, cpu->mode);
	selector = x86_read16(cpu, linear + size);
	x86_segment_load(cpu, segment, selector);
	x86_gpr_write(cpu, insn->reg, size, offset);
}

/* For LAR, LSL, VERR, VERW: is the descriptor there and visible at CPL and RPL? */
static bool visible(struct x86_cpu *cpu, uint16_t selector, struct x86_descriptor *d)
{
	if (!x86_descriptor_find(cpu, selector, d))
		return false;
	return x86_descriptor_conforming(d) || (x86_descriptor_dpl(d) >= cpu->cpl && x86_descriptor_dpl(d) >= (selector & 3u));
}

/* Types that LAR (and, with a limit, LSL) accepts: SDM vol. 2, tables 3-51 and 3-56. */
static bool type_in(struct x86_cpu *cpu, unsigned type, uint32_t legacy, uint32_t ia32e)
{
	return type >= 16 || (x86_long_mode(cpu) ? ia32e : legacy) >> type & 1;
}

void x86_op_lar(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct x86_descriptor d;
	uint16_t selector;
	bool good;

	need_protected(cpu);
	selector = source16(cpu, insn);
	good = visible(cpu, selector, &d) && type_in(cpu, x86_descriptor_type(&d), 0x1a3e, 0x1a04);
	if (good && x86_long_mode(cpu) && x86_descriptor_type(&d) < 16)
		good = x86_descriptor_high(cpu, &d);
	if (good)
		x86_gpr_write(cpu, insn->reg, insn->operand_size, d.low >> 32 & 0x00ffff00);
	x86_zf_set(cpu, good);
}

void x86_op_lsl(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct x86_descriptor d;
	uint16_t selector;
	bool good;

	need_protected(cpu);
	selector = source16(cpu, insn);
	good = visible(cpu, selector, &d) && type_in(cpu, x86_descriptor_type(&d), 0x0a0e, 0x0a04);
	if (good && x86_long_mode(cpu) && x86_descriptor_type(&d) < 16)
		good = x86_descriptor_high(cpu, &d);
	if (good)
		x86_gpr_write(cpu, insn->reg, insn->operand_size, x86_segment_of(&d, selector).limit);
	x86_zf_set(cpu, good);
}

static void verify(struct x86_cpu *cpu, const struct x86_insn *insn, bool write)
{
	struct x86_descriptor d;
	uint16_t selector;
	bool good;

	need_protected(cpu);
	selector = source16(cpu, insn);
	good = visible(cpu, selector, &d) && x86_descriptor_type(&d) >= 16;
	if (good && write)
		good = x86_descriptor_writable_data(&d);
	else if (good)
		good = !x86_descriptor_code(&d) || x86_descriptor_attributes(&d) & X86_SEGMENT_READABLE;
	x86_zf_set(cpu, good);
}

void x86_op_verr(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	verify(cpu, insn, false);
}

void x86_op_verw(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	verify(cpu, insn, true);
}

void x86_op_arpl(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint16_t source = (uint16_t)cpu->reg[insn->reg] & 3, value;
	bool raised;

	need_protected(cpu);
	/* Written, and asked for a writable place, only if it is raised. */
	value = insn->mod == 3 ? (uint16_t)cpu->reg[insn->rm] : x86_read16(cpu, x86_operand(cpu, insn, 2, false));
	raised = (value & 3) < source;
	if (raised) {
		value = (uint16_t)((value & ~3u) | source);
		if (insn->mod == 3)
			x86_gpr_write(cpu, insn->rm, 2, value);
		else
			x86_write16(cpu, x86_operand(cpu, insn, 2, true), value);
	}
	x86_zf_set(cpu, raised);
}

void x86_op_lldt(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	need_protected(cpu);
	need_cpl0(cpu);
	x86_ldtr_load(cpu, source16(cpu, insn), X86_GP);
}

void x86_op_ltr(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct x86_descriptor d;
	uint16_t selector;
	unsigned type;

	need_protected(cpu);
	need_cpl0(cpu);
	selector = source16(cpu, insn);
	if (!(selector & 0xfffc))
		x86_raise_error(cpu, X86_GP, 0);
	if (selector & 4 || !x86_descriptor_find(cpu, selector, &d))
		x86_raise_error(cpu, X86_GP, selector & 0xfffc);
	type = x86_descriptor_type(&d);
	if (type != X86_TYPE_TSS32 && (type != X86_TYPE_TSS16 || x86_long_mode(cpu)))
		x86_raise_error(cpu, X86_GP, selector & 0xfffc);
	if (!x86_descriptor_present(&d))
		x86_raise_error(cpu, X86_NP, selector & 0xfffc);
	if (!x86_descriptor_high(cpu, &d))
		x86_raise_error(cpu, X86_GP, selector & 0xfffc);
	if (x86_long_mode(cpu) && !x86_canonical(cpu, x86_segment_of(&d, selector).base))
		x86_raise_error(cpu, X86_GP, selector & 0xfffc);
	x86_system_or8(cpu, d.address + 5, 2);
	d.low |= UINT64_C(2) << 40;
	cpu->s.tr = x86_segment_of(&d, selector);
}

void x86_op_sldt(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	need_protected(cpu);
	umip_check(cpu);
	store16(cpu, insn, cpu->s.ldtr.selector);
}

void x86_op_str(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	need_protected(cpu);
	umip_check(cpu);
	store16(cpu, insn, cpu->s.tr.selector);
}

static void table_load(struct x86_cpu *cpu, const struct x86_insn *insn, struct x86_table *table)
{
	unsigned size = cpu->code_size == 8 ? 8 : 4;
	uint64_t linear, base;
	uint16_t limit;

	if (insn->mod == 3)
		x86_raise(cpu, X86_UD);
	need_cpl0(cpu);
	linear = x86_operand(cpu, insn, size + 2, false);
	limit = x86_read16(cpu, linear);
	base = x86_read_slow(cpu, linear + 2, size, cpu->mode);
	if (insn->operand_size == 2 && size == 4)
		base &= 0xffffff;
	if (size == 8 && !x86_canonical(cpu, base))
		x86_raise_error(cpu, X86_GP, 0);
	table->base = base;
	table->limit = limit;
}

void x86_op_lgdt(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	table_load(cpu, insn, &cpu->s.gdtr);
}

void x86_op_lidt(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	table_load(cpu, insn, &cpu->s.idtr);
}

/* All 32 base bits are stored whatever the operand size, as processors since the 386 do. */
static void table_store(struct x86_cpu *cpu, const struct x86_insn *insn, const struct x86_table *table)
{
	unsigned size = cpu->code_size == 8 ? 8 : 4;
	uint64_t linear;

	if (insn->mod == 3)
		x86_raise(cpu, X86_UD);
	umip_check(cpu);
	linear = x86_operand(cpu, insn, size + 2, true);
	x86_write_check(cpu, linear, size + 2);
	x86_write16(cpu, linear, (uint16_t)table->limit);
	x86_write_slow(cpu, linear + 2, size, table->base, cpu->mode);
}

void x86_op_sgdt(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	table_store(cpu, insn, &cpu->s.gdtr);
}

void x86_op_sidt(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	table_store(cpu, insn, &cpu->s.idtr);
}
