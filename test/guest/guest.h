/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guest.h - what every test guest has: a serial line to print TAP on, checks, and an end. A test defines guest_main().
 *
 * Guests are multiboot kernels. long.h is for those that run in 64-bit mode (long.S brings them there), protected.h for those that
 * start from 32-bit protected mode. They end through the debug exit port, so that both Holon and QEMU (a control for the tests
 * themselves: test/guest/run --qemu) run them.
 */
#ifndef HOLON_TEST_GUEST_H
#define HOLON_TEST_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COM1 0x3f8
#define DEBUG_EXIT 0x501

void guest_main(void);
_Noreturn void guest_exit(unsigned value);

/* %s %c %d %u %x %lx %lu %p, %0Nx. */
void print(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* One case: "ok N - text" or "not ok N - text". Returns `good`. */
bool check(bool good, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A case that the processor or the machine does not offer. */
void skip(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Equal, or says what both were. */
bool check_equal(uint64_t got, uint64_t wanted, const char *what);

static inline void outb(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}
static inline void outw(uint16_t port, uint16_t value)
{
	__asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}
static inline void outl(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}
static inline uint8_t inb(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}
static inline uint16_t inw(uint16_t port)
{
	uint16_t value;

	__asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}
static inline uint32_t inl(uint16_t port)
{
	uint32_t value;

	__asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}
static inline uint64_t rdtsc(void)
{
	uint32_t low, high;

	__asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}
static inline void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	__asm__ volatile("cpuid" : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3]) : "a"(leaf), "c"(subleaf));
}
static inline uint64_t rdmsr(uint32_t msr)
{
	uint32_t low, high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	return (uint64_t)high << 32 | low;
}
static inline void wrmsr(uint32_t msr, uint64_t value)
{
	__asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}
static inline void pause(void)
{
	__asm__ volatile("pause" : : : "memory");
}

#define REGISTER_ACCESS(name)                                                       \
	static inline uintptr_t read_##name(void)                                   \
	{                                                                           \
		uintptr_t value;                                                    \
		__asm__ volatile("mov %%" #name ", %0" : "=r"(value) : : "memory"); \
		return value;                                                       \
	}                                                                           \
	static inline void write_##name(uintptr_t value)                            \
	{                                                                           \
		__asm__ volatile("mov %0, %%" #name : : "r"(value) : "memory");     \
	}
REGISTER_ACCESS(cr0)
REGISTER_ACCESS(cr2)
REGISTER_ACCESS(cr3)
REGISTER_ACCESS(cr4)
REGISTER_ACCESS(dr0)
REGISTER_ACCESS(dr1)
REGISTER_ACCESS(dr2)
REGISTER_ACCESS(dr3)
REGISTER_ACCESS(dr6)
REGISTER_ACCESS(dr7)

/* CPUID feature bits that tests ask for: leaf, register (0 EAX .. 3 EDX), bit; subleaf 0. */
static inline bool cpu_has(uint32_t leaf, unsigned reg, unsigned bit)
{
	uint32_t out[4];

	cpuid(leaf & 0x80000000, 0, out);
	if (leaf > out[0])
		return false;
	cpuid(leaf, 0, out);
	return out[reg] >> bit & 1;
}
#define HAS_PCID cpu_has(1, 2, 17)
#define HAS_X2APIC cpu_has(1, 2, 21)
#define HAS_TSC_DEADLINE cpu_has(1, 2, 24)
#define HAS_XSAVE cpu_has(1, 2, 26)
#define HAS_AVX cpu_has(1, 2, 28)
#define HAS_FSGSBASE cpu_has(7, 1, 0)
#define HAS_SMEP cpu_has(7, 1, 7)
#define HAS_INVPCID cpu_has(7, 1, 10)
#define HAS_SMAP cpu_has(7, 1, 20)
#define HAS_UMIP cpu_has(7, 2, 2)
#define HAS_PKU cpu_has(7, 2, 3)
#define HAS_LA57 cpu_has(7, 2, 16)
#define HAS_RDTSCP cpu_has(0x80000001, 3, 27)
#define HAS_PAGE1GB cpu_has(0x80000001, 3, 26)

#define DE 0
#define DB 1
#define NMI 2
#define BP 3
#define OF 4
#define BR 5
#define UD 6
#define NM 7
#define DF 8
#define TS 10
#define NP 11
#define SS 12
#define GP 13
#define PF 14
#define MF 16
#define AC 17
#define XM 19

#define FLAG_CF 1u
#define FLAG_ZF 0x40u
#define FLAG_TF 0x100u
#define FLAG_IF 0x200u
#define FLAG_DF 0x400u
#define FLAG_NT 0x4000u
#define FLAG_RF 0x10000u
#define FLAG_VM 0x20000u
#define FLAG_AC 0x40000u
#define FLAG_VIF 0x80000u
#define FLAG_VIP 0x100000u

#endif
