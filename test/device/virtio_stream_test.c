/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_stream_test.c - virtio-rng and virtio-console, by drivers that behave and by random ones.
 */
#include <stdlib.h>
#include <string.h>

#include <holon/chardev.h>
#include <holon/timer.h>

#include "machine.h"

#include "device/virtio/virtio_console.h"
#include "device/virtio/virtio_rng.h"

#define RNG PCI_DEVFN(4, 0)
#define CONSOLE PCI_DEVFN(5, 0)
#define DATA 0x4000
#define F_INDIRECT (UINT64_C(1) << 28)
#define F_VERSION_1 (UINT64_C(1) << 32)

struct recorder {
	struct chardev chardev;
	uint8_t bytes[1 << 16];
	uint64_t length; /* of all that was ever written */
	unsigned room_again;
};

static void recorder_write(struct chardev *chardev, const uint8_t *bytes, size_t length)
{
	struct recorder *recorder = (struct recorder *)chardev;

	for (size_t i = 0; i < length; i++)
		recorder->bytes[recorder->length++ % sizeof(recorder->bytes)] = bytes[i];
}

static void recorder_room_again(struct chardev *chardev)
{
	((struct recorder *)chardev)->room_again++;
}

struct bench {
	struct machine machine;
	struct recorder recorder;
	struct virtio_rng *rng;
	struct virtio_console *console;
	struct driver rng_driver, console_driver;
};

static void rng_create(struct bench *bench, uint64_t second, uint64_t burst)
{
	assert_int_equal(virtio_rng_create(&bench->rng, &bench->machine.host->root, RNG, &bench->machine.memory,
					   &bench->machine.irq, &bench->machine.clock, second, burst),
			 STATUS_OK);
}

static struct bench *bench_create(void)
{
	struct bench *bench = calloc(1, sizeof(*bench));

	machine_create(&bench->machine);
	bench->recorder.chardev = (struct chardev){.write = recorder_write, .room_again = recorder_room_again};
	rng_create(bench, 1 << 20, 64 << 10);
	assert_int_equal(virtio_console_create(&bench->console, &bench->machine.host->root, CONSOLE, &bench->machine.memory,
					       &bench->machine.irq, &bench->machine.clock, &bench->recorder.chardev),
			 STATUS_OK);
	virtio_console_device(bench->console)->resume(bench->console);
	return bench;
}

static void bench_up(struct bench *bench)
{
	driver_attach(&bench->rng_driver, &bench->machine, 0, RNG, 0xc0000000, true);
	assert_true(driver_negotiate(&bench->rng_driver, F_INDIRECT | F_VERSION_1));
	driver_queue_enable(&bench->rng_driver, 0, 16, 0x10000);
	driver_go(&bench->rng_driver);
	driver_attach(&bench->console_driver, &bench->machine, 0, CONSOLE, 0xc0100000, true);
	assert_true(driver_negotiate(&bench->console_driver, F_INDIRECT | F_VERSION_1));
	driver_queue_enable(&bench->console_driver, 0, 16, 0x12000);
	driver_queue_enable(&bench->console_driver, 1, 16, 0x14000);
	driver_go(&bench->console_driver);
}

static void bench_destroy(struct bench *bench)
{
	virtio_console_destroy(bench->console);
	virtio_rng_destroy(bench->rng);
	machine_destroy(&bench->machine);
	free(bench);
}

static void entropy_comes_in_bounded_pieces(void **state)
{
	struct bench *bench = bench_create();
	uint32_t id, length;
	const uint8_t *bytes;
	unsigned zeroes = 0;

	(void)state;
	bench_up(bench);
	driver_descriptor(&bench->rng_driver, 0, 0, DATA, 64, DESC_WRITE, 0);
	driver_offer(&bench->rng_driver, 0, 0);
	assert_true(driver_take(&bench->rng_driver, 0, &id, &length));
	assert_int_equal(length, 64);
	bytes = guest_memory_at(&bench->machine.memory, DATA, 64);
	for (unsigned i = 0; i < 64; i++)
		zeroes += bytes[i] == 0;
	assert_true(zeroes < 10);
	assert_int_equal(bench->machine.messages[DRIVER_MSIX_VECTOR(0)], 1);
	driver_descriptor(&bench->rng_driver, 0, 0, DATA, 65536, DESC_WRITE, 0);
	driver_offer(&bench->rng_driver, 0, 0);
	assert_true(driver_take(&bench->rng_driver, 0, &id, &length));
	assert_int_equal(length, 4096);
	bench_destroy(bench);
}

