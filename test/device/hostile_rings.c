/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hostile_rings.c - what virtio drivers that mean harm do to rings of 16 places (hostile.h): see hostile_rings.h.
 */
#include "hostile_rings.h"

void hostile_up(struct hostile_rings *rings, struct machine *machine, uint64_t features)
{
	driver_attach(&rings->driver, machine, 0, rings->devfn, 0xc0000000, true);
	assert_true(driver_negotiate(&rings->driver, features));
	for (unsigned i = 0; i < rings->queues; i++)
		driver_queue_enable(&rings->driver, i, HOSTILE_QUEUE_SIZE, HOSTILE_RING(i));
	driver_go(&rings->driver);
}

void hostile_descriptor(struct hostile_rings *rings, struct machine *machine, const struct hostile_step *step)
{
	unsigned queue = (step->where >> 4) % rings->queues;
	uint64_t gpa = step->size & 0xe0 ? rings->places[step->size & 15] : step->value;
	uint16_t flags = step->more & 0x1c0000 ? (uint16_t)(step->more >> 16 & 3) : (uint16_t)(step->more >> 16 & 7);
	uint32_t length = step->more & 0x1000000 ? (step->more & 31) * 64 : step->more & 0x1ffff;

	if (step->kind & 0x40) {
		struct {
			uint64_t gpa;
			uint32_t length;
			uint16_t flags, next;
		} descriptor = {gpa, length, flags, step->where >> 8 & 15};

		assert_int_equal(guest_memory_write(&machine->memory, HOSTILE_TABLE + 16 * (step->where & 15), &descriptor, 16),
				 STATUS_OK);
		return;
	}
	driver_descriptor(&rings->driver, queue, step->where & 15, gpa, length, flags, step->where >> 8 & 31);
}
