/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nvme.c - an NVMe controller (NVM Express 1.4): its registers, resets, shutdown and saved state. Read nvme_internal.h and nvme_queue.c next.
 *
 * One namespace, eight I/O queues, pages of 4 KiB, PRPs (Identify offers no SGLs). A reset, like a virtio device's, waits for what is under way:
 * CSTS.RDY stays 1 until the last request is back, so no data lands in memory that the driver has taken back, and no vcpu is held up.
 */
#include "device/nvme_internal.h"

#define NVME_BAR 0
#define NVME_BAR_SIZE 0x2000
#define NVME_MSIX_BAR 4
#define NVME_DOORBELLS 0x1000

#define REG_CAP 0x00
#define REG_CAP_UPPER 0x04
#define REG_VS 0x08
#define REG_INTMS 0x0c
#define REG_INTMC 0x10
#define REG_CC 0x14
#define REG_CSTS 0x1c
#define REG_AQA 0x24
#define REG_ASQ 0x28
#define REG_ACQ 0x30

/* MQES, CQR, TO of 60 s: a disk may be slow to give back what it has; CSS: the NVM command set; pages of 4 KiB, doorbells side by side. */
#define CAP_LOWER ((NVME_QUEUE_ENTRIES - 1) | 1u << 16 | 120u << 24)
#define CAP_UPPER (1u << 5)
#define VERSION_1_4 0x00010400u
#define CC_EN 1u
#define CC_LAYOUT 0x3ff0u /* CSS, MPS, AMS: 0 is what there is */
#define CC_SHN 0xc000u
#define CC_WRITABLE 0x00fffff1u
#define AQA_WRITABLE 0x0fff0fffu

void nvme_fail(struct nvme *nvme, const char *what)
{
	if (nvme->status & NVME_CSTS_CFS)
		return;
	host_log(HOST_LOG_WARN, "nvme %02x.%x: the guest's driver broke the rules: %s; it must reset the controller",
		 nvme->function.devfn >> 3, nvme->function.devfn & 7, what);
	nvme->status |= NVME_CSTS_CFS;
}

static void nvme_enable(struct nvme *nvme)
{
	uint32_t submission = (nvme->admin_entries & 0xfff) + 1, completion = (nvme->admin_entries >> 16 & 0xfff) + 1;

	if (nvme->configuration & CC_LAYOUT || submission < 2 || completion < 2 || !nvme_queue_base_good(nvme->admin_submission) ||
	    !nvme_queue_base_good(nvme->admin_completion)) {
		nvme_fail(nvme, "it enabled the controller with settings that cannot be");
		return;
	}
	nvme->completion[0] = (struct nvme_completion){.exists = 1,
						       .interrupts = 1,
						       .phase = 1,
						       .entries = (uint16_t)completion,
						       .base = nvme->admin_completion,
						       .users = 1};
	nvme->submission[0] =
		(struct nvme_submission){.exists = 1, .entries = (uint16_t)submission, .base = nvme->admin_submission};
	nvme->status |= NVME_CSTS_RDY;
}

static void features_reset(struct nvme *nvme)
{
	__builtin_memset(nvme->feature, 0, sizeof(nvme->feature));
	nvme->feature[0x04] = 273 + 70; /* temperature threshold: Identify's WCTEMP */
	nvme->feature[NVME_FEATURE_WRITE_CACHE] = 1;
	nvme->feature[0x07] = (NVME_QUEUES - 2) | (NVME_QUEUES - 2) << 16;
}

/* A controller level reset (7.3.2): AQA, ASQ and ACQ stay, and CC but for what was written. */
static void nvme_reset_now(struct nvme *nvme)
{
	nvme->resetting = false;
	nvme->status = 0;
	nvme->interrupt_mask = 0;
	nvme->pending = 0;
	timer_cancel(&nvme->timer);
	__builtin_memset(nvme->submission, 0, sizeof(nvme->submission));
	__builtin_memset(nvme->completion, 0, sizeof(nvme->completion));
	features_reset(nvme);
	nvme->event_commands = nvme->event_pending = nvme->event_masked = nvme->namespace_changed = 0;
	pci_intx_set(&nvme->function, false);
	if (nvme->configuration & CC_EN)
		nvme_enable(nvme); /* it was enabled again while we waited */
}

