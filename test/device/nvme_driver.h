/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nvme_driver.h - a little NVMe driver for tests: an admin queue and two I/O queues of 16 entries in a machine without a CPU.
 */
#ifndef HOLON_TEST_NVME_DRIVER_H
#define HOLON_TEST_NVME_DRIVER_H

#include "machine.h"

#include "device/nvme.h"

#define NVME_DEVFN PCI_DEVFN(3, 0)
#define NVME_BAR_BASE UINT64_C(0xc0000000)
#define NVME_ENTRIES 16u
#define NVME_SQ(queue) (0x10000 + 0x2000 * (uint64_t)(queue))
#define NVME_CQ(queue) (0x11000 + 0x2000 * (uint64_t)(queue))
#define NVME_LIST 0x18000
#define NVME_DATA 0x20000

struct nvme_sqe {
	uint8_t opcode, flags;
	uint16_t id;
	uint32_t namespace;
	uint64_t reserved, metadata, prp1, prp2;
	uint32_t dword[6]; /* 10 to 15 */
};

struct nvme_cqe {
	uint32_t result, reserved;
	uint16_t head, queue, id, status; /* with the phase in bit 0 */
};

struct nvme_driver {
	struct machine machine;
	struct test_disk disk;
	struct nvme *nvme;
	uint64_t bar, msix;
	uint16_t tail[3], head[3];
	uint8_t phase[3];
	uint16_t next_id;
};

/* A disk of 1 MiB, the controller at NVME_DEVFN, BARs placed. MSI-X vector i sends 0x40 + i, if wanted. */
void nvme_driver_create(struct nvme_driver *driver, bool msix, bool readonly);
void nvme_driver_destroy(struct nvme_driver *driver);
uint32_t nvme_register(struct nvme_driver *driver, unsigned offset);
void nvme_register_set(struct nvme_driver *driver, unsigned offset, uint32_t value);
/* CC.EN 0, then 1 with the admin queues: CSTS.RDY. Queues start anew. */
void nvme_driver_enable(struct nvme_driver *driver);
/* Makes I/O queues 1 and 2. */
void nvme_driver_queues(struct nvme_driver *driver);
/* Offers a command on a queue; its id is filled in and returned. */
uint16_t nvme_offer(struct nvme_driver *driver, unsigned queue, struct nvme_sqe sqe);
/* The next answer, if there is one; rings the head's doorbell. */
bool nvme_take(struct nvme_driver *driver, unsigned queue, struct nvme_cqe *cqe);
/* Both, for a command that is answered at once. Returns the status without phase; *result may be NULL. */
uint16_t nvme_command(struct nvme_driver *driver, unsigned queue, struct nvme_sqe sqe, uint32_t *result);

#endif
