/* SPDX-License-Identifier: Apache-2.0 */
/*
 * random.c - random bytes without an operating system: ChaCha20 (RFC 8439, 2.3) whose key is replaced by its own output before any byte is given out,
 * so that nothing of the past can be computed from what is in memory. The first key is hashed from RDSEED or RDRAND, and from how long
 * memory accesses take, which is all that an old processor has.
 */
#include <stdatomic.h>

#include "host/metal/internal.h"

#define CPUID_1_ECX_RDRAND (1u << 30)
#define CPUID_7_EBX_RDSEED (1u << 18)
#define SEED_ROUNDS 64
#define JITTER_SAMPLES 512

static struct host_mutex lock;
static uint32_t key[8];
static uint64_t counter;

static uint32_t rotate(uint32_t value, unsigned count)
{
	return value << count | value >> (32 - count);
}

static void quarter(uint32_t *x, unsigned a, unsigned b, unsigned c, unsigned d)
{
	x[a] += x[b];
	x[d] = rotate(x[d] ^ x[a], 16);
	x[c] += x[d];
	x[b] = rotate(x[b] ^ x[c], 12);
	x[a] += x[b];
	x[d] = rotate(x[d] ^ x[a], 8);
	x[c] += x[d];
	x[b] = rotate(x[b] ^ x[c], 7);
}

void random_chacha20(const uint32_t with[8], uint64_t block, uint8_t out[64])
{
	uint32_t in[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574}, x[16]; /* "expand 32-byte k" */

	for (unsigned i = 0; i < 8; i++)
		in[4 + i] = with[i];
	in[12] = (uint32_t)block;
	in[13] = (uint32_t)(block >> 32);
	__builtin_memcpy(x, in, sizeof(x));
	for (unsigned i = 0; i < 10; i++) {
		for (unsigned column = 0; column < 4; column++)
			quarter(x, column, 4 + column, 8 + column, 12 + column);
		for (unsigned column = 0; column < 4; column++)
			quarter(x, column, 4 + (column + 1) % 4, 8 + (column + 2) % 4, 12 + (column + 3) % 4);
	}
	for (unsigned i = 0; i < 16; i++)
		x[i] += in[i];
	__builtin_memcpy(out, x, sizeof(x));
}

/* Half of a block is the next key, the other half is given out. */
static void block_make(uint8_t out[32])
{
	uint8_t block[64];

	random_chacha20(key, counter++, block);
	__builtin_memcpy(key, block, sizeof(key));
	__builtin_memcpy(out, block + 32, 32);
	__builtin_memset(block, 0, sizeof(block));
	__asm__ volatile("" : : "r"(block) : "memory");
}

static void mix(uint64_t value)
{
	uint8_t unused[32];

	key[0] ^= (uint32_t)value;
	key[1] ^= (uint32_t)(value >> 32);
	block_make(unused);
}

static bool seed_read(bool rdseed, uint64_t *value)
{
	uint8_t good = 0;

	for (unsigned tries = 0; tries < 1000 && !good; tries++) {
		if (rdseed)
			__asm__ volatile("rdseed %0\n\tsetc %1" : "=r"(*value), "=qm"(good) : : "cc");
		else
			__asm__ volatile("rdrand %0\n\tsetc %1" : "=r"(*value), "=qm"(good) : : "cc");
	}
	return good;
}

void random_start(void)
{
	bool rdrand = cpuid(1, 0).ecx & CPUID_1_ECX_RDRAND;
	bool rdseed = cpuid(0, 0).eax >= 7 && cpuid(7, 0).ebx & CPUID_7_EBX_RDSEED;
	unsigned seeds = 0;
	uint64_t value;

	for (unsigned i = 0; i < SEED_ROUNDS; i++) {
		if ((rdseed && seed_read(true, &value)) || (rdrand && seed_read(false, &value))) {
			mix(value);
			seeds++;
		}
	}
	for (unsigned i = 0; i < JITTER_SAMPLES; i++) {
		/* Out to a device and back: never twice the same time. */
		(void)inb(0x61);
		mix(host_tsc());
	}
	mix(host_wall_time_ns());
	if (seeds < SEED_ROUNDS / 2)
		host_log(HOST_LOG_WARN,
			 "this processor has no random number generator that works: guests' random numbers come from timing alone");
}

void host_random(void *buffer, size_t size)
{
	uint8_t block[32], *out = buffer;

	host_mutex_lock(&lock);
	while (size) {
		size_t part = size < sizeof(block) ? size : sizeof(block);

		block_make(block);
		__builtin_memcpy(out, block, part);
		out += part;
		size -= part;
	}
	host_mutex_unlock(&lock);
	__builtin_memset(block, 0, sizeof(block));
	__asm__ volatile("" : : "r"(block) : "memory");
}
