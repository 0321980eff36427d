/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nvme_driver.c - see nvme_driver.h.
 */
#include "nvme_driver.h"

#include <string.h>

#define DOORBELL(queue, head) (0x1000u + 8 * (queue) + 4 * (head))

static void put(struct nvme_driver *driver, uint64_t gpa, const void *bytes, size_t length)
{
	assert_int_equal(guest_memory_write(&driver->machine.memory, gpa, bytes, length), STATUS_OK);
}

static void msix_open(struct nvme_driver *driver)
{
	struct machine *machine = &driver->machine;
	unsigned place;

	for (place = config_read(machine, 0, NVME_DEVFN, PCI_CAPABILITY_POINTER, 1);
	     config_read(machine, 0, NVME_DEVFN, place, 1) != PCI_CAPABILITY_MSIX;
	     place = config_read(machine, 0, NVME_DEVFN, place + 1, 1))
		;
	config_write(machine, 0, NVME_DEVFN, place + 2, 2, 0x8000);
	for (unsigned i = 0; i < 9; i++) {
		mmio_write(machine, driver->msix + 16 * i, 8, 0xfee00000);
		mmio_write(machine, driver->msix + 16 * i + 8, 8, 0x40 + i);
	}
}

void nvme_driver_create(struct nvme_driver *driver, bool msix, bool readonly)
{
	struct machine *machine = &driver->machine;

	memset(driver, 0, sizeof(*driver));
	machine_create(machine);
	disk_create(&driver->disk, 1 << 20, readonly);
	assert_int_equal(nvme_create(&driver->nvme, &machine->host->root, NVME_DEVFN, &machine->memory, &machine->irq,
				     &machine->clock, &driver->disk.block, "serial-1"),
			 STATUS_OK);
	nvme_device(driver->nvme)->reset(driver->nvme);
	driver->bar = NVME_BAR_BASE;
	driver->msix = NVME_BAR_BASE + 0x10000;
	config_write(machine, 0, NVME_DEVFN, PCI_BAR0, 4, (uint32_t)driver->bar);
	config_write(machine, 0, NVME_DEVFN, PCI_BAR0 + 16, 4, (uint32_t)driver->msix);
	config_write(machine, 0, NVME_DEVFN, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	if (msix)
		msix_open(driver);
}

void nvme_driver_destroy(struct nvme_driver *driver)
{
	nvme_destroy(driver->nvme);
	disk_destroy(&driver->disk);
	machine_destroy(&driver->machine);
}

uint32_t nvme_register(struct nvme_driver *driver, unsigned offset)
{
	return (uint32_t)mmio_read(&driver->machine, driver->bar + offset, 4);
}

void nvme_register_set(struct nvme_driver *driver, unsigned offset, uint32_t value)
{
	mmio_write(&driver->machine, driver->bar + offset, 4, value);
}

void nvme_driver_enable(struct nvme_driver *driver)
{
	static const uint8_t zeroes[0x8000];

	nvme_register_set(driver, 0x14, 0);
	assert_int_equal(nvme_register(driver, 0x1c), 0);
	put(driver, NVME_SQ(0), zeroes, sizeof(zeroes));
	memset(driver->tail, 0, sizeof(driver->tail));
	memset(driver->head, 0, sizeof(driver->head));
	memset(driver->phase, 1, sizeof(driver->phase));
	nvme_register_set(driver, 0x24, (NVME_ENTRIES - 1) << 16 | (NVME_ENTRIES - 1));
	mmio_write(&driver->machine, driver->bar + 0x28, 8, NVME_SQ(0));
	mmio_write(&driver->machine, driver->bar + 0x30, 8, NVME_CQ(0));
	nvme_register_set(driver, 0x14, 0x00460001);
	assert_int_equal(nvme_register(driver, 0x1c), 1);
}

void nvme_driver_queues(struct nvme_driver *driver)
{
	for (unsigned queue = 1; queue < 3; queue++) {
		struct nvme_sqe completion = {
			.opcode = 5, .prp1 = NVME_CQ(queue), .dword = {(NVME_ENTRIES - 1) << 16 | queue, queue << 16 | 3}};
		struct nvme_sqe submission = {
			.opcode = 1, .prp1 = NVME_SQ(queue), .dword = {(NVME_ENTRIES - 1) << 16 | queue, queue << 16 | 1}};

		assert_int_equal(nvme_command(driver, 0, completion, NULL), 0);
		assert_int_equal(nvme_command(driver, 0, submission, NULL), 0);
	}
}

uint16_t nvme_offer(struct nvme_driver *driver, unsigned queue, struct nvme_sqe sqe)
{
	sqe.id = ++driver->next_id;
	put(driver, NVME_SQ(queue) + 64u * driver->tail[queue], &sqe, sizeof(sqe));
	driver->tail[queue] = (uint16_t)((driver->tail[queue] + 1u) % NVME_ENTRIES);
	nvme_register_set(driver, DOORBELL(queue, 0), driver->tail[queue]);
	return sqe.id;
}

bool nvme_take(struct nvme_driver *driver, unsigned queue, struct nvme_cqe *cqe)
{
	assert_int_equal(guest_memory_read(&driver->machine.memory, NVME_CQ(queue) + 16u * driver->head[queue], cqe, sizeof(*cqe)),
			 STATUS_OK);
	if ((cqe->status & 1) != driver->phase[queue])
		return false;
	driver->head[queue] = (uint16_t)((driver->head[queue] + 1u) % NVME_ENTRIES);
	if (!driver->head[queue])
		driver->phase[queue] ^= 1;
	nvme_register_set(driver, DOORBELL(queue, 1), driver->head[queue]);
	return true;
}

uint16_t nvme_command(struct nvme_driver *driver, unsigned queue, struct nvme_sqe sqe, uint32_t *result)
{
	uint16_t id = nvme_offer(driver, queue, sqe);
	struct nvme_cqe cqe;

	assert_true(nvme_take(driver, queue, &cqe));
	assert_int_equal(cqe.id, id);
	assert_int_equal(cqe.queue, queue);
	if (result)
		*result = cqe.result;
	return cqe.status >> 1;
}
