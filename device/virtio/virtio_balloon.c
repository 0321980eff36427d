/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_balloon.c - see virtio_balloon.h. Pages that come by the inflate queue or the reporting queue are taken out of the host's memory; the guest
 * finds zeros when it touches them again, so deflating needs nothing of us, and a guest that is short of memory may do it unasked.
 *
 * The statistics queue works the other way round: the driver's buffer is held until new numbers are wanted. The reporting queue has index 3: drivers
 * leave out the place of the free page hints' queue, which is not offered (as Linux and QEMU do). A notification serves so many chains as the queue
 * holds; if there are more, the timer goes on, so that no guest can keep a vcpu in here.
 */
#include "virtio_balloon.h"
#include "virtio_pci.h"

#define BALLOON_TYPE 5
#define BALLOON_CLASS 0x050000 /* memory */
#define BALLOON_QUEUE_SIZE 128
#define BALLOON_CONFIG_LENGTH 16
#define BALLOON_F_STATS (UINT64_C(1) << 1)
#define BALLOON_F_DEFLATE_ON_OOM (UINT64_C(1) << 2)
#define BALLOON_F_PAGE_POISON (UINT64_C(1) << 4)
#define BALLOON_F_REPORTING (UINT64_C(1) << 5)

enum { INFLATE_QUEUE, DEFLATE_QUEUE, STATS_QUEUE, REPORTING_QUEUE, QUEUES };

/* Configuration (5.5.4). */
#define CONFIG_ACTUAL 4u
#define CONFIG_POISON 12u

#define PFNS_AT_ONCE 256u
#define PFNS_MAX (1u << 16) /* of one request, more of them are left where they are; and of one call */
#define STATS_MAX 64u       /* of one buffer */

struct stat_entry {
	uint16_t tag;
	uint64_t value;
} __attribute__((packed));

struct virtio_balloon {
	struct virtio_pci pci;
	struct timer timer; /* goes on where a notification stopped, and asks for statistics */
	struct vm_clock *clock;
	uint64_t stats_ns;
	/* Under pci.lock. */
	uint32_t target; /* pages */
	uint32_t actual;
	uint32_t poison; /* what the guest expects in its free pages */
	uint8_t stats_held;
	uint16_t stats_head;
	uint64_t stats_due_ns; /* UINT64_MAX: never */
	uint64_t discarded, reported;
	uint64_t stat[BALLOON_STATS];
	uint8_t more; /* a bit a queue that was left half served */
	uint32_t pfn[PFNS_AT_ONCE];
	struct virtio_chain chain;
};

static void timer_arm_locked(struct virtio_balloon *balloon)
{
	timer_set(&balloon->timer, balloon->more ? vm_clock_ns(balloon->clock) + VIRTIO_PAUSE_NS : balloon->stats_due_ns);
}

static void discard(struct virtio_balloon *balloon, uint64_t gpa, uint64_t length)
{
	balloon->discarded += guest_memory_discard(balloon->pci.memory, gpa, length);
}

/* Neighbours go together: the host is asked once for a run of pages, whichever way it goes. */
static void pages_discard(struct virtio_balloon *balloon, unsigned count)
{
	for (unsigned i = 0; i < count;) {
		uint64_t first = balloon->pfn[i], last = first;

		for (i++; i < count && (balloon->pfn[i] == last + 1 || balloon->pfn[i] + UINT64_C(1) == first); i++) {
			if (balloon->pfn[i] > last)
				last = balloon->pfn[i];
			else
				first = balloon->pfn[i];
		}
		discard(balloon, first << GUEST_PAGE_SHIFT, (last - first + 1) << GUEST_PAGE_SHIFT);
	}
}

/* Returns how many pages it was. */
static unsigned inflate(struct virtio_balloon *balloon)
{
	unsigned done, taken;

	for (done = 0; done < PFNS_MAX; done += taken) {
		taken = (unsigned)(virtio_chain_take(&balloon->chain, balloon->pfn, sizeof(balloon->pfn)) /
				   sizeof(balloon->pfn[0]));
		if (!taken)
			break;
		pages_discard(balloon, taken);
	}
	return done;
}

/* Free pages are the writable part itself. With a poison other than 0 they would come back with the wrong contents. */
static void report(struct virtio_balloon *balloon)
{
	struct virtio_chain *chain = &balloon->chain;
	uint64_t before = balloon->discarded;

	for (unsigned i = chain->readable; i < chain->segments && !balloon->poison; i++)
		discard(balloon, chain->gpa[i], chain->segment[i].length);
	balloon->reported += balloon->discarded - before;
}

static void stats_forget(struct virtio_balloon *balloon)
{
	for (unsigned i = 0; i < BALLOON_STATS; i++)
		balloon->stat[i] = BALLOON_STAT_UNKNOWN;
}

static void stats_read(struct virtio_balloon *balloon)
{
	struct stat_entry entry;

	stats_forget(balloon);
	for (unsigned i = 0; i < STATS_MAX; i++) {
		if (virtio_chain_take(&balloon->chain, &entry, sizeof(entry)) != sizeof(entry))
			break;
		if (entry.tag < BALLOON_STATS)
			balloon->stat[entry.tag] = entry.value;
	}
}

