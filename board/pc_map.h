/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pc_map.h - where everything is in the board's address spaces: the one place that says so.
 *
 * Physical memory:
 *   0          .. 640 KiB   RAM
 *   640 KiB    .. 768 KiB   nothing (no VGA)
 *   768 KiB    .. 1 MiB     RAM; ACPI tables in the last 128 KiB
 *   1 MiB      .. 3 GiB     RAM, as much as there is
 *   3 GiB      .. 3.5 GiB   PCI memory (PC_MEMORY32)
 *   3.5 GiB    .. 3.75 GiB  PCI configuration space (ECAM)
 *   0xfec00000 IOAPIC, 0xfed00000 HPET, 0xfed1c000 RCBA, 0xfee00000 local APICs
 *   4 GiB      ..           the rest of RAM, then 64-bit PCI memory (PC_MEMORY64_SIZE, aligned to its size)
 */
#ifndef HOLON_BOARD_PC_MAP_H
#define HOLON_BOARD_PC_MAP_H

#include <stdint.h>

#define PC_RAM_LEGACY_END UINT64_C(0xa0000)
#define PC_RAM_SHADOW UINT64_C(0xc0000)
#define PC_ACPI_TABLES UINT64_C(0xe0000)
#define PC_RAM_HIGH UINT64_C(0x100000)
#define PC_RAM_LOW_END UINT64_C(0xc0000000)
#define PC_MEMORY32_FIRST UINT64_C(0xc0000000)
#define PC_MEMORY32_LAST UINT64_C(0xdfffffff)
#define PC_ECAM UINT64_C(0xe0000000)
#define PC_ECAM_SIZE UINT64_C(0x10000000)
#define PC_IOAPIC UINT64_C(0xfec00000)
#define PC_HPET UINT64_C(0xfed00000)
#define PC_LAPIC UINT64_C(0xfee00000)
#define PC_RAM_ABOVE UINT64_C(0x100000000)
#define PC_MEMORY64_SIZE UINT64_C(0x800000000) /* 32 GiB */

/* I/O ports. */
#define PC_PORT_PIC_MASTER 0x20
#define PC_PORT_PIT 0x40
#define PC_PORT_I8042_DATA 0x60
#define PC_PORT_SPEAKER 0x61
#define PC_PORT_I8042_COMMAND 0x64
#define PC_PORT_RTC 0x70
#define PC_PORT_POST 0x80
#define PC_PORT_A 0x92
#define PC_PORT_PIC_SLAVE 0xa0
#define PC_PORT_SERIAL 0x3f8
#define PC_PORT_ELCR 0x4d0
#define PC_PORT_PVPANIC 0x505
#define PC_PORT_PM 0x600 /* PMBASE of the LPC bridge */
#define PC_PORT_RESET_CONTROL 0xcf9

/* GSIs; ISA interrupt n is GSI n, but 0 is 2 at the IOAPIC. */
#define PC_IRQ_PIT 0
#define PC_IRQ_KEYBOARD 1
#define PC_IRQ_SERIAL 4
#define PC_IRQ_RTC 8
#define PC_IRQ_SCI 9
#define PC_GSI_PIRQ_A 16

/* The root bus. Slots are fixed: a guest names its disks by them. */
#define PC_SLOT_RNG 1
#define PC_SLOT_CONSOLE 2
#define PC_SLOT_DISK 3 /* and the VM_DISKS_MAX - 1 that follow */
#define PC_SLOT_NET 19 /* and the VM_NETS_MAX - 1 that follow */
#define PC_SLOT_BALLOON 23
#define PC_SLOT_VSOCK 24
#define PC_SLOT_WATCHDOG 25
#define PC_SLOT_SHARES 26     /* a function each: VM_SHARES_MAX is eight */
#define PC_SLOT_PORTS 27      /* a function each: VM_PORTS_MAX is eight */
#define PC_SLOT_ROOT_PORTS 28 /* eight functions */
#define PC_SLOT_LPC 31
#define PC_FUNCTION_SATA 2 /* of the LPC bridge's slot, as in an ICH9 */
#define PC_ROOT_PORTS 8
/* The ports have a bus each; 7 are left for switches behind them. Linux looks at every slot of every bus that it is told of: with 256 that is 60 % of its exits. */
#define PC_PCI_BUSES 16

#endif
