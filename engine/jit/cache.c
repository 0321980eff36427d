/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache.c - keeps a vcpu's translated blocks. See cache.h.
 */
#include "engine/jit/cache.h"

/* Room for descriptions, by experience of what a block takes; when any of the three runs out all are dropped. */
#define CODE_PER_BLOCK 96
#define CODE_PER_INSN 192
#define SETTLE (UINT64_C(1) << 20)

enum status jit_cache_create(struct jit_cache *cache, uint64_t size)
{
	enum status status = host_code_allocate(&cache->code, size);

	if (status != STATUS_OK)
		return status;
	cache->blocks_max = (uint32_t)(size / CODE_PER_BLOCK);
	cache->insns_max = (uint32_t)(size / CODE_PER_INSN);
	cache->block = host_allocate(cache->blocks_max * sizeof(*cache->block));
	cache->insn = host_allocate(cache->insns_max * sizeof(*cache->insn));
	return cache->block && cache->insn ? STATUS_OK : STATUS_NO_MEMORY;
}

void jit_cache_destroy(struct jit_cache *cache)
{
	if (cache->code.write)
		host_code_free(&cache->code);
	if (cache->block)
		host_free(cache->block, cache->blocks_max * sizeof(*cache->block));
	if (cache->insn)
		host_free(cache->insn, cache->insns_max * sizeof(*cache->insn));
	cache->block = 0;
	cache->insn = 0;
}

void jit_cache_flush(struct jit_cache *cache)
{
	__builtin_memset(cache->hash, 0, sizeof(cache->hash));
	cache->used = cache->settled = 0;
	cache->insns = 0;
	cache->blocks = 0;
	cache->flushes++;
}

bool jit_cache_room(const struct jit_cache *cache)
{
	return cache->used + JIT_BLOCK_CODE <= cache->code.size && cache->insns + JIT_BLOCK_INSNS <= cache->insns_max &&
	       cache->blocks < cache->blocks_max;
}

void jit_cache_insert(struct jit_cache *cache, struct jit_block *block)
{
	uint32_t *link = &cache->hash[jit_cache_slot(block->hva, block->key)];

	block->next = *link;
	*link = (uint32_t)(block - cache->block) + 1;
	for (link = &block->next; *link; link = &cache->block[*link - 1].next) {
		const struct jit_block *other = &cache->block[*link - 1];

		if (other->hva == block->hva && other->key == block->key) {
			*link = other->next;
			break;
		}
	}
	cache->translated++;
	/* Links are written everywhere. */
	if (cache->used - cache->settled >= SETTLE) {
		host_code_settled(&cache->code, 0, cache->used);
		cache->settled = cache->used;
	}
}

const struct jit_block *jit_cache_block_at(const struct jit_cache *cache, const uint8_t *pc)
{
	uint32_t low = 0, high = cache->blocks;
	uint64_t offset = (uint64_t)(pc - cache->code.execute);

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (cache->block[middle].end <= offset)
			low = middle + 1;
		else
			high = middle;
	}
	return low < cache->blocks && cache->block[low].begin <= offset ? &cache->block[low] : 0;
}
