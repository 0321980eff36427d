/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvm_cpuid.c - the CPU model under KVM: what this host's KVM can show of it, and KVM_SET_CPUID2.
 *
 * A model keeps the features that KVM_GET_SUPPORTED_CPUID has. Its identity becomes the host's: our named models say that they are a processor without
 * speculation, and a guest that runs on a real one must not believe that (x86/cpuid.c). IA32_ARCH_CAPABILITIES is never set: KVM's own value for this
 * host stands, and the model learns it for the other engines.
 */
#include <errno.h>
#include <unistd.h>

#include "engine/kvm/kvm_engine.h"
#include "x86/cpuid.h"

#define ENTRIES 256
#define MSR_ARCH_CAPABILITIES 0x10au
#define LEAF1_ECX_X2APIC X86_BIT(21)
#define LEAF1_ECX_TSC_DEADLINE X86_BIT(24)
#define LEAF7_ECX_PKU X86_BIT(3)
#define LEAF_XSAVE 0xdu
#define SUBLEAF_PKRU 9u
#define PKRU_OFFSET 2688u /* as x86/xsave.c and the models have it */

struct cpuid_table {
	struct kvm_cpuid2 head;
	struct kvm_cpuid_entry2 entry[ENTRIES];
};

static struct x86_cpuid_leaf leaf_find(const struct cpuid_table *table, uint32_t leaf, uint32_t subleaf)
{
	for (uint32_t i = 0; i < table->head.nent; i++) {
		const struct kvm_cpuid_entry2 *entry = &table->entry[i];

		if (entry->function == leaf && (entry->index == subleaf || !(entry->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX)))
			return (struct x86_cpuid_leaf){leaf, subleaf, entry->eax, entry->ebx, entry->ecx, entry->edx};
	}
	return (struct x86_cpuid_leaf){.leaf = leaf, .subleaf = subleaf};
}

/* x86_cpu_model_mask's view of KVM. */
struct kvm_view {
	struct cpuid_table table;
	bool tsc_deadline;
};

static struct x86_cpuid_leaf view_cpuid(const void *owner, uint32_t leaf, uint32_t subleaf)
{
	const struct kvm_view *view = owner;
	struct x86_cpuid_leaf answer = leaf_find(&view->table, leaf, subleaf);

	/* What comes with the kernel's local APIC, and older kernels do not list. */
	if (leaf == 1) {
		answer.ecx |= (uint32_t)LEAF1_ECX_X2APIC;
		if (view->tsc_deadline)
			answer.ecx |= (uint32_t)LEAF1_ECX_TSC_DEADLINE;
	}
	/* The guest's XSAVE is the processor's own: where that keeps PKRU in another place than our models say (AMD), there is none. */
	if (leaf == 7 && subleaf == 0 && leaf_find(&view->table, LEAF_XSAVE, SUBLEAF_PKRU).ebx != PKRU_OFFSET)
		answer.ecx &= ~(uint32_t)LEAF7_ECX_PKU;
	return answer;
}

static uint64_t arch_capabilities_of(int kvm)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} msrs = {.head.nmsrs = 1, .entry.index = MSR_ARCH_CAPABILITIES};

	return kvm_call_pointer(kvm, KVM_GET_MSRS, &msrs) == 1 ? msrs.entry.data : 0;
}

static enum status fit(struct kvm_view *view, int kvm, struct x86_cpu_model *model, struct reason *why)
{
	int result;

	view->table.head.nent = ENTRIES;
	result = kvm_call_pointer(kvm, KVM_GET_SUPPORTED_CPUID, &view->table);
	if (result < 0)
		return kvm_failed(why, "KVM_GET_SUPPORTED_CPUID", result);
	view->tsc_deadline = kvm_call(kvm, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0;
	x86_cpu_model_mask(model, view_cpuid, view, arch_capabilities_of(kvm));
	return STATUS_OK;
}

enum status kvm_cpuid_fit(struct x86_cpu_model *model, struct reason *why)
{
	struct kvm_view *view = host_allocate(sizeof(*view));
	enum status status;
	int kvm;

	if (!view)
		return reason_give(why, STATUS_NO_MEMORY, "kvm: no memory for the CPU model: free some on the host");
	kvm = kvm_call_open();
	status = kvm < 0 ? kvm_failed(why, "/dev/kvm", kvm) : fit(view, kvm, model, why);
	if (kvm >= 0)
		close(kvm);
	host_free(view, sizeof(*view));
	return status;
}

static bool has_subleaves(uint32_t leaf)
{
	return leaf == 4 || leaf == 7 || leaf == 0xb || leaf == LEAF_XSAVE || leaf == 0x1f || leaf == 0x8000001d;
}

/* What differs from vcpu to vcpu. What follows CR4, XCR0 and the APIC, KVM does by itself. */
static void entry_patch(struct kvm_cpuid_entry2 *entry, uint32_t id)
{
	switch (entry->function) {
	case 1: entry->ebx |= id << 24; break;
	case 0xb:
	case 0x1f: entry->edx = id; break;
	case 0x8000001e:
		entry->eax = id;
		entry->ebx |= id & 0xff;
		break;
	default: break;
	}
}

static void entries_make(struct cpuid_table *table, const struct x86_cpu_model *model, uint32_t id)
{
	for (unsigned i = 0; i < model->leaves; i++) {
		const struct x86_cpuid_leaf *leaf = &model->leaf[i];
		struct kvm_cpuid_entry2 *entry = &table->entry[table->head.nent++];

		*entry = (struct kvm_cpuid_entry2){
			.function = leaf->leaf,
			.index = leaf->subleaf,
			.flags = has_subleaves(leaf->leaf) ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
			.eax = leaf->eax,
			.ebx = leaf->ebx,
			.ecx = leaf->ecx,
			.edx = leaf->edx,
		};
		entry_patch(entry, id);
	}
}

/* What the hypervisor leaves do not offer, the guest cannot use either. */
static int offers_enforce(struct kvm_vcpu *self)
{
	struct kvm_enable_cap enable = {.cap = KVM_CAP_ENFORCE_PV_FEATURE_CPUID, .args = {1}};

	if (kvm_call(self->vm->kvm, KVM_CHECK_EXTENSION, KVM_CAP_ENFORCE_PV_FEATURE_CPUID) <= 0)
		return 0;
	return kvm_call_pointer(self->fd, KVM_ENABLE_CAP, &enable);
}

enum status kvm_cpuid_apply(struct kvm_vcpu *self, struct reason *why)
{
	struct cpuid_table *table = host_allocate(sizeof(*table));
	int result;

	_Static_assert(X86_CPUID_LEAVES <= ENTRIES, "a model fits");
	if (!table)
		return reason_give(why, STATUS_NO_MEMORY, "kvm: no memory for the CPU model: free some on the host");
	entries_make(table, self->vcpu->vm->cpu_model, self->vcpu->id);
	result = kvm_call_pointer(self->fd, KVM_SET_CPUID2, table);
	host_free(table, sizeof(*table));
	if (result < 0)
		return kvm_failed(why, "KVM_SET_CPUID2", result);
	result = offers_enforce(self);
	return result < 0 ? kvm_failed(why, "KVM_CAP_ENFORCE_PV_FEATURE_CPUID", result) : STATUS_OK;
}
