/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hpet_test.c - the HPET: counter, one-shot and periodic comparators, level, edge, message and legacy delivery, saved state, a hostile guest.
 */
#include "test/device/device_fixture.h"

#include "device/hpet.h"

#define BASE UINT64_C(0xfed00000)
#define CONF(n) (0x100 + 0x20 * (n))
#define CMP(n) (0x108 + 0x20 * (n))
#define FSB(n) (0x110 + 0x20 * (n))
#define ROUTES 0x00f00000u

static struct fixture fixture;
static struct hpet hpet;
static bool legacy_on;
static unsigned legacy_calls;

static void legacy_heard(void *owner, bool on)
{
	assert_ptr_equal(owner, &legacy_on);
	legacy_on = on;
	legacy_calls++;
}

static uint64_t get(unsigned offset)
{
	return fixture_load(&fixture, BASE + offset, 8);
}

static void put(unsigned offset, uint64_t value)
{
	fixture_store(&fixture, BASE + offset, 8, value);
}

static int setup(void **state)
{
	(void)state;
	fixture_init(&fixture);
	legacy_on = false;
	legacy_calls = 0;
	hpet_init(&hpet, &fixture.clock, &fixture.irq, ROUTES, legacy_heard, &legacy_on);
	fixture_place(&fixture.mmio, &hpet.region, BASE);
	return 0;
}

static void test_capabilities(void **state)
{
	(void)state;
	assert_int_equal(get(0), UINT64_C(10000000) << 32 | 0x8086a201);
	assert_int_equal(fixture_load(&fixture, BASE + 4, 4), 10000000);
	assert_int_equal(get(CONF(0)), (uint64_t)ROUTES << 32 | 0x8030);
	put(CONF(1), UINT64_MAX);
	assert_int_equal(get(CONF(1)), (uint64_t)ROUTES << 32 | 0xc17e); /* route 31 did not stick */
	put(CONF(1), 21 << 9);
	assert_int_equal(get(CONF(1)) & 0x3e00, 21 << 9);
	put(CONF(1), 5 << 9);
	assert_int_equal(get(CONF(1)) & 0x3e00, 21 << 9);
	assert_int_equal(get(CONF(3)), 0); /* no fourth one */
	assert_int_equal(fixture_load(&fixture, BASE + 2, 2), 0x8086);
}

static void test_counter_runs_while_enabled(void **state)
{
	(void)state;
	fixture_run(&fixture, 1000);
	assert_int_equal(get(0xf0), 0);
	put(0xf0, UINT64_C(0x1ffffffff));
	put(0x10, 1);
	fixture_run(&fixture, 100);
	assert_int_equal(get(0xf0), UINT64_C(0x200000009));
	assert_int_equal(fixture_load(&fixture, BASE + 0xf4, 4), 2);
	put(0xf0, 5); /* not while it runs */
	assert_int_equal(get(0xf0), UINT64_C(0x200000009));
	put(0x10, 0);
	fixture_run(&fixture, 100);
	assert_int_equal(get(0xf0), UINT64_C(0x200000009));
	fixture_store(&fixture, BASE + 0xf4, 4, 7);
	assert_int_equal(get(0xf0), UINT64_C(0x700000009));
}

static void test_one_shot_edge(void **state)
{
	(void)state;
	put(CONF(0), 20 << 9 | 0x4);
	put(CMP(0), 1000);
	put(0x10, 1);
	fixture_run(&fixture, 9999);
	assert_int_equal(fixture.rises[20], 0);
	fixture_run(&fixture, 1);
	assert_int_equal(fixture.rises[20], 1);
	assert_int_equal(get(0x20), 0);
	fixture_run(&fixture, 10 * SECOND);
	assert_int_equal(fixture.rises[20], 1);
	put(CMP(0), get(0xf0) - 1); /* too late: not before the counter comes round */
	assert_int_equal(fixture.clock.next_deadline_ns, UINT64_MAX);
	put(CONF(0), 20 << 9 | 0x104); /* 32 bits come round in 43 s */
	put(CMP(0), get(0xf0) - 1);
	fixture_run(&fixture, 42 * SECOND);
	assert_int_equal(fixture.rises[20], 1);
	fixture_run(&fixture, SECOND);
	assert_int_equal(fixture.rises[20], 2);
	fixture_run(&fixture, 43 * SECOND);
	assert_int_equal(fixture.rises[20], 3);
}

