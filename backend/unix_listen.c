/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unix_listen.c - Unix sockets that programs of the host connect to: for console ports and for sockets of the guest's.
 */
#include "backend/unix_listen.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* A socket that nobody listens on any more is in the way. */
static void leftover_remove(const struct sockaddr_un *address)
{
	struct stat stat;
	int fd;

	if (lstat(address->sun_path, &stat) || !S_ISSOCK(stat.st_mode))
		return;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return;
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) && errno == ECONNREFUSED)
		unlink(address->sun_path);
	close(fd);
}

enum status unix_listen(int *listener, const char *path, mode_t mode, int backlog, const char *option, struct reason *why)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int error;

	*listener = -1;
	if (strlen(path) >= sizeof(address.sun_path))
		return reason_give(why, STATUS_USAGE, "%s %s: a socket's path has at most %zu bytes; choose a shorter one", option,
				   path, sizeof(address.sun_path) - 1);
	strcpy(address.sun_path, path);
	leftover_remove(&address);
	*listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (*listener >= 0 && !fchmod(*listener, mode) && !bind(*listener, (struct sockaddr *)&address, sizeof(address)) &&
	    !listen(*listener, backlog))
		return STATUS_OK;
	error = errno;
	if (*listener >= 0)
		close(*listener);
	*listener = -1;
	return reason_give(why, STATUS_USAGE, "%s %s: %s; name a place where a new socket can be made", option, path,
			   error == EADDRINUSE ? "something is there already" : strerror(error));
}
