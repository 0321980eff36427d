/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exclusive_test.c - exclusive sections, and the life of a VM (start, pause, reset, end), with an engine whose guest is a C loop.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <holon/vm.h>

#include "x86/cpu.h"
#include "x86/state.h"

#define VCPUS 4
#define RAM_SIZE (UINT64_C(16) << 20)

/* The engine: "guest code" calls body() again and again, in the guest, until it is kicked. */
struct toy {
	_Atomic bool kicked;
	enum run_end end; /* what vcpu_run returns at its next call, if not KICKED */
	_Atomic unsigned rounds;
	struct x86_state state;
};
static struct toy toys[VCPUS];
static void (*body)(struct vcpu *vcpu);
static unsigned boots;

static enum status toy_create(struct vcpu *vcpu, struct reason *why)
{
	(void)why;
	memset(&toys[vcpu->id], 0, sizeof(toys[0]));
	vcpu->engine = &toys[vcpu->id];
	return STATUS_OK;
}

static void toy_destroy(struct vcpu *vcpu)
{
	vcpu->engine = NULL;
}

static void toy_kick(struct vcpu *vcpu)
{
	((struct toy *)vcpu->engine)->kicked = true;
}

static enum run_end toy_run(struct vcpu *vcpu)
{
	struct toy *toy = vcpu->engine;

	if (toy->end != RUN_KICKED)
		return toy->end;
	exclusive_vcpu_enter(vcpu);
	while (!toy->kicked) {
		toy->rounds++;
		if (body)
			body(vcpu);
	}
	toy->kicked = false;
	exclusive_vcpu_leave(vcpu);
	return RUN_KICKED;
}

static enum status toy_get(struct vcpu *vcpu, struct x86_state *out)
{
	*out = ((struct toy *)vcpu->engine)->state;
	return STATUS_OK;
}

static enum status toy_set(struct vcpu *vcpu, const struct x86_state *in)
{
	((struct toy *)vcpu->engine)->state = *in;
	return STATUS_OK;
}

static const struct engine toy_engine = {
	.name = "toy",
	.vcpu_create = toy_create,
	.vcpu_destroy = toy_destroy,
	.vcpu_run = toy_run,
	.vcpu_kick = toy_kick,
	.vcpu_get = toy_get,
	.vcpu_set = toy_set,
};

static struct vm vm;
static struct vm_config config;
static uint8_t *ram;

static void boot(void *board)
{
	(void)board;
	boots++;
}

static int setup(void **state)
{
	struct reason why;

	(void)state;
	config = (struct vm_config){.cpus = VCPUS, .memory = RAM_SIZE, .cmdline = ""};
	ram = host_allocate(RAM_SIZE);
	assert_non_null(ram);
	assert_int_equal(vm_create(&vm, &config, &toy_engine, ram, &why), STATUS_OK);
	assert_int_equal(guest_memory_slot_add(&vm.memory, 0, RAM_SIZE, 0, false), STATUS_OK);
	vm.boot = boot;
	boots = 0;
	body = NULL;
	assert_int_equal(vm_vcpus_create(&vm, &why), STATUS_OK);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	vm_destroy(&vm);
	host_free(ram, RAM_SIZE);
	return 0;
}

static void wait_for_rounds(unsigned id, unsigned more)
{
	unsigned from = toys[id].rounds;

	while (toys[id].rounds - from < more)
		host_yield();
}

/* Sections from inside the guest, several at once, on data that only they protect. */
static unsigned counter; /* plain: ThreadSanitizer and lost updates would tell */
static _Atomic unsigned inside;
static _Atomic unsigned overlaps;

static void count_alone(void *argument)
{
	(void)argument;
	if (inside++)
		overlaps++;
	counter++;
	inside--;
}

static void body_of_sections(struct vcpu *vcpu)
{
	struct toy *toy = vcpu->engine;

	if (inside)
		overlaps++; /* somebody's section runs and we are in the guest */
	if (toy->rounds <= 2000 && toy->rounds % 2 == vcpu->id % 2)
		vcpu_platform.exclusive(vcpu, count_alone, NULL);
	else if (toy->rounds > 2000)
		host_yield();
}

