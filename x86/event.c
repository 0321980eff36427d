/* SPDX-License-Identifier: Apache-2.0 */
/*
 * event.c - interrupts and exceptions through the IVT or IDT (SDM vol. 3, 6.12 to 6.14; vol. 2, INT n), in every mode.
 *
 * All checks and the whole frame's page walk come before the first push, so that a fault on the way leaves nothing half done.
 */
#include "x86/execute.h"
#include "x86/memory.h"
#include "x86/segment.h"

struct delivery {
	struct x86_cpu *cpu;
	enum x86_event_type type;
	unsigned vector;
	bool has_error;
	uint32_t error;
	uint64_t return_rip;
	uint64_t rflags; /* to be pushed */
	struct x86_descriptor gate;
	struct x86_descriptor code;
	unsigned cpl; /* the handler's */
};

/* INT n, INT3, INTO: the gate's DPL is checked, and faults are not external to the program. */
static bool is_software(enum x86_event_type type)
{
	return type == X86_EVENT_SOFTWARE || type == X86_EVENT_SOFTWARE_EXCEPTION;
}

/* Faults resume at the instruction itself: RF keeps its code breakpoint from hitting again. */
static bool sets_rf(const struct delivery *d)
{
	return d->type == X86_EVENT_EXCEPTION && !(UINT32_C(1) << d->vector & (1u << X86_DB | 1u << X86_NMI | 1u << X86_BP |
									       1u << X86_OF | 1u << X86_DF | 1u << X86_MC));
}

static uint32_t idt_error(const struct delivery *d)
{
	return d->vector << 3 | 2;
}

static void flags_entered(struct x86_cpu *cpu, bool interrupt_gate)
{
	cpu->s.rflags &= ~(X86_FLAG_TF | X86_FLAG_NT | X86_FLAG_VM | X86_FLAG_RF);
	if (interrupt_gate)
		cpu->s.rflags &= ~X86_FLAG_IF;
}

static void real_deliver(struct delivery *d)
{
	struct x86_cpu *cpu = d->cpu;
	struct x86_stack stack;
	struct x86_segment code;
	uint32_t entry;

	if (d->vector * 4 + 3 > cpu->s.idtr.limit)
		x86_raise_error(cpu, X86_GP, 0);
	entry = x86_read32_system(cpu, cpu->s.idtr.base + d->vector * 4);
	x86_stack_current(cpu, &stack);
	x86_stack_reserve(&stack, 6);
	x86_stack_push(&stack, 2, d->rflags);
	x86_stack_push(&stack, 2, cpu->s.segment[X86_CS].selector);
	x86_stack_push(&stack, 2, d->return_rip);
	x86_stack_commit(&stack);
	cpu->s.rflags &= ~(X86_FLAG_IF | X86_FLAG_TF | X86_FLAG_AC | X86_FLAG_RF);
	code = x86_segment_real(&cpu->s.segment[X86_CS], (uint16_t)(entry >> 16));
	x86_code_enter(cpu, &code, entry & 0xffff);
}

/* Reads and checks the gate, up to its target code segment. */
static void gate_read(struct delivery *d, uint32_t types)
{
	struct x86_cpu *cpu = d->cpu;
	unsigned size = x86_long_mode(cpu) ? 16 : 8;
	struct x86_descriptor *gate = &d->gate;

	if (d->vector * size + size - 1 > cpu->s.idtr.limit)
		x86_raise_error(cpu, X86_GP, idt_error(d));
	gate->address = cpu->s.idtr.base + d->vector * size;
	gate->low = x86_read64_system(cpu, gate->address);
	gate->high = size == 16 ? x86_read64_system(cpu, gate->address + 8) : 0;
	if (x86_descriptor_type(gate) >= 16 || !(types >> x86_descriptor_type(gate) & 1))
		x86_raise_error(cpu, X86_GP, idt_error(d));
	if (is_software(d->type) && x86_descriptor_dpl(gate) < cpu->cpl)
		x86_raise_error(cpu, X86_GP, idt_error(d));
	if (!x86_descriptor_present(gate))
		x86_raise_error(cpu, X86_NP, idt_error(d));
}

static void target_read(struct delivery *d)
{
	struct x86_cpu *cpu = d->cpu;
	uint16_t selector = x86_gate_selector(&d->gate);

	x86_descriptor_need(cpu, selector, &d->code, X86_GP);
	if (!x86_descriptor_code(&d->code) || x86_descriptor_dpl(&d->code) > cpu->cpl)
		x86_raise_error(cpu, X86_GP, selector & 0xfffc);
	if (!x86_descriptor_present(&d->code))
		x86_raise_error(cpu, X86_NP, selector & 0xfffc);
	d->cpl = x86_descriptor_conforming(&d->code) ? cpu->cpl : x86_descriptor_dpl(&d->code);
	x86_descriptor_accessed(cpu, &d->code);
}

