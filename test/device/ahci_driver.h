/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ahci_driver.h - a little AHCI driver for tests: a disk at port 0 and a CD-ROM drive at port 1, in a machine without a CPU.
 */
#ifndef HOLON_TEST_AHCI_DRIVER_H
#define HOLON_TEST_AHCI_DRIVER_H

#include "machine.h"

#include "device/ahci.h"

#define AHCI_DEVFN PCI_DEVFN(31, 2)
#define AHCI_ABAR UINT64_C(0xc0000000)
#define AHCI_LIST(port) (0x10000 + 0x1000 * (uint64_t)(port))
#define AHCI_RECEIVED(port) (0x12000 + 0x1000 * (uint64_t)(port))
#define AHCI_TABLE(port, slot) (0x14000 + 0x8000 * (uint64_t)(port) + 0x400 * (uint64_t)(slot))
#define AHCI_DATA 0x28000

struct ahci_driver {
	struct machine machine;
	struct test_disk disk, disc;
	struct ahci *ahci;
};

struct ahci_fis {
	uint8_t bytes[20];
};

void ahci_driver_create(struct ahci_driver *driver);
void ahci_driver_destroy(struct ahci_driver *driver);
uint32_t ahci_register(struct ahci_driver *driver, unsigned offset);
void ahci_register_set(struct ahci_driver *driver, unsigned offset, uint32_t value);
#define AHCI_PORT(port, offset) (0x100u + 0x80u * (port) + (offset))
/* Memory, bus mastering, GHC.IE, both ports running with all interrupts. */
void ahci_driver_up(struct ahci_driver *driver);
/* A register FIS: 48-bit address and count. */
struct ahci_fis ahci_command(uint8_t command, uint64_t lba, uint32_t count);
/* Fills slot's table: the FIS, the packet (NULL: none) and one data piece of `length` bytes at `gpa` (0: none). */
void ahci_slot_fill(struct ahci_driver *driver, unsigned port, unsigned slot, struct ahci_fis fis, const uint8_t *packet,
		    uint64_t gpa, uint32_t length);
void ahci_issue(struct ahci_driver *driver, unsigned port, uint32_t slots);
/* All of it in slot 0. Returns PxTFD. */
uint32_t ahci_execute(struct ahci_driver *driver, unsigned port, struct ahci_fis fis, const uint8_t *packet, uint64_t gpa,
		      uint32_t length);
/* After an error: ST off and on. */
void ahci_restart(struct ahci_driver *driver, unsigned port);

#endif
