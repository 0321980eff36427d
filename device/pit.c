/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pit.c - the 8254 timer. A channel is not counted down: what it was loaded with and when says all, in ticks of guest time.
 *
 * pit_channel_out and channel_value answer for any moment; channel 0 also asks for its next rising edge and sets a timer for it. Read
 * pit.h first. The names CR, CE, OUT, GATE are the datasheet's.
 */
#include "device/pit.h"

#include "device/byte_port.h"
#include "device/ticks.h"

#define CONTROL_READ_BACK 0xc0u
#define CONTROL_ACCESS 0x30u
#define STATUS_OUT 0x80u
#define STATUS_NULL_COUNT 0x40u
#define READ_BACK_NO_COUNT 0x20u
#define READ_BACK_NO_STATUS 0x10u

#define PORT61_GATE2 0x01u
#define PORT61_WRITABLE 0x0eu /* speaker data, and the two NMI enables that have nothing to enable */
#define PORT61_REFRESH 0x10u
#define PORT61_OUT2 0x20u
#define REFRESH_NS 15085u

/* Ticks are counted from here, so that one before the VM's start (half a period earlier than a boundary) is no negative number. */
#define EPOCH_TICKS 65536u

#define CATCH_UP_TICKS 8u /* how many late periods are still delivered one by one */

static uint64_t tick_now(const struct pit *pit)
{
	return ticks_from_ns(vm_clock_ns(pit->clock), PIT_HZ) + EPOCH_TICKS;
}

static bool is_periodic(const struct pit_channel *channel)
{
	return channel->mode == 2 || channel->mode == 3;
}

static uint64_t elapsed_at(const struct pit_channel *channel, uint64_t now)
{
	if (channel->suspended)
		return channel->elapsed;
	return now > channel->start ? now - channel->start : 0;
}

/* Ticks for which OUT is high in a period of mode 2 or 3. */
static uint32_t high_ticks(const struct pit_channel *channel)
{
	return channel->mode == 2 ? channel->count - 1 : (channel->count + 1) / 2;
}

/* Takes a new count over at the end of the period (mode 3: half period) in which it was written. */
static void channel_sync(struct pit_channel *channel, uint64_t now)
{
	if (!channel->pending || channel->suspended || now < channel->boundary)
		return;
	channel->pending = 0;
	channel->count = channel->reload;
	channel->start = channel->boundary - (channel->boundary_low ? high_ticks(channel) : 0);
}

static bool channel_out(const struct pit_channel *channel, uint64_t now)
{
	uint64_t elapsed = elapsed_at(channel, now);

	switch (channel->mode) {
	case 0: return channel->running && elapsed >= channel->count;
	case 1: return !channel->running || elapsed >= channel->count;
	case 2:
	case 3: return !channel->running || channel->suspended || elapsed % channel->count < high_ticks(channel);
	default: return !channel->running || elapsed != channel->count; /* the strobe is one tick long */
	}
}

static uint16_t channel_value(const struct pit_channel *channel, uint64_t now)
{
	uint32_t base = channel->bcd ? 10000 : 65536;
	uint64_t elapsed = elapsed_at(channel, now);
	uint32_t value;

	if (!channel->running) {
		value = channel->count;
	} else if (channel->mode == 2) {
		value = channel->count - (uint32_t)(elapsed % channel->count);
	} else if (channel->mode == 3) { /* by twos, each half from the even count */
		uint32_t phase = (uint32_t)(elapsed % channel->count), high = high_ticks(channel);

		value = (channel->count & ~1u) - 2 * (phase < high ? phase : phase - high);
	} else { /* runs on below zero */
		value = (uint32_t)((channel->count + base - elapsed % base) % base);
	}
	value %= base;
	if (channel->bcd)
		value = value / 1000 << 12 | value / 100 % 10 << 8 | value / 10 % 10 << 4 | value % 10;
	return (uint16_t)value;
}

/* CR to CE at the next tick. */
static void channel_load(struct pit_channel *channel, uint64_t now)
{
	channel->count = channel->reload;
	channel->start = now + 1;
	channel->elapsed = 0;
	channel->running = 1;
	channel->pending = 0;
}

/* The next rising edge of a channel whose gate is high, at or after the tick after `now`. */
static uint64_t channel_next_edge(const struct pit_channel *channel, uint64_t now)
{
	uint64_t elapsed = elapsed_at(channel, now);

	if (!channel->running || channel->suspended)
		return UINT64_MAX;
	switch (channel->mode) {
	case 0: return elapsed < channel->count ? channel->start + channel->count : UINT64_MAX;
	case 2:
	case 3:
		if (!channel->pending)
			return channel->start + (elapsed / channel->count + 1) * channel->count;
		if (!channel->boundary_low)
			return channel->boundary;
		return channel->boundary + channel->reload / 2; /* mode 3's low half */
	case 4: return elapsed <= channel->count ? channel->start + channel->count + 1 : UINT64_MAX;
	default: return UINT64_MAX; /* 1 and 5 wait for a gate that channel 0 has not */
	}
}

