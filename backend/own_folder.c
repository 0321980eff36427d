/* SPDX-License-Identifier: Apache-2.0 */
/*
 * own_folder.c - folders for the sockets of this user's VMs: the switches' (net/net_switch.c), and the one where VMs are found (program/control.c).
 */
#include "backend/own_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Opens a folder that is ours alone, making it if need be. -1: errno says why. */
static int folder_enter(int at, const char *name)
{
	struct stat stat;
	int fd;

	if (mkdirat(at, name, 0700) && errno != EEXIST)
		return -1;
	fd = openat(at, name, O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_RDONLY);
	if (fd < 0)
		return -1;
	if (!fstat(fd, &stat) && stat.st_uid == geteuid() && !(stat.st_mode & 077))
		return fd;
	close(fd);
	errno = EPERM;
	return -1;
}

int own_folder_open(const char *kind, const char *name)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	const char *step[] = {"holon", kind, name};
	struct stat stat;
	char own[64];
	int fd = -1;

	if (runtime && *runtime == '/')
		fd = open(runtime, O_DIRECTORY | O_CLOEXEC | O_RDONLY);
	/* Who has become another user and kept the environment makes nothing in the first one's. */
	if (fd >= 0 && (fstat(fd, &stat) || stat.st_uid != geteuid())) {
		close(fd);
		fd = -1;
	}
	if (fd < 0) {
		/* Without a session: a folder of the user's own, which nobody else can have made unnoticed. */
		snprintf(own, sizeof(own), "holon-%u", (unsigned)geteuid());
		fd = open("/tmp", O_DIRECTORY | O_CLOEXEC | O_RDONLY);
		step[0] = own;
	}
	for (unsigned i = 0; fd >= 0 && i < sizeof(step) / sizeof(step[0]) && step[i]; i++) {
		int next = folder_enter(fd, step[i]);
		int error = errno;

		close(fd);
		errno = error;
		fd = next;
	}
	return fd;
}
