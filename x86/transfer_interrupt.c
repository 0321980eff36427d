/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transfer_interrupt.c - INT n, INT3, INT1, INTO and IRET in every mode combination (SDM vol. 2).
 */
#include "x86/execute.h"
#include "x86/memory.h"
#include "x86/segment.h"
#include "x86/system.h"
#include "x86/transfer.h"

#define FLAGS_ALWAYS (X86_FLAGS_STATUS | X86_FLAG_TF | X86_FLAG_DF | X86_FLAG_NT)
#define FLAGS_WIDE (X86_FLAG_RF | X86_FLAG_AC | X86_FLAG_ID) /* with 32-bit and 64-bit operands */

void x86_op_int(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	x86_event_deliver(cpu, X86_EVENT_SOFTWARE, insn->imm & 0xff, false, 0, cpu->reg[X86_RIP]);
}

void x86_op_int3(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	x86_event_deliver(cpu, X86_EVENT_SOFTWARE_EXCEPTION, X86_BP, false, 0, cpu->reg[X86_RIP]);
}

void x86_op_int1(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	x86_event_deliver(cpu, X86_EVENT_PRIVILEGED_SOFTWARE, X86_DB, false, 0, cpu->reg[X86_RIP]);
}

void x86_op_into(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	if (cpu->flags & 1)
		x86_event_deliver(cpu, X86_EVENT_SOFTWARE_EXCEPTION, X86_OF, false, 0, cpu->reg[X86_RIP]);
}

void x86_rflags_set(struct x86_cpu *cpu, uint64_t value, uint64_t allowed)
{
	uint64_t old = x86_rflags(cpu), now = (old & ~allowed) | (value & allowed) | X86_FLAG_FIXED;

	cpu->s.rflags = now & ~X86_FLAGS_STATUS;
	cpu->flags = x86_status_from_rflags(now);
	if ((now & ~old & X86_FLAG_IF) || now & (X86_FLAG_TF | X86_FLAG_RF))
		x86_attention(cpu, X86_ATTENTION_EVENT);
	if ((now ^ old) & (X86_FLAG_AC | X86_FLAG_VM))
		x86_cpu_mode_changed(cpu);
}

/* Which flags IRET may change at this privilege. */
static uint64_t flags_allowed(const struct x86_cpu *cpu, unsigned size)
{
	uint64_t allowed = FLAGS_ALWAYS;

	if (size > 2)
		allowed |= FLAGS_WIDE;
	if (cpu->cpl == 0)
		allowed |= X86_FLAG_IOPL | (size > 2 ? X86_FLAG_VIF | X86_FLAG_VIP : 0);
	if (cpu->cpl <= (cpu->s.rflags & X86_FLAG_IOPL) >> 12)
		allowed |= X86_FLAG_IF;
	return allowed;
}

static void nmi_unmask(struct x86_cpu *cpu)
{
	if (cpu->s.nmi_masked) {
		cpu->s.nmi_masked = 0;
		x86_attention(cpu, X86_ATTENTION_EVENT);
	}
}

/* Real mode, and VM86 mode at IOPL 3. */
static void plain_iret(struct x86_cpu *cpu, unsigned size)
{
	bool vm86 = cpu->s.rflags & X86_FLAG_VM;
	uint64_t rip, flags, allowed = FLAGS_ALWAYS | X86_FLAG_IF;
	struct x86_segment code;
	struct x86_stack stack;
	uint16_t selector;

	if (vm86 && (cpu->s.rflags & X86_FLAG_IOPL) != X86_FLAG_IOPL)
		x86_raise_error(cpu, X86_GP, 0);
	x86_stack_current(cpu, &stack);
	rip = x86_stack_pop(&stack, size);
	selector = (uint16_t)x86_stack_pop(&stack, size);
	flags = x86_stack_pop(&stack, size);
	code = vm86 ? x86_segment_vm86(selector) : x86_segment_real(&cpu->s.segment[X86_CS], selector);
	x86_code_limit_check(cpu, &code, rip);
	if (!vm86)
		allowed |= X86_FLAG_IOPL;
	if (size > 2)
		allowed |= FLAGS_WIDE;
	x86_stack_commit(&stack);
	x86_rflags_set(cpu, flags, allowed);
	x86_code_enter(cpu, &code, rip);
}

