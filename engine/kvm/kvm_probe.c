/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvm_probe.c - a tiny 64-bit guest in a child process that is killed at its deadline.
 *
 * The device node proves nothing. Where KVM stands on the PVM backend (no hardware virtualization below it, on some cloud hosts), every ioctl works and
 * a 64-bit guest at CPL 0 is emulated, instruction by instruction: a stock kernel stays for minutes inside KVM_RUN before it has unpacked itself. So
 * the guest does what a kernel does first (CR3, an MSR, IRETQ, 64-bit arithmetic), then loops. It reports through a port, and only its report, in time, counts, and
 * only if KVM's own counter says that the processor and not KVM's emulator executed it. Called by kvm.c and `holon doctor`.
 */
#include "engine/kvm/kvm_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/kvm.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <holon/host.h>

#include "engine/kvm/kvm_call.h"
#include "x86/registers.h"

#define NODE_ADVICE "remove it, and load kvm_intel or kvm_amd, which makes it anew"
#define BURIAL_MS 150 /* how long a killed child may take to be gone */

/* The guest's memory: everything below 64 KiB, identity-mapped by one 2 MiB page. */
#define GUEST_SIZE 0x10000u
#define GUEST_GDT 0x0000u
#define GUEST_CODE 0x1000u
#define GUEST_PML4 0x2000u
#define GUEST_PDPT 0x3000u
#define GUEST_PD 0x4000u
#define GUEST_STACK 0x8000u
#define SELECTOR_CODE 0x08u
#define SELECTOR_DATA 0x10u
#define PAGE_TABLE_BITS 3u /* present, writable */
#define PAGE_LARGE 0x83u   /* present, writable, 2 MiB */
#define REPORT_PORT 0xf4u
#define REPORT_VALUE 0x12345678u
#define EMULATED_MAX 1000           /* of the guest's 200,000 instructions: a real KVM emulates OUT and little more */
#define SLOW_NS UINT64_C(100000000) /* where KVM does not count: a processor needs less than 1 ms */

extern const uint8_t kvm_probe_guest[], kvm_probe_guest_end[];
__asm__(".pushsection .rodata, \"a\"\n"
	"kvm_probe_guest:\n"
	"	mov %cr3, %rax\n"
	"	mov %rax, %cr3\n"
	"	mov $0xc0000080, %ecx\n" /* EFER */
	"	rdmsr\n"
	"	test $0x400, %eax\n" /* LMA */
	"	jz 2f\n"
	"	push $0x10\n"
	"	push $0x8000\n"
	"	pushfq\n"
	"	push $0x08\n"
	"	lea 1f(%rip), %rax\n"
	"	push %rax\n"
	"	iretq\n"
	"1:	mov $100000, %ecx\n"
	"3:	dec %ecx\n"
	"	jnz 3b\n"
	"	movabs $0x123456789abcdef0, %rbx\n"
	"	ror $32, %rbx\n"
	"	mov %ebx, %eax\n"
	"	mov $0xf4, %dx\n"
	"	out %eax, %dx\n"
	"2:	hlt\n"
	"	jmp 2b\n"
	"kvm_probe_guest_end:\n"
	".popsection\n");

/* What the child says through the pipe. */
struct report {
	bool runs;
	int error;            /* errno of the step that failed, 0: the guest ended in another way */
	const char *step;     /* in .rodata, the same in both processes */
	uint32_t exit_reason; /* enum of linux/kvm.h */
	bool emulated;        /* KVM's emulator did the guest's work */
};

