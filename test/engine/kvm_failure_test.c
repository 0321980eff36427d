/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvm_failure_test.c - every call of the KVM engine and of its probe fails in its turn: it is said, and nothing is left. See kvm_machine.h.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/kvm/kvm_probe.h"
#include "test/engine/kvm_machine.h"

static void test_every_call_may_fail_and_nothing_is_left(void **unused)
{
	struct reason why;
	int calls, failures = 0;

	(void)unused;
	machine_create(2);
	calls = fake.calls;
	machine_end();
	fake_kvm_on();
	machine_describe(2);
	for (int at = 0; at < calls; at++) {
		int fds = fake_kvm_fds(), maps;
		enum status status;

		fake_kvm_on();
		maps = fake_kvm_maps();
		fake.fail_at = at;
		why.text[0] = 0;
		status = vm_vcpus_create(&vm, &why);
		if (status) {
			failures++;
			assert_int_equal(strncmp(why.text, "kvm: ", 5), 0);
			assert_non_null(strchr(why.text, ';') ? strchr(why.text, ';') : strchr(why.text + 5, ':'));
		}
		while (vm.vcpus_created)
			engine_kvm.vcpu_destroy(vm.vcpu[--vm.vcpus_created]);
		if (vm.attached)
			engine_kvm.vm_detach(&vm);
		vm.attached = false;
		for (unsigned i = 0; i < vm.vcpus; i++)
			atomic_store(&vm.vcpu[i]->attached, false);
		assert_null(vm.engine_data);
		assert_int_equal(fake_kvm_fds(), fds);
		fake_kvm_on(); /* takes the fake's own mappings down */
		assert_int_equal(fake_kvm_maps(), maps);
	}
	/* All but a few capabilities that Holon can do without. */
	assert_true(failures > calls * 2 / 3);
	machine_end();
}

static void test_every_call_of_get_and_set_may_fail(void **unused)
{
	struct x86_state in, out;
	int before, calls;

	(void)unused;
	machine_create(1);
	state_make(&in);
	state_set(0, &in);
	before = fake.calls;
	in.star++; /* some MSR must be written */
	state_set(0, &in);
	calls = fake.calls - before;
	for (int at = 0; at < calls; at++) {
		in.star++;
		fake.fail_at = fake.calls + at;
		assert_int_not_equal(engine_kvm.vcpu_set(vm.vcpu[0], &in), STATUS_OK);
	}
	fake.fail_at = -1;
	state_set(0, &in);
	before = fake.calls;
	assert_int_equal(engine_kvm.vcpu_get(vm.vcpu[0], &out), STATUS_OK);
	calls = fake.calls - before;
	for (int at = 0; at < calls; at++) {
		fake.fail_at = fake.calls + at;
		assert_int_not_equal(engine_kvm.vcpu_get(vm.vcpu[0], &out), STATUS_OK);
	}
	machine_end();
}

static void test_calls_that_a_signal_ends_begin_anew(void **unused)
{
	struct x86_state in, out;
	struct reason why = {""};

	(void)unused;
	fake_kvm_on();
	fake.interrupts = true;
	machine_describe(2);
	assert_int_equal(vm_vcpus_create(&vm, &why), STATUS_OK);
	state_make(&in);
	state_set(0, &in);
	assert_int_equal(engine_kvm.vcpu_get(vm.vcpu[0], &out), STATUS_OK);
	assert_int_equal(out.rip, in.rip);
	machine_end();
}

/* Between a set and the end of a run: the clock, the timer, the way out. */
static void test_every_call_of_a_run_may_fail(void **unused)
{
	static const uint32_t modes[] = {0x40000, 0x20000}; /* deadline, periodic */

	(void)unused;
	for (unsigned i = 0; i < 2; i++) {
		struct x86_state in;
		int calls = 0;

		for (int at = -1; at < calls; at++) {
			int before;

			machine_create(1);
			fake.guest = guest_once;
			exits_left = 0;
			if (modes[i] == 0x40000)
				state_make(&in);
			else
				count_make(&in, modes[i]);
			state_set(0, &in);
			before = fake.calls;
			fake.fail_at = at < 0 ? -1 : before + at;
			assert_int_equal(engine_kvm.vcpu_run(vm.vcpu[0]), at < 0 ? RUN_KICKED : RUN_FAILED);
			if (at < 0)
				calls = fake.calls - before;
			machine_end();
		}
		assert_true(calls >= 6);
	}
}

