/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_port.c - see virtio_port.h. Queues 0 and 1 carry port 0's bytes, 2 and 3 the control messages that give it a name and say who has it open.
 *
 * What is to be said to the driver is a bit in `pending`, so that nothing grows while it offers no memory. A chain whose bytes the chardev has not all
 * taken stays in the ring, and `output_sent` says how many it has: so none is lost and none is under way when the machine is saved. Input is taken only while a
 * program in the guest has the port open: Linux throws the rest away.
 */
#include "virtio_port.h"

#include "virtio_pci.h"

#define VIRTIO_CONSOLE_TYPE 3
#define VIRTIO_CONSOLE_F_MULTIPORT (UINT64_C(1) << 1)
#define PORT_QUEUE_SIZE 64
#define INPUT_SIZE 4096u
#define OUTPUT_PIECE 4096u
#define OUTPUT_MAX (1u << 20) /* bytes that one call moves */
#define CHAINS_MAX 256u       /* that one call serves */

enum { INPUT_QUEUE, OUTPUT_QUEUE, TO_DRIVER_QUEUE, FROM_DRIVER_QUEUE, PORT_QUEUES };

/* 5.3.6.2 */
struct control {
	uint32_t id;
	uint16_t event;
	uint16_t value;
};
#define EVENT_DEVICE_READY 0
#define EVENT_DEVICE_ADD 1
#define EVENT_PORT_READY 3
#define EVENT_PORT_OPEN 6
#define EVENT_PORT_NAME 7

#define PENDING_ADD 1u
#define PENDING_NAME 2u
#define PENDING_OPEN 4u /* the host's side has connected or gone */
#define PENDING_ALL 7u

/* struct virtio_console_config, 5.3.4 */
struct port_config {
	uint16_t columns, rows;
	uint32_t ports_max;
	uint32_t emergency;
};

struct virtio_port {
	struct virtio_pci pci;
	struct chardev *chardev;
	struct chardev_frontend frontend;
	char name[VIRTIO_PORT_NAME_MAX + 1];
	uint32_t name_length;
	/* Under pci.lock. */
	bool host_open;
	uint8_t host_open_told; /* what the driver knows */
	uint8_t named;          /* the driver has the port: it can be told of it */
	uint8_t guest_open;
	uint8_t pending;
	uint8_t input[INPUT_SIZE]; /* bytes that the guest has not got yet */
	uint32_t input_length;
	uint64_t output_sent; /* of the chain that comes next */
	uint8_t output[OUTPUT_PIECE];
	struct virtio_chain chain;
};

/* Without MULTIPORT the driver says nothing of it: then the port is open. */
static bool port_takes_input(const struct virtio_port *port)
{
	return port->guest_open || !virtio_pci_negotiated(&port->pci, VIRTIO_CONSOLE_F_MULTIPORT);
}

/* --- control messages --- */

static void control_give(struct virtio_port *port, uint16_t event, uint16_t value, const char *text, uint32_t length)
{
	const struct control control = {.event = event, .value = value};
	uint64_t written = virtio_chain_fill(&port->chain, &control, sizeof(control));

	written += virtio_chain_fill_at(&port->chain, sizeof(control), text, length);
	virtio_pci_complete(&port->pci, TO_DRIVER_QUEUE, &port->chain, (uint32_t)written);
}

/* Says what is pending, as far as the driver has offered memory for it. */
static void control_send(struct virtio_port *port)
{
	if (port->named && port->host_open != port->host_open_told)
		port->pending |= PENDING_OPEN;
	while (port->pending && virtio_pci_pop(&port->pci, TO_DRIVER_QUEUE, &port->chain)) {
		if (port->pending & PENDING_ADD) {
			port->pending &= (uint8_t)~PENDING_ADD;
			control_give(port, EVENT_DEVICE_ADD, 1, NULL, 0);
		} else if (port->pending & PENDING_NAME) {
			port->pending &= (uint8_t)~PENDING_NAME;
			control_give(port, EVENT_PORT_NAME, 1, port->name, port->name_length);
		} else {
			port->pending &= (uint8_t)~PENDING_OPEN;
			port->host_open_told = port->host_open;
			control_give(port, EVENT_PORT_OPEN, port->host_open, NULL, 0);
		}
	}
}

