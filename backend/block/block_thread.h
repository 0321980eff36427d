/* SPDX-License-Identifier: Apache-2.0 */
/*
 * block_thread.h - how disk backends start their threads.
 */
#ifndef HOLON_BLOCK_THREAD_H
#define HOLON_BLOCK_THREAD_H

#include <pthread.h>

#include <holon/status.h>

/* A small stack, all signals blocked. */
enum status block_thread_start(pthread_t *thread, void *(*main)(void *), void *argument) must_check;

#endif
