/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pci_msix.c - MSI-X (PCI Express 6.1.4 and 7.7.2): a table of messages in memory space, masks, pending bits.
 *
 * The guest may write rubbish into the table: a message goes out only to the local APICs' address range, any other is counted and dropped,
 * for here a message is an interrupt and never a write to memory.
 */
#include "pci_internal.h"

#define MSIX_BAR_SIZE 0x1000
#define MSIX_PBA 0x800
#define MSIX_ENTRY 16
#define MSIX_VECTOR_MASKED 1u
#define MSIX_CONTROL 2 /* Message Control's place in the capability */
#define MSIX_CONTROL_MASK 0x4000
#define MSIX_CONTROL_ENABLE 0x8000
#define MSI_ADDRESS_RANGE UINT64_C(0xfee00000) /* SDM vol. 3, 11.11.1 */

static void msix_send_locked(struct pci_msix *msix, unsigned vector)
{
	const struct pci_msix_vector *entry = &msix->vector[vector];

	msix->pending &= ~(UINT64_C(1) << vector);
	if ((entry->address & ~UINT64_C(0xfffff)) == MSI_ADDRESS_RANGE)
		irq_msi(msix->irq, entry->address, entry->data);
	else
		msix->stray++;
}

static bool msix_vector_open_locked(const struct pci_msix *msix, unsigned vector)
{
	return msix->enabled && msix->master && !msix->masked && !(msix->vector[vector].control & MSIX_VECTOR_MASKED);
}

static void msix_flush_locked(struct pci_msix *msix)
{
	for (unsigned i = 0; i < msix->vectors; i++) {
		if (msix->pending & UINT64_C(1) << i && msix_vector_open_locked(msix, i))
			msix_send_locked(msix, i);
	}
}

bool pci_msix_raise(struct pci_msix *msix, unsigned vector)
{
	bool enabled;

	host_mutex_lock(&msix->lock);
	enabled = msix->enabled;
	if (enabled && vector < msix->vectors) {
		if (msix_vector_open_locked(msix, vector))
			msix_send_locked(msix, vector);
		else
			msix->pending |= UINT64_C(1) << vector;
	}
	host_mutex_unlock(&msix->lock);
	return enabled;
}

void pci_msix_refresh(struct pci_function *function)
{
	struct pci_msix *msix = function->msix;
	uint16_t control = pci_config_word(function, function->msix_place + MSIX_CONTROL);

	host_mutex_lock(&msix->lock);
	msix->enabled = control & MSIX_CONTROL_ENABLE;
	msix->masked = control & MSIX_CONTROL_MASK;
	msix->master = pci_config_word(function, PCI_COMMAND) & PCI_COMMAND_MASTER;
	msix_flush_locked(msix);
	host_mutex_unlock(&msix->lock);
}

void pci_msix_reset(struct pci_msix *msix)
{
	host_mutex_lock(&msix->lock);
	msix->pending = 0;
	for (unsigned i = 0; i < msix->vectors; i++)
		msix->vector[i] = (struct pci_msix_vector){.control = MSIX_VECTOR_MASKED};
	host_mutex_unlock(&msix->lock);
}

bool pci_msix_plausible(const struct pci_msix *msix)
{
	if (msix->pending >> msix->vectors)
		return false;
	for (unsigned i = 0; i < msix->vectors; i++) {
		if (msix->vector[i].address & 3 || msix->vector[i].control & ~MSIX_VECTOR_MASKED)
			return false;
	}
	return true;
}

static uint32_t msix_long_read(const struct pci_msix *msix, uint64_t offset)
{
	const struct pci_msix_vector *entry;

	if (offset >= MSIX_PBA)
		return offset - MSIX_PBA < 8 ? (uint32_t)(msix->pending >> (8 * (offset - MSIX_PBA))) : 0;
	if (offset / MSIX_ENTRY >= msix->vectors)
		return 0;
	entry = &msix->vector[offset / MSIX_ENTRY];
	switch (offset % MSIX_ENTRY) {
	case 0: return (uint32_t)entry->address;
	case 4: return (uint32_t)(entry->address >> 32);
	case 8: return entry->data;
	default: return entry->control;
	}
}

static uint64_t msix_read(void *device, uint64_t offset, unsigned size)
{
	const struct pci_msix *msix = device;
	uint64_t value = msix_long_read(msix, offset & ~UINT64_C(3));

	if (size == 8)
		return value | (uint64_t)msix_long_read(msix, (offset & ~UINT64_C(3)) + 4) << 32;
	return value >> (8 * (offset & 3));
}

static void msix_long_write(struct pci_msix *msix, uint64_t offset, uint32_t value)
{
	struct pci_msix_vector *entry;

	if (offset / MSIX_ENTRY >= msix->vectors)
		return;
	entry = &msix->vector[offset / MSIX_ENTRY];
	switch (offset % MSIX_ENTRY) {
	case 0: entry->address = (entry->address & ~UINT64_C(0xffffffff)) | (value & ~3u); break;
	case 4: entry->address = (entry->address & 0xffffffff) | (uint64_t)value << 32; break;
	case 8: entry->data = value; break;
	default: entry->control = value & MSIX_VECTOR_MASKED; break;
	}
}

/* Only whole aligned DWORDs and QWORDs are defined (7.7.2.2); other writes do nothing, like those to the pending bits. */
static void msix_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct pci_msix *msix = device;

	if (size < 4 || offset & (size - 1) || offset >= MSIX_PBA)
		return;
	msix_long_write(msix, offset, (uint32_t)value);
	if (size == 8)
		msix_long_write(msix, offset + 4, (uint32_t)(value >> 32));
	msix_flush_locked(msix);
}

void pci_msix_add(struct pci_function *function, struct pci_msix *msix, unsigned vectors, unsigned bar, struct irq *irq)
{
	struct bus_region *region = &function->bar[bar].region;
	unsigned place = pci_capability_add(function, PCI_CAPABILITY_MSIX, 12);

	bug_on(vectors == 0 || vectors > PCI_MSIX_VECTORS);
	msix->function = function;
	msix->irq = irq;
	msix->vectors = vectors;
	pci_msix_reset(msix);
	function->msix = msix;
	function->msix_place = (uint8_t)place;
	pci_bytes_set(function->config, place + MSIX_CONTROL, 2, vectors - 1);
	pci_bytes_set(function->writable, place + MSIX_CONTROL, 2, MSIX_CONTROL_MASK | MSIX_CONTROL_ENABLE);
	pci_bytes_set(function->config, place + 4, 4, bar);
	pci_bytes_set(function->config, place + 8, 4, MSIX_PBA | bar);
	region->name = "msix";
	region->lock = &msix->lock;
	region->read = msix_read;
	region->write = msix_write;
	region->device = msix;
	pci_bar_add(function, bar, PCI_BAR_MEMORY32, MSIX_BAR_SIZE, false);
}
