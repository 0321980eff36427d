/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pic_test.c - the two 8259As: initialisation, priorities, cascade, EOI in its forms, poll, spurious, ELCR, saved state, a hostile guest.
 */
#include "test/device/device_fixture.h"

#include "device/pic.h"

#define M 0x20
#define S 0xa0

static struct fixture fixture;
static struct pic pic;
static bool output;
static unsigned output_changes;

static void output_heard(void *owner, bool level)
{
	assert_ptr_equal(owner, &output);
	assert_true(level != output);
	output = level;
	output_changes++;
}

static uint8_t in(unsigned port)
{
	return (uint8_t)fixture_in(&fixture, port, 1);
}

static void out(unsigned port, uint8_t value)
{
	fixture_out(&fixture, port, 1, value);
}

static void initialise(uint8_t icw4)
{
	out(M, 0x11);
	out(M + 1, 0x20);
	out(M + 1, 0x04);
	out(M + 1, icw4);
	out(S, 0x11);
	out(S + 1, 0x28);
	out(S + 1, 0x02);
	out(S + 1, 0x01);
}

static int setup(void **state)
{
	(void)state;
	fixture_init(&fixture);
	output = false;
	pic_init(&pic, output_heard, &output);
	fixture_place(&fixture.ports, &pic.region[0], M);
	fixture_place(&fixture.ports, &pic.region[1], S);
	fixture_place(&fixture.ports, &pic.elcr_region, 0x4d0);
	initialise(0x01);
	return 0;
}

static void test_nothing_comes_before_initialisation(void **state)
{
	(void)state;
	pic.device.reset(&pic);
	pic_set(&pic, 3, true);
	assert_false(output);
	out(M, 0x11);
	out(M + 1, 0x40);
	assert_false(pic_pending(&pic));
	out(M + 1, 0x04);
	out(M + 1, 0x01);
	assert_false(output); /* ICW1 cleared the edge */
	pic_set(&pic, 3, false);
	pic_set(&pic, 3, true);
	assert_true(output);
	assert_int_equal(pic_accept(&pic), 0x43);
}

static void test_request_is_served_once_per_edge(void **state)
{
	(void)state;
	pic_set(&pic, 4, true);
	assert_true(pic_pending(&pic));
	assert_int_equal(in(M), 0x10);
	assert_int_equal(pic_accept(&pic), 0x24);
	assert_false(output);
	out(M, 0x0b);
	assert_int_equal(in(M), 0x10);
	out(M, 0x20);
	assert_int_equal(in(M), 0x00);
	assert_false(output); /* the line is still high */
	pic_set(&pic, 4, false);
	pic_set(&pic, 4, true);
	assert_true(output);
	pic_set(&pic, 4, false); /* gone before the acknowledge cycle */
	assert_false(output);
}

static void test_priority_nests(void **state)
{
	(void)state;
	pic_set(&pic, 5, true);
	assert_int_equal(pic_accept(&pic), 0x25);
	pic_set(&pic, 6, true);
	assert_false(output);
	pic_set(&pic, 1, true);
	assert_true(output);
	assert_int_equal(pic_accept(&pic), 0x21);
	out(M, 0x20);
	assert_false(output);
	out(M, 0x20);
	assert_true(output);
	assert_int_equal(pic_accept(&pic), 0x26);
}

static void test_mask_holds_back_and_lets_go(void **state)
{
	(void)state;
	out(M + 1, 0xff);
	pic_set(&pic, 0, true);
	assert_false(output);
	assert_int_equal(in(M + 1), 0xff);
	out(M + 1, 0xfe);
	assert_true(output);
	assert_int_equal(pic_accept(&pic), 0x20);
}

static void test_slave_comes_through_the_cascade(void **state)
{
	(void)state;
	pic_set(&pic, 12, true);
	pic_set(&pic, 10, true);
	assert_int_equal(pic_accept(&pic), 0x2a);
	out(M, 0x0b);
	assert_int_equal(in(M), 0x04);
	out(S, 0x20);
	assert_false(output); /* the master's IR2 is in service */
	out(M, 0x20);
	assert_true(output);
	assert_int_equal(pic_accept(&pic), 0x2c);
	pic_set(&pic, 2, true); /* is no input */
	out(S, 0x20);
	out(M, 0x20);
	assert_false(output);
}

static void test_special_fully_nested_mode_nests_within_the_slave(void **state)
{
	(void)state;
	initialise(0x11);
	pic_set(&pic, 12, true);
	assert_int_equal(pic_accept(&pic), 0x2c);
	pic_set(&pic, 9, true);
	assert_true(output);
	assert_int_equal(pic_accept(&pic), 0x29);
	pic_set(&pic, 13, true);
	assert_false(output);
}

static void test_automatic_eoi_and_rotation(void **state)
{
	(void)state;
	initialise(0x03);
	pic_set(&pic, 3, true);
	assert_int_equal(pic_accept(&pic), 0x23);
	out(M, 0x0b);
	assert_int_equal(in(M), 0);
	out(M, 0x80); /* rotate in automatic EOI mode */
	pic_set(&pic, 3, false);
	pic_set(&pic, 3, true);
	assert_int_equal(pic_accept(&pic), 0x23);
	pic_set(&pic, 3, false);
	pic_set(&pic, 3, true);
	pic_set(&pic, 4, true);
	assert_int_equal(pic_accept(&pic), 0x24); /* 3 is the lowest now */
	assert_int_equal(pic_accept(&pic), 0x23);
}

