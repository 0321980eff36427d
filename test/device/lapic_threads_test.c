/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lapic_threads_test.c - local APICs among threads: no interrupt and no wake-up is lost while MSIs, level lines and timers come from all sides.
 *
 * Two vcpu threads do nothing but sleep until their APIC calls, accept, acknowledge. Each sender repeats: one interrupt, wait until it was
 * taken. A lost one ends in HOST_WAIT.
 */
#include "test/device/device_fixture.h"

#include "device/ioapic.h"
#include "device/lapic.h"

#define VCPUS 2
#define SENDERS 3
#define ROUNDS 3000
#define HOST_WAIT (30 * SECOND)

static struct fixture fixture;
static struct lapic_set set;
static struct ioapic ioapic;
static struct {
	struct lapic *lapic;
	struct host_event wake;
	struct host_thread *thread;
} vcpu[VCPUS];
static uint64_t taken[256];
static struct host_event taken_event[256];
static bool stop;
static bool lost;

static void interrupt_heard(void *object)
{
	host_event_set(object);
}

static void request_heard(void *object, enum lapic_request kind, uint8_t vector)
{
	(void)object;
	(void)kind;
	(void)vector;
}

static void vcpu_main(void *argument)
{
	unsigned id = (unsigned)(uintptr_t)argument;
	struct lapic *lapic = vcpu[id].lapic;

	while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST)) {
		int vector = lapic_ops.accept(lapic);

		if (vector < 0) {
			host_event_wait(&vcpu[id].wake, HOST_FOREVER);
			continue;
		}
		if (vector == 0x30)
			ioapic_set(&ioapic, 16, false); /* the device is served, then the EOI */
		lapic_ops.mmio_write(lapic, 0xb0, 4, 0);
		__atomic_fetch_add(&taken[vector], 1, __ATOMIC_SEQ_CST);
		host_event_set(&taken_event[vector]);
	}
}

static void wait_taken(unsigned vector, uint64_t count)
{
	uint64_t deadline = host_time_ns() + HOST_WAIT;

	while (__atomic_load_n(&taken[vector], __ATOMIC_SEQ_CST) < count)
		if (!host_event_wait(&taken_event[vector], deadline)) {
			__atomic_store_n(&lost, true, __ATOMIC_SEQ_CST);
			return;
		}
}

static void sender_main(void *argument)
{
	unsigned sender = (unsigned)(uintptr_t)argument;

	for (unsigned round = 1; round <= ROUNDS && !__atomic_load_n(&lost, __ATOMIC_SEQ_CST); round++) {
		if (sender == 0) {
			ioapic_set(&ioapic, 16, true);
			wait_taken(0x30, round);
		} else {
			lapic_set_msi(&set, 0xfee00000 | (uint64_t)(round % VCPUS) << 12, 0x40 + 0x11 * sender);
			wait_taken(0x40 + 0x11 * sender, round);
		}
	}
}

static void test_nothing_is_lost(void **state)
{
	const struct lapic_wiring wiring = {
		.clock = &fixture.clock,
		.irq = &fixture.irq,
		.physical_bits = 40,
		.interrupt = interrupt_heard,
		.request = request_heard,
	};
	struct host_thread *sender[SENDERS];

	(void)state;
	fixture_init(&fixture);
	assert_int_equal(lapic_set_init(&set, VCPUS, &wiring), STATUS_OK);
	ioapic_init(&ioapic, &fixture.irq, 0);
	fixture_place(&fixture.mmio, &ioapic.region, 0xfec00000);
	fixture.irq.msi = lapic_set_msi;
	fixture.irq.msi_owner = &set;
	fixture.irq.eoi = ioapic_eoi;
	fixture.irq.eoi_ioapic = &ioapic;
	fixture_store(&fixture, 0xfec00000, 4, 0x10 + 2 * 16);
	fixture_store(&fixture, 0xfec00010, 4, 0x8030); /* level, vector 0x30, CPU 0 */
	for (unsigned i = 0; i < VCPUS; i++) {
		vcpu[i].lapic = lapic_set_attach(&set, i, &vcpu[i].wake);
		lapic_ops.mmio_write(vcpu[i].lapic, 0xf0, 4, 0x1ff);
	}
	/* And a periodic timer of 1 ms on CPU 1. */
	lapic_ops.mmio_write(vcpu[1].lapic, 0x3e0, 4, 0xb);
	lapic_ops.mmio_write(vcpu[1].lapic, 0x320, 4, 0x200ef);
	lapic_ops.mmio_write(vcpu[1].lapic, 0x380, 4, 1000000);
	vm_clock_mode_set(&fixture.clock, CLOCK_REAL);
	assert_int_equal(vm_clock_thread_start(&fixture.clock), STATUS_OK);
	for (unsigned i = 0; i < VCPUS; i++)
		assert_int_equal(host_thread_start(&vcpu[i].thread, "vcpu", vcpu_main, (void *)(uintptr_t)i), STATUS_OK);
	for (unsigned i = 0; i < SENDERS; i++)
		assert_int_equal(host_thread_start(&sender[i], "sender", sender_main, (void *)(uintptr_t)i), STATUS_OK);
	for (unsigned i = 0; i < SENDERS; i++)
		host_thread_join(sender[i]);
	wait_taken(0xef, 5);
	__atomic_store_n(&stop, true, __ATOMIC_SEQ_CST);
	for (unsigned i = 0; i < VCPUS; i++) {
		host_event_set(&vcpu[i].wake);
		host_thread_join(vcpu[i].thread);
	}
	set.device.destroy(&set);
	vm_clock_destroy(&fixture.clock);
	assert_false(lost);
	assert_int_equal(taken[0x30], ROUNDS);
	assert_int_equal(taken[0x51], ROUNDS);
	assert_int_equal(taken[0x62], ROUNDS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_nothing_is_lost)};

	return cmocka_run_group_tests_name("lapic_threads", tests, NULL, NULL);
}
