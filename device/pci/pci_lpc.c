/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pci_lpc.c - the ICH9 LPC bridge at 00:1f.0, for firmware and systems that know a Q35 by it.
 *
 * What has an effect: PMBASE and ACPI_CNTL (the board's ACPI registers follow), PIRQA-H_ROUT (INTx at the PIC), RCBA (shows
 * the chipset configuration registers, which are storage). The decode and power registers keep what is written.
 */
#include "pci_lpc.h"
#include "pci_internal.h"

#define LPC_PMBASE 0x40
#define LPC_PMBASE_ADDRESS 0xff80
#define LPC_ACPI_CNTL 0x44
#define LPC_ACPI_ENABLE 0x80
#define LPC_PIRQA_ROUT 0x60 /* to D; E to H at 0x68 */
#define LPC_PIRQE_ROUT 0x68
#define LPC_RCBA 0xf0
#define LPC_RCBA_ADDRESS 0xffffc000u
#define LPC_RCBA_ENABLE 1u

static void lpc_rcba_update(struct pci_lpc *lpc)
{
	struct bus *mmio = lpc->function.bus->host->wiring.mmio;
	uint32_t value = pci_config_long(&lpc->function, LPC_RCBA);
	uint64_t base = value & LPC_RCBA_ADDRESS;

	if (lpc->rcba_shown && (!(value & LPC_RCBA_ENABLE) || base != lpc->rcba.base)) {
		bus_disable(mmio, &lpc->rcba);
		lpc->rcba_shown = false;
	}
	if (value & LPC_RCBA_ENABLE && !lpc->rcba_shown) {
		__atomic_store_n(&lpc->rcba.base, base, __ATOMIC_RELAXED);
		lpc->rcba_shown = bus_enable(mmio, &lpc->rcba) == STATUS_OK;
	}
}

static uint8_t *lpc_route(struct pci_lpc *lpc, unsigned pirq)
{
	return &lpc->function.config[pirq < 4 ? LPC_PIRQA_ROUT + pirq : LPC_PIRQE_ROUT + pirq - 4];
}

/* Makes the machine agree with the registers. Under pci_host.lock. */
static void lpc_update(struct pci_lpc *lpc)
{
	uint16_t pmbase = pci_config_word(&lpc->function, LPC_PMBASE) & LPC_PMBASE_ADDRESS;

	for (unsigned pirq = 0; pirq < PCI_PIRQS; pirq++)
		pci_intx_route_set(lpc->function.bus->host, pirq, *lpc_route(lpc, pirq));
	if (lpc->wiring.pmbase_set)
		lpc->wiring.pmbase_set(lpc->wiring.owner, pmbase, lpc->function.config[LPC_ACPI_CNTL] & LPC_ACPI_ENABLE);
	lpc_rcba_update(lpc);
}

static void lpc_written(struct pci_function *function, unsigned offset, unsigned size)
{
	(void)size;
	if (offset >= 0x40)
		lpc_update(function->owner);
}

static uint64_t rcba_read(void *device, uint64_t offset, unsigned size)
{
	const struct pci_lpc *lpc = device;
	uint64_t value = 0;

	__builtin_memcpy(&value, &lpc->chipset[offset], size);
	return value;
}

static void rcba_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct pci_lpc *lpc = device;

	__builtin_memcpy(&lpc->chipset[offset], &value, size);
}

static void lpc_reset(void *object)
{
	struct pci_lpc *lpc = object;
	struct pci_host *host = lpc->function.bus->host;

	host_mutex_lock(&host->lock);
	pci_function_reset_locked(&lpc->function);
	__builtin_memset(lpc->chipset, 0, sizeof(lpc->chipset));
	lpc_update(lpc);
	host_mutex_unlock(&host->lock);
}

static enum status lpc_loaded(void *object, uint32_t version, struct reason *why)
{
	struct pci_lpc *lpc = object;
	struct pci_host *host = lpc->function.bus->host;
	enum status status = pci_function_loaded(&lpc->function, why);

	(void)version;
	host_mutex_lock(&host->lock);
	lpc_update(lpc);
	host_mutex_unlock(&host->lock);
	return status;
}

static const struct state_field lpc_fields[] = {
	PCI_FUNCTION_STATE(struct pci_lpc, function),
	STATE_BLOB(struct pci_lpc, chipset),
};
static const struct state_table lpc_state = {
	.name = "pci_lpc",
	.version = 1,
	STATE_TABLE_FIELDS(lpc_fields),
	.after_load = lpc_loaded,
};

