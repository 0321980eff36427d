/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvm_state_fpu.c - x87, SSE, AVX and PKRU from and to KVM's XSAVE area, which has the standard form (SDM vol. 1, 13.4).
 */
#include <cpuid.h>
#include <string.h>

#include "engine/kvm/kvm_engine.h"
#include "x86/cpuid.h"

#define HEADER 512u
#define AVX_OFFSET 576u
#define XMM_OFFSET 160u
#define MXCSR_DEFINED 0xffffu /* AMD's misaligned mode (bit 17) is not part of our models */
#define FCW_INIT 0x37fu
#define MXCSR_INIT 0x1f80u

struct area {
	uint8_t byte[sizeof(struct kvm_xsave)];
} __attribute__((aligned(64)));

static uint64_t components_of(const struct kvm_vcpu *self)
{
	return self->vcpu->vm->cpu_model->xcr0_allowed & (X86_XCR0_X87 | X86_XCR0_SSE | X86_XCR0_AVX | X86_XCR0_PKRU);
}

static uint32_t pkru_offset(void)
{
	uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;

	__get_cpuid_count(0xd, 9, &eax, &ebx, &ecx, &edx);
	return ebx;
}

/* A component whose bit is clear in the header is in its initial state, whatever the area says. */
static void vectors_from(const struct area *area, uint64_t present, struct x86_state *out)
{
	for (unsigned i = 0; i < 16; i++) {
		memset(out->vector[i].byte, 0, sizeof(out->vector[i].byte));
		if (present & X86_XCR0_SSE)
			memcpy(out->vector[i].byte, area->byte + XMM_OFFSET + 16 * i, 16);
		if (present & X86_XCR0_AVX)
			memcpy(out->vector[i].byte + 16, area->byte + AVX_OFFSET + 16 * i, 16);
	}
}

int kvm_state_fpu_read(struct kvm_vcpu *self, struct x86_state *out)
{
	struct area area;
	uint64_t present;
	uint32_t mxcsr, mask, pkru = pkru_offset();
	int result = kvm_call_pointer(self->fd, KVM_GET_XSAVE, &area);

	if (result < 0)
		return result;
	memcpy(&present, area.byte + HEADER, sizeof(present));
	memcpy(&out->x87, area.byte, sizeof(out->x87));
	mxcsr = out->x87.mxcsr;
	mask = out->x87.mxcsr_mask;
	if (!(present & X86_XCR0_X87)) {
		memset(&out->x87, 0, sizeof(out->x87));
		out->x87.fcw = FCW_INIT;
	}
	out->x87.mxcsr = (present & (X86_XCR0_SSE | X86_XCR0_AVX) ? mxcsr : MXCSR_INIT) & MXCSR_DEFINED;
	out->x87.mxcsr_mask = mask & MXCSR_DEFINED;
	vectors_from(&area, present, out);
	out->pkru = 0;
	if (present & X86_XCR0_PKRU && pkru >= AVX_OFFSET && pkru <= sizeof(area) - sizeof(out->pkru))
		memcpy(&out->pkru, area.byte + pkru, sizeof(out->pkru));
	return 0;
}

int kvm_state_fpu_write(struct kvm_vcpu *self, const struct x86_state *in)
{
	uint64_t components = components_of(self) | X86_XCR0_X87 | X86_XCR0_SSE;
	uint32_t pkru = pkru_offset();
	struct area area;

	memset(&area, 0, sizeof(area));
	memcpy(area.byte, &in->x87, sizeof(in->x87));
	for (unsigned i = 0; i < 16; i++) {
		memcpy(area.byte + XMM_OFFSET + 16 * i, in->vector[i].byte, 16);
		if (components & X86_XCR0_AVX)
			memcpy(area.byte + AVX_OFFSET + 16 * i, in->vector[i].byte + 16, 16);
	}
	if (components & X86_XCR0_PKRU && pkru >= AVX_OFFSET && pkru <= sizeof(area) - sizeof(in->pkru))
		memcpy(area.byte + pkru, &in->pkru, sizeof(in->pkru));
	memcpy(area.byte + HEADER, &components, sizeof(components));
	return kvm_call_pointer(self->fd, KVM_SET_XSAVE, &area);
}
