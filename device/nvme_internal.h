/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nvme_internal.h - what the files of the NVMe controller share. Section numbers are those of NVM Express 1.4.
 *
 * nvme.c: registers, reset, saved state. nvme_queue.c: commands off submission queues, answers into completion queues. nvme_admin.c: admin
 * commands. nvme_log.c: identify data and log pages. nvme_io.c: commands that go to the disk. nvme_data.c: PRPs.
 */
#ifndef HOLON_NVME_INTERNAL_H
#define HOLON_NVME_INTERNAL_H

#include "device/nvme.h"
#include "device/pci/pci.h"

#define NVME_QUEUES 9u /* the admin queue and eight more */
#define NVME_QUEUE_ENTRIES 1024u
#define NVME_REQUESTS 128
#define NVME_PAGE 4096u
#define NVME_TRANSFER_PAGES 128u /* 1 << MDTS */
#define NVME_MDTS 7
#define NVME_EXTENTS (NVME_TRANSFER_PAGES + 1)
#define NVME_RANGES 256u
#define NVME_EVENTS_MAX 4u /* AERL + 1 */
#define NVME_FEATURES 12
#define NVME_ID_LENGTH 20
#define NVME_ALL_NAMESPACES UINT32_MAX

/* CSTS, 3.1.6. */
#define NVME_CSTS_RDY 1u
#define NVME_CSTS_CFS 2u
#define NVME_CSTS_SHST 0xcu
#define NVME_CSTS_SHST_UNDER_WAY 4u
#define NVME_CSTS_SHST_COMPLETE 8u

/* A completion's status: code type << 8 | code, 4.6.1. */
#define NVME_DNR 0x4000u
#define NVME_OK 0x000u
#define NVME_INVALID_OPCODE (NVME_DNR | 0x001u)
#define NVME_INVALID_FIELD (NVME_DNR | 0x002u)
#define NVME_DATA_TRANSFER_ERROR (NVME_DNR | 0x004u)
#define NVME_ABORT_REQUESTED 0x007u
#define NVME_INVALID_NAMESPACE (NVME_DNR | 0x00bu)
#define NVME_PRP_OFFSET_INVALID (NVME_DNR | 0x013u)
#define NVME_WRITE_PROTECTED (NVME_DNR | 0x020u)
#define NVME_LBA_OUT_OF_RANGE (NVME_DNR | 0x080u)
#define NVME_CAPACITY_EXCEEDED (NVME_DNR | 0x081u)
#define NVME_COMPLETION_QUEUE_INVALID (NVME_DNR | 0x100u)
#define NVME_INVALID_QUEUE (NVME_DNR | 0x101u)
#define NVME_INVALID_QUEUE_SIZE (NVME_DNR | 0x102u)
#define NVME_EVENT_LIMIT (NVME_DNR | 0x105u)
#define NVME_INVALID_VECTOR (NVME_DNR | 0x108u)
#define NVME_INVALID_LOG_PAGE (NVME_DNR | 0x109u)
#define NVME_INVALID_QUEUE_DELETION (NVME_DNR | 0x10cu)
#define NVME_FEATURE_NOT_SAVEABLE (NVME_DNR | 0x10du)
#define NVME_WRITE_FAULT 0x280u
#define NVME_READ_ERROR 0x281u
#define NVME_ANSWER_LATER 0xffffu /* no status: the command is answered some other time */

#define NVME_FEATURE_WRITE_CACHE 0x06
#define NVME_FEATURE_EVENTS 0x0b

/* A submission queue entry, 4.2. A copy, never the guest's memory. */
struct nvme_command {
	uint8_t opcode;
	uint8_t flags; /* FUSE 1:0, PSDT 7:6 */
	uint16_t id;
	uint32_t namespace;
	uint64_t reserved;
	uint64_t metadata;
	uint64_t prp1, prp2;
	uint32_t dword10, dword11, dword12, dword13, dword14, dword15;
};

struct nvme_submission {
	uint8_t exists;
	uint8_t deleting; /* answered to the admin queue's delete_id when under_way is 0 */
	uint16_t delete_id;
	uint16_t entries;
	uint16_t completion; /* queue */
	uint16_t head, tail;
	uint64_t base;
	uint32_t under_way; /* not saved: saving drains */
};

struct nvme_completion {
	uint8_t exists;
	uint8_t interrupts;
	uint8_t phase;
	uint16_t vector;
	uint16_t entries;
	uint16_t head, tail;
	uint64_t base;
	uint32_t promised; /* places for commands that are under way; not saved */
	uint32_t users;    /* submission queues that answer here; computed */
};

/* A run of guest memory. */
struct nvme_extent {
	uint64_t gpa, length;
};

struct nvme_range { /* 6.7.1.1 */
	uint32_t attributes, blocks;
	uint64_t first;
};

struct nvme_request {
	struct block_request block;
	struct nvme *nvme;
	struct nvme_request *next_free;
	uint16_t queue, id;
	bool flush_follows;
	unsigned segments, ranges, range_next;
	union {
		struct {
			struct block_segment segment[NVME_EXTENTS];
			struct nvme_extent extent[NVME_EXTENTS]; /* one a segment */
		};
		struct nvme_range range[NVME_RANGES];
	};
};

