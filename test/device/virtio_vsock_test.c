/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_vsock_test.c - packets through the rings, and the Unix socket backend behind them, by drivers that behave and by random ones.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "machine.h"

#include "backend/vsock/vsock_unix.h"
#include "device/virtio/virtio_vsock.h"

#define DEVFN PCI_DEVFN(24, 0)
#define F_VERSION_1 (UINT64_C(1) << 32)
#define OUT 0x4000
#define IN 0x8000
#define IN_SIZE 2048
#define CID 77
#define PATIENCE_MS 20000

struct bench {
	struct machine machine;
	struct vsock *backend;
	struct virtio_vsock *vsock;
	struct driver driver;
	char path[64];
};

static struct bench *bench_create(void)
{
	struct bench *bench = calloc(1, sizeof(*bench));
	struct reason why;

	machine_create(&bench->machine);
	snprintf(bench->path, sizeof(bench->path), "/tmp/holon-vsock-test.%d", (int)getpid());
	assert_int_equal(vsock_unix_open(&bench->backend, bench->path, CID, &why), STATUS_OK);
	assert_int_equal(virtio_vsock_create(&bench->vsock, &bench->machine.host->root, DEVFN, &bench->machine.memory,
					     &bench->machine.irq, bench->backend),
			 STATUS_OK);
	assert_int_equal(bench->backend->start(bench->backend, &why), STATUS_OK);
	virtio_vsock_device(bench->vsock)->resume(bench->vsock);
	return bench;
}

static void receive_offer(struct bench *bench, unsigned index)
{
	driver_descriptor(&bench->driver, 0, index, IN + index * IN_SIZE, IN_SIZE, DESC_WRITE, 0);
	driver_offer(&bench->driver, 0, (uint16_t)index);
}

static void bench_up(struct bench *bench)
{
	driver_attach(&bench->driver, &bench->machine, 0, DEVFN, 0xc0000000, true);
	assert_true(driver_negotiate(&bench->driver, F_VERSION_1));
	for (unsigned i = 0; i < 3; i++)
		driver_queue_enable(&bench->driver, i, 16, 0x10000 + 0x2000 * i);
	driver_go(&bench->driver);
	for (unsigned i = 0; i < 8; i++)
		receive_offer(bench, i);
}

static void bench_destroy(struct bench *bench)
{
	bench->backend->stop(bench->backend);
	virtio_vsock_destroy(bench->vsock);
	bench->backend->close(bench->backend);
	machine_destroy(&bench->machine);
	free(bench);
}

/* Something is used on a queue: the backend's thread does it in its own time. */
static bool used_soon(struct bench *bench, unsigned queue, uint32_t *id, uint32_t *length)
{
	for (unsigned i = 0; i < PATIENCE_MS; i++) {
		if (driver_take(&bench->driver, queue, id, length))
			return true;
		poll(NULL, 0, 1);
	}
	return false;
}

static void send_packet(struct bench *bench, const struct vsock_header *header, const void *payload)
{
	uint32_t id, length;

	assert_int_equal(guest_memory_write(&bench->machine.memory, OUT, header, sizeof(*header)), STATUS_OK);
	if (header->length)
		assert_int_equal(guest_memory_write(&bench->machine.memory, OUT + sizeof(*header), payload, header->length),
				 STATUS_OK);
	driver_descriptor(&bench->driver, 1, 0, OUT, (uint32_t)sizeof(*header) + header->length, 0, 0);
	driver_offer(&bench->driver, 1, 0);
	assert_true(used_soon(bench, 1, &id, &length));
}

/* The next packet; its buffer is offered again. */
static struct vsock_header receive_packet(struct bench *bench, uint8_t *payload)
{
	struct vsock_header header;
	uint32_t id, length;

	assert_true(used_soon(bench, 0, &id, &length));
	assert_int_equal(guest_memory_read(&bench->machine.memory, IN + id * IN_SIZE, &header, sizeof(header)), STATUS_OK);
	assert_int_equal(length, sizeof(header) + header.length);
	if (payload)
		assert_int_equal(
			guest_memory_read(&bench->machine.memory, IN + id * IN_SIZE + sizeof(header), payload, header.length),
			STATUS_OK);
	receive_offer(bench, id);
	return header;
}

