/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trials.h - the test switches --engine-switch-every, --rebuild-every, --grow-every and --check-dirty-every, for run.c.
 */
#ifndef HOLON_PROGRAM_TRIALS_H
#define HOLON_PROGRAM_TRIALS_H

#include <holon/vm.h>

struct trials;

struct block;

/* Before vm_start: finds the engines that work here. `disk`: the VM's, NULL where there is none. *made is NULL where the VM's config asks for no trial. */
enum status trials_create(struct trials **made, struct vm *vm, struct block **disk, struct reason *why) must_check;
/* After vm_start. The VM ends where they cannot begin. NULL is all right, here and below. */
void trials_start(struct trials *trials);
/* After vm_wait. What is under way is finished. */
void trials_stop(struct trials *trials);
void trials_destroy(struct trials *trials);

/* trial_dirty.c: one check of dirty logging is one run. On failure *made is for destroy. */
struct trial_dirty;
enum status trial_dirty_create(struct trial_dirty **made, struct vm *vm, struct reason *why) must_check;
enum status trial_dirty_run(struct trial_dirty *trial, struct reason *why) must_check;
void trial_dirty_destroy(struct trial_dirty *trial);

#endif
