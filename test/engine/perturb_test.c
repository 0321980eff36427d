/* SPDX-License-Identifier: Apache-2.0 */
/*
 * perturb_test.c - runs a test guest under each engine while something happens to it all the time that it must not notice: `perturb_test GUEST CPUS`.
 *
 *   flush    everything translated is dropped, at random points, while the vcpus run
 *   switch   the guest goes on under another engine, at random points
 *   rebuild  the machine is saved, destroyed, made anew and loaded
 *   state    every vcpu's state is taken out and put in again, and is the same when it is taken out again
 *   signals  its vcpus' threads are interrupted by signals
 *   dirty    dirty logging runs; base copy and dirty pages are RAM in the end
 *
 * The guests test themselves. Random points come from a seed, which is printed; how they fall on instructions is the host's scheduler's.
 */
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "test/engine/machine.h"
#include "x86/state.h"

#define RUN_NS UINT64_C(500000000)

struct perturbation {
	const char *name;
	void (*begin)(struct machine *machine);
	void (*act)(struct machine *machine);
	void (*end)(struct machine *machine); /* after the guest's end */
};

static _Atomic bool ended;
static unsigned acts, collections, cases, failures;
static const char *problem;
static uint64_t seed;

static uint64_t random_next(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

/* --- flush --- */

/* While they run. */
static void flush(struct machine *machine)
{
	for (unsigned i = 0; i < machine->vm.vcpus; i++)
		machine->vm.engine->flush(machine->vm.vcpu[i]);
}

/* --- switch, rebuild --- */

/* To the next engine of the build, or to a new one of the same kind. */
static void engine_switch(struct machine *machine)
{
	struct reason why = {""};
	enum status status;
	unsigned i = 0;

	while (engines[i] != machine->vm.engine)
		i++;
	i = random_next() % 4 && engines[i + 1] ? i + 1 : 0;
	if (!strcmp(engines[i]->name, "kvm"))
		i++;
	status = vm_engine_switch(&machine->vm, engines[i], &why);
	if (status && status != STATUS_CANCELLED) {
		printf("# %s\n", why.text);
		problem = "an engine does not take over";
	}
}

static void rebuild(struct machine *machine)
{
	struct reason why = {""};
	enum status status = vm_rebuild(&machine->vm, &why);

	if (status && status != STATUS_CANCELLED) {
		printf("# %s\n", why.text);
		problem = "the machine is not rebuilt";
	}
}

/* --- state --- */

static void state_move(struct machine *machine)
{
	static struct x86_state first, second;
	const struct engine *engine = machine->vm.engine;

	vm_pause(&machine->vm);
	for (unsigned i = 0; i < machine->vm.vcpus; i++) {
		struct vcpu *vcpu = machine->vm.vcpu[i];

		memset(&first, 0x5a, sizeof(first));
		memset(&second, 0x5a, sizeof(second));
		if (engine->vcpu_get(vcpu, &first) || engine->vcpu_set(vcpu, &first) || engine->vcpu_get(vcpu, &second))
			problem = "a state that was taken out is refused";
		else if (memcmp(&first, &second,
				sizeof(first))) // NOLINT(bugprone-suspicious-memory-comparison): padding is equal too
			problem = "a state that was put in is another when it is taken out";
	}
	vm_resume(&machine->vm);
}

/* --- signals --- */

static pid_t vcpu_thread[VM_CPUS_MAX];
static unsigned vcpu_threads;
static _Atomic unsigned signals_got;

static void signal_handle(int number)
{
	(void)number;
	atomic_fetch_add(&signals_got, 1);
}

/* The vcpus' threads by their names. SIGSYS: host_thread_start leaves it unblocked, and nobody else here uses it. */
static void threads_find(void)
{
	DIR *directory = opendir("/proc/self/task");
	struct dirent *entry;

	vcpu_threads = 0;
	while (directory && (entry = readdir(directory))) {
		char path[300], name[32] = "";
		FILE *file;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
		file = fopen(path, "r");
		if (!file)
			continue;
		if (fgets(name, sizeof(name), file) && !strncmp(name, "vcpu", 4))
			vcpu_thread[vcpu_threads++] = atoi(entry->d_name);
		fclose(file);
	}
	if (directory)
		closedir(directory);
}

static void signals_begin(struct machine *machine)
{
	struct sigaction action = {.sa_handler = signal_handle, .sa_flags = SA_ONSTACK};

	(void)machine;
	signals_got = 0;
	vcpu_threads = 0;
	sigaction(SIGSYS, &action, NULL);
}

static void signal_send(struct machine *machine)
{
	/* A thread gives itself its name when it has begun. */
	if (vcpu_threads < machine->vm.vcpus)
		threads_find();
	for (unsigned i = 0; i < 20 && vcpu_threads; i++)
		syscall(SYS_tgkill, getpid(), vcpu_thread[random_next() % vcpu_threads], SIGSYS);
}

static void signals_end(struct machine *machine)
{
	(void)machine;
	printf("# %u signals\n", signals_got);
}

/* --- dirty --- */

static uint8_t *copy;
static uint64_t *dirty;
static uint64_t dirty_pages;

static void dirty_take(struct machine *machine)
{
	uint64_t pages = machine->config.memory >> GUEST_PAGE_SHIFT;

	collections++;
	memset(dirty, 0, pages / 8);
	if (machine->vm.engine->dirty_collect(&machine->vm, dirty))
		problem = "dirty_collect fails";
	/* The guest writes on: what it writes from now on is dirty again next time. */
	for (uint64_t page = 0; page < pages; page++)
		if (dirty[page / 64] >> page % 64 & 1) {
			memcpy(copy + page * GUEST_PAGE_SIZE, machine->ram + page * GUEST_PAGE_SIZE, GUEST_PAGE_SIZE);
			dirty_pages++;
		}
}

static void dirty_begin(struct machine *machine)
{
	dirty_pages = collections = 0;
	copy = malloc(machine->config.memory);
	dirty = malloc(machine->config.memory >> GUEST_PAGE_SHIFT >> 3);
	vm_pause(&machine->vm);
	if (machine->vm.engine->dirty_start(&machine->vm))
		problem = "dirty_start fails";
	vm_resume(&machine->vm);
	/* Under load too: pages that change while they are copied are dirty. */
	memcpy(copy, machine->ram, machine->config.memory);
}

static void dirty_end(struct machine *machine)
{
	dirty_take(machine);
	for (uint64_t at = 0; at < machine->config.memory; at += GUEST_PAGE_SIZE)
		if (memcmp(copy + at, machine->ram + at, GUEST_PAGE_SIZE)) {
			printf("# page %#llx was written and is not dirty\n", (unsigned long long)at);
			problem = "base copy and dirty pages are not RAM";
		}
	machine->vm.engine->dirty_stop(&machine->vm);
	printf("# %llu pages dirty in %u collections\n", (unsigned long long)dirty_pages, collections);
	free(copy);
	free(dirty);
}

/* --- */

static const struct perturbation perturbations[] = {
	{"flush", NULL, flush, NULL},
	{"switch", NULL, engine_switch, NULL},
	{"rebuild", NULL, rebuild, NULL},
	{"state", NULL, state_move, NULL},
	{"signals", signals_begin, signal_send, signals_end},
	{"dirty", dirty_begin, dirty_take, dirty_end},
};

struct job {
	struct machine *machine;
	const struct perturbation *perturbation;
};

static void *perturb(void *argument)
{
	struct job *job = argument;

	uint64_t took = 0;

	while (!atomic_load(&ended)) {
		/* The guest gets on however long an act takes. */
		uint64_t rest = random_next() % 1000000 + 3 * took;
		struct timespec pause = {.tv_sec = (time_t)(rest / 1000000000), .tv_nsec = (long)(rest % 1000000000)};

		nanosleep(&pause, NULL);
		took = host_time_ns();
		job->perturbation->act(job->machine);
		took = host_time_ns() - took;
		acts++;
	}
	return NULL;
}

/* One run of the guest, from its start to its end. */
static bool run_once(const char *engine, const struct perturbation *perturbation, const char *guest, unsigned cpus)
{
	char cmdline[16];
	struct machine *machine;
	struct job job;
	struct reason why = {""};
	pthread_t thread;
	int status;
	bool good;

	snprintf(cmdline, sizeof(cmdline), "cpus=%u", cpus);
	machine = machine_describe(engine, guest, cmdline, cpus);
	job = (struct job){machine, perturbation};
	problem = NULL;
	ended = false;
	machine_create(machine);
	if (vm_start(&machine->vm, &why)) {
		fprintf(stderr, "perturb: %s\n", why.text);
		exit(1);
	}
	if (perturbation->begin)
		perturbation->begin(machine);
	pthread_create(&thread, NULL, perturb, &job);
	status = vm_wait(&machine->vm);
	ended = true;
	pthread_join(thread, NULL);
	if (perturbation->end)
		perturbation->end(machine);
	good = status == VM_END_DEBUG_EXIT + 1 && !problem;
	if (!good)
		printf("# %s\n# ended with %d%s%s\n", machine->output, status, problem ? ", " : "", problem ? problem : "");
	machine_destroy(machine);
	return good;
}

/* Short guests run again, so that something happens to them. */
static void run(const char *engine, const struct perturbation *perturbation, const char *guest, unsigned cpus)
{
	uint64_t until = host_time_ns() + RUN_NS;
	unsigned runs = 0;
	bool good = true;

	acts = 0;
	while (good && (!runs || host_time_ns() < until)) {
		good = run_once(engine, perturbation, guest, cpus);
		runs++;
	}
	failures += !good;
	printf("%sok %u - %s, %u times in %u runs [%s]\n", good ? "" : "not ", ++cases, perturbation->name, acts, runs, engine);
	fflush(stdout);
}

int main(int count, char **arguments)
{
	if (count < 3) {
		fprintf(stderr, "perturb_test GUEST CPUS [SEED]\n");
		return 64;
	}
	seed = count > 3 ? strtoull(arguments[3], NULL, 0) : (uint64_t)time(NULL) * 1000003 + (uint64_t)getpid();
	printf("# seed %llu\n", (unsigned long long)seed);
	for (unsigned i = 0; engines[i]; i++)
		for (unsigned p = 0; p < sizeof(perturbations) / sizeof(perturbations[0]); p++)
			if (strcmp(engines[i]->name, "kvm") && engines[i]->flush)
				run(engines[i]->name, &perturbations[p], arguments[1], (unsigned)atoi(arguments[2]));
	printf("1..%u\n", cases);
	return failures != 0;
}
