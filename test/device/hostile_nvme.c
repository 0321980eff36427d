/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hostile_nvme.c - an NVMe driver that means harm (hostile.h).
 */
#include <string.h>

#include "hostile.h"
#include "nvme_driver.h"

static const uint64_t places[] = {NVME_DATA,         NVME_DATA + 4,
				  NVME_DATA + 4092,  NVME_LIST,
				  NVME_LIST + 4088,  MACHINE_SEAM - 512,
				  MACHINE_RAM - 512, MACHINE_RAM,
				  MACHINE_ROM,       NVME_BAR_BASE + 0x1000,
				  NVME_SQ(0),        NVME_CQ(1),
				  UINT64_MAX - 511,  0,
				  NVME_SQ(1),        1};

static uint64_t place(unsigned which)
{
	return places[which % (sizeof(places) / sizeof(places[0]))];
}

/* A command that is nearly right. */
static struct nvme_sqe command_make(const struct hostile_step *step, unsigned queue)
{
	static const uint8_t io[] = {0, 1, 2, 8, 9, 2, 1, 9};
	static const uint8_t admin[] = {0, 1, 2, 4, 5, 6, 8, 9, 10, 12};
	struct nvme_sqe sqe = {
		.opcode = queue ? io[step->size % 8] : admin[step->size % 10],
		.flags = step->size > 250 ? step->size & 0xc3 : 0,
		.namespace = step->size > 245 ? step->more : (queue ? 1 : 0),
		.prp1 = place(step->where & 15),
		.prp2 = place(step->where >> 4 & 15) + (step->where >> 8 & 7) * 8,
		.dword = {step->more & 0xffff, (uint32_t)step->value & 0x10007, step->more >> 16 & 0x3ff, 0, 0, 0},
	};

	if (step->size > 253)
		memcpy(sqe.dword, &step->value, 8);
	if (!queue)
		sqe.dword[0] = (step->more & 0xf) | (step->more & 0x3f0000);
	else
		sqe.dword[1] &= queue ? 4 : ~0u;
	return sqe;
}

static void command_put(struct nvme_driver *driver, const struct hostile_step *step, unsigned queue)
{
	struct nvme_sqe sqe = command_make(step, queue);

	if (step->kind & 0x80) {
		nvme_offer(driver, queue, sqe);
	} else { /* somewhere in the queue, perhaps being fetched */
		assert_int_equal(
			guest_memory_write(&driver->machine.memory, NVME_SQ(queue) + 64 * (step->value & 15), &sqe, sizeof(sqe)),
			STATUS_OK);
		nvme_register_set(driver, 0x1000 + 8 * queue, step->value >> 8 & 31);
	}
}

static void step_do(struct nvme_driver *driver, const struct hostile_step *step)
{
	struct machine *machine = &driver->machine;
	unsigned size = 1u << (step->size & 3);
	struct nvme_cqe cqe;

	switch (step->kind & 15) {
	case 0: config_write(machine, 0, NVME_DEVFN, step->where & 0xfc, 4, (uint32_t)step->value); break;
	case 1: mmio_write(machine, driver->bar + (step->where & 0x3f), size, step->value); break;
	case 2: mmio_write(machine, driver->bar + 0x1000 + (step->where & 0x7c), 4, step->value & 31); break;
	case 3: mmio_read(machine, driver->bar + (step->where & 0x1fff), size); break;
	case 4: /* into the queues and lists */
		assert_int_equal(guest_memory_write(&machine->memory, NVME_SQ(0) + (step->where & 0xfff8), &step->value, 8),
				 STATUS_OK);
		break;
	case 5: {
		uint64_t entry = place(step->size) + (step->more & 8);

		assert_int_equal(guest_memory_write(&machine->memory, NVME_LIST + (step->where & 0x1ff8), &entry, 8), STATUS_OK);
		break;
	}
	case 6: nvme_register_set(driver, 0x14, step->size & 1 ? 0x00460001 : 0); break;
	case 7:
	case 8:
		while (nvme_take(driver, step->size % 3, &cqe))
			;
		break;
	case 9:
		driver->disk.deferred = step->size & 1;
		driver->disk.fail = step->size & 0x30 ? STATUS_OK : STATUS_IO;
		break;
	case 10:
		while (driver->disk.first)
			disk_complete(&driver->disk);
		break;
	case 11: mmio_write(machine, driver->msix + (step->where & 0xff8), size, step->value); break;
	default: command_put(driver, step, step->where >> 12 & 3 ? 1 + (step->where >> 14 & 1) : 0); break;
	}
}

static void run(const struct hostile_step *step, size_t steps)
{
	static struct nvme_driver driver;
	struct nvme_sqe read = {.opcode = 2, .namespace = 1, .prp1 = NVME_DATA};

	nvme_driver_create(&driver, true, false);
	nvme_driver_enable(&driver);
	nvme_driver_queues(&driver);
	while (steps--)
		step_do(&driver, step++);
	bus_check(&driver.machine.mmio);
	driver.disk.deferred = false;
	driver.disk.fail = STATUS_OK;
	device_saves_and_loads(nvme_device(driver.nvme));
	nvme_device(driver.nvme)->reset(driver.nvme); /* drains: whatever was taken comes back, or this never returns */
	assert_int_equal(driver.disk.waiting, 0);
	config_write(&driver.machine, 0, NVME_DEVFN, PCI_BAR0, 4, (uint32_t)driver.bar);
	config_write(&driver.machine, 0, NVME_DEVFN, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	nvme_driver_enable(&driver);
	nvme_driver_queues(&driver);
	assert_int_equal(nvme_command(&driver, 1, read, NULL), 0);
	nvme_driver_destroy(&driver);
}

const struct hostile hostile_nvme = {"nvme", run};
