/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pci_root_port.c - PCI Express root ports (1b36:000c): type 1 header, one slot that can be hot-plugged.
 *
 * The port forwards config cycles by its bus numbers (pci_host.c) and memory by its windows (pci_bar.c); it has no I/O window. The slot
 * registers tell whether something is plugged in; a change sets Presence Detect Changed and, where the guest
 * asked for it, asserts the port's INTx (PCI Express 6.7.3).
 */
#include "pci_root_port.h"
#include "pci_internal.h"

/* Places in the PCI Express capability (7.5.3). */
#define EXPRESS_LENGTH 0x3c
#define LINK_STATUS 0x12
#define LINK_STATUS_ACTIVE 0x2000
#define SLOT_CONTROL 0x18
#define SLOT_CONTROL_BUTTON 0x0001
#define SLOT_CONTROL_PRESENCE 0x0008
#define SLOT_CONTROL_INTERRUPT 0x0020
#define SLOT_CONTROL_LINK 0x1000
#define SLOT_STATUS 0x1a
#define SLOT_STATUS_BUTTON 0x0001
#define SLOT_STATUS_PRESENCE_CHANGED 0x0008
#define SLOT_STATUS_PRESENT 0x0040
#define SLOT_STATUS_LINK_CHANGED 0x0100

/* ABP, AIP, PIP, HPC, no Command Completed events (commands take effect at once). */
#define SLOT_CAPABILITIES (0x1u | 0x8u | 0x10u | 0x40u | 1u << 18)

static void port_interrupt_update(struct pci_function *function)
{
	uint16_t control = pci_config_word(function, function->express + SLOT_CONTROL);
	uint16_t status = pci_config_word(function, function->express + SLOT_STATUS);
	bool wanted = (status & SLOT_STATUS_BUTTON && control & SLOT_CONTROL_BUTTON) ||
		      (status & SLOT_STATUS_PRESENCE_CHANGED && control & SLOT_CONTROL_PRESENCE) ||
		      (status & SLOT_STATUS_LINK_CHANGED && control & SLOT_CONTROL_LINK);

	pci_intx_set(function, wanted && control & SLOT_CONTROL_INTERRUPT);
}

static void port_written(struct pci_function *function, unsigned offset, unsigned size)
{
	(void)size;
	if (offset >= function->express)
		port_interrupt_update(function);
}

static void port_bits_set(uint8_t *table, unsigned offset, uint16_t bits, bool on)
{
	uint16_t value = (uint16_t)(table[offset] | table[offset + 1] << 8);

	pci_bytes_set(table, offset, 2, on ? value | bits : value & ~bits);
}

void pci_root_port_presence_set(struct pci_function *bridge, bool present)
{
	unsigned place = bridge->express;

	if (((pci_config_word(bridge, place + SLOT_STATUS) & SLOT_STATUS_PRESENT) != 0) == present)
		return;
	/* What is plugged in stays so over a reset. */
	port_bits_set(bridge->config, place + SLOT_STATUS, SLOT_STATUS_PRESENT, present);
	port_bits_set(bridge->reset, place + SLOT_STATUS, SLOT_STATUS_PRESENT, present);
	port_bits_set(bridge->config, place + LINK_STATUS, LINK_STATUS_ACTIVE, present);
	port_bits_set(bridge->reset, place + LINK_STATUS, LINK_STATUS_ACTIVE, present);
	port_bits_set(bridge->config, place + SLOT_STATUS, SLOT_STATUS_PRESENCE_CHANGED | SLOT_STATUS_LINK_CHANGED, true);
	port_interrupt_update(bridge);
}

