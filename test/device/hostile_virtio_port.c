/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hostile_virtio_port.c - a virtio driver that means harm to a console port (hostile.h). The host's side comes and goes, sends, and has as much room as a step says.
 */
#include <string.h>

#include "hostile_rings.h"
#include "test_port.h"

#include "device/virtio/virtio_port.h"

#define DEVFN PCI_DEVFN(3, 0)
#define QUEUES 4
#define CONTROL 0x1000
#define FEATURES (UINT64_C(0x130000002))
#define MULTIPORT UINT64_C(2)

struct bench {
	struct machine machine;
	struct test_port host;
	struct virtio_port *port;
	struct hostile_rings rings;
};

static const uint64_t places[] = {
	CONTROL,         0x2000,          0x4000,          MACHINE_SEAM - 700, MACHINE_RAM - 100, MACHINE_ROM, HOSTILE_TABLE,
	UINT64_MAX - 10, HOSTILE_RING(0), HOSTILE_RING(1), HOSTILE_RING(3),    MACHINE_RAM,       0xc0001000,  0,
	0x8000,          0x8001};

/* A chain that would be right for its queue, but for what the step adds to it. */
static void chain_offer(struct bench *bench, const struct hostile_step *step)
{
	unsigned queue = step->where % QUEUES, head = step->where >> 4 & 15;
	const struct {
		uint32_t id;
		uint16_t event, value;
	} control = {step->size & 0xc0 ? 0 : (uint32_t)step->value, step->size & 7, step->size >> 3 & 1};

	if (queue == 3) {
		assert_int_equal(guest_memory_write(&bench->machine.memory, CONTROL, &control, sizeof(control)), STATUS_OK);
		driver_descriptor(&bench->rings.driver, queue, head, CONTROL, step->more & 0xf0 ? 8 : step->more & 15, 0, 0);
	} else {
		driver_descriptor(&bench->rings.driver, queue, head, places[step->more & 15], step->more >> 16 & 0xfff,
				  queue == 1 ? 0 : DESC_WRITE, 0);
	}
	driver_offer(&bench->rings.driver, queue, (uint16_t)head);
}

static void host_turn(struct bench *bench, const struct hostile_step *step)
{
	static const uint8_t bytes[6000] = "from the host";
	size_t taken;

	bench->host.room = step->more & 0x1ffff;
	taken = chardev_deliver(&bench->host.chardev, bytes, step->where % sizeof(bytes));
	assert_true(taken <= 4096);
	/* A device that says that it should be called again at once has to come to an end. */
	for (unsigned i = 0; chardev_state(&bench->host.chardev, step->size & 1); i++)
		assert_true(i < 1000);
}

static void step_do(struct bench *bench, const struct hostile_step *step)
{
	if (hostile_rings_step(&bench->rings, &bench->machine, step, FEATURES & (step->size & 4 ? ~UINT64_C(0) : ~MULTIPORT)))
		return;
	switch (step->kind & 15) {
	case 8:
	case 9:
	case 10: host_turn(bench, step); break;
	default: chain_offer(bench, step); break;
	}
}

static void run(const struct hostile_step *step, size_t steps)
{
	static struct bench bench;
	uint32_t id, length;

	machine_create(&bench.machine);
	bench.rings = (struct hostile_rings){.devfn = DEVFN, .queues = QUEUES, .places = places};
	test_port_create(&bench.host);
	assert_int_equal(virtio_port_create(&bench.port, &bench.machine.host->root, DEVFN, &bench.machine.memory,
					    &bench.machine.irq, &bench.host.chardev, "hostile"),
			 STATUS_OK);
	virtio_port_device(bench.port)->resume(bench.port);
	hostile_up(&bench.rings, &bench.machine, FEATURES);
	while (steps--)
		step_do(&bench, step++);
	bus_check(&bench.machine.mmio);
	device_saves_and_loads(virtio_port_device(bench.port));
	virtio_port_device(bench.port)->reset(bench.port);
	hostile_up(&bench.rings, &bench.machine, FEATURES & ~MULTIPORT);
	bench.host.room = 65536;
	bench.host.written = 0;
	chain_offer(&bench, &(struct hostile_step){.where = 1, .more = 2 | 60 << 16});
	assert_true(driver_take(&bench.rings.driver, 1, &id, &length));
	assert_int_equal(bench.host.written, 60);
	virtio_port_destroy(bench.port);
	machine_destroy(&bench.machine);
}

const struct hostile hostile_virtio_port = {"virtio_port", run};
