/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvm_state_test.c - the KVM engine's states: what is set is got, the timers stand while the vcpu does, and the CPU model fits the kernel. See kvm_machine.h.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "test/engine/kvm_machine.h"

static void assert_states_equal(const struct x86_state *a, const struct x86_state *b)
{
	for (size_t i = 0; i < sizeof(*a); i++)
		if (((const uint8_t *)a)[i] != ((const uint8_t *)b)[i])
			fail_msg("byte %zu of struct x86_state: %x, not %x", i, ((const uint8_t *)b)[i], ((const uint8_t *)a)[i]);
}

static void test_get_after_set_is_what_was_set(void **unused)
{
	struct x86_state in, out;

	(void)unused;
	machine_create(1);
	state_make(&in);
	state_set(0, &in);
	assert_int_equal(engine_kvm.vcpu_get(vm.vcpu[0], &out), STATUS_OK);
	assert_states_equal(&in, &out);
	machine_end();
}

static void test_set_after_get_is_what_was_there(void **unused)
{
	struct x86_state first, second;

	(void)unused;
	machine_create(1);
	state_make(&first);
	state_set(0, &first);
	fake.vcpu[0].regs.rip = 0x5000;
	assert_int_equal(engine_kvm.vcpu_get(vm.vcpu[0], &first), STATUS_OK);
	state_set(0, &first);
	assert_int_equal(engine_kvm.vcpu_get(vm.vcpu[0], &second), STATUS_OK);
	assert_states_equal(&first, &second);
	machine_end();
}

static void test_what_kvm_refuses_or_changes_is_kept(void **unused)
{
	struct x86_state in, out;

	(void)unused;
	machine_create(1);
	fake.msr_refused = 0xc0010015;
	state_make(&in);
	state_set(0, &in);
	assert_int_equal(engine_kvm.vcpu_get(vm.vcpu[0], &out), STATUS_OK);
	assert_int_equal(out.amd_hwcr, in.amd_hwcr);
	/* What the guest changes since is seen. */
	fake.vcpu[0].sregs.gs.selector = 0x33;
	*fake_kvm_msr(&fake.vcpu[0], X86_MSR_STAR) = 0x999;
	fake.vcpu[0].events.nmi.masked = 0;
	assert_int_equal(engine_kvm.vcpu_get(vm.vcpu[0], &out), STATUS_OK);
	assert_int_equal(out.segment[X86_GS].selector, 0x33);
	assert_int_equal(out.star, 0x999);
	assert_int_equal(out.nmi_masked, 0);
	assert_int_equal(out.amd_hwcr, in.amd_hwcr);
	machine_end();
}

static void test_a_needed_msr_that_is_refused_is_an_error(void **unused)
{
	struct x86_state in;

	(void)unused;
	machine_create(1);
	fake.msr_refused = X86_MSR_LSTAR;
	state_make(&in);
	assert_int_equal(engine_kvm.vcpu_set(vm.vcpu[0], &in), STATUS_INVALID);
	machine_end();
}

static void test_events_go_there_and_back(void **unused)
{
	static const struct x86_pending_event events[] = {{1, 0x80, X86_EVENT_INTERRUPT, 0, 0},
							  {1, 2, X86_EVENT_NMI, 0, 0},
							  {1, 14, X86_EVENT_EXCEPTION, 1, 6},
							  {1, 0x20, X86_EVENT_SOFTWARE, 0, 0}};
	struct x86_state in, out;

	(void)unused;
	machine_create(1);
	state_make(&in);
	for (unsigned i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
		in.pending = events[i];
		state_set(0, &in);
		assert_int_equal(fake.vcpu[0].events.interrupt.injected,
				 events[i].type == X86_EVENT_INTERRUPT || events[i].type == X86_EVENT_SOFTWARE);
		assert_int_equal(fake.vcpu[0].events.nmi.injected, events[i].type == X86_EVENT_NMI);
		assert_int_equal(fake.vcpu[0].events.exception.injected, events[i].type == X86_EVENT_EXCEPTION);
		assert_int_equal(engine_kvm.vcpu_get(vm.vcpu[0], &out), STATUS_OK);
		assert_memory_equal(&out.pending, &events[i], sizeof(events[i]));
	}
	machine_end();
}

