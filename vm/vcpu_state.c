/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vcpu_state.c - a vcpu as saved state: struct x86_state and what others have asked of the vcpu that it has not taken yet. Called from save.c and rebuild.c.
 *
 * The image lies between engine and bytes: an engine knows struct x86_state, the state table this struct. Rows of the table are x86_state's members by
 * their names; its reserved words are not saved. What the fields may hold is the engine's to check (x86/cpu_state.c, for those in this process).
 */
#include <stdatomic.h>

#include "vm/vm_internal.h"
#include "x86/state.h"

/*
 * Requests that are part of the machine: the engine had no chance yet to make registers of them. VCPU_INTERRUPT is not: everyone looks after a hold.
 * VCPU_UNHALT comes anew with each move.
 */
#define REQUESTS_SAVED (VCPU_NMI | VCPU_INIT | VCPU_SIPI)
/* What is between threads, not machine. */
#define REQUESTS_KEPT (VCPU_PAUSE | VCPU_STOP | VCPU_RESET)

struct vcpu_image {
	struct x86_state state; /* first: the table's offsets are its members' */
	uint32_t requests;
	uint8_t request_sipi_vector;
};
_Static_assert(offsetof(struct vcpu_image, state) == 0, "see vcpu_fields");

#define S struct x86_state
static const struct state_field vcpu_fields[] = {
	STATE_ARRAY(S, gpr),
	STATE_FIELD(S, rip),
	STATE_FIELD(S, rflags),
	STATE_EACH(S, segment, base),
	STATE_EACH(S, segment, limit),
	STATE_EACH(S, segment, selector),
	STATE_EACH(S, segment, attributes),
	STATE_FIELD(S, ldtr.base),
	STATE_FIELD(S, ldtr.limit),
	STATE_FIELD(S, ldtr.selector),
	STATE_FIELD(S, ldtr.attributes),
	STATE_FIELD(S, tr.base),
	STATE_FIELD(S, tr.limit),
	STATE_FIELD(S, tr.selector),
	STATE_FIELD(S, tr.attributes),
	STATE_FIELD(S, gdtr.base),
	STATE_FIELD(S, gdtr.limit),
	STATE_FIELD(S, idtr.base),
	STATE_FIELD(S, idtr.limit),
	STATE_FIELD(S, cr0),
	STATE_FIELD(S, cr2),
	STATE_FIELD(S, cr3),
	STATE_FIELD(S, cr4),
	STATE_FIELD(S, cr8),
	STATE_ARRAY(S, pdpte),
	STATE_ARRAY(S, dr),
	STATE_FIELD(S, dr6),
	STATE_FIELD(S, dr7),
	STATE_FIELD(S, xcr0),
	STATE_FIELD(S, efer),
	STATE_FIELD(S, star),
	STATE_FIELD(S, lstar),
	STATE_FIELD(S, cstar),
	STATE_FIELD(S, sfmask),
	STATE_FIELD(S, kernel_gs_base),
	STATE_FIELD(S, tsc_aux),
	STATE_FIELD(S, sysenter_cs),
	STATE_FIELD(S, sysenter_esp),
	STATE_FIELD(S, sysenter_eip),
	STATE_FIELD(S, pat),
	STATE_FIELD(S, tsc_adjust),
	STATE_FIELD(S, misc_enable),
	STATE_FIELD(S, mtrr_def_type),
	STATE_FIELD(S, spec_ctrl),
	STATE_ARRAY(S, mtrr_fixed),
	STATE_ARRAY(S, mtrr_variable),
	STATE_FIELD(S, mcg_status),
	STATE_FIELD(S, mcg_ctl),
	STATE_ARRAY(S, mc),
	STATE_FIELD(S, debugctl),
	STATE_FIELD(S, xss),
	STATE_FIELD(S, amd_hwcr),
	STATE_FIELD(S, pvclock_msr),
	STATE_ARRAY(S, paravirt_msr),
	STATE_FIELD(S, x87.fcw),
	STATE_FIELD(S, x87.fsw),
	STATE_FIELD(S, x87.ftw),
	STATE_FIELD(S, x87.fop),
	STATE_FIELD(S, x87.fip),
	STATE_FIELD(S, x87.fdp),
	STATE_FIELD(S, x87.mxcsr),
	STATE_FIELD(S, x87.mxcsr_mask),
	STATE_BLOB(S, x87.st),
	STATE_BLOB(S, vector),
	STATE_FIELD(S, pkru),
	STATE_FIELD(S, activity),
	STATE_FIELD(S, interrupt_shadow),
	STATE_FIELD(S, nmi_masked),
	STATE_FIELD(S, nmi_pending),
	STATE_FIELD(S, sipi_vector),
	STATE_FIELD(S, pending_debug),
	STATE_FIELD(S, pending.valid),
	STATE_FIELD(S, pending.vector),
	STATE_FIELD(S, pending.type),
	STATE_FIELD(S, pending.has_error),
	STATE_FIELD(S, pending.error),
	STATE_FIELD(S, apic.base_msr),
	STATE_ARRAY(S, apic.reg),
	STATE_FIELD(S, apic.tsc_deadline),
	STATE_FIELD(S, apic.timer_start_ns),
	STATE_FIELD(S, apic.timer_next_ns),
	STATE_FIELD(struct vcpu_image, requests),
	STATE_FIELD(struct vcpu_image, request_sipi_vector),
};
#undef S

