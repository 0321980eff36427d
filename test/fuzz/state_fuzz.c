/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state_fuzz.c - saved state from an attacker: hostile bytes are refused with a line, or make a machine that does no worse to Holon than a guest could.
 *
 * A test guest with timers and interrupts going is saved once. An input is either a stream of bytes as it is, or changes to the fields of the saved one,
 * whose checksums are made right again. Each is loaded into a machine that was made anew. What loads must save, and what it saved must load and save
 * the same; then the devices are resumed, ports and memory are touched, time passes and the vcpus run a while. RAM is put back afterwards.
 *
 * With clang it is libFuzzer's, see device_fuzz.c; HOLON_FUZZ_GUEST names the guest, build/test/guest/timer_test.elf; -len_control=0 -detect_leaks=0 are of
 * use. Else: `state_fuzz --guest GUEST
 * [--runs N] [--seed S] [FILE...]` replays files and makes inputs at random.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "board/pc_map.h"
#include "host/linux/linux.h"
#include "test/engine/machine.h"
#include "vm/vm_internal.h"

#define RICH_NS 30000000u /* what the guest has done by then is the saved state */
#define RUN_NS 20000u
#define DISK_BYTES (UINT64_C(1) << 20)
#define STATE_MAX (1u << 18)
#define FIELDS_MAX 4096
#define CPUS 2
#define DISKS 3

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

struct bytes {
	uint8_t byte[STATE_MAX];
	size_t length;
};

/* Where a field's elements lie in the saved state. */
struct place {
	uint32_t section, at, length;
};

static const char *guest; /* what runs before it is saved */
static struct machine *machine;
static struct bytes good, changed, saved, again;
static struct place place[FIELDS_MAX];
static unsigned places;
static uint8_t *ram_copy;
static uint64_t *dirty;
static struct timer bell;
static unsigned loads, refusals;

/* --- the machine --- */

static void disk_submit(struct block *block, struct block_request *list)
{
	(void)block;
	while (list) {
		struct block_request *request = list;

		list = request->next;
		for (unsigned i = 0; request->operation == BLOCK_READ && i < request->segments; i++)
			memset(request->segment[i].base, 0x5a, request->segment[i].length);
		request->done(request, STATUS_OK);
	}
}

static void disk_nothing(struct block *block)
{
	(void)block;
}

#define DISK                                                                                                                \
	{                                                                                                                   \
		.submit = disk_submit, .drain = disk_nothing, .close = disk_nothing, .size = DISK_BYTES, .block_size = 512, \
		.path = "disk"                                                                                              \
	}
static struct block disk[DISKS] = {DISK, DISK, DISK};

static void net_kick(struct net *net, unsigned pair)
{
	(void)net, (void)pair;
}

static void net_receives(struct net *net, unsigned offloads)
{
	(void)net, (void)offloads;
}

static struct net net = {.kick = net_kick, .receives = net_receives, .pairs = 1, .mtu = NET_MTU_DEFAULT};

/* One of each kind. */
static void backends_give(void)
{
	static const enum disk_bus bus[DISKS] = {DISK_VIRTIO, DISK_NVME, DISK_SATA};

	machine->config.disks = DISKS;
	for (unsigned i = 0; i < DISKS; i++) {
		machine->config.disk[i] = (struct disk_config){.path = "disk", .format = "raw", .bus = bus[i], .serial = "FUZZ"};
		machine->backends.disk[i] = &disk[i];
	}
	machine->config.nets = 1;
	machine->backends.net[0] = &net;
}

static void devices_each(bool resume)
{
	for (struct device *device = machine->vm.devices; device; device = device->next) {
		void (*call)(void *object) = resume ? device->resume : device->quiesce;

		if (call)
			call(device->object);
	}
}

static void bell_ring(void *unused)
{
	(void)unused;
	for (unsigned i = 0; i < CPUS; i++)
		vcpu_request(machine->vm.vcpu[i], VCPU_PAUSE);
}

