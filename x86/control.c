/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control.c - control and debug registers and what depends on them: paging modes, long mode's entry and exit, breakpoints (SDM vol. 3, 2.5 and 18.2).
 *
 * Instructions that only read or say something about the processor are in control_info.c, MSRs in msr.c.
 */
#include "x86/control.h"

#include "x86/execute.h"
#include "x86/memory.h"
#include "x86/segment.h"
#include "x86/system.h"

#define CR0_WRITABLE                                                                                                          \
	(X86_CR0_PE | X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_NE | X86_CR0_WP | X86_CR0_AM | X86_CR0_NW | X86_CR0_CD | \
	 X86_CR0_PG)
#define DR6_WRITABLE UINT64_C(0xe00f)
#define DR7_WRITABLE UINT64_C(0xffff23ff)
#define CR3_NO_FLUSH X86_BIT(63)

static void need_cpl0(struct x86_cpu *cpu)
{
	if (cpu->cpl)
		x86_raise_error(cpu, X86_GP, 0);
}

static void gp0_if(struct x86_cpu *cpu, bool bad)
{
	if (bad)
		x86_raise_error(cpu, X86_GP, 0);
}

/* Paging comes on: long mode is entered if EFER.LME asks for it. */
static void paging_enable(struct x86_cpu *cpu)
{
	if (cpu->s.efer & X86_EFER_LME) {
		gp0_if(cpu, !(cpu->s.cr4 & X86_CR4_PAE) || cpu->s.segment[X86_CS].attributes & X86_SEGMENT_L);
		gp0_if(cpu, (cpu->s.tr.attributes & X86_SEGMENT_TYPE) < X86_TYPE_TSS32); /* a 16-bit TSS */
		cpu->s.efer |= X86_EFER_LMA;
	} else if (cpu->s.cr4 & X86_CR4_PAE) {
		gp0_if(cpu, !x86_pdptes_load(cpu, cpu->s.cr3));
	}
}

static void cr0_write(struct x86_cpu *cpu, uint64_t value)
{
	uint64_t old = cpu->s.cr0, changed;

	gp0_if(cpu, value >> 32);
	value = (value & CR0_WRITABLE) | X86_CR0_ET;
	changed = old ^ value;
	gp0_if(cpu, (value & X86_CR0_PG && !(value & X86_CR0_PE)) || (value & X86_CR0_NW && !(value & X86_CR0_CD)));
	if (changed & X86_CR0_PG && value & X86_CR0_PG)
		paging_enable(cpu);
	else if (changed & X86_CR0_PG)
		gp0_if(cpu, cpu->s.cr4 & X86_CR4_PCIDE || cpu->code_size == 8);
	else if (changed & (X86_CR0_CD | X86_CR0_NW) && value & X86_CR0_PG && cpu->s.cr4 & X86_CR4_PAE && !x86_long_mode(cpu))
		gp0_if(cpu, !x86_pdptes_load(cpu, cpu->s.cr3));
	if (!(value & X86_CR0_PG))
		cpu->s.efer &= ~X86_EFER_LMA;
	cpu->s.cr0 = value;
	if (changed & (X86_CR0_PG | X86_CR0_PE | X86_CR0_WP))
		x86_tlb_flush_all(cpu);
	x86_cpu_mode_changed(cpu);
}

static void cr3_write(struct x86_cpu *cpu, uint64_t value)
{
	bool keep = cpu->s.cr4 & X86_CR4_PCIDE && value & CR3_NO_FLUSH;

	if (cpu->s.cr4 & X86_CR4_PCIDE)
		value &= ~CR3_NO_FLUSH;
	gp0_if(cpu, value >> cpu->model->physical_bits);
	if (cpu->s.cr0 & X86_CR0_PG && cpu->s.cr4 & X86_CR4_PAE && !x86_long_mode(cpu))
		gp0_if(cpu, !x86_pdptes_load(cpu, value));
	cpu->s.cr3 = value;
	x86_tlb_cr3_written(cpu, value, keep);
}

static void cr4_write(struct x86_cpu *cpu, uint64_t value)
{
	uint64_t flushing =
		X86_CR4_PSE | X86_CR4_PAE | X86_CR4_PGE | X86_CR4_LA57 | X86_CR4_PCIDE | X86_CR4_SMEP | X86_CR4_SMAP | X86_CR4_PKE;
	uint64_t old = cpu->s.cr4, changed = old ^ value;

	gp0_if(cpu, value & ~cpu->model->cr4_allowed);
	if (x86_long_mode(cpu))
		gp0_if(cpu, !(value & X86_CR4_PAE) || changed & X86_CR4_LA57);
	if (changed & value & X86_CR4_PCIDE)
		gp0_if(cpu, !x86_long_mode(cpu) || cpu->s.cr3 & 0xfff);
	if (changed & (X86_CR4_PGE | X86_CR4_PAE | X86_CR4_PSE | X86_CR4_SMEP) && cpu->s.cr0 & X86_CR0_PG && value & X86_CR4_PAE &&
	    !x86_long_mode(cpu))
		gp0_if(cpu, !x86_pdptes_load(cpu, cpu->s.cr3));
	cpu->s.cr4 = value;
	if (changed & flushing)
		x86_tlb_flush_all(cpu);
	if (changed & X86_CR4_PCIDE)
		x86_tlb_cr3_written(cpu, cpu->s.cr3, false);
	x86_cpu_mode_changed(cpu);
}

