/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvm_call.h - every call of this engine into the kernel's KVM goes through here, so that a test can fail each in turn or play the kernel.
 */
#ifndef HOLON_ENGINE_KVM_CALL_H
#define HOLON_ENGINE_KVM_CALL_H

#include <stdbool.h>
#include <stddef.h>

/* Calls that are no ioctl, as the hook sees them. */
enum kvm_call_other { KVM_CALL_OPEN = 1, KVM_CALL_MAP, KVM_CALL_EVENTFD, KVM_CALL_EPOLL };

/* ioctl(2): what it returned, or the negative errno. Any thread. */
int kvm_call(int fd, unsigned long request, unsigned long argument);
static inline int kvm_call_pointer(int fd, unsigned long request, const void *argument)
{
	return kvm_call(fd, request, (unsigned long)argument);
}

/* File descriptors are closed on exec. Negative errno where they fail; *memory stays as it is then. */
int kvm_call_open(void);
int kvm_call_map(int fd, size_t size, void **memory);
int kvm_call_eventfd(void);
int kvm_call_epoll(void);

/*
 * Tests: sees every call first. true: it has answered with *result. Set while nothing runs; NULL: none. For KVM_CALL_MAP `argument` is the size.
 */
extern bool (*kvm_call_hook)(int fd, unsigned long request, unsigned long argument, int *result);

#endif