static void nvme_reset(struct nvme *nvme)
{
	if (nvme->under_way)
		nvme->resetting = true;
	else
		nvme_reset_now(nvme);
}

void nvme_under_way_end(struct nvme *nvme)
{
	if (--nvme->under_way == 0 && nvme->resetting)
		nvme_reset_now(nvme);
}

/* --- shutdown, 7.6.2: what the guest wrote is on stable storage before we say that it is complete --- */

static void shutdown_done(struct block_request *block, enum status status)
{
	struct nvme *nvme = block->device;

	host_mutex_lock(&nvme->lock);
	if (status != STATUS_OK)
		nvme->smart.media_errors++;
	nvme->shutdown_flushing = false;
	if (nvme->status & NVME_CSTS_SHST)
		nvme->status = (nvme->status & ~NVME_CSTS_SHST) | NVME_CSTS_SHST_COMPLETE;
	nvme_under_way_end(nvme);
	host_mutex_unlock(&nvme->lock);
}

/* Returns whether the flush is to be submitted, without the lock. */
static bool shutdown_begin(struct nvme *nvme)
{
	if (nvme->status & NVME_CSTS_SHST || nvme->resetting)
		return false;
	nvme->status |= NVME_CSTS_SHST_UNDER_WAY;
	if (nvme->shutdown_flushing)
		return false; /* of the shutdown before; its end is this one's */
	nvme->shutdown_flushing = true;
	nvme->under_way++;
	nvme->shutdown_flush = (struct block_request){.operation = BLOCK_FLUSH, .done = shutdown_done, .device = nvme};
	return true;
}

/* --- registers --- */

static bool configuration_write(struct nvme *nvme, uint32_t value)
{
	uint32_t before = nvme->configuration;

	nvme->configuration = value & CC_WRITABLE;
	if (before & CC_EN && !(value & CC_EN))
		nvme_reset(nvme);
	else if (!(before & CC_EN) && value & CC_EN && !nvme->resetting)
		nvme_enable(nvme);
	return value & CC_SHN && shutdown_begin(nvme);
}

static void half_set(uint64_t *target, bool upper, uint32_t value)
{
	*target = upper ? (*target & UINT32_MAX) | (uint64_t)value << 32 : (*target & ~(uint64_t)UINT32_MAX) | value;
}

/* Returns whether the shutdown's flush is to be submitted. */
static bool register_write(struct nvme *nvme, uint64_t offset, uint32_t value)
{
	bool enabled = nvme->configuration & CC_EN;

	if (offset >= NVME_DOORBELLS) {
		uint64_t index = (offset - NVME_DOORBELLS) / 4;

		if (index < 2 * NVME_QUEUES)
			nvme_doorbell(nvme, (unsigned)index, value);
		else if (nvme_serving(nvme))
			nvme_event(nvme, NVME_EVENT_BAD_DOORBELL);
		return false;
	}
	switch (offset) {
	case REG_INTMS:
		nvme->interrupt_mask |= value;
		nvme_interrupts_update(nvme);
		break;
	case REG_INTMC:
		nvme->interrupt_mask &= ~value;
		nvme_interrupts_update(nvme);
		break;
	case REG_CC: return configuration_write(nvme, value);
	case REG_AQA:
		if (!enabled)
			nvme->admin_entries = value & AQA_WRITABLE;
		break;
	case REG_ASQ:
	case REG_ASQ + 4:
		if (!enabled)
			half_set(&nvme->admin_submission, offset & 4, offset & 4 ? value : value & ~(NVME_PAGE - 1));
		break;
	case REG_ACQ:
	case REG_ACQ + 4:
		if (!enabled)
			half_set(&nvme->admin_completion, offset & 4, offset & 4 ? value : value & ~(NVME_PAGE - 1));
		break;
	default: break;
	}
	return false;
}

