/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_balloon_test.c - pages that come back to the host, statistics, and drivers that mean harm.
 */
#include <stdlib.h>
#include <string.h>

#include <holon/timer.h>

#include "machine.h"

#include "device/virtio/virtio_balloon.h"

#define DEVFN PCI_DEVFN(23, 0)
#define FEATURES UINT64_C(0x100000036) /* statistics, deflate on OOM, poison, reporting, VERSION_1 */
#define DATA 0x4000
#define PAGE 4096u
#define SECOND UINT64_C(1000000000)

struct bench {
	struct machine machine;
	struct virtio_balloon *balloon;
	struct driver driver;
};

static struct bench *bench_create(uint64_t target, uint64_t stats_ns)
{
	struct bench *bench = calloc(1, sizeof(*bench));

	machine_create(&bench->machine);
	assert_int_equal(virtio_balloon_create(&bench->balloon, &bench->machine.host->root, DEVFN, &bench->machine.memory,
					       &bench->machine.irq, &bench->machine.clock, target, stats_ns),
			 STATUS_OK);
	return bench;
}

static void bench_up(struct bench *bench)
{
	driver_attach(&bench->driver, &bench->machine, 0, DEVFN, 0xc0000000, true);
	assert_true(driver_negotiate(&bench->driver, FEATURES));
	for (unsigned i = 0; i < 4; i++)
		driver_queue_enable(&bench->driver, i, 16, 0x10000 + 0x2000 * i);
	driver_go(&bench->driver);
}

static void bench_destroy(struct bench *bench)
{
	virtio_balloon_destroy(bench->balloon);
	machine_destroy(&bench->machine);
	free(bench);
}

static void memory_fill(struct bench *bench, uint64_t gpa, uint64_t length)
{
	uint8_t *at = guest_memory_write_begin(&bench->machine.memory, gpa, length);

	assert_non_null(at);
	memset(at, 0x5a, length);
	guest_memory_write_end(&bench->machine.memory, gpa, length);
}

static bool memory_is(struct bench *bench, uint64_t gpa, uint64_t length, uint8_t value)
{
	const uint8_t *at = guest_memory_at(&bench->machine.memory, gpa, length);

	for (uint64_t i = 0; i < length; i++)
		if (at[i] != value)
			return false;
	return true;
}

static struct balloon_report report_of(struct bench *bench)
{
	struct balloon_report report;

	virtio_balloon_report(bench->balloon, &report);
	return report;
}

static void inflated_pages_go(void **state)
{
	static const uint32_t pages[] = {0x40, 0x41, 0x42, 0x50, 0x4f, 0x7f, 0x80 /* the next slot */, 0xffffffff, 0x1000};
	struct bench *bench = bench_create(5 * PAGE, 0);
	uint32_t id, length;

	(void)state;
	bench_up(bench);
	assert_int_equal(mmio_read(&bench->machine, bench->driver.device, 4), 5);
	memory_fill(bench, 0x30000, 0x50000);
	memory_fill(bench, 0x80000, 0x10000);
	assert_int_equal(guest_memory_write(&bench->machine.memory, DATA, pages, sizeof(pages)), STATUS_OK);
	driver_descriptor(&bench->driver, 0, 0, DATA, sizeof(pages), 0, 0);
	driver_offer(&bench->driver, 0, 0);
	assert_true(driver_take(&bench->driver, 0, &id, &length));
	assert_int_equal(length, 0);
	assert_true(memory_is(bench, 0x40000, 3 * PAGE, 0));
	assert_true(memory_is(bench, 0x3f000, PAGE, 0x5a));
	assert_true(memory_is(bench, 0x43000, PAGE, 0x5a));
	assert_true(memory_is(bench, 0x4f000, 2 * PAGE, 0));
	assert_true(memory_is(bench, 0x7f000, PAGE, 0));
	assert_true(memory_is(bench, 0x80000, PAGE, 0));
	assert_true(memory_is(bench, 0x81000, PAGE, 0x5a));
	assert_int_equal(report_of(bench).discarded, 7 * PAGE);
	mmio_write(&bench->machine, bench->driver.device + 4, 4, 7);
	assert_int_equal(report_of(bench).actual, 7 * PAGE);
	driver_offer(&bench->driver, 1, 0); /* deflating needs nothing */
	driver_descriptor(&bench->driver, 1, 0, DATA, sizeof(pages), 0, 0);
	driver_offer(&bench->driver, 1, 0);
	assert_true(driver_take(&bench->driver, 1, &id, &length));
	device_saves_and_loads(virtio_balloon_device(bench->balloon));
	bench_destroy(bench);
}