static int host_connect(struct bench *bench, const char *line)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(address.sun_path, bench->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	/* It may be closed already, where there are too many. */
	(void)!send(fd, line, strlen(line), MSG_NOSIGNAL);
	return fd;
}

static struct vsock_header answer(const struct vsock_header *to, uint16_t operation)
{
	return (struct vsock_header){.source_cid = CID,
				     .target_cid = VSOCK_HOST_CID,
				     .source_port = to->target_port,
				     .target_port = to->source_port,
				     .type = VSOCK_STREAM,
				     .operation = operation,
				     .buffer_size = 10};
}

static void the_host_connects(void **state)
{
	struct bench *bench = bench_create();
	struct vsock_header header, mine;
	uint8_t bytes[IN_SIZE];
	char line[64] = "";
	int fd;

	(void)state;
	fd = host_connect(bench, "CONNECT 1234\n"); /* while the guest boots */
	bench_up(bench);
	assert_int_equal(mmio_read(&bench->machine, bench->driver.device, 4), CID);
	header = receive_packet(bench, NULL);
	assert_int_equal(header.operation, VSOCK_REQUEST);
	assert_int_equal(header.target_port, 1234);
	assert_int_equal(header.target_cid, CID);
	mine = answer(&header, VSOCK_RESPONSE);
	send_packet(bench, &mine, NULL);
	assert_true(read(fd, line, sizeof(line)) > 0);
	assert_memory_equal(line, "OK ", 3);
	/* The guest said that it has room for 10 bytes: no more come before it says so. */
	assert_int_equal(write(fd, "0123456789abcdef", 16), 16);
	header = receive_packet(bench, bytes);
	assert_int_equal(header.operation, VSOCK_RW);
	assert_int_equal(header.length, 10);
	assert_memory_equal(bytes, "0123456789", 10);
	mine = answer(&header, VSOCK_CREDIT_UPDATE);
	mine.forwarded = 10;
	send_packet(bench, &mine, NULL);
	header = receive_packet(bench, bytes);
	assert_int_equal(header.length, 6);
	mine = answer(&header, VSOCK_RW);
	mine.forwarded = 16;
	mine.length = 5;
	send_packet(bench, &mine, "hello");
	assert_int_equal(read(fd, line, sizeof(line)), 5);
	/* The program goes away: the guest hears that, and its RST ends it. */
	close(fd);
	do
		header = receive_packet(bench, NULL);
	while (header.operation != VSOCK_SHUTDOWN || header.flags != 3);
	mine = answer(&header, VSOCK_RST);
	send_packet(bench, &mine, NULL);
	mine = answer(&header, VSOCK_RW);
	send_packet(bench, &mine, NULL);
	assert_int_equal(receive_packet(bench, NULL).operation, VSOCK_RST);
	bench_destroy(bench);
}

static void nonsense_is_answered_with_a_reset(void **state)
{
	struct bench *bench = bench_create();
	struct vsock_header header = {.source_cid = CID,
				      .target_cid = VSOCK_HOST_CID,
				      .source_port = 5,
				      .target_port = 6,
				      .type = VSOCK_STREAM,
				      .operation = VSOCK_REQUEST};

	(void)state;
	bench_up(bench);
	send_packet(bench, &header, NULL); /* nobody listens there */
	assert_int_equal(receive_packet(bench, NULL).operation, VSOCK_RST);
	header.target_cid = 99;
	send_packet(bench, &header, NULL);
	assert_int_equal(receive_packet(bench, NULL).operation, VSOCK_RST);
	header.target_cid = VSOCK_HOST_CID;
	header.operation = 200;
	send_packet(bench, &header, NULL);
	assert_int_equal(receive_packet(bench, NULL).operation, VSOCK_RST);
	header.length = 0xffffffff;
	header.operation = VSOCK_RW;
	assert_int_equal(guest_memory_write(&bench->machine.memory, OUT, &header, sizeof(header)), STATUS_OK);
	driver_descriptor(&bench->driver, 1, 0, OUT, sizeof(header), 0, 0);
	driver_offer(&bench->driver, 1, 0);
	assert_int_equal(receive_packet(bench, NULL).operation, VSOCK_RST);
	assert_int_equal(close(host_connect(bench, "CONNECT 12x\n")), 0);
	assert_int_equal(close(host_connect(bench, "a line that is much longer than any that makes sense here\n")), 0);
	bench_destroy(bench);
}