static void line_set_locked(struct pit *pit, bool level)
{
	if (!pit->disconnected && level != pit->line)
		irq_line_set(pit->irq, pit->gsi, level);
	pit->line = level;
}

static void timer_arm_locked(struct pit *pit)
{
	if (pit->edge == UINT64_MAX)
		timer_cancel(&pit->timer);
	else
		timer_set(&pit->timer, ticks_to_ns(pit->edge - EPOCH_TICKS, PIT_HZ));
}

/* After channel 0 was programmed: the level of its OUT now, its next edge later. */
static void interrupt_update_locked(struct pit *pit, uint64_t now)
{
	line_set_locked(pit, channel_out(&pit->channel[0], now) || is_periodic(&pit->channel[0]));
	pit->edge = channel_next_edge(&pit->channel[0], now);
	timer_arm_locked(pit);
}

/* The edge after the one at pit->edge, no sooner than the guard allows. */
static uint64_t edge_following_locked(const struct pit *pit, uint64_t now)
{
	const struct pit_channel *channel = &pit->channel[0];
	uint64_t step = channel->count, next;

	if (!is_periodic(channel))
		return UINT64_MAX;
	if (channel->pending)
		return channel_next_edge(channel, pit->edge);
	if (step < PIT_MIN_PERIOD_TICKS)
		step *= (PIT_MIN_PERIOD_TICKS + step - 1) / step;
	next = pit->edge + step;
	if (now > next + CATCH_UP_TICKS * step)
		next += (now - next) / step * step;
	return next;
}

static void timer_fire(void *device)
{
	struct pit *pit = device;
	uint64_t now;

	host_mutex_lock(&pit->lock);
	now = tick_now(pit);
	if (now >= pit->edge) {
		channel_sync(&pit->channel[0], now);
		line_set_locked(pit, false);
		line_set_locked(pit, true);
		pit->edge = edge_following_locked(pit, now);
		timer_arm_locked(pit);
	}
	host_mutex_unlock(&pit->lock);
}

static void control_word_write(struct pit_channel *channel, uint8_t value)
{
	uint8_t mode = value >> 1 & 7;

	channel->mode = mode > 5 ? mode & 3 : mode;
	channel->access = value >> 4 & 3;
	channel->bcd = value & 1;
	channel->write_high = 0;
	channel->read_high = 0;
	channel->status_latched = 0;
	channel->count_latched = 0;
	channel->loaded = 0;
	channel->running = 0;
	channel->pending = 0;
	channel->suspended = !channel->gate && channel->mode != 1 && channel->mode != 5;
	channel->elapsed = 0;
}

/* A new count while mode 2 or 3 runs: see channel_sync. */
static void reload_later(struct pit_channel *channel, uint64_t now)
{
	uint64_t elapsed = elapsed_at(channel, now);
	uint64_t period = channel->start + elapsed / channel->count * channel->count;
	uint32_t high = high_ticks(channel);

	channel->pending = 1;
	channel->boundary_low = channel->mode == 3 && elapsed % channel->count < high && channel->count > 1;
	channel->boundary = period + (channel->boundary_low ? high : channel->count);
}

static void count_write(struct pit_channel *channel, uint16_t value, uint64_t now)
{
	uint32_t count = value;

	if (channel->bcd)
		count = (count >> 12 & 15) * 1000 + (count >> 8 & 15) * 100 + (count >> 4 & 15) * 10 + (count & 15);
	channel->reload = count ? count : channel->bcd ? 10000 : 65536;
	channel->loaded = 1;
	if (channel->mode == 1 || channel->mode == 5) {
		if (!channel->running)
			channel->count = channel->reload;
	} else if (is_periodic(channel) && channel->running && !channel->suspended) {
		reload_later(channel, now);
	} else {
		channel_load(channel, now);
	}
}

static void counter_write(struct pit *pit, unsigned index, uint8_t value, uint64_t now)
{
	struct pit_channel *channel = &pit->channel[index];

	switch (channel->access) {
	case 1: count_write(channel, value, now); break;
	case 2: count_write(channel, (uint16_t)(value << 8), now); break;
	default:
		if (channel->write_high) {
			count_write(channel, (uint16_t)(value << 8 | channel->write_low), now);
		} else {
			channel->write_low = value;
			if (channel->mode == 0) /* the first byte stops the count and lowers OUT */
				channel->running = 0;
		}
		channel->write_high = !channel->write_high;
		break;
	}
	if (index == 0)
		interrupt_update_locked(pit, now);
}

