/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpuid_test.c - CPU models and CPUID's leaves: levels complete, leaves consistent with each other and with CR4, XCR0 and the host; MSRs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "test/cpu/machine.h"
#include "x86/control.h"

static struct x86_cpuid_leaf ask(uint32_t leaf, uint32_t subleaf)
{
	return x86_cpuid(&m.cpu, leaf, subleaf);
}

static void test_unknown_model_is_refused_by_name(void **state)
{
	struct x86_cpu_model model;
	struct reason why = {""};

	(void)state;
	assert_int_equal(x86_cpu_model_find(&model, "pentium", 1, 1000000, &why), STATUS_NOT_FOUND);
	assert_non_null(strstr(why.text, "pentium"));
	assert_non_null(strstr(why.text, "x86-64-v2, x86-64-v3, host or max"));
}

/* psABI: what a level's programs may take for granted, as CPUID bits. */
static void test_levels_have_what_the_psabi_says(void **state)
{
	(void)state;
	machine_create("x86-64-v2");
	assert_int_equal(ask(1, 0).ecx & 0x00982201, 0x00982201); /* SSE3 SSSE3 CX16 SSE4.1 SSE4.2 POPCNT */
	assert_int_equal(ask(0x80000001, 0).ecx & 1, 1);          /* LAHF-SAHF */
	assert_int_equal(ask(1, 0).edx & 0x07808111, 0x07808111); /* FPU TSC CX8 CMOV MMX FXSR SSE SSE2 */
	assert_int_equal(ask(1, 0).ecx & 0x1000, 0);              /* no FMA */
	machine_destroy();
	machine_create("x86-64-v3");
	assert_int_equal(ask(1, 0).ecx & 0x34c01000, 0x34400000 | (ask(1, 0).ecx & 0x00801000)); /* AVX F16C XSAVE MOVBE */
	assert_int_equal(ask(1, 0).ecx & 0x1000, 0x1000);                                        /* FMA */
	assert_int_equal(ask(7, 0).ebx & 0x128, 0x128);                                          /* BMI1 AVX2 BMI2 */
	assert_int_equal(ask(0x80000001, 0).ecx & 0x20, 0x20);                                   /* LZCNT */
	machine_destroy();
}

static void test_named_models_do_not_depend_on_the_host(void **state)
{
	(void)state;
	machine_create("x86-64-v3");
	assert_true(m.model.intel);
	assert_int_equal(ask(0, 0).ebx, 0x756e6547);
	assert_int_equal(ask(1, 0).eax, 0x30661);
	assert_int_equal(m.model.linear_bits, 48);
	assert_int_equal(ask(7, 0).ecx & X86_BIT(16), 0);
	machine_destroy();
}

static void test_hypervisor_leaves(void **state)
{
	struct x86_cpuid_leaf leaf;
	char signature[13] = "";

	(void)state;
	assert_true(ask(1, 0).ecx >> 31);
	leaf = ask(0x40000000, 0);
	memcpy(signature, &leaf.ebx, 4);
	memcpy(signature + 4, &leaf.ecx, 4);
	memcpy(signature + 8, &leaf.edx, 4);
	assert_string_equal(signature, "KVMKVMKVM");
	assert_int_equal(leaf.eax, 0x40000010);
	assert_int_equal(ask(0x40000001, 0).eax, 1u << 3 | 1u << 1 | 1u << 24);
	assert_int_equal(ask(0x40000010, 0).eax, 2994373);
	assert_int_equal(ask(0x40000010, 0).ebx, 1000000);
	assert_int_equal(ask(0x40000005, 0).eax, 0);
}

static void test_frequency_leaves(void **state)
{
	static const uint32_t khz[] = {1000000, 2994373, 2445420, 4000000, 4999937, 1000100, 100000, 3700013};
	static const uint32_t parts[] = {1000000, 500000, 500000, 1000000, 70000, 8000, 1000000, 200000}; /* one in so many */

	(void)state;
	for (unsigned i = 0; i < sizeof(khz) / sizeof(khz[0]); i++) {
		struct x86_cpu_model model;
		struct reason why;

		assert_int_equal(x86_cpu_model_find(&model, "max", 1, khz[i], &why), STATUS_OK);
		for (unsigned j = 0; j < model.leaves; j++)
			if (model.leaf[j].leaf == 0x15) {
				uint32_t crystal_khz = model.leaf[j].ecx / 1000;
				/* As Linux's native_calibrate_tsc multiplies: in 32 bits. */
				uint32_t got = crystal_khz * model.leaf[j].ebx / model.leaf[j].eax;

				assert_int_equal(crystal_khz, 1000000);
				assert_in_range(got, khz[i] - khz[i] / parts[i] - 1, khz[i] + khz[i] / parts[i] + 1);
			}
	}
}

