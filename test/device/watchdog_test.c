/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watchdog_test.c - the 6300ESB watchdog: its two stages, keys, lock, saved state, and a guest that writes anything.
 */
#include <stdlib.h>

#include <holon/timer.h>

#include "machine.h"

#include "device/watchdog.h"

#define DEVFN PCI_DEVFN(25, 0)
#define BAR 0xc0000000
#define PRELOAD_1 (BAR + 0)
#define PRELOAD_2 (BAR + 4)
#define STATUS (BAR + 8)
#define RELOAD (BAR + 12)
#define SECOND UINT64_C(1000000000)

struct bench {
	struct machine machine;
	struct watchdog *watchdog;
	unsigned expired;
};

static void expired(void *machine)
{
	((struct bench *)machine)->expired++;
}

static struct bench *bench_create(void)
{
	struct bench *bench = calloc(1, sizeof(*bench));

	machine_create(&bench->machine);
	assert_int_equal(
		watchdog_create(&bench->watchdog, &bench->machine.host->root, DEVFN, &bench->machine.clock, expired, bench),
		STATUS_OK);
	config_write(&bench->machine, 0, DEVFN, 0x10, 4, BAR);
	config_write(&bench->machine, 0, DEVFN, 4, 2, 6);
	return bench;
}

static void bench_destroy(struct bench *bench)
{
	watchdog_destroy(bench->watchdog);
	machine_destroy(&bench->machine);
	free(bench);
}

static void unlocked_write(struct bench *bench, uint64_t address, unsigned size, uint32_t value)
{
	mmio_write(&bench->machine, RELOAD, 2, 0x80);
	mmio_write(&bench->machine, RELOAD, 2, 0x86);
	mmio_write(&bench->machine, address, size, value);
}

/* As Linux's driver does: no interrupt, a kHz, half of the time for each stage. */
static void start(struct bench *bench, unsigned seconds)
{
	config_write(&bench->machine, 0, DEVFN, 0x60, 2, 3);
	unlocked_write(bench, PRELOAD_1, 4, seconds << 9);
	unlocked_write(bench, PRELOAD_2, 4, seconds << 9);
	unlocked_write(bench, RELOAD, 2, 0x100);
	config_write(&bench->machine, 0, DEVFN, 0x68, 1, 2);
}

static void it_is_what_drivers_look_for(void **state)
{
	struct bench *bench = bench_create();

	(void)state;
	assert_int_equal(config_read(&bench->machine, 0, DEVFN, 0, 4), 0x25ab8086);
	assert_int_equal(config_read(&bench->machine, 0, DEVFN, 0x68, 1), 0);
	bench_destroy(bench);
}

static void it_expires_after_both_stages(void **state)
{
	struct bench *bench = bench_create();

	(void)state;
	start(bench, 10);
	vm_clock_count(&bench->machine.clock, 10 * SECOND);
	assert_int_equal(bench->expired, 0); /* 33 MHz / 2^15 is a little more than a kHz, 2^10 a little more than 1000 */
	vm_clock_count(&bench->machine.clock, SECOND / 4);
	assert_int_equal(bench->expired, 1);
	vm_clock_count(&bench->machine.clock, 100 * SECOND);
	assert_int_equal(bench->expired, 1);
	/* The next boot's driver sees why it was reset, and clears that. */
	watchdog_device(bench->watchdog)->reset(bench->watchdog);
	config_write(&bench->machine, 0, DEVFN, 0x10, 4, BAR);
	config_write(&bench->machine, 0, DEVFN, 4, 2, 6);
	assert_int_equal(mmio_read(&bench->machine, RELOAD, 2), 0x200);
	unlocked_write(bench, RELOAD, 2, 0x300);
	assert_int_equal(mmio_read(&bench->machine, RELOAD, 2), 0);
	bench_destroy(bench);
}

static void a_guest_that_keeps_reloading_lives(void **state)
{
	struct bench *bench = bench_create();

	(void)state;
	start(bench, 10);
	for (unsigned i = 0; i < 20; i++) {
		vm_clock_count(&bench->machine.clock, 9 * SECOND);
		unlocked_write(bench, RELOAD, 2, 0x100);
	}
	assert_int_equal(bench->expired, 0);
	config_write(&bench->machine, 0, DEVFN, 0x68, 1, 0); /* and one that switches it off, too */
	vm_clock_count(&bench->machine.clock, 100 * SECOND);
	assert_int_equal(bench->expired, 0);
	bench_destroy(bench);
}

