/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pci_lpc.h - the ICH9 LPC bridge (8086:2918) at 00:1f.0: PMBASE, PIRQ routing to the PIC, RCBA.
 */
#ifndef HOLON_PCI_LPC_H
#define HOLON_PCI_LPC_H

#include "pci.h"

#define PCI_LPC_RCBA_SIZE 0x4000

struct pci_lpc_wiring {
	uint16_t pmbase; /* where the ACPI registers are after reset, a multiple of 128 */
	/* The guest moved or switched them. NULL: they stay. Under pci_host.lock. */
	void (*pmbase_set)(void *owner, uint16_t base, bool enabled);
	void *owner;
};
struct pci_lpc {
	struct device device;
	struct pci_function function;
	struct pci_lpc_wiring wiring;
	struct bus_region rcba;
	bool rcba_shown;
	uint8_t chipset[PCI_LPC_RCBA_SIZE]; /* the chipset configuration registers: storage */
};

/* Register `device`. */
enum status pci_lpc_create(struct pci_lpc **out, struct pci_host *host, const struct pci_lpc_wiring *wiring) must_check;
void pci_lpc_destroy(struct pci_lpc *lpc);

#endif
