/* SPDX-License-Identifier: Apache-2.0 */
/*
 * context.h - what translated code finds behind the host's RSP.
 *
 * While translated code runs, RSP points at a struct jit_context, which is the `engine` part of the current struct x86_tlb: one base register reaches
 * the TLB's arrays, the jump cache, the guest registers that have no host register, and the addresses of the thunks. A CR3 switch that keeps
 * its entries (PCID) is a change of RSP. Calls from translated code push one return address into the bytes before the context; thunks then
 * change to the vcpu thread's real stack, so nothing else ever grows there. Offsets -128 to 127 have short encodings: hot things first.
 */
#ifndef HOLON_JIT_CONTEXT_H
#define HOLON_JIT_CONTEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "x86/cpu.h"
#include "x86/tlb.h"

/* Why translated code came back. */
enum jit_exit {
	JIT_EXIT_STEP =
		1, /* the instruction at the site is for x86_step: a fault, a device, a page crossing, a jump to code that is not there yet */
	JIT_EXIT_LINK, /* a direct jump inside the page that is not linked yet */
	JIT_EXIT_POLL, /* attention, at a backward jump: go on at the site's target */
	JIT_EXIT_NEXT, /* a handler has left RIP where to go on */
	JIT_EXIT_ROOM, /* the block has more instructions than there are to the next boundary of COUNTED time */
	JIT_EXIT_TRAP, /* an instruction of the guest trapped on the host (#XM, #DE, alignment): x86_step raises it */
};

/*
 * What follows a call to a thunk in the code, 4 bytes (for a fill 2 more: the distance from the site to where it goes on): bits 0-12 the page offset of the instruction (STEP) or of the target (LINK, POLL) or
 * of the next instruction (handler), 13-21 access size - 1, 22-28 how many instructions of the block were counted and not executed, 29: the
 * access was for a group (plan.c): go on in the careful version; 30: everything before the offset is done: go on there.
 */
#define JIT_SITE_OFFSET(site) ((site)&0x1fff)
#define JIT_SITE_SIZE(site) (((site) >> 13 & 0x1ff) + 1)
#define JIT_SITE_UNDONE(site) ((site) >> 22 & 0x7f)
#define JIT_SITE_GROUP (UINT32_C(1) << 29)
#define JIT_SITE_GO (UINT32_C(1) << 30)
#define JIT_SITE(offset, size, undone) ((uint32_t)(offset) | ((uint32_t)(size)-1) << 13 | (uint32_t)(undone) << 22)

/* A LINK's: bits 13-31 are the way from behind it to the displacement of the jump that came here. */
#define JIT_SITE_LINK_SHIFT 13
#define JIT_STUB_BYTES 8         /* call [rsp + exit_link] and the site, */
#define JIT_STUB_BYTES_DIRECT 11 /* behind XCHG where RSP is the guest's (direct.c) */

#define JIT_GROUP_SLOTS 4

/* Windows (window.h): guest addresses in blocks of 1 GiB, and where a context's guard has a page for each, from the TLB and from RSP. */
#define JIT_BLOCK_SHIFT 30
#define JIT_GUARD_BLOCKS 64                        /* that may be open at once */
#define JIT_GUARD_MASK (UINT64_C(0xfffffff) << 20) /* bits 30-47 choose the page, the 10 below them 4 bytes of it */
#define JIT_GUARD_SCALE 2
#define JIT_GUARD_SIZE (UINT64_C(3) << 29) /* CPL 0's is half of it behind CPL 3's: neither opens what lies in both */
#define JIT_GUARD_OF(user) ((user) ? -(INT64_C(3) << 29) : -(INT64_C(1) << 30))
#define JIT_GUARD(user) ((int32_t)(JIT_GUARD_OF(user) - (int64_t)offsetof(struct x86_tlb, engine)))

