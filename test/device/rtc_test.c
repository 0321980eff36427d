/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rtc_test.c - the MC146818: time in all formats, setting it, UIP, alarm, periodic and update interrupts, CMOS RAM, saved state, a hostile guest.
 */
#include "test/device/device_fixture.h"

#include "device/rtc.h"
#include "device/rtc_calendar.h"

#define GSI 8

static struct fixture fixture;
static struct rtc rtc;

static uint8_t get(uint8_t index)
{
	fixture_out(&fixture, 0x70, 1, index);
	return (uint8_t)fixture_in(&fixture, 0x71, 1);
}

static void put(uint8_t index, uint8_t value)
{
	fixture_out(&fixture, 0x70, 1, index);
	fixture_out(&fixture, 0x71, 1, value);
}

static int setup(void **state)
{
	(void)state;
	fixture_init(&fixture);
	rtc_init(&rtc, &fixture.clock, &fixture.irq, GSI);
	fixture_place(&fixture.ports, &rtc.region, 0x70);
	return 0;
}

static void time_is(uint8_t century, uint8_t year, uint8_t month, uint8_t day, uint8_t hour, uint8_t minute, uint8_t second)
{
	assert_int_equal(get(0x32), century);
	assert_int_equal(get(9), year);
	assert_int_equal(get(8), month);
	assert_int_equal(get(7), day);
	assert_int_equal(get(4), hour);
	assert_int_equal(get(2), minute);
	assert_int_equal(get(0), second);
}

static void time_set(uint8_t century, uint8_t year, uint8_t month, uint8_t day, uint8_t hour, uint8_t minute, uint8_t second)
{
	put(0x32, century);
	put(9, year);
	put(8, month);
	put(7, day);
	put(4, hour);
	put(2, minute);
	put(0, second);
}

static void test_calendar_goes_there_and_back(void **state)
{
	struct rtc_date date, before = {0};

	(void)state;
	for (int64_t day = -719162 - 366; day < 2932896; day += 1) {
		uint64_t seconds = (uint64_t)(day * 86400 + 3661);

		rtc_date_from_seconds(seconds, &date);
		assert_int_equal(rtc_date_to_seconds(&date), seconds);
		assert_int_equal(date.hour * 3600 + date.minute * 60 + date.second, 3661);
		if (before.day) {
			assert_int_equal(date.weekday, before.weekday % 7 + 1);
			assert_true(date.day == before.day + 1 || (date.day == 1 && before.day >= 28));
		}
		before = date;
	}
	assert_int_equal(date.year, 9999);
	rtc_date_from_seconds(951782400, &date); /* 2000-02-29, a Tuesday */
	assert_int_equal(date.year * 10000 + date.month * 100 + date.day, 20000229);
	assert_int_equal(date.weekday, 3);
}

static void test_time_is_the_wall_clocks(void **state)
{
	(void)state;
	time_is(0x20, 0x23, 0x11, 0x14, 0x22, 0x13, 0x20);
	assert_int_equal(get(6), 3);
	fixture_run(&fixture, 45 * SECOND);
	time_is(0x20, 0x23, 0x11, 0x14, 0x22, 0x14, 0x05);
	put(0x0b, 0x00); /* 12 hours */
	assert_int_equal(get(4), 0x90);
	put(0x0b, 0x04); /* binary too */
	time_is(20, 23, 11, 14, 0x8a, 14, 5);
	assert_int_equal(get(0x0d), 0x80);
	assert_int_equal(fixture_in(&fixture, 0x70, 1), 0xff);
}

static void test_setting_the_time_with_set(void **state)
{
	(void)state;
	put(0x0b, 0x82);
	time_set(0x19, 0x99, 0x12, 0x31, 0x23, 0x59, 0x58);
	fixture_run(&fixture, 10 * SECOND);
	time_is(0x19, 0x99, 0x12, 0x31, 0x23, 0x59, 0x58); /* stands */
	put(0x0b, 0x02);
	fixture_run(&fixture, 2 * SECOND);
	time_is(0x20, 0x00, 0x01, 0x01, 0x00, 0x00, 0x00);
	put(6, 0x07); /* a weekday of its own */
	fixture_run(&fixture, 86400 * SECOND);
	assert_int_equal(get(6), 0x01);
	put(2, 0x30); /* and running, without SET */
	time_is(0x20, 0x00, 0x01, 0x02, 0x00, 0x30, 0x00);
}

