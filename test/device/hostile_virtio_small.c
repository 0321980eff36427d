/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hostile_virtio_small.c - virtio drivers that mean harm to what has no file of its own: random numbers, the console, the balloon, sockets (hostile.h).
 */
#include <string.h>

#include <holon/timer.h>
#include <holon/vsock.h>

#include "hostile_rings.h"
#include "test_port.h"

#include "device/virtio/virtio_balloon.h"
#include "device/virtio/virtio_console.h"
#include "device/virtio/virtio_rng.h"
#include "device/virtio/virtio_vsock.h"

#define DEVFN PCI_DEVFN(3, 0)
#define DATA 0x1000
#define DATA_SIZE 256
#define F_VERSION_1 (UINT64_C(1) << 32)
#define F_INDIRECT (UINT64_C(1) << 28)
#define SECOND UINT64_C(1000000000)

struct bench {
	struct machine machine;
	struct hostile_rings rings;
	struct test_port port;
	struct vsock vsock;
	struct virtio_rng *rng;
	struct virtio_console *console;
	struct virtio_balloon *balloon;
	struct virtio_vsock *sockets;
	uint8_t payload[VSOCK_PAYLOAD_MAX];
	unsigned taken;
};

/* A device: how it is made, what its backend does now and then, and how to see that a driver that behaves is served. */
struct small {
	unsigned queues;
	uint64_t features;
	struct device *(*create)(struct bench *bench);
	void (*destroy)(struct bench *bench);
	void (*turn)(struct bench *bench, const struct hostile_step *step);
	bool (*serves)(struct bench *bench);
};

static const uint64_t places[] = {DATA,
				  0x2000,
				  0x4000,
				  MACHINE_SEAM - 700,
				  MACHINE_RAM - 100,
				  MACHINE_ROM,
				  HOSTILE_TABLE,
				  UINT64_MAX - 10,
				  HOSTILE_RING(0),
				  HOSTILE_RING(1),
				  HOSTILE_RING(3),
				  MACHINE_RAM,
				  0xc0001000,
				  0,
				  0x8000,
				  0x8001};

/* One chain of one buffer, and whether it comes back; *length is what the device says it wrote. */
static bool chain_served(struct bench *bench, unsigned queue, const void *bytes, uint32_t size, bool write, uint32_t *length)
{
	uint32_t id;

	if (bytes)
		assert_int_equal(guest_memory_write(&bench->machine.memory, DATA, bytes, size), STATUS_OK);
	driver_descriptor(&bench->rings.driver, queue, 0, DATA, size, write ? DESC_WRITE : 0, 0);
	driver_offer(&bench->rings.driver, queue, 0);
	return driver_take(&bench->rings.driver, queue, &id, length);
}

static struct device *rng_create(struct bench *bench)
{
	assert_int_equal(virtio_rng_create(&bench->rng, &bench->machine.host->root, DEVFN, &bench->machine.memory,
					   &bench->machine.irq, &bench->machine.clock, 1 << 20, 64 << 10),
			 STATUS_OK);
	return virtio_rng_device(bench->rng);
}

static void rng_destroy(struct bench *bench)
{
	virtio_rng_destroy(bench->rng);
}

static void time_turn(struct bench *bench, const struct hostile_step *step)
{
	vm_clock_count(&bench->machine.clock, step->more & 0xffffff);
}

static bool rng_serves(struct bench *bench)
{
	uint32_t length;

	vm_clock_count(&bench->machine.clock, 100 * SECOND);
	return chain_served(bench, 0, NULL, 64, true, &length) && length == 64;
}

static struct device *console_create(struct bench *bench)
{
	test_port_create(&bench->port);
	assert_int_equal(virtio_console_create(&bench->console, &bench->machine.host->root, DEVFN, &bench->machine.memory,
					       &bench->machine.irq, &bench->machine.clock, &bench->port.chardev),
			 STATUS_OK);
	return virtio_console_device(bench->console);
}

