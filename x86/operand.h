/* SPDX-License-Identifier: Apache-2.0 */
/*
 * operand.h - what the integer handlers share: register operands of every width, the stack, jumps, and the idioms of the host's flags.
 */
#ifndef HOLON_X86_OPERAND_H
#define HOLON_X86_OPERAND_H

#include "x86/cpu.h"
#include "x86/cpuid.h"
#include "x86/execute.h"
#include "x86/memory.h"

#define likely(condition) __builtin_expect(!!(condition), 1)
#define unlikely(condition) __builtin_expect(!!(condition), 0)

/* In inline asm with the guest's flags in AX: all of them become the host's / only CF / the host's go to AX. */
#define FLAGS_RESTORE "addb $127, %%al\n\tsahf\n\t"
#define FLAGS_RESTORE_CARRY "btl $8, %%eax\n\t"
#define FLAGS_SAVE "\n\tlahf\n\tseto %%al"

/* Bits of cpu->flags. */
#define STATUS_OF 1u
#define STATUS_CF 0x100u
#define STATUS_PF 0x400u
#define STATUS_AF 0x1000u
#define STATUS_ZF 0x4000u
#define STATUS_SF 0x8000u

/* Without REX, byte registers 4-7 are AH CH DH BH. */
static inline bool reg_high(const struct x86_insn *insn, unsigned reg)
{
	return reg >= 4 && !(insn->prefixes & X86_PREFIX_REX);
}
static inline uint8_t reg_get8(const struct x86_cpu *cpu, const struct x86_insn *insn, unsigned reg)
{
	return reg_high(insn, reg) ? (uint8_t)(cpu->reg[reg - 4] >> 8) : (uint8_t)cpu->reg[reg];
}
static inline uint16_t reg_get16(const struct x86_cpu *cpu, const struct x86_insn *insn, unsigned reg)
{
	(void)insn;
	return (uint16_t)cpu->reg[reg];
}
static inline uint32_t reg_get32(const struct x86_cpu *cpu, const struct x86_insn *insn, unsigned reg)
{
	(void)insn;
	return (uint32_t)cpu->reg[reg];
}
static inline uint64_t reg_get64(const struct x86_cpu *cpu, const struct x86_insn *insn, unsigned reg)
{
	(void)insn;
	return cpu->reg[reg];
}
static inline void reg_set8(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned reg, uint8_t value)
{
	if (reg_high(insn, reg))
		cpu->reg[reg - 4] = (cpu->reg[reg - 4] & ~UINT64_C(0xff00)) | (uint64_t)value << 8;
	else
		cpu->reg[reg] = (cpu->reg[reg] & ~UINT64_C(0xff)) | value;
}
static inline void reg_set16(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned reg, uint16_t value)
{
	(void)insn;
	cpu->reg[reg] = (cpu->reg[reg] & ~UINT64_C(0xffff)) | value;
}
static inline void reg_set32(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned reg, uint32_t value)
{
	(void)insn;
	cpu->reg[reg] = value;
}
static inline void reg_set64(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned reg, uint64_t value)
{
	(void)insn;
	cpu->reg[reg] = value;
}
/* A register seen through `size` bytes (2, 4, 8), as the stack pointer, counters and string indices are. */
static inline uint64_t width_mask(unsigned size)
{
	return size == 8 ? UINT64_MAX : size == 4 ? UINT32_MAX : UINT16_MAX;
}
static inline uint64_t reg_get_width(const struct x86_cpu *cpu, unsigned reg, unsigned size)
{
	return cpu->reg[reg] & width_mask(size);
}
static inline void reg_set_width(struct x86_cpu *cpu, unsigned reg, unsigned size, uint64_t value)
{
	if (likely(size == 8))
		cpu->reg[reg] = value;
	else if (size == 4)
		cpu->reg[reg] = (uint32_t)value;
	else
		cpu->reg[reg] = (cpu->reg[reg] & ~UINT64_C(0xffff)) | (uint16_t)value;
}

/* The value of the ModRM memory operand. */
#define OPERAND_READ(bits)                                                                                             \
	static inline uint##bits##_t operand_read##bits(struct x86_cpu *cpu, const struct x86_insn *insn)              \
	{                                                                                                              \
		return x86_read##bits(cpu, x86_operand(cpu, insn, bits / 8, false));                                   \
	}                                                                                                              \
	static inline void operand_write##bits(struct x86_cpu *cpu, const struct x86_insn *insn, uint##bits##_t value) \
	{                                                                                                              \
		x86_write##bits(cpu, x86_operand(cpu, insn, bits / 8, true), value);                                   \
	}