static void control_serve(struct virtio_port *port, const struct control *control)
{
	if (control->event == EVENT_DEVICE_READY && control->value) {
		port->pending = PENDING_ADD;
		port->named = port->host_open_told = port->guest_open = 0;
	} else if (control->event == EVENT_PORT_READY && control->id == 0 && control->value) {
		port->named = 1;
		port->pending |= PENDING_NAME;
	} else if (control->event == EVENT_PORT_OPEN && control->id == 0) {
		port->guest_open = control->value != 0;
		if (!port->guest_open)
			port->input_length = 0;
	}
}

static void control_receive(struct virtio_port *port)
{
	unsigned left = CHAINS_MAX;

	while (left-- && virtio_pci_pop(&port->pci, FROM_DRIVER_QUEUE, &port->chain)) {
		struct control control;

		if (virtio_chain_take(&port->chain, &control, sizeof(control)) == sizeof(control))
			control_serve(port, &control);
		virtio_pci_complete(&port->pci, FROM_DRIVER_QUEUE, &port->chain, 0);
	}
	control_send(port);
}

/* --- bytes --- */

/* Bounded: of as many chains as there are bytes, some have no room. */
static void port_deliver(struct virtio_port *port)
{
	unsigned left = INPUT_SIZE;

	while (port->input_length && left-- && port_takes_input(port) && virtio_pci_pop(&port->pci, INPUT_QUEUE, &port->chain)) {
		uint32_t length = (uint32_t)virtio_chain_fill(&port->chain, port->input, port->input_length);

		virtio_pci_complete(&port->pci, INPUT_QUEUE, &port->chain, length);
		port->input_length -= length;
		__builtin_memmove(port->input, port->input + length, port->input_length);
	}
}

/* As much of the chain as the chardev takes and *budget allows. Returns whether that was all of it. */
static bool port_send_chain(struct virtio_port *port, uint64_t *budget)
{
	virtio_chain_skip(&port->chain, port->output_sent);
	while (virtio_chain_readable(&port->chain)) {
		uint64_t most = chardev_write_room(port->chardev);

		if (most > OUTPUT_PIECE)
			most = OUTPUT_PIECE;
		if (most > *budget)
			most = *budget;
		if (!most)
			return false;
		most = virtio_chain_take(&port->chain, port->output, most);
		chardev_write(port->chardev, port->output, most);
		port->output_sent += most;
		*budget -= most;
	}
	return true;
}

/* The chardev says when it has room again. Returns whether it has, and another call should follow, on its thread. */
static bool port_send(struct virtio_port *port)
{
	uint64_t budget = OUTPUT_MAX;
	unsigned left = CHAINS_MAX;

	while (left-- && virtio_pci_pop(&port->pci, OUTPUT_QUEUE, &port->chain)) {
		if (!port_send_chain(port, &budget)) {
			virtio_chain_release(&port->pci.queue[OUTPUT_QUEUE], &port->chain);
			virtio_queue_unpop(&port->pci.queue[OUTPUT_QUEUE], 1);
			return !budget;
		}
		port->output_sent = 0;
		virtio_pci_complete(&port->pci, OUTPUT_QUEUE, &port->chain, 0);
	}
	return left == UINT32_MAX;
}

/* Everything that there may be to do: what it costs is bounded. `room`: the guest may have made some. */
static void port_run(struct virtio_port *port, bool room)
{
	bool again;

	host_mutex_lock(&port->pci.lock);
	control_receive(port);
	port_deliver(port);
	again = port_send(port);
	again = again || (room && port_takes_input(port) && port->input_length < INPUT_SIZE);
	host_mutex_unlock(&port->pci.lock);
	if (again)
		chardev_room_again(port->chardev);
}

static void port_notify(void *owner, unsigned queue)
{
	port_run(owner, queue != OUTPUT_QUEUE);
}

static void port_ready(void *owner)
{
	struct virtio_port *port = owner;

	chardev_room_again(port->chardev);
}

/* --- the chardev's calls --- */

static size_t port_room(void *device)
{
	struct virtio_port *port = device;
	size_t room = 0;

	host_mutex_lock(&port->pci.lock);
	if (virtio_pci_queue(&port->pci, INPUT_QUEUE) && port_takes_input(port))
		room = INPUT_SIZE - port->input_length;
	host_mutex_unlock(&port->pci.lock);
	return room;
}

static void port_receive(void *device, const uint8_t *bytes, size_t length)
{
	struct virtio_port *port = device;

	host_mutex_lock(&port->pci.lock);
	if (length > INPUT_SIZE - port->input_length)
		length = INPUT_SIZE - port->input_length;
	__builtin_memcpy(port->input + port->input_length, bytes, length);
	port->input_length += (uint32_t)length;
	port_deliver(port);
	host_mutex_unlock(&port->pci.lock);
}

