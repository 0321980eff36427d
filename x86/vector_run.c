/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vector_run.c - finds the row of a vector instruction, checks whether it may run, and runs it on the host's processor.
 *
 * x86_decode() calls x86_vector_decode; engines call the handlers. An instruction becomes a stub (host_run.h): `pmulhuw xmm9, [rdi+rcx*8]`
 * is run as `pmulhuw xmm1, [rsi]` with xmm1 loaded from the guest's xmm9, and 16 bytes of guest memory where rsi points.
 */
#include <holon/host.h>

#include "x86/execute.h"
#include "x86/host_run.h"
#include "x86/memory.h"
#include "x86/vector.h"
#include "x86/vector_table.h"

#define FSW_ES 0x80u

/* W as the instruction sees it: outside 64-bit mode it says nothing about the width of a GPR. */
static unsigned effective_w(const struct x86_opcode *opcode, const struct x86_insn *insn)
{
	bool gpr = x86_operand_is(opcode->reg_kind, X86_OPERAND_GPR) || x86_operand_is(opcode->rm_kind, X86_OPERAND_GPR) ||
		   (opcode->implicit & X86_IMPLICIT_RAX_RDX_READ);

	return gpr && insn->code_size != 8 ? 0 : insn->w;
}

static bool row_matches(const struct vector_row *row, const struct x86_insn *insn, uint8_t modrm)
{
	bool vex = insn->encoding != X86_LEGACY;

	if (row->vex != vex || row->pp != insn->pp)
		return false;
	if (row->w != VECTOR_ANY && row->w != effective_w(&row->opcode, insn))
		return false;
	if (vex && row->l != VECTOR_ANY && row->l != insn->l)
		return false;
	if (vex && !row->opcode.vvvv_kind && insn->vvvv)
		return false;
	if (!(row->opcode.traits & X86_MODRM))
		return true;
	if (row->form != VECTOR_BOTH && (row->form == VECTOR_REGISTER) != (modrm >> 6 == 3))
		return false;
	if ((row->opcode.implicit & X86_IMPLICIT_VSIB) && (modrm & 7) != 4)
		return false;
	return row->digit == VECTOR_ANY || row->digit == (modrm >> 3 & 7);
}

const struct x86_opcode *x86_vector_decode(const struct x86_insn *insn, uint8_t modrm, x86_handler **execute)
{
	const struct vector_table *table;
	unsigned low = 0, high;

	switch (insn->map) {
	case X86_MAP_1BYTE: return insn->encoding == X86_LEGACY ? x87_decode(insn, modrm, execute) : NULL;
	case X86_MAP_0F: table = &vector_table_0f; break;
	case X86_MAP_0F38: table = &vector_table_0f38; break;
	case X86_MAP_0F3A: table = &vector_table_0f3a; break;
	default: return NULL;
	}
	high = table->rows;
	while (low < high) { /* the first row of this opcode */
		unsigned middle = (low + high) / 2;

		if (table->row[middle].number < insn->opcode)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < table->rows && table->row[low].number == insn->opcode; low++) {
		if (!row_matches(&table->row[low], insn, modrm))
			continue;
		*execute = table->row[low].execute;
		return &table->row[low].opcode;
	}
	return NULL;
}

void x86_vector_check(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint32_t traits = insn->row->traits;
	uint8_t feature = insn->row->feature;
	uint64_t cr0 = cpu->s.cr0;

	if (feature && !x86_has(cpu->model, feature - 1u))
		x86_raise(cpu, X86_UD);
	if (traits & X86_AVX) {
		const uint64_t state = X86_XCR0_SSE | X86_XCR0_AVX;

		if (!x86_protected(cpu) || !(cpu->s.cr4 & X86_CR4_OSXSAVE) || (cpu->s.xcr0 & state) != state)
			x86_raise(cpu, X86_UD);
	}
	if ((traits & X86_SSE) && !(cpu->s.cr4 & X86_CR4_OSFXSR))
		x86_raise(cpu, X86_UD);
	if ((traits & (X86_SSE | X86_MMX)) && (cr0 & X86_CR0_EM))
		x86_raise(cpu, X86_UD);
	if ((traits & (X86_SSE | X86_MMX | X86_AVX | X86_X87)) && (cr0 & X86_CR0_TS))
		x86_raise(cpu, X86_NM);
	if ((traits & X86_X87) && (cr0 & X86_CR0_EM))
		x86_raise(cpu, X86_NM);
	/* Without NE the exception is an external interrupt (FERR#, IRQ 13), which this machine does not wire: as if IGNNE# were asserted. */
	if ((traits & X86_WAITING) && (cpu->s.x87.fsw & FSW_ES) && (cr0 & X86_CR0_NE))
		x86_raise(cpu, X86_MF);
}

