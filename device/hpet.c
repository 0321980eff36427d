/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hpet.c - the high precision event timer (IA-PC HPET 1.0a, chapter 2). See hpet.h.
 *
 * Guest time in ticks of 10 ns is what everything is reckoned in. Each access first serves the matches that are due (sync_locked), so that a
 * timer thread that is late loses nothing; then registers change and the comparators concerned are armed anew.
 */
#include "device/hpet.h"

#define GCAP_ID 0x000u
#define GEN_CONF 0x010u
#define GINTR_STA 0x020u
#define MAIN_CNT 0x0f0u
#define COMPARATOR_BASE 0x100u
#define COMPARATOR_STRIDE 0x20u
#define TN_CONF 0x00u
#define TN_COMPARATOR 0x08u
#define TN_FSB 0x10u

#define PERIOD_FS (UINT64_C(1000000) * HPET_TICK_NS)

#define GEN_ENABLE 0x1u
#define GEN_LEGACY 0x2u

#define TN_LEVEL 0x0002u
#define TN_INT_ENABLE 0x0004u
#define TN_PERIODIC 0x0008u
#define TN_PERIODIC_CAP 0x0010u
#define TN_SIZE_CAP 0x0020u
#define TN_VAL_SET 0x0040u
#define TN_32_BITS 0x0100u
#define TN_ROUTE 0x3e00u
#define TN_ROUTE_SHIFT 9
#define TN_FSB_ENABLE 0x4000u
#define TN_FSB_CAP 0x8000u
#define TN_CAPABILITIES (TN_PERIODIC_CAP | TN_SIZE_CAP | TN_FSB_CAP)
#define TN_WRITABLE (TN_LEVEL | TN_INT_ENABLE | TN_PERIODIC | TN_VAL_SET | TN_32_BITS | TN_ROUTE | TN_FSB_ENABLE)

#define MIN_PERIOD_TICKS (HPET_MIN_PERIOD_NS / HPET_TICK_NS)
#define LOW_HALF UINT64_C(0xffffffff)

static uint64_t tick_now(const struct hpet *hpet)
{
	return vm_clock_ns(hpet->clock) / HPET_TICK_NS;
}

static bool is_enabled(const struct hpet *hpet)
{
	return hpet->config & GEN_ENABLE;
}

static uint64_t counter_at(const struct hpet *hpet, uint64_t tick)
{
	return is_enabled(hpet) ? hpet->counter + (tick - hpet->start) : hpet->counter;
}

static uint64_t width_mask(const struct hpet_comparator *comparator)
{
	return comparator->config & TN_32_BITS ? LOW_HALF : UINT64_MAX;
}

static bool is_legacy(const struct hpet_comparator *comparator)
{
	return (comparator->hpet->config & GEN_LEGACY) && comparator->index < 2;
}

static uint8_t route(const struct hpet_comparator *comparator)
{
	if (is_legacy(comparator))
		return comparator->index == 0 ? 0 : 8;
	return (uint8_t)((comparator->config & TN_ROUTE) >> TN_ROUTE_SHIFT);
}

/* Legacy routing overrides FSB delivery too (2.3.4, LEG_RT_CNF). */
static bool by_message(const struct hpet_comparator *comparator)
{
	return (comparator->config & TN_FSB_ENABLE) && !is_legacy(comparator);
}

static bool by_line(const struct hpet_comparator *comparator)
{
	if (!is_enabled(comparator->hpet) || !(comparator->config & TN_INT_ENABLE) || by_message(comparator))
		return false;
	return is_legacy(comparator) || (comparator->hpet->routes >> route(comparator) & 1);
}

static void line_lower(struct hpet_comparator *comparator)
{
	if (!comparator->asserted)
		return;
	comparator->asserted = 0;
	irq_line_set(comparator->hpet->irq, comparator->gsi, false);
}

static void line_raise(struct hpet_comparator *comparator)
{
	comparator->asserted = 1;
	comparator->gsi = route(comparator);
	irq_line_set(comparator->hpet->irq, comparator->gsi, true);
}

/* After any change of configuration or status: a level line follows the status bit, an edge line falls when it is switched off. */
static void line_update(struct hpet_comparator *comparator)
{
	bool level = comparator->config & TN_LEVEL;
	bool active = comparator->hpet->status >> comparator->index & 1;

	if (!by_line(comparator) || comparator->gsi != route(comparator) || (level && !active))
		line_lower(comparator);
	if (by_line(comparator) && level && active && !comparator->asserted)
		line_raise(comparator);
}

