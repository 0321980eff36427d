/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vsock_guest.c - the guest's side of vsock_test: `vsock_guest listen PORT` sends everything back to one connection after the other; `vsock_guest
 * connect PORT BYTES` sends a pattern to the host and prints how many bytes came back right; `vsock_guest hold PORT` connects and waits until the connection ends.
 */
#include <linux/vm_sockets.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER 20000

static int vsock_open(struct sockaddr_vm *address, unsigned cid, const char *port)
{
	*address = (struct sockaddr_vm){.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = (unsigned)strtoul(port, NULL, 10)};
	return socket(AF_VSOCK, SOCK_STREAM, 0);
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

static int listen_forever(const char *port)
{
	struct sockaddr_vm address;
	unsigned char bytes[BUFFER];
	int listener = vsock_open(&address, VMADDR_CID_ANY, port), fd;
	ssize_t length;

	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 8)) {
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

static int connect_and_send(const char *port, const char *count)
{
	unsigned long total = strtoul(count, NULL, 10), sent, right = 0;
	struct sockaddr_vm address;
	unsigned char bytes[BUFFER];
	int fd = vsock_open(&address, VMADDR_CID_HOST, port);
	ssize_t length;

	if (connect(fd, (struct sockaddr *)&address, sizeof(address))) {
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
	struct sockaddr_vm address;
	int fd = vsock_open(&address, VMADDR_CID_HOST, port);
	char byte = 1;

	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) || write(fd, &byte, 1) != 1)
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
