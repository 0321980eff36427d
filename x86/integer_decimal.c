/* SPDX-License-Identifier: Apache-2.0 */
/*
 * integer_decimal.c - AAA AAS DAA DAS AAM AAD.
 *
 * They do not exist in the 64-bit code that Holon runs in: these follow the SDM's operation sections. Undefined flags: OF is 0; AAA and AAS give SF, ZF and
 * PF by AL, AAM and AAD clear CF and AF.
 */
#include "x86/integer.h"
#include "x86/operand.h"

/* CF, AF and what a byte result says of SF ZF PF. */
static uint16_t flags_of(uint8_t result, bool carry, bool adjust)
{
	return (uint16_t)((carry ? STATUS_CF : 0) | (adjust ? STATUS_AF : 0) | (result & 0x80 ? STATUS_SF : 0) |
			  (result ? 0 : STATUS_ZF) | (__builtin_parity(result) ? 0 : STATUS_PF) | 0x200);
}

static void ascii_adjust(struct x86_cpu *cpu, const struct x86_insn *insn, int step)
{
	uint16_t ax = (uint16_t)cpu->reg[X86_RAX];
	bool adjust = (ax & 15) > 9 || (cpu->flags & STATUS_AF);

	if (adjust)
		ax = (uint16_t)(ax + step);
	ax &= 0xff0f;
	reg_set16(cpu, insn, X86_RAX, ax);
	cpu->flags = flags_of((uint8_t)ax, adjust, adjust);
}

static void aaa(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	ascii_adjust(cpu, insn, 0x106);
}

static void aas(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	ascii_adjust(cpu, insn, -0x106);
}

static void daa(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint8_t old = (uint8_t)cpu->reg[X86_RAX], al = old;
	bool adjust = (old & 15) > 9 || (cpu->flags & STATUS_AF);
	bool carry = old > 0x99 || (cpu->flags & STATUS_CF);

	if (adjust)
		al = (uint8_t)(al + 6);
	if (carry)
		al = (uint8_t)(al + 0x60);
	reg_set16(cpu, insn, X86_RAX, (uint16_t)((cpu->reg[X86_RAX] & 0xff00) | al));
	cpu->flags = flags_of(al, carry, adjust);
}

static void das(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint8_t old = (uint8_t)cpu->reg[X86_RAX], al = old;
	bool adjust = (old & 15) > 9 || (cpu->flags & STATUS_AF);
	bool high = old > 0x99 || (cpu->flags & STATUS_CF);
	bool carry = high || (adjust && old < 6); /* the borrow of the first step counts too */

	if (adjust)
		al = (uint8_t)(al - 6);
	if (high)
		al = (uint8_t)(al - 0x60);
	reg_set16(cpu, insn, X86_RAX, (uint16_t)((cpu->reg[X86_RAX] & 0xff00) | al));
	cpu->flags = flags_of(al, carry, adjust);
}

static void aam(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint8_t base = (uint8_t)insn->imm, al = (uint8_t)cpu->reg[X86_RAX];

	if (!base)
		x86_raise(cpu, X86_DE);
	reg_set16(cpu, insn, X86_RAX, (uint16_t)(al / base << 8 | al % base));
	cpu->flags = flags_of(al % base, false, false);
}

static void aad(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint16_t ax = (uint16_t)cpu->reg[X86_RAX];
	uint8_t al = (uint8_t)((ax & 255) + (ax >> 8) * (uint8_t)insn->imm);

	reg_set16(cpu, insn, X86_RAX, al);
	cpu->flags = flags_of(al, false, false);
}

const struct x86_handlers x86_integer_aaa = {.reg = {aaa}};
const struct x86_handlers x86_integer_aas = {.reg = {aas}};
const struct x86_handlers x86_integer_daa = {.reg = {daa}};
const struct x86_handlers x86_integer_das = {.reg = {das}};
const struct x86_handlers x86_integer_aam = {.reg = {aam}};
const struct x86_handlers x86_integer_aad = {.reg = {aad}};