static void entropy_is_metered_by_the_guests_time(void **state)
{
	struct bench *bench = bench_create();
	uint32_t id, length, total = 0;

	(void)state;
	bench_up(bench);
	driver_descriptor(&bench->rng_driver, 0, 0, DATA, 4096, DESC_WRITE, 0);
	for (unsigned i = 0; i < 30; i++) {
		driver_offer(&bench->rng_driver, 0, 0);
		while (driver_take(&bench->rng_driver, 0, &id, &length))
			total += length;
		if (i >= 16)
			break; /* the credit is used up: the ring would overflow */
	}
	assert_int_equal(total, 65536);
	device_saves_and_loads(virtio_rng_device(bench->rng)); /* while it waits */
	vm_clock_count(&bench->machine.clock, 10000000);       /* 10 ms: the one that waits is answered */
	assert_true(driver_take(&bench->rng_driver, 0, &id, &length));
	assert_int_equal(length, 4096);
	virtio_rng_device(bench->rng)->reset(bench->rng);
	bench_destroy(bench);
}

/* The owner's rate: 100 bytes a second, 4096 at once; what is over the burst has to be waited for. */
static void entropy_has_the_rate_that_the_owner_set(void **state)
{
	struct bench *bench = bench_create();
	uint32_t id, length;

	(void)state;
	virtio_rng_destroy(bench->rng);
	rng_create(bench, 100, 4096);
	bench_up(bench);
	driver_descriptor(&bench->rng_driver, 0, 0, DATA, 4096, DESC_WRITE, 0);
	driver_offer(&bench->rng_driver, 0, 0);
	assert_true(driver_take(&bench->rng_driver, 0, &id, &length));
	driver_descriptor(&bench->rng_driver, 0, 0, DATA, 1, DESC_WRITE, 0);
	driver_offer(&bench->rng_driver, 0, 0);
	assert_false(driver_take(&bench->rng_driver, 0, &id, &length));
	vm_clock_count(&bench->machine.clock, 1000000000);
	assert_true(driver_take(&bench->rng_driver, 0, &id, &length)); /* some credit is enough */
	bench_destroy(bench);
}

static void entropy_without_a_limit_never_waits(void **state)
{
	struct bench *bench = bench_create();
	uint32_t id, length;

	(void)state;
	virtio_rng_destroy(bench->rng);
	rng_create(bench, 0, 0);
	bench_up(bench);
	driver_descriptor(&bench->rng_driver, 0, 0, DATA, 4096, DESC_WRITE, 0);
	for (unsigned i = 0; i < 1000; i++) {
		driver_offer(&bench->rng_driver, 0, 0);
		assert_true(driver_take(&bench->rng_driver, 0, &id, &length));
		assert_int_equal(length, 4096);
	}
	bench_destroy(bench);
}

/* Neither holds up the thread that notified; others have their turn, and then what is left is served. */
static void a_flood_of_requests_ends(void **state)
{
	struct bench *bench = bench_create();

	(void)state;
	virtio_rng_destroy(bench->rng);
	rng_create(bench, 0, 0);
	bench_up(bench);
	driver_descriptor(&bench->rng_driver, 0, 0, DATA, 64, DESC_WRITE, 0);
	driver_flood_ends(&bench->rng_driver, 0, 1000);
	bench_destroy(bench);
}

static void a_flood_of_output_ends(void **state)
{
	struct bench *bench = bench_create();

	(void)state;
	bench_up(bench);
	driver_descriptor(&bench->console_driver, 1, 0, DATA, 1, 0, 0);
	driver_flood_ends(&bench->console_driver, 1, 1000);
	bench_destroy(bench);
}

/* Chains that nothing can be written to: the byte stays, and waits for one that has room. */
static void a_flood_of_chains_without_room_ends(void **state)
{
	struct bench *bench = bench_create();

	(void)state;
	bench_up(bench);
	driver_descriptor(&bench->console_driver, 0, 0, DATA, 16, 0, 0);
	driver_flood(&bench->console_driver, 0);
	assert_int_equal(chardev_deliver(&bench->recorder.chardev, (const uint8_t *)"x", 1), 1);
	assert_in_range(driver_flood_left(&bench->console_driver), DRIVER_FLOOD - 10000, DRIVER_FLOOD - 1);
	bench_destroy(bench);
}

static void output_reaches_the_chardev_in_order(void **state)
{
	struct bench *bench = bench_create();
	uint8_t bytes[10000];
	uint32_t id, length;

	(void)state;
	bench_up(bench);
	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7 + i / 256);
	assert_int_equal(guest_memory_write(&bench->machine.memory, MACHINE_SEAM - 5000, bytes, sizeof(bytes)), STATUS_OK);
	driver_descriptor(&bench->console_driver, 1, 0, MACHINE_SEAM - 5000, 6000, DESC_NEXT, 1);
	driver_descriptor(&bench->console_driver, 1, 1, MACHINE_SEAM + 1000, 4000, 0, 0);
	driver_offer(&bench->console_driver, 1, 0);
	assert_true(driver_take(&bench->console_driver, 1, &id, &length));
	assert_int_equal(length, 0);
	assert_int_equal(bench->recorder.length, sizeof(bytes));
	assert_memory_equal(bench->recorder.bytes, bytes, sizeof(bytes));
	bench_destroy(bench);
}

