/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pc_small.c - what the owner may add to the machine: a watchdog. Called from pc.c's table.
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
