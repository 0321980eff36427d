/* SPDX-License-Identifier: Apache-2.0 */
/*
 * native.c - runs test bytes natively, with every register loaded before and stored after. See native.h.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "test/cpu/native.h"

struct native native;
uint8_t *native_area;

#define GUARD (4u << 20) /* wider than any index of a gather */

static uint8_t *code_page;
static volatile int trap;

void native_enter(void);
void native_leave(void);

__asm__(".text\n"
	".globl native_enter\n"
	"native_enter:\n"
	"	push %rbx\n	push %rbp\n	push %r12\n	push %r13\n	push %r14\n	push %r15\n"
	"	stmxcsr native+1184(%rip)\n"
	"	fnstcw native+1188(%rip)\n"
	"	mov %rsp, native+1176(%rip)\n"
	"	fxrstor64 native(%rip)\n"
	"	.set i, 0\n"
	"	.irp r, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
	"	vmovdqu native+512+32*i(%rip), %ymm\\r\n"
	"	.set i, i + 1\n"
	"	.endr\n"
	"	ldmxcsr native+1160(%rip)\n"
	"	pushq native+1152(%rip)\n"
	"	popfq\n"
	"	mov native+1024(%rip), %rax\n	mov native+1032(%rip), %rcx\n	mov native+1040(%rip), %rdx\n"
	"	mov native+1048(%rip), %rbx\n	mov native+1064(%rip), %rbp\n	mov native+1072(%rip), %rsi\n"
	"	mov native+1080(%rip), %rdi\n	mov native+1088(%rip), %r8\n	mov native+1096(%rip), %r9\n"
	"	mov native+1104(%rip), %r10\n	mov native+1112(%rip), %r11\n	mov native+1120(%rip), %r12\n"
	"	mov native+1128(%rip), %r13\n	mov native+1136(%rip), %r14\n	mov native+1144(%rip), %r15\n"
	"	call *native+1168(%rip)\n"
	".globl native_leave\n"
	"native_leave:\n"
	"	mov native+1176(%rip), %rsp\n"
	"	mov %rax, native+1024(%rip)\n	mov %rcx, native+1032(%rip)\n	mov %rdx, native+1040(%rip)\n"
	"	mov %rbx, native+1048(%rip)\n	mov %rbp, native+1064(%rip)\n	mov %rsi, native+1072(%rip)\n"
	"	mov %rdi, native+1080(%rip)\n	mov %r8, native+1088(%rip)\n	mov %r9, native+1096(%rip)\n"
	"	mov %r10, native+1104(%rip)\n	mov %r11, native+1112(%rip)\n	mov %r12, native+1120(%rip)\n"
	"	mov %r13, native+1128(%rip)\n	mov %r14, native+1136(%rip)\n	mov %r15, native+1144(%rip)\n"
	"	pushfq\n"
	"	popq native+1152(%rip)\n"
	"	cld\n"
	"	stmxcsr native+1160(%rip)\n"
	"	.set i, 0\n"
	"	.irp r, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
	"	vmovdqu %ymm\\r, native+512+32*i(%rip)\n"
	"	.set i, i + 1\n"
	"	.endr\n"
	"	fxsave64 native(%rip)\n"
	"	fninit\n"
	"	fldcw native+1188(%rip)\n"
	"	ldmxcsr native+1184(%rip)\n"
	"	vzeroupper\n"
	"	pop %r15\n	pop %r14\n	pop %r13\n	pop %r12\n	pop %rbp\n	pop %rbx\n"
	"	ret\n");

_Static_assert(__builtin_offsetof(struct native, gpr) == 1024, "assembly");
_Static_assert(__builtin_offsetof(struct native, rflags) == 1152, "assembly");
_Static_assert(__builtin_offsetof(struct native, mxcsr) == 1160, "assembly");
_Static_assert(__builtin_offsetof(struct native, code) == 1168, "assembly");
_Static_assert(__builtin_offsetof(struct native, host_mxcsr) == 1184, "assembly");

static void handle(int number, siginfo_t *info, void *context)
{
	ucontext_t *user = context;
	uintptr_t rip = (uintptr_t)user->uc_mcontext.gregs[REG_RIP];

	(void)info;
	if (rip < (uintptr_t)code_page || rip >= (uintptr_t)code_page + 4096) {
		signal(number, SIG_DFL);
		return;
	}
	trap = (int)user->uc_mcontext.gregs[REG_TRAPNO];
	user->uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)native_leave;
}

static const int signals[4] = {SIGFPE, SIGSEGV, SIGILL, SIGBUS};
static struct sigaction kept[4];

void native_signals_keep(void)
{
	for (unsigned i = 0; i < 4; i++)
		sigaction(signals[i], NULL, &kept[i]);
}

void native_begin(void)
{
	for (unsigned i = 0; i < 4; i++)
		sigaction(signals[i], &kept[i], NULL);
}

bool native_setup(void)
{
	struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO};
	uint8_t *pages;

	if (!__builtin_cpu_supports("avx2"))
		return false;
	for (unsigned i = 0; i < 4; i++)
		sigaction(signals[i], &action, NULL);
	code_page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pages = mmap(NULL, NATIVE_AREA + 2 * GUARD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (code_page == MAP_FAILED || pages == MAP_FAILED)
		abort();
	native_area = pages + GUARD;
	if (mprotect(native_area, NATIVE_AREA, PROT_READ | PROT_WRITE))
		abort();
	return true;
}

