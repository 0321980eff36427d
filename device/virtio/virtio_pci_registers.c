/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_pci_registers.c - what the driver reads and writes (virtio 1.2, 4.1.4): COMMON, ISR, DEVICE, NOTIFY in one BAR, PCI_CFG.
 *
 * A vcpu's store to the notify area comes in at virtio_pci_write and leaves through virtio_pci_notify to the device.
 */
#include "virtio_pci_registers.h"

#define VIRTIO_BAR 4
#define VIRTIO_BAR_SIZE 0x4000
#define COMMON_AREA 0x0000
#define ISR_AREA 0x1000
#define DEVICE_AREA 0x2000
#define NOTIFY_AREA 0x3000
#define AREA_MASK 0xfffu
#define NOTIFY_MULTIPLIER BUS_DOORBELL_STRIDE

/* virtio_pci_cap.cfg_type */
#define CAP_COMMON_CFG 1
#define CAP_NOTIFY_CFG 2
#define CAP_ISR_CFG 3
#define CAP_DEVICE_CFG 4
#define CAP_PCI_CFG 5
#define CAP_DATA 16 /* pci_cfg_data, or notify_off_multiplier */

/* struct virtio_pci_common_cfg, 4.1.4.3. Little-endian, as the host is. */
struct virtio_common {
	uint32_t device_feature_select;
	uint32_t device_feature;
	uint32_t driver_feature_select;
	uint32_t driver_feature;
	uint16_t config_msix_vector;
	uint16_t num_queues;
	uint8_t device_status;
	uint8_t config_generation;
	uint16_t queue_select;
	uint16_t queue_size;
	uint16_t queue_msix_vector;
	uint16_t queue_enable;
	uint16_t queue_notify_off;
	uint64_t queue_desc;
	uint64_t queue_driver;
	uint64_t queue_device;
	uint16_t queue_notify_data;
	uint16_t queue_reset;
};

static uint32_t feature_half(uint64_t features, uint32_t select)
{
	return select > 1 ? 0 : (uint32_t)(features >> (32 * select));
}

static void common_fill(const struct virtio_pci *pci, struct virtio_common *common)
{
	*common = (struct virtio_common){
		.device_feature_select = pci->device_feature_select,
		.device_feature = feature_half(pci->device_features, pci->device_feature_select),
		.driver_feature_select = pci->driver_feature_select,
		.driver_feature = feature_half(pci->driver_features, pci->driver_feature_select),
		.config_msix_vector = pci->config_vector,
		.num_queues = (uint16_t)pci->queues,
		.device_status = pci->status,
		.config_generation = pci->config_generation,
		.queue_select = pci->queue_select,
	};
	if (pci->queue_select < pci->queues) {
		const struct virtio_queue *queue = &pci->queue[pci->queue_select];

		common->queue_size = queue->size;
		common->queue_msix_vector = queue->vector;
		common->queue_enable = queue->enabled;
		common->queue_notify_off = pci->queue_select;
		common->queue_desc = queue->descriptor;
		common->queue_driver = queue->driver;
		common->queue_device = queue->device;
	}
}

static uint64_t slice(const void *image, uint64_t length, uint64_t offset, unsigned size)
{
	uint64_t value = 0;

	if (offset < length && size <= length - offset)
		__builtin_memcpy(&value, (const uint8_t *)image + offset, size);
	return value;
}

/* Reading acknowledges (4.1.4.5). */
static uint8_t isr_read(struct virtio_pci *pci)
{
	uint8_t isr = pci->isr;

	if (isr) {
		pci->isr = 0;
		pci_intx_set(&pci->function, false);
	}
	return isr;
}

static uint64_t virtio_pci_read(void *device, uint64_t offset, unsigned size)
{
	struct virtio_pci *pci = device;
	uint8_t image[VIRTIO_CONFIG_MAX];
	struct virtio_common common;
	uint64_t value = 0;

	host_mutex_lock(&pci->lock);
	switch (offset & ~(uint64_t)AREA_MASK) {
	case COMMON_AREA:
		common_fill(pci, &common);
		value = slice(&common, sizeof(common), offset, size);
		break;
	case ISR_AREA:
		if (offset == ISR_AREA)
			value = isr_read(pci);
		break;
	case DEVICE_AREA:
		if (pci->config_length) {
			pci->ops->config_fill(pci->owner, image);
			value = slice(image, pci->config_length, offset - DEVICE_AREA, size);
		}
		break;
	default: break; /* the notify area is write-only */
	}
	host_mutex_unlock(&pci->lock);
	return value;
}

