/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hostile.h - drivers that mean harm: each takes bytes, makes a guest's accesses and memory of them, and checks that the device still stands.
 *
 * hostile_test.c feeds them random bytes, test/fuzz/ those that libFuzzer finds. A step is 16 bytes. What must hold: nothing that the device
 * took is lost (a reset comes to its end), and a driver that behaves afterwards is served.
 */
#ifndef HOLON_TEST_HOSTILE_H
#define HOLON_TEST_HOSTILE_H

#include <stddef.h>
#include <stdint.h>

struct hostile_step {
	uint8_t kind, size;
	uint16_t where;
	uint32_t more;
	uint64_t value;
};

struct hostile {
	const char *name;
	void (*run)(const struct hostile_step *step, size_t steps);
};

extern const struct hostile hostile_ahci, hostile_nvme, hostile_virtio_balloon, hostile_virtio_blk, hostile_virtio_console,
	hostile_virtio_net, hostile_virtio_peer, hostile_virtio_port, hostile_virtio_rng, hostile_virtio_vsock;

#endif
