/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_native.c - runs a block on the host's processor, inside this process.
 *
 * fuzz_native_enter (assembly) loads every register and jumps into the code page. Whatever exception ends the block arrives as a
 * signal on the alternate stack; the handler copies the state from the signal frame and leaves through fuzz_native_leave, back to the caller. Wild
 * addresses are harmless but for odds of 2^-40; system calls out of the code pages are stopped by a seccomp filter.
 */
#include <asm/prctl.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#include "test/cpu/fuzz.h"

const int8_t fuzz_window_frame[FUZZ_WINDOW_PAGES] = {-1, 0, 1, 2, -1, 3, 3, 4, -1};
uint8_t *fuzz_native_data, *fuzz_native_code;

/* An XSAVE image in standard format: legacy area, header, upper halves of ymm (SDM vol. 1, 13.4). */
#define XSAVE_HEADER 512
#define XSAVE_AVX 576
#define XSAVE_SIZE 832
#define XCR0_ALL 7

struct fxsave {
	uint16_t fcw, fsw;
	uint8_t ftw, reserved;
	uint16_t fop;
	uint64_t fip, fdp;
	uint32_t mxcsr, mxcsr_mask;
	uint8_t st[8][16];
	uint8_t xmm[16][16];
};

/* What fuzz_native_enter loads; the offsets are in its text. */
struct native_context {
	uint64_t gpr[16];  /* 0 */
	uint64_t rflags;   /* 128 */
	uint32_t rip;      /* 136; with cs a far pointer: AMD knows none with 64 bits, and the code is below 4 GiB */
	uint32_t cs;       /* 140 */
	uint64_t host_rsp; /* 144 */
	uint8_t xsave[XSAVE_SIZE] __attribute__((aligned(64))); /* 192 */
};
struct native_context fuzz_native_context;
_Static_assert(offsetof(struct native_context, xsave) == 192, "fuzz_native_enter knows it");

void fuzz_native_enter(void);
_Noreturn void fuzz_native_leave(void);
void fuzz_native_signal(int number, siginfo_t *info, void *context);
void fuzz_native_signal_c(int number, siginfo_t *info, void *opaque);

/* clang-format off */
__asm__(
	".text\n"
	".globl fuzz_native_enter\n"
	"fuzz_native_enter:\n"
	"	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
	"	lea fuzz_native_context(%rip), %rdi\n"
	"	mov %rsp, 144(%rdi)\n"
	"	mov $7, %eax\n"
	"	xor %edx, %edx\n"
	"	xrstor64 192(%rdi)\n"
	"	cmpl $0x33, 140(%rdi)\n"
	"	je 1f\n"
	"	mov $0x2b, %eax\n"               /* data segments: null in 64-bit mode, as Linux starts a program */
	"	mov %eax, %ds; mov %eax, %es\n"
	"1:	mov 8(%rdi), %rcx; mov 16(%rdi), %rdx; mov 24(%rdi), %rbx\n"
	"	mov 40(%rdi), %rbp; mov 48(%rdi), %rsi\n"
	"	mov 64(%rdi), %r8; mov 72(%rdi), %r9; mov 80(%rdi), %r10; mov 88(%rdi), %r11\n"
	"	mov 96(%rdi), %r12; mov 104(%rdi), %r13; mov 112(%rdi), %r14; mov 120(%rdi), %r15\n"
	"	pushq 128(%rdi)\n"
	"	popfq\n"                         /* nothing below writes flags */
	"	mov 0(%rdi), %rax; mov 32(%rdi), %rsp\n"
	"	mov 56(%rdi), %rdi\n"
	"	ljmp *136+fuzz_native_context(%rip)\n"
	".globl fuzz_native_leave\n"
	"fuzz_native_leave:\n"
	"	lea fuzz_native_context(%rip), %rdi\n"
	"	mov 144(%rdi), %rsp\n"
	"	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
	"	ret\n"
	".globl fuzz_native_signal\n"
	"fuzz_native_signal:\n"                  /* the kernel leaves AC as the block had it: C code may be misaligned */
	"	pushfq\n"
	"	andq $~0x40000, (%rsp)\n"
	"	popfq\n"
	"	jmp fuzz_native_signal_c\n");
