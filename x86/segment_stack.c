/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segment_stack.c - the stack pushes and pops of far transfers and events, on the current stack or one of another privilege.
 */
#include "x86/execute.h"
#include "x86/memory.h"
#include "x86/segment.h"

unsigned x86_mode_at(const struct x86_cpu *cpu, unsigned cpl)
{
	if (cpl == 3)
		return X86_MODE_USER;
	return cpu->s.cr4 & X86_CR4_SMAP && !(cpu->s.rflags & X86_FLAG_AC) ? X86_MODE_SUPERVISOR_SMAP : X86_MODE_SUPERVISOR;
}

void x86_stack_current(struct x86_cpu *cpu, struct x86_stack *stack)
{
	stack->cpu = cpu;
	stack->pointer = cpu->reg[X86_RSP];
	stack->segment = cpu->s.segment[X86_SS];
	stack->size = cpu->stack_size;
	stack->mode = cpu->mode;
	stack->protected = x86_protected(cpu);
	stack->error = 0;
}

void x86_stack_new(struct x86_cpu *cpu, struct x86_stack *stack, const struct x86_segment *segment, uint64_t pointer, unsigned cpl)
{
	stack->cpu = cpu;
	stack->pointer = pointer;
	stack->segment = *segment;
	stack->size = segment->attributes & X86_SEGMENT_DB ? 4 : 2;
	stack->mode = x86_mode_at(cpu, cpl);
	stack->protected = true;
	stack->error = segment->selector & 0xfffc;
}

static uint64_t wrapped(const struct x86_stack *stack, uint64_t pointer)
{
	return stack->size == 8 ? pointer : stack->size == 4 ? (uint32_t)pointer : (uint16_t)pointer;
}

/* The linear address of [offset, offset + bytes), with the limit or canonical check. */
static uint64_t stack_linear(const struct x86_stack *stack, uint64_t offset, unsigned bytes)
{
	const struct x86_segment *segment = &stack->segment;
	uint64_t last = offset + bytes - 1, upper;

	if (stack->size == 8) {
		if (!x86_canonical(stack->cpu, offset) || !x86_canonical(stack->cpu, last))
			x86_raise_error(stack->cpu, X86_SS_FAULT, stack->error);
		return offset;
	}
	if ((segment->attributes & (X86_SEGMENT_CODE | X86_SEGMENT_EXPAND_DOWN)) == X86_SEGMENT_EXPAND_DOWN && stack->protected) {
		upper = segment->attributes & X86_SEGMENT_DB ? UINT32_MAX : UINT16_MAX;
		if (offset <= segment->limit || last > upper)
			x86_raise_error(stack->cpu, X86_SS_FAULT, stack->error);
	} else if (last > segment->limit) {
		x86_raise_error(stack->cpu, X86_SS_FAULT, stack->error);
	}
	return (uint32_t)(segment->base + offset);
}

void x86_stack_reserve(struct x86_stack *stack, unsigned bytes)
{
	uint64_t low = wrapped(stack, stack->pointer - bytes);

	if (low < wrapped(stack, stack->pointer) || !wrapped(stack, stack->pointer)) {
		x86_access_check(stack->cpu, stack_linear(stack, low, bytes), bytes, X86_WRITE, stack->mode);
		return;
	}
	/* The pointer wraps within these pushes: each is checked alone, in units that no push straddles. */
	for (unsigned unit = 2; unit <= bytes; unit += 2)
		x86_access_check(stack->cpu, stack_linear(stack, wrapped(stack, stack->pointer - unit), 2), 2, X86_WRITE,
				 stack->mode);
}

void x86_stack_push(struct x86_stack *stack, unsigned bytes, uint64_t value)
{
	uint64_t pointer = wrapped(stack, stack->pointer - bytes);

	x86_write_slow(stack->cpu, stack_linear(stack, pointer, bytes), bytes, value, stack->mode);
	stack->pointer = stack->size == 2 ? (stack->pointer & ~UINT64_C(0xffff)) | pointer : pointer;
}

uint64_t x86_stack_pop(struct x86_stack *stack, unsigned bytes)
{
	uint64_t pointer = wrapped(stack, stack->pointer);
	uint64_t value = x86_read_slow(stack->cpu, stack_linear(stack, pointer, bytes), bytes, stack->mode);
	uint64_t next = wrapped(stack, pointer + bytes);

	stack->pointer = stack->size == 2 ? (stack->pointer & ~UINT64_C(0xffff)) | next : next;
	return value;
}

void x86_stack_commit(const struct x86_stack *stack)
{
	uint64_t *rsp = &stack->cpu->reg[X86_RSP];

	*rsp = stack->size == 2 ? (*rsp & ~UINT64_C(0xffff)) | (stack->pointer & 0xffff) : wrapped(stack, stack->pointer);
}
