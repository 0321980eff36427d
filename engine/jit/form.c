/* SPDX-License-Identifier: Apache-2.0 */
/*
 * form.c - what the translator knows of each integer opcode: is it run as it is, and what do its operand fields name. See form.h.
 *
 * Vector rows say so themselves (x86_opcode.reg_kind and the like); these are the maps' integer rows (SDM vol. 2, A).
 */
#include "engine/jit/form.h"

#define READ_RM_WRITE_REG (FORM_NATIVE | FORM_REG_WRITE | FORM_RM_READ)
#define MODIFY_REG (FORM_NATIVE | FORM_REG | FORM_RM_READ)
#define MODIFY_RM (FORM_NATIVE | FORM_RM)
#define MODIFY_RM_BY_REG (FORM_NATIVE | FORM_RM | FORM_REG_READ)

static unsigned form_arithmetic(const struct x86_insn *insn)
{
	bool compare = insn->opcode >> 3 == 7;

	switch (insn->opcode & 7) {
	case 0:
	case 1: return FORM_NATIVE | FORM_REG_READ | FORM_RM_READ | (compare ? 0 : FORM_RM_WRITE);
	case 2:
	case 3: return FORM_NATIVE | FORM_REG_READ | FORM_RM_READ | (compare ? 0 : FORM_REG_WRITE);
	case 4:
	case 5: return FORM_NATIVE;
	default: return 0;
	}
}

static unsigned form_group3(const struct x86_insn *insn)
{
	switch (insn->reg & 7) {
	case 0:
	case 1: return FORM_NATIVE | FORM_RM_READ;
	case 2:
	case 3: return MODIFY_RM;
	case 4:
	case 5: return FORM_NATIVE | FORM_RM_READ;
	default: return FORM_NATIVE | FORM_RM_READ | FORM_TRAPS;
	}
}

static unsigned form_1byte(const struct x86_insn *insn)
{
	if (insn->opcode < 0x40)
		return form_arithmetic(insn);
	switch (insn->opcode) {
	case 0x63: return insn->code_size == 8 ? READ_RM_WRITE_REG : 0;
	case 0x69:
	case 0x6b: return READ_RM_WRITE_REG;
	case 0x80:
	case 0x81:
	case 0x83: return (insn->reg & 7) == 7 ? FORM_NATIVE | FORM_RM_READ : MODIFY_RM;
	case 0x84:
	case 0x85: return FORM_NATIVE | FORM_REG_READ | FORM_RM_READ;
	case 0x86:
	case 0x87: return FORM_NATIVE | FORM_REG | FORM_RM;
	case 0x88:
	case 0x89: return FORM_NATIVE | FORM_REG_READ | FORM_RM_WRITE;
	case 0x8a:
	case 0x8b: return READ_RM_WRITE_REG;
	case 0x91 ... 0x97: return FORM_NATIVE | FORM_OPCODE_REG | FORM_RM;
	case 0x98:
	case 0x99:
	case 0x9e:
	case 0x9f:
	case 0xa8:
	case 0xa9:
	case 0xf5:
	case 0xf8:
	case 0xf9: return FORM_NATIVE;
	case 0xb0 ... 0xbf: return FORM_NATIVE | FORM_OPCODE_REG | FORM_RM_WRITE;
	case 0xc0:
	case 0xc1:
	case 0xd0:
	case 0xd1: return MODIFY_RM;
	case 0xd2:
	case 0xd3: return MODIFY_RM | FORM_CL;
	case 0xc6:
	case 0xc7: return FORM_NATIVE | FORM_RM_WRITE;
	case 0xf6:
	case 0xf7: return form_group3(insn);
	case 0xfe:
	case 0xff: return (insn->reg & 7) < 2 ? MODIFY_RM : 0;
	default: return 0;
	}
}

