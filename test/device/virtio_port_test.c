/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_port_test.c - a named console port: what the driver is told, bytes both ways, nothing lost for want of room, saved state.
 */
#include <stdlib.h>
#include <string.h>

#include "machine.h"
#include "test_port.h"

#include "device/virtio/virtio_port.h"

#define DEVFN PCI_DEVFN(3, 0)
#define RING(queue) (0x10000 + 0x1000 * (uint64_t)(queue))
#define BUFFER(queue) (0x20000 + 0x10000 * (uint64_t)(queue))
#define F_MULTIPORT (UINT64_C(1) << 1)
#define F_VERSION_1 (UINT64_C(1) << 32)

struct bench {
	struct machine machine;
	struct test_port host;
	struct virtio_port *port;
	struct driver driver;
};

static struct bench *bench_create(uint64_t features)
{
	struct bench *bench = calloc(1, sizeof(*bench));

	machine_create(&bench->machine);
	test_port_create(&bench->host);
	assert_int_equal(virtio_port_create(&bench->port, &bench->machine.host->root, DEVFN, &bench->machine.memory,
					    &bench->machine.irq, &bench->host.chardev, "org.test.0"),
			 STATUS_OK);
	virtio_port_device(bench->port)->resume(bench->port);
	driver_attach(&bench->driver, &bench->machine, 0, DEVFN, 0xc0000000, true);
	assert_true(driver_negotiate(&bench->driver, features | F_VERSION_1));
	for (unsigned i = 0; i < 4; i++)
		driver_queue_enable(&bench->driver, i, 16, RING(i));
	driver_go(&bench->driver);
	return bench;
}

static void bench_destroy(struct bench *bench)
{
	virtio_port_destroy(bench->port);
	machine_destroy(&bench->machine);
	free(bench);
}

static void tell(struct bench *bench, uint32_t id, uint16_t event, uint16_t value)
{
	struct {
		uint32_t id;
		uint16_t event, value;
	} control = {id, event, value};

	assert_int_equal(guest_memory_write(&bench->machine.memory, BUFFER(3), &control, sizeof(control)), STATUS_OK);
	driver_descriptor(&bench->driver, 3, 0, BUFFER(3), sizeof(control), 0, 0);
	driver_offer(&bench->driver, 3, 0);
}

/* Offers memory for one message; its event and value, or -1: nothing is said. */
static int hear(struct bench *bench, unsigned *value, char *text)
{
	const uint8_t *bytes = guest_memory_at(&bench->machine.memory, BUFFER(2), 64);
	uint32_t id, length;

	driver_descriptor(&bench->driver, 2, 0, BUFFER(2), 64, DESC_WRITE, 0);
	driver_offer(&bench->driver, 2, 0);
	if (!driver_take(&bench->driver, 2, &id, &length))
		return -1;
	assert_true(length >= 8);
	if (value)
		*value = bytes[6];
	if (text) {
		memcpy(text, bytes + 8, length - 8);
		text[length - 8] = 0;
	}
	return bytes[4];
}

static void handshake(struct bench *bench)
{
	char text[64];

	tell(bench, 0, 0, 1);
	assert_int_equal(hear(bench, NULL, NULL), 1);
	tell(bench, 0, 3, 1);
	assert_int_equal(hear(bench, NULL, text), 7);
	assert_string_equal(text, "org.test.0");
}

static bool state_is(struct bench *bench, bool open)
{
	return chardev_state(&bench->host.chardev, open);
}

static void the_driver_learns_the_name_and_who_is_there(void **state)
{
	struct bench *bench = bench_create(F_MULTIPORT);
	unsigned value;

	(void)state;
	handshake(bench);
	state_is(bench, true);
	state_is(bench, true); /* said once */
	assert_int_equal(hear(bench, &value, NULL), 6);
	assert_int_equal(value, 1);
	assert_int_equal(hear(bench, NULL, NULL), -1);
	state_is(bench, false); /* into the memory that is there already */
	{
		uint32_t id, length;

		assert_true(driver_take(&bench->driver, 2, &id, &length));
		assert_int_equal(((const uint8_t *)guest_memory_at(&bench->machine.memory, BUFFER(2), 8))[6], 0);
	}
	bench_destroy(bench);
}