/* NT is set: back to the task that the TSS's link names. */
static void task_iret(struct x86_cpu *cpu)
{
	uint16_t selector = x86_read16_system(cpu, cpu->s.tr.base);
	struct x86_descriptor tss;

	if (selector & 4 || !x86_descriptor_find(cpu, selector, &tss) ||
	    (x86_descriptor_type(&tss) != X86_TYPE_TSS16_BUSY && x86_descriptor_type(&tss) != X86_TYPE_TSS32_BUSY))
		x86_raise_error(cpu, X86_TS, selector & 0xfffc);
	if (!x86_descriptor_present(&tss))
		x86_raise_error(cpu, X86_NP, selector & 0xfffc);
	x86_task_switch(cpu, X86_TASK_IRET, &tss, cpu->reg[X86_RIP], false, 0);
}

static void vm86_return(struct x86_cpu *cpu, struct x86_stack *stack, uint64_t rip, uint16_t selector, uint64_t flags)
{
	static const uint8_t order[5] = {X86_SS, X86_ES, X86_DS, X86_FS, X86_GS};
	uint16_t selectors[5];
	uint64_t rsp = x86_stack_pop(stack, 4);

	for (unsigned i = 0; i < 5; i++)
		selectors[i] = (uint16_t)x86_stack_pop(stack, 4);
	if (rip > 0xffff)
		x86_raise_error(cpu, X86_GP, 0);
	for (unsigned i = 0; i < 5; i++)
		cpu->s.segment[order[i]] = x86_segment_vm86(selectors[i]);
	cpu->reg[X86_RSP] = (uint32_t)rsp;
	cpu->s.segment[X86_CS] = x86_segment_vm86(selector);
	x86_rflags_set(cpu, flags,
		       FLAGS_ALWAYS | FLAGS_WIDE | X86_FLAG_IOPL | X86_FLAG_IF | X86_FLAG_VIF | X86_FLAG_VIP | X86_FLAG_VM);
	x86_code_enter(cpu, &cpu->s.segment[X86_CS], rip);
}

static void protected_iret(struct x86_cpu *cpu, unsigned size)
{
	uint64_t rip, flags, rsp = 0, allowed = flags_allowed(cpu, size);
	struct x86_segment code, segment;
	struct x86_stack stack;
	uint16_t selector, ss = 0;
	bool outer;

	x86_stack_current(cpu, &stack);
	rip = x86_stack_pop(&stack, size);
	selector = (uint16_t)x86_stack_pop(&stack, size);
	flags = x86_stack_pop(&stack, size);
	if (flags & X86_FLAG_VM && cpu->cpl == 0 && size == 4 && !x86_long_mode(cpu)) {
		vm86_return(cpu, &stack, rip, selector, flags);
		return;
	}
	x86_return_code(cpu, selector, &code);
	outer = (selector & 3u) > cpu->cpl;
	if (outer || cpu->code_size == 8) {
		rsp = x86_stack_pop(&stack, size);
		ss = (uint16_t)x86_stack_pop(&stack, size);
		segment = x86_return_stack(cpu, ss, &code);
		x86_code_limit_check(cpu, &code, rip);
		x86_return_commit(cpu, &code, rip, &segment, rsp);
	} else {
		x86_code_limit_check(cpu, &code, rip);
		x86_stack_commit(&stack);
		x86_code_enter(cpu, &code, rip);
	}
	x86_rflags_set(cpu, flags, allowed);
}

void x86_op_iret(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	if (!x86_protected(cpu)) {
		plain_iret(cpu, insn->operand_size);
	} else if (cpu->s.rflags & X86_FLAG_NT) {
		if (x86_long_mode(cpu))
			x86_raise_error(cpu, X86_GP, 0);
		task_iret(cpu);
	} else {
		protected_iret(cpu, insn->operand_size);
	}
	nmi_unmask(cpu);
}