static void rich_ring(void *unused)
{
	(void)unused;
	vm_end_request(&machine->vm, VM_END_POWER_OFF);
}

static void must(enum status status, const struct reason *why)
{
	if (!status)
		return;
	fprintf(stderr, "state_fuzz: %s\n", why->text[0] ? why->text : status_name(status));
	abort();
}

static void save(struct bytes *into)
{
	struct state_writer writer = {.bytes = into->byte, .capacity = sizeof(into->byte)};
	struct reason why = {""};

	must(vm_save(&machine->vm, &writer, &why), &why);
	if (writer.length > writer.capacity)
		abort();
	into->length = writer.length;
}

static enum status load(const struct bytes *from, struct reason *why)
{
	struct vm *vm = &machine->vm;
	struct state_reader reader = {.bytes = from->byte, .length = from->length};
	enum status status;

	vm_clock_mode_set(&vm->clock, CLOCK_PAUSED);
	vm_vcpus_destroy(vm);
	for (unsigned i = 0; i < CPUS; i++) {
		vcpu_forget(vm->vcpu[i]);
		atomic_store(&vm->vcpu[i]->requests, 0);
	}
	must(vm->devices_remake(vm->board, why), why);
	must(vm_vcpus_create(vm, why), why);
	status = vm_load(vm, &reader, why);
	vm->end = VM_END_NONE;
	vm->reset_wanted = false;
	return status;
}

/* --- what an input may change --- */

static uint32_t word_at(size_t at)
{
	uint32_t word;

	memcpy(&word, good.byte + at, 4);
	return word;
}

/* The layout is vm/state.c's. */
static void places_find(void)
{
	for (size_t section = 0; section < good.length;) {
		size_t at = section + 8, end = at + word_at(section + 4);
		uint32_t fields;

		at += 1u + good.byte[at] + 8;
		fields = word_at(at);
		at += 4;
		for (; fields; fields--) {
			unsigned kind, size;
			uint32_t count;

			at += 1u + good.byte[at];
			kind = good.byte[at];
			size = kind > 8 ? 1 : kind;
			count = word_at(at + 2);
			at += 6;
			if (places == FIELDS_MAX)
				abort();
			place[places++] = (struct place){(uint32_t)section, (uint32_t)at, count * size};
			at += (size_t)count * size;
		}
		if (at + 4 != end)
			abort();
		section = end;
	}
}

static uint32_t crc32c(const uint8_t *bytes, size_t length)
{
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < length; i++) {
		crc ^= bytes[i];
		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc & 1 ? crc >> 1 ^ 0x82f63b78u : crc >> 1;
	}
	return ~crc;
}

/* 12 bytes: a field, a place in it, how many bytes, their new values. */
struct change {
	uint16_t field, offset;
	uint8_t length;
	uint8_t value[7];
};

static void change_make(const struct change *change)
{
	const struct place *where = &place[change->field % places];
	uint32_t offset = change->offset % where->length, length = change->length % 7 + 1u, crc;
	size_t body = word_at(where->section + 4) + 4; /* section without its sum */

	if (length > where->length - offset)
		length = where->length - offset;
	memcpy(changed.byte + where->at + offset, change->value, length);
	crc = crc32c(changed.byte + where->section, body);
	memcpy(changed.byte + where->section + body, &crc, 4);
}

/* --- what happens to a machine that loads --- */

static void round_trip(void)
{
	struct reason why = {""};

	save(&saved);
	must(load(&saved, &why), &why);
	save(&again);
	if (saved.length != again.length || memcmp(saved.byte, again.byte, saved.length)) {
		for (size_t i = 0; i < saved.length; i++)
			if (saved.byte[i] != again.byte[i]) {
				for (unsigned k = 0; k < places; k++)
					if (i >= place[k].at && i < place[k].at + place[k].length)
						fprintf(stderr, "state_fuzz: byte %zu of %.20s, field behind %.30s\n",
							i - place[k].at, good.byte + place[k].section + 9,
							good.byte + place[k].at - 36);
				break;
			}
		fprintf(stderr, "state_fuzz: what was loaded is saved as something else\n");
		abort();
	}
}

