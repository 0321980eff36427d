/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hostile_ahci.c - a SATA driver that means harm to the controller, a disk and a CD-ROM drive (hostile.h).
 */
#include <string.h>

#include "ahci_driver.h"
#include "hostile.h"

static const uint64_t places[] = {AHCI_DATA,
				  AHCI_DATA + 2,
				  MACHINE_SEAM - 512,
				  MACHINE_RAM - 512,
				  MACHINE_RAM,
				  MACHINE_ROM,
				  AHCI_ABAR,
				  AHCI_LIST(0),
				  AHCI_TABLE(0, 0),
				  UINT64_MAX - 1,
				  0,
				  AHCI_RECEIVED(1),
				  AHCI_DATA + 511,
				  1,
				  AHCI_TABLE(1, 3),
				  MACHINE_SEAM};

/* A command that is nearly right, in a slot. */
static void command_put(struct ahci_driver *driver, const struct hostile_step *step)
{
	static const uint8_t ata[] = {0x25, 0x35, 0xc8, 0xca, 0xec, 0xef, 0x06, 0xea,
				      0x3d, 0x20, 0xc4, 0x42, 0xe5, 0x90, 0x00, 0x39};
	static const uint8_t atapi[] = {0x28, 0xa8, 0x12, 0x43, 0x46, 0x4a, 0x03, 0x5a,
					0x1b, 0xbe, 0x25, 0x51, 0x1a, 0x52, 0x00, 0xbd};
	unsigned port = step->where & 1, slot = step->where >> 1 & 7;
	uint8_t packet[12] = {atapi[step->size & 15], (uint8_t)(step->value >> 56) & 3};
	struct ahci_fis fis = ahci_command(port ? 0xa0 : ata[step->size & 15], step->value & 0xfff, step->more & 0x3f);

	memcpy(&packet[2], &step->value, 8);
	if (step->size & 0x10)
		packet[3] = packet[4] = packet[6] = packet[7] = 0;
	fis.bytes[3] = (uint8_t)(step->value >> 48) & 3;
	if (step->size > 250)
		memcpy(fis.bytes, &step->value, 8);
	if (step->size > 240)
		fis.bytes[1] ^= 0x80;
	ahci_slot_fill(driver, port, slot, fis, packet, places[step->where >> 4 & 15], (step->more >> 8 & 0x1fff) + 1);
	if (step->where & 0x800) { /* more pieces than one */
		uint16_t prds = (uint16_t)(step->more >> 16);

		assert_int_equal(guest_memory_write(&driver->machine.memory, AHCI_LIST(port) + 32 * slot + 2, &prds, 2), STATUS_OK);
	}
	ahci_issue(driver, port, 1u << slot | (step->where & 0x400 ? step->more : 0));
}

static void step_do(struct ahci_driver *driver, const struct hostile_step *step)
{
	struct machine *machine = &driver->machine;
	unsigned size = 1u << (step->size & 3);

	switch (step->kind & 15) {
	case 0: config_write(machine, 0, AHCI_DEVFN, step->where & 0xfc, 4, (uint32_t)step->value); break;
	case 1: mmio_write(machine, AHCI_ABAR + (step->where & 0xfff), size, step->value); break;
	case 2: mmio_read(machine, AHCI_ABAR + (step->where & 0xfff), size); break;
	case 3: ahci_register_set(driver, AHCI_PORT(step->where & 1, step->where >> 4 & 0x3c), (uint32_t)step->value); break;
	case 4: /* into lists, tables, received FISes */
		assert_int_equal(guest_memory_write(&machine->memory, 0x10000 + (step->where & 0xfff8), &step->value, 8),
				 STATUS_OK);
		break;
	case 5: {
		struct {
			uint64_t address;
			uint32_t reserved, length;
		} prd = {places[step->size & 15], 0, step->more & (step->size & 0x80 ? UINT32_MAX : 0x1ff)};

		assert_int_equal(
			guest_memory_write(&machine->memory,
					   AHCI_TABLE(step->where & 1, step->where >> 1 & 7) + 0x80 + 16 * (step->where >> 4 & 31),
					   &prd, 16),
			STATUS_OK);
		break;
	}
	case 6: ahci_register_set(driver, AHCI_PORT(step->where & 1, 0x18), step->size & 1 ? 0x11 : 0x10); break;
	case 7: ahci_register_set(driver, AHCI_PORT(step->where & 1, 0x2c), step->size & 1 ? 0x301 : 0x300); break;
	case 8:
		if (!(step->size & 7))
			ahci_driver_up(driver);
		ahci_register_set(driver, AHCI_PORT(step->where & 1, 0x18), 0x10);
		ahci_register_set(driver, AHCI_PORT(step->where & 1, 0x18), 0x11);
		break;
	case 9:
		driver->disk.deferred = step->size & 1;
		driver->disk.fail = driver->disc.fail = step->size & 0x30 ? STATUS_OK : STATUS_IO;
		break;
	case 10:
		while (driver->disk.first)
			disk_complete(&driver->disk);
		break;
	default: command_put(driver, step); break;
	}
}

static void run(const struct hostile_step *step, size_t steps)
{
	static struct ahci_driver driver;

	ahci_driver_create(&driver);
	ahci_driver_up(&driver);
	while (steps--)
		step_do(&driver, step++);
	bus_check(&driver.machine.mmio);
	driver.disk.deferred = false;
	driver.disk.fail = driver.disc.fail = STATUS_OK;
	device_saves_and_loads(ahci_device(driver.ahci));
	ahci_device(driver.ahci)->reset(driver.ahci); /* drains: whatever was taken comes back, or this never returns */
	assert_int_equal(driver.disk.waiting + driver.disc.waiting, 0);
	ahci_driver_up(&driver);
	assert_int_equal(ahci_execute(&driver, 0, ahci_command(0x25, 0, 1), NULL, AHCI_DATA, 512), 0x50);
	ahci_driver_destroy(&driver);
}

const struct hostile hostile_ahci = {"ahci", run};