static void console_destroy(struct bench *bench)
{
	virtio_console_destroy(bench->console);
}

static void console_turn(struct bench *bench, const struct hostile_step *step)
{
	static const uint8_t bytes[6000] = "from the host";

	bench->port.room = step->more & 0x1ffff;
	assert_true(chardev_deliver(&bench->port.chardev, bytes, step->where % sizeof(bytes)) <= sizeof(bytes));
}

static bool console_serves(struct bench *bench)
{
	uint64_t before = bench->port.written;
	uint32_t length;

	bench->port.room = 65536;
	return chain_served(bench, 1, "hello", 5, false, &length) && bench->port.written == before + 5;
}

static struct device *balloon_create(struct bench *bench)
{
	assert_int_equal(virtio_balloon_create(&bench->balloon, &bench->machine.host->root, DEVFN, &bench->machine.memory,
					       &bench->machine.irq, &bench->machine.clock, 0, SECOND),
			 STATUS_OK);
	return virtio_balloon_device(bench->balloon);
}

static void balloon_destroy(struct bench *bench)
{
	virtio_balloon_destroy(bench->balloon);
}

static void balloon_turn(struct bench *bench, const struct hostile_step *step)
{
	struct balloon_report report;

	if (step->size & 1)
		virtio_balloon_target_set(bench->balloon, step->value);
	virtio_balloon_report(bench->balloon, &report);
	vm_clock_count(&bench->machine.clock, (uint64_t)step->more & 0x3fffffff);
}

static bool balloon_serves(struct bench *bench)
{
	const uint32_t page = 0x80; /* its address over 4096: in the seam's slot */
	uint32_t length;

	return chain_served(bench, 0, &page, sizeof(page), false, &length);
}

static void vsock_kicked(struct vsock *vsock)
{
	(void)vsock;
}

static struct device *vsock_create(struct bench *bench)
{
	bench->vsock = (struct vsock){.kick = vsock_kicked, .reset = vsock_kicked, .guest_cid = 77};
	assert_int_equal(virtio_vsock_create(&bench->sockets, &bench->machine.host->root, DEVFN, &bench->machine.memory,
					     &bench->machine.irq, &bench->vsock),
			 STATUS_OK);
	return virtio_vsock_device(bench->sockets);
}

static void vsock_destroy(struct bench *bench)
{
	virtio_vsock_destroy(bench->sockets);
}

/* The backend takes what there is, and gives packets of every length; what it is handed must be what the seam promises. */
static void vsock_turn(struct bench *bench, const struct hostile_step *step)
{
	const struct vsock_frontend *frontend = vsock_enter(&bench->vsock);
	struct vsock_header header;
	uint32_t given = 0;

	for (unsigned i = 0; frontend && i < 64 && frontend->take(frontend->device, &header, bench->payload); i++) {
		assert_true(header.length <= VSOCK_PAYLOAD_MAX);
		bench->taken++;
	}
	header = (struct vsock_header){
		.source_cid = 2, .target_cid = 77, .type = VSOCK_STREAM, .operation = VSOCK_RW, .length = step->more & 0xffff};
	if (frontend && frontend->give(frontend->device, &header, bench->payload, &given))
		assert_true(given <= header.length);
	vsock_leave(&bench->vsock);
}

static bool vsock_serves(struct bench *bench)
{
	const struct vsock_header header = {.source_cid = 77, .target_cid = 2, .type = VSOCK_STREAM, .operation = VSOCK_REQUEST};
	uint32_t id, length;

	driver_descriptor(&bench->rings.driver, 1, 0, DATA, sizeof(header), 0, 0);
	assert_int_equal(guest_memory_write(&bench->machine.memory, DATA, &header, sizeof(header)), STATUS_OK);
	driver_offer(&bench->rings.driver, 1, 0);
	bench->taken = 0;
	vsock_turn(bench, &(struct hostile_step){.size = 0});
	return bench->taken == 1 && driver_take(&bench->rings.driver, 1, &id, &length);
}

