/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watchdog.c - two stages that count down one after the other (watchdog.h has the source). The first raises an interrupt if the guest wants one,
 * the second tells the board, unless the guest switched that output off. A write of RELOAD begins the first stage anew.
 *
 * Stages count PCI clocks of 33 MHz: a preload is in units of 2^15 of them, or 2^5. Every register but the two keys is written behind a pair of keys,
 * one write a pair. What the guest may write into configuration space: how the stages work (CONFIG), and the switch (LOCK), which can be locked on.
 */
#include "device/watchdog.h"

#include "device/pci/pci.h"

#define WATCHDOG_VENDOR 0x8086
#define WATCHDOG_DEVICE 0x25ab
#define WATCHDOG_CLASS 0x088000 /* a system peripheral */
#define WATCHDOG_BAR_SIZE 16
#define PIN_INTA 1

/* Configuration space. */
#define CONFIG_PLACE 0x60u
#define CONFIG_INTERRUPT 0x03u /* 0: INTx, 2: SMI, 3: none */
#define CONFIG_FAST 0x04u      /* units of 2^5 clocks */
#define CONFIG_OUTPUT_OFF 0x20u
#define LOCK_PLACE 0x68u
#define LOCK_LOCKED 0x01u
#define LOCK_ENABLE 0x02u
#define LOCK_FREE_RUNNING 0x04u

/* Registers in memory. */
#define PRELOAD_1 0x0u
#define PRELOAD_2 0x4u
#define INTERRUPT_STATUS 0x8u
#define INTERRUPT_ACTIVE 0x1u
#define RELOAD 0xcu
#define RELOAD_NOW 0x100u
#define RELOAD_TIMEOUT 0x200u /* the second stage has run out since this was last cleared, resets or not */
#define PRELOAD_MASK 0xfffffu
#define KEY_1 0x80u
#define KEY_2 0x86u

#define CLOCK_HZ 33000000u
#define SLOW_SHIFT 15
#define FAST_SHIFT 5
#define STAGE_NS_MIN 100000u /* a free-running one must not keep the clock's thread busy */
#define NS_PER_SECOND UINT64_C(1000000000)

struct watchdog {
	struct device device;
	struct pci_function function;
	struct timer timer;
	struct vm_clock *clock;
	void (*expired)(void *machine);
	void *machine;
	struct host_mutex lock; /* everything below; inside pci_host.lock */
	uint32_t preload[2];
	uint8_t keys;      /* how many of the pair have been written */
	uint8_t stage;     /* 0: stands still */
	uint8_t interrupt; /* INTERRUPT_ACTIVE */
	uint8_t timeout;   /* survives a reset, as in the chip's resume well */
	uint8_t config;    /* copies of configuration space, which has a lock of its own */
	uint8_t lock_bits;
	uint64_t deadline_ns; /* of the stage */
};

/* clocks * 10^9 / 33 MHz; at most 2^20 << 15 clocks. */
static uint64_t stage_ns(const struct watchdog *watchdog, unsigned stage)
{
	uint64_t units = watchdog->preload[stage - 1] ? watchdog->preload[stage - 1] : 1;
	uint64_t clocks = units << (watchdog->config & CONFIG_FAST ? FAST_SHIFT : SLOW_SHIFT);

	uint64_t ns = clocks / CLOCK_HZ * NS_PER_SECOND + clocks % CLOCK_HZ * NS_PER_SECOND / CLOCK_HZ;

	return ns > STAGE_NS_MIN ? ns : STAGE_NS_MIN;
}

static void stage_begin_locked(struct watchdog *watchdog, uint8_t stage, uint64_t from_ns)
{
	watchdog->stage = stage;
	watchdog->deadline_ns = stage ? from_ns + stage_ns(watchdog, stage) : UINT64_MAX;
	timer_set(&watchdog->timer, watchdog->deadline_ns);
}

static void interrupt_update_locked(struct watchdog *watchdog)
{
	pci_intx_set(&watchdog->function, watchdog->interrupt && !(watchdog->config & CONFIG_INTERRUPT));
}

/* A stage has run out. Returns whether the board is to hear of it. */
static bool stage_end_locked(struct watchdog *watchdog)
{
	bool tell;

	if (watchdog->stage == 1) {
		watchdog->interrupt = INTERRUPT_ACTIVE;
		interrupt_update_locked(watchdog);
		stage_begin_locked(watchdog, 2, watchdog->deadline_ns);
		return false;
	}
	watchdog->timeout = 1;
	tell = !(watchdog->config & CONFIG_OUTPUT_OFF);
	stage_begin_locked(watchdog, watchdog->lock_bits & LOCK_FREE_RUNNING ? 1 : 0, vm_clock_ns(watchdog->clock));
	return tell;
}

