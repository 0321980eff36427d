/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watchdog.h - the watchdog timer of Intel's 6300ESB I/O controller (datasheet 300641, chapter 16), 8086:25ab, which systems have a driver for.
 */
#ifndef HOLON_WATCHDOG_H
#define HOLON_WATCHDOG_H

#include <holon/device.h>
#include <holon/status.h>
#include <holon/timer.h>

struct pci_bus;
struct watchdog;

/* `expired` is called from the clock's thread, no lock held, when the guest has let the second stage run out. */
enum status watchdog_create(struct watchdog **out, struct pci_bus *bus, uint8_t devfn, struct vm_clock *clock,
			    void (*expired)(void *machine), void *machine) must_check;
struct device *watchdog_device(struct watchdog *watchdog);
void watchdog_destroy(struct watchdog *watchdog);

#endif
