/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pc.h - struct board: the machine in one piece. pc.c builds it, pc_boot.c starts it; nobody else sees it.
 */
#ifndef HOLON_BOARD_PC_H
#define HOLON_BOARD_PC_H

#include <holon/board.h>
#include <holon/vm.h>

#include "board/acpi.h"
#include "board/boot.h"
#include "board/pc_map.h"
#include "device/acpi_pm.h"
#include "device/ahci.h"
#include "device/debug_exit.h"
#include "device/hpet.h"
#include "device/i8042.h"
#include "device/ioapic.h"
#include "device/lapic.h"
#include "device/nvme.h"
#include "device/pci/pci.h"
#include "device/pci/pci_lpc.h"
#include "device/pci/pci_root_port.h"
#include "device/pic.h"
#include "device/pit.h"
#include "device/port_a.h"
#include "device/post_port.h"
#include "device/pvpanic.h"
#include "device/rtc.h"
#include "device/serial.h"
#include "device/virtio/virtio_balloon.h"
#include "device/virtio/virtio_blk.h"
#include "device/virtio/virtio_console.h"
#include "device/virtio/virtio_net.h"
#include "device/virtio/virtio_peer.h"
#include "device/virtio/virtio_rng.h"
#include "device/virtio/virtio_port.h"
#include "device/virtio/virtio_vsock.h"
#include "device/watchdog.h"
#include "x86/cpuid.h"

/* The device that a disk of the configuration is: one of these. */
struct pc_disk {
	struct virtio_blk *virtio;
	struct nvme *nvme;
	struct virtio_peer *peer;
	bool sata; /* a drive of board->ahci */
};

struct board {
	struct vm *vm;
	struct board_backends backends;
	struct x86_cpu_model model;
	struct boot boot;
	struct acpi_window memory32, memory64;
	struct device **devices_end; /* in the VM's list: where ours begin */
	unsigned parts;              /* rows of the table that have been created */
	/* The devices and what creating them finds out: from `lapics` to the end all is zeroed when they are made anew. */
	struct lapic_set lapics;
	struct pic pic;
	struct ioapic ioapic;
	struct pit pit;
	struct rtc rtc;
	struct hpet hpet;
	struct acpi_pm acpi_pm;
	struct serial serial;
	struct i8042 i8042;
	struct port_a port_a;
	struct post_port post_port;
	struct pvpanic pvpanic;
	struct debug_exit debug_exit;
	struct pci_host *pci;
	struct pci_lpc *lpc;
	struct pci_root_port *root_port[PC_ROOT_PORTS];
	struct virtio_rng *rng;
	struct watchdog *watchdog;
	struct virtio_balloon *balloon;
	struct virtio_vsock *vsock;
	struct virtio_console *console;
	struct chardev console_tap; /* its output to the console that the serial port has */
	struct pc_disk disk[VM_DISKS_MAX];
	unsigned disks;
	struct virtio_peer *share[VM_SHARES_MAX];
	unsigned shares;
	struct virtio_port *port[VM_PORTS_MAX];
	unsigned ports;
	struct ahci *ahci; /* where a disk or CD-ROM is at it */
	struct virtio_net *net[VM_NETS_MAX];
	unsigned nets;
	uint32_t slots; /* of the root bus that have interrupt pins */
};

/* vm->boot, pc_boot.c: after every reset of devices and vcpus, while no vcpu runs. `object` is the struct board. */
void pc_boot(void *object);

#endif
