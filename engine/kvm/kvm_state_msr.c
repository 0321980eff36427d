/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvm_state_msr.c - the MSRs of struct x86_state, in one call where KVM knows them all.
 *
 * KVM_GET_MSRS and KVM_SET_MSRS stop at the first register that KVM does not know, or whose value it refuses, and say how far they came. Registers without which a guest
 * cannot go on make that an error; the others are stepped over (their value then lives on in the echo, kvm_state.c).
 */
#include <errno.h>
#include <stddef.h>

#include "engine/kvm/kvm_engine.h"

#define S(member) offsetof(struct x86_state, member)

static const struct msr_row {
	uint32_t msr; /* the first of `count` */
	uint32_t count;
	size_t offset;
	bool needed;
} rows[] = {
	{X86_MSR_STAR, 1, S(star), true},
	{X86_MSR_LSTAR, 1, S(lstar), true},
	{X86_MSR_CSTAR, 1, S(cstar), true},
	{X86_MSR_SFMASK, 1, S(sfmask), true},
	{X86_MSR_KERNEL_GS_BASE, 1, S(kernel_gs_base), true},
	{X86_MSR_SYSENTER_CS, 1, S(sysenter_cs), true},
	{X86_MSR_SYSENTER_ESP, 1, S(sysenter_esp), true},
	{X86_MSR_SYSENTER_EIP, 1, S(sysenter_eip), true},
	{X86_MSR_PAT, 1, S(pat), true},
	{X86_MSR_TSC_ADJUST, 1, S(tsc_adjust), true},
	{X86_MSR_TSC_AUX, 1, S(tsc_aux), false},
	{X86_MSR_MISC_ENABLE, 1, S(misc_enable), false},
	{X86_MSR_MTRR_DEF_TYPE, 1, S(mtrr_def_type), false},
	{0x250, 1, S(mtrr_fixed[0]), false},
	{0x258, 2, S(mtrr_fixed[1]), false},
	{0x268, 8, S(mtrr_fixed[3]), false},
	{0x200, 16, S(mtrr_variable), false},
	{0x17a, 1, S(mcg_status), false},
	{0x17b, 1, S(mcg_ctl), false},
	{0x400, 16, S(mc), false},
	{0x1d9, 1, S(debugctl), false},
	{0x48, 1, S(spec_ctrl), false},
	{0xda0, 1, S(xss), false},
	{0xc0010015, 1, S(amd_hwcr), false},
	/* The vector before what uses it: KVM wakes all that wait for a page when asynchronous page faults are switched on. */
	{0x4b564d06, 1, S(paravirt_msr[4]), false},
	{0x4b564d02, 4, S(paravirt_msr[0]), false},
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))
#define MSRS 88
#define MSR_STEAL_TIME 0x4b564d03u
#define STEAL_TIME_ENABLED X86_BIT(0)
#define STEAL_TIME_ADDRESS (~UINT64_C(63))
#define STEAL_TIME_PREEMPTED 16u /* offset of the byte */

struct list {
	uint32_t count;
	struct kvm_msr_entry entry[MSRS];
	size_t offset[MSRS];
	bool needed[MSRS];
};

static void list_make(struct list *list)
{
	list->count = 0;
	for (unsigned i = 0; i < ROWS; i++)
		for (uint32_t j = 0; j < rows[i].count; j++, list->count++) {
			list->entry[list->count] = (struct kvm_msr_entry){.index = rows[i].msr + j};
			list->offset[list->count] = rows[i].offset + j * sizeof(uint64_t);
			list->needed[list->count] = rows[i].needed;
		}
	bug_on(list->count > MSRS);
}

/* How many of `count` entries, from `from` on, KVM went through; or the negative errno. */
static int some(struct kvm_vcpu *self, unsigned long request, struct kvm_msr_entry *from, uint32_t count)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry[MSRS];
	} msrs = {.head.nmsrs = count};
	int done;

	__builtin_memcpy(msrs.entry, from, count * sizeof(*from));
	done = kvm_call_pointer(self->fd, request, &msrs);
	if (done > 0 && request == KVM_GET_MSRS)
		__builtin_memcpy(from, msrs.entry, (size_t)done * sizeof(*from));
	return done;
}

