/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transfer_task.c - the TSS: task switches (SDM vol. 3, 7.3), the stacks of inner privileges, the I/O permission bitmap.
 *
 * A switch first makes sure that both TSSes can be accessed; up to there faults belong to the old task. From the commit on they
 * are the new task's: cpu->insn is NULL, so that the saved RIP is the new task's own.
 */
#include "x86/execute.h"
#include "x86/memory.h"
#include "x86/segment.h"

#define TSS_LINK 0
#define TSS32_CR3 0x1c
#define TSS32_EIP 0x20
#define TSS32_EFLAGS 0x24
#define TSS32_GPR 0x28
#define TSS32_SEGMENT 0x48
#define TSS32_LDT 0x60
#define TSS32_TRAP 0x64
#define TSS32_IO_MAP 0x66
#define TSS32_LIMIT 0x67
#define TSS16_IP 0x0e
#define TSS16_FLAGS 0x10
#define TSS16_GPR 0x12
#define TSS16_SEGMENT 0x22
#define TSS16_LDT 0x2a
#define TSS16_LIMIT 0x2b

struct task {
	uint32_t cr3, eip, eflags, gpr[8];
	uint16_t segment[6], ldt;
	bool trap;
};

static bool is_tss32(unsigned type)
{
	return type & 8;
}

static void task_save(struct x86_cpu *cpu, uint64_t eip, uint64_t eflags)
{
	uint64_t base = cpu->s.tr.base;

	if (is_tss32(cpu->s.tr.attributes & X86_SEGMENT_TYPE)) {
		x86_write32_system(cpu, base + TSS32_EIP, (uint32_t)eip);
		x86_write32_system(cpu, base + TSS32_EFLAGS, (uint32_t)eflags);
		for (unsigned i = 0; i < 8; i++)
			x86_write32_system(cpu, base + TSS32_GPR + i * 4, (uint32_t)cpu->reg[i]);
		for (unsigned i = 0; i < 6; i++)
			x86_write16_system(cpu, base + TSS32_SEGMENT + i * 4, cpu->s.segment[i].selector);
	} else {
		x86_write16_system(cpu, base + TSS16_IP, (uint16_t)eip);
		x86_write16_system(cpu, base + TSS16_FLAGS, (uint16_t)eflags);
		for (unsigned i = 0; i < 8; i++)
			x86_write16_system(cpu, base + TSS16_GPR + i * 2, (uint16_t)cpu->reg[i]);
		for (unsigned i = 0; i < 4; i++)
			x86_write16_system(cpu, base + TSS16_SEGMENT + i * 2, cpu->s.segment[i].selector);
	}
}

static void task_read(struct x86_cpu *cpu, uint64_t base, bool wide, struct task *task)
{
	__builtin_memset(task, 0, sizeof(*task));
	if (wide) {
		task->cr3 = x86_read32_system(cpu, base + TSS32_CR3);
		task->eip = x86_read32_system(cpu, base + TSS32_EIP);
		task->eflags = x86_read32_system(cpu, base + TSS32_EFLAGS);
		for (unsigned i = 0; i < 8; i++)
			task->gpr[i] = x86_read32_system(cpu, base + TSS32_GPR + i * 4);
		for (unsigned i = 0; i < 6; i++)
			task->segment[i] = x86_read16_system(cpu, base + TSS32_SEGMENT + i * 4);
		task->ldt = x86_read16_system(cpu, base + TSS32_LDT);
		task->trap = x86_read16_system(cpu, base + TSS32_TRAP) & 1;
	} else {
		task->eip = x86_read16_system(cpu, base + TSS16_IP);
		task->eflags = x86_read16_system(cpu, base + TSS16_FLAGS);
		for (unsigned i = 0; i < 8; i++)
			task->gpr[i] = 0xffff0000 | x86_read16_system(cpu, base + TSS16_GPR + i * 2);
		for (unsigned i = 0; i < 4; i++)
			task->segment[i] = x86_read16_system(cpu, base + TSS16_SEGMENT + i * 2);
		task->ldt = x86_read16_system(cpu, base + TSS16_LDT);
	}
}

/* A TSS descriptor's type between available and busy. */
static void busy_clear(struct x86_cpu *cpu, uint16_t selector)
{
	uint64_t address = cpu->s.gdtr.base + (selector & 0xfff8) + 5;

	x86_write8_system(cpu, address, (uint8_t)(x86_read8_system(cpu, address) & ~2u));
}

/* The new task's segments, after LDTR: all faults are #TS in its own context. */
static void task_code_load(struct x86_cpu *cpu, uint16_t selector)
{
	unsigned rpl = selector & 3;
	struct x86_descriptor d;

	x86_descriptor_need(cpu, selector, &d, X86_TS);
	if (!x86_descriptor_code(&d) ||
	    (x86_descriptor_conforming(&d) ? x86_descriptor_dpl(&d) > rpl : x86_descriptor_dpl(&d) != rpl))
		x86_raise_error(cpu, X86_TS, selector & 0xfffc);
	if (!x86_descriptor_present(&d))
		x86_raise_error(cpu, X86_NP, selector & 0xfffc);
	x86_descriptor_accessed(cpu, &d);
	cpu->s.segment[X86_CS] = x86_segment_of(&d, selector);
}