static unsigned form_0f(const struct x86_insn *insn)
{
	switch (insn->opcode) {
	case 0x40 ... 0x4f: return MODIFY_REG;
	case 0x90 ... 0x9f: return FORM_NATIVE | FORM_RM_WRITE;
	case 0xa3: return insn->mod == 3 ? FORM_NATIVE | FORM_REG_READ | FORM_RM_READ : 0;
	case 0xab:
	case 0xb3:
	case 0xbb: return insn->mod == 3 ? MODIFY_RM_BY_REG : 0; /* in memory the bit may be far from the operand */
	case 0xa4:
	case 0xac: return MODIFY_RM_BY_REG;
	case 0xa5:
	case 0xad: return MODIFY_RM_BY_REG | FORM_CL;
	case 0xaf: return MODIFY_REG;
	case 0xb0:
	case 0xb1: return MODIFY_RM_BY_REG;
	case 0xb6:
	case 0xb7:
	case 0xbe:
	case 0xbf: return READ_RM_WRITE_REG;
	case 0xb8: return insn->pp == X86_PP_F3 ? READ_RM_WRITE_REG : 0;
	case 0xba: return (insn->reg & 7) == 4 ? FORM_NATIVE | FORM_RM_READ : (insn->reg & 7) > 4 ? MODIFY_RM : 0;
	case 0xbc:
	case 0xbd: return MODIFY_REG;
	case 0xc0:
	case 0xc1: return FORM_NATIVE | FORM_REG | FORM_RM;
	case 0xc3: return FORM_NATIVE | FORM_REG_READ | FORM_RM_WRITE;
	case 0xc7: return (insn->reg & 7) == 1 && insn->mod != 3 ? FORM_NATIVE | FORM_CL | FORM_TRAPS : 0; /* ECX:EBX goes in */
	case 0xc8 ... 0xcf: return insn->operand_size >= 4 ? FORM_NATIVE | FORM_OPCODE_REG | FORM_RM : 0;
	default: return 0;
	}
}

static unsigned form_0f38(const struct x86_insn *insn)
{
	switch (insn->opcode) {
	case 0xf0: return insn->pp == X86_PP_F2 ? MODIFY_REG : READ_RM_WRITE_REG;
	case 0xf1: return insn->pp == X86_PP_F2 ? MODIFY_REG : FORM_NATIVE | FORM_REG_READ | FORM_RM_WRITE;
	case 0xf6: return MODIFY_REG;
	default: return 0;
	}
}

static unsigned form_vex(const struct x86_insn *insn)
{
	if (insn->map == X86_MAP_0F3A)
		return insn->opcode == 0xf0 ? READ_RM_WRITE_REG : 0;
	if (insn->map != X86_MAP_0F38)
		return 0;
	switch (insn->opcode) {
	case 0xf2:
	case 0xf5:
	case 0xf7: return READ_RM_WRITE_REG | FORM_VVVV_READ;
	case 0xf3: return FORM_NATIVE | FORM_VVVV_WRITE | FORM_RM_READ;
	case 0xf6: return READ_RM_WRITE_REG | FORM_VVVV_WRITE;
	default: return 0;
	}
}

unsigned jit_form(const struct x86_insn *insn)
{
	if (insn->row->traits & (X86_UNDEFINED | X86_ENDS_BLOCK | X86_PRIVILEGED))
		return 0;
	if (insn->encoding != X86_LEGACY)
		return form_vex(insn);
	switch (insn->map) {
	case X86_MAP_1BYTE: return form_1byte(insn);
	case X86_MAP_0F: return form_0f(insn);
	case X86_MAP_0F38: return form_0f38(insn);
	default: return 0;
	}
}

static unsigned immediate_1byte(const struct x86_insn *insn)
{
	unsigned word = insn->operand_size == 2 ? 2 : 4;

	if (insn->opcode < 0x40)
		return (insn->opcode & 7) == 4 ? 1 : (insn->opcode & 7) == 5 ? word : 0;
	switch (insn->opcode) {
	case 0x6b:
	case 0x80:
	case 0x83:
	case 0xa8:
	case 0xb0 ... 0xb7:
	case 0xc0:
	case 0xc1:
	case 0xc6: return 1;
	case 0x69:
	case 0x81:
	case 0xa9:
	case 0xc7: return word;
	case 0xb8 ... 0xbf: return insn->operand_size;
	case 0xf6: return (insn->reg & 7) < 2 ? 1 : 0;
	case 0xf7: return (insn->reg & 7) < 2 ? word : 0;
	default: return 0;
	}
}

unsigned jit_form_immediate(const struct x86_insn *insn)
{
	if (insn->row->traits & X86_IMM8)
		return 1;
	if (insn->encoding != X86_LEGACY)
		return insn->map == X86_MAP_0F3A ? 1 : 0;
	if (insn->map == X86_MAP_1BYTE)
		return immediate_1byte(insn);
	if (insn->map == X86_MAP_0F)
		return insn->opcode == 0xa4 || insn->opcode == 0xac || insn->opcode == 0xba ? 1 : 0;
	return 0;
}