/* A lost interrupt is said and costs nothing else; a log that cannot be had is an error. */
static void test_calls_of_devices_and_of_the_dirty_log_may_fail(void **unused)
{
	uint64_t bitmap[RAM_SIZE / 4096 / 64] = {0};
	int calls;

	(void)unused;
	machine_create(1);
	calls = fake.calls;
	for (unsigned i = 0; i < 100; i++)
		irq_msi(&vm.irq, 0xfee00000, 0x41);
	calls = fake.calls - calls;
	machine_end();
	for (int at = 0; at < calls; at++) {
		machine_create(1);
		fake.fail_at = fake.calls + at;
		for (unsigned i = 0; i < 100; i++)
			irq_msi(&vm.irq, 0xfee00000, 0x41);
		fake.fail_at = -1;
		machine_end();
	}
	machine_create(1);
	for (int at = 0; at < 2; at++) {
		fake.fail_at = fake.calls + at;
		assert_int_equal(engine_kvm.dirty_start(&vm), STATUS_IO);
		assert_false(vm.memory.logging);
	}
	fake.fail_at = -1;
	assert_int_equal(engine_kvm.dirty_start(&vm), STATUS_OK);
	for (int at = 0; at < 2; at++) {
		fake.fail_at = fake.calls + at;
		assert_int_equal(engine_kvm.dirty_collect(&vm, bitmap), STATUS_IO);
	}
	engine_kvm.dirty_stop(&vm);
	machine_end();
}

/* The parts of the probe before its guest. */
static void test_the_probe_says_what_is_missing(void **unused)
{
	struct kvm_probe found;
	struct reason why;

	(void)unused;
	fake_kvm_on();
	fake.open_error = ENOENT;
	assert_int_equal(kvm_probe(&found, &why), STATUS_NOT_FOUND);
	assert_false(found.present);
	fake.open_error = EACCES;
	assert_int_equal(kvm_probe(&found, &why), STATUS_PERMISSION);
	assert_true(found.present && !found.permitted);
	assert_non_null(strstr(why.text, "group kvm"));
	fake.open_error = 0;
	fake.api_version = 13;
	assert_int_equal(kvm_probe(&found, &why), STATUS_UNSUPPORTED);
	assert_true(found.permitted && !found.interface_good);
	assert_non_null(strstr(why.text, "version 13"));
	fake.api_version = -ENOTTY; /* some other file */
	assert_int_equal(kvm_probe(&found, &why), STATUS_UNSUPPORTED);
	assert_true(found.permitted && !found.interface_good);
	assert_non_null(strstr(why.text, "is not KVM's device (Inappropriate ioctl for device): remove it"));
	fake.api_version = KVM_API_VERSION;
	fake.capability_lacking = KVM_CAP_SPLIT_IRQCHIP;
	assert_int_equal(kvm_probe(&found, &why), STATUS_UNSUPPORTED);
	assert_non_null(strstr(why.text, "KVM_CAP_SPLIT_IRQCHIP"));
	fake.capability_lacking = -1;
	fake.fail_at = fake.calls + 18; /* some call of the child's */
	assert_int_equal(kvm_probe(&found, &why), STATUS_UNSUPPORTED);
	assert_true(found.interface_good && !found.runs);
}

/* The probe's report, if its process has no file but KVM's and the pipe: those of the VM and the vcpu, and the folder's own. */
static int guest_alone(struct fake_vcpu *vcpu, unsigned index)
{
	static const uint32_t report = 0x12345678;

	(void)index;
	vcpu->run->exit_reason = KVM_EXIT_IO;
	vcpu->run->io.direction = fake_kvm_fds() == 2 + 2 + 2 + 1 ? KVM_EXIT_IO_OUT : KVM_EXIT_IO_IN;
	vcpu->run->io.size = sizeof(report);
	vcpu->run->io.port = 0xf4;
	vcpu->run->io.data_offset = 4096;
	memcpy((uint8_t *)vcpu->run + 4096, &report, sizeof(report));
	return 0;
}

static void test_the_probes_process_keeps_no_file_of_ours(void **unused)
{
	struct kvm_probe found;
	struct reason why;

	(void)unused;
	fake_kvm_on();
	fake.guest = guest_alone;
	assert_int_equal(kvm_probe(&found, &why), STATUS_OK);
	assert_true(found.runs);
}

static int guest_never(struct fake_vcpu *vcpu, unsigned index)
{
	(void)vcpu;
	(void)index;
	while (!fake.refuse)
		pause();
	return -EINTR;
}

static void test_a_probe_guest_that_never_returns_is_killed_in_time(void **unused)
{
	struct kvm_probe found;
	struct reason why;
	uint64_t begin = host_time_ns();

	(void)unused;
	fake_kvm_on();
	fake.guest = guest_never;
	assert_int_equal(kvm_probe(&found, &why), STATUS_UNSUPPORTED);
	assert_true(host_time_ns() - begin < UINT64_C(4000000000)); /* 2 s where the machine is not busy */
	assert_true(found.elapsed_ms >= KVM_PROBE_DEADLINE_MS - 10);
	assert_non_null(strstr(why.text, "did not get through"));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(every_call_may_fail_and_nothing_is_left),
		TEST(every_call_of_get_and_set_may_fail),
		TEST(calls_that_a_signal_ends_begin_anew),
		TEST(every_call_of_a_run_may_fail),
		TEST(calls_of_devices_and_of_the_dirty_log_may_fail),
		TEST(the_probe_says_what_is_missing),
		TEST(the_probes_process_keeps_no_file_of_ours),
		TEST(a_probe_guest_that_never_returns_is_killed_in_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
