/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pc_small.c - what the owner may add to the machine: a watchdog, a balloon, sockets, console ports. Called from pc.c's table.
 */
#include "board/pc_small.h"

#include "board/pc.h"

static void watchdog_expired(void *machine)
{
	struct board *board = machine;
	struct vm *vm = board->vm;

	switch (vm->config->watchdog) {
	case WATCHDOG_POWER_OFF:
		host_log(HOST_LOG_WARN, "the guest let its watchdog run out: the VM is switched off");
		vm_end_request(vm, VM_END_POWER_OFF);
		break;
	case WATCHDOG_CRASH:
		host_log(HOST_LOG_ERROR, "the guest let its watchdog run out");
		vm_end_request(vm, VM_END_CRASH);
		break;
	default: host_log(HOST_LOG_WARN, "the guest let its watchdog run out: the VM is reset"); vm_reset_request(vm);
	}
}

enum status pc_watchdog_create(struct board *board, struct reason *why)
{
	struct vm *vm = board->vm;
	enum status status;

	(void)why;
	if (vm->config->watchdog == WATCHDOG_NONE)
		return STATUS_OK;
	status = watchdog_create(&board->watchdog, &board->pci->root, PCI_DEVFN(PC_SLOT_WATCHDOG, 0), &vm->clock, watchdog_expired,
				 board);
	if (status == STATUS_OK) {
		vm_device_add(vm, watchdog_device(board->watchdog));
		board->slots |= 1u << PC_SLOT_WATCHDOG;
	}
	return status;
}

void pc_watchdog_destroy(struct board *board)
{
	if (board->watchdog)
		watchdog_destroy(board->watchdog);
}

#define NS_PER_SECOND UINT64_C(1000000000)

enum status pc_balloon_create(struct board *board, struct reason *why)
{
	struct vm *vm = board->vm;
	const struct balloon_config *config = &vm->config->balloon;
	enum status status;

	(void)why;
	if (!config->present)
		return STATUS_OK;
	status = virtio_balloon_create(&board->balloon, &board->pci->root, PCI_DEVFN(PC_SLOT_BALLOON, 0), &vm->memory, &vm->irq,
				       &vm->clock, config->target, config->stats_seconds * NS_PER_SECOND);
	if (status == STATUS_OK) {
		vm_device_add(vm, virtio_balloon_device(board->balloon));
		board->slots |= 1u << PC_SLOT_BALLOON;
	}
	return status;
}

void pc_balloon_destroy(struct board *board)
{
	if (board->balloon)
		virtio_balloon_destroy(board->balloon);
}

bool board_balloon_report(struct board *board, struct balloon_report *report)
{
	if (board->balloon)
		virtio_balloon_report(board->balloon, report);
	return board->balloon != NULL;
}

void board_balloon_target_set(struct board *board, uint64_t target)
{
	if (board->balloon)
		virtio_balloon_target_set(board->balloon, target);
}

enum status pc_vsock_create(struct board *board, struct reason *why)
{
	struct vm *vm = board->vm;
	enum status status;

	(void)why;
	if (!board->backends.vsock)
		return STATUS_OK;
	status = virtio_vsock_create(&board->vsock, &board->pci->root, PCI_DEVFN(PC_SLOT_VSOCK, 0), &vm->memory, &vm->irq,
				     board->backends.vsock);
	if (status == STATUS_OK) {
		vm_device_add(vm, virtio_vsock_device(board->vsock));
		board->slots |= 1u << PC_SLOT_VSOCK;
	}
	return status;
}

void pc_vsock_destroy(struct board *board)
{
	if (board->vsock)
		virtio_vsock_destroy(board->vsock);
}

enum status pc_ports_create(struct board *board, struct reason *why)
{
	struct vm *vm = board->vm;

	(void)why;
	while (board->ports < vm->config->ports) {
		unsigned i = board->ports;
		enum status status = virtio_port_create(&board->port[i], &board->pci->root, PCI_DEVFN(PC_SLOT_PORTS, i),
							&vm->memory, &vm->irq, board->backends.port[i], vm->config->port[i].name);

		if (status != STATUS_OK)
			return status;
		vm_device_add(vm, virtio_port_device(board->port[i]));
		board->slots |= 1u << PC_SLOT_PORTS;
		board->ports++;
	}
	return STATUS_OK;
}

void pc_ports_destroy(struct board *board)
{
	while (board->ports)
		virtio_port_destroy(board->port[--board->ports]);
}
