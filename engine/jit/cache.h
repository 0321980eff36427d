/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache.h - a vcpu's translated blocks: where they are, which are stale, what to do when there is no room.
 *
 * A cache per vcpu: translation, linking and dropping need no lock and stop nobody. Blocks are found by where their bytes lie in RAM and by
 * the mode that they were translated for (the key), so that processes share them. A block is stale when its page's code generation has moved.
 * Direct jumps are linked inside a page only; everything else goes through the jump cache in struct x86_tlb, which is emptied
 * when a mapping or a page's code changes. So a stale block can be reached only from stale blocks of its own page.
 *
 * The cache is filled a region at a time. When all are full, the blocks of one go, chosen at random: a program larger than the cache that runs in circles
 * would find nothing again if the oldest went. Jumps that lead there lead to their stubs again, which every block has at its end for all its jumps.
 */
#ifndef HOLON_JIT_CACHE_H
#define HOLON_JIT_CACHE_H

#include <holon/host.h>

#include "x86/code_page.h"
#include "x86/cpu.h"

#define JIT_HASH_BITS 17
#define JIT_HASH_PAGE_BITS 8                   /* of them: where in its page a block begins */
#define JIT_CACHE_DEFAULT (UINT64_C(30) << 20) /* of host code, for all vcpus together */
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

/* Of a program in a window: there the host's RSP is the guest's (direct.c). */
static inline bool jit_key_direct(unsigned key)
{
	return (key & (JIT_KEY_WINDOW | JIT_KEY_USER)) == (JIT_KEY_WINDOW | JIT_KEY_USER);
}

struct jit_block {
	const uint8_t *hva;
	uint32_t generation;
	uint32_t begin; /* offset in the cache of its first byte; from there: */
	uint32_t next;  /* of its hash slot: block number + 1, 0 ends the chain */
	uint16_t code;  /* the far entry, for which R14 = RIP, */
	uint16_t near;  /* the near entry, for jumps inside the page, */
	uint16_t end;   /* and where its code ends, with its stubs last */
	uint16_t key;
	uint8_t traps; /* how many sites, after the code's end; after them, of a CROSSING one, struct jit_crossing */
	uint8_t stubs;
};

/*
 * Where an instruction that can trap lies, in a byte each: there is one for every access in a window. Undone 0: none, the distances are too long for
 * one entry.
 */
struct jit_trap_site {
	uint8_t host;   /* from the last entry's, or the far entry, to the end of its code */
	uint8_t guest;  /* from the last entry's, or the block's first, to its first byte */
	uint8_t undone; /* instructions of the block from this one on, and 1 */
	int8_t stack;   /* what RSP has still to be moved by there (stack.c), in 8 bytes */
};

/* The page where a block's only instruction ends. */
struct jit_crossing {
	const uint8_t *second;
	uint32_t generation;
};

/* A check's miss that goes to the careful version of its block: where, and what its call was. */
struct jit_group_link {
	uint32_t at;
	uint8_t call[5];
};
#define JIT_GROUP_LINKS 256
#define JIT_REGIONS 16
#define JIT_PAGE_BITS 16
#define JIT_UNSETTLED (1u << 13)

struct jit_cache {
	struct host_code code;
	/* Of the region that is being filled: where the next code and the next copy go. */
	size_t used;
	uint32_t insns;
	unsigned region, regions, filled;     /* its number; how many there are, and how many have been filled */
	size_t region_size;                   /* bytes of code */
	uint32_t region_insns, region_blocks; /* as many of each */
	uint32_t blocks_end[JIT_REGIONS];     /* behind each region's last */
	struct x86_insn *insn;                /* copies for handlers */
	struct jit_block *block;              /* in the order of their code */
	uint32_t hash[1u << JIT_HASH_BITS];   /* block number + 1, the head of a chain */
	struct jit_group_link group_link[JIT_GROUP_LINKS];
	unsigned group_links;
	uint64_t dropped_page[(1u << JIT_PAGE_BITS) / 64]; /* by a hash of their numbers: pages that lost blocks */
	uint64_t random;
	/* The writable mapping's pages that were written since it was given back, by the low bits of their numbers, and how many. */
	uint64_t unsettled[JIT_UNSETTLED / 64];
	unsigned unsettled_pages;
	uint64_t translated, flushes;
};