static void target_enter(struct delivery *d, bool interrupt_gate, uint64_t rip)
{
	struct x86_segment code = x86_segment_of(&d->code, (uint16_t)((d->code.selector & 0xfffc) | d->cpl));

	flags_entered(d->cpu, interrupt_gate);
	x86_code_enter(d->cpu, &code, rip);
}

static void long_deliver(struct delivery *d)
{
	struct x86_cpu *cpu = d->cpu;
	uint16_t old_ss = cpu->s.segment[X86_SS].selector;
	uint64_t rip, old_rsp = cpu->reg[X86_RSP];
	struct x86_stack stack;
	unsigned ist;

	gate_read(d, 1u << X86_TYPE_INTERRUPT_GATE32 | 1u << X86_TYPE_TRAP_GATE32);
	target_read(d);
	if ((x86_descriptor_attributes(&d->code) & (X86_SEGMENT_L | X86_SEGMENT_DB)) != X86_SEGMENT_L)
		x86_raise_error(cpu, X86_GP, x86_gate_selector(&d->gate) & 0xfffc);
	ist = (unsigned)(d->gate.low >> 32) & 7;
	x86_stack_current(cpu, &stack);
	stack.size = 8;
	stack.mode = x86_mode_at(cpu, d->cpl);
	if (ist)
		stack.pointer = x86_task_stack64(cpu, 0x1c + ist * 8);
	else if (d->cpl < cpu->cpl)
		stack.pointer = x86_task_stack64(cpu, 4 + d->cpl * 8);
	stack.pointer &= ~UINT64_C(15);
	rip = x86_gate_offset(&d->gate);
	if (!x86_canonical(cpu, rip))
		x86_raise_error(cpu, X86_GP, 0);
	x86_stack_reserve(&stack, d->has_error ? 48 : 40);
	x86_stack_push(&stack, 8, old_ss);
	x86_stack_push(&stack, 8, old_rsp);
	x86_stack_push(&stack, 8, d->rflags);
	x86_stack_push(&stack, 8, cpu->s.segment[X86_CS].selector);
	x86_stack_push(&stack, 8, d->return_rip);
	if (d->has_error)
		x86_stack_push(&stack, 8, d->error);
	if (d->cpl < cpu->cpl)
		cpu->s.segment[X86_SS] = x86_segment_null((uint16_t)d->cpl, d->cpl);
	cpu->reg[X86_RSP] = stack.pointer;
	target_enter(d, x86_descriptor_type(&d->gate) == X86_TYPE_INTERRUPT_GATE32, rip);
}

/* Out of VM86 mode the handler's stack also takes the data segments, which then become null. */
static void vm86_segments_push(struct delivery *d, struct x86_stack *stack, unsigned width)
{
	static const uint8_t order[4] = {X86_GS, X86_FS, X86_DS, X86_ES};

	for (unsigned i = 0; i < 4; i++)
		x86_stack_push(stack, width, d->cpu->s.segment[order[i]].selector);
}

static void frame_push(struct delivery *d, struct x86_stack *stack, unsigned width)
{
	x86_stack_push(stack, width, d->rflags);
	x86_stack_push(stack, width, d->cpu->s.segment[X86_CS].selector);
	x86_stack_push(stack, width, d->return_rip);
	if (d->has_error)
		x86_stack_push(stack, width, d->error);
}

