/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machine.c - see machine.h.
 */
#include <stdlib.h>
#include <string.h>

#include "machine.h"

static void message_note(void *owner, uint64_t address, uint32_t data)
{
	struct machine *machine = owner;

	(void)address;
	machine->messages[data & 0xff]++;
	machine->message_total++;
}

static void level_note(void *chip, unsigned gsi, bool level)
{
	struct machine *machine = chip;

	machine->level[gsi] = level;
}

static void reset_note(void *owner)
{
	struct machine *machine = owner;

	machine->resets++;
}

static void pmbase_note(void *owner, uint16_t base, bool enabled)
{
	struct machine *machine = owner;

	machine->pmbase = base;
	machine->pm_enabled = enabled;
}

void machine_create(struct machine *machine)
{
	struct pci_host_wiring wiring = {.ports = &machine->ports,
					 .mmio = &machine->mmio,
					 .irq = &machine->irq,
					 .ecam_base = MACHINE_ECAM,
					 .reset = reset_note,
					 .owner = machine};
	struct pci_lpc_wiring lpc = {.pmbase = 0x600, .pmbase_set = pmbase_note, .owner = machine};

	memset(machine, 0, sizeof(*machine));
	machine->random = 0x9e3779b97f4a7c15;
	machine->ram = aligned_alloc(4096, MACHINE_RAM + 4096);
	memset(machine->ram, 0, MACHINE_RAM + 4096);
	assert_int_equal(guest_memory_init(&machine->memory, machine->ram, MACHINE_RAM + 4096), STATUS_OK);
	/* The first half of RAM is behind the second in the host: a buffer over the seam is two segments. */
	assert_int_equal(guest_memory_slot_add(&machine->memory, 0, MACHINE_SEAM, MACHINE_SEAM, false), STATUS_OK);
	assert_int_equal(guest_memory_slot_add(&machine->memory, MACHINE_SEAM, MACHINE_SEAM, 0, false), STATUS_OK);
	assert_int_equal(guest_memory_slot_add(&machine->memory, MACHINE_ROM, 4096, MACHINE_RAM, true), STATUS_OK);
	assert_int_equal(vm_clock_init(&machine->clock, 1000000), STATUS_OK);
	vm_clock_mode_set(&machine->clock, CLOCK_COUNTED);
	bus_init(&machine->ports, "ports");
	bus_init(&machine->mmio, "mmio");
	machine->irq.sink[0].set = level_note;
	machine->irq.sink[0].chip = machine;
	machine->irq.sinks = 1;
	machine->irq.msi = message_note;
	machine->irq.msi_owner = machine;
	for (unsigned device = 0; device < 32; device++)
		for (unsigned pin = 0; pin < 4; pin++)
			wiring.pirq[device][pin] = (uint8_t)((device + pin) & 7);
	for (unsigned i = 0; i < PCI_PIRQS; i++)
		wiring.gsi[i] = (uint8_t)(16 + i);
	assert_int_equal(pci_host_create(&machine->host, &wiring), STATUS_OK);
	assert_int_equal(pci_lpc_create(&machine->lpc, machine->host, &lpc), STATUS_OK);
	machine->host->device.reset(machine->host);
	machine->lpc->device.reset(machine->lpc);
}

void machine_destroy(struct machine *machine)
{
	pci_lpc_destroy(machine->lpc);
	pci_host_destroy(machine->host);
	vm_clock_destroy(&machine->clock);
	guest_memory_destroy(&machine->memory);
	free(machine->ram);
}

uint64_t machine_random(struct machine *machine)
{
	machine->random ^= machine->random << 13;
	machine->random ^= machine->random >> 7;
	machine->random ^= machine->random << 17;
	return machine->random;
}

uint32_t config_read(struct machine *machine, unsigned bus, uint8_t devfn, unsigned offset, unsigned size)
{
	uint64_t value;

	bus_write(&machine->ports, 0xcf8, 4, 0x80000000u | bus << 16 | (uint32_t)devfn << 8 | (offset & 0xfc));
	bus_read(&machine->ports, 0xcfc + (offset & 3), size, &value);
	return (uint32_t)value;
}

void config_write(struct machine *machine, unsigned bus, uint8_t devfn, unsigned offset, unsigned size, uint32_t value)
{
	bus_write(&machine->ports, 0xcf8, 4, 0x80000000u | bus << 16 | (uint32_t)devfn << 8 | (offset & 0xfc));
	bus_write(&machine->ports, 0xcfc + (offset & 3), size, value);
}

