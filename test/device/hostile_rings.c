/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hostile_rings.c - what virtio drivers that mean harm do to rings of 16 places (hostile.h): see hostile_rings.h.
 */
#include "hostile_rings.h"

#define EVENT_IDX (UINT64_C(1) << 29)

void hostile_up(struct hostile_rings *rings, struct machine *machine, uint64_t features)
{
	driver_attach(&rings->driver, machine, 0, rings->devfn, 0xc0000000, true);
	assert_true(driver_negotiate(&rings->driver, features));
	for (unsigned i = 0; i < rings->queues; i++)
		driver_queue_enable(&rings->driver, i, HOSTILE_QUEUE_SIZE, HOSTILE_RING(i));
	driver_go(&rings->driver);
}

/* A descriptor, in a ring or in the indirect table, that is what the step says. */
static void hostile_descriptor(struct hostile_rings *rings, struct machine *machine, const struct hostile_step *step)
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

bool hostile_rings_step(struct hostile_rings *rings, struct machine *machine, const struct hostile_step *step, uint64_t features)
{
	struct driver *driver = &rings->driver;
	unsigned size = 1u << (step->size & 3);

	switch (step->kind & 15) {
	case 0: config_write(machine, 0, rings->devfn, step->where & 0xfc, 4, (uint32_t)step->value); break;
	case 1: mmio_write(machine, driver->common + (step->where & 0x3fff), size, step->value); break;
	case 2: mmio_read(machine, driver->common + (step->where & 0x3fff), size); break;
	case 3: /* into the rings and the memory around them */
		assert_int_equal(guest_memory_write(&machine->memory, HOSTILE_RINGS + (step->where & 0x7ff8), &step->value, 8),
				 STATUS_OK);
		break;
	case 4:
	case 5: hostile_descriptor(rings, machine, step); break;
	case 6: driver_offer(driver, (step->where >> 4) % rings->queues, step->where & 31); break;
	case 7:
		if (step->size & 3)
			driver_status_set(driver, (uint8_t)step->where & (step->size & 4 ? 0xff : 0));
		else if (driver_status(driver) == 0)
			hostile_up(rings, machine, features | (step->size & 8 ? EVENT_IDX : 0));
		break;
	default: return false;
	}
	return true;
}
