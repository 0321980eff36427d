/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vector_decode_test.c - x86_decode and the vector tables agree: every row is reached by its bytes, with the operands that were encoded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "test/cpu/native.h"
#include "test/cpu/vector_shape.h"

static bool agrees(const struct vector_row *row, const struct shape *s)
{
	bool modrm_used = row->opcode.traits & X86_MODRM;
	struct x86_insn insn;
	uint8_t bytes[16], modrm;
	unsigned length = shape_bytes(s, bytes, &modrm) - !modrm_used;

	if (x86_decode(&insn, bytes, length, 8) != X86_DECODE_OK || insn.row != &row->opcode || insn.execute != row->execute ||
	    insn.length != length)
		return false;
	for (unsigned n = 0; n < length; n++) {
		if (x86_decode(&insn, bytes, n, 8) != X86_DECODE_MORE)
			return false;
	}
	x86_decode(&insn, bytes, length, 8);
	if (insn.map != s->map || insn.opcode != s->opcode || insn.pp != s->pp || (insn.encoding != X86_LEGACY) != s->vex ||
	    insn.w != s->w || insn.l != s->l)
		return false;
	if (!modrm_used)
		return true;
	if (insn.reg != s->reg || insn.vvvv != s->vvvv || (insn.mod == 3) == s->memory ||
	    (s->has_imm && (insn.imm & 0xff) != s->imm))
		return false;
	if (!s->memory)
		return insn.rm == s->rm;
	if (s->vsib && (insn.index != (s->index == 4 ? X86_NO_REG : s->index) || insn.scale != s->scale))
		return false;
	return insn.base == X86_RSI && !insn.disp && insn.segment == X86_DS;
}

static void every_row_is_reached_by_its_bytes(void **state)
{
	unsigned failed = 0;

	(void)state;
	for (unsigned m = 0; m < 3; m++) {
		for (unsigned i = 0; i < vector_maps[m].table->rows; i++) {
			const struct vector_row *row = &vector_maps[m].table->row[i];

			for (unsigned n = 0; n < 64; n++) {
				bool memory = row->form == VECTOR_MEMORY || (row->form == VECTOR_BOTH && (n & 1));
				struct shape s = row_shape(row, vector_maps[m].map, memory && (row->opcode.traits & X86_MODRM));

				if (agrees(row, &s))
					continue;
				shape_describe(&s, row->opcode.name);
				failed++;
				break;
			}
		}
	}
	assert_int_equal(failed, 0);
}

static void x87_opcodes_and_fwait_are_reached(void **state)
{
	struct x86_insn insn;

	(void)state;
	for (unsigned code_size = 2; code_size <= 8; code_size *= 2) {
		const uint8_t fwait[] = {0x9b}, fadd[] = {0xd8, 0xc3}, fld[] = {0xdb, 0x6f, 0x10}, reserved[] = {0xd9, 0xef};

		assert_int_equal(x86_decode(&insn, fwait, 1, code_size), X86_DECODE_OK);
		assert_string_equal(insn.row->name, "fwait");
		assert_int_equal(insn.length, 1);
		assert_int_equal(x86_decode(&insn, fadd, 2, code_size), X86_DECODE_OK);
		assert_string_equal(insn.row->name, "fadd");
		assert_int_equal(insn.rm, 3);
		assert_int_equal(x86_decode(&insn, fld, 3, code_size), X86_DECODE_OK);
		assert_string_equal(insn.row->name, "fld");
		assert_int_equal(insn.row->operand_size, 10);
		assert_int_equal(insn.length, 3);
		assert_int_equal(insn.disp, 16);
		assert_int_equal(x86_decode(&insn, reserved, 2, code_size), X86_DECODE_OK);
		assert_true(insn.row->traits & X86_UNDEFINED);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_row_is_reached_by_its_bytes),
		cmocka_unit_test(x87_opcodes_and_fwait_are_reached),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
