/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pc_firmware.h - what a PC's firmware leaves behind for an operating system, done by the board for kernels that are booted directly.
 */
#ifndef HOLON_BOARD_PC_FIRMWARE_H
#define HOLON_BOARD_PC_FIRMWARE_H

#include "board/acpi.h"
#include "device/pci/pci.h"
#include "x86/state.h"

/* What PIRQ A to H are routed to at the PIC. */
extern const uint8_t pc_firmware_pirq_irq[PCI_PIRQS];

/* BARs, bridge windows and bus numbers, interrupt lines, PIRQ routing. Every function's decoding is on afterwards. */
void pc_firmware_pci_setup(struct pci_host *host, const struct acpi_window *memory32, const struct acpi_window *memory64);
/* Memory types, and the local APIC in virtual wire mode (Intel MP specification 1.4, 3.6.2.2; `bsp` takes the PIC's interrupts). */
void pc_firmware_cpu_setup(struct x86_state *state, unsigned physical_bits, bool bsp);

#endif
