/* SPDX-License-Identifier: Apache-2.0 */
/*
 * i8042.c - the keyboard controller of a PC without a keyboard. See i8042.h.
 */
#include "device/i8042.h"

#define STATUS_OUTPUT_FULL 0x01u
#define STATUS_SYSTEM 0x04u
#define STATUS_COMMAND 0x08u /* the last write went to port 64h */
#define STATUS_UNLOCKED 0x10u
#define STATUS_TIMEOUT 0x40u

#define BYTE_KEYBOARD_INTERRUPT 0x01u
#define BYTE_SYSTEM 0x04u
#define BYTE_KEYBOARD_DISABLED 0x10u
#define BYTE_AUXILIARY_DISABLED 0x20u
#define BYTE_TRANSLATE 0x40u

#define OUTPUT_NOT_RESET 0x01u
#define OUTPUT_A20 0x02u
#define OUTPUT_FULL_INTERRUPT 0x10u
#define INPUT_UNLOCKED 0x80u

#define COMMAND_READ_BYTE 0x20u
#define COMMAND_WRITE_BYTE 0x60u
#define COMMAND_AUXILIARY_DISABLE 0xa7u
#define COMMAND_AUXILIARY_ENABLE 0xa8u
#define COMMAND_AUXILIARY_TEST 0xa9u
#define COMMAND_SELF_TEST 0xaau
#define COMMAND_KEYBOARD_TEST 0xabu
#define COMMAND_KEYBOARD_DISABLE 0xadu
#define COMMAND_KEYBOARD_ENABLE 0xaeu
#define COMMAND_READ_INPUT 0xc0u
#define COMMAND_READ_OUTPUT 0xd0u
#define COMMAND_WRITE_OUTPUT 0xd1u
#define COMMAND_WRITE_KEYBOARD_BUFFER 0xd2u
#define COMMAND_WRITE_AUXILIARY_BUFFER 0xd3u
#define COMMAND_WRITE_AUXILIARY 0xd4u
#define COMMAND_PULSE 0xf0u /* to ffh: pulls down the output lines whose bits are 0 */

#define ANSWER_SELF_TEST 0x55u
#define ANSWER_TEST_GOOD 0x00u
#define ANSWER_TEST_CLOCK_LOW 0x01u
#define ANSWER_RESEND 0xfeu

static void line_update_locked(struct i8042 *i8042)
{
	bool level = (i8042->status & STATUS_OUTPUT_FULL) && (i8042->command_byte & BYTE_KEYBOARD_INTERRUPT) &&
		     !(i8042->command_byte & BYTE_KEYBOARD_DISABLED);

	if (level == i8042->line)
		return;
	i8042->line = level;
	irq_line_set(i8042->irq, i8042->gsi, level);
}

static void answer(struct i8042 *i8042, uint8_t value)
{
	i8042->output = value;
	i8042->status = (uint8_t)((i8042->status & ~STATUS_TIMEOUT) | STATUS_OUTPUT_FULL);
}

static void keyboard_timeout(struct i8042 *i8042)
{
	answer(i8042, ANSWER_RESEND);
	i8042->status |= STATUS_TIMEOUT;
}

static void output_port_write(struct i8042 *i8042, uint8_t value)
{
	i8042->output_port = value | OUTPUT_NOT_RESET;
	if (!(value & OUTPUT_NOT_RESET))
		i8042->reset(i8042->machine);
}

static uint8_t output_port_read(const struct i8042 *i8042)
{
	uint8_t full = i8042->status & STATUS_OUTPUT_FULL ? OUTPUT_FULL_INTERRUPT : 0;

	return (uint8_t)((i8042->output_port & ~OUTPUT_FULL_INTERRUPT) | full);
}

static void command_run(struct i8042 *i8042, uint8_t command)
{
	i8042->expecting = 0;
	switch (command) {
	case COMMAND_READ_BYTE: answer(i8042, i8042->command_byte); break;
	case COMMAND_AUXILIARY_DISABLE: i8042->command_byte |= BYTE_AUXILIARY_DISABLED; break;
	case COMMAND_AUXILIARY_ENABLE: /* no port to enable: the bit stays, which is how probes tell */ break;
	case COMMAND_AUXILIARY_TEST: answer(i8042, ANSWER_TEST_CLOCK_LOW); break;
	case COMMAND_SELF_TEST:
		i8042->status |= STATUS_SYSTEM;
		i8042->command_byte = BYTE_KEYBOARD_DISABLED | BYTE_AUXILIARY_DISABLED | BYTE_SYSTEM | BYTE_TRANSLATE;
		answer(i8042, ANSWER_SELF_TEST);
		break;
	case COMMAND_KEYBOARD_TEST: answer(i8042, ANSWER_TEST_GOOD); break;
	case COMMAND_KEYBOARD_DISABLE: i8042->command_byte |= BYTE_KEYBOARD_DISABLED; break;
	case COMMAND_KEYBOARD_ENABLE: i8042->command_byte &= (uint8_t)~BYTE_KEYBOARD_DISABLED; break;
	case COMMAND_READ_INPUT: answer(i8042, INPUT_UNLOCKED); break;
	case COMMAND_READ_OUTPUT: answer(i8042, output_port_read(i8042)); break;
	case COMMAND_WRITE_BYTE:
	case COMMAND_WRITE_OUTPUT:
	case COMMAND_WRITE_KEYBOARD_BUFFER:
	case COMMAND_WRITE_AUXILIARY_BUFFER:
	case COMMAND_WRITE_AUXILIARY: i8042->expecting = command; break;
	default:
		if (command >= COMMAND_PULSE && !(command & OUTPUT_NOT_RESET))
			i8042->reset(i8042->machine);
		break;
	}
}

