/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bit.c - BT, BTS, BTR, BTC with the number of the bit in a register and the bits in memory, where it may be far from the operand's address.
 *
 *         bts [rdi], rax              becomes
 *
 *         lea  r14, [rdi]
 *         mov  rcx, rax
 *         pext rcx, rcx, [rsp + bit_far]       how many operands on: the number's bits 6 to 63
 *         lea  r14, [r14 + rcx*8]
 *         ...                                  the check of any store of 8 bytes
 *         lea  r14, [r14 + rcx]
 *         pext rcx, rax, [rsp + bit_near]      bits 0 to 5
 *         bts  [r14], rcx
 *
 * PEXT does not keep the sign, so where the number is negative the address's top three bits are wrong. Such an address is not canonical: it has no entry
 * in the TLB, and x86_step executes the instruction.
 */
#include "engine/jit/translate.h"

/* 0F A3, AB, B3, BB. */
static bool is_bit(const struct x86_insn *insn)
{
	return insn->encoding == X86_LEGACY && insn->map == X86_MAP_0F && (insn->opcode & 0xe7) == 0xa3 && insn->mod != 3 &&
	       !(insn->row->traits & X86_UNDEFINED);
}

/* RCX = the number, sign-extended. */
static void number_load(struct translation *t, const struct x86_insn *insn)
{
	struct emitter *e = &t->e;

	operand_load(t, HOST_RCX, insn->reg);
	if (insn->operand_size == 8)
		return;
	emit8(e, 0x48);
	if (insn->operand_size == 4) {
		emit8(e, 0x63); /* movsxd rcx, ecx */
	} else {
		emit8(e, 0x0f); /* movsx rcx, cx */
		emit8(e, 0xbf);
	}
	emit8(e, 0xc9);
}

/* The instruction on [R14] or, for reading alone, on R14, with the bit's number in RCX. */
static void emit_bit(struct translation *t, const struct x86_insn *insn, bool memory)
{
	struct emitter *e = &t->e;

	if (insn->prefixes & X86_PREFIX_LOCK)
		emit8(e, 0xf0);
	if (insn->operand_size == 2)
		emit8(e, 0x66);
	emit8(e, insn->operand_size == 8 ? 0x49 : 0x41);
	emit8(e, 0x0f);
	emit8(e, insn->opcode);
	emit8(e, (memory ? 0u : 0xc0u) | HOST_RCX << 3 | (HOST_R14 & 7));
}

bool translate_bit(struct translation *t, const struct x86_insn *insn)
{
	unsigned size = insn->operand_size, shift = size == 8 ? 3 : size == 4 ? 2 : 1;
	bool reads = insn->opcode == 0xa3;

	if (!is_bit(insn) || insn->address_size != (t->wide ? 8 : 4) || !operand_address_possible(t, insn))
		return false;
	operand_address(t, insn);
	number_load(t, insn);
	emit_pext(&t->e, HOST_RCX, HOST_RCX, JIT_OFFSET(bit_far) + (int32_t)(shift - 1) * 8);
	emit_memory(&t->e, t->wide, EMIT_LEA, HOST_R14, HOST_R14, HOST_RCX, shift, 0);
	operand_fold(t, operand_place_linear(t, size, !reads));
	if (reads) { /* a load first: BT of memory takes ten times as long */
		if (size == 2)
			emit_load_narrow(&t->e, HOST_R14, HOST_R14, HOST_NONE, 0, 2);
		else
			emit_memory(&t->e, size == 8, EMIT_LOAD, HOST_R14, HOST_R14, HOST_NONE, 0, 0);
		operand_load(t, HOST_RCX, insn->reg);
	} else {
		operand_load(t, HOST_RCX, insn->reg);
		emit_pext(&t->e, HOST_RCX, HOST_RCX, JIT_OFFSET(bit_near) + (int32_t)(shift - 1) * 8);
	}
	emit_bit(t, insn, !reads);
	return true;
}