static void count_latch(struct pit_channel *channel, uint64_t now)
{
	if (channel->count_latched)
		return; /* until it has been read */
	channel->latch = channel_value(channel, now);
	channel->count_latched = channel->access == 3 ? 2 : 1;
}

static void status_latch(struct pit_channel *channel, uint64_t now)
{
	bool null_count = !channel->loaded || channel->pending || (channel->running && now < channel->start);

	if (channel->status_latched)
		return;
	channel->status = (uint8_t)((channel_out(channel, now) ? STATUS_OUT : 0) | (null_count ? STATUS_NULL_COUNT : 0) |
				    channel->access << 4 | channel->mode << 1 | channel->bcd);
	channel->status_latched = 1;
}

static void control_write(struct pit *pit, uint8_t value, uint64_t now)
{
	unsigned select = value >> 6;

	if ((value & CONTROL_READ_BACK) == CONTROL_READ_BACK) {
		for (unsigned i = 0; i < 3; i++) {
			if (!(value >> (i + 1) & 1))
				continue;
			if (!(value & READ_BACK_NO_COUNT))
				count_latch(&pit->channel[i], now);
			if (!(value & READ_BACK_NO_STATUS))
				status_latch(&pit->channel[i], now);
		}
	} else if (!(value & CONTROL_ACCESS)) {
		count_latch(&pit->channel[select], now);
	} else {
		control_word_write(&pit->channel[select], value);
		if (select == 0)
			interrupt_update_locked(pit, now);
	}
}

static uint8_t counter_read(struct pit_channel *channel, uint64_t now)
{
	uint16_t value;
	bool high;

	if (channel->status_latched) {
		channel->status_latched = 0;
		return channel->status;
	}
	value = channel->count_latched ? channel->latch : channel_value(channel, now);
	if (channel->count_latched)
		channel->count_latched--;
	high = channel->access == 2 || (channel->access == 3 && channel->read_high);
	if (channel->access == 3)
		channel->read_high = !channel->read_high;
	return (uint8_t)(high ? value >> 8 : value);
}

static void pit_byte_write(void *device, unsigned offset, uint8_t value)
{
	struct pit *pit = device;
	uint64_t now = tick_now(pit);

	for (unsigned i = 0; i < 3; i++)
		channel_sync(&pit->channel[i], now);
	if (offset == 3)
		control_write(pit, value, now);
	else
		counter_write(pit, offset, value, now);
}

static uint8_t pit_byte_read(void *device, unsigned offset)
{
	struct pit *pit = device;
	uint64_t now = tick_now(pit);

	if (offset == 3) /* nothing drives the bus */
		return 0xff;
	channel_sync(&pit->channel[offset], now);
	return counter_read(&pit->channel[offset], now);
}

static uint64_t pit_read(void *device, uint64_t offset, unsigned size)
{
	return byte_port_read(pit_byte_read, device, offset, size);
}

static void pit_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	byte_port_write(pit_byte_write, device, offset, size, value);
}

static void gate_set(struct pit_channel *channel, bool gate, uint64_t now)
{
	if (gate == channel->gate)
		return;
	channel_sync(channel, now);
	channel->gate = gate;
	if (!gate) {
		if (channel->mode == 1 || channel->mode == 5)
			return;
		channel->elapsed = elapsed_at(channel, now);
		channel->suspended = 1;
		return;
	}
	switch (channel->mode) {
	case 0:
	case 4: /* counts on */
		channel->suspended = 0;
		channel->start = now - channel->elapsed;
		break;
	default: /* a trigger: loads CR */
		channel->suspended = 0;
		if (channel->loaded)
			channel_load(channel, now);
		break;
	}
}

static uint64_t port61_read(void *device, uint64_t offset, unsigned size)
{
	struct pit *pit = device;
	uint64_t ns = vm_clock_ns(pit->clock), now = tick_now(pit);

	(void)offset;
	(void)size;
	channel_sync(&pit->channel[2], now);
	return pit->speaker | (pit->channel[2].gate ? PORT61_GATE2 : 0) | (ns / REFRESH_NS & 1 ? PORT61_REFRESH : 0) |
	       (channel_out(&pit->channel[2], now) ? PORT61_OUT2 : 0);
}

static void port61_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct pit *pit = device;

	(void)offset;
	(void)size;
	pit->speaker = (uint8_t)(value & PORT61_WRITABLE);
	gate_set(&pit->channel[2], value & PORT61_GATE2, tick_now(pit));
}

