/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vector_mmx.c - the MMX registers: the significands of the x87's physical registers (SDM vol. 1, 9.2; vol. 3, 12.2).
 *
 * The state keeps the x87 stack in stack order, so that MM0 is ST((0 - TOP) mod 8). An MMX instruction sets TOP to 0: then the two agree.
 */
#include "x86/execute.h"
#include "x86/memory.h"
#include "x86/vector.h"
#include "x86/vector_table.h"

#define FSW_TOP_SHIFT 11

uint64_t mmx_get(const struct x86_cpu *cpu, unsigned reg)
{
	unsigned top = cpu->s.x87.fsw >> FSW_TOP_SHIFT & 7u;
	uint64_t value;

	__builtin_memcpy(&value, cpu->s.x87.st[(reg - top) & 7], sizeof(value));
	return value;
}

void mmx_enter(struct x86_cpu *cpu)
{
	x87_top_set(&cpu->s.x87, 0);
	cpu->s.x87.ftw = 0xff;
}

void mmx_set(struct x86_cpu *cpu, unsigned reg, uint64_t value)
{
	uint8_t *st = cpu->s.x87.st[reg];

	__builtin_memcpy(st, &value, sizeof(value));
	st[8] = 0xff; /* sign and exponent: all ones */
	st[9] = 0xff;
}

void mmx_load(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t value;

	x86_vector_check(cpu, insn);
	value = insn->mod == 3 ? mmx_get(cpu, insn->rm & 7) : x86_read64(cpu, x86_operand(cpu, insn, 8, false));
	mmx_enter(cpu);
	mmx_set(cpu, insn->reg & 7, value);
}

void mmx_store(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t value;

	x86_vector_check(cpu, insn);
	value = mmx_get(cpu, insn->reg & 7);
	if (insn->mod != 3)
		x86_write64(cpu, x86_operand(cpu, insn, 8, true), value);
	mmx_enter(cpu);
	if (insn->mod == 3)
		mmx_set(cpu, insn->rm & 7, value);
}

void mmx_emms(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	x86_vector_check(cpu, insn);
	mmx_enter(cpu); /* TOP = 0 here too */
	cpu->s.x87.ftw = 0;
}
