/* SPDX-License-Identifier: Apache-2.0 */
/* control.h - what control.c, msr.c and cpu_state.c share. Inside x86/ only. */
#ifndef HOLON_X86_CONTROL_H
#define HOLON_X86_CONTROL_H

#include "x86/cpu.h"
#include "x86/cpuid.h"

bool x86_xcr0_valid(const struct x86_cpu_model *model, uint64_t xcr0);
/* The guest's TSC now. */
uint64_t x86_tsc(const struct x86_cpu *cpu);
/* false: #GP(0). */
bool x86_msr_read(struct x86_cpu *cpu, uint32_t msr, uint64_t *value);
bool x86_msr_write(struct x86_cpu *cpu, uint32_t msr, uint64_t value);
/* PAT and MTRRs hold no reserved types or bits. */
bool x86_msr_memory_types_valid(const struct x86_cpu *cpu, const struct x86_state *s);
/* IA32_ARCH_CAPABILITIES as the model has it. */
#define X86_MSR_ARCH_CAPABILITIES 0x10au

#endif