static void port_express_add(struct pci_function *function, uint8_t port_number)
{
	unsigned place = pci_capability_add(function, PCI_CAPABILITY_EXPRESS, EXPRESS_LENGTH);
	uint8_t *config = function->config, *writable = function->writable;

	function->express = (uint8_t)place;
	pci_bytes_set(config, place + 0x02, 2, 0x0142);     /* version 2, root port, slot implemented */
	pci_bytes_set(config, place + 0x04, 4, 0x00008000); /* role-based error reporting */
	pci_bytes_set(writable, place + 0x08, 2, 0x70ff);   /* Device Control */
	pci_bytes_set(config, place + 0x0c, 4, (uint32_t)port_number << 24 | 0x00100011); /* link: 2.5 GT/s x1, reports active */
	pci_bytes_set(writable, place + 0x10, 2, 0x00d3);                                 /* Link Control */
	pci_bytes_set(config, place + LINK_STATUS, 2, 0x0011);
	pci_bytes_set(config, place + 0x14, 4, (uint32_t)port_number << 19 | SLOT_CAPABILITIES);
	pci_bytes_set(config, place + SLOT_CONTROL, 2, 0x03c0); /* both indicators off */
	pci_bytes_set(writable, place + SLOT_CONTROL, 2, 0x13e9);
	pci_bytes_set(function->clearable, place + SLOT_STATUS, 2,
		      SLOT_STATUS_BUTTON | SLOT_STATUS_PRESENCE_CHANGED | SLOT_STATUS_LINK_CHANGED);
	pci_bytes_set(writable, place + 0x1c, 2, 0x001f);   /* Root Control */
	pci_bytes_set(config, place + 0x2c, 4, 0x00000002); /* Link Capabilities 2: 2.5 GT/s */
	pci_bytes_set(config, place + 0x30, 2, 0x0001);     /* Link Control 2: target speed */
}

static void port_header_fill(struct pci_function *function)
{
	uint8_t *config = function->config, *writable = function->writable;

	config[PCI_HEADER_TYPE] = PCI_HEADER_BRIDGE;
	pci_bytes_set(writable, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE | 0x0140);
	pci_bytes_set(writable, PCI_PRIMARY_BUS, 3, 0xffffff);
	pci_bytes_set(writable, PCI_MEMORY_BASE, 4, 0xfff0fff0);
	pci_bytes_set(config, PCI_PREFETCH_BASE, 4, 0x00010001); /* 64-bit */
	pci_bytes_set(writable, PCI_PREFETCH_BASE, 4, 0xfff0fff0);
	pci_bytes_set(writable, PCI_PREFETCH_BASE_UPPER, 8, UINT64_MAX);
	pci_bytes_set(writable, PCI_BRIDGE_CONTROL, 2, 0x0003 | PCI_BRIDGE_CONTROL_RESET);
}

static void port_reset(void *object)
{
	struct pci_root_port *port = object;

	pci_function_reset(&port->function);
}

static enum status port_loaded(void *object, uint32_t version, struct reason *why)
{
	struct pci_root_port *port = object;

	(void)version;
	return pci_function_loaded(&port->function, why);
}

static const struct state_field port_fields[] = {
	PCI_FUNCTION_STATE(struct pci_root_port, function),
};
static const struct state_table port_state = {
	.name = "pci_root_port",
	.version = 1,
	STATE_TABLE_FIELDS(port_fields),
	.after_load = port_loaded,
};

enum status pci_root_port_create(struct pci_root_port **out, struct pci_bus *root, uint8_t devfn, uint8_t port_number, uint8_t pin)
{
	struct pci_identity identity = {.vendor = 0x1b36, .device = 0x000c, .class_code = 0x060400, .interrupt_pin = pin};
	struct pci_root_port *port = host_allocate(sizeof(*port));
	enum status status;
	unsigned subsystem;

	*out = NULL;
	if (!port)
		return STATUS_NO_MEMORY;
	port->port_number = port_number;
	port->device = (struct device){
		.name = "pci_root_port", .instance = port_number, .state = &port_state, .reset = port_reset, .object = port};
	port->bus = (struct pci_bus){.host = root->host, .bridge = &port->function};
	pci_function_init(&port->function, "root-port", &identity, port);
	port_header_fill(&port->function);
	port_express_add(&port->function, port_number);
	pci_power_add(&port->function);
	subsystem = pci_capability_add(&port->function, 0x0d, 8); /* Subsystem ID, for type 1 headers */
	pci_bytes_set(port->function.config, subsystem + 4, 4, 0x00001b36);
	port->function.secondary = &port->bus;
	port->function.config_written = port_written;
	status = pci_function_add(root, devfn, &port->function);
	if (status != STATUS_OK) {
		host_free(port, sizeof(*port));
		return status;
	}
	*out = port;
	return STATUS_OK;
}

void pci_root_port_destroy(struct pci_root_port *port)
{
	pci_function_remove(&port->function);
	host_free(port, sizeof(*port));
}