static void inner_deliver(struct delivery *d, unsigned width, uint64_t rip)
{
	struct x86_cpu *cpu = d->cpu;
	bool vm86 = cpu->s.rflags & X86_FLAG_VM;
	struct x86_segment segment, code = x86_segment_of(&d->code, 0);
	struct x86_stack stack;
	uint16_t ss;
	uint32_t esp;

	if (vm86 && d->cpl)
		x86_raise_error(cpu, X86_GP, d->code.selector & 0xfffc);
	x86_task_stack(cpu, d->cpl, &ss, &esp);
	if (!(ss & 0xfffc))
		x86_raise_error(cpu, X86_TS, 0);
	segment = x86_stack_segment(cpu, ss, d->cpl, X86_TS);
	x86_stack_new(cpu, &stack, &segment, esp, d->cpl);
	x86_stack_reserve(&stack, width * (5 + d->has_error + (vm86 ? 4 : 0)));
	x86_code_limit_check(cpu, &code, rip);
	if (vm86)
		vm86_segments_push(d, &stack, width);
	x86_stack_push(&stack, width, cpu->s.segment[X86_SS].selector);
	x86_stack_push(&stack, width, cpu->reg[X86_RSP]);
	frame_push(d, &stack, width);
	if (vm86)
		for (unsigned i = X86_ES; i <= X86_GS; i++)
			if (i != X86_CS)
				cpu->s.segment[i] = x86_segment_null(0, 0);
	cpu->s.segment[X86_SS] = segment;
	cpu->reg[X86_RSP] =
		stack.size == 4 ? (uint32_t)stack.pointer : (cpu->reg[X86_RSP] & ~UINT64_C(0xffff)) | (uint16_t)stack.pointer;
}

static void protected_deliver(struct delivery *d)
{
	struct x86_cpu *cpu = d->cpu;
	unsigned type, width;
	uint64_t rip;

	gate_read(d, 1u << X86_TYPE_TASK_GATE | 1u << X86_TYPE_INTERRUPT_GATE16 | 1u << X86_TYPE_TRAP_GATE16 |
			     1u << X86_TYPE_INTERRUPT_GATE32 | 1u << X86_TYPE_TRAP_GATE32);
	type = x86_descriptor_type(&d->gate);
	if (type == X86_TYPE_TASK_GATE) {
		struct x86_descriptor tss;
		uint16_t selector = x86_gate_selector(&d->gate);

		if (selector & 4 || !x86_descriptor_find(cpu, selector, &tss) ||
		    (x86_descriptor_type(&tss) != X86_TYPE_TSS16 && x86_descriptor_type(&tss) != X86_TYPE_TSS32))
			x86_raise_error(cpu, X86_GP, selector & 0xfffc);
		if (!x86_descriptor_present(&tss))
			x86_raise_error(cpu, X86_NP, selector & 0xfffc);
		x86_task_switch(cpu, X86_TASK_EVENT, &tss, d->return_rip, d->has_error, d->error);
		return;
	}
	target_read(d);
	width = type >= X86_TYPE_INTERRUPT_GATE32 ? 4 : 2;
	rip = x86_gate_offset(&d->gate);
	if (width == 2)
		rip &= 0xffff;
	if (d->cpl < cpu->cpl) {
		inner_deliver(d, width, rip);
	} else {
		struct x86_segment code = x86_segment_of(&d->code, 0);
		struct x86_stack stack;

		if (cpu->s.rflags & X86_FLAG_VM)
			x86_raise_error(cpu, X86_GP, d->code.selector & 0xfffc);
		x86_stack_current(cpu, &stack);
		x86_stack_reserve(&stack, width * (3 + d->has_error));
		x86_code_limit_check(cpu, &code, rip);
		frame_push(d, &stack, width);
		x86_stack_commit(&stack);
	}
	target_enter(d, !(type & 1), rip);
}

void x86_event_deliver(struct x86_cpu *cpu, enum x86_event_type type, unsigned vector, bool has_error, uint32_t error,
		       uint64_t return_rip)
{
	struct delivery d = {
		.cpu = cpu, .type = type, .vector = vector, .has_error = has_error, .error = error, .return_rip = return_rip};
	bool vm86 = cpu->s.rflags & X86_FLAG_VM;

	cpu->event_external = !is_software(type);
	d.rflags = x86_rflags(cpu) & ~X86_FLAG_RF;
	if (sets_rf(&d) || (cpu->s.rflags & X86_FLAG_RF && !is_software(type)))
		d.rflags |= X86_FLAG_RF;
	if (!(cpu->s.cr0 & X86_CR0_PE))
		real_deliver(&d);
	else if (x86_long_mode(cpu))
		long_deliver(&d);
	else if (vm86 && type == X86_EVENT_SOFTWARE && (cpu->s.rflags & X86_FLAG_IOPL) != X86_FLAG_IOPL)
		x86_raise_error(cpu, X86_GP, 0);
	else
		protected_deliver(&d);
	cpu->event_external = false;
	if (type == X86_EVENT_NMI)
		cpu->s.nmi_masked = 1;
	if (vector == X86_DB && type != X86_EVENT_SOFTWARE)
		cpu->s.dr7 &= ~X86_DR7_GD;
	cpu->s.activity = X86_RUNNING;
	cpu->s.interrupt_shadow = 0;
	cpu->step_armed = false;
}
