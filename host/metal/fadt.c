/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fadt.c - what a machine cannot be left or timed without, from its ACPI tables (ACPI 6.4, 5.2): the power management timer, the reset register, and
 * how to switch it off. \_S5 is looked for in the AML's bytes: a package of constants under that name, which is how every firmware writes it.
 */
#include "host/metal/internal.h"

#define HEADER_BYTES 36u
#define TABLE_BYTES_MAX (16u << 20) /* beyond that it is no length but garbage */
#define GAS_BYTES 12u
#define GAS_MEMORY 0u
#define GAS_IO 1u

/* Offsets in the FADT (ACPI 6.4, table 5.9). */
#define FADT_DSDT 40u
#define FADT_SMI_COMMAND 48u
#define FADT_ACPI_ENABLE 52u
#define FADT_PM1A_CONTROL 64u
#define FADT_PM1B_CONTROL 68u
#define FADT_PM_TIMER 76u
#define FADT_FLAGS 112u
#define FADT_RESET 116u
#define FADT_RESET_VALUE 128u
#define FADT_X_DSDT 140u
#define FADT_X_PM_TIMER 208u
#define FLAG_PM_TIMER_32 (1u << 8)
#define FLAG_RESET (1u << 10)

#define AML_ZERO 0x00u
#define AML_ONE 0x01u
#define AML_NAME 0x08u
#define AML_BYTE 0x0au
#define AML_PACKAGE 0x12u
#define AML_ROOT 0x5cu

struct fadt fadt;

static uint32_t read32(const uint8_t *bytes)
{
	uint32_t value;

	__builtin_memcpy(&value, bytes, sizeof(value));
	return value;
}

static uint64_t read64(const uint8_t *bytes)
{
	uint64_t value;

	__builtin_memcpy(&value, bytes, sizeof(value));
	return value;
}

static bool is_named(const uint8_t *table, const char *name)
{
	return !__builtin_memcmp(table, name, 4);
}

static bool sums_to_zero(const uint8_t *bytes, size_t length)
{
	uint8_t sum = 0;

	while (length)
		sum = (uint8_t)(sum + bytes[--length]);
	return !sum;
}

/* A whole table at a physical address, or NULL. */
static const uint8_t *table_at(uint64_t address, uint32_t *length)
{
	const uint8_t *table = address ? page_table_firmware(address, HEADER_BYTES) : NULL;

	if (!table)
		return NULL;
	*length = read32(table + 4);
	if (*length < HEADER_BYTES || *length > TABLE_BYTES_MAX || !page_table_firmware(address, *length))
		return NULL;
	return sums_to_zero(table, *length) ? table : NULL;
}

/* PkgLength (ACPI 6.4, 20.2.4): only its own size is of interest. */
static size_t package_length_bytes(uint8_t lead)
{
	return 1 + (lead >> 6);
}

static bool constant_read(const uint8_t *aml, size_t length, size_t *at, uint8_t *value)
{
	if (*at < length && (aml[*at] == AML_ZERO || aml[*at] == AML_ONE)) {
		*value = aml[(*at)++];
		return true;
	}
	if (*at + 1 < length && aml[*at] == AML_BYTE) {
		*value = aml[*at + 1];
		*at += 2;
		return true;
	}
	return false;
}

bool fadt_off_find(const uint8_t *aml, size_t length, uint8_t type[2])
{
	for (size_t i = 1; i + 7 < length; i++) {
		size_t at = i + 5;

		if (!is_named(aml + i, "_S5_") || aml[i + 4] != AML_PACKAGE)
			continue;
		if (aml[i - 1] != AML_NAME && !(i > 1 && aml[i - 1] == AML_ROOT && aml[i - 2] == AML_NAME))
			continue;
		at += package_length_bytes(aml[at]) + 1; /* and the number of elements */
		if (constant_read(aml, length, &at, &type[0]) && constant_read(aml, length, &at, &type[1]))
			return true;
	}
	return false;
}

static void off_look(uint64_t address)
{
	uint32_t length;
	const uint8_t *table = fadt.off_known ? NULL : table_at(address, &length);

	if (table)
		fadt.off_known = fadt_off_find(table + HEADER_BYTES, length - HEADER_BYTES, fadt.off_type);
}

static struct fadt_port port_read(const uint8_t *gas)
{
	struct fadt_port port = {read64(gas + 4), gas[0] == GAS_MEMORY};

	if (port.address && port.memory && !page_table_device(port.address, 4))
		port.address = 0;
	if (gas[0] > GAS_IO)
		port.address = 0;
	return port;
}

static void fadt_read(const uint8_t *table, uint32_t length)
{
	uint32_t flags;

	if (length < FADT_FLAGS + 4)
		return;
	fadt.found = true;
	flags = read32(table + FADT_FLAGS);
	fadt.smi_command = read32(table + FADT_SMI_COMMAND);
	fadt.acpi_enable = table[FADT_ACPI_ENABLE];
	fadt.pm1a_control = read32(table + FADT_PM1A_CONTROL);
	fadt.pm1b_control = read32(table + FADT_PM1B_CONTROL);
	fadt.pm_timer.address = read32(table + FADT_PM_TIMER);
	fadt.pm_timer_32 = flags & FLAG_PM_TIMER_32;
	if (length >= FADT_X_PM_TIMER + GAS_BYTES && read64(table + FADT_X_PM_TIMER + 4))
		fadt.pm_timer = port_read(table + FADT_X_PM_TIMER);
	if (flags & FLAG_RESET && length > FADT_RESET_VALUE) {
		fadt.reset = port_read(table + FADT_RESET);
		fadt.reset_value = table[FADT_RESET_VALUE];
	}
	if (length >= FADT_X_DSDT + 8)
		off_look(read64(table + FADT_X_DSDT));
	off_look(read32(table + FADT_DSDT));
}

/* The RSDT has 32-bit addresses, the XSDT 64-bit ones. */
static void root_read(uint64_t address, unsigned width)
{
	uint32_t length, table_length;
	const uint8_t *root = table_at(address, &length), *table;

	for (uint32_t at = HEADER_BYTES; root && at + width <= length; at += width) {
		uint64_t entry = width == 8 ? read64(root + at) : read32(root + at);

		table = table_at(entry, &table_length);
		if (table && is_named(table, "FACP"))
			fadt_read(table, table_length);
		else if (table && is_named(table, "SSDT"))
			off_look(entry);
	}
}

void fadt_start(const struct multiboot *multiboot)
{
	const uint8_t *rsdp = multiboot->rsdp;

	if (!rsdp || multiboot->rsdp_length < 20)
		return;
	if (rsdp[15] >= 2 && multiboot->rsdp_length >= 36)
		root_read(read64(rsdp + 24), 8);
	if (!fadt.found)
		root_read(read32(rsdp + 16), 4);
}
