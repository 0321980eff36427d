/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pci_host.c - the host bridge: config cycles from ports and ECAM to functions, and the MCH itself (8086:29c0).
 *
 * Both ways end in pci_config_read and pci_config_write. The MCH's registers are those that firmware for Q35 writes: PCIEXBAR
 * moves the ECAM window; the PAM registers keep what is written (RAM is always shown at 0xc0000-0xfffff on this board).
 */
#include "pci_internal.h"

#define CONFIG_ADDRESS 0xcf8
#define CONFIG_ADDRESS_ENABLE 0x80000000u
#define RST_CNT 1 /* port 0xcf9, in the same region */
#define RST_CNT_CPU 0x04
#define RST_CNT_WRITABLE 0x0e
#define MCH_PCIEXBAR 0x60
#define MCH_PAM0 0x90
#define MCH_PAMS 7
#define MCH_SMRAM 0x9d
#define PCIEXBAR_ENABLE 1u
#define PCIEXBAR_ADDRESS UINT64_C(0x0000000ff0000000) /* bits 35:28; 27:26 join for the smaller lengths */

static struct pci_function *pci_function_find(struct pci_bus *bus, unsigned bus_number, uint8_t devfn, bool local)
{
	for (struct pci_function *function = bus->first; function; function = function->next) {
		if (local && function->devfn == devfn)
			return function;
		if (!local && function->secondary && bus_number >= function->config[PCI_SECONDARY_BUS] &&
		    bus_number <= function->config[PCI_SUBORDINATE_BUS] && function->config[PCI_SECONDARY_BUS] != 0)
			return pci_function_find(function->secondary, bus_number, devfn,
						 bus_number == function->config[PCI_SECONDARY_BUS]);
	}
	return NULL;
}

uint64_t pci_config_read(struct pci_bus *bus, unsigned bus_number, uint8_t devfn, unsigned offset, unsigned size)
{
	struct pci_function *function = pci_function_find(bus, bus_number, devfn, bus_number == 0);

	if (!function)
		return UINT64_MAX;
	if (offset >= PCI_CONFIG_SIZE || size > PCI_CONFIG_SIZE - offset)
		return 0;
	return pci_function_read(function, offset, size);
}

void pci_config_write(struct pci_bus *bus, unsigned bus_number, uint8_t devfn, unsigned offset, unsigned size, uint64_t value)
{
	struct pci_function *function = pci_function_find(bus, bus_number, devfn, bus_number == 0);

	if (function && offset < PCI_CONFIG_SIZE && size <= PCI_CONFIG_SIZE - offset)
		pci_function_write(function, offset, size, value);
}

static uint64_t pci_address_read(void *device, uint64_t offset, unsigned size)
{
	struct pci_host *host = device;

	if (offset == 0 && size == 4)
		return host->config_address;
	return offset == RST_CNT && size == 1 ? host->reset_control : UINT64_MAX;
}

/* CONFIG_ADDRESS takes DWORDs only; a byte at 0xcf9 is the reset control register (ICH9 13.7.5). */
static void pci_address_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct pci_host *host = device;
	uint8_t before = host->reset_control;

	if (offset == 0 && size == 4)
		host->config_address = (uint32_t)value & ~0x7f000003u;
	if (offset != RST_CNT || size != 1)
		return;
	host->reset_control = (uint8_t)value & RST_CNT_WRITABLE;
	if (value & RST_CNT_CPU && !(before & RST_CNT_CPU) && host->wiring.reset)
		host->wiring.reset(host->wiring.owner);
}

static uint64_t pci_data_read(void *device, uint64_t offset, unsigned size)
{
	struct pci_host *host = device;
	uint32_t address = host->config_address;

	if (!(address & CONFIG_ADDRESS_ENABLE))
		return UINT64_MAX;
	return pci_config_read(&host->root, address >> 16 & 0xff, (uint8_t)(address >> 8), (address & 0xfc) + (unsigned)offset,
			       size);
}

static void pci_data_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct pci_host *host = device;
	uint32_t address = host->config_address;

	if (address & CONFIG_ADDRESS_ENABLE)
		pci_config_write(&host->root, address >> 16 & 0xff, (uint8_t)(address >> 8), (address & 0xfc) + (unsigned)offset,
				 size, value);
}

/* PCI Express 7.2.2: bus, device, function and register are address bits. An access may not cross a DWORD: an 8-byte one is two. */
static uint64_t ecam_read(void *device, uint64_t offset, unsigned size)
{
	struct pci_host *host = device;
	unsigned reg = offset & 0xfff;

	if (size == 8)
		return (ecam_read(device, offset, 4) & 0xffffffff) | ecam_read(device, offset + 4, 4) << 32;
	return pci_config_read(&host->root, (unsigned)(offset >> 20), (uint8_t)(offset >> 12), reg, size);
}

static void ecam_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct pci_host *host = device;
	unsigned reg = offset & 0xfff;

	if (size == 8) {
		ecam_write(device, offset, 4, value & 0xffffffff);
		ecam_write(device, offset + 4, 4, value >> 32);
		return;
	}
	pci_config_write(&host->root, (unsigned)(offset >> 20), (uint8_t)(offset >> 12), reg, size, value);
}

