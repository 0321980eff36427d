/* SPDX-License-Identifier: Apache-2.0 */
/* workload.h - what a workload is. main.c runs them by name; compute.c, system.c, command.c and io.c each hold a table of them. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct workload {
	const char *name;
	/* Not timed, may be NULL: makes inputs, brings programs into the page cache. */
	void (*prepare)(void);
	/* Timed. The value depends on all that was computed and is the same on every machine that computes right. */
	uint64_t (*run)(void);
};

extern const struct workload compute_workloads[], system_workloads[], command_workloads[], io_workloads[];

/* io.c: serves the network workloads of guests, natively, on three ports from `port` on. */
void net_serve(int port);

/* What a workload needs and does not get ends the program with this line and status 1. */
_Noreturn void workload_fail(const char *what);
/* Memory with every page touched, never NULL. The pages come from no earlier use: an mmap of its own. */
void *workload_memory(size_t size);
void workload_memory_free(void *memory, size_t size);
/* A step of a fixed pseudo-random sequence (xorshift64). */
uint64_t workload_random(uint64_t *state);
/* Folds bytes into a checksum (FNV-1a, 8 bytes at a time where there are as many). */
uint64_t workload_checksum(uint64_t sum, const void *bytes, size_t size);
