/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segment.h - descriptors, segment loads and stacks as far transfers, event delivery and task switches share them. Inside x86/, and for engine/jit/light.c.
 *
 * The processor's CPL is SS.DPL at all times, as VMX has it; CS.RPL equals it in protected mode. Faults leave through cpu->unwind.
 */
#ifndef HOLON_X86_SEGMENT_H
#define HOLON_X86_SEGMENT_H

#include "x86/cpu.h"

/* Types of system descriptors (SDM vol. 3, table 3-2). */
#define X86_TYPE_TSS16 1u
#define X86_TYPE_LDT 2u
#define X86_TYPE_TSS16_BUSY 3u
#define X86_TYPE_CALL_GATE16 4u
#define X86_TYPE_TASK_GATE 5u
#define X86_TYPE_INTERRUPT_GATE16 6u
#define X86_TYPE_TRAP_GATE16 7u
#define X86_TYPE_TSS32 9u
#define X86_TYPE_TSS32_BUSY 11u
#define X86_TYPE_CALL_GATE32 12u
#define X86_TYPE_INTERRUPT_GATE32 14u
#define X86_TYPE_TRAP_GATE32 15u

struct x86_descriptor {
	uint64_t low, high; /* high: the second half of a 16-byte descriptor (IA-32e mode: LDT, TSS, call gate), else 0 */
	uint64_t address;   /* linear */
	uint16_t selector;
};

static inline uint16_t x86_descriptor_attributes(const struct x86_descriptor *d)
{
	return (uint16_t)((d->low >> 40 & 0xff) | (d->low >> 52 & 15) << 12);
}
static inline unsigned x86_descriptor_dpl(const struct x86_descriptor *d)
{
	return (unsigned)(d->low >> 45) & 3;
}
static inline bool x86_descriptor_present(const struct x86_descriptor *d)
{
	return d->low >> 47 & 1;
}
/* A system descriptor's type, or 0x10 and more for code and data. */
static inline unsigned x86_descriptor_type(const struct x86_descriptor *d)
{
	return (unsigned)(d->low >> 40) & 31;
}
static inline bool x86_descriptor_code(const struct x86_descriptor *d)
{
	return (d->low >> 40 & 0x18) == 0x18;
}
static inline bool x86_descriptor_conforming(const struct x86_descriptor *d)
{
	return (d->low >> 40 & 0x1c) == 0x1c;
}
static inline bool x86_descriptor_writable_data(const struct x86_descriptor *d)
{
	return (d->low >> 40 & 0x1a) == 0x12;
}
/* A gate's fields. */
static inline uint16_t x86_gate_selector(const struct x86_descriptor *d)
{
	return (uint16_t)(d->low >> 16);
}
static inline uint64_t x86_gate_offset(const struct x86_descriptor *d)
{
	return (d->low & 0xffff) | (d->low >> 32 & 0xffff0000) | d->high << 32;
}

/* Reads the 8 bytes that a selector names from GDT or LDT. false: the null selector, or outside the table. */
bool x86_descriptor_find(struct x86_cpu *cpu, uint16_t selector, struct x86_descriptor *d);
/* The same, or the fault with the selector as its error code. */
void x86_descriptor_need(struct x86_cpu *cpu, uint16_t selector, struct x86_descriptor *d, unsigned vector);
/* In IA-32e mode a system descriptor's second half: false if it lies outside the table or its type field is not 0. */
bool x86_descriptor_high(struct x86_cpu *cpu, struct x86_descriptor *d);
void x86_descriptor_accessed(struct x86_cpu *cpu, struct x86_descriptor *d);
struct x86_segment x86_segment_of(const struct x86_descriptor *d, uint16_t selector);
/* What a null selector loads; `dpl` is kept for SS, where it is the CPL. */
struct x86_segment x86_segment_null(uint16_t selector, unsigned dpl);
struct x86_segment x86_segment_real(const struct x86_segment *before, uint16_t selector);
struct x86_segment x86_segment_vm86(uint16_t selector);

