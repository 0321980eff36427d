/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vsock_guest.c - the guest's side of vsock_test: `vsock_guest listen PORT` sends everything back to one connection after the other; `vsock_guest
 * connect PORT BYTES` sends a pattern to the host and prints how many bytes came back right; `vsock_guest hold PORT` connects and waits until the connection ends.
 *
 * On the host, where there is no Python (test/kvm/devices.sh): `listen PATH_PORT` is what the guest reaches at the port, `connect PATH:PORT BYTES` reaches the guest's.
 */
#include <linux/vm_sockets.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define BUFFER 20000

union address {
	struct sockaddr any;
	struct sockaddr_vm vm;
	struct sockaddr_un path;
};

/* A socket for PORT of vsock, or for PATH or PATH:PORT of Holon's on the host; the last port in *port, where there is one. */
static int socket_open(union address *address, unsigned cid, const char *place, const char **port)
{
	size_t length = strcspn(place, ":");

	*port = NULL;
	if (place[0] != '/') {
		*address = (union address){
			.vm = {.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = (unsigned)strtoul(place, NULL, 10)}};
		return socket(AF_VSOCK, SOCK_STREAM, 0);
	}
	*address = (union address){.path = {.sun_family = AF_UNIX}};
	if (length >= sizeof(address->path.sun_path))
		return -1;
	memcpy(address->path.sun_path, place, length);
	if (place[length])
		*port = place + length + 1;
	return socket(AF_UNIX, SOCK_STREAM, 0);
}

static int write_all(int fd, const unsigned char *bytes, size_t length)
{
	while (length) {
		ssize_t done = write(fd, bytes, length);

		if (done <= 0)
			return -1;
		bytes += done;
		length -= (size_t)done;
	}
	return 0;
}

static int listen_forever(const char *place)
{
	union address address;
	const char *port;
	unsigned char bytes[BUFFER];
	int listener = socket_open(&address, VMADDR_CID_ANY, place, &port), fd;
	ssize_t length;

	if (bind(listener, &address.any, place[0] == '/' ? sizeof(address.path) : sizeof(address.vm)) || listen(listener, 8)) {
		perror("listen");
		return 1;
	}
	puts("GUEST-LISTENS");
	fflush(stdout);
	while ((fd = accept(listener, NULL, NULL)) >= 0) {
		while ((length = read(fd, bytes, sizeof(bytes))) > 0 && !write_all(fd, bytes, (size_t)length))
			;
		close(fd);
	}
	return 1;
}

/* Connects, and has Holon's socket go on to the guest's port. -1: nobody listens. */
static int reach(const char *place)
{
	union address address;
	const char *port;
	int fd = socket_open(&address, VMADDR_CID_HOST, place, &port);
	char byte = 0;

	if (connect(fd, &address.any, place[0] == '/' ? sizeof(address.path) : sizeof(address.vm)))
		return -1;
	if (!port)
		return fd;
	if (dprintf(fd, "CONNECT %s\n", port) < 0)
		return -1;
	/* OK and a number. */
	while (byte != '\n')
		if (read(fd, &byte, 1) != 1)
			return -1;
	return fd;
}

static int connect_and_send(const char *place, const char *count)
{
	unsigned long total = strtoul(count, NULL, 10), sent, right = 0;
	unsigned char bytes[BUFFER];
	int fd = reach(place);
	ssize_t length;

	if (fd < 0) {
		puts("GUEST-REFUSED");
		return 1;
	}
	for (sent = 0; sent < total; sent += (unsigned long)length) {
		length = (ssize_t)(total - sent < sizeof(bytes) ? total - sent : sizeof(bytes));
		for (ssize_t i = 0; i < length; i++)
			bytes[i] = (unsigned char)((sent + (unsigned long)i) * 7 / 3);
		if (write_all(fd, bytes, (size_t)length))
			return 1;
	}
	shutdown(fd, SHUT_WR);
	while ((length = read(fd, bytes, sizeof(bytes))) > 0)
		for (ssize_t i = 0; i < length; i++, right++)
			if (bytes[i] != (unsigned char)(right * 7 / 3))
				return 1;
	printf("GUEST-BACK %lu\n", right);
	return 0;
}

static int hold(const char *port)
{
	int fd = reach(port);
	char byte = 1;

	if (fd < 0 || write(fd, &byte, 1) != 1)
		return 1;
	while (read(fd, &byte, 1) > 0)
		;
	puts("GUEST-CUT-OFF");
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "listen"))
		return listen_forever(argv[2]);
	if (argc == 4 && !strcmp(argv[1], "connect"))
		return connect_and_send(argv[2], argv[3]);
	if (argc == 3 && !strcmp(argv[1], "hold"))
		return hold(argv[2]);
	return 64;
}
