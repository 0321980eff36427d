/* SPDX-License-Identifier: Apache-2.0 */
/*
 * acpi_pm.h - ACPI's fixed hardware as the ICH9 lays it out at PMBASE: power button, soft off, PM timer, general-purpose events.
 *
 * ACPI 6.4, 4.8; ICH9 datasheet, 13.8.3. The machine is always in ACPI mode (SCI_EN reads 1, the FADT's SMI_CMD is 0). The PM timer is
 * 32 bits wide (FADT: TMR_VAL_EXT). The SCI is a level on a GSI. SMI_EN is kept and does nothing: there is no SMM.
 */
#ifndef HOLON_DEVICE_ACPI_PM_H
#define HOLON_DEVICE_ACPI_PM_H

#include <stdbool.h>
#include <stdint.h>

#include <holon/bus.h>
#include <holon/device.h>
#include <holon/irq.h>
#include <holon/timer.h>

#define ACPI_PM_LENGTH 128
/* Offsets in the region. */
#define ACPI_PM_EVENT 0x00   /* PM1a_EVT_BLK: status, enable; 4 bytes */
#define ACPI_PM_CONTROL 0x04 /* PM1a_CNT_BLK: 2 bytes */
#define ACPI_PM_TIMER 0x08   /* 4 bytes */
#define ACPI_PM_GPE0 0x20    /* status, enable; 16 bytes: 64 events */
#define ACPI_PM_SMI_EN 0x30

#define ACPI_PM_TIMER_HZ 3579545u
/* What _S5 says. Firmware for this chipset also writes the ICH9's own 7; both switch off. */
#define ACPI_PM_SLP_TYP_S5 0u

struct acpi_pm {
	struct device device;
	struct bus_region region; /* ACPI_PM_LENGTH ports */
	struct host_mutex lock;
	struct vm_clock *clock;
	struct irq *irq;
	unsigned sci_gsi;
	void (*power_off)(void *machine); /* S5 was asked for; under the lock */
	void *machine;
	struct timer timer; /* runs while TMR_EN is set and TMR_STS is not */
	uint16_t pm1_status, pm1_enable, pm1_control;
	uint64_t gpe_status, gpe_enable;
	uint32_t smi_enable;
	uint64_t timer_seen; /* how often the PM timer's top bit had toggled when TMR_STS was last brought up to date */
	uint8_t sci;         /* its level */
};

void acpi_pm_init(struct acpi_pm *pm, struct vm_clock *clock, struct irq *irq, unsigned sci_gsi, void (*power_off)(void *machine),
		  void *machine);
/* The button is pressed and released. Any thread. */
void acpi_pm_power_button(struct acpi_pm *pm);
/* A general-purpose event happens (hot-plug). Any thread. event < 64. */
void acpi_pm_gpe_raise(struct acpi_pm *pm, unsigned event);

#endif
