/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_port.h - a named port between a program in the guest and one on the host (virtio 1.2, 5.3, with MULTIPORT): a console device of its own for each,
 * /dev/virtio-ports/NAME in the guest. Made by board/pc_small.c.
 */
#ifndef HOLON_DEVICE_VIRTIO_PORT_H
#define HOLON_DEVICE_VIRTIO_PORT_H

#include <holon/chardev.h>
#include <holon/device.h>
#include <holon/guest_memory.h>
#include <holon/irq.h>

#include "device/pci/pci.h"

#define VIRTIO_PORT_NAME_MAX 32u

struct virtio_port;

/* name: 1 to VIRTIO_PORT_NAME_MAX signs. The chardev stays the caller's. */
enum status virtio_port_create(struct virtio_port **out, struct pci_bus *bus, uint8_t devfn, struct guest_memory *memory,
			       struct irq *irq, struct chardev *chardev, const char *name) must_check;
struct device *virtio_port_device(struct virtio_port *port);
/* No vcpu runs any more. */
void virtio_port_destroy(struct virtio_port *port);

#endif
