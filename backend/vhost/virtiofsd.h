/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtiofsd.h - starts Debian's virtiofsd on a folder.
 */
#ifndef HOLON_BACKEND_VIRTIOFSD_H
#define HOLON_BACKEND_VIRTIOFSD_H

#include <stdbool.h>
#include <sys/types.h>

#include <holon/status.h>

/* A connected socket and the process, which is ended with virtiofsd_end. If we are killed it ends by itself. */
enum status virtiofsd_start(int *socket, pid_t *process, const char *folder, bool readonly, struct reason *why) must_check;
void virtiofsd_end(pid_t process);

#endif
