/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_blk.c - a disk (virtio 1.2, 5.2): takes requests off the queues, hands them to the block backend, gives them back.
 *
 * A vcpu's notification gathers what its queue holds under the device's lock, and submits the whole batch without it; the
 * backend's thread calls virtio_blk_done for each. The pool of requests is the bound on what is under way: a queue that finds it empty
 * stays in `pending` and is served when a request comes back. doc/one-guest-write.md walks through one write.
 */
#include "virtio_blk.h"
#include "virtio_blk_parse.h"
#include "virtio_pci.h"

#define VIRTIO_BLK_TYPE 2
#define VIRTIO_BLK_QUEUE_SIZE 256
#define VIRTIO_BLK_REQUESTS 128
#define VIRTIO_BLK_SEG_MAX 126

#define VIRTIO_BLK_F_SEG_MAX (UINT64_C(1) << 2)
#define VIRTIO_BLK_F_RO (UINT64_C(1) << 5)
#define VIRTIO_BLK_F_BLK_SIZE (UINT64_C(1) << 6)
#define VIRTIO_BLK_F_FLUSH (UINT64_C(1) << 9)
#define VIRTIO_BLK_F_TOPOLOGY (UINT64_C(1) << 10)
#define VIRTIO_BLK_F_CONFIG_WCE (UINT64_C(1) << 11)
#define VIRTIO_BLK_F_MQ (UINT64_C(1) << 12)

/* struct virtio_blk_config, 5.2.4. */
struct virtio_blk_config {
	uint64_t capacity;
	uint32_t size_max;
	uint32_t seg_max;
	uint16_t cylinders;
	uint8_t heads;
	uint8_t sectors;
	uint32_t blk_size;
	uint8_t physical_block_exp;
	uint8_t alignment_offset;
	uint16_t min_io_size;
	uint32_t opt_io_size;
	uint8_t writeback;
	uint8_t unused0;
	uint16_t num_queues;
	uint32_t max_discard_sectors;
	uint32_t max_discard_seg;
	uint32_t discard_sector_alignment;
	uint32_t max_write_zeroes_sectors;
	uint32_t max_write_zeroes_seg;
	uint8_t write_zeroes_may_unmap;
	uint8_t unused1[3];
};
#define VIRTIO_BLK_CONFIG_LENGTH 60 /* without the padding at the end */

/* That one call makes: what is answered at once, as all that is no I/O, could be offered again without end. */
#define VIRTIO_BLK_ROUNDS (2 * BLOCK_ROUNDS_MAX)

struct virtio_blk_request {
	struct block_request block;
	struct virtio_blk *blk;
	struct virtio_blk_request *next_free;
	unsigned queue;
	uint64_t status_gpa;
	bool flush_follows; /* write-through: not done before it is stable */
	struct virtio_chain chain;
};

struct virtio_blk {
	struct virtio_pci pci;
	struct block *block;
	struct timer timer; /* goes on where VIRTIO_BLK_ROUNDS ended */
	struct vm_clock *clock;
	uint8_t id[VIRTIO_BLK_ID_LENGTH];
	uint8_t writeback; /* the driver's cache mode, F_CONFIG_WCE */
	/* Under pci.lock. */
	uint32_t pending; /* a bit a queue: there may be more in it */
	bool running;     /* some thread gathers and submits; it will look at `pending` again */
	bool ended;       /* nothing more is taken */
	struct virtio_blk_request *free;
	unsigned used; /* request[used] and later ones never were */
	struct virtio_blk_request request[VIRTIO_BLK_REQUESTS];
};

static void virtio_blk_done(struct block_request *block, enum status status);

/* The request that the next chain goes into, NULL when all are under way. Those never used are taken last: they cost no memory. */
static struct virtio_blk_request *virtio_blk_request_next(struct virtio_blk *blk)
{
	if (blk->free)
		return blk->free;
	return blk->used < VIRTIO_BLK_REQUESTS ? &blk->request[blk->used] : NULL;
}

static void virtio_blk_request_take(struct virtio_blk *blk, struct virtio_blk_request *request)
{
	if (request == blk->free)
		blk->free = request->next_free;
	else
		blk->used++;
	request->blk = blk;
}

static void virtio_blk_request_free(struct virtio_blk *blk, struct virtio_blk_request *request)
{
	request->next_free = blk->free;
	blk->free = request;
}

static void virtio_blk_finish(struct virtio_blk *blk, struct virtio_blk_request *request, uint8_t status, uint32_t written)
{
	/* The status byte's memory was writable when the request was parsed, and slots do not go away. */
	if (guest_memory_write(blk->pci.memory, request->status_gpa, &status, 1) != STATUS_OK)
		virtio_pci_break(&blk->pci, "its status byte is not in RAM");
	virtio_pci_complete(&blk->pci, request->queue, &request->chain, written + 1);
	virtio_blk_request_free(blk, request);
}

