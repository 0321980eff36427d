/* SPDX-License-Identifier: Apache-2.0 */
/*
 * paravirt_test.c - KVM's paravirtual MSRs and hypercalls as engines of this process serve them: only what the CPU model offers, and whatever the guest says.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <holon/vm.h>

#include "x86/cpuid.h"

#define VCPUS 3
#define RAM_SIZE (UINT64_C(1) << 20)
#define AREA 0x4000u
#define TOKEN (AREA + 4)

static struct vm vm;
static struct vcpu vcpus[VCPUS];
static struct x86_cpu_model model;
static struct engine engine;
static uint8_t ram[RAM_SIZE] __attribute__((aligned(4096)));
static unsigned messages;
static uint64_t last_address;
static uint32_t last_data;

static void msi_heard(void *owner, uint64_t address, uint32_t data)
{
	(void)owner;
	messages++;
	last_address = address;
	last_data = data;
}

static int setup(void **state)
{
	(void)state;
	memset(&vm, 0, sizeof(vm));
	memset(vcpus, 0, sizeof(vcpus));
	memset(ram, 0, sizeof(ram));
	engine = (struct engine){.name = "toy"};
	model = (struct x86_cpu_model){.paravirt = X86_PARAVIRT};
	vm.engine = &engine;
	vm.cpu_model = &model;
	vm.irq.msi = msi_heard;
	vm.vcpus = VCPUS;
	for (unsigned i = 0; i < VCPUS; i++) {
		vcpus[i].vm = &vm;
		vcpus[i].id = i;
		vm.vcpu[i] = &vcpus[i];
	}
	assert_int_equal(guest_memory_init(&vm.memory, ram, RAM_SIZE), STATUS_OK);
	assert_int_equal(guest_memory_slot_add(&vm.memory, 0, RAM_SIZE, 0, false), STATUS_OK);
	messages = 0;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	guest_memory_destroy(&vm.memory);
	return 0;
}

static int64_t call(uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	const uint64_t argument[4] = {a, b, c, d};

	return paravirt_hypercall(&vcpus[0], true, number, argument);
}

static void nothing_is_there_that_the_model_does_not_offer(void **state)
{
	uint64_t value;

	(void)state;
	model.paravirt = 0;
	for (uint32_t msr = 0x4b564d02; msr <= 0x4b564d08; msr++) {
		assert_false(paravirt_msr_write(&vcpus[0], msr, 0));
		assert_false(paravirt_msr_read(&vcpus[0], msr, &value));
	}
	for (uint64_t number = 0; number < 16; number++)
		assert_int_equal(call(number, 1, 1, 0, 0xfd), -1000);
	paravirt_moved(&vcpus[0]);
	assert_int_equal(vcpus[0].requests, 0);
	assert_int_equal(messages, 0);
}

static void msrs_keep_what_they_may_be_given(void **state)
{
	static const struct {
		uint32_t msr;
		uint64_t good, bad;
	} rows[] = {
		{0x4b564d02, AREA | 9, AREA | 0x11}, {0x4b564d03, AREA | 1, AREA | 3},
		{0x4b564d04, AREA | 1, AREA | 3},    {0x4b564d05, 1, 2},
		{0x4b564d06, 0xf3, 0x1f3},
	};
	uint64_t value;

	(void)state;
	paravirt_reset(vcpus[0].paravirt_msr);
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_true(paravirt_msr_read(&vcpus[0], rows[i].msr, &value));
		assert_int_equal(value, rows[i].msr == 0x4b564d05);
		assert_false(paravirt_msr_write(&vcpus[0], rows[i].msr, rows[i].bad));
		assert_true(paravirt_msr_write(&vcpus[0], rows[i].msr, rows[i].good));
		assert_true(paravirt_msr_read(&vcpus[0], rows[i].msr, &value));
		assert_int_equal(value, rows[i].good);
		assert_int_equal(vcpus[1].paravirt_msr[i], 0);
	}
}

static void interrupts_go_to_those_in_the_bitmap(void **state)
{
	(void)state;
	assert_int_equal(call(10, 5, 0, 0, 0xfd), 2);
	assert_int_equal(messages, 2);
	assert_int_equal(last_address, 0xfee02000);
	assert_int_equal(last_data, 0xfd);
	assert_int_equal(call(10, 1, 0, 1, 0x400), 1); /* NMI */
	assert_int_equal(last_address, 0xfee01000);
	assert_int_equal(last_data, 0x400);
	messages = 0;
	assert_int_equal(call(10, UINT64_MAX, UINT64_MAX, 0, 0xfd), VCPUS);
	assert_int_equal(messages, VCPUS);
	messages = 0;
	assert_int_equal(call(10, UINT64_MAX, UINT64_MAX, VCPUS, 0xfd), 0);
	assert_int_equal(call(10, UINT64_MAX, UINT64_MAX, UINT64_MAX, 0xfd), 0);
	assert_int_equal(call(10, 1, 0, 0, 0x8fd), -22);
	assert_int_equal(call(10, 1, 0, 0, 0x400fd), -22);
	assert_int_equal(messages, 0);
}