static void task_data_load(struct x86_cpu *cpu, unsigned segment, uint16_t selector)
{
	struct x86_descriptor d;
	uint16_t attributes;

	if (!(selector & 0xfffc))
		return;
	x86_descriptor_need(cpu, selector, &d, X86_TS);
	attributes = x86_descriptor_attributes(&d);
	if (x86_descriptor_type(&d) < 16 || (x86_descriptor_code(&d) && !(attributes & X86_SEGMENT_READABLE)) ||
	    (!x86_descriptor_conforming(&d) && (x86_descriptor_dpl(&d) < (selector & 3u) || x86_descriptor_dpl(&d) < cpu->cpl)))
		x86_raise_error(cpu, X86_TS, selector & 0xfffc);
	if (!x86_descriptor_present(&d))
		x86_raise_error(cpu, X86_NP, selector & 0xfffc);
	x86_descriptor_accessed(cpu, &d);
	cpu->s.segment[segment] = x86_segment_of(&d, selector);
}

static void task_segments_load(struct x86_cpu *cpu, const struct task *task)
{
	unsigned cpl = task->eflags & X86_FLAG_VM ? 3 : task->segment[X86_CS] & 3;

	/* The selectors are in place whatever faults. */
	for (unsigned i = 0; i < 6; i++)
		cpu->s.segment[i] = task->eflags & X86_FLAG_VM ? x86_segment_vm86(task->segment[i])
							       : x86_segment_null(task->segment[i], i == X86_SS ? cpl : 0);
	cpu->s.ldtr = x86_segment_null(task->ldt, 0);
	x86_cpu_mode_changed(cpu);
	x86_ldtr_load(cpu, task->ldt, X86_TS);
	if (task->eflags & X86_FLAG_VM)
		return;
	task_code_load(cpu, task->segment[X86_CS]);
	if (!(task->segment[X86_SS] & 0xfffc))
		x86_raise_error(cpu, X86_TS, task->segment[X86_SS] & 0xfffc);
	cpu->s.segment[X86_SS] = x86_stack_segment(cpu, task->segment[X86_SS], cpl, X86_TS);
	task_data_load(cpu, X86_DS, task->segment[X86_DS]);
	task_data_load(cpu, X86_ES, task->segment[X86_ES]);
	task_data_load(cpu, X86_FS, task->segment[X86_FS]);
	task_data_load(cpu, X86_GS, task->segment[X86_GS]);
	x86_cpu_mode_changed(cpu);
}

static void task_registers_load(struct x86_cpu *cpu, const struct task *task, bool wide)
{
	if (wide && cpu->s.cr0 & X86_CR0_PG) {
		bool good = !(cpu->s.cr4 & X86_CR4_PAE) || x86_pdptes_load(cpu, task->cr3);

		cpu->s.cr3 = task->cr3;
		x86_tlb_cr3_written(cpu, task->cr3, false);
		if (!good)
			x86_raise_error(cpu, X86_TS, cpu->s.tr.selector & 0xfffc);
	}
	cpu->reg[X86_RIP] = task->eip;
	for (unsigned i = 0; i < 8; i++)
		cpu->reg[i] = task->gpr[i];
	/* A 16-bit TSS has no upper flags: they become 0. */
	x86_rflags_set(cpu, task->eflags,
		       X86_FLAGS_STATUS | X86_FLAG_TF | X86_FLAG_IF | X86_FLAG_DF | X86_FLAG_IOPL | X86_FLAG_NT | X86_FLAG_RF |
			       X86_FLAG_VM | X86_FLAG_AC | X86_FLAG_VIF | X86_FLAG_VIP | X86_FLAG_ID);
}

static void commit(struct x86_cpu *cpu, enum x86_task_source source, const struct x86_descriptor *tss, uint64_t return_rip,
		   struct task *task)
{
	uint64_t eflags = x86_rflags(cpu), base = x86_segment_of(tss, 0).base;
	uint16_t old = cpu->s.tr.selector;
	bool nested = source == X86_TASK_CALL || source == X86_TASK_EVENT;

	if (source == X86_TASK_IRET)
		eflags &= ~X86_FLAG_NT;
	task_save(cpu, return_rip, eflags);
	if (!nested)
		busy_clear(cpu, old);
	if (nested) {
		x86_write16_system(cpu, base + TSS_LINK, old);
		task->eflags |= X86_FLAG_NT;
	}
	if (source != X86_TASK_IRET)
		x86_system_or8(cpu, tss->address + 5, 2);
	cpu->s.tr = x86_segment_of(tss, tss->selector);
	cpu->s.tr.attributes |= 2;
	cpu->s.cr0 |= X86_CR0_TS;
	/* Local breakpoints belong to the task that set them. */
	cpu->s.dr7 &= ~UINT64_C(0x155);
}

