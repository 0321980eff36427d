/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pci_root_port.h - a PCI Express root port with a hot-pluggable slot, and the bus behind it.
 */
#ifndef HOLON_PCI_ROOT_PORT_H
#define HOLON_PCI_ROOT_PORT_H

#include "pci.h"

struct pci_root_port {
	struct device device;
	struct pci_function function;
	struct pci_bus bus;  /* where the slot's function goes: devfn 0 (and its other functions) */
	uint8_t port_number; /* also the physical slot number */
};

/* Register `device`, with instance = port_number. pin: 1..4, INTA..INTD. port_number 1..255, unique. */
enum status pci_root_port_create(struct pci_root_port **out, struct pci_bus *root, uint8_t devfn, uint8_t port_number,
				 uint8_t pin) must_check;
void pci_root_port_destroy(struct pci_root_port *port);

#endif