static bool virtio_blk_write_through(const struct virtio_blk *blk)
{
	if (!virtio_pci_negotiated(&blk->pci, VIRTIO_BLK_F_FLUSH))
		return true; /* a driver that cannot flush relies on it: 5.2.6.2 */
	return virtio_pci_negotiated(&blk->pci, VIRTIO_BLK_F_CONFIG_WCE) && !blk->writeback;
}

static void virtio_blk_prepare(struct virtio_blk *blk, struct virtio_blk_request *request, const struct virtio_blk_command *command)
{
	struct virtio_chain *chain = &request->chain;
	bool write = command->operation == BLOCK_WRITE || command->operation == BLOCK_WRITE_ZEROES;

	request->block = (struct block_request){
		.operation = command->operation,
		.may_unmap = command->may_unmap,
		.offset = command->offset,
		.length = command->length,
		.done = virtio_blk_done,
		.device = request,
	};
	if (command->operation == BLOCK_READ) {
		request->block.segment = &chain->segment[chain->readable];
		request->block.segments = (unsigned)chain->segments - chain->readable;
	} else if (command->operation == BLOCK_WRITE) {
		request->block.segment = &chain->segment[chain->first];
		request->block.segments = (unsigned)chain->readable - chain->first;
	}
	request->flush_follows = write && virtio_blk_write_through(blk);
	virtio_pci_request_begin(&blk->pci);
}

/* Executes what needs no backend. Returns the request where one does. */
static struct block_request *virtio_blk_start(struct virtio_blk *blk, struct virtio_blk_request *request,
					      const struct virtio_blk_command *command)
{
	request->status_gpa = command->status_gpa;
	switch (command->kind) {
	case VIRTIO_BLK_IO: virtio_blk_prepare(blk, request, command); return &request->block;
	case VIRTIO_BLK_GET_ID:
		virtio_blk_finish(blk, request, VIRTIO_BLK_S_OK,
				  (uint32_t)virtio_chain_fill(&request->chain, blk->id, sizeof(blk->id)));
		return NULL;
	default: virtio_blk_finish(blk, request, command->status, 0); return NULL;
	}
}

/* Takes one queue's chains until it or the pool is empty; at most a queue's length of them. Returns the end of the list. */
static struct block_request **virtio_blk_gather_queue(struct virtio_blk *blk, unsigned index, struct block_request **end)
{
	struct virtio_queue *queue = blk->ended ? NULL : virtio_pci_queue(&blk->pci, index);
	struct virtio_blk_limits limits = {blk->block->size / VIRTIO_BLK_SECTOR, blk->block->readonly, blk->pci.driver_features};
	unsigned left = queue ? queue->size : 0;
	struct virtio_blk_request *request;

	blk->pending &= ~(1u << index);
	while (left-- && (request = virtio_blk_request_next(blk)) != NULL) {
		struct virtio_blk_command command;
		enum virtio_pop pop = virtio_queue_pop(queue, &request->chain);

		if (pop == VIRTIO_POP_EMPTY && virtio_queue_arm(queue))
			continue;
		if (pop == VIRTIO_POP_EMPTY)
			return end;
		if (pop == VIRTIO_POP_BROKEN || !virtio_blk_parse(&limits, queue, &request->chain, &command)) {
			if (pop == VIRTIO_POP_CHAIN)
				virtio_chain_release(queue, &request->chain);
			virtio_pci_break(&blk->pci, "its ring or a request in it is malformed");
			return end;
		}
		virtio_blk_request_take(blk, request);
		request->queue = index;
		*end = virtio_blk_start(blk, request, &command);
		if (*end)
			end = &(*end)->next;
	}
	if (queue)
		blk->pending |= 1u << index;
	return end;
}

/* A turn of each queue. */
static struct block_request *virtio_blk_gather(struct virtio_blk *blk)
{
	struct block_request *list = NULL, **end = &list;

	for (uint32_t pending = blk->pending; pending; pending &= pending - 1)
		end = virtio_blk_gather_queue(blk, (unsigned)__builtin_ctz(pending), end);
	*end = NULL;
	return list;
}

