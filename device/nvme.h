/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nvme.h - an NVMe controller (NVM Express 1.4) with one namespace in front of a `struct block`.
 */
#ifndef HOLON_NVME_H
#define HOLON_NVME_H

#include <holon/block.h>
#include <holon/device.h>
#include <holon/guest_memory.h>
#include <holon/irq.h>
#include <holon/status.h>
#include <holon/timer.h>

struct pci_bus;
struct nvme;

/* serial: at most 20 characters are shown. The block stays the caller's: close it after destroy. */
enum status nvme_create(struct nvme **out, struct pci_bus *bus, uint8_t devfn, struct guest_memory *memory, struct irq *irq,
			struct vm_clock *clock, struct block *block, const char *serial) must_check;
/* For vm_device_add; its instance is the devfn (plus the slot's port number << 8 behind a root port). */
struct device *nvme_device(struct nvme *nvme);
/* No vcpu runs any more. Waits for the requests that are under way. */
void nvme_destroy(struct nvme *nvme);

#endif
