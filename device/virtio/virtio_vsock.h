/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_vsock.h - sockets between guest and host (virtio 1.2, 5.10), in front of a struct vsock.
 */
#ifndef HOLON_VIRTIO_VSOCK_H
#define HOLON_VIRTIO_VSOCK_H

#include <holon/device.h>
#include <holon/guest_memory.h>
#include <holon/irq.h>
#include <holon/status.h>
#include <holon/vsock.h>

struct pci_bus;
struct virtio_vsock;

/* `backend` must outlive the device or be stopped first. */
enum status virtio_vsock_create(struct virtio_vsock **out, struct pci_bus *bus, uint8_t devfn, struct guest_memory *memory,
				struct irq *irq, struct vsock *backend) must_check;
struct device *virtio_vsock_device(struct virtio_vsock *vsock);
void virtio_vsock_destroy(struct virtio_vsock *vsock);

#endif
