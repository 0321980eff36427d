/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pic.c - two cascaded 8259As: initialisation and operation words, priorities, acknowledge cycle, poll. See pic.h.
 *
 * Lines come in from irq_line_set, the CPU acknowledges through its local APIC's LINT0 (device/lapic.c). Everything that changes
 * a chip ends in outputs_update_locked, which passes the slave's INT to the master's input 2 and the master's to the CPU.
 */
#include "device/pic.h"

#include "device/byte_port.h"

enum { MASTER, SLAVE };
#define CASCADE 2

#define ICW1_INITIALISE 0x10u
#define ICW1_SINGLE 0x02u
#define ICW1_ICW4 0x01u
#define ICW4_AUTO_EOI 0x02u
#define ICW4_FULLY_NESTED 0x10u
#define OCW3_SELECT 0x08u
#define OCW3_POLL 0x04u

#define ELCR_MASTER 0xf8u /* IRQ 0, 1 and 2 are always edges (ICH9, 13.4.11) */
#define ELCR_SLAVE 0xdeu  /* 8 and 13 */

static uint8_t requests(const struct pic_chip *chip)
{
	return (uint8_t)((chip->irr & ~chip->elcr) | (chip->line & chip->elcr));
}

/* How far from the highest priority: 0 to 7. */
static unsigned rank(const struct pic_chip *chip, unsigned input)
{
	return (input - chip->lowest - 1) & 7;
}

/* The highest of a set of inputs, or -1. */
static int highest(const struct pic_chip *chip, uint8_t inputs)
{
	for (unsigned i = 1; i <= 8; i++)
		if (inputs >> ((chip->lowest + i) & 7) & 1)
			return (chip->lowest + i) & 7;
	return -1;
}

/* The input that INT asks for, or -1. */
static int chip_request(const struct pic *pic, unsigned which)
{
	const struct pic_chip *chip = &pic->chip[which];
	int wanted = highest(chip, requests(chip) & (uint8_t)~chip->imr);
	uint8_t in_service = chip->isr;
	int serving;

	if (wanted < 0 || chip->icw || !chip->initialised)
		return -1;
	if (chip->special_mask)
		in_service &= (uint8_t)~chip->imr;
	if (chip->fully_nested && which == MASTER) /* a second request of the slave may nest in its first */
		in_service &= (uint8_t) ~(1u << CASCADE);
	serving = highest(chip, in_service);
	return serving < 0 || rank(chip, (unsigned)wanted) < rank(chip, (unsigned)serving) ? wanted : -1;
}

static void outputs_update_locked(struct pic *pic)
{
	struct pic_chip *master = &pic->chip[MASTER];
	bool level;

	/* The cascade follows the slave's INT in both directions, so it needs no edge. */
	if (chip_request(pic, SLAVE) >= 0)
		master->irr |= 1u << CASCADE;
	else
		master->irr &= (uint8_t) ~(1u << CASCADE);
	level = chip_request(pic, MASTER) >= 0;
	if (level == pic->output_level)
		return;
	__atomic_store_n(&pic->output_level, level, __ATOMIC_RELEASE);
	pic->output(pic->owner, level);
}

void pic_set(void *device, unsigned gsi, bool level)
{
	struct pic *pic = device;
	struct pic_chip *chip;
	uint8_t bit;

	if (gsi >= 16 || gsi == CASCADE)
		return;
	chip = &pic->chip[gsi >> 3];
	bit = (uint8_t)(1u << (gsi & 7));
	host_mutex_lock(&pic->lock);
	if (level) {
		if (!(chip->line & bit))
			chip->irr |= bit;
		chip->line |= bit;
	} else {
		chip->irr &= (uint8_t)~bit;
		chip->line &= (uint8_t)~bit;
	}
	outputs_update_locked(pic);
	host_mutex_unlock(&pic->lock);
}

/* The second INTA pulse has been seen: the request is in service. */
static void acknowledge_locked(struct pic_chip *chip, unsigned input)
{
	chip->irr &= (uint8_t) ~(1u << input);
	if (!chip->auto_eoi)
		chip->isr |= (uint8_t)(1u << input);
	else if (chip->rotate_on_auto_eoi)
		chip->lowest = (uint8_t)input;
}

bool pic_pending(void *device)
{
	const struct pic *pic = device;

	return __atomic_load_n(&pic->output_level, __ATOMIC_ACQUIRE);
}

