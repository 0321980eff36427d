/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vector_test.c - every row of the vector tables against the host's processor: registers, flags, MXCSR, memory and exceptions.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "test/cpu/native.h"
#include "test/cpu/vector_shape.h"

#ifdef __SANITIZE_ADDRESS__ /* slow; what is wrong with memory shows in fewer */
#define TRIALS 80
#else
#define TRIALS 250 /* a row and form */
#endif
#define MEMORY_OFFSET 2048u

/* Operands that suit the row: addresses, gather indices, masks. */
static void row_registers(const struct vector_row *row, const struct shape *s)
{
	unsigned size = row->opcode.operand_size;
	uint64_t offset = MEMORY_OFFSET;

	random_registers();
	if (row->opcode.traits & X86_MMX)
		native.gpr[X86_RBX] = 5;
	/* AMD's processors do not check the alignment of SHA's operands; the SDM (exception class 4) does. */
	if (random_below(8) == 0 && row->opcode.feature != FEATURE(SHA))
		offset += random_below(16);
	if (random_below(16) == 0) /* the last bytes, or past them */
		offset = NATIVE_AREA - size + (random_below(2) || row->opcode.feature == FEATURE(SHA) ? 0 : random_below(size + 1));
	native.gpr[X86_RSI] = (uintptr_t)native_area + offset;
	native.gpr[X86_RDI] = (uintptr_t)native_area + MEMORY_OFFSET + random_below(64);
	if (s->vsib) {
		bool wide = s->opcode & 1;

		for (unsigned i = 0; i < 4; i++) {
			int64_t index = (int)random_below(200) - 100;

			if (random_below(20) == 0)
				index = 100000;
			if (!wide)
				index = (int64_t)((uint32_t)index | (uint64_t)(uint32_t)((int)random_below(200) - 100) << 32);
			memcpy(native.ymm[s->index] + 8 * i, &index, 8);
		}
	}
	random_vector(native_area + MEMORY_OFFSET, 64);
	random_bytes(native_area + MEMORY_OFFSET - 1024, 1024);
	random_bytes(native_area + MEMORY_OFFSET + 64, 1024);
	random_vector(native_area + NATIVE_AREA - 64, 64);
	if (row->execute == x86_op_ldmxcsr && offset + 4 <= NATIVE_AREA)
		native_area[offset + 2] &= (uint8_t)~2; /* AMD's own bit MM, which no model has */
}

static bool trial(const struct vector_row *row, uint8_t map, bool memory)
{
	static uint8_t before[NATIVE_AREA], after[NATIVE_AREA];
	struct shape s = row_shape(row, map, memory);
	struct x86_insn insn;
	x86_handler *execute = NULL;
	uint8_t bytes[16], modrm;
	unsigned length;
	int expected, got;
	const char *why;
	bool modrm_used = row->opcode.traits & X86_MODRM;

	length = shape_bytes(&s, bytes, &modrm);
	if (!modrm_used)
		length--;
	row_registers(row, &s);
	shape_insn(&s, &insn, length);
	insn.row = x86_vector_decode(&insn, modrm, &execute);
	if (insn.row != &row->opcode) {
		shape_describe(&s, row->opcode.name);
		print_message("decodes to another row: %s\n", insn.row ? insn.row->name : "none");
		return false;
	}
	cpu_from_native();
	cpu_tlb_use(random_below(2));
	memcpy(before, native_area, NATIVE_AREA);
	expected = native_run(bytes, length);
	memcpy(after, native_area, NATIVE_AREA);
	memcpy(native_area, before, NATIVE_AREA);
	got = cpu_execute(execute, &insn);
	why = cpu_difference(true);
	if (expected != got || why || memcmp(after, native_area, NATIVE_AREA)) {
		shape_describe(&s, row->opcode.name);
		print_message("exception %d, native %d; %s\n", got, expected, why ? why : "memory");
		return false;
	}
	return true;
}

static void rows_behave_as_on_the_host(void **state)
{
	unsigned failed = 0;

	(void)state;
	native_begin();
	for (unsigned m = 0; m < 3; m++) {
		for (unsigned i = 0; i < vector_maps[m].table->rows; i++) {
			const struct vector_row *row = &vector_maps[m].table->row[i];
			bool good = true;

			if (row->execute == x86_op_fxsave || row->execute == x86_op_fxrstor || row->execute == x86_op_xsave ||
			    row->execute == x86_op_xsaveopt || row->execute == x86_op_xsavec || row->execute == x86_op_xrstor)
				continue; /* xsave_test.c */
			for (unsigned n = 0; n < TRIALS && good; n++) {
				bool memory = row->form == VECTOR_MEMORY || (row->form == VECTOR_BOTH && (n & 1));

				good = trial(row, vector_maps[m].map, memory && (row->opcode.traits & X86_MODRM));
			}
			failed += !good;
		}
	}
	assert_int_equal(failed, 0);
}

