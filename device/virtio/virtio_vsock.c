/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_vsock.c - packets out of and into the rings (virtio 1.2, 5.10). What they mean is the backend's: nothing of a connection is kept here.
 *
 * After a pause with the backend (device.h: quiesce, resume) its connections are gone: the event queue tells the driver (5.10.6.7), at once or as soon
 * as it offers a buffer there.
 */
#include "virtio_vsock.h"
#include "virtio_pci.h"

#define VSOCK_TYPE 19
#define VSOCK_CLASS 0x028000 /* a network controller of another kind */
#define VSOCK_QUEUE_SIZE 128
#define VSOCK_CONFIG_LENGTH 8
#define EVENT_TRANSPORT_RESET 0u

enum { RECEIVE_QUEUE, TRANSMIT_QUEUE, EVENT_QUEUE, QUEUES };

struct virtio_vsock {
	struct virtio_pci pci;
	struct vsock *backend;
	struct vsock_frontend frontend;
	/* Under pci.lock. */
	uint8_t reset_pending; /* the driver is to hear that all connections are gone */
	struct virtio_chain chain;
};

static bool vsock_take(void *device, struct vsock_header *header, uint8_t *payload)
{
	struct virtio_vsock *vsock = device;
	uint64_t length;
	bool taken;

	host_mutex_lock(&vsock->pci.lock);
	taken = virtio_pci_pop(&vsock->pci, TRANSMIT_QUEUE, &vsock->chain);
	if (taken) {
		__builtin_memset(header, 0, sizeof(*header));
		length = virtio_chain_take(&vsock->chain, header, sizeof(*header));
		/* What is no whole packet becomes one with an operation that there is not: it is refused like those. */
		if (length < sizeof(*header) || header->length > VSOCK_PAYLOAD_MAX ||
		    virtio_chain_take(&vsock->chain, payload, header->length) < header->length) {
			header->operation = 0;
			header->length = 0;
		}
		virtio_pci_complete(&vsock->pci, TRANSMIT_QUEUE, &vsock->chain, 0);
	}
	host_mutex_unlock(&vsock->pci.lock);
	return taken;
}

/* Under the lock: a chain that holds at least a header. Smaller ones are given back empty. */
static bool receive_pop(struct virtio_vsock *vsock)
{
	unsigned left = VSOCK_QUEUE_SIZE;

	while (left-- && virtio_pci_pop(&vsock->pci, RECEIVE_QUEUE, &vsock->chain)) {
		if (virtio_chain_writable(&vsock->chain) > sizeof(struct vsock_header))
			return true;
		virtio_pci_complete(&vsock->pci, RECEIVE_QUEUE, &vsock->chain, 0);
	}
	return false;
}

static bool vsock_give(void *device, const struct vsock_header *header, const uint8_t *payload, uint32_t *given)
{
	struct virtio_vsock *vsock = device;
	struct vsock_header written = *header;
	uint64_t room;
	bool popped;

	host_mutex_lock(&vsock->pci.lock);
	popped = receive_pop(vsock);
	if (popped) {
		room = virtio_chain_writable(&vsock->chain) - sizeof(written);
		if (written.length > room)
			written.length = (uint32_t)room;
		*given = written.length;
		virtio_chain_fill(&vsock->chain, &written, sizeof(written));
		virtio_chain_fill_at(&vsock->chain, sizeof(written), payload, written.length);
		virtio_pci_complete(&vsock->pci, RECEIVE_QUEUE, &vsock->chain, (uint32_t)sizeof(written) + written.length);
	}
	host_mutex_unlock(&vsock->pci.lock);
	return popped;
}

static void event_send_locked(struct virtio_vsock *vsock)
{
	const uint32_t event = EVENT_TRANSPORT_RESET;

	if (!vsock->reset_pending || !virtio_pci_pop(&vsock->pci, EVENT_QUEUE, &vsock->chain))
		return;
	vsock->reset_pending = 0;
	virtio_chain_fill(&vsock->chain, &event, sizeof(event));
	virtio_pci_complete(&vsock->pci, EVENT_QUEUE, &vsock->chain, sizeof(event));
}

