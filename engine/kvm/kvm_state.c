/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvm_state.c - struct x86_state from and to KVM: general and system registers, debug registers, events, activity. MSRs, the FPU and the APIC are in
 * kvm_state_msr.c, kvm_state_fpu.c and kvm_state_apic.c.
 *
 * The order of a write matters. Control registers come before what depends on them (XCR0 before the XSAVE area, IA32_APIC_BASE before the APIC's registers); the activity comes last.
 *
 * KVM has no place, or another form, for a few things. So a write is read back (the echo), word by word: as long as KVM still says what it said then, the answer is
 * what was written. A word that the guest has changed since is KVM's.
 */
#include <errno.h>
#include <string.h>

#include "engine/kvm/kvm_engine.h"
#include "x86/execute.h"

#define PDPTES 4

/* --- segments --- */

static struct x86_segment segment_from(const struct kvm_segment *in)
{
	return (struct x86_segment){
		.base = in->base,
		.limit = in->limit,
		.selector = in->selector,
		.attributes = (uint16_t)((in->type & 15) | (in->s ? X86_SEGMENT_S : 0) | (in->dpl & 3) << X86_SEGMENT_DPL_SHIFT |
					 (in->present ? X86_SEGMENT_P : 0) | (in->unusable ? X86_SEGMENT_UNUSABLE : 0) |
					 (in->avl ? X86_SEGMENT_AVL : 0) | (in->l ? X86_SEGMENT_L : 0) |
					 (in->db ? X86_SEGMENT_DB : 0) | (in->g ? X86_SEGMENT_G : 0)),
	};
}

static struct kvm_segment segment_to(const struct x86_segment *in)
{
	uint16_t a = in->attributes;

	return (struct kvm_segment){
		.base = in->base,
		.limit = in->limit,
		.selector = in->selector,
		.type = a & X86_SEGMENT_TYPE,
		.s = !!(a & X86_SEGMENT_S),
		.dpl = (uint8_t)((a & X86_SEGMENT_DPL) >> X86_SEGMENT_DPL_SHIFT),
		.present = (a & X86_SEGMENT_P) && !(a & X86_SEGMENT_UNUSABLE),
		.unusable = !!(a & X86_SEGMENT_UNUSABLE),
		.avl = !!(a & X86_SEGMENT_AVL),
		.l = !!(a & X86_SEGMENT_L),
		.db = !!(a & X86_SEGMENT_DB),
		.g = !!(a & X86_SEGMENT_G),
	};
}

/* In the encoding's order, which is that of x86_state.segment. */
static struct kvm_segment *segments_of(struct kvm_sregs2 *sregs, struct kvm_segment *of[6])
{
	of[X86_ES] = &sregs->es;
	of[X86_CS] = &sregs->cs;
	of[X86_SS] = &sregs->ss;
	of[X86_DS] = &sregs->ds;
	of[X86_FS] = &sregs->fs;
	of[X86_GS] = &sregs->gs;
	return of[0];
}

/* --- system registers: KVM_GET_SREGS2 with the PDPTEs, or the older form without --- */

_Static_assert(offsetof(struct kvm_sregs, apic_base) == offsetof(struct kvm_sregs2, apic_base), "they begin alike");
#define SREGS_ALIKE (offsetof(struct kvm_sregs, apic_base) + sizeof(uint64_t))

static bool paging_pae(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
	return cr0 & X86_CR0_PG && cr4 & X86_CR4_PAE && !(efer & X86_EFER_LMA);
}

/* Where KVM does not tell, they are what is in memory: it loads them from there, too. */
static void pdptes_from_memory(struct kvm_vcpu *self, struct kvm_sregs2 *sregs)
{
	if (!paging_pae(sregs->cr0, sregs->cr4, sregs->efer))
		return;
	if (!guest_memory_read(&self->vcpu->vm->memory, sregs->cr3 & 0xffffffe0, sregs->pdptrs, sizeof(sregs->pdptrs)))
		sregs->flags = KVM_SREGS2_FLAGS_PDPTRS_VALID;
}

static int sregs_get(struct kvm_vcpu *self, struct kvm_sregs2 *sregs)
{
	struct kvm_sregs old;
	int result;

	memset(sregs, 0, sizeof(*sregs));
	if (self->vm->has_sregs2)
		return kvm_call_pointer(self->fd, KVM_GET_SREGS2, sregs);
	result = kvm_call_pointer(self->fd, KVM_GET_SREGS, &old);
	if (result < 0)
		return result;
	memcpy(sregs, &old, SREGS_ALIKE);
	pdptes_from_memory(self, sregs);
	return result;
}

static int sregs_set(struct kvm_vcpu *self, const struct kvm_sregs2 *sregs)
{
	struct kvm_sregs old = {.cr0 = 0};

	if (self->vm->has_sregs2)
		return kvm_call_pointer(self->fd, KVM_SET_SREGS2, sregs);
	memcpy(&old, sregs, SREGS_ALIKE);
	return kvm_call_pointer(self->fd, KVM_SET_SREGS, &old);
}

static int system_read(struct kvm_vcpu *self, struct x86_state *out)
{
	struct kvm_sregs2 sregs;
	struct kvm_segment *segment[6];
	int result = sregs_get(self, &sregs);

	if (result < 0)
		return result;
	segments_of(&sregs, segment);
	for (unsigned i = 0; i < 6; i++)
		out->segment[i] = segment_from(segment[i]);
	out->ldtr = segment_from(&sregs.ldt);
	out->tr = segment_from(&sregs.tr);
	out->gdtr = (struct x86_table){sregs.gdt.base, sregs.gdt.limit};
	out->idtr = (struct x86_table){sregs.idt.base, sregs.idt.limit};
	out->cr0 = sregs.cr0;
	out->cr2 = sregs.cr2;
	out->cr3 = sregs.cr3;
	out->cr4 = sregs.cr4;
	out->cr8 = sregs.cr8;
	out->efer = sregs.efer;
	out->apic.base_msr = sregs.apic_base;
	for (unsigned i = 0; i < PDPTES && sregs.flags & KVM_SREGS2_FLAGS_PDPTRS_VALID; i++)
		out->pdpte[i] = sregs.pdptrs[i];
	return 0;
}

static int system_write(struct kvm_vcpu *self, const struct x86_state *in)
{
	struct kvm_sregs2 sregs = {.flags = 0};
	struct kvm_segment *segment[6];

	segments_of(&sregs, segment);
	for (unsigned i = 0; i < 6; i++)
		*segment[i] = segment_to(&in->segment[i]);
	sregs.ldt = segment_to(&in->ldtr);
	sregs.tr = segment_to(&in->tr);
	sregs.gdt = (struct kvm_dtable){.base = in->gdtr.base, .limit = (uint16_t)in->gdtr.limit};
	sregs.idt = (struct kvm_dtable){.base = in->idtr.base, .limit = (uint16_t)in->idtr.limit};
	sregs.cr0 = in->cr0;
	sregs.cr2 = in->cr2;
	sregs.cr3 = in->cr3;
	sregs.cr4 = in->cr4;
	sregs.cr8 = in->cr8;
	sregs.efer = in->efer;
	sregs.apic_base = in->apic.base_msr;
	if (paging_pae(in->cr0, in->cr4, in->efer)) {
		sregs.flags = KVM_SREGS2_FLAGS_PDPTRS_VALID;
		memcpy(sregs.pdptrs, in->pdpte, sizeof(sregs.pdptrs));
	}
	return sregs_set(self, &sregs);
}

/* --- general registers --- */

static int general_read(struct kvm_vcpu *self, struct x86_state *out)
{
	struct kvm_regs r;
	int result = kvm_call_pointer(self->fd, KVM_GET_REGS, &r);

	if (result < 0)
		return result;
	const uint64_t gpr[16] = {r.rax, r.rcx, r.rdx, r.rbx, r.rsp, r.rbp, r.rsi, r.rdi,
				  r.r8,  r.r9,  r.r10, r.r11, r.r12, r.r13, r.r14, r.r15};
	memcpy(out->gpr, gpr, sizeof(gpr));
	out->rip = r.rip;
	out->rflags = r.rflags;
	return 0;
}

static int general_write(struct kvm_vcpu *self, const struct x86_state *in)
{
	const uint64_t *g = in->gpr;
	const struct kvm_regs r = {
		.rax = g[X86_RAX],
		.rcx = g[X86_RCX],
		.rdx = g[X86_RDX],
		.rbx = g[X86_RBX],
		.rsp = g[X86_RSP],
		.rbp = g[X86_RBP],
		.rsi = g[X86_RSI],
		.rdi = g[X86_RDI],
		.r8 = g[X86_R8],
		.r9 = g[X86_R9],
		.r10 = g[X86_R10],
		.r11 = g[X86_R11],
		.r12 = g[X86_R12],
		.r13 = g[X86_R13],
		.r14 = g[X86_R14],
		.r15 = g[X86_R15],
		.rip = in->rip,
		.rflags = in->rflags,
	};

	return kvm_call_pointer(self->fd, KVM_SET_REGS, &r);
}

/* --- debug registers --- */

static int debug_read(struct kvm_vcpu *self, struct x86_state *out)
{
	struct kvm_debugregs d;
	int result = kvm_call_pointer(self->fd, KVM_GET_DEBUGREGS, &d);

	if (result < 0)
		return result;
	memcpy(out->dr, d.db, sizeof(out->dr));
	out->dr6 = (uint32_t)d.dr6;
	out->dr7 = (uint32_t)d.dr7;
	return 0;
}

/* A trap that was met and not delivered becomes an injected #DB (events_write): DR6 says so already, as x86/step.c would have it. */
static int debug_write(struct kvm_vcpu *self, const struct x86_state *in)
{
	struct kvm_debugregs d = {.dr6 = in->dr6, .dr7 = in->dr7};

	if (in->pending_debug)
		d.dr6 = (d.dr6 & ~UINT64_C(15)) | in->pending_debug | X86_DR6_FIXED;
	memcpy(d.db, in->dr, sizeof(d.db));
	return kvm_call_pointer(self->fd, KVM_SET_DEBUGREGS, &d);
}

/* --- events --- */

static struct x86_pending_event pending_from(const struct kvm_vcpu_events *e)
{
	if (e->exception.injected)
		return (struct x86_pending_event){.valid = 1,
						  .vector = e->exception.nr,
						  .type = X86_EVENT_EXCEPTION,
						  .has_error = !!e->exception.has_error_code,
						  .error = e->exception.has_error_code ? e->exception.error_code : 0};
	if (e->nmi.injected)
		return (struct x86_pending_event){.valid = 1, .vector = X86_NMI, .type = X86_EVENT_NMI};
	if (e->interrupt.injected)
		return (struct x86_pending_event){.valid = 1,
						  .vector = e->interrupt.nr,
						  .type = e->interrupt.soft ? X86_EVENT_SOFTWARE : X86_EVENT_INTERRUPT};
	return (struct x86_pending_event){.valid = 0};
}

static int events_read(struct kvm_vcpu *self, struct x86_state *out)
{
	struct kvm_vcpu_events e;
	int result = kvm_call_pointer(self->fd, KVM_GET_VCPU_EVENTS, &e);

	if (result < 0)
		return result;
	out->pending = pending_from(&e);
	out->interrupt_shadow = (uint8_t)((e.interrupt.shadow & KVM_X86_SHADOW_INT_STI ? X86_SHADOW_STI : 0) |
					  (e.interrupt.shadow & KVM_X86_SHADOW_INT_MOV_SS ? X86_SHADOW_MOV_SS : 0));
	out->nmi_masked = !!e.nmi.masked;
	out->nmi_pending = !!e.nmi.pending;
	return 0;
}

static void pending_to(struct kvm_vcpu_events *e, const struct x86_pending_event *p)
{
	switch (p->type) {
	case X86_EVENT_NMI: e->nmi.injected = 1; break;
	case X86_EVENT_INTERRUPT:
	case X86_EVENT_SOFTWARE:
		e->interrupt.injected = 1;
		e->interrupt.nr = p->vector;
		e->interrupt.soft = p->type == X86_EVENT_SOFTWARE;
		break;
	default:
		e->exception.injected = 1;
		e->exception.nr = p->vector;
		e->exception.has_error_code = p->has_error;
		e->exception.error_code = p->error;
		break;
	}
}

static int events_write(struct kvm_vcpu *self, const struct x86_state *in)
{
	struct kvm_vcpu_events e = {.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW |
					     KVM_VCPUEVENT_VALID_SIPI_VECTOR};

	if (in->pending.valid)
		pending_to(&e, &in->pending);
	else if (in->pending_debug)
		pending_to(&e, &(struct x86_pending_event){.vector = X86_DB, .type = X86_EVENT_EXCEPTION});
	e.interrupt.shadow = (uint8_t)((in->interrupt_shadow & X86_SHADOW_STI ? KVM_X86_SHADOW_INT_STI : 0) |
				       (in->interrupt_shadow & X86_SHADOW_MOV_SS ? KVM_X86_SHADOW_INT_MOV_SS : 0));
	e.nmi.masked = in->nmi_masked;
	e.nmi.pending = in->nmi_pending;
	e.sipi_vector = in->sipi_vector;
	return kvm_call_pointer(self->fd, KVM_SET_VCPU_EVENTS, &e);
}

/* --- activity --- */

static int activity_read(struct kvm_vcpu *self, struct x86_state *out)
{
	struct kvm_mp_state state;
	int result = kvm_call_pointer(self->fd, KVM_GET_MP_STATE, &state);

	if (result < 0)
		return result;
	if (self->shutdown)
		out->activity = X86_SHUTDOWN;
	else if (state.mp_state == KVM_MP_STATE_HALTED)
		out->activity = X86_HALTED;
	else if (state.mp_state == KVM_MP_STATE_UNINITIALIZED || state.mp_state == KVM_MP_STATE_INIT_RECEIVED)
		out->activity = X86_WAIT_FOR_SIPI;
	else
		out->activity = X86_RUNNING;
	return 0;
}

static int activity_write(struct kvm_vcpu *self, const struct x86_state *in)
{
	static const uint32_t to[] = {
		[X86_RUNNING] = KVM_MP_STATE_RUNNABLE,
		[X86_HALTED] = KVM_MP_STATE_HALTED,
		[X86_WAIT_FOR_SIPI] = KVM_MP_STATE_INIT_RECEIVED,
		[X86_SHUTDOWN] = KVM_MP_STATE_RUNNABLE,
	};
	struct kvm_mp_state state = {.mp_state = to[in->activity]};

	self->shutdown = in->activity == X86_SHUTDOWN;
	return kvm_call_pointer(self->fd, KVM_SET_MP_STATE, &state);
}

/* --- all of it --- */

static int xcr0_read(struct kvm_vcpu *self, struct x86_state *out)
{
	struct kvm_xcrs xcrs;
	int result;

	out->xcr0 = X86_XCR0_X87;
	if (!self->vm->has_xcrs)
		return 0;
	result = kvm_call_pointer(self->fd, KVM_GET_XCRS, &xcrs);
	for (uint32_t i = 0; result >= 0 && i < xcrs.nr_xcrs && i < KVM_MAX_XCRS; i++)
		if (xcrs.xcrs[i].xcr == 0)
			out->xcr0 = xcrs.xcrs[i].value;
	return result;
}

static int xcr0_write(struct kvm_vcpu *self, const struct x86_state *in)
{
	struct kvm_xcrs xcrs = {.nr_xcrs = 1, .xcrs[0] = {.xcr = 0, .value = in->xcr0}};

	return self->vm->has_xcrs ? kvm_call_pointer(self->fd, KVM_SET_XCRS, &xcrs) : 0;
}

struct part {
	const char *name;
	int (*read)(struct kvm_vcpu *self, struct x86_state *out);
	int (*write)(struct kvm_vcpu *self, const struct x86_state *in);
	bool whole; /* left out where an instruction is emulated */
};

/* In the order of a write. */
static const struct part parts[] = {
	{"KVM_SREGS", system_read, system_write, false},
	{"KVM_REGS", general_read, general_write, false},
	{"KVM_XCRS", xcr0_read, xcr0_write, false},
	{"KVM_XSAVE", kvm_state_fpu_read, kvm_state_fpu_write, false},
	{"KVM_MSRS", kvm_state_msr_read, kvm_state_msr_write, true},
	{"KVM_LAPIC", kvm_state_apic_read, kvm_state_apic_write, true},
	{"KVM_DEBUGREGS", debug_read, debug_write, false},
	{"KVM_VCPU_EVENTS", events_read, events_write, false},
	{"KVM_MP_STATE", activity_read, activity_write, false},
};
#define PARTS (sizeof(parts) / sizeof(parts[0]))

int kvm_state_read(struct kvm_vcpu *self, struct x86_state *out, bool whole, const char **step)
{
	for (unsigned i = 0; i < PARTS; i++) {
		int result = parts[i].whole && !whole ? 0 : parts[i].read(self, out);

		*step = parts[i].name;
		if (result < 0)
			return result;
	}
	return 0;
}

int kvm_state_write(struct kvm_vcpu *self, const struct x86_state *in, bool whole, const char **step)
{
	self->ready_known = false;
	for (unsigned i = 0; i < PARTS; i++) {
		int result = parts[i].whole && !whole ? 0 : parts[i].write(self, in);

		*step = parts[i].name;
		if (result < 0)
			return result;
	}
	return 0;
}

static enum status call_failed(const struct kvm_vcpu *self, const char *verb, const char *step, int result)
{
	host_log(HOST_LOG_ERROR, "kvm: vcpu %u: its state cannot be %s: %s: %s", self->vcpu->id, verb, step, strerror(-result));
	return result == -EINVAL ? STATUS_INVALID : STATUS_IO;
}

_Static_assert(sizeof(struct x86_state) % sizeof(uint64_t) == 0, "the echo is compared by words");
#define WORDS (sizeof(struct x86_state) / sizeof(uint64_t))

/* Words of `now` that KVM left as it first made them become those that were set. */
static void echo_apply(const struct kvm_vcpu *self, struct x86_state *now)
{
	const uint64_t *set = (const uint64_t *)self->set, *echo = (const uint64_t *)self->echo;
	uint64_t *word = (uint64_t *)now;

	for (unsigned i = 0; self->echo_valid && i < WORDS; i++)
		if (word[i] == echo[i])
			word[i] = set[i];
}

/* Once KVM has delivered a trap, its state is as if there had been none: so it says of the trap from here on what it made of it, and get no more what was set. */
void kvm_state_begin(struct kvm_vcpu *self)
{
	if (!self->echo_valid || !self->set->pending_debug)
		return;
	self->set->dr6 = self->echo->dr6;
	self->set->pending = self->echo->pending;
	self->set->pending_debug = self->echo->pending_debug;
}

enum status kvm_state_get(struct vcpu *vcpu, struct x86_state *out)
{
	struct kvm_vcpu *self = vcpu->engine;
	const char *step;
	int result;

	memset(out, 0, sizeof(*out));
	result = kvm_state_read(self, out, true, &step);
	if (result < 0)
		return call_failed(self, "read", step, result);
	echo_apply(self, out);
	out->pvclock_msr = vcpu->pvclock_msr;
	return STATUS_OK;
}

enum status kvm_state_set(struct vcpu *vcpu, const struct x86_state *in)
{
	struct kvm_vcpu *self = vcpu->engine;
	const char *step;
	int result;

	if (in->activity > X86_SHUTDOWN)
		return STATUS_INVALID;
	self->echo_valid = false;
	result = kvm_state_write(self, in, true, &step);
	if (result < 0)
		return call_failed(self, "set", step, result);
	vcpu->pvclock_msr = in->pvclock_msr;
	memset(self->echo, 0, sizeof(*self->echo));
	result = kvm_state_read(self, self->echo, true, &step);
	if (result < 0)
		return call_failed(self, "read back", step, result);
	*self->set = *in;
	self->echo_valid = true;
	return STATUS_OK;
}
