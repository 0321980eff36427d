/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_balloon.h - memory that the guest gives back to the host (virtio 1.2, 5.5): by inflating on request, and by reporting free pages as it goes.
 */
#ifndef HOLON_VIRTIO_BALLOON_H
#define HOLON_VIRTIO_BALLOON_H

#include <holon/balloon.h>
#include <holon/device.h>
#include <holon/guest_memory.h>
#include <holon/irq.h>
#include <holon/status.h>
#include <holon/timer.h>

struct pci_bus;
struct virtio_balloon;

/* `target` bytes are asked back from the beginning; the guest's statistics every `stats_ns` of its time, 0: only when its driver starts. */
enum status virtio_balloon_create(struct virtio_balloon **out, struct pci_bus *bus, uint8_t devfn, struct guest_memory *memory,
				  struct irq *irq, struct vm_clock *clock, uint64_t target, uint64_t stats_ns) must_check;
struct device *virtio_balloon_device(struct virtio_balloon *balloon);
void virtio_balloon_destroy(struct virtio_balloon *balloon);

/* How many bytes the guest should give back from now on. Any thread. */
void virtio_balloon_target_set(struct virtio_balloon *balloon, uint64_t target);
/* Any thread. */
void virtio_balloon_report(struct virtio_balloon *balloon, struct balloon_report *report);

#endif
