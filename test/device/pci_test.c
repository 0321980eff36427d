/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pci_test.c - config cycles, BARs, INTx, MSI-X, LPC and root ports, driven as a guest's accesses to the two buses.
 */
#include <stdlib.h>
#include <string.h>

#include "machine.h"

/* A function with two BARs that answer with a number of their own, and MSI-X. */
struct gadget {
	struct pci_function function;
	struct pci_msix msix;
	struct host_mutex lock;
	uint64_t written;
	unsigned bus_resets;
};

static uint64_t gadget_read(void *device, uint64_t offset, unsigned size)
{
	(void)size;
	return ((struct gadget *)device)->function.devfn + (offset << 8);
}

static void gadget_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	(void)size;
	((struct gadget *)device)->written = value + offset;
}

static void gadget_bus_reset(struct pci_function *function)
{
	((struct gadget *)function->owner)->bus_resets++;
}

static struct gadget *gadget_add(struct machine *machine, struct pci_bus *bus, uint8_t devfn, uint8_t pin)
{
	struct gadget *gadget = calloc(1, sizeof(*gadget));
	struct pci_identity identity = {.vendor = 0x1234, .device = 0x5678, .class_code = 0xff0000, .interrupt_pin = pin};
	struct pci_function *function = &gadget->function;

	pci_function_init(function, "gadget", &identity, gadget);
	pci_power_add(function);
	pci_express_endpoint_add(function, !bus->bridge);
	pci_msix_add(function, &gadget->msix, 4, 1, &machine->irq);
	for (unsigned i = 0; i < 5; i += 2) {
		function->bar[i].region.name = "gadget";
		function->bar[i].region.read = gadget_read;
		function->bar[i].region.write = gadget_write;
		function->bar[i].region.device = gadget;
		function->bar[i].region.lock = &gadget->lock;
	}
	pci_bar_add(function, 0, PCI_BAR_MEMORY32, 0x1000, false);
	pci_bar_add(function, 2, PCI_BAR_IO, 0x20, false);
	pci_bar_add(function, 4, PCI_BAR_MEMORY64, 0x100000, true);
	function->bus_reset = gadget_bus_reset;
	assert_int_equal(pci_function_add(bus, devfn, function), STATUS_OK);
	return gadget;
}

static void gadget_remove(struct gadget *gadget)
{
	pci_function_remove(&gadget->function);
	free(gadget);
}

static void ports_and_ecam_reach_the_same_registers(void **state)
{
	struct machine machine;

	(void)state;
	machine_create(&machine);
	assert_int_equal(config_read(&machine, 0, 0, 0, 4), 0x29c08086);
	assert_int_equal(mmio_read(&machine, MACHINE_ECAM, 4), 0x29c08086);
	assert_int_equal(config_read(&machine, 0, PCI_DEVFN(31, 0), 0, 4), 0x29188086);
	config_write(&machine, 0, PCI_DEVFN(31, 0), 0x84, 4, 0x00fc0201);
	assert_int_equal(mmio_read(&machine, MACHINE_ECAM + (31 << 15) + 0x84, 4), 0x00fc0201);
	mmio_write(&machine, MACHINE_ECAM + (31 << 15) + 0x85, 1, 0x06);
	assert_int_equal(config_read(&machine, 0, PCI_DEVFN(31, 0), 0x84, 4), 0x00fc0601);
	/* Absent functions and buses read as ones, extended config space of present ones as zeroes. */
	assert_int_equal(config_read(&machine, 0, PCI_DEVFN(30, 0), 0, 4), 0xffffffff);
	assert_int_equal(config_read(&machine, 7, 0, 0, 4), 0xffffffff);
	assert_int_equal(mmio_read(&machine, MACHINE_ECAM + 0x100, 4), 0);
	assert_int_equal(mmio_read(&machine, MACHINE_ECAM, 8),
			 config_read(&machine, 0, 0, 0, 4) | (uint64_t)config_read(&machine, 0, 0, 4, 4) << 32);
	/* Disabled, CONFIG_ADDRESS leads nowhere. */
	bus_write(&machine.ports, 0xcf8, 4, 0);
	uint64_t value;
	bus_read(&machine.ports, 0xcfc, 4, &value);
	assert_int_equal(value, 0xffffffff);
	machine_destroy(&machine);
}