static void sections_of_all_vcpus_at_once_are_exclusive(void **state)
{
	unsigned i, before = 0;

	(void)state;
	counter = 0;
	overlaps = 0;
	body = body_of_sections;
	assert_int_equal(vm_start(&vm, NULL), STATUS_OK);
	for (i = 0; i < 200; i++, before++)
		exclusive_run(&vm, NULL, count_alone, NULL);
	for (i = 0; i < VCPUS; i++)
		while (toys[i].rounds < 2001)
			host_yield();
	vm_end_request(&vm, VM_END_POWER_OFF);
	assert_int_equal(vm_wait(&vm), 0);
	assert_int_equal(overlaps, 0);
	assert_int_equal(counter, before + VCPUS * 1000);
}

static void a_pause_stops_every_vcpu_and_the_clock(void **state)
{
	unsigned rounds[VCPUS], i, n;
	uint64_t ns;

	(void)state;
	body = NULL;
	assert_int_equal(vm_start(&vm, NULL), STATUS_OK);
	for (n = 0; n < 20; n++) {
		wait_for_rounds(n % VCPUS, 10);
		vm_pause(&vm);
		ns = vm_clock_ns(&vm.clock);
		for (i = 0; i < VCPUS; i++)
			rounds[i] = toys[i].rounds;
		host_yield();
		for (i = 0; i < VCPUS; i++) {
			assert_true(vm.vcpu[i]->stopped);
			assert_int_equal(rounds[i], toys[i].rounds);
		}
		assert_true(vm_clock_ns(&vm.clock) == ns);
		vm_resume(&vm);
	}
	wait_for_rounds(VCPUS - 1, 10);
	vm_end_request(&vm, VM_END_POWER_OFF);
	vm_end_request(&vm, VM_END_CRASH); /* the first wins */
	assert_int_equal(vm_wait(&vm), 0);
}

static void vcpus_start_in_the_reset_state(void **state)
{
	(void)state;
	vm_end_request(&vm, VM_END_POWER_OFF);
	assert_int_equal(vm_start(&vm, NULL), STATUS_OK);
	assert_int_equal(vm_wait(&vm), 0);
	assert_int_equal(boots, 1);
	assert_int_equal(toys[0].state.rip, 0xfff0);
	assert_int_equal(toys[0].state.segment[X86_CS].base, 0xffff0000);
	assert_int_equal(toys[0].state.segment[X86_CS].selector, 0xf000);
	assert_int_equal(toys[0].state.cr0, 0x60000010);
	assert_int_equal(toys[0].state.activity, X86_RUNNING);
	assert_int_equal(toys[1].state.activity, X86_WAIT_FOR_SIPI);
}

static unsigned resets_seen;

static void device_reset(void *object)
{
	(void)object;
	resets_seen++;
	if (resets_seen == 4)
		vm_end_request(&vm, VM_END_POWER_OFF);
}

static void body_that_resets(struct vcpu *vcpu)
{
	if (vcpu->id == 2)
		vm_reset_request(vcpu->vm);
}

static void a_reset_rebuilds_the_machine(void **state)
{
	static struct device device;

	(void)state;
	resets_seen = 0;
	device = (struct device){.name = "probe", .reset = device_reset};
	vm_device_add(&vm, &device);
	body = body_that_resets;
	assert_int_equal(vm_start(&vm, NULL), STATUS_OK);
	assert_int_equal(vm_wait(&vm), 0); /* ended by the fourth reset */
	assert_int_equal(resets_seen, 4);
	assert_int_equal(boots, 4);
}

static void a_reset_ends_the_vm_under_no_reboot(void **state)
{
	(void)state;
	config.no_reboot = true;
	body = body_that_resets;
	assert_int_equal(vm_start(&vm, NULL), STATUS_OK);
	assert_int_equal(vm_wait(&vm), VM_END_RESET);
}

static void a_triple_fault_crashes_under_no_reboot(void **state)
{
	(void)state;
	config.no_reboot = true;
	toys[1].end = RUN_SHUTDOWN;
	assert_int_equal(vm_start(&vm, NULL), STATUS_OK);
	assert_int_equal(vm_wait(&vm), VM_END_CRASH);
}

static void an_engines_failure_ends_the_vm(void **state)
{
	(void)state;
	toys[3].end = RUN_FAILED;
	assert_int_equal(vm_start(&vm, NULL), STATUS_OK);
	assert_int_equal(vm_wait(&vm), VM_END_FAILURE);
}

static void halted_vcpus_sleep_and_still_pause_and_end(void **state)
{
	unsigned i;

	(void)state;
	for (i = 0; i < VCPUS; i++)
		toys[i].end = RUN_HALTED;
	assert_int_equal(vm_start(&vm, NULL), STATUS_OK);
	vm_pause(&vm);
	vm_resume(&vm);
	vcpu_interrupt(vm.vcpu[0]);
	vm_debug_exit(&vm, 0x21);
	assert_int_equal(vm_wait(&vm), VM_END_DEBUG_EXIT + 0x43);
}

