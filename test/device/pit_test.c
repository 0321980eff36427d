/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pit_test.c - the 8254: its modes, latches and read-back, the interrupt, port 61h, saved state, a hostile guest.
 */
#include "test/device/device_fixture.h"

#include "device/pit.h"
#include "device/ticks.h"

#define PIT 0x40

static struct fixture fixture;
static struct pit pit;

static uint8_t in(unsigned port)
{
	return (uint8_t)fixture_in(&fixture, port, 1);
}

static void out(unsigned port, uint8_t value)
{
	fixture_out(&fixture, port, 1, value);
}

static void program(unsigned channel, uint8_t control, uint16_t count)
{
	out(PIT + 3, (uint8_t)(channel << 6 | control));
	out(PIT + channel, (uint8_t)count);
	out(PIT + channel, (uint8_t)(count >> 8));
}

static uint16_t latch(unsigned channel)
{
	uint16_t low;

	out(PIT + 3, (uint8_t)(channel << 6));
	low = in(PIT + channel);
	return (uint16_t)(low | in(PIT + channel) << 8);
}

static uint8_t status(unsigned channel)
{
	out(PIT + 3, (uint8_t)(0xe0 | 2u << channel));
	return in(PIT + channel);
}

/* To the moment at which `ticks` more of the input clock have passed. */
static void run_ticks(uint64_t ticks)
{
	uint64_t now = vm_clock_ns(&fixture.clock);
	uint64_t target = ticks_to_ns(ticks_from_ns(now, PIT_HZ) + ticks, PIT_HZ);

	fixture_run(&fixture, target - now);
}

static int setup(void **state)
{
	(void)state;
	fixture_init(&fixture);
	pit_init(&pit, &fixture.clock, &fixture.irq, 0);
	fixture_place(&fixture.ports, &pit.region, PIT);
	fixture_place(&fixture.ports, &pit.port61, 0x61);
	return 0;
}

static void test_ticks_and_nanoseconds_agree(void **state)
{
	(void)state;
	for (uint64_t tick = 0; tick < 5000000; tick += 997)
		assert_int_equal(ticks_from_ns(ticks_to_ns(tick, PIT_HZ), PIT_HZ), tick);
	for (uint64_t tick = 1; tick < UINT64_C(1) << 53; tick = tick * 3 + 1) {
		assert_int_equal(ticks_from_ns(ticks_to_ns(tick, PIT_HZ), PIT_HZ), tick);
		assert_int_equal(ticks_from_ns(ticks_to_ns(tick, PIT_HZ) - 1, PIT_HZ), tick - 1);
	}
}

static void test_mode0_interrupts_once_at_terminal_count(void **state)
{
	(void)state;
	program(0, 0x30, 1000);
	assert_false(fixture.level[0]);
	assert_int_equal(status(0) & 0x80, 0);
	run_ticks(1000);
	assert_false(fixture.level[0]);
	run_ticks(1);
	assert_true(fixture.level[0]);
	assert_int_equal(status(0), 0xb0);
	fixture_run(&fixture, SECOND);
	assert_int_equal(fixture.rises[0], 1);
	out(PIT, 0x10); /* the first byte of a new count lowers OUT */
	assert_int_equal(status(0) & 0x80, 0);
	assert_false(fixture.level[0]);
	out(PIT, 0x00);
	run_ticks(17);
	assert_int_equal(fixture.rises[0], 2);
}

static void test_mode2_beats_exactly(void **state)
{
	(void)state;
	program(0, 0x34, 11932);               /* 100 Hz */
	assert_int_equal(fixture.rises[0], 1); /* OUT went high */
	for (unsigned i = 0; i < 100; i++) {
		run_ticks(11932);
		if (i == 0)
			run_ticks(1); /* the load */
		assert_int_equal(fixture.rises[0], 2 + i);
	}
	assert_int_equal(latch(0), 11932);
	run_ticks(11931);
	assert_int_equal(latch(0), 1);
	assert_int_equal(status(0), 0x34); /* OUT is low for this tick */
}

static void test_mode3_is_a_square_wave(void **state)
{
	(void)state;
	program(2, 0x36, 101);
	out(0x61, 1);
	run_ticks(1);
	assert_int_equal(latch(2), 100);
	run_ticks(50);
	assert_true(in(0x61) & 0x20);
	assert_int_equal(latch(2), 0);
	run_ticks(1);
	assert_false(in(0x61) & 0x20);
	assert_int_equal(latch(2), 100);
	run_ticks(49);
	assert_int_equal(latch(2), 2);
	run_ticks(1);
	assert_true(in(0x61) & 0x20);
	program(0, 0x36, 1194);
	fixture_run(&fixture, SECOND);
	assert_in_range(fixture.rises[0], 999, 1001);
}

