/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_peer.c - a virtio device that another process serves: a file system (5.11) by virtiofsd, a disk by qemu-storage-daemon.
 *
 * It knows nothing of what is in a chain: it takes chains off the guest's rings, hands them to the peer (backend/vhost/) and gives them back with the
 * length that the peer wrote. Gathering and submitting are as in virtio_blk.c. When the peer has gone the device asks for a reset, and
 * serves nothing any more.
 */
#include "virtio_peer.h"
#include "virtio_pci.h"

#define VIRTIO_PEER_REQUESTS PEER_QUEUE_SIZE
#define ROUNDS_MAX 32u /* that one call makes: what is answered at once could be offered again without end */

_Static_assert(PEER_SEGMENTS == VIRTIO_SEGMENTS, "a chain goes to the peer whole");
_Static_assert(PEER_QUEUES_MAX <= VIRTIO_QUEUES_MAX, "each of the peer's queues is one of the device's");

struct virtio_peer_request {
	struct peer_request request;
	struct virtio_peer *owner;
	struct virtio_peer_request *next_free;
	struct virtio_chain chain;
};

struct virtio_peer {
	struct virtio_pci pci;
	struct peer *peer;
	struct timer timer; /* goes on where ROUNDS_MAX ended */
	struct vm_clock *clock;
	/* Under pci.lock. */
	uint32_t pending; /* a bit a queue: there may be more in it */
	bool running;     /* some thread gathers and submits; it will look at `pending` again */
	bool gone;        /* the peer has */
	struct virtio_peer_request *free;
	unsigned used; /* pool[used] and later ones never were */
	struct virtio_peer_request pool[VIRTIO_PEER_REQUESTS];
};

static void virtio_peer_done(struct peer_request *request, uint32_t written, enum status status);

static struct virtio_peer_request *request_next(struct virtio_peer *device)
{
	if (device->free)
		return device->free;
	return device->used < VIRTIO_PEER_REQUESTS ? &device->pool[device->used] : NULL;
}

static void request_take(struct virtio_peer *device, struct virtio_peer_request *request, unsigned queue)
{
	struct virtio_chain *chain = &request->chain;

	if (request == device->free)
		device->free = request->next_free;
	else
		device->used++;
	request->owner = device;
	request->request = (struct peer_request){.queue = queue,
						 .segment = chain->segment,
						 .readable = chain->readable,
						 .segments = chain->segments,
						 .done = virtio_peer_done,
						 .device = request};
	virtio_pci_request_begin(&device->pci);
}

/* One queue's chains until it or the pool is empty; at most a queue's length of them. Returns the end of the list. */
static struct peer_request **queue_gather(struct virtio_peer *device, unsigned index, struct peer_request **end)
{
	struct virtio_queue *queue = device->gone ? NULL : virtio_pci_queue(&device->pci, index);
	unsigned left = queue ? queue->size : 0;
	struct virtio_peer_request *request;

	device->pending &= ~(1u << index);
	while (left-- && (request = request_next(device)) != NULL) {
		enum virtio_pop pop = virtio_queue_pop(queue, &request->chain);

		if (pop == VIRTIO_POP_EMPTY && virtio_queue_arm(queue))
			continue;
		if (pop == VIRTIO_POP_EMPTY)
			return end;
		if (pop == VIRTIO_POP_BROKEN) {
			virtio_pci_break(&device->pci, "its ring or a request in it is malformed");
			return end;
		}
		request_take(device, request, index);
		*end = &request->request;
		end = &request->request.next;
	}
	if (queue)
		device->pending |= 1u << index;
	return end;
}

/* Submits all that is pending. Under the lock, which it drops meanwhile. */
static void virtio_peer_run(struct virtio_peer *device)
{
	unsigned left = ROUNDS_MAX;

	if (device->running)
		return;
	device->running = true;
	while (device->pending && request_next(device) && left--) {
		struct peer_request *list = NULL, **end = &list;
		uint32_t pending = device->pending;

		for (unsigned queue = 0; queue < device->pci.queues; queue++)
			if (pending & 1u << queue)
				end = queue_gather(device, queue, end);
		*end = NULL;
		if (!list)
			continue;
		host_mutex_unlock(&device->pci.lock);
		device->peer->submit(device->peer, list);
		host_mutex_lock(&device->pci.lock);
	}
	device->running = false;
	if (device->pending && request_next(device))
		timer_set(&device->timer, vm_clock_ns(device->clock) + VIRTIO_PAUSE_NS);
}

static void virtio_peer_fire(void *object)
{
	struct virtio_peer *device = object;

	host_mutex_lock(&device->pci.lock);
	virtio_peer_run(device);
	host_mutex_unlock(&device->pci.lock);
}

