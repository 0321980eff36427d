/* SPDX-License-Identifier: Apache-2.0 */
/* transfer.h - what far returns and IRET share. Inside x86/ only. */
#ifndef HOLON_X86_TRANSFER_H
#define HOLON_X86_TRANSFER_H

#include "x86/cpu.h"

/* Checks the code segment that a far return or IRET goes to, at the same or an outer privilege. */
void x86_return_code(struct x86_cpu *cpu, uint16_t selector, struct x86_segment *code);
/* The stack segment that goes with it. */
struct x86_segment x86_return_stack(struct x86_cpu *cpu, uint16_t selector, const struct x86_segment *code);
/* Everything is checked: go there. */
void x86_return_commit(struct x86_cpu *cpu, const struct x86_segment *code, uint64_t rip, const struct x86_segment *ss,
		       uint64_t rsp);

#endif
