/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_net.c - a network card (virtio 1.2, 5.1): its life, its configuration, its saved state.
 *
 * A vcpu's notification only tells the backend, which then moves frames through virtio_net_frames.c, on its thread or at once. The control queue is served
 * by the vcpu itself (virtio_net_control.c). While the device is quiet (device.h) no backend is connected: what comes from outside waits there.
 */
#include "virtio_net_parts.h"

#define VIRTIO_NET_TYPE 1

#define VIRTIO_NET_S_LINK_UP 1
#define VIRTIO_NET_S_ANNOUNCE 2

/* struct virtio_net_config, 5.1.4. */
struct virtio_net_config {
	uint8_t mac[NET_MAC_LENGTH];
	uint16_t status;
	uint16_t max_virtqueue_pairs;
	uint16_t mtu;
};

/* Each offload's feature in the two directions. */
static const struct {
	unsigned offload;
	uint64_t host, guest;
} offload_features[] = {
	{NET_OFFLOAD_CHECKSUM, VIRTIO_NET_F_CSUM, VIRTIO_NET_F_GUEST_CSUM},
	{NET_OFFLOAD_TSO4, VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_GUEST_TSO4},
	{NET_OFFLOAD_TSO6, VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_F_GUEST_TSO6},
	{NET_OFFLOAD_ECN, VIRTIO_NET_F_HOST_ECN, VIRTIO_NET_F_GUEST_ECN},
};
#define OFFLOADS (sizeof(offload_features) / sizeof(offload_features[0]))

void virtio_net_backend_tell(struct virtio_net *net)
{
	unsigned offloads = 0;

	for (unsigned i = 0; i < OFFLOADS; i++)
		if (net->guest_offloads & offload_features[i].guest)
			offloads |= offload_features[i].offload;
	/* TSO without checksums may be negotiated by a driver that knows no better. */
	net->backend->receives(net->backend, offloads & NET_OFFLOAD_CHECKSUM ? offloads : 0);
	if (net->backend->pairs_set)
		net->backend->pairs_set(net->backend, net->pairs_used);
}

void virtio_net_kick_all(struct virtio_net *net)
{
	for (unsigned pair = 0; pair < net->backend->pairs; pair++)
		net->backend->kick(net->backend, pair);
}

/* 5.1.2: behind the rings that there are, or that a driver without MQ knows of. */
static unsigned control_index(const struct virtio_net *net)
{
	return net->pci.driver_features & VIRTIO_NET_F_MQ ? 2 * net->backend->pairs : 2;
}

/* Without the lock. */
static void frames_notify(struct virtio_net *net, unsigned queue)
{
	if (queue & 1)
		net_serve(net->backend, queue / 2);
	else
		net->backend->kick(net->backend, queue / 2);
}

static void virtio_net_notify(void *owner, unsigned queue)
{
	struct virtio_net *net = owner;

	if (queue < 2) {
		frames_notify(net, queue);
		return;
	}
	host_mutex_lock(&net->pci.lock);
	if (queue == control_index(net))
		virtio_net_control(net, queue);
	host_mutex_unlock(&net->pci.lock);
	if (queue < 2 * net->backend->pairs)
		frames_notify(net, queue);
}

static void virtio_net_ready(void *owner)
{
	struct virtio_net *net = owner;

	host_mutex_lock(&net->pci.lock);
	/* Before FEATURES_OK nothing is agreed, and the driver may still name others. */
	net->guest_offloads =
		net->pci.status & VIRTIO_STATUS_FEATURES_OK ? net->pci.driver_features & VIRTIO_NET_GUEST_OFFLOADS : 0;
	net->pairs_used = 1;
	virtio_net_backend_tell(net);
	host_mutex_unlock(&net->pci.lock);
	virtio_net_kick_all(net);
}

static void virtio_net_fire(void *device)
{
	struct virtio_net *net = device;

	host_mutex_lock(&net->pci.lock);
	net->wake_ns = UINT64_MAX;
	host_mutex_unlock(&net->pci.lock);
	virtio_net_kick_all(net);
}

