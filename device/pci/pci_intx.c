/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pci_intx.c - interrupt pins: from a function through the bridges to a PIRQ, and from there to the IOAPIC and the PIC.
 *
 * INTx is level-triggered and shared: a PIRQ is high while any function that is routed to it asserts. PIRQ n always drives GSI
 * gsi[n] (16 and up, IOAPIC), and the ISA IRQ that the LPC bridge's PIRQn_ROUT names while that is enabled (PIC).
 */
#include "pci_internal.h"

#define PIRQ_ROUTE_OFF 0x80
#define PIRQ_ROUTE_IRQ 0x0f

/* Every bridge rotates the pins of the devices behind it (PCI-to-PCI Bridge 1.2, 9.1). */
static unsigned pci_pirq_find(const struct pci_function *function)
{
	unsigned pin = function->config[PCI_INTERRUPT_PIN] - 1u;

	while (function->bus->bridge) {
		pin = (pin + (function->devfn >> 3)) & 3;
		function = function->bus->bridge;
	}
	return function->bus->host->wiring.pirq[function->devfn >> 3][pin & 3] & (PCI_PIRQS - 1);
}

/* IRQs that PIRQs cannot be routed to: the timer, keyboard, cascade, RTC and FPU lines (ICH9 13.1.17). */
static bool pirq_isa_allowed(unsigned irq)
{
	return !(1u << irq & (1u << 0 | 1u << 1 | 1u << 2 | 1u << 8 | 1u << 13));
}

static void pirq_isa_update_locked(struct pci_host *host)
{
	bool level[16] = {false};

	for (unsigned pirq = 0; pirq < PCI_PIRQS; pirq++) {
		uint8_t route = host->pirq_route[pirq];

		if (!(route & PIRQ_ROUTE_OFF) && host->pirq_sources[pirq])
			level[route & PIRQ_ROUTE_IRQ] = pirq_isa_allowed(route & PIRQ_ROUTE_IRQ);
	}
	for (unsigned irq = 0; irq < 16; irq++) {
		if (level[irq] != host->isa_level[irq]) {
			host->isa_level[irq] = level[irq];
			irq_line_set(host->wiring.irq, irq, level[irq]);
		}
	}
}

static void pci_intx_refresh_locked(struct pci_function *function)
{
	struct pci_host *host = function->bus->host;
	bool shown = function->intx_level && !function->intx_disabled;
	unsigned pirq;

	if (shown == function->intx_counted)
		return;
	pirq = pci_pirq_find(function);
	function->intx_counted = shown;
	host->pirq_sources[pirq] += shown ? 1 : -1u;
	if (host->pirq_sources[pirq] == shown) { /* the first to come or the last to go */
		irq_line_set(host->wiring.irq, host->wiring.gsi[pirq], shown);
		pirq_isa_update_locked(host);
	}
}

void pci_intx_refresh(struct pci_function *function)
{
	struct pci_host *host = function->bus->host;

	host_mutex_lock(&host->intx_lock);
	function->intx_disabled = (pci_config_word(function, PCI_COMMAND) & PCI_COMMAND_INTX_DISABLE) != 0;
	pci_intx_refresh_locked(function);
	host_mutex_unlock(&host->intx_lock);
}

void pci_intx_set(struct pci_function *function, bool level)
{
	struct pci_host *host = function->bus->host;

	host_mutex_lock(&host->intx_lock);
	__atomic_store_n(&function->intx_level, level, __ATOMIC_RELAXED);
	pci_intx_refresh_locked(function);
	host_mutex_unlock(&host->intx_lock);
}

void pci_intx_route_set(struct pci_host *host, unsigned pirq, uint8_t route)
{
	host_mutex_lock(&host->intx_lock);
	host->pirq_route[pirq] = route;
	pirq_isa_update_locked(host);
	host_mutex_unlock(&host->intx_lock);
}
