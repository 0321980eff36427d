/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache.c - keeps a vcpu's translated blocks. See cache.h.
 */
#include "engine/jit/cache.h"

#include "engine/jit/context.h"
#include "engine/jit/emit.h"

/* Room for descriptions, by experience of what a block takes; when any of the three runs out the region is full. */
#define CODE_PER_BLOCK 96
#define CODE_PER_INSN 192
#define SETTLE_PAGES 128

#define REGION_SIZE (UINT64_C(1) << 20)
#define REGIONS_LEAST 4

static uint32_t region_of(const struct jit_cache *cache, uint32_t offset)
{
	return (uint32_t)(offset / cache->region_size);
}

static void region_begin(struct jit_cache *cache, unsigned region)
{
	cache->region = region;
	cache->used = region * cache->region_size;
	cache->insns = region * cache->region_insns;
	cache->blocks_end[region] = region * cache->region_blocks;
}

static void empty(struct jit_cache *cache)
{
	__builtin_memset(cache->hash, 0, sizeof(cache->hash));
	for (unsigned i = 0; i < cache->regions; i++)
		cache->blocks_end[i] = i * cache->region_blocks;
	cache->filled = 0;
	cache->group_links = 0;
	region_begin(cache, 0);
}

enum status jit_cache_create(struct jit_cache *cache, uint64_t size)
{
	enum status status = host_code_allocate(&cache->code, size);
	uint64_t regions = size / REGION_SIZE;

	if (status != STATUS_OK)
		return status;
	cache->regions = regions < REGIONS_LEAST ? REGIONS_LEAST : regions > JIT_REGIONS ? JIT_REGIONS : (unsigned)regions;
	cache->region_size = (size / cache->regions) & ~(uint64_t)7;
	cache->region_blocks = (uint32_t)(cache->region_size / CODE_PER_BLOCK);
	cache->region_insns = (uint32_t)(cache->region_size / CODE_PER_INSN);
	cache->random = 1;
	cache->block = host_allocate(cache->regions * cache->region_blocks * sizeof(*cache->block));
	cache->insn = host_allocate(cache->regions * cache->region_insns * sizeof(*cache->insn));
	empty(cache);
	return cache->block && cache->insn ? STATUS_OK : STATUS_NO_MEMORY;
}

void jit_cache_destroy(struct jit_cache *cache)
{
	if (cache->code.write)
		host_code_free(&cache->code);
	if (cache->block)
		host_free(cache->block, cache->regions * cache->region_blocks * sizeof(*cache->block));
	if (cache->insn)
		host_free(cache->insn, cache->regions * cache->region_insns * sizeof(*cache->insn));
	cache->block = 0;
	cache->insn = 0;
}

void jit_cache_flush(struct jit_cache *cache)
{
	empty(cache);
	cache->flushes++;
}

bool jit_cache_room(const struct jit_cache *cache)
{
	return cache->used + JIT_BLOCK_CODE <= (cache->region + 1) * cache->region_size &&
	       cache->insns + JIT_BLOCK_INSNS <= (cache->region + 1) * cache->region_insns &&
	       cache->blocks_end[cache->region] < (cache->region + 1) * cache->region_blocks;
}

/* Links are written everywhere. The guest's vector registers may be in the host's: no memset. */
static void settle(struct jit_cache *cache)
{
	host_code_settled(&cache->code, 0, cache->code.size);
	for (unsigned i = 0; i < JIT_UNSETTLED / 64; i++)
		cache->unsettled[i] = 0;
	cache->unsettled_pages = 0;
}

static void written(struct jit_cache *cache, size_t offset, size_t bytes)
{
	size_t end = (offset + bytes - 1) / GUEST_PAGE_SIZE;

	for (size_t page = offset / GUEST_PAGE_SIZE; page <= end; page++) {
		uint64_t *word = &cache->unsettled[page % JIT_UNSETTLED / 64], bit = UINT64_C(1) << page % 64;

		cache->unsettled_pages += !(*word & bit);
		*word |= bit;
	}
	if (cache->unsettled_pages >= SETTLE_PAGES)
		settle(cache);
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
	written(cache, block->begin, block->end);
}

void jit_cache_link(struct jit_cache *cache, uint8_t *displacement, const struct jit_block *block)
{
	emit_jump_set(displacement, jit_block_near(cache, block));
	written(cache, (size_t)(displacement - cache->code.write), sizeof(int32_t));
}

const struct jit_block *jit_cache_block_at(const struct jit_cache *cache, const uint8_t *pc)
{
	uint64_t offset = (uint64_t)(pc - cache->code.execute);
	unsigned region = region_of(cache, (uint32_t)offset);
	uint32_t low = region * cache->region_blocks, high;

	if (region >= cache->regions)
		return 0;
	high = cache->blocks_end[region];
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (cache->block[middle].begin + cache->block[middle].end <= offset)
			low = middle + 1;
		else
			high = middle;
	}
	return low < cache->blocks_end[region] && cache->block[low].begin <= offset ? &cache->block[low] : 0;
}

