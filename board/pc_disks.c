/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pc_disks.c - which device each disk of the configuration is, and where it sits. Called from pc.c's table.
 */
#include "board/pc_disks.h"

#include "board/pc.h"

static enum status peer_disk_create(struct board *board, unsigned i, uint8_t devfn)
{
	struct vm *vm = board->vm;
	enum status status = virtio_peer_create(&board->disk[i].peer, &board->pci->root, devfn, &vm->memory, &vm->irq, &vm->clock,
						board->backends.disk_peer[i]);

	if (status == STATUS_OK)
		vm_device_add(vm, virtio_peer_device(board->disk[i].peer));
	return status;
}

static enum status virtio_disk_create(struct board *board, unsigned i, uint8_t devfn)
{
	struct vm *vm = board->vm;
	unsigned queues = vm->vcpus < VIRTIO_BLK_QUEUES_MAX ? vm->vcpus : VIRTIO_BLK_QUEUES_MAX;
	enum status status;

	if (board->backends.disk_peer[i])
		return peer_disk_create(board, i, devfn);
	status = virtio_blk_create(&board->disk[i].virtio, &board->pci->root, devfn, &vm->memory, &vm->irq, &vm->clock,
				   board->backends.disk[i], vm->config->disk[i].serial, queues);

	if (status == STATUS_OK)
		vm_device_add(vm, virtio_blk_device(board->disk[i].virtio));
	return status;
}

static enum status nvme_disk_create(struct board *board, unsigned i, uint8_t devfn)
{
	struct vm *vm = board->vm;
	enum status status = nvme_create(&board->disk[i].nvme, &board->pci->root, devfn, &vm->memory, &vm->irq, &vm->clock,
					 board->backends.disk[i], vm->config->disk[i].serial);

	if (status == STATUS_OK)
		vm_device_add(vm, nvme_device(board->disk[i].nvme));
	return status;
}

/* Drives are plugged in when all disks are known: the controller is made once. */
static enum status sata_disk_create(struct board *board, unsigned i, uint8_t devfn)
{
	(void)devfn;
	board->disk[i].sata = true;
	return STATUS_OK;
}

static enum status ahci_build(struct board *board)
{
	const struct vm_config *config = board->vm->config;
	struct ahci_drive drive[AHCI_PORTS] = {{NULL, NULL, false}};
	unsigned ports = 0, i;
	enum status status;

	for (i = 0; i < board->disks; i++)
		if (board->disk[i].sata && ports < AHCI_PORTS) /* control/ has counted them */
			drive[ports++] =
				(struct ahci_drive){board->backends.disk[i], config->disk[i].serial, config->disk[i].cdrom};
	if (!ports)
		return STATUS_OK;
	status = ahci_create(&board->ahci, &board->pci->root, PCI_DEVFN(PC_SLOT_LPC, PC_FUNCTION_SATA), &board->vm->memory, drive);
	if (status == STATUS_OK) {
		vm_device_add(board->vm, ahci_device(board->ahci));
		board->slots |= 1u << PC_SLOT_LPC;
	}
	return status;
}

enum status pc_disks_create(struct board *board, struct reason *why)
{
	static enum status (*const create[])(struct board * board, unsigned i, uint8_t devfn) = {
		[DISK_VIRTIO] = virtio_disk_create,
		[DISK_NVME] = nvme_disk_create,
		[DISK_SATA] = sata_disk_create,
	};

	(void)why;
	while (board->disks < board->vm->config->disks) {
		unsigned i = board->disks, slot = PC_SLOT_DISK + i;
		enum status status = create[board->vm->config->disk[i].bus](board, i, PCI_DEVFN(slot, 0));

		if (status != STATUS_OK)
			return status;
		if (!board->disk[i].sata)
			board->slots |= 1u << slot;
		board->disks++;
	}
	return ahci_build(board);
}

void pc_disks_destroy(struct board *board)
{
	if (board->ahci)
		ahci_destroy(board->ahci);
	board->ahci = NULL;
	while (board->disks) {
		struct pc_disk *disk = &board->disk[--board->disks];

		if (disk->virtio)
			virtio_blk_destroy(disk->virtio);
		if (disk->nvme)
			nvme_destroy(disk->nvme);
		if (disk->peer)
			virtio_peer_destroy(disk->peer);
		*disk = (struct pc_disk){NULL};
	}
}

enum status pc_shares_create(struct board *board, struct reason *why)
{
	struct vm *vm = board->vm;

	(void)why;
	while (board->shares < vm->config->shares) {
		unsigned i = board->shares;
		enum status status = virtio_peer_create(&board->share[i], &board->pci->root, PCI_DEVFN(PC_SLOT_SHARES, i),
							&vm->memory, &vm->irq, &vm->clock, board->backends.share[i]);

		if (status != STATUS_OK)
			return status;
		vm_device_add(vm, virtio_peer_device(board->share[i]));
		board->slots |= 1u << PC_SLOT_SHARES;
		board->shares++;
	}
	return STATUS_OK;
}

void pc_shares_destroy(struct board *board)
{
	while (board->shares)
		virtio_peer_destroy(board->share[--board->shares]);
}
