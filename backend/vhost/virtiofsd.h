/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtiofsd.h - starts Debian's virtiofsd on a folder.
 */
#ifndef HOLON_BACKEND_VIRTIOFSD_H
#define HOLON_BACKEND_VIRTIOFSD_H

#include <stdbool.h>
#include <sys/types.h>

#include <holon/status.h>

/* A connected socket and the process. It ends by itself when the socket is closed; wait for it with virtiofsd_wait. */
enum status virtiofsd_start(int *socket, pid_t *process, const char *folder, bool readonly, struct reason *why) must_check;
void virtiofsd_wait(pid_t process);

#endif
