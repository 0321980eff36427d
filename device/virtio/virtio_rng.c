/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_rng.c - entropy (virtio 1.2, 5.4): every buffer gets at most 4 KiB of random bytes, and all of them so many a second as the owner says.
 *
 * The rate is that of the guest's time. A queue that has to wait is served again by the timer.
 */
#include "virtio_rng.h"
#include "virtio_pci.h"
#include "virtio_rate.h"

#define VIRTIO_RNG_TYPE 4
#define VIRTIO_RNG_QUEUE_SIZE 64
#define VIRTIO_RNG_BYTES_MAX 4096u /* of one request */
#define VIRTIO_RNG_COST_MIN 64u    /* a tiny request's work costs too */

struct virtio_rng {
	struct virtio_pci pci;
	struct timer timer;
	struct vm_clock *clock;
	/* Under pci.lock. */
	struct virtio_rate rate;
	uint8_t waiting; /* for the timer */
	uint8_t bytes[VIRTIO_RNG_BYTES_MAX];
	struct virtio_chain chain;
};

/* One request. false: the queue has no more, or is broken. */
static bool virtio_rng_answer(struct virtio_rng *rng, struct virtio_queue *queue, uint64_t now)
{
	enum virtio_pop pop = virtio_queue_pop(queue, &rng->chain);
	uint64_t length;

	if (pop == VIRTIO_POP_EMPTY) {
		if (!virtio_queue_arm(queue))
			return false;
		/* A driver that adds and takes back for ever gets no further than one that asks. */
		virtio_rate_spend(&rng->rate, now, VIRTIO_RNG_COST_MIN);
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
	virtio_rate_spend(&rng->rate, now, length > VIRTIO_RNG_COST_MIN ? length : VIRTIO_RNG_COST_MIN);
	virtio_pci_complete(&rng->pci, 0, &rng->chain, (uint32_t)length);
	return true;
}

static void virtio_rng_serve_locked(struct virtio_rng *rng)
{
	uint64_t now = vm_clock_ns(rng->clock), due = now + VIRTIO_PAUSE_NS;
	unsigned left = VIRTIO_RNG_QUEUE_SIZE;
	struct virtio_queue *queue;

	/* Where there is no limit a guest may ask without end: others come in between. */
	while ((queue = virtio_pci_queue(&rng->pci, 0)) != NULL) {
		if (!left-- || !virtio_rate_open(&rng->rate, now, &due)) {
			rng->waiting = 1;
			timer_set(&rng->timer, due);
			return;
		}
		if (!virtio_rng_answer(rng, queue, now))
			return;
	}
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
	uint64_t due;

	(void)version;
	host_mutex_lock(&rng->pci.lock);
	rng->waiting &= 1;
	virtio_rate_loaded(&rng->rate, vm_clock_ns(rng->clock), VIRTIO_RNG_BYTES_MAX);
	if (status == STATUS_OK && rng->waiting)
		timer_set(&rng->timer, virtio_rate_open(&rng->rate, vm_clock_ns(rng->clock), &due) ? vm_clock_ns(rng->clock) : due);
	host_mutex_unlock(&rng->pci.lock);
	return status;
}

static const struct state_field virtio_rng_fields[] = {
	VIRTIO_PCI_STATE(struct virtio_rng, pci),
	STATE_FIELD(struct virtio_rng, rate.full_ns),
	STATE_FIELD(struct virtio_rng, rate.rest),
	STATE_FIELD(struct virtio_rng, waiting),
};
static const struct state_table virtio_rng_state = {
	.name = "virtio_rng",
	.version = 1,
	STATE_TABLE_FIELDS(virtio_rng_fields),
	.after_load = virtio_rng_loaded,
};

enum status virtio_rng_create(struct virtio_rng **out, struct pci_bus *bus, uint8_t devfn, struct guest_memory *memory,
			      struct irq *irq, struct vm_clock *clock, uint64_t second, uint64_t burst)
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
	virtio_rate_init(&rng->rate, second, burst);
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