/* clang-format on */

static volatile sig_atomic_t running;
static volatile uint64_t run_number, alarm_seen;
static struct fuzz_result *current;
static struct sigaction previous[NSIG];

static void state_take(struct fuzz_state *state, const ucontext_t *context)
{
	static const int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
				      REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
	const uint8_t *area = (const uint8_t *)context->uc_mcontext.fpregs;
	const struct fxsave *legacy = (const struct fxsave *)area;
	uint64_t present;
	unsigned i;

	for (i = 0; i < 16; i++)
		state->gpr[i] = (uint64_t)context->uc_mcontext.gregs[order[i]];
	state->rip = (uint64_t)context->uc_mcontext.gregs[REG_RIP];
	state->rflags = (uint64_t)context->uc_mcontext.gregs[REG_EFL];
	memcpy(&present, area + XSAVE_HEADER, sizeof(present));
	state->mxcsr = legacy->mxcsr;
	/* A component that XSAVE found in its initial state is not written (SDM vol. 1, 13.6). */
	if (present & 1) {
		state->fcw = legacy->fcw;
		state->fsw = legacy->fsw;
		state->ftw = legacy->ftw;
		for (i = 0; i < 8; i++) {
			memset(state->st[i], 0, 16);
			memcpy(state->st[i], legacy->st[i], 10);
		}
	} else {
		state->fcw = 0x37f;
		state->fsw = 0;
		state->ftw = 0;
		memset(state->st, 0, sizeof(state->st));
	}
	for (i = 0; i < 16; i++) {
		if (present & 2)
			memcpy(state->ymm[i], legacy->xmm[i], 16);
		else
			memset(state->ymm[i], 0, 16);
		if (present & 4)
			memcpy(state->ymm[i] + 16, area + XSAVE_AVX + 16 * i, 16);
		else
			memset(state->ymm[i] + 16, 0, 16);
	}
}

void fuzz_native_signal_c(int number, siginfo_t *info, void *opaque)
{
	const ucontext_t *context = opaque;

	if (number == SIGALRM) {
		/* The clock ticks once a second: a block that is still the same one, here or in the engine before, does not end. */
		if (alarm_seen != run_number) {
			alarm_seen = run_number;
			return;
		}
		if (!running) {
			fuzz_engine_end();
			return;
		}
		current->outcome = FUZZ_ENDLESS;
	} else if (!running) {
		/* The engine's own: vector instructions that it runs on the host's processor may trap. */
		if (previous[number].sa_flags & SA_SIGINFO)
			previous[number].sa_sigaction(number, info, opaque);
		else
			signal(number, SIG_DFL);
		return;
	} else if (number == SIGSYS) {
		current->outcome = FUZZ_STRAYED;
	} else {
		current->outcome = FUZZ_EXCEPTION;
		current->vector = (unsigned)context->uc_mcontext.gregs[REG_TRAPNO];
		current->error = (uint32_t)context->uc_mcontext.gregs[REG_ERR];
		current->cr2 = current->vector == 14 ? (uint64_t)context->uc_mcontext.gregs[REG_CR2] : 0;
	}
	state_take(&current->state, context);
	running = 0;
	fuzz_native_leave();
}

static void fail(const char *what)
{
	fprintf(stderr, "fuzz: %s: %s\n", what, strerror(errno));
	exit(74);
}

static void map_at(uint64_t address, int fd, unsigned frame, int protection)
{
	void *wanted = (void *)address;
	int flags = fd >= 0 ? MAP_SHARED | MAP_POPULATE : MAP_PRIVATE | MAP_ANONYMOUS;

	if (mmap(wanted, FUZZ_PAGE, protection, flags | MAP_FIXED_NOREPLACE, fd, (off_t)frame * FUZZ_PAGE) != wanted)
		fail("cannot map the window at its address");
}

/* System calls from the window or the code pages are trapped: a block that strayed into one does no harm. */
static void seccomp_install(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer) + 4),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer)),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, (uint32_t)(FUZZ_CODE + 0x10000), 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		fprintf(stderr, "fuzz: no seccomp filter here: going on without that safety net\n");
}

