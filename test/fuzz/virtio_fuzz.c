/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_fuzz.c - libFuzzer drives PCI and a virtio disk: the input is a guest's accesses and what it puts into RAM.
 *
 * Build with clang: meson setup build-fuzz -Db_sanitize=address,undefined -Db_lundef=false (CC=clang), then run
 * build-fuzz/test/fuzz/virtio_fuzz -max_total_time=60. With another compiler the program replays the files it is given.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test/device/machine.h"

#include "device/virtio/virtio_blk.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

/* One step: 16 bytes. */
struct step {
	uint8_t kind, size;
	uint16_t where;
	uint32_t more;
	uint64_t value;
};

static void step_do(struct machine *machine, struct driver *driver, struct test_disk *disk, const struct step *step)
{
	unsigned size = 1u << (step->size & 3);

	switch (step->kind % 8) {
	case 0: config_write(machine, 0, driver->devfn, step->where & 0xfc, size & 7 ? size : 4, (uint32_t)step->value); break;
	case 1: mmio_write(machine, driver->common + (step->where & 0x3fff), size, step->value); break;
	case 2: mmio_read(machine, driver->common + (step->where & 0x3fff), size); break;
	case 3: mmio_write(machine, driver->msix + (step->where & 0xff8), size, step->value); break;
	case 4: /* into the rings and the memory around them */
		if (guest_memory_write(&machine->memory, 0x10000 + step->where, &step->value, 8) != STATUS_OK)
			abort();
		break;
	case 5:
		driver_descriptor(driver, 0, step->where & 15, step->value & 0xfffff, step->more & 0xffff,
				  (uint16_t)(step->more >> 16) & 7, step->size & 15);
		break;
	case 6: driver_offer(driver, 0, step->where & 15); break;
	default:
		disk->deferred = step->size & 1;
		while (disk->first && step->size & 2)
			disk_complete(disk);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	static struct machine machine;
	struct virtio_blk *blk;
	struct test_disk disk;
	struct driver driver;

	machine_create(&machine);
	disk_create(&disk, 1 << 20, false);
	if (virtio_blk_create(&blk, &machine.host->root, PCI_DEVFN(3, 0), &machine.memory, &machine.irq, &disk.block, "fuzz", 2))
		abort();
	driver_attach(&driver, &machine, 0, PCI_DEVFN(3, 0), 0xc0000000, true);
	if (!driver_negotiate(&driver, UINT64_C(0x130006a00)))
		abort();
	driver_queue_enable(&driver, 0, 16, 0x10000);
	driver_queue_enable(&driver, 1, 16, 0x12000);
	driver_go(&driver);
	for (; length >= sizeof(struct step); bytes += sizeof(struct step), length -= sizeof(struct step)) {
		struct step step;

		memcpy(&step, bytes, sizeof(step));
		step_do(&machine, &driver, &disk, &step);
	}
	bus_check(&machine.mmio);
	virtio_blk_device(blk)->reset(blk); /* drains: whatever was taken has come back, or this never returns */
	if (driver_status(&driver) != 0 && driver_status(&driver) != 0xff)
		abort();
	virtio_blk_destroy(blk);
	disk_destroy(&disk);
	machine_destroy(&machine);
	return 0;
}

#ifndef HOLON_LIBFUZZER
int main(int count, char **arguments)
{
	static uint8_t bytes[1 << 20];

	for (int i = 1; i < count; i++) {
		FILE *file = fopen(arguments[i], "rb");
		size_t length;

		if (!file) {
			perror(arguments[i]);
			return 66;
		}
		length = fread(bytes, 1, sizeof(bytes), file);
		fclose(file);
		LLVMFuzzerTestOneInput(bytes, length);
	}
	return 0;
}
#endif
