/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - the benchmark's program, the same static binary natively and in guests: `guest list`, `guest tsc`,
 * `guest NAME...`, `guest serve` and `guest net-server PORT`.
 *
 * A result is one line: `result NAME SECONDS CPU_SECONDS CHECKSUM`, the seconds being CLOCK_MONOTONIC's around the timed part.
 * serve says `ready` and reads names from stdin, a line each, until `quit` or the end; it prepares what is named, says `prepared
 * NAME`, and runs it at the next line. So bench/run (bench/session.py is the other end) starts every workload on every machine
 * when it wants to, and reads the processor time of machines that are idle.
 */
#include "workload.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#define SPEED B115200

static const struct workload *const tables[] = {compute_workloads, system_workloads, command_workloads, io_workloads};

_Noreturn void workload_fail(const char *what)
{
	printf("failed %s\n", what);
	exit(1);
}

void *workload_memory(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (memory == MAP_FAILED)
		workload_fail("no memory");
	return memory;
}

void workload_memory_free(void *memory, size_t size)
{
	munmap(memory, size);
}

uint64_t workload_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

uint64_t workload_checksum(uint64_t sum, const void *bytes, size_t size)
{
	const uint8_t *at = bytes;
	uint64_t word;

	for (; size >= sizeof(word); at += sizeof(word), size -= sizeof(word)) {
		memcpy(&word, at, sizeof(word));
		sum = (sum ^ word) * 0x100000001b3;
	}
	while (size--)
		sum = (sum ^ *at++) * 0x100000001b3;
	return sum;
}

static double seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static double cpu_seconds_of(int who)
{
	struct rusage usage;

	getrusage(who, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

static double cpu_seconds_now(void)
{
	return cpu_seconds_of(RUSAGE_SELF) + cpu_seconds_of(RUSAGE_CHILDREN);
}

static const struct workload *workload_find(const char *name)
{
	const struct workload *workload;

	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
		for (workload = tables[i]; workload->name; workload++)
			if (!strcmp(workload->name, name))
				return workload;
	return NULL;
}

static bool workload_run(const char *name, bool wait)
{
	const struct workload *workload = workload_find(name);
	double begin, end, cpu;
	char line[16];
	uint64_t checksum;

	if (!workload) {
		printf("failed %s: no such workload; `list` names them\n", name);
		return false;
	}
	if (workload->prepare)
		workload->prepare();
	if (wait) {
		printf("prepared %s\n", name);
		if (!fgets(line, sizeof(line), stdin))
			return false;
	}
	cpu = cpu_seconds_now();
	begin = seconds_now();
	checksum = workload->run();
	end = seconds_now();
	printf("result %s %.6f %.6f %016llx\n", name, end - begin, cpu_seconds_now() - cpu, (unsigned long long)checksum);
	return true;
}

static void list(void)
{
	const struct workload *workload;

	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
		for (workload = tables[i]; workload->name; workload++)
			puts(workload->name);
}

/* How fast the TSC runs: what -cpu tsc-frequency= wants to know. */
static void tsc_print(void)
{
	double begin = seconds_now(), end;
	uint64_t first = __rdtsc(), last;

	do {
		end = seconds_now();
		last = __rdtsc();
	} while (end - begin < 0.2);
	printf("%.0f\n", (double)(last - first) / (end - begin));
}

/* A terminal must neither echo nor change a byte. */
static void terminal_plain(void)
{
	struct termios settings;

	if (tcgetattr(STDIN_FILENO, &settings))
		return;
	cfmakeraw(&settings);
	cfsetspeed(&settings, SPEED);
	tcsetattr(STDIN_FILENO, TCSANOW, &settings);
}

static void serve(void)
{
	char line[128];

	terminal_plain();
	puts("ready");
	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\r\n")] = '\0';
		if (!strcmp(line, "quit"))
			return;
		if (*line)
			workload_run(line, true);
	}
}

int main(int count, char **words)
{
	bool right = true;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (count < 2) {
		fprintf(stderr, "guest: say list, tsc, serve or the names of workloads\n");
		return 64;
	}
	if (!strcmp(words[1], "list"))
		list();
	else if (!strcmp(words[1], "tsc"))
		tsc_print();
	else if (!strcmp(words[1], "serve"))
		serve();
	else if (!strcmp(words[1], "net-server") && count == 3)
		net_serve(atoi(words[2]));
	else
		for (int i = 1; i < count; i++)
			right &= workload_run(words[i], false);
	return right ? 0 : 1;
}
