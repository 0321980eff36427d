/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control_info.c - instructions that ask or tell the processor something: CPUID, RDTSC, RDMSR, WRMSR, XGETBV, HLT and their kin.
 */
#include "x86/control.h"
#include "x86/execute.h"
#include "x86/memory.h"
#include "x86/segment.h"
#include "x86/system.h"
#include "x86/vector.h"

#define KVM_EPERM 1
#define KVM_ENOSYS 1000

static void edx_eax_write(struct x86_cpu *cpu, uint64_t value)
{
	cpu->reg[X86_RAX] = (uint32_t)value;
	cpu->reg[X86_RDX] = value >> 32;
}

static void need_cpl0(struct x86_cpu *cpu)
{
	if (cpu->cpl)
		x86_raise_error(cpu, X86_GP, 0);
}

uint64_t x86_tsc(const struct x86_cpu *cpu)
{
	return cpu->platform->tsc(cpu->machine) + cpu->s.tsc_adjust;
}

static void tsd_check(struct x86_cpu *cpu)
{
	if (cpu->cpl && (cpu->s.cr4 & X86_CR4_TSD))
		x86_raise_error(cpu, X86_GP, 0);
}

void x86_op_rdtsc(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	tsd_check(cpu);
	edx_eax_write(cpu, x86_tsc(cpu));
}

void x86_op_rdtscp(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	if (!x86_has(cpu->model, X86_FEATURE_RDTSCP))
		x86_raise(cpu, X86_UD);
	tsd_check(cpu);
	edx_eax_write(cpu, x86_tsc(cpu));
	cpu->reg[X86_RCX] = (uint32_t)cpu->s.tsc_aux;
}

void x86_op_rdpid(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	if (!x86_has(cpu->model, X86_FEATURE_RDPID))
		x86_raise(cpu, X86_UD);
	x86_gpr_write(cpu, insn->rm, cpu->code_size == 8 ? 8 : 4, cpu->s.tsc_aux);
}

/* There are no performance counters, whatever CR4.PCE says. */
void x86_op_rdpmc(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	x86_raise_error(cpu, X86_GP, 0);
}

void x86_op_cpuid(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct x86_cpuid_leaf leaf = x86_cpuid(cpu, (uint32_t)cpu->reg[X86_RAX], (uint32_t)cpu->reg[X86_RCX]);

	(void)insn;
	cpu->reg[X86_RAX] = leaf.eax;
	cpu->reg[X86_RBX] = leaf.ebx;
	cpu->reg[X86_RCX] = leaf.ecx;
	cpu->reg[X86_RDX] = leaf.edx;
}

void x86_op_rdmsr(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t value;

	(void)insn;
	need_cpl0(cpu);
	if (!x86_msr_read(cpu, (uint32_t)cpu->reg[X86_RCX], &value))
		x86_raise_error(cpu, X86_GP, 0);
	edx_eax_write(cpu, value);
}

void x86_op_wrmsr(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t value = cpu->reg[X86_RDX] << 32 | (uint32_t)cpu->reg[X86_RAX];

	(void)insn;
	need_cpl0(cpu);
	if (!x86_msr_write(cpu, (uint32_t)cpu->reg[X86_RCX], value))
		x86_raise_error(cpu, X86_GP, 0);
}

/* Caches are coherent here: these have nothing to do. */
void x86_op_invd(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	need_cpl0(cpu);
}

void x86_op_wbinvd(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	need_cpl0(cpu);
}

void x86_op_hlt(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	need_cpl0(cpu);
	cpu->s.activity = X86_HALTED;
	x86_attention(cpu, X86_ATTENTION_ACTIVITY);
}

/* CPUID does not offer MONITOR. */
void x86_op_monitor(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	x86_raise(cpu, X86_UD);
}

void x86_op_mwait(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	x86_raise(cpu, X86_UD);
}

/* VMCALL and VMMCALL reach KVM's hypercall interface, as CPUID announces it: for the kernel alone. */
void x86_op_vmcall(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	bool wide = cpu->code_size == 8;
	uint64_t mask = wide ? UINT64_MAX : UINT32_MAX;
	const uint64_t argument[4] = {cpu->reg[X86_RBX] & mask, cpu->reg[X86_RCX] & mask, cpu->reg[X86_RDX] & mask,
				      cpu->reg[X86_RSI] & mask};
	int64_t result = -KVM_ENOSYS;

	(void)insn;
	if (cpu->cpl)
		result = -KVM_EPERM;
	else if (cpu->platform->hypercall)
		result = cpu->platform->hypercall(cpu->machine, wide, cpu->reg[X86_RAX] & mask, argument);
	cpu->reg[X86_RAX] = (uint64_t)result & mask;
}

void x86_op_xgetbv(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint32_t index = (uint32_t)cpu->reg[X86_RCX];

	(void)insn;
	if (!(cpu->s.cr4 & X86_CR4_OSXSAVE))
		x86_raise(cpu, X86_UD);
	if (index > 1 || (index == 1 && !x86_has(cpu->model, X86_FEATURE_XGETBV1)))
		x86_raise_error(cpu, X86_GP, 0);
	edx_eax_write(cpu, index ? cpu->s.xcr0 & x86_xinuse(cpu) : cpu->s.xcr0);
}

void x86_op_rdpkru(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	if (!(cpu->s.cr4 & X86_CR4_PKE))
		x86_raise(cpu, X86_UD);
	if ((uint32_t)cpu->reg[X86_RCX])
		x86_raise_error(cpu, X86_GP, 0);
	edx_eax_write(cpu, cpu->s.pkru);
}
