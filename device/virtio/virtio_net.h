/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_net.h - the network card that guests see (virtio 1.2, 5.1) in front of a `struct net`.
 */
#ifndef HOLON_VIRTIO_NET_H
#define HOLON_VIRTIO_NET_H

#include <holon/device.h>
#include <holon/guest_memory.h>
#include <holon/irq.h>
#include <holon/net.h>
#include <holon/status.h>
#include <holon/timer.h>

struct pci_bus;
struct virtio_net;

/* A limit in each direction; 0: none. See virtio_rate.h for the burst. */
struct virtio_net_rate {
	uint64_t second;
	uint64_t burst;
};

struct virtio_net_setup {
	struct net *backend; /* the caller's; connected from resume to quiesce or destroy */
	uint8_t mac[NET_MAC_LENGTH];
	struct virtio_net_rate bytes, frames;
};

/* The clock meters the rates. */
enum status virtio_net_create(struct virtio_net **out, struct pci_bus *bus, uint8_t devfn, struct guest_memory *memory,
			      struct irq *irq, struct vm_clock *clock, const struct virtio_net_setup *setup) must_check;
struct device *virtio_net_device(struct virtio_net *net);
/* The VM has moved: asks the guest to tell its neighbours where it is now (5.1.6.5.4). Any thread. */
void virtio_net_announce(struct virtio_net *net);
void virtio_net_destroy(struct virtio_net *net);

#endif