static void without_the_keys_nothing_is_written(void **state)
{
	struct bench *bench = bench_create();

	(void)state;
	start(bench, 10);
	vm_clock_count(&bench->machine.clock, 9 * SECOND);
	mmio_write(&bench->machine, RELOAD, 2, 0x100);
	mmio_write(&bench->machine, RELOAD, 2, 0x80);
	mmio_write(&bench->machine, RELOAD, 2, 0x100); /* the second key is missing */
	unlocked_write(bench, PRELOAD_1, 4, 20 << 9);
	mmio_write(&bench->machine, RELOAD, 2, 0x100); /* a pair is good for one write */
	vm_clock_count(&bench->machine.clock, 2 * SECOND);
	assert_int_equal(bench->expired, 1);
	bench_destroy(bench);
}

static void locked_it_cannot_be_switched_off(void **state)
{
	struct bench *bench = bench_create();

	(void)state;
	start(bench, 10);
	config_write(&bench->machine, 0, DEVFN, 0x68, 1, 3);
	config_write(&bench->machine, 0, DEVFN, 0x68, 1, 0);
	assert_int_equal(config_read(&bench->machine, 0, DEVFN, 0x68, 1), 3);
	vm_clock_count(&bench->machine.clock, 11 * SECOND);
	assert_int_equal(bench->expired, 1);
	bench_destroy(bench);
}

static void the_first_stage_interrupts_if_wanted(void **state)
{
	struct bench *bench = bench_create();

	(void)state;
	start(bench, 10);
	config_write(&bench->machine, 0, DEVFN, 0x60, 2, 0x20); /* INTx, output off */
	vm_clock_count(&bench->machine.clock, 6 * SECOND);
	assert_int_equal(mmio_read(&bench->machine, STATUS, 4), 1);
	assert_true(config_read(&bench->machine, 0, DEVFN, 6, 2) & 8);
	unlocked_write(bench, STATUS, 4, 1);
	assert_int_equal(mmio_read(&bench->machine, STATUS, 4), 0);
	assert_false(config_read(&bench->machine, 0, DEVFN, 6, 2) & 8);
	vm_clock_count(&bench->machine.clock, 6 * SECOND);
	assert_int_equal(bench->expired, 0);
	assert_int_equal(mmio_read(&bench->machine, RELOAD, 2), 0x200);
	bench_destroy(bench);
}

static void a_saved_one_goes_on_counting(void **state)
{
	struct bench *bench = bench_create();

	(void)state;
	start(bench, 10);
	vm_clock_count(&bench->machine.clock, 9 * SECOND);
	device_saves_and_loads(watchdog_device(bench->watchdog));
	vm_clock_count(&bench->machine.clock, 2 * SECOND);
	assert_int_equal(bench->expired, 1);
	bench_destroy(bench);
}

static void anything_may_be_written(void **state)
{
	struct bench *bench = bench_create();
	struct machine *machine = &bench->machine;

	(void)state;
	for (unsigned i = 0; i < 100000; i++) {
		uint64_t random = machine_random(machine);
		unsigned size = 1u << (random & 1), place = (unsigned)(random >> 8) & 15 & ~(size - 1);

		switch (random >> 4 & 7) {
		case 0: config_write(machine, 0, DEVFN, 0x60, 2, (uint32_t)(random >> 16)); break;
		case 1: config_write(machine, 0, DEVFN, 0x68, 1, (uint32_t)(random >> 16) & 6); break;
		case 2: mmio_write(machine, BAR + place, size, random >> 16); break;
		case 3: mmio_read(machine, BAR + place, size); break;
		case 4: vm_clock_count(&bench->machine.clock, random >> 40); break;
		case 5: unlocked_write(bench, BAR + (place & 12), 2, (uint32_t)(random >> 16)); break;
		case 6: unlocked_write(bench, RELOAD, 2, 0x100); break;
		default: unlocked_write(bench, BAR + (place & 4), 4, (uint32_t)(random >> 16) & 15); break;
		}
	}
	watchdog_device(bench->watchdog)->reset(bench->watchdog);
	config_write(machine, 0, DEVFN, 0x10, 4, BAR);
	config_write(machine, 0, DEVFN, 4, 2, 6);
	bench->expired = 0;
	start(bench, 10);
	vm_clock_count(&bench->machine.clock, 11 * SECOND);
	assert_int_equal(bench->expired, 1);
	bench_destroy(bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_is_what_drivers_look_for),        cmocka_unit_test(it_expires_after_both_stages),
		cmocka_unit_test(a_guest_that_keeps_reloading_lives), cmocka_unit_test(without_the_keys_nothing_is_written),
		cmocka_unit_test(locked_it_cannot_be_switched_off),   cmocka_unit_test(the_first_stage_interrupts_if_wanted),
		cmocka_unit_test(a_saved_one_goes_on_counting),       cmocka_unit_test(anything_may_be_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
