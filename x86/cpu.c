/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpu.c - a processor's life: creation, RESET, INIT, SIPI, what follows from its mode. Conversion from and to the portable state is in cpu_state.c.
 */
#include "x86/cpu.h"

#include "x86/cpuid.h"
#include "x86/execute.h"
#include "x86/memory.h"
#include "x86/vector.h"

#define PAT_RESET UINT64_C(0x0007040600070406)
#define HWCR_TSC_FREQ_SEL X86_BIT(24) /* the TSC counts at the P0 frequency: Linux complains otherwise */
#define MISC_ENABLE_FAST_STRING X86_BIT(0)
#define MISC_ENABLE_BTS_UNAVAILABLE X86_BIT(11)
#define MISC_ENABLE_PEBS_UNAVAILABLE X86_BIT(12)

enum status x86_cpu_create(struct x86_cpu *cpu)
{
	enum status status = x86_tlb_create(cpu);

	if (status != STATUS_OK)
		return status;
	status = x86_host_run_create(cpu);
	if (status != STATUS_OK) {
		x86_tlb_destroy(cpu);
		return status;
	}
	x86_cpu_reset(cpu, cpu->id == 0);
	return STATUS_OK;
}

void x86_cpu_destroy(struct x86_cpu *cpu)
{
	if (!cpu->tlb_contexts)
		return;
	x86_host_run_destroy(cpu);
	x86_tlb_destroy(cpu);
}

/* Base 0, no limit, and no type that could refuse a read or write. Only asked outside 64-bit mode. */
static bool segment_flat(const struct x86_cpu *cpu, const struct x86_segment *s)
{
	if (s->base || s->limit != UINT32_MAX)
		return false;
	if (!x86_protected(cpu))
		return true;
	return (s->attributes & (X86_SEGMENT_UNUSABLE | X86_SEGMENT_CODE | X86_SEGMENT_EXPAND_DOWN | X86_SEGMENT_WRITABLE)) ==
	       X86_SEGMENT_WRITABLE;
}

void x86_cpu_mode_changed(struct x86_cpu *cpu)
{
	const struct x86_segment *cs = &cpu->s.segment[X86_CS], *ss = &cpu->s.segment[X86_SS];

	if (!(cpu->s.cr0 & X86_CR0_PE))
		cpu->cpl = 0;
	else if (cpu->s.rflags & X86_FLAG_VM)
		cpu->cpl = 3;
	else
		cpu->cpl = (ss->attributes & X86_SEGMENT_DPL) >> X86_SEGMENT_DPL_SHIFT;
	if (x86_long_mode(cpu) && cs->attributes & X86_SEGMENT_L) {
		cpu->code_size = 8;
		cpu->stack_size = 8;
		cpu->flat = 0;
	} else {
		cpu->code_size = cs->attributes & X86_SEGMENT_DB ? 4 : 2;
		cpu->stack_size = ss->attributes & X86_SEGMENT_DB ? 4 : 2;
		cpu->flat = 0;
		for (unsigned i = X86_ES; i <= X86_GS; i++)
			if (segment_flat(cpu, &cpu->s.segment[i]))
				cpu->flat |= (uint8_t)(1u << i);
	}
	if (cpu->cpl == 3)
		cpu->mode = X86_MODE_USER;
	else
		cpu->mode = cpu->s.cr4 & X86_CR4_SMAP && !(cpu->s.rflags & X86_FLAG_AC) ? X86_MODE_SUPERVISOR_SMAP
											: X86_MODE_SUPERVISOR;
	x86_tlb_select(cpu);
	x86_attention(cpu, X86_ATTENTION_MODE);
}