/* KVM delivers the trap: nothing is pending, and DR6 has what it was about. */
static int guest_trapped(struct fake_vcpu *vcpu, unsigned index)
{
	(void)index;
	assert_true(vcpu->events.exception.injected);
	assert_int_equal(vcpu->events.exception.nr, X86_DB);
	assert_int_equal(vcpu->debugregs.dr6, X86_DR6_FIXED | X86_DR6_BS);
	vcpu->events.exception.injected = 0;
	vcpu->events.exception.nr = 0;
	atomic_fetch_or(&vm.vcpu[0]->requests, VCPU_PAUSE);
	return -EINTR;
}

static void test_a_trap_that_was_delivered_is_not_pending_again(void **unused)
{
	struct x86_state in, out;

	(void)unused;
	machine_create(1);
	state_make(&in);
	in.dr6 = X86_DR6_FIXED | 3; /* an older one's */
	in.pending_debug = X86_DR6_BS;
	state_set(0, &in);
	assert_int_equal(engine_kvm.vcpu_get(vm.vcpu[0], &out), STATUS_OK);
	assert_states_equal(&in, &out);
	fake.guest = guest_trapped;
	assert_int_equal(engine_kvm.vcpu_run(vm.vcpu[0]), RUN_KICKED);
	assert_int_equal(engine_kvm.vcpu_get(vm.vcpu[0], &out), STATUS_OK);
	assert_int_equal(out.pending_debug, 0);
	assert_int_equal(out.pending.valid, 0);
	assert_int_equal(out.dr6, X86_DR6_FIXED | X86_DR6_BS);
	machine_end();
}

static void test_activities(void **unused)
{
	static const uint32_t mp_state[] = {KVM_MP_STATE_RUNNABLE, KVM_MP_STATE_HALTED, KVM_MP_STATE_INIT_RECEIVED};
	struct x86_state in, out;

	(void)unused;
	machine_create(1);
	state_make(&in);
	for (in.activity = 0; in.activity < 3; in.activity++) {
		state_set(0, &in);
		assert_int_equal(fake.vcpu[0].mp_state.mp_state, mp_state[in.activity]);
		assert_int_equal(engine_kvm.vcpu_get(vm.vcpu[0], &out), STATUS_OK);
		assert_int_equal(out.activity, in.activity);
	}
	in.activity = X86_SHUTDOWN;
	state_set(0, &in);
	assert_int_equal(engine_kvm.vcpu_run(vm.vcpu[0]), RUN_SHUTDOWN);
	assert_int_equal(fake.runs, 0);
	machine_end();
}

/* The deadline is armed only while the vcpu runs. */
static int guest_deadline(struct fake_vcpu *vcpu, unsigned index)
{
	(void)index;
	assert_int_equal(*fake_kvm_msr(vcpu, X86_MSR_TSC_DEADLINE), 123456789 + 1000);
	atomic_fetch_or(&vm.vcpu[0]->requests, VCPU_PAUSE);
	return -EINTR;
}

static void test_the_deadline_timer_stands_while_the_vcpu_does(void **unused)
{
	struct x86_state in, out;

	(void)unused;
	machine_create(1);
	fake.guest = guest_deadline;
	state_make(&in);
	in.tsc_adjust = 1000;
	state_set(0, &in);
	assert_int_equal(*fake_kvm_msr(&fake.vcpu[0], X86_MSR_TSC_DEADLINE), 0);
	assert_int_equal(engine_kvm.vcpu_run(vm.vcpu[0]), RUN_KICKED);
	assert_int_equal(fake.runs, 1);
	assert_int_equal(*fake_kvm_msr(&fake.vcpu[0], X86_MSR_TSC_DEADLINE), 0);
	assert_int_equal(fake.vcpu[0].tsc_offset, vm.clock.stopped_tsc - vm.clock.tsc_base + 1000);
	assert_int_equal(engine_kvm.vcpu_get(vm.vcpu[0], &out), STATUS_OK);
	assert_int_equal(out.apic.tsc_deadline, 123456789);
	machine_end();
}

