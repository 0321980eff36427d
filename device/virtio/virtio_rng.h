/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_rng.h - entropy for the guest (virtio 1.2, 5.4), from host_random, at a bounded rate.
 */
#ifndef HOLON_VIRTIO_RNG_H
#define HOLON_VIRTIO_RNG_H

#include <holon/device.h>
#include <holon/guest_memory.h>
#include <holon/irq.h>
#include <holon/status.h>
#include <holon/timer.h>

struct pci_bus;
struct virtio_rng;

/* At most `second` bytes a second of the guest's time (0: no limit), after idleness `burst` at once (0: a tenth of a second's worth). */
enum status virtio_rng_create(struct virtio_rng **out, struct pci_bus *bus, uint8_t devfn, struct guest_memory *memory,
			      struct irq *irq, struct vm_clock *clock, uint64_t second, uint64_t burst) must_check;
struct device *virtio_rng_device(struct virtio_rng *rng);
void virtio_rng_destroy(struct virtio_rng *rng);

#endif