/* The buffer stays here until the next numbers are wanted. A driver has one; what it offers beyond that replaces it. */
static void stats_hold(struct virtio_balloon *balloon)
{
	stats_read(balloon);
	virtio_chain_release(&balloon->pci.queue[STATS_QUEUE], &balloon->chain);
	balloon->stats_held = 1;
	balloon->stats_head = balloon->chain.head;
	balloon->stats_due_ns = balloon->stats_ns ? vm_clock_ns(balloon->clock) + balloon->stats_ns : UINT64_MAX;
}

static void stats_want_locked(struct virtio_balloon *balloon)
{
	balloon->stats_due_ns = UINT64_MAX;
	if (!balloon->stats_held || !virtio_pci_queue(&balloon->pci, STATS_QUEUE))
		return;
	balloon->stats_held = 0;
	balloon->chain.head = balloon->stats_head;
	balloon->chain.readable = balloon->chain.segments = 0;
	virtio_pci_complete(&balloon->pci, STATS_QUEUE, &balloon->chain, 0);
}

/* true: the chain has been dealt with and goes back. *pages: how many were discarded one by one, so far. */
static bool chain_serve(struct virtio_balloon *balloon, unsigned index, unsigned *pages)
{
	switch (index) {
	case INFLATE_QUEUE: *pages += inflate(balloon); return true;
	case STATS_QUEUE: stats_hold(balloon); return false;
	case REPORTING_QUEUE: report(balloon); return true;
	default: return true;
	}
}

static void queue_serve_locked(struct virtio_balloon *balloon, unsigned index)
{
	struct virtio_queue *queue = virtio_pci_queue(&balloon->pci, index);
	unsigned left = queue ? queue->size : 0, pages = 0;

	balloon->more &= (uint8_t) ~(1u << index);
	while ((queue = virtio_pci_queue(&balloon->pci, index)) != NULL) {
		enum virtio_pop pop = VIRTIO_POP_EMPTY;

		if (left-- && pages < PFNS_MAX)
			pop = virtio_queue_pop(queue, &balloon->chain);
		else
			balloon->more |= (uint8_t)(1u << index);
		if (balloon->more & 1u << index)
			return;
		if (pop == VIRTIO_POP_BROKEN) {
			virtio_pci_break(&balloon->pci, "its ring is malformed");
			return;
		}
		if (pop == VIRTIO_POP_EMPTY && !virtio_queue_arm(queue))
			return;
		if (pop == VIRTIO_POP_CHAIN && chain_serve(balloon, index, &pages))
			virtio_pci_complete(&balloon->pci, index, &balloon->chain, 0);
	}
}

static void balloon_notify(void *owner, unsigned queue)
{
	struct virtio_balloon *balloon = owner;

	host_mutex_lock(&balloon->pci.lock);
	queue_serve_locked(balloon, queue);
	timer_arm_locked(balloon);
	host_mutex_unlock(&balloon->pci.lock);
}

/* Linux offers its statistics before it sets DRIVER_OK. */
static void balloon_ready(void *owner)
{
	for (unsigned queue = 0; queue < QUEUES; queue++)
		balloon_notify(owner, queue);
}

static void balloon_fire(void *device)
{
	struct virtio_balloon *balloon = device;
	uint8_t more;

	host_mutex_lock(&balloon->pci.lock);
	more = balloon->more;
	for (unsigned index = 0; index < QUEUES; index++) {
		if (more >> index & 1)
			queue_serve_locked(balloon, index);
	}
	if (vm_clock_ns(balloon->clock) >= balloon->stats_due_ns)
		stats_want_locked(balloon);
	timer_arm_locked(balloon);
	host_mutex_unlock(&balloon->pci.lock);
}

static void balloon_config_fill(void *owner, uint8_t *image)
{
	const struct virtio_balloon *balloon = owner;
	const uint32_t config[BALLOON_CONFIG_LENGTH / 4] = {balloon->target, balloon->actual, 0, balloon->poison};

	__builtin_memcpy(image, config, sizeof(config));
}

static void balloon_config_write(void *owner, unsigned offset, unsigned size, uint64_t value)
{
	struct virtio_balloon *balloon = owner;

	if (size != 4)
		return;
	if (offset == CONFIG_ACTUAL)
		balloon->actual = (uint32_t)value;
	else if (offset == CONFIG_POISON && virtio_pci_negotiated(&balloon->pci, BALLOON_F_PAGE_POISON))
		balloon->poison = (uint32_t)value;
}

static void balloon_driver_reset(void *owner)
{
	struct virtio_balloon *balloon = owner;

	balloon->actual = balloon->poison = 0;
	balloon->more = 0;
	balloon->stats_held = 0; /* what was told last stays known: a guest that powers off resets its devices */
	balloon->stats_due_ns = UINT64_MAX;
	timer_cancel(&balloon->timer);
}