static void a_move_is_announced(void **state)
{
	struct bench *bench = bench_create();
	const struct device *device = virtio_vsock_device(bench->vsock);
	uint32_t id, length, event = 99;

	(void)state;
	bench_up(bench);
	device->quiesce(device->object);
	device_saves_and_loads(device);
	device->resume(device->object);
	driver_descriptor(&bench->driver, 2, 0, OUT, 4, DESC_WRITE, 0);
	driver_offer(&bench->driver, 2, 0);
	assert_true(driver_take(&bench->driver, 2, &id, &length));
	assert_int_equal(length, 4);
	assert_int_equal(guest_memory_read(&bench->machine.memory, OUT, &event, 4), STATUS_OK);
	assert_int_equal(event, 0);
	bench_destroy(bench);
}

/* Packets of nearly right and of any numbers, rings of rubbish, programs that come and go; then all works after a reset. */
static void random_drivers_are_survived(void **state)
{
	struct bench *bench = bench_create();
	struct machine *machine = &bench->machine;
	struct vsock_header header = {0};
	int fd[8];

	(void)state;
	memset(fd, -1, sizeof(fd));
	bench_up(bench);
	for (unsigned round = 0; round < 20000; round++) {
		uint64_t random = machine_random(machine);
		unsigned queue = (unsigned)(random % 3), program = (unsigned)(random >> 8) & 7;
		uint32_t id, length;

		header = (struct vsock_header){.source_cid = random >> 4 & 15 ? CID : random,
					       .target_cid = random >> 12 & 15 ? VSOCK_HOST_CID : random,
					       .source_port = random >> 16 & 3,
					       .target_port = (uint32_t)((random >> 18 & 7 ? 0x40000000u : 0) + (random >> 21 & 3)),
					       .length = random >> 24 & 15 ? (uint32_t)(random >> 28 & 255) : (uint32_t)random,
					       .type = random >> 36 & 15 ? VSOCK_STREAM : (uint16_t)random,
					       .operation = (uint16_t)(random >> 40 & 7),
					       .flags = (uint32_t)(random >> 43 & 3),
					       .buffer_size = random >> 45 & 3 ? 4096 : (uint32_t)machine_random(machine),
					       .forwarded = random >> 47 & 3 ? 0 : (uint32_t)machine_random(machine)};
		assert_int_equal(guest_memory_write(&machine->memory, OUT, &header, sizeof(header)), STATUS_OK);
		for (unsigned i = 0; i < 4; i++)
			driver_descriptor(
				&bench->driver, queue, i, random >> 50 & 7 ? OUT : machine_random(machine) % MACHINE_RAM,
				random >> 53 & 3 ? 400 : (uint32_t)(machine_random(machine) % 100000),
				(uint16_t)((queue != 1 ? DESC_WRITE : 0) ^ (random >> 55 & 15 ? 0 : machine_random(machine) & 7)),
				(uint16_t)(machine_random(machine) % 5));
		driver_offer(&bench->driver, queue, (uint16_t)(machine_random(machine) % 4));
		if (random >> 59 & 1 && fd[program] >= 0) {
			close(fd[program]);
			fd[program] = -1;
		} else if (random >> 60 & 1 && fd[program] < 0) {
			fd[program] = host_connect(bench, random >> 61 & 1 ? "CONNECT 1\nand more" : "CONNECT 2\n");
		}
		while (driver_status(&bench->driver) == 15 && driver_take(&bench->driver, queue, &id, &length))
			;
		if (driver_status(&bench->driver) != 15 || round % 8 == 7)
			bench_up(bench);
	}
	for (unsigned i = 0; i < 8; i++)
		if (fd[i] >= 0)
			close(fd[i]);
	bench_up(bench);
	header = (struct vsock_header){.source_cid = CID,
				       .target_cid = VSOCK_HOST_CID,
				       .source_port = 12345,
				       .target_port = 6,
				       .type = VSOCK_STREAM,
				       .operation = VSOCK_REQUEST};
	send_packet(bench, &header, NULL);
	do
		header = receive_packet(bench, NULL);
	while (header.operation != VSOCK_RST || header.target_port != 12345);
	bench_destroy(bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_host_connects),
		cmocka_unit_test(nonsense_is_answered_with_a_reset),
		cmocka_unit_test(a_move_is_announced),
		cmocka_unit_test(random_drivers_are_survived),
	};

	alarm(300);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
