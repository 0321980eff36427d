/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trouble.h - pauses the VM while a disk with onerror=pause waits for the host.
 */
#ifndef HOLON_PROGRAM_TROUBLE_H
#define HOLON_PROGRAM_TROUBLE_H

#include "backend/block/retry.h"

struct vm;

/* For every disk of this process's VM. */
extern const struct block_retry_owner trouble_owner;

enum status trouble_start(struct vm *vm, struct reason *why) must_check;
/* Before the VM goes; harmless where it was never started. A pause that stands is left to the VM's end. */
void trouble_stop(void);

#endif