static void a_kick_wakes_the_vcpu_that_is_named(void **state)
{
	(void)state;
	assert_int_equal(call(5, 0, 2, 0, 0), 0);
	assert_int_equal(vcpus[2].requests, VCPU_UNHALT);
	assert_int_equal(vcpus[0].requests | vcpus[1].requests, 0);
	assert_int_equal(call(5, 0, VCPUS, 0, 0), 0);
	assert_int_equal(call(5, 0, UINT64_MAX, 0, 0), 0);
	assert_int_equal(call(11, 1, 0, 0, 0), 0);
}

static void who_waits_for_a_page_is_woken_by_a_move(void **state)
{
	uint32_t token;

	(void)state;
	assert_true(paravirt_msr_write(&vcpus[1], 0x4b564d06, 0xf3));
	assert_true(paravirt_msr_write(&vcpus[1], 0x4b564d02, AREA | 9));
	paravirt_moved(&vcpus[1]);
	assert_int_equal(vcpus[1].requests, VCPU_UNHALT);
	memcpy(&token, ram + TOKEN, 4);
	assert_int_equal(token, UINT32_MAX);
	assert_int_equal(messages, 1);
	assert_int_equal(last_address, 0xfee01000);
	assert_int_equal(last_data, 0xf3);
	/* Not taken yet: told again after the acknowledgment, and once. */
	paravirt_moved(&vcpus[1]);
	assert_int_equal(messages, 1);
	memset(ram + TOKEN, 0, 4);
	assert_true(paravirt_msr_write(&vcpus[1], 0x4b564d07, 1));
	assert_int_equal(messages, 2);
	memset(ram + TOKEN, 0, 4);
	assert_true(paravirt_msr_write(&vcpus[1], 0x4b564d07, 1));
	assert_int_equal(messages, 2);
	/* The kernel does it for its own vcpus. */
	engine.serves_paravirt = true;
	paravirt_moved(&vcpus[1]);
	assert_int_equal(messages, 2);
	/* No RAM there. */
	engine.serves_paravirt = false;
	assert_true(paravirt_msr_write(&vcpus[1], 0x4b564d02, (UINT64_MAX & ~UINT64_C(0x3f)) | 9));
	paravirt_moved(&vcpus[1]);
	assert_int_equal(messages, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(nothing_is_there_that_the_model_does_not_offer, setup, teardown),
		cmocka_unit_test_setup_teardown(msrs_keep_what_they_may_be_given, setup, teardown),
		cmocka_unit_test_setup_teardown(interrupts_go_to_those_in_the_bitmap, setup, teardown),
		cmocka_unit_test_setup_teardown(a_kick_wakes_the_vcpu_that_is_named, setup, teardown),
		cmocka_unit_test_setup_teardown(who_waits_for_a_page_is_woken_by_a_move, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
