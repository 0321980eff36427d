/* SPDX-License-Identifier: Apache-2.0 */
/*
 * soft.c - instructions that go to devices. In a window each such access is a signal of the host's, which costs ten times what a soft TLB's miss does; so an instruction that the window
 * has refused often is translated anew with a check of its own (operand_windowed), as one with LOCK is. They are known by where their bytes lie in RAM.
 *
 * A driver's few accesses are in functions that do nothing else. One that is wrong here, because what it does has changed, has a slower check and no other harm.
 */
#include "engine/jit/translate.h"

#define OFTEN 16

static unsigned soft_index(const uint8_t *insn)
{
	return (unsigned)((uintptr_t)insn * UINT64_C(0x9e3779b97f4a7c15) >> 32) % JIT_SOFT;
}

bool soft_known(const struct jit_soft *soft, const uint8_t *insn)
{
	unsigned index = soft_index(insn);

	return soft->insn[index] == insn && soft->refused[index] == OFTEN;
}

/* MOV between a register or a constant and memory, MOVZX, MOVSX: how drivers access devices. */
bool soft_possible(const struct x86_insn *insn)
{
	if (insn->encoding != X86_LEGACY || !(insn->row->traits & X86_MODRM) || insn->mod == 3)
		return false;
	if (insn->map == X86_MAP_1BYTE)
		return (insn->opcode >= 0x88 && insn->opcode <= 0x8b) || insn->opcode == 0xc6 || insn->opcode == 0xc7;
	return insn->map == X86_MAP_0F && (insn->opcode & 0xf6) == 0xb6;
}

bool soft_refused(struct jit_soft *soft, const uint8_t *insn)
{
	unsigned index = soft_index(insn);

	if (soft->insn[index] != insn && soft->refused[index]) {
		soft->refused[index]--;
		return false;
	}
	soft->insn[index] = insn;
	if (soft->refused[index] == OFTEN)
		return false;
	return ++soft->refused[index] == OFTEN;
}
