/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serial.c - a 16550A UART between a guest's port accesses and a chardev. See serial.h for what is simplified.
 *
 * bus_read/bus_write -> serial_read/serial_write, one byte each under the lock; what goes to the chardev is carried out of the lock
 * in a struct outward.
 */
#include "device/serial.h"

enum serial_register { RBR_THR_DLL, IER_DLM, IIR_FCR, LCR, MCR, LSR, MSR, SCR };

#define IER_RECEIVED 0x01u
#define IER_THRE 0x02u
#define IER_LINE_STATUS 0x04u
#define IER_MODEM_STATUS 0x08u

#define IIR_NONE 0x01u
#define IIR_MODEM_STATUS 0x00u
#define IIR_THRE 0x02u
#define IIR_RECEIVED 0x04u
#define IIR_LINE_STATUS 0x06u
#define IIR_TIMEOUT 0x0cu
#define IIR_FIFOS 0xc0u

#define FCR_ENABLE 0x01u
#define FCR_RECEIVE_RESET 0x02u
#define FCR_TRIGGER_SHIFT 6

#define LCR_DLAB 0x80u

#define MCR_DTR 0x01u
#define MCR_RTS 0x02u
#define MCR_OUT1 0x04u
#define MCR_OUT2 0x08u
#define MCR_LOOP 0x10u

#define LSR_DATA_READY 0x01u
#define LSR_OVERRUN 0x02u
#define LSR_THRE 0x20u
#define LSR_TEMT 0x40u
#define LSR_ERRORS 0x1eu

#define MSR_DCTS 0x01u
#define MSR_DDSR 0x02u
#define MSR_TERI 0x04u
#define MSR_DDCD 0x08u
#define MSR_DELTAS 0x0fu
#define MSR_CTS 0x10u
#define MSR_DSR 0x20u
#define MSR_RI 0x40u
#define MSR_DCD 0x80u
#define MSR_CONNECTED (MSR_CTS | MSR_DSR | MSR_DCD)

#define DIVISOR_9600 12

/* What to tell the chardev once the lock is free. */
struct outward {
	uint8_t bytes[8];
	unsigned count;
	bool room;
};

static unsigned trigger_level(const struct serial *serial)
{
	static const uint8_t level[4] = {1, 4, 8, 14};

	return serial->fcr & FCR_ENABLE ? level[serial->fcr >> FCR_TRIGGER_SHIFT] : 1;
}

/* The highest pending interrupt that is enabled (table IV), without the FIFO bits. */
static uint8_t interrupt_identify(const struct serial *serial)
{
	if ((serial->ier & IER_LINE_STATUS) && (serial->lsr & LSR_ERRORS))
		return IIR_LINE_STATUS;
	if ((serial->ier & IER_RECEIVED) && serial->fifo_count)
		return serial->fifo_count >= trigger_level(serial) ? IIR_RECEIVED : IIR_TIMEOUT;
	if ((serial->ier & IER_THRE) && serial->thre_pending)
		return IIR_THRE;
	if ((serial->ier & IER_MODEM_STATUS) && (serial->msr & MSR_DELTAS))
		return IIR_MODEM_STATUS;
	return IIR_NONE;
}

static void line_update_locked(struct serial *serial)
{
	bool level = interrupt_identify(serial) != IIR_NONE;

	if (level == serial->line)
		return;
	serial->line = level;
	irq_line_set(serial->irq, serial->gsi, level);
}

static void fifo_clear(struct serial *serial)
{
	serial->fifo_first = 0;
	serial->fifo_count = 0;
	serial->lsr &= (uint8_t)~LSR_DATA_READY;
}

static unsigned fifo_room(const struct serial *serial)
{
	return (serial->fcr & FCR_ENABLE ? SERIAL_FIFO : 1) - serial->fifo_count;
}

static void fifo_push(struct serial *serial, uint8_t byte)
{
	if (fifo_room(serial) == 0) {
		serial->lsr |= LSR_OVERRUN;
		if (!(serial->fcr & FCR_ENABLE)) /* the shift register falls on RBR; with FIFOs it is what gets lost */
			serial->fifo[serial->fifo_first] = byte;
		return;
	}
	serial->fifo[(serial->fifo_first + serial->fifo_count) % SERIAL_FIFO] = byte;
	serial->fifo_count++;
	serial->lsr |= LSR_DATA_READY;
}

static uint8_t fifo_pop(struct serial *serial)
{
	uint8_t byte = serial->fifo[serial->fifo_first];

	if (serial->fifo_count == 0)
		return 0;
	serial->fifo_first = (uint8_t)((serial->fifo_first + 1) % SERIAL_FIFO);
	if (--serial->fifo_count == 0)
		serial->lsr &= (uint8_t)~LSR_DATA_READY;
	return byte;
}