static void pauser_main(void *argument)
{
	unsigned i;

	(void)argument;
	for (i = 0; i < 200; i++) {
		vm_pause(&vm);
		vm_resume(&vm);
	}
	vm_end_request(&vm, VM_END_POWER_OFF);
}

static void body_that_resets_now_and_then(struct vcpu *vcpu)
{
	struct toy *toy = vcpu->engine;

	if (toy->rounds % 64 == 63)
		vm_reset_request(vcpu->vm);
}

static void pauses_and_resets_from_several_threads_do_not_deadlock(void **state)
{
	struct host_thread *thread;

	(void)state;
	body = body_that_resets_now_and_then;
	assert_int_equal(vm_start(&vm, NULL), STATUS_OK);
	assert_int_equal(host_thread_start(&thread, "pauser", pauser_main, NULL), STATUS_OK);
	assert_int_equal(vm_wait(&vm), 0);
	host_thread_join(thread);
}

/* Linux' algorithm on the page that the guest gets. */
static uint64_t pvclock_read(uint64_t gpa, uint64_t tsc)
{
	uint32_t mul, version;
	int8_t shift;
	uint64_t start, base, delta;
	const uint8_t *page = guest_memory_at(&vm.memory, gpa, 32);

	memcpy(&version, page, 4);
	memcpy(&start, page + 8, 8);
	memcpy(&base, page + 16, 8);
	memcpy(&mul, page + 24, 4);
	shift = (int8_t)page[28];
	assert_int_equal(version & 1, 0);
	assert_int_equal(page[29], 1); /* PVCLOCK_TSC_STABLE_BIT */
	delta = tsc - start;
	delta = shift < 0 ? delta >> -shift : delta << shift;
	return base + (uint64_t)((unsigned __int128)delta * mul >> 32);
}

static void the_paravirtual_clock_agrees_with_the_clock(void **state)
{
	static const uint32_t khz[] = {800000, 1000000, 2000000, 2794747, 5000000};
	uint64_t value, tsc, ns;
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(khz) / sizeof(khz[0]); i++) {
		vm.clock.tsc_khz = khz[i];
		tsc = (uint64_t)khz[i] * 86400 * 1000; /* a day */
		assert_true(vcpu_platform.msr_write(vm.vcpu[0], 0x4b564d01, 0x2000 | 1));
		ns = pvclock_read(0x2000, tsc);
		assert_true(ns - UINT64_C(86400) * 1000000000 + 50000 <= 100000);
	}
	assert_true(vcpu_platform.msr_read(vm.vcpu[0], 0x4b564d01, &value));
	assert_int_equal(value, 0x2001);
	assert_true(vcpu_platform.msr_write(vm.vcpu[1], 0x4b564d00, 0x3000));
	memcpy(&value, ram + 0x3004, 4);
	assert_true((uint32_t)value + 5 > host_wall_time_ns() / 1000000000);
	assert_true(vcpu_platform.msr_write(vm.vcpu[1], 0x4b564d01, UINT64_MAX)); /* no RAM there: nothing happens */
	assert_false(vcpu_platform.msr_write(vm.vcpu[1], 0x4b564d02, 0));
	assert_false(vcpu_platform.msr_read(vm.vcpu[1], 0x10a, &value));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(sections_of_all_vcpus_at_once_are_exclusive, setup, teardown),
		cmocka_unit_test_setup_teardown(a_pause_stops_every_vcpu_and_the_clock, setup, teardown),
		cmocka_unit_test_setup_teardown(vcpus_start_in_the_reset_state, setup, teardown),
		cmocka_unit_test_setup_teardown(a_reset_rebuilds_the_machine, setup, teardown),
		cmocka_unit_test_setup_teardown(a_reset_ends_the_vm_under_no_reboot, setup, teardown),
		cmocka_unit_test_setup_teardown(a_triple_fault_crashes_under_no_reboot, setup, teardown),
		cmocka_unit_test_setup_teardown(an_engines_failure_ends_the_vm, setup, teardown),
		cmocka_unit_test_setup_teardown(halted_vcpus_sleep_and_still_pause_and_end, setup, teardown),
		cmocka_unit_test_setup_teardown(pauses_and_resets_from_several_threads_do_not_deadlock, setup, teardown),
		cmocka_unit_test_setup_teardown(the_paravirtual_clock_agrees_with_the_clock, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