/* A buffer that is read or written, of contents that the step says: headers, page numbers, statistics. */
static void chain_offer(struct bench *bench, const struct hostile_step *step)
{
	unsigned queue = step->where % bench->rings.queues, head = step->where >> 4 & 15;
	uint64_t words[DATA_SIZE / 8];

	for (unsigned i = 0; i < DATA_SIZE / 8; i++)
		words[i] = step->value >> (i & 7) * 7;
	assert_int_equal(guest_memory_write(&bench->machine.memory, DATA, words, sizeof(words)), STATUS_OK);
	driver_descriptor(&bench->rings.driver, queue, head, places[step->more & 15], step->more >> 16 & 0xfff,
			  (step->size & 2 ? DESC_WRITE : 0) | (step->size & 4 ? DESC_NEXT : 0), (head + 1) & 15);
	driver_descriptor(&bench->rings.driver, queue, (head + 1) & 15, places[step->more >> 4 & 15], step->more & 0xfff,
			  step->size & 8 ? DESC_WRITE : 0, 0);
	driver_offer(&bench->rings.driver, queue, (uint16_t)head);
}

static void step_do(const struct small *small, struct bench *bench, const struct hostile_step *step)
{
	if (hostile_rings_step(&bench->rings, &bench->machine, step, small->features))
		return;
	switch (step->kind & 15) {
	case 8:
	case 9:
	case 10: small->turn(bench, step); break;
	default: chain_offer(bench, step); break;
	}
}

static void small_run(const struct small *small, const struct hostile_step *step, size_t steps)
{
	static struct bench bench;
	struct device *device;

	memset(&bench, 0, sizeof(bench));
	machine_create(&bench.machine);
	bench.rings = (struct hostile_rings){.devfn = DEVFN, .queues = small->queues, .places = places};
	device = small->create(&bench);
	if (device->resume)
		device->resume(device->object);
	hostile_up(&bench.rings, &bench.machine, small->features);
	while (steps--)
		step_do(small, &bench, step++);
	bus_check(&bench.machine.mmio);
	device_saves_and_loads(device);
	/* Whatever was begun has ended: a reset is done at once, and a driver that behaves is served. */
	device->reset(device->object);
	hostile_up(&bench.rings, &bench.machine, small->features);
	assert_true(small->serves(&bench));
	small->destroy(&bench);
	machine_destroy(&bench.machine);
}

static void rng_run(const struct hostile_step *step, size_t steps)
{
	static const struct small small = {1, F_VERSION_1 | F_INDIRECT, rng_create, rng_destroy, time_turn, rng_serves};

	small_run(&small, step, steps);
}

static void console_run(const struct hostile_step *step, size_t steps)
{
	static const struct small small = {
		2, F_VERSION_1 | F_INDIRECT, console_create, console_destroy, console_turn, console_serves};

	small_run(&small, step, steps);
}

static void balloon_run(const struct hostile_step *step, size_t steps)
{
	/* Statistics, deflate on OOM, poison, reporting. */
	static const struct small small = {
		4, F_VERSION_1 | F_INDIRECT | 0x36, balloon_create, balloon_destroy, balloon_turn, balloon_serves};

	small_run(&small, step, steps);
}

static void vsock_run(const struct hostile_step *step, size_t steps)
{
	static const struct small small = {3, F_VERSION_1 | F_INDIRECT, vsock_create, vsock_destroy, vsock_turn, vsock_serves};

	small_run(&small, step, steps);
}

const struct hostile hostile_virtio_rng = {"virtio_rng", rng_run};
const struct hostile hostile_virtio_console = {"virtio_console", console_run};
const struct hostile hostile_virtio_balloon = {"virtio_balloon", balloon_run};
const struct hostile hostile_virtio_vsock = {"virtio_vsock", vsock_run};