void fuzz_native_init(void)
{
	static uint8_t stack[65536] __attribute__((aligned(64)));
	static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGALRM};
	stack_t alternate = {.ss_sp = stack, .ss_size = sizeof(stack)};
	struct itimerval tick = {.it_interval = {.tv_sec = 1}, .it_value = {.tv_sec = 1}};
	struct sigaction action;
	int fd = memfd_create("fuzz", MFD_CLOEXEC);
	unsigned page;

	if (fd < 0 || ftruncate(fd, (off_t)FUZZ_FRAMES * FUZZ_PAGE))
		fail("memfd");
	fuzz_native_data = mmap(NULL, FUZZ_FRAMES * FUZZ_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (fuzz_native_data == MAP_FAILED)
		fail("mmap");
	fuzz_native_code = fuzz_native_data + FUZZ_DATA_FRAMES * FUZZ_PAGE;
	for (page = 0; page < FUZZ_WINDOW_PAGES; page++) {
		uint64_t address = FUZZ_WINDOW + page * FUZZ_PAGE;

		if (fuzz_window_frame[page] < 0)
			map_at(address, -1, 0, PROT_NONE);
		else
			map_at(address, fd, (unsigned)fuzz_window_frame[page],
			       page == FUZZ_READONLY_PAGE ? PROT_READ : PROT_READ | PROT_WRITE);
	}
	for (page = 0; page < FUZZ_CODE_FRAMES; page++)
		map_at(FUZZ_CODE + page * FUZZ_PAGE, fd, FUZZ_DATA_FRAMES + page, PROT_READ | PROT_EXEC);
	map_at(FUZZ_CODE + FUZZ_CODE_FRAMES * FUZZ_PAGE, -1, 0, PROT_NONE);
	/* Locked where that is allowed, so that the page tables stay as they are; the memory is touched anyway. */
	(void)!mlock((void *)FUZZ_CODE, FUZZ_CODE_FRAMES * FUZZ_PAGE);
	if (syscall(SYS_arch_prctl, ARCH_SET_GS, FUZZ_GS_BASE))
		fail("arch_prctl");

	if (sigaltstack(&alternate, NULL))
		fail("sigaltstack");
	memset(&action, 0, sizeof(action));
	action.sa_sigaction = fuzz_native_signal;
	action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
	for (page = 0; page < sizeof(signals) / sizeof(signals[0]); page++)
		if (sigaction(signals[page], &action, &previous[signals[page]]))
			fail("sigaction");
	seccomp_install();
	setitimer(ITIMER_REAL, &tick, NULL);
}

void fuzz_native_run(const struct fuzz_block *block, struct fuzz_result *result)
{
	struct native_context *context = &fuzz_native_context;
	const struct fuzz_state *state = &block->initial;
	struct fxsave *legacy = (struct fxsave *)context->xsave;
	uint64_t present = XCR0_ALL;
	unsigned i;

	memcpy(context->gpr, state->gpr, sizeof(context->gpr));
	context->rflags = state->rflags;
	context->rip = (uint32_t)state->rip;
	context->cs = block->mode == FUZZ_64 ? FUZZ_CS64 : FUZZ_CS32;
	memset(context->xsave, 0, sizeof(context->xsave));
	legacy->fcw = state->fcw;
	legacy->fsw = state->fsw;
	legacy->ftw = state->ftw;
	legacy->mxcsr = state->mxcsr;
	memcpy(legacy->st, state->st, sizeof(legacy->st));
	for (i = 0; i < 16; i++) {
		memcpy(legacy->xmm[i], state->ymm[i], 16);
		memcpy(context->xsave + XSAVE_AVX + 16 * i, state->ymm[i] + 16, 16);
	}
	memcpy(context->xsave + XSAVE_HEADER, &present, sizeof(present));

	memset(result, 0, sizeof(*result));
	current = result;
	run_number++;
	running = 1;
	fuzz_native_enter();
	if (block->mode == FUZZ_32)
		__asm__ volatile("mov %0, %%ds; mov %0, %%es" : : "r"(0));
}