/* What a SMART log counts, 5.14.1.2. */
struct nvme_smart {
	uint64_t sectors_read, sectors_written; /* of 512 bytes */
	uint64_t reads, writes;
	uint64_t media_errors;
};

/* Asynchronous events that may wait to be told, 5.2. */
#define NVME_EVENT_BAD_DOORBELL 1u
#define NVME_EVENT_BAD_DOORBELL_VALUE 2u
#define NVME_EVENT_NAMESPACE_CHANGED 4u

struct nvme {
	struct device device;
	struct pci_function function;
	struct pci_msix msix;
	struct guest_memory *memory;
	struct block *block;
	uint8_t id[NVME_ID_LENGTH];
	struct host_mutex lock; /* all that follows */
	/* Registers, 3.1. */
	uint32_t interrupt_mask, configuration, status, admin_entries;
	uint64_t admin_submission, admin_completion;
	struct nvme_submission submission[NVME_QUEUES];
	struct nvme_completion completion[NVME_QUEUES];
	uint32_t feature[NVME_FEATURES];
	uint16_t event_command[NVME_EVENTS_MAX]; /* Asynchronous Event Requests that wait */
	uint8_t event_commands;
	uint8_t event_pending; /* NVME_EVENT_ bits */
	uint8_t event_masked;  /* a bit a type: told, and the log page not read since */
	uint8_t namespace_changed;
	struct nvme_smart smart;
	/* Not saved. */
	uint32_t under_way;
	bool resetting; /* as soon as nothing is under way */
	bool shutdown_flushing;
	bool pin_used;      /* the last interrupt went by the pin, MSI-X was off */
	bool running;       /* some thread gathers and submits; it will look again */
	bool ended;         /* no more commands are taken */
	struct timer timer; /* goes on where nvme_run has made as many rounds as it may */
	struct vm_clock *clock;
	uint32_t pending;
	struct nvme_request *free;
	unsigned used;
	struct block_request shutdown_flush;
	struct nvme_request request[NVME_REQUESTS];
};

/* Everything under nvme->lock, but where said. */

/* nvme.c. The guest took away or never gave what the controller needs: CSTS.CFS, and nothing goes on until a reset. */
void nvme_fail(struct nvme *nvme, const char *what);
static inline bool nvme_serving(const struct nvme *nvme)
{
	return (nvme->status & (NVME_CSTS_RDY | NVME_CSTS_CFS)) == NVME_CSTS_RDY && !nvme->resetting && nvme->function.master;
}
void nvme_under_way_end(struct nvme *nvme);

/* nvme_queue.c. Serves what is pending; drops the lock while it submits. */
void nvme_run(struct nvme *nvme);
/* The doorbell at `index` of the array was written (3.1.24). */
void nvme_doorbell(struct nvme *nvme, unsigned index, uint32_t value);
/* Answers a command of submission queue `queue`, whose place is promised. */
void nvme_answer(struct nvme *nvme, unsigned queue, uint16_t id, uint16_t status, uint32_t result);
void nvme_interrupts_update(struct nvme *nvme);
/* Answers a delete command if its queue has nothing under way any more. */
void nvme_deletion_continue(struct nvme *nvme, unsigned queue);
void nvme_event(struct nvme *nvme, uint8_t event);
void nvme_events_tell(struct nvme *nvme);

/* nvme_admin.c. Returns the status, or NVME_ANSWER_LATER. */
uint16_t nvme_admin(struct nvme *nvme, const struct nvme_command *command, uint32_t *result);
bool nvme_queue_base_good(uint64_t base);

/* nvme_log.c: 4096 bytes, or a log page of which *length bytes are there. */
bool nvme_identify(const struct nvme *nvme, uint8_t structure, uint32_t namespace, uint8_t *out, uint16_t *status);
bool nvme_log(struct nvme *nvme, uint8_t page, bool retain, uint8_t *out, uint32_t *length);

/* nvme_io.c. NVME_ANSWER_LATER: request->block is to be submitted. */
uint16_t nvme_io(struct nvme *nvme, struct nvme_request *request, const struct nvme_command *command);
/* nvme_queue.c: gives a request back to the pool. */
void nvme_request_free(struct nvme *nvme, struct nvme_request *request);

/* nvme_data.c. The command's data as runs of guest memory, adjacent pages in one (4.3). */
uint16_t nvme_extents(const struct nvme *nvme, const struct nvme_command *command, uint64_t length,
		      struct nvme_extent extent[NVME_EXTENTS], unsigned *extents);
uint16_t nvme_data_write(struct nvme *nvme, const struct nvme_command *command, const void *bytes, uint64_t length);
uint16_t nvme_data_read(const struct nvme *nvme, const struct nvme_command *command, void *bytes, uint64_t length);
/* Into request->segment; what the device writes is inside brackets until nvme_data_release. */
uint16_t nvme_data_map(struct nvme *nvme, struct nvme_request *request, const struct nvme_command *command, uint64_t length,
		       bool device_writes);
void nvme_data_release(struct nvme *nvme, struct nvme_request *request);

#endif
