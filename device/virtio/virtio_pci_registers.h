/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_pci_registers.h - what virtio_pci.c and virtio_pci_registers.c ask of each other.
 */
#ifndef HOLON_VIRTIO_PCI_REGISTERS_H
#define HOLON_VIRTIO_PCI_REGISTERS_H

#include "virtio_pci.h"

/* virtio_pci_registers.c: the BAR and the capabilities that tell what is where in it. */
void virtio_pci_registers_add(struct virtio_pci *pci);
/* The driver wrote the notification register of `queue`. Without the lock. */
void virtio_pci_notify(struct virtio_pci *pci, unsigned queue);

/* virtio_pci.c, under the lock. Reset, now or when the last request is back. */
void virtio_pci_reset(struct virtio_pci *pci);
/* FEATURES_OK was granted, or loaded: tells the queues. */
void virtio_pci_features_apply(struct virtio_pci *pci);

#endif
