/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hash.h - FNV-1a, of which identities are made that stay the same from start to start: disks' serial numbers and cards' addresses.
 */
#ifndef HOLON_CONTROL_HASH_H
#define HOLON_CONTROL_HASH_H

#include <stddef.h>
#include <stdint.h>

#define HASH_BEGIN UINT64_C(0xcbf29ce484222325)

static inline uint64_t hash_add(uint64_t hash, const void *bytes, size_t length)
{
	for (const uint8_t *at = bytes; length--; at++)
		hash = (hash ^ *at) * UINT64_C(0x100000001b3);
	return hash;
}

#endif