static void match_deliver(struct hpet_comparator *comparator)
{
	if (comparator->config & TN_LEVEL)
		comparator->hpet->status |= UINT64_C(1) << comparator->index;
	if (by_message(comparator)) {
		if (comparator->config & TN_INT_ENABLE)
			irq_msi(comparator->hpet->irq, comparator->fsb >> 32, (uint32_t)comparator->fsb);
	} else if (by_line(comparator) && !(comparator->config & TN_LEVEL)) {
		line_lower(comparator);
		line_raise(comparator);
	}
	line_update(comparator);
}

/* A comparator that may not interrupt needs no host timer: every access to a register brings it up to date. Linux leaves one running so for ever. */
static void timer_arm(struct hpet_comparator *comparator)
{
	if (!(comparator->config & TN_INT_ENABLE) || comparator->match >= UINT64_MAX / HPET_TICK_NS)
		timer_cancel(&comparator->timer);
	else
		timer_set(&comparator->timer, comparator->match * HPET_TICK_NS);
}

static bool is_periodic(const struct hpet_comparator *comparator)
{
	return (comparator->config & TN_PERIODIC) && (comparator->period & width_mask(comparator));
}

/* When the counter will be what the comparator says, from the registers alone. */
static void match_find(struct hpet_comparator *comparator, uint64_t now)
{
	uint64_t mask = width_mask(comparator), period = comparator->period & mask;
	uint64_t ahead = (comparator->comparator - counter_at(comparator->hpet, now)) & mask;
	uint64_t behind = (0 - ahead) & mask;

	comparator->match = UINT64_MAX;
	if (is_enabled(comparator->hpet)) {
		if (is_periodic(comparator) && behind && behind <= mask / 2) /* late: the next multiple */
			ahead = (behind + period - 1) / period * period - behind;
		if (ahead < UINT64_MAX - now)
			comparator->match = now + ahead;
	}
	timer_arm(comparator);
}

/* Past a match: the next one. */
static void match_advance(struct hpet_comparator *comparator, uint64_t now)
{
	uint64_t mask = width_mask(comparator), step;

	if (!is_periodic(comparator)) {
		comparator->match = mask == LOW_HALF ? comparator->match + LOW_HALF + 1 : UINT64_MAX;
		if (comparator->match <= now)
			match_find(comparator, now + 1);
		return;
	}
	step = comparator->period & mask;
	if (step < MIN_PERIOD_TICKS)
		step *= (MIN_PERIOD_TICKS + step - 1) / step;
	step *= (now - comparator->match) / step + 1;
	comparator->match = step < UINT64_MAX - comparator->match ? comparator->match + step : UINT64_MAX;
	comparator->comparator = counter_at(comparator->hpet, comparator->match) & mask;
}

static void comparator_sync_locked(struct hpet_comparator *comparator, uint64_t now)
{
	if (comparator->match == UINT64_MAX || now < comparator->match)
		return;
	match_advance(comparator, now);
	timer_arm(comparator);
	match_deliver(comparator);
}

static void sync_locked(struct hpet *hpet, uint64_t now)
{
	for (unsigned i = 0; i < HPET_COMPARATORS; i++)
		comparator_sync_locked(&hpet->comparator[i], now);
}

static void timer_fire(void *device)
{
	struct hpet_comparator *comparator = device;
	struct hpet *hpet = comparator->hpet;

	host_mutex_lock(&hpet->lock);
	comparator_sync_locked(comparator, tick_now(hpet));
	host_mutex_unlock(&hpet->lock);
}

static uint64_t comparator_read(const struct hpet_comparator *comparator, unsigned offset)
{
	switch (offset) {
	case TN_CONF: return comparator->config | TN_CAPABILITIES | (uint64_t)comparator->hpet->routes << 32;
	case TN_COMPARATOR: return comparator->comparator & width_mask(comparator);
	case TN_FSB: return comparator->fsb;
	default: return 0;
	}
}

/* One of the 64-bit registers; `offset` is a multiple of 8. */
static uint64_t register_read(const struct hpet *hpet, unsigned offset, uint64_t now)
{
	unsigned index = (offset - COMPARATOR_BASE) / COMPARATOR_STRIDE;

	switch (offset) {
	case GCAP_ID: return (uint64_t)PERIOD_FS << 32 | HPET_ID;
	case GEN_CONF: return hpet->config;
	case GINTR_STA: return hpet->status;
	case MAIN_CNT: return counter_at(hpet, now);
	default: break;
	}
	if (offset < COMPARATOR_BASE || index >= HPET_COMPARATORS)
		return 0;
	return comparator_read(&hpet->comparator[index], offset % COMPARATOR_STRIDE);
}

