/* SPDX-License-Identifier: Apache-2.0 */
/*
 * io.c - workloads that are mostly the devices': TCP to a server on the host, reads and writes of disks.
 *
 * The server is this same program, run natively: `guest net-server PORT`. BENCH_PORT in the environment (a word of the kernel's command line gets there)
 * is its first port, and its host the user network's router. Disks are /dev/vdb, a file, and /dev/vdc, a file in the host's memory; O_DIRECT.
 */
#include "workload.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

#define ROUTER "10.0.2.2"
#define NET_BYTES (128UL << 20)
#define NET_PIECE (128UL << 10)
#define ROUND_TRIPS 3000
#define DISK_BYTES (128UL << 20)
#define DISK_PIECE (128UL << 10)
#define RANDOM_SIZE 4096UL
#define RANDOM_READS 1000
#define THREADS 8

enum { PORT_SINK, PORT_SOURCE, PORT_ECHO, PORTS };

static uint8_t *pieces;

static void piece_prepare(void)
{
	if (!pieces)
		pieces = workload_memory(NET_PIECE);
}

static int stream(unsigned which)
{
	const char *port = getenv("BENCH_PORT");
	struct sockaddr_in address = {.sin_family = AF_INET};
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	if (!port)
		workload_fail("net: no BENCH_PORT");
	address.sin_port = htons((uint16_t)(atoi(port) + (int)which));
	inet_pton(AF_INET, ROUTER, &address.sin_addr);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)))
		workload_fail("net: the server cannot be reached");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

static uint64_t all_write(int fd, uint64_t bytes)
{
	uint64_t left = bytes;

	while (left) {
		ssize_t done = write(fd, pieces, left < NET_PIECE ? left : NET_PIECE);

		if (done <= 0)
			return bytes - left;
		left -= (uint64_t)done;
	}
	return bytes;
}

static uint64_t all_read(int fd)
{
	uint64_t total = 0;
	ssize_t done;

	while ((done = read(fd, pieces, NET_PIECE)) > 0)
		total += (uint64_t)done;
	return total;
}

/* Until the other side has all of it, which it says by closing. */
static uint64_t send_run(void)
{
	int fd = stream(PORT_SINK);
	uint64_t sent = all_write(fd, NET_BYTES);

	shutdown(fd, SHUT_WR);
	all_read(fd);
	close(fd);
	return sent;
}

static uint64_t receive_run(void)
{
	int fd = stream(PORT_SOURCE);
	uint64_t got = all_read(fd);

	if (got != NET_BYTES)
		workload_fail("net: the stream was cut short");
	close(fd);
	return got;
}

static uint64_t round_trips_run(void)
{
	int fd = stream(PORT_ECHO);
	uint64_t count;
	char byte = 1;

	for (count = 0; count < ROUND_TRIPS; count++)
		if (write(fd, &byte, 1) != 1 || read(fd, &byte, 1) != 1)
			workload_fail("net: no echo");
	close(fd);
	return count;
}

static void client_serve(int fd, unsigned which)
{
	int one = 1;
	char byte;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (which == PORT_SINK)
		all_read(fd);
	else if (which == PORT_SOURCE)
		all_write(fd, NET_BYTES);
	else
		while (read(fd, &byte, 1) == 1 && write(fd, &byte, 1) == 1)
			;
	close(fd);
}

static void port_serve(int port, unsigned which)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)(port + (int)which)), .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 5))
		workload_fail("net-server: its ports are taken");
	if (fork() != 0) {
		close(fd);
		return;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		client_serve(accept(fd, NULL, NULL), which);
}

void net_serve(int port)
{
	signal(SIGPIPE, SIG_IGN);
	piece_prepare();
	for (unsigned which = 0; which < PORTS; which++)
		port_serve(port, which);
	puts("ready");
	while (wait(NULL) >= 0)
		;
}

static int disk_open(const char *path)
{
	int fd = open(path, O_RDWR | O_DIRECT);

	if (fd < 0)
		workload_fail("disk: it is not there");
	return fd;
}

static uint64_t sequential(const char *path, int writes)
{
	int fd = disk_open(path);

	for (uint64_t at = 0; at < DISK_BYTES; at += DISK_PIECE) {
		ssize_t done = writes ? pwrite(fd, pieces, DISK_PIECE, (off_t)at) : pread(fd, pieces, DISK_PIECE, (off_t)at);

		if (done != (ssize_t)DISK_PIECE)
			workload_fail("disk: a transfer failed");
	}
	if (writes)
		fsync(fd);
	close(fd);
	return DISK_BYTES;
}

struct reader {
	pthread_t thread;
	int fd;
	uint64_t seed;
	uint8_t *page;
};

static void *reader_main(void *argument)
{
	struct reader *reader = argument;

	for (unsigned i = 0; i < RANDOM_READS; i++) {
		uint64_t page = workload_random(&reader->seed) % (DISK_BYTES / RANDOM_SIZE);

		if (pread(reader->fd, reader->page, RANDOM_SIZE, (off_t)(page * RANDOM_SIZE)) != (ssize_t)RANDOM_SIZE)
			workload_fail("disk: a read failed");
	}
	return NULL;
}

/* So many at a time that the queue is never empty. */
static uint64_t random_reads(const char *path)
{
	struct reader reader[THREADS];
	int fd = disk_open(path);

	for (unsigned i = 0; i < THREADS; i++) {
		reader[i] = (struct reader){.fd = fd, .seed = 0x9e3779b97f4a7c15 + i, .page = pieces + i * RANDOM_SIZE};
		if (pthread_create(&reader[i].thread, NULL, reader_main, &reader[i]))
			workload_fail("disk: no thread");
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(reader[i].thread, NULL);
	close(fd);
	return THREADS * RANDOM_READS;
}

static uint64_t file_read_run(void)
{
	return sequential("/dev/vdb", 0);
}

static uint64_t file_write_run(void)
{
	return sequential("/dev/vdb", 1);
}

static uint64_t file_random_run(void)
{
	return random_reads("/dev/vdb");
}

static uint64_t null_read_run(void)
{
	return sequential("/dev/vdc", 0);
}

static uint64_t null_write_run(void)
{
	return sequential("/dev/vdc", 1);
}

static uint64_t null_random_run(void)
{
	return random_reads("/dev/vdc");
}

const struct workload io_workloads[] = {
	{"net-send", piece_prepare, send_run},           {"net-receive", piece_prepare, receive_run},
	{"net-rtt", piece_prepare, round_trips_run},     {"file-read", piece_prepare, file_read_run},
	{"file-write", piece_prepare, file_write_run},   {"file-random", piece_prepare, file_random_run},
	{"null-read", piece_prepare, null_read_run},     {"null-write", piece_prepare, null_write_run},
	{"null-random", piece_prepare, null_random_run}, {NULL, NULL, NULL},
};