static void data_take(struct i8042 *i8042, uint8_t value)
{
	uint8_t command = i8042->expecting;

	i8042->expecting = 0;
	switch (command) {
	case COMMAND_WRITE_BYTE:
		i8042->command_byte = value | BYTE_AUXILIARY_DISABLED;
		i8042->status = (uint8_t)((i8042->status & ~STATUS_SYSTEM) | (value & BYTE_SYSTEM ? STATUS_SYSTEM : 0));
		break;
	case COMMAND_WRITE_OUTPUT: output_port_write(i8042, value); break;
	case COMMAND_WRITE_KEYBOARD_BUFFER:
	case COMMAND_WRITE_AUXILIARY_BUFFER: /* without an auxiliary port it comes back as a keyboard's byte */
		answer(i8042, value);
		break;
	default: /* for the keyboard, or for a mouse */ keyboard_timeout(i8042); break;
	}
}

static uint64_t data_read(void *device, uint64_t offset, unsigned size)
{
	struct i8042 *i8042 = device;

	(void)offset;
	(void)size;
	i8042->status &= (uint8_t) ~(STATUS_OUTPUT_FULL | STATUS_TIMEOUT);
	line_update_locked(i8042);
	return i8042->output;
}

static void data_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct i8042 *i8042 = device;

	(void)offset;
	(void)size;
	i8042->status &= (uint8_t)~STATUS_COMMAND;
	data_take(i8042, (uint8_t)value);
	line_update_locked(i8042);
}

static uint64_t command_read(void *device, uint64_t offset, unsigned size)
{
	struct i8042 *i8042 = device;

	(void)offset;
	(void)size;
	return i8042->status;
}

static void command_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct i8042 *i8042 = device;

	(void)offset;
	(void)size;
	i8042->status |= STATUS_COMMAND;
	command_run(i8042, (uint8_t)value);
	line_update_locked(i8042);
}

/* As firmware leaves it: self-test passed, system flag set. */
static void i8042_reset(void *object)
{
	struct i8042 *i8042 = object;

	host_mutex_lock(&i8042->lock);
	i8042->status = STATUS_SYSTEM | STATUS_UNLOCKED;
	i8042->command_byte = BYTE_KEYBOARD_DISABLED | BYTE_AUXILIARY_DISABLED | BYTE_SYSTEM | BYTE_TRANSLATE;
	i8042->output = 0;
	i8042->output_port = 0xcc | OUTPUT_NOT_RESET | OUTPUT_A20;
	i8042->expecting = 0;
	line_update_locked(i8042);
	host_mutex_unlock(&i8042->lock);
}

static enum status i8042_after_load(void *object, uint32_t version, struct reason *why)
{
	struct i8042 *i8042 = object;

	(void)version;
	(void)why;
	host_mutex_lock(&i8042->lock);
	i8042->output_port |= OUTPUT_NOT_RESET;
	line_update_locked(i8042);
	host_mutex_unlock(&i8042->lock);
	return STATUS_OK;
}

static const struct state_field i8042_fields[] = {
	STATE_FIELD(struct i8042, status),      STATE_FIELD(struct i8042, command_byte), STATE_FIELD(struct i8042, output),
	STATE_FIELD(struct i8042, output_port), STATE_FIELD(struct i8042, expecting),
};
static const struct state_table i8042_state = {
	.name = "i8042",
	.version = 1,
	STATE_TABLE_FIELDS(i8042_fields),
	.after_load = i8042_after_load,
};

void i8042_init(struct i8042 *i8042, struct irq *irq, unsigned gsi, void (*reset)(void *machine), void *machine)
{
	__builtin_memset(i8042, 0, sizeof(*i8042));
	i8042->irq = irq;
	i8042->gsi = gsi;
	i8042->reset = reset;
	i8042->machine = machine;
	i8042->data = (struct bus_region){
		.name = "i8042-data",
		.length = 1,
		.lock = &i8042->lock,
		.read = data_read,
		.write = data_write,
		.device = i8042,
	};
	i8042->command = (struct bus_region){
		.name = "i8042-command",
		.length = 1,
		.lock = &i8042->lock,
		.read = command_read,
		.write = command_write,
		.device = i8042,
	};
	i8042->device = (struct device){.name = "i8042", .state = &i8042_state, .reset = i8042_reset, .object = i8042};
	i8042_reset(i8042);
}
