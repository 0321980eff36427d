/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_peer_test.c - a device that another process serves, where that answers at once: a guest that offers more without end holds up no thread.
 */
#include <stdlib.h>
#include <string.h>

#include <holon/peer.h>
#include <holon/timer.h>

#include "machine.h"

#include "device/virtio/virtio_peer.h"

#define DEVFN PCI_DEVFN(3, 0)
#define DATA 0x4000
#define F_VERSION_1 (UINT64_C(1) << 32)

static void at_once_submit(struct peer *peer, struct peer_request *list)
{
	(void)peer;
	while (list) {
		struct peer_request *request = list;

		list = request->next;
		request->done(request, 0, STATUS_OK);
	}
}

static void at_once_drain(struct peer *peer)
{
	(void)peer;
}

static void a_flood_of_requests_ends(void **state)
{
	static const uint8_t config[40] = "tag";
	struct peer peer = {.name = "virtio-fs",
			    .path = "test",
			    .type = 26,
			    .class_code = 0x018000,
			    .queues = 2,
			    .config_length = sizeof(config),
			    .config = config,
			    .submit = at_once_submit,
			    .drain = at_once_drain};
	struct machine *machine = calloc(1, sizeof(*machine));
	struct virtio_peer *device;
	struct driver driver;

	(void)state;
	machine_create(machine);
	assert_int_equal(
		virtio_peer_create(&device, &machine->host->root, DEVFN, &machine->memory, &machine->irq, &machine->clock, &peer),
		STATUS_OK);
	driver_attach(&driver, machine, 0, DEVFN, 0xc0000000, true);
	assert_true(driver_negotiate(&driver, F_VERSION_1));
	for (unsigned i = 0; i < 2; i++)
		driver_queue_enable(&driver, i, 16, 0x10000 + 0x2000 * i);
	driver_go(&driver);
	driver_descriptor(&driver, 1, 0, DATA, 64, 0, 0);
	driver_flood_ends(&driver, 1, 10000);
	virtio_peer_destroy(device);
	machine_destroy(machine);
	free(machine);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_flood_of_requests_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
