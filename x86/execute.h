/* SPDX-License-Identifier: Apache-2.0 */
/*
 * execute.h - raising faults, delivering events, executing one instruction: what an engine calls.
 */
#ifndef HOLON_X86_EXECUTE_H
#define HOLON_X86_EXECUTE_H

#include "x86/cpu.h"

/* Raise a fault: notes it in the cpu and leaves through cpu->unwind. */
_Noreturn void x86_raise(struct x86_cpu *cpu, unsigned vector);                       /* no error code */
_Noreturn void x86_raise_error(struct x86_cpu *cpu, unsigned vector, uint32_t error); /* #TS #NP #SS #GP #AC (and #DF) */
_Noreturn void x86_raise_page_fault(struct x86_cpu *cpu, uint64_t linear, uint32_t error);

/* clang-format off */
enum x86_event_type { X86_EVENT_INTERRUPT = 0, X86_EVENT_NMI = 2, X86_EVENT_EXCEPTION = 3, X86_EVENT_SOFTWARE = 4 /* INT n */,
		      X86_EVENT_SOFTWARE_EXCEPTION = 6 /* INT3, INTO: type numbers as VMX and SVM use */,
		      X86_EVENT_PRIVILEGED_SOFTWARE = 5 /* INT1 */ };
/* clang-format on */

/*
 * After a fault has unwound: turns the noted fault into its delivery, with #DF and triple fault (activity = X86_SHUTDOWN) as the SDM says
 * (vol. 3, 6.15, table 6-5). Never unwinds. Sets reg[X86_RIP] back to the faulting instruction first.
 */
void x86_fault_deliver(struct x86_cpu *cpu);
/* Delivers an event through the IDT; may unwind with a fault met on the way. return_rip is pushed. */
void x86_event_deliver(struct x86_cpu *cpu, enum x86_event_type type, unsigned vector, bool has_error, uint32_t error,
		       uint64_t return_rip);

/*
 * Between instructions, in the order of SDM vol. 3, table 6-2: pending debug traps, NMI, external interrupts; honours the shadows (and ages
 * them), IF, NMI masking. Delivers at most one; faults on the way are handled inside. Returns true if the flow changed.
 */
bool x86_events_serve(struct x86_cpu *cpu);
/* Is anything deliverable right now (ends HLT)? */
bool x86_events_deliverable(struct x86_cpu *cpu);

/* Fetches and decodes the instruction at RIP, over page ends, up to the CS limit, from any memory; raises what the fetch meets. */
void x86_fetch_decode(struct x86_cpu *cpu, struct x86_insn *insn);
/* Fetches, decodes and executes the instruction at RIP, or delivers the fault that it met. Handles TF, code breakpoints, RF. The JIT's way out. */
void x86_step(struct x86_cpu *cpu);

/* After the instruction cpu->insn completed, when cpu->attention or TF says so: shadows, single step, stores to code. Called by the engine's
 * loop; sets cpu->insn to NULL and does nothing where it was. */
void x86_instruction_done(struct x86_cpu *cpu);

/* A LOCKed operation without a pointer (device memory, page crossing): fn runs alone in the VM. A fault inside is carried out and raised here. */
void x86_exclusive(struct x86_cpu *cpu, void (*fn)(struct x86_cpu *cpu, void *argument), void *argument);

/* After an instruction was executed or has faulted: how many that makes, 0 or 1. Where REP pauses differs from engine to engine; what it counts does not. */
static inline unsigned x86_executed(struct x86_cpu *cpu)
{
	bool unfinished = cpu->unfinished;

	cpu->unfinished = false;
	return !unfinished;
}

/* Condition codes 0-15 (Jcc, SETcc, CMOVcc) on the LAHF/SETO form. */
static inline bool x86_condition(uint16_t flags, unsigned condition)
{
	bool result;

	switch (condition >> 1) {
	case 0: result = flags & 1; break;                                        /* O */
	case 1: result = flags & 0x100; break;                                    /* B */
	case 2: result = flags & 0x4000; break;                                   /* Z */
	case 3: result = flags & 0x4100; break;                                   /* BE */
	case 4: result = flags & 0x8000; break;                                   /* S */
	case 5: result = flags & 0x400; break;                                    /* P */
	case 6: result = (flags >> 15 ^ flags) & 1; break;                        /* L */
	default: result = (flags & 0x4000) || ((flags >> 15 ^ flags) & 1); break; /* LE */
	}
	return result ^ (condition & 1);
}

#endif
