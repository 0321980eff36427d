/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_port.h - the host's side of a console port, without a thread: what the guest wrote, and room for as much as the test says.
 */
#ifndef HOLON_TEST_PORT_H
#define HOLON_TEST_PORT_H

#include <holon/chardev.h>

struct test_port {
	struct chardev chardev;
	uint64_t written; /* bytes of all that was ever written */
	uint8_t last[64]; /* the first bytes of the last piece */
	size_t room;
	unsigned asked; /* how often for room_again */
};

static inline void test_port_write(struct chardev *chardev, const uint8_t *bytes, size_t length)
{
	struct test_port *port = (struct test_port *)(void *)chardev;

	__builtin_memcpy(port->last, bytes, length < sizeof(port->last) ? length : sizeof(port->last));
	port->written += length;
	port->room -= length < port->room ? length : port->room;
}

static inline size_t test_port_room(struct chardev *chardev)
{
	return ((struct test_port *)(void *)chardev)->room;
}

static inline void test_port_again(struct chardev *chardev)
{
	((struct test_port *)(void *)chardev)->asked++;
}

static inline void test_port_create(struct test_port *port)
{
	*port = (struct test_port){
		.chardev = {.write = test_port_write, .write_room = test_port_room, .room_again = test_port_again}, .room = 65536};
}

#endif