static void free_pages_go_but_not_poisoned_ones(void **state)
{
	struct bench *bench = bench_create(0, 0);
	uint32_t id, length;

	(void)state;
	bench_up(bench);
	memory_fill(bench, 0x30000, 0x20000);
	/* Not on page borders: only whole pages go. */
	driver_descriptor(&bench->driver, 3, 0, 0x30800, 2 * PAGE, DESC_WRITE | DESC_NEXT, 1);
	driver_descriptor(&bench->driver, 3, 1, 0x40000, PAGE, DESC_WRITE, 0);
	driver_offer(&bench->driver, 3, 0);
	assert_true(driver_take(&bench->driver, 3, &id, &length));
	assert_true(memory_is(bench, 0x30000, PAGE, 0x5a));
	assert_true(memory_is(bench, 0x31000, PAGE, 0));
	assert_true(memory_is(bench, 0x32000, PAGE, 0x5a));
	assert_true(memory_is(bench, 0x40000, PAGE, 0));
	assert_int_equal(report_of(bench).reported, 2 * PAGE);
	mmio_write(&bench->machine, bench->driver.device + 12, 4, 0xaa);
	memory_fill(bench, 0x40000, PAGE);
	driver_offer(&bench->driver, 3, 0);
	assert_true(driver_take(&bench->driver, 3, &id, &length));
	assert_true(memory_is(bench, 0x40000, PAGE, 0x5a));
	bench_destroy(bench);
}

static void code_in_discarded_pages_is_known_to_be_gone(void **state)
{
	struct bench *bench = bench_create(0, 0);
	uint64_t bitmap[32] = {0}, page;

	(void)state;
	assert_int_equal(guest_memory_dirty_start(&bench->machine.memory), STATUS_OK);
	assert_int_equal(guest_memory_discard(&bench->machine.memory, 0x40000, PAGE), PAGE);
	guest_memory_dirty_collect(&bench->machine.memory, bitmap);
	page = guest_memory_page(&bench->machine.memory, guest_memory_at(&bench->machine.memory, 0x40000, PAGE));
	assert_int_equal(bitmap[page / 64], UINT64_C(1) << page % 64);
	guest_memory_dirty_stop(&bench->machine.memory);
	assert_int_equal(guest_memory_discard(&bench->machine.memory, MACHINE_ROM, PAGE), 0);
	assert_int_equal(guest_memory_discard(&bench->machine.memory, 0, UINT64_MAX), MACHINE_RAM);
	assert_int_equal(guest_memory_discard(&bench->machine.memory, UINT64_MAX - 10, 100), 0);
	assert_int_equal(guest_memory_discard(&bench->machine.memory, 0x40000, 0), 0);
	bench_destroy(bench);
}

/* Requests that name one page thousands of times: what one call does for them has an end, the rest is done later. */
static void a_flood_of_pages_ends(void **state)
{
	struct bench *bench = bench_create(0, 0);

	(void)state;
	bench_up(bench);
	driver_descriptor(&bench->driver, 0, 0, DATA, 0x8000, 0, 0); /* 8192 pages */
	driver_flood_ends(&bench->driver, 0, 9);
	bench_destroy(bench);
}