/* ICH9 13.1: place, reset value and writable bits of the registers from 0x40 on. PMBASE and ACPI_CNTL start as the board says. */
static const struct {
	uint8_t offset, size;
	uint32_t value, writable;
} lpc_register[] = {
	{LPC_PMBASE, 4, 1, LPC_PMBASE_ADDRESS},
	{LPC_ACPI_CNTL, 1, LPC_ACPI_ENABLE, 0x87},
	{0x48, 4, 1, 0xff80}, /* GPIOBASE */
	{0x4c, 1, 0, 0x11},   /* GC: GPIO control */
	{LPC_PIRQA_ROUT, 4, 0x80808080, 0x8f8f8f8f},
	{0x64, 1, 0x10, 0xff}, /* SIRQ_CNTL */
	{LPC_PIRQE_ROUT, 4, 0x80808080, 0x8f8f8f8f},
	{0x80, 2, 0, 0x1377}, /* LPC_I/O_DEC */
	{0x82, 2, 0, 0x3f0f}, /* LPC_EN */
	{0x84, 4, 0, 0x00fcfffd},
	{0x88, 4, 0, 0x00fcfffd},
	{0x8c, 4, 0, 0x00fcfffd},
	{0x90, 4, 0, 0x00fcfffd},          /* GENx_DEC */
	{0xa0, 2, 0, 0x17ff},              /* GEN_PMCON_1: SMI_LOCK, SMI periods; nothing here raises SMI */
	{0xa2, 1, 0, 0x81},                /* GEN_PMCON_2 */
	{0xa4, 1, 0, 0xff},                /* GEN_PMCON_3 */
	{0xd0, 4, 0x00112233, 0xffffffff}, /* FWH_SEL1 */
	{0xd4, 2, 0x4567, 0xffff},         /* FWH_SEL2 */
	{0xd8, 2, 0xffcf, 0xffff},         /* FWH_DEC_EN1 */
	{0xdc, 1, 0, 0x1f},                /* BIOS_CNTL */
	{LPC_RCBA, 4, 0, LPC_RCBA_ADDRESS | LPC_RCBA_ENABLE},
};

enum status pci_lpc_create(struct pci_lpc **out, struct pci_host *host, const struct pci_lpc_wiring *wiring)
{
	static const struct pci_identity identity = {.vendor = 0x8086, .device = 0x2918, .class_code = 0x060100, .revision = 2};
	struct pci_lpc *lpc = host_allocate(sizeof(*lpc));
	struct pci_function *function;
	enum status status;

	*out = NULL;
	if (!lpc)
		return STATUS_NO_MEMORY;
	function = &lpc->function;
	lpc->wiring = *wiring;
	lpc->device = (struct device){.name = "pci_lpc", .state = &lpc_state, .reset = lpc_reset, .object = lpc};
	pci_function_init(function, "lpc", &identity, lpc);
	for (unsigned i = 0; i < sizeof(lpc_register) / sizeof(lpc_register[0]); i++) {
		pci_bytes_set(function->config, lpc_register[i].offset, lpc_register[i].size, lpc_register[i].value);
		pci_bytes_set(function->writable, lpc_register[i].offset, lpc_register[i].size, lpc_register[i].writable);
	}
	/* It decodes the ISA ports and memory for ever: hardwired (ICH9 13.1.3). */
	function->config[PCI_COMMAND] = PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	function->writable[PCI_COMMAND] = 0;
	pci_bytes_set(function->config, LPC_PMBASE, 2, wiring->pmbase | 1u);
	function->config_written = lpc_written;
	lpc->rcba = (struct bus_region){.name = "rcba",
					.length = PCI_LPC_RCBA_SIZE,
					.lock = &host->lock,
					.read = rcba_read,
					.write = rcba_write,
					.device = lpc};
	status = pci_function_add(&host->root, PCI_DEVFN(0x1f, 0), function);
	if (status != STATUS_OK) {
		host_free(lpc, sizeof(*lpc));
		return status;
	}
	*out = lpc;
	return STATUS_OK;
}

void pci_lpc_destroy(struct pci_lpc *lpc)
{
	bus_disable(lpc->function.bus->host->wiring.mmio, &lpc->rcba);
	pci_function_remove(&lpc->function);
	host_free(lpc, sizeof(*lpc));
}