int pic_accept(void *device)
{
	struct pic *pic = device;
	struct pic_chip *chip = &pic->chip[MASTER];
	int input, vector;

	host_mutex_lock(&pic->lock);
	input = chip_request(pic, MASTER);
	if (input == CASCADE) {
		acknowledge_locked(chip, CASCADE);
		chip = &pic->chip[SLAVE];
		input = chip_request(pic, SLAVE);
	}
	if (input >= 0)
		acknowledge_locked(chip, (unsigned)input);
	vector = chip->base | (input < 0 ? 7 : input); /* spurious: IRQ 7's vector, nothing in service */
	outputs_update_locked(pic);
	host_mutex_unlock(&pic->lock);
	return vector;
}

static void icw1_write(struct pic_chip *chip, uint8_t value)
{
	chip->icw1 = value;
	chip->icw = 2;
	chip->initialised = false;
	chip->irr = 0; /* the edge sense circuit: a line must rise anew */
	chip->imr = 0;
	chip->isr = 0;
	chip->lowest = 7;
	chip->auto_eoi = false;
	chip->rotate_on_auto_eoi = false;
	chip->fully_nested = false;
	chip->special_mask = false;
	chip->poll = false;
	chip->read_isr = false;
}

/* The words after ICW1, through the odd port. */
static void icw_write(struct pic_chip *chip, uint8_t value)
{
	switch (chip->icw) {
	case 2:
		chip->base = value & 0xf8;
		chip->icw = !(chip->icw1 & ICW1_SINGLE) ? 3 : chip->icw1 & ICW1_ICW4 ? 4 : 0;
		break;
	case 3:
		chip->icw3 = value;
		chip->icw = chip->icw1 & ICW1_ICW4 ? 4 : 0;
		break;
	default:
		chip->auto_eoi = value & ICW4_AUTO_EOI;
		chip->fully_nested = value & ICW4_FULLY_NESTED;
		chip->icw = 0;
		break;
	}
	chip->initialised = chip->icw == 0;
}

static void ocw2_write(struct pic_chip *chip, uint8_t value)
{
	unsigned level = value & 7;
	int input;

	switch (value >> 5) {
	case 0: /* rotate in automatic EOI mode: clear, set */
	case 4: chip->rotate_on_auto_eoi = value & 0x80; break;
	case 1: /* non-specific EOI, and with rotation; what the special mask hides is not ended */
	case 5:
		input = highest(chip, chip->special_mask ? chip->isr & (uint8_t)~chip->imr : chip->isr);
		if (input < 0)
			break;
		chip->isr &= (uint8_t) ~(1u << input);
		if (value & 0x80)
			chip->lowest = (uint8_t)input;
		break;
	case 3: /* specific EOI, and with rotation */
	case 7:
		chip->isr &= (uint8_t) ~(1u << level);
		if (value & 0x80)
			chip->lowest = (uint8_t)level;
		break;
	case 6: /* set priority */ chip->lowest = (uint8_t)level; break;
	default: /* no operation */ break;
	}
}

static void ocw3_write(struct pic_chip *chip, uint8_t value)
{
	if (value & OCW3_POLL)
		chip->poll = true;
	if (value & 2)
		chip->read_isr = value & 1;
	if (value & 0x40)
		chip->special_mask = value & 0x20;
}

static void pic_byte_write(struct pic *pic, unsigned which, unsigned offset, uint8_t value)
{
	struct pic_chip *chip = &pic->chip[which];

	if (offset == 0) {
		if (value & ICW1_INITIALISE)
			icw1_write(chip, value);
		else if (value & OCW3_SELECT)
			ocw3_write(chip, value);
		else
			ocw2_write(chip, value);
	} else if (chip->icw) {
		icw_write(chip, value);
	} else {
		chip->imr = value;
	}
	outputs_update_locked(pic);
}

/* The poll command makes the next read an acknowledge cycle. */
static uint8_t poll_read(struct pic *pic, unsigned which)
{
	struct pic_chip *chip = &pic->chip[which];
	int input = chip_request(pic, which);

	chip->poll = false;
	if (input < 0)
		return 0;
	acknowledge_locked(chip, (unsigned)input);
	outputs_update_locked(pic);
	return (uint8_t)(0x80 | input);
}

static uint8_t pic_byte_read(struct pic *pic, unsigned which, unsigned offset)
{
	struct pic_chip *chip = &pic->chip[which];

	if (chip->poll)
		return poll_read(pic, which);
	if (offset == 1)
		return chip->imr;
	return chip->read_isr ? chip->isr : requests(chip);
}

static uint8_t master_read(void *device, unsigned offset)
{
	return pic_byte_read(device, MASTER, offset);
}

static uint8_t slave_read(void *device, unsigned offset)
{
	return pic_byte_read(device, SLAVE, offset);
}

static void master_write(void *device, unsigned offset, uint8_t value)
{
	pic_byte_write(device, MASTER, offset, value);
}

