/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_kvm_program.c - makes of program/ a Holon whose /dev/kvm is fake_kvm.c: build/test/engine/holon_fake_kvm, for test/system/kvm_fault_test. What fails, and how the
 * guest ends, is told by words in FAKE_KVM:
 *
 *	open=N      /dev/kvm cannot be opened: errno N       version=N  its interface is of version N
 *	lacks=N     capability N is not there                fail=N     the N-th call of the program (not of the probe's child) gets EIO
 *	probe=hang  KVM_RUN never returns in the probe       exit=WORD  how the guest ends: off, internal, entry, shutdown, unknown, efault
 *
 * When the program has ended, "fake: CALLS calls, FDS file descriptors and MAPS mappings left" goes to stderr.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/kvm/kvm_call.h"
#include "test/engine/fake_kvm.h"

#define PROBE_PORT 0xf4
#define PROBE_VALUE 0x12345678u
#define EXIT_PORT 0x501
#define EXIT_VALUE 42u

static bool (*fake_hook)(int fd, unsigned long request, unsigned long argument, int *result);
static pid_t program;
static int fail_at = -1, calls, fds_before;
static bool probe_hangs;
static char exit_word[16] = "off";
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* The fake keeps what it is told without locks: its callers, who are several threads here, take turns. A guest runs outside. */
static bool hook(int fd, unsigned long request, unsigned long argument, int *result)
{
	bool answered = true;

	if (request == KVM_RUN)
		return fake_hook(fd, request, argument, result);
	pthread_mutex_lock(&lock);
	if (getpid() == program && calls++ == fail_at)
		*result = -EIO;
	else
		answered = fake_hook(fd, request, argument, result);
	pthread_mutex_unlock(&lock);
	return answered;
}

static int port_write(struct kvm_run *run, uint16_t port, uint32_t value)
{
	run->exit_reason = KVM_EXIT_IO;
	run->io.direction = KVM_EXIT_IO_OUT;
	run->io.size = sizeof(value);
	run->io.port = port;
	run->io.count = 1;
	run->io.data_offset = 4096;
	memcpy((uint8_t *)run + 4096, &value, sizeof(value));
	return 0;
}

static int guest_wait(struct fake_vcpu *vcpu)
{
	sigset_t kick, old;

	sigemptyset(&kick);
	sigaddset(&kick, SIGRTMIN);
	pthread_sigmask(SIG_BLOCK, &kick, &old);
	if (!__atomic_load_n(&vcpu->run->immediate_exit, __ATOMIC_SEQ_CST))
		sigsuspend(&old);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -EINTR;
}

static int guest(struct fake_vcpu *vcpu, unsigned index)
{
	if (getpid() != program) {
		while (probe_hangs)
			pause();
		return port_write(vcpu->run, PROBE_PORT, PROBE_VALUE);
	}
	/* The others wait for SIPI. */
	if (index)
		return guest_wait(vcpu);
	if (!strcmp(exit_word, "efault"))
		return -EFAULT;
	if (!strcmp(exit_word, "internal")) {
		vcpu->run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
		vcpu->run->internal.suberror = KVM_INTERNAL_ERROR_DELIVERY_EV;
	} else if (!strcmp(exit_word, "entry")) {
		vcpu->run->exit_reason = KVM_EXIT_FAIL_ENTRY;
		vcpu->run->fail_entry.hardware_entry_failure_reason = 0x80000021;
	} else if (!strcmp(exit_word, "shutdown")) {
		vcpu->run->exit_reason = KVM_EXIT_SHUTDOWN;
	} else if (!strcmp(exit_word, "unknown")) {
		vcpu->run->exit_reason = 999;
	} else {
		port_write(vcpu->run, EXIT_PORT, EXIT_VALUE);
	}
	return 0;
}

static void number_read(const char *word, const char *key, int *value)
{
	size_t length = strlen(key);

	if (!strncmp(word, key, length))
		*value = atoi(word + length);
}

static __attribute__((constructor)) void words_read(void)
{
	const char *value = getenv("FAKE_KVM");
	char *words = strdup(value ? value : ""), *rest = NULL;

	fake_kvm_on();
	fake_hook = kvm_call_hook;
	kvm_call_hook = hook;
	fake.guest = guest;
	program = getpid();
	for (char *word = words ? strtok_r(words, " ", &rest) : NULL; word; word = strtok_r(NULL, " ", &rest)) {
		number_read(word, "open=", &fake.open_error);
		number_read(word, "version=", &fake.api_version);
		number_read(word, "lacks=", &fake.capability_lacking);
		number_read(word, "fail=", &fail_at);
		probe_hangs |= !strcmp(word, "probe=hang");
		if (!strncmp(word, "exit=", 5))
			snprintf(exit_word, sizeof(exit_word), "%s", word + 5);
	}
	free(words);
	fds_before = fake_kvm_fds();
}

static __attribute__((destructor)) void rest_tell(void)
{
	if (getpid() == program)
		dprintf(STDERR_FILENO, "fake: %d calls, %d file descriptors and %d mappings left\n", calls,
			fake_kvm_fds() - fds_before, fake_kvm_maps());
}
