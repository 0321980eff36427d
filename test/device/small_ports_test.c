/* SPDX-License-Identifier: Apache-2.0 */
/*
 * small_ports_test.c - pvpanic, debug exit, port 92h and port 80h.
 */
#include "test/device/device_fixture.h"

#include "device/debug_exit.h"
#include "device/port_a.h"
#include "device/post_port.h"
#include "device/pvpanic.h"

static struct fixture fixture;
static struct pvpanic pvpanic;
static struct debug_exit debug_exit;
static struct port_a port_a;
static struct post_port post_port;
static unsigned calls;
static uint32_t last;

static void value_heard(void *machine, uint32_t value)
{
	assert_ptr_equal(machine, &calls);
	calls++;
	last = value;
}

static void events_heard(void *machine, uint8_t events)
{
	value_heard(machine, events);
}

static void reset_heard(void *machine)
{
	value_heard(machine, 0);
}

static int setup(void **state)
{
	(void)state;
	fixture_init(&fixture);
	calls = 0;
	pvpanic_init(&pvpanic, events_heard, &calls);
	debug_exit_init(&debug_exit, value_heard, &calls);
	port_a_init(&port_a, reset_heard, &calls);
	post_port_init(&post_port);
	fixture_place(&fixture.ports, &pvpanic.region, 0x505);
	fixture_place(&fixture.ports, &debug_exit.region, 0xf4);
	fixture_place(&fixture.ports, &port_a.region, 0x92);
	fixture_place(&fixture.ports, &post_port.region, 0x80);
	return 0;
}

static void test_pvpanic_tells_its_events(void **state)
{
	(void)state;
	assert_int_equal(fixture_in(&fixture, 0x505, 1), 3);
	fixture_out(&fixture, 0x505, 1, 0xf0);
	assert_int_equal(calls, 0);
	fixture_out(&fixture, 0x505, 1, 0xf1);
	assert_int_equal(calls, 1);
	assert_int_equal(last, PVPANIC_PANICKED);
	fixture_out(&fixture, 0x505, 1, 2);
	assert_int_equal(last, PVPANIC_CRASHLOADED);
}

static void test_debug_exit_takes_all_widths(void **state)
{
	(void)state;
	fixture_out(&fixture, 0xf4, 1, 0xab);
	assert_int_equal(last, 0xab);
	fixture_out(&fixture, 0xf4, 2, 0xabcd);
	assert_int_equal(last, 0xabcd);
	fixture_out(&fixture, 0xf4, 4, 0xabcdef01);
	assert_int_equal(last, 0xabcdef01);
	assert_int_equal(calls, 3);
	assert_int_equal(fixture_in(&fixture, 0xf4, 4), 0);
}

static void test_port_a_resets_on_the_rising_bit(void **state)
{
	static struct port_a other;

	(void)state;
	assert_int_equal(fixture_in(&fixture, 0x92, 1), 2);
	fixture_out(&fixture, 0x92, 1, 0xfe);
	assert_int_equal(fixture_in(&fixture, 0x92, 1), 2);
	assert_int_equal(calls, 0);
	fixture_out(&fixture, 0x92, 1, 1);
	fixture_out(&fixture, 0x92, 1, 1);
	assert_int_equal(calls, 1);
	port_a_init(&other, reset_heard, &calls);
	fixture_carry_over(&port_a.device, &other.device);
	assert_int_equal(other.value, 1);
	port_a.device.reset(&port_a);
	assert_int_equal(fixture_in(&fixture, 0x92, 1), 2);
}

static void test_post_port_keeps_the_last_byte(void **state)
{
	static struct post_port other;

	(void)state;
	fixture_out(&fixture, 0x80, 1, 0x5a);
	assert_int_equal(fixture_in(&fixture, 0x80, 1), 0x5a);
	post_port_init(&other);
	fixture_carry_over(&post_port.device, &other.device);
	assert_int_equal(other.value, 0x5a);
}

static void test_hostile_guest_breaks_nothing(void **state)
{
	(void)state;
	fixture_hammer(&fixture, &fixture.ports, 0x80, 0x80, 200000);
	fixture_hammer(&fixture, &fixture.ports, 0x500, 8, 10000);
	fixture_load_rubbish(&port_a.device, 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_pvpanic_tells_its_events, setup),
		cmocka_unit_test_setup(test_debug_exit_takes_all_widths, setup),
		cmocka_unit_test_setup(test_port_a_resets_on_the_rising_bit, setup),
		cmocka_unit_test_setup(test_post_port_keeps_the_last_byte, setup),
		cmocka_unit_test_setup(test_hostile_guest_breaks_nothing, setup),
	};

	return cmocka_run_group_tests_name("small_ports", tests, NULL, NULL);
}
