/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pc_nets.c - a network card for each network of the configuration, and where it sits. Called from pc.c's table.
 */
#include "board/pc_nets.h"

#include "board/pc.h"

enum status pc_nets_create(struct board *board, struct reason *why)
{
	struct vm *vm = board->vm;

	(void)why;
	while (board->nets < vm->config->nets) {
		const struct net_config *config = &vm->config->net[board->nets];
		struct virtio_net_setup setup = {
			.backend = board->backends.net[board->nets],
			.bytes = {config->bytes.second, config->bytes.burst},
			.frames = {config->frames.second, config->frames.burst},
		};
		unsigned slot = PC_SLOT_NET + board->nets;
		enum status status;

		__builtin_memcpy(setup.mac, config->mac, sizeof(setup.mac));
		status = virtio_net_create(&board->net[board->nets], &board->pci->root, PCI_DEVFN(slot, 0), &vm->memory, &vm->irq,
					   &vm->clock, &setup);
		if (status != STATUS_OK)
			return status;
		vm_device_add(vm, virtio_net_device(board->net[board->nets]));
		board->slots |= 1u << slot;
		board->nets++;
	}
	return STATUS_OK;
}

void pc_nets_destroy(struct board *board)
{
	while (board->nets)
		virtio_net_destroy(board->net[--board->nets]);
}
