/* SPDX-License-Identifier: Apache-2.0 */
/*
 * i8042_test.c - the keyboard controller without a keyboard: what probes ask, the reset line, saved state, a hostile guest.
 */
#include "test/device/device_fixture.h"

#include "device/i8042.h"

static struct fixture fixture;
static struct i8042 i8042;
static unsigned resets;

static void reset_heard(void *machine)
{
	assert_ptr_equal(machine, &resets);
	resets++;
}

static uint8_t data(void)
{
	return (uint8_t)fixture_in(&fixture, 0x60, 1);
}

static uint8_t status(void)
{
	return (uint8_t)fixture_in(&fixture, 0x64, 1);
}

static void command(uint8_t value)
{
	fixture_out(&fixture, 0x64, 1, value);
}

static void write_data(uint8_t value)
{
	fixture_out(&fixture, 0x60, 1, value);
}

static int setup(void **state)
{
	(void)state;
	fixture_init(&fixture);
	resets = 0;
	i8042_init(&i8042, &fixture.irq, 1, reset_heard, &resets);
	fixture_place(&fixture.ports, &i8042.data, 0x60);
	fixture_place(&fixture.ports, &i8042.command, 0x64);
	return 0;
}

static void test_self_tests_pass(void **state)
{
	(void)state;
	assert_int_equal(status() & 0x03, 0);
	command(0xaa);
	assert_int_equal(status() & 0x0f, 0x0d);
	assert_int_equal(data(), 0x55);
	assert_int_equal(status() & 0x01, 0);
	command(0xab);
	assert_int_equal(data(), 0x00);
}

static void test_command_byte_is_kept(void **state)
{
	(void)state;
	command(0x60);
	write_data(0x45);
	command(0x20);
	assert_int_equal(data(), 0x65); /* there is no auxiliary port to enable */
	command(0xae);
	command(0xad);
	command(0x20);
	assert_int_equal(data() & 0x10, 0x10);
}

static void test_probe_finds_neither_mouse_nor_keyboard_and_does_not_wait(void **state)
{
	(void)state;
	command(0xd3);
	write_data(0x5a);
	assert_int_equal(status() & 0x21, 0x01); /* back, but not from an auxiliary port */
	assert_int_equal(data(), 0x5a);
	command(0xa9);
	assert_int_equal(data(), 0x01);
	command(0xa8);
	command(0x20);
	assert_int_equal(data() & 0x20, 0x20);
	command(0x60);
	write_data(0x45);
	write_data(0xf2); /* identify, keyboard */
	assert_true(fixture.level[1]);
	assert_int_equal(status() & 0x41, 0x41);
	assert_int_equal(data(), 0xfe);
	assert_false(fixture.level[1]);
	assert_int_equal(status() & 0x41, 0);
	command(0xd4);
	write_data(0xf2);
	assert_int_equal(data(), 0xfe);
}

static void test_reset_line(void **state)
{
	(void)state;
	command(0xff);
	assert_int_equal(resets, 0);
	command(0xfe);
	assert_int_equal(resets, 1);
	command(0xd1);
	write_data(0xdf);
	assert_int_equal(resets, 1);
	command(0xd0);
	assert_int_equal(data(), 0xcf);
	command(0xd1);
	write_data(0xde);
	assert_int_equal(resets, 2);
	command(0xd1);
	command(0xaa); /* a new command drops the one that waits */
	write_data(0x00);
	assert_int_equal(resets, 2);
}

static void test_saved_state_keeps_an_unread_byte(void **state)
{
	static struct i8042 other;
	struct fixture second;

	(void)state;
	command(0x60);
	write_data(0x41);
	write_data(0xff);
	command(0xd1);
	fixture_init(&second);
	i8042_init(&other, &second.irq, 1, reset_heard, &resets);
	fixture_place(&second.ports, &other.data, 0x60);
	fixture_carry_over(&i8042.device, &other.device);
	assert_true(second.level[1]);
	assert_int_equal(fixture_in(&second, 0x60, 1), 0xfe);
	fixture_out(&second, 0x60, 1, 0x02);
	assert_int_equal(resets, 1);
}

static void test_hostile_guest_breaks_nothing(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 100000; i++) {
		fixture_hammer(&fixture, &fixture.ports, fixture_random() & 1 ? 0x60 : 0x64, 1, 3);
		if (i % 8 == 0)
			fixture_carry_over(&i8042.device, &i8042.device);
	}
	fixture_load_rubbish(&i8042.device, 2000);
	test_self_tests_pass(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_self_tests_pass, setup),
		cmocka_unit_test_setup(test_command_byte_is_kept, setup),
		cmocka_unit_test_setup(test_probe_finds_neither_mouse_nor_keyboard_and_does_not_wait, setup),
		cmocka_unit_test_setup(test_reset_line, setup),
		cmocka_unit_test_setup(test_saved_state_keeps_an_unread_byte, setup),
		cmocka_unit_test_setup(test_hostile_guest_breaks_nothing, setup),
	};

	return cmocka_run_group_tests_name("i8042", tests, NULL, NULL);
}
