/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_console.c - one console port (virtio 1.2, 5.3), without MULTIPORT: queue 0 brings input, queue 1 takes output.
 *
 * Input waits in a small buffer while the guest offers no memory; the chardev sees that by room(). Output goes to the chardev without the
 * device's lock, in the order of the ring: one thread sends at a time, others only note that there is more.
 */
#include "virtio_console.h"
#include "virtio_pci.h"

#define VIRTIO_CONSOLE_TYPE 3
#define VIRTIO_CONSOLE_QUEUE_SIZE 64
#define VIRTIO_CONSOLE_CONFIG_LENGTH 12
#define RECEIVE_QUEUE 0
#define TRANSMIT_QUEUE 1
#define INPUT_SIZE 4096u
#define OUTPUT_PIECE 4096u
#define CHAINS_MAX 64u        /* that one call sends: a guest may add them without end */
#define OUTPUT_MAX (1u << 20) /* of one request; a chardev may take its time over each piece, so there is an end */

struct virtio_console {
	struct virtio_pci pci;
	struct chardev *chardev;
	struct chardev_frontend frontend;
	struct timer timer; /* goes on where a notification stopped */
	struct vm_clock *clock;
	/* Under pci.lock. */
	uint8_t input[INPUT_SIZE]; /* bytes that the guest has not got yet */
	uint32_t input_length;
	uint64_t output_dropped;
	bool sending; /* some thread is in virtio_console_send; it owns `output` and output_chain */
	bool send_again;
	uint8_t output[OUTPUT_PIECE];
	struct virtio_chain output_chain;
	struct virtio_chain input_chain;
};

/* Input into the memory that the guest offers. Returns whether the buffer has got room. Bounded: of as many chains as there are bytes, some have no room. */
static bool virtio_console_deliver(struct virtio_console *console)
{
	struct virtio_chain *chain = &console->input_chain;
	unsigned left = INPUT_SIZE;
	bool delivered = false;

	while (console->input_length && left-- && virtio_pci_pop(&console->pci, RECEIVE_QUEUE, chain)) {
		uint32_t length = (uint32_t)virtio_chain_fill(chain, console->input, console->input_length);

		virtio_pci_complete(&console->pci, RECEIVE_QUEUE, chain, length);
		console->input_length -= length;
		__builtin_memmove(console->input, console->input + length, console->input_length);
		delivered = delivered || length;
	}
	return delivered;
}

static void virtio_console_send_chain(struct virtio_console *console)
{
	uint64_t sent = 0, length;

	while (sent < OUTPUT_MAX && (length = virtio_chain_take(&console->output_chain, console->output, OUTPUT_PIECE)) != 0) {
		host_mutex_unlock(&console->pci.lock);
		chardev_write(console->chardev, console->output, length);
		host_mutex_lock(&console->pci.lock);
		sent += length;
	}
	console->output_dropped += virtio_chain_readable(&console->output_chain);
}

/* Under the lock, which it drops while the chardev writes. What is left then, the clock's thread comes back for. */
static void virtio_console_send(struct virtio_console *console)
{
	unsigned left = CHAINS_MAX;

	console->send_again = true;
	if (console->sending)
		return;
	console->sending = true;
	while (console->send_again) {
		console->send_again = false;
		while (left && virtio_pci_pop(&console->pci, TRANSMIT_QUEUE, &console->output_chain)) {
			virtio_pci_request_begin(&console->pci);
			virtio_console_send_chain(console);
			virtio_pci_complete(&console->pci, TRANSMIT_QUEUE, &console->output_chain, 0);
			virtio_pci_request_end(&console->pci);
			left--;
		}
	}
	console->sending = false;
	if (!left)
		timer_set(&console->timer, vm_clock_ns(console->clock) + VIRTIO_PAUSE_NS);
}

static void virtio_console_fire(void *device)
{
	struct virtio_console *console = device;

	host_mutex_lock(&console->pci.lock);
	virtio_console_send(console);
	host_mutex_unlock(&console->pci.lock);
}

static void virtio_console_notify(void *owner, unsigned queue)
{
	struct virtio_console *console = owner;
	bool room = false;

	host_mutex_lock(&console->pci.lock);
	if (queue == TRANSMIT_QUEUE)
		virtio_console_send(console);
	else
		room = virtio_console_deliver(console);
	host_mutex_unlock(&console->pci.lock);
	if (room)
		chardev_room_again(console->chardev);
}

static void virtio_console_ready(void *owner)
{
	struct virtio_console *console = owner;

	chardev_room_again(console->chardev);
}