static void general_write(struct hpet *hpet, uint64_t value, uint64_t now)
{
	bool was_enabled = is_enabled(hpet);

	value &= GEN_ENABLE | GEN_LEGACY;
	if (was_enabled && !(value & GEN_ENABLE))
		hpet->counter = counter_at(hpet, now);
	if (!was_enabled && (value & GEN_ENABLE))
		hpet->start = now;
	if ((hpet->config ^ value) & GEN_LEGACY && hpet->legacy) {
		/* The lines that this mode holds fall before the PIT and the RTC get theirs back, and the other way round. */
		for (unsigned i = 0; i < HPET_COMPARATORS; i++)
			line_lower(&hpet->comparator[i]);
		hpet->legacy(hpet->owner, value & GEN_LEGACY);
	}
	hpet->config = value;
	for (unsigned i = 0; i < HPET_COMPARATORS; i++) {
		if (was_enabled != is_enabled(hpet))
			match_find(&hpet->comparator[i], now);
		line_update(&hpet->comparator[i]);
	}
}

static void comparator_config_write(struct hpet_comparator *comparator, uint64_t value, uint64_t now)
{
	unsigned wanted = (unsigned)(value & TN_ROUTE) >> TN_ROUTE_SHIFT;

	value &= TN_WRITABLE;
	/* A route that there is not does not stick (2.3.8, Tn_INT_ROUTE_CNF). */
	if (!(comparator->hpet->routes >> wanted & 1))
		value = (value & ~(uint64_t)TN_ROUTE) | (comparator->config & TN_ROUTE);
	comparator->config = value;
	if (value & TN_32_BITS) {
		comparator->comparator &= LOW_HALF;
		comparator->period &= LOW_HALF;
	}
	match_find(comparator, now);
	line_update(comparator);
}

static uint64_t merge(uint64_t old, uint64_t value, uint64_t mask)
{
	return (old & ~mask) | (value & mask);
}

/* 2.3.9.2.3: VAL_SET lets the next write of a periodic comparator set the value that it compares with, and not only its period. */
static void comparator_value_write(struct hpet_comparator *comparator, uint64_t value, uint64_t mask, uint64_t now)
{
	bool periodic = comparator->config & TN_PERIODIC;

	mask &= width_mask(comparator);
	if (!periodic || (comparator->config & TN_VAL_SET))
		comparator->comparator = merge(comparator->comparator, value, mask);
	if (periodic)
		comparator->period = merge(comparator->period, value, mask);
	/* A 64-bit value may come in halves, low one first. */
	if (mask != LOW_HALF || (comparator->config & TN_32_BITS))
		comparator->config &= ~(uint64_t)TN_VAL_SET;
	match_find(comparator, now);
}

static void comparator_write(struct hpet_comparator *comparator, unsigned offset, uint64_t value, uint64_t mask, uint64_t now)
{
	switch (offset) {
	case TN_CONF:
		if (mask & LOW_HALF)
			comparator_config_write(comparator, value, now);
		break;
	case TN_COMPARATOR: comparator_value_write(comparator, value, mask, now); break;
	case TN_FSB: comparator->fsb = merge(comparator->fsb, value, mask); break;
	default: break;
	}
}

static void status_write(struct hpet *hpet, uint64_t value)
{
	hpet->status &= ~value;
	for (unsigned i = 0; i < HPET_COMPARATORS; i++)
		line_update(&hpet->comparator[i]);
}

static void register_write(struct hpet *hpet, unsigned offset, uint64_t value, uint64_t mask, uint64_t now)
{
	unsigned index = (offset - COMPARATOR_BASE) / COMPARATOR_STRIDE;

	switch (offset) {
	case GEN_CONF:
		if (mask & LOW_HALF)
			general_write(hpet, value, now);
		return;
	case GINTR_STA: status_write(hpet, value & mask); return;
	case MAIN_CNT:
		if (!is_enabled(hpet)) /* software may write it while it is halted only (2.3.7) */
			hpet->counter = merge(hpet->counter, value, mask);
		return;
	default: break;
	}
	if (offset >= COMPARATOR_BASE && index < HPET_COMPARATORS)
		comparator_write(&hpet->comparator[index], offset % COMPARATOR_STRIDE, value, mask, now);
}

/* Registers are read and written as aligned dwords and qwords (2.3.1); narrower reads work, narrower writes do not. */
static uint64_t hpet_read(void *device, uint64_t offset, unsigned size)
{
	struct hpet *hpet = device;
	uint64_t now = tick_now(hpet);

	if (offset & (size - 1))
		return 0;
	sync_locked(hpet, now);
	return register_read(hpet, (unsigned)offset & ~7u, now) >> (8 * (offset & 7));
}

