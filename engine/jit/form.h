/* SPDX-License-Identifier: Apache-2.0 */
/*
 * form.h - which integer instructions the translator runs natively, and what their operand fields name and do.
 */
#ifndef HOLON_JIT_FORM_H
#define HOLON_JIT_FORM_H

#include "x86/insn.h"

#define FORM_NATIVE 1u   /* without it: its handler is called */
#define FORM_REG_READ 2u /* ModRM.reg is a GPR ... */
#define FORM_REG_WRITE 4u
#define FORM_RM_READ 8u /* rm as a register; as memory the row's traits say it */
#define FORM_RM_WRITE 16u
#define FORM_VVVV_READ 32u /* VEX.vvvv is a GPR */
#define FORM_VVVV_WRITE 64u
#define FORM_CL 128u         /* counts by CL, or reads RCX otherwise */
#define FORM_OPCODE_REG 256u /* the register is in the opcode's low bits: `rm` */
#define FORM_TRAPS 512u      /* may trap on the host: DIV, vector arithmetic, alignment */

#define FORM_REG (FORM_REG_READ | FORM_REG_WRITE)
#define FORM_RM (FORM_RM_READ | FORM_RM_WRITE)
#define FORM_VVVV (FORM_VVVV_READ | FORM_VVVV_WRITE)

/* 0: not native. Stack, jump and address instructions are the translator's own and not here. */
unsigned jit_form(const struct x86_insn *insn);
/* Bytes of the immediate at the end of a native instruction. */
unsigned jit_form_immediate(const struct x86_insn *insn);

#endif
