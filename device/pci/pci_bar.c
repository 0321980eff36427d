/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pci_bar.c - base address registers: which parts of the address space a function answers to at this moment.
 *
 * A BAR is decoded while COMMAND enables its space, the function is in D0, its address is one that can be decoded,
 * every bridge above forwards it, and no other region is there. A guest may put BARs over one another: the first keeps
 * the place, the other is not decoded until one of them moves away (the hardware would let both answer).
 */
#include "pci_internal.h"

#define PCI_ADDRESS_END (UINT64_C(1) << 52) /* no guest has more physical address bits */
#define PCI_BAR_IO_SPACE 0x1u
#define PCI_BAR_64 0x4u
#define PCI_BAR_PREFETCHABLE 0x8u

void pci_bar_add(struct pci_function *function, unsigned index, enum pci_bar_kind kind, uint64_t length, bool prefetchable)
{
	struct pci_bar *bar = &function->bar[index];
	unsigned place = PCI_BAR0 + 4 * index;
	uint64_t mask = ~(length - 1);
	uint32_t flags = kind == PCI_BAR_IO ? PCI_BAR_IO_SPACE : (kind == PCI_BAR_MEMORY64 ? PCI_BAR_64 : 0);

	bug_on(length & (length - 1) || length < (kind == PCI_BAR_IO ? 4 : 16));
	bug_on(index + (kind == PCI_BAR_MEMORY64) >= PCI_BARS);
	bar->kind = kind;
	bar->prefetchable = prefetchable;
	bar->region.length = length;
	if (prefetchable)
		flags |= PCI_BAR_PREFETCHABLE;
	pci_bytes_set(function->config, place, 4, flags);
	/* The upper half of an I/O BAR is hardwired to 0: ports are 16 bits. */
	pci_bytes_set(function->writable, place, 4, kind == PCI_BAR_IO ? mask & 0xffff : mask);
	if (kind == PCI_BAR_MEMORY64)
		pci_bytes_set(function->writable, place + 4, 4, mask >> 32);
	function->writable[PCI_COMMAND] |= kind == PCI_BAR_IO ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;
}

static uint64_t pci_bar_address(const struct pci_function *function, unsigned index)
{
	const struct pci_bar *bar = &function->bar[index];
	unsigned place = PCI_BAR0 + 4 * index;
	uint64_t address = pci_config_long(function, place);

	if (bar->kind == PCI_BAR_IO)
		return address & ~UINT64_C(3);
	if (bar->kind == PCI_BAR_MEMORY64)
		address |= (uint64_t)pci_config_long(function, place + 4) << 32;
	return address & ~UINT64_C(15);
}

/* Does the bridge pass [base, base + length) down (PCI-to-PCI Bridge 1.2, 3.2.5.8 and 3.2.5.9)? It has no I/O window. */
static bool pci_bridge_forwards(const struct pci_function *bridge, uint64_t base, uint64_t length)
{
	uint64_t first = (uint64_t)(pci_config_word(bridge, PCI_MEMORY_BASE) & 0xfff0) << 16;
	uint64_t last = (uint64_t)(pci_config_word(bridge, PCI_MEMORY_LIMIT) & 0xfff0) << 16 | 0xfffff;

	if (!(pci_config_word(bridge, PCI_COMMAND) & PCI_COMMAND_MEMORY))
		return false;
	if (base >= first && base + length - 1 <= last)
		return true;
	first = (uint64_t)(pci_config_word(bridge, PCI_PREFETCH_BASE) & 0xfff0) << 16 |
		(uint64_t)pci_config_long(bridge, PCI_PREFETCH_BASE_UPPER) << 32;
	last = (uint64_t)(pci_config_word(bridge, PCI_PREFETCH_LIMIT) & 0xfff0) << 16 | 0xfffff |
	       (uint64_t)pci_config_long(bridge, PCI_PREFETCH_LIMIT_UPPER) << 32;
	return base >= first && base + length - 1 <= last;
}

static bool pci_bar_wanted(const struct pci_function *function, unsigned index, uint64_t base)
{
	const struct pci_bar *bar = &function->bar[index];
	uint16_t enable = bar->kind == PCI_BAR_IO ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;
	uint64_t end = bar->kind == PCI_BAR_IO ? 0x10000 : PCI_ADDRESS_END;

	if (bar->kind == PCI_BAR_NONE || !(pci_config_word(function, PCI_COMMAND) & enable))
		return false;
	if (function->power && function->config[function->power + 4] & 3)
		return false;
	if (base == 0 || base >= end || bar->region.length > end - base)
		return false;
	for (const struct pci_function *bridge = function->bus->bridge; bridge; bridge = bridge->bus->bridge) {
		if (bar->kind == PCI_BAR_IO || !pci_bridge_forwards(bridge, base, bar->region.length))
			return false;
	}
	return true;
}

static struct bus *pci_bar_bus(const struct pci_host *host, const struct pci_bar *bar)
{
	return bar->kind == PCI_BAR_IO ? host->wiring.ports : host->wiring.mmio;
}

static void pci_function_leave(struct pci_host *host, struct pci_function *function)
{
	for (unsigned i = 0; i < PCI_BARS; i++) {
		struct pci_bar *bar = &function->bar[i];
		uint64_t base = pci_bar_address(function, i);

		if (bar->decoded && (!pci_bar_wanted(function, i, base) || base != bar->region.base)) {
			bus_disable(pci_bar_bus(host, bar), &bar->region);
			bar->decoded = false;
		}
		if (!function->loading)
			function->decoded = (uint8_t)((function->decoded & ~(1u << i)) | bar->decoded << i);
	}
}

static void pci_function_enter(struct pci_host *host, struct pci_function *function)
{
	for (unsigned i = 0; i < PCI_BARS; i++) {
		struct pci_bar *bar = &function->bar[i];
		uint64_t base = pci_bar_address(function, i);

		if (bar->decoded || !pci_bar_wanted(function, i, base) || (function->loading && !(function->decoded >> i & 1)))
			continue;
		__atomic_store_n(&bar->region.base, base, __ATOMIC_RELAXED); /* lookups may still look */
		bar->decoded = bus_enable(pci_bar_bus(host, bar), &bar->region) == STATUS_OK;
		function->decoded |= (uint8_t)(bar->decoded << i);
	}
}

static void pci_bus_each(struct pci_bus *bus, void (*visit)(struct pci_host *host, struct pci_function *function))
{
	for (struct pci_function *function = bus->first; function; function = function->next) {
		visit(bus->host, function);
		if (function->secondary)
			pci_bus_each(function->secondary, visit);
	}
}

/* What could not be had is not claimed either, so that the state saves as it was loaded. */
void pci_decode_load(struct pci_function *function)
{
	function->loading = true;
	pci_decode_update(function->bus->host);
	function->decoded = 0;
	for (unsigned i = 0; i < PCI_BARS; i++)
		function->decoded |= (uint8_t)(function->bar[i].decoded << i);
}

static void pci_function_settle(struct pci_host *host, struct pci_function *function)
{
	(void)host;
	function->loading = false;
}

void pci_decode_settle(struct pci_host *host)
{
	pci_bus_each(&host->root, pci_function_settle);
	pci_decode_update(host);
}

void pci_decode_update(struct pci_host *host)
{
	pci_bus_each(&host->root, pci_function_leave);
	pci_bus_each(&host->root, pci_function_enter);
}