static uint32_t register_read(const struct nvme *nvme, uint64_t offset)
{
	switch (offset) {
	case REG_CAP: return CAP_LOWER;
	case REG_CAP_UPPER: return CAP_UPPER;
	case REG_VS: return VERSION_1_4;
	case REG_INTMS:
	case REG_INTMC: return nvme->interrupt_mask;
	case REG_CC: return nvme->configuration;
	case REG_CSTS: return nvme->status;
	case REG_AQA: return nvme->admin_entries;
	case REG_ASQ: return (uint32_t)nvme->admin_submission;
	case REG_ASQ + 4: return (uint32_t)(nvme->admin_submission >> 32);
	case REG_ACQ: return (uint32_t)nvme->admin_completion;
	case REG_ACQ + 4: return (uint32_t)(nvme->admin_completion >> 32);
	default: return 0; /* doorbells too: undefined, 3.1.24 */
	}
}

static uint64_t nvme_read(void *device, uint64_t offset, unsigned size)
{
	struct nvme *nvme = device;
	uint64_t place = offset & ~UINT64_C(3), value;

	host_mutex_lock(&nvme->lock);
	value = register_read(nvme, place);
	if (size == 8)
		value |= (uint64_t)register_read(nvme, place + 4) << 32;
	host_mutex_unlock(&nvme->lock);
	return value >> (8 * (offset & 3));
}

/* Only whole aligned registers are written (3.1). */
static void nvme_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct nvme *nvme = device;
	bool flush;

	if (size < 4 || offset & (size - 1))
		return;
	host_mutex_lock(&nvme->lock);
	flush = register_write(nvme, offset, (uint32_t)value);
	if (size == 8)
		flush = register_write(nvme, offset + 4, (uint32_t)(value >> 32)) || flush;
	host_mutex_unlock(&nvme->lock);
	if (flush)
		block_submit(nvme->block, &nvme->shutdown_flush);
}

/* The backend has grown. */
static void nvme_resized(void *device)
{
	struct nvme *nvme = device;

	host_mutex_lock(&nvme->lock);
	nvme->namespace_changed = 1;
	if (nvme->feature[NVME_FEATURE_EVENTS] & 0x100)
		nvme_event(nvme, NVME_EVENT_NAMESPACE_CHANGED);
	host_mutex_unlock(&nvme->lock);
}

/* --- life --- */

static void nvme_settings_forget(struct nvme *nvme)
{
	nvme->configuration = nvme->admin_entries = 0;
	nvme->admin_submission = nvme->admin_completion = 0;
	nvme_reset(nvme);
}

static void nvme_bus_reset(struct pci_function *function)
{
	struct nvme *nvme = function->owner;

	host_mutex_lock(&nvme->lock);
	nvme_settings_forget(nvme);
	host_mutex_unlock(&nvme->lock);
}

static void nvme_power_on(void *object)
{
	struct nvme *nvme = object;

	nvme->block->drain(nvme->block);
	nvme_bus_reset(&nvme->function);
	nvme->smart = (struct nvme_smart){0};
	pci_function_reset(&nvme->function);
}

/* What the queues hold is served to the end, as far as there are places for the answers: nobody adds to them. */
static void nvme_quiesce(void *object)
{
	struct nvme *nvme = object;

	nvme->block->drain(nvme->block);
}

/* A command whose doorbell another machine heard, or one that waits for a place, is found here. */
static void nvme_fire(void *object)
{
	struct nvme *nvme = object;

	host_mutex_lock(&nvme->lock);
	nvme_run(nvme);
	host_mutex_unlock(&nvme->lock);
}

static void nvme_resume(void *object)
{
	struct nvme *nvme = object;

	host_mutex_lock(&nvme->lock);
	nvme->pending = (1u << NVME_QUEUES) - 1;
	nvme_run(nvme);
	nvme_events_tell(nvme);
	host_mutex_unlock(&nvme->lock);
}

