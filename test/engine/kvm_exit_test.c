/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvm_exit_test.c - a run of the KVM engine: each kind of exit, kicks, and the requests that a vcpu takes before it runs. See kvm_machine.h.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "test/engine/kvm_machine.h"

static void exit_outs(struct kvm_run *run)
{
	static const uint16_t words[] = {0x1111, 0x2222, 0x3333};

	run->exit_reason = KVM_EXIT_IO;
	run->io.direction = KVM_EXIT_IO_OUT;
	run->io.size = 2;
	run->io.port = DEVICE_PORT + 2;
	run->io.count = 3;
	run->io.data_offset = 4096;
	memcpy((uint8_t *)run + 4096, words, sizeof(words));
}

static void test_a_string_of_ports_is_written(void **unused)
{
	(void)unused;
	assert_int_equal(run_exit(exit_outs), RUN_KICKED);
	assert_int_equal(device.writes, 3);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(device.offset[i], 2);
		assert_int_equal(device.size[i], 2);
		assert_int_equal(device.value[i], 0x1111 * (i + 1));
	}
	machine_end();
}

static void test_a_port_is_read(void **unused)
{
	uint32_t value;

	(void)unused;
	assert_int_equal(run_exit(exit_in), RUN_KICKED);
	memcpy(&value, (uint8_t *)fake.vcpu[0].run + 4096, sizeof(value));
	assert_int_equal(value, 0x55667788);
	machine_end();
}

static void exit_mmio_odd(struct kvm_run *run)
{
	run->exit_reason = KVM_EXIT_MMIO;
	run->mmio.phys_addr = DEVICE_GPA + 8;
	run->mmio.len = 7;
	run->mmio.is_write = 1;
	memcpy(run->mmio.data, "\1\2\3\4\5\6\7", 7);
}

static void test_memory_is_written_in_parts_where_its_length_is_odd(void **unused)
{
	(void)unused;
	assert_int_equal(run_exit(exit_mmio_odd), RUN_KICKED);
	assert_int_equal(device.writes, 3);
	assert_int_equal(device.value[0], 0x04030201);
	assert_int_equal(device.value[1], 0x0605);
	assert_int_equal(device.value[2], 0x07);
	assert_int_equal(device.offset[2], 14);
	/* The access was finished before vcpu_run returned. */
	assert_int_equal(fake.runs, 2);
	machine_end();
}

static void exit_shutdown(struct kvm_run *run)
{
	run->exit_reason = KVM_EXIT_SHUTDOWN;
}

static void exit_fail_entry(struct kvm_run *run)
{
	run->exit_reason = KVM_EXIT_FAIL_ENTRY;
	run->fail_entry.hardware_entry_failure_reason = 0x80000021;
}

static void exit_internal(struct kvm_run *run)
{
	run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
	run->internal.suberror = KVM_INTERNAL_ERROR_DELIVERY_EV;
}

static void exit_unknown(struct kvm_run *run)
{
	run->exit_reason = 999;
}

static void test_exits_that_end_the_vm(void **unused)
{
	(void)unused;
	assert_int_equal(run_exit(exit_shutdown), RUN_SHUTDOWN);
	/* And it stays so, without a further entry. */
	assert_int_equal(engine_kvm.vcpu_run(vm.vcpu[0]), RUN_SHUTDOWN);
	assert_int_equal(fake.runs, 1);
	machine_end();
	assert_int_equal(run_exit(exit_fail_entry), RUN_FAILED);
	machine_end();
	assert_int_equal(run_exit(exit_internal), RUN_FAILED);
	machine_end();
	assert_int_equal(run_exit(exit_unknown), RUN_FAILED);
	machine_end();
}

static int guest_faulty(struct fake_vcpu *vcpu, unsigned index)
{
	(void)vcpu;
	(void)index;
	return -EFAULT;
}

static void test_a_run_that_fails_ends_the_vm(void **unused)
{
	struct x86_state state;

	(void)unused;
	machine_create(1);
	fake.guest = guest_faulty;
	state_make(&state);
	state_set(0, &state);
	assert_int_equal(engine_kvm.vcpu_run(vm.vcpu[0]), RUN_FAILED);
	assert_int_equal(fake.runs, 1);
	machine_end();
}