static void test_divider_release_gives_half_a_second(void **state)
{
	(void)state;
	fixture_run(&fixture, SECOND / 3);
	put(0x0b, 0x82);
	put(0x0a, 0x76);
	time_set(0x20, 0x30, 0x06, 0x15, 0x12, 0x00, 0x00);
	put(0x0b, 0x02);
	fixture_run(&fixture, 5 * SECOND);
	time_is(0x20, 0x30, 0x06, 0x15, 0x12, 0x00, 0x00); /* the divider is still held */
	put(0x0a, 0x26);
	fixture_run(&fixture, SECOND / 2 - 1);
	assert_int_equal(get(0), 0x00);
	fixture_run(&fixture, 1);
	assert_int_equal(get(0), 0x01);
}

static void test_uip_announces_the_update(void **state)
{
	(void)state;
	assert_int_equal(get(0x0a), 0x26);
	fixture_run(&fixture, SECOND - 244001);
	assert_int_equal(get(0x0a), 0x26);
	fixture_run(&fixture, 1);
	assert_int_equal(get(0x0a), 0xa6);
	assert_int_equal(get(0), 0x20);
	fixture_run(&fixture, 244000);
	assert_int_equal(get(0x0a), 0x26);
	assert_int_equal(get(0), 0x21);
}

static void test_update_interrupt_each_second(void **state)
{
	(void)state;
	fixture_run(&fixture, SECOND / 2);
	put(0x0b, 0x12);
	for (unsigned i = 0; i < 5; i++) {
		fixture_run(&fixture, SECOND);
		assert_true(fixture.level[GSI]);
		assert_int_equal(get(0x0c), 0xd0);
		assert_false(fixture.level[GSI]);
	}
	assert_int_equal(fixture.rises[GSI], 5);
	put(0x0b, 0x92);
	assert_int_equal(get(0x0b), 0x82); /* SET clears UIE */
}

static void test_flags_are_there_without_interrupts(void **state)
{
	(void)state;
	get(0x0c);
	put(0x0a, 0x20); /* no periodic rate */
	fixture_run(&fixture, SECOND / 2);
	get(0x0c);
	fixture_run(&fixture, SECOND);
	assert_int_equal(get(0x0c), 0x10);
	assert_int_equal(get(0x0c), 0x00);
	assert_int_equal(fixture.wakeups, 0); /* found, not waited for */
}

static void test_alarm_matches_with_wildcards(void **state)
{
	(void)state;
	put(1, 0x25);
	put(3, 0xc0);
	put(5, 0xff);
	put(0x0b, 0x22);
	fixture_run(&fixture, 5 * SECOND - 1);
	assert_false(fixture.level[GSI]);
	fixture_run(&fixture, 1);
	assert_true(fixture.level[GSI]);
	assert_int_equal(get(0x0c) & 0xb0, 0xb0);
	fixture_run(&fixture, 60 * SECOND);
	assert_true(fixture.level[GSI]);
	get(0x0c);
	put(5, 0x07); /* tomorrow, 07:00:25 */
	put(3, 0x00);
	fixture.wakeups = 0;
	fixture_run(&fixture, (8 * 3600 + 45 * 60) * SECOND);
	assert_false(fixture.level[GSI]);
	fixture_run(&fixture, 2 * 60 * SECOND);
	assert_true(fixture.level[GSI]);
	assert_int_equal(fixture.wakeups, 1);
	get(0x0c);
	put(1, 0x75); /* never */
	assert_int_equal(fixture.clock.next_deadline_ns, UINT64_MAX);
}

static void test_periodic_interrupt_keeps_its_rate(void **state)
{
	unsigned ticks = 0;

	(void)state;
	put(0x0b, 0x42); /* 1024 Hz */
	for (unsigned i = 0; i < 10240; i++) {
		fixture_run(&fixture, SECOND / 10240);
		if (fixture.level[GSI]) {
			ticks++;
			assert_int_equal(get(0x0c) & 0xc0, 0xc0);
		}
	}
	assert_in_range(ticks, 1023, 1024);
	fixture.wakeups = 0;
	fixture_run(&fixture, 10 * SECOND); /* nobody reads C */
	assert_in_range(fixture.wakeups, 0, 1);
	get(0x0c);
	put(0x0a, 0x23); /* 8192 Hz, the fastest */
	fixture.wakeups = 0;
	for (unsigned i = 0; i < 100000; i++) {
		fixture_run(&fixture, 10000);
		get(0x0c);
	}
	assert_in_range(fixture.wakeups, 8000, 8193);
}

