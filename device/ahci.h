/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ahci.h - the ICH9's SATA controller in AHCI mode (8086:2922, AHCI 1.3.1) with disks (ATA8-ACS) and CD-ROM drives (ATAPI, MMC-6).
 */
#ifndef HOLON_AHCI_H
#define HOLON_AHCI_H

#include <holon/block.h>
#include <holon/device.h>
#include <holon/guest_memory.h>
#include <holon/status.h>

#define AHCI_PORTS 6

struct pci_bus;
struct ahci;

/* What is at a port; block NULL: nothing. The block stays the caller's: close it after destroy. */
struct ahci_drive {
	struct block *block;
	const char *serial; /* at most 20 characters are shown */
	bool cdrom;
};

enum status ahci_create(struct ahci **out, struct pci_bus *bus, uint8_t devfn, struct guest_memory *memory,
			const struct ahci_drive drive[AHCI_PORTS]) must_check;
/* For vm_device_add. */
struct device *ahci_device(struct ahci *ahci);
/* No vcpu runs any more. Waits for the requests that are under way. */
void ahci_destroy(struct ahci *ahci);

#endif
