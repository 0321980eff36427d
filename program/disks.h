/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disks.h - the disks of the verb `run`: from the configuration to what the board gets.
 */
#ifndef HOLON_PROGRAM_DISKS_H
#define HOLON_PROGRAM_DISKS_H

#include <holon/block.h>
#include <holon/config.h>

/* Opens all of them. On failure those that are open stay in `disk`, for disks_close. */
enum status disks_open(struct block **disk, const struct vm_config *config, struct reason *why) must_check;
/* Looks whether they have grown on the host, raw files and block devices that is, and tells the guest. With the board's lock; nobody else resizes them meanwhile. */
void disks_look(struct block **disk, const struct vm_config *config);
/* The VM ends: what waits for the host to recover (onerror=pause) waits no longer. */
void disks_give_up(struct block **disk, const struct vm_config *config);
/* No vcpu runs any more: waits for what is under way. */
void disks_drain(struct block **disk, const struct vm_config *config);
void disks_close(struct block **disk, const struct vm_config *config);

#endif
