/* SPDX-License-Identifier: Apache-2.0 */
/*
 * block.c - the interpreter's cache of decoded blocks: decoding, keeping, dropping. See block.h.
 */
#include "engine/interp/block.h"

enum status interp_cache_create(struct interp_cache *cache)
{
	cache->arena = host_allocate(INTERP_ARENA);
	return cache->arena ? STATUS_OK : STATUS_NO_MEMORY;
}

void interp_cache_destroy(struct interp_cache *cache)
{
	if (cache->arena)
		host_free(cache->arena, INTERP_ARENA);
	cache->arena = 0;
}

void interp_cache_flush(struct interp_cache *cache)
{
	__builtin_memset(cache->hash, 0, sizeof(cache->hash));
	cache->used = 0;
	cache->flushes++;
}

struct interp_block *interp_block_decode(struct interp_cache *cache, struct x86_code_pages *pages, struct x86_cpu *cpu,
					 const uint8_t *hva, unsigned available)
{
	size_t most = sizeof(struct interp_block) + INTERP_BLOCK_INSNS * sizeof(struct x86_insn);
	unsigned span = available < INTERP_BLOCK_INSNS * 15 ? available : INTERP_BLOCK_INSNS * 15;
	struct interp_block *block;
	unsigned length = 0, count = 0;

	if (cache->used + most > INTERP_ARENA)
		interp_cache_flush(cache);
	block = (struct interp_block *)(cache->arena + cache->used);
	/* Marked generously and before the first byte is read: an instruction's length is not known yet. */
	block->generation = x86_code_page_mark(pages, cpu, hva, span < 256 ? span : 256);
	if (span > 256)
		span = 256;
	while (count < INTERP_BLOCK_INSNS) {
		struct x86_insn *insn = &block->insn[count];

		if (length >= span || x86_decode(insn, hva + length, span - length, cpu->code_size) != X86_DECODE_OK)
			break;
		length += insn->length;
		count++;
		if (insn->row->traits & X86_ENDS_BLOCK)
			break;
	}
	if (!count)
		return 0;
	block->hva = hva;
	block->page = (uint32_t)guest_memory_page(pages->memory, hva);
	block->code_size = cpu->code_size;
	block->count = (uint8_t)count;
	block->length = (uint16_t)length;
	cache->used += (sizeof(*block) + count * sizeof(struct x86_insn) + 15) & ~(size_t)15;
	cache->hash[interp_block_slot(hva, cpu->code_size)] = block;
	cache->decoded++;
	return block;
}