static void exit_emulation(struct kvm_run *run)
{
	run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
	run->internal.suberror = KVM_INTERNAL_ERROR_EMULATION;
}

static void test_an_instruction_that_kvm_gave_up_is_executed(void **unused)
{
	static const uint8_t movaps[] = {0x0f, 0x29, 0x0b}; /* movaps %xmm1, (%ebx) */
	struct x86_state state;
	enum run_end end;

	(void)unused;
	machine_create(1);
	fake.guest = guest_once;
	exits_left = 1;
	exit_make = exit_emulation;
	deadline_at_pause = 0;
	state_make(&state);
	state.interrupt_shadow = 0;
	state.gpr[X86_RBX] = DEVICE_GPA + 0x20;
	memcpy(ram + 0x1000, movaps, sizeof(movaps));
	state_set(0, &state);
	end = engine_kvm.vcpu_run(vm.vcpu[0]);
	assert_int_equal(end, RUN_KICKED);
	assert_int_equal(fake.vcpu[0].regs.rip, 0x1003);
	assert_true(device.writes >= 2);
	assert_int_equal(device.value[0] & 0xff, 0x11);
	/* The timer went on meanwhile. */
	assert_int_equal(deadline_at_pause, state.apic.tsc_deadline);
	machine_end();
}

static int guest_owes_instruction(struct fake_vcpu *vcpu, unsigned index)
{
	(void)index;
	vcpu->emulation_due = true;
	atomic_fetch_or(&vm.vcpu[0]->requests, VCPU_PAUSE);
	return -EINTR;
}

static void test_an_instruction_that_kvm_gives_up_on_the_way_out_ends_nothing(void **unused)
{
	struct x86_state state;

	(void)unused;
	machine_create(1);
	fake.guest = guest_owes_instruction;
	state_make(&state);
	state.interrupt_shadow = 0;
	ram[0x1000] = 0x90; /* nop */
	state_set(0, &state);
	assert_int_equal(engine_kvm.vcpu_run(vm.vcpu[0]), RUN_KICKED);
	assert_int_equal(fake.vcpu[0].regs.rip, 0x1001);
	machine_end();
}

static void test_an_instruction_on_the_apic_page_is_not_executed_halfway(void **unused)
{
	static const uint8_t movaps[] = {0x0f, 0x29, 0x0b};
	struct x86_state state;

	(void)unused;
	machine_create(1);
	fake.guest = guest_once;
	exits_left = 1;
	exit_make = exit_emulation;
	state_make(&state);
	state.gpr[X86_RBX] = 0xfee00080;
	memcpy(ram + 0x1000, movaps, sizeof(movaps));
	state_set(0, &state);
	assert_int_equal(engine_kvm.vcpu_run(vm.vcpu[0]), RUN_FAILED);
	assert_int_equal(fake.vcpu[0].regs.rip, 0x1000);
	machine_end();
}

static void exit_eoi(struct kvm_run *run)
{
	run->exit_reason = KVM_EXIT_IOAPIC_EOI;
	run->eoi.vector = 0x55;
}

static uint8_t eoi_heard;

static void eoi_hear(void *ioapic, uint8_t vector)
{
	(void)ioapic;
	eoi_heard = vector;
}

/* A new machine whose IOAPIC listens runs that guest to its pause. */
static void eoi_run(int (*guest)(struct fake_vcpu *vcpu, unsigned index))
{
	struct x86_state state;

	machine_create(1);
	vm.irq.eoi = eoi_hear;
	fake.guest = guest;
	state_make(&state);
	state_set(0, &state);
	assert_int_equal(engine_kvm.vcpu_run(vm.vcpu[0]), RUN_KICKED);
}

static void test_an_eoi_reaches_the_ioapic(void **unused)
{
	(void)unused;
	exits_left = 1;
	exit_make = exit_eoi;
	eoi_run(guest_once);
	assert_int_equal(eoi_heard, 0x55);
	machine_end();
}

static int guest_owes_eoi(struct fake_vcpu *vcpu, unsigned index)
{
	(void)index;
	vcpu->eoi_due = 0x56;
	atomic_fetch_or(&vm.vcpu[0]->requests, VCPU_PAUSE);
	return -EINTR;
}