/* What RESET and INIT have in common (SDM vol. 3, table 10-1). */
static void registers_reset(struct x86_cpu *cpu)
{
	static const struct x86_segment data = {.limit = 0xffff, .attributes = 0x93};
	struct x86_state *s = &cpu->s;

	__builtin_memset(cpu->reg, 0, sizeof(cpu->reg));
	cpu->reg[X86_RIP] = 0xfff0;
	cpu->reg[X86_RDX] = x86_cpuid(cpu, 1, 0).eax;
	s->rflags = X86_FLAG_FIXED;
	cpu->flags = x86_status_from_rflags(0);
	for (unsigned i = X86_ES; i <= X86_GS; i++)
		s->segment[i] = data;
	s->segment[X86_CS] = (struct x86_segment){.base = 0xffff0000, .limit = 0xffff, .selector = 0xf000, .attributes = 0x9b};
	s->ldtr = (struct x86_segment){.limit = 0xffff, .attributes = 0x82};
	s->tr = (struct x86_segment){.limit = 0xffff, .attributes = 0x8b};
	s->gdtr = (struct x86_table){.limit = 0xffff};
	s->idtr = (struct x86_table){.limit = 0xffff};
	s->cr2 = s->cr3 = s->cr4 = s->cr8 = 0;
	s->efer = 0;
	__builtin_memset(s->pdpte, 0, sizeof(s->pdpte));
	__builtin_memset(s->dr, 0, sizeof(s->dr));
	s->dr6 = X86_DR6_FIXED;
	s->dr7 = X86_DR7_FIXED;
	s->interrupt_shadow = 0;
	s->nmi_masked = s->nmi_pending = 0;
	s->pending_debug = 0;
	s->pending = (struct x86_pending_event){0};
	cpu->insn = 0;
	cpu->debug_hits = 0;
	cpu->special_store = 0;
	cpu->event_external = cpu->step_armed = cpu->shadow_fresh = false;
}

static void activity_start(struct x86_cpu *cpu, bool bsp)
{
	cpu->s.activity = bsp ? X86_RUNNING : X86_WAIT_FOR_SIPI;
	x86_tlb_flush_all(cpu);
	x86_tlb_cr3_written(cpu, 0, false);
	x86_cpu_mode_changed(cpu);
	x86_attention(cpu, X86_ATTENTION_ACTIVITY | X86_ATTENTION_EVENT);
}

void x86_cpu_reset(struct x86_cpu *cpu, bool bsp)
{
	struct x86_apic_state apic = cpu->s.apic;

	__builtin_memset(&cpu->s, 0, sizeof(cpu->s));
	cpu->s.apic = apic; /* without apic_ops it is the caller's */
	registers_reset(cpu);
	cpu->s.cr0 = X86_CR0_CD | X86_CR0_NW | X86_CR0_ET;
	cpu->s.xcr0 = X86_XCR0_X87;
	cpu->s.pat = PAT_RESET;
	cpu->s.misc_enable = MISC_ENABLE_FAST_STRING | MISC_ENABLE_BTS_UNAVAILABLE | MISC_ENABLE_PEBS_UNAVAILABLE;
	if (!cpu->model->intel)
		cpu->s.amd_hwcr = HWCR_TSC_FREQ_SEL;
	x86_vector_reset(cpu);
	activity_start(cpu, bsp);
}

/* Caches, MTRRs, x87, vectors and most MSRs stay as they are. */
void x86_cpu_init(struct x86_cpu *cpu, bool bsp)
{
	uint64_t kept = cpu->s.cr0 & (X86_CR0_CD | X86_CR0_NW);

	registers_reset(cpu);
	cpu->s.cr0 = X86_CR0_ET | kept;
	if (cpu->apic_ops)
		cpu->apic_ops->init(cpu->apic);
	activity_start(cpu, bsp);
}

void x86_cpu_sipi(struct x86_cpu *cpu, uint8_t vector)
{
	cpu->s.segment[X86_CS].selector = (uint16_t)(vector << 8);
	cpu->s.segment[X86_CS].base = (uint32_t)vector << 12;
	cpu->reg[X86_RIP] = 0;
	cpu->s.sipi_vector = vector;
	cpu->s.activity = X86_RUNNING;
	x86_cpu_mode_changed(cpu);
}