static const struct capability {
	int number;
	const char *name;
} needed[] = {
	{KVM_CAP_SPLIT_IRQCHIP, "KVM_CAP_SPLIT_IRQCHIP"},
	{KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
	{KVM_CAP_SIGNAL_MSI, "KVM_CAP_SIGNAL_MSI"},
	{KVM_CAP_IRQFD, "KVM_CAP_IRQFD"},
	{KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD"},
	{KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
	{KVM_CAP_READONLY_MEM, "KVM_CAP_READONLY_MEM"},
	{KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE"},
	{KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS"},
	{KVM_CAP_DEBUGREGS, "KVM_CAP_DEBUGREGS"},
	{KVM_CAP_XSAVE, "KVM_CAP_XSAVE"},
	{KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID"},
	{KVM_CAP_X2APIC_API, "KVM_CAP_X2APIC_API"},
	{KVM_CAP_X86_USER_SPACE_MSR, "KVM_CAP_X86_USER_SPACE_MSR"},
	{KVM_CAP_X86_MSR_FILTER, "KVM_CAP_X86_MSR_FILTER"},
};

const char *kvm_probe_step(int error, const char *otherwise)
{
	switch (error) {
	case EMFILE:
	case ENFILE: return "raise the limit on open files";
	case ENOMEM: return "free some of the host's memory";
	case EBUSY: return "stop what else has the processor's virtualization, such as another hypervisor";
	default: return otherwise;
	}
}

enum status kvm_probe_interface(int kvm, struct kvm_probe *found, struct reason *why)
{
	found->api_version = kvm_call(kvm, KVM_GET_API_VERSION, 0);
	if (found->api_version < 0)
		return reason_give(why, STATUS_UNSUPPORTED, "kvm: /dev/kvm is not KVM's device (%s): %s",
				   strerror(-found->api_version), NODE_ADVICE);
	if (found->api_version != KVM_API_VERSION)
		return reason_give(
			why, STATUS_UNSUPPORTED,
			"kvm: /dev/kvm speaks version %d of its interface and Holon version %d: use a kernel from Linux 2.6.22 on",
			found->api_version, KVM_API_VERSION);
	for (unsigned i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		if (kvm_call(kvm, KVM_CHECK_EXTENSION, (unsigned long)needed[i].number) > 0)
			continue;
		found->lacking = needed[i].name;
		return reason_give(why, STATUS_UNSUPPORTED, "kvm: this host's KVM lacks %s: use a kernel from Linux 5.10 on",
				   needed[i].name);
	}
	found->interface_good = true;
	return STATUS_OK;
}

/* --- the child --- */

static int child_failed(struct report *report, const char *step, int result)
{
	report->step = step;
	report->error = -result;
	return result;
}

static void guest_write(uint8_t *ram)
{
	const uint64_t gdt[] = {0, UINT64_C(0x00af9b000000ffff), UINT64_C(0x00cf93000000ffff)};
	const uint64_t pml4 = GUEST_PDPT | PAGE_TABLE_BITS, pdpt = GUEST_PD | PAGE_TABLE_BITS, pd = PAGE_LARGE;

	memcpy(ram + GUEST_GDT, gdt, sizeof(gdt));
	memcpy(ram + GUEST_CODE, kvm_probe_guest, (size_t)(kvm_probe_guest_end - kvm_probe_guest));
	memcpy(ram + GUEST_PML4, &pml4, sizeof(pml4));
	memcpy(ram + GUEST_PDPT, &pdpt, sizeof(pdpt));
	memcpy(ram + GUEST_PD, &pd, sizeof(pd));
}

static int registers_write(int vcpu, struct report *report)
{
	const struct kvm_segment code = {
		.limit = 0xffffffff, .selector = SELECTOR_CODE, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1};
	const struct kvm_segment data = {
		.limit = 0xffffffff, .selector = SELECTOR_DATA, .type = 3, .present = 1, .db = 1, .s = 1, .g = 1};
	struct kvm_regs regs = {.rip = GUEST_CODE, .rsp = GUEST_STACK, .rflags = X86_FLAG_FIXED};
	struct kvm_sregs sregs;
	int result = kvm_call_pointer(vcpu, KVM_GET_SREGS, &sregs);

	if (result < 0)
		return child_failed(report, "KVM_GET_SREGS", result);
	sregs.cs = code;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
	sregs.gdt.base = GUEST_GDT;
	sregs.gdt.limit = 23;
	sregs.cr0 = X86_CR0_PE | X86_CR0_MP | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP | X86_CR0_PG;
	sregs.cr3 = GUEST_PML4;
	sregs.cr4 = X86_CR4_PAE;
	sregs.efer = X86_EFER_LME | X86_EFER_LMA;
	result = kvm_call_pointer(vcpu, KVM_SET_SREGS, &sregs);
	if (result < 0)
		return child_failed(report, "KVM_SET_SREGS", result);
	result = kvm_call_pointer(vcpu, KVM_SET_REGS, &regs);
	return result < 0 ? child_failed(report, "KVM_SET_REGS", result) : 0;
}

/* The guest may know the processor's 64-bit mode only by CPUID: it gets what KVM has. */
static int cpuid_write(int kvm, int vcpu, struct report *report)
{
	static struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entry[256];
	} cpuid = {.head.nent = 256};
	int result = kvm_call_pointer(kvm, KVM_GET_SUPPORTED_CPUID, &cpuid);

	if (result < 0)
		return child_failed(report, "KVM_GET_SUPPORTED_CPUID", result);
	result = kvm_call_pointer(vcpu, KVM_SET_CPUID2, &cpuid);
	return result < 0 ? child_failed(report, "KVM_SET_CPUID2", result) : 0;
}

static bool is_report(const struct kvm_run *run)
{
	uint32_t value;

	if (run->exit_reason != KVM_EXIT_IO || run->io.direction != KVM_EXIT_IO_OUT || run->io.port != REPORT_PORT ||
	    run->io.size != 4)
		return false;
	memcpy(&value, (const uint8_t *)run + run->io.data_offset, sizeof(value));
	return value == REPORT_VALUE;
}

/* KVM's counter of that name, of the vcpu; UINT64_MAX: this KVM does not tell (before Linux 5.14). */
static uint64_t statistic(int vcpu, const char *name)
{
	union {
		struct kvm_stats_desc desc;
		char room[256];
	} one;
	struct kvm_stats_header head;
	uint64_t value = UINT64_MAX;
	int fd = kvm_call(vcpu, KVM_GET_STATS_FD, 0);

	if (fd < 0)
		return value;
	if (pread(fd, &head, sizeof(head), 0) != sizeof(head) || sizeof(one.desc) + head.name_size > sizeof(one) - 1)
		head.num_desc = 0;
	for (uint32_t i = 0; i < head.num_desc; i++) {
		size_t size = sizeof(one.desc) + head.name_size;

		memset(&one, 0, sizeof(one));
		if (pread(fd, &one, size, head.desc_offset + (off_t)(i * size)) != (ssize_t)size)
			break;
		if (!strcmp(one.desc.name, name) &&
		    pread(fd, &value, sizeof(value), head.data_offset + (off_t)one.desc.offset) != sizeof(value))
			value = UINT64_MAX;
	}
	close(fd);
	return value;
}

static bool was_emulated(int vcpu, uint64_t begin_ns)
{
	uint64_t took = host_time_ns() - begin_ns, count = statistic(vcpu, "insn_emulation");

	return count == UINT64_MAX ? took > SLOW_NS : count > EMULATED_MAX;
}

static void guest_run(int kvm, int vcpu, struct report *report)
{
	struct kvm_run *run = NULL;
	int size = kvm_call(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), result;
	uint64_t begin;

	result = size < 0 ? size : kvm_call_map(vcpu, (size_t)size, (void **)&run);
	if (result < 0) {
		child_failed(report, "mmap of the vcpu", result);
		return;
	}
	begin = host_time_ns();
	do
		result = kvm_call(vcpu, KVM_RUN, 0);
	while (result == -EINTR);
	if (result < 0) {
		child_failed(report, "KVM_RUN", result);
		return;
	}
	report->exit_reason = run->exit_reason;
	report->emulated = was_emulated(vcpu, begin);
	report->runs = is_report(run) && !report->emulated;
}

/* Everything that it makes goes with the process. */
static void child_probe(int kvm, struct report *report)
{
	struct kvm_userspace_memory_region region = {.memory_size = GUEST_SIZE};
	void *ram = mmap(NULL, GUEST_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int vm, vcpu, result;

	if (ram == MAP_FAILED) {
		child_failed(report, "mmap", -errno);
		return;
	}
	guest_write(ram);
	region.userspace_addr = (uintptr_t)ram;
	vm = kvm_call(kvm, KVM_CREATE_VM, 0);
	if (vm < 0) {
		child_failed(report, "KVM_CREATE_VM", vm);
		return;
	}
	result = kvm_call_pointer(vm, KVM_SET_USER_MEMORY_REGION, &region);
	if (result < 0) {
		child_failed(report, "KVM_SET_USER_MEMORY_REGION", result);
		return;
	}
	vcpu = kvm_call(vm, KVM_CREATE_VCPU, 0);
	if (vcpu < 0) {
		child_failed(report, "KVM_CREATE_VCPU", vcpu);
		return;
	}
	if (cpuid_write(kvm, vcpu, report) == 0 && registers_write(vcpu, report) == 0)
		guest_run(kvm, vcpu, report);
}

/* Closes all but these two: a child that cannot be killed must not keep the user's disks locked, or a pipe that somebody reads open. */
static void files_leave(int one, int other)
{
	unsigned low = (unsigned)(one < other ? one : other), high = (unsigned)(one < other ? other : one);

	if (low > 0)
		close_range(0, low - 1, 0);
	if (high > low + 1)
		close_range(low + 1, high - 1, 0);
	close_range(high + 1, UINT_MAX, 0);
}

static _Noreturn void child_main(int kvm, int pipe_end, pid_t parent)
{
	struct report report = {.runs = false};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* Whose end came before that is not told. */
	if (getppid() != parent)
		_exit(1);
	files_leave(kvm, pipe_end);
	child_probe(kvm, &report);
	_exit(write(pipe_end, &report, sizeof(report)) == sizeof(report) ? 0 : 1);
}

/* --- the parent --- */

/* Waits for a report, or the end of the pipe. false: neither came in time. */
static bool pipe_wait(int fd, uint64_t deadline_ns)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

	for (;;) {
		uint64_t now = host_time_ns();
		int left = now >= deadline_ns ? 0 : (int)((deadline_ns - now + 999999) / 1000000);
		int got = poll(&poll_fd, 1, left);

		if (got > 0)
			return true;
		if (left == 0 || (got < 0 && errno != EINTR))
			return false;
	}
}

static void child_bury(pid_t child, int fd)
{
	kill(child, SIGKILL);
	/* The pipe ends when it does. A child that not even SIGKILL gets out of the kernel is left to init. */
	if (pipe_wait(fd, host_time_ns() + UINT64_C(1000000) * BURIAL_MS))
		while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
			;
}

static enum status verdict(const struct kvm_probe *found, const struct report *report, bool in_time, struct reason *why)
{
	static const char advice[] = "use a host with hardware virtualization";

	if (in_time && report->emulated)
		return reason_give(why, STATUS_UNSUPPORTED,
				   "kvm: /dev/kvm is there but only emulates 64-bit guests%s, too slowly for a kernel: %s",
				   access("/sys/module/kvm_pvm", F_OK) ? "" : " (its backend is PVM)", advice);
	if (!in_time)
		return reason_give(why, STATUS_UNSUPPORTED,
				   "kvm: /dev/kvm is there but cannot run a 64-bit guest: the probe guest did not get through "
				   "within %u ms%s: %s",
				   found->elapsed_ms, access("/sys/module/kvm_pvm", F_OK) ? "" : " (its backend is PVM)", advice);
	if (report->runs)
		return reason_give(why, STATUS_OK, "kvm: /dev/kvm runs 64-bit guests");
	if (report->error)
		return reason_give(why, STATUS_UNSUPPORTED, "kvm: the probe guest failed at %s: %s: %s", report->step,
				   strerror(report->error), kvm_probe_step(report->error, advice));
	return reason_give(why, STATUS_UNSUPPORTED, "kvm: the probe guest ended with exit %u in place of its report: %s",
			   report->exit_reason, advice);
}

static enum status guest_probe(int kvm, struct kvm_probe *found, struct reason *why)
{
	struct report report = {.runs = false, .step = "its start", .error = EPIPE};
	uint64_t begin = host_time_ns();
	pid_t child, parent = getpid();
	int ends[2];
	bool in_time;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return reason_give(why, STATUS_UNSUPPORTED, "kvm: pipe for the probe: %s; raise the limit on open files",
				   strerror(errno));
	child = fork();
	if (child == 0)
		child_main(kvm, ends[1], parent);
	close(ends[1]);
	if (child < 0) {
		close(ends[0]);
		return reason_give(why, STATUS_UNSUPPORTED, "kvm: process for the probe: %s; raise the limit on processes",
				   strerror(errno));
	}
	in_time = pipe_wait(ends[0], begin + UINT64_C(1000000) * KVM_PROBE_DEADLINE_MS);
	if (in_time && read(ends[0], &report, sizeof(report)) != sizeof(report))
		report.runs = false;
	found->elapsed_ms = (unsigned)((host_time_ns() - begin) / 1000000);
	found->runs = in_time && report.runs;
	child_bury(child, ends[0]);
	close(ends[0]);
	return verdict(found, &report, in_time, why);
}

static enum status open_failed(struct kvm_probe *found, int error, struct reason *why)
{
	if (error == ENOENT || error == ENODEV || error == ENXIO)
		return reason_give(why, STATUS_NOT_FOUND,
				   "kvm: no /dev/kvm: load kvm_intel or kvm_amd, and see that virtualization is on in the firmware "
				   "(in a VM, nested)");
	found->present = true;
	if (error == EACCES || error == EPERM)
		return reason_give(why, STATUS_PERMISSION,
				   "kvm: /dev/kvm: %s: join the group kvm (sudo usermod -aG kvm USER) and log in again",
				   strerror(error));
	return reason_give(why, STATUS_UNSUPPORTED, "kvm: /dev/kvm: %s: %s", strerror(error),
			   error == EISDIR || error == ELOOP ? NODE_ADVICE : kvm_probe_step(error, "see the host's kernel log"));
}

enum status kvm_probe(struct kvm_probe *found, struct reason *why)
{
	struct kvm_probe own;
	enum status status;
	int kvm;

	if (!found)
		found = &own;
	*found = (struct kvm_probe){.present = false};
	kvm = kvm_call_open();
	if (kvm < 0)
		return open_failed(found, -kvm, why);
	found->present = found->permitted = true;
	status = kvm_probe_interface(kvm, found, why);
	if (status == STATUS_OK)
		status = guest_probe(kvm, found, why);
	close(kvm);
	return status;
}