/* PCIEXBAR (3 Series MCH 5.1.16): enable, length 256/128/64 MiB, base aligned to the length. */
static void ecam_update(struct pci_host *host)
{
	uint64_t value = pci_config_long(&host->mch, MCH_PCIEXBAR) | (uint64_t)pci_config_long(&host->mch, MCH_PCIEXBAR + 4) << 32;
	unsigned length_code = value >> 1 & 3;
	uint64_t length = UINT64_C(0x10000000) >> length_code;
	uint64_t base = value & ((PCIEXBAR_ADDRESS | 0x0c000000) & ~(length - 1));
	bool wanted = value & PCIEXBAR_ENABLE && length_code != 3;

	if (host->ecam.enabled && (!wanted || host->ecam.base != base || host->ecam.length != length))
		bus_disable(host->wiring.mmio, &host->ecam);
	if (!wanted || host->ecam.enabled)
		return;
	__atomic_store_n(&host->ecam.base, base, __ATOMIC_RELAXED); /* lookups may still look */
	__atomic_store_n(&host->ecam.length, length, __ATOMIC_RELAXED);
	if (bus_enable(host->wiring.mmio, &host->ecam) != STATUS_OK)
		host_log(HOST_LOG_WARN, "pci: the guest moved ECAM to 0x%llx, where something else is", (unsigned long long)base);
}

static void mch_written(struct pci_function *function, unsigned offset, unsigned size)
{
	if (offset < MCH_PCIEXBAR + 8 && offset + size > MCH_PCIEXBAR)
		ecam_update(function->owner);
}

static void mch_create(struct pci_host *host)
{
	static const struct pci_identity identity = {.vendor = 0x8086, .device = 0x29c0, .class_code = 0x060000};
	struct pci_function *mch = &host->mch;

	pci_function_init(mch, "mch", &identity, host);
	mch->writable[PCI_COMMAND] |= PCI_COMMAND_MEMORY; /* firmware sets it; there is nothing to decode */
	pci_bytes_set(mch->config, MCH_PCIEXBAR, 8, host->wiring.ecam_base | PCIEXBAR_ENABLE);
	pci_bytes_set(mch->writable, MCH_PCIEXBAR, 8, PCIEXBAR_ADDRESS | 0x0c000000 | 7);
	mch->writable[MCH_PAM0] = 0x30;
	for (unsigned i = 1; i < MCH_PAMS; i++)
		mch->writable[MCH_PAM0 + i] = 0x33;
	mch->config[MCH_SMRAM] = 0x02; /* C_BASE_SEG; no SMRAM here */
	mch->config_written = mch_written;
}

static void pci_host_reset(void *object)
{
	struct pci_host *host = object;

	host_mutex_lock(&host->lock);
	host->config_address = 0;
	host->reset_control = 0;
	pci_function_reset_locked(&host->mch);
	ecam_update(host);
	host_mutex_unlock(&host->lock);
}

static void pci_host_resume(void *object)
{
	struct pci_host *host = object;

	host_mutex_lock(&host->lock);
	pci_decode_settle(host);
	host_mutex_unlock(&host->lock);
}

static enum status pci_host_loaded(void *object, uint32_t version, struct reason *why)
{
	struct pci_host *host = object;
	enum status status = pci_function_loaded(&host->mch, why);

	(void)version;
	host_mutex_lock(&host->lock);
	host->config_address &= ~0x7f000003u;
	host->reset_control &= RST_CNT_WRITABLE;
	ecam_update(host);
	host_mutex_unlock(&host->lock);
	return status;
}

/* The PIRQs' levels are not here: they are the sum of the functions' intx_level. */
static const struct state_field pci_host_fields[] = {
	STATE_FIELD(struct pci_host, config_address),
	STATE_FIELD(struct pci_host, reset_control),
	PCI_FUNCTION_STATE(struct pci_host, mch),
};
static const struct state_table pci_host_state = {
	.name = "pci_host",
	.version = 1,
	STATE_TABLE_FIELDS(pci_host_fields),
	.after_load = pci_host_loaded,
};

enum status pci_host_create(struct pci_host **out, const struct pci_host_wiring *wiring)
{
	struct pci_host *host = host_allocate(sizeof(*host));
	enum status status;

	*out = NULL;
	if (!host)
		return STATUS_NO_MEMORY;
	host->wiring = *wiring;
	host->root.host = host;
	host->device = (struct device){
		.name = "pci_host", .state = &pci_host_state, .reset = pci_host_reset, .resume = pci_host_resume, .object = host};
	for (unsigned i = 0; i < PCI_PIRQS; i++)
		host->pirq_route[i] = 0x80;
	host->address_region = (struct bus_region){.name = "pci-address",
						   .base = CONFIG_ADDRESS,
						   .length = 4,
						   .lock = &host->lock,
						   .read = pci_address_read,
						   .write = pci_address_write,
						   .device = host,
						   /* A reset may come a little later (RST_CNT). */
						   .posted = 4};
	host->data_region = (struct bus_region){.name = "pci-data",
						.base = CONFIG_ADDRESS + 4,
						.length = 4,
						.lock = &host->lock,
						.read = pci_data_read,
						.write = pci_data_write,
						.device = host};
	host->ecam =
		(struct bus_region){.name = "ecam", .lock = &host->lock, .read = ecam_read, .write = ecam_write, .device = host};
	mch_create(host);
	status = pci_function_add(&host->root, PCI_DEVFN(0, 0), &host->mch);
	if (status == STATUS_OK)
		status = bus_enable(wiring->ports, &host->address_region);
	if (status == STATUS_OK)
		status = bus_enable(wiring->ports, &host->data_region);
	if (status != STATUS_OK) {
		pci_host_destroy(host);
		return status;
	}
	host_mutex_lock(&host->lock);
	ecam_update(host);
	host_mutex_unlock(&host->lock);
	*out = host;
	return STATUS_OK;
}

void pci_host_destroy(struct pci_host *host)
{
	bus_disable(host->wiring.mmio, &host->ecam);
	bus_disable(host->wiring.ports, &host->address_region);
	bus_disable(host->wiring.ports, &host->data_region);
	host_free(host, sizeof(*host));
}
