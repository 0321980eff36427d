/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvm_device_test.c - what the KVM engine does for devices: interrupts, doorbells, posted writes, and the log of dirty pages. See kvm_machine.h.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "test/engine/kvm_machine.h"

/* --- interrupts --- */

static bool pic_high;

static bool pic_pending(void *pic)
{
	(void)pic;
	return pic_high;
}

static int pic_accept(void *pic)
{
	(void)pic;
	pic_high = false;
	irq_lint0(&vm.irq, false);
	return 0x28;
}

/* A halted vcpu sleeps in KVM_RUN, whatever window is asked for: it is not entered before the event is there. */
static int guest_awake(struct fake_vcpu *vcpu, unsigned index)
{
	(void)index;
	assert_true(vcpu->events.interrupt.injected);
	assert_int_equal(vcpu->events.interrupt.nr, 0x28);
	assert_int_equal(vcpu->mp_state.mp_state, KVM_MP_STATE_RUNNABLE);
	assert_false(vcpu->run->request_interrupt_window);
	atomic_fetch_or(&vm.vcpu[0]->requests, VCPU_PAUSE);
	return -EINTR;
}

static void pic_interrupts(struct x86_state *state)
{
	machine_create(1);
	vm.irq.extint_pending = pic_pending;
	vm.irq.extint_accept = pic_accept;
	state_make(state);
	pic_high = true;
	irq_lint0(&vm.irq, true);
	assert_true(atomic_load(&vm.vcpu[0]->requests) & VCPU_INTERRUPT);
}

static void test_the_pic_interrupts_a_vcpu_that_was_set_while_it_halts(void **unused)
{
	struct x86_state state;

	(void)unused;
	pic_interrupts(&state);
	state.activity = X86_HALTED;
	state_set(0, &state);
	fake.vcpu[0].takes_interrupts = true;
	fake.guest = guest_awake;
	assert_int_equal(engine_kvm.vcpu_run(vm.vcpu[0]), RUN_KICKED);
	assert_int_equal(fake.runs, 1);
	machine_end();
}

/* The first entry waits for the window, in the second the event is there. */
static int guest_window(struct fake_vcpu *vcpu, unsigned index)
{
	if (fake.runs > 1)
		return guest_awake(vcpu, index);
	assert_true(vcpu->run->request_interrupt_window);
	assert_false(vcpu->events.interrupt.injected);
	vcpu->run->exit_reason = KVM_EXIT_IRQ_WINDOW_OPEN;
	vcpu->takes_interrupts = true;
	return 0;
}

static void test_the_pic_interrupts_a_vcpu_when_it_can_take_it(void **unused)
{
	struct x86_state state;

	(void)unused;
	pic_interrupts(&state);
	state_set(0, &state);
	fake.guest = guest_window;
	assert_int_equal(engine_kvm.vcpu_run(vm.vcpu[0]), RUN_KICKED);
	assert_int_equal(fake.runs, 2);
	machine_end();
}

static void test_level_triggered_pins_are_routed_before_they_interrupt(void **unused)
{
	(void)unused;
	machine_create(1);
	irq_route_set(&vm.irq, 9, true, 0xfee00000, 0xc031);
	irq_route_set(&vm.irq, 4, false, 0xfee00000, 0x22);
	assert_int_equal(fake.gsi_routings, 1); /* of attach */
	irq_msi(&vm.irq, 0xfee00000, 0x22);
	assert_int_equal(fake.gsi_routings, 1);
	irq_msi(&vm.irq, 0xfee00000, 0xc031);
	assert_int_equal(fake.gsi_routings, 2);
	assert_int_equal(fake.routes, 1);
	assert_int_equal(fake.route[0].gsi, 9);
	assert_int_equal(fake.route[0].u.msi.data, 0xc031);
	assert_int_equal(fake.msis, 2);
	machine_end();
}