/* A host so slow that a period goes by within each access: the flag is there again before the read of C is over. */
static void test_each_read_of_flags_releases_the_line(void **state)
{
	(void)state;
	vm_clock_mode_set(&fixture.clock, CLOCK_PAUSED);
	fixture.clock.host_khz = 1; /* each tick of the host's TSC is a millisecond */
	vm_clock_mode_set(&fixture.clock, CLOCK_REAL);
	put(0x0b, 0x42);
	for (unsigned i = 1; i <= 100; i++) {
		assert_int_equal(get(0x0c) & 0xc0, 0xc0);
		assert_true(fixture.level[GSI]);
		assert_int_equal(fixture.rises[GSI], i + 1);
	}
}

static void test_cmos_ram_and_reset(void **state)
{
	(void)state;
	rtc_cmos_set(&rtc, 0x34, 0x5a);
	for (uint8_t i = 0x0e; i < 0x80; i++)
		if (i != 0x32 && i != 0x34)
			put(i, (uint8_t)(i * 3));
	put(0x0c, 0xff); /* read-only */
	put(0x0d, 0x00);
	put(0x0b, 0x72);
	rtc.device.reset(&rtc);
	for (uint8_t i = 0x0e; i < 0x80; i++)
		if (i != 0x32 && i != 0x34)
			assert_int_equal(get(i | 0x80), (uint8_t)(i * 3)); /* bit 7 is the NMI mask */
	assert_int_equal(get(0x34), 0x5a);
	assert_int_equal(get(0x0b), 0x02);
	assert_int_equal(get(0x0c) & 0x80, 0);
	time_is(0x20, 0x23, 0x11, 0x14, 0x22, 0x13, 0x20);
}

static void test_hpet_takes_the_interrupt_over(void **state)
{
	(void)state;
	put(0x0b, 0x42);
	rtc_disconnect(&rtc, true);
	fixture_run(&fixture, SECOND);
	assert_false(fixture.level[GSI]);
	rtc_disconnect(&rtc, false);
	assert_true(fixture.level[GSI]);
}

static void test_saved_state_keeps_the_guests_time(void **state)
{
	static struct rtc other;

	(void)state;
	put(0x0b, 0x82);
	time_set(0x20, 0x31, 0x01, 0x31, 0x23, 0x59, 0x30);
	put(0x0b, 0x12);
	fixture_run(&fixture, 10 * SECOND + SECOND / 4);
	get(0x0c);
	rtc_init(&other, &fixture.clock, &fixture.irq, GSI);
	fixture_carry_over(&rtc.device, &other.device);
	rtc.device.destroy(&rtc);
	bus_disable(&fixture.ports, &rtc.region);
	fixture_place(&fixture.ports, &other.region, 0x70);
	time_is(0x20, 0x31, 0x01, 0x31, 0x23, 0x59, 0x40);
	fixture_run(&fixture, 3 * SECOND / 4 - 1);
	assert_false(fixture.level[GSI]);
	fixture_run(&fixture, 1);
	assert_true(fixture.level[GSI]);
}

static void test_hostile_guest_breaks_nothing(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 100000; i++) {
		put((uint8_t)(fixture_random() & 0x0f), (uint8_t)fixture_random());
		if (!(fixture_random() & 7))
			put(0x32, (uint8_t)fixture_random());
		fixture_hammer(&fixture, &fixture.ports, 0x70, 2, 2);
		if (i % 16 == 0)
			fixture_carry_over(&rtc.device, &rtc.device);
	}
	for (unsigned i = 0; i < 500; i++) {
		fixture_load_rubbish(&rtc.device, 5);
		fixture_hammer(&fixture, &fixture.ports, 0x70, 2, 50);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_calendar_goes_there_and_back),
		cmocka_unit_test_setup(test_time_is_the_wall_clocks, setup),
		cmocka_unit_test_setup(test_setting_the_time_with_set, setup),
		cmocka_unit_test_setup(test_divider_release_gives_half_a_second, setup),
		cmocka_unit_test_setup(test_uip_announces_the_update, setup),
		cmocka_unit_test_setup(test_update_interrupt_each_second, setup),
		cmocka_unit_test_setup(test_flags_are_there_without_interrupts, setup),
		cmocka_unit_test_setup(test_alarm_matches_with_wildcards, setup),
		cmocka_unit_test_setup(test_periodic_interrupt_keeps_its_rate, setup),
		cmocka_unit_test_setup(test_each_read_of_flags_releases_the_line, setup),
		cmocka_unit_test_setup(test_cmos_ram_and_reset, setup),
		cmocka_unit_test_setup(test_hpet_takes_the_interrupt_over, setup),
		cmocka_unit_test_setup(test_saved_state_keeps_the_guests_time, setup),
		cmocka_unit_test_setup(test_hostile_guest_breaks_nothing, setup),
	};

	return cmocka_run_group_tests_name("rtc", tests, NULL, NULL);
}