static const struct virtio_ops balloon_ops = {
	.notify = balloon_notify,
	.ready = balloon_ready,
	.config_fill = balloon_config_fill,
	.config_write = balloon_config_write,
	.reset = balloon_driver_reset,
};

static void balloon_reset(void *object)
{
	struct virtio_balloon *balloon = object;

	virtio_pci_power_on(&balloon->pci);
}

static enum status balloon_loaded(void *object, uint32_t version, struct reason *why)
{
	struct virtio_balloon *balloon = object;
	enum status status = virtio_pci_loaded(&balloon->pci, why);

	(void)version;
	host_mutex_lock(&balloon->pci.lock);
	balloon->more &= (1u << QUEUES) - 1;
	balloon->stats_held &= 1;
	if (status == STATUS_OK)
		timer_arm_locked(balloon);
	host_mutex_unlock(&balloon->pci.lock);
	return status;
}

static const struct state_field balloon_fields[] = {
	VIRTIO_PCI_STATE(struct virtio_balloon, pci),     STATE_FIELD(struct virtio_balloon, target),
	STATE_FIELD(struct virtio_balloon, actual),       STATE_FIELD(struct virtio_balloon, poison),
	STATE_FIELD(struct virtio_balloon, stats_held),   STATE_FIELD(struct virtio_balloon, stats_head),
	STATE_FIELD(struct virtio_balloon, stats_due_ns), STATE_FIELD(struct virtio_balloon, discarded),
	STATE_FIELD(struct virtio_balloon, reported),     STATE_ARRAY(struct virtio_balloon, stat),
	STATE_FIELD(struct virtio_balloon, more),
};
static const struct state_table balloon_state = {
	.name = "virtio_balloon",
	.version = 1,
	STATE_TABLE_FIELDS(balloon_fields),
	.after_load = balloon_loaded,
};

static uint32_t target_pages(const struct virtio_balloon *balloon, uint64_t target)
{
	uint64_t most = balloon->pci.memory->size < UINT64_C(0xffffffff) << GUEST_PAGE_SHIFT
				? balloon->pci.memory->size
				: UINT64_C(0xffffffff) << GUEST_PAGE_SHIFT;

	return (uint32_t)((target < most ? target : most) >> GUEST_PAGE_SHIFT);
}

enum status virtio_balloon_create(struct virtio_balloon **out, struct pci_bus *bus, uint8_t devfn, struct guest_memory *memory,
				  struct irq *irq, struct vm_clock *clock, uint64_t target, uint64_t stats_ns)
{
	static const struct virtio_identity identity = {
		.name = "virtio-balloon",
		.type = BALLOON_TYPE,
		.class_code = BALLOON_CLASS,
		.features = BALLOON_F_STATS | BALLOON_F_DEFLATE_ON_OOM | BALLOON_F_PAGE_POISON | BALLOON_F_REPORTING,
		.queues = QUEUES,
		.queue_size = BALLOON_QUEUE_SIZE,
		.config_length = BALLOON_CONFIG_LENGTH,
	};
	struct virtio_balloon *balloon = host_allocate(sizeof(*balloon));
	enum status status;

	*out = NULL;
	if (!balloon)
		return STATUS_NO_MEMORY;
	balloon->clock = clock;
	balloon->stats_ns = stats_ns;
	stats_forget(balloon);
	balloon->stats_due_ns = UINT64_MAX;
	timer_init(&balloon->timer, clock, balloon_fire, balloon);
	status = virtio_pci_plug(&balloon->pci, &identity, &balloon_ops, balloon, bus, devfn, memory, irq);
	if (status != STATUS_OK) {
		host_free(balloon, sizeof(*balloon));
		return status;
	}
	balloon->target = target_pages(balloon, target);
	balloon->pci.device.state = &balloon_state;
	balloon->pci.device.reset = balloon_reset;
	*out = balloon;
	return STATUS_OK;
}

struct device *virtio_balloon_device(struct virtio_balloon *balloon)
{
	return &balloon->pci.device;
}

void virtio_balloon_destroy(struct virtio_balloon *balloon)
{
	timer_cancel_wait(&balloon->timer);
	virtio_pci_unplug(&balloon->pci);
	host_free(balloon, sizeof(*balloon));
}

void virtio_balloon_target_set(struct virtio_balloon *balloon, uint64_t target)
{
	host_mutex_lock(&balloon->pci.lock);
	balloon->target = target_pages(balloon, target);
	virtio_pci_config_changed(&balloon->pci);
	host_mutex_unlock(&balloon->pci.lock);
}

void virtio_balloon_report(struct virtio_balloon *balloon, struct balloon_report *report)
{
	host_mutex_lock(&balloon->pci.lock);
	*report = (struct balloon_report){.target = (uint64_t)balloon->target << GUEST_PAGE_SHIFT,
					  .actual = (uint64_t)balloon->actual << GUEST_PAGE_SHIFT,
					  .discarded = balloon->discarded,
					  .reported = balloon->reported};
	__builtin_memcpy(report->stat, balloon->stat, sizeof(report->stat));
	host_mutex_unlock(&balloon->pci.lock);
}