uint64_t mmio_read(struct machine *machine, uint64_t address, unsigned size)
{
	uint64_t value;

	bus_read(&machine->mmio, address, size, &value);
	return value;
}

void mmio_write(struct machine *machine, uint64_t address, unsigned size, uint64_t value)
{
	bus_write(&machine->mmio, address, size, value);
}

void bus_check(const struct bus *bus)
{
	for (unsigned i = 1; i < bus->count; i++)
		assert_true(bus->sorted[i - 1]->base + bus->sorted[i - 1]->length <= bus->sorted[i]->base);
}

struct state_writer device_saved(const struct device *device)
{
	struct state_writer writer = {0};

	state_save(&writer, device->state, device->instance, device->object);
	writer.capacity = writer.length;
	writer.length = 0;
	writer.bytes = malloc(writer.capacity);
	state_save(&writer, device->state, device->instance, device->object);
	assert_int_equal(writer.length, writer.capacity);
	return writer;
}

void device_saves_and_loads(const struct device *device)
{
	struct state_writer before = device_saved(device), after;
	struct state_reader reader = {before.bytes, before.length, 0};
	struct reason why = {""};

	device->reset(device->object);
	if (state_load(&reader, device->state, device->instance, device->object, &why) != STATUS_OK)
		fail_msg("%s does not load: %s", device->name, why.text);
	after = device_saved(device);
	assert_int_equal(before.length, after.length);
	assert_memory_equal(before.bytes, after.bytes, before.length);
	free(before.bytes);
	free(after.bytes);
}

static enum status disk_serve(struct test_disk *disk, struct block_request *request)
{
	uint64_t at = request->offset;

	disk->count[request->operation]++;
	if (disk->fail)
		return disk->fail;
	for (unsigned i = 0; i < request->segments; i++) {
		struct block_segment *segment = &request->segment[i];

		if (request->operation == BLOCK_READ)
			memcpy(segment->base, disk->data + at, segment->length);
		else
			memcpy(disk->data + at, segment->base, segment->length);
		at += segment->length;
	}
	if (request->operation == BLOCK_DISCARD || request->operation == BLOCK_WRITE_ZEROES)
		memset(disk->data + request->offset, 0, request->length);
	return STATUS_OK;
}

static void disk_submit(struct block *block, struct block_request *list)
{
	struct test_disk *disk = (struct test_disk *)block;
	struct block_request **end = &disk->first;

	while (*end)
		end = &(*end)->next;
	*end = list;
	for (; list; list = list->next)
		disk->waiting++;
	while (!disk->deferred && disk->first)
		disk_complete(disk);
}

void disk_complete(struct test_disk *disk)
{
	struct block_request *request = disk->first;

	assert_non_null(request);
	disk->first = request->next;
	disk->waiting--;
	request->done(request, disk_serve(disk, request));
}

static void disk_drain(struct block *block)
{
	struct test_disk *disk = (struct test_disk *)block;

	while (disk->first)
		disk_complete(disk);
}

void disk_create(struct test_disk *disk, uint64_t size, bool readonly)
{
	*disk = (struct test_disk){.data = calloc(1, size)};
	disk->block = (struct block){.submit = disk_submit,
				     .drain = disk_drain,
				     .size = size,
				     .block_size = 512,
				     .discard_granularity = 4096,
				     .readonly = readonly,
				     .path = "memory"};
}

void disk_destroy(struct test_disk *disk)
{
	free(disk->data);
}

static uint64_t driver_place(struct driver *driver, unsigned bar, uint64_t base)
{
	unsigned place = PCI_BAR0 + 4 * bar;
	uint32_t flags = config_read(driver->machine, driver->bus, driver->devfn, place, 4), mask;

	config_write(driver->machine, driver->bus, driver->devfn, place, 4, UINT32_MAX);
	mask = config_read(driver->machine, driver->bus, driver->devfn, place, 4) & ~15u;
	assert_int_not_equal(mask, 0);
	base = (base + ~mask) & mask;
	config_write(driver->machine, driver->bus, driver->devfn, place, 4, (uint32_t)base);
	if ((flags & 6) == 4)
		config_write(driver->machine, driver->bus, driver->devfn, place + 4, 4, (uint32_t)(base >> 32));
	return base;
}

