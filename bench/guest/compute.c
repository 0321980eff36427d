/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compute.c - workloads that stay in user mode: integers, memory, floating point, calls. Each returns what it computed, so
 * that the compiler keeps it and a machine that computes wrongly shows. It is also the file that the workload gcc compiles.
 */
#include "workload.h"

#include <stdlib.h>
#include <string.h>

#define MIB (1024UL * 1024)

static uint64_t int_run(void)
{
	uint64_t a = 1, b = 2;

	for (uint32_t i = 0; i < 100000000; i++) {
		a += b ^ i;
		b = (b << 3) - a;
		if (b & 64)
			a ^= b >> 5;
	}
	return a ^ b;
}

/* A ring through 16 MiB in random order: every step is a cache miss and, for a guest, a TLB miss. */
#define CHASE_NODES (16 * MIB / sizeof(uint32_t))
#define CHASE_STEPS 6000000

static uint32_t *chase_ring;

static void chase_prepare(void)
{
	uint64_t seed = 88172645463325252;

	if (chase_ring)
		return;
	chase_ring = workload_memory(CHASE_NODES * sizeof(*chase_ring));
	for (uint32_t i = 0; i < CHASE_NODES; i++)
		chase_ring[i] = i;
	/* Sattolo's shuffle leaves one cycle. */
	for (uint32_t i = CHASE_NODES - 1; i > 0; i--) {
		uint32_t j = (uint32_t)(workload_random(&seed) % i), other = chase_ring[j];

		chase_ring[j] = chase_ring[i];
		chase_ring[i] = other;
	}
}

static uint64_t chase_run(void)
{
	uint32_t at = 0;
	uint64_t sum = 0;

	for (uint32_t i = 0; i < CHASE_STEPS; i++) {
		at = chase_ring[at];
		sum += at;
	}
	return sum;
}

#define COPY_SIZE (16 * MIB)
#define COPY_ROUNDS 40

static uint8_t *copy_from, *copy_to;

static void memcpy_prepare(void)
{
	if (copy_from)
		return;
	copy_from = workload_memory(COPY_SIZE);
	copy_to = workload_memory(COPY_SIZE);
	for (size_t i = 0; i < COPY_SIZE; i++)
		copy_from[i] = (uint8_t)(i * 7);
}

static uint64_t memcpy_run(void)
{
	uint64_t sum = 0;

	for (unsigned int round = 0; round < COPY_ROUNDS; round++) {
		copy_from[round]++;
		memcpy(copy_to, copy_from, COPY_SIZE);
		sum += copy_to[(size_t)round * 4099];
	}
	return sum;
}

static uint64_t double_run(void)
{
	double x = 0.5, y = 1.5, sum = 0;
	uint64_t bits;

	for (uint32_t i = 1; i <= 40000000; i++) {
		x = x * 3.7 * (1.0 - x);
		y = y + x / (double)i;
		sum += y * x - (double)i * 1e-9;
	}
	memcpy(&bits, &sum, sizeof(bits));
	return bits;
}

#define SORT_COUNT 1500000

static int *sort_values;

static int int_compare(const void *left, const void *right)
{
	int a = *(const int *)left, b = *(const int *)right;

	return (a > b) - (a < b);
}

static void qsort_prepare(void)
{
	uint64_t seed = 4101842887655102017;

	if (!sort_values)
		sort_values = workload_memory(SORT_COUNT * sizeof(*sort_values));
	for (size_t i = 0; i < SORT_COUNT; i++)
		sort_values[i] = (int)workload_random(&seed);
}

static uint64_t qsort_run(void)
{
	qsort(sort_values, SORT_COUNT, sizeof(*sort_values), int_compare);
	return workload_checksum(0, sort_values, SORT_COUNT * sizeof(*sort_values));
}

__attribute__((noinline, optimize("no-optimize-sibling-calls"))) static uint64_t fib(uint32_t n)
{
	return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

static uint64_t fib_run(void)
{
	return fib(37);
}

/* An interpreter's inner loop: a table of small functions in an order that no predictor knows by heart. */
static uint64_t operation_add(uint64_t value)
{
	return value + 0x9e3779b97f4a7c15;
}

static uint64_t operation_shift(uint64_t value)
{
	return value ^ value >> 13;
}

static uint64_t operation_rotate(uint64_t value)
{
	return value << 9 | value >> 55;
}

static uint64_t operation_multiply(uint64_t value)
{
	return value * 5 + 1;
}

static uint64_t (*volatile const operations[])(uint64_t) = {operation_add, operation_shift, operation_rotate, operation_multiply};

#define INDIRECT_ORDER 4096

static uint64_t indirect_run(void)
{
	uint8_t order[INDIRECT_ORDER];
	uint64_t seed = 1181783497276652981, value = 1;

	for (size_t i = 0; i < INDIRECT_ORDER; i++)
		order[i] = workload_random(&seed) >> 20 & 3;
	for (uint32_t i = 0; i < 50000000; i++)
		value = operations[order[i % INDIRECT_ORDER]](value);
	return value;
}

const struct workload compute_workloads[] = {
	{"int", NULL, int_run},
	{"chase", chase_prepare, chase_run},
	{"memcpy", memcpy_prepare, memcpy_run},
	{"double", NULL, double_run},
	{"qsort", qsort_prepare, qsort_run},
	{"fib", NULL, fib_run},
	{"indirect", NULL, indirect_run},
	{NULL, NULL, NULL},
};