static void virtio_net_config_fill(void *owner, uint8_t *image)
{
	const struct virtio_net *net = owner;
	struct virtio_net_config config = {
		.status = (uint16_t)((net->link_down ? 0 : VIRTIO_NET_S_LINK_UP) | (net->announce ? VIRTIO_NET_S_ANNOUNCE : 0)),
		.max_virtqueue_pairs = (uint16_t)net->backend->pairs,
		.mtu = net->backend->mtu,
	};

	__builtin_memcpy(config.mac, net->mac, sizeof(config.mac));
	__builtin_memcpy(image, &config, sizeof(config));
}

static void virtio_net_driver_reset(void *owner)
{
	struct virtio_net *net = owner;

	net->guest_offloads = 0;
	net->pairs_used = 1;
	net->announce = 0;
	virtio_net_backend_tell(net);
}

static const struct virtio_ops virtio_net_ops = {
	.notify = virtio_net_notify,
	.ready = virtio_net_ready,
	.config_fill = virtio_net_config_fill,
	.reset = virtio_net_driver_reset,
};

static void announce_locked(struct virtio_net *net)
{
	if (!virtio_pci_negotiated(&net->pci, VIRTIO_NET_F_GUEST_ANNOUNCE))
		return;
	net->announce = 1;
	virtio_pci_config_changed(&net->pci);
}

void virtio_net_announce(struct virtio_net *net)
{
	host_mutex_lock(&net->pci.lock);
	announce_locked(net);
	host_mutex_unlock(&net->pci.lock);
}

/* A cable that is in again may be in another socket: the guest tells its new neighbours. */
static void virtio_net_link_set(void *device, bool up)
{
	struct virtio_net *net = device;

	host_mutex_lock(&net->pci.lock);
	if (net->link_down == up) {
		net->link_down = !up;
		virtio_pci_config_changed(&net->pci);
		if (up)
			announce_locked(net);
	}
	host_mutex_unlock(&net->pci.lock);
}

static void virtio_net_quiesce(void *object)
{
	struct virtio_net *net = object;

	net_connect(net->backend, NULL);
	net->connected = false;
}

/* The timer is not saved: the kick that comes with connecting finds out what there is to do, or sets it again. */
static void virtio_net_resume(void *object)
{
	struct virtio_net *net = object;

	net->connected = true;
	net_connect(net->backend, &net->frontend);
}

/* The backend would otherwise open sessions that hold the reset up. */
static void virtio_net_reset(void *object)
{
	struct virtio_net *net = object;

	if (net->connected)
		net_connect(net->backend, NULL);
	virtio_pci_power_on(&net->pci);
	if (net->connected)
		net_connect(net->backend, &net->frontend);
}

static const char *virtio_net_implausible(const struct virtio_net *net)
{
	if (net->pairs_used == 0 || net->pairs_used > net->backend->pairs ||
	    (net->pairs_used > 1 && !virtio_pci_negotiated(&net->pci, VIRTIO_NET_F_MQ)))
		return "more queues in use than there are";
	if (net->guest_offloads & ~(net->pci.driver_features & VIRTIO_NET_GUEST_OFFLOADS))
		return "offloads that were not negotiated";
	return net->announce > 1 ? "a state that no driver could have brought about" : NULL;
}

static enum status virtio_net_loaded(void *object, uint32_t version, struct reason *why)
{
	struct virtio_net *net = object;
	enum status status = virtio_pci_loaded(&net->pci, why);
	const char *wrong;

	(void)version;
	host_mutex_lock(&net->pci.lock);
	wrong = virtio_net_implausible(net);
	if (wrong)
		virtio_net_driver_reset(net);
	virtio_net_backend_tell(net);
	host_mutex_unlock(&net->pci.lock);
	return wrong ? reason_give(why, STATUS_INVALID, "virtio-net: the saved state has %s", wrong) : status;
}

