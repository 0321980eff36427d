/* SPDX-License-Identifier: Apache-2.0 */
/*
 * acpi_dsdt.c - the DSDT: what ACPI says about the machine in AML. Each function writes one device; the ASL is in its comment where it is
 * more than names and numbers.
 */
#include "board/acpi.h"

#define ADDRESS(slot, function) ((uint64_t)(slot) << 16 | (function))
#define ADDRESS_ALL_FUNCTIONS 0xffffu
#define PCI_PINS 4
#define PCI_SLOTS 32

/* PCI firmware specification 3.3, 4.5.1: the dwords of _OSC and their bits. */
#define OSC_PCI_UUID "33DB4D5B-1FF7-401C-9657-7441C03DD766"
#define OSC_UNKNOWN_UUID 0x04u
#define OSC_UNKNOWN_REVISION 0x08u
#define OSC_MASKED 0x10u
#define OSC_CONTROL_HOTPLUG 0x01u
#define OSC_CONTROL_PME 0x04u
#define OSC_CONTROL_CAPABILITY 0x10u

/* The ICH9's PIRQx_ROUT registers: A-D at 0x60, E-H at 0x68; bit 7: not routed. */
#define LPC_PIRQ_REGISTERS 0x60u
#define LPC_PIRQ_REGISTERS_LENGTH 12u
#define PIRQ_OFF 0x80u
#define PIRQ_IRQ 0x0fu

#define STATUS_PRESENT 0x0bu /* present, decoding, functioning; not shown to the user */
#define STATUS_DISABLED 0x09u
#define STATUS_SHOWN 0x0fu

#define HEX(value) ((char)((value) < 10 ? '0' + (value) : 'A' + (value)-10))

static void processors_write(const struct acpi_machine *machine, struct aml *aml)
{
	unsigned i;

	for (i = 0; i < machine->cpus; i++) {
		char name[] = {'C', 'P', HEX(i / 16), HEX(i % 16), 0};
		size_t device = aml_device(aml, name);

		aml_name_string(aml, "_HID", "ACPI0007");
		aml_name_integer(aml, "_UID", i);
		aml_close(aml, device);
	}
}

static void prt_row(struct aml *aml, unsigned slot, unsigned pin, const char *link, uint32_t gsi)
{
	size_t row = aml_package(aml, 4);

	aml_integer(aml, ADDRESS(slot, ADDRESS_ALL_FUNCTIONS));
	aml_integer(aml, pin);
	if (link)
		aml_name(aml, link);
	else
		aml_integer(aml, 0);
	aml_integer(aml, gsi);
	aml_close(aml, row);
}

static void prt_package(const struct acpi_machine *machine, struct aml *aml, const char *name, bool links)
{
	unsigned slot, pin, rows = 0;
	size_t package;

	for (slot = 0; slot < PCI_SLOTS; slot++)
		rows += machine->slots >> slot & 1 ? PCI_PINS : 0;
	aml_name_object(aml, name);
	package = aml_package(aml, rows);
	for (slot = 0; slot < PCI_SLOTS; slot++) {
		for (pin = 0; (machine->slots >> slot & 1) && pin < PCI_PINS; pin++) {
			unsigned pirq = machine->pirq[slot][pin];
			char link[] = {'L', 'N', 'K', (char)('A' + pirq), 0};

			prt_row(aml, slot, pin, links ? link : NULL, links ? 0 : machine->pirq_gsi[pirq]);
		}
	}
	aml_close(aml, package);
}

/* Method (_PRT) { If (PICM) { Return (PRTA) } Return (PRTP) }: the IOAPIC's inputs, or links to what the PIC sees. */
static void prt_write(const struct acpi_machine *machine, struct aml *aml)
{
	size_t method, branch;

	prt_package(machine, aml, "PRTA", false);
	prt_package(machine, aml, "PRTP", true);
	method = aml_method(aml, "_PRT", 0, !AML_SERIALIZED);
	branch = aml_if(aml);
	aml_name(aml, "\\PICM");
	aml_op(aml, AML_RETURN);
	aml_name(aml, "PRTA");
	aml_close(aml, branch);
	aml_op(aml, AML_RETURN);
	aml_name(aml, "PRTP");
	aml_close(aml, method);
}

static void dword_field_create(struct aml *aml, unsigned offset, const char *name)
{
	aml_op(aml, AML_CREATE_DWORD_FIELD);
	aml_op(aml, AML_ARG3);
	aml_integer(aml, offset);
	aml_name(aml, name);
}

/* Or (name, bits, name) */
static void bits_set(struct aml *aml, const char *name, uint64_t bits)
{
	aml_op(aml, AML_OR);
	aml_name(aml, name);
	aml_integer(aml, bits);
	aml_name(aml, name);
}