static void watchdog_fire(void *device)
{
	struct watchdog *watchdog = device;
	bool tell = false;

	host_mutex_lock(&watchdog->lock);
	if (watchdog->stage && vm_clock_ns(watchdog->clock) >= watchdog->deadline_ns)
		tell = stage_end_locked(watchdog);
	host_mutex_unlock(&watchdog->lock);
	if (tell)
		watchdog->expired(watchdog->machine);
}

/* --- registers, under the lock --- */

static uint64_t watchdog_read(void *device, uint64_t offset, unsigned size)
{
	const struct watchdog *watchdog = device;
	const uint32_t value[WATCHDOG_BAR_SIZE / 4] = {
		[INTERRUPT_STATUS / 4] = watchdog->interrupt,
		[RELOAD / 4] = watchdog->timeout ? RELOAD_TIMEOUT : 0,
	};
	uint64_t out = 0;

	/* Preloads are write-only. */
	if (offset < sizeof(value) && size <= sizeof(value) - offset)
		__builtin_memcpy(&out, (const uint8_t *)value + offset, size);
	return out;
}

static void reload_write(struct watchdog *watchdog, uint64_t value)
{
	if (value & RELOAD_TIMEOUT)
		watchdog->timeout = 0;
	if (value & RELOAD_NOW && watchdog->lock_bits & LOCK_ENABLE)
		stage_begin_locked(watchdog, 1, vm_clock_ns(watchdog->clock));
}

static void watchdog_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct watchdog *watchdog = device;

	if (offset == RELOAD && value == KEY_1) {
		watchdog->keys = 1;
		return;
	}
	if (offset == RELOAD && value == KEY_2 && watchdog->keys == 1) {
		watchdog->keys = 2;
		return;
	}
	if (watchdog->keys == 2 && size >= 2) {
		switch (offset) {
		case PRELOAD_1: watchdog->preload[0] = (uint32_t)value & PRELOAD_MASK; break;
		case PRELOAD_2: watchdog->preload[1] = (uint32_t)value & PRELOAD_MASK; break;
		case INTERRUPT_STATUS:
			watchdog->interrupt &= (uint8_t)~value;
			interrupt_update_locked(watchdog);
			break;
		case RELOAD: reload_write(watchdog, value); break;
		default: break;
		}
	}
	watchdog->keys = 0;
}

/* --- configuration space, under pci_host.lock --- */

static void lock_written_locked(struct watchdog *watchdog, uint8_t bits)
{
	bool was_on = watchdog->lock_bits & LOCK_ENABLE, on = bits & LOCK_ENABLE;

	watchdog->lock_bits = bits;
	if (on && !was_on)
		stage_begin_locked(watchdog, 1, vm_clock_ns(watchdog->clock));
	else if (!on)
		stage_begin_locked(watchdog, 0, 0);
}

static void watchdog_config_written(struct pci_function *function, unsigned offset, unsigned size)
{
	struct watchdog *watchdog = function->owner;
	uint8_t bits = function->config[LOCK_PLACE];

	host_mutex_lock(&watchdog->lock);
	if (offset <= CONFIG_PLACE && offset + size > CONFIG_PLACE) {
		watchdog->config = function->config[CONFIG_PLACE];
		interrupt_update_locked(watchdog);
	}
	if (offset <= LOCK_PLACE && offset + size > LOCK_PLACE) {
		/* Once locked, nothing but a reset changes the switch. */
		if (watchdog->lock_bits & LOCK_LOCKED)
			function->config[LOCK_PLACE] = watchdog->lock_bits;
		else
			lock_written_locked(watchdog, bits);
	}
	host_mutex_unlock(&watchdog->lock);
}

/* --- the device --- */

static void watchdog_reset(void *object)
{
	struct watchdog *watchdog = object;

	host_mutex_lock(&watchdog->lock);
	watchdog->preload[0] = watchdog->preload[1] = PRELOAD_MASK;
	watchdog->keys = watchdog->interrupt = watchdog->config = watchdog->lock_bits = 0;
	stage_begin_locked(watchdog, 0, 0);
	host_mutex_unlock(&watchdog->lock);
	pci_function_reset(&watchdog->function);
}

