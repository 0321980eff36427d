/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transfer.c - far jumps, calls and returns, and call gates (SDM vol. 3, 5.8; vol. 2, CALL, JMP, RET).
 *
 * IRET and the INT instructions are in transfer_interrupt.c, fast system calls in transfer_fast.c, task switches in transfer_task.c.
 */
#include "x86/execute.h"
#include "x86/memory.h"
#include "x86/segment.h"
#include "x86/system.h"
#include "x86/transfer.h"

void x86_code_enter(struct x86_cpu *cpu, const struct x86_segment *segment, uint64_t rip)
{
	cpu->s.segment[X86_CS] = *segment;
	cpu->reg[X86_RIP] = rip;
	x86_cpu_mode_changed(cpu);
}

void x86_code_limit_check(struct x86_cpu *cpu, const struct x86_segment *segment, uint64_t rip)
{
	bool good = x86_long_mode(cpu) && segment->attributes & X86_SEGMENT_L ? x86_canonical(cpu, rip) : rip <= segment->limit;

	if (!good)
		x86_raise_error(cpu, X86_GP, 0);
}

static uint64_t cut(uint64_t value, unsigned size)
{
	return size == 8 ? value : size == 4 ? (uint32_t)value : (uint16_t)value;
}

/* The instruction's far pointer, immediate or in memory. */
static uint16_t far_target(struct x86_cpu *cpu, const struct x86_insn *insn, uint64_t *offset)
{
	unsigned size = insn->operand_size;
	uint64_t linear;

	if (!(insn->row->traits & X86_MODRM)) {
		*offset = cut(insn->imm, size);
		return insn->imm2;
	}
	if (insn->mod == 3)
		x86_raise(cpu, X86_UD);
	linear = x86_operand(cpu, insn, size + 2, false);
	*offset = x86_read_slow(cpu, linear, size, cpu->mode);
	return x86_read16(cpu, linear + size);
}

/* Real and VM86 mode. */
static void plain_transfer(struct x86_cpu *cpu, uint16_t selector, uint64_t offset, bool call, unsigned size)
{
	struct x86_segment code =
		cpu->s.rflags & X86_FLAG_VM ? x86_segment_vm86(selector) : x86_segment_real(&cpu->s.segment[X86_CS], selector);
	struct x86_stack stack;

	x86_stack_current(cpu, &stack);
	if (call)
		x86_stack_reserve(&stack, 2 * size);
	x86_code_limit_check(cpu, &code, offset);
	if (call) {
		x86_stack_push(&stack, size, cpu->s.segment[X86_CS].selector);
		x86_stack_push(&stack, size, cpu->reg[X86_RIP]);
		x86_stack_commit(&stack);
	}
	x86_code_enter(cpu, &code, offset);
}

/* L and D both set is reserved where L has a meaning. */
static void long_attributes_check(struct x86_cpu *cpu, const struct x86_descriptor *code)
{
	uint16_t both = X86_SEGMENT_L | X86_SEGMENT_DB;

	if (x86_long_mode(cpu) && (x86_descriptor_attributes(code) & both) == both)
		x86_raise_error(cpu, X86_GP, code->selector & 0xfffc);
}

/* To a code segment at the same privilege, without a gate. */
static void direct_transfer(struct x86_cpu *cpu, struct x86_descriptor *d, uint64_t offset, bool call, unsigned size)
{
	unsigned dpl = x86_descriptor_dpl(d), rpl = d->selector & 3;
	struct x86_segment code;
	struct x86_stack stack;

	if (x86_descriptor_conforming(d) ? dpl > cpu->cpl : rpl > cpu->cpl || dpl != cpu->cpl)
		x86_raise_error(cpu, X86_GP, d->selector & 0xfffc);
	if (!x86_descriptor_present(d))
		x86_raise_error(cpu, X86_NP, d->selector & 0xfffc);
	long_attributes_check(cpu, d);
	x86_descriptor_accessed(cpu, d);
	code = x86_segment_of(d, (uint16_t)((d->selector & 0xfffc) | cpu->cpl));
	x86_stack_current(cpu, &stack);
	if (call)
		x86_stack_reserve(&stack, 2 * size);
	x86_code_limit_check(cpu, &code, offset);
	if (call) {
		x86_stack_push(&stack, size, cpu->s.segment[X86_CS].selector);
		x86_stack_push(&stack, size, cpu->reg[X86_RIP]);
		x86_stack_commit(&stack);
	}
	x86_code_enter(cpu, &code, offset);
}