int native_run(const uint8_t *bytes, unsigned length)
{
	const uint32_t image_mxcsr[2] = {0x1f80, 0};

	memcpy(code_page, bytes, length);
	code_page[length] = 0xc3;
	__asm__ volatile("mfence" ::: "memory");
	native.code = code_page;
	memcpy(native.fx + 24, image_mxcsr, 8);
	trap = NATIVE_OK;
	native_enter();
	return trap;
}

bool native_address_ok(uint64_t linear, unsigned size)
{
	uint64_t begin = (uintptr_t)native_area;

	return linear >= begin && linear + size <= begin + NATIVE_AREA;
}

uint64_t random64(void)
{
	static uint64_t state = 0x9e3779b97f4a7c15u; /* always the same: a failure can be repeated */

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state * 0x2545f4914f6cdd1du;
}

void random_bytes(void *buffer, unsigned size)
{
	uint8_t *bytes = buffer;

	for (unsigned i = 0; i < size; i++)
		bytes[i] = (uint8_t)(random64() >> 32);
}

static uint32_t random_float(void)
{
	/* clang-format off */
	static const uint32_t special[] = {0, 0x80000000, 0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001, 0xffc12345, 0x00000001, 0x807fffff,
					   0x00800000, 0x7f7fffff, 0x3f800000, 0xbf800000, 0x4f000000, 0xcf000000, 0x5f000000, 0x3f000000};
	/* clang-format on */

	if (random_below(3) == 0)
		return special[random_below(sizeof(special) / 4)];
	return (uint32_t)(random64() & 0x80ffffff) | (uint32_t)(0x3c + random_below(8)) << 24;
}

static uint64_t random_double(void)
{
	/* clang-format off */
	static const uint64_t special[] = {0, 0x8000000000000000, 0x7ff0000000000000, 0xfff0000000000000, 0x7ff8000000000000, 0x7ff0000000000001,
					   0xfff8000000abcdef, 1, 0x800fffffffffffff, 0x0010000000000000, 0x7fefffffffffffff, 0x3ff0000000000000,
					   0x41e0000000000000, 0xc1e0000000000000, 0x43e0000000000000, 0x36a0000000000000, 0x47f0000000000000};
	/* clang-format on */

	if (random_below(3) == 0)
		return special[random_below(sizeof(special) / 8)];
	return (random64() & 0x800fffffffffffff) | (uint64_t)(0x3e0 + random_below(0x40)) << 52;
}

void random_vector(void *buffer, unsigned size)
{
	uint8_t *bytes = buffer;
	unsigned kind = random_below(5);

	for (unsigned i = 0; i < size; i += 8) {
		uint64_t value = random64();

		if (kind == 0) {
			value = random_float() | (uint64_t)random_float() << 32;
		} else if (kind == 1) {
			value = random_double();
		} else if (kind == 2) { /* small elements, zero bytes: strings, shift counts, equal operands */
			value &= 0x0303030303030303;
		} else if (kind == 3) {
			value &= 0x3f;
		}
		memcpy(bytes + i, &value, 8);
	}
}

uint32_t random_mxcsr(void)
{
	switch (random_below(4)) {
	case 0: return 0x1f80;
	case 1: return 0x1f80 | (uint32_t)(random64() & 0xe07f);
	case 2: return 0x1fa0;
	default: return (uint32_t)(random64() & 0xffff);
	}
}

static void random_extended(uint8_t *st)
{
	uint64_t significand = random64();
	uint16_t exponent = (uint16_t)(random64() & 0x8000);

	switch (random_below(8)) {
	case 0: exponent |= (uint16_t)(random64() & 0x7fff); break; /* anything: unnormals too */
	case 1: exponent |= 0x7fff; break;                          /* NaN or an old pseudo-NaN */
	case 2:
		exponent |= 0x7fff;
		significand = UINT64_C(1) << 63;
		break;
	case 3: significand = random_below(2) ? 0 : significand >> random_below(64); break;
	default:
		exponent |= (uint16_t)(0x3fff - 70 + random_below(140));
		significand |= UINT64_C(1) << 63;
		if (random_below(2))
			significand &= ~UINT64_C(0) << random_below(64);
		break;
	}
	memset(st, 0, 16);
	memcpy(st, &significand, 8);
	memcpy(st + 8, &exponent, 2);
}

void random_x87(void)
{
	uint16_t fcw = 0x037f, fsw = (uint16_t)(random64() & 0x7f00);

	memset(native.fx, 0, sizeof(native.fx));
	if (random_below(2))
		fcw = (uint16_t)(random64() & 0x0f3f) | 0x40;
	if (random_below(4) == 0)
		fcw = (fcw & 0xff40) | 0x3f;
	if (random_below(3) == 0)
		fsw |= (uint16_t)(random64() & 0x7f);
	if (random_below(8))
		fsw &= (uint16_t) ~(~fcw & 0x3f); /* nothing pending */
	if (fsw & ~fcw & 0x3f)
		fsw |= 0x8080;
	memcpy(native.fx, &fcw, 2);
	memcpy(native.fx + 2, &fsw, 2);
	native.fx[4] = random_below(3) ? 0xff : (uint8_t)random64();
	for (unsigned i = 0; i < 8; i++)
		random_extended(native.fx + 32 + 16 * i);
}

void random_registers(void)
{
	random_x87();
	for (unsigned i = 0; i < 16; i++) {
		random_vector(native.ymm[i], 32);
		native.gpr[i] = random_below(2) ? random64() : random_below(20);
	}
	native.rflags = 0x202 | (random64() & X86_FLAGS_STATUS);
	native.mxcsr = random_mxcsr();
}