static void test_a_frequent_message_gets_an_eventfd(void **unused)
{
	uint64_t count = 0;

	(void)unused;
	machine_create(1);
	for (unsigned i = 0; i < 100; i++)
		irq_msi(&vm.irq, 0xfee00000, 0x41);
	assert_int_equal(fake.irqfds, 1);
	assert_int_equal(fake.route[0].gsi, fake.irqfd[0].gsi);
	assert_true(fake.irqfd[0].gsi >= IRQ_GSIS);
	assert_int_equal(read((int)fake.irqfd[0].fd, &count, sizeof(count)), sizeof(count));
	assert_int_equal(fake.msis + count, 100);
	machine_end();
}

static void test_messages_that_are_no_interrupts_go_nowhere(void **unused)
{
	(void)unused;
	machine_create(1);
	irq_msi(&vm.irq, 0x1000, 0x41);
	irq_msi(&vm.irq, 0xfee00000, 0x8041); /* a deassertion */
	assert_int_equal(fake.msis, 0);
	machine_end();
}

static unsigned messages_before;

static void msi_before(void *owner, uint64_t address, uint32_t data)
{
	(void)owner;
	(void)address;
	(void)data;
	messages_before++;
}

static void test_the_local_apics_are_given_back(void **unused)
{
	struct reason why;

	(void)unused;
	fake_kvm_on();
	machine_describe(1);
	vm.irq.msi = msi_before;
	vm.irq.msi_owner = &vm;
	assert_int_equal(vm_vcpus_create(&vm, &why), STATUS_OK);
	assert_ptr_not_equal(vm.irq.msi, msi_before);
	atomic_store(&vm.vcpu[0]->attached, false);
	engine_kvm.vcpu_destroy(vm.vcpu[0]);
	engine_kvm.vm_detach(&vm);
	assert_ptr_equal(vm.irq.msi, msi_before);
	assert_ptr_equal(vm.irq.msi_owner, &vm);
	assert_null(vm.mmio.observe);
	vm.attached = false;
	vm.vcpus_created = 0;
	machine_end();
}

/* --- doorbells --- */

static void test_a_doorbell_is_served_on_a_thread_of_its_own(void **unused)
{
	static const uint64_t one = 1;

	(void)unused;
	machine_create(1);
	assert_int_equal(fake.ioeventfds, 2);
	assert_int_equal(fake.ioeventfd[1].addr, DEVICE_GPA + 0x804);
	assert_int_equal(write(fake.ioeventfd[1].fd, &one, sizeof(one)), sizeof(one));
	while (!device.rung)
		host_yield();
	assert_int_equal(device.offset[0], 0x804);
	/* The region goes: so do its doorbells. */
	bus_disable(&vm.mmio, &device.memory);
	assert_int_equal(fake.ioeventfds, 4);
	assert_true(fake.ioeventfd[2].flags & KVM_IOEVENTFD_FLAG_DEASSIGN);
	machine_end();
}

static int guest_rings(struct fake_vcpu *vcpu, unsigned index)
{
	static const uint64_t one = 1;

	(void)vcpu;
	(void)index;
	assert_int_equal(write(fake.ioeventfd[0].fd, &one, sizeof(one)), sizeof(one));
	atomic_fetch_or(&vm.vcpu[0]->requests, VCPU_PAUSE);
	return -EINTR;
}

static void test_a_vcpu_that_stands_has_had_its_doorbells_served(void **unused)
{
	struct x86_state state;

	(void)unused;
	machine_create(1);
	state_make(&state);
	state_set(0, &state);
	fake.guest = guest_rings;
	for (unsigned i = 1; i <= 200; i++) {
		atomic_store(&vm.vcpu[0]->requests, 0);
		engine_kvm.vcpu_run(vm.vcpu[0]);
		assert_int_equal(device.rung, i);
	}
	machine_end();
}

/* --- posted writes --- */

static void posted(struct kvm_run *run, uint32_t at, struct kvm_coalesced_mmio entry)
{
	struct kvm_coalesced_mmio_ring *ring = (void *)((uint8_t *)run + FAKE_RING);

	ring->coalesced_mmio[at] = entry;
	__atomic_store_n(&ring->last, at + 1, __ATOMIC_SEQ_CST);
}

