/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serial_test.c - the 16550A: identification, interrupts, FIFO, loopback, backpressure, saved state, a hostile guest.
 */
#include "test/device/device_fixture.h"

#include "device/serial.h"

#define COM1 0x3f8
#define GSI 4

static struct fixture fixture;
static struct serial serial;
static struct chardev chardev;
static uint8_t sent[65536];
static unsigned long sent_count;
static unsigned room_calls;

static void chardev_take(struct chardev *taker, const uint8_t *bytes, size_t length)
{
	(void)taker;
	for (size_t i = 0; i < length; i++)
		sent[sent_count++ % sizeof(sent)] = bytes[i];
}

static void chardev_room(struct chardev *taker)
{
	(void)taker;
	room_calls++;
}

static uint8_t in(unsigned offset)
{
	return (uint8_t)fixture_in(&fixture, COM1 + offset, 1);
}

static void out(unsigned offset, uint8_t value)
{
	fixture_out(&fixture, COM1 + offset, 1, value);
}

static size_t type(const char *text)
{
	struct chardev_frontend *frontend = chardev.frontend;
	size_t length = strlen(text), room = frontend->room(frontend->device);

	length = length < room ? length : room;
	if (length)
		frontend->receive(frontend->device, (const uint8_t *)text, length);
	return length;
}

static int setup(void **state)
{
	(void)state;
	fixture_init(&fixture);
	chardev = (struct chardev){.write = chardev_take, .room_again = chardev_room};
	sent_count = 0;
	serial_init(&serial, 0, &fixture.irq, GSI, &chardev);
	assert_null(chardev.frontend); /* quiet until it is resumed */
	serial.device.resume(&serial);
	room_calls = 0;
	fixture_place(&fixture.ports, &serial.region, COM1);
	return 0;
}

static void test_reset_values_are_the_datasheets(void **state)
{
	(void)state;
	assert_int_equal(in(1), 0x00);
	assert_int_equal(in(2), 0x01);
	assert_int_equal(in(3), 0x00);
	assert_int_equal(in(4), 0x00);
	assert_int_equal(in(5), 0x60);
	assert_int_equal(in(6), 0xb0);
	out(7, 0xa5);
	assert_int_equal(in(7), 0xa5);
}

static void test_divisor_latch_hides_the_data_registers(void **state)
{
	(void)state;
	out(1, 0x05);
	out(3, 0x83);
	assert_int_equal(in(0), 12);
	fixture_out(&fixture, COM1, 2, 0x1234);
	assert_int_equal(fixture_in(&fixture, COM1, 2), 0x1234);
	out(3, 0x03);
	assert_int_equal(in(1), 0x05);
	assert_int_equal(sent_count, 0);
}

static void test_output_reaches_the_chardev_in_order(void **state)
{
	(void)state;
	for (const char *c = "Hello"; *c; c++)
		out(0, (uint8_t)*c);
	assert_int_equal(sent_count, 5);
	assert_memory_equal(sent, "Hello", 5);
	assert_int_equal(in(5), 0x60);
}

static void test_thre_interrupt_comes_once_and_iir_acknowledges_it(void **state)
{
	(void)state;
	out(1, 0x02);
	assert_true(fixture.level[GSI]);
	assert_int_equal(in(2), 0x02);
	assert_false(fixture.level[GSI]);
	assert_int_equal(in(2), 0x01);
	out(0, 'a');
	assert_int_equal(fixture.rises[GSI], 2);
	out(0, 'b'); /* an edge for each byte, though the first one was not seen */
	assert_int_equal(fixture.rises[GSI], 3);
	assert_int_equal(in(2), 0x02);
	assert_false(fixture.level[GSI]);
	out(1, 0x00);
	out(1, 0x02); /* enabling it again asks again: how kernels test for a lost one */
	assert_true(fixture.level[GSI]);
}

static void test_iir_of_a_higher_cause_does_not_acknowledge_thre(void **state)
{
	(void)state;
	out(1, 0x03);
	assert_int_equal(type("x"), 1);
	assert_int_equal(in(2), 0x04);
	assert_int_equal(in(0), 'x');
	assert_int_equal(in(2), 0x02);
	assert_int_equal(in(2), 0x01);
}

static void test_fifo_interrupts_at_the_trigger_and_by_timeout(void **state)
{
	(void)state;
	out(2, 0x81); /* trigger 8 */
	out(1, 0x01);
	assert_int_equal(type("1234567"), 7);
	assert_int_equal(in(2), 0xcc);
	assert_int_equal(type("8"), 1);
	assert_int_equal(in(2), 0xc4);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(in(0), '1' + i);
	assert_int_equal(in(2), 0xc1);
	assert_false(fixture.level[GSI]);
	assert_int_equal(in(5) & 1, 0);
}

