/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_blk.h - the disk that guests see (virtio 1.2, 5.2) in front of a `struct block`.
 */
#ifndef HOLON_VIRTIO_BLK_H
#define HOLON_VIRTIO_BLK_H

#include <holon/block.h>
#include <holon/device.h>
#include <holon/guest_memory.h>
#include <holon/irq.h>
#include <holon/status.h>
#include <holon/timer.h>

#define VIRTIO_BLK_QUEUES_MAX 4

struct pci_bus;
struct virtio_blk;

/* queues: 1..VIRTIO_BLK_QUEUES_MAX, one a vcpu. serial: at most 20 characters are shown. The block stays the caller's: close it after destroy. */
enum status virtio_blk_create(struct virtio_blk **out, struct pci_bus *bus, uint8_t devfn, struct guest_memory *memory,
			      struct irq *irq, struct vm_clock *clock, struct block *block, const char *serial,
			      unsigned queues) must_check;
/* For vm_device_add; its instance is the devfn (plus the slot's port number << 8 behind a root port). */
struct device *virtio_blk_device(struct virtio_blk *blk);
/* No vcpu runs any more. Waits for the requests that are under way. */
void virtio_blk_destroy(struct virtio_blk *blk);

#endif
