/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vector_masked.c - masked moves and gathers: vector instructions that touch memory element by element.
 *
 * Elements that the mask leaves out are not accessed and cannot fault. A masked store checks every element before it writes the first. A gather that
 * faults has already written what it loaded and cleared those elements' masks, so that it goes on where it was (SDM vol. 2, VPGATHERDD).
 */
#include "x86/execute.h"
#include "x86/memory.h"
#include "x86/vector.h"
#include "x86/vector_table.h"

static uint64_t element_get(const uint8_t *vector, unsigned size, unsigned i)
{
	uint64_t value = 0;

	__builtin_memcpy(&value, vector + i * size, size);
	return value;
}

static bool element_wanted(const uint8_t *mask, unsigned size, unsigned i)
{
	return mask[i * size + size - 1] & 0x80;
}

static uint64_t element_linear(struct x86_cpu *cpu, const struct x86_insn *insn, uint64_t offset, unsigned size, bool write)
{
	if (insn->address_size == 4)
		offset = (uint32_t)offset;
	else if (insn->address_size == 2)
		offset = (uint16_t)offset;
	return x86_linear(cpu, insn->segment, offset, size, write);
}

/* VMASKMOVPS (2C, 2E), VMASKMOVPD (2D, 2F), VPMASKMOVD and VPMASKMOVQ (8C, 8E, by W). */
static unsigned mask_element_size(const struct x86_insn *insn)
{
	return insn->opcode >= 0x80 ? (insn->w ? 8 : 4) : (insn->opcode & 1 ? 8 : 4);
}

/* Masked moves report no #AC whatever the mask (SDM vol. 2, table 2-23): a misaligned element goes byte by byte where alignment is checked. */
static bool element_unchecked(const struct x86_cpu *cpu, uint64_t linear, unsigned size)
{
	return (cpu->s.rflags & X86_FLAG_AC) && (linear & (size - 1));
}

static uint64_t element_load(struct x86_cpu *cpu, uint64_t linear, unsigned size)
{
	uint64_t value = 0;

	if (!element_unchecked(cpu, linear, size))
		return size == 8 ? x86_read64(cpu, linear) : x86_read32(cpu, linear);
	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)x86_read8(cpu, linear + i) << 8 * i;
	return value;
}

static void element_store(struct x86_cpu *cpu, uint64_t linear, unsigned size, uint64_t value)
{
	if (element_unchecked(cpu, linear, size)) {
		for (unsigned i = 0; i < size; i++)
			x86_write8(cpu, linear + i, (uint8_t)(value >> 8 * i));
	} else if (size == 8) {
		x86_write64(cpu, linear, value);
	} else {
		x86_write32(cpu, linear, (uint32_t)value);
	}
}

void vector_mask_load(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned size = mask_element_size(insn), elements = insn->row->operand_size / size;
	const uint8_t *mask = cpu->s.vector[insn->vvvv].byte;
	uint8_t result[32] = {0};
	uint64_t offset;

	x86_vector_check(cpu, insn);
	offset = x86_offset(cpu, insn);
	for (unsigned i = 0; i < elements; i++) {
		uint64_t linear, value;

		if (!element_wanted(mask, size, i))
			continue;
		linear = element_linear(cpu, insn, offset + i * size, size, false);
		value = element_load(cpu, linear, size);
		__builtin_memcpy(result + i * size, &value, size);
	}
	__builtin_memcpy(cpu->s.vector[insn->reg].byte, result, 32);
}

void vector_mask_store(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned size = mask_element_size(insn), elements = insn->row->operand_size / size;
	const uint8_t *mask = cpu->s.vector[insn->vvvv].byte, *from = cpu->s.vector[insn->reg].byte;
	uint64_t linear[8], offset;

	x86_vector_check(cpu, insn);
	offset = x86_offset(cpu, insn);
	for (unsigned i = 0; i < elements; i++) {
		if (!element_wanted(mask, size, i))
			continue;
		linear[i] = element_linear(cpu, insn, offset + i * size, size, true);
		x86_write_check(cpu, linear[i], size);
	}
	for (unsigned i = 0; i < elements; i++) {
		if (!element_wanted(mask, size, i))
			continue;
		element_store(cpu, linear[i], size, element_get(from, size, i));
	}
}

/* MASKMOVQ, MASKMOVDQU: bytes to DS:rDI (the segment can be overridden). */
void vector_maskmov(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	bool mmx = insn->row->traits & X86_MMX;
	unsigned segment = insn->prefixes & X86_PREFIX_SEGMENT ? insn->segment : X86_DS, size = mmx ? 8 : 16;
	uint8_t from[16], mask[16];
	uint64_t linear[16], offset;

	x86_vector_check(cpu, insn);
	if (mmx) {
		uint64_t value = mmx_get(cpu, insn->reg & 7), bits = mmx_get(cpu, insn->rm & 7);

		__builtin_memcpy(from, &value, 8);
		__builtin_memcpy(mask, &bits, 8);
	} else {
		__builtin_memcpy(from, cpu->s.vector[insn->reg].byte, 16);
		__builtin_memcpy(mask, cpu->s.vector[insn->rm].byte, 16);
	}
	offset = cpu->reg[X86_RDI];
	for (unsigned i = 0; i < size; i++) {
		uint64_t at = offset + i;

		if (!(mask[i] & 0x80))
			continue;
		if (insn->address_size != 8)
			at = insn->address_size == 4 ? (uint32_t)at : (uint16_t)at;
		linear[i] = x86_linear(cpu, segment, at, 1, true);
		x86_write_check(cpu, linear[i], 1);
	}
	for (unsigned i = 0; i < size; i++) {
		if (mask[i] & 0x80)
			x86_write8(cpu, linear[i], from[i]);
	}
	if (mmx)
		mmx_enter(cpu);
}

/*
 * 90 VPGATHERDx, 91 VPGATHERQx, 92 VGATHERDPx, 93 VGATHERQPx: an odd opcode has 64-bit indices; W: 64-bit data. There are as many elements as the
 * larger of the two sizes allows.
 */
void vector_gather(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned size = insn->row->operand_size, index_size = insn->opcode & 1 ? 8 : 4;
	unsigned larger = size > index_size ? size : index_size, elements = (insn->l ? 32 : 16) / larger;
	unsigned index_register = insn->index == X86_NO_REG ? 4 : insn->index;
	uint8_t *to = cpu->s.vector[insn->reg].byte, *mask = cpu->s.vector[insn->vvvv].byte;
	const uint8_t *index = cpu->s.vector[index_register].byte;

	x86_vector_check(cpu, insn);
	if (insn->address_size == 2 || insn->reg == insn->vvvv || insn->reg == index_register || insn->vvvv == index_register)
		x86_raise(cpu, X86_UD);
	for (unsigned i = 0; i < elements; i++) {
		uint64_t step, linear, value;

		if (element_wanted(mask, size, i)) {
			step = element_get(index, index_size, i);
			if (index_size == 4)
				step = (uint64_t)(int64_t)(int32_t)step;
			linear = element_linear(cpu, insn,
						cpu->reg[insn->base] + (step << insn->scale) + (uint64_t)(int64_t)insn->disp, size,
						false);
			value = size == 8 ? x86_read64(cpu, linear) : x86_read32(cpu, linear);
			__builtin_memcpy(to + i * size, &value, size);
		}
		__builtin_memset(mask + i * size, 0, size);
	}
	__builtin_memset(mask, 0, 32);
	__builtin_memset(to + elements * size, 0, 32 - elements * size);
}
