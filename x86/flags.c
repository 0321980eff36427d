/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flags.c - the flags that carry privilege: PUSHF, POPF, CLI, STI, CLAC, STAC (SDM vol. 2). CPUID offers neither VME nor PVI.
 */
#include "x86/cpuid.h"
#include "x86/execute.h"
#include "x86/memory.h"
#include "x86/segment.h"
#include "x86/system.h"

static unsigned iopl(const struct x86_cpu *cpu)
{
	return (unsigned)(cpu->s.rflags >> 12) & 3;
}

static void vm86_iopl_check(struct x86_cpu *cpu)
{
	if (cpu->s.rflags & X86_FLAG_VM && iopl(cpu) < 3)
		x86_raise_error(cpu, X86_GP, 0);
}

void x86_op_pushf(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct x86_stack stack;

	vm86_iopl_check(cpu);
	x86_stack_current(cpu, &stack);
	x86_stack_push(&stack, insn->operand_size, x86_rflags(cpu) & ~(X86_FLAG_RF | X86_FLAG_VM));
	x86_stack_commit(&stack);
}

void x86_op_popf(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t value, allowed = X86_FLAGS_STATUS | X86_FLAG_TF | X86_FLAG_DF | X86_FLAG_NT;
	struct x86_stack stack;

	vm86_iopl_check(cpu);
	x86_stack_current(cpu, &stack);
	value = x86_stack_pop(&stack, insn->operand_size);
	x86_stack_commit(&stack);
	if (insn->operand_size > 2)
		allowed |= X86_FLAG_AC | X86_FLAG_ID;
	if (cpu->cpl <= iopl(cpu))
		allowed |= X86_FLAG_IF;
	if (cpu->cpl == 0) {
		allowed |= X86_FLAG_IOPL;
		if (insn->operand_size > 2) /* VIP and VIF are cleared */
			x86_rflags_set(cpu, 0, X86_FLAG_VIF | X86_FLAG_VIP);
	}
	x86_rflags_set(cpu, value, allowed);
}

void x86_op_cli(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	if ((cpu->s.cr0 & X86_CR0_PE) && cpu->cpl > iopl(cpu))
		x86_raise_error(cpu, X86_GP, 0);
	cpu->s.rflags &= ~X86_FLAG_IF;
}

void x86_op_sti(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	if ((cpu->s.cr0 & X86_CR0_PE) && cpu->cpl > iopl(cpu))
		x86_raise_error(cpu, X86_GP, 0);
	if (cpu->s.rflags & X86_FLAG_IF)
		return;
	cpu->s.rflags |= X86_FLAG_IF;
	cpu->s.interrupt_shadow |= X86_SHADOW_STI;
	cpu->shadow_fresh = true;
	x86_attention(cpu, X86_ATTENTION_EVENT);
}

static void ac_set(struct x86_cpu *cpu, uint64_t ac)
{
	if (!x86_has(cpu->model, X86_FEATURE_SMAP) || cpu->cpl)
		x86_raise(cpu, X86_UD);
	x86_rflags_set(cpu, ac, X86_FLAG_AC);
}

void x86_op_clac(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	ac_set(cpu, 0);
}

void x86_op_stac(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	ac_set(cpu, X86_FLAG_AC);
}
