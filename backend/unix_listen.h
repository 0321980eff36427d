/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unix_listen.h - Unix sockets that programs of the host connect to, for backends.
 */
#ifndef HOLON_BACKEND_UNIX_LISTEN_H
#define HOLON_BACKEND_UNIX_LISTEN_H

#include <holon/status.h>

/*
 * A socket at `path`, whose name is the caller's to remove. What a dead program left there goes; else STATUS_USAGE, and `why` begins with the option's name.
 * *listener is -1 unless it is STATUS_OK.
 */
enum status unix_listen(int *listener, const char *path, int backlog, const char *option, struct reason *why) must_check;

#endif
