/* SPDX-License-Identifier: Apache-2.0 */
/*
 * device_fuzz.c - libFuzzer drives a device: the input is a guest's accesses and what it puts into RAM (test/device/hostile.h).
 *
 * Build with clang: meson setup build-fuzz -Db_sanitize=address,undefined -Db_lundef=false -Dc_args=-fsanitize=fuzzer-no-link (CC=clang; without
 * the last libFuzzer sees no more of Holon than this file), then run
 * build-fuzz/test/fuzz/virtio_blk_fuzz -max_total_time=60, or another of test/fuzz/meson.build. With another compiler the program replays the files it
 * is given.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/linux/linux.h"
#include "test/device/hostile.h"

#define STEPS_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	static struct hostile_step step[STEPS_MAX];
	size_t steps = length / sizeof(step[0]);
	static bool quiet;

	if (!quiet) {
		setenv("HOLON_LOG", "error", 0);
		host_log_start();
		quiet = true;
	}
	if (steps > STEPS_MAX)
		steps = STEPS_MAX;
	memcpy(step, bytes, steps * sizeof(step[0]));
	HOSTILE.run(step, steps);
	return 0;
}

#ifndef HOLON_LIBFUZZER
int main(int count, char **arguments)
{
	static uint8_t bytes[1 << 20];

	for (int i = 1; i < count; i++) {
		FILE *file = fopen(arguments[i], "rb");
		size_t length;

		if (!file) {
			perror(arguments[i]);
			return 66;
		}
		length = fread(bytes, 1, sizeof(bytes), file);
		fclose(file);
		LLVMFuzzerTestOneInput(bytes, length);
	}
	return 0;
}
#endif