static uint64_t cr8_read(const struct x86_cpu *cpu)
{
	return cpu->apic_ops ? cpu->apic_ops->tpr_get(cpu->apic) : cpu->s.cr8;
}

static void cr8_write(struct x86_cpu *cpu, uint64_t value)
{
	gp0_if(cpu, value > 15);
	cpu->s.cr8 = value;
	if (cpu->apic_ops)
		cpu->apic_ops->tpr_set(cpu->apic, (uint8_t)value);
	x86_attention(cpu, X86_ATTENTION_EVENT);
}

void x86_op_mov_from_cr(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t value = 0;

	if (insn->reg != 0 && !(insn->reg >= 2 && insn->reg <= 4) && insn->reg != 8)
		x86_raise(cpu, X86_UD);
	need_cpl0(cpu);
	switch (insn->reg) {
	case 0: value = cpu->s.cr0; break;
	case 2: value = cpu->s.cr2; break;
	case 3: value = cpu->s.cr3; break;
	case 4: value = cpu->s.cr4; break;
	case 8: value = cr8_read(cpu); break;
	}
	x86_gpr_write(cpu, insn->rm, cpu->code_size == 8 ? 8 : 4, value);
}

void x86_op_mov_to_cr(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t value = cpu->reg[insn->rm];

	if (insn->reg != 0 && !(insn->reg >= 2 && insn->reg <= 4) && insn->reg != 8)
		x86_raise(cpu, X86_UD);
	need_cpl0(cpu);
	if (cpu->code_size != 8)
		value = (uint32_t)value;
	switch (insn->reg) {
	case 0: cr0_write(cpu, value); break;
	case 2: cpu->s.cr2 = value; break;
	case 3: cr3_write(cpu, value); break;
	case 4: cr4_write(cpu, value); break;
	case 8: cr8_write(cpu, value); break;
	}
}

void x86_op_lmsw(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint16_t value;

	need_cpl0(cpu);
	value = insn->mod == 3 ? (uint16_t)cpu->reg[insn->rm] : x86_read16(cpu, x86_operand(cpu, insn, 2, false));
	/* PE can be set and not cleared. */
	cr0_write(cpu, (cpu->s.cr0 & ~UINT64_C(14)) | (value & 15));
}

void x86_op_smsw(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	if (cpu->cpl && (cpu->s.cr4 & X86_CR4_UMIP))
		x86_raise_error(cpu, X86_GP, 0);
	if (insn->mod == 3)
		x86_gpr_write(cpu, insn->rm, insn->operand_size, cpu->s.cr0);
	else
		x86_write16(cpu, x86_operand(cpu, insn, 2, true), (uint16_t)cpu->s.cr0);
}

void x86_op_clts(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	need_cpl0(cpu);
	cpu->s.cr0 &= ~X86_CR0_TS;
	x86_cpu_mode_changed(cpu);
}

/* DR4 and DR5 are DR6 and DR7 unless CR4.DE is set. Under DR7.GD any access traps. */
static unsigned debug_register(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned number = insn->reg;

	if (number > 7 || ((number & 6) == 4 && (cpu->s.cr4 & X86_CR4_DE)))
		x86_raise(cpu, X86_UD);
	need_cpl0(cpu);
	if (cpu->s.dr7 & X86_DR7_GD) {
		cpu->s.dr6 |= X86_DR6_BD;
		x86_raise(cpu, X86_DB);
	}
	return (number & 6) == 4 ? number + 2 : number;
}

void x86_op_mov_from_dr(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned number = debug_register(cpu, insn);
	uint64_t value = number < 4 ? cpu->s.dr[number] : number == 6 ? cpu->s.dr6 : cpu->s.dr7;

	x86_gpr_write(cpu, insn->rm, cpu->code_size == 8 ? 8 : 4, value);
}

void x86_op_mov_to_dr(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned number = debug_register(cpu, insn);
	uint64_t value = cpu->reg[insn->rm];
	bool armed = cpu->s.dr7 & 0xff;

	if (cpu->code_size != 8)
		value = (uint32_t)value;
	gp0_if(cpu, number >= 6 && value >> 32);
	if (number < 4)
		cpu->s.dr[number] = value;
	else if (number == 6)
		cpu->s.dr6 = (value & DR6_WRITABLE) | X86_DR6_FIXED;
	else
		cpu->s.dr7 = (value & DR7_WRITABLE) | X86_DR7_FIXED;
	/* Pages with data breakpoints have no TLB entries; code breakpoints are met by single steps. */
	if (armed || cpu->s.dr7 & 0xff)
		x86_tlb_flush_all(cpu);
	x86_attention(cpu, X86_ATTENTION_EVENT);
}

