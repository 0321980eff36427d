/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transfer_fast.c - SYSCALL, SYSRET, SYSENTER, SYSEXIT, SWAPGS (SDM vol. 2; APM vol. 3).
 *
 * The vendors differ: Intel has SYSCALL and SYSRET in 64-bit mode only and SYSENTER everywhere; AMD has SYSCALL everywhere and no SYSENTER in
 * long mode. The model says which. Segments are loaded with fixed flat contents, whatever the descriptor tables hold.
 */
#include "x86/cpuid.h"
#include "x86/execute.h"
#include "x86/memory.h"
#include "x86/segment.h"
#include "x86/system.h"

#define STAR_KERNEL_SHIFT 32
#define STAR_USER_SHIFT 48

/* What SYSRET loads from R11: all but VM, RF and the reserved bits. */
#define SYSRET_FLAGS UINT64_C(0x3c7fd7)

static struct x86_segment flat(uint16_t selector, unsigned dpl, bool code, bool wide)
{
	uint16_t attributes = X86_SEGMENT_G | X86_SEGMENT_P | X86_SEGMENT_S | X86_SEGMENT_WRITABLE | X86_SEGMENT_ACCESSED;

	attributes |= (uint16_t)(dpl << X86_SEGMENT_DPL_SHIFT);
	if (code)
		attributes |= X86_SEGMENT_CODE;
	attributes |= code && wide ? X86_SEGMENT_L : X86_SEGMENT_DB;
	return (struct x86_segment){.limit = UINT32_MAX, .selector = selector, .attributes = attributes};
}

static void enter(struct x86_cpu *cpu, uint16_t cs, uint16_t ss, unsigned cpl, bool wide, uint64_t rip)
{
	struct x86_segment code = flat(cs, cpl, true, wide);

	cpu->s.segment[X86_SS] = flat(ss, cpl, false, wide);
	x86_code_enter(cpu, &code, rip);
}

/* Whether TF traps after these instructions is judged by TF as they leave it: a masked TF does not trap in the kernel. */
static void flags_replace(struct x86_cpu *cpu, uint64_t value)
{
	x86_rflags_set(cpu, value, ~UINT64_C(0));
	cpu->step_armed = value & X86_FLAG_TF;
}

void x86_op_syscall(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint16_t cs = (uint16_t)(cpu->s.star >> STAR_KERNEL_SHIFT) & 0xfffc, ss = (uint16_t)(cs + 8);
	uint64_t rflags = x86_rflags(cpu) & ~X86_FLAG_RF;

	(void)insn;
	if (!(cpu->s.efer & X86_EFER_SCE) || (cpu->model->intel ? cpu->code_size != 8 : !x86_protected(cpu)))
		x86_raise(cpu, X86_UD);
	if (x86_long_mode(cpu)) {
		uint64_t target = cpu->code_size == 8 ? cpu->s.lstar : cpu->s.cstar;

		cpu->reg[X86_RCX] = cpu->reg[X86_RIP];
		cpu->reg[X86_R11] = rflags;
		enter(cpu, cs, ss, 0, true, target);
		flags_replace(cpu, rflags & ~cpu->s.sfmask);
	} else {
		cpu->reg[X86_RCX] = (uint32_t)cpu->reg[X86_RIP];
		enter(cpu, cs, ss, 0, false, (uint32_t)cpu->s.star);
		flags_replace(cpu, rflags & ~(X86_FLAG_IF | X86_FLAG_VM));
	}
}

void x86_op_sysret(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint16_t base = (uint16_t)(cpu->s.star >> STAR_USER_SHIFT), ss = (uint16_t)((base + 8) | 3);
	uint64_t rcx = cpu->reg[X86_RCX];

	if (!(cpu->s.efer & X86_EFER_SCE) || (cpu->model->intel ? cpu->code_size != 8 : !x86_protected(cpu)))
		x86_raise(cpu, X86_UD);
	if (cpu->cpl)
		x86_raise_error(cpu, X86_GP, 0);
	if (insn->operand_size == 8) {
		/* Intel checks here, at CPL 0; AMD faults at the first fetch. */
		if (cpu->model->intel && !x86_canonical(cpu, rcx))
			x86_raise_error(cpu, X86_GP, 0);
		enter(cpu, (uint16_t)((base + 16) | 3), ss, 3, true, rcx);
	} else {
		enter(cpu, base | 3, ss, 3, false, (uint32_t)rcx);
	}
	if (x86_long_mode(cpu))
		flags_replace(cpu, cpu->reg[X86_R11] & SYSRET_FLAGS);
	else
		flags_replace(cpu, x86_rflags(cpu) | X86_FLAG_IF);
}

static void need_sysenter(struct x86_cpu *cpu)
{
	if (!cpu->model->intel && x86_long_mode(cpu))
		x86_raise(cpu, X86_UD);
	if (!(cpu->s.cr0 & X86_CR0_PE) || !(cpu->s.sysenter_cs & 0xfffc))
		x86_raise_error(cpu, X86_GP, 0);
}

void x86_op_sysenter(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint16_t cs = cpu->s.sysenter_cs & 0xfffc;
	bool wide = x86_long_mode(cpu);

	(void)insn;
	need_sysenter(cpu);
	cpu->reg[X86_RSP] = wide ? cpu->s.sysenter_esp : (uint32_t)cpu->s.sysenter_esp;
	cpu->s.rflags &= ~(X86_FLAG_VM | X86_FLAG_IF | X86_FLAG_RF);
	enter(cpu, cs, (uint16_t)(cs + 8), 0, wide, wide ? cpu->s.sysenter_eip : (uint32_t)cpu->s.sysenter_eip);
}

void x86_op_sysexit(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint16_t base = cpu->s.sysenter_cs & 0xfffc;
	uint64_t rip = cpu->reg[X86_RDX], rsp = cpu->reg[X86_RCX];
	bool wide = insn->operand_size == 8;

	need_sysenter(cpu);
	if (cpu->cpl)
		x86_raise_error(cpu, X86_GP, 0);
	if (wide && (!x86_canonical(cpu, rip) || !x86_canonical(cpu, rsp)))
		x86_raise_error(cpu, X86_GP, 0);
	if (!wide) {
		rip = (uint32_t)rip;
		rsp = (uint32_t)rsp;
	}
	cpu->reg[X86_RSP] = rsp;
	base = (uint16_t)(base + (wide ? 32 : 16));
	enter(cpu, base | 3, (uint16_t)((base + 8) | 3), 3, wide, rip);
}

void x86_op_swapgs(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t base = cpu->s.segment[X86_GS].base;

	(void)insn;
	if (cpu->code_size != 8)
		x86_raise(cpu, X86_UD);
	if (cpu->cpl)
		x86_raise_error(cpu, X86_GP, 0);
	cpu->s.segment[X86_GS].base = cpu->s.kernel_gs_base;
	cpu->s.kernel_gs_base = base;
}
