/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pci_function.c - a function's config space: how it is built, what a guest's write changes, reset and load.
 *
 * A register is its contents plus two masks: bits that the guest may set, bits that it clears by writing 1. What
 * follows from a write (BARs moving, INTx masked, MSI-X on) is recomputed from the contents, never tracked apart.
 */
#include "pci_internal.h"

#define PCI_POWER_CONTROL 4 /* PMCSR's place in the capability */
#define PCI_POWER_STATE 0x3u

void pci_function_init(struct pci_function *function, const char *name, const struct pci_identity *identity, void *owner)
{
	uint8_t *config = function->config;

	function->name = name;
	function->owner = owner;
	function->capability_free = 0x40;
	pci_bytes_set(config, PCI_VENDOR_ID, 2, identity->vendor);
	pci_bytes_set(config, PCI_DEVICE_ID, 2, identity->device);
	config[PCI_REVISION_ID] = identity->revision;
	pci_bytes_set(config, PCI_CLASS, 3, identity->class_code);
	pci_bytes_set(config, PCI_SUBSYSTEM_VENDOR_ID, 2, identity->subsystem_vendor);
	pci_bytes_set(config, PCI_SUBSYSTEM_ID, 2, identity->subsystem);
	config[PCI_INTERRUPT_PIN] = identity->interrupt_pin;
	pci_bytes_set(function->writable, PCI_COMMAND, 2,
		      PCI_COMMAND_MASTER | (identity->interrupt_pin ? PCI_COMMAND_INTX_DISABLE : 0));
	function->writable[PCI_CACHE_LINE_SIZE] = 0xff;
	function->writable[PCI_INTERRUPT_LINE] = identity->interrupt_pin ? 0xff : 0;
}

unsigned pci_capability_add(struct pci_function *function, uint8_t id, unsigned length)
{
	unsigned place = function->capability_free;

	bug_on(place + length > PCI_CONFIG_SIZE);
	function->config[place] = id;
	if (function->capability_last)
		function->config[function->capability_last + 1] = (uint8_t)place;
	else
		function->config[PCI_CAPABILITY_POINTER] = (uint8_t)place;
	function->config[PCI_STATUS] |= PCI_STATUS_CAPABILITIES;
	function->capability_last = (uint8_t)place;
	function->capability_free = (uint8_t)((place + length + 3) & ~3u);
	return place;
}

/* PCI Bus Power Management 1.2: D0 and D3hot, no PME, registers survive D3hot. */
void pci_power_add(struct pci_function *function)
{
	unsigned place = pci_capability_add(function, PCI_CAPABILITY_POWER, 8);

	function->power = (uint8_t)place;
	pci_bytes_set(function->config, place + 2, 2, 0x0003);                 /* version 3 */
	pci_bytes_set(function->config, place + PCI_POWER_CONTROL, 2, 0x0008); /* No_Soft_Reset */
	pci_bytes_set(function->writable, place + PCI_POWER_CONTROL, 2, PCI_POWER_STATE);
}

/* PCI Express 7.5.3, version 2: a 2.5 GT/s x1 link, or none at all when integrated into the root complex. */
void pci_express_endpoint_add(struct pci_function *function, bool integrated)
{
	unsigned place = pci_capability_add(function, PCI_CAPABILITY_EXPRESS, 0x3c);

	function->express = (uint8_t)place;
	pci_bytes_set(function->config, place + 0x02, 2, integrated ? 0x0092 : 0x0002);
	pci_bytes_set(function->config, place + 0x04, 4, 0x00008000); /* Device Capabilities: role-based error reporting */
	pci_bytes_set(function->writable, place + 0x08, 2, 0x70ff);
	pci_bytes_set(function->config, place + 0x08, 2, 0x2010); /* Device Control: 512 byte reads, relaxed ordering */
	if (!integrated) {
		pci_bytes_set(function->config, place + 0x0c, 4, 0x00000011);
		pci_bytes_set(function->config, place + 0x12, 2, 0x0011);
		pci_bytes_set(function->writable, place + 0x10, 2, 0x00c0);
	}
}

static struct pci_function *pci_slot_find(const struct pci_bus *bus, uint8_t devfn)
{
	struct pci_function *function = bus->first;

	while (function && function->devfn != devfn)
		function = function->next;
	return function;
}

/* Function 0 says whether scanning for others is worth while. */
static void pci_multifunction_update(struct pci_bus *bus, unsigned device)
{
	struct pci_function *first = pci_slot_find(bus, PCI_DEVFN(device, 0));
	bool others = false;

	for (unsigned i = 1; i < 8; i++)
		others = others || pci_slot_find(bus, PCI_DEVFN(device, i));
	if (!first)
		return;
	first->config[PCI_HEADER_TYPE] &= (uint8_t)~PCI_HEADER_MULTIFUNCTION;
	if (others)
		first->config[PCI_HEADER_TYPE] |= PCI_HEADER_MULTIFUNCTION;
	first->reset[PCI_HEADER_TYPE] = first->config[PCI_HEADER_TYPE];
}

enum status pci_function_add(struct pci_bus *bus, uint8_t devfn, struct pci_function *function)
{
	struct pci_function **place = &bus->first;
	enum status status = STATUS_BUSY;

	host_mutex_lock(&bus->host->lock);
	if (pci_slot_find(bus, devfn))
		goto out;
	while (*place && (*place)->devfn < devfn)
		place = &(*place)->next;
	function->bus = bus;
	function->devfn = devfn;
	function->next = *place;
	*place = function;
	__builtin_memcpy(function->reset, function->config, PCI_CONFIG_SIZE);
	pci_multifunction_update(bus, devfn >> 3);
	if (bus->bridge)
		pci_root_port_presence_set(bus->bridge, true);
	status = STATUS_OK;
out:
	host_mutex_unlock(&bus->host->lock);
	return status;
}