enum status jit_cache_create(struct jit_cache *cache, uint64_t size) must_check;
void jit_cache_destroy(struct jit_cache *cache);
/* Drops everything. The caller empties the jump caches. */
void jit_cache_flush(struct jit_cache *cache);
/* Is there room for another block, whatever its size? */
bool jit_cache_room(const struct jit_cache *cache);
/*
 * Makes room, by dropping what is in the way if need be. Between two instructions. The caller drops the jump caches' entries for the host code
 * [*begin, *end), which may be none.
 */
void jit_cache_make_room(struct jit_cache *cache, const struct guest_memory *memory, const uint8_t **begin, const uint8_t **end);
/* Takes the place of an older one of the same bytes and key. */
void jit_cache_insert(struct jit_cache *cache, struct jit_block *block);
/* The jump whose displacement that is (writable) goes to the block. */
void jit_cache_link(struct jit_cache *cache, uint8_t *displacement, const struct jit_block *block);
/* The block whose code contains host address pc, or NULL. */
const struct jit_block *jit_cache_block_at(const struct jit_cache *cache, const uint8_t *pc);
/* The call at `at` (writable) becomes a jump to the block's near entry, if there is room to remember what it was. */
void jit_cache_group_link(struct jit_cache *cache, uint8_t *at, const struct jit_block *careful);

static inline const uint8_t *jit_block_code(const struct jit_cache *cache, const struct jit_block *block)
{
	return cache->code.execute + block->begin + block->code;
}

/* In the writable mapping. */
static inline uint8_t *jit_block_near(const struct jit_cache *cache, const struct jit_block *block)
{
	return cache->code.write + block->begin + block->near;
}

static inline uint32_t jit_block_page(const struct guest_memory *memory, const struct jit_block *block)
{
	return (uint32_t)guest_memory_page(memory, block->hva);
}

/*
 * What is behind a block's code is read where it runs: that is in memory. The writable mapping would bring its surroundings with it at a read, for every page is in the
 * file already.
 */
static inline const struct jit_trap_site *jit_block_traps(const struct jit_cache *cache, const struct jit_block *block)
{
	return (const struct jit_trap_site *)(cache->code.execute + block->begin + block->end);
}

/* Behind all else of a block, not aligned; to be written. */
static inline uint8_t *jit_block_crossing(const struct jit_cache *cache, const struct jit_block *block)
{
	return cache->code.write + block->begin + block->end + block->traps * sizeof(struct jit_trap_site);
}

/* A page's blocks are near each other: what runs together is looked for in the same cache lines. */
static inline unsigned jit_cache_slot(const uint8_t *hva, unsigned key)
{
	uint64_t page = (uint64_t)(uintptr_t)hva / GUEST_PAGE_SIZE, within = (uint64_t)(uintptr_t)hva % GUEST_PAGE_SIZE;
	uint64_t hash = (page ^ (uint64_t)key << 40) * UINT64_C(0x9e3779b97f4a7c15);

	return (unsigned)(hash >> (64 - JIT_HASH_BITS) ^ within >> (12 - JIT_HASH_PAGE_BITS));
}

static inline struct jit_block *jit_cache_find(const struct jit_cache *cache, const struct guest_memory *memory, const uint8_t *hva,
					       unsigned key)
{
	uint32_t number = cache->hash[jit_cache_slot(hva, key)];

	while (number) {
		struct jit_block *block = &cache->block[number - 1];

		if (block->hva == hva && block->key == key)
			return atomic_load_explicit(&memory->code_generation[jit_block_page(memory, block)],
						    memory_order_relaxed) == block->generation
				       ? block
				       : (struct jit_block *)0;
		number = block->next;
	}
	return 0;
}

static inline struct jit_block *jit_cache_find_crossing(const struct jit_cache *cache, const struct guest_memory *memory,
							const uint8_t *hva, const uint8_t *second, unsigned key)
{
	struct jit_block *block = jit_cache_find(cache, memory, hva, key | JIT_KEY_CROSSING);
	struct jit_crossing crossing;

	if (!block)
		return 0;
	__builtin_memcpy(&crossing, jit_block_traps(cache, block) + block->traps, sizeof(crossing));
	return crossing.second == second && atomic_load_explicit(&memory->code_generation[guest_memory_page(memory, second)],
								 memory_order_relaxed) == crossing.generation
		       ? block
		       : (struct jit_block *)0;
}

#define JIT_BLOCK_INSNS 64
#define JIT_BLOCK_JUMPS 4                       /* conditional ones: the fourth ends it */
#define JIT_BLOCK_CODE (JIT_BLOCK_INSNS * 480u) /* more than any block can need */

#endif
