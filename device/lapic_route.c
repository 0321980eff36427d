/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lapic_route.c - interrupt messages to local APICs: IPIs from the ICR, MSIs from devices and the IOAPIC.
 *
 * SDM vol. 3: destinations 11.6.2 and 11.12.9 (x2APIC), lowest priority 11.6.2.4, ICR 11.6.1, MSI 11.11. Any thread; takes no lock.
 */
#include "device/lapic_internal.h"

struct message {
	uint32_t destination;
	bool wide; /* a 32-bit destination, from an x2APIC */
	bool logical;
	bool all;                     /* shorthand: destination and mode do not matter */
	const struct lapic *excluded; /* all but this one, or NULL */
	bool lowest;
	bool level;
	uint8_t delivery; /* enum lapic_delivery */
	uint8_t vector;
};

#define MSI_ADDRESS_BASE UINT64_C(0xfee00000)
#define MSI_ADDRESS_MASK UINT64_C(0xfffffffffff00000)
#define MSI_ADDRESS_LOGICAL 0x4u
#define MSI_ADDRESS_REDIRECTION_HINT 0x8u

static bool is_broadcast(const struct message *message)
{
	return message->all || message->destination == (message->wide ? 0xffffffffu : 0xffu);
}

static bool logical_matches(const struct lapic *lapic, uint32_t destination)
{
	uint32_t ldr, dfr;

	if (lapic_x2apic(lapic))
		return lapic->id >> 4 == destination >> 16 && (destination >> (lapic->id & 15) & 1);
	if (destination > 0xff)
		return false;
	ldr = lapic_load(&lapic->ldr) >> 24;
	dfr = lapic_load(&lapic->dfr) >> 28;
	if (dfr == 0xf) /* flat */
		return ldr & destination;
	return dfr == 0 && ldr >> 4 == destination >> 4 && (ldr & destination & 0xf);
}

static bool matches(const struct lapic *lapic, const struct message *message)
{
	if (!lapic_enabled(lapic) || lapic == message->excluded)
		return false;
	if (is_broadcast(message))
		return true;
	return message->logical ? logical_matches(lapic, message->destination) : lapic->id == message->destination;
}

static void deliver(struct lapic *lapic, const struct message *message)
{
	const struct lapic_wiring *wiring = &lapic->set->wiring;

	switch (message->delivery) {
	case DELIVERY_FIXED:
	case DELIVERY_LOWEST:
		if (lapic_accepting(lapic))
			lapic_accept_vector(lapic, message->vector, message->level);
		break;
	case DELIVERY_NMI: wiring->request(lapic->vcpu, LAPIC_REQUEST_NMI, 0); break;
	case DELIVERY_INIT: wiring->request(lapic->vcpu, LAPIC_REQUEST_INIT, 0); break;
	case DELIVERY_SIPI: wiring->request(lapic->vcpu, LAPIC_REQUEST_SIPI, message->vector); break;
	default: /* SMI: there is no SMM; ExtINT: the PIC is wired to LINT0 alone */ break;
	}
}

static struct lapic *lowest_priority(struct lapic_set *set, const struct message *message)
{
	uint32_t start = __atomic_fetch_add(&set->arbitration, 1, __ATOMIC_RELAXED);
	struct lapic *best = NULL;

	for (unsigned i = 0; i < set->cpus; i++) {
		struct lapic *lapic = &set->lapic[(start + i) % set->cpus];

		if (lapic_accepting(lapic) && matches(lapic, message) &&
		    (!best || lapic_load(&lapic->ppr) < lapic_load(&best->ppr)))
			best = lapic;
	}
	return best;
}

static void route(struct lapic_set *set, const struct message *message)
{
	if (!message->logical && !is_broadcast(message)) {
		uint32_t id = message->destination;

		if (id < set->cpus && lapic_enabled(&set->lapic[id]))
			deliver(&set->lapic[id], message);
		return;
	}
	if (message->lowest) {
		struct lapic *lapic = lowest_priority(set, message);

		if (lapic)
			deliver(lapic, message);
		return;
	}
	for (unsigned i = 0; i < set->cpus; i++)
		if (matches(&set->lapic[i], message))
			deliver(&set->lapic[i], message);
}

void lapic_set_msi(void *owner, uint64_t address, uint32_t data)
{
	struct message message = {
		.destination = (uint32_t)(address >> 12) & 0xff,
		.logical = address & MSI_ADDRESS_LOGICAL,
		.delivery = data >> LAPIC_MESSAGE_DELIVERY_SHIFT & 7,
		.vector = (uint8_t)(data & LAPIC_MESSAGE_VECTOR),
		.level = data & LAPIC_MESSAGE_LEVEL,
	};

	if ((address & MSI_ADDRESS_MASK) != MSI_ADDRESS_BASE)
		return; /* a device wrote to memory that is nobody's */
	if (message.level && !(data & LAPIC_MESSAGE_ASSERT))
		return; /* a deassertion carries nothing for us: the IOAPIC keeps its own lines */
	if (message.delivery == DELIVERY_SIPI)
		return; /* reserved in an MSI (11.11.2) */
	message.lowest = message.delivery == DELIVERY_LOWEST ||
			 (message.delivery == DELIVERY_FIXED && (address & MSI_ADDRESS_REDIRECTION_HINT));
	route(owner, &message);
}

static void send_shorthand(struct lapic *sender, unsigned shorthand, struct message *message)
{
	enum { SELF = 1, ALL_INCLUDING_SELF = 2, ALL_EXCLUDING_SELF = 3 };

	if (shorthand != ALL_EXCLUDING_SELF && (message->delivery == DELIVERY_INIT || message->delivery == DELIVERY_SIPI))
		return; /* table 11-3: no such combination */
	if (shorthand == SELF) {
		deliver(sender, message);
		return;
	}
	message->all = true;
	message->excluded = shorthand == ALL_EXCLUDING_SELF ? sender : NULL;
	route(sender->set, message);
}

/* Trigger mode and level of an IPI only tell INIT de-assert (which does nothing) from INIT: every IPI is an edge. */
void lapic_icr_send(struct lapic *lapic, uint32_t low, uint32_t destination)
{
	struct message message = {
		.destination = destination,
		.wide = lapic_x2apic(lapic),
		.logical = low & LAPIC_ICR_LOGICAL,
		.delivery = low >> LAPIC_MESSAGE_DELIVERY_SHIFT & 7,
		.vector = (uint8_t)(low & LAPIC_MESSAGE_VECTOR),
	};
	unsigned shorthand = low >> 18 & 3;

	if (message.delivery == DELIVERY_INIT && (low & LAPIC_MESSAGE_LEVEL) && !(low & LAPIC_MESSAGE_ASSERT))
		return;
	message.lowest = message.delivery == DELIVERY_LOWEST;
	if (message.delivery <= DELIVERY_LOWEST && message.vector < 16) {
		lapic_error(lapic, LAPIC_ESR_SEND_ILLEGAL_VECTOR);
		return;
	}
	if (shorthand)
		send_shorthand(lapic, shorthand, &message);
	else
		route(lapic->set, &message);
}