/*
 * Method (_OSC, 4, Serialized) {
 *   CreateDWordField (Arg3, 0, CDW1)
 *   If (Arg0 == ToUUID (...)) {
 *     CreateDWordField (Arg3, 8, CDW3)
 *     Local0 = CDW3 & what we grant
 *     If (Arg1 != 1) { CDW1 |= unknown revision }
 *     If (CDW3 != Local0) { CDW1 |= masked }
 *     CDW3 = Local0
 *   } Else { CDW1 |= unknown UUID }
 *   Return (Arg3) }
 */
static void osc_write(struct aml *aml)
{
	size_t method = aml_method(aml, "_OSC", 4, AML_SERIALIZED), known, branch;

	dword_field_create(aml, 0, "CDW1");
	known = aml_if(aml);
	aml_op(aml, AML_LEQUAL);
	aml_op(aml, AML_ARG0);
	aml_uuid(aml, OSC_PCI_UUID);
	dword_field_create(aml, 8, "CDW3");
	aml_op(aml, AML_AND);
	aml_name(aml, "CDW3");
	aml_integer(aml, OSC_CONTROL_HOTPLUG | OSC_CONTROL_PME | OSC_CONTROL_CAPABILITY);
	aml_op(aml, AML_LOCAL0);
	branch = aml_if(aml);
	aml_op(aml, AML_LNOT);
	aml_op(aml, AML_LEQUAL);
	aml_op(aml, AML_ARG1);
	aml_integer(aml, 1);
	bits_set(aml, "CDW1", OSC_UNKNOWN_REVISION);
	aml_close(aml, branch);
	branch = aml_if(aml);
	aml_op(aml, AML_LNOT);
	aml_op(aml, AML_LEQUAL);
	aml_name(aml, "CDW3");
	aml_op(aml, AML_LOCAL0);
	bits_set(aml, "CDW1", OSC_MASKED);
	aml_close(aml, branch);
	aml_op(aml, AML_STORE);
	aml_op(aml, AML_LOCAL0);
	aml_name(aml, "CDW3");
	aml_close(aml, known);
	branch = aml_else(aml);
	bits_set(aml, "CDW1", OSC_UNKNOWN_UUID);
	aml_close(aml, branch);
	aml_op(aml, AML_RETURN);
	aml_op(aml, AML_ARG3);
	aml_close(aml, method);
}

static void host_bridge_windows_write(const struct acpi_machine *machine, struct aml *aml)
{
	size_t resources;

	aml_name_object(aml, "_CRS");
	resources = aml_resources(aml);
	aml_resource_bus_window(aml, 0, (uint16_t)(machine->pci_buses - 1));
	aml_resource_io(aml, 0xcf8, 8);
	aml_resource_io_window(aml, 0, 0xcf7);
	aml_resource_io_window(aml, 0xd00, 0xffff);
	aml_resource_memory_window32(aml, (uint32_t)machine->memory32.first, (uint32_t)machine->memory32.last);
	if (machine->memory64.first <= machine->memory64.last)
		aml_resource_memory_window64(aml, machine->memory64.first, machine->memory64.last);
	aml_resources_close(aml, resources);
}

static void root_ports_write(const struct acpi_machine *machine, struct aml *aml)
{
	unsigned i;

	for (i = 0; i < machine->root_ports; i++) {
		char name[] = {'R', 'P', '0', HEX(i), 0};
		size_t device = aml_device(aml, name);

		aml_name_integer(aml, "_ADR", ADDRESS(machine->root_port_slot, i));
		aml_close(aml, device);
	}
}

static void serial_write(const struct acpi_machine *machine, struct aml *aml)
{
	size_t device = aml_device(aml, "COM1"), resources;

	aml_name_eisa_id(aml, "_HID", "PNP0501");
	aml_name_integer(aml, "_UID", 1);
	aml_name_object(aml, "_CRS");
	resources = aml_resources(aml);
	aml_resource_io(aml, machine->serial_port, 8);
	aml_resource_irq(aml, (uint16_t)(1u << machine->serial_irq));
	aml_resources_close(aml, resources);
	aml_close(aml, device);
}

/* A device of an I/O port range or two (length 0: one) and perhaps an ISA interrupt. */
static void legacy_write(struct aml *aml, const char *name, const char *id, uint16_t port, uint8_t length, uint16_t port2,
			 uint8_t length2, uint16_t irqs)
{
	size_t device = aml_device(aml, name), resources;

	aml_name_eisa_id(aml, "_HID", id);
	aml_name_object(aml, "_CRS");
	resources = aml_resources(aml);
	aml_resource_io(aml, port, length);
	if (length2)
		aml_resource_io(aml, port2, length2);
	if (irqs)
		aml_resource_irq(aml, irqs);
	aml_resources_close(aml, resources);
	aml_close(aml, device);
}

