/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_pci.h - the modern PCI transport (virtio 1.2, 4.1) under every virtio device.
 *
 * A device embeds a `struct virtio_pci`, fills its queues through virtio_pci_queue and hears of the driver through
 * virtio_ops. `lock` is the device's own lock: the transport takes it around everything but notify and ready, where the device does.
 *
 * A reset waits for requests that are under way, as the specification means it: device_status stays what it was until the last
 * of them is done, so that no data lands in memory that the driver has taken back; no vcpu is held up meanwhile.
 *
 * Saving: before_save of the device drains its backend, so no request is ever part of the state. So devices are saved before RAM.
 */
#ifndef HOLON_VIRTIO_PCI_H
#define HOLON_VIRTIO_PCI_H

#include <holon/state.h>

#include "device/pci/pci.h"
#include "virtio_queue.h"

#define VIRTIO_QUEUES_MAX 9 /* virtio_net: four pairs and the control queue */
#define VIRTIO_CONFIG_MAX 64
/* A driver that adds chains without end holds up no thread: what is left is served after this pause. */
#define VIRTIO_PAUSE_NS UINT64_C(100000)

#define VIRTIO_F_INDIRECT_DESC (UINT64_C(1) << 28)
#define VIRTIO_F_EVENT_IDX (UINT64_C(1) << 29)
#define VIRTIO_F_VERSION_1 (UINT64_C(1) << 32)

/* device_status (2.1). */
#define VIRTIO_STATUS_ACKNOWLEDGE 1
#define VIRTIO_STATUS_DRIVER 2
#define VIRTIO_STATUS_DRIVER_OK 4
#define VIRTIO_STATUS_FEATURES_OK 8
#define VIRTIO_STATUS_NEEDS_RESET 64
#define VIRTIO_STATUS_FAILED 128

struct virtio_identity {
	const char *name;
	uint16_t type; /* 2: block ... (5) */
	uint32_t class_code;
	uint64_t features; /* the device's own; the transport's are added */
	unsigned queues;
	uint16_t queue_size;
	unsigned config_length; /* at most VIRTIO_CONFIG_MAX */
};

struct virtio_ops {
	/* Without the lock: queue `queue` has something. */
	void (*notify)(void *owner, unsigned queue);
	/* Without the lock: the driver has set DRIVER_OK. Optional. */
	void (*ready)(void *owner);
	/* Under the lock: the device's configuration as it stands, all of config_length bytes. Optional. */
	void (*config_fill)(void *owner, uint8_t *image);
	/* Under the lock: the driver wrote. Optional. */
	void (*config_write)(void *owner, unsigned offset, unsigned size, uint64_t value);
	/* Under the lock, no request under way: forget what the driver did. */
	void (*reset)(void *owner);
};

struct virtio_pci {
	struct device device;
	struct pci_function function;
	struct pci_msix msix;
	struct guest_memory *memory;
	const struct virtio_ops *ops;
	void *owner;
	struct host_mutex lock; /* everything below, and the owner */
	uint64_t device_features;
	unsigned queues;
	unsigned config_length;
	uint8_t config_access; /* the PCI_CFG capability's place */
	uint32_t under_way;    /* requests that are with a backend */
	bool resetting;        /* as soon as under_way is 0 */
	/* What the driver wrote and sees. */
	uint64_t driver_features;
	uint32_t device_feature_select;
	uint32_t driver_feature_select;
	uint16_t config_vector;
	uint16_t queue_select;
	uint8_t status;
	uint8_t isr;
	uint8_t config_generation; /* saved: a driver compares it before and after it reads the configuration */
	struct virtio_queue queue[VIRTIO_QUEUES_MAX];
};

/* Fills in the zeroed transport and plugs it in. `device` is ready for vm_device_add but for state, reset and destroy. */
enum status virtio_pci_plug(struct virtio_pci *pci, const struct virtio_identity *identity, const struct virtio_ops *ops,
			    void *owner, struct pci_bus *bus, uint8_t devfn, struct guest_memory *memory,
			    struct irq *irq) must_check;
void virtio_pci_unplug(struct virtio_pci *pci);
/* Power-on state of transport and function. Without the lock; the backend is drained. */
void virtio_pci_power_on(struct virtio_pci *pci);
/* For after_load. Without the lock. */
enum status virtio_pci_loaded(struct virtio_pci *pci, struct reason *why) must_check;

/* The rest under the lock. */

/* The queue, while it may be served: the driver is up, nothing is broken, no reset under way, bus mastering on. Else NULL. */
struct virtio_queue *virtio_pci_queue(struct virtio_pci *pci, unsigned queue);
static inline bool virtio_pci_negotiated(const struct virtio_pci *pci, uint64_t feature)
{
	return pci->status & VIRTIO_STATUS_FEATURES_OK && pci->driver_features & feature;
}
/*
 * Its next chain, for a device that takes one at a time. false: there is none, or the ring was broken and now the device is. Bounded: a driver may add a chain and take
 * it back for ever.
 */
bool virtio_pci_pop(struct virtio_pci *pci, unsigned queue, struct virtio_chain *chain) must_check;
/* A request goes to, or has come back from, a backend. The last to come back ends a reset that waits. */
void virtio_pci_request_begin(struct virtio_pci *pci);
void virtio_pci_request_end(struct virtio_pci *pci);
/* Gives a chain back: ends its brackets, pushes it, interrupts if the driver wants that. Nothing is pushed over a reset. */
void virtio_pci_complete(struct virtio_pci *pci, unsigned queue, struct virtio_chain *chain, uint32_t written);
/* After virtio_queue_publish: interrupts if the driver wants that. */
void virtio_pci_signal(struct virtio_pci *pci, unsigned queue);
/* config_fill says something else than before: steps the generation, interrupts a driver that is up (2.4.1, 4.1.4.3). */
void virtio_pci_config_changed(struct virtio_pci *pci);
/* Sets NEEDS_RESET and stops serving queues until the reset, for whatever reason. */
void virtio_pci_needs_reset(struct virtio_pci *pci);
/* The driver broke the rules: says so, sets NEEDS_RESET and stops serving queues until the reset (2.1.2). */
void virtio_pci_break(struct virtio_pci *pci, const char *what);

#define VIRTIO_PCI_STATE(type, member)                                                                                             \
	PCI_FUNCTION_STATE(type, member.function), PCI_MSIX_STATE(type, member.msix), STATE_FIELD(type, member.driver_features),   \
		STATE_FIELD(type, member.device_feature_select), STATE_FIELD(type, member.driver_feature_select),                  \
		STATE_FIELD(type, member.config_vector), STATE_FIELD(type, member.queue_select), STATE_FIELD(type, member.status), \
		STATE_FIELD(type, member.isr), STATE_FIELD(type, member.config_generation), VIRTIO_QUEUE_STATE(type, member.queue)

#endif
