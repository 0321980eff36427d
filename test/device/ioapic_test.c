/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ioapic_test.c - the IOAPIC: registers, edges, levels with Remote IRR and EOI, the IRQ 0 override, saved state, a hostile guest.
 */
#include "test/device/device_fixture.h"

#include "device/ioapic.h"

#define BASE UINT64_C(0xfec00000)

static struct fixture fixture;
static struct ioapic ioapic;

static uint32_t get(unsigned index)
{
	fixture_store(&fixture, BASE, 4, index);
	return (uint32_t)fixture_load(&fixture, BASE + 0x10, 4);
}

static void put(unsigned index, uint32_t value)
{
	fixture_store(&fixture, BASE, 4, index);
	fixture_store(&fixture, BASE + 0x10, 4, value);
}

static void entry(unsigned pin, uint32_t high, uint32_t low)
{
	put(0x11 + 2 * pin, high);
	put(0x10 + 2 * pin, low);
}

static int setup(void **state)
{
	(void)state;
	fixture_init(&fixture);
	ioapic_init(&ioapic, &fixture.irq, 7);
	fixture_place(&fixture.mmio, &ioapic.region, BASE);
	return 0;
}

static void test_identity(void **state)
{
	(void)state;
	assert_int_equal(get(0), 7u << 24);
	assert_int_equal(get(1), 0x00170020);
	put(0, 0xff000000);
	assert_int_equal(get(0), 0x0f000000);
	assert_int_equal(get(2), 0x0f000000);
	assert_int_equal(get(0x10), 0x00010000);
	assert_int_equal(get(0x3f), 0);
	assert_int_equal(get(0x40), 0);
}

static void test_entry_keeps_its_writable_bits(void **state)
{
	(void)state;
	entry(5, 0xffffffff, 0xffffffff);
	assert_int_equal(get(0x1b), 0xff000000);
	assert_int_equal(get(0x1a), 0x0001afff);
}

static void test_edge_becomes_the_message_that_the_entry_says(void **state)
{
	(void)state;
	entry(4, 0x03000000, 0x00000931); /* logical, lowest priority */
	ioapic_set(&ioapic, 4, true);
	assert_int_equal(fixture.msis, 1);
	assert_int_equal(fixture.msi[0].address, 0xfee03004);
	assert_int_equal(fixture.msi[0].data, 0x0131);
	ioapic_set(&ioapic, 4, true);
	assert_int_equal(fixture.msis, 1);
	ioapic_set(&ioapic, 4, false);
	ioapic_set(&ioapic, 4, true);
	assert_int_equal(fixture.msis, 2);
}

static void test_edge_on_a_masked_pin_is_lost(void **state)
{
	(void)state;
	entry(4, 0, 0x00010031);
	ioapic_set(&ioapic, 4, true);
	entry(4, 0, 0x00000031);
	assert_int_equal(fixture.msis, 0);
}

static void test_level_waits_for_eoi_and_comes_again(void **state)
{
	(void)state;
	entry(20, 0x01000000, 0x0000a055); /* level, active low: the line still says "asserted" */
	ioapic_set(&ioapic, 20, true);
	assert_int_equal(fixture.msis, 1);
	assert_int_equal(fixture.msi[0].address, 0xfee01000);
	assert_int_equal(fixture.msi[0].data, 0xc055);
	assert_int_equal(get(0x10 + 40), 0x0000e055);
	ioapic_set(&ioapic, 20, false);
	ioapic_set(&ioapic, 20, true);
	assert_int_equal(fixture.msis, 1);
	ioapic_eoi(&ioapic, 0x54);
	assert_int_equal(fixture.msis, 1);
	ioapic_eoi(&ioapic, 0x55);
	assert_int_equal(fixture.msis, 2);
	ioapic_set(&ioapic, 20, false);
	fixture_store(&fixture, BASE + 0x40, 4, 0x55); /* the EOI register */
	assert_int_equal(fixture.msis, 2);
	assert_int_equal(get(0x10 + 40), 0x0000a055);
	ioapic_set(&ioapic, 20, true);
	assert_int_equal(fixture.msis, 3);
}

static void test_unmasking_an_asserted_level_delivers(void **state)
{
	(void)state;
	entry(16, 0, 0x00018060);
	ioapic_set(&ioapic, 16, true);
	assert_int_equal(fixture.msis, 0);
	entry(16, 0, 0x00008060);
	assert_int_equal(fixture.msis, 1);
	entry(16, 0, 0x00018060); /* masked with Remote IRR set: it stays */
	assert_int_equal(get(0x30) & 0x4000, 0x4000);
	entry(16, 0, 0x00010060); /* to edge and back: the old way to end it */
	entry(16, 0, 0x00008060);
	assert_int_equal(fixture.msis, 2);
}

static void test_irq0_is_pin2_and_the_cascade_is_none(void **state)
{
	(void)state;
	entry(2, 0, 0x30);
	entry(0, 0, 0x31);
	ioapic_set(&ioapic, 0, true);
	assert_int_equal(fixture.msis, 1);
	assert_int_equal(fixture.msi[0].data, 0x30);
	ioapic_set(&ioapic, 0, false);
	ioapic_set(&ioapic, 2, true);
	assert_int_equal(fixture.msis, 1);
}

static void test_saved_state_keeps_a_level_in_service(void **state)
{
	static struct ioapic other;
	struct fixture second;

	(void)state;
	entry(20, 0x01000000, 0x00008055);
	ioapic_set(&ioapic, 20, true);
	fixture_init(&second);
	ioapic_init(&other, &second.irq, 0);
	fixture_carry_over(&ioapic.device, &other.device);
	assert_int_equal(second.msis, 0);
	ioapic_eoi(&other, 0x55);
	assert_int_equal(second.msis, 1);
}

static void test_hostile_guest_breaks_nothing(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 40000; i++) {
		put((unsigned)fixture_random() & 0x4f, (uint32_t)fixture_random());
		fixture_hammer(&fixture, &fixture.mmio, BASE, 0x50, 2);
		ioapic_set(&ioapic, (unsigned)(fixture_random() % IRQ_GSIS), fixture_random() & 1);
		ioapic_eoi(&ioapic, (uint8_t)fixture_random());
		if (i % 8 == 0)
			fixture_carry_over(&ioapic.device, &ioapic.device);
	}
	fixture_load_rubbish(&ioapic.device, 2000);
	assert_int_equal(get(0x10), 0x00010000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_identity, setup),
		cmocka_unit_test_setup(test_entry_keeps_its_writable_bits, setup),
		cmocka_unit_test_setup(test_edge_becomes_the_message_that_the_entry_says, setup),
		cmocka_unit_test_setup(test_edge_on_a_masked_pin_is_lost, setup),
		cmocka_unit_test_setup(test_level_waits_for_eoi_and_comes_again, setup),
		cmocka_unit_test_setup(test_unmasking_an_asserted_level_delivers, setup),
		cmocka_unit_test_setup(test_irq0_is_pin2_and_the_cascade_is_none, setup),
		cmocka_unit_test_setup(test_saved_state_keeps_a_level_in_service, setup),
		cmocka_unit_test_setup(test_hostile_guest_breaks_nothing, setup),
	};

	return cmocka_run_group_tests_name("ioapic", tests, NULL, NULL);
}