static void touch(uint64_t dice)
{
	static const uint16_t port[] = {0x20, 0x21, 0xa1, 0x40,  0x42,  0x43,  0x61,  0x70,  0x71,
					0x60, 0x64, 0x92, 0x3f8, 0x3fa, 0x3fd, 0x608, 0x620, 0xcfc};
	struct vm *vm = &machine->vm;
	uint64_t value;

	for (unsigned i = 0; i < sizeof(port) / sizeof(port[0]); i++) {
		bus_read(&vm->ports, port[i], 1, &value);
		bus_write(&vm->ports, port[i], 1, (uint8_t)(dice >> i));
	}
	bus_read(&vm->mmio, PC_HPET + (dice & 0x1f8), 8, &value);
	bus_write(&vm->mmio, PC_HPET + (dice & 0x1f8), 8, dice);
	bus_write(&vm->mmio, PC_IOAPIC, 4, dice & 0x3f);
	bus_write(&vm->mmio, PC_IOAPIC + 0x10, 4, dice >> 7);
	for (unsigned i = 0; i < 32; i++)
		bus_read(&vm->mmio, PC_ECAM + (uint64_t)i * 0x8000 + 0x10, 4, &value);
}

static void run(uint64_t dice)
{
	struct vm *vm = &machine->vm;

	devices_each(true);
	vm_clock_mode_set(&vm->clock, CLOCK_COUNTED);
	touch(dice);
	timer_set(&bell, vm_clock_ns(&vm->clock) + RUN_NS);
	for (unsigned i = 0; i < CPUS; i++)
		for (unsigned rounds = 0; rounds < 100 && !(atomic_load(&vm->vcpu[i]->requests) & (VCPU_PAUSE | VCPU_STOP));
		     rounds++)
			if (vm->engine->vcpu_run(vm->vcpu[i]) != RUN_KICKED && !vm_clock_skip_idle(&vm->clock))
				break;
	timer_cancel(&bell);
	vm_clock_mode_set(&vm->clock, CLOCK_PAUSED);
	devices_each(false);
	for (struct device *device = vm->devices; device; device = device->next)
		if (device->reset)
			device->reset(device->object);
}

static void ram_restore(void)
{
	struct guest_memory *memory = &machine->vm.memory;
	uint64_t pages = memory->size >> GUEST_PAGE_SHIFT;

	guest_memory_dirty_collect(memory, dirty);
	for (uint64_t page = 0; page < pages; page++)
		if (dirty[page / 64] >> page % 64 & 1)
			memcpy(memory->base + page * GUEST_PAGE_SIZE, ram_copy + page * GUEST_PAGE_SIZE, GUEST_PAGE_SIZE);
	memset(dirty, 0, pages / 8);
}

/* For the leak checker, which does not look into the board's memory. */
static void finish(void)
{
	machine_destroy(machine);
	free(ram_copy);
	free(dirty);
}

