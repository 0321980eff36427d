/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xsave_test.c - FXSAVE to XRSTOR against the host's images, and what a host shows no one: PKRU, 32-bit mode, the checks one by one.
 *
 * The host's pointers (FIP, FDP, FOP) are left out: AMD's processors keep them only for exceptions.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "test/cpu/native.h"

#define TRIALS 3000
#define AREA_OFFSET 1024u
#define AREA_SIZE 2752u

struct form {
	const char *name;
	uint8_t opcode, digit;
	bool restores;
};
static const struct form forms[] = {
	{"fxsave", 0xae, 0, false}, {"fxrstor", 0xae, 1, true},   {"xsave", 0xae, 4, false},
	{"xrstor", 0xae, 5, true},  {"xsaveopt", 0xae, 6, false}, {"xsavec", 0xc7, 4, false},
};
enum { FXSAVE, FXRSTOR, XSAVE, XRSTOR, XSAVEOPT, XSAVEC };

static struct x86_insn insn_of(const struct form *form, bool w, unsigned code_size)
{
	/* clang-format off */
	struct x86_insn insn = {
		.length = 4, .opcode = form->opcode, .map = X86_MAP_0F, .encoding = X86_LEGACY, .operand_size = w ? 8 : 4, .address_size = 8,
		.code_size = (uint8_t)code_size, .w = w, .mod = 0, .reg = form->digit, .base = X86_RSI, .index = X86_NO_REG, .segment = X86_DS,
	};
	/* clang-format on */

	insn.row = x86_vector_decode(&insn, (uint8_t)(form->digit << 3 | 6), &insn.execute);
	assert_non_null(insn.row);
	assert_string_equal(insn.row->name, form->name);
	return insn;
}

static uint8_t *area(void)
{
	return native_area + AREA_OFFSET;
}

static void pointers_clear(uint8_t *image)
{
	memset(image + 6, 0, 18);
}

/* A legacy region that a restore may take, sometimes with a reserved MXCSR bit (not AMD's 17). */
static void image_fill(void)
{
	uint32_t words[2];
	uint8_t keep[512];

	random_bytes(area(), AREA_SIZE);
	memcpy(keep, native.fx, 512);
	random_x87();
	memcpy(area(), native.fx, 160);
	memcpy(native.fx, keep, 512);
	words[0] = random_mxcsr() | (random_below(16) ? 0 : 0x40000);
	words[1] = 0xffff;
	memcpy(area() + 24, words, 8);
}

static void header_fill(bool compact)
{
	uint64_t header[8] = {random64() & 7};

	if (compact) {
		header[1] = UINT64_C(1) << 63 | (random64() & 7);
		header[0] &= header[1];
	}
	if (random_below(12) == 0)
		header[random_below(8)] |= UINT64_C(1) << random_below(60);
	memcpy(area() + 512, header, 64);
}

static bool trial(const struct form *form)
{
	static uint8_t before[NATIVE_AREA], after[NATIVE_AREA];
	const bool w = random_below(2);
	const uint8_t bytes[4] = {w ? 0x48 : 0x40, 0x0f, form->opcode, (uint8_t)(form->digit << 3 | 6)};
	struct x86_insn insn = insn_of(form, w, 8);
	int expected, got;
	unsigned offset;
	const char *why;

	random_registers();
	for (unsigned i = 0; i < 16; i++) { /* every component in use: hosts differ in how they notice that one is not */
		native.ymm[i][0] |= 1;
		native.ymm[i][16] |= 1;
	}
	native.fx[4] |= 1;
	image_fill();
	header_fill(random_below(2));
	native.gpr[X86_RAX] = random64();
	native.gpr[X86_RSI] = (uintptr_t)area();
	if (random_below(16) == 0)
		native.gpr[X86_RSI] += 1u << random_below(6);
	if (random_below(32) == 0 && !form->restores) /* processors may touch parts that they do not restore */
		native.gpr[X86_RSI] = (uintptr_t)native_area + NATIVE_AREA - 64 * random_below(16);
	offset = (unsigned)(native.gpr[X86_RSI] - (uintptr_t)native_area);
	cpu_from_native();
	memcpy(before, native_area, NATIVE_AREA);
	expected = native_run(bytes, 4);
	memcpy(after, native_area, NATIVE_AREA);
	memcpy(native_area, before, NATIVE_AREA);
	got = cpu_execute(insn.execute, &insn);
	if (!form->restores && offset + 32 <= NATIVE_AREA) {
		const uint32_t mask = 0xffff;

		pointers_clear(native_area + offset);
		pointers_clear(after + offset);
		if (memcmp(after + offset + 28, before + offset + 28, 4))
			memcpy(after + offset + 28, &mask, 4); /* the host's may have MM */
	}
	why = cpu_difference(true);
	if (!why && memcmp(native_area, after, NATIVE_AREA)) {
		for (unsigned i = 0; i < NATIVE_AREA && !why; i++) {
			if (native_area[i] != after[i]) {
				print_message("byte %u of the area: %02x, native %02x, before %02x\n", i - AREA_OFFSET,
					      native_area[i], after[i], before[i]);
				why = "memory";
			}
		}
	}
	if (expected == got && !why)
		return true;
	print_message("%s w %u mask %llx xstate_bv %llx xcomp_bv %llx: exception %d, native %d; %s\n", form->name, w,
		      (unsigned long long)cpu.reg[X86_RAX] & 7, (unsigned long long)*(uint64_t *)(before + AREA_OFFSET + 512),
		      (unsigned long long)*(uint64_t *)(before + AREA_OFFSET + 520), got, expected, why ? why : "");
	return false;
}

