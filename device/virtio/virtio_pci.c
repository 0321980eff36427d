/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_pci.c - the transport's life: plugging in, serving a device, breaking, resetting, loading.
 *
 * The registers that the driver reads and writes are in virtio_pci_registers.c. Devices (virtio_blk.c ...) call this file.
 */
#include "virtio_pci.h"
#include "virtio_pci_registers.h"

#define VIRTIO_VENDOR 0x1af4
#define VIRTIO_DEVICE_BASE 0x1040
#define VIRTIO_ISR_QUEUE 1
#define VIRTIO_ISR_CONFIG 2
#define VIRTIO_MSIX_BAR 1

static void virtio_pci_raise(struct virtio_pci *pci, uint16_t vector, uint8_t cause)
{
	if (pci_msix_raise(&pci->msix, vector))
		return;
	pci->isr |= cause;
	pci_intx_set(&pci->function, true);
}

void virtio_pci_needs_reset(struct virtio_pci *pci)
{
	if (pci->status & VIRTIO_STATUS_NEEDS_RESET)
		return;
	pci->status |= VIRTIO_STATUS_NEEDS_RESET;
	if (pci->status & VIRTIO_STATUS_DRIVER_OK)
		virtio_pci_raise(pci, pci->config_vector, VIRTIO_ISR_CONFIG);
}

void virtio_pci_break(struct virtio_pci *pci, const char *what)
{
	if (pci->status & VIRTIO_STATUS_NEEDS_RESET)
		return;
	host_log(HOST_LOG_WARN, "%s %02x.%x: the guest's driver broke the rules: %s; it must reset the device", pci->function.name,
		 pci->function.devfn >> 3, pci->function.devfn & 7, what);
	virtio_pci_needs_reset(pci);
}

void virtio_pci_config_changed(struct virtio_pci *pci)
{
	pci->config_generation++;
	if (pci->status & VIRTIO_STATUS_DRIVER_OK)
		virtio_pci_raise(pci, pci->config_vector, VIRTIO_ISR_CONFIG);
}

void virtio_pci_signal(struct virtio_pci *pci, unsigned queue)
{
	if (pci->resetting || pci->status & VIRTIO_STATUS_NEEDS_RESET)
		return;
	if (virtio_queue_signal_wanted(&pci->queue[queue]))
		virtio_pci_raise(pci, pci->queue[queue].vector, VIRTIO_ISR_QUEUE);
}

struct virtio_queue *virtio_pci_queue(struct virtio_pci *pci, unsigned queue)
{
	const uint8_t up = VIRTIO_STATUS_DRIVER_OK | VIRTIO_STATUS_FEATURES_OK;

	if ((pci->status & (up | VIRTIO_STATUS_NEEDS_RESET)) != up || pci->resetting || !pci->function.master)
		return NULL;
	return queue < pci->queues && pci->queue[queue].enabled ? &pci->queue[queue] : NULL;
}

bool virtio_pci_pop(struct virtio_pci *pci, unsigned queue, struct virtio_chain *chain)
{
	struct virtio_queue *ring = virtio_pci_queue(pci, queue);
	enum virtio_pop pop = VIRTIO_POP_EMPTY;
	unsigned left = ring ? ring->size : 0;

	while (pop == VIRTIO_POP_EMPTY && left--) {
		pop = virtio_queue_pop(ring, chain);
		if (pop == VIRTIO_POP_EMPTY && !virtio_queue_arm(ring))
			break;
	}
	if (pop == VIRTIO_POP_BROKEN)
		virtio_pci_break(pci, "its ring is malformed");
	return pop == VIRTIO_POP_CHAIN;
}

void virtio_pci_complete(struct virtio_pci *pci, unsigned queue, struct virtio_chain *chain, uint32_t written)
{
	struct virtio_queue *ring = &pci->queue[queue];

	virtio_chain_release(ring, chain);
	if (pci->resetting || pci->status & VIRTIO_STATUS_NEEDS_RESET)
		return;
	if (!virtio_queue_push(ring, chain->head, written))
		virtio_pci_break(pci, "its used ring is not in RAM");
	else if (virtio_queue_signal_wanted(ring))
		virtio_pci_raise(pci, ring->vector, VIRTIO_ISR_QUEUE);
}

static void virtio_pci_reset_now(struct virtio_pci *pci)
{
	pci->resetting = false;
	pci->driver_features = 0;
	pci->device_feature_select = pci->driver_feature_select = 0;
	pci->config_vector = VIRTIO_NO_VECTOR;
	pci->queue_select = 0;
	pci->status = 0;
	pci->isr = 0;
	for (unsigned i = 0; i < pci->queues; i++)
		virtio_queue_reset(&pci->queue[i]);
	pci_intx_set(&pci->function, false);
	pci->ops->reset(pci->owner);
}

void virtio_pci_reset(struct virtio_pci *pci)
{
	if (pci->under_way)
		pci->resetting = true;
	else
		virtio_pci_reset_now(pci);
}

void virtio_pci_request_begin(struct virtio_pci *pci)
{
	pci->under_way++;
}

