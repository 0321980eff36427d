/* SPDX-License-Identifier: Apache-2.0 */
/*
 * acpi_test.c - the ACPI tables: checksums, lengths and pointers, and Intel's compiler takes every one apart and together again
 * without an error or a warning.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "board/acpi.h"

#define TABLES_GPA 0xe0000u
#define TABLES_SIZE 0x20000u

static uint8_t tables[TABLES_SIZE];
static uint8_t pirq[32][4];
static const uint8_t gsi[ACPI_PIRQS] = {16, 17, 18, 19, 20, 21, 22, 23};

static struct acpi_machine machine_make(unsigned cpus)
{
	for (unsigned slot = 0; slot < 32; slot++)
		for (unsigned pin = 0; pin < 4; pin++)
			pirq[slot][pin] = (uint8_t)((slot + pin) & 7);
	return (struct acpi_machine){
		.cpus = cpus,
		.lapic_base = 0xfee00000,
		.ioapic_base = 0xfec00000,
		.hpet_base = 0xfed00000,
		.hpet_id = 0x8086a201,
		.ecam_base = 0xe0000000,
		.pci_buses = 16,
		.memory32 = {0xc0000000, 0xdfffffff},
		.memory64 = {UINT64_C(0x800000000), UINT64_C(0xfffffffff)},
		.slots = 0xfffffffe,
		.pirq = pirq,
		.pirq_gsi = gsi,
		.pirq_isa_irqs = 0xc20,
		.root_port_slot = 28,
		.root_ports = 8,
		.lpc_slot = 31,
		.pm_event = 0x600,
		.pm_control = 0x604,
		.pm_timer = 0x608,
		.gpe0 = 0x620,
		.gpe0_length = 16,
		.sci_gsi = 9,
		.sleep_type_s5 = 5,
		.reset_port = 0xcf9,
		.reset_value = 6,
		.serial_port = 0x3f8,
		.serial_irq = 4,
		.pvpanic_port = 0x505,
	};
}

static uint32_t long_at(const uint8_t *bytes)
{
	uint32_t value;

	memcpy(&value, bytes, sizeof(value));
	return value;
}

static uint64_t quad_at(const uint8_t *bytes)
{
	uint64_t value;

	memcpy(&value, bytes, sizeof(value));
	return value;
}

static const uint8_t *table_at(uint64_t gpa, size_t used)
{
	assert_in_range(gpa, TABLES_GPA, TABLES_GPA + used - 36);
	return tables + (gpa - TABLES_GPA);
}

static unsigned sum(const uint8_t *bytes, size_t length)
{
	unsigned total = 0;

	while (length--)
		total += *bytes++;
	return total & 0xff;
}

static void table_check(const uint8_t *table, size_t used)
{
	assert_in_range(long_at(table + 4), 36, used - (size_t)(table - tables));
	assert_int_equal(sum(table, long_at(table + 4)), 0);
}

static const uint8_t *table_find(const char *signature, size_t used)
{
	const uint8_t *xsdt = table_at(quad_at(tables + 24), used);

	for (size_t at = 36; at < long_at(xsdt + 4); at += 8) {
		const uint8_t *table = table_at(quad_at(xsdt + at), used);

		if (!memcmp(table, signature, 4))
			return table;
	}
	return NULL;
}

static void pointers_and_checksums_hold(void **state)
{
	(void)state;
	for (unsigned cpus = 1; cpus <= 64; cpus *= 2) {
		struct acpi_machine machine = machine_make(cpus);
		size_t used = acpi_build(&machine, tables, sizeof(tables), TABLES_GPA);
		const uint8_t *xsdt, *rsdt, *fadt;

		assert_int_not_equal(used, 0);
		assert_memory_equal(tables, "RSD PTR ", 8);
		assert_int_equal(sum(tables, 20), 0);
		assert_int_equal(sum(tables, 36), 0);
		xsdt = table_at(quad_at(tables + 24), used);
		rsdt = table_at(long_at(tables + 16), used);
		assert_memory_equal(xsdt, "XSDT", 4);
		assert_memory_equal(rsdt, "RSDT", 4);
		table_check(xsdt, used);
		table_check(rsdt, used);
		assert_int_equal((long_at(xsdt + 4) - 36) / 8, (long_at(rsdt + 4) - 36) / 4);
		for (size_t at = 36; at < long_at(xsdt + 4); at += 8) {
			assert_int_equal(quad_at(xsdt + at), long_at(rsdt + 36 + (at - 36) / 2));
			table_check(table_at(quad_at(xsdt + at), used), used);
		}
		fadt = table_find("FACP", used);
		assert_non_null(fadt);
		assert_int_equal(long_at(fadt + 4), 276);
		assert_int_equal(long_at(fadt + 36) % 64, 0);
		assert_memory_equal(table_at(long_at(fadt + 36), used), "FACS", 4);
		assert_int_equal(long_at(table_at(long_at(fadt + 36), used) + 4), 64);
		assert_int_equal(long_at(fadt + 40), quad_at(fadt + 140));
		table_check(table_at(long_at(fadt + 40), used), used);
	}
}

static void fadt_has_its_registers_where_the_specification_says(void **state)
{
	struct acpi_machine machine = machine_make(1);
	size_t used = acpi_build(&machine, tables, sizeof(tables), TABLES_GPA);
	const uint8_t *fadt = table_find("FACP", used);

	(void)state;
	assert_int_equal(fadt[46], 9);
	assert_int_equal(long_at(fadt + 56), 0x600);
	assert_int_equal(long_at(fadt + 64), 0x604);
	assert_int_equal(long_at(fadt + 76), 0x608);
	assert_int_equal(long_at(fadt + 80), 0x620);
	assert_int_equal(fadt[88], 4);
	assert_int_equal(fadt[92], 16);
	assert_int_equal(fadt[116], 1);
	assert_int_equal(quad_at(fadt + 120), 0xcf9);
	assert_int_equal(fadt[128], 6);
	assert_int_equal(quad_at(fadt + 148 + 4), 0x600);
	assert_int_equal(quad_at(fadt + 172 + 4), 0x604);
	assert_int_equal(quad_at(fadt + 208 + 4), 0x608);
	assert_int_equal(quad_at(fadt + 220 + 4), 0x620);
}

static void madt_names_every_processor(void **state)
{
	struct acpi_machine machine = machine_make(64);
	size_t used = acpi_build(&machine, tables, sizeof(tables), TABLES_GPA);
	const uint8_t *madt = table_find("APIC", used);
	unsigned processors = 0;
	size_t at = 44;

	(void)state;
	while (at < long_at(madt + 4)) {
		assert_int_not_equal(madt[at + 1], 0);
		if (madt[at] == 0)
			assert_int_equal(madt[at + 3], processors++);
		at += madt[at + 1];
	}
	assert_int_equal(at, long_at(madt + 4));
	assert_int_equal(processors, 64);
}

static void too_small_a_buffer_is_refused(void **state)
{
	struct acpi_machine machine = machine_make(8);
	size_t used = acpi_build(&machine, tables, sizeof(tables), TABLES_GPA);

	(void)state;
	for (size_t capacity = 0; capacity < used; capacity += 13) {
		uint8_t *exact = malloc(capacity + 1); /* ASan sees the first byte too far */

		assert_int_equal(acpi_build(&machine, exact, capacity, TABLES_GPA), 0);
		free(exact);
	}
}

