/* SPDX-License-Identifier: Apache-2.0 */
/*
 * code_watch.h - looks at what a translating engine makes: for dumps (`holon run --jit-dump`) and for the names that a profiler shows.
 *
 * An engine that translates calls every watch of vm->code_watch for each block, when its code is complete and before it runs.
 */
#ifndef HOLON_CODE_WATCH_H
#define HOLON_CODE_WATCH_H

#include <stdint.h>

enum code_span_kind {
	CODE_ENTRY, /* before the first instruction */
	CODE_INSN,  /* a guest instruction begins */
	CODE_MORE,  /* code of the same instruction goes on behind data */
	CODE_DATA,  /* 32-bit words that are not executed */
	CODE_EXIT,  /* behind the last instruction */
};

/* Host code from one place to where the next span, or the block, ends. */
struct code_span {
	uint16_t host;        /* offset in the block's host code */
	uint16_t guest;       /* CODE_INSN: offset in its guest code, */
	uint8_t guest_length; /* and how many bytes */
	uint8_t kind;         /* enum code_span_kind */
};

struct code_block {
	unsigned vcpu;
	unsigned code_size; /* of the guest's mode: 4 or 8 */
	unsigned key;       /* the engine's: for which state of the cpu it was made */
	uint64_t address;   /* guest-virtual, where it was first met */
	uint64_t ram;       /* offset in RAM */
	const uint8_t *guest;
	unsigned guest_length;
	const uint8_t *host;   /* where it may be read: */
	uint64_t host_address; /* and where it will be executed */
	unsigned host_length;
	const struct code_span *span; /* ascending, the first at 0 */
	unsigned spans;
};

/* Embedded in whatever watches. `block` is called on the vcpus' threads, several at a time; what it points to is valid during the call. */
struct code_watch {
	void (*block)(struct code_watch *watch, const struct code_block *block);
	struct code_watch *next;
};

#endif
