/* SPDX-License-Identifier: Apache-2.0 */
/*
 * integer_branch.c - near JMP CALL RET, LOOP and JCXZ. Conditional jumps are integer_condition.c's.
 */
#include "x86/integer.h"
#include "x86/operand.h"

#define THREE(name)                                \
	{                                          \
		[1] = name##16, name##32, name##64 \
	}

static void jmp(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	jump_near(cpu, insn, cpu->reg[X86_RIP] + insn->imm);
}
const struct x86_handlers x86_integer_jmp = {.reg = {[1] = jmp, jmp, jmp}};

#define BRANCHES(bits)                                                                                      \
	static inline void call_to##bits(struct x86_cpu *cpu, const struct x86_insn *insn, uint64_t target) \
	{                                                                                                   \
		target = jump_check(cpu, insn, target);                                                     \
		stack_push(cpu, bits / 8, cpu->reg[X86_RIP]);                                               \
		cpu->reg[X86_RIP] = target;                                                                 \
	}                                                                                                   \
	static void call##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                            \
	{                                                                                                   \
		call_to##bits(cpu, insn, cpu->reg[X86_RIP] + insn->imm);                                    \
	}                                                                                                   \
	static void call_rm_reg##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                     \
	{                                                                                                   \
		call_to##bits(cpu, insn, reg_get##bits(cpu, insn, insn->rm));                               \
	}                                                                                                   \
	static void call_rm_mem##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                     \
	{                                                                                                   \
		call_to##bits(cpu, insn, operand_read##bits(cpu, insn));                                    \
	}                                                                                                   \
	static void jmp_rm_reg##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                      \
	{                                                                                                   \
		jump_near(cpu, insn, reg_get##bits(cpu, insn, insn->rm));                                   \
	}                                                                                                   \
	static void jmp_rm_mem##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                      \
	{                                                                                                   \
		jump_near(cpu, insn, operand_read##bits(cpu, insn));                                        \
	}                                                                                                   \
	static void ret##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                             \
	{                                                                                                   \
		jump_near(cpu, insn, stack_read(cpu, stack_offset(cpu, 0), bits / 8));                      \
		stack_set(cpu, stack_offset(cpu, bits / 8));                                                \
	}                                                                                                   \
	static void ret_imm##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                         \
	{                                                                                                   \
		jump_near(cpu, insn, stack_read(cpu, stack_offset(cpu, 0), bits / 8));                      \
		stack_set(cpu, stack_offset(cpu, bits / 8 + insn->imm));                                    \
	}
BRANCHES(16)
BRANCHES(32)
BRANCHES(64)
const struct x86_handlers x86_integer_jmp_rm = {.reg = THREE(jmp_rm_reg), .mem = THREE(jmp_rm_mem)};
const struct x86_handlers x86_integer_call = {.reg = THREE(call)};
const struct x86_handlers x86_integer_call_rm = {.reg = THREE(call_rm_reg), .mem = THREE(call_rm_mem)};
const struct x86_handlers x86_integer_ret = {.reg = THREE(ret)};
const struct x86_handlers x86_integer_ret_imm = {.reg = THREE(ret_imm)};

/* The counter is CX, ECX or RCX by address size; it stays if the jump faults. */
static inline void loop_if(struct x86_cpu *cpu, const struct x86_insn *insn, bool condition)
{
	uint64_t count = (cpu->reg[X86_RCX] - 1) & width_mask(insn->address_size);

	if (count && condition)
		jump_near(cpu, insn, cpu->reg[X86_RIP] + insn->imm);
	reg_set_width(cpu, X86_RCX, insn->address_size, count);
}

static void loop(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	loop_if(cpu, insn, true);
}

static void loope(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	loop_if(cpu, insn, cpu->flags & STATUS_ZF);
}

static void loopne(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	loop_if(cpu, insn, !(cpu->flags & STATUS_ZF));
}

static void jcxz(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	if (!reg_get_width(cpu, X86_RCX, insn->address_size))
		jump_near(cpu, insn, cpu->reg[X86_RIP] + insn->imm);
}

const struct x86_handlers x86_integer_loop = {.reg = {[1] = loop, loop, loop}};
const struct x86_handlers x86_integer_loope = {.reg = {[1] = loope, loope, loope}};
const struct x86_handlers x86_integer_loopne = {.reg = {[1] = loopne, loopne, loopne}};
const struct x86_handlers x86_integer_jcxz = {.reg = {[1] = jcxz, jcxz, jcxz}};