static const char *queues_implausible(const struct nvme *nvme)
{
	for (unsigned i = 0; i < NVME_QUEUES; i++) {
		const struct nvme_submission *submission = &nvme->submission[i];
		const struct nvme_completion *completion = &nvme->completion[i];
		unsigned most = i ? NVME_QUEUE_ENTRIES : 4096;

		if (submission->exists > 1 || submission->deleting > 1 || completion->exists > 1 || completion->interrupts > 1 ||
		    completion->phase > 1 || submission->completion >= NVME_QUEUES)
			return "a queue that is neither there nor not there";
		if (completion->exists && (completion->entries < 2 || completion->entries > most ||
					   completion->head >= completion->entries || completion->tail >= completion->entries ||
					   completion->vector >= nvme->msix.vectors || !nvme_queue_base_good(completion->base)))
			return "a completion queue that no driver could have made";
		if (submission->exists &&
		    (submission->entries < 2 || submission->entries > most || submission->head >= submission->entries ||
		     submission->tail >= submission->entries || !nvme_queue_base_good(submission->base) ||
		     (i == 0) != (submission->completion == 0) || !nvme->completion[submission->completion].exists))
			return "a submission queue that no driver could have made";
	}
	return NULL;
}

static const char *nvme_implausible(const struct nvme *nvme)
{
	if (nvme->configuration & ~CC_WRITABLE || nvme->status & ~(NVME_CSTS_RDY | NVME_CSTS_CFS | NVME_CSTS_SHST) ||
	    (nvme->status & NVME_CSTS_SHST) == NVME_CSTS_SHST || nvme->admin_entries & ~AQA_WRITABLE)
		return "registers with bits that are not there";
	if (nvme->status & NVME_CSTS_RDY && (!nvme->submission[0].exists || !nvme->completion[0].exists))
		return "a ready controller without its admin queues";
	if (nvme->event_commands > NVME_EVENTS_MAX || nvme->namespace_changed > 1 || nvme->event_pending > 7 ||
	    nvme->event_masked > 7)
		return "impossible events";
	return queues_implausible(nvme);
}

static enum status nvme_loaded(void *object, uint32_t version, struct reason *why)
{
	struct nvme *nvme = object;
	enum status status = pci_function_loaded(&nvme->function, why);
	const char *wrong;

	(void)version;
	host_mutex_lock(&nvme->lock);
	wrong = nvme_implausible(nvme);
	if (wrong)
		nvme_settings_forget(nvme);
	nvme->pin_used = nvme->function.intx_level;
	for (unsigned i = 0; i < NVME_QUEUES; i++) {
		nvme->submission[i].under_way = 0;
		nvme->completion[i].promised = nvme->completion[i].users = 0;
	}
	/* A place stays promised to each delete command that still has no answer: with nothing under way there is none. */
	for (unsigned i = 0; i < NVME_QUEUES; i++) {
		nvme->submission[i].deleting = 0;
		if (nvme->submission[i].exists)
			nvme->completion[nvme->submission[i].completion].users++;
	}
	host_mutex_unlock(&nvme->lock);
	return wrong ? reason_give(why, STATUS_INVALID, "nvme: the saved state has %s", wrong) : status;
}

