/* SPDX-License-Identifier: Apache-2.0 */
/*
 * block.h - decoded straight-line runs of instructions, kept by where their bytes lie in RAM.
 *
 * A cache per vcpu, so no locks. A block never leaves its page; it is stale when the page's code generation has moved
 * (x86/code_page.h), which a lookup checks. Full: everything is dropped and decoding starts again.
 */
#ifndef HOLON_INTERP_BLOCK_H
#define HOLON_INTERP_BLOCK_H

#include "x86/code_page.h"
#include "x86/cpu.h"

#define INTERP_BLOCK_INSNS 32
#define INTERP_HASH_BITS 14
#define INTERP_ARENA (6u << 20)

struct interp_block {
	const uint8_t *hva; /* of the first byte */
	uint32_t page;
	uint32_t generation;
	uint8_t code_size;
	uint8_t count;
	uint16_t length; /* bytes */
	struct x86_insn insn[];
};

struct interp_cache {
	struct interp_block *hash[1u << INTERP_HASH_BITS];
	uint8_t *arena;
	size_t used;
	uint64_t decoded; /* blocks, for the statistics */
	uint64_t flushes;
};

enum status interp_cache_create(struct interp_cache *cache) must_check;
void interp_cache_destroy(struct interp_cache *cache);
void interp_cache_flush(struct interp_cache *cache);
/* Decodes at hva, `available` bytes to the page's end. NULL: the first instruction leaves the page. */
struct interp_block *interp_block_decode(struct interp_cache *cache, struct x86_code_pages *pages, struct x86_cpu *cpu,
					 const uint8_t *hva, unsigned available);

static inline unsigned interp_block_slot(const uint8_t *hva, unsigned code_size)
{
	uint64_t key = (uint64_t)(uintptr_t)hva ^ (uint64_t)code_size << 20;

	return (unsigned)((key ^ key >> INTERP_HASH_BITS) & ((1u << INTERP_HASH_BITS) - 1));
}

static inline struct interp_block *interp_block_find(struct interp_cache *cache, const struct guest_memory *memory,
						     const uint8_t *hva, unsigned code_size)
{
	struct interp_block *block = cache->hash[interp_block_slot(hva, code_size)];

	if (__builtin_expect(block && block->hva == hva && block->code_size == code_size &&
				     atomic_load_explicit(&memory->code_generation[block->page], memory_order_relaxed) ==
					     block->generation,
			     1))
		return block;
	return 0;
}

#endif
