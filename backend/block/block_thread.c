/* SPDX-License-Identifier: Apache-2.0 */
/*
 * block_thread.c - threads of disk backends: a small stack, and no signals, which are the program's.
 */
#include "block_thread.h"

#include <signal.h>

#define BLOCK_THREAD_STACK (256u << 10) /* a chain of images is read by recursion */

enum status block_thread_start(pthread_t *thread, void *(*main)(void *), void *argument)
{
	pthread_attr_t attributes;
	sigset_t all, before;
	int error;

	sigfillset(&all);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, BLOCK_THREAD_STACK);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(thread, &attributes, main, argument);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	if (error)
		return STATUS_NO_MEMORY;
	pthread_setname_np(*thread, "disk");
	return STATUS_OK;
}
