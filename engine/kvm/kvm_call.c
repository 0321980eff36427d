/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvm_call.c - the calls into the kernel, and the hook that tests put between. See kvm_call.h.
 */
#include "engine/kvm/kvm_call.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define KVM_DEVICE "/dev/kvm"

bool (*kvm_call_hook)(int fd, unsigned long request, unsigned long argument, int *result);

static bool hooked(int fd, unsigned long request, unsigned long argument, int *result)
{
	return __builtin_expect(kvm_call_hook != NULL, 0) && kvm_call_hook(fd, request, argument, result);
}

static int or_errno(int result)
{
	return result < 0 ? -errno : result;
}

/* A signal ends KVM_RUN on purpose. It may end others too, KVM_CREATE_VM most of all, and also where no handler runs (a stop and its end, a freezer): those begin anew. */
int kvm_call(int fd, unsigned long request, unsigned long argument)
{
	int result;

	do
		if (!hooked(fd, request, argument, &result))
			result = or_errno(ioctl(fd, request, argument));
	while (result == -EINTR && request != KVM_RUN);
	return result;
}

int kvm_call_open(void)
{
	int result;

	if (hooked(-1, KVM_CALL_OPEN, 0, &result))
		return result;
	return or_errno(open(KVM_DEVICE, O_RDWR | O_CLOEXEC));
}

int kvm_call_map(int fd, size_t size, void **memory)
{
	void *at;
	int result;

	if (hooked(fd, KVM_CALL_MAP, size, &result))
		return result;
	at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		return -errno;
	*memory = at;
	return 0;
}

int kvm_call_eventfd(void)
{
	int result;

	if (hooked(-1, KVM_CALL_EVENTFD, 0, &result))
		return result;
	return or_errno(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

int kvm_call_epoll(void)
{
	int result;

	if (hooked(-1, KVM_CALL_EPOLL, 0, &result))
		return result;
	return or_errno(epoll_create1(EPOLL_CLOEXEC));
}