static enum status image_loaded(void *object, uint32_t version, struct reason *why)
{
	const struct vcpu_image *image = object;

	(void)version;
	if (image->requests & ~REQUESTS_SAVED)
		return reason_give(why, STATUS_INVALID, "saved state of a vcpu: requests 0x%x do not exist; the file is damaged",
				   image->requests);
	return STATUS_OK;
}

static const struct state_table vcpu_table = {
	.name = "vcpu", .version = 1, STATE_TABLE_FIELDS(vcpu_fields), .after_load = image_loaded};

enum status vcpu_image_create(struct vcpu *vcpu)
{
	vcpu->image = host_allocate(sizeof(*vcpu->image));
	return vcpu->image ? STATUS_OK : STATUS_NO_MEMORY;
}

void vcpu_image_destroy(struct vcpu *vcpu)
{
	host_free(vcpu->image, sizeof(*vcpu->image));
	vcpu->image = NULL;
}

enum status vcpu_image_get(struct vcpu *vcpu, struct reason *why)
{
	const struct engine *engine = vcpu->vm->engine;
	enum status status = engine->vcpu_get(vcpu, &vcpu->image->state);

	vcpu->image->requests = atomic_load(&vcpu->requests) & REQUESTS_SAVED;
	vcpu->image->request_sipi_vector = atomic_load(&vcpu->sipi_vector);
	if (status)
		return reason_give(why, status, "vcpu %u: engine %s does not give its state: %s", vcpu->id, engine->name,
				   status_name(status));
	return STATUS_OK;
}

enum status vcpu_image_set(struct vcpu *vcpu, struct reason *why)
{
	const struct engine *engine = vcpu->vm->engine;
	enum status status = engine->vcpu_set(vcpu, &vcpu->image->state);

	if (status)
		return reason_give(why, status, "vcpu %u: engine %s does not take this state: %s", vcpu->id, engine->name,
				   status == STATUS_INVALID ? "no guest could have brought it about" : status_name(status));
	atomic_store(&vcpu->sipi_vector, vcpu->image->request_sipi_vector);
	atomic_fetch_or(&vcpu->requests, vcpu->image->requests);
	paravirt_moved(vcpu);
	return STATUS_OK;
}

void vcpu_image_save(struct vcpu *vcpu, struct state_writer *writer)
{
	state_save(writer, &vcpu_table, vcpu->id, vcpu->image);
}

enum status vcpu_image_load(struct vcpu *vcpu, struct state_reader *reader, struct reason *why)
{
	__builtin_memset(vcpu->image, 0, sizeof(*vcpu->image));
	return state_load(reader, &vcpu_table, vcpu->id, vcpu->image, why);
}

void vcpu_forget(struct vcpu *vcpu)
{
	static const struct x86_apic_state off = {.timer_next_ns = UINT64_MAX};

	atomic_fetch_and(&vcpu->requests, REQUESTS_KEPT);
	atomic_store(&vcpu->sipi_vector, 0);
	vcpu->pvclock_msr = 0;
	paravirt_reset(vcpu->paravirt_msr);
	vcpu->async_pf_due = false;
	/* A local APIC of ours is switched off: its timer must not fire while another engine brings its own. */
	if (vcpu->apic_ops)
		vcpu->apic_ops->set(vcpu->apic, &off);
}