/* Submits all that is pending. Under the lock, which it drops meanwhile: a backend may call virtio_blk_done at once. */
static void virtio_blk_run(struct virtio_blk *blk)
{
	unsigned rounds = 0;

	if (blk->running)
		return;
	blk->running = true;
	for (; blk->pending && virtio_blk_request_next(blk) && rounds < VIRTIO_BLK_ROUNDS; rounds++) {
		struct block_request *list = virtio_blk_gather(blk);

		if (!list)
			continue;
		host_mutex_unlock(&blk->pci.lock);
		block_rounds_bound(list, rounds);
		block_submit(blk->block, list);
		host_mutex_lock(&blk->pci.lock);
	}
	blk->running = false;
	if (blk->pending && virtio_blk_request_next(blk))
		timer_set(&blk->timer, vm_clock_ns(blk->clock) + VIRTIO_PAUSE_NS);
}

static void virtio_blk_fire(void *device)
{
	struct virtio_blk *blk = device;

	host_mutex_lock(&blk->pci.lock);
	virtio_blk_run(blk);
	host_mutex_unlock(&blk->pci.lock);
}

static void virtio_blk_notify(void *owner, unsigned queue)
{
	struct virtio_blk *blk = owner;

	host_mutex_lock(&blk->pci.lock);
	blk->pending |= 1u << queue;
	virtio_blk_run(blk);
	host_mutex_unlock(&blk->pci.lock);
}

/* Requests that the driver queued before DRIVER_OK need no notification (3.1.1: it may not, but drivers did). */
static void virtio_blk_ready(void *owner)
{
	struct virtio_blk *blk = owner;

	host_mutex_lock(&blk->pci.lock);
	blk->pending = (1u << blk->pci.queues) - 1;
	virtio_blk_run(blk);
	host_mutex_unlock(&blk->pci.lock);
}

static void virtio_blk_done(struct block_request *block, enum status status)
{
	struct virtio_blk_request *request = block->device;
	struct virtio_blk *blk = request->blk;
	uint32_t written = status == STATUS_OK && block->operation == BLOCK_READ ? (uint32_t)block->length : 0;

	if (status == STATUS_OK && request->flush_follows) {
		request->flush_follows = false;
		*block = (struct block_request){.operation = BLOCK_FLUSH, .done = virtio_blk_done, .device = request};
		block_submit(blk->block, block);
		return;
	}
	host_mutex_lock(&blk->pci.lock);
	virtio_blk_finish(blk, request,
			  status == STATUS_OK            ? VIRTIO_BLK_S_OK
			  : status == STATUS_UNSUPPORTED ? VIRTIO_BLK_S_UNSUPP
							 : VIRTIO_BLK_S_IOERR,
			  written);
	virtio_pci_request_end(&blk->pci);
	virtio_blk_run(blk);
	host_mutex_unlock(&blk->pci.lock);
}

static void virtio_blk_config_fill(void *owner, uint8_t *image)
{
	const struct virtio_blk *blk = owner;
	const struct block *block = blk->block;
	uint64_t size = block->size;
	struct virtio_blk_config config = {
		.capacity = size / VIRTIO_BLK_SECTOR,
		.seg_max = VIRTIO_BLK_SEG_MAX,
		.blk_size = block->block_size,
		/* The host's page cache reads and writes 4 KiB. */
		.physical_block_exp =
			block->block_size < 4096 && size % 4096 == 0 ? (uint8_t)(12 - __builtin_ctz(block->block_size)) : 0,
		.min_io_size = 1,
		.writeback = blk->writeback,
		.num_queues = (uint16_t)blk->pci.queues,
		.max_discard_sectors = VIRTIO_BLK_DISCARD_SECTORS_MAX,
		.max_discard_seg = 1,
		.discard_sector_alignment = (uint32_t)(block->discard_granularity / VIRTIO_BLK_SECTOR),
		.max_write_zeroes_sectors = VIRTIO_BLK_WRITE_ZEROES_SECTORS_MAX,
		.max_write_zeroes_seg = 1,
		.write_zeroes_may_unmap = block->discard_granularity != 0,
	};

	__builtin_memcpy(image, &config, VIRTIO_BLK_CONFIG_LENGTH);
}

static void virtio_blk_config_write(void *owner, unsigned offset, unsigned size, uint64_t value)
{
	struct virtio_blk *blk = owner;

	if (offset == offsetof(struct virtio_blk_config, writeback) && size == 1 &&
	    virtio_pci_negotiated(&blk->pci, VIRTIO_BLK_F_CONFIG_WCE))
		blk->writeback = value & 1;
}

/* The backend has grown: the driver is to read the capacity again (5.2.5.1). */
static void virtio_blk_resized(void *device)
{
	struct virtio_blk *blk = device;

	host_mutex_lock(&blk->pci.lock);
	virtio_pci_config_changed(&blk->pci);
	host_mutex_unlock(&blk->pci.lock);
}

static void virtio_blk_driver_reset(void *owner)
{
	struct virtio_blk *blk = owner;

	blk->pending = 0;
	blk->writeback = 1;
	timer_cancel(&blk->timer);
}