static void test_xsave_sizes_follow_xcr0(void **state)
{
	uint32_t end = 0;

	(void)state;
	assert_int_equal(ask(0xd, 0).eax, m.model.xcr0_allowed);
	m.cpu.s.xcr0 = X86_XCR0_X87;
	assert_int_equal(ask(0xd, 0).ebx, 576);
	for (unsigned i = 2; i < 63; i++)
		if (m.model.xcr0_allowed >> i & 1) {
			struct x86_cpuid_leaf leaf = ask(0xd, i);

			assert_true(leaf.eax);
			assert_true(leaf.ebx >= 576);
			if (leaf.ebx + leaf.eax > end)
				end = leaf.ebx + leaf.eax;
		} else {
			assert_int_equal(ask(0xd, i).eax, 0);
		}
	assert_int_equal(ask(0xd, 0).ecx, end);
	m.cpu.s.xcr0 = m.model.xcr0_allowed;
	assert_int_equal(ask(0xd, 0).ebx, end);
	if (m.model.xcr0_allowed & X86_XCR0_AVX)
		assert_int_equal(ask(0xd, 1).ebx, 576 + 256 + 8);
	assert_int_equal(ask(0xd, 1).eax & 8, 0); /* no XSAVES */
}

static void test_dynamic_bits(void **state)
{
	(void)state;
	m.cpu.id = 3;
	assert_int_equal(ask(1, 0).ebx >> 24, 3);
	assert_int_equal(ask(1, 0).ebx >> 16 & 0xff, 4);
	assert_int_equal(ask(0xb, 0).edx, 3);
	assert_int_equal(ask(0xb, 1).eax, 2); /* 4 cpus: the package is 2 bits up */
	assert_int_equal(ask(0xb, 1).ebx, 4);
	assert_int_equal(ask(0x1f, 7).ecx, 7);
	assert_int_equal(ask(1, 0).ecx >> 27 & 1, 0);
	m.cpu.s.cr4 |= X86_CR4_OSXSAVE | X86_CR4_PKE;
	assert_int_equal(ask(1, 0).ecx >> 27 & 1, 1);
	assert_int_equal(ask(7, 0).ecx >> 4 & 1, 1);
	/* Undefined basic leaves: the highest one's data. */
	assert_int_equal(ask(0x12345, 1).ebx, ask(0x1f, 1).ebx);
	m.cpu.id = 0;
	assert_true(ask(1, 0).edx & X86_BIT(9));
	m.apic_base = UINT64_MAX; /* disabled */
	assert_false(ask(1, 0).edx & X86_BIT(9));
}

static void test_cr4_allows_what_cpuid_offers(void **state)
{
	static const struct {
		uint32_t leaf, reg, bit;
		uint64_t cr4;
	} rules[] = {
		{1, 2, 17, X86_CR4_PCIDE}, {1, 2, 26, X86_CR4_OSXSAVE}, {7, 1, 0, X86_CR4_FSGSBASE},
		{7, 1, 7, X86_CR4_SMEP},   {7, 1, 20, X86_CR4_SMAP},    {7, 2, 2, X86_CR4_UMIP},
		{7, 2, 3, X86_CR4_PKE},    {7, 2, 16, X86_CR4_LA57},    {1, 3, 1, X86_CR4_VME},
	};
	static const char *const names[] = {"x86-64-v2", "x86-64-v3", "host", "max"};

	(void)state;
	for (unsigned n = 0; n < 4; n++) {
		machine_create(names[n]);
		for (unsigned i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
			struct x86_cpuid_leaf leaf = ask(rules[i].leaf, 0);
			uint32_t reg[4] = {leaf.eax, leaf.ebx, leaf.ecx, leaf.edx};

			assert_int_equal(reg[rules[i].reg] >> rules[i].bit & 1, !!(m.model.cr4_allowed & rules[i].cr4));
		}
		assert_true(m.model.leaves <= X86_CPUID_LEAVES);
		assert_int_equal(ask(1, 0).ecx & 8, 0); /* no MONITOR */
		machine_destroy();
	}
}