static void test_level_stays_until_its_status_is_cleared(void **state)
{
	(void)state;
	put(CONF(2), 22 << 9 | 0x2);
	put(CMP(2), 100);
	put(0x10, 1);
	fixture_run(&fixture, 1000);
	assert_int_equal(get(0x20), 4); /* the status bit comes without the enable */
	assert_false(fixture.level[22]);
	put(CONF(2), 22 << 9 | 0x6);
	assert_true(fixture.level[22]);
	put(0x20, 3);
	assert_true(fixture.level[22]);
	put(0x20, 4);
	assert_false(fixture.level[22]);
	assert_int_equal(get(0x20), 0);
}

static void test_periodic_beats_exactly(void **state)
{
	(void)state;
	put(0x10, 1);
	put(CONF(1), 21 << 9 | 0x4c);
	put(CMP(1), 50000);
	put(CMP(1), 100000); /* first at 0.5 ms, then every 1 ms */
	fixture_run(&fixture, MS / 2 - 1);
	assert_int_equal(fixture.rises[21], 0);
	fixture_run(&fixture, 1);
	assert_int_equal(fixture.rises[21], 1);
	assert_int_equal(get(CMP(1)), 150000);
	fixture_run(&fixture, SECOND);
	assert_int_equal(fixture.rises[21], 1001);
	vm_clock_count(&fixture.clock, 10 * MS); /* a late host: one, and in step again */
	assert_int_equal(fixture.rises[21], 1002);
	fixture_run(&fixture, MS);
	assert_int_equal(fixture.rises[21], 1003);
	assert_int_equal(get(CMP(1)) % 100000, 50000);
}

static void test_late_periodic_goes_on_with_the_next_multiple(void **state)
{
	(void)state;
	put(0x10, 1);
	fixture_run(&fixture, 10 * MS);
	put(CONF(0), 20 << 9 | 0x14c);
	fixture_store(&fixture, BASE + CMP(0), 4, 950000); /* half a millisecond ago */
	fixture_store(&fixture, BASE + CMP(0), 4, 100000);
	fixture_run(&fixture, 5 * MS);
	assert_int_equal(fixture.rises[20], 5);
}

static void test_64_bit_periodic_value_in_halves(void **state)
{
	(void)state;
	put(CONF(0), 20 << 9 | 0x4c);
	fixture_store(&fixture, BASE + CMP(0), 4, 0x500);
	assert_int_equal(get(CONF(0)) & 0x40, 0x40);
	fixture_store(&fixture, BASE + CMP(0) + 4, 4, 0x1);
	assert_int_equal(get(CONF(0)) & 0x40, 0);
	assert_int_equal(get(CMP(0)), UINT64_C(0x100000500));
}

static void test_messages(void **state)
{
	(void)state;
	put(FSB(1), UINT64_C(0xfee01000) << 32 | 0x4055);
	put(CONF(1), 0x4004);
	put(CMP(1), 100);
	put(0x10, 1);
	fixture_run(&fixture, 1000);
	assert_int_equal(fixture.msis, 1);
	assert_int_equal(fixture.msi[0].address, 0xfee01000);
	assert_int_equal(fixture.msi[0].data, 0x4055);
}