static bool port_state(void *device, bool open)
{
	struct virtio_port *port = device;
	bool again;

	host_mutex_lock(&port->pci.lock);
	port->host_open = open;
	control_send(port);
	again = port_send(port);
	host_mutex_unlock(&port->pci.lock);
	return again;
}

/* --- the device --- */

static void port_config_fill(void *owner, uint8_t *image)
{
	const struct port_config config = {.ports_max = 1};

	(void)owner;
	__builtin_memcpy(image, &config, sizeof(config));
}

static void port_driver_reset(void *owner)
{
	struct virtio_port *port = owner;

	port->input_length = 0;
	port->output_sent = 0;
	port->host_open_told = port->named = port->guest_open = port->pending = 0;
}

static const struct virtio_ops port_ops = {
	.notify = port_notify,
	.ready = port_ready,
	.config_fill = port_config_fill,
	.reset = port_driver_reset,
};

static void port_reset(void *object)
{
	struct virtio_port *port = object;

	virtio_pci_power_on(&port->pci);
}

static void port_quiesce(void *object)
{
	struct virtio_port *port = object;

	chardev_connect(port->chardev, NULL);
}

/* The chardev then says whether its side is open, and looks for output. */
static void port_resume(void *object)
{
	struct virtio_port *port = object;

	chardev_connect(port->chardev, &port->frontend);
	port_run(port, false);
}

static enum status port_loaded(void *object, uint32_t version, struct reason *why)
{
	struct virtio_port *port = object;

	(void)version;
	if (port->input_length > INPUT_SIZE || port->host_open_told > 1 || port->named > 1 || port->guest_open > 1 ||
	    port->pending & ~PENDING_ALL) {
		port_driver_reset(port);
		return reason_give(why, STATUS_INVALID,
				   "virtio-port: the saved state is one that no driver could have brought about");
	}
	return virtio_pci_loaded(&port->pci, why);
}

static const struct state_field port_fields[] = {
	VIRTIO_PCI_STATE(struct virtio_port, pci),     STATE_FIELD(struct virtio_port, host_open_told),
	STATE_FIELD(struct virtio_port, named),        STATE_FIELD(struct virtio_port, guest_open),
	STATE_FIELD(struct virtio_port, pending),      STATE_BLOB(struct virtio_port, input),
	STATE_FIELD(struct virtio_port, input_length), STATE_FIELD(struct virtio_port, output_sent),
};
static const struct state_table port_table = {
	.name = "virtio_port",
	.version = 1,
	STATE_TABLE_FIELDS(port_fields),
	.after_load = port_loaded,
};

enum status virtio_port_create(struct virtio_port **out, struct pci_bus *bus, uint8_t devfn, struct guest_memory *memory,
			       struct irq *irq, struct chardev *chardev, const char *name)
{
	static const struct virtio_identity identity = {
		.name = "virtio-port",
		.type = VIRTIO_CONSOLE_TYPE,
		.class_code = 0x078000,
		.features = VIRTIO_CONSOLE_F_MULTIPORT,
		.queues = PORT_QUEUES,
		.queue_size = PORT_QUEUE_SIZE,
		.config_length = sizeof(struct port_config),
	};
	struct virtio_port *port = host_allocate(sizeof(*port));
	enum status status;

	*out = NULL;
	if (!port)
		return STATUS_NO_MEMORY;
	port->chardev = chardev;
	port->frontend = (struct chardev_frontend){port_room, port_receive, port, port_state};
	while (port->name_length < VIRTIO_PORT_NAME_MAX && name[port->name_length]) {
		port->name[port->name_length] = name[port->name_length];
		port->name_length++;
	}
	status = virtio_pci_plug(&port->pci, &identity, &port_ops, port, bus, devfn, memory, irq);
	if (status != STATUS_OK) {
		host_free(port, sizeof(*port));
		return status;
	}
	port->pci.device.state = &port_table;
	port->pci.device.reset = port_reset;
	port->pci.device.quiesce = port_quiesce;
	port->pci.device.resume = port_resume;
	*out = port;
	return STATUS_OK;
}

struct device *virtio_port_device(struct virtio_port *port)
{
	return &port->pci.device;
}

void virtio_port_destroy(struct virtio_port *port)
{
	chardev_connect(port->chardev, NULL);
	virtio_pci_unplug(&port->pci);
	host_free(port, sizeof(*port));
}