/* The modem inputs: a connected peer, or in loopback our own outputs (8.6.7). */
static void modem_update(struct serial *serial)
{
	uint8_t before = serial->msr, inputs = MSR_CONNECTED, changed;

	if (serial->mcr & MCR_LOOP)
		inputs = (uint8_t)((serial->mcr & MCR_RTS ? MSR_CTS : 0) | (serial->mcr & MCR_DTR ? MSR_DSR : 0) |
				   (serial->mcr & MCR_OUT1 ? MSR_RI : 0) | (serial->mcr & MCR_OUT2 ? MSR_DCD : 0));
	changed = before ^ inputs;
	serial->msr = inputs | (before & MSR_DELTAS);
	serial->msr |= (uint8_t)((changed & MSR_CTS ? MSR_DCTS : 0) | (changed & MSR_DSR ? MSR_DDSR : 0) |
				 (changed & before & MSR_RI ? MSR_TERI : 0) | (changed & MSR_DCD ? MSR_DDCD : 0));
}

/* May the chardev send again? Only if it was refused before. */
static void room_check(struct serial *serial, struct outward *outward)
{
	if (!serial->starved || (serial->mcr & MCR_LOOP) || fifo_room(serial) == 0)
		return;
	serial->starved = false;
	outward->room = true;
}

static void thr_write(struct serial *serial, uint8_t value, struct outward *outward)
{
	/* THR fills and empties: the interrupt line must be seen to fall in between. */
	serial->thre_pending = 0;
	line_update_locked(serial);
	if (serial->mcr & MCR_LOOP)
		fifo_push(serial, value);
	else
		outward->bytes[outward->count++] = value;
	serial->thre_pending = 1;
}

static void fcr_write(struct serial *serial, uint8_t value)
{
	bool toggled = (serial->fcr ^ value) & FCR_ENABLE;

	if (toggled || ((value & FCR_ENABLE) && (value & FCR_RECEIVE_RESET)))
		fifo_clear(serial);
	/* The other bits can only be set together with ENABLE (8.5); the resets clear themselves. */
	serial->fcr = value & FCR_ENABLE ? value & (FCR_ENABLE | 3u << FCR_TRIGGER_SHIFT) : 0;
}

static void serial_byte_write(struct serial *serial, unsigned offset, uint8_t value, struct outward *outward)
{
	bool dlab = serial->lcr & LCR_DLAB;

	switch (offset) {
	case RBR_THR_DLL:
		if (dlab)
			serial->divisor = (uint16_t)((serial->divisor & 0xff00) | value);
		else
			thr_write(serial, value, outward);
		break;
	case IER_DLM:
		if (dlab) {
			serial->divisor = (uint16_t)((serial->divisor & 0x00ff) | value << 8);
			break;
		}
		/* THR is empty: enabling its interrupt raises it. */
		if ((value & ~serial->ier) & IER_THRE)
			serial->thre_pending = 1;
		serial->ier = value & 0x0f;
		break;
	case IIR_FCR: fcr_write(serial, value); break;
	case LCR: serial->lcr = value; break;
	case MCR:
		serial->mcr = value & 0x1f;
		modem_update(serial);
		break;
	case SCR: serial->scr = value; break;
	default: /* LSR and MSR are for factory tests to write */ break;
	}
	room_check(serial, outward);
	line_update_locked(serial);
}

static uint8_t iir_read(struct serial *serial)
{
	uint8_t iir = interrupt_identify(serial);

	if (iir == IIR_THRE) /* reading IIR acknowledges it, if it is what IIR says */
		serial->thre_pending = 0;
	return iir | (serial->fcr & FCR_ENABLE ? IIR_FIFOS : 0);
}

static uint8_t serial_byte_read(struct serial *serial, unsigned offset, struct outward *outward)
{
	bool dlab = serial->lcr & LCR_DLAB;
	uint8_t value;

	switch (offset) {
	case RBR_THR_DLL: value = dlab ? (uint8_t)serial->divisor : fifo_pop(serial); break;
	case IER_DLM: value = dlab ? (uint8_t)(serial->divisor >> 8) : serial->ier; break;
	case IIR_FCR: value = iir_read(serial); break;
	case LCR: value = serial->lcr; break;
	case MCR: value = serial->mcr; break;
	case LSR:
		value = serial->lsr;
		serial->lsr &= (uint8_t)~LSR_ERRORS;
		break;
	case MSR:
		value = serial->msr;
		serial->msr &= (uint8_t)~MSR_DELTAS;
		break;
	default: value = serial->scr; break;
	}
	room_check(serial, outward);
	line_update_locked(serial);
	return value;
}

static void outward_send(struct serial *serial, const struct outward *outward)
{
	if (outward->count)
		chardev_write(serial->chardev, outward->bytes, outward->count);
	if (outward->room)
		chardev_room_again(serial->chardev);
}

static uint64_t serial_read(void *device, uint64_t offset, unsigned size)
{
	struct serial *serial = device;
	struct outward outward = {0};
	uint64_t value = 0;

	host_mutex_lock(&serial->lock);
	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)serial_byte_read(serial, (unsigned)offset + i, &outward) << (8 * i);
	host_mutex_unlock(&serial->lock);
	outward_send(serial, &outward);
	return value;
}