static void pciexbar_moves_the_ecam_window(void **state)
{
	struct machine machine;

	(void)state;
	machine_create(&machine);
	config_write(&machine, 0, 0, 0x60, 4, 0xb0000001);
	assert_int_equal(mmio_read(&machine, 0xb0000000, 4), 0x29c08086);
	assert_int_equal(mmio_read(&machine, MACHINE_ECAM, 4), 0xffffffff);
	config_write(&machine, 0, 0, 0x60, 4, 0xb4000005); /* 64 MiB: buses 0 to 63 */
	assert_int_equal(mmio_read(&machine, 0xb4000000, 4), 0x29c08086);
	config_write(&machine, 0, 0, 0x60, 4, 0);
	assert_int_equal(mmio_read(&machine, 0xb4000000, 4), 0xffffffff);
	machine.host->device.reset(machine.host);
	assert_int_equal(mmio_read(&machine, MACHINE_ECAM, 4), 0x29c08086);
	machine_destroy(&machine);
}

static void bars_are_sized_placed_moved_and_switched(void **state)
{
	struct machine machine;
	struct gadget *gadget;
	uint64_t value;

	(void)state;
	machine_create(&machine);
	gadget = gadget_add(&machine, &machine.host->root, PCI_DEVFN(3, 0), 1);
	config_write(&machine, 0, 24, 0x10, 4, 0xffffffff);
	assert_int_equal(config_read(&machine, 0, 24, 0x10, 4), 0xfffff000);
	config_write(&machine, 0, 24, 0x18, 4, 0xffffffff);
	assert_int_equal(config_read(&machine, 0, 24, 0x18, 4), 0x0000ffe1);
	config_write(&machine, 0, 24, 0x20, 4, 0xffffffff);
	config_write(&machine, 0, 24, 0x24, 4, 0xffffffff);
	assert_int_equal(config_read(&machine, 0, 24, 0x20, 4), 0xfff0000c);
	assert_int_equal(config_read(&machine, 0, 24, 0x24, 4), 0xffffffff);
	config_write(&machine, 0, 24, 0x10, 4, 0xc0000000);
	config_write(&machine, 0, 24, 0x18, 4, 0xc000);
	config_write(&machine, 0, 24, 0x20, 4, 0);
	config_write(&machine, 0, 24, 0x24, 4, 0x80);
	assert_int_equal(mmio_read(&machine, 0xc0000000, 4), 0xffffffff);
	config_write(&machine, 0, 24, PCI_COMMAND, 2, 3);
	assert_int_equal(mmio_read(&machine, 0xc0000004, 4), 0x418);
	assert_int_equal(mmio_read(&machine, 0x8000000002, 2), 0x218);
	bus_read(&machine.ports, 0xc001, 1, &value);
	assert_int_equal(value, 0x18);
	mmio_write(&machine, 0xc0000010, 4, 5);
	assert_int_equal(gadget->written, 0x15);
	config_write(&machine, 0, 24, 0x10, 4, 0xd0000000);
	assert_int_equal(mmio_read(&machine, 0xc0000000, 4), 0xffffffff);
	assert_int_equal(mmio_read(&machine, 0xd0000000, 4), 0x18);
	config_write(&machine, 0, 24, PCI_COMMAND, 2, 1);
	assert_int_equal(mmio_read(&machine, 0xd0000000, 4), 0xffffffff);
	/* In D3hot nothing is decoded; D0 brings it back. */
	config_write(&machine, 0, 24, PCI_COMMAND, 2, 3);
	config_write(&machine, 0, 24, gadget->function.power + 4, 2, 3);
	assert_int_equal(mmio_read(&machine, 0xd0000000, 4), 0xffffffff);
	config_write(&machine, 0, 24, gadget->function.power + 4, 2, 2); /* D2 is not supported: stays */
	assert_int_equal(config_read(&machine, 0, 24, gadget->function.power + 4, 2) & 3, 3);
	config_write(&machine, 0, 24, gadget->function.power + 4, 2, 0);
	assert_int_equal(mmio_read(&machine, 0xd0000000, 4), 0x18);
	pci_function_reset(&gadget->function);
	assert_int_equal(mmio_read(&machine, 0xd0000000, 4), 0xffffffff);
	gadget_remove(gadget);
	machine_destroy(&machine);
}