/* 2.1, 3.1.1. Bits are only added; 0 resets. Returns whether DRIVER_OK is new. */
static bool status_write(struct virtio_pci *pci, uint8_t value)
{
	uint8_t added = value & (uint8_t)~pci->status & (uint8_t)~VIRTIO_STATUS_NEEDS_RESET;

	if (value == 0) {
		virtio_pci_reset(pci);
		return false;
	}
	if (added & VIRTIO_STATUS_FEATURES_OK &&
	    (pci->driver_features & ~pci->device_features || !(pci->driver_features & VIRTIO_F_VERSION_1)))
		added &= (uint8_t)~VIRTIO_STATUS_FEATURES_OK; /* the driver reads it back and gives up */
	pci->status |= added;
	if (added & VIRTIO_STATUS_FEATURES_OK)
		virtio_pci_features_apply(pci);
	return added & VIRTIO_STATUS_DRIVER_OK;
}

static uint16_t vector_checked(const struct virtio_pci *pci, uint64_t vector)
{
	return vector < pci->msix.vectors ? (uint16_t)vector : VIRTIO_NO_VECTOR;
}

static void address_write(uint64_t *address, unsigned half, unsigned size, uint64_t value)
{
	if (size == 8)
		*address = value;
	else if (half)
		*address = (*address & 0xffffffff) | value << 32;
	else
		*address = (*address & ~UINT64_C(0xffffffff)) | value;
}

#define FIELD(name, bytes) (offsetof(struct virtio_common, name) << 4 | (bytes))
#define UPPER(name) ((offsetof(struct virtio_common, name) + 4) << 4 | 4)

/* An enabled queue's registers stand still; what cannot be is not taken over, and the driver reads that back. */
static void queue_write(struct virtio_pci *pci, uint64_t field, uint64_t value)
{
	struct virtio_queue *queue = &pci->queue[pci->queue_select];

	if (field == FIELD(queue_msix_vector, 2)) {
		queue->vector = vector_checked(pci, value);
		return;
	}
	if (queue->enabled)
		return;
	switch (field) {
	case FIELD(queue_size, 2):
		if (value && value <= queue->size_max && !(value & (value - 1)))
			queue->size = (uint16_t)value;
		break;
	case FIELD(queue_enable, 2):
		if (value == 1 && virtio_queue_plausible(queue))
			queue->enabled = 1;
		else if (value)
			virtio_pci_break(pci, "it enabled a queue whose areas cannot be where it says");
		break;
	case FIELD(queue_desc, 4):
	case FIELD(queue_desc, 8): address_write(&queue->descriptor, 0, field & 15, value); break;
	case UPPER(queue_desc): address_write(&queue->descriptor, 1, 4, value); break;
	case FIELD(queue_driver, 4):
	case FIELD(queue_driver, 8): address_write(&queue->driver, 0, field & 15, value); break;
	case UPPER(queue_driver): address_write(&queue->driver, 1, 4, value); break;
	case FIELD(queue_device, 4):
	case FIELD(queue_device, 8): address_write(&queue->device, 0, field & 15, value); break;
	case UPPER(queue_device): address_write(&queue->device, 1, 4, value); break;
	default: break;
	}
}

/* Every field takes its own width only (4.1.3.1). Returns whether DRIVER_OK is new. */
static bool common_write(struct virtio_pci *pci, uint64_t offset, unsigned size, uint64_t value)
{
	uint64_t field = offset << 4 | size;

	if (pci->resetting)
		return false; /* the driver has to wait until it reads status 0 */
	switch (field) {
	case FIELD(device_feature_select, 4): pci->device_feature_select = (uint32_t)value; break;
	case FIELD(driver_feature_select, 4): pci->driver_feature_select = (uint32_t)value; break;
	case FIELD(driver_feature, 4):
		if (pci->driver_feature_select < 2 && !(pci->status & VIRTIO_STATUS_FEATURES_OK))
			address_write(&pci->driver_features, pci->driver_feature_select, 4, value);
		break;
	case FIELD(config_msix_vector, 2): pci->config_vector = vector_checked(pci, value); break;
	case FIELD(device_status, 1): return status_write(pci, (uint8_t)value);
	case FIELD(queue_select, 2): pci->queue_select = (uint16_t)value; break;
	default:
		if (pci->queue_select < pci->queues)
			queue_write(pci, field, value);
		break;
	}
	return false;
}

void virtio_pci_notify(struct virtio_pci *pci, unsigned queue)
{
	if (queue < pci->queues)
		pci->ops->notify(pci->owner, queue);
}