static uint64_t count_at_entry, arrived_at_entry;

/* KVM's count, 1,000 ticks after the entry. */
static int guest_count(struct fake_vcpu *vcpu, unsigned index)
{
	(void)index;
	count_at_entry = *fake_kvm_lapic(vcpu, 0x39);
	arrived_at_entry = *fake_kvm_lapic(vcpu, 0x22);
	*fake_kvm_lapic(vcpu, 0x39) = (uint32_t)count_at_entry - 1000;
	atomic_fetch_or(&vm.vcpu[0]->requests, VCPU_PAUSE);
	return -EINTR;
}

/* KVM's count runs on while the guest's clock and the vcpu stand. */
static void test_a_count_goes_on_where_it_stood(void **unused)
{
	static const uint32_t modes[] = {0, 0x20000}; /* one-shot, periodic */
	struct x86_state in, out;

	(void)unused;
	for (unsigned i = 0; i < 2; i++) {
		machine_create(1);
		fake.guest = guest_count;
		for (unsigned j = 0; j < 100; j++)
			irq_msi(&vm.irq, 0xfee00000, 0x41);
		assert_int_equal(fake.irqfds, 1);
		count_make(&in, modes[i]);
		state_set(0, &in);
		*fake_kvm_lapic(&fake.vcpu[0], 0x39) = 3;
		*fake_kvm_lapic(&fake.vcpu[0], 0x22) = 0x80; /* arrived meanwhile */
		assert_int_equal(engine_kvm.vcpu_run(vm.vcpu[0]), RUN_KICKED);
		assert_int_equal(count_at_entry, 1500000);
		assert_int_equal(arrived_at_entry, 0x80);
		/* No message was on its way when the page was written. */
		assert_int_equal(fake.irqfds, 2);
		assert_true(fake.irqfd[1].flags & KVM_IRQFD_FLAG_DEASSIGN);
		assert_int_equal(engine_kvm.vcpu_get(vm.vcpu[0], &out), STATUS_OK);
		assert_int_equal(out.apic.reg[0x39], 1499000);
		assert_int_equal(out.apic.timer_next_ns - vm_clock_ns(&vm.clock), 1499000);
		/* The clock has not stood: KVM's count is right. */
		*fake_kvm_lapic(&fake.vcpu[0], 0x39) = 1400000;
		atomic_store(&vm.vcpu[0]->requests, 0);
		assert_int_equal(engine_kvm.vcpu_run(vm.vcpu[0]), RUN_KICKED);
		assert_int_equal(count_at_entry, 1400000);
		machine_end();
	}
}

static void test_a_count_that_is_due_is_not_set_to_nothing(void **unused)
{
	struct x86_state in;

	(void)unused;
	machine_create(1);
	fake.guest = guest_count;
	count_make(&in, 0);
	in.apic.timer_next_ns = 0;
	state_set(0, &in);
	assert_int_equal(engine_kvm.vcpu_run(vm.vcpu[0]), RUN_KICKED);
	assert_int_equal(count_at_entry, 50000);
	machine_end();
}

static int guest_ends_count(struct fake_vcpu *vcpu, unsigned index)
{
	(void)index;
	*fake_kvm_lapic(vcpu, 0x39) = 0;
	vcpu->timer_due = 0xec;
	atomic_fetch_or(&vm.vcpu[0]->requests, VCPU_PAUSE);
	return -EINTR;
}