static bool host_has(const struct form *form)
{
	uint32_t eax, ebx, ecx, edx;

	__asm__("cpuid" : "=a"(eax), "=b"(ebx), "=c"(ecx), "=d"(edx) : "a"(13), "c"(1));
	return form == &forms[XSAVEOPT] ? eax & 1 : form == &forms[XSAVEC] ? eax & 2 : true;
}

static void images_are_the_hosts(void **state)
{
	uint32_t eax, edx;
	unsigned failed = 0;

	(void)state;
	native_begin();
	__asm__("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
	cpu.s.xcr0 = 7;
	for (unsigned i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		if ((i >= XSAVE && eax != 7) || !host_has(&forms[i])) {
			print_message("%s: the host cannot say (XCR0 %x)\n", forms[i].name, eax);
			continue;
		}
		for (unsigned n = 0, good = true; n < TRIALS && good; n++) {
			good = trial(&forms[i]);
			failed += !good;
		}
	}
	assert_int_equal(failed, 0);
}

static int run(unsigned form, bool w, unsigned code_size)
{
	struct x86_insn insn = insn_of(&forms[form], w, code_size);

	return cpu_execute(insn.execute, &insn);
}

static void set_up(uint64_t xcr0)
{
	native_begin();
	random_registers();
	native.mxcsr = 0x1fa0;
	native.gpr[X86_RAX] = UINT64_MAX;
	native.gpr[X86_RDX] = UINT64_MAX;
	native.gpr[X86_RSI] = (uintptr_t)area();
	memset(native_area, 0, NATIVE_AREA);
	cpu_from_native();
	cpu.s.xcr0 = xcr0;
	cpu.s.x87.fip = 0x123456789a;
	cpu.s.x87.fdp = 0xabcdef0123;
	cpu.s.x87.fop = 0x321;
	cpu.s.pkru = 0x55aa55aa;
}

static void everything_comes_back(void **state)
{
	static struct x86_state saved;

	(void)state;
	for (unsigned save = XSAVE; save <= XSAVEC; save++) {
		if (save == XRSTOR)
			continue;
		set_up(X86_XCR0_X87 | X86_XCR0_SSE | X86_XCR0_AVX | X86_XCR0_PKRU);
		saved = cpu.s;
		assert_int_equal(run(save, true, 8), NATIVE_OK);
		assert_int_equal(*(uint32_t *)(area() + (save == XSAVEC ? 832 : 0xa80)), 0x55aa55aa);
		x86_vector_reset(&cpu);
		assert_int_equal(run(XRSTOR, true, 8), NATIVE_OK);
		cpu.s.x87.mxcsr_mask = saved.x87.mxcsr_mask;
		assert_memory_equal(&cpu.s, &saved, sizeof(saved));
	}
}

static void initial_components_are_marked_and_come_back_initial(void **state)
{
	uint64_t xstate_bv;

	(void)state;
	set_up(X86_XCR0_X87 | X86_XCR0_SSE | X86_XCR0_AVX | X86_XCR0_PKRU);
	x86_vector_reset(&cpu);
	cpu.s.x87.fcw = 0x037f;
	cpu.s.x87.ftw = 0;
	cpu.s.vector[3].byte[20] = 1; /* AVX alone */
	assert_int_equal(x86_xinuse(&cpu), X86_XCR0_AVX);
	memset(area(), 0xcc, 512);
	assert_int_equal(run(XSAVEOPT, true, 8), NATIVE_OK);
	memcpy(&xstate_bv, area() + 512, 8);
	assert_int_equal(xstate_bv, X86_XCR0_AVX);
	assert_int_equal(area()[0], 0xcc);
	assert_int_equal(area()[160], 0xcc);
	assert_int_equal(area()[24], 0x80); /* MXCSR is written all the same */
	random_registers();
	native.gpr[X86_RAX] = UINT64_MAX;
	native.gpr[X86_RSI] = (uintptr_t)area();
	cpu_from_native();
	cpu.s.pkru = 7;
	assert_int_equal(run(XRSTOR, true, 8), NATIVE_OK);
	assert_int_equal(x86_xinuse(&cpu), X86_XCR0_AVX);
	assert_int_equal(cpu.s.pkru, 0);
	assert_int_equal(cpu.s.x87.mxcsr, 0x1f80);
}

static void legacy_mode_has_eight_registers_and_short_pointers(void **state)
{
	(void)state;
	for (unsigned save = FXSAVE; save <= XSAVE; save += XSAVE) {
		set_up(7);
		memset(area(), 0xcc, 512);
		memset(area() + 576, 0xcc, 256);
		assert_int_equal(run(save, false, 4), NATIVE_OK);
		assert_int_equal(*(uint64_t *)(area() + 8), 0x3456789a);
		assert_int_equal(*(uint64_t *)(area() + 16), 0xcdef0123);
		assert_memory_equal(area() + 160 + 7 * 16, cpu.s.vector[7].byte, 16);
		for (unsigned i = 160 + 8 * 16; i < 416; i++)
			assert_int_equal(area()[i], 0xcc);
		for (unsigned i = 576 + (save == XSAVE ? 128 : 0); i < 832; i++)
			assert_int_equal(area()[i], 0xcc);
		memset(area(), 0, 512);
		assert_int_equal(run(save + 1, false, 4), NATIVE_OK); /* FXRSTOR, XRSTOR */
		assert_memory_equal(cpu.s.vector[8].byte, native.ymm[8], 32);
	}
}

static void faults_change_nothing(void **state)
{
	static struct x86_state saved;

	(void)state;
	set_up(7);
	saved = cpu.s;
	*(uint64_t *)(area() + 512) = X86_XCR0_PKRU; /* not in XCR0 */
	assert_int_equal(run(XRSTOR, true, 8), X86_GP);
	*(uint64_t *)(area() + 512) = 7;
	*(uint64_t *)(area() + 520) = UINT64_C(1) << 63 | 3;
	assert_int_equal(run(XRSTOR, true, 8), X86_GP);
	*(uint64_t *)(area() + 520) = 0;
	*(uint32_t *)(area() + 24) = 0x10000;
	assert_int_equal(run(XRSTOR, true, 8), X86_GP);
	assert_int_equal(run(FXRSTOR, true, 8), X86_GP);
	cpu.reg[X86_RSI] = (uintptr_t)native_area + NATIVE_AREA - 576; /* the AVX part is missing */
	memset(native_area + NATIVE_AREA - 576, 0, 576);
	native_area[NATIVE_AREA - 64] = 4;
	assert_int_equal(run(XRSTOR, true, 8), X86_PF);
	memset(native_area, 0x11, NATIVE_AREA);
	assert_int_equal(run(XSAVE, true, 8), X86_PF);
	assert_int_equal(run(XSAVEC, true, 8), X86_PF);
	for (unsigned i = 0; i < NATIVE_AREA; i++)
		assert_int_equal(native_area[i], 0x11);
	cpu.reg[X86_RSI] = (uintptr_t)area() + 32;
	assert_int_equal(run(XSAVE, true, 8), X86_GP);
	assert_memory_equal(&cpu.s, &saved, sizeof(saved));
	cpu.s.cr4 &= ~X86_CR4_OSXSAVE;
	assert_int_equal(run(XSAVE, true, 8), X86_UD);
	cpu.s.cr4 |= X86_CR4_OSXSAVE;
	cpu.s.cr0 |= X86_CR0_TS;
	assert_int_equal(run(XSAVE, true, 8), X86_NM);
	assert_int_equal(run(FXSAVE, true, 8), X86_NM);
	cpu.s.cr0 &= ~X86_CR0_TS;
	cpu_model.features &= ~(UINT64_C(1) << X86_FEATURE_XSAVEC);
	assert_int_equal(run(XSAVEC, true, 8), X86_UD);
	cpu_model.features = ~UINT64_C(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(images_are_the_hosts),
		cmocka_unit_test(everything_comes_back),
		cmocka_unit_test(initial_components_are_marked_and_come_back_initial),
		cmocka_unit_test(legacy_mode_has_eight_registers_and_short_pointers),
		cmocka_unit_test(faults_change_nothing),
	};

	if (!native_setup())
		return 77; /* meson: skipped */
	cpu_setup();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