void pci_function_remove(struct pci_function *function)
{
	struct pci_bus *bus = function->bus;

	if (!bus)
		return;
	host_mutex_lock(&bus->host->lock);
	pci_function_reset_locked(function);
	for (struct pci_function **place = &bus->first; *place; place = &(*place)->next) {
		if (*place == function) {
			*place = function->next;
			break;
		}
	}
	pci_multifunction_update(bus, function->devfn >> 3);
	if (bus->bridge && !bus->first)
		pci_root_port_presence_set(bus->bridge, false);
	function->bus = NULL;
	host_mutex_unlock(&bus->host->lock);
}

uint64_t pci_function_read(struct pci_function *function, unsigned offset, unsigned size)
{
	uint64_t value = 0;

	if (function->config_reading)
		function->config_reading(function, offset, size);
	for (unsigned i = 0; i < size; i++) {
		uint8_t byte = function->config[offset + i];

		if (offset + i == PCI_STATUS && __atomic_load_n(&function->intx_level, __ATOMIC_RELAXED))
			byte |= PCI_STATUS_INTERRUPT;
		value |= (uint64_t)byte << (8 * i);
	}
	return value;
}

void pci_function_refresh(struct pci_function *function)
{
	function->master = pci_config_word(function, PCI_COMMAND) & PCI_COMMAND_MASTER;
	pci_intx_refresh(function);
	if (function->msix)
		pci_msix_refresh(function);
	pci_decode_update(function->bus->host);
}

/* PMCSR takes D0 and D3hot; a write of an unsupported state leaves the state as it is (PCI PM 1.2, 3.2.4). */
static void pci_power_check(struct pci_function *function, uint8_t before)
{
	uint8_t *control = &function->config[function->power + PCI_POWER_CONTROL];
	uint8_t state = *control & PCI_POWER_STATE;

	if (state == 1 || state == 2)
		*control = before;
}

static void pci_secondary_reset(struct pci_function *bridge)
{
	for (struct pci_function *function = bridge->secondary->first; function; function = function->next) {
		pci_function_reset_locked(function);
		if (function->bus_reset)
			function->bus_reset(function);
	}
}

void pci_function_write(struct pci_function *function, unsigned offset, unsigned size, uint64_t value)
{
	uint8_t power = function->power ? function->config[function->power + PCI_POWER_CONTROL] : 0;
	bool was_reset = function->secondary && pci_config_word(function, PCI_BRIDGE_CONTROL) & PCI_BRIDGE_CONTROL_RESET;
	bool changed = false;

	for (unsigned i = 0; i < size; i++) {
		uint8_t *byte = &function->config[offset + i];
		uint8_t written = (uint8_t)(value >> (8 * i)), mask = function->writable[offset + i];
		uint8_t after = (uint8_t)((*byte & ~mask) | (written & mask));

		after &= (uint8_t) ~(written & function->clearable[offset + i]);
		changed = changed || after != *byte;
		*byte = after;
	}
	if (function->power)
		pci_power_check(function, power);
	function->loading = false; /* a guest writes, so it runs */
	if (changed)
		pci_function_refresh(function);
	if (!was_reset && function->secondary && pci_config_word(function, PCI_BRIDGE_CONTROL) & PCI_BRIDGE_CONTROL_RESET)
		pci_secondary_reset(function);
	if (function->config_written)
		function->config_written(function, offset, size);
}

void pci_function_reset_locked(struct pci_function *function)
{
	struct pci_host *host = function->bus->host;

	__builtin_memcpy(function->config, function->reset, PCI_CONFIG_SIZE);
	function->loading = false;
	if (function->msix)
		pci_msix_reset(function->msix);
	host_mutex_lock(&host->intx_lock);
	__atomic_store_n(&function->intx_level, 0, __ATOMIC_RELAXED);
	host_mutex_unlock(&host->intx_lock);
	pci_function_refresh(function);
}

void pci_function_reset(struct pci_function *function)
{
	struct pci_host *host = function->bus->host;

	host_mutex_lock(&host->lock);
	pci_function_reset_locked(function);
	host_mutex_unlock(&host->lock);
}

enum status pci_function_loaded(struct pci_function *function, struct reason *why)
{
	struct pci_host *host = function->bus->host;
	enum status status = STATUS_OK;

	host_mutex_lock(&host->lock);
	for (unsigned i = 0; i < PCI_CONFIG_SIZE; i++) {
		uint8_t fixed = (uint8_t) ~(function->writable[i] | function->clearable[i]);

		if ((function->config[i] ^ function->reset[i]) & fixed)
			status = reason_give(why, STATUS_INVALID, "%s: saved PCI register 0x%02x is not this device's",
					     function->name, i);
	}
	if (function->intx_level > 1 || (function->intx_level && !function->config[PCI_INTERRUPT_PIN]))
		status = reason_give(why, STATUS_INVALID, "%s: saved INTx level is impossible", function->name);
	if (function->msix && !pci_msix_plausible(function->msix))
		status = reason_give(why, STATUS_INVALID, "%s: saved MSI-X table is impossible", function->name);
	if (status == STATUS_OK) {
		pci_decode_load(function);
		pci_function_refresh(function);
	} else {
		pci_function_reset_locked(function);
	}
	host_mutex_unlock(&host->lock);
	return status;
}