void x86_task_switch(struct x86_cpu *cpu, enum x86_task_source source, const struct x86_descriptor *tss, uint64_t return_rip,
		     bool has_error, uint32_t error)
{
	struct x86_segment segment = x86_segment_of(tss, tss->selector);
	bool wide = is_tss32(x86_descriptor_type(tss)), old_wide = is_tss32(cpu->s.tr.attributes & X86_SEGMENT_TYPE);
	uint32_t limit = wide ? TSS32_LIMIT : TSS16_LIMIT;
	const struct x86_insn *insn = cpu->insn;
	struct task task;

	if (segment.limit < limit || cpu->s.tr.limit < (old_wide ? TSS32_LIMIT : TSS16_LIMIT))
		x86_raise_error(cpu, X86_TS, (segment.limit < limit ? tss->selector : cpu->s.tr.selector) & 0xfffc);
	x86_access_check(cpu, cpu->s.tr.base, (old_wide ? TSS32_LIMIT : TSS16_LIMIT) + 1, X86_WRITE, X86_MODE_SUPERVISOR_SMAP);
	x86_access_check(cpu, segment.base, 2, X86_WRITE, X86_MODE_SUPERVISOR_SMAP);
	x86_access_check(cpu, tss->address, 8, X86_WRITE, X86_MODE_SUPERVISOR_SMAP);
	x86_access_check(cpu, cpu->s.gdtr.base + (cpu->s.tr.selector & 0xfff8), 8, X86_WRITE, X86_MODE_SUPERVISOR_SMAP);
	task_read(cpu, segment.base, wide, &task);
	commit(cpu, source, tss, return_rip, &task);
	cpu->insn = 0;
	task_registers_load(cpu, &task, wide);
	task_segments_load(cpu, &task);
	if (task.trap) {
		cpu->s.pending_debug |= X86_DR6_BT;
		x86_attention(cpu, X86_ATTENTION_EVENT);
	}
	if (has_error) {
		struct x86_stack stack;

		x86_stack_current(cpu, &stack);
		x86_stack_push(&stack, wide ? 4 : 2, error);
		x86_stack_commit(&stack);
	}
	x86_code_limit_check(cpu, &cpu->s.segment[X86_CS], cpu->reg[X86_RIP]);
	cpu->insn = insn;
}

void x86_task_stack(struct x86_cpu *cpu, unsigned cpl, uint16_t *ss, uint32_t *esp)
{
	uint64_t base = cpu->s.tr.base;

	if (is_tss32(cpu->s.tr.attributes & X86_SEGMENT_TYPE)) {
		if (4 + cpl * 8 + 5 > cpu->s.tr.limit)
			x86_raise_error(cpu, X86_TS, cpu->s.tr.selector & 0xfffc);
		*esp = x86_read32_system(cpu, base + 4 + cpl * 8);
		*ss = x86_read16_system(cpu, base + 8 + cpl * 8);
	} else {
		if (2 + cpl * 4 + 3 > cpu->s.tr.limit)
			x86_raise_error(cpu, X86_TS, cpu->s.tr.selector & 0xfffc);
		*esp = x86_read16_system(cpu, base + 2 + cpl * 4);
		*ss = x86_read16_system(cpu, base + 4 + cpl * 4);
	}
}

uint64_t x86_task_stack64(struct x86_cpu *cpu, unsigned offset)
{
	uint64_t rsp;

	if (offset + 7 > cpu->s.tr.limit)
		x86_raise_error(cpu, X86_TS, cpu->s.tr.selector & 0xfffc);
	rsp = x86_read64_system(cpu, cpu->s.tr.base + offset);
	if (!x86_canonical(cpu, rsp))
		x86_raise_error(cpu, X86_SS_FAULT, 0);
	return rsp;
}

void x86_task_port_check(struct x86_cpu *cpu, uint16_t port, unsigned size)
{
	const struct x86_segment *tr = &cpu->s.tr;
	unsigned mask = ((1u << size) - 1) << (port & 7);
	uint32_t offset;

	if (!is_tss32(tr->attributes & X86_SEGMENT_TYPE) || tr->limit < TSS32_LIMIT)
		x86_raise_error(cpu, X86_GP, 0);
	/* Two bytes are read always: the bitmap is followed by a byte of ones (SDM vol. 1, 19.5.2). */
	offset = x86_read16_system(cpu, tr->base + TSS32_IO_MAP) + port / 8u;
	if (offset + 1 > tr->limit || x86_read16_system(cpu, tr->base + offset) & mask)
		x86_raise_error(cpu, X86_GP, 0);
}