static void an_overlapping_bar_is_decoded_once_there_is_room(void **state)
{
	struct machine machine;
	struct gadget *a, *b;

	(void)state;
	machine_create(&machine);
	a = gadget_add(&machine, &machine.host->root, PCI_DEVFN(3, 0), 1);
	b = gadget_add(&machine, &machine.host->root, PCI_DEVFN(4, 0), 1);
	for (unsigned devfn = 24; devfn <= 32; devfn += 8) {
		config_write(&machine, 0, (uint8_t)devfn, 0x10, 4, 0xc0000000);
		config_write(&machine, 0, (uint8_t)devfn, PCI_COMMAND, 2, 2);
	}
	assert_int_equal(mmio_read(&machine, 0xc0000000, 4), 24);
	config_write(&machine, 0, 24, 0x10, 4, 0xc0001000); /* a moves away: b shows */
	assert_int_equal(mmio_read(&machine, 0xc0000000, 4), 32);
	assert_int_equal(mmio_read(&machine, 0xc0001000, 4), 24);
	config_write(&machine, 0, 32, 0x10, 4, (uint32_t)MACHINE_ECAM); /* over ECAM: not shown, ECAM goes on */
	assert_int_equal(mmio_read(&machine, MACHINE_ECAM, 4), 0x29c08086);
	bus_check(&machine.mmio);
	gadget_remove(a);
	gadget_remove(b);
	machine_destroy(&machine);
}

static const struct state_field gadget_fields[] = {PCI_FUNCTION_STATE(struct gadget, function)};
static const struct state_table gadget_state = {.name = "gadget", .version = 1, STATE_TABLE_FIELDS(gadget_fields)};

/* Which of two BARs has the place that both want is history, so it is part of the state: load them in an order that would give it to the other. */
static void an_overlapping_bar_stays_what_it_was_over_save_and_load(void **state)
{
	static uint8_t bytes[1 << 14];
	struct state_writer writer = {.bytes = bytes, .capacity = sizeof(bytes)};
	struct state_reader reader = {.bytes = bytes};
	struct reason why = {""};
	struct machine machine;
	struct gadget *gadget[2];

	(void)state;
	machine_create(&machine);
	for (unsigned i = 0; i < 2; i++)
		gadget[i] = gadget_add(&machine, &machine.host->root, (uint8_t)PCI_DEVFN(3 + i, 0), 1);
	for (unsigned devfn = 32; devfn >= 24; devfn -= 8) {
		config_write(&machine, 0, (uint8_t)devfn, 0x10, 4, 0xc0000000);
		config_write(&machine, 0, (uint8_t)devfn, PCI_COMMAND, 2, 2);
	}
	assert_int_equal(mmio_read(&machine, 0xc0000000, 4), 32);
	for (unsigned i = 0; i < 2; i++)
		state_save(&writer, &gadget_state, i, gadget[i]);
	reader.length = writer.length;
	for (unsigned i = 0; i < 2; i++) {
		gadget_remove(gadget[i]);
		gadget[i] = gadget_add(&machine, &machine.host->root, (uint8_t)PCI_DEVFN(3 + i, 0), 1);
	}
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(state_load(&reader, &gadget_state, i, gadget[i], &why), STATUS_OK);
		assert_int_equal(pci_function_loaded(&gadget[i]->function, &why), STATUS_OK);
	}
	machine.host->device.resume(machine.host);
	assert_int_equal(mmio_read(&machine, 0xc0000000, 4), 32);
	config_write(&machine, 0, 32, 0x10, 4, 0xc0001000); /* it moves away: the other shows */
	assert_int_equal(mmio_read(&machine, 0xc0000000, 4), 24);
	bus_check(&machine.mmio);
	gadget_remove(gadget[0]);
	gadget_remove(gadget[1]);
	machine_destroy(&machine);
}

