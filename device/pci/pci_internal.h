/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pci_internal.h - what the files of device/pci ask of one another. All of it under pci_host.lock unless it says otherwise.
 */
#ifndef HOLON_PCI_INTERNAL_H
#define HOLON_PCI_INTERNAL_H

#include "pci.h"

/* pci_function.c: one function's registers; offset + size <= PCI_CONFIG_SIZE. */
uint64_t pci_function_read(struct pci_function *function, unsigned offset, unsigned size);
void pci_function_write(struct pci_function *function, unsigned offset, unsigned size, uint64_t value);
/* Everything that follows from the registers' contents: decoding, INTx, MSI-X. */
void pci_function_refresh(struct pci_function *function);
void pci_function_reset_locked(struct pci_function *function);

/* pci_bar.c: makes what the buses decode agree with every function's BARs, COMMAND and the bridges above. */
void pci_decode_update(struct pci_host *host);
/* The function's state was loaded, `decoded` with it. Settle: every function's was. */
void pci_decode_load(struct pci_function *function);
void pci_decode_settle(struct pci_host *host);

/* pci_intx.c: both take intx_lock. */
void pci_intx_refresh(struct pci_function *function);
void pci_intx_route_set(struct pci_host *host, unsigned pirq, uint8_t route);

/* pci_msix.c: takes the MSI-X lock. */
void pci_msix_refresh(struct pci_function *function);
void pci_msix_reset(struct pci_msix *msix);
/* Could a guest have made this table? After a load; takes no lock. */
bool pci_msix_plausible(const struct pci_msix *msix);

/* pci_root_port.c: the slot behind `bridge` has got or lost its function. */
void pci_root_port_presence_set(struct pci_function *bridge, bool present);

#endif
