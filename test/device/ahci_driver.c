/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ahci_driver.c - see ahci_driver.h.
 */
#include "ahci_driver.h"

#include <string.h>

static void put(struct ahci_driver *driver, uint64_t gpa, const void *bytes, size_t length)
{
	assert_int_equal(guest_memory_write(&driver->machine.memory, gpa, bytes, length), STATUS_OK);
}

void ahci_driver_create(struct ahci_driver *driver)
{
	struct ahci_drive drive[AHCI_PORTS] = {{&driver->disk.block, "disk-serial", false},
					       {&driver->disc.block, "disc-serial", true}};

	memset(driver, 0, sizeof(*driver));
	machine_create(&driver->machine);
	disk_create(&driver->disk, 1 << 20, false);
	disk_create(&driver->disc, 1 << 18, true);
	for (unsigned i = 0; i < 1 << 18; i++)
		driver->disc.data[i] = (uint8_t)(i / 2048 + i);
	assert_int_equal(ahci_create(&driver->ahci, &driver->machine.host->root, AHCI_DEVFN, &driver->machine.memory, drive),
			 STATUS_OK);
	ahci_device(driver->ahci)->reset(driver->ahci);
}

void ahci_driver_destroy(struct ahci_driver *driver)
{
	ahci_destroy(driver->ahci);
	disk_destroy(&driver->disk);
	disk_destroy(&driver->disc);
	machine_destroy(&driver->machine);
}

uint32_t ahci_register(struct ahci_driver *driver, unsigned offset)
{
	return (uint32_t)mmio_read(&driver->machine, AHCI_ABAR + offset, 4);
}

void ahci_register_set(struct ahci_driver *driver, unsigned offset, uint32_t value)
{
	mmio_write(&driver->machine, AHCI_ABAR + offset, 4, value);
}

void ahci_driver_up(struct ahci_driver *driver)
{
	config_write(&driver->machine, 0, AHCI_DEVFN, PCI_BAR0 + 20, 4, (uint32_t)AHCI_ABAR);
	config_write(&driver->machine, 0, AHCI_DEVFN, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	ahci_register_set(driver, 0x04, 0x80000002);
	for (unsigned port = 0; port < 2; port++) {
		ahci_register_set(driver, AHCI_PORT(port, 0x00), (uint32_t)AHCI_LIST(port));
		ahci_register_set(driver, AHCI_PORT(port, 0x04), 0);
		ahci_register_set(driver, AHCI_PORT(port, 0x08), (uint32_t)AHCI_RECEIVED(port));
		ahci_register_set(driver, AHCI_PORT(port, 0x0c), 0);
		ahci_register_set(driver, AHCI_PORT(port, 0x30), UINT32_MAX);
		ahci_register_set(driver, AHCI_PORT(port, 0x10), UINT32_MAX);
		ahci_register_set(driver, AHCI_PORT(port, 0x14), UINT32_MAX);
		ahci_register_set(driver, AHCI_PORT(port, 0x18), 0x11);
	}
	ahci_register_set(driver, 0x08, UINT32_MAX);
}

struct ahci_fis ahci_command(uint8_t command, uint64_t lba, uint32_t count)
{
	struct ahci_fis fis = {{0x27, 0x80, command, 0, (uint8_t)lba, (uint8_t)(lba >> 8), (uint8_t)(lba >> 16), 0x40,
				(uint8_t)(lba >> 24), (uint8_t)(lba >> 32), (uint8_t)(lba >> 40), 0, (uint8_t)count,
				(uint8_t)(count >> 8)}};

	return fis;
}

void ahci_slot_fill(struct ahci_driver *driver, unsigned port, unsigned slot, struct ahci_fis fis, const uint8_t *packet,
		    uint64_t gpa, uint32_t length)
{
	struct {
		uint16_t flags, prds;
		uint32_t transferred;
		uint64_t table;
	} header = {(uint16_t)(5 | (packet ? 0x20 : 0)), length != 0, 0, AHCI_TABLE(port, slot)};
	struct {
		uint64_t address;
		uint32_t reserved, length;
	} prd = {gpa, 0, length - 1};

	put(driver, AHCI_LIST(port) + 32 * slot, &header, sizeof(header));
	put(driver, AHCI_TABLE(port, slot), &fis, sizeof(fis));
	if (packet)
		put(driver, AHCI_TABLE(port, slot) + 0x40, packet, 12);
	put(driver, AHCI_TABLE(port, slot) + 0x80, &prd, sizeof(prd));
}

void ahci_issue(struct ahci_driver *driver, unsigned port, uint32_t slots)
{
	ahci_register_set(driver, AHCI_PORT(port, 0x38), slots);
}

uint32_t ahci_execute(struct ahci_driver *driver, unsigned port, struct ahci_fis fis, const uint8_t *packet, uint64_t gpa,
		      uint32_t length)
{
	ahci_slot_fill(driver, port, 0, fis, packet, gpa, length);
	ahci_issue(driver, port, 1);
	return ahci_register(driver, AHCI_PORT(port, 0x20));
}

void ahci_restart(struct ahci_driver *driver, unsigned port)
{
	ahci_register_set(driver, AHCI_PORT(port, 0x18), 0x10);
	assert_int_equal(ahci_register(driver, AHCI_PORT(port, 0x18)) & 0x8000, 0);
	ahci_register_set(driver, AHCI_PORT(port, 0x18), 0x11);
}