void pit_disconnect(void *device, bool disconnected)
{
	struct pit *pit = device;

	host_mutex_lock(&pit->lock);
	if (disconnected != pit->disconnected) {
		if (disconnected && pit->line)
			irq_line_set(pit->irq, pit->gsi, false);
		pit->disconnected = disconnected;
		if (!disconnected && pit->line)
			irq_line_set(pit->irq, pit->gsi, true);
	}
	host_mutex_unlock(&pit->lock);
}

/* The datasheet leaves the power-on state open; as a PC's firmware leaves it off: mode 0 without a count, which is silent. */
static void pit_reset(void *object)
{
	struct pit *pit = object;

	host_mutex_lock(&pit->lock);
	for (unsigned i = 0; i < 3; i++)
		pit->channel[i] =
			(struct pit_channel){.access = 3, .reload = 65536, .count = 65536, .gate = i != 2, .suspended = i == 2};
	pit->speaker = 0;
	line_set_locked(pit, false);
	pit->disconnected = 0;
	pit->edge = UINT64_MAX;
	timer_cancel(&pit->timer);
	host_mutex_unlock(&pit->lock);
}

static bool channel_sane(const struct pit_channel *channel)
{
	return channel->mode <= 5 && channel->access >= 1 && channel->access <= 3 && channel->count_latched <= 2 &&
	       channel->reload >= 1 && channel->reload <= 65536 && channel->count >= 1 && channel->count <= 65536;
}

/* Channel 0's interrupt line is the sinks' to restore; the timer is ours. */
static enum status pit_after_load(void *object, uint32_t version, struct reason *why)
{
	struct pit *pit = object;

	(void)version;
	for (unsigned i = 0; i < 3; i++) {
		if (channel_sane(&pit->channel[i]))
			continue;
		pit_reset(pit);
		return reason_give(why, STATUS_INVALID, "the state of the interval timer (pit) makes no sense");
	}
	pit->speaker &= PORT61_WRITABLE;
	host_mutex_lock(&pit->lock);
	timer_arm_locked(pit);
	host_mutex_unlock(&pit->lock);
	return STATUS_OK;
}

static const struct state_field pit_fields[] = {
	STATE_EACH(struct pit, channel, mode),
	STATE_EACH(struct pit, channel, bcd),
	STATE_EACH(struct pit, channel, access),
	STATE_EACH(struct pit, channel, write_high),
	STATE_EACH(struct pit, channel, write_low),
	STATE_EACH(struct pit, channel, read_high),
	STATE_EACH(struct pit, channel, status_latched),
	STATE_EACH(struct pit, channel, status),
	STATE_EACH(struct pit, channel, count_latched),
	STATE_EACH(struct pit, channel, latch),
	STATE_EACH(struct pit, channel, gate),
	STATE_EACH(struct pit, channel, loaded),
	STATE_EACH(struct pit, channel, running),
	STATE_EACH(struct pit, channel, suspended),
	STATE_EACH(struct pit, channel, pending),
	STATE_EACH(struct pit, channel, boundary_low),
	STATE_EACH(struct pit, channel, reload),
	STATE_EACH(struct pit, channel, count),
	STATE_EACH(struct pit, channel, start),
	STATE_EACH(struct pit, channel, elapsed),
	STATE_EACH(struct pit, channel, boundary),
	STATE_FIELD(struct pit, edge),
	STATE_FIELD(struct pit, line),
	STATE_FIELD(struct pit, disconnected),
	STATE_FIELD(struct pit, speaker),
};
static const struct state_table pit_state = {
	.name = "pit",
	.version = 1,
	STATE_TABLE_FIELDS(pit_fields),
	.after_load = pit_after_load,
};

static void pit_destroy(void *object)
{
	struct pit *pit = object;

	timer_cancel_wait(&pit->timer);
}

void pit_init(struct pit *pit, struct vm_clock *clock, struct irq *irq, unsigned gsi)
{
	__builtin_memset(pit, 0, sizeof(*pit));
	pit->clock = clock;
	pit->irq = irq;
	pit->gsi = gsi;
	timer_init(&pit->timer, clock, timer_fire, pit);
	pit->region = (struct bus_region){
		.name = "pit",
		.length = 4,
		.lock = &pit->lock,
		.read = pit_read,
		.write = pit_write,
		.device = pit,
	};
	pit->port61 = (struct bus_region){
		.name = "port61",
		.length = 1,
		.lock = &pit->lock,
		.read = port61_read,
		.write = port61_write,
		.device = pit,
	};
	pit->device =
		(struct device){.name = "pit", .state = &pit_state, .reset = pit_reset, .destroy = pit_destroy, .object = pit};
	pit_reset(pit);
}
