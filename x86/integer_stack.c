/* SPDX-License-Identifier: Apache-2.0 */
/*
 * integer_stack.c - PUSH POP PUSHA POPA ENTER LEAVE, and the slow ways of stack accesses.
 *
 * rSP and the destination change only after the last access that may fault.
 */
#include "x86/integer.h"
#include "x86/operand.h"

uint64_t x86_integer_stack_read(struct x86_cpu *cpu, uint64_t linear, unsigned size)
{
	if (cpu->code_size == 8 && !(address_canonical(cpu, linear) && address_canonical(cpu, linear + size - 1)))
		x86_raise_error(cpu, X86_SS_FAULT, 0);
	return x86_read_slow(cpu, linear, size, cpu->mode);
}

void x86_integer_stack_write(struct x86_cpu *cpu, uint64_t linear, unsigned size, uint64_t value)
{
	if (cpu->code_size == 8 && !(address_canonical(cpu, linear) && address_canonical(cpu, linear + size - 1)))
		x86_raise_error(cpu, X86_SS_FAULT, 0);
	x86_write_slow(cpu, linear, size, value, cpu->mode);
}

/* Raises what a write there would raise. */
static void stack_write_check(struct x86_cpu *cpu, uint64_t offset, unsigned size)
{
	uint64_t linear = x86_linear(cpu, X86_SS, offset, size, true);

	if (cpu->code_size == 8 && !(address_canonical(cpu, linear) && address_canonical(cpu, linear + size - 1)))
		x86_raise_error(cpu, X86_SS_FAULT, 0);
	x86_write_check(cpu, linear, size);
}

/* Where POP's operand is not canonical: it is not the stack that the fault is about, though its address has no longer to do with RSP as it is. */
static void pop_check(struct x86_cpu *cpu, const struct x86_insn *insn, uint64_t linear, unsigned size)
{
	if (x86_long_mode(cpu) && (!x86_canonical(cpu, linear) || !x86_canonical(cpu, linear + size - 1)))
		x86_raise_error(cpu, insn->segment == X86_SS ? X86_SS_FAULT : X86_GP, 0);
}

