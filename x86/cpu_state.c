/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpu_state.c - struct x86_cpu from and to the portable struct x86_state.
 *
 * get, set, get is the identity. A state comes from a snapshot, which an attacker may have written: set refuses what the architecture cannot
 * hold, before it changes anything, because the rest of x86/ relies on these invariants (and the host's processor on MXCSR's).
 */
#include "x86/control.h"
#include "x86/cpu.h"
#include "x86/cpuid.h"
#include "x86/execute.h"
#include "x86/memory.h"

#define RFLAGS_RESERVED (~UINT64_C(0x3fffff) | UINT64_C(0x8028))
#define CR0_DEFINED                                                                                                           \
	(X86_CR0_PE | X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP | X86_CR0_AM | X86_CR0_NW | \
	 X86_CR0_CD | X86_CR0_PG)
#define MXCSR_DEFINED 0xffffu

void x86_cpu_get(const struct x86_cpu *cpu, struct x86_state *out)
{
	__builtin_memcpy(out, &cpu->s, sizeof(*out));
	__builtin_memcpy(out->gpr, cpu->reg, sizeof(out->gpr));
	out->rip = cpu->reg[X86_RIP];
	out->rflags = x86_rflags(cpu);
	if (cpu->apic_ops) {
		cpu->apic_ops->get(cpu->apic, &out->apic);
		out->cr8 = cpu->apic_ops->tpr_get(cpu->apic);
	}
}

/* Ever, not as CR4.LA57 is now: addresses that were loaded while it was set outlive it. */
static bool canonical_once(const struct x86_cpu *cpu, uint64_t address)
{
	unsigned spare = 64 - cpu->model->linear_bits;

	return (uint64_t)((int64_t)(address << spare) >> spare) == address;
}

static bool control_valid(const struct x86_cpu *cpu, const struct x86_state *s)
{
	const struct x86_cpu_model *model = cpu->model;
	bool pg = s->cr0 & X86_CR0_PG, lma = s->efer & X86_EFER_LMA;
	uint64_t physical = (UINT64_C(1) << model->physical_bits) - 1;

	if (s->cr0 & ~CR0_DEFINED || !(s->cr0 & X86_CR0_ET) || (pg && !(s->cr0 & X86_CR0_PE)) ||
	    (s->cr0 & X86_CR0_NW && !(s->cr0 & X86_CR0_CD)))
		return false;
	if (s->cr4 & ~model->cr4_allowed || s->efer & ~model->efer_allowed || s->cr3 & ~physical || s->cr8 > 15)
		return false;
	if (lma != (pg && s->efer & X86_EFER_LME) || (lma && !(s->cr4 & X86_CR4_PAE)) || (s->cr4 & X86_CR4_PCIDE && !lma))
		return false;
	if (!x86_xcr0_valid(model, s->xcr0))
		return false;
	if (pg && s->cr4 & X86_CR4_PAE && !lma)
		for (unsigned i = 0; i < 4; i++)
			if (s->pdpte[i] & 1 && s->pdpte[i] & (~physical | 0x1e6))
				return false;
	return !(s->dr6 >> 32 || s->dr7 >> 32) && (s->dr6 & X86_DR6_FIXED) == X86_DR6_FIXED && s->dr7 & X86_DR7_FIXED;
}

static bool segments_valid(const struct x86_cpu *cpu, const struct x86_state *s)
{
	bool lma = s->efer & X86_EFER_LMA, vm86 = s->rflags & X86_FLAG_VM;
	uint16_t both = X86_SEGMENT_L | X86_SEGMENT_DB;

	if (s->rflags & RFLAGS_RESERVED || !(s->rflags & X86_FLAG_FIXED) || (vm86 && (lma || !(s->cr0 & X86_CR0_PE))))
		return false;
	if (lma && (s->segment[X86_CS].attributes & both) == both)
		return false;
	for (unsigned i = X86_ES; i <= X86_GS; i++) {
		if (s->segment[i].attributes & 0x0e00)
			return false;
		if (i < X86_FS ? s->segment[i].base > UINT32_MAX : !canonical_once(cpu, s->segment[i].base))
			return false;
	}
	return canonical_once(cpu, s->ldtr.base) && canonical_once(cpu, s->tr.base) && canonical_once(cpu, s->gdtr.base) &&
	       canonical_once(cpu, s->idtr.base) && s->gdtr.limit <= 0xffff && s->idtr.limit <= 0xffff;
}

static bool msrs_valid(const struct x86_cpu *cpu, const struct x86_state *s)
{
	if (!canonical_once(cpu, s->lstar) || !canonical_once(cpu, s->cstar) || !canonical_once(cpu, s->kernel_gs_base) ||
	    !canonical_once(cpu, s->sysenter_esp) || !canonical_once(cpu, s->sysenter_eip))
		return false;
	if (s->sfmask >> 32 || s->tsc_aux >> 32 || s->sysenter_cs >> 32 || s->xss || s->spec_ctrl & ~UINT64_C(7))
		return false;
	return x86_msr_memory_types_valid(cpu, s);
}

static bool events_valid(const struct x86_state *s)
{
	const struct x86_pending_event *pending = &s->pending;

	if (s->activity > X86_SHUTDOWN || s->interrupt_shadow & ~(X86_SHADOW_STI | X86_SHADOW_MOV_SS) || s->nmi_masked > 1 ||
	    s->nmi_pending > 1)
		return false;
	if (s->pending_debug & ~(UINT64_C(15) | X86_DR6_BS | X86_DR6_BT))
		return false;
	if (pending->valid > 1 || pending->has_error > 1 ||
	    (pending->valid && (pending->type > X86_EVENT_SOFTWARE_EXCEPTION || pending->type == 1)))
		return false;
	return !(pending->valid && pending->type == X86_EVENT_EXCEPTION && pending->vector > 31);
}

enum status x86_cpu_set(struct x86_cpu *cpu, const struct x86_state *in)
{
	if (!control_valid(cpu, in) || !segments_valid(cpu, in) || !msrs_valid(cpu, in) || !events_valid(in))
		return STATUS_INVALID;
	if (in->x87.mxcsr & ~MXCSR_DEFINED || in->x87.mxcsr_mask & ~MXCSR_DEFINED)
		return STATUS_INVALID;
	__builtin_memcpy(&cpu->s, in, sizeof(cpu->s));
	__builtin_memcpy(cpu->reg, in->gpr, sizeof(in->gpr));
	cpu->reg[X86_NO_REG] = 0;
	cpu->reg[X86_RIP] = in->rip;
	cpu->flags = x86_status_from_rflags(in->rflags);
	cpu->s.rflags &= ~X86_FLAGS_STATUS;
	cpu->insn = 0;
	cpu->debug_hits = 0;
	cpu->special_store = 0;
	cpu->event_external = cpu->shadow_fresh = false;
	cpu->step_armed = in->rflags & X86_FLAG_TF;
	if (cpu->apic_ops)
		cpu->apic_ops->set(cpu->apic, &in->apic);
	x86_tlb_flush_all(cpu);
	x86_tlb_cr3_written(cpu, in->cr3, false);
	x86_cpu_mode_changed(cpu);
	x86_attention(cpu, X86_ATTENTION_ACTIVITY | X86_ATTENTION_EVENT);
	return STATUS_OK;
}
