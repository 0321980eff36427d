/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vms.h - the verbs `list`, `show` and `set`: VMs that run. For holon.c.
 */
#ifndef HOLON_PROGRAM_VMS_H
#define HOLON_PROGRAM_VMS_H

/* The words behind the verb. They return the exit status. */
int vms_list(int count, char **arguments);
int vms_show(int count, char **arguments);
int vms_set(int count, char **arguments);

#endif