static void driver_msix_open(struct driver *driver, unsigned place)
{
	struct machine *machine = driver->machine;
	unsigned vectors = (config_read(machine, driver->bus, driver->devfn, place + 2, 2) & 0x7ff) + 1;

	config_write(machine, driver->bus, driver->devfn, place + 2, 2, 0x8000);
	for (unsigned i = 0; i < vectors; i++) {
		mmio_write(machine, driver->msix + 16 * i, 4, 0xfee00000);
		mmio_write(machine, driver->msix + 16 * i + 4, 4, 0);
		mmio_write(machine, driver->msix + 16 * i + 8, 4, i + 1 == vectors ? DRIVER_CONFIG_VECTOR : DRIVER_MSIX_VECTOR(i));
		mmio_write(machine, driver->msix + 16 * i + 12, 4, 0);
	}
	mmio_write(machine, driver->common + 0x10, 2, vectors - 1);
}

void driver_attach(struct driver *driver, struct machine *machine, unsigned bus, uint8_t devfn, uint64_t base, bool msix)
{
	unsigned place, msix_place = 0;
	uint64_t area;

	*driver = (struct driver){.machine = machine, .bus = bus, .devfn = devfn};
	assert_int_equal(config_read(machine, bus, devfn, PCI_VENDOR_ID, 2), 0x1af4);
	driver->msix = driver_place(driver, 1, base);
	area = driver_place(driver, 4, driver->msix + 0x1000);
	config_write(machine, bus, devfn, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	for (place = config_read(machine, bus, devfn, PCI_CAPABILITY_POINTER, 1); place;
	     place = config_read(machine, bus, devfn, place + 1, 1)) {
		uint64_t at = area + config_read(machine, bus, devfn, place + 8, 4);

		if (config_read(machine, bus, devfn, place, 1) == PCI_CAPABILITY_MSIX)
			msix_place = place;
		if (config_read(machine, bus, devfn, place, 1) != PCI_CAPABILITY_VENDOR)
			continue;
		switch (config_read(machine, bus, devfn, place + 3, 1)) {
		case 1: driver->common = at; break;
		case 2: driver->notify = at; break;
		case 3: driver->isr = at; break;
		case 4: driver->device = at; break;
		default: break;
		}
	}
	assert_true(driver->common && driver->notify && driver->isr && msix_place);
	if (msix)
		driver_msix_open(driver, msix_place);
}

uint8_t driver_status(struct driver *driver)
{
	return (uint8_t)mmio_read(driver->machine, driver->common + 0x14, 1);
}

void driver_status_set(struct driver *driver, uint8_t status)
{
	mmio_write(driver->machine, driver->common + 0x14, 1, status);
}

uint64_t driver_features(struct driver *driver)
{
	uint64_t features;

	mmio_write(driver->machine, driver->common, 4, 0);
	features = mmio_read(driver->machine, driver->common + 4, 4);
	mmio_write(driver->machine, driver->common, 4, 1);
	return features | mmio_read(driver->machine, driver->common + 4, 4) << 32;
}

bool driver_negotiate(struct driver *driver, uint64_t features)
{
	uint16_t config_vector = (uint16_t)mmio_read(driver->machine, driver->common + 0x10, 2);

	driver_status_set(driver, 0);
	assert_int_equal(driver_status(driver), 0);
	mmio_write(driver->machine, driver->common + 0x10, 2, config_vector);
	driver_status_set(driver, 1);
	driver_status_set(driver, 3);
	for (unsigned half = 0; half < 2; half++) {
		mmio_write(driver->machine, driver->common + 8, 4, half);
		mmio_write(driver->machine, driver->common + 12, 4, (uint32_t)(features >> (32 * half)));
	}
	driver_status_set(driver, 11);
	return driver_status(driver) & 8;
}

void driver_queue_enable(struct driver *driver, unsigned index, uint16_t size, uint64_t gpa)
{
	struct driver_queue *queue = &driver->queue[index];
	struct machine *machine = driver->machine;

	*queue = (struct driver_queue){.index = (uint16_t)index,
				       .size = size,
				       .descriptor = gpa,
				       .available = gpa + 16u * size,
				       .used = (gpa + 18u * size + 6 + 63) & ~UINT64_C(63)};
	for (uint64_t zero = gpa; zero < queue->used + 6 + 8u * size; zero += 2)
		assert_int_equal(guest_memory_write(&machine->memory, zero, "\0", 2), STATUS_OK);
	mmio_write(machine, driver->common + 0x16, 2, index);
	mmio_write(machine, driver->common + 0x18, 2, size);
	mmio_write(machine, driver->common + 0x1a, 2, index);
	mmio_write(machine, driver->common + 0x20, 4, (uint32_t)queue->descriptor);
	mmio_write(machine, driver->common + 0x24, 4, queue->descriptor >> 32);
	mmio_write(machine, driver->common + 0x28, 8, queue->available);
	mmio_write(machine, driver->common + 0x30, 8, queue->used);
	mmio_write(machine, driver->common + 0x1c, 2, 1);
}

void driver_go(struct driver *driver)
{
	driver_status_set(driver, 15);
}

static void ram_put(struct driver *driver, uint64_t gpa, const void *bytes, size_t length)
{
	assert_int_equal(guest_memory_write(&driver->machine->memory, gpa, bytes, length), STATUS_OK);
}

void driver_descriptor(struct driver *driver, unsigned queue, unsigned index, uint64_t gpa, uint32_t length, uint16_t flags,
		       uint16_t next)
{
	struct {
		uint64_t gpa;
		uint32_t length;
		uint16_t flags, next;
	} descriptor = {gpa, length, flags, next};

	ram_put(driver, driver->queue[queue].descriptor + 16 * index, &descriptor, sizeof(descriptor));
}

void driver_notify(struct driver *driver, unsigned queue)
{
	mmio_write(driver->machine, driver->notify + 4 * queue, 2, queue);
}

void driver_offer(struct driver *driver, unsigned index, uint16_t head)
{
	struct driver_queue *queue = &driver->queue[index];
	uint16_t *available;

	ram_put(driver, queue->available + 4 + 2 * (queue->next_available % queue->size), &head, 2);
	queue->next_available++;
	available = (uint16_t *)(void *)guest_memory_write_begin(&driver->machine->memory, queue->available + 2, 2);
	__atomic_store_n(available, queue->next_available, __ATOMIC_RELEASE);
	driver_notify(driver, index);
}

static void flood_fill(struct driver *driver)
{
	struct driver_queue *queue = &driver->queue[driver->flood_queue];
	uint16_t used;

	assert_int_equal(guest_memory_read(&driver->machine->memory, queue->used + 2, &used, 2), STATUS_OK);
	queue->next_available = (uint16_t)(used + queue->size);
	ram_put(driver, queue->available + 2, &queue->next_available, 2);
}

static void flood_note(void *owner, uint64_t address, uint32_t data)
{
	struct driver *driver = owner;

	message_note(driver->machine, address, data);
	if (!driver->flood_left || (data & 0xff) != DRIVER_MSIX_VECTOR(driver->flood_queue))
		return;
	driver->flood_left--;
	flood_fill(driver);
}

void driver_flood(struct driver *driver, unsigned index)
{
	static const uint16_t first[256];

	ram_put(driver, driver->queue[index].available + 4, first, 2 * (size_t)driver->queue[index].size);
	driver->flood_queue = index;
	driver->flood_left = DRIVER_FLOOD;
	driver->machine->irq.msi = flood_note;
	driver->machine->irq.msi_owner = driver;
	flood_fill(driver);
	driver_notify(driver, index);
}

unsigned driver_flood_left(const struct driver *driver)
{
	return driver->flood_left;
}

void driver_flood_ends(struct driver *driver, unsigned index, unsigned most)
{
	unsigned left;

	driver_flood(driver, index);
	left = driver_flood_left(driver);
	assert_in_range(left, DRIVER_FLOOD - most, DRIVER_FLOOD - 1);
	vm_clock_count(&driver->machine->clock, 1000000);
	assert_in_range(driver_flood_left(driver), left - most, left - 1);
}

bool driver_take(struct driver *driver, unsigned index, uint32_t *id, uint32_t *length)
{
	struct driver_queue *queue = &driver->queue[index];
	const uint16_t *used = (const uint16_t *)(const void *)guest_memory_at(&driver->machine->memory, queue->used + 2, 2);
	uint32_t element[2];

	if (__atomic_load_n(used, __ATOMIC_ACQUIRE) == queue->seen_used)
		return false;
	assert_int_equal(
		guest_memory_read(&driver->machine->memory, queue->used + 4 + 8 * (queue->seen_used % queue->size), element, 8),
		STATUS_OK);
	queue->seen_used++;
	*id = element[0];
	*length = element[1];
	return true;
}
