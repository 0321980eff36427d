/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_kvm.c - see fake_kvm.h. One request a case; what KVM makes of a state (normal forms) is done where a test looks at it.
 */
#include "test/engine/fake_kvm.h"

#include <cpuid.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/kvm/kvm_call.h"

struct fake_kvm fake;

static int fd_new(void)
{
	return memfd_create("fake-kvm", MFD_CLOEXEC);
}

static struct fake_vcpu *vcpu_of(int fd)
{
	for (unsigned i = 0; i < fake.vcpus; i++)
		if (fake.vcpu[i].fd == fd)
			return &fake.vcpu[i];
	return &fake.vcpu[0];
}

uint64_t *fake_kvm_msr(struct fake_vcpu *vcpu, uint32_t msr)
{
	for (unsigned i = 0; i < vcpu->msrs; i++)
		if (vcpu->msr[i].index == msr)
			return (uint64_t *)&vcpu->msr[i].data;
	vcpu->msr[vcpu->msrs].index = msr;
	return (uint64_t *)&vcpu->msr[vcpu->msrs++].data;
}

uint32_t *fake_kvm_lapic(struct fake_vcpu *vcpu, unsigned reg)
{
	return (uint32_t *)(void *)(vcpu->lapic.regs + reg * 16);
}

static int msrs_go(struct fake_vcpu *vcpu, struct kvm_msrs *msrs, bool set)
{
	for (uint32_t i = 0; i < msrs->nmsrs; i++) {
		uint64_t *value;

		if (msrs->entries[i].index == fake.msr_refused)
			return (int)i;
		value = fake_kvm_msr(vcpu, msrs->entries[i].index);
		if (set)
			*value = msrs->entries[i].data;
		else
			msrs->entries[i].data = *value;
	}
	return (int)msrs->nmsrs;
}

static int vcpu_create(void)
{
	struct fake_vcpu *vcpu = &fake.vcpu[fake.vcpus];

	vcpu->fd = fd_new();
	fake.vcpus++;
	vcpu->mp_state.mp_state = KVM_MP_STATE_RUNNABLE;
	return ftruncate(vcpu->fd, FAKE_RUN_SIZE) ? -errno : vcpu->fd;
}

