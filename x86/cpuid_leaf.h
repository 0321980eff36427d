/* SPDX-License-Identifier: Apache-2.0 */
/* cpuid_leaf.h - between cpuid.c (which features) and cpuid_leaf.c (what the leaves say). Inside x86/ only. */
#ifndef HOLON_X86_CPUID_LEAF_H
#define HOLON_X86_CPUID_LEAF_H

#include "x86/cpuid.h"

enum cpuid_register { EAX, EBX, ECX, EDX };

#define CPUID_XSAVE_1 0xd1u    /* stands for leaf 0xd, subleaf 1 in the feature table */
#define CPUID_PHYSICAL_BITS 40 /* 1 TiB: the largest VM and its hole, and what any host for KVM has or nearly has */

/* The features' bits of one register of a leaf. */
uint32_t x86_cpuid_feature_bits(const struct x86_cpu_model *model, uint32_t leaf, enum cpuid_register reg);
/* brand NULL: the host's identity. */
void x86_cpuid_leaves_make(struct x86_cpu_model *model, const char *brand);

/* What a guest needs against the flaws of the processor that it runs on: the bits that `cpuid` has, added to the leaves. */
void x86_cpuid_speculation_add(struct x86_cpu_model *model,
			       struct x86_cpuid_leaf (*cpuid)(const void *owner, uint32_t leaf, uint32_t subleaf),
			       const void *owner);

/* The host's processor. */
struct x86_cpuid_leaf x86_cpuid_host(uint32_t leaf, uint32_t subleaf);
uint64_t x86_cpuid_host_xcr0(void);
bool x86_cpuid_host_amd(void);

#endif
