/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machine.h - what PCI and virtio devices are tested in: buses, RAM in several slots, interrupts that are written down, a
 * disk in memory that completes when the test says so, and a little virtio driver. No CPU.
 */
#ifndef HOLON_TEST_MACHINE_H
#define HOLON_TEST_MACHINE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <holon/block.h>
#include <holon/bus.h>
#include <holon/guest_memory.h>
#include <holon/irq.h>
#include <holon/state.h>
#include <holon/timer.h>

#include "device/pci/pci.h"
#include "device/pci/pci_lpc.h"
#include "device/pci/pci_root_port.h"

#define MACHINE_RAM (UINT64_C(1) << 20) /* slot 0: [0, 512 KiB), slot 1 right behind it: [512 KiB, 1 MiB) */
#define MACHINE_SEAM (MACHINE_RAM / 2)
#define MACHINE_ROM UINT64_C(0xfff00000) /* 4 KiB that the guest cannot write */
#define MACHINE_ECAM UINT64_C(0xe0000000)
#define MACHINE_VECTORS 256

struct machine {
	uint8_t *ram;
	struct guest_memory memory;
	struct bus ports, mmio;
	struct irq irq;
	struct vm_clock clock; /* stands until vm_clock_count */
	struct pci_host *host;
	struct pci_lpc *lpc;
	_Atomic unsigned messages[MACHINE_VECTORS]; /* by data's vector */
	_Atomic unsigned message_total;
	bool level[IRQ_GSIS];
	unsigned resets;
	uint16_t pmbase;
	bool pm_enabled;
	uint64_t random;
};

void machine_create(struct machine *machine);
void machine_destroy(struct machine *machine);
uint64_t machine_random(struct machine *machine);

/* Config cycles through 0xcf8/0xcfc. */
uint32_t config_read(struct machine *machine, unsigned bus, uint8_t devfn, unsigned offset, unsigned size);
void config_write(struct machine *machine, unsigned bus, uint8_t devfn, unsigned offset, unsigned size, uint32_t value);
uint64_t mmio_read(struct machine *machine, uint64_t address, unsigned size);
void mmio_write(struct machine *machine, uint64_t address, unsigned size, uint64_t value);

/* Regions that are on a bus lie in order and apart. */
void bus_check(const struct bus *bus);
/* What the device's table says it is, as a stream that the caller frees. */
struct state_writer device_saved(const struct device *device);
/* Loads what was saved back into the device and checks that it then saves the same. */
void device_saves_and_loads(const struct device *device);

/* A disk in memory. Requests complete at once, or wait in `first` until disk_complete. */
struct test_disk {
	struct block block;
	uint8_t *data;
	bool deferred;
	enum status fail; /* STATUS_OK: serve them */
	struct block_request *first;
	unsigned waiting;
	unsigned count[BLOCK_WRITE_ZEROES + 1];
};
void disk_create(struct test_disk *disk, uint64_t size, bool readonly);
void disk_destroy(struct test_disk *disk);
/* Completes the request that has waited longest. */
void disk_complete(struct test_disk *disk);

/* The driver's side of one device, which it has found at (bus, devfn) and whose BARs it has placed at `base`. */
struct driver_queue {
	uint16_t index, size;
	uint64_t descriptor, available, used;
	uint16_t next_available, seen_used;
};
struct driver {
	struct machine *machine;
	unsigned bus;
	uint8_t devfn;
	uint64_t msix, common, isr, device, notify;
	struct driver_queue queue[9];
	unsigned flood_queue, flood_left;
};
#define DRIVER_MSIX_VECTOR(queue) (0x40 + (queue)) /* the vector in the message of a queue; 0x4f is the configuration's */
#define DRIVER_CONFIG_VECTOR 0x4f

/* Finds the capabilities, places BARs from `base` on, enables memory and bus mastering; MSI-X with all vectors open if wanted. */
void driver_attach(struct driver *driver, struct machine *machine, unsigned bus, uint8_t devfn, uint64_t base, bool msix);
uint8_t driver_status(struct driver *driver);
void driver_status_set(struct driver *driver, uint8_t status);
uint64_t driver_features(struct driver *driver);
/* Reset, ACKNOWLEDGE, DRIVER, features, FEATURES_OK. Returns whether the device took them. */
bool driver_negotiate(struct driver *driver, uint64_t features);
/* Places a queue's areas at `gpa` (16 KiB are enough for 256) and enables it. */
void driver_queue_enable(struct driver *driver, unsigned index, uint16_t size, uint64_t gpa);
void driver_go(struct driver *driver); /* DRIVER_OK */
void driver_descriptor(struct driver *driver, unsigned queue, unsigned index, uint64_t gpa, uint32_t length, uint16_t flags,
		       uint16_t next);
/* Makes the chain available; notifies. */
void driver_offer(struct driver *driver, unsigned index, uint16_t head);
void driver_notify(struct driver *driver, unsigned queue);
/*
 * Fills the queue with the chain that descriptor 0 begins and notifies. From then on another processor of the guest's seems to fill it again at each interrupt, as one that spins could; that ends by
 * itself after DRIVER_FLOOD of them. driver_flood_left says how many are left.
 */
#define DRIVER_FLOOD 100000u
void driver_flood(struct driver *driver, unsigned index);
unsigned driver_flood_left(const struct driver *driver);
/* The same, and what it proves: no notification answers more than `most` of them, nor does the timer that goes on with what is left, when there has been a pause. */
void driver_flood_ends(struct driver *driver, unsigned index, unsigned most);
/* The next used element, if there is one. */
bool driver_take(struct driver *driver, unsigned queue, uint32_t *id, uint32_t *length);

#define DESC_NEXT 1
#define DESC_WRITE 2
#define DESC_INDIRECT 4

#endif