/* The id under which Linux and others look for pvpanic. */
static void pvpanic_write(const struct acpi_machine *machine, struct aml *aml)
{
	size_t device = aml_device(aml, "PEVT"), resources;

	aml_name_string(aml, "_HID", "QEMU0001");
	aml_name_object(aml, "_CRS");
	resources = aml_resources(aml);
	aml_resource_io(aml, machine->pvpanic_port, 1);
	aml_resources_close(aml, resources);
	aml_name_integer(aml, "_STA", STATUS_SHOWN);
	aml_close(aml, device);
}

static void pirq_fields_write(struct aml *aml)
{
	size_t field;
	unsigned i;

	aml_operation_region(aml, "PIRR", AML_PCI_CONFIG, LPC_PIRQ_REGISTERS, LPC_PIRQ_REGISTERS_LENGTH);
	field = aml_field_bytes(aml, "PIRR");
	for (i = 0; i < LPC_PIRQ_REGISTERS_LENGTH; i++) {
		unsigned pirq = i < 4 ? i : i - 4;
		char name[] = {'P', 'R', 'Q', (char)('A' + pirq), 0};

		aml_field_byte(aml, i < 4 || i >= 8 ? name : NULL);
	}
	aml_close(aml, field);
}

static void lpc_write(const struct acpi_machine *machine, struct aml *aml)
{
	size_t device = aml_device(aml, "ISA");

	aml_name_integer(aml, "_ADR", ADDRESS(machine->lpc_slot, 0));
	pirq_fields_write(aml);
	serial_write(machine, aml);
	legacy_write(aml, "RTC", "PNP0B00", 0x70, 2, 0, 0, 1u << 8);
	legacy_write(aml, "TIMR", "PNP0100", 0x40, 4, 0x61, 1, 1u << 0);
	legacy_write(aml, "PIC", "PNP0000", 0x20, 2, 0xa0, 2, 1u << 2);
	pvpanic_write(machine, aml);
	aml_close(aml, device);
}

/* If (PRQx & PIRQ_OFF) { Return (disabled) } Return (present) */
static void link_status_write(struct aml *aml, const char *reg)
{
	size_t method = aml_method(aml, "_STA", 0, !AML_SERIALIZED);
	size_t branch = aml_if(aml);

	aml_op(aml, AML_AND);
	aml_name(aml, reg);
	aml_integer(aml, PIRQ_OFF);
	aml_nowhere(aml);
	aml_op(aml, AML_RETURN);
	aml_integer(aml, STATUS_DISABLED);
	aml_close(aml, branch);
	aml_op(aml, AML_RETURN);
	aml_integer(aml, STATUS_PRESENT);
	aml_close(aml, method);
}

/* _CRS: an IRQ descriptor whose mask (its second and third byte) is 1 << the register, or 0 while it is off. */
static void link_current_write(struct aml *aml, const char *reg)
{
	size_t method = aml_method(aml, "_CRS", 0, AML_SERIALIZED), resources, branch;

	aml_name_object(aml, "BUF0");
	resources = aml_resources(aml);
	aml_resource_irq_shared(aml, 0);
	aml_resources_close(aml, resources);
	aml_op(aml, AML_CREATE_WORD_FIELD);
	aml_name(aml, "BUF0");
	aml_integer(aml, 1);
	aml_name(aml, "IRQM");
	branch = aml_if(aml);
	aml_op(aml, AML_LNOT);
	aml_op(aml, AML_AND);
	aml_name(aml, reg);
	aml_integer(aml, PIRQ_OFF);
	aml_nowhere(aml);
	aml_op(aml, AML_SHIFT_LEFT);
	aml_integer(aml, 1);
	aml_op(aml, AML_AND);
	aml_name(aml, reg);
	aml_integer(aml, PIRQ_IRQ);
	aml_nowhere(aml);
	aml_name(aml, "IRQM");
	aml_close(aml, branch);
	aml_op(aml, AML_RETURN);
	aml_name(aml, "BUF0");
	aml_close(aml, method);
}

/* _SRS: the register becomes the number of the lowest bit in the mask. */
static void link_set_write(struct aml *aml, const char *reg)
{
	size_t method = aml_method(aml, "_SRS", 1, AML_SERIALIZED);

	aml_op(aml, AML_CREATE_WORD_FIELD);
	aml_op(aml, AML_ARG0);
	aml_integer(aml, 1);
	aml_name(aml, "IRQM");
	aml_op(aml, AML_FIND_SET_RIGHT_BIT);
	aml_name(aml, "IRQM");
	aml_op(aml, AML_LOCAL0);
	aml_op(aml, AML_SUBTRACT);
	aml_op(aml, AML_LOCAL0);
	aml_integer(aml, 1);
	aml_name(aml, reg);
	aml_close(aml, method);
}