struct jit_context {
	/* Flag-free constants for PEXT. */
	uint64_t page_mask;     /* a TLB index: bits 12 and up, X86_TLB_BITS of them */
	uint64_t high_mask;     /* bits 12-63: 0 left if a tag matches */
	uint64_t jump_mask;     /* which bits of RIP index the jump cache: calls and jumps, */
	uint64_t return_mask;   /* and returns; 0 while attention is wanted: every lookup misses, every poll leaves */
	uint64_t code_base;     /* guest-virtual address of the page that runs */
	uint64_t r11, r14, r15; /* the guest's */
	uint64_t fs_base, gs_base;
	uint64_t vector_out;      /* 1: the guest's vector registers are in cpu->s, not in the host's: 0 would be "in the host's" */
	uint64_t guard_mask;      /* JIT_GUARD_MASK */
	uint64_t kernel_distance; /* from guest-virtual to host addresses (window.h) at CPL 0, */
	uint64_t undistance;      /* and back at CPL 3 (direct.c) */
	/* thunks: call [rsp + x] */
	void (*exit_link)(void), (*jump_fill)(void);
	/* --- 128 --- */
	uint64_t group[JIT_GROUP_SLOTS]; /* addends */
	void (*fill_read)(void), (*fill_write)(void), (*handler)(void);
	void (*fill_stack[X86_TLB_MODES][2])(void); /* for reads, for writes */
	void (*return_fill)(void), (*vector_load)(void), (*handler_end)(void), (*exit_poll)(void);
	uint64_t not_if, not_ac, status,
		system; /* sets of RFLAGS bits: PEXT and PDEP with the same mask are an AND without flags */
	uint64_t count; /* instructions, if the translation counts them; its sign says that the room is used up */
	uint64_t sign_mask;
	void (*exit_room)(void);
	struct x86_cpu *cpu;
	uint64_t host_rsp;   /* jit_enter's frame */
	uint64_t target;     /* where jit_enter goes */
	const uint8_t *site; /* of the exit */
	uint64_t spill;
	uint64_t linear; /* of the access that missed */
	uint64_t trap_pc;
	uint64_t saved[8]; /* caller-saved guest registers around a fill */
	uint64_t x87_out;  /* as vector_out, of the x87 registers */
	void (*x87_load)(void);
	uint8_t *x87_area;                /* JIT_X87_AREA bytes for XSAVE and XRSTOR */
	uint64_t x87_base;                /* the last x87 instruction's traces (x87.c): its page, */
	uint64_t x87_fdp;                 /* its memory operand's address, */
	uint64_t bit_far[3], bit_near[3]; /* of a bit's number, for operands of 2, 4, 8 bytes: which operand, and which bit of it */
	uint64_t df, not_df;              /* sets of RFLAGS bits */
	uint32_t x87_trace;               /* opcode and page offset; 0: none since the state was loaded */
	uint16_t flags;
	void (*light_syscall)(void), (*light_sysret)(void), (*light_iret)(void);
	uint64_t program_distance;         /* at CPL 3 */
	uint64_t direct;                   /* the same, or 0: what RSP is ahead of the guest's in the code that runs */
	uint64_t tsc_slow;                 /* 0: the guest's TSC is the host's plus tsc_offset, before IA32_TSC_ADJUST */
	uint64_t tsc_offset;               /* as long as the vcpu runs */
	uint64_t canonical, not_canonical; /* bits 47-63; 1-16 */
	uint16_t jump_key[2];       /* what the jump caches' entries were translated for, but for the mode: of CPL 0-2 and of 3 */
	uint64_t window_version[2]; /* of the windows that these distances are for */
	uint32_t open[2][JIT_GUARD_BLOCKS]; /* blocks whose page of the guard can be read */
	unsigned opens[2];
	uint64_t trap_address; /* of a page fault; 0: another trap */
};
_Static_assert(sizeof(struct jit_context) <= X86_TLB_ENGINE, "the TLB reserves this much");