static void hpet_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct hpet *hpet = device;
	uint64_t now = tick_now(hpet);
	unsigned shift = 8 * (offset & 4);

	if (size < 4 || (offset & (size - 1)))
		return;
	sync_locked(hpet, now);
	register_write(hpet, (unsigned)offset & ~7u, value << shift, size == 8 ? UINT64_MAX : LOW_HALF << shift, now);
}

static void hpet_reset(void *object)
{
	struct hpet *hpet = object;

	host_mutex_lock(&hpet->lock);
	general_write(hpet, 0, tick_now(hpet));
	hpet->status = 0;
	hpet->counter = 0;
	hpet->start = 0;
	for (unsigned i = 0; i < HPET_COMPARATORS; i++) {
		struct hpet_comparator *comparator = &hpet->comparator[i];

		line_lower(comparator);
		comparator->config = 0;
		comparator->comparator = UINT64_MAX;
		comparator->period = 0;
		comparator->fsb = 0;
		match_find(comparator, 0);
	}
	host_mutex_unlock(&hpet->lock);
}

static void hpet_before_save(void *object)
{
	struct hpet *hpet = object;

	host_mutex_lock(&hpet->lock);
	sync_locked(hpet, tick_now(hpet));
	host_mutex_unlock(&hpet->lock);
}

/* PIT and RTC saved for themselves whether they are disconnected, the sinks their lines. */
static enum status hpet_after_load(void *object, uint32_t version, struct reason *why)
{
	struct hpet *hpet = object;
	enum status status = STATUS_OK;

	(void)version;
	host_mutex_lock(&hpet->lock);
	hpet->config &= GEN_ENABLE | GEN_LEGACY;
	hpet->status &= (1u << HPET_COMPARATORS) - 1;
	for (unsigned i = 0; i < HPET_COMPARATORS; i++) {
		struct hpet_comparator *comparator = &hpet->comparator[i];

		comparator->config &= TN_WRITABLE;
		if (comparator->gsi >= IRQ_GSIS) {
			comparator->gsi = 0;
			comparator->asserted = 0;
			status = reason_give(why, STATUS_INVALID,
					     "the state of the event timer (hpet) names an interrupt that does not exist");
		}
		timer_arm(comparator);
	}
	host_mutex_unlock(&hpet->lock);
	return status;
}

static const struct state_field hpet_fields[] = {
	STATE_FIELD(struct hpet, config),
	STATE_FIELD(struct hpet, status),
	STATE_FIELD(struct hpet, counter),
	STATE_FIELD(struct hpet, start),
	STATE_EACH(struct hpet, comparator, config),
	STATE_EACH(struct hpet, comparator, comparator),
	STATE_EACH(struct hpet, comparator, period),
	STATE_EACH(struct hpet, comparator, fsb),
	STATE_EACH(struct hpet, comparator, match),
	STATE_EACH(struct hpet, comparator, asserted),
	STATE_EACH(struct hpet, comparator, gsi),
};
static const struct state_table hpet_state = {
	.name = "hpet",
	.version = 1,
	STATE_TABLE_FIELDS(hpet_fields),
	.before_save = hpet_before_save,
	.after_load = hpet_after_load,
};

static void hpet_destroy(void *object)
{
	struct hpet *hpet = object;

	for (unsigned i = 0; i < HPET_COMPARATORS; i++)
		timer_cancel_wait(&hpet->comparator[i].timer);
}

void hpet_init(struct hpet *hpet, struct vm_clock *clock, struct irq *irq, uint32_t routes, void (*legacy)(void *owner, bool on),
	       void *owner)
{
	bug_on(routes >> IRQ_GSIS || (routes & 7));
	__builtin_memset(hpet, 0, sizeof(*hpet));
	hpet->clock = clock;
	hpet->irq = irq;
	hpet->routes = routes;
	hpet->legacy = legacy;
	hpet->owner = owner;
	for (unsigned i = 0; i < HPET_COMPARATORS; i++) {
		hpet->comparator[i].hpet = hpet;
		hpet->comparator[i].index = i;
		timer_init(&hpet->comparator[i].timer, clock, timer_fire, &hpet->comparator[i]);
	}
	hpet->region = (struct bus_region){
		.name = "hpet",
		.length = HPET_LENGTH,
		.lock = &hpet->lock,
		.read = hpet_read,
		.write = hpet_write,
		.device = hpet,
	};
	hpet->device = (struct device){
		.name = "hpet",
		.state = &hpet_state,
		.reset = hpet_reset,
		.destroy = hpet_destroy,
		.object = hpet,
	};
	hpet_reset(hpet);
}
