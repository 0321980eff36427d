/* SPDX-License-Identifier: Apache-2.0 */
/*
 * acpi.h - the ACPI tables (ACPI 6.4) that describe the board: RSDP, RSDT, XSDT, FADT, FACS, DSDT, MADT, MCFG, HPET.
 *
 * All of it is a function of struct acpi_machine, which board/pc.c fills in from the constants that it builds the machine with.
 */
#ifndef HOLON_BOARD_ACPI_H
#define HOLON_BOARD_ACPI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "board/aml.h"

#define ACPI_PIRQS 8

struct acpi_window {
	uint64_t first;
	uint64_t last; /* first > last: there is none */
};

struct acpi_machine {
	unsigned cpus;
	uint32_t lapic_base, ioapic_base, hpet_base, hpet_id;
	uint64_t ecam_base;
	unsigned pci_buses;                    /* that the guest is told of: 0 and up */
	struct acpi_window memory32, memory64; /* what PCI functions may be given */
	/* PCI interrupts: which slots have pins, and where PIRQ A-H end; see pci_host_wiring. */
	uint32_t slots;           /* a bit a device number of the root bus */
	const uint8_t (*pirq)[4]; /* [32][4] */
	const uint8_t *pirq_gsi;  /* [ACPI_PIRQS] */
	uint16_t pirq_isa_irqs;   /* what PIRQs may be routed to at the PIC */
	uint8_t root_port_slot;
	unsigned root_ports; /* functions of root_port_slot */
	uint8_t lpc_slot;
	/* Fixed hardware. */
	uint16_t pm_event, pm_control, pm_timer, gpe0;
	uint8_t gpe0_length;
	uint8_t sci_gsi;
	uint8_t sleep_type_s5;
	uint16_t reset_port;
	uint8_t reset_value;
	uint16_t serial_port;
	uint8_t serial_irq;
	uint16_t pvpanic_port;
};

/*
 * Writes the tables into `buffer`, which the guest sees at `gpa` (a multiple of 64 below 4 GiB), RSDP first. Returns the bytes used, 0 if
 * `capacity` is too small.
 */
size_t acpi_build(const struct acpi_machine *machine, uint8_t *buffer, size_t capacity, uint64_t gpa);

/* acpi_dsdt.c: what goes behind the DSDT's header. */
void acpi_dsdt_write(const struct acpi_machine *machine, struct aml *aml);

#endif
