/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xstate.c - the processor's x87, SSE, AVX and AVX-512 registers. C code uses none of them; a guest's values are in them while its instructions run in
 * code pages, so a thread that is switched away from keeps them in an area of its own (SDM vol. 1, 13).
 */
#include "host/metal/internal.h"

#define CPUID_1_ECX_XSAVE (1u << 26)
#define CPUID_XSAVE 0xdu
#define CR4_OSFXSR 0x200u
#define CR4_OSXMMEXCPT 0x400u
#define CR4_OSXSAVE 0x40000u
#define XCR0_X87_SSE UINT64_C(3)
#define XCR0_AVX UINT64_C(4)
#define XCR0_AVX512 UINT64_C(0xe0)
#define FXSAVE_BYTES 512u
#define AREA_FCW 0u
#define AREA_MXCSR 24u
#define FCW_INIT 0x37fu
#define MXCSR_INIT 0x1f80u

static bool have_xsave;
static uint64_t xcr0;
static size_t size = FXSAVE_BYTES;

void xstate_start(void)
{
	uint64_t cr4, offered;

	have_xsave = cpuid(1, 0).ecx & CPUID_1_ECX_XSAVE;
	__asm__ volatile("movq %%cr4, %0" : "=r"(cr4));
	cr4 |= CR4_OSFXSR | CR4_OSXMMEXCPT | (have_xsave ? CR4_OSXSAVE : 0);
	__asm__ volatile("movq %0, %%cr4\n\tfninit" : : "r"(cr4));
	if (!have_xsave)
		return;
	offered = cpuid(CPUID_XSAVE, 0).eax;
	xcr0 = offered & (XCR0_X87_SSE | XCR0_AVX);
	if ((offered & XCR0_AVX512) == XCR0_AVX512 && xcr0 & XCR0_AVX)
		xcr0 |= XCR0_AVX512;
	__asm__ volatile("xsetbv" : : "a"((uint32_t)xcr0), "d"((uint32_t)(xcr0 >> 32)), "c"(0));
	size = cpuid(CPUID_XSAVE, 0).ebx; /* of what XCR0 has on */
}

size_t xstate_size(void)
{
	return size;
}

void xstate_init(uint8_t *state)
{
	const uint16_t fcw = FCW_INIT;
	const uint32_t mxcsr = MXCSR_INIT;

	/* Its XSAVE header is zero: every component is as after a reset, and only MXCSR is read. FXRSTOR reads all. */
	__builtin_memset(state, 0, size);
	__builtin_memcpy(state + AREA_FCW, &fcw, sizeof(fcw));
	__builtin_memcpy(state + AREA_MXCSR, &mxcsr, sizeof(mxcsr));
}

void xstate_save(uint8_t *state)
{
	if (have_xsave)
		__asm__ volatile("xsave64 (%0)" : : "r"(state), "a"((uint32_t)xcr0), "d"((uint32_t)(xcr0 >> 32)) : "memory");
	else
		__asm__ volatile("fxsave64 (%0)" : : "r"(state) : "memory");
}

void xstate_load(const uint8_t *state)
{
	if (have_xsave)
		__asm__ volatile("xrstor64 (%0)" : : "r"(state), "a"((uint32_t)xcr0), "d"((uint32_t)(xcr0 >> 32)) : "memory");
	else
		__asm__ volatile("fxrstor64 (%0)" : : "r"(state) : "memory");
}