static void test_msrs(void **state)
{
	uint64_t value;

	(void)state;
	/* TSC and its adjustment are one thing. */
	m.tsc = 1000;
	assert_true(x86_msr_write(&m.cpu, X86_MSR_TSC, 5000));
	assert_true(x86_msr_read(&m.cpu, X86_MSR_TSC_ADJUST, &value));
	assert_int_equal(value, 4000);
	assert_true(x86_msr_write(&m.cpu, X86_MSR_TSC_ADJUST, 7));
	assert_true(x86_msr_read(&m.cpu, X86_MSR_TSC, &value));
	assert_int_equal(value, 1007);
	/* Values that cannot be are refused. */
	assert_false(x86_msr_write(&m.cpu, X86_MSR_LSTAR, UINT64_C(0x800000000000)));
	assert_false(x86_msr_write(&m.cpu, X86_MSR_TSC_AUX, UINT64_C(1) << 32));
	assert_false(x86_msr_write(&m.cpu, X86_MSR_PAT, 2));
	assert_true(x86_msr_write(&m.cpu, X86_MSR_PAT, UINT64_C(0x0707060504010100)));
	assert_false(x86_msr_write(&m.cpu, 0x200, UINT64_C(1) << 50));
	assert_false(x86_msr_write(&m.cpu, 0x200, 2));
	assert_true(x86_msr_write(&m.cpu, 0x201, 0x800));
	assert_false(x86_msr_write(&m.cpu, 0xfe, 0));
	assert_false(x86_msr_write(&m.cpu, X86_MSR_EFER, X86_BIT(1)));
	assert_true(x86_msr_write(&m.cpu, X86_MSR_EFER, X86_EFER_LME | X86_EFER_LMA)); /* LMA is not written */
	assert_int_equal(m.cpu.s.efer, X86_EFER_LME);
	assert_true(x86_msr_read(&m.cpu, X86_MSR_ARCH_CAPABILITIES, &value));
	assert_true(value & 1); /* RDCL_NO */
	/* The machine's, and nobody's. */
	assert_true(x86_msr_read(&m.cpu, 0x4b564d01, &value));
	assert_int_equal(value, 0x1234);
	assert_false(x86_msr_read(&m.cpu, 0x12345678, &value));
	assert_false(x86_msr_read(&m.cpu, 0xc0010010, &value)); /* AMD's, on an Intel model */
	m.model.intel = false;
	assert_true(x86_msr_read(&m.cpu, 0xc0011029, &value));
	assert_int_equal(value, 2); /* LFENCE serialises */
	assert_false(x86_msr_read(&m.cpu, X86_MSR_ARCH_CAPABILITIES, &value));
}

/* The guest's deadline is in its own TSC, the APIC's in the platform's. */
static void test_tsc_deadline_follows_the_adjusted_tsc(void **state)
{
	uint64_t value;

	(void)state;
	m.tsc = 1000;
	assert_true(x86_msr_write(&m.cpu, X86_MSR_TSC_ADJUST, 500));
	assert_int_equal(m.apic.tsc_deadline, 0);
	assert_true(x86_msr_write(&m.cpu, X86_MSR_TSC_DEADLINE, 1600));
	assert_int_equal(m.apic.tsc_deadline, 1100);
	assert_true(x86_msr_read(&m.cpu, X86_MSR_TSC_DEADLINE, &value));
	assert_int_equal(value, 1600);
	/* Armed while the TSC changes: the same value of the new TSC. */
	assert_true(x86_msr_write(&m.cpu, X86_MSR_TSC_ADJUST, 400));
	assert_int_equal(m.apic.tsc_deadline, 1200);
	assert_true(x86_msr_write(&m.cpu, X86_MSR_TSC, 100)); /* an adjustment of -900 */
	assert_int_equal(m.apic.tsc_deadline, 2500);
	assert_true(x86_msr_read(&m.cpu, X86_MSR_TSC_DEADLINE, &value));
	assert_int_equal(value, 1600);
	/* In the past: at once, however far; beyond the platform's end: as late as can be; 0 disarms. */
	assert_true(x86_msr_write(&m.cpu, X86_MSR_TSC_DEADLINE, 100));
	assert_in_range(m.apic.tsc_deadline, 1, 1000);
	assert_true(x86_msr_write(&m.cpu, X86_MSR_TSC_DEADLINE, UINT64_MAX));
	assert_int_equal(m.apic.tsc_deadline, UINT64_MAX);
	assert_true(x86_msr_write(&m.cpu, X86_MSR_TSC_ADJUST, 5000));
	assert_true(x86_msr_write(&m.cpu, X86_MSR_TSC_DEADLINE, 1));
	assert_in_range(m.apic.tsc_deadline, 1, 1000);
	assert_true(x86_msr_write(&m.cpu, X86_MSR_TSC_DEADLINE, 0));
	assert_int_equal(m.apic.tsc_deadline, 0);
	assert_true(x86_msr_read(&m.cpu, X86_MSR_TSC_DEADLINE, &value));
	assert_int_equal(value, 0);
}