static void gate_call_inner(struct x86_cpu *cpu, const struct x86_descriptor *gate, const struct x86_descriptor *target,
			    const struct x86_segment *code, uint64_t offset, unsigned width)
{
	unsigned cpl = x86_descriptor_dpl(target), count = width == 8 ? 0 : (unsigned)(gate->low >> 32) & 31;
	struct x86_stack stack, old;
	struct x86_segment segment;
	uint64_t parameter[31];
	uint16_t ss;
	uint32_t esp;

	x86_stack_current(cpu, &old);
	if (width == 8) {
		segment = x86_segment_null((uint16_t)cpl, cpl);
		x86_stack_new(cpu, &stack, &segment, x86_task_stack64(cpu, 4 + cpl * 8), cpl);
		stack.size = 8;
		stack.error = 0;
	} else {
		x86_task_stack(cpu, cpl, &ss, &esp);
		if (!(ss & 0xfffc))
			x86_raise_error(cpu, X86_TS, 0);
		segment = x86_stack_segment(cpu, ss, cpl, X86_TS);
		x86_stack_new(cpu, &stack, &segment, esp, cpl);
	}
	x86_stack_reserve(&stack, width * (4 + count));
	for (unsigned i = 0; i < count; i++)
		parameter[i] = x86_stack_pop(&old, width);
	x86_code_limit_check(cpu, code, offset);
	x86_stack_push(&stack, width, cpu->s.segment[X86_SS].selector);
	x86_stack_push(&stack, width, cpu->reg[X86_RSP]);
	while (count--)
		x86_stack_push(&stack, width, parameter[count]);
	x86_stack_push(&stack, width, cpu->s.segment[X86_CS].selector);
	x86_stack_push(&stack, width, cpu->reg[X86_RIP]);
	cpu->s.segment[X86_SS] = segment;
	cpu->reg[X86_RSP] = stack.size == 2 ? (cpu->reg[X86_RSP] & ~UINT64_C(0xffff)) | (uint16_t)stack.pointer : stack.pointer;
}

static void gate_transfer(struct x86_cpu *cpu, struct x86_descriptor *gate, bool call)
{
	uint16_t selector = x86_gate_selector(gate);
	unsigned width = x86_long_mode(cpu) ? 8 : x86_descriptor_type(gate) == X86_TYPE_CALL_GATE32 ? 4 : 2;
	uint64_t offset = width == 2 ? x86_gate_offset(gate) & 0xffff : x86_gate_offset(gate);
	struct x86_descriptor target;
	struct x86_segment code;
	unsigned cpl = cpu->cpl;
	bool inner;

	x86_descriptor_need(cpu, selector, &target, X86_GP);
	if (!x86_descriptor_code(&target) || x86_descriptor_dpl(&target) > cpu->cpl)
		x86_raise_error(cpu, X86_GP, selector & 0xfffc);
	if (width == 8 && (x86_descriptor_attributes(&target) & (X86_SEGMENT_L | X86_SEGMENT_DB)) != X86_SEGMENT_L)
		x86_raise_error(cpu, X86_GP, selector & 0xfffc);
	inner = !x86_descriptor_conforming(&target) && x86_descriptor_dpl(&target) < cpu->cpl;
	if (inner && !call)
		x86_raise_error(cpu, X86_GP, selector & 0xfffc);
	if (!x86_descriptor_present(&target))
		x86_raise_error(cpu, X86_NP, selector & 0xfffc);
	x86_descriptor_accessed(cpu, &target);
	if (inner)
		cpl = x86_descriptor_dpl(&target);
	code = x86_segment_of(&target, (uint16_t)((selector & 0xfffc) | cpl));
	if (inner) {
		gate_call_inner(cpu, gate, &target, &code, offset, width);
	} else {
		struct x86_stack stack;

		x86_stack_current(cpu, &stack);
		if (call)
			x86_stack_reserve(&stack, 2 * width);
		x86_code_limit_check(cpu, &code, offset);
		if (call) {
			x86_stack_push(&stack, width, cpu->s.segment[X86_CS].selector);
			x86_stack_push(&stack, width, cpu->reg[X86_RIP]);
			x86_stack_commit(&stack);
		}
	}
	x86_code_enter(cpu, &code, offset);
}