/* Rates begin anew, with full buckets; the link is the backend's. */
static const struct state_field virtio_net_fields[] = {
	VIRTIO_PCI_STATE(struct virtio_net, pci),
	STATE_FIELD(struct virtio_net, guest_offloads),
	STATE_FIELD(struct virtio_net, pairs_used),
	STATE_FIELD(struct virtio_net, announce),
};
static const struct state_table virtio_net_state = {
	.name = "virtio_net",
	.version = 1,
	STATE_TABLE_FIELDS(virtio_net_fields),
	.after_load = virtio_net_loaded,
};

static uint64_t virtio_net_features(const struct net *backend)
{
	uint64_t features = VIRTIO_NET_F_MAC | VIRTIO_NET_F_MTU | VIRTIO_NET_F_MRG_RXBUF | VIRTIO_NET_F_STATUS |
			    VIRTIO_NET_F_CTRL_VQ | VIRTIO_NET_F_GUEST_ANNOUNCE;

	for (unsigned i = 0; i < OFFLOADS; i++) {
		if (backend->offloads & offload_features[i].offload)
			features |= offload_features[i].host;
		if (backend->gives & offload_features[i].offload)
			features |= offload_features[i].guest;
	}
	if (features & VIRTIO_NET_GUEST_OFFLOADS)
		features |= VIRTIO_NET_F_CTRL_GUEST_OFFLOADS;
	return backend->pairs > 1 ? features | VIRTIO_NET_F_MQ : features;
}

static void virtio_net_init(struct virtio_net *net, struct vm_clock *clock, const struct virtio_net_setup *setup)
{
	net->backend = setup->backend;
	net->clock = clock;
	net->wake_ns = UINT64_MAX;
	net->pairs_used = 1;
	net->frontend = (struct net_frontend){virtio_net_take, virtio_net_give, virtio_net_flush, virtio_net_link_set, net};
	timer_init(&net->timer, clock, virtio_net_fire, net);
	__builtin_memcpy(net->mac, setup->mac, sizeof(net->mac));
	for (unsigned i = 0; i < 2 * setup->backend->pairs; i++) {
		virtio_rate_init(&net->ring[i].bytes, setup->bytes.second, setup->bytes.burst);
		virtio_rate_init(&net->ring[i].frames, setup->frames.second, setup->frames.burst);
	}
}

enum status virtio_net_create(struct virtio_net **out, struct pci_bus *bus, uint8_t devfn, struct guest_memory *memory,
			      struct irq *irq, struct vm_clock *clock, const struct virtio_net_setup *setup)
{
	const struct virtio_identity identity = {
		.name = "virtio-net",
		.type = VIRTIO_NET_TYPE,
		.class_code = 0x020000,
		.features = virtio_net_features(setup->backend),
		.queues = 2 * setup->backend->pairs + 1,
		.queue_size = VIRTIO_NET_QUEUE_SIZE,
		.config_length = sizeof(struct virtio_net_config),
	};
	struct virtio_net *net = host_allocate(sizeof(*net));
	enum status status;

	*out = NULL;
	bug_on(setup->backend->pairs == 0 || setup->backend->pairs > NET_PAIRS_MAX);
	if (!net)
		return STATUS_NO_MEMORY;
	virtio_net_init(net, clock, setup);
	status = virtio_pci_plug(&net->pci, &identity, &virtio_net_ops, net, bus, devfn, memory, irq);
	if (status != STATUS_OK) {
		host_free(net, sizeof(*net));
		return status;
	}
	net->pci.device.state = &virtio_net_state;
	net->pci.device.reset = virtio_net_reset;
	net->pci.device.quiesce = virtio_net_quiesce;
	net->pci.device.resume = virtio_net_resume;
	*out = net;
	return STATUS_OK;
}

struct device *virtio_net_device(struct virtio_net *net)
{
	return &net->pci.device;
}

void virtio_net_destroy(struct virtio_net *net)
{
	timer_cancel_wait(&net->timer);
	net_connect(net->backend, NULL);
	virtio_pci_unplug(&net->pci);
	host_free(net, sizeof(*net));
}