static void tables_are_in_order(void **state)
{
	(void)state;
	native_begin();
	for (unsigned m = 0; m < 3; m++) {
		for (unsigned i = 1; i < vector_maps[m].table->rows; i++)
			assert_true(vector_maps[m].table->row[i - 1].number <= vector_maps[m].table->row[i].number);
	}
}

/* Opcodes that the vector tables share with others, or that the host has beyond Holon's models. */
static bool foreign(const struct shape *s)
{
	if (s->map == X86_MAP_0F38)
		return s->opcode >= 0xf0 || (s->opcode >= 0x80 && s->opcode <= 0x82 && !s->vex);
	if (s->map == X86_MAP_0F3A) /* VPERMQ, VPERMPD: AMD's processors ignore W */
		return s->opcode >= 0xf0 || (s->opcode <= 1 && s->vex && !s->w);
	if (s->opcode >= 0x18 && s->opcode <= 0x27)
		return true; /* hints, control registers */
	if (!s->vex &&
	    (s->opcode < 0x10 || (s->opcode >= 0x30 && s->opcode < 0x50) || (s->opcode >= 0x80 && s->opcode < 0xc2) ||
	     s->opcode >= 0xc7) &&
	    !(s->opcode >= 0xd0 && s->opcode < 0xff))
		return true;
	if (!s->vex && s->opcode == 0xc3)
		return true; /* MOVNTI is with the integer moves */
	if (!s->vex && (s->opcode == 0x78 || s->opcode == 0x79 || (s->opcode == 0x2b && s->pp >= X86_PP_F3)))
		return true; /* SSE4A */
	return s->opcode == 0xae || s->opcode == 0xc7;
}

/* What decodes to nothing is #UD on the host; with all prefixes, forms and VEX fields. */
static void the_rest_is_undefined(void **state)
{
	unsigned failed = 0;

	(void)state;
	native_begin();
	for (unsigned n = 0; n < 3 * 256 * 4 * 24; n++) {
		struct shape s = {.map = (uint8_t)(1 + n % 3),
				  .opcode = (uint8_t)(n / 3),
				  .pp = (uint8_t)(n / 768 % 4),
				  .vex = (uint8_t)random_below(2),
				  .memory = random_below(2),
				  .imm = 0,
				  .has_imm = false};
		struct x86_insn insn;
		x86_handler *execute;
		uint8_t bytes[16], modrm;
		unsigned length;
		int got;

		s.l = s.vex ? (uint8_t)random_below(2) : 0;
		s.w = (uint8_t)random_below(2);
		s.vvvv = random_below(2) ? 0 : (uint8_t)random_below(16);
		s.reg = (uint8_t)random_below(8);
		s.rm = (uint8_t)(random_below(8));
		if (!s.vex)
			s.vvvv = s.l = 0;
		if (foreign(&s))
			continue;
		s.has_imm = s.map == X86_MAP_0F3A || (s.opcode >= 0x70 && s.opcode <= 0x73) || s.opcode == 0xc2 ||
			    (s.opcode >= 0xc4 && s.opcode <= 0xc6);
		length = shape_bytes(&s, bytes, &modrm);
		shape_insn(&s, &insn, length);
		if (x86_vector_decode(&insn, modrm, &execute))
			continue;
		random_registers();
		native.mxcsr = 0x1f80;
		memset(native.fx + 2, 0, 2);
		native.gpr[X86_RSI] = (uintptr_t)native_area + MEMORY_OFFSET;
		got = native_run(bytes, length);
		if (got == X86_UD)
			continue;
		if (failed++ < 40) {
			shape_describe(&s, "not in the tables");
			print_message("native gives %d\n", got);
		}
	}
	assert_int_equal(failed, 0);
}

static struct x86_insn simple(uint8_t pp, uint8_t opcode, bool vex)
{
	struct shape s = {.map = X86_MAP_0F, .opcode = opcode, .pp = pp, .vex = vex, .reg = 1, .rm = 2};
	struct x86_insn insn;

	shape_insn(&s, &insn, 4);
	insn.row = x86_vector_decode(&insn, 0xca, &insn.execute);
	assert_non_null(insn.row);
	return insn;
}

static int under(struct x86_insn insn, uint64_t cr0_set, uint64_t cr4_clear, uint64_t xcr0)
{
	const uint64_t cr0 = cpu.s.cr0, cr4 = cpu.s.cr4, old = cpu.s.xcr0;
	int got;

	cpu.s.cr0 |= cr0_set;
	cpu.s.cr4 &= ~cr4_clear;
	cpu.s.xcr0 = xcr0;
	got = cpu_execute(insn.execute, &insn);
	cpu.s.cr0 = cr0;
	cpu.s.cr4 = cr4;
	cpu.s.xcr0 = old;
	return got;
}

