/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pc_memory.h - the board's RAM: which part of the VM's memory the guest sees where, and what it is told about it.
 */
#ifndef HOLON_BOARD_PC_MEMORY_H
#define HOLON_BOARD_PC_MEMORY_H

#include <holon/guest_memory.h>
#include <holon/status.h>

#include "board/acpi.h"
#include "board/boot.h"

/*
 * Adds the slots, fills in input->range, and finds a place for the 64-bit PCI window (none where the CPU's physical addresses are too
 * short for it). STATUS_RANGE: they are too short for the RAM.
 */
enum status pc_memory_build(struct guest_memory *memory, unsigned physical_bits, struct boot_input *input,
			    struct acpi_window *memory64, struct reason *why) must_check;

#endif