void x86_op_invlpg(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t linear = x86_offset(cpu, insn);

	if (insn->mod == 3)
		x86_raise(cpu, X86_UD);
	need_cpl0(cpu);
	if (cpu->code_size != 8)
		linear = (uint32_t)(cpu->s.segment[insn->segment].base + linear);
	else if (insn->segment >= X86_FS)
		linear += cpu->s.segment[insn->segment].base;
	if (x86_canonical(cpu, linear)) /* else it does nothing */
		x86_tlb_flush_page(cpu, linear);
}

static void flush_pcid(struct x86_cpu *cpu, uint64_t pcid)
{
	for (unsigned context = 0; context < X86_TLB_CONTEXTS; context++)
		if (cpu->tlb_pcid[context] == pcid)
			x86_tlb_flush_context(cpu, context);
}

void x86_op_invpcid(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t type, descriptor[2], linear;

	if (!x86_has(cpu->model, X86_FEATURE_INVPCID) || insn->mod == 3)
		x86_raise(cpu, X86_UD);
	need_cpl0(cpu);
	type = cpu->code_size == 8 ? cpu->reg[insn->reg] : (uint32_t)cpu->reg[insn->reg];
	linear = x86_operand(cpu, insn, 16, false);
	descriptor[0] = x86_read64(cpu, linear);
	descriptor[1] = x86_read64(cpu, linear + 8);
	gp0_if(cpu, type > 3);
	gp0_if(cpu, type < 2 && (descriptor[0] >> 12 || (descriptor[0] && !(cpu->s.cr4 & X86_CR4_PCIDE))));
	gp0_if(cpu, type == 0 && !x86_canonical(cpu, descriptor[1]));
	switch (type) {
	case 0: x86_tlb_flush_page(cpu, descriptor[1]); break;
	case 1: flush_pcid(cpu, descriptor[0]); break;
	case 2: x86_tlb_flush_all(cpu); break;
	case 3:
		for (unsigned context = 0; context < X86_TLB_CONTEXTS; context++)
			x86_tlb_flush_context(cpu, context);
		break;
	}
}

bool x86_xcr0_valid(const struct x86_cpu_model *model, uint64_t xcr0)
{
	return !(xcr0 & ~model->xcr0_allowed) && xcr0 & X86_XCR0_X87 && !(xcr0 & X86_XCR0_AVX && !(xcr0 & X86_XCR0_SSE));
}

void x86_op_xsetbv(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t value = cpu->reg[X86_RDX] << 32 | (uint32_t)cpu->reg[X86_RAX];

	(void)insn;
	if (!(cpu->s.cr4 & X86_CR4_OSXSAVE))
		x86_raise(cpu, X86_UD);
	need_cpl0(cpu);
	gp0_if(cpu, (uint32_t)cpu->reg[X86_RCX] || !x86_xcr0_valid(cpu->model, value));
	cpu->s.xcr0 = value;
	x86_cpu_mode_changed(cpu);
}

void x86_op_wrpkru(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	if (!(cpu->s.cr4 & X86_CR4_PKE))
		x86_raise(cpu, X86_UD);
	gp0_if(cpu, (uint32_t)cpu->reg[X86_RCX] || (uint32_t)cpu->reg[X86_RDX]);
	if (cpu->s.pkru == (uint32_t)cpu->reg[X86_RAX])
		return;
	cpu->s.pkru = (uint32_t)cpu->reg[X86_RAX];
	x86_tlb_pkru_written(cpu);
}

static void need_fsgsbase(struct x86_cpu *cpu)
{
	if (cpu->code_size != 8 || !(cpu->s.cr4 & X86_CR4_FSGSBASE))
		x86_raise(cpu, X86_UD);
}

static void base_write(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned segment)
{
	uint64_t value = insn->operand_size == 8 ? cpu->reg[insn->rm] : (uint32_t)cpu->reg[insn->rm];

	need_fsgsbase(cpu);
	gp0_if(cpu, !x86_canonical(cpu, value));
	cpu->s.segment[segment].base = value;
}

void x86_op_wrfsbase(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	base_write(cpu, insn, X86_FS);
}

void x86_op_wrgsbase(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	base_write(cpu, insn, X86_GS);
}

void x86_op_rdfsbase(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	need_fsgsbase(cpu);
	x86_gpr_write(cpu, insn->rm, insn->operand_size == 8 ? 8 : 4, cpu->s.segment[X86_FS].base);
}

void x86_op_rdgsbase(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	need_fsgsbase(cpu);
	x86_gpr_write(cpu, insn->rm, insn->operand_size == 8 ? 8 : 4, cpu->s.segment[X86_GS].base);
}
