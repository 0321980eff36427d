/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_console.h - one console port (virtio 1.2, 5.3) in front of a chardev.
 */
#ifndef HOLON_VIRTIO_CONSOLE_H
#define HOLON_VIRTIO_CONSOLE_H

#include <holon/chardev.h>
#include <holon/device.h>
#include <holon/guest_memory.h>
#include <holon/irq.h>
#include <holon/status.h>
#include <holon/timer.h>

struct pci_bus;
struct virtio_console;

/* chardev may be NULL. It is connected here and must outlive the device or stop calling it first. */
enum status virtio_console_create(struct virtio_console **out, struct pci_bus *bus, uint8_t devfn, struct guest_memory *memory,
				  struct irq *irq, struct vm_clock *clock, struct chardev *chardev) must_check;
struct device *virtio_console_device(struct virtio_console *console);
void virtio_console_destroy(struct virtio_console *console);

#endif