static void links_write(const struct acpi_machine *machine, struct aml *aml)
{
	unsigned i;

	for (i = 0; i < ACPI_PIRQS; i++) {
		char name[] = {'L', 'N', 'K', (char)('A' + i), 0};
		char reg[] = "\\_SB.PCI0.ISA.PRQA";
		size_t device = aml_device(aml, name), resources, method;

		reg[sizeof(reg) - 2] = (char)('A' + i);
		aml_name_eisa_id(aml, "_HID", "PNP0C0F");
		aml_name_integer(aml, "_UID", i + 1);
		aml_name_object(aml, "_PRS");
		resources = aml_resources(aml);
		aml_resource_irq_shared(aml, machine->pirq_isa_irqs);
		aml_resources_close(aml, resources);
		link_status_write(aml, reg);
		method = aml_method(aml, "_DIS", 0, !AML_SERIALIZED);
		bits_set(aml, reg, PIRQ_OFF);
		aml_close(aml, method);
		link_current_write(aml, reg);
		link_set_write(aml, reg);
		aml_close(aml, device);
	}
}

/* What is decoded and no PCI function's: ECAM, the interrupt controllers, the ACPI and PIC edge registers. */
static void motherboard_write(const struct acpi_machine *machine, struct aml *aml)
{
	size_t device = aml_device(aml, "MBRD"), resources;

	aml_name_eisa_id(aml, "_HID", "PNP0C02");
	aml_name_integer(aml, "_UID", 0);
	aml_name_object(aml, "_CRS");
	resources = aml_resources(aml);
	aml_resource_memory(aml, (uint32_t)machine->ecam_base, 256u << 20);
	aml_resource_memory(aml, machine->ioapic_base, 0x1000);
	aml_resource_memory(aml, machine->lapic_base, 0x1000);
	aml_resource_io(aml, machine->pm_event, 128);
	aml_resource_io(aml, 0x4d0, 2);
	aml_resource_io(aml, 0x92, 1);
	aml_resources_close(aml, resources);
	aml_close(aml, device);
}

static void hpet_device_write(const struct acpi_machine *machine, struct aml *aml)
{
	size_t device = aml_device(aml, "HPET"), resources;

	aml_name_eisa_id(aml, "_HID", "PNP0103");
	aml_name_integer(aml, "_UID", 0);
	aml_name_object(aml, "_CRS");
	resources = aml_resources(aml);
	aml_resource_memory(aml, machine->hpet_base, 0x400);
	aml_resources_close(aml, resources);
	aml_close(aml, device);
}

static void host_bridge_write(const struct acpi_machine *machine, struct aml *aml)
{
	size_t device = aml_device(aml, "PCI0");

	aml_name_eisa_id(aml, "_HID", "PNP0A08");
	aml_name_eisa_id(aml, "_CID", "PNP0A03");
	aml_name_integer(aml, "_UID", 0);
	aml_name_integer(aml, "_BBN", 0);
	aml_name_integer(aml, "_SEG", 0);
	host_bridge_windows_write(machine, aml);
	osc_write(aml);
	prt_write(machine, aml);
	links_write(machine, aml);
	root_ports_write(machine, aml);
	lpc_write(machine, aml);
	aml_close(aml, device);
}

/* Method (\_PIC, 1) { PICM = Arg0 }: 1 says that the system uses the IOAPIC. */
static void interrupt_model_write(struct aml *aml)
{
	size_t method;

	aml_name_integer(aml, "\\PICM", 0);
	method = aml_method(aml, "\\_PIC", 1, !AML_SERIALIZED);
	aml_op(aml, AML_STORE);
	aml_op(aml, AML_ARG0);
	aml_name(aml, "\\PICM");
	aml_close(aml, method);
}

void acpi_dsdt_write(const struct acpi_machine *machine, struct aml *aml)
{
	size_t scope, package;

	interrupt_model_write(aml);
	aml_name_object(aml, "\\_S5");
	package = aml_package(aml, 4);
	aml_integer(aml, machine->sleep_type_s5);
	aml_integer(aml, machine->sleep_type_s5);
	aml_integer(aml, 0);
	aml_integer(aml, 0);
	aml_close(aml, package);
	scope = aml_scope(aml, "\\_SB");
	processors_write(machine, aml);
	motherboard_write(machine, aml);
	hpet_device_write(machine, aml);
	host_bridge_write(machine, aml);
	aml_close(aml, scope);
}