/* Without a driver nothing is taken: what was typed while the guest boots stays where it is. */
static size_t virtio_console_room(void *device)
{
	struct virtio_console *console = device;
	size_t room = 0;

	host_mutex_lock(&console->pci.lock);
	if (virtio_pci_queue(&console->pci, RECEIVE_QUEUE))
		room = INPUT_SIZE - console->input_length;
	host_mutex_unlock(&console->pci.lock);
	return room;
}

static void virtio_console_receive(void *device, const uint8_t *bytes, size_t length)
{
	struct virtio_console *console = device;

	host_mutex_lock(&console->pci.lock);
	if (length > INPUT_SIZE - console->input_length)
		length = INPUT_SIZE - console->input_length;
	__builtin_memcpy(console->input + console->input_length, bytes, length);
	console->input_length += (uint32_t)length;
	virtio_console_deliver(console);
	host_mutex_unlock(&console->pci.lock);
}

/* cols, rows, max_nr_ports, emerg_wr: no feature that gives them a meaning is offered. */
static void virtio_console_config_fill(void *owner, uint8_t *image)
{
	(void)owner;
	__builtin_memset(image, 0, VIRTIO_CONSOLE_CONFIG_LENGTH);
}

static void virtio_console_driver_reset(void *owner)
{
	struct virtio_console *console = owner;

	console->input_length = 0;
	timer_cancel(&console->timer);
}

static const struct virtio_ops virtio_console_ops = {
	.notify = virtio_console_notify,
	.ready = virtio_console_ready,
	.config_fill = virtio_console_config_fill,
	.reset = virtio_console_driver_reset,
};

static void virtio_console_reset(void *object)
{
	struct virtio_console *console = object;

	virtio_pci_power_on(&console->pci);
}

/* Output is the vcpus' and the clock's work: with them standing there is none under way. */
static void virtio_console_quiesce(void *object)
{
	struct virtio_console *console = object;

	chardev_connect(console->chardev, NULL);
}

static void virtio_console_resume(void *object)
{
	struct virtio_console *console = object;

	chardev_connect(console->chardev, &console->frontend);
	virtio_console_fire(console); /* what the timer was set for */
}

static enum status virtio_console_loaded(void *object, uint32_t version, struct reason *why)
{
	struct virtio_console *console = object;

	(void)version;
	if (console->input_length > INPUT_SIZE) {
		console->input_length = 0;
		return reason_give(why, STATUS_INVALID, "virtio-console: the saved state has more input than there is room for");
	}
	return virtio_pci_loaded(&console->pci, why);
}

static const struct state_field virtio_console_fields[] = {
	VIRTIO_PCI_STATE(struct virtio_console, pci),
	STATE_BLOB(struct virtio_console, input),
	STATE_FIELD(struct virtio_console, input_length),
};
static const struct state_table virtio_console_state = {
	.name = "virtio_console",
	.version = 1,
	STATE_TABLE_FIELDS(virtio_console_fields),
	.after_load = virtio_console_loaded,
};

enum status virtio_console_create(struct virtio_console **out, struct pci_bus *bus, uint8_t devfn, struct guest_memory *memory,
				  struct irq *irq, struct vm_clock *clock, struct chardev *chardev)
{
	static const struct virtio_identity identity = {
		.name = "virtio-console",
		.type = VIRTIO_CONSOLE_TYPE,
		.class_code = 0x078000,
		.queues = 2,
		.queue_size = VIRTIO_CONSOLE_QUEUE_SIZE,
		.config_length = VIRTIO_CONSOLE_CONFIG_LENGTH,
	};
	struct virtio_console *console = host_allocate(sizeof(*console));
	enum status status;

	*out = NULL;
	if (!console)
		return STATUS_NO_MEMORY;
	console->chardev = chardev;
	console->clock = clock;
	timer_init(&console->timer, clock, virtio_console_fire, console);
	console->frontend =
		(struct chardev_frontend){.room = virtio_console_room, .receive = virtio_console_receive, .device = console};
	status = virtio_pci_plug(&console->pci, &identity, &virtio_console_ops, console, bus, devfn, memory, irq);
	if (status != STATUS_OK) {
		host_free(console, sizeof(*console));
		return status;
	}
	console->pci.device.state = &virtio_console_state;
	console->pci.device.reset = virtio_console_reset;
	console->pci.device.quiesce = virtio_console_quiesce;
	console->pci.device.resume = virtio_console_resume;
	*out = console;
	return STATUS_OK;
}

struct device *virtio_console_device(struct virtio_console *console)
{
	return &console->pci.device;
}

void virtio_console_destroy(struct virtio_console *console)
{
	chardev_connect(console->chardev, NULL);
	timer_cancel_wait(&console->timer);
	virtio_pci_unplug(&console->pci);
	host_free(console, sizeof(*console));
}
