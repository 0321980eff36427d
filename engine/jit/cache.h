/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache.h - a vcpu's translated blocks: where they are, which are stale, what to do when there is no room.
 *
 * A cache per vcpu: translation, linking and flushing need no lock and stop nobody. Blocks are found by where their bytes lie in RAM and by
 * the mode that they were translated for (the key), so that processes share them. A block is stale when its page's code generation has moved.
 * Direct jumps are linked inside a page only; everything else goes through the jump cache in struct x86_tlb, which is emptied
 * when a mapping or a page's code changes. So no list of links is needed: a stale block can be reached only from stale blocks of its own page.
 */
#ifndef HOLON_JIT_CACHE_H
#define HOLON_JIT_CACHE_H

#include <holon/host.h>

#include "x86/code_page.h"
#include "x86/cpu.h"

#define JIT_HASH_BITS 16
#define JIT_CACHE_DEFAULT (UINT64_C(25) << 20) /* of host code, for all vcpus together */
#define JIT_CACHE_MIN (UINT64_C(1) << 20)      /* for one */

/* The key: everything but the bytes that a translation depends on. */
#define JIT_KEY_MODE 3u /* enum x86_access_mode: the jump caches' entries need not agree in it */
#define JIT_KEY_CODE32 4u
#define JIT_KEY_SSE 8u /* SSE instructions run; else their handlers raise what must be raised */
#define JIT_KEY_AVX 16u
#define JIT_KEY_USER 32u    /* CPL 3 */
#define JIT_KEY_STACK16 64u /* SS.B is 0 in 32-bit code: no stack instruction is native */

#define JIT_KEY_CAREFUL 128u /* a check for each access (plan.c); only entered where a group's check failed, jumps lead back */

#define JIT_KEY_RING0 512u /* CPL 0 */
#define JIT_KEY_SMAP 1024u /* CR4.SMAP */
#define JIT_KEY_X87 2048u  /* x87 and MMX instructions run; else their handlers raise what must be raised */
#define JIT_KEY_PKE 4096u  /* CR4 bits that make instructions #UD or #GP */
#define JIT_KEY_FSGSBASE 8192u
#define JIT_KEY_TSD 16384u
#define JIT_KEY_WINDOW 32768u /* accesses to memory go through a window (window.h) */
#define JIT_KEY_CROSSING 256u /* one instruction that begins in one page and ends in another */

struct jit_block {
	const uint8_t *hva;
	const uint8_t *second; /* CROSSING: the page where it ends */
	uint32_t page;
	uint32_t generation;
	uint32_t second_generation;
	uint32_t begin; /* offsets in the cache: its first byte, */
	uint32_t code;  /* the far entry, for which R14 = RIP, */
	uint32_t near;  /* the near entry, for jumps inside the page, */
	uint32_t end;   /* and where its code ends */
	uint32_t next;  /* of its hash slot: block number + 1, 0 ends the chain */
	uint16_t key;
	uint16_t traps; /* how many entries, after the code's end */
};

/* Where an instruction that can trap lies: host offset of its end in the block's code, guest page offset of its first byte. */
struct jit_trap_site {
	uint16_t host_end;
	uint16_t offset;
	uint16_t undone; /* instructions of the block from this one on */
	int16_t stack;   /* what RSP has still to be moved by there (stack.c) */
};

struct jit_cache {
	struct host_code code;
	size_t used, settled;  /* bytes of code; how many of them the writable mapping need not keep */
	struct x86_insn *insn; /* copies for handlers */
	uint32_t insns, insns_max;
	struct jit_block *block; /* in the order of their code */
	uint32_t blocks, blocks_max;
	uint32_t hash[1u << JIT_HASH_BITS]; /* block number + 1, the head of a chain */
	uint64_t translated, flushes;
};

enum status jit_cache_create(struct jit_cache *cache, uint64_t size) must_check;
void jit_cache_destroy(struct jit_cache *cache);
/* Drops everything. The caller empties the jump caches. */
void jit_cache_flush(struct jit_cache *cache);
/* Is there room for another block, whatever its size? */
bool jit_cache_room(const struct jit_cache *cache);
/* Takes the place of an older one of the same bytes and key. */
void jit_cache_insert(struct jit_cache *cache, struct jit_block *block);
/* The block whose code contains host address pc, or NULL. */
const struct jit_block *jit_cache_block_at(const struct jit_cache *cache, const uint8_t *pc);

static inline unsigned jit_cache_slot(const uint8_t *hva, unsigned key)
{
	uint64_t hash = ((uint64_t)(uintptr_t)hva ^ (uint64_t)key << 40) * UINT64_C(0x9e3779b97f4a7c15);

	return (unsigned)(hash >> (64 - JIT_HASH_BITS));
}

static inline struct jit_block *jit_cache_find(struct jit_cache *cache, const struct guest_memory *memory, const uint8_t *hva,
					       unsigned key)
{
	uint32_t number = cache->hash[jit_cache_slot(hva, key)];

	while (number) {
		struct jit_block *block = &cache->block[number - 1];

		if (block->hva == hva && block->key == key)
			return atomic_load_explicit(&memory->code_generation[block->page], memory_order_relaxed) ==
					       block->generation
				       ? block
				       : (struct jit_block *)0;
		number = block->next;
	}
	return 0;
}

static inline struct jit_block *jit_cache_find_crossing(struct jit_cache *cache, const struct guest_memory *memory,
							const uint8_t *hva, const uint8_t *second, unsigned key)
{
	struct jit_block *block = jit_cache_find(cache, memory, hva, key | JIT_KEY_CROSSING);

	if (!block || block->second != second ||
	    atomic_load_explicit(&memory->code_generation[guest_memory_page(memory, second)], memory_order_relaxed) !=
		    block->second_generation)
		return 0;
	return block;
}

#define JIT_BLOCK_INSNS 64
#define JIT_BLOCK_JUMPS 4                       /* conditional ones: the fourth ends it */
#define JIT_BLOCK_CODE (JIT_BLOCK_INSNS * 480u) /* more than any block can need */

#endif