static void virtio_peer_notify(void *owner, unsigned queue)
{
	struct virtio_peer *device = owner;

	host_mutex_lock(&device->pci.lock);
	device->pending |= 1u << queue;
	virtio_peer_run(device);
	host_mutex_unlock(&device->pci.lock);
}

static void virtio_peer_ready(void *owner)
{
	struct virtio_peer *device = owner;

	host_mutex_lock(&device->pci.lock);
	if (device->gone && device->pci.status)
		virtio_pci_needs_reset(&device->pci);
	device->pending = (1u << device->pci.queues) - 1;
	virtio_peer_run(device);
	host_mutex_unlock(&device->pci.lock);
}

static void virtio_peer_done(struct peer_request *peer_request, uint32_t written, enum status status)
{
	struct virtio_peer_request *request = peer_request->device;
	struct virtio_peer *device = request->owner;
	uint64_t room;

	host_mutex_lock(&device->pci.lock);
	if (status != STATUS_OK && !device->gone) {
		device->gone = true;
		virtio_pci_needs_reset(&device->pci);
	}
	room = virtio_chain_writable(&request->chain);
	virtio_pci_complete(&device->pci, peer_request->queue, &request->chain, written < room ? written : (uint32_t)room);
	request->next_free = device->free;
	device->free = request;
	virtio_pci_request_end(&device->pci);
	virtio_peer_run(device);
	host_mutex_unlock(&device->pci.lock);
}

static void virtio_peer_config_fill(void *owner, uint8_t *image)
{
	const struct virtio_peer *device = owner;

	__builtin_memcpy(image, device->peer->config, device->peer->config_length);
}

static void virtio_peer_driver_reset(void *owner)
{
	struct virtio_peer *device = owner;

	device->pending = 0;
	timer_cancel(&device->timer);
}

static const struct virtio_ops virtio_peer_ops = {
	.notify = virtio_peer_notify,
	.ready = virtio_peer_ready,
	.config_fill = virtio_peer_config_fill,
	.reset = virtio_peer_driver_reset,
};

static void virtio_peer_reset(void *object)
{
	struct virtio_peer *device = object;

	device->peer->drain(device->peer);
	virtio_pci_power_on(&device->pci);
}

static void virtio_peer_quiesce(void *object)
{
	struct virtio_peer *device = object;

	device->peer->drain(device->peer);
}

static enum status virtio_peer_loaded(void *object, uint32_t version, struct reason *why)
{
	struct virtio_peer *device = object;

	(void)version;
	return virtio_pci_loaded(&device->pci, why);
}

static const struct state_field virtio_peer_fields[] = {
	VIRTIO_PCI_STATE(struct virtio_peer, pci),
};
/* What the peer itself knows is not here: peer->obstacle says whether that matters. */
static const struct state_table virtio_peer_state = {
	.name = "virtio_peer",
	.version = 1,
	STATE_TABLE_FIELDS(virtio_peer_fields),
	.before_save = virtio_peer_quiesce,
	.after_load = virtio_peer_loaded,
};

enum status virtio_peer_create(struct virtio_peer **out, struct pci_bus *bus, uint8_t devfn, struct guest_memory *memory,
			       struct irq *irq, struct vm_clock *clock, struct peer *peer)
{
	struct virtio_identity identity = {
		.name = peer->name,
		.type = peer->type,
		.class_code = peer->class_code,
		.features = peer->features,
		.queues = peer->queues,
		.queue_size = PEER_QUEUE_SIZE,
		.config_length = peer->config_length,
	};
	struct virtio_peer *device;
	enum status status;

	*out = NULL;
	device = host_allocate(sizeof(*device));
	if (!device)
		return STATUS_NO_MEMORY;
	device->peer = peer;
	device->clock = clock;
	timer_init(&device->timer, clock, virtio_peer_fire, device);
	status = virtio_pci_plug(&device->pci, &identity, &virtio_peer_ops, device, bus, devfn, memory, irq);
	if (status != STATUS_OK) {
		host_free(device, sizeof(*device));
		return status;
	}
	device->pci.device.state = &virtio_peer_state;
	device->pci.device.reset = virtio_peer_reset;
	device->pci.device.quiesce = virtio_peer_quiesce;
	device->pci.device.resume = virtio_peer_ready;
	device->pci.device.obstacle = peer->obstacle;
	*out = device;
	return STATUS_OK;
}

struct device *virtio_peer_device(struct virtio_peer *device)
{
	return &device->pci.device;
}

void virtio_peer_destroy(struct virtio_peer *device)
{
	/* Nothing more is taken from the rings, whoever is answered now. */
	host_mutex_lock(&device->pci.lock);
	device->gone = true;
	host_mutex_unlock(&device->pci.lock);
	timer_cancel_wait(&device->timer);
	device->peer->drain(device->peer);
	virtio_pci_unplug(&device->pci);
	host_free(device, sizeof(*device));
}
