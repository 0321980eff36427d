/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vector.h - x87, MMX, SSE, AVX and what saves them: the second half of the opcode tables.
 *
 * x86_decode() asks here for every opcode that the integer tables do not have (D8-DF, most of 0F, 0F38, 0F3A, all VEX but the BMI
 * instructions), after prefixes, opcode and encoding are in `insn` (map, pp, opcode, encoding, w, l, vvvv, prefixes) and with the ModRM byte
 * that follows (0 where the bytes end: the caller asks again). Returns the row and its handler, or NULL: #UD. The row's traits say whether ModRM and an imm8 follow.
 */
#ifndef HOLON_X86_VECTOR_H
#define HOLON_X86_VECTOR_H

#include "x86/cpu.h"

const struct x86_opcode *x86_vector_decode(const struct x86_insn *insn, uint8_t modrm, x86_handler **execute);

/* Per-cpu scratch and code of the host-executed instructions. */
enum status x86_host_run_create(struct x86_cpu *cpu) must_check;
void x86_host_run_destroy(struct x86_cpu *cpu);

/*
 * #UD and #NM as CR0.EM/MP/TS, CR4.OSFXSR/OSXSAVE, XCR0, the model and the row's traits ask; then #MF for a pending x87 exception where the row is MMX
 * or a waiting x87 instruction. Every handler calls it first; a JIT that runs the instruction itself does the same or keys its blocks by it.
 */
void x86_vector_check(struct x86_cpu *cpu, const struct x86_insn *insn);
/* XINUSE as XGETBV with ECX = 1 shows it, before XCR0 is applied: the components that are not in their initial state. */
uint64_t x86_xinuse(const struct x86_cpu *cpu);
/* The status word's ES and B follow from its exception flags and the control word's masks. */
void x86_x87_summary(struct x86_cpu *cpu);

/* D8-DF and 9B: what the host's x87 unit does just as a guest's. */
enum x86_x87_kind {
	X86_X87_OTHER,   /* saves or restores state, or no x87 instruction */
	X86_X87_CONTROL, /* leaves no trace in the last instruction's pointers */
	X86_X87_TRACED,
};
enum x86_x87_kind x86_x87_kind(const struct x86_insn *insn);
/* FOP as the instruction leaves it. */
uint16_t x86_x87_opcode(const struct x86_insn *insn);

/* INIT/RESET values of x87, vectors, MXCSR. */
void x86_vector_reset(struct x86_cpu *cpu);

#endif
