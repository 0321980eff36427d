/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vector_move.c - the vector moves that an operating system's memcpy is made of, done in C: no host registers, no stub.
 *
 * A VEX write clears what lies above it in the register, a legacy write leaves it.
 */
#include "x86/execute.h"
#include "x86/memory.h"
#include "x86/vector.h"
#include "x86/vector_table.h"

static uint64_t aligned_operand(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned size, bool write)
{
	uint64_t linear = x86_operand(cpu, insn, size, write);

	if ((insn->row->traits & X86_ALIGNED) && (linear & (size - 1)))
		x86_raise_error(cpu, X86_GP, 0);
	return linear;
}

static void upper_clear(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned reg, unsigned from)
{
	if (insn->encoding != X86_LEGACY && from < 32)
		__builtin_memset(cpu->s.vector[reg].byte + from, 0, 32 - from);
}

/* 16 or 32 bytes. */
static void vector_copy(uint8_t *to, const uint8_t *from, unsigned size)
{
	__builtin_memmove(to, from, 16);
	if (size == 32)
		__builtin_memmove(to + 16, from + 16, 16);
}

void vector_load(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned size = insn->row->operand_size;
	uint8_t *to = cpu->s.vector[insn->reg].byte;

	x86_vector_check(cpu, insn);
	if (insn->mod == 3) {
		vector_copy(to, cpu->s.vector[insn->rm].byte, size);
	} else {
		uint64_t linear = aligned_operand(cpu, insn, size, false);
		const uint8_t *from = x86_tlb_hit(&cpu->tlb->read[cpu->mode], linear, size);

		if (__builtin_expect(from != NULL, 1)) {
			vector_copy(to, from, size);
		} else {
			uint8_t bytes[32]; /* a fault half-way must leave the register as it was */

			x86_read_bytes(cpu, linear, bytes, size);
			vector_copy(to, bytes, size);
		}
	}
	upper_clear(cpu, insn, insn->reg, size);
}

void vector_store(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned size = insn->row->operand_size;
	const uint8_t *from = cpu->s.vector[insn->reg].byte;

	x86_vector_check(cpu, insn);
	if (insn->mod == 3) {
		vector_copy(cpu->s.vector[insn->rm].byte, from, size);
		upper_clear(cpu, insn, insn->rm, size);
	} else {
		uint64_t linear = aligned_operand(cpu, insn, size, true);
		uint8_t *to = x86_tlb_hit(&cpu->tlb->write[cpu->mode], linear, size);

		if (__builtin_expect(to != NULL, 1))
			vector_copy(to, from, size);
		else
			x86_write_bytes(cpu, linear, from, size);
	}
}

static uint64_t element_read(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned size)
{
	uint64_t linear = x86_operand(cpu, insn, size, false);

	return size == 8 ? x86_read64(cpu, linear) : x86_read32(cpu, linear);
}

static void element_write(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned size, uint64_t value)
{
	uint64_t linear = x86_operand(cpu, insn, size, true);

	if (size == 8)
		x86_write64(cpu, linear, value);
	else
		x86_write32(cpu, linear, (uint32_t)value);
}

static uint64_t quad_get(const struct x86_cpu *cpu, unsigned reg, unsigned offset)
{
	uint64_t value;

	__builtin_memcpy(&value, cpu->s.vector[reg].byte + offset, 8);
	return value;
}

/* The value, zero-extended to 128 bits. */
static void quad_set(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned reg, uint64_t value)
{
	__builtin_memcpy(cpu->s.vector[reg].byte, &value, 8);
	__builtin_memset(cpu->s.vector[reg].byte + 8, 0, 8);
	upper_clear(cpu, insn, reg, 16);
}

/* MOVSS, MOVSD from memory. */
void vector_scalar_load(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	x86_vector_check(cpu, insn);
	quad_set(cpu, insn, insn->reg, element_read(cpu, insn, insn->row->operand_size));
}

void vector_scalar_store(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	x86_vector_check(cpu, insn);
	element_write(cpu, insn, insn->row->operand_size, quad_get(cpu, insn->reg, 0));
}

/* Legacy MOVSS, MOVSD between registers: the low element alone. 0F 10: rm to reg, 0F 11: reg to rm. */
void vector_scalar_move(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned to = insn->opcode & 1 ? insn->rm : insn->reg, from = insn->opcode & 1 ? insn->reg : insn->rm;

	x86_vector_check(cpu, insn);
	__builtin_memmove(cpu->s.vector[to].byte, cpu->s.vector[from].byte, insn->pp == X86_PP_F2 ? 8 : 4);
}

/* MOVLPS, MOVLPD (0F 12, 13), MOVHPS, MOVHPD (0F 16, 17) with memory: even loads, odd stores. */
void vector_half_load(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned offset = insn->opcode & 4 ? 8 : 0;

	x86_vector_check(cpu, insn);
	if (insn->opcode & 1) {
		element_write(cpu, insn, 8, quad_get(cpu, insn->reg, offset));
	} else {
		uint64_t value = element_read(cpu, insn, 8);

		__builtin_memcpy(cpu->s.vector[insn->reg].byte + offset, &value, 8);
	}
}

/* MOVD, MOVQ with a GPR or memory. */
void vector_gpr_load(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned size = insn->row->operand_size;
	uint64_t value;

	x86_vector_check(cpu, insn);
	if (insn->mod != 3)
		value = element_read(cpu, insn, size);
	else
		value = size == 8 ? cpu->reg[insn->rm] : (uint32_t)cpu->reg[insn->rm];
	quad_set(cpu, insn, insn->reg, value);
}

void vector_gpr_store(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned size = insn->row->operand_size;
	uint64_t value;

	x86_vector_check(cpu, insn);
	value = quad_get(cpu, insn->reg, 0);
	if (insn->mod != 3)
		element_write(cpu, insn, size, value);
	else
		cpu->reg[insn->rm] = size == 8 ? value : (uint32_t)value;
}

/* MOVQ between vector registers or with memory: F3 0F 7E, 66 0F D6. */
void vector_quad_load(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	x86_vector_check(cpu, insn);
	quad_set(cpu, insn, insn->reg, insn->mod != 3 ? element_read(cpu, insn, 8) : quad_get(cpu, insn->rm, 0));
}

void vector_quad_store(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t value;

	x86_vector_check(cpu, insn);
	value = quad_get(cpu, insn->reg, 0);
	if (insn->mod != 3)
		element_write(cpu, insn, 8, value);
	else
		quad_set(cpu, insn, insn->rm, value);
}

/* PXOR, XORPS, XORPD: between registers (most often a register with itself) here, with memory on the host. */
void vector_xor(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	bool vex = insn->encoding != X86_LEGACY;
	unsigned size = insn->row->operand_size, first = vex ? insn->vvvv : insn->reg;

	if (insn->mod != 3) {
		vector_run(cpu, insn);
		return;
	}
	x86_vector_check(cpu, insn);
	for (unsigned i = 0; i < size; i += 8) {
		uint64_t value = quad_get(cpu, first, i) ^ quad_get(cpu, insn->rm, i);

		__builtin_memcpy(cpu->s.vector[insn->reg].byte + i, &value, 8);
	}
	upper_clear(cpu, insn, insn->reg, size);
}

/* VZEROUPPER (L = 0), VZEROALL (L = 1). Outside 64-bit mode registers 8-15 stay. */
void vector_zero(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned registers = insn->code_size == 8 ? 16 : 8, from = insn->l ? 0 : 16;

	x86_vector_check(cpu, insn);
	for (unsigned i = 0; i < registers; i++)
		upper_clear(cpu, insn, i, from);
}
