/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hostile_test.c - drivers that mean harm, fed with random bytes: `hostile_test DEVICE [STEPS [SEED]]`, 100,000 steps if not said.
 *
 * A run of 10^7 steps a device under ASan and UBSan is on record in doc/disks.md.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "hostile.h"

#include "host/linux/linux.h"

#define STEPS_AT_ONCE 512

static const struct hostile *const devices[] = {
	&hostile_ahci,       &hostile_nvme,        &hostile_virtio_balloon, &hostile_virtio_blk, &hostile_virtio_console,
	&hostile_virtio_net, &hostile_virtio_peer, &hostile_virtio_port,    &hostile_virtio_rng, &hostile_virtio_vsock};
static const struct hostile *device;
static unsigned long long steps = 100000;
static uint64_t word = 0x9e3779b97f4a7c15;

static uint64_t word_next(void)
{
	word ^= word << 13;
	word ^= word >> 7;
	word ^= word << 17;
	return word;
}

static void random_steps_lose_nothing(void **state)
{
	static struct hostile_step step[STEPS_AT_ONCE];
	unsigned long long done;

	(void)state;
	for (done = 0; done < steps;) {
		/* Long runs get stuck in states that most accesses cannot leave; short ones see none of them. */
		size_t now = 1 + word_next() % STEPS_AT_ONCE;

		for (size_t i = 0; i < now; i++) {
			uint64_t words[2] = {word_next(), word_next()};

			memcpy(&step[i], words, sizeof(step[i]));
		}
		device->run(step, now);
		done += now;
	}
}

int main(int count, char **arguments)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(random_steps_lose_nothing)};
	struct rusage usage;
	int failed;

	for (unsigned i = 0; count > 1 && i < sizeof(devices) / sizeof(devices[0]); i++)
		if (!strcmp(arguments[1], devices[i]->name))
			device = devices[i];
	if (!device) {
		fprintf(stderr, "hostile_test: name a device\n");
		return 64;
	}
	if (count > 2)
		steps = strtoull(arguments[2], NULL, 0);
	if (count > 3)
		word = strtoull(arguments[3], NULL, 0) | 1;
	setenv("HOLON_LOG", "error", 0);
	host_log_start();
	failed = cmocka_run_group_tests_name(device->name, tests, NULL, NULL);
	if (count > 2 && !getrusage(RUSAGE_SELF, &usage))
		fprintf(stderr, "%s: %llu steps, at most %ld KiB\n", device->name, steps, usage.ru_maxrss);
	return failed;
}