static void slave_write(void *device, unsigned offset, uint8_t value)
{
	pic_byte_write(device, SLAVE, offset, value);
}

static uint8_t elcr_read(void *device, unsigned offset)
{
	const struct pic *pic = device;

	return pic->chip[offset].elcr;
}

/* An input that turns to edges has no request until its line rises again. */
static void elcr_write(void *device, unsigned offset, uint8_t value)
{
	struct pic *pic = device;
	struct pic_chip *chip = &pic->chip[offset];
	uint8_t elcr = value & (offset == MASTER ? ELCR_MASTER : ELCR_SLAVE);

	chip->irr &= (uint8_t) ~(chip->elcr & ~elcr);
	chip->elcr = elcr;
	outputs_update_locked(pic);
}

#define PORT_FUNCTIONS(name)                                                                        \
	static uint64_t name##_port_read(void *device, uint64_t offset, unsigned size)              \
	{                                                                                           \
		return byte_port_read(name##_read, device, offset, size);                           \
	}                                                                                           \
	static void name##_port_write(void *device, uint64_t offset, unsigned size, uint64_t value) \
	{                                                                                           \
		byte_port_write(name##_write, device, offset, size, value);                         \
	}
PORT_FUNCTIONS(master)
PORT_FUNCTIONS(slave)
PORT_FUNCTIONS(elcr)

static void pic_reset(void *object)
{
	struct pic *pic = object;

	host_mutex_lock(&pic->lock);
	for (unsigned i = 0; i < 2; i++) /* the lines are their sources' */
		pic->chip[i] = (struct pic_chip){.line = pic->chip[i].line, .lowest = 7};
	outputs_update_locked(pic);
	host_mutex_unlock(&pic->lock);
}

static enum status pic_after_load(void *object, uint32_t version, struct reason *why)
{
	struct pic *pic = object;

	(void)version;
	for (unsigned i = 0; i < 2; i++) {
		struct pic_chip *chip = &pic->chip[i];

		if (chip->icw == 1 || chip->icw > 4 || chip->lowest > 7)
			return reason_give(why, STATUS_INVALID, "the state of the interrupt controller (pic) makes no sense");
		chip->base &= 0xf8;
		chip->elcr &= i == MASTER ? ELCR_MASTER : ELCR_SLAVE;
	}
	host_mutex_lock(&pic->lock);
	outputs_update_locked(pic);
	host_mutex_unlock(&pic->lock);
	return STATUS_OK;
}

static const struct state_field pic_fields[] = {
	STATE_EACH(struct pic, chip, irr),
	STATE_EACH(struct pic, chip, imr),
	STATE_EACH(struct pic, chip, isr),
	STATE_EACH(struct pic, chip, line),
	STATE_EACH(struct pic, chip, elcr),
	STATE_EACH(struct pic, chip, base),
	STATE_EACH(struct pic, chip, lowest),
	STATE_EACH(struct pic, chip, icw),
	STATE_EACH(struct pic, chip, icw1),
	STATE_EACH(struct pic, chip, icw3),
	STATE_EACH(struct pic, chip, initialised),
	STATE_EACH(struct pic, chip, auto_eoi),
	STATE_EACH(struct pic, chip, rotate_on_auto_eoi),
	STATE_EACH(struct pic, chip, fully_nested),
	STATE_EACH(struct pic, chip, special_mask),
	STATE_EACH(struct pic, chip, poll),
	STATE_EACH(struct pic, chip, read_isr),
};
static const struct state_table pic_state = {
	.name = "pic",
	.version = 1,
	STATE_TABLE_FIELDS(pic_fields),
	.after_load = pic_after_load,
};

void pic_init(struct pic *pic, void (*output)(void *owner, bool level), void *owner)
{
	__builtin_memset(pic, 0, sizeof(*pic));
	pic->output = output;
	pic->owner = owner;
	pic->region[MASTER] = (struct bus_region){
		.name = "pic-master",
		.length = 2,
		.lock = &pic->lock,
		.read = master_port_read,
		.write = master_port_write,
		.device = pic,
	};
	pic->region[SLAVE] = (struct bus_region){
		.name = "pic-slave",
		.length = 2,
		.lock = &pic->lock,
		.read = slave_port_read,
		.write = slave_port_write,
		.device = pic,
	};
	pic->elcr_region = (struct bus_region){
		.name = "elcr",
		.length = 2,
		.lock = &pic->lock,
		.read = elcr_port_read,
		.write = elcr_port_write,
		.device = pic,
	};
	pic->device = (struct device){.name = "pic", .state = &pic_state, .reset = pic_reset, .object = pic};
	pic_reset(pic);
}