static void test_eoi_commands(void **state)
{
	(void)state;
	pic_set(&pic, 7, true);
	assert_int_equal(pic_accept(&pic), 0x27);
	pic_set(&pic, 2 + 3, true);
	assert_int_equal(pic_accept(&pic), 0x25);
	out(M, 0x0b);
	out(M, 0x67); /* specific EOI of 7 */
	assert_int_equal(in(M), 0x20);
	out(M, 0xa0); /* rotate on non-specific EOI: 5 is lowest, 6 highest */
	assert_int_equal(in(M), 0);
	pic_set(&pic, 0, true);
	pic_set(&pic, 6, true);
	assert_int_equal(pic_accept(&pic), 0x26);
	out(M, 0xe6); /* rotate on specific EOI */
	assert_int_equal(pic_accept(&pic), 0x20);
	out(M, 0x20);
	out(M, 0xc7); /* set priority: 7 lowest */
	pic_set(&pic, 5, false);
	pic_set(&pic, 5, true);
	pic_set(&pic, 4, true);
	assert_int_equal(pic_accept(&pic), 0x24);
}

static void test_special_mask_lets_lower_ones_through(void **state)
{
	(void)state;
	pic_set(&pic, 1, true);
	assert_int_equal(pic_accept(&pic), 0x21);
	pic_set(&pic, 6, true);
	assert_false(output);
	out(M + 1, 0x02);
	assert_false(output);
	out(M, 0x68);
	assert_true(output);
	assert_int_equal(pic_accept(&pic), 0x26);
	out(M, 0x20); /* ends 6: what is masked is not touched */
	out(M, 0x0b);
	assert_int_equal(in(M), 0x02);
	out(M, 0x48);
	pic_set(&pic, 6, false);
	pic_set(&pic, 6, true);
	assert_false(output);
}

static void test_poll_acknowledges(void **state)
{
	(void)state;
	out(M, 0x0c);
	assert_int_equal(in(M), 0x00);
	pic_set(&pic, 9, true);
	out(M, 0x0c);
	assert_int_equal(in(M), 0x82);
	out(S, 0x0c);
	assert_int_equal(in(S), 0x81);
	assert_int_equal(in(S), 0x00); /* IRR again */
	out(S, 0x0b);
	assert_int_equal(in(S), 0x02);
}

static void test_spurious_requests_give_irq7_and_irq15(void **state)
{
	(void)state;
	assert_int_equal(pic_accept(&pic), 0x27);
	out(M, 0x0b);
	assert_int_equal(in(M), 0x00);
	/* The slave's request vanishes while the master's stands: as if between the two INTA pulses. */
	pic_set(&pic, 11, true);
	pic.chip[1].irr = 0;
	assert_int_equal(pic_accept(&pic), 0x2f);
	assert_int_equal(in(M), 0x04);
}

static void test_elcr_makes_levels(void **state)
{
	(void)state;
	fixture_out(&fixture, 0x4d0, 2, 0xffff);
	assert_int_equal(fixture_in(&fixture, 0x4d0, 2), 0xdef8);
	pic_set(&pic, 11, true);
	assert_int_equal(pic_accept(&pic), 0x2b);
	out(S, 0x20);
	out(M, 0x20);
	assert_true(output); /* still asserted: again */
	assert_int_equal(pic_accept(&pic), 0x2b);
	pic_set(&pic, 11, false);
	out(S, 0x20);
	out(M, 0x20);
	assert_false(output);
}

static void test_saved_state_is_complete(void **state)
{
	static struct pic other;

	(void)state;
	pic_set(&pic, 14, true);
	pic_set(&pic, 5, true);
	assert_int_equal(pic_accept(&pic), 0x2e);
	pic_set(&pic, 1, true);
	out(M + 1, 0x40);
	pic_init(&other, output_heard, &output);
	output = false;
	fixture_carry_over(&pic.device, &other.device);
	assert_true(pic_pending(&other));
	assert_true(output);
	assert_int_equal(pic_accept(&other), 0x21);
	assert_int_equal(other.chip[0].isr, 0x06);
}

static void test_hostile_guest_breaks_nothing(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 20000; i++) {
		fixture_hammer(&fixture, &fixture.ports, fixture_random() & 1 ? M : S, 2, 5);
		fixture_hammer(&fixture, &fixture.ports, 0x4d0, 2, 1);
		pic_set(&pic, (unsigned)(fixture_random() % IRQ_GSIS), fixture_random() & 1);
		if (pic_pending(&pic))
			assert_in_range(pic_accept(&pic), 0, 255);
		assert_true(pic_pending(&pic) == output);
		fixture_carry_over(&pic.device, &pic.device);
	}
	fixture_load_rubbish(&pic.device, 5000);
	setup(state);
	test_priority_nests(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_nothing_comes_before_initialisation, setup),
		cmocka_unit_test_setup(test_request_is_served_once_per_edge, setup),
		cmocka_unit_test_setup(test_priority_nests, setup),
		cmocka_unit_test_setup(test_mask_holds_back_and_lets_go, setup),
		cmocka_unit_test_setup(test_slave_comes_through_the_cascade, setup),
		cmocka_unit_test_setup(test_special_fully_nested_mode_nests_within_the_slave, setup),
		cmocka_unit_test_setup(test_automatic_eoi_and_rotation, setup),
		cmocka_unit_test_setup(test_eoi_commands, setup),
		cmocka_unit_test_setup(test_special_mask_lets_lower_ones_through, setup),
		cmocka_unit_test_setup(test_poll_acknowledges, setup),
		cmocka_unit_test_setup(test_spurious_requests_give_irq7_and_irq15, setup),
		cmocka_unit_test_setup(test_elcr_makes_levels, setup),
		cmocka_unit_test_setup(test_saved_state_is_complete, setup),
		cmocka_unit_test_setup(test_hostile_guest_breaks_nothing, setup),
	};

	return cmocka_run_group_tests_name("pic", tests, NULL, NULL);
}