static void package_lengths_are_as_short_as_they_can_be(void **state)
{
	static const struct {
		size_t body, encoded;
	} sizes[] = {{0, 1}, {62, 1}, {63, 2}, {4093, 2}, {4094, 3}};
	static uint8_t bytes[8192];

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct aml aml = {.bytes = bytes, .capacity = sizeof(bytes)};
		size_t mark = aml_if(&aml);

		for (size_t n = 0; n < sizes[i].body; n++)
			aml_byte(&aml, 0xa3);
		aml_close(&aml, mark);
		assert_int_equal(aml.length, 1 + sizes[i].encoded + sizes[i].body);
		assert_int_equal(bytes[1] >> 6, sizes[i].encoded - 1);
		assert_int_equal(bytes[1 + sizes[i].encoded], sizes[i].body ? 0xa3 : bytes[2]);
	}
}

static void names_and_ids_are_encoded_as_ASL_would(void **state)
{
	static const uint8_t wanted[] = {'\\', 0x2e, '_', 'S', 'B', '_',  'P',  'C',  'I',  '0',
					 '^',  'I',  'S', 'A', '_', 0x0c, 0x41, 0xd0, 0x0a, 0x08};
	uint8_t bytes[64];
	struct aml aml = {.bytes = bytes, .capacity = sizeof(bytes)};

	(void)state;
	aml_name(&aml, "\\_SB.PCI0");
	aml_name(&aml, "^ISA");
	aml_eisa_id(&aml, "PNP0A08");
	assert_int_equal(aml.length, sizeof(wanted));
	assert_memory_equal(bytes, wanted, sizeof(wanted));
}