static void test_xgetbv_1_names_the_state_in_use(void **state)
{
	uint64_t all = m.model.xcr0_allowed;

	(void)state;
	if (!x86_has(&m.model, X86_FEATURE_XGETBV1))
		skip();
	for (unsigned i = 0; i < 3; i++) {
		machine_long(0);
		m.cpu.s.cr4 |= X86_CR4_OSXSAVE;
		m.cpu.s.xcr0 = i == 2 ? X86_XCR0_X87 | X86_XCR0_SSE : all;
		m.cpu.s.x87 = (struct x86_x87){.fcw = 0x37f, .mxcsr = 0x1f80};
		memset(m.cpu.s.vector, 0, sizeof(m.cpu.s.vector));
		m.cpu.s.pkru = 0;
		if (i)
			m.cpu.s.vector[3].byte[20] = 1; /* the upper half of YMM3 */
		m.cpu.reg[X86_RCX] = 1;
		CODE(CODE_BASE, 0x0f, 0x01, 0xd0);
		machine_step(1);
		assert_int_equal(m.cpu.reg[X86_RAX], i == 1 ? X86_XCR0_AVX & all : 0);
		assert_int_equal(m.cpu.reg[X86_RDX], 0);
	}
}

/* What every host would answer differently is said as Holon's own x87 does it; SSE4A is not executed. */
static void test_features_that_are_not_the_hosts(void **state)
{
	static const char *const names[] = {"x86-64-v2", "x86-64-v3", "host", "max"};

	(void)state;
	for (unsigned n = 0; n < 4; n++) {
		machine_create(names[n]);
		assert_int_equal(ask(7, 0).ebx & X86_BIT(6), 0);          /* FDP_EXCPTN_ONLY */
		assert_int_equal(ask(7, 0).ebx >> 13 & 1, m.model.intel); /* FCS and FDS read as 0 */
		assert_int_equal(ask(0x80000001, 0).ecx & X86_BIT(6), 0); /* SSE4A */
		machine_destroy();
	}
}

static void test_instructions_refuse_what_is_not_offered(void **state)
{
	static const struct {
		uint8_t bytes[4];
		unsigned vector;
	} rows[] = {
		{{0x0f, 0x01, 0xc8}, X86_UD},       /* MONITOR */
		{{0x0f, 0x01, 0xc9}, X86_UD},       /* MWAIT */
		{{0x0f, 0x33}, X86_GP},             /* RDPMC */
		{{0x0f, 0x01, 0xd0}, X86_UD},       /* XGETBV without OSXSAVE */
		{{0x0f, 0x01, 0xee}, X86_UD},       /* RDPKRU without PKE */
		{{0xf3, 0x0f, 0xae, 0xc0}, X86_UD}, /* RDFSBASE without FSGSBASE */
		{{0x0f, 0x22, 0xc8}, X86_UD},       /* MOV CR1 */
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		machine_long(0);
		machine_code(CODE_BASE, rows[i].bytes, 4);
		machine_step(1);
		assert_true(in_handler(rows[i].vector));
	}
	machine_long(0);
	CODE(CODE_BASE, 0x0f, 0x01, 0xc1); /* VMCALL */
	machine_step(1);
	assert_true(m.cpu.reg[X86_RAX] == (uint64_t)-1000);
	machine_long(3);
	CODE(CODE_BASE, 0x0f, 0x30); /* WRMSR at CPL 3 */
	machine_step(1);
	assert_true(in_handler(X86_GP));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, machine_setup, machine_teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unknown_model_is_refused_by_name),
		cmocka_unit_test(test_levels_have_what_the_psabi_says),
		cmocka_unit_test(test_named_models_do_not_depend_on_the_host),
		TEST(test_hypervisor_leaves),
		cmocka_unit_test(test_frequency_leaves),
		TEST(test_xsave_sizes_follow_xcr0),
		TEST(test_dynamic_bits),
		cmocka_unit_test(test_cr4_allows_what_cpuid_offers),
		TEST(test_msrs),
		TEST(test_tsc_deadline_follows_the_adjusted_tsc),
		TEST(test_xgetbv_1_names_the_state_in_use),
		cmocka_unit_test(test_features_that_are_not_the_hosts),
		TEST(test_instructions_refuse_what_is_not_offered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
