/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vector_shape.c - see vector_shape.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "test/cpu/native.h"
#include "test/cpu/vector_shape.h"

const struct vector_map vector_maps[3] = {
	{&vector_table_0f, X86_MAP_0F},
	{&vector_table_0f38, X86_MAP_0F38},
	{&vector_table_0f3a, X86_MAP_0F3A},
};

unsigned shape_bytes(const struct shape *s, uint8_t *bytes, uint8_t *modrm)
{
	static const uint8_t prefix[] = {0, 0x66, 0xf3, 0xf2};
	unsigned n = 0, r = s->reg >> 3, x = s->vsib ? s->index >> 3 : 0, b = s->memory ? 0 : s->rm >> 3;

	if (s->vex) {
		bytes[n++] = 0xc4;
		bytes[n++] = (uint8_t)((r ^ 1) << 7 | (x ^ 1) << 6 | (b ^ 1) << 5 | s->map);
		bytes[n++] = (uint8_t)(s->w << 7 | (~s->vvvv & 15) << 3 | s->l << 2 | s->pp);
	} else {
		if (s->pp)
			bytes[n++] = prefix[s->pp];
		bytes[n++] = (uint8_t)(0x40 | s->w << 3 | r << 2 | x << 1 | b);
		bytes[n++] = 0x0f;
		if (s->map != X86_MAP_0F)
			bytes[n++] = s->map == X86_MAP_0F38 ? 0x38 : 0x3a;
	}
	bytes[n++] = s->opcode;
	*modrm = (uint8_t)((s->memory ? 0 : 0xc0) | (s->reg & 7) << 3 | (s->memory ? (s->vsib ? 4 : 6) : s->rm & 7));
	bytes[n++] = *modrm;
	if (s->vsib)
		bytes[n++] = (uint8_t)(s->scale << 6 | (s->index & 7) << 3 | 6);
	if (s->has_imm)
		bytes[n++] = s->imm;
	return n;
}

void shape_insn(const struct shape *s, struct x86_insn *insn, unsigned length)
{
	/* clang-format off */
	*insn = (struct x86_insn){
		.imm = (uint64_t)(int64_t)(int8_t)s->imm, .length = (uint8_t)length, .opcode = s->opcode, .map = s->map, .pp = s->pp,
		.encoding = s->vex ? X86_VEX3 : X86_LEGACY, .operand_size = s->w ? 8 : 4, .address_size = 8, .code_size = 8, .w = s->w, .l = s->l,
		.mod = s->memory ? 0 : 3, .reg = s->reg, .rm = s->rm, .base = s->memory ? X86_RSI : X86_NO_REG, .index = X86_NO_REG,
		.segment = X86_DS, .vvvv = s->vvvv,
	};
	/* clang-format on */
	if (s->vsib) {
		insn->index = s->index == 4 ? X86_NO_REG : s->index;
		insn->scale = s->scale;
	}
}

void shape_describe(const struct shape *s, const char *name)
{
	print_message("%s map %u op %02x pp %u vex %u l %u w %u %s reg %u rm %u vvvv %u imm %02x\n", name, s->map, s->opcode, s->pp,
		      s->vex, s->l, s->w, s->memory ? "memory" : "register", s->reg, s->rm, s->vvvv, s->imm);
}

static unsigned random_register(uint8_t kind)
{
	unsigned reg = random_below(x86_operand_is(kind, X86_OPERAND_MMX) ? 8 : 16);

	return x86_operand_is(kind, X86_OPERAND_GPR) && reg == X86_RSP ? X86_RAX : reg;
}

struct shape row_shape(const struct vector_row *row, uint8_t map, bool memory)
{
	struct shape s = {
		.map = map, .opcode = row->number, .pp = row->pp, .vex = row->vex, .memory = memory, .imm = (uint8_t)random64()};

	s.l = row->l == VECTOR_ANY ? 0 : row->l;
	s.w = row->w == VECTOR_ANY ? 0 : row->w;
	s.has_imm = row->opcode.traits & X86_IMM8;
	s.vsib = row->opcode.implicit & X86_IMPLICIT_VSIB;
	s.reg = row->digit != VECTOR_ANY ? row->digit : (uint8_t)random_register(row->opcode.reg_kind);
	s.rm = (uint8_t)random_register(row->opcode.rm_kind);
	s.vvvv = row->opcode.vvvv_kind ? (uint8_t)random_below(16) : 0;
	s.index = (uint8_t)random_below(16);
	s.scale = (uint8_t)random_below(4);
	return s;
}