static void test_new_count_waits_for_the_period(void **state)
{
	(void)state;
	program(0, 0x34, 10000);
	run_ticks(1 + 4000);
	out(PIT, 0xd0);
	out(PIT, 0x07); /* 2000 */
	assert_int_equal(status(0) & 0x40, 0x40);
	assert_int_equal(latch(0), 6000);
	run_ticks(5999);
	assert_int_equal(fixture.rises[0], 1);
	run_ticks(1);
	assert_int_equal(fixture.rises[0], 2);
	assert_int_equal(latch(0), 2000);
	assert_int_equal(status(0) & 0x40, 0);
	run_ticks(2000);
	assert_int_equal(fixture.rises[0], 3);
	program(0, 0x36, 10000); /* mode 3: half a period */
	run_ticks(1 + 1000);
	out(PIT, 0xd0);
	out(PIT, 0x07);
	fixture.rises[0] = 0;
	run_ticks(4000);
	assert_int_equal(status(0) & 0x80, 0);
	run_ticks(999);
	assert_int_equal(fixture.rises[0], 0);
	run_ticks(1);
	assert_int_equal(fixture.rises[0], 1);
	run_ticks(2000);
	assert_int_equal(fixture.rises[0], 2);
}

static void test_mode1_is_triggered_by_the_gate(void **state)
{
	(void)state;
	program(2, 0x32, 500);
	run_ticks(1000);
	assert_true(in(0x61) & 0x20);
	out(0x61, 1);
	run_ticks(1);
	assert_false(in(0x61) & 0x20);
	run_ticks(300);
	out(0x61, 0);
	out(0x61, 1); /* again */
	run_ticks(500);
	assert_false(in(0x61) & 0x20);
	run_ticks(1);
	assert_true(in(0x61) & 0x20);
}

static void test_mode4_and_5_strobe(void **state)
{
	(void)state;
	out(0x61, 1);
	program(2, 0x38, 100);
	run_ticks(100);
	assert_true(in(0x61) & 0x20);
	run_ticks(1);
	assert_false(in(0x61) & 0x20);
	run_ticks(1);
	assert_true(in(0x61) & 0x20);
	program(0, 0x38, 100);
	fixture.rises[0] = 0;
	run_ticks(200);
	assert_int_equal(fixture.rises[0], 1);
	program(2, 0x3a, 100);
	run_ticks(300);
	assert_true(in(0x61) & 0x20);
	out(0x61, 0);
	out(0x61, 1);
	run_ticks(101);
	assert_false(in(0x61) & 0x20);
	run_ticks(1);
	assert_true(in(0x61) & 0x20);
}

static void test_gate_suspends_mode0(void **state)
{
	(void)state;
	out(0x61, 1);
	program(2, 0x30, 1000);
	run_ticks(1 + 400);
	out(0x61, 0);
	run_ticks(5000);
	assert_int_equal(latch(2), 600);
	out(0x61, 1);
	run_ticks(599);
	assert_false(in(0x61) & 0x20);
	run_ticks(1);
	assert_true(in(0x61) & 0x20);
	run_ticks(1);
	assert_int_equal(latch(2), 0xffff); /* runs on below zero */
}

static void test_bcd_counts_in_decimal(void **state)
{
	(void)state;
	out(0x61, 1);
	program(2, 0x35, 0x1000);
	run_ticks(1);
	assert_int_equal(latch(2), 0x1000);
	run_ticks(1);
	assert_int_equal(latch(2), 0x0999);
	program(2, 0x31, 0x0000);
	run_ticks(2);
	assert_int_equal(latch(2), 0x9999);
}

static void test_latch_and_read_back(void **state)
{
	(void)state;
	out(0x61, 1);
	program(2, 0x34, 5000);
	run_ticks(1 + 100);
	out(PIT + 3, 0x80);
	run_ticks(100);
	out(PIT + 3, 0x80); /* the first latch stays */
	assert_int_equal(in(PIT + 2), 4900 & 0xff);
	assert_int_equal(in(PIT + 2), 4900 >> 8);
	assert_int_equal(in(PIT + 2), 4800 & 0xff);
	assert_int_equal(in(PIT + 2), 4800 >> 8);
	out(PIT + 3, 0xc8); /* status and count of channel 2 */
	assert_int_equal(in(PIT + 2), 0xb4);
	assert_int_equal(in(PIT + 2), 4800 & 0xff);
	assert_int_equal(in(PIT + 2), 4800 >> 8);
	out(PIT + 3, 0x94); /* low byte only */
	assert_int_equal(status(2), 0xd4);
	out(PIT + 2, 9);
	run_ticks(1);
	assert_int_equal(in(PIT + 2), 9);
	assert_int_equal(in(PIT + 3), 0xff);
}