OPERAND_READ(8)
OPERAND_READ(16)
OPERAND_READ(32)
OPERAND_READ(64)

/* #UD unless the CPU model has the feature. */
static inline void feature_require(struct x86_cpu *cpu, enum x86_feature feature)
{
	if (unlikely(!x86_has(cpu->model, feature)))
		x86_raise(cpu, X86_UD);
}

static inline bool address_canonical(const struct x86_cpu *cpu, uint64_t address)
{
	return likely((uint64_t)((int64_t)(address << 16) >> 16) == address) ||
	       ((cpu->s.cr4 & X86_CR4_LA57) && (uint64_t)((int64_t)(address << 7) >> 7) == address);
}

/* A near branch: `target` is cut to the operand size and checked, then RIP is set. */
static inline void jump_near(struct x86_cpu *cpu, const struct x86_insn *insn, uint64_t target)
{
	if (likely(insn->code_size == 8)) {
		if (unlikely(!address_canonical(cpu, target)))
			x86_raise_error(cpu, X86_GP, 0);
	} else {
		target &= width_mask(insn->operand_size);
		if (unlikely(target > cpu->s.segment[X86_CS].limit))
			x86_raise_error(cpu, X86_GP, 0);
	}
	cpu->reg[X86_RIP] = target;
}
/* The same check without the jump, for CALL, whose push may still fault. Returns the cut target. */
static inline uint64_t jump_check(struct x86_cpu *cpu, const struct x86_insn *insn, uint64_t target)
{
	if (likely(insn->code_size == 8)) {
		if (unlikely(!address_canonical(cpu, target)))
			x86_raise_error(cpu, X86_GP, 0);
		return target;
	}
	target &= width_mask(insn->operand_size);
	if (unlikely(target > cpu->s.segment[X86_CS].limit))
		x86_raise_error(cpu, X86_GP, 0);
	return target;
}

/* The stack. The slow ways raise #SS for non-canonical addresses whatever the instruction's memory operand is. */
uint64_t x86_integer_stack_read(struct x86_cpu *cpu, uint64_t linear, unsigned size);
void x86_integer_stack_write(struct x86_cpu *cpu, uint64_t linear, unsigned size, uint64_t value);

static inline uint64_t stack_offset(const struct x86_cpu *cpu, uint64_t delta)
{
	return (cpu->reg[X86_RSP] + delta) & width_mask(cpu->stack_size);
}
static inline void stack_set(struct x86_cpu *cpu, uint64_t offset)
{
	reg_set_width(cpu, X86_RSP, cpu->stack_size, offset);
}
static inline uint64_t stack_read(struct x86_cpu *cpu, uint64_t offset, unsigned size)
{
	uint64_t linear = x86_linear(cpu, X86_SS, offset, size, false);
	const uint8_t *p = x86_tlb_hit(&cpu->tlb->read[cpu->mode], linear, size);
	uint64_t value = 0;

	if (unlikely(!p))
		return x86_integer_stack_read(cpu, linear, size);
	__builtin_memcpy(&value, p, size);
	return value;
}
static inline void stack_write(struct x86_cpu *cpu, uint64_t offset, unsigned size, uint64_t value)
{
	uint64_t linear = x86_linear(cpu, X86_SS, offset, size, true);
	uint8_t *p = x86_tlb_hit(&cpu->tlb->write[cpu->mode], linear, size);

	if (unlikely(!p))
		x86_integer_stack_write(cpu, linear, size, value);
	else
		__builtin_memcpy(p, &value, size);
}
static inline void stack_push(struct x86_cpu *cpu, unsigned size, uint64_t value)
{
	uint64_t offset = stack_offset(cpu, -(uint64_t)size);

	stack_write(cpu, offset, size, value);
	stack_set(cpu, offset);
}

/* A LOCKed instruction whose operand has no host pointer: its plain handler, alone in the VM. */
void x86_integer_exclusive(struct x86_cpu *cpu, const struct x86_insn *insn, x86_handler *plain);

#endif
