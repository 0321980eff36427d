/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lockstep_test.c - two engines run the same guest with a clock that counts instructions; every INTERVAL of its nanoseconds both stand at the same
 * instruction and are compared: all registers, what was printed, and, every so often, all of RAM.
 *
 *     lockstep_test [--clock events] [--window] [--cache BYTES] [--cpu MODEL] [--disk PATH] [--engines A,B] [--interval N] [--ram N] [--limit N] [--from N] KERNEL [INITRD [CMDLINE]]
 *
 * --clock events: engines do not count instructions, so the JIT's code has the shape that it has for users. Time passes at what the guest does to the world
 * alone, so much for each access to a device and each reading of the TSC, and jumps to the next timer while it is halted: still a function of the
 * instructions, and whatever an event makes pending is taken behind the very instruction that did it. Meetings are there too.
 * --cache: of translated code; a small one has its regions dropped all the time.
 * --window: all programs and the kernel have windows (engine/jit/window.h), the latter if the model has SMAP.
 * --disk: a copy of the file in memory for each; its requests are done before their submission returns. --ram: RAM every N meetings. --limit: ends after so many nanoseconds, well. --from: no meeting before, to look closely at a place. A difference prints
 * both states and ends with status 1. One vcpu: everything that happens is a function of the instructions.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/attend.h"
#include "test/engine/machine.h"
#include "x86/state.h"

#define PATIENCE_S 120
#define WALL_NS UINT64_C(1700000000000000000) /* under --clock events: what time it is, for all who look */

static const char *engine_name[2] = {"interp", "jit"};
static uint64_t interval = 100 * VM_CLOCK_QUANTUM, ram_every = 100, limit = UINT64_MAX, from, cache;
static struct machine *machines[2];
static struct timer meeting[2];
static enum jit_window window;
static const char *cpu_model = "x86-64-v3";
static uint64_t meetings, compared_ram;
static bool different, events;
static const char *disk_path;
static _Atomic bool meeting_wanted[2]; /* events: at the end of this instruction */

/* Both vcpus' threads come; the last one compares while the other waits. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static unsigned arrived, round_number;
static bool over;

/* In host_random's place (meson.build): RDRAND, RDSEED and virtio-rng, all on the vcpu's thread. The same for both. */
void __wrap_host_random(void *buffer, size_t size);
void __wrap_host_random(void *buffer, size_t size)
{
	static _Thread_local uint64_t state = UINT64_C(0x9e3779b97f4a7c15);
	uint8_t *bytes = buffer;

	for (size_t i = 0; i < size; i++) {
		state = state * UINT64_C(6364136223846793005) + 1442695040888963407;
		bytes[i] = (uint8_t)(state >> 56);
	}
}

static void state_get(unsigned side, struct x86_state *state)
{
	memset(state, 0, sizeof(*state));
	if (machines[side]->vm.engine->vcpu_get(machines[side]->vm.vcpu[0], state))
		abort();
}

