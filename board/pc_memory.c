/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pc_memory.c - RAM around the holes of a PC. The picture is in pc_map.h.
 */
#include "board/pc_memory.h"
#include "board/pc_map.h"

struct ram_part {
	uint64_t gpa, length, offset;
};

static void range_add(struct boot_input *input, uint64_t base, uint64_t length, uint32_t type)
{
	if (length)
		input->range[input->ranges++] = (struct boot_range){.base = base, .length = length, .type = type};
}

static void ranges_write(struct boot_input *input, uint64_t low, uint64_t above)
{
	input->ranges = 0;
	range_add(input, 0, PC_RAM_LEGACY_END, BOOT_RAM);
	range_add(input, PC_ACPI_TABLES, PC_RAM_HIGH - PC_ACPI_TABLES, BOOT_RESERVED);
	range_add(input, PC_RAM_HIGH, low - PC_RAM_HIGH, BOOT_RAM);
	range_add(input, PC_ECAM, PC_ECAM_SIZE, BOOT_RESERVED);
	range_add(input, PC_RAM_ABOVE, above, BOOT_RAM);
}

enum status pc_memory_build(struct guest_memory *memory, unsigned physical_bits, struct boot_input *input,
			    struct acpi_window *memory64, struct reason *why)
{
	uint64_t low = memory->size < PC_RAM_LOW_END ? memory->size : PC_RAM_LOW_END;
	uint64_t above = memory->size - low;
	const struct ram_part part[] = {
		{0, PC_RAM_LEGACY_END, 0},
		{PC_RAM_SHADOW, PC_RAM_HIGH - PC_RAM_SHADOW, PC_RAM_SHADOW},
		{PC_RAM_HIGH, low - PC_RAM_HIGH, PC_RAM_HIGH},
		{PC_RAM_ABOVE, above, low},
	};
	uint64_t limit = UINT64_C(1) << physical_bits;
	unsigned i;

	if (above > limit - PC_RAM_ABOVE)
		return reason_give(
			why, STATUS_RANGE,
			"memory: %llu MiB do not fit in the %u physical address bits of this CPU model; give less (--memory)",
			(unsigned long long)memory->size >> 20, physical_bits);
	for (i = 0; i < sizeof(part) / sizeof(part[0]); i++) {
		enum status status;

		if (!part[i].length)
			continue;
		status = guest_memory_slot_add(memory, part[i].gpa, part[i].length, part[i].offset, false);
		if (status != STATUS_OK)
			return reason_give(why, status, "memory: no slot for RAM at 0x%llx: %s", (unsigned long long)part[i].gpa,
					   status_name(status));
	}
	ranges_write(input, low, above);
	memory64->first = (PC_RAM_ABOVE + above + PC_MEMORY64_SIZE - 1) & ~(PC_MEMORY64_SIZE - 1);
	memory64->last = memory64->first + PC_MEMORY64_SIZE - 1;
	if (memory64->last >= limit)
		*memory64 = (struct acpi_window){.first = 1, .last = 0};
	return STATUS_OK;
}