static void statistics_are_asked_for_again(void **state)
{
	static const struct {
		uint16_t tag;
		uint64_t value;
	} __attribute__((packed)) stats[] = {{4, 1000}, {5, 2000}, {99, 3000}, {0, 4000}};
	struct bench *bench = bench_create(0, 10 * SECOND);
	uint32_t id, length;

	(void)state;
	bench_up(bench);
	assert_int_equal(guest_memory_write(&bench->machine.memory, DATA, stats, sizeof(stats)), STATUS_OK);
	driver_descriptor(&bench->driver, 2, 0, DATA, sizeof(stats) + 3, 0, 0);
	driver_offer(&bench->driver, 2, 0);
	assert_false(driver_take(&bench->driver, 2, &id, &length)); /* held */
	assert_int_equal(report_of(bench).stat[BALLOON_FREE], 1000);
	assert_int_equal(report_of(bench).stat[BALLOON_TOTAL], 2000);
	assert_int_equal(report_of(bench).stat[BALLOON_SWAP_IN], 4000);
	assert_true(report_of(bench).stat[BALLOON_AVAILABLE] == BALLOON_STAT_UNKNOWN);
	device_saves_and_loads(virtio_balloon_device(bench->balloon));
	vm_clock_count(&bench->machine.clock, 9 * SECOND);
	assert_false(driver_take(&bench->driver, 2, &id, &length));
	vm_clock_count(&bench->machine.clock, 2 * SECOND);
	assert_true(driver_take(&bench->driver, 2, &id, &length));
	driver_offer(&bench->driver, 2, 0);
	vm_clock_count(&bench->machine.clock, 11 * SECOND);
	assert_true(driver_take(&bench->driver, 2, &id, &length));
	/* A reset forgets the buffer. */
	driver_offer(&bench->driver, 2, 0);
	bench_up(bench);
	vm_clock_count(&bench->machine.clock, 30 * SECOND);
	assert_false(driver_take(&bench->driver, 2, &id, &length));
	bench_destroy(bench);
}

static void a_new_target_interrupts(void **state)
{
	struct bench *bench = bench_create(0, 0);
	unsigned before;

	(void)state;
	bench_up(bench);
	before = bench->machine.messages[DRIVER_CONFIG_VECTOR];
	virtio_balloon_target_set(bench->balloon, 3 * PAGE);
	assert_int_equal(bench->machine.messages[DRIVER_CONFIG_VECTOR], before + 1);
	assert_int_equal(mmio_read(&bench->machine, bench->driver.device, 4), 3);
	virtio_balloon_target_set(bench->balloon, UINT64_MAX); /* no more than there is */
	assert_int_equal(mmio_read(&bench->machine, bench->driver.device, 4), bench->machine.memory.size / PAGE);
	bench_destroy(bench);
}

/* Rings of rubbish on all four queues, 30,000 rounds; then all works after a reset. Pages of the rings go too. */
static void random_rings_are_survived(void **state)
{
	struct bench *bench = bench_create(0, SECOND);
	struct machine *machine = &bench->machine;
	uint32_t id, length;

	(void)state;
	bench_up(bench);
	for (unsigned round = 0; round < 30000; round++) {
		unsigned queue = round % 4;

		for (unsigned i = 0; i < 4; i++) {
			uint64_t gpa =
				machine_random(machine) % 8 ? machine_random(machine) % MACHINE_RAM : machine_random(machine);
			uint32_t pfn = (uint32_t)machine_random(machine) % 0x120;

			driver_descriptor(&bench->driver, queue, i, gpa, (uint32_t)(machine_random(machine) % 20000),
					  (uint16_t)(machine_random(machine) % 8), (uint16_t)(machine_random(machine) % 5));
			assert_int_equal(guest_memory_write(&machine->memory, DATA + i * 4, &pfn, 4), STATUS_OK);
		}
		if (machine_random(machine) % 4)
			driver_descriptor(&bench->driver, queue, 0, DATA, 16, queue == 3 ? DESC_WRITE : 0, 0);
		driver_offer(&bench->driver, queue, (uint16_t)(machine_random(machine) % 4));
		vm_clock_count(&bench->machine.clock, 100000000);
		if (machine_random(machine) % 16 == 0)
			mmio_write(machine, bench->driver.device + (machine_random(machine) & 12), 4, machine_random(machine) & 1);
		if (driver_status(&bench->driver) != 15 || machine_random(machine) % 12 == 0)
			bench_up(bench);
	}
	bench_up(bench);
	mmio_write(machine, bench->driver.device + 12, 4, 0);
	memory_fill(bench, 0x40000, PAGE);
	driver_descriptor(&bench->driver, 3, 0, 0x40000, PAGE, DESC_WRITE, 0);
	driver_offer(&bench->driver, 3, 0);
	assert_true(driver_take(&bench->driver, 3, &id, &length));
	assert_true(memory_is(bench, 0x40000, PAGE, 0));
	bench_destroy(bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(inflated_pages_go),
		cmocka_unit_test(free_pages_go_but_not_poisoned_ones),
		cmocka_unit_test(code_in_discarded_pages_is_known_to_be_gone),
		cmocka_unit_test(a_flood_of_pages_ends),
		cmocka_unit_test(statistics_are_asked_for_again),
		cmocka_unit_test(a_new_target_interrupts),
		cmocka_unit_test(random_rings_are_survived),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
