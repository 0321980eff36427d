/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_rng.c - entropy (virtio 1.2, 5.4): every buffer gets at most 4 KiB of random bytes, 1 MiB a second in all.
 *
 * The rate is metered by credit that grows with the guest's time. A queue that finds too little waits for the timer.
 */
#include "virtio_rng.h"
#include "virtio_pci.h"

#define VIRTIO_RNG_TYPE 4
#define VIRTIO_RNG_QUEUE_SIZE 64
#define VIRTIO_RNG_BYTES_MAX 4096u        /* of one request */
#define VIRTIO_RNG_CREDIT_MAX (64u << 10) /* bytes that may come in one go */
#define VIRTIO_RNG_NS_PER_BYTE 954u       /* 1 MiB a second */
#define VIRTIO_RNG_COST_MIN 64u           /* a tiny request's work costs too */

struct virtio_rng {
	struct virtio_pci pci;
	struct timer timer;
	struct vm_clock *clock;
	/* Under pci.lock. */
	uint32_t credit;    /* bytes */
	uint64_t credit_ns; /* guest time up to which it is counted */
	uint8_t waiting;    /* for the timer */
	uint8_t bytes[VIRTIO_RNG_BYTES_MAX];
	struct virtio_chain chain;
};

static void virtio_rng_credit_update(struct virtio_rng *rng)
{
	uint64_t now = vm_clock_ns(rng->clock), earned;

	if (now <= rng->credit_ns) {
		rng->credit_ns = now;
		return;
	}
	earned = (now - rng->credit_ns) / VIRTIO_RNG_NS_PER_BYTE;
	if (earned >= VIRTIO_RNG_CREDIT_MAX - rng->credit) {
		rng->credit = VIRTIO_RNG_CREDIT_MAX;
		rng->credit_ns = now;
	} else {
		rng->credit += (uint32_t)earned;
		rng->credit_ns += earned * VIRTIO_RNG_NS_PER_BYTE;
	}
}

/* One request. false: the queue has no more, or is broken. */
static bool virtio_rng_answer(struct virtio_rng *rng, struct virtio_queue *queue)
{
	enum virtio_pop pop = virtio_queue_pop(queue, &rng->chain);
	uint64_t length;

	if (pop == VIRTIO_POP_EMPTY) {
		if (!virtio_queue_arm(queue))
			return false;
		rng->credit--; /* a driver that adds and takes back for ever gets no further than one that asks */
		return true;
	}
	if (pop == VIRTIO_POP_BROKEN) {
		virtio_pci_break(&rng->pci, "its ring is malformed");
		return false;
	}
	length = virtio_chain_writable(&rng->chain);
	if (length > VIRTIO_RNG_BYTES_MAX)
		length = VIRTIO_RNG_BYTES_MAX;
	host_random(rng->bytes, length);
	virtio_chain_fill(&rng->chain, rng->bytes, length);
	rng->credit -= length > VIRTIO_RNG_COST_MIN ? (uint32_t)length : VIRTIO_RNG_COST_MIN;
	virtio_pci_complete(&rng->pci, 0, &rng->chain, (uint32_t)length);
	return true;
}

static void virtio_rng_serve_locked(struct virtio_rng *rng)
{
	struct virtio_queue *queue;

	virtio_rng_credit_update(rng);
	while ((queue = virtio_pci_queue(&rng->pci, 0)) != NULL && rng->credit >= VIRTIO_RNG_BYTES_MAX) {
		if (!virtio_rng_answer(rng, queue))
			return;
	}
	if (!queue)
		return;
	rng->waiting = 1;
	timer_set(&rng->timer, rng->credit_ns + (VIRTIO_RNG_BYTES_MAX - rng->credit) * (uint64_t)VIRTIO_RNG_NS_PER_BYTE);
}

static void virtio_rng_notify(void *owner, unsigned queue)
{
	struct virtio_rng *rng = owner;

	(void)queue;
	host_mutex_lock(&rng->pci.lock);
	if (!rng->waiting)
		virtio_rng_serve_locked(rng);
	host_mutex_unlock(&rng->pci.lock);
}

static void virtio_rng_fire(void *device)
{
	struct virtio_rng *rng = device;

	host_mutex_lock(&rng->pci.lock);
	if (rng->waiting) {
		rng->waiting = 0;
		virtio_rng_serve_locked(rng);
	}
	host_mutex_unlock(&rng->pci.lock);
}

static void virtio_rng_driver_reset(void *owner)
{
	struct virtio_rng *rng = owner;

	rng->waiting = 0;
	timer_cancel(&rng->timer);
}

static const struct virtio_ops virtio_rng_ops = {.notify = virtio_rng_notify, .reset = virtio_rng_driver_reset};

static void virtio_rng_reset(void *object)
{
	struct virtio_rng *rng = object;

	virtio_pci_power_on(&rng->pci);
}

static enum status virtio_rng_loaded(void *object, uint32_t version, struct reason *why)
{
	struct virtio_rng *rng = object;
	enum status status = virtio_pci_loaded(&rng->pci, why);

	(void)version;
	host_mutex_lock(&rng->pci.lock);
	if (rng->credit > VIRTIO_RNG_CREDIT_MAX)
		rng->credit = VIRTIO_RNG_CREDIT_MAX;
	rng->waiting &= 1;
	if (status == STATUS_OK && rng->waiting)
		timer_set(&rng->timer, vm_clock_ns(rng->clock) + (uint64_t)VIRTIO_RNG_BYTES_MAX * VIRTIO_RNG_NS_PER_BYTE);
	host_mutex_unlock(&rng->pci.lock);
	return status;
}

static const struct state_field virtio_rng_fields[] = {
	VIRTIO_PCI_STATE(struct virtio_rng, pci),
	STATE_FIELD(struct virtio_rng, credit),
	STATE_FIELD(struct virtio_rng, credit_ns),
	STATE_FIELD(struct virtio_rng, waiting),
};
static const struct state_table virtio_rng_state = {
	.name = "virtio_rng",
	.version = 1,
	STATE_TABLE_FIELDS(virtio_rng_fields),
	.after_load = virtio_rng_loaded,
};

enum status virtio_rng_create(struct virtio_rng **out, struct pci_bus *bus, uint8_t devfn, struct guest_memory *memory,
			      struct irq *irq, struct vm_clock *clock)
{
	static const struct virtio_identity identity = {
		.name = "virtio-rng",
		.type = VIRTIO_RNG_TYPE,
		.class_code = 0x00ff00,
		.queues = 1,
		.queue_size = VIRTIO_RNG_QUEUE_SIZE,
	};
	struct virtio_rng *rng = host_allocate(sizeof(*rng));
	enum status status;

	*out = NULL;
	if (!rng)
		return STATUS_NO_MEMORY;
	rng->clock = clock;
	rng->credit = VIRTIO_RNG_CREDIT_MAX;
	timer_init(&rng->timer, clock, virtio_rng_fire, rng);
	status = virtio_pci_plug(&rng->pci, &identity, &virtio_rng_ops, rng, bus, devfn, memory, irq);
	if (status != STATUS_OK) {
		host_free(rng, sizeof(*rng));
		return status;
	}
	rng->pci.device.state = &virtio_rng_state;
	rng->pci.device.reset = virtio_rng_reset;
	*out = rng;
	return STATUS_OK;
}

struct device *virtio_rng_device(struct virtio_rng *rng)
{
	return &rng->pci.device;
}

void virtio_rng_destroy(struct virtio_rng *rng)
{
	timer_cancel_wait(&rng->timer);
	virtio_pci_unplug(&rng->pci);
	host_free(rng, sizeof(*rng));
}
