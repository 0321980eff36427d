/* SPDX-License-Identifier: Apache-2.0 */
/*
 * acpi.c - the ACPI tables that are plain data, and the frame that all of them share. The DSDT is in acpi_dsdt.c.
 */
#include "board/acpi.h"

#define HEADER_SIZE 36u
#define HEADER_LENGTH 4
#define HEADER_CHECKSUM 9
#define RSDP_SIZE 36u
#define RSDP_V1_SIZE 20u
#define RSDP_V1_CHECKSUM 8
#define RSDP_REVISION 15
#define RSDP_RSDT 16
#define RSDP_LENGTH 20
#define RSDP_XSDT 24
#define RSDP_CHECKSUM 32
#define FACS_SIZE 64u
#define ROOT_TABLES 4u

#define SPACE_MEMORY 0
#define SPACE_IO 1

/* FADT, 5.2.9. */
#define FADT_REVISION 6
#define FADT_SIZE 276u
#define FADT_MINOR 4 /* the specification's: 6.4 */
#define FADT_FLAG_WBINVD 0x1u
#define FADT_FLAG_PROC_C1 0x4u
#define FADT_FLAG_SLP_BUTTON 0x20u /* there is none in fixed hardware; the power button is */
#define FADT_FLAG_FIX_RTC 0x40u    /* RTC wake is not in fixed hardware */
#define FADT_FLAG_TMR_VAL_EXT 0x100u
#define FADT_FLAG_RESET_REG_SUP 0x400u
#define FADT_BOOT_LEGACY_DEVICES 0x1u /* the serial port */
#define FADT_BOOT_NO_VGA 0x4u
#define FADT_BOOT_NO_ASPM 0x10u
#define FADT_PROFILE_ENTERPRISE_SERVER 4
#define FADT_LATENCY_NO_C2 101
#define FADT_LATENCY_NO_C3 1001
#define FADT_CENTURY 0x32

#define MADT_PCAT_COMPAT 1u
#define MADT_LAPIC 0
#define MADT_IOAPIC 1
#define MADT_OVERRIDE 2
#define MADT_LAPIC_NMI 4
#define MADT_LAPIC_ENABLED 1u
#define MADT_ALL_PROCESSORS 0xff
#define MPS_BUS_DEFAULT 0
#define MPS_ACTIVE_HIGH_LEVEL 0xd

/* Tables are written one behind the other; an aml buffer is as good a cursor as any. */
struct acpi_writer {
	struct aml out;
	uint64_t gpa;
};

static void put(struct acpi_writer *writer, uint64_t value, unsigned size)
{
	aml_bytes(&writer->out, &value, size);
}

static void align(struct acpi_writer *writer, size_t alignment)
{
	while (!writer->out.failed && (writer->out.length & (alignment - 1)))
		aml_byte(&writer->out, 0);
}

static uint8_t checksum(const uint8_t *bytes, size_t length)
{
	uint8_t sum = 0;

	while (length--)
		sum = (uint8_t)(sum + *bytes++);
	return (uint8_t)-sum;
}

/* 5.2.6; returns where the table starts. */
static size_t table_open(struct acpi_writer *writer, const char *signature, uint8_t revision)
{
	size_t start;

	align(writer, 16);
	start = writer->out.length;
	aml_bytes(&writer->out, signature, 4);
	put(writer, 0, 4); /* length */
	put(writer, revision, 1);
	put(writer, 0, 1); /* checksum */
	aml_bytes(&writer->out, "HOLON ", 6);
	aml_bytes(&writer->out, "HOLONPC ", 8);
	put(writer, 1, 4); /* OEM revision */
	aml_bytes(&writer->out, "HOLN", 4);
	put(writer, 1, 4); /* creator revision */
	return start;
}

static void table_close(struct acpi_writer *writer, size_t start)
{
	uint8_t *table = writer->out.bytes + start;
	uint32_t length = (uint32_t)(writer->out.length - start);

	if (writer->out.failed)
		return;
	__builtin_memcpy(table + HEADER_LENGTH, &length, sizeof(length));
	table[HEADER_CHECKSUM] = checksum(table, length);
}

/* Generic Address Structure, 5.2.3.2; length 0: no such register. */
static void address_put(struct acpi_writer *writer, uint8_t space, uint64_t address, unsigned length)
{
	static const uint8_t access[] = {[1] = 1, [2] = 2, [4] = 3};

	put(writer, length ? space : 0, 1);
	put(writer, length * 8, 1);
	put(writer, 0, 1);
	put(writer, length <= 4 ? access[length] : 1, 1); /* GPE blocks go byte by byte */
	put(writer, length ? address : 0, 8);
}

static uint64_t facs_write(struct acpi_writer *writer)
{
	static const uint8_t rest[FACS_SIZE - 33];
	size_t start;

	align(writer, 64);
	start = writer->out.length;
	aml_bytes(&writer->out, "FACS", 4);
	put(writer, FACS_SIZE, 4);
	put(writer, 0, 8); /* hardware signature, waking vector */
	put(writer, 0, 8); /* global lock, flags */
	put(writer, 0, 8); /* 64-bit waking vector */
	put(writer, 2, 1); /* version */
	aml_bytes(&writer->out, rest, sizeof(rest));
	return writer->gpa + start;
}