#define EACH(array, member) STATE_EACH(struct nvme, array, member)
static const struct state_field nvme_fields[] = {
	PCI_FUNCTION_STATE(struct nvme, function),
	PCI_MSIX_STATE(struct nvme, msix),
	STATE_FIELD(struct nvme, interrupt_mask),
	STATE_FIELD(struct nvme, configuration),
	STATE_FIELD(struct nvme, status),
	STATE_FIELD(struct nvme, admin_entries),
	STATE_FIELD(struct nvme, admin_submission),
	STATE_FIELD(struct nvme, admin_completion),
	EACH(submission, exists),
	EACH(submission, entries),
	EACH(submission, completion),
	EACH(submission, head),
	EACH(submission, tail),
	EACH(submission, base),
	EACH(completion, exists),
	EACH(completion, interrupts),
	EACH(completion, phase),
	EACH(completion, vector),
	EACH(completion, entries),
	EACH(completion, head),
	EACH(completion, tail),
	EACH(completion, base),
	STATE_ARRAY(struct nvme, feature),
	STATE_ARRAY(struct nvme, event_command),
	STATE_FIELD(struct nvme, event_commands),
	STATE_FIELD(struct nvme, event_pending),
	STATE_FIELD(struct nvme, event_masked),
	STATE_FIELD(struct nvme, namespace_changed),
	STATE_FIELD(struct nvme, smart.sectors_read),
	STATE_FIELD(struct nvme, smart.sectors_written),
	STATE_FIELD(struct nvme, smart.reads),
	STATE_FIELD(struct nvme, smart.writes),
	STATE_FIELD(struct nvme, smart.media_errors),
};
static const struct state_table nvme_state = {
	.name = "nvme",
	.version = 1,
	STATE_TABLE_FIELDS(nvme_fields),
	.before_save = nvme_quiesce,
	.after_load = nvme_loaded,
};

/* The device ID is one of those that the vendor leaves for use without registration: drivers go by the class. */
static void nvme_describe(struct nvme *nvme, bool integrated, struct irq *irq)
{
	static const struct pci_identity identity = {
		.vendor = 0x1af4,
		.device = 0x10f1,
		.class_code = 0x010802,
		.revision = 1,
		.subsystem_vendor = 0x1af4,
		.subsystem = 0x1100,
		.interrupt_pin = 1,
	};
	struct pci_function *function = &nvme->function;
	struct bus_region *region = &function->bar[NVME_BAR].region;

	pci_function_init(function, "nvme", &identity, nvme);
	pci_power_add(function);
	pci_express_endpoint_add(function, integrated);
	pci_msix_add(function, &nvme->msix, NVME_QUEUES, NVME_MSIX_BAR, irq);
	region->name = "nvme";
	region->read = nvme_read;
	region->write = nvme_write;
	region->device = nvme;
	pci_bar_add(function, NVME_BAR, PCI_BAR_MEMORY64, NVME_BAR_SIZE, false);
	function->bus_reset = nvme_bus_reset;
}

enum status nvme_create(struct nvme **out, struct pci_bus *bus, uint8_t devfn, struct guest_memory *memory, struct irq *irq,
			struct vm_clock *clock, struct block *block, const char *serial)
{
	struct nvme *nvme = host_allocate(sizeof(*nvme));
	enum status status;

	*out = NULL;
	if (!nvme)
		return STATUS_NO_MEMORY;
	nvme->memory = memory;
	nvme->block = block;
	nvme->clock = clock;
	timer_init(&nvme->timer, clock, nvme_fire, nvme);
	for (unsigned i = 0; serial && serial[i] && i < sizeof(nvme->id); i++)
		nvme->id[i] = (uint8_t)serial[i];
	features_reset(nvme);
	nvme->device = (struct device){.name = "nvme", .state = &nvme_state, .reset = nvme_power_on, .object = nvme};
	nvme->device.quiesce = nvme_quiesce;
	nvme->device.resume = nvme_resume;
	nvme->device.instance = (bus->bridge ? (unsigned)bus->bridge->devfn << 8 : 0) | devfn;
	nvme_describe(nvme, !bus->bridge, irq);
	status = pci_function_add(bus, devfn, &nvme->function);
	if (status != STATUS_OK) {
		host_free(nvme, sizeof(*nvme));
		return status;
	}
	block->device = nvme;
	block->resized = nvme_resized;
	*out = nvme;
	return STATUS_OK;
}

struct device *nvme_device(struct nvme *nvme)
{
	return &nvme->device;
}

void nvme_destroy(struct nvme *nvme)
{
	host_mutex_lock(&nvme->lock);
	nvme->ended = true;
	host_mutex_unlock(&nvme->lock);
	timer_cancel_wait(&nvme->timer);
	nvme->block->drain(nvme->block);
	nvme->block->resized = NULL;
	pci_function_remove(&nvme->function);
	host_free(nvme, sizeof(*nvme));
}
