/* SPDX-License-Identifier: Apache-2.0 */
/*
 * window.h - the host's MMU as the TLB of busy guest programs.
 *
 * A window is a view of one guest address space as its CPL 3 sees it, or of what CPL 0 sees with SMAP. The guest's RAM is mapped a second time, page by
 * page as faults ask for it, at one fixed distance from its guest-virtual addresses. What may not be accessed is not mapped, so a load or store reaches what
 * the guest's page tables allow, as with the soft TLB; whatever makes that one drop an entry makes the window drop its page.
 *
 * Not all guest addresses can be shown: Holon's own memory is in the same address space. So a window consists of blocks of 1 GiB, each of which has its
 * place in the host, with nothing on either side of it, to itself. For each context and privilege there is a guard: one page of address space
 * a block, that can be read if the window has the block, and else traps. Translated code reads from the page of the base register's block (operand.c)
 * and then makes the access, which needs nothing of what was read and waits for none of it:
 *
 *         pext  rcx, rdi, [rsp + guard_mask]
 *         mov   ecx, [rsp + rcx*4 + guard]
 *         mov   rcx, [rsp + distance]
 *         add   rax, [rdi + rcx + 24]
 *
 * A fill costs a signal and a mapping, some 20 us, a soft one a hundredth of that; an access costs three instructions and no time of its own, a soft check seven
 * and what its loads take. So a window is for a program that has been busy for a while, and rests when it costs too much.
 *
 * CPL 0's window serves all address spaces. Pages that are not global stay when CR3 changes if the entries of the new top page table are the
 * same, for then so are all tables below: as with any TLB, what changes there is seen after a flush.
 *
 * Why no address escapes. The host address is base + distance + displacement. The guard names a block by bits 30-47 of the base. If bits 48-63 are
 * what they are in the block's addresses, base + distance lies in the block's place, and displacements reach less far (operand_far, WINDOW_SPAN)
 * than there is nothing around it (GUARD), or else beyond the addresses that a program can have. If they are not, the sum is a multiple of 2^48 away
 * from that place, and no program has such an address.
 */
#ifndef HOLON_JIT_WINDOW_H
#define HOLON_JIT_WINDOW_H

#include <holon/config.h>

#include "engine/jit/context.h"
#include "x86/cpu.h"

#define WINDOWS 5         /* a vcpu; the first is CPL 0's */
#define WINDOW_PAGES 8192 /* a window */
#define WINDOW_DROPS 32
#define WINDOW_CANDIDATES 8
#define WINDOW_LOW UINT64_C(0x10000) /* programs' windows show nothing below, */
#define WINDOW_HIGH_SHIFT 47         /* and nothing that has a bit from here on */

/* A mapping: `size` bytes of RAM at `gva`. size 0: gone. */
struct window_page {
	uint64_t gva;
	const uint8_t *ram;
	uint32_t size;
	bool writable, global;
};

/* An address space: the page tables' address, and the PCID. */
struct window_owner {
	uint64_t cr3;
	uint16_t pcid;
};

struct window {
	struct window_owner owner; /* in CPL 0's case the last one */
	bool used;
	bool stale;       /* no page is known to be right any more, */
	bool own_stale;   /* or none that is not global */
	bool resting;     /* has cost too much: its program runs without it */
	bool impossible;  /* there was no place for it: its program runs without it */
	int64_t distance; /* if it has blocks: their places' from their addresses */
	struct {
		uint32_t number; /* bits 30-47 of its addresses */
		uint64_t root;   /* CPL 0's: the entry of the top page table that it is under */
	} block[JIT_GUARD_BLOCKS];
	unsigned blocks;
	struct window_page *page;
	uint16_t *hash; /* page number + 1, by gva */
	unsigned pages, gone;
	uint64_t drop[WINDOW_DROPS]; /* addresses of pages that may be wrong; more than fit: stale */
	unsigned drops;
	uint64_t version;     /* stepped when its blocks change; no two windows' are alike */
	uint64_t busy;        /* ns that its program has run */
	int64_t credit;       /* ns that its pages may cost from now on */
	uint64_t rest, until; /* ns: how long it rests, or would; and until when, in `busy` */
	uint64_t last_use;
};

/* A program that may get a window. */
struct window_candidate {
	struct window_owner owner;
	uint64_t busy; /* ns; 0: none */
};

struct windows {
	struct x86_cpu *cpu;
	enum jit_window policy;
	bool gs_any;         /* the base of GS may be below 0 */
	uint8_t *memory;     /* the vcpu's TLB, a guard before each context; NULL: there are no windows */
	unsigned pages_max;  /* all windows' together: the host counts mappings */
	unsigned blocks_max; /* of one window */
	struct window window[WINDOWS];
	unsigned used;
	bool changed[2]; /* something was dropped since windows_use: in CPL 0's window, in another */
	struct window_candidate candidate[WINDOW_CANDIDATES];
	unsigned next_candidate;
	struct window_candidate kernel;
	uint64_t version, tick;
};

/* Before x86_cpu_create: cpu's TLB gets its place. vcpus: how many share the host's address space. Without room there are no windows: no error. */
void windows_create(struct windows *windows, struct x86_cpu *cpu, enum jit_window policy, unsigned vcpus);
/* After x86_cpu_destroy. */
void windows_destroy(struct windows *windows);

/*
 * For the code that `context` runs next at `cpl` with that RSP, which a program's has to lie in the window for it (direct.c): LATER: windows_use has to be
 * called first, at that CPL and RSP.
 */
enum window_state { WINDOW_NONE, WINDOW_READY, WINDOW_LATER };
enum window_state windows_state(const struct windows *windows, const struct jit_context *context, unsigned cpl, uint64_t rsp);
/* What was dropped goes, the context's guard and distance are made right. Uses vector registers. */
enum window_state windows_use(struct windows *windows, struct jit_context *context);
/* In the signal: a page fault of windowed code at a host address. true: the page is there now. */
bool windows_fault(struct windows *windows, uint64_t address, bool write);
/* Windowed code trapped at `address`, of a guard or around a block; RIP is on the instruction. true: the window has the block that it needed now. */
bool windows_extend(struct windows *windows, uint64_t address, const struct x86_insn *insn);
/* The linear address of a memory operand; RIP is on the instruction, of 64-bit code as all in windows is. */
uint64_t windows_operand(const struct x86_cpu *cpu, const struct x86_insn *insn);
/* Whenever the vcpu is interrupted. */
void windows_tick(struct windows *windows);

#endif