static const struct vector_row *row_of(const struct x86_insn *insn)
{
	return (const struct vector_row *)(const void *)((const uint8_t *)insn->row -
							 __builtin_offsetof(struct vector_row, opcode));
}

static unsigned operand_number(uint8_t kind, unsigned vector, unsigned gpr, unsigned mmx, unsigned otherwise)
{
	switch (kind & X86_OPERAND_KIND) {
	case X86_OPERAND_VECTOR: return vector;
	case X86_OPERAND_GPR: return gpr;
	case X86_OPERAND_MMX: return mmx;
	default: return otherwise;
	}
}

static unsigned stub_build(uint8_t *bytes, const struct x86_insn *insn, unsigned w, unsigned l)
{
	static const uint8_t prefix[] = {0, 0x66, 0xf3, 0xf2};
	const struct x86_opcode *row = insn->row;
	unsigned n = 0, reg, rm;

	reg = operand_number(row->reg_kind, HOST_RUN_REG_VECTOR, HOST_RUN_REG_GPR, HOST_RUN_REG_MMX, insn->reg & 7);
	rm = insn->mod != 3 ? HOST_RUN_RM_MEMORY
			    : operand_number(row->rm_kind, HOST_RUN_RM_VECTOR, HOST_RUN_RM_GPR, HOST_RUN_RM_MMX, 0);
	if (insn->encoding == X86_LEGACY) {
		if (insn->pp)
			bytes[n++] = prefix[insn->pp];
		if (w)
			bytes[n++] = 0x48; /* REX.W */
		bytes[n++] = 0x0f;
		if (insn->map != X86_MAP_0F)
			bytes[n++] = insn->map == X86_MAP_0F38 ? 0x38 : 0x3a;
	} else {
		unsigned vvvv = row->vvvv_kind ? HOST_RUN_VVVV_VECTOR : 0;

		bytes[n++] = 0xc4;
		bytes[n++] = (uint8_t)(0xe0 | insn->map); /* R, X, B inverted: 0 */
		bytes[n++] = (uint8_t)(w << 7 | (~vvvv & 15) << 3 | l << 2 | insn->pp);
	}
	bytes[n++] = insn->opcode;
	bytes[n++] = (uint8_t)((insn->mod == 3 ? 0xc0 : 0) | reg << 3 | rm);
	if (row->implicit & X86_IMPLICIT_IS4_READ)
		bytes[n++] = HOST_RUN_IS4_VECTOR << 4;
	else if (row->traits & X86_IMM8)
		bytes[n++] = (uint8_t)insn->imm;
	return n;
}

static const uint8_t *stub_get(struct host_run *run, const struct x86_insn *insn)
{
	const struct x86_opcode *row = insn->row;
	unsigned w = effective_w(row, insn), l = row_of(insn)->l == VECTOR_ANY ? 0 : insn->l;
	bool vex = insn->encoding != X86_LEGACY;
	uint32_t key = insn->opcode | (uint32_t)insn->map << 8 | (uint32_t)insn->pp << 10 | (uint32_t)vex << 12 | w << 13 |
		       l << 14 | (uint32_t)(insn->mod != 3) << 15;
	const uint8_t *stub;
	uint8_t bytes[HOST_RUN_STUB_SIZE];

	if ((row->traits & X86_IMM8) && !(row->implicit & X86_IMPLICIT_IS4_READ))
		key |= (uint32_t)(insn->imm & 0xff) << 16;
	if (row->reg_kind == X86_OPERAND_EXTENSION)
		key |= (uint32_t)(insn->reg & 7) << 24;
	stub = host_run_find(run, key);
	return stub ? stub : host_run_add(run, key, bytes, stub_build(bytes, insn, w, l));
}

static void operand_load(struct x86_cpu *cpu, struct host_run_frame *frame, unsigned place, uint8_t kind, unsigned reg,
			 uint64_t *gpr, uint64_t *mm)
{
	switch (kind & X86_OPERAND_KIND) {
	case X86_OPERAND_VECTOR:
		frame->from[place] = cpu->s.vector[reg].byte;
		if (kind & X86_OPERAND_WRITTEN)
			frame->to[place] = cpu->s.vector[reg].byte;
		break;
	case X86_OPERAND_GPR: *gpr = cpu->reg[reg]; break;
	case X86_OPERAND_MMX: *mm = mmx_get(cpu, reg & 7); break;
	}
}

/* Vector registers are stored by the trampoline: an instruction that writes one writes no memory, so that nothing can fault any more. */
static void operand_store(struct x86_cpu *cpu, uint8_t kind, unsigned reg, uint64_t gpr, uint64_t mm)
{
	if (kind == GW)
		cpu->reg[reg] = gpr;
	else if (kind == PW || kind == PRW)
		mmx_set(cpu, reg & 7, mm);
}