static void test_legacy_replacement(void **state)
{
	(void)state;
	put(CONF(0), 20 << 9 | 0x4);
	put(CONF(1), 0x4004); /* by message: overridden too */
	put(CMP(0), 100);
	put(CMP(1), 200);
	put(0x10, 3);
	assert_true(legacy_on);
	fixture_run(&fixture, 2000);
	assert_int_equal(fixture.rises[0], 1);
	assert_int_equal(fixture.rises[8], 1);
	assert_int_equal(fixture.rises[20], 0);
	assert_int_equal(fixture.msis, 0);
	put(0x10, 1);
	assert_false(legacy_on);
	assert_false(fixture.level[0]);
	assert_false(fixture.level[8]);
	put(0x10, 3);
	hpet.device.reset(&hpet);
	assert_false(legacy_on);
	assert_int_equal(legacy_calls, 4);
}

static void test_tiny_periods_cannot_eat_the_host(void **state)
{
	(void)state;
	put(0x10, 1);
	for (unsigned n = 0; n < 3; n++) {
		put(CONF(n), (20 + n) << 9 | 0x4c);
		put(CMP(n), 1);
	}
	fixture.wakeups = 0;
	fixture_run(&fixture, SECOND);
	assert_in_range(fixture.wakeups, 9000, 10010); /* the three fire together */
	assert_in_range(fixture.rises[22], 9000, 10010);
}

static void test_saved_state_goes_on_where_it_was(void **state)
{
	static struct hpet other;

	(void)state;
	put(0x10, 1);
	put(CONF(1), 21 << 9 | 0x4c);
	put(CMP(1), 100000);
	put(CONF(2), 22 << 9 | 0x6);
	put(CMP(2), 10);
	fixture_run(&fixture, 3 * MS + MS / 2);
	hpet_init(&other, &fixture.clock, &fixture.irq, ROUTES, NULL, NULL);
	fixture_carry_over(&hpet.device, &other.device);
	hpet.device.destroy(&hpet);
	bus_disable(&fixture.mmio, &hpet.region);
	fixture_place(&fixture.mmio, &other.region, BASE);
	assert_int_equal(get(0xf0), 350000);
	assert_int_equal(fixture.rises[21], 3);
	fixture_run(&fixture, MS);
	assert_int_equal(fixture.rises[21], 4);
	assert_true(fixture.level[22]);
	put(0x20, 4);
	assert_false(fixture.level[22]);
}

static void test_hostile_guest_breaks_nothing(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2000; i++) {
		fixture_hammer(&fixture, &fixture.mmio, BASE, 0x180, 100);
		fixture_carry_over(&hpet.device, &hpet.device);
		put(0x10, fixture_random() & 3);
	}
	for (unsigned i = 0; i < 500; i++) {
		fixture_load_rubbish(&hpet.device, 5);
		put(0x10, 1);
		fixture_hammer(&fixture, &fixture.mmio, BASE, 0x180, 20);
	}
	hpet.device.reset(&hpet);
	assert_int_equal(get(0xf0), 0);
	assert_int_equal(fixture.clock.next_deadline_ns, UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_capabilities, setup),
		cmocka_unit_test_setup(test_counter_runs_while_enabled, setup),
		cmocka_unit_test_setup(test_one_shot_edge, setup),
		cmocka_unit_test_setup(test_level_stays_until_its_status_is_cleared, setup),
		cmocka_unit_test_setup(test_periodic_beats_exactly, setup),
		cmocka_unit_test_setup(test_late_periodic_goes_on_with_the_next_multiple, setup),
		cmocka_unit_test_setup(test_64_bit_periodic_value_in_halves, setup),
		cmocka_unit_test_setup(test_messages, setup),
		cmocka_unit_test_setup(test_legacy_replacement, setup),
		cmocka_unit_test_setup(test_tiny_periods_cannot_eat_the_host, setup),
		cmocka_unit_test_setup(test_saved_state_goes_on_where_it_was, setup),
		cmocka_unit_test_setup(test_hostile_guest_breaks_nothing, setup),
	};

	return cmocka_run_group_tests_name("hpet", tests, NULL, NULL);
}