static void vsock_notify(void *owner, unsigned queue)
{
	struct virtio_vsock *vsock = owner;

	if (queue != EVENT_QUEUE) {
		vsock->backend->kick(vsock->backend);
		return;
	}
	host_mutex_lock(&vsock->pci.lock);
	event_send_locked(vsock);
	host_mutex_unlock(&vsock->pci.lock);
}

static void vsock_ready(void *owner)
{
	struct virtio_vsock *vsock = owner;

	vsock->backend->kick(vsock->backend);
}

static void vsock_config_fill(void *owner, uint8_t *image)
{
	const struct virtio_vsock *vsock = owner;

	__builtin_memcpy(image, &vsock->backend->guest_cid, VSOCK_CONFIG_LENGTH);
}

static void vsock_driver_reset(void *owner)
{
	struct virtio_vsock *vsock = owner;

	vsock->reset_pending = 0;
	vsock->backend->reset(vsock->backend);
}

static const struct virtio_ops vsock_ops = {
	.notify = vsock_notify,
	.ready = vsock_ready,
	.config_fill = vsock_config_fill,
	.reset = vsock_driver_reset,
};

static void vsock_reset(void *object)
{
	struct virtio_vsock *vsock = object;

	virtio_pci_power_on(&vsock->pci);
}

static void vsock_quiesce(void *object)
{
	struct virtio_vsock *vsock = object;

	vsock_connect(vsock->backend, NULL);
	vsock->backend->reset(vsock->backend);
	host_mutex_lock(&vsock->pci.lock);
	vsock->reset_pending = (vsock->pci.status & VIRTIO_STATUS_DRIVER_OK) != 0;
	host_mutex_unlock(&vsock->pci.lock);
}

static void vsock_resume(void *object)
{
	struct virtio_vsock *vsock = object;

	host_mutex_lock(&vsock->pci.lock);
	event_send_locked(vsock);
	host_mutex_unlock(&vsock->pci.lock);
	vsock_connect(vsock->backend, &vsock->frontend);
}

static enum status vsock_loaded(void *object, uint32_t version, struct reason *why)
{
	struct virtio_vsock *vsock = object;

	(void)version;
	vsock->reset_pending &= 1;
	return virtio_pci_loaded(&vsock->pci, why);
}

static const struct state_field vsock_fields[] = {
	VIRTIO_PCI_STATE(struct virtio_vsock, pci),
	STATE_FIELD(struct virtio_vsock, reset_pending),
};
static const struct state_table vsock_state = {
	.name = "virtio_vsock",
	.version = 1,
	STATE_TABLE_FIELDS(vsock_fields),
	.after_load = vsock_loaded,
};

enum status virtio_vsock_create(struct virtio_vsock **out, struct pci_bus *bus, uint8_t devfn, struct guest_memory *memory,
				struct irq *irq, struct vsock *backend)
{
	static const struct virtio_identity identity = {
		.name = "virtio-vsock",
		.type = VSOCK_TYPE,
		.class_code = VSOCK_CLASS,
		.queues = QUEUES,
		.queue_size = VSOCK_QUEUE_SIZE,
		.config_length = VSOCK_CONFIG_LENGTH,
	};
	struct virtio_vsock *vsock = host_allocate(sizeof(*vsock));
	enum status status;

	*out = NULL;
	if (!vsock)
		return STATUS_NO_MEMORY;
	vsock->backend = backend;
	vsock->frontend = (struct vsock_frontend){vsock_take, vsock_give, vsock};
	status = virtio_pci_plug(&vsock->pci, &identity, &vsock_ops, vsock, bus, devfn, memory, irq);
	if (status != STATUS_OK) {
		host_free(vsock, sizeof(*vsock));
		return status;
	}
	vsock->pci.device.state = &vsock_state;
	vsock->pci.device.reset = vsock_reset;
	vsock->pci.device.quiesce = vsock_quiesce;
	vsock->pci.device.resume = vsock_resume;
	*out = vsock;
	return STATUS_OK;
}

struct device *virtio_vsock_device(struct virtio_vsock *vsock)
{
	return &vsock->pci.device;
}

void virtio_vsock_destroy(struct virtio_vsock *vsock)
{
	vsock_connect(vsock->backend, NULL);
	virtio_pci_unplug(&vsock->pci);
	host_free(vsock, sizeof(*vsock));
}
