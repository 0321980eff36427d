/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ioapic.c - the I/O APIC: index and data window, redirection table, delivery. See ioapic.h for what it promises.
 *
 * Lines come in from irq_line_set, messages leave by irq_msi under the lock (lock order: irq.h).
 */
#include "device/ioapic.h"

#define IOREGSEL 0x00u
#define IOWIN 0x10u
#define IOEOI 0x40u

#define IOAPICID 0x00u
#define IOAPICVER 0x01u
#define IOAPICARB 0x02u
#define IOREDTBL 0x10u

#define IOAPIC_VERSION 0x20u

#define ENTRY_VECTOR UINT64_C(0xff)
#define ENTRY_DELIVERY UINT64_C(0x700)
#define ENTRY_LOGICAL UINT64_C(0x800)
#define ENTRY_POLARITY UINT64_C(0x2000)
#define ENTRY_REMOTE_IRR UINT64_C(0x4000)
#define ENTRY_LEVEL UINT64_C(0x8000)
#define ENTRY_MASKED UINT64_C(0x10000)
#define ENTRY_DESTINATION_SHIFT 56
#define ENTRY_WRITABLE                                                                                 \
	(ENTRY_VECTOR | ENTRY_DELIVERY | ENTRY_LOGICAL | ENTRY_POLARITY | ENTRY_LEVEL | ENTRY_MASKED | \
	 UINT64_C(0xff) << ENTRY_DESTINATION_SHIFT)

#define MSI_ADDRESS UINT64_C(0xfee00000)
#define MSI_ADDRESS_LOGICAL 0x4u
#define MSI_DATA_ASSERT 0x4000u
#define MSI_DATA_LEVEL 0x8000u

static uint64_t message_address(uint64_t entry)
{
	return MSI_ADDRESS | entry >> ENTRY_DESTINATION_SHIFT << 12 | (entry & ENTRY_LOGICAL ? MSI_ADDRESS_LOGICAL : 0);
}

static uint32_t message_data(uint64_t entry)
{
	return (uint32_t)(entry & (ENTRY_VECTOR | ENTRY_DELIVERY)) | (entry & ENTRY_LEVEL ? MSI_DATA_LEVEL | MSI_DATA_ASSERT : 0);
}

static void deliver_locked(struct ioapic *ioapic, unsigned pin)
{
	uint64_t entry = ioapic->redirection[pin];

	if (entry & ENTRY_LEVEL)
		ioapic->redirection[pin] |= ENTRY_REMOTE_IRR;
	irq_msi(ioapic->irq, message_address(entry), message_data(entry));
}

/* A masked pin may still have an interrupt in service: what was said of it stands. */
static void route_tell_locked(struct ioapic *ioapic, unsigned pin)
{
	uint64_t entry = ioapic->redirection[pin];

	if (!(entry & ENTRY_MASKED))
		irq_route_set(ioapic->irq, pin, entry & ENTRY_LEVEL, message_address(entry), message_data(entry));
}

/* A level-triggered pin interrupts while its line is asserted, it is unmasked and the last one was EOIed. */
static void level_check_locked(struct ioapic *ioapic, unsigned pin)
{
	uint64_t entry = ioapic->redirection[pin];

	if ((ioapic->line >> pin & 1) && (entry & (ENTRY_LEVEL | ENTRY_MASKED | ENTRY_REMOTE_IRR)) == ENTRY_LEVEL)
		deliver_locked(ioapic, pin);
}

void ioapic_set(void *chip, unsigned gsi, bool level)
{
	struct ioapic *ioapic = chip;
	unsigned pin = gsi == 0 ? 2 : gsi;
	uint32_t bit, before;

	if (gsi == 2 || gsi >= IOAPIC_PINS)
		return;
	bit = 1u << pin;
	host_mutex_lock(&ioapic->lock);
	before = ioapic->line;
	ioapic->line = level ? before | bit : before & ~bit;
	if (level && !(before & bit)) {
		if (ioapic->redirection[pin] & ENTRY_LEVEL)
			level_check_locked(ioapic, pin);
		else if (!(ioapic->redirection[pin] & ENTRY_MASKED))
			deliver_locked(ioapic, pin);
	}
	host_mutex_unlock(&ioapic->lock);
}

static void eoi_locked(struct ioapic *ioapic, uint8_t vector)
{
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		uint64_t entry = ioapic->redirection[pin];

		if (!(entry & ENTRY_REMOTE_IRR) || (entry & ENTRY_VECTOR) != vector)
			continue;
		ioapic->redirection[pin] = entry & ~ENTRY_REMOTE_IRR;
		level_check_locked(ioapic, pin);
	}
}

void ioapic_eoi(void *chip, uint8_t vector)
{
	struct ioapic *ioapic = chip;

	host_mutex_lock(&ioapic->lock);
	eoi_locked(ioapic, vector);
	host_mutex_unlock(&ioapic->lock);
}