static void test_input_waits_for_room(void **state)
{
	(void)state;
	assert_int_equal(type("ab"), 1); /* no FIFO: one byte */
	assert_int_equal(type("b"), 0);
	assert_int_equal(room_calls, 0);
	assert_int_equal(in(0), 'a');
	assert_int_equal(room_calls, 1);
	out(2, 0x01);
	assert_int_equal(type("0123456789abcdefghij"), 16);
	assert_int_equal(type("g"), 0);
	in(0);
	assert_int_equal(room_calls, 2);
	in(0);
	assert_int_equal(room_calls, 2); /* told once */
	out(2, 0x03);                    /* receiver reset */
	assert_int_equal(in(5) & 1, 0);
	assert_int_equal(type("x"), 1);
}

static void test_loopback_joins_data_and_modem_lines(void **state)
{
	(void)state;
	in(6);
	out(4, 0x1f);
	assert_int_equal(in(6) & 0xf0, 0xf0);
	out(4, 0x10);
	assert_int_equal(in(6) & 0xf0, 0);
	out(0, 0x5a);
	assert_int_equal(sent_count, 0);
	assert_int_equal(in(5) & 1, 1);
	assert_int_equal(type("no"), 0); /* the pin is cut off */
	out(0, 0x5b);
	assert_int_equal(in(5) & 0x03, 0x03); /* overrun */
	assert_int_equal(in(5) & 0x02, 0);    /* reading clears it */
	assert_int_equal(in(0), 0x5b);
	out(4, 0x00);
	assert_int_equal(room_calls, 1);
}

static void test_modem_deltas_are_exact(void **state)
{
	(void)state;
	out(4, 0x10);
	assert_int_equal(in(6), 0x0b); /* CTS, DSR, DCD fell */
	assert_int_equal(in(6), 0x00);
	out(4, 0x14); /* OUT1: RI rises, which is no event */
	assert_int_equal(in(6), 0x40);
	out(1, 0x08);
	assert_false(fixture.level[GSI]);
	out(4, 0x10); /* its trailing edge is one */
	assert_true(fixture.level[GSI]);
	assert_int_equal(in(2), 0x00);
	assert_int_equal(in(6), 0x04);
	assert_false(fixture.level[GSI]);
}

static void test_saved_state_carries_bytes_and_interrupts(void **state)
{
	static struct serial other;
	struct fixture second;

	(void)state;
	fixture_init(&second);
	serial_init(&other, 0, &second.irq, GSI, NULL);
	fixture_place(&second.ports, &other.region, COM1);
	out(2, 0xc1);
	out(1, 0x03);
	out(3, 0x03);
	type("state");
	in(0);
	fixture_carry_over(&serial.device, &other.device);
	assert_true(second.level[GSI]);
	for (const char *c = "tate"; *c; c++)
		assert_int_equal(fixture_in(&second, COM1, 1), *c);
	assert_int_equal(fixture_in(&second, COM1 + 2, 1), 0xc2);
}

static void test_hostile_guest_breaks_nothing(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		fixture_hammer(&fixture, &fixture.ports, COM1, 8, 3000);
		type("some input that will not all fit in");
		fixture_carry_over(&serial.device, &serial.device);
	}
	fixture_load_rubbish(&serial.device, 2000);
	assert_int_equal(in(5), 0x60);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_reset_values_are_the_datasheets, setup),
		cmocka_unit_test_setup(test_divisor_latch_hides_the_data_registers, setup),
		cmocka_unit_test_setup(test_output_reaches_the_chardev_in_order, setup),
		cmocka_unit_test_setup(test_thre_interrupt_comes_once_and_iir_acknowledges_it, setup),
		cmocka_unit_test_setup(test_iir_of_a_higher_cause_does_not_acknowledge_thre, setup),
		cmocka_unit_test_setup(test_fifo_interrupts_at_the_trigger_and_by_timeout, setup),
		cmocka_unit_test_setup(test_input_waits_for_room, setup),
		cmocka_unit_test_setup(test_loopback_joins_data_and_modem_lines, setup),
		cmocka_unit_test_setup(test_modem_deltas_are_exact, setup),
		cmocka_unit_test_setup(test_saved_state_carries_bytes_and_interrupts, setup),
		cmocka_unit_test_setup(test_hostile_guest_breaks_nothing, setup),
	};

	return cmocka_run_group_tests_name("serial", tests, NULL, NULL);
}
