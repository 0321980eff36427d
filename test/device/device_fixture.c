/* SPDX-License-Identifier: Apache-2.0 */
/*
 * device_fixture.c - a machine without a CPU around one device. See device_fixture.h.
 */
#include "test/device/device_fixture.h"

#define STATE_SIZE 8192

static void line_heard(void *chip, unsigned gsi, bool level)
{
	struct fixture *fixture = chip;

	if (level && !fixture->level[gsi])
		fixture->rises[gsi]++;
	fixture->level[gsi] = level;
}

static void msi_heard(void *owner, uint64_t address, uint32_t data)
{
	struct fixture *fixture = owner;
	unsigned slot = fixture->msis++ % FIXTURE_MSIS;

	fixture->msi[slot].address = address;
	fixture->msi[slot].data = data;
}

void fixture_init(struct fixture *fixture)
{
	memset(fixture, 0, sizeof(*fixture));
	assert_int_equal(vm_clock_init(&fixture->clock, 1000000), STATUS_OK);
	vm_clock_mode_set(&fixture->clock, CLOCK_COUNTED);
	fixture->clock.wall_offset_ns = FIXTURE_WALL_NS;
	fixture->irq.sink[0].set = line_heard;
	fixture->irq.sink[0].chip = fixture;
	fixture->irq.sinks = 1;
	fixture->irq.msi = msi_heard;
	fixture->irq.msi_owner = fixture;
	bus_init(&fixture->ports, "ports");
	bus_init(&fixture->mmio, "mmio");
}

void fixture_place(struct bus *bus, struct bus_region *region, uint64_t base)
{
	region->base = base;
	assert_int_equal(bus_enable(bus, region), STATUS_OK);
}

void fixture_run(struct fixture *fixture, uint64_t ns)
{
	uint64_t now = vm_clock_ns(&fixture->clock), end = now + ns;

	while (now < end) {
		uint64_t next = fixture->clock.next_deadline_ns;

		if (next <= end)
			fixture->wakeups++;
		next = next < end ? next : end;
		vm_clock_count(&fixture->clock, next > now ? next - now : 0);
		now = vm_clock_ns(&fixture->clock);
	}
	vm_clock_count(&fixture->clock, 0);
}

uint64_t fixture_in(struct fixture *fixture, uint64_t port, unsigned size)
{
	uint64_t value;

	assert_true(bus_read(&fixture->ports, port, size, &value));
	return value;
}

void fixture_out(struct fixture *fixture, uint64_t port, unsigned size, uint64_t value)
{
	assert_true(bus_write(&fixture->ports, port, size, value));
}

uint64_t fixture_load(struct fixture *fixture, uint64_t gpa, unsigned size)
{
	uint64_t value;

	assert_true(bus_read(&fixture->mmio, gpa, size, &value));
	return value;
}

void fixture_store(struct fixture *fixture, uint64_t gpa, unsigned size, uint64_t value)
{
	assert_true(bus_write(&fixture->mmio, gpa, size, value));
}

static size_t save(const struct device *device, uint8_t *bytes)
{
	struct state_writer writer = {.bytes = bytes, .capacity = STATE_SIZE};

	state_save(&writer, device->state, device->instance, device->object);
	assert_true(writer.length <= STATE_SIZE);
	return writer.length;
}

void fixture_carry_over(const struct device *from, const struct device *into)
{
	static uint8_t first[STATE_SIZE], second[STATE_SIZE];
	struct state_reader reader = {.bytes = first};
	struct reason why = {{0}};

	reader.length = save(from, first);
	assert_int_equal(state_load(&reader, into->state, into->instance, into->object, &why), STATUS_OK);
	assert_int_equal(reader.position, reader.length);
	assert_int_equal(save(into, second), reader.length);
	assert_memory_equal(first, second, reader.length);
}

/* Writes rubbish over the saved fields behind the loader's back, as a stream with a good checksum could. */
static void field_spoil(const struct state_field *field, uint8_t *object)
{
	unsigned size = field->kind == STATE_BYTES || field->kind == STATE_BOOL ? 1 : field->kind;

	for (unsigned i = 0; i < field->count; i++) {
		uint64_t value = fixture_random();

		if (fixture_random() & 1)
			value = fixture_random() & 1 ? value & 7 : UINT64_MAX;
		if (field->kind == STATE_BOOL)
			value &= 1;
		memcpy(object + field->offset + (size_t)i * field->stride, &value, size);
	}
}

void fixture_load_rubbish(const struct device *device, unsigned count)
{
	struct reason why;

	for (unsigned i = 0; i < count; i++) {
		for (unsigned field = 0; field < device->state->fields; field++)
			field_spoil(&device->state->field[field], device->object);
		if (device->state->after_load)
			(void)!device->state->after_load(device->object, device->state->version, &why);
	}
	device->reset(device->object);
}

uint64_t fixture_random(void)
{
	static uint64_t state = 0x484f4c4f4eu;
	uint64_t value = state += UINT64_C(0x9e3779b97f4a7c15);

	value = (value ^ value >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	value = (value ^ value >> 27) * UINT64_C(0x94d049bb133111eb);
	return value ^ value >> 31;
}

void fixture_hammer(struct fixture *fixture, struct bus *bus, uint64_t base, uint64_t length, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		uint64_t dice = fixture_random(), value = fixture_random();
		unsigned size = 1u << (dice & 3);
		uint64_t address = base + (dice >> 8) % length;

		if (dice >> 4 & 1)
			value &= 0xff;
		if (dice >> 5 & 1)
			bus_write(bus, address, size, value);
		else
			bus_read(bus, address, size, &value);
		if ((dice >> 40 & 31) == 0)
			fixture_run(fixture, fixture_random() % (dice >> 48 & 1 ? 200 * MS : 10000));
	}
}