static void prepare(void)
{
	struct guest_memory *memory;
	struct timer rich;
	struct reason why = {""};

	if (!guest)
		guest = getenv("HOLON_FUZZ_GUEST");
	setenv("HOLON_LOG", "error", 0);
	host_log_start();
	machine = machine_describe("interp", guest, "cpus=2", CPUS);
	machine->config.memory = UINT64_C(16) << 20;
	machine->config.deterministic = true;
	backends_give();
	machine_create(machine);
	atexit(finish);
	timer_init(&rich, &machine->vm.clock, rich_ring, NULL);
	timer_set(&rich, RICH_NS);
	must(vm_start(&machine->vm, &why), &why);
	vm_wait(&machine->vm);
	timer_cancel(&rich);
	devices_each(false);
	timer_init(&bell, &machine->vm.clock, bell_ring, NULL);
	save(&good);
	places_find();
	memory = &machine->vm.memory;
	ram_copy = malloc(memory->size);
	dirty = calloc(1, memory->size >> GUEST_PAGE_SHIFT >> 3);
	memcpy(ram_copy, memory->base, memory->size);
	must(guest_memory_dirty_start(memory), &why);
	must(load(&good, &why), &why);
	round_trip();
	if (saved.length != good.length || memcmp(saved.byte, good.byte, good.length))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct reason why = {""};
	struct change change;
	uint64_t dice = 0;

	if (!machine)
		prepare();
	if (length < 9 || length > STATE_MAX)
		return 0;
	memcpy(&dice, bytes + 1, 8);
	changed = good;
	if (bytes[0] % 16 == 0) {
		changed.length = length - 9;
		memcpy(changed.byte, bytes + 9, length - 9);
	} else if (bytes[0] % 16 == 1) {
		changed.length = dice % good.length;
	} else {
		for (size_t at = 9; at + sizeof(change) <= length; at += sizeof(change)) {
			memcpy(&change, bytes + at, sizeof(change));
			change_make(&change);
		}
	}
	if (load(&changed, &why)) {
		refusals++;
		if (!why.text[0] || strchr(why.text, '\n'))
			abort();
	} else {
		loads++;
		if (bytes[0] % 16 < 2)
			abort(); /* nobody makes a whole state out of nothing, and none is whole without its end */
		round_trip();
		run(dice);
	}
	ram_restore();
	return 0;
}

#ifndef HOLON_LIBFUZZER
static uint64_t seed;

static uint64_t random_next(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * UINT64_C(0x2545f4914f6cdd1d);
}

/* A few changes: mostly small numbers, all ones and single bits, where trouble lives. */
static void input_make(uint8_t *input, size_t *length)
{
	unsigned changes = (unsigned)(random_next() >> 40) % 4;

	*length = 9 + changes * sizeof(struct change);
	for (size_t i = 0; i < *length; i++) {
		uint64_t dice = random_next();

		input[i] = (uint8_t)(i < 9 || (i - 9) % sizeof(struct change) < 5 ? dice >> 50
				     : dice >> 62 == 0                            ? 0
				     : dice >> 62 == 1                            ? 0xff
				     : dice >> 62 == 2                            ? 1u << (dice >> 40 & 7)
										  : dice >> 50);
	}
}

static void replay(const char *path)
{
	static uint8_t bytes[STATE_MAX];
	FILE *file = fopen(path, "rb");
	size_t length;

	if (!file) {
		perror(path);
		exit(66);
	}
	length = fread(bytes, 1, sizeof(bytes), file);
	fclose(file);
	LLVMFuzzerTestOneInput(bytes, length);
}

int main(int count, char **arguments)
{
	uint64_t runs = 0, first;
	uint8_t input[9 + 4 * sizeof(struct change)];
	size_t length;

	seed = host_time_ns();
	for (int i = 1; i < count; i++) {
		if (!strcmp(arguments[i], "--runs") && i + 1 < count)
			runs = strtoull(arguments[++i], NULL, 0);
		else if (!strcmp(arguments[i], "--seed") && i + 1 < count)
			seed = strtoull(arguments[++i], NULL, 0);
		else if (!strcmp(arguments[i], "--guest") && i + 1 < count)
			guest = arguments[++i];
		else
			replay(arguments[i]);
	}
	first = seed;
	printf("# seed %llu\n", (unsigned long long)first);
	fflush(stdout);
	for (uint64_t i = 0; i < runs; i++) {
		input_make(input, &length);
		LLVMFuzzerTestOneInput(input, length);
	}
	if (runs)
		printf("%sok 1 - %llu hostile states: %u load and run, %u are refused\n1..1\n", loads && refusals ? "" : "not ",
		       (unsigned long long)runs, loads, refusals);
	return runs && !(loads && refusals);
}
#endif