/* The file of the vcpu is a memfd: the engine gets a shared mapping of it, and so does the fake. */
static bool vcpu_map(int fd)
{
	struct fake_vcpu *vcpu = vcpu_of(fd);

	if (vcpu->run)
		munmap(vcpu->run, FAKE_RUN_SIZE);
	vcpu->run = mmap(NULL, FAKE_RUN_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return false; /* and the real call follows */
}

/* KVM_CREATE_VM, KVM_CREATE_VCPU and the like of the system and the VM. */
static bool machine_call(unsigned long request, void *argument, int *result)
{
	struct kvm_userspace_memory_region *region = argument;
	struct kvm_coalesced_mmio_zone *zone = argument;
	struct kvm_irq_routing *routing = argument;
	struct kvm_dirty_log *log = argument;
	struct kvm_cpuid2 *cpuid = argument;

	switch (request) {
	case KVM_GET_API_VERSION: *result = fake.api_version; break;
	case KVM_CHECK_EXTENSION:
		*result = (int)(uintptr_t)argument == fake.capability_lacking ? 0 : 64;
		if ((int)(uintptr_t)argument == KVM_CAP_COALESCED_MMIO)
			*result = FAKE_RING / 4096;
		break;
	case KVM_REGISTER_COALESCED_MMIO: fake.zone[zone->pio != 0] = *zone; break;
	case KVM_GET_VCPU_MMAP_SIZE: *result = FAKE_RUN_SIZE; break;
	case KVM_CREATE_VM: *result = fd_new(); break;
	case KVM_CREATE_VCPU: *result = vcpu_create(); break;
	case KVM_GET_SUPPORTED_CPUID:
		memcpy(cpuid->entries, fake.supported, sizeof(fake.supported));
		cpuid->nent = fake.supporteds;
		break;
	case KVM_SET_USER_MEMORY_REGION:
		if (region->slot >= sizeof(fake.slot) / sizeof(fake.slot[0]))
			*result = -EINVAL;
		else
			fake.slot[region->slot] = *region;
		break;
	case KVM_SET_GSI_ROUTING:
		memcpy(fake.route, routing->entries, routing->nr * sizeof(fake.route[0]));
		fake.routes = routing->nr;
		fake.gsi_routings++;
		break;
	case KVM_IRQFD: fake.irqfd[fake.irqfds++] = *(struct kvm_irqfd *)argument; break;
	case KVM_IOEVENTFD: fake.ioeventfd[fake.ioeventfds++] = *(struct kvm_ioeventfd *)argument; break;
	case KVM_SIGNAL_MSI:
		fake.last_msi = *(struct kvm_msi *)argument;
		fake.msis++;
		*result = 1;
		break;
	case KVM_GET_DIRTY_LOG:
		*(uint64_t *)log->dirty_bitmap = fake.dirty[log->slot];
		fake.dirty[log->slot] = 0;
		break;
	default: return false;
	}
	return true;
}

#define STATE(name, member)                                                                \
	case KVM_GET_##name: memcpy(argument, &vcpu->member, sizeof(vcpu->member)); break; \
	case KVM_SET_##name: memcpy(&vcpu->member, argument, sizeof(vcpu->member)); break

static int vcpu_call(struct fake_vcpu *vcpu, unsigned long request, void *argument)
{
	struct kvm_cpuid2 *cpuid = argument;
	struct kvm_device_attr *attr = argument;

	switch (request) {
		STATE(REGS, regs);
		STATE(SREGS2, sregs);
		STATE(DEBUGREGS, debugregs);
		STATE(VCPU_EVENTS, events);
		STATE(MP_STATE, mp_state);
		STATE(XSAVE, xsave);
		STATE(XCRS, xcrs);
		STATE(LAPIC, lapic);
	case KVM_GET_MSRS:
	case KVM_SET_MSRS: return msrs_go(vcpu, argument, request == KVM_SET_MSRS);
	case KVM_SET_CPUID2:
		memcpy(vcpu->cpuid, cpuid->entries, cpuid->nent * sizeof(vcpu->cpuid[0]));
		vcpu->cpuids = cpuid->nent;
		break;
	case KVM_SET_DEVICE_ATTR: vcpu->tsc_offset = *(uint64_t *)(uintptr_t)attr->addr; break;
	case KVM_NMI: fake.nmis++; break;
	case KVM_GET_STATS_FD: return -ENOTTY;
	case KVM_SET_SIGNAL_MASK: vcpu->signals_open = argument; break;
	case KVM_TRANSLATE: memset((char *)argument + 8, 0, sizeof(struct kvm_translation) - 8); break;
	default: break;
	}
	return 0;
}

static bool signal_waits(const struct fake_vcpu *vcpu)
{
	sigset_t waiting;

	sigpending(&waiting);
	return vcpu->signals_open && sigismember(&waiting, SIGRTMIN);
}

/* What KVM does at the door of the guest, before it turns back. */
static int door(struct fake_vcpu *vcpu)
{
	fake.turned_back++;
	if (vcpu->eoi_due) {
		vcpu->run->exit_reason = KVM_EXIT_IOAPIC_EOI;
		vcpu->run->eoi.vector = vcpu->eoi_due;
		vcpu->eoi_due = 0;
		return 0;
	}
	if (vcpu->emulation_due) {
		vcpu->run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
		vcpu->run->internal.suberror = KVM_INTERNAL_ERROR_EMULATION;
		vcpu->emulation_due = false;
		return 0;
	}
	if (vcpu->timer_due)
		*fake_kvm_lapic(vcpu, 0x20 + vcpu->timer_due / 32) |= 1u << vcpu->timer_due % 32;
	vcpu->timer_due = 0;
	return -EINTR;
}

static int run(struct fake_vcpu *vcpu)
{
	int result = -EINTR;

	if (!vcpu->run->immediate_exit && signal_waits(vcpu))
		return door(vcpu);
	if (!vcpu->run->immediate_exit) {
		fake.runs++;
		result = fake.guest(vcpu, (unsigned)(vcpu - fake.vcpu));
	}
	vcpu->run->ready_for_interrupt_injection = vcpu->takes_interrupts;
	return result;
}

static bool hook(int fd, unsigned long request, unsigned long argument, int *result)
{
	int number;

	if (request == KVM_RUN) {
		*result = run(vcpu_of(fd));
		return true;
	}
	number = fake.calls++;
	if (fake.interrupts && number % 2 == 0 && request > KVM_CALL_EPOLL) {
		*result = -EINTR;
		return true;
	}
	*result = 0;
	if (number == fake.fail_at || (fake.refuse && request == fake.refuse)) {
		*result = number == fake.fail_at ? -EIO : -EPERM;
		return true;
	}
	switch (request) {
	case KVM_CALL_OPEN: *result = fake.open_error ? -fake.open_error : fd_new(); return true;
	case KVM_CALL_MAP: return vcpu_map(fd);
	case KVM_CALL_EVENTFD:
	case KVM_CALL_EPOLL: return false;
	case KVM_GET_MSRS: /* of the system: feature MSRs */
		if (fd != fake.vcpu[0].fd && fd != fake.vcpu[1].fd) {
			((struct kvm_msrs *)argument)->entries[0].data = fake.arch_capabilities;
			*result = 1;
			return true;
		}
	}
	if (!machine_call(request, (void *)argument, result))
		*result = vcpu_call(vcpu_of(fd), request, (void *)argument);
	return true;
}

/* What the host's processor has, as a KVM on it would. */
static void supported_fill(void)
{
	static const uint32_t leaves[][2] = {{0, 0},   {1, 0},          {7, 0},          {0xd, 0},        {0xd, 1},       {0xd, 2},
					     {0xd, 9}, {0x80000001, 0}, {0x80000007, 0}, {0x80000008, 0}, {0x80000021, 0}};

	for (unsigned i = 0; i < sizeof(leaves) / sizeof(leaves[0]); i++) {
		struct kvm_cpuid_entry2 *entry = &fake.supported[fake.supporteds++];

		*entry = (struct kvm_cpuid_entry2){
			.function = leaves[i][0], .index = leaves[i][1], .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX};
		__cpuid_count(leaves[i][0], leaves[i][1], entry->eax, entry->ebx, entry->ecx, entry->edx);
	}
}

void fake_kvm_on(void)
{
	for (unsigned i = 0; i < FAKE_VCPUS; i++)
		if (fake.vcpu[i].run)
			munmap(fake.vcpu[i].run, FAKE_RUN_SIZE);
	memset(&fake, 0, sizeof(fake));
	fake.fail_at = -1;
	fake.capability_lacking = -1;
	fake.api_version = KVM_API_VERSION;
	for (unsigned i = 0; i < FAKE_VCPUS; i++)
		fake.vcpu[i].fd = -1;
	supported_fill();
	kvm_call_hook = hook;
}

void fake_kvm_off(void)
{
	kvm_call_hook = NULL;
}

int fake_kvm_fds(void)
{
	DIR *directory = opendir("/proc/self/fd");
	int count = 0;

	while (directory && readdir(directory))
		count++;
	if (directory)
		closedir(directory);
	return count;
}

int fake_kvm_maps(void)
{
	FILE *file = fopen("/proc/self/maps", "re");
	char line[512];
	int count = 0;

	while (file && fgets(line, sizeof(line), file))
		count += strstr(line, "fake-kvm") != NULL;
	if (file)
		fclose(file);
	for (unsigned i = 0; i < FAKE_VCPUS; i++)
		count -= fake.vcpu[i].run != NULL;
	return count;
}