/* MOV, POP, LDS...: loads DS, ES, FS, GS or SS with all checks of the current mode. */
void x86_segment_load(struct x86_cpu *cpu, unsigned segment, uint16_t selector);
/* A descriptor fit for SS at privilege `cpl`: checks, marks accessed. `vector`: #GP for loads, #TS where the selector came from a TSS. */
struct x86_segment x86_stack_segment(struct x86_cpu *cpu, uint16_t selector, unsigned cpl, unsigned vector);
/* On a return to outer privilege: data segments that `cpl` may not use become null. */
void x86_segments_outer(struct x86_cpu *cpu, unsigned cpl);
/* LDTR: 0 or an LDT descriptor; faults with `vector` (#GP, or #TS in a task switch). */
void x86_ldtr_load(struct x86_cpu *cpu, uint16_t selector, unsigned vector);

/* segment_stack.c: pushes and pops on any stack. Everything that can fault is met by reserve (or by a pop) before the first store. */
struct x86_stack {
	struct x86_cpu *cpu;
	uint64_t pointer;
	struct x86_segment segment;
	unsigned size;  /* 2, 4, 8: how wide the pointer is */
	unsigned mode;  /* enum x86_access_mode */
	bool protected; /* expand-down segments count */
	uint32_t error; /* of #SS: 0, or a new stack's selector */
};

/* The mode of explicit data accesses at this privilege. */
unsigned x86_mode_at(const struct x86_cpu *cpu, unsigned cpl);
void x86_stack_current(struct x86_cpu *cpu, struct x86_stack *stack);
void x86_stack_new(struct x86_cpu *cpu, struct x86_stack *stack, const struct x86_segment *segment, uint64_t pointer, unsigned cpl);
void x86_stack_reserve(struct x86_stack *stack, unsigned bytes);
void x86_stack_push(struct x86_stack *stack, unsigned bytes, uint64_t value);
uint64_t x86_stack_pop(struct x86_stack *stack, unsigned bytes);
/* The pointer into rSP, as wide as the stack is. */
void x86_stack_commit(const struct x86_stack *stack);

/* transfer.c: loads CS and goes there. The caller has checked all of it. */
void x86_code_enter(struct x86_cpu *cpu, const struct x86_segment *segment, uint64_t rip);
/* #GP(0) if rip is outside the code segment, or not canonical in a 64-bit one. */
void x86_code_limit_check(struct x86_cpu *cpu, const struct x86_segment *segment, uint64_t rip);
/* RFLAGS with `allowed` bits from `value`; status flags too. Tells the engine if TF, IF or RF want attention. */
void x86_rflags_set(struct x86_cpu *cpu, uint64_t value, uint64_t allowed);

/* transfer_task.c. `source`: what causes it. has_error pushes the error code on the new task's stack. */
enum x86_task_source { X86_TASK_JMP, X86_TASK_CALL, X86_TASK_IRET, X86_TASK_EVENT };
void x86_task_switch(struct x86_cpu *cpu, enum x86_task_source source, const struct x86_descriptor *tss, uint64_t return_rip,
		     bool has_error, uint32_t error);
/* The stack for privilege `cpl` from a 16-bit or 32-bit TSS. */
void x86_task_stack(struct x86_cpu *cpu, unsigned cpl, uint16_t *ss, uint32_t *esp);
/* An RSP (index 0-2) or IST (1-7, at index 3 and up + ist) field of the 64-bit TSS at this offset. */
uint64_t x86_task_stack64(struct x86_cpu *cpu, unsigned offset);
/* I/O permission: may this program touch `size` ports from `port`? */
void x86_task_port_check(struct x86_cpu *cpu, uint16_t port, unsigned size);

/* Writes a GPR as an instruction of this operand size does (32-bit results clear the upper half). */
static inline void x86_gpr_write(struct x86_cpu *cpu, unsigned index, unsigned size, uint64_t value)
{
	switch (size) {
	case 1: cpu->reg[index] = (cpu->reg[index] & ~UINT64_C(0xff)) | (value & 0xff); break;
	case 2: cpu->reg[index] = (cpu->reg[index] & ~UINT64_C(0xffff)) | (value & 0xffff); break;
	case 4: cpu->reg[index] = (uint32_t)value; break;
	default: cpu->reg[index] = value; break;
	}
}

static inline void x86_zf_set(struct x86_cpu *cpu, bool zf)
{
	cpu->flags = x86_status_from_rflags((x86_status_to_rflags(cpu->flags) & ~X86_FLAG_ZF) | (zf ? X86_FLAG_ZF : 0));
}

#endif