/* A TSS, or a task gate that names one. */
static void task_transfer(struct x86_cpu *cpu, struct x86_descriptor *d, bool call)
{
	struct x86_descriptor tss = *d;

	if (x86_descriptor_type(d) == X86_TYPE_TASK_GATE) {
		uint16_t selector = x86_gate_selector(d);

		if (selector & 4 || !x86_descriptor_find(cpu, selector, &tss) ||
		    (x86_descriptor_type(&tss) != X86_TYPE_TSS16 && x86_descriptor_type(&tss) != X86_TYPE_TSS32))
			x86_raise_error(cpu, X86_GP, selector & 0xfffc);
		if (!x86_descriptor_present(&tss))
			x86_raise_error(cpu, X86_NP, selector & 0xfffc);
	} else if (d->selector & 4) {
		x86_raise_error(cpu, X86_GP, d->selector & 0xfffc);
	}
	x86_task_switch(cpu, call ? X86_TASK_CALL : X86_TASK_JMP, &tss, cpu->reg[X86_RIP], false, 0);
}

static void protected_transfer(struct x86_cpu *cpu, uint16_t selector, uint64_t offset, bool call, unsigned size)
{
	uint32_t gates = x86_long_mode(cpu) ? 1u << X86_TYPE_CALL_GATE32
					    : 1u << X86_TYPE_CALL_GATE16 | 1u << X86_TYPE_CALL_GATE32 | 1u << X86_TYPE_TASK_GATE |
						      1u << X86_TYPE_TSS16 | 1u << X86_TYPE_TSS32;
	struct x86_descriptor d;
	unsigned type;

	x86_descriptor_need(cpu, selector, &d, X86_GP);
	if (x86_descriptor_code(&d)) {
		direct_transfer(cpu, &d, offset, call, size);
		return;
	}
	type = x86_descriptor_type(&d);
	if (type >= 16 || !(gates >> type & 1) || x86_descriptor_dpl(&d) < cpu->cpl || x86_descriptor_dpl(&d) < (selector & 3u))
		x86_raise_error(cpu, X86_GP, selector & 0xfffc);
	if (!x86_descriptor_present(&d))
		x86_raise_error(cpu, X86_NP, selector & 0xfffc);
	if (type == X86_TYPE_CALL_GATE16 || type == X86_TYPE_CALL_GATE32) {
		if (!x86_descriptor_high(cpu, &d))
			x86_raise_error(cpu, X86_GP, selector & 0xfffc);
		gate_transfer(cpu, &d, call);
	} else {
		task_transfer(cpu, &d, call);
	}
}

static void far_transfer(struct x86_cpu *cpu, const struct x86_insn *insn, bool call)
{
	uint64_t offset;
	uint16_t selector = far_target(cpu, insn, &offset);

	if (x86_protected(cpu))
		protected_transfer(cpu, selector, offset, call, insn->operand_size);
	else
		plain_transfer(cpu, selector, offset, call, insn->operand_size);
}

