/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pvpanic.h - a port by which a guest says that it has panicked (QEMU's docs/specs/pvpanic: the ISA device, QEMU0001 in ACPI).
 */
#ifndef HOLON_DEVICE_PVPANIC_H
#define HOLON_DEVICE_PVPANIC_H

#include <stdint.h>

#include <holon/bus.h>
#include <holon/device.h>

#define PVPANIC_PANICKED 1u    /* the guest has panicked and stays so */
#define PVPANIC_CRASHLOADED 2u /* it has panicked and goes on in its crash kernel */

struct pvpanic {
	struct device device;     /* no state: an event is over when it was told */
	struct bus_region region; /* 1 port: 0x505 */
	struct host_mutex lock;
	void (*event)(void *machine, uint8_t events); /* PVPANIC_ bits, never 0; under the lock */
	void *machine;
};

void pvpanic_init(struct pvpanic *pvpanic, void (*event)(void *machine, uint8_t events), void *machine);

#endif