static void operands_load(struct x86_cpu *cpu, const struct x86_insn *insn, struct host_run_frame *frame)
{
	const struct x86_opcode *row = insn->row;

	for (unsigned i = 0; i < 4; i++)
		frame->to[i] = frame->unused;
	operand_load(cpu, frame, HOST_RUN_REG_VECTOR, row->reg_kind, insn->reg, &frame->rbx, &frame->mm[0]);
	if (insn->mod == 3)
		operand_load(cpu, frame, HOST_RUN_RM_VECTOR, row->rm_kind, insn->rm, &frame->rbp, &frame->mm[1]);
	if (row->vvvv_kind)
		operand_load(cpu, frame, HOST_RUN_VVVV_VECTOR, row->vvvv_kind, insn->vvvv, NULL, NULL);
	if (!row->implicit)
		return;
	frame->from[0] = cpu->s.vector[0].byte;
	if (row->implicit & X86_IMPLICIT_XMM0_WRITTEN)
		frame->to[0] = cpu->s.vector[0].byte;
	if (row->implicit & X86_IMPLICIT_IS4_READ)
		frame->from[HOST_RUN_IS4_VECTOR] = cpu->s.vector[(unsigned)insn->imm >> 4 & (insn->code_size == 8 ? 15 : 7)].byte;
	frame->rax = cpu->reg[X86_RAX];
	frame->rdx = cpu->reg[X86_RDX];
	frame->rcx = cpu->reg[X86_RCX];
}

static void operands_store(struct x86_cpu *cpu, const struct x86_insn *insn, const struct host_run_frame *frame)
{
	const struct x86_opcode *row = insn->row;

	cpu->s.x87.mxcsr = frame->mxcsr;
	if (row->traits & X86_MMX)
		mmx_enter(cpu);
	operand_store(cpu, row->reg_kind, insn->reg, frame->rbx, frame->mm[0]);
	if (insn->mod == 3)
		operand_store(cpu, row->rm_kind, insn->rm, frame->rbp, frame->mm[1]);
	if (row->flags_written)
		cpu->flags = frame->flags;
	if (row->implicit & X86_IMPLICIT_RCX_WRITTEN)
		cpu->reg[X86_RCX] = frame->rcx;
}

_Noreturn static void trap_raise(struct x86_cpu *cpu, unsigned vector, uint32_t mxcsr)
{
	if (vector == X86_XM) {
		cpu->s.x87.mxcsr = mxcsr; /* the flags are set, nothing else has happened */
		x86_raise(cpu, cpu->s.cr4 & X86_CR4_OSXMMEXCPT ? X86_XM : X86_UD);
	}
	/* The model shows only what the host has; an encoding that the host alone finds invalid is invalid. */
	x86_raise(cpu, X86_UD);
}

void vector_run(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	const struct x86_opcode *row = insn->row;
	struct host_run *run = cpu->host_run;
	struct host_run_frame *frame = &run->frame;
	unsigned size = row->operand_size, trap;
	const uint8_t *stub;
	uint64_t linear = 0;

	x86_vector_check(cpu, insn);
	if (insn->mod != 3) {
		linear = x86_operand(cpu, insn, size, row->traits & X86_MEMORY_WRITE);
		if ((row->traits & X86_ALIGNED) && (linear & (size - 1)))
			x86_raise_error(cpu, X86_GP, 0);
		if (row->traits & X86_MEMORY_READ)
			x86_read_bytes(cpu, linear, frame->memory, size);
		else
			x86_write_check(cpu, linear, size); /* #PF comes before #XM */
	}
	stub = stub_get(run, insn);
	frame->mxcsr = cpu->s.x87.mxcsr;
	operands_load(cpu, insn, frame);
	if (insn->encoding != X86_LEGACY)
		trap = host_run_vex(frame, stub);
	else
		trap = row->traits & X86_MMX ? host_run_mmx(frame, stub) : host_run_legacy(frame, stub);
	if (trap) {
		if (insn->encoding != X86_LEGACY)
			__asm__ volatile("vzeroupper"); /* the trampoline could not: its way out is that of legacy SSE too */
		if (row->traits & X86_MMX)
			mmx_enter(cpu); /* the change to MMX comes first, #XM or not */
		trap_raise(cpu, trap, frame->mxcsr);
	}
	if (insn->mod != 3 && (row->traits & X86_MEMORY_WRITE))
		x86_write_bytes(cpu, linear, frame->memory, size);
	operands_store(cpu, insn, frame);
}