void x86_op_call_far(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	far_transfer(cpu, insn, true);
}

void x86_op_jmp_far(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	far_transfer(cpu, insn, false);
}

void x86_return_code(struct x86_cpu *cpu, uint16_t selector, struct x86_segment *code)
{
	unsigned rpl = selector & 3;
	struct x86_descriptor d;

	x86_descriptor_need(cpu, selector, &d, X86_GP);
	if (!x86_descriptor_code(&d) || rpl < cpu->cpl ||
	    (x86_descriptor_conforming(&d) ? x86_descriptor_dpl(&d) > rpl : x86_descriptor_dpl(&d) != rpl))
		x86_raise_error(cpu, X86_GP, selector & 0xfffc);
	if (!x86_descriptor_present(&d))
		x86_raise_error(cpu, X86_NP, selector & 0xfffc);
	long_attributes_check(cpu, &d);
	x86_descriptor_accessed(cpu, &d);
	*code = x86_segment_of(&d, selector);
}

struct x86_segment x86_return_stack(struct x86_cpu *cpu, uint16_t selector, const struct x86_segment *code)
{
	unsigned cpl = code->selector & 3;

	if (selector & 0xfffc)
		return x86_stack_segment(cpu, selector, cpl, X86_GP);
	/* The null selector will do for 64-bit code above CPL 3. */
	if (!x86_long_mode(cpu) || !(code->attributes & X86_SEGMENT_L) || cpl == 3 || (selector & 3u) != cpl)
		x86_raise_error(cpu, X86_GP, 0);
	return x86_segment_null(selector, cpl);
}

void x86_return_commit(struct x86_cpu *cpu, const struct x86_segment *code, uint64_t rip, const struct x86_segment *ss,
		       uint64_t rsp)
{
	bool outer = (code->selector & 3) > cpu->cpl;

	cpu->s.segment[X86_SS] = *ss;
	if (x86_long_mode(cpu) && code->attributes & X86_SEGMENT_L)
		cpu->reg[X86_RSP] = rsp;
	else if (ss->attributes & X86_SEGMENT_DB)
		cpu->reg[X86_RSP] = (uint32_t)rsp;
	else
		cpu->reg[X86_RSP] = (cpu->reg[X86_RSP] & ~UINT64_C(0xffff)) | (uint16_t)rsp;
	if (outer)
		x86_segments_outer(cpu, code->selector & 3);
	x86_code_enter(cpu, code, rip);
}

void x86_op_ret_far(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned size = insn->operand_size;
	uint16_t release = insn->opcode == 0xca ? (uint16_t)insn->imm : 0, selector, ss;
	struct x86_segment code, segment;
	struct x86_stack stack;
	uint64_t rip, rsp;

	x86_stack_current(cpu, &stack);
	rip = x86_stack_pop(&stack, size);
	selector = (uint16_t)x86_stack_pop(&stack, size);
	stack.pointer += release;
	if (!x86_protected(cpu)) {
		code = cpu->s.rflags & X86_FLAG_VM ? x86_segment_vm86(selector)
						   : x86_segment_real(&cpu->s.segment[X86_CS], selector);
		x86_code_limit_check(cpu, &code, rip);
		x86_stack_commit(&stack);
		x86_code_enter(cpu, &code, rip);
		return;
	}
	x86_return_code(cpu, selector, &code);
	if ((selector & 3u) == cpu->cpl) {
		x86_code_limit_check(cpu, &code, rip);
		x86_stack_commit(&stack);
		x86_code_enter(cpu, &code, rip);
		return;
	}
	rsp = x86_stack_pop(&stack, size);
	ss = (uint16_t)x86_stack_pop(&stack, size);
	segment = x86_return_stack(cpu, ss, &code);
	x86_code_limit_check(cpu, &code, rip);
	x86_return_commit(cpu, &code, rip, &segment, rsp + release);
}