static void test_an_interrupt_of_the_timer_that_kvm_still_has_is_in_the_state(void **unused)
{
	struct x86_state in, out;

	(void)unused;
	machine_create(1);
	fake.guest = guest_ends_count;
	count_make(&in, 0);
	state_set(0, &in);
	assert_int_equal(engine_kvm.vcpu_run(vm.vcpu[0]), RUN_KICKED);
	assert_int_equal(fake.runs, 1);
	assert_true(fake.turned_back >= 1);
	assert_int_equal(engine_kvm.vcpu_get(vm.vcpu[0], &out), STATUS_OK);
	assert_int_equal(out.apic.reg[0x20 + 0xec / 32], 1u << 0xec % 32);
	assert_true(out.apic.timer_next_ns == UINT64_MAX);
	machine_end();
}

/* --- the CPU model --- */

static const struct x86_cpuid_leaf *leaf(uint32_t number)
{
	for (unsigned i = 0; i < model.leaves; i++)
		if (model.leaf[i].leaf == number && !model.leaf[i].subleaf)
			return &model.leaf[i];
	return NULL;
}

static void test_a_model_shows_what_kvm_has_and_who_the_host_is(void **unused)
{
	struct x86_cpuid_leaf host1;
	struct reason why;

	(void)unused;
	fake_kvm_on();
	__asm__("cpuid" : "=a"(host1.eax), "=b"(host1.ebx), "=c"(host1.ecx), "=d"(host1.edx) : "a"(1), "c"(0));
	assert_int_equal(x86_cpu_model_find(&model, "max", 4, 2000000, &why), STATUS_OK);
	assert_true(x86_has(&model, X86_FEATURE_POPCNT));
	fake.supported[1].ecx &= ~(1u << 23); /* POPCNT */
	fake.supported[2].edx |= 1u << 26;    /* IBRS and IBPB */
	fake.arch_capabilities = 0x40;
	assert_int_equal(engine_kvm.model_fit(&model, &why), STATUS_OK);
	assert_false(x86_has(&model, X86_FEATURE_POPCNT));
	assert_false(leaf(1)->ecx & 1u << 23);
	assert_true(leaf(1)->ecx & 1u << 21); /* x2APIC is the kernel's */
	assert_int_equal(leaf(1)->eax, host1.eax);
	assert_int_equal(model.arch_capabilities, 0x40);
	assert_true(leaf(7)->edx & 1u << 26);
	assert_int_equal(model.speculation & (X86_SPECULATION_SPEC_CTRL | X86_SPECULATION_PRED_CMD),
			 X86_SPECULATION_SPEC_CTRL | X86_SPECULATION_PRED_CMD);
}

static void test_every_vcpu_has_its_apic_id_in_cpuid(void **unused)
{
	(void)unused;
	machine_create(2);
	for (unsigned cpu = 0; cpu < 2; cpu++)
		for (unsigned i = 0; i < fake.vcpu[cpu].cpuids; i++)
			if (fake.vcpu[cpu].cpuid[i].function == 1)
				assert_int_equal(fake.vcpu[cpu].cpuid[i].ebx >> 24, cpu);
	machine_end();
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(get_after_set_is_what_was_set),
		TEST(set_after_get_is_what_was_there),
		TEST(what_kvm_refuses_or_changes_is_kept),
		TEST(a_needed_msr_that_is_refused_is_an_error),
		TEST(events_go_there_and_back),
		TEST(a_trap_that_was_delivered_is_not_pending_again),
		TEST(activities),
		TEST(the_deadline_timer_stands_while_the_vcpu_does),
		TEST(a_count_goes_on_where_it_stood),
		TEST(a_count_that_is_due_is_not_set_to_nothing),
		TEST(an_interrupt_of_the_timer_that_kvm_still_has_is_in_the_state),
		TEST(a_model_shows_what_kvm_has_and_who_the_host_is),
		TEST(every_vcpu_has_its_apic_id_in_cpuid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