/* The guest writes an index in each space, and reads the data: one exit. */
static void exit_after_posted(struct kvm_run *run)
{
	posted(run, 0, (struct kvm_coalesced_mmio){.phys_addr = DEVICE_PORT, .len = 4, .pio = 1, .data = "\x78\x56\x34\x12"});
	posted(run, 1, (struct kvm_coalesced_mmio){.phys_addr = DEVICE_GPA + 4, .len = 1, .data = "\x9a"});
	exit_in(run);
}

static void test_posted_writes_come_before_what_follows_them(void **unused)
{
	(void)unused;
	assert_int_equal(run_exit(exit_after_posted), RUN_KICKED);
	assert_int_equal(fake.zone[1].addr, DEVICE_PORT);
	assert_int_equal(fake.zone[1].size, 4);
	assert_int_equal(fake.zone[0].addr, DEVICE_GPA);
	assert_int_equal(fake.zone[0].size, 8);
	assert_int_equal(device.writes, 2);
	assert_int_equal(device.value[0], 0x12345678);
	assert_int_equal(device.offset[1], 4);
	assert_int_equal(device.value[1], 0x9a);
	assert_int_equal(device.reads, 1);
	assert_int_equal(device.writes_at_read, 2);
	machine_end();
}

static void test_a_posted_write_is_done_within_a_second_or_so(void **unused)
{
	(void)unused;
	machine_create(1);
	posted(fake.vcpu[0].run, 0, (struct kvm_coalesced_mmio){.phys_addr = DEVICE_PORT + 1, .len = 1, .pio = 1, .data = "\6"});
	while (!__atomic_load_n(&device.writes, __ATOMIC_SEQ_CST))
		host_yield();
	assert_int_equal(device.value[0], 6);
	machine_end();
}

/* --- dirty pages --- */

static void test_dirty_pages_of_both_sides_are_merged(void **unused)
{
	uint64_t bitmap[RAM_SIZE / 4096 / 64] = {0};

	(void)unused;
	machine_create(1);
	assert_int_equal(engine_kvm.dirty_start(&vm), STATUS_OK);
	assert_true(fake.slot[0].flags & fake.slot[1].flags & KVM_MEM_LOG_DIRTY_PAGES);
	assert_int_equal(engine_kvm.dirty_collect(&vm, bitmap), STATUS_OK);
	fake.dirty[0] = 1u << 3;
	fake.dirty[1] = UINT64_C(1) << 63 | 1;
	assert_int_equal(guest_memory_write(&vm.memory, 0x5000, "x", 1), STATUS_OK);
	assert_int_equal(engine_kvm.dirty_collect(&vm, bitmap), STATUS_OK);
	for (unsigned page = 0; page < RAM_SIZE / 4096; page++) {
		bool expected = page == 3 || page == 5 || page == 0x9f || page == 0x9f + 63;

		assert_int_equal(bitmap[page / 64] >> page % 64 & 1, expected);
	}
	engine_kvm.dirty_stop(&vm);
	assert_false((fake.slot[0].flags | fake.slot[1].flags) & KVM_MEM_LOG_DIRTY_PAGES);
	machine_end();
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(the_pic_interrupts_a_vcpu_that_was_set_while_it_halts),
		TEST(the_pic_interrupts_a_vcpu_when_it_can_take_it),
		TEST(level_triggered_pins_are_routed_before_they_interrupt),
		TEST(a_frequent_message_gets_an_eventfd),
		TEST(messages_that_are_no_interrupts_go_nowhere),
		TEST(the_local_apics_are_given_back),
		TEST(a_doorbell_is_served_on_a_thread_of_its_own),
		TEST(a_vcpu_that_stands_has_had_its_doorbells_served),
		TEST(posted_writes_come_before_what_follows_them),
		TEST(a_posted_write_is_done_within_a_second_or_so),
		TEST(dirty_pages_of_both_sides_are_merged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
