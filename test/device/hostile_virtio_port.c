/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hostile_virtio_port.c - a virtio driver that means harm to a console port (hostile.h). The host's side comes and goes, sends, and has as much room as a step says.
 */
#include <string.h>

#include "hostile.h"
#include "machine.h"
#include "test_port.h"

#include "device/virtio/virtio_port.h"

#define DEVFN PCI_DEVFN(3, 0)
#define QUEUES 4
#define QUEUE_SIZE 16
#define RINGS 0x10000
#define RING(queue) (RINGS + 0x1000 * (uint64_t)(queue))
#define TABLE 0x3000
#define CONTROL 0x1000
#define FEATURES (UINT64_C(0x130000002))
#define EVENT_IDX (UINT64_C(1) << 29)
#define MULTIPORT UINT64_C(2)

struct bench {
	struct machine machine;
	struct test_port host;
	struct virtio_port *port;
	struct driver driver;
};

static const uint64_t places[] = {
	CONTROL, 0x2000,  0x4000,  MACHINE_SEAM - 700, MACHINE_RAM - 100, MACHINE_ROM, TABLE,  UINT64_MAX - 10,
	RING(0), RING(1), RING(3), MACHINE_RAM,        0xc0001000,        0,           0x8000, 0x8001};

static void up(struct bench *bench, uint64_t features)
{
	driver_attach(&bench->driver, &bench->machine, 0, DEVFN, 0xc0000000, true);
	assert_true(driver_negotiate(&bench->driver, features));
	for (unsigned i = 0; i < QUEUES; i++)
		driver_queue_enable(&bench->driver, i, QUEUE_SIZE, RING(i));
	driver_go(&bench->driver);
}

static void descriptor_put(struct bench *bench, const struct hostile_step *step)
{
	unsigned queue = (step->where >> 4) % QUEUES;
	uint64_t gpa = step->size & 0xe0 ? places[step->size & 15] : step->value;
	uint16_t flags = step->more & 0x1c0000 ? (uint16_t)(step->more >> 16 & 3) : (uint16_t)(step->more >> 16 & 7);
	uint32_t length = step->more & 0x1000000 ? (step->more & 31) * 64 : step->more & 0x1ffff;

	if (step->kind & 0x40) {
		struct {
			uint64_t gpa;
			uint32_t length;
			uint16_t flags, next;
		} descriptor = {gpa, length, flags, step->where >> 8 & 15};

		assert_int_equal(guest_memory_write(&bench->machine.memory, TABLE + 16 * (step->where & 15), &descriptor, 16),
				 STATUS_OK);
		return;
	}
	driver_descriptor(&bench->driver, queue, step->where & 15, gpa, length, flags, step->where >> 8 & 31);
}

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
		driver_descriptor(&bench->driver, queue, head, CONTROL, step->more & 0xf0 ? 8 : step->more & 15, 0, 0);
	} else {
		driver_descriptor(&bench->driver, queue, head, places[step->more & 15], step->more >> 16 & 0xfff,
				  queue == 1 ? 0 : DESC_WRITE, 0);
	}
	driver_offer(&bench->driver, queue, (uint16_t)head);
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
	struct machine *machine = &bench->machine;
	struct driver *driver = &bench->driver;
	unsigned size = 1u << (step->size & 3);

	switch (step->kind & 15) {
	case 0: config_write(machine, 0, DEVFN, step->where & 0xfc, 4, (uint32_t)step->value); break;
	case 1: mmio_write(machine, driver->common + (step->where & 0x3fff), size, step->value); break;
	case 2: mmio_read(machine, driver->common + (step->where & 0x3fff), size); break;
	case 3: /* into the rings and the memory around them */
		assert_int_equal(guest_memory_write(&machine->memory, RINGS + (step->where & 0x7ff8), &step->value, 8), STATUS_OK);
		break;
	case 4:
	case 5: descriptor_put(bench, step); break;
	case 6: driver_offer(driver, (step->where >> 4) % QUEUES, step->where & 31); break;
	case 7:
		if (step->size & 3)
			driver_status_set(driver, (uint8_t)step->where & (step->size & 4 ? 0xff : 0));
		else if (driver_status(driver) == 0)
			up(bench, (FEATURES & (step->size & 4 ? ~UINT64_C(0) : ~MULTIPORT)) | (step->size & 8 ? EVENT_IDX : 0));
		break;
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
	test_port_create(&bench.host);
	assert_int_equal(virtio_port_create(&bench.port, &bench.machine.host->root, DEVFN, &bench.machine.memory,
					    &bench.machine.irq, &bench.host.chardev, "hostile"),
			 STATUS_OK);
	virtio_port_device(bench.port)->resume(bench.port);
	up(&bench, FEATURES);
	while (steps--)
		step_do(&bench, step++);
	bus_check(&bench.machine.mmio);
	virtio_port_device(bench.port)->reset(bench.port);
	up(&bench, FEATURES & ~MULTIPORT);
	bench.host.room = 65536;
	bench.host.written = 0;
	chain_offer(&bench, &(struct hostile_step){.where = 1, .more = 2 | 60 << 16});
	assert_true(driver_take(&bench.driver, 1, &id, &length));
	assert_int_equal(bench.host.written, 60);
	virtio_port_destroy(bench.port);
	machine_destroy(&bench.machine);
}

const struct hostile hostile_virtio_port = {"virtio_port", run};