void virtio_pci_request_end(struct virtio_pci *pci)
{
	if (--pci->under_way == 0 && pci->resetting)
		virtio_pci_reset_now(pci);
}

void virtio_pci_power_on(struct virtio_pci *pci)
{
	host_mutex_lock(&pci->lock);
	virtio_pci_reset(pci);
	host_mutex_unlock(&pci->lock);
	pci_function_reset(&pci->function);
}

static void virtio_pci_bus_reset(struct pci_function *function)
{
	struct virtio_pci *pci = function->owner;

	host_mutex_lock(&pci->lock);
	virtio_pci_reset(pci);
	host_mutex_unlock(&pci->lock);
}

void virtio_pci_features_apply(struct virtio_pci *pci)
{
	for (unsigned i = 0; i < pci->queues; i++) {
		pci->queue[i].event_index = virtio_pci_negotiated(pci, VIRTIO_F_EVENT_IDX);
		pci->queue[i].indirect = virtio_pci_negotiated(pci, VIRTIO_F_INDIRECT_DESC);
	}
}

static bool virtio_vector_plausible(const struct virtio_pci *pci, uint16_t vector)
{
	return vector == VIRTIO_NO_VECTOR || vector < pci->msix.vectors;
}

static const char *virtio_pci_implausible(const struct virtio_pci *pci)
{
	if (pci->status & VIRTIO_STATUS_FEATURES_OK &&
	    (pci->driver_features & ~pci->device_features || !(pci->driver_features & VIRTIO_F_VERSION_1)))
		return "features that this device does not offer";
	if (!virtio_vector_plausible(pci, pci->config_vector) || pci->isr & ~(VIRTIO_ISR_QUEUE | VIRTIO_ISR_CONFIG))
		return "an interrupt vector out of range";
	for (unsigned i = 0; i < pci->queues; i++) {
		const struct virtio_queue *queue = &pci->queue[i];

		if (!virtio_vector_plausible(pci, queue->vector) || queue->enabled > 1 || queue->signalled > 1 ||
		    queue->size == 0 || queue->size > queue->size_max || queue->size & (queue->size - 1) ||
		    (queue->enabled && !virtio_queue_plausible(queue)))
			return "a queue that no driver could have set up";
	}
	return NULL;
}

enum status virtio_pci_loaded(struct virtio_pci *pci, struct reason *why)
{
	enum status status = pci_function_loaded(&pci->function, why);
	const char *wrong;

	host_mutex_lock(&pci->lock);
	wrong = virtio_pci_implausible(pci);
	if (wrong)
		virtio_pci_reset(pci);
	else
		virtio_pci_features_apply(pci);
	host_mutex_unlock(&pci->lock);
	return wrong ? reason_give(why, STATUS_INVALID, "%s: the saved state has %s", pci->function.name, wrong) : status;
}

static void virtio_pci_describe(struct virtio_pci *pci, const struct virtio_identity *identity, struct pci_bus *bus,
				struct irq *irq)
{
	struct pci_function *function = &pci->function;
	struct pci_identity pci_identity = {
		.vendor = VIRTIO_VENDOR,
		.device = (uint16_t)(VIRTIO_DEVICE_BASE + identity->type),
		.class_code = identity->class_code,
		.revision = 1,
		.subsystem_vendor = VIRTIO_VENDOR,
		.subsystem = (uint16_t)(0x40 + identity->type),
		.interrupt_pin = 1,
	};

	pci_function_init(function, identity->name, &pci_identity, pci);
	pci_power_add(function);
	pci_express_endpoint_add(function, !bus->bridge);
	pci_msix_add(function, &pci->msix, identity->queues + 1, VIRTIO_MSIX_BAR, irq);
	virtio_pci_registers_add(pci);
	function->bus_reset = virtio_pci_bus_reset;
}

enum status virtio_pci_plug(struct virtio_pci *pci, const struct virtio_identity *identity, const struct virtio_ops *ops,
			    void *owner, struct pci_bus *bus, uint8_t devfn, struct guest_memory *memory, struct irq *irq)
{
	bug_on(identity->queues > VIRTIO_QUEUES_MAX || identity->config_length > VIRTIO_CONFIG_MAX);
	pci->memory = memory;
	pci->ops = ops;
	pci->owner = owner;
	pci->device_features = identity->features | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX | VIRTIO_F_VERSION_1;
	pci->queues = identity->queues;
	pci->config_length = identity->config_length;
	pci->config_vector = VIRTIO_NO_VECTOR;
	for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++) {
		pci->queue[i].memory = memory;
		pci->queue[i].size_max = identity->queue_size;
		virtio_queue_reset(&pci->queue[i]);
	}
	pci->device = (struct device){.name = identity->name, .object = owner};
	pci->device.instance = (bus->bridge ? (unsigned)bus->bridge->devfn << 8 : 0) | devfn;
	virtio_pci_describe(pci, identity, bus, irq);
	return pci_function_add(bus, devfn, &pci->function);
}

void virtio_pci_unplug(struct virtio_pci *pci)
{
	pci_function_remove(&pci->function);
}
