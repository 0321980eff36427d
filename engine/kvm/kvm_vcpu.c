/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvm_vcpu.c - a vcpu of the kernel's: its life, its loop around KVM_RUN, and how others get it out of there.
 *
 * Kicks. Whoever wants the vcpu's attention has set a bit in vcpu->requests (or vm->exclusive) and calls kvm_vcpu_kick: it sets run->immediate_exit, and sends a signal if
 * the vcpu is in KVM_RUN. The vcpu clears immediate_exit, then looks at the requests, then enters. So a request that it has not seen finds immediate_exit set at the
 * entrance (KVM_RUN returns at once), or a signal that interrupts the guest. Who finds immediate_exit set already need do nothing: the vcpu has not looked since.
 *
 * Halts, and waiting for SIPI, are spent inside KVM_RUN: RUN_HALTED is never returned.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/kvm/kvm_engine.h"

#define KICK_SIGNAL SIGRTMIN

static void kick_arrived(int number)
{
	(void)number; /* it has interrupted KVM_RUN */
}

/* For the whole process and for good: another VM may be there, and a late signal must find a handler. */
enum status kvm_vcpu_signal_prepare(struct reason *why)
{
	struct sigaction action = {.sa_handler = kick_arrived, .sa_flags = SA_RESTART};

	sigemptyset(&action.sa_mask);
	return sigaction(KICK_SIGNAL, &action, NULL) < 0 ? kvm_failed(why, "signal for kicks", -errno) : STATUS_OK;
}

/* Threads of this process leave signals to the main one (host/linux/thread.c): a vcpu's takes its kicks. */
static void thread_enter(struct kvm_vcpu *self)
{
	sigset_t kick;

	sigemptyset(&kick);
	sigaddset(&kick, KICK_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &kick, NULL);
	atomic_store(&self->thread, (int)syscall(SYS_gettid));
}

void kvm_vcpu_kick(struct vcpu *vcpu)
{
	struct kvm_vcpu *self = vcpu->engine;

	if (__atomic_exchange_n(&self->run->immediate_exit, 1, __ATOMIC_SEQ_CST))
		return;
	if (atomic_load(&self->in_run))
		syscall(SYS_tgkill, getpid(), atomic_load(&self->thread), KICK_SIGNAL);
}

/* --- the loop --- */

/* Takes what others asked of this vcpu. false: vcpu_run must return for the rest. */
static bool requests_take(struct kvm_vcpu *self, enum run_end *end)
{
	struct vcpu *vcpu = self->vcpu;
	uint32_t taken = VCPU_NMI | VCPU_INIT | VCPU_SIPI | VCPU_INTERRUPT | VCPU_UNHALT;
	uint32_t requests = atomic_load(&vcpu->requests);
	int result = 0;

	if (!requests)
		return true;
	requests = atomic_fetch_and(&vcpu->requests, ~taken);
	if (requests & VCPU_INIT)
		result = kvm_irq_request_send(self, VCPU_INIT);
	if (requests & VCPU_SIPI && result >= 0)
		result = kvm_irq_request_send(self, VCPU_SIPI);
	if (requests & VCPU_UNHALT && result >= 0)
		result = kvm_irq_request_send(self, VCPU_UNHALT);
	if (requests & VCPU_NMI && result >= 0)
		result = kvm_call(self->fd, KVM_NMI, 0);
	if (result < 0) {
		host_log(HOST_LOG_ERROR, "kvm: vcpu %u: request 0x%x: %s", vcpu->id, requests, strerror(-result));
		*end = RUN_FAILED;
		return false;
	}
	if (!(requests & ~taken))
		return true;
	self->counts.kick++;
	*end = RUN_KICKED;
	return false;
}