static uint32_t window_read(const struct ioapic *ioapic)
{
	unsigned index = ioapic->select;

	if (index == IOAPICID || index == IOAPICARB)
		return (uint32_t)ioapic->id << 24;
	if (index == IOAPICVER)
		return (IOAPIC_PINS - 1) << 16 | IOAPIC_VERSION;
	if (index >= IOREDTBL && index < IOREDTBL + 2 * IOAPIC_PINS)
		return (uint32_t)(ioapic->redirection[(index - IOREDTBL) / 2] >> (index & 1 ? 32 : 0));
	return 0;
}

static void redirection_write(struct ioapic *ioapic, unsigned pin, bool high, uint32_t value)
{
	uint64_t old = ioapic->redirection[pin];
	uint64_t mask = high ? UINT64_C(0xffffffff00000000) : UINT64_C(0xffffffff);
	uint64_t entry = (old & ~mask) | ((high ? (uint64_t)value << 32 : value) & mask & ENTRY_WRITABLE);

	if (!high)
		entry |= old & ENTRY_REMOTE_IRR;
	/* Turning a pin to edge mode clears Remote IRR: how systems without the EOI register end an interrupt by hand. */
	if (!(entry & ENTRY_LEVEL))
		entry &= ~ENTRY_REMOTE_IRR;
	ioapic->redirection[pin] = entry;
	route_tell_locked(ioapic, pin);
	level_check_locked(ioapic, pin);
}

static void window_write(struct ioapic *ioapic, uint32_t value)
{
	unsigned index = ioapic->select;

	if (index == IOAPICID)
		ioapic->id = (uint8_t)(value >> 24 & 0xf);
	else if (index >= IOREDTBL && index < IOREDTBL + 2 * IOAPIC_PINS)
		redirection_write(ioapic, (index - IOREDTBL) / 2, index & 1, value);
}

/* Registers are dwords at multiples of 16; a narrow or wide access counts by its first byte (firmware writes IOREGSEL as a byte). */
static uint64_t ioapic_read(void *device, uint64_t offset, unsigned size)
{
	struct ioapic *ioapic = device;

	(void)size;
	if (offset == IOREGSEL)
		return ioapic->select;
	return offset == IOWIN ? window_read(ioapic) : 0;
}

static void ioapic_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct ioapic *ioapic = device;

	if (offset == IOREGSEL)
		ioapic->select = (uint8_t)value;
	else if (offset == IOWIN && size >= 4)
		window_write(ioapic, (uint32_t)value);
	else if (offset == IOEOI)
		eoi_locked(ioapic, (uint8_t)value);
}

/* The lines are not the IOAPIC's: their sources lower them in their own reset. */
static void ioapic_reset(void *object)
{
	struct ioapic *ioapic = object;

	host_mutex_lock(&ioapic->lock);
	ioapic->select = 0;
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		ioapic->redirection[pin] = ENTRY_MASKED;
	host_mutex_unlock(&ioapic->lock);
}

static enum status ioapic_after_load(void *object, uint32_t version, struct reason *why)
{
	struct ioapic *ioapic = object;

	(void)version;
	(void)why;
	ioapic->id &= 0xf;
	ioapic->line &= (1u << IOAPIC_PINS) - 1;
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		uint64_t *entry = &ioapic->redirection[pin];

		*entry &= ENTRY_WRITABLE | (*entry & ENTRY_LEVEL ? ENTRY_REMOTE_IRR : 0);
	}
	host_mutex_lock(&ioapic->lock);
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		route_tell_locked(ioapic, pin);
	host_mutex_unlock(&ioapic->lock);
	return STATUS_OK;
}

static const struct state_field ioapic_fields[] = {
	STATE_FIELD(struct ioapic, select),
	STATE_FIELD(struct ioapic, id),
	STATE_ARRAY(struct ioapic, redirection),
	STATE_FIELD(struct ioapic, line),
};
static const struct state_table ioapic_state = {
	.name = "ioapic",
	.version = 1,
	STATE_TABLE_FIELDS(ioapic_fields),
	.after_load = ioapic_after_load,
};

void ioapic_init(struct ioapic *ioapic, struct irq *irq, uint8_t id)
{
	__builtin_memset(ioapic, 0, sizeof(*ioapic));
	ioapic->irq = irq;
	ioapic->id = id & 0xf;
	ioapic->region = (struct bus_region){
		.name = "ioapic",
		.length = IOAPIC_LENGTH,
		.lock = &ioapic->lock,
		.read = ioapic_read,
		.write = ioapic_write,
		.device = ioapic,
		.posted = 4, /* IOREGSEL */
	};
	ioapic->device = (struct device){.name = "ioapic", .state = &ioapic_state, .reset = ioapic_reset, .object = ioapic};
	ioapic_reset(ioapic);
}