static void intx_is_shared_masked_and_routed(void **state)
{
	struct machine machine;
	struct gadget *a, *b;

	(void)state;
	machine_create(&machine);
	a = gadget_add(&machine, &machine.host->root, PCI_DEVFN(3, 0), 1); /* PIRQ (3 + 0) -> GSI 19 */
	b = gadget_add(&machine, &machine.host->root, PCI_DEVFN(2, 0), 2); /* PIRQ (2 + 1) -> GSI 19 */
	pci_intx_set(&a->function, true);
	pci_intx_set(&b->function, true);
	assert_true(machine.level[19]);
	assert_int_equal(config_read(&machine, 0, 24, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, PCI_STATUS_INTERRUPT);
	pci_intx_set(&a->function, false);
	assert_true(machine.level[19]);
	config_write(&machine, 0, 16, PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE);
	assert_false(machine.level[19]);
	assert_int_equal(config_read(&machine, 0, 16, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, PCI_STATUS_INTERRUPT);
	config_write(&machine, 0, 16, PCI_COMMAND, 2, 0);
	assert_true(machine.level[19]);
	/* PIRQD_ROUT to ISA IRQ 10, then 11, then an IRQ that is not for PCI, then off. */
	config_write(&machine, 0, 0xf8, 0x63, 1, 10);
	assert_true(machine.level[10]);
	config_write(&machine, 0, 0xf8, 0x63, 1, 11);
	assert_true(!machine.level[10] && machine.level[11]);
	config_write(&machine, 0, 0xf8, 0x63, 1, 8);
	assert_true(!machine.level[8] && !machine.level[11]);
	config_write(&machine, 0, 0xf8, 0x63, 1, 0x8a);
	assert_false(machine.level[10]);
	pci_function_reset(&b->function);
	assert_false(machine.level[19]);
	gadget_remove(a);
	gadget_remove(b);
	machine_destroy(&machine);
}

static void msix_masks_pends_and_drops_strays(void **state)
{
	struct machine machine;
	struct gadget *gadget;
	unsigned place;

	(void)state;
	machine_create(&machine);
	gadget = gadget_add(&machine, &machine.host->root, PCI_DEVFN(3, 0), 1);
	place = gadget->function.msix_place;
	assert_false(pci_msix_raise(&gadget->msix, 0)); /* off: the device takes INTx */
	config_write(&machine, 0, 24, 0x14, 4, 0xc0000000);
	config_write(&machine, 0, 24, PCI_COMMAND, 2, 6);
	config_write(&machine, 0, 24, place + 2, 2, 0x8000);
	assert_int_equal(config_read(&machine, 0, 24, place + 2, 2), 0x8003);
	mmio_write(&machine, 0xc0000000, 8, 0xfee01000);
	mmio_write(&machine, 0xc0000008, 4, 0x55);
	assert_true(pci_msix_raise(&gadget->msix, 0)); /* masked after reset */
	assert_int_equal(machine.messages[0x55], 0);
	assert_int_equal(mmio_read(&machine, 0xc0000800, 8), 1);
	mmio_write(&machine, 0xc000000c, 4, 0);
	assert_int_equal(machine.messages[0x55], 1);
	assert_int_equal(mmio_read(&machine, 0xc0000800, 4), 0);
	config_write(&machine, 0, 24, place + 2, 2, 0xc000); /* function mask */
	pci_msix_raise(&gadget->msix, 0);
	pci_msix_raise(&gadget->msix, 0);
	assert_int_equal(machine.messages[0x55], 1);
	config_write(&machine, 0, 24, place + 2, 2, 0x8000);
	assert_int_equal(machine.messages[0x55], 2);
	config_write(&machine, 0, 24, PCI_COMMAND, 2, 2); /* without bus mastering no message can leave */
	pci_msix_raise(&gadget->msix, 0);
	assert_int_equal(machine.messages[0x55], 2);
	config_write(&machine, 0, 24, PCI_COMMAND, 2, 6);
	assert_int_equal(machine.messages[0x55], 3);
	mmio_write(&machine, 0xc0000000, 8, 0x1000); /* into RAM: dropped */
	pci_msix_raise(&gadget->msix, 0);
	mmio_write(&machine, 0xc0000004, 4, 1); /* above 4 GiB */
	mmio_write(&machine, 0xc0000000, 4, 0xfee00000);
	pci_msix_raise(&gadget->msix, 0);
	assert_int_equal(machine.message_total, 3);
	assert_int_equal(gadget->msix.stray, 2);
	pci_msix_raise(&gadget->msix, 4); /* a vector that is not there */
	pci_msix_raise(&gadget->msix, 0xffff);
	mmio_write(&machine, 0xc0000001, 4, 0x12345678); /* unaligned, narrow, behind the table: nothing changes */
	mmio_write(&machine, 0xc0000000, 2, 0x1234);
	mmio_write(&machine, 0xc0000040, 4, 0x1234);
	assert_int_equal(mmio_read(&machine, 0xc0000000, 4), 0xfee00000);
	assert_int_equal(mmio_read(&machine, 0xc0000040, 4), 0);
	gadget_remove(gadget);
	machine_destroy(&machine);
}

static void a_root_port_forwards_what_its_registers_say(void **state)
{
	struct machine machine;
	struct pci_root_port *port;
	struct gadget *gadget;
	uint8_t devfn = PCI_DEVFN(5, 0);
	unsigned place;

	(void)state;
	machine_create(&machine);
	assert_int_equal(pci_root_port_create(&port, &machine.host->root, devfn, 1, 1), STATUS_OK);
	place = port->function.express;
	assert_int_equal(config_read(&machine, 0, devfn, place + 0x1a, 2) & 0x40, 0);
	assert_int_equal(config_read(&machine, 0, devfn, place + 0x14, 4) & 0x41, 0x41); /* button, hot-plug capable */
	config_write(&machine, 0, devfn, place + 0x18, 2, 0x0028);                       /* presence changes interrupt */
	gadget = gadget_add(&machine, &port->bus, 0, 1);
	assert_int_equal(config_read(&machine, 0, devfn, place + 0x1a, 2) & 0x48, 0x48);
	assert_true(machine.level[21]);
	config_write(&machine, 0, devfn, place + 0x1a, 2, 0x108);
	assert_false(machine.level[21]);
	assert_int_equal(config_read(&machine, 1, 0, 0, 4), 0xffffffff);
	config_write(&machine, 0, devfn, PCI_PRIMARY_BUS, 4, 0x00040200); /* secondary 2, subordinate 4 */
	assert_int_equal(config_read(&machine, 2, 0, 0, 4), 0x56781234);
	assert_int_equal(config_read(&machine, 3, 0, 0, 4), 0xffffffff);
	config_write(&machine, 2, 0, 0x10, 4, 0xc0000000);
	config_write(&machine, 2, 0, PCI_COMMAND, 2, 2);
	assert_int_equal(mmio_read(&machine, 0xc0000000, 4), 0xffffffff); /* no window, and the port's memory space off */
	config_write(&machine, 0, devfn, PCI_MEMORY_BASE, 4, 0xc000c000);
	assert_int_equal(mmio_read(&machine, 0xc0000000, 4), 0xffffffff);
	config_write(&machine, 0, devfn, PCI_COMMAND, 2, 2);
	assert_int_equal(mmio_read(&machine, 0xc0000000, 4), 0);
	assert_int_equal(mmio_read(&machine, 0xc0000004, 4), 0x400);
	config_write(&machine, 2, 0, 0x24, 4, 0x80);
	config_write(&machine, 0, devfn, PCI_PREFETCH_BASE_UPPER, 4, 0x80);
	config_write(&machine, 0, devfn, PCI_PREFETCH_LIMIT_UPPER, 4, 0x80);
	config_write(&machine, 0, devfn, PCI_PREFETCH_BASE, 4, 0x00000000);
	assert_int_equal(mmio_read(&machine, 0x8000000004, 4), 0x400);
	/* INTA of device 0 behind the port of device 5 is PIRQ 5. */
	pci_intx_set(&gadget->function, true);
	assert_true(machine.level[21]);
	config_write(&machine, 0, devfn, PCI_BRIDGE_CONTROL, 2, PCI_BRIDGE_CONTROL_RESET);
	assert_int_equal(gadget->bus_resets, 1);
	assert_false(machine.level[21]);
	assert_int_equal(config_read(&machine, 2, 0, 0x10, 4), 0);
	device_saves_and_loads(&port->device);
	gadget_remove(gadget);
	assert_int_equal(config_read(&machine, 0, devfn, place + 0x1a, 2) & 0x40, 0);
	pci_root_port_destroy(port);
	machine_destroy(&machine);
}

static void function_zero_tells_of_the_others(void **state)
{
	struct machine machine;
	struct gadget *first, *second;

	(void)state;
	machine_create(&machine);
	first = gadget_add(&machine, &machine.host->root, PCI_DEVFN(3, 0), 1);
	assert_int_equal(config_read(&machine, 0, 24, PCI_HEADER_TYPE, 1), 0);
	second = gadget_add(&machine, &machine.host->root, PCI_DEVFN(3, 2), 1);
	assert_int_equal(config_read(&machine, 0, 24, PCI_HEADER_TYPE, 1), 0x80);
	assert_int_equal(config_read(&machine, 0, 26, 0, 4), 0x56781234);
	assert_int_equal(pci_function_add(&machine.host->root, 26, &first->function), STATUS_BUSY);
	gadget_remove(second);
	assert_int_equal(config_read(&machine, 0, 24, PCI_HEADER_TYPE, 1), 0);
	gadget_remove(first);
	machine_destroy(&machine);
}

static void lpc_moves_acpi_shows_rcba_and_resets(void **state)
{
	struct machine machine;

	(void)state;
	machine_create(&machine);
	assert_int_equal(machine.pmbase, 0x600);
	assert_true(machine.pm_enabled);
	config_write(&machine, 0, 0xf8, 0x40, 4, 0x0000b000);
	assert_int_equal(machine.pmbase, 0xb000);
	assert_int_equal(config_read(&machine, 0, 0xf8, 0x40, 4), 0xb001);
	config_write(&machine, 0, 0xf8, 0x44, 1, 0);
	assert_false(machine.pm_enabled);
	config_write(&machine, 0, 0xf8, 0xf0, 4, 0xfed1c001);
	mmio_write(&machine, 0xfed1f410, 4, 0x00c0ffee);
	assert_int_equal(mmio_read(&machine, 0xfed1f410, 4), 0x00c0ffee);
	config_write(&machine, 0, 0xf8, 0xf0, 4, 0);
	assert_int_equal(mmio_read(&machine, 0xfed1f410, 4), 0xffffffff);
	bus_write(&machine.ports, 0xcf9, 1, 0x02);
	assert_int_equal(machine.resets, 0);
	bus_write(&machine.ports, 0xcf9, 1, 0x06);
	assert_int_equal(machine.resets, 1);
	bus_write(&machine.ports, 0xcf9, 1, 0x06); /* no edge */
	assert_int_equal(machine.resets, 1);
	device_saves_and_loads(&machine.lpc->device);
	device_saves_and_loads(&machine.host->device);
	machine_destroy(&machine);
}

static void saved_config_space_of_another_device_is_refused(void **state)
{
	struct machine machine;
	struct state_writer saved;
	struct state_reader reader;
	struct reason why = {""};

	(void)state;
	machine_create(&machine);
	machine.lpc->function.config[PCI_DEVICE_ID] = 0x19;
	saved = device_saved(&machine.lpc->device);
	machine.lpc->function.config[PCI_DEVICE_ID] = 0x18;
	reader = (struct state_reader){saved.bytes, saved.length, 0};
	assert_int_equal(state_load(&reader, machine.lpc->device.state, 0, machine.lpc, &why), STATUS_INVALID);
	assert_true(strstr(why.text, "0x02") != NULL);
	assert_int_equal(config_read(&machine, 0, 0xf8, 0, 4), 0x29188086);
	free(saved.bytes);
	machine_destroy(&machine);
}

/* 60,000 random config writes, half of them where they hurt: nothing overlaps, nothing read-only changes, nothing crashes. */
static void random_config_writes_harm_nobody(void **state)
{
	static const uint8_t tender[] = {0x04, 0x10, 0x14, 0x18, 0x20, 0x24, 0x18, 0x1c, 0x20, 0x3c, 0x3e, 0x60, 0x64, 0xf0, 0x40};
	struct pci_root_port *port[2];
	struct machine machine;
	struct gadget *gadget[4];
	uint64_t value;

	(void)state;
	machine_create(&machine);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pci_root_port_create(&port[i], &machine.host->root, PCI_DEVFN(5 + i, 0), (uint8_t)(i + 1), 1),
				 STATUS_OK);
	gadget[0] = gadget_add(&machine, &machine.host->root, PCI_DEVFN(3, 0), 1);
	gadget[1] = gadget_add(&machine, &machine.host->root, PCI_DEVFN(4, 0), 2);
	gadget[2] = gadget_add(&machine, &port[0]->bus, 0, 3);
	gadget[3] = gadget_add(&machine, &port[1]->bus, 0, 4);
	for (unsigned i = 0; i < 60000; i++) {
		static const uint8_t devices[] = {0, 24, 32, 40, 48, 0xf8};
		unsigned bus = machine_random(&machine) % 4, size = 1u << machine_random(&machine) % 3;
		unsigned offset = machine_random(&machine) % 2 ? tender[machine_random(&machine) % sizeof(tender)]
							       : machine_random(&machine) % 256;
		uint8_t devfn = bus ? 0 : devices[machine_random(&machine) % sizeof(devices)];
		uint32_t data = (uint32_t)machine_random(&machine) & (machine_random(&machine) % 4 ? 0xf3001007u : UINT32_MAX);

		config_write(&machine, bus, devfn, offset & ~(size - 1), size, data);
		config_read(&machine, bus, devfn, (unsigned)machine_random(&machine) % 64 * 4, 4);
		pci_intx_set(&gadget[i % 4]->function, machine_random(&machine) & 1);
		pci_msix_raise(&gadget[i % 4]->msix, (unsigned)(machine_random(&machine) % 5));
		if (i % 64 == 0) {
			bus_check(&machine.mmio);
			bus_check(&machine.ports);
			for (unsigned k = 0; k < machine.mmio.count; k++)
				bus_read(&machine.mmio, machine.mmio.sorted[k]->base + machine_random(&machine) % 0x1000, 4,
					 &value);
		}
	}
	assert_int_equal(config_read(&machine, 0, 24, 0, 4), 0x56781234);
	for (unsigned i = 0; i < 4; i++) {
		pci_intx_set(&gadget[i]->function, false);
		gadget_remove(gadget[i]);
	}
	for (unsigned i = 0; i < 2; i++) {
		device_saves_and_loads(&port[i]->device);
		pci_root_port_destroy(port[i]);
	}
	device_saves_and_loads(&machine.lpc->device);
	device_saves_and_loads(&machine.host->device);
	for (unsigned gsi = 0; gsi < IRQ_GSIS; gsi++)
		assert_false(machine.level[gsi]);
	machine_destroy(&machine);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ports_and_ecam_reach_the_same_registers),
		cmocka_unit_test(pciexbar_moves_the_ecam_window),
		cmocka_unit_test(bars_are_sized_placed_moved_and_switched),
		cmocka_unit_test(an_overlapping_bar_is_decoded_once_there_is_room),
		cmocka_unit_test(an_overlapping_bar_stays_what_it_was_over_save_and_load),
		cmocka_unit_test(intx_is_shared_masked_and_routed),
		cmocka_unit_test(msix_masks_pends_and_drops_strays),
		cmocka_unit_test(a_root_port_forwards_what_its_registers_say),
		cmocka_unit_test(function_zero_tells_of_the_others),
		cmocka_unit_test(lpc_moves_acpi_shows_rcba_and_resets),
		cmocka_unit_test(saved_config_space_of_another_device_is_refused),
		cmocka_unit_test(random_config_writes_harm_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