static void input_waits_until_the_guest_has_it_open(void **state)
{
	struct bench *bench = bench_create(F_MULTIPORT);
	const uint8_t *bytes = guest_memory_at(&bench->machine.memory, BUFFER(0), 64);
	uint32_t id, length;

	(void)state;
	handshake(bench);
	assert_int_equal(chardev_deliver(&bench->host.chardev, (const uint8_t *)"early", 5), 0);
	tell(bench, 0, 6, 1);
	assert_true(bench->host.asked > 0);
	assert_int_equal(chardev_deliver(&bench->host.chardev, (const uint8_t *)"hello", 5), 5);
	device_saves_and_loads(virtio_port_device(bench->port)); /* with input that waits */
	driver_descriptor(&bench->driver, 0, 0, BUFFER(0), 64, DESC_WRITE, 0);
	driver_offer(&bench->driver, 0, 0);
	assert_true(driver_take(&bench->driver, 0, &id, &length));
	assert_int_equal(length, 5);
	assert_memory_equal(bytes, "hello", 5);
	tell(bench, 0, 6, 0);
	assert_int_equal(chardev_deliver(&bench->host.chardev, (const uint8_t *)"late", 4), 0);
	bench_destroy(bench);
}

static void output_waits_for_room_and_none_is_lost(void **state)
{
	struct bench *bench = bench_create(F_MULTIPORT);
	uint32_t id, length;

	(void)state;
	handshake(bench);
	bench->host.room = 12000;
	driver_descriptor(&bench->driver, 1, 0, BUFFER(1), 8000, 0, 0);
	driver_offer(&bench->driver, 1, 0);
	assert_true(driver_take(&bench->driver, 1, &id, &length));
	driver_offer(&bench->driver, 1, 0);
	assert_false(driver_take(&bench->driver, 1, &id, &length));
	assert_int_equal(bench->host.written, 12000); /* what fits of it */
	device_saves_and_loads(virtio_port_device(bench->port));
	bench->host.room = 65536;
	assert_false(state_is(bench, true));
	assert_true(driver_take(&bench->driver, 1, &id, &length));
	assert_int_equal(bench->host.written, 16000);
	bench_destroy(bench);
}

/* Chains that nothing can be written to, without end: the byte stays, and the host's thread goes on. */
static void a_flood_of_chains_without_room_ends(void **state)
{
	struct bench *bench = bench_create(0);

	(void)state;
	driver_descriptor(&bench->driver, 0, 0, BUFFER(0), 16, 0, 0);
	driver_flood(&bench->driver, 0);
	assert_int_equal(chardev_deliver(&bench->host.chardev, (const uint8_t *)"x", 1), 1);
	assert_in_range(driver_flood_left(&bench->driver), DRIVER_FLOOD - 10000, DRIVER_FLOOD - 1);
	bench_destroy(bench);
}

static void a_driver_without_multiport_has_a_plain_port(void **state)
{
	struct bench *bench = bench_create(0);
	uint32_t id, length;

	(void)state;
	driver_descriptor(&bench->driver, 0, 0, BUFFER(0), 64, DESC_WRITE, 0);
	driver_offer(&bench->driver, 0, 0);
	assert_int_equal(chardev_deliver(&bench->host.chardev, (const uint8_t *)"plain", 5), 5);
	assert_true(driver_take(&bench->driver, 0, &id, &length));
	assert_int_equal(length, 5);
	bench_destroy(bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_driver_learns_the_name_and_who_is_there),
		cmocka_unit_test(input_waits_until_the_guest_has_it_open),
		cmocka_unit_test(output_waits_for_room_and_none_is_lost),
		cmocka_unit_test(a_flood_of_chains_without_room_ends),
		cmocka_unit_test(a_driver_without_multiport_has_a_plain_port),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