static void control_registers_gate_each_set(void **state)
{
	struct x86_insn sse = simple(X86_PP_NONE, 0x58, false), avx = simple(X86_PP_NONE, 0x58, true),
			mmx = simple(X86_PP_NONE, 0xfc, false);

	(void)state;
	native_begin();
	random_registers();
	memset(native.fx, 0, 512);
	native.mxcsr = 0x1f80;
	cpu_from_native();
	assert_int_equal(under(sse, 0, 0, 7), NATIVE_OK);
	assert_int_equal(under(sse, X86_CR0_EM, 0, 7), X86_UD);
	assert_int_equal(under(sse, X86_CR0_TS, 0, 7), X86_NM);
	assert_int_equal(under(sse, X86_CR0_TS, X86_CR4_OSFXSR, 7), X86_UD);
	assert_int_equal(under(sse, 0, X86_CR4_OSXSAVE, 1), NATIVE_OK);
	assert_int_equal(under(avx, 0, 0, 7), NATIVE_OK);
	assert_int_equal(under(avx, 0, 0, 3), X86_UD);
	assert_int_equal(under(avx, 0, X86_CR4_OSXSAVE, 7), X86_UD);
	assert_int_equal(under(avx, X86_CR0_TS, 0, 7), X86_NM);
	assert_int_equal(under(avx, X86_CR0_EM, 0, 7), NATIVE_OK);
	assert_int_equal(under(mmx, 0, X86_CR4_OSFXSR, 1), NATIVE_OK);
	assert_int_equal(under(mmx, X86_CR0_EM | X86_CR0_TS, 0, 7), X86_UD);
	assert_int_equal(under(mmx, X86_CR0_TS, 0, 7), X86_NM);
	cpu.s.x87.fsw = 0x8081;
	cpu.s.x87.fcw = 0x037e;
	assert_int_equal(under(mmx, 0, 0, 7), X86_MF);
}

static void without_osxmmexcpt_it_is_undefined(void **state)
{
	struct x86_insn divps = simple(X86_PP_NONE, 0x5e, false);

	(void)state;
	native_begin();
	random_registers();
	native.mxcsr = 0x1f80 & ~0x200u; /* division by zero is not masked */
	memset(native.ymm[2], 0, 32);
	memset(native.ymm[1], 0x3f, 32);
	cpu_from_native();
	assert_int_equal(under(divps, 0, 0, 7), X86_XM);
	assert_int_equal(cpu.s.x87.mxcsr & 0x3f, 4);
	assert_int_equal(under(divps, 0, X86_CR4_OSXMMEXCPT, 7), X86_UD);
}

static void a_model_without_the_feature_refuses(void **state)
{
	struct x86_insn haddps = simple(X86_PP_F2, 0x7c, false);

	(void)state;
	native_begin();
	random_registers();
	native.mxcsr = 0x1f80;
	cpu_from_native();
	assert_int_equal(under(haddps, 0, 0, 7), NATIVE_OK);
	cpu_model.features &= ~(UINT64_C(1) << X86_FEATURE_SSE3);
	assert_int_equal(under(haddps, 0, 0, 7), X86_UD);
	cpu_model.features = ~UINT64_C(0);
}

/* More shapes than a slice holds: it is emptied and goes on. */
static void the_stub_table_survives_being_full(void **state)
{
	(void)state;
	native_begin();
	for (unsigned n = 0; n < 40; n++) {
		for (unsigned imm = 0; imm < 256; imm++) {
			struct shape s = {.map = X86_MAP_0F,
					  .opcode = 0x70,
					  .pp = X86_PP_66,
					  .imm = (uint8_t)imm,
					  .has_imm = true,
					  .reg = 1,
					  .rm = 2,
					  .memory = n & 1};
			struct x86_insn insn;
			uint8_t expected[16];

			s.pp = (uint8_t)(1 + n / 2 % 3);
			shape_insn(&s, &insn, 5);
			insn.row = x86_vector_decode(&insn, s.memory ? 0x0e : 0xca, &insn.execute);
			random_registers();
			native.gpr[X86_RSI] = (uintptr_t)native_area;
			cpu_from_native();
			assert_int_equal(cpu_execute(insn.execute, &insn), NATIVE_OK);
			if (s.pp != X86_PP_66)
				continue;
			for (unsigned i = 0; i < 4; i++)
				memcpy(expected + 4 * i, (s.memory ? native_area : native.ymm[2]) + 4 * (imm >> 2 * i & 3), 4);
			assert_memory_equal(cpu.s.vector[1].byte, expected, 16);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tables_are_in_order),
		cmocka_unit_test(rows_behave_as_on_the_host),
		cmocka_unit_test(the_rest_is_undefined),
		cmocka_unit_test(control_registers_gate_each_set),
		cmocka_unit_test(without_osxmmexcpt_it_is_undefined),
		cmocka_unit_test(a_model_without_the_feature_refuses),
		cmocka_unit_test(the_stub_table_survives_being_full),
	};

	if (!native_setup())
		return 77; /* meson: skipped. The host has no AVX2 to compare with */
	cpu_setup();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