static enum status watchdog_loaded(void *object, uint32_t version, struct reason *why)
{
	struct watchdog *watchdog = object;
	enum status status = pci_function_loaded(&watchdog->function, why);

	(void)version;
	host_mutex_lock(&watchdog->lock);
	watchdog->config = watchdog->function.config[CONFIG_PLACE];
	watchdog->lock_bits = watchdog->function.config[LOCK_PLACE];
	if (status == STATUS_OK && (watchdog->stage > 2 || watchdog->keys > 2 || watchdog->interrupt > 1 || watchdog->timeout > 1 ||
				    (watchdog->preload[0] | watchdog->preload[1]) > PRELOAD_MASK))
		status = reason_give(why, STATUS_INVALID,
				     "watchdog: the saved state is none that a watchdog can have; the file is damaged");
	if (status != STATUS_OK || !watchdog->stage)
		watchdog->deadline_ns = UINT64_MAX;
	timer_set(&watchdog->timer, watchdog->deadline_ns);
	host_mutex_unlock(&watchdog->lock);
	return status;
}

static const struct state_field watchdog_fields[] = {
	PCI_FUNCTION_STATE(struct watchdog, function),
	STATE_ARRAY(struct watchdog, preload),
	STATE_FIELD(struct watchdog, keys),
	STATE_FIELD(struct watchdog, stage),
	STATE_FIELD(struct watchdog, interrupt),
	STATE_FIELD(struct watchdog, timeout),
	STATE_FIELD(struct watchdog, deadline_ns),
};
static const struct state_table watchdog_state = {
	.name = "watchdog",
	.version = 1,
	STATE_TABLE_FIELDS(watchdog_fields),
	.after_load = watchdog_loaded,
};

static void function_describe(struct watchdog *watchdog)
{
	static const struct pci_identity identity = {.vendor = WATCHDOG_VENDOR,
						     .device = WATCHDOG_DEVICE,
						     .class_code = WATCHDOG_CLASS,
						     .subsystem_vendor = WATCHDOG_VENDOR,
						     .subsystem = WATCHDOG_DEVICE,
						     .interrupt_pin = PIN_INTA};
	struct pci_function *function = &watchdog->function;

	pci_function_init(function, "watchdog", &identity, watchdog);
	function->bar[0].region = (struct bus_region){
		.name = "watchdog", .lock = &watchdog->lock, .read = watchdog_read, .write = watchdog_write, .device = watchdog};
	pci_bar_add(function, 0, PCI_BAR_MEMORY32, WATCHDOG_BAR_SIZE, false);
	pci_bytes_set(function->writable, CONFIG_PLACE, 2, CONFIG_INTERRUPT | CONFIG_FAST | CONFIG_OUTPUT_OFF);
	pci_bytes_set(function->writable, LOCK_PLACE, 1, LOCK_LOCKED | LOCK_ENABLE | LOCK_FREE_RUNNING);
	function->config_written = watchdog_config_written;
}

enum status watchdog_create(struct watchdog **out, struct pci_bus *bus, uint8_t devfn, struct vm_clock *clock,
			    void (*expired)(void *machine), void *machine)
{
	struct watchdog *watchdog = host_allocate(sizeof(*watchdog));
	enum status status;

	*out = NULL;
	if (!watchdog)
		return STATUS_NO_MEMORY;
	watchdog->clock = clock;
	watchdog->expired = expired;
	watchdog->machine = machine;
	watchdog->preload[0] = watchdog->preload[1] = PRELOAD_MASK;
	watchdog->deadline_ns = UINT64_MAX;
	timer_init(&watchdog->timer, clock, watchdog_fire, watchdog);
	function_describe(watchdog);
	status = pci_function_add(bus, devfn, &watchdog->function);
	if (status != STATUS_OK) {
		host_free(watchdog, sizeof(*watchdog));
		return status;
	}
	watchdog->device =
		(struct device){.name = "watchdog", .state = &watchdog_state, .reset = watchdog_reset, .object = watchdog};
	*out = watchdog;
	return STATUS_OK;
}

struct device *watchdog_device(struct watchdog *watchdog)
{
	return &watchdog->device;
}

void watchdog_destroy(struct watchdog *watchdog)
{
	timer_cancel_wait(&watchdog->timer);
	pci_function_remove(&watchdog->function);
	host_free(watchdog, sizeof(*watchdog));
}
