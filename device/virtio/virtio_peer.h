/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_peer.h - a virtio device of any type that another process serves (include/holon/peer.h).
 */
#ifndef HOLON_VIRTIO_PEER_H
#define HOLON_VIRTIO_PEER_H

#include <holon/device.h>
#include <holon/guest_memory.h>
#include <holon/irq.h>
#include <holon/peer.h>
#include <holon/status.h>
#include <holon/timer.h>

struct pci_bus;
struct virtio_peer;

/* The peer stays the caller's: close it after destroy. */
enum status virtio_peer_create(struct virtio_peer **out, struct pci_bus *bus, uint8_t devfn, struct guest_memory *memory,
			       struct irq *irq, struct vm_clock *clock, struct peer *peer) must_check;
/* For vm_device_add; its instance is the devfn (plus the slot's port number << 8 behind a root port). */
struct device *virtio_peer_device(struct virtio_peer *device);
/* No vcpu runs any more. Waits for the requests that are under way. */
void virtio_peer_destroy(struct virtio_peer *device);

#endif