enum jit_fill { JIT_FILL_READ, JIT_FILL_WRITE, JIT_FILL_JUMP, JIT_FILL_RETURN };

#define JIT_OFFSET(member) ((int32_t)offsetof(struct jit_context, member))
/* From RSP to the arrays. */
#define JIT_TLB(member) ((int32_t)(offsetof(struct x86_tlb, member) - offsetof(struct x86_tlb, engine)))

/* The word at a site, which lies at any address. */
static inline uint32_t jit_site(const uint8_t *site)
{
	uint32_t word;

	__builtin_memcpy(&word, site, sizeof(word));
	return word;
}

static inline struct jit_context *jit_context(struct x86_tlb *tlb)
{
	return (struct jit_context *)tlb->engine;
}

/* light.c: what light_* call. The code to go on at, with RIP in cpu->reg; NULL: nothing has been done, the handler is for that. */
enum jit_light { JIT_LIGHT_SYSCALL, JIT_LIGHT_SYSRET, JIT_LIGHT_IRET, JIT_LIGHT_LINK };
const void *jit_light(struct jit_context *context, const uint8_t *site, unsigned kind);

/* thunk.c */
enum jit_exit jit_enter(struct jit_context *context, const void *target);
void jit_thunk_fill_read(void);
void jit_thunk_fill_write(void);
/* Renew the copy of a page's entry that accesses to the stack use (x86_tlb.stack): by access mode, for reads and for writes. */
void jit_thunk_stack_read_0(void);
void jit_thunk_stack_read_1(void);
void jit_thunk_stack_read_2(void);
void jit_thunk_stack_write_0(void);
void jit_thunk_stack_write_1(void);
void jit_thunk_stack_write_2(void);
void jit_thunk_handler(void);
void jit_thunk_handler_end(void);
void jit_thunk_light_syscall(void);
void jit_thunk_light_sysret(void);
void jit_thunk_light_iret(void);
void jit_thunk_vector_load(void);
void jit_thunk_x87_load(void);
void jit_thunk_jump_fill(void);
void jit_thunk_return_fill(void);
void jit_thunk_exit_link(void);
void jit_thunk_exit_poll(void);
void jit_thunk_exit_room(void);
void jit_thunk_trap(void);
void jit_thunk_jump_poll(void);
void jit_thunk_jump_poll_direct(void);
/* Stores the guest's vector registers and MXCSR into cpu->s and makes the host's MXCSR the default again. */
void jit_vector_store(struct x86_state *state);

/* x87.c: the same for the x87 unit, when x87_out is 0. */
void jit_x87_store(struct jit_context *context);
#define JIT_X87_AREA 576 /* bytes at a multiple of 64; bytes 512 to 575 begin as 0 */

/* run.c, find.c: called by thunks on the thread's own stack, guest vector registers still in the host's. */
/* kind: enum jit_fill. true: what was looked up is there now. */
bool jit_fill(struct jit_context *context, uint64_t address, uint32_t site, unsigned kind);
struct windows;
struct windows *jit_windows(struct x86_cpu *cpu);
bool jit_handler(struct jit_context *context, const struct x86_insn *insn, uint32_t site);
/* The same at a block's end: the code to go on at, in cpu->tlb's context, or NULL to leave. */
const void *jit_handler_end(struct jit_context *context, const struct x86_insn *insn, uint32_t site);
/* A direct jump inside the page that is not linked: links it if its target is translated, and goes there. NULL: leave. */
const void *jit_link(struct jit_context *context, const uint8_t *site);
/* The code for 64-bit code at `rip` in a privilege and access mode that the vcpu may not be in yet; NULL: there is none yet, or it may not be entered at once. */
const void *jit_target(struct jit_context *context, uint64_t rip, uint64_t rsp, unsigned cpl, unsigned mode);
/* Counted time: every boundary between instructions may be looked at. */
bool jit_limited(const struct x86_cpu *cpu);

#endif
