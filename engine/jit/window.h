/* SPDX-License-Identifier: Apache-2.0 */
/*
 * window.h - the host's MMU as the TLB of busy guest programs.
 *
 * A window is a view of one guest address space as its CPL 3 sees it, or of what CPL 0 sees with SMAP. The guest's RAM is mapped a second time, page by page as faults ask for it, at a
 * fixed distance from its guest-virtual addresses, one distance a region of 1 TiB. Translated code then needs no check: the region of the base register
 * gives the distance (operand.c), and what may not be accessed is not mapped. So a load, store or jump reaches what the guest's page tables
 * allow, as with the soft TLB; whatever makes that one drop an entry makes the window drop its page.
 *
 * A fill costs a signal and a mapping, some 20 us, a soft one a hundredth of that; an access costs two instructions, a soft check seven. So a window is
 * for a program that has been busy for a while, and is taken from it again when it costs too much.
 *
 * CPL 0's window serves all address spaces. Pages that are not global stay when CR3 changes if the entries of the new top page table are the
 * same, for then so are all tables below: as with any TLB, what changes there is seen after a flush.
 *
 * Why no address escapes. The host address is base + distance + displacement, where distance is that of the region that bits 40-47 of the base
 * name. Each region's space has 4 GiB of nothing on either side, more than any displacement, and regions that have no space share
 * one in which nothing is ever mapped. Where the base is not canonical, the sum is not either: bits 48-63 of the distance and the base do
 * not cancel out, and adding a displacement to the lower 48 bits does not carry that far.
 */
#ifndef HOLON_JIT_WINDOW_H
#define HOLON_JIT_WINDOW_H

#include <holon/config.h>

#include "engine/jit/context.h"
#include "x86/cpu.h"

#define WINDOWS 5         /* a vcpu; the first is CPL 0's */
#define WINDOW_SPACES 24  /* a vcpu, at most; the host has room for some 120 */
#define WINDOW_REGIONS 8  /* a window */
#define WINDOW_PAGES 8192 /* a window */
#define WINDOW_DROPS 32
#define WINDOW_CANDIDATES 8

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
	bool stale;     /* no page is known to be right any more, */
	bool own_stale; /* or none that is not global */
	bool resting;   /* has cost too much of late: its program runs without it */
	struct {
		uint8_t region, space;
		uint64_t root[2]; /* CPL 0's: the entries of the top page table that it is under */
	} region[WINDOW_REGIONS];
	unsigned regions;
	struct window_page *page;
	uint16_t *hash; /* page number + 1, by gva */
	unsigned pages, gone;
	uint64_t drop[WINDOW_DROPS]; /* addresses of pages that may be wrong; more than fit: stale */
	unsigned drops;
	uint64_t version;                  /* stepped when its regions change; no two windows' are alike */
	uint64_t busy;                     /* ns that its program has run */
	uint64_t filled, refused, checked; /* faults that showed a page, those that did not, pages looked up again */
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
	uint8_t *view;   /* the address space of all spaces */
	unsigned spaces; /* 0: there are no windows. Space 0 stays empty */
	uint32_t space_used;
	unsigned pages_max; /* all windows' together: the host counts mappings */
	struct window window[WINDOWS];
	unsigned used;
	bool changed[2]; /* something was dropped since windows_use: in CPL 0's window, in another */
	struct window_candidate candidate[WINDOW_CANDIDATES];
	unsigned next_candidate;
	struct window_candidate kernel;
	uint64_t version, tick;
};

/* cpu: whose `dropped` they become. vcpus: how many share the host's address space. Without room there are no windows: no error. */
void windows_create(struct windows *windows, struct x86_cpu *cpu, enum jit_window policy, unsigned vcpus);
void windows_destroy(struct windows *windows);

/* For the code that `context` runs next at `cpl`: LATER: windows_use has to be called first, at that CPL. */
enum window_state { WINDOW_NONE, WINDOW_READY, WINDOW_LATER };
enum window_state windows_state(const struct windows *windows, const struct jit_context *context, unsigned cpl);
/* What was dropped goes, the context's distances are made right. Uses vector registers. */
enum window_state windows_use(struct windows *windows, struct jit_context *context);
/* In the signal: a page fault of windowed code at a host address. true: the page is there now. */
bool windows_fault(struct windows *windows, uint64_t address, bool write);
/* Windowed code trapped at `address` where no region has a space; RIP is on the instruction. true: its region has one now. */
bool windows_extend(struct windows *windows, uint64_t address, const struct x86_insn *insn);
/* Whenever the vcpu is interrupted. */
void windows_tick(struct windows *windows);

#endif