static void serial_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct serial *serial = device;
	struct outward outward = {0};

	host_mutex_lock(&serial->lock);
	for (unsigned i = 0; i < size; i++)
		serial_byte_write(serial, (unsigned)offset + i, (uint8_t)(value >> (8 * i)), &outward);
	host_mutex_unlock(&serial->lock);
	outward_send(serial, &outward);
}

/* The input pin is cut off in loopback mode: the chardev keeps its bytes. */
static size_t serial_room(void *device)
{
	struct serial *serial = device;
	size_t room;

	host_mutex_lock(&serial->lock);
	room = serial->mcr & MCR_LOOP ? 0 : fifo_room(serial);
	if (room == 0)
		serial->starved = true;
	host_mutex_unlock(&serial->lock);
	return room;
}

static void serial_receive(void *device, const uint8_t *bytes, size_t length)
{
	struct serial *serial = device;

	host_mutex_lock(&serial->lock);
	for (size_t i = 0; i < length; i++)
		fifo_push(serial, bytes[i]);
	line_update_locked(serial);
	host_mutex_unlock(&serial->lock);
}

static void serial_reset(void *object)
{
	struct serial *serial = object;
	struct outward outward = {0};

	host_mutex_lock(&serial->lock);
	serial->ier = 0;
	serial->fcr = 0;
	serial->lcr = 0;
	serial->mcr = 0;
	serial->lsr = LSR_THRE | LSR_TEMT;
	serial->msr = MSR_CONNECTED;
	serial->scr = 0;
	serial->divisor = DIVISOR_9600;
	serial->thre_pending = 0;
	fifo_clear(serial);
	room_check(serial, &outward);
	line_update_locked(serial);
	host_mutex_unlock(&serial->lock);
	outward_send(serial, &outward);
}

static enum status serial_after_load(void *object, uint32_t version, struct reason *why)
{
	struct serial *serial = object;
	struct outward outward = {0};
	enum status status = STATUS_OK;

	(void)version;
	host_mutex_lock(&serial->lock);
	if (serial->fifo_first >= SERIAL_FIFO || serial->fifo_count > (serial->fcr & FCR_ENABLE ? SERIAL_FIFO : 1))
		status = reason_give(why, STATUS_INVALID, "the state of serial port %u holds an impossible FIFO",
				     serial->device.instance);
	if (status != STATUS_OK)
		fifo_clear(serial);
	serial->ier &= 0x0f;
	serial->mcr &= 0x1f;
	serial->lsr = (serial->lsr & LSR_OVERRUN) | LSR_THRE | LSR_TEMT | (serial->fifo_count ? LSR_DATA_READY : 0);
	room_check(serial, &outward);
	line_update_locked(serial);
	host_mutex_unlock(&serial->lock);
	outward_send(serial, &outward);
	return status;
}

static const struct state_field serial_fields[] = {
	STATE_FIELD(struct serial, ier), STATE_FIELD(struct serial, fcr),        STATE_FIELD(struct serial, lcr),
	STATE_FIELD(struct serial, mcr), STATE_FIELD(struct serial, lsr),        STATE_FIELD(struct serial, msr),
	STATE_FIELD(struct serial, scr), STATE_FIELD(struct serial, divisor),    STATE_FIELD(struct serial, thre_pending),
	STATE_BLOB(struct serial, fifo), STATE_FIELD(struct serial, fifo_first), STATE_FIELD(struct serial, fifo_count),
};
static const struct state_table serial_state = {
	.name = "serial",
	.version = 1,
	STATE_TABLE_FIELDS(serial_fields),
	.after_load = serial_after_load,
};

static void serial_quiesce(void *object)
{
	struct serial *serial = object;

	chardev_connect(serial->chardev, NULL);
}

static void serial_resume(void *object)
{
	struct serial *serial = object;

	chardev_connect(serial->chardev, &serial->frontend);
}

void serial_init(struct serial *serial, unsigned instance, struct irq *irq, unsigned gsi, struct chardev *chardev)
{
	__builtin_memset(serial, 0, sizeof(*serial));
	serial->irq = irq;
	serial->gsi = gsi;
	serial->chardev = chardev;
	serial->frontend = (struct chardev_frontend){.room = serial_room, .receive = serial_receive, .device = serial};
	serial->region = (struct bus_region){
		.name = "serial",
		.length = 8,
		.lock = NULL,
		.read = serial_read,
		.write = serial_write,
		.device = serial,
	};
	serial->device = (struct device){
		.name = "serial",
		.instance = instance,
		.state = &serial_state,
		.reset = serial_reset,
		.quiesce = serial_quiesce,
		.resume = serial_resume,
		.destroy = serial_quiesce,
		.object = serial,
	};
	serial_reset(serial);
}
