/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hostile_rings.h - a virtio driver with rings of 16 places and an indirect table, for hostile_virtio_net.c and hostile_virtio_port.c.
 */
#ifndef HOLON_TEST_HOSTILE_RINGS_H
#define HOLON_TEST_HOSTILE_RINGS_H

#include "hostile.h"
#include "machine.h"

#define HOSTILE_QUEUE_SIZE 16
#define HOSTILE_RINGS 0x10000
#define HOSTILE_RING(queue) (HOSTILE_RINGS + 0x1000 * (uint64_t)(queue))
#define HOSTILE_TABLE 0x3000 /* of indirect descriptors */

struct hostile_rings {
	struct driver driver;
	uint8_t devfn;
	unsigned queues;
	const uint64_t *places; /* 16 addresses that are worth a try */
};

/* The driver starts anew, with these features. */
void hostile_up(struct hostile_rings *rings, struct machine *machine, uint64_t features);
/*
 * The kinds of step that no device has for itself, 0 to 7: configuration, registers, memory, descriptors, offers, status and a new start (with these features, and
 * EVENT_IDX by the step's choice). false: it is one of the device's.
 */
bool hostile_rings_step(struct hostile_rings *rings, struct machine *machine, const struct hostile_step *step, uint64_t features);

#endif