static void virtio_pci_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct virtio_pci *pci = device;
	bool ready = false;

	if (offset >= NOTIFY_AREA) {
		virtio_pci_notify(pci, (unsigned)(offset - NOTIFY_AREA) / NOTIFY_MULTIPLIER);
		return;
	}
	host_mutex_lock(&pci->lock);
	if (offset < ISR_AREA)
		ready = common_write(pci, offset, size, value);
	else if (offset >= DEVICE_AREA && offset - DEVICE_AREA < pci->config_length && pci->ops->config_write)
		pci->ops->config_write(pci->owner, (unsigned)offset - DEVICE_AREA, size, value);
	host_mutex_unlock(&pci->lock);
	if (ready && pci->ops->ready)
		pci->ops->ready(pci->owner);
}

/* Is [offset, offset + size) in config space about pci_cfg_data, and what access does the capability describe (4.1.4.9)? */
static bool config_access_decode(struct pci_function *function, unsigned offset, unsigned size, uint32_t *at, uint32_t *length)
{
	struct virtio_pci *pci = function->owner;
	unsigned place = pci->config_access;

	if (offset + size <= place + CAP_DATA || offset >= place + CAP_DATA + 4)
		return false;
	*at = pci_config_long(function, place + 8);
	*length = pci_config_long(function, place + 12);
	return function->config[place + 4] == VIRTIO_BAR && (*length == 1 || *length == 2 || *length == 4) && *at % *length == 0 &&
	       *at < VIRTIO_BAR_SIZE;
}

static void virtio_config_reading(struct pci_function *function, unsigned offset, unsigned size)
{
	struct virtio_pci *pci = function->owner;
	uint32_t at, length;

	if (config_access_decode(function, offset, size, &at, &length))
		pci_bytes_set(function->config, pci->config_access + CAP_DATA, length, virtio_pci_read(pci, at, length));
}

static void virtio_config_written(struct pci_function *function, unsigned offset, unsigned size)
{
	struct virtio_pci *pci = function->owner;
	uint32_t at, length, value;

	if (!config_access_decode(function, offset, size, &at, &length))
		return;
	value = pci_config_long(function, pci->config_access + CAP_DATA);
	if (length < 4)
		value &= (1u << (8 * length)) - 1;
	virtio_pci_write(pci, at, length, value);
}

static unsigned capability_describe(struct pci_function *function, uint8_t type, uint32_t offset, uint32_t length, unsigned size)
{
	unsigned place = pci_capability_add(function, PCI_CAPABILITY_VENDOR, size);

	function->config[place + 2] = (uint8_t)size;
	function->config[place + 3] = type;
	function->config[place + 4] = type == CAP_PCI_CFG ? 0 : VIRTIO_BAR;
	pci_bytes_set(function->config, place + 8, 4, offset);
	pci_bytes_set(function->config, place + 12, 4, length);
	return place;
}

void virtio_pci_registers_add(struct virtio_pci *pci)
{
	struct pci_function *function = &pci->function;
	struct bus_region *region = &function->bar[VIRTIO_BAR].region;
	unsigned place;

	region->name = function->name;
	region->read = virtio_pci_read;
	region->write = virtio_pci_write;
	region->device = pci;
	region->doorbell_offset = NOTIFY_AREA;
	region->doorbells = pci->queues;
	pci_bar_add(function, VIRTIO_BAR, PCI_BAR_MEMORY64, VIRTIO_BAR_SIZE, true);
	capability_describe(function, CAP_COMMON_CFG, COMMON_AREA, sizeof(struct virtio_common), 16);
	capability_describe(function, CAP_ISR_CFG, ISR_AREA, 1, 16);
	if (pci->config_length)
		capability_describe(function, CAP_DEVICE_CFG, DEVICE_AREA, pci->config_length, 16);
	place = capability_describe(function, CAP_NOTIFY_CFG, NOTIFY_AREA, pci->queues * NOTIFY_MULTIPLIER, 20);
	pci_bytes_set(function->config, place + CAP_DATA, 4, NOTIFY_MULTIPLIER);
	place = capability_describe(function, CAP_PCI_CFG, 0, 0, 20);
	pci->config_access = (uint8_t)place;
	function->writable[place + 4] = 0xff;
	pci_bytes_set(function->writable, place + 8, 4, UINT32_MAX);
	pci_bytes_set(function->writable, place + 12, 8, UINT64_MAX);
	function->config_reading = virtio_config_reading;
	function->config_written = virtio_config_written;
}