static const struct virtio_ops virtio_blk_ops = {
	.notify = virtio_blk_notify,
	.ready = virtio_blk_ready,
	.config_fill = virtio_blk_config_fill,
	.config_write = virtio_blk_config_write,
	.reset = virtio_blk_driver_reset,
};

static void virtio_blk_reset(void *object)
{
	struct virtio_blk *blk = object;

	blk->block->drain(blk->block);
	virtio_pci_power_on(&blk->pci);
}

/* What the rings hold is served to the end: nobody adds to them. */
static void virtio_blk_quiesce(void *object)
{
	struct virtio_blk *blk = object;

	blk->block->drain(blk->block);
}

/* A request in a ring whose notification another machine took, or none, is found here. */
static void virtio_blk_resume(void *object)
{
	virtio_blk_ready(object);
}

static enum status virtio_blk_loaded(void *object, uint32_t version, struct reason *why)
{
	struct virtio_blk *blk = object;
	enum status status = virtio_pci_loaded(&blk->pci, why);

	(void)version;
	host_mutex_lock(&blk->pci.lock);
	blk->writeback &= 1;
	host_mutex_unlock(&blk->pci.lock);
	return status;
}

static const struct state_field virtio_blk_fields[] = {
	VIRTIO_PCI_STATE(struct virtio_blk, pci),
	STATE_FIELD(struct virtio_blk, writeback),
};
static const struct state_table virtio_blk_state = {
	.name = "virtio_blk",
	.version = 1,
	STATE_TABLE_FIELDS(virtio_blk_fields),
	.before_save = virtio_blk_quiesce,
	.after_load = virtio_blk_loaded,
};

static uint64_t virtio_blk_features(const struct block *block, unsigned queues)
{
	uint64_t features = VIRTIO_BLK_F_SEG_MAX | VIRTIO_BLK_F_BLK_SIZE | VIRTIO_BLK_F_FLUSH | VIRTIO_BLK_F_TOPOLOGY;

	if (queues > 1)
		features |= VIRTIO_BLK_F_MQ;
	if (block->readonly)
		return features | VIRTIO_BLK_F_RO;
	if (block->discard_granularity)
		features |= VIRTIO_BLK_F_DISCARD;
	return features | VIRTIO_BLK_F_WRITE_ZEROES | VIRTIO_BLK_F_CONFIG_WCE;
}

enum status virtio_blk_create(struct virtio_blk **out, struct pci_bus *bus, uint8_t devfn, struct guest_memory *memory,
			      struct irq *irq, struct vm_clock *clock, struct block *block, const char *serial, unsigned queues)
{
	struct virtio_identity identity = {
		.name = "virtio-blk",
		.type = VIRTIO_BLK_TYPE,
		.class_code = 0x010000,
		.features = virtio_blk_features(block, queues),
		.queues = queues,
		.queue_size = VIRTIO_BLK_QUEUE_SIZE,
		.config_length = VIRTIO_BLK_CONFIG_LENGTH,
	};
	struct virtio_blk *blk;
	enum status status;

	*out = NULL;
	bug_on(queues == 0 || queues > VIRTIO_BLK_QUEUES_MAX);
	blk = host_allocate(sizeof(*blk));
	if (!blk)
		return STATUS_NO_MEMORY;
	blk->block = block;
	blk->clock = clock;
	timer_init(&blk->timer, clock, virtio_blk_fire, blk);
	blk->writeback = 1;
	for (unsigned i = 0; serial && serial[i] && i < sizeof(blk->id); i++)
		blk->id[i] = (uint8_t)serial[i];
	status = virtio_pci_plug(&blk->pci, &identity, &virtio_blk_ops, blk, bus, devfn, memory, irq);
	if (status != STATUS_OK) {
		host_free(blk, sizeof(*blk));
		return status;
	}
	block->device = blk;
	block->resized = virtio_blk_resized;
	blk->pci.device.state = &virtio_blk_state;
	blk->pci.device.reset = virtio_blk_reset;
	blk->pci.device.quiesce = virtio_blk_quiesce;
	blk->pci.device.resume = virtio_blk_resume;
	*out = blk;
	return STATUS_OK;
}

struct device *virtio_blk_device(struct virtio_blk *blk)
{
	return &blk->pci.device;
}

void virtio_blk_destroy(struct virtio_blk *blk)
{
	host_mutex_lock(&blk->pci.lock);
	blk->ended = true;
	host_mutex_unlock(&blk->pci.lock);
	timer_cancel_wait(&blk->timer);
	blk->block->drain(blk->block);
	blk->block->resized = NULL;
	virtio_pci_unplug(&blk->pci);
	host_free(blk, sizeof(*blk));
}