/* Fills in what KVM knows; what it does not is taken off the list. */
static int list_read(struct kvm_vcpu *self, struct list *list)
{
	uint32_t kept = 0;

	for (uint32_t at = 0; at < list->count; at++) {
		int done = some(self, KVM_GET_MSRS, &list->entry[at], list->count - at);

		if (done < 0)
			return done;
		for (uint32_t end = at + (uint32_t)done; at < end; at++, kept++) {
			list->entry[kept] = list->entry[at];
			list->offset[kept] = list->offset[at];
			list->needed[kept] = list->needed[at];
		}
		if (at < list->count && list->needed[at])
			return -EINVAL;
	}
	list->count = kept;
	return 0;
}

static uint64_t *word_of(struct x86_state *state, size_t offset)
{
	return (uint64_t *)((uint8_t *)state + offset);
}

int kvm_state_msr_read(struct kvm_vcpu *self, struct x86_state *out)
{
	struct list list;
	int result;

	list_make(&list);
	result = list_read(self, &list);
	for (uint32_t i = 0; result >= 0 && i < list.count; i++)
		*word_of(out, list.offset[i]) = list.entry[i].data;
	return result;
}

/* Only what is another now: some kernels put a line into their log for a write to a register that they do not quite have. */
static void list_change(struct list *list, const struct x86_state *in)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < list->count; i++) {
		uint64_t wanted = *word_of((struct x86_state *)in, list->offset[i]);

		if (list->entry[i].data == wanted)
			continue;
		list->entry[kept] = (struct kvm_msr_entry){.index = list->entry[i].index, .data = wanted};
		list->needed[kept++] = list->needed[i];
	}
	list->count = kept;
}

int kvm_state_msr_write(struct kvm_vcpu *self, const struct x86_state *in)
{
	struct list list;
	int result;

	list_make(&list);
	result = list_read(self, &list);
	if (result < 0)
		return result;
	list_change(&list, in);
	for (uint32_t at = 0; at < list.count; at++) {
		int done = some(self, KVM_SET_MSRS, &list.entry[at], list.count - at);

		if (done < 0)
			return done;
		at += (uint32_t)done;
		if (at < list.count && list.needed[at])
			return -EINVAL;
	}
	self->clock_told = false; /* IA32_TSC_ADJUST may be another */
	return 0;
}

int kvm_state_msr_get_one(struct kvm_vcpu *self, uint32_t msr, uint64_t *value)
{
	struct kvm_msr_entry entry = {.index = msr};
	int result = some(self, KVM_GET_MSRS, &entry, 1);

	if (result == 1)
		*value = entry.data;
	return result;
}

int kvm_state_msr_set_one(struct kvm_vcpu *self, uint32_t msr, uint64_t value)
{
	struct kvm_msr_entry entry = {.index = msr, .data = value};

	return some(self, KVM_SET_MSRS, &entry, 1);
}

/*
 * A vcpu that the kernel has put aside is marked as preempted in the guest's RAM, and who shoots down TLBs counts on KVM to flush that one's before it
 * runs. No other engine knows of that, and KVM's next vcpu for it begins with an empty TLB.
 */
void kvm_state_msr_leave(struct kvm_vcpu *self)
{
	uint64_t steal_time = 0;
	uint8_t no = 0;

	if (kvm_state_msr_get_one(self, MSR_STEAL_TIME, &steal_time) != 1 || !(steal_time & STEAL_TIME_ENABLED))
		return;
	if (kvm_state_msr_set_one(self, MSR_STEAL_TIME, 0) != 1 ||
	    guest_memory_write(&self->vcpu->vm->memory, (steal_time & STEAL_TIME_ADDRESS) + STEAL_TIME_PREEMPTED, &no, sizeof(no)))
		host_log(HOST_LOG_DEBUG, "kvm: vcpu %u: its steal time could not be switched off", self->vcpu->id);
}