static void state_print(const char *name, const struct x86_state *s)
{
	static const char *const gpr[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					    "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};

	printf("# %s: rip %#llx rflags %#llx cr2 %#llx cr3 %#llx cs %#x activity %u mxcsr %#x\n", name, (unsigned long long)s->rip,
	       (unsigned long long)s->rflags, (unsigned long long)s->cr2, (unsigned long long)s->cr3, s->segment[X86_CS].selector,
	       s->activity, s->x87.mxcsr);
	for (unsigned i = 0; i < 16; i++)
		printf("%s%s %016llx%s", i % 4 ? " " : "#   ", gpr[i], (unsigned long long)s->gpr[i], i % 4 == 3 ? "\n" : "");
}

static bool states_equal(uint64_t now)
{
	static struct x86_state state[2];

	for (unsigned i = 0; i < 2; i++)
		state_get(i, &state[i]);
	if (!memcmp(&state[0], &state[1], sizeof(state[0])))
		return true;
	for (unsigned i = 0; i < sizeof(state[0]); i++)
		if (((const uint8_t *)&state[0])[i] != ((const uint8_t *)&state[1])[i]) {
			printf("# at %llu ns: states differ, first at byte %u of struct x86_state\n", (unsigned long long)now, i);
			break;
		}
	for (unsigned i = 0; i < 2; i++)
		state_print(engine_name[i], &state[i]);
	return false;
}

static bool ram_equal(uint64_t now)
{
	unsigned shown = 0;

	compared_ram++;
	if (!memcmp(machines[0]->ram, machines[1]->ram, machines[0]->config.memory))
		return true;
	for (uint64_t at = 0; at < machines[0]->config.memory && shown < 8; at += 8) {
		uint64_t word[2];

		for (unsigned i = 0; i < 2; i++)
			memcpy(&word[i], machines[i]->ram + at, 8);
		if (word[0] != word[1])
			printf("# at %llu ns: RAM %#llx: %016llx %016llx\n", (unsigned long long)now, (unsigned long long)at,
			       (unsigned long long)word[0], (unsigned long long)word[1]),
				shown++;
	}
	return false;
}

static bool compare(uint64_t now[2])
{
	size_t length = machines[0]->output_length;

	if (now[0] != now[1]) {
		printf("# one clock says %llu, the other %llu\n", (unsigned long long)now[0], (unsigned long long)now[1]);
		return false;
	}
	if (length != machines[1]->output_length || memcmp(machines[0]->output, machines[1]->output, length)) {
		printf("# at %llu ns: they printed different things\n", (unsigned long long)now[0]);
		return false;
	}
	return states_equal(now[0]) && (meetings % ram_every || ram_equal(now[0]));
}

/* On a vcpu's thread, between two instructions. */
static void meet_now(void *argument)
{
	static uint64_t now[2];
	unsigned side = (unsigned)(uintptr_t)argument, mine;
	struct vm_clock *clock = &machines[side]->vm.clock;
	struct timespec until;

	pthread_mutex_lock(&lock);
	now[side] = vm_clock_ns(clock);
	mine = round_number;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += PATIENCE_S;
	if (++arrived == 2) {
		arrived = 0;
		round_number++;
		meetings++;
		if (!different && !compare(now))
			different = true;
		over |= different || now[0] >= limit;
		pthread_cond_broadcast(&changed);
	} else {
		while (mine == round_number && !over)
			if (pthread_cond_timedwait(&changed, &lock, &until)) {
				printf("# %s is at %llu ns and the other does not come\n", engine_name[side],
				       (unsigned long long)now[side]);
				different = over = true;
				pthread_cond_broadcast(&changed);
			}
	}
	pthread_mutex_unlock(&lock);
	if (over)
		vm_end_request(&machines[side]->vm, VM_END_POWER_OFF);
	else
		timer_set(&meeting[side], now[side] + interval);
}

static void meet(void *argument)
{
	unsigned side = (unsigned)(uintptr_t)argument;

	if (!events) {
		meet_now(argument);
		return;
	}
	/* In the middle of an instruction, or while the vcpu is halted. */
	meeting_wanted[side] = true;
	vcpu_interrupt(machines[side]->vm.vcpu[0]);
}

static unsigned side_of(const struct vcpu *vcpu)
{
	return machines[1] && vcpu->vm == &machines[1]->vm;
}

/* In attend's and attend_count's places (meson.build). */
bool __real_attend(struct vcpu *vcpu, struct x86_cpu *cpu, struct attend_counts *counts, enum run_end *end);
bool __wrap_attend(struct vcpu *vcpu, struct x86_cpu *cpu, struct attend_counts *counts, enum run_end *end);
bool __wrap_attend(struct vcpu *vcpu, struct x86_cpu *cpu, struct attend_counts *counts, enum run_end *end)
{
	unsigned side = side_of(vcpu);

	if (meeting_wanted[side]) {
		meeting_wanted[side] = false;
		meet_now((void *)(uintptr_t)side);
	}
	if (events)
		cpu->instructions = 0; /* it single-steps now and then, and would move the clock at a multiple of its quantum */
	return __real_attend(vcpu, cpu, counts, end);
}

void __real_attend_count(struct vcpu *vcpu, struct x86_cpu *cpu, uint64_t executed);
void __wrap_attend_count(struct vcpu *vcpu, struct x86_cpu *cpu, uint64_t executed);
void __wrap_attend_count(struct vcpu *vcpu, struct x86_cpu *cpu, uint64_t executed)
{
	if (!events)
		__real_attend_count(vcpu, cpu, executed);
}

/* In vcpu_platform's place: what takes time under --clock events. */
#define ACCESS_NS 1000
#define TSC_NS 500
extern const struct x86_platform __real_vcpu_platform;
extern const struct x86_platform __wrap_vcpu_platform;

static void time_passes(struct vcpu *vcpu, uint64_t ns)
{
	if (events)
		vm_clock_count(&vcpu->vm->clock, ns);
}

static uint64_t port_read(void *machine, uint16_t port, unsigned size)
{
	uint64_t value = __real_vcpu_platform.port_read(machine, port, size);

	time_passes(machine, ACCESS_NS);
	return value;
}

static void port_write(void *machine, uint16_t port, unsigned size, uint64_t value)
{
	__real_vcpu_platform.port_write(machine, port, size, value);
	time_passes(machine, ACCESS_NS);
}

static uint64_t mmio_read(void *machine, uint64_t gpa, unsigned size)
{
	uint64_t value = __real_vcpu_platform.mmio_read(machine, gpa, size);

	time_passes(machine, ACCESS_NS);
	return value;
}

static void mmio_write(void *machine, uint64_t gpa, unsigned size, uint64_t value)
{
	__real_vcpu_platform.mmio_write(machine, gpa, size, value);
	time_passes(machine, ACCESS_NS);
}

static uint64_t tsc(void *machine)
{
	time_passes(machine, TSC_NS);
	return __real_vcpu_platform.tsc(machine);
}

static bool msr_read(void *machine, uint32_t msr, uint64_t *value)
{
	return __real_vcpu_platform.msr_read(machine, msr, value);
}

static bool msr_write(void *machine, uint32_t msr, uint64_t value)
{
	return __real_vcpu_platform.msr_write(machine, msr, value);
}

static void exclusive(void *machine, void (*fn)(void *argument), void *argument)
{
	__real_vcpu_platform.exclusive(machine, fn, argument);
}

const struct x86_platform __wrap_vcpu_platform = {port_read, port_write, mmio_read, mmio_write, tsc,
						  msr_read,  msr_write,  exclusive, NULL};

/* --- a disk in memory --- */

struct memory_disk {
	struct block block;
	uint8_t *bytes;
};

static void disk_transfer(struct memory_disk *disk, const struct block_request *request)
{
	uint8_t *at = disk->bytes + request->offset;

	for (unsigned i = 0; i < request->segments; i++) {
		const struct block_segment *segment = &request->segment[i];

		if (request->operation == BLOCK_READ)
			memcpy(segment->base, at, segment->length);
		else
			memcpy(at, segment->base, segment->length);
		at += segment->length;
	}
}

static void disk_submit(struct block *block, struct block_request *list)
{
	struct memory_disk *disk = (struct memory_disk *)block;

	while (list) {
		struct block_request *request = list;

		list = request->next;
		switch (request->operation) {
		case BLOCK_READ:
		case BLOCK_WRITE: disk_transfer(disk, request); break;
		case BLOCK_WRITE_ZEROES: memset(disk->bytes + request->offset, 0, request->length); break;
		default: break;
		}
		request->done(request, STATUS_OK);
	}
}

static void disk_nothing(struct block *block)
{
	(void)block;
}

static struct block *disk_open(const char *path)
{
	struct memory_disk *disk = calloc(1, sizeof(*disk));
	FILE *file = fopen(path, "rb");
	long size;

	if (!disk || !file || fseek(file, 0, SEEK_END) || (size = ftell(file)) <= 0) {
		fprintf(stderr, "lockstep: no disk %s\n", path);
		exit(1);
	}
	size &= ~511L;
	rewind(file);
	disk->bytes = malloc((size_t)size);
	if (!disk->bytes || fread(disk->bytes, 1, (size_t)size, file) != (size_t)size)
		exit(1);
	fclose(file);
	disk->block = (struct block){.submit = disk_submit,
				     .drain = disk_nothing,
				     .close = disk_nothing,
				     .size = (uint64_t)size,
				     .block_size = 512,
				     .path = path};
	return &disk->block;
}

struct waiter {
	unsigned side;
	int status;
};

static void *wait_main(void *argument)
{
	struct waiter *waiter = argument;

	waiter->status = vm_wait(&machines[waiter->side]->vm);
	return NULL;
}

static bool run(void)
{
	struct waiter waiter[2] = {{0, 0}, {1, 0}};
	struct engine_stats stats[2];
	struct reason why = {""};
	pthread_t thread[2];
	bool good;

	for (unsigned i = 0; i < 2; i++) {
		if (disk_path) {
			machines[i]->config.disks = 1;
			machines[i]->config.disk[0] =
				(struct disk_config){.path = disk_path, .format = "raw", .serial = "lockstep"};
			machines[i]->backends.disk[0] = disk_open(disk_path);
		}
		machine_create(machines[i]);
		if (events) {
			machines[i]->vm.clock_mode = CLOCK_COUNTED;
			machines[i]->vm.clock.wall_offset_ns = WALL_NS;
		}
		timer_init(&meeting[i], &machines[i]->vm.clock, meet, (void *)(uintptr_t)i);
		timer_set(&meeting[i], from > interval ? from : interval);
	}
	for (unsigned i = 0; i < 2; i++) {
		if (vm_start(&machines[i]->vm, &why)) {
			fprintf(stderr, "lockstep: %s\n", why.text);
			exit(1);
		}
		pthread_create(&thread[i], NULL, wait_main, &waiter[i]);
	}
	for (unsigned i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	for (unsigned i = 0; i < 2; i++)
		machines[i]->vm.engine->stats(&machines[i]->vm, &stats[i]);
	printf("# %llu meetings, RAM compared %llu times; %llu instructions in %llu ns; %zu bytes printed; ended with %d and %d\n",
	       (unsigned long long)meetings, (unsigned long long)compared_ram, (unsigned long long)stats[0].instructions,
	       (unsigned long long)vm_clock_ns(&machines[0]->vm.clock), (size_t)machines[0]->output_length, waiter[0].status,
	       waiter[1].status);
	good = !different && (events || stats[0].instructions == stats[1].instructions) && waiter[0].status == waiter[1].status &&
	       meetings && vm_clock_ns(&machines[0]->vm.clock) == vm_clock_ns(&machines[1]->vm.clock) &&
	       !strcmp(machines[0]->output, machines[1]->output) && ram_equal(vm_clock_ns(&machines[0]->vm.clock));
	if (!good)
		printf("# the end of what %s printed:\n%s\n", engine_name[1],
		       machines[1]->output + (machines[1]->output_length > 2000 ? machines[1]->output_length - 2000 : 0));
	return good;
}

static uint64_t number(const char *text)
{
	return strtoull(text, NULL, 0);
}

int main(int count, char **arguments)
{
	const char *image[3] = {NULL, NULL, "cpus=1"};
	unsigned images = 0;
	bool good;

	for (int i = 1; i < count; i++) {
		bool more = i + 1 < count;

		if (!strcmp(arguments[i], "--interval") && more)
			interval = number(arguments[++i]);
		else if (!strcmp(arguments[i], "--ram") && more)
			ram_every = number(arguments[++i]);
		else if (!strcmp(arguments[i], "--limit") && more)
			limit = number(arguments[++i]);
		else if (!strcmp(arguments[i], "--from") && more)
			from = number(arguments[++i]);
		else if (!strcmp(arguments[i], "--disk") && more)
			disk_path = arguments[++i];
		else if (!strcmp(arguments[i], "--cache") && more)
			cache = number(arguments[++i]);
		else if (!strcmp(arguments[i], "--window"))
			window = JIT_WINDOW_ALWAYS;
		else if (!strcmp(arguments[i], "--cpu") && more)
			cpu_model = arguments[++i];
		else if (!strcmp(arguments[i], "--clock") && more)
			events = !strcmp(arguments[++i], "events");
		else if (!strcmp(arguments[i], "--engines") && more) {
			engine_name[0] = strtok(arguments[++i], ",");
			engine_name[1] = strtok(NULL, ",");
		} else if (images < 3)
			image[images++] = arguments[i];
	}
	if (!image[0] || !engine_name[1]) {
		fprintf(stderr, "lockstep_test [--clock events] [--window] [--cache BYTES] [--cpu MODEL] [--disk PATH] [--engines "
				"A,B] [--interval "
				"N] [--ram N] [--limit N] "
				"[--from N] KERNEL [INITRD [CMDLINE]]\n");
		return 64;
	}
	for (unsigned i = 0; i < 2; i++) {
		machines[i] = machine_describe(engine_name[i], image[0], image[2], 1);
		machines[i]->config.initrd = image[1] && *image[1] ? image[1] : NULL;
		machines[i]->config.deterministic = !events;
		machines[i]->config.cpu_model = cpu_model;
		machines[i]->config.jit_window = window;
		machines[i]->config.jit_cache = cache;
		machines[i]->config.memory = UINT64_C(128) << 20;
	}
	good = run();
	printf("%sok 1 - %s and %s are the same\n1..1\n", good ? "" : "not ", engine_name[0], engine_name[1]);
	for (unsigned i = 0; i < 2; i++)
		machine_destroy(machines[i]);
	return !good;
}
