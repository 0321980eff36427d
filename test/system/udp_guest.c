/* SPDX-License-Identifier: Apache-2.0 */
/*
 * udp_guest.c - runs in the guest of net_user_test: sends each datagram that comes to port 5300 back.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

int main(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(5300)};
	int server = socket(AF_INET, SOCK_DGRAM, 0);
	char bytes[2048];

	if (bind(server, (const struct sockaddr *)&address, sizeof(address)))
		return 1;
	for (;;) {
		socklen_t length = sizeof(address);
		ssize_t got = recvfrom(server, bytes, sizeof(bytes), 0, (struct sockaddr *)&address, &length);

		if (got >= 0 && sendto(server, bytes, (size_t)got, 0, (const struct sockaddr *)&address, length) < 0)
			return 1;
	}
}