#define PUSH_POP(bits)                                                                                                         \
	static void push_r##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                                             \
	{                                                                                                                      \
		stack_push(cpu, bits / 8, cpu->reg[insn->rm]);                                                                 \
	}                                                                                                                      \
	static void push_mem##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                                           \
	{                                                                                                                      \
		stack_push(cpu, bits / 8, operand_read##bits(cpu, insn));                                                      \
	}                                                                                                                      \
	static void push_imm##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                                           \
	{                                                                                                                      \
		stack_push(cpu, bits / 8, insn->imm);                                                                          \
	}                                                                                                                      \
	/* POP rSP leaves what was popped. */                                                                                  \
	static void pop_r##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                                              \
	{                                                                                                                      \
		uint##bits##_t value = (uint##bits##_t)stack_read(cpu, stack_offset(cpu, 0), bits / 8);                        \
                                                                                                                               \
		stack_set(cpu, stack_offset(cpu, bits / 8));                                                                   \
		reg_set##bits(cpu, insn, insn->rm, value);                                                                     \
	}                                                                                                                      \
	/* An address with rSP in it counts with rSP after the pop; rSP itself must not change before the write is through. */ \
	static void pop_mem##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                                            \
	{                                                                                                                      \
		uint64_t old = cpu->reg[X86_RSP], linear;                                                                      \
		uint##bits##_t value = (uint##bits##_t)stack_read(cpu, stack_offset(cpu, 0), bits / 8);                        \
                                                                                                                               \
		stack_set(cpu, stack_offset(cpu, bits / 8));                                                                   \
		linear = x86_offset(cpu, insn);                                                                                \
		cpu->reg[X86_RSP] = old;                                                                                       \
		linear = x86_linear(cpu, insn->segment, linear, bits / 8, true);                                               \
		pop_check(cpu, insn, linear, bits / 8);                                                                        \
		x86_write##bits(cpu, linear, value);                                                                           \
		stack_set(cpu, stack_offset(cpu, bits / 8));                                                                   \
	}
PUSH_POP(16)
PUSH_POP(32)
PUSH_POP(64)

#define THREE(name)                                \
	{                                          \
		[1] = name##16, name##32, name##64 \
	}
const struct x86_handlers x86_integer_push_r = {.reg = THREE(push_r)};
const struct x86_handlers x86_integer_push_imm = {.reg = THREE(push_imm)};
const struct x86_handlers x86_integer_push_rm = {.reg = THREE(push_r), .mem = THREE(push_mem)};
const struct x86_handlers x86_integer_pop_r = {.reg = THREE(pop_r)};
const struct x86_handlers x86_integer_pop_rm = {.reg = THREE(pop_r), .mem = THREE(pop_mem)};

/*
 * rSP as it was before is what PUSHA pushes for rSP; POPA skips that. A PUSHA that faults has stored what came before, as processors do, and
 * moved nothing.
 */
static void pusha(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned size = insn->operand_size;
	uint64_t values[8], offset;
	unsigned i;

	for (i = 0; i < 8; i++)
		values[i] = cpu->reg[i];
	for (i = 0; i < 8; i++) {
		offset = stack_offset(cpu, -(uint64_t)(size * (i + 1)));
		if (size == 2)
			stack_write(cpu, offset, 2, values[i]);
		else
			stack_write(cpu, offset, 4, values[i]);
	}
	stack_set(cpu, stack_offset(cpu, -(uint64_t)(size * 8)));
}

static void popa(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned size = insn->operand_size;
	uint64_t values[8];
	unsigned i;

	for (i = 0; i < 8; i++)
		values[i] = size == 2 ? stack_read(cpu, stack_offset(cpu, size * i), 2)
				      : stack_read(cpu, stack_offset(cpu, size * i), 4);
	stack_set(cpu, stack_offset(cpu, size * 8));
	for (i = 0; i < 8; i++) {
		if (7 - i != X86_RSP)
			reg_set_width(cpu, 7 - i, size, values[i]);
	}
}

static void stack_write_sized(struct x86_cpu *cpu, uint64_t offset, unsigned size, uint64_t value)
{
	if (size == 8)
		stack_write(cpu, offset, 8, value);
	else if (size == 4)
		stack_write(cpu, offset, 4, value);
	else
		stack_write(cpu, offset, 2, value);
}

static uint64_t stack_read_sized(struct x86_cpu *cpu, uint64_t offset, unsigned size)
{
	return size == 8 ? stack_read(cpu, offset, 8) : size == 4 ? stack_read(cpu, offset, 4) : stack_read(cpu, offset, 2);
}

/* SDM vol. 2, ENTER. All of it is checked first, then done: display pointers may overlap what is written. */
static void enter(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned size = insn->operand_size, level = insn->imm2 & 31, i;
	uint64_t mask = width_mask(cpu->stack_size);
	uint64_t rbp = cpu->reg[X86_RBP], frame = stack_offset(cpu, -(uint64_t)size);
	unsigned pushes = level ? level + 1 : 1;
	uint64_t final = (stack_offset(cpu, -(uint64_t)(size * pushes)) - insn->imm) & mask;

	for (i = 1; i <= pushes; i++)
		stack_write_check(cpu, stack_offset(cpu, -(uint64_t)(size * i)), size);
	for (i = 1; i < level; i++)
		stack_read_sized(cpu, (rbp - size * i) & mask, size);
	stack_write_check(cpu, final, size);
	stack_write_sized(cpu, frame, size, rbp);
	for (i = 1; i < level; i++)
		stack_write_sized(cpu, (frame - size * i) & mask, size, stack_read_sized(cpu, (rbp - size * i) & mask, size));
	if (level)
		stack_write_sized(cpu, (frame - size * level) & mask, size, frame);
	reg_set_width(cpu, X86_RBP, size, frame);
	stack_set(cpu, final);
}

static void leave(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned size = insn->operand_size;
	uint64_t offset = cpu->reg[X86_RBP] & width_mask(cpu->stack_size);
	uint64_t value = stack_read_sized(cpu, offset, size);

	stack_set(cpu, offset + size);
	reg_set_width(cpu, X86_RBP, size, value);
}

#define ANY_SIZE(fn)                      \
	{                                 \
		.reg = { fn, fn, fn, fn } \
	}
const struct x86_handlers x86_integer_pusha = ANY_SIZE(pusha);
const struct x86_handlers x86_integer_popa = ANY_SIZE(popa);
const struct x86_handlers x86_integer_enter = ANY_SIZE(enter);
const struct x86_handlers x86_integer_leave = ANY_SIZE(leave);
