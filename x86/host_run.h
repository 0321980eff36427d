/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host_run.h - one vector, MMX or x87 instruction of the guest, run on the host's processor.
 *
 * vector_run.c and x87.c rewrite an instruction to fixed operand registers and a scratch memory operand, so that few shapes remain; a
 * shape's bytes and a RET are a stub in code pages (host_run.c keeps them by key). A trampoline (host_run_trampoline.S)
 * loads the operand registers from the frame, calls the stub and stores them again. C code never holds vector values in registers.
 */
#ifndef HOLON_X86_HOST_RUN_H
#define HOLON_X86_HOST_RUN_H

/* Offsets in struct host_run_frame, for the trampoline; host_run.c checks them. */
#define HOST_RUN_FROM 0
#define HOST_RUN_TO 40
#define HOST_RUN_MM 160
#define HOST_RUN_RAX 176
#define HOST_RUN_RCX 184
#define HOST_RUN_RDX 192
#define HOST_RUN_RBX 200
#define HOST_RUN_RBP 208
#define HOST_RUN_MXCSR 216
#define HOST_RUN_HOST_MXCSR 220
#define HOST_RUN_HOST_FCW 224
#define HOST_RUN_FLAGS 226
#define HOST_RUN_MEMORY 256
#define HOST_RUN_X87 320

#ifndef __ASSEMBLER__
#include "x86/cpu.h"

/* The fixed operands of the stubs: xmm0 where it is implicit, then these. RSI points to `memory`. */
/* clang-format off */
enum host_run_register {
	HOST_RUN_REG_VECTOR = 1, HOST_RUN_RM_VECTOR = 2, HOST_RUN_VVVV_VECTOR = 3, HOST_RUN_IS4_VECTOR = 4,
	HOST_RUN_REG_MMX = 1, HOST_RUN_RM_MMX = 2,
	HOST_RUN_REG_GPR = 3 /* RBX */, HOST_RUN_RM_GPR = 5 /* RBP */, HOST_RUN_RM_MEMORY = 6 /* [RSI] with mod 0 */,
};
/* clang-format on */

struct host_run_frame {
	/*
	 * Where xmm0-xmm4 are loaded from and xmm0-xmm3 are stored to: the guest's registers themselves. A legacy instruction moves 128 bits, a VEX one
	 * all 256. (Legacy SSE between 256-bit moves costs a thousand cycles on some processors, and copies in quadwords stall the loads.)
	 */
	const uint8_t *from[5];
	uint8_t *to[4];
	uint64_t padding[3];
	uint8_t unused[64]; /* an operand that the instruction has not */
	uint64_t mm[2];     /* mm1, mm2 */
	uint64_t rax, rcx, rdx, rbx, rbp;
	uint32_t mxcsr; /* the guest's, in and out; also after a trap */
	uint32_t host_mxcsr;
	uint16_t host_fcw;
	uint16_t flags; /* LAHF/SETO form; in: x87 only (FCMOVcc) */
	uint32_t padding_2[7];
	uint8_t memory[64]; /* the memory operand */
	uint8_t x87[512];   /* FXSAVE64 image, x87 stubs only */
} __attribute__((aligned(64)));

#define HOST_RUN_STUB_SIZE 8 /* the longest: 66 REX 0F 3A opcode ModRM imm8 RET */
#define HOST_RUN_STUBS 2048
#define HOST_RUN_TABLE 4096 /* open addressing: at most half full */

struct host_run {
	struct host_run_frame frame;
	uint8_t *write; /* this cpu's slice of the code pages, both mappings */
	const uint8_t *execute;
	unsigned slice;
	unsigned stubs;
	struct {
		uint32_t key; /* 0: free */
		uint32_t stub;
	} table[HOST_RUN_TABLE];
};

/* The stub of a shape, or NULL: then host_run_add with its bytes (without RET). `key` is not 0. */
const uint8_t *host_run_find(const struct host_run *run, uint32_t key);
const uint8_t *host_run_add(struct host_run *run, uint32_t key, const uint8_t *bytes, unsigned length);

/* The trampolines return 0, or the vector of the exception that the instruction met: nothing but frame->mxcsr is stored then. */
unsigned host_run_legacy(struct host_run_frame *frame, const uint8_t *stub);
unsigned host_run_vex(struct host_run_frame *frame, const uint8_t *stub);
unsigned host_run_mmx(struct host_run_frame *frame, const uint8_t *stub);
unsigned host_run_x87(struct host_run_frame *frame, const uint8_t *stub);
#endif

#endif