static void table_dump(const char *folder, const char *name, const uint8_t *table)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s.dat", folder, name);
	file = fopen(path, "wb");
	assert_non_null(file);
	assert_int_equal(fwrite(table, 1, long_at(table + 4), file), long_at(table + 4));
	fclose(file);
}

/* Runs iasl; its output must name no error and no warning. */
static void iasl_run(const char *folder, const char *arguments)
{
	char command[512], line[512];
	FILE *output;

	snprintf(command, sizeof(command), "cd %s && iasl %s 2>&1", folder, arguments);
	output = popen(command, "r");
	assert_non_null(output);
	while (fgets(line, sizeof(line), output)) {
		if (strstr(line, "Error ") || strstr(line, "Warning ") || strstr(line, "Could not") || strstr(line, "Invalid"))
			fail_msg("iasl %s: %s", arguments, line);
	}
	assert_int_equal(pclose(output), 0);
}

static void iasl_takes_every_table(void **state)
{
	static const char *const names[] = {"FACP", "APIC", "MCFG", "HPET", "DSDT"};
	char folder[] = "/tmp/holon-acpi-XXXXXX", command[300];

	(void)state;
	if (system("command -v iasl >/dev/null 2>&1") != 0) {
		print_message("skipped: no iasl (Debian's acpica-tools) on this machine\n");
		skip();
	}
	assert_non_null(mkdtemp(folder));
	for (unsigned cpus = 1; cpus <= 64; cpus *= 8) {
		struct acpi_machine machine = machine_make(cpus);
		size_t used = acpi_build(&machine, tables, sizeof(tables), TABLES_GPA);
		const uint8_t *fadt = table_find("FACP", used);

		for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
			bool dsdt = !strcmp(names[i], "DSDT");

			table_dump(folder, names[i], dsdt ? table_at(long_at(fadt + 40), used) : table_find(names[i], used));
			snprintf(command, sizeof(command), "-d %s.dat", names[i]);
			iasl_run(folder, command);
			snprintf(command, sizeof(command), "-p again %s.dsl", names[i]);
			iasl_run(folder, command);
		}
	}
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	assert_int_equal(system(command), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pointers_and_checksums_hold),
		cmocka_unit_test(fadt_has_its_registers_where_the_specification_says),
		cmocka_unit_test(madt_names_every_processor),
		cmocka_unit_test(too_small_a_buffer_is_refused),
		cmocka_unit_test(package_lengths_are_as_short_as_they_can_be),
		cmocka_unit_test(names_and_ids_are_encoded_as_ASL_would),
		cmocka_unit_test(iasl_takes_every_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