/* --- a region goes --- */

static unsigned page_slot(const struct guest_memory *memory, const struct jit_block *block)
{
	return jit_block_page(memory, block) * 0x9e3779b1u >> (32 - JIT_PAGE_BITS);
}

static void hash_remove(struct jit_cache *cache, const struct jit_block *block)
{
	uint32_t *link = &cache->hash[jit_cache_slot(block->hva, block->key)];
	uint32_t number = (uint32_t)(block - cache->block) + 1;

	while (*link && *link != number)
		link = &cache->block[*link - 1].next;
	if (*link)
		*link = block->next;
}

/* Where the jump goes whose displacement is at that offset. What is not to be written is read where it runs: it is in memory there. */
static uint32_t jump_target(const struct jit_cache *cache, uint32_t displacement)
{
	int32_t distance;

	__builtin_memcpy(&distance, cache->code.execute + displacement, sizeof(distance));
	return displacement + (uint32_t)sizeof(distance) + (uint32_t)distance;
}

/* Its jumps into the region go to their stubs. */
static void block_unlink(struct jit_cache *cache, const struct jit_block *block, unsigned region)
{
	uint32_t end = block->begin + block->end, bytes = jit_key_direct(block->key) ? JIT_STUB_BYTES_DIRECT : JIT_STUB_BYTES;

	for (unsigned i = 0; i < block->stubs; i++, end -= bytes) {
		uint32_t site = jit_site(cache->code.execute + end - sizeof(site));
		uint32_t displacement = end + (uint32_t)((int32_t)site >> JIT_SITE_LINK_SHIFT);

		if (region_of(cache, jump_target(cache, displacement)) == region)
			emit_jump_set(cache->code.write + displacement, cache->code.write + end - bytes);
	}
}

static void group_links_drop(struct jit_cache *cache, unsigned region)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < cache->group_links; i++) {
		const struct jit_group_link *link = &cache->group_link[i];
		uint8_t *at = cache->code.write + link->at;

		if (region_of(cache, link->at) == region)
			continue;
		if (region_of(cache, jump_target(cache, link->at + 1)) == region)
			__builtin_memcpy(at, link->call, sizeof(link->call));
		else
			cache->group_link[kept++] = *link;
	}
	cache->group_links = kept;
}

static void region_drop(struct jit_cache *cache, const struct guest_memory *memory, unsigned region)
{
	struct jit_block *first = &cache->block[region * cache->region_blocks], *end = &cache->block[cache->blocks_end[region]];

	__builtin_memset(cache->dropped_page, 0, sizeof(cache->dropped_page));
	for (struct jit_block *block = first; block < end; block++) {
		unsigned slot = page_slot(memory, block);

		hash_remove(cache, block);
		cache->dropped_page[slot / 64] |= UINT64_C(1) << slot % 64;
	}
	for (unsigned other = 0; other < cache->regions; other++) {
		if (other == region)
			continue;
		for (uint32_t i = other * cache->region_blocks; i < cache->blocks_end[other]; i++) {
			const struct jit_block *block = &cache->block[i];
			unsigned slot = page_slot(memory, block);

			if (cache->dropped_page[slot / 64] >> slot % 64 & 1)
				block_unlink(cache, block, region);
		}
	}
	group_links_drop(cache, region);
	settle(cache);
}

static unsigned region_choose(struct jit_cache *cache)
{
	unsigned others = cache->regions - 1;

	cache->random ^= cache->random << 13;
	cache->random ^= cache->random >> 7;
	cache->random ^= cache->random << 17;
	return (cache->region + 1 + (unsigned)(cache->random % others)) % cache->regions;
}

void jit_cache_make_room(struct jit_cache *cache, const struct guest_memory *memory, const uint8_t **begin, const uint8_t **end)
{
	unsigned next = cache->region + 1;

	*begin = *end = cache->code.execute;
	if (++cache->filled >= cache->regions) {
		cache->filled = cache->regions;
		next = region_choose(cache);
		region_drop(cache, memory, next);
		*begin = cache->code.execute + next * cache->region_size;
		*end = *begin + cache->region_size;
		cache->flushes++;
	}
	region_begin(cache, next);
}

void jit_cache_group_link(struct jit_cache *cache, uint8_t *at, const struct jit_block *careful)
{
	struct jit_group_link *link = &cache->group_link[cache->group_links];
	struct emitter e = {.p = at};

	if (cache->group_links == JIT_GROUP_LINKS)
		return;
	cache->group_links++;
	link->at = (uint32_t)(at - cache->code.write);
	__builtin_memcpy(link->call, cache->code.execute + link->at, sizeof(link->call));
	emit_jump_set(emit_jump(&e), jit_block_near(cache, careful));
	written(cache, link->at, sizeof(link->call));
}
