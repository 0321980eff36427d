/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz.h - the CPU oracle's parts: a random block of user-mode instructions (fuzz_generate.c), run on the host's processor
 * (fuzz_native.c) and in an engine (fuzz_engine.c), compared and boiled down (fuzz_oracle.c).
 *
 * Both sides see the same virtual addresses. A block sits in the code pages, which are filled with INT3, and ends in whatever exception comes
 * first, at the latest that INT3's #BP: state is what the handler finds. So faults in mid-block need no special case.
 */
#ifndef HOLON_TEST_CPU_FUZZ_H
#define HOLON_TEST_CPU_FUZZ_H

#include <stdbool.h>
#include <stdint.h>

#define FUZZ_PAGE 4096u

/*
 * The window: user pages on both sides, with guard pages around it. Frames are physical pages; two of the window's pages show one frame.
 *   page 0: none   1: frame 0   2: frame 1   3: frame 2, read-only   4: none   5: frame 3   6: frame 3 again   7: frame 4   8: none
 */
#define FUZZ_WINDOW UINT64_C(0x10000000)
#define FUZZ_WINDOW_PAGES 9
#define FUZZ_DATA_FRAMES 5
extern const int8_t fuzz_window_frame[FUZZ_WINDOW_PAGES]; /* -1: none */
#define FUZZ_READONLY_PAGE 3

/* Two pages of code, then none. */
#define FUZZ_CODE UINT64_C(0x10080000)
#define FUZZ_CODE_FRAMES 2
#define FUZZ_FRAMES (FUZZ_DATA_FRAMES + FUZZ_CODE_FRAMES)

/* GS's base; FS is the C library's on the native side, so that no block uses it. */
#define FUZZ_GS_BASE (FUZZ_WINDOW + FUZZ_PAGE + 0x840)

/* Code segments: what the block runs as. The selectors are Linux's. */
enum fuzz_mode { FUZZ_64, FUZZ_32 };
#define FUZZ_CS64 0x33
#define FUZZ_CS32 0x23
#define FUZZ_SS 0x2b

struct fuzz_state {
	uint64_t gpr[16];
	uint64_t rip;
	uint64_t rflags;
	uint32_t mxcsr;
	uint16_t fcw, fsw;
	uint8_t ftw;       /* abridged */
	uint8_t st[8][16]; /* ST(0) first; 10 bytes used */
	uint8_t ymm[16][32];
	uint16_t fop; /* the last x87 instruction's traces: engines only */
	uint64_t fip, fdp;
};

enum fuzz_outcome {
	FUZZ_EXCEPTION, /* the rule: `vector`, `error`, `cr2` and the state say it all */
	FUZZ_ENDLESS,   /* too many steps, or too long: not compared */
	FUZZ_STRAYED,   /* went to bytes that nobody vetted: not compared */
	FUZZ_BROKEN,    /* the engine shut down or failed: a mismatch whatever the other side says */
};

struct fuzz_result {
	enum fuzz_outcome outcome;
	unsigned vector;
	uint32_t error;
	uint64_t cr2; /* of a page fault, else 0 */
	struct fuzz_state state;
};

#define FUZZ_INSTRUCTIONS 16
struct fuzz_instruction {
	uint8_t bytes[15];
	uint8_t length;
	uint8_t branch_offset, branch_size; /* of a relative displacement to fill in; size 0: none */
	uint8_t branch_skip;                /* how many instructions it jumps over */
	uint8_t rip_offset;                 /* of a RIP-relative disp32; 0: none */
	uint32_t rip_target;
	uint16_t flags_tested, flags_defined, flags_undefined; /* low 16 bits of RFLAGS */
	bool anywhere;                                         /* a return or an indirect jump: perhaps to what lies before it */
};

struct fuzz_block {
	enum fuzz_mode mode;
	unsigned count;
	struct fuzz_instruction instruction[FUZZ_INSTRUCTIONS];
	unsigned start; /* offset in the code pages */
	struct fuzz_state initial;
	/* Made by fuzz_block_lay: */
	unsigned length;
	uint8_t bytes[FUZZ_INSTRUCTIONS * 15];
	uint8_t boundary[FUZZ_INSTRUCTIONS * 15 + 1]; /* 1: an instruction starts here, or the block ends */
	/* RFLAGS bits that no specification fixes: by the offset of the instruction that comes next, and all there are. */
	uint16_t flags_undefined[FUZZ_INSTRUCTIONS * 15 + 1], flags_ever_undefined;
	bool uses_undefined; /* an instruction reads one that is undefined by then */
	bool anywhere;       /* it may go back: any instruction may come after any */
};

/* fuzz_generate.c. random: splitmix64's state. */
uint64_t fuzz_random(uint64_t *state);
void fuzz_generate_init(void);
void fuzz_generate(struct fuzz_block *block, enum fuzz_mode mode, uint64_t seed);
/* (Re)computes bytes, branches and boundaries from the instructions. */
void fuzz_block_lay(struct fuzz_block *block);
void fuzz_generate_report(void);

/* fuzz_native.c */
void fuzz_native_init(void);
/* The data frames, and the code pages: what is written here the block sees. */
extern uint8_t *fuzz_native_data;
extern uint8_t *fuzz_native_code;
void fuzz_native_run(const struct fuzz_block *block, struct fuzz_result *result);

/* fuzz_engine.c: "step" (x86_step over a bare CPU), "host" (the native side again: a control) or an engine's name through a vcpu. */
struct fuzz_engine {
	const char *name;
	bool (*init)(const char *name);
	uint8_t *(*data)(void); /* guest RAM behind the data frames */
	void (*code_write)(unsigned offset, const uint8_t *bytes, unsigned length);
	void (*run)(const struct fuzz_block *block, struct fuzz_result *result);
};
/* After fuzz_engine_vcpu has run a block, with its data as it was before: x86_step's traces in its place; false: x86_step ended elsewhere. */
bool fuzz_engine_traces(const struct fuzz_block *block, struct fuzz_result *result);
/* Ends a block that a vcpu has run for too long, if there is one: FUZZ_ENDLESS. From a signal handler. */
void fuzz_engine_end(void);
/* The VM of fuzz_engine_vcpu. */
struct vm *fuzz_engine_vm(void);
extern const struct fuzz_engine fuzz_engine_step, fuzz_engine_vcpu, fuzz_engine_host;

#endif