static uint64_t dsdt_write(struct acpi_writer *writer, const struct acpi_machine *machine)
{
	size_t start = table_open(writer, "DSDT", 2);

	acpi_dsdt_write(machine, &writer->out);
	table_close(writer, start);
	return writer->gpa + start;
}

static void fadt_blocks_put(struct acpi_writer *writer, const struct acpi_machine *machine)
{
	put(writer, machine->pm_event, 4);
	put(writer, 0, 4); /* PM1b event */
	put(writer, machine->pm_control, 4);
	put(writer, 0, 4); /* PM1b control */
	put(writer, 0, 4); /* PM2 control */
	put(writer, machine->pm_timer, 4);
	put(writer, machine->gpe0, 4);
	put(writer, 0, 4); /* GPE1 */
	put(writer, 4, 1); /* lengths: PM1 event, PM1 control, PM2 control, PM timer, GPE0, GPE1 */
	put(writer, 2, 1);
	put(writer, 0, 1);
	put(writer, 4, 1);
	put(writer, machine->gpe0_length, 1);
	put(writer, 0, 1);
	put(writer, 0, 2); /* GPE1 base, CST_CNT */
}

static void fadt_extended_put(struct acpi_writer *writer, const struct acpi_machine *machine, uint64_t dsdt)
{
	put(writer, 0, 8); /* X_FIRMWARE_CTRL: FIRMWARE_CTRL has it */
	put(writer, dsdt, 8);
	address_put(writer, SPACE_IO, machine->pm_event, 4);
	address_put(writer, SPACE_IO, 0, 0);
	address_put(writer, SPACE_IO, machine->pm_control, 2);
	address_put(writer, SPACE_IO, 0, 0);
	address_put(writer, SPACE_IO, 0, 0);
	address_put(writer, SPACE_IO, machine->pm_timer, 4);
	address_put(writer, SPACE_IO, machine->gpe0, machine->gpe0_length);
	address_put(writer, SPACE_IO, 0, 0);
	address_put(writer, SPACE_IO, 0, 0); /* sleep control and status: reduced hardware only */
	address_put(writer, SPACE_IO, 0, 0);
	put(writer, 0, 8); /* hypervisor vendor: for the guest to ask CPUID */
}

static uint64_t fadt_write(struct acpi_writer *writer, const struct acpi_machine *machine, uint64_t facs, uint64_t dsdt)
{
	size_t start = table_open(writer, "FACP", FADT_REVISION);

	put(writer, facs, 4);
	put(writer, dsdt, 4);
	put(writer, 0, 1);
	put(writer, FADT_PROFILE_ENTERPRISE_SERVER, 1);
	put(writer, machine->sci_gsi, 2);
	put(writer, 0, 4); /* SMI_CMD: always in ACPI mode */
	put(writer, 0, 4); /* ACPI_ENABLE, ACPI_DISABLE, S4BIOS_REQ, PSTATE_CNT */
	fadt_blocks_put(writer, machine);
	put(writer, FADT_LATENCY_NO_C2, 2);
	put(writer, FADT_LATENCY_NO_C3, 2);
	put(writer, 0, 4); /* cache flush size and stride: WBINVD works */
	put(writer, 0, 2); /* duty cycle: none */
	put(writer, 0, 2); /* RTC alarms: day, month */
	put(writer, FADT_CENTURY, 1);
	put(writer, FADT_BOOT_LEGACY_DEVICES | FADT_BOOT_NO_VGA | FADT_BOOT_NO_ASPM, 2);
	put(writer, 0, 1);
	put(writer,
	    FADT_FLAG_WBINVD | FADT_FLAG_PROC_C1 | FADT_FLAG_SLP_BUTTON | FADT_FLAG_FIX_RTC | FADT_FLAG_TMR_VAL_EXT |
		    FADT_FLAG_RESET_REG_SUP,
	    4);
	address_put(writer, SPACE_IO, machine->reset_port, 1);
	put(writer, machine->reset_value, 1);
	put(writer, 0, 2); /* ARM boot flags */
	put(writer, FADT_MINOR, 1);
	fadt_extended_put(writer, machine, dsdt);
	table_close(writer, start);
	return writer->gpa + start;
}

static void override_put(struct acpi_writer *writer, uint8_t isa_irq, uint8_t gsi, uint16_t flags)
{
	put(writer, MADT_OVERRIDE, 1);
	put(writer, 10, 1);
	put(writer, 0, 1); /* ISA */
	put(writer, isa_irq, 1);
	put(writer, gsi, 4);
	put(writer, flags, 2);
}

