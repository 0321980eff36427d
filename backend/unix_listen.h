/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unix_listen.h - Unix sockets that programs of the host connect to, for backends.
 */
#ifndef HOLON_BACKEND_UNIX_LISTEN_H
#define HOLON_BACKEND_UNIX_LISTEN_H

#include <sys/types.h>

#include <holon/status.h>

/*
 * A socket at `path`, whose name is the caller's to remove, with the permissions `mode` less the umask. What a dead program left there goes; else STATUS_USAGE, and `why` begins with the option's name.
 * *listener is -1 unless it is STATUS_OK.
 */
enum status unix_listen(int *listener, const char *path, mode_t mode, int backlog, const char *option,
			struct reason *why) must_check;

#endif