static void input_waits_for_room_and_arrives_whole(void **state)
{
	struct bench *bench = bench_create();
	struct chardev_frontend *frontend = bench->recorder.chardev.frontend;
	uint8_t bytes[4096], seen[4096];
	uint32_t id, length, total = 0;
	unsigned again;

	(void)state;
	assert_int_equal(frontend->room(frontend->device), 0); /* no driver yet */
	again = bench->recorder.room_again;
	bench_up(bench);
	assert_int_equal(bench->recorder.room_again, again + 1);
	assert_int_equal(frontend->room(frontend->device), 4096);
	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 13 + i / 256);
	frontend->receive(frontend->device, bytes, sizeof(bytes));
	assert_int_equal(frontend->room(frontend->device), 0);
	device_saves_and_loads(virtio_console_device(bench->console));
	again = bench->recorder.room_again;
	while (total < sizeof(bytes)) {
		driver_descriptor(&bench->console_driver, 0, 0, DATA, 100, DESC_NEXT | DESC_WRITE, 1);
		driver_descriptor(&bench->console_driver, 0, 1, DATA + 200, 156, DESC_WRITE, 0);
		driver_offer(&bench->console_driver, 0, 0);
		assert_true(driver_take(&bench->console_driver, 0, &id, &length));
		assert_int_equal(length, 256);
		assert_int_equal(guest_memory_read(&bench->machine.memory, DATA, seen + total, 100), STATUS_OK);
		assert_int_equal(guest_memory_read(&bench->machine.memory, DATA + 200, seen + total + 100, 156), STATUS_OK);
		total += length;
	}
	assert_memory_equal(bytes, seen, sizeof(bytes));
	assert_int_equal(bench->recorder.room_again, again + 16);
	/* Memory that is there first is used at once. */
	driver_offer(&bench->console_driver, 0, 0);
	assert_false(driver_take(&bench->console_driver, 0, &id, &length));
	frontend->receive(frontend->device, (const uint8_t *)"hello", 5);
	assert_true(driver_take(&bench->console_driver, 0, &id, &length));
	assert_int_equal(length, 5);
	bench_destroy(bench);
}

/* Writable descriptors for output, readable for input, loops, rubbish: 20,000 rounds; then all works after a reset. */
static void random_rings_are_survived(void **state)
{
	struct bench *bench = bench_create();
	struct chardev_frontend *frontend = bench->recorder.chardev.frontend;
	struct machine *machine = &bench->machine;
	uint32_t id, length;
	uint8_t bytes[64] = {0};

	(void)state;
	bench_up(bench);
	for (unsigned round = 0; round < 20000; round++) {
		struct driver *driver = round % 3 ? &bench->console_driver : &bench->rng_driver;
		unsigned queue = round % 3 == 2;

		for (unsigned i = 0; i < 4; i++) {
			uint64_t gpa =
				machine_random(machine) % 8 ? DATA + machine_random(machine) % 8192 : machine_random(machine);

			driver_descriptor(
				driver, queue, i, gpa, (uint32_t)(machine_random(machine) % 3000),
				(uint16_t)(machine_random(machine) % 8 ? machine_random(machine) & 3 : machine_random(machine) & 7),
				(uint16_t)(machine_random(machine) % 5));
		}
		driver_offer(driver, queue, (uint16_t)(machine_random(machine) % 4));
		length = (uint32_t)frontend->room(frontend->device);
		frontend->receive(frontend->device, bytes, length < 64 ? length : 64);
		vm_clock_count(&bench->machine.clock, 100000);
		if (driver_status(driver) == 15) {
			while (driver_take(driver, queue, &id, &length))
				;
			if ((uint16_t)(driver->queue[queue].next_available - driver->queue[queue].seen_used) < 12)
				continue;
		}
		bench_up(bench);
	}
	bench_up(bench);
	driver_descriptor(&bench->console_driver, 1, 0, DATA, 10, 0, 0);
	driver_offer(&bench->console_driver, 1, 0);
	assert_true(driver_take(&bench->console_driver, 1, &id, &length));
	bench_destroy(bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entropy_comes_in_bounded_pieces),
		cmocka_unit_test(entropy_is_metered_by_the_guests_time),
		cmocka_unit_test(a_flood_of_requests_ends),
		cmocka_unit_test(a_flood_of_output_ends),
		cmocka_unit_test(a_flood_of_chains_without_room_ends),
		cmocka_unit_test(output_reaches_the_chardev_in_order),
		cmocka_unit_test(input_waits_for_room_and_arrives_whole),
		cmocka_unit_test(random_rings_are_survived),
		cmocka_unit_test(entropy_has_the_rate_that_the_owner_set),
		cmocka_unit_test(entropy_without_a_limit_never_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