static uint64_t madt_write(struct acpi_writer *writer, const struct acpi_machine *machine)
{
	size_t start = table_open(writer, "APIC", 5);
	unsigned i;

	put(writer, machine->lapic_base, 4);
	put(writer, MADT_PCAT_COMPAT, 4);
	for (i = 0; i < machine->cpus; i++) {
		put(writer, MADT_LAPIC, 1);
		put(writer, 8, 1);
		put(writer, i, 1); /* _UID of the processor device */
		put(writer, i, 1); /* APIC ID */
		put(writer, MADT_LAPIC_ENABLED, 4);
	}
	put(writer, MADT_IOAPIC, 1);
	put(writer, 12, 1);
	put(writer, 0, 1); /* its ID after reset */
	put(writer, 0, 1);
	put(writer, machine->ioapic_base, 4);
	put(writer, 0, 4); /* first GSI */
	override_put(writer, 0, 2, MPS_BUS_DEFAULT);
	override_put(writer, machine->sci_gsi, machine->sci_gsi, MPS_ACTIVE_HIGH_LEVEL);
	put(writer, MADT_LAPIC_NMI, 1);
	put(writer, 6, 1);
	put(writer, MADT_ALL_PROCESSORS, 1);
	put(writer, MPS_BUS_DEFAULT, 2);
	put(writer, 1, 1); /* LINT1 */
	table_close(writer, start);
	return writer->gpa + start;
}

static uint64_t mcfg_write(struct acpi_writer *writer, const struct acpi_machine *machine)
{
	size_t start = table_open(writer, "MCFG", 1);

	put(writer, 0, 8);
	put(writer, machine->ecam_base, 8);
	put(writer, 0, 2);                      /* segment */
	put(writer, 0, 1);                      /* first bus */
	put(writer, machine->pci_buses - 1, 1); /* last bus */
	put(writer, 0, 4);
	table_close(writer, start);
	return writer->gpa + start;
}

/* IA-PC HPET 1.0a, 3.2.4. */
static uint64_t hpet_write(struct acpi_writer *writer, const struct acpi_machine *machine)
{
	size_t start = table_open(writer, "HPET", 1);

	put(writer, machine->hpet_id, 4);
	put(writer, SPACE_MEMORY, 1);
	put(writer, 64, 1);
	put(writer, 0, 2);
	put(writer, machine->hpet_base, 8);
	put(writer, 0, 1);   /* number */
	put(writer, 100, 2); /* shortest period in ticks */
	put(writer, 0, 1);
	table_close(writer, start);
	return writer->gpa + start;
}

/* XSDT and RSDT differ in the size of their entries; the RSDT is for what was written before ACPI 2.0. */
static uint64_t root_table_write(struct acpi_writer *writer, const char *signature, unsigned entry_size,
				 const uint64_t table[ROOT_TABLES])
{
	size_t start = table_open(writer, signature, 1);
	unsigned i;

	for (i = 0; i < ROOT_TABLES; i++)
		put(writer, table[i], entry_size);
	table_close(writer, start);
	return writer->gpa + start;
}

/* 5.2.5.3. */
static void rsdp_write(uint8_t *rsdp, uint64_t rsdt, uint64_t xsdt)
{
	__builtin_memset(rsdp, 0, RSDP_SIZE);
	__builtin_memcpy(rsdp, "RSD PTR ", 8);
	__builtin_memcpy(rsdp + RSDP_V1_CHECKSUM + 1, "HOLON ", 6);
	rsdp[RSDP_REVISION] = 2;
	__builtin_memcpy(rsdp + RSDP_RSDT, &rsdt, 4);
	rsdp[RSDP_LENGTH] = RSDP_SIZE;
	__builtin_memcpy(rsdp + RSDP_XSDT, &xsdt, sizeof(xsdt));
	rsdp[RSDP_V1_CHECKSUM] = checksum(rsdp, RSDP_V1_SIZE);
	rsdp[RSDP_CHECKSUM] = checksum(rsdp, RSDP_SIZE);
}

size_t acpi_build(const struct acpi_machine *machine, uint8_t *buffer, size_t capacity, uint64_t gpa)
{
	struct acpi_writer writer = {.out = {.bytes = buffer, .capacity = capacity}, .gpa = gpa};
	static const uint8_t rsdp[RSDP_SIZE];
	uint64_t table[ROOT_TABLES], facs, dsdt, rsdt, xsdt;

	aml_bytes(&writer.out, rsdp, sizeof(rsdp));
	facs = facs_write(&writer);
	dsdt = dsdt_write(&writer, machine);
	table[0] = fadt_write(&writer, machine, facs, dsdt);
	table[1] = madt_write(&writer, machine);
	table[2] = mcfg_write(&writer, machine);
	table[3] = hpet_write(&writer, machine);
	rsdt = root_table_write(&writer, "RSDT", 4, table);
	xsdt = root_table_write(&writer, "XSDT", 8, table);
	if (writer.out.failed)
		return 0;
	rsdp_write(buffer, rsdt, xsdt);
	return writer.out.length;
}