static void test_an_eoi_that_kvm_still_has_reaches_the_ioapic(void **unused)
{
	(void)unused;
	eoi_run(guest_owes_eoi);
	assert_int_equal(eoi_heard, 0x56);
	assert_int_equal(fake.turned_back, 2);
	machine_end();
}

static void exit_clock_msr(struct kvm_run *run)
{
	run->exit_reason = KVM_EXIT_X86_WRMSR;
	run->msr.index = 0x4b564d01;
	run->msr.data = 0x2001;
	run->msr.error = 7;
}

static void test_the_paravirtual_clock_is_ours(void **unused)
{
	(void)unused;
	assert_int_equal(run_exit(exit_clock_msr), RUN_KICKED);
	assert_int_equal(fake.vcpu[0].run->msr.error, 0);
	assert_int_equal(vm.vcpu[0]->pvclock_msr, 0x2001);
	assert_int_not_equal(*(uint32_t *)(ram + 0x2000), 0); /* its version */
	machine_end();
}

/* --- kicks --- */

static _Atomic unsigned inside;

/* A guest that runs until a signal comes. As in the kernel, none is lost between the look at immediate_exit and the guest. */
static int guest_long(struct fake_vcpu *vcpu, unsigned index)
{
	sigset_t kick, old;

	(void)index;
	sigemptyset(&kick);
	sigaddset(&kick, SIGRTMIN);
	pthread_sigmask(SIG_BLOCK, &kick, &old);
	inside++;
	if (!__atomic_load_n(&vcpu->run->immediate_exit, __ATOMIC_SEQ_CST))
		sigsuspend(&old);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -EINTR;
}

static void vcpu_main_of_test(void *argument)
{
	struct vcpu *vcpu = argument;

	while (!(atomic_load(&vcpu->requests) & VCPU_STOP))
		engine_kvm.vcpu_run(vcpu);
}

static void test_a_kick_ends_a_run(void **unused)
{
	struct host_thread *thread;
	struct x86_state state;

	(void)unused;
	machine_create(1);
	inside = 0;
	fake.guest = guest_long;
	state_make(&state);
	state_set(0, &state);
	assert_int_equal(host_thread_start(&thread, "vcpu0", vcpu_main_of_test, vm.vcpu[0]), STATUS_OK);
	for (unsigned i = 1; i <= 100; i++) {
		while (inside < i)
			host_yield();
		vcpu_request(vm.vcpu[0], VCPU_INTERRUPT);
	}
	vcpu_request(vm.vcpu[0], VCPU_STOP);
	host_thread_join(thread);
	machine_end();
}

static void test_requests_become_what_kvm_knows(void **unused)
{
	struct x86_state state;

	(void)unused;
	machine_create(2);
	fake.guest = guest_once;
	exits_left = 0;
	state_make(&state);
	state_set(1, &state);
	atomic_store(&vm.vcpu[1]->sipi_vector, 0x9a);
	atomic_store(&vm.vcpu[1]->requests, VCPU_NMI | VCPU_SIPI | VCPU_PAUSE);
	assert_int_equal(engine_kvm.vcpu_run(vm.vcpu[1]), RUN_KICKED);
	assert_int_equal(fake.nmis, 1);
	assert_int_equal(fake.last_msi.address_lo, 0xfee01000);
	assert_int_equal(fake.last_msi.data & 0x7ff, 0x69a);
	assert_int_equal(atomic_load(&vm.vcpu[1]->requests), VCPU_PAUSE);
	assert_int_equal(fake.runs, 0);
	machine_end();
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_string_of_ports_is_written),
		TEST(a_port_is_read),
		TEST(memory_is_written_in_parts_where_its_length_is_odd),
		TEST(exits_that_end_the_vm),
		TEST(a_run_that_fails_ends_the_vm),
		TEST(an_instruction_that_kvm_gave_up_is_executed),
		TEST(an_instruction_that_kvm_gives_up_on_the_way_out_ends_nothing),
		TEST(an_instruction_on_the_apic_page_is_not_executed_halfway),
		TEST(an_eoi_reaches_the_ioapic),
		TEST(an_eoi_that_kvm_still_has_reaches_the_ioapic),
		TEST(the_paravirtual_clock_is_ours),
		TEST(a_kick_ends_a_run),
		TEST(requests_become_what_kvm_knows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
