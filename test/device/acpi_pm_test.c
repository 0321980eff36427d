/* SPDX-License-Identifier: Apache-2.0 */
/*
 * acpi_pm_test.c - ACPI fixed hardware: power button, soft off, PM timer, general-purpose events, saved state, a hostile guest.
 */
#include "test/device/device_fixture.h"

#include "device/acpi_pm.h"
#include "device/ticks.h"

#define PM 0x600
#define SCI 9

static struct fixture fixture;
static struct acpi_pm pm;
static unsigned power_offs;

static void power_off_heard(void *machine)
{
	assert_ptr_equal(machine, &power_offs);
	power_offs++;
}

static uint64_t in(unsigned offset, unsigned size)
{
	return fixture_in(&fixture, PM + offset, size);
}

static void out(unsigned offset, unsigned size, uint64_t value)
{
	fixture_out(&fixture, PM + offset, size, value);
}

static int setup(void **state)
{
	(void)state;
	fixture_init(&fixture);
	power_offs = 0;
	acpi_pm_init(&pm, &fixture.clock, &fixture.irq, SCI, power_off_heard, &power_offs);
	fixture_place(&fixture.ports, &pm.region, PM);
	return 0;
}

static void test_power_button_raises_the_sci(void **state)
{
	(void)state;
	acpi_pm_power_button(&pm);
	assert_false(fixture.level[SCI]);
	assert_int_equal(in(0, 2), 0x100);
	out(2, 2, 0x100);
	assert_true(fixture.level[SCI]);
	out(0, 2, 0x1);
	assert_true(fixture.level[SCI]);
	out(1, 1, 0x1); /* the upper byte alone */
	assert_false(fixture.level[SCI]);
	assert_int_equal(in(0, 4), 0x01000000);
	out(2, 2, 0xffff);
	assert_int_equal(in(2, 2), 0x4521);
}

static void test_soft_off(void **state)
{
	(void)state;
	assert_int_equal(in(4, 2), 0x0001);
	out(4, 2, 5 << 10 | 0x2000); /* S3 is not offered */
	assert_int_equal(power_offs, 0);
	assert_int_equal(in(4, 2), 5 << 10 | 1); /* SLP_EN reads 0 */
	out(4, 2, 0x2000);
	assert_int_equal(power_offs, 1);
	out(5, 1, 0x20 | 7 << 2); /* by byte, the ICH9's own type */
	assert_int_equal(power_offs, 2);
}

static void test_timer_runs_at_its_rate(void **state)
{
	uint64_t before = in(8, 4);

	(void)state;
	fixture_run(&fixture, 1000 * SECOND);
	assert_int_equal((in(8, 4) - before) & 0xffffffff, UINT64_C(3579545000) & 0xffffffff);
	fixture_run(&fixture, 1000 * SECOND);
	assert_int_equal(in(8, 4), UINT64_C(7159090000) & 0xffffffff);
	assert_int_equal(in(0xa, 1), UINT64_C(7159090000) >> 16 & 0xff);
	assert_int_equal(fixture.wakeups, 0);
}

static void test_timer_overflow_sets_its_status(void **state)
{
	uint64_t half = ticks_to_ns(UINT64_C(1) << 31, ACPI_PM_TIMER_HZ);

	(void)state;
	out(2, 2, 1);
	fixture_run(&fixture, half - 1);
	assert_false(fixture.level[SCI]);
	fixture_run(&fixture, 1);
	assert_true(fixture.level[SCI]);
	fixture_run(&fixture, 10 * half);
	assert_int_equal(fixture.wakeups, 1); /* no more until it is cleared */
	out(0, 2, 1);
	assert_false(fixture.level[SCI]);
	assert_int_equal(in(0, 2), 0);
	out(2, 2, 0);
	fixture_run(&fixture, half);
	assert_int_equal(in(0, 2), 1); /* seen without the interrupt */
}

static void test_general_purpose_events(void **state)
{
	(void)state;
	out(0x28, 4, 0x6);
	acpi_pm_gpe_raise(&pm, 33);
	assert_false(fixture.level[SCI]);
	acpi_pm_gpe_raise(&pm, 1);
	assert_true(fixture.level[SCI]);
	assert_int_equal(in(0x20, 8), UINT64_C(0x200000002));
	out(0x20, 4, 0xffffffff);
	assert_false(fixture.level[SCI]);
	assert_int_equal(in(0x20, 8), UINT64_C(0x200000000));
	out(0x2c, 4, 2);
	assert_true(fixture.level[SCI]);
	pm.device.reset(&pm);
	assert_false(fixture.level[SCI]);
}

static void test_saved_state_keeps_a_pressed_button(void **state)
{
	static struct acpi_pm other;
	struct fixture second;

	(void)state;
	out(2, 2, 0x101);
	out(0x30, 4, 0x1234);
	acpi_pm_power_button(&pm);
	acpi_pm_gpe_raise(&pm, 5);
	fixture_init(&second);
	acpi_pm_init(&other, &second.clock, &second.irq, SCI, power_off_heard, &power_offs);
	fixture_place(&second.ports, &other.region, PM);
	fixture_carry_over(&pm.device, &other.device);
	assert_true(second.level[SCI]);
	assert_int_equal(fixture_in(&second, PM, 4), 0x01010100);
	assert_int_equal(fixture_in(&second, PM + 0x20, 1), 0x20);
	fixture_out(&second, PM, 2, 0x100);
	assert_false(second.level[SCI]);
}

static void test_hostile_guest_breaks_nothing(void **state)
{
	(void)state;
	fixture_hammer(&fixture, &fixture.ports, PM, ACPI_PM_LENGTH, 300000);
	fixture_carry_over(&pm.device, &pm.device);
	fixture_load_rubbish(&pm.device, 2000);
	assert_int_equal(in(0, 4), 0);
	assert_false(fixture.level[SCI]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_power_button_raises_the_sci, setup),
		cmocka_unit_test_setup(test_soft_off, setup),
		cmocka_unit_test_setup(test_timer_runs_at_its_rate, setup),
		cmocka_unit_test_setup(test_timer_overflow_sets_its_status, setup),
		cmocka_unit_test_setup(test_general_purpose_events, setup),
		cmocka_unit_test_setup(test_saved_state_keeps_a_pressed_button, setup),
		cmocka_unit_test_setup(test_hostile_guest_breaks_nothing, setup),
	};

	return cmocka_run_group_tests_name("acpi_pm", tests, NULL, NULL);
}