static void test_port61_keeps_bits_and_toggles_refresh(void **state)
{
	unsigned toggles = 0;

	(void)state;
	out(0x61, 0xff);
	assert_int_equal(in(0x61) & 0xcf, 0x0f);
	for (unsigned i = 0; i < 100; i++) {
		uint8_t before = in(0x61);

		fixture_run(&fixture, 15085);
		toggles += (before ^ in(0x61)) >> 4 & 1;
	}
	assert_int_equal(toggles, 100);
}

static void test_tiny_period_is_bounded_and_late_ticks_are_made_up(void **state)
{
	(void)state;
	program(0, 0x34, 2);
	fixture.wakeups = 0;
	fixture_run(&fixture, SECOND);
	assert_in_range(fixture.wakeups, 9000, 10002);
	program(0, 0x34, 1);
	fixture_run(&fixture, SECOND);
	program(0, 0x34, 11932);
	fixture_run(&fixture, 1000);
	fixture.rises[0] = 0;
	vm_clock_count(&fixture.clock, 40 * MS); /* a late host */
	assert_int_equal(fixture.rises[0], 3);
	fixture.rises[0] = 0;
	vm_clock_count(&fixture.clock, 100 * SECOND);
	assert_in_range(fixture.rises[0], 1, 12);
}

static void test_hpet_takes_the_interrupt_over(void **state)
{
	(void)state;
	program(0, 0x34, 1000);
	pit_disconnect(&pit, true);
	assert_false(fixture.level[0]);
	fixture.rises[0] = 0;
	run_ticks(10000);
	assert_int_equal(fixture.rises[0], 0);
	pit_disconnect(&pit, false);
	assert_true(fixture.level[0]);
	run_ticks(10000);
	assert_in_range(fixture.rises[0], 10, 11);
}

static void test_saved_state_goes_on_where_it_was(void **state)
{
	static struct pit other;
	unsigned before;

	(void)state;
	program(0, 0x34, 10000);
	program(1, 0x54, 0x12);
	program(2, 0x30, 40000);
	out(0x61, 3);
	run_ticks(2500);
	out(PIT + 3, 0xc2); /* a latched count and status, read by half */
	in(PIT);
	in(PIT);
	pit_init(&other, &fixture.clock, &fixture.irq, 0);
	fixture_carry_over(&pit.device, &other.device);
	pit.device.destroy(&pit);
	bus_disable(&fixture.ports, &pit.region);
	fixture_place(&fixture.ports, &other.region, PIT);
	assert_int_equal(in(PIT), (10000 - 2499) >> 8);
	before = fixture.rises[0];
	run_ticks(7500);
	assert_int_equal(fixture.rises[0], before);
	run_ticks(1);
	assert_int_equal(fixture.rises[0], before + 1);
	bus_disable(&fixture.ports, &other.region);
}

static void test_hostile_guest_breaks_nothing(void **state)
{
	(void)state;
	fixture_hammer(&fixture, &fixture.ports, PIT, 4, 200000);
	for (unsigned i = 0; i < 20000; i++) {
		fixture_hammer(&fixture, &fixture.ports, 0x61, 1, 3);
		fixture_hammer(&fixture, &fixture.ports, PIT, 4, 5);
		fixture_carry_over(&pit.device, &pit.device);
	}
	for (unsigned i = 0; i < 500; i++) {
		fixture_load_rubbish(&pit.device, 5);
		fixture_hammer(&fixture, &fixture.ports, PIT, 4, 20);
	}
	pit.device.reset(&pit);
	test_mode0_interrupts_once_at_terminal_count((fixture.rises[0] = 0, state));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ticks_and_nanoseconds_agree),
		cmocka_unit_test_setup(test_mode0_interrupts_once_at_terminal_count, setup),
		cmocka_unit_test_setup(test_mode2_beats_exactly, setup),
		cmocka_unit_test_setup(test_mode3_is_a_square_wave, setup),
		cmocka_unit_test_setup(test_new_count_waits_for_the_period, setup),
		cmocka_unit_test_setup(test_mode1_is_triggered_by_the_gate, setup),
		cmocka_unit_test_setup(test_mode4_and_5_strobe, setup),
		cmocka_unit_test_setup(test_gate_suspends_mode0, setup),
		cmocka_unit_test_setup(test_bcd_counts_in_decimal, setup),
		cmocka_unit_test_setup(test_latch_and_read_back, setup),
		cmocka_unit_test_setup(test_port61_keeps_bits_and_toggles_refresh, setup),
		cmocka_unit_test_setup(test_tiny_period_is_bounded_and_late_ticks_are_made_up, setup),
		cmocka_unit_test_setup(test_hpet_takes_the_interrupt_over, setup),
		cmocka_unit_test_setup(test_saved_state_goes_on_where_it_was, setup),
		cmocka_unit_test_setup(test_hostile_guest_breaks_nothing, setup),
	};

	return cmocka_run_group_tests_name("pit", tests, NULL, NULL);
}