/* Between two entries. false: the run is over. */
static bool attend(struct kvm_vcpu *self, enum run_end *end)
{
	struct vcpu *vcpu = self->vcpu;

	/* Before the looks below: who comes after it finds a vcpu that is about to enter, and gets it out. */
	__atomic_store_n(&self->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
	if (__builtin_expect(atomic_load(&vcpu->vm->exclusive), 0)) {
		exclusive_vcpu_leave(vcpu);
		exclusive_vcpu_enter(vcpu);
	}
	if (!requests_take(self, end))
		return false;
	if (self->shutdown) {
		*end = RUN_SHUTDOWN;
		return false;
	}
	if (vcpu->id == 0 && !kvm_irq_extint_serve(self)) {
		*end = RUN_FAILED;
		return false;
	}
	return true;
}

static int enter(struct kvm_vcpu *self)
{
	int result;

	atomic_store(&self->in_run, true);
	result = kvm_call(self->fd, KVM_RUN, 0);
	atomic_store(&self->in_run, false);
	return result;
}

static void run_failed(struct kvm_vcpu *self, int result, enum run_end *end)
{
	char line[96];

	host_format(line, sizeof(line), "KVM_RUN: %s%s", strerror(-result),
		    result == -EFAULT ? " (guest memory that the host cannot give?)" : "");
	kvm_dump(self, HOST_LOG_ERROR, line);
	*end = RUN_FAILED;
}

/* One entry and its exit. false: the run is over. */
static bool turn(struct kvm_vcpu *self, enum run_end *end)
{
	int result = enter(self);

	self->ready_known = true;
	self->turned_back = result == -EINTR || result == -EAGAIN;
	if (self->turned_back) {
		self->completion_due = false;
		return true;
	}
	if (result < 0) {
		run_failed(self, result, end);
		return false;
	}
	return kvm_exit_serve(self, end);
}

static void call_failed(struct kvm_vcpu *self, const char *what, int result, enum run_end *end)
{
	host_log(HOST_LOG_ERROR, "kvm: vcpu %u: %s: %s", self->vcpu->id, what, strerror(-result));
	*end = RUN_FAILED;
}

/* Which signals end KVM_RUN instead of those of the thread; NULL: those of the thread again. */
static int signal_mask_set(struct kvm_vcpu *self, const sigset_t *mask)
{
	struct {
		uint32_t length;
		uint8_t set[_NSIG / 8]; /* the kernel's set is the beginning of the library's */
	} argument = {.length = sizeof(argument.set)};

	if (!mask)
		return kvm_call(self->fd, KVM_SET_SIGNAL_MASK, 0);
	memcpy(argument.set, mask, sizeof(argument.set));
	return kvm_call_pointer(self->fd, KVM_SET_SIGNAL_MASK, &argument);
}

/*
 * When KVM_RUN returns, some of what the guest has done may still be in the kernel's hands, where no ioctl reads it: the rest of the access that the exit was about, an
 * interrupt of the APIC's timer, an EOI that the IOAPIC is to hear. KVM_RUN deals with all that before it enters the guest. So the last one is one that finds a signal
 * waiting, and turns back at the door. (immediate_exit turns it back earlier, after the access alone.)
 */
static void settle(struct kvm_vcpu *self, enum run_end *end)
{
	sigset_t kick, without;
	int result;

	sigemptyset(&kick);
	sigaddset(&kick, KICK_SIGNAL);
	pthread_sigmask(SIG_BLOCK, &kick, &without);
	result = signal_mask_set(self, &without);
	if (result >= 0) {
		syscall(SYS_tgkill, getpid(), atomic_load(&self->thread), KICK_SIGNAL);
		do {
			__atomic_store_n(&self->run->immediate_exit, 0,
					 __ATOMIC_SEQ_CST); /* who kicks meanwhile has asked before */
			self->run->request_interrupt_window = 0;
		} while (turn(self, end) && (!self->turned_back || __atomic_load_n(&self->run->immediate_exit, __ATOMIC_SEQ_CST)));
		result = signal_mask_set(self, NULL);
	}
	pthread_sigmask(SIG_SETMASK, &without, NULL);
	if (result < 0)
		call_failed(self, "its way out", result, end);
}

/* From here on the kernel does nothing for this vcpu but take interrupts in, and what the guest has done is all in its state. */
static void stand(struct kvm_vcpu *self, enum run_end *end)
{
	uint64_t begin;
	int result;

	/* Twice, if the timer has run out just now. */
	for (unsigned i = 0; i < 2; i++) {
		begin = host_time_ns();
		if (*end == RUN_KICKED)
			settle(self, end);
		result = kvm_state_timer_hold(self, begin);
		if (result <= 0 || *end != RUN_KICKED)
			break;
	}
	if (result < 0)
		call_failed(self, "its timer", result, end);
}

enum run_end kvm_vcpu_run(struct vcpu *vcpu)
{
	struct kvm_vcpu *self = vcpu->engine;
	enum run_end end = RUN_KICKED;
	int result;

	thread_enter(self);
	result = kvm_time_tell(self);
	if (result >= 0)
		result = kvm_state_timer_go(self, result > 0);
	if (result < 0) {
		call_failed(self, "its time", result, &end);
		return end;
	}
	kvm_state_begin(self);
	exclusive_vcpu_enter(vcpu);
	while (attend(self, &end) && turn(self, &end))
		;
	stand(self, &end);
	exclusive_vcpu_leave(vcpu);
	kvm_posted_drain(self);
	kvm_doorbell_drain(self->vm);
	return end;
}

/* --- life --- */

void kvm_vcpu_destroy(struct vcpu *vcpu)
{
	struct kvm_vcpu *self = vcpu->engine;

	if (!self)
		return;
	if (self->run)
		kvm_state_msr_leave(self);
	vcpu->engine = NULL;
	if (vcpu->id == 0)
		kvm_posted_ring_set(self->vm, NULL);
	if (self->run)
		munmap(self->run, self->vm->run_size);
	if (self->fd >= 0)
		close(self->fd);
	if (self->set)
		host_free(self->set, sizeof(*self->set));
	if (self->echo)
		host_free(self->echo, sizeof(*self->echo));
	host_free(self, sizeof(*self));
}

static enum status resources_create(struct kvm_vcpu *self, struct reason *why)
{
	struct kvm_device_attr offset = {.group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET};
	uint64_t mcg_cap = 0;
	int result;

	self->fd = kvm_call(self->vm->fd, KVM_CREATE_VCPU, self->vcpu->id);
	if (self->fd < 0)
		return kvm_failed(why, "KVM_CREATE_VCPU", self->fd);
	result = kvm_call_map(self->fd, self->vm->run_size, (void **)&self->run);
	if (result < 0)
		return kvm_failed(why, "mmap of a vcpu", result);
	if (self->vcpu->id == 0)
		kvm_posted_ring_set(self->vm, self->run);
	self->vm->has_tsc_offset = kvm_call_pointer(self->fd, KVM_HAS_DEVICE_ATTR, &offset) >= 0;
	/* Machine check banks as msr.c has them, as far as KVM goes. */
	if (kvm_call_pointer(self->vm->kvm, KVM_X86_GET_MCE_CAP_SUPPORTED, &mcg_cap) >= 0) {
		mcg_cap = (mcg_cap & (UINT64_C(1) << 8)) | 4;
		result = kvm_call_pointer(self->fd, KVM_X86_SETUP_MCE, &mcg_cap);
		if (result < 0)
			return kvm_failed(why, "KVM_X86_SETUP_MCE", result);
	}
	return STATUS_OK;
}

enum status kvm_vcpu_create(struct vcpu *vcpu, struct reason *why)
{
	struct kvm_vcpu *self = host_allocate(sizeof(*self));
	enum status status = STATUS_OK;

	if (!self)
		return reason_give(why, STATUS_NO_MEMORY, "kvm: no memory for vcpu %u: use fewer vcpus", vcpu->id);
	vcpu->engine = self;
	self->vcpu = vcpu;
	self->vm = kvm_vm_of(vcpu->vm);
	self->fd = -1;
	self->timer_held = true;
	self->timer_next_ns = UINT64_MAX;
	self->set = host_allocate(sizeof(*self->set));
	self->echo = host_allocate(sizeof(*self->echo));
	if (!self->set || !self->echo)
		status = reason_give(why, STATUS_NO_MEMORY, "kvm: no memory for vcpu %u: use fewer vcpus", vcpu->id);
	if (!status)
		status = resources_create(self, why);
	if (!status)
		status = kvm_cpuid_apply(self, why);
	if (status)
		kvm_vcpu_destroy(vcpu);
	return status;
}
