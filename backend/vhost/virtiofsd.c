/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtiofsd.c - starts virtiofsd for a shared folder, and ends with it.
 *
 * It is handed a socket that listens and that we have connected to already, so it needs no name in a file system. virtiofsd of Debian 12 knows no
 * read-only mode: a read-only share runs it in a mount namespace of its own, in which the folder is mounted read-only. It wants to be root; who is not, starts
 * it as root of a user namespace, where all files are the user's.
 */
#include "backend/vhost/virtiofsd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define TEXT_MAX 4400

static const char *const programs[] = {"/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd"};

struct launch {
	const char *program;
	int listener;
	bool readonly;
	bool own_user; /* in a user namespace */
	const char *folder;
	char place[PATH_MAX]; /* the folder as virtiofsd finds it, which changes its working folder and follows no link */
	char fd_option[32], source_option[TEXT_MAX], map[32];
	int failed; /* a pipe: why the child could not start it */
};

/* A listening socket and one that is connected to it; the name is gone when this returns. */
static enum status sockets_make(int *listener, int *connected, struct reason *why)
{
	struct sockaddr_un address = {
		.sun_family = AF_UNIX}; /* sun_path[0] 0 and no more bytes: the kernel chooses a name outside of file systems */
	socklen_t length = sizeof(sa_family_t);

	*connected = -1;
	*listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (*listener >= 0 && !bind(*listener, (const struct sockaddr *)&address, length) && !listen(*listener, 1)) {
		length = sizeof(address);
		*connected = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (*connected >= 0 && !getsockname(*listener, (struct sockaddr *)&address, &length) &&
		    !connect(*connected, (const struct sockaddr *)&address, length))
			return STATUS_OK;
	}
	reason_give(why, STATUS_IO, "--share: no socket for virtiofsd: %s", strerror(errno));
	if (*listener >= 0)
		close(*listener);
	if (*connected >= 0)
		close(*connected);
	return STATUS_IO;
}

static bool file_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return good;
}

/* In the child: system calls only, other threads of ours may have held any lock. */
static bool child_prepare(const struct launch *launch)
{
	char group_map[32];

	if (launch->own_user) {
		gid_t group = getgid();

		if (unshare(CLONE_NEWUSER | CLONE_NEWNS) || !file_write("/proc/self/uid_map", launch->map) ||
		    !file_write("/proc/self/setgroups", "deny"))
			return false;
		snprintf(group_map, sizeof(group_map), "0 %u 1", (unsigned)group);
		if (!file_write("/proc/self/gid_map", group_map))
			return false;
	} else if (launch->readonly && unshare(CLONE_NEWNS)) {
		return false;
	}
	if (!launch->readonly)
		return true;
	return !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) && !mount(launch->place, launch->place, NULL, MS_BIND, NULL) &&
	       !mount(NULL, launch->place, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL);
}

static _Noreturn void child_main(const struct launch *launch)
{
	char *arguments[] = {(char *)launch->program,
			     (char *)launch->fd_option,
			     (char *)"-o",
			     (char *)launch->source_option,
			     (char *)"-f",
			     NULL};
	sigset_t none;
	int error;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setpgid(0, 0); /* Ctrl-C on the terminal is the VM's */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (child_prepare(launch) && fcntl(launch->listener, F_SETFD, 0) == 0)
		execv(launch->program, arguments);
	error = errno;
	_exit(write(launch->failed, &error, sizeof(error)) == sizeof(error) ? 1 : 2);
}

/* Until the pipe is closed by exec, or tells why there was none. */
static enum status child_check(int failed, const struct launch *launch, struct reason *why)
{
	int error;

	if (read(failed, &error, sizeof(error)) != sizeof(error))
		return STATUS_OK;
	if (launch->own_user)
		return reason_give(why, STATUS_UNSUPPORTED,
				   "--share %s: virtiofsd cannot be started in a user namespace: %s; start the VM as root, or let "
				   "users have namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone)",
				   launch->folder, strerror(error));
	return reason_give(why, STATUS_UNSUPPORTED, "--share %s: virtiofsd cannot be started: %s%s", launch->folder,
			   strerror(error),
			   launch->readonly ? "; this host may forbid what a read-only share needs: try without ,readonly" : "");
}

static enum status launch_check(struct launch *launch, struct reason *why)
{
	struct stat found;
	unsigned i;

	if (!realpath(launch->folder, launch->place) || stat(launch->place, &found))
		return reason_give(why, errno == ENOENT ? STATUS_NOT_FOUND : STATUS_PERMISSION,
				   "--share %s: %s; name a folder that is there", launch->folder, strerror(errno));
	if (!S_ISDIR(found.st_mode))
		return reason_give(why, STATUS_USAGE, "--share %s: is no folder; name one", launch->folder);
	if (!strcmp(launch->place, "/"))
		return reason_give(why, STATUS_USAGE, "--share %s: virtiofsd cannot serve the root folder; name one below it",
				   launch->folder);
	for (i = 0; i < sizeof(programs) / sizeof(programs[0]) && !launch->program; i++)
		if (!access(programs[i], X_OK))
			launch->program = programs[i];
	if (!launch->program)
		return reason_give(why, STATUS_NOT_FOUND,
				   "--share %s: there is no virtiofsd here; install it: apt-get install qemu-system-common",
				   launch->folder);
	return STATUS_OK;
}

/* Commas and backslashes in the path are escaped. */
static enum status source_option_make(struct launch *launch, struct reason *why)
{
	static const char front[] = "source=", back[] = ",cache=auto,log_level=err";
	char *out = launch->source_option, *end = out + TEXT_MAX - sizeof(back) - 1;
	const char *in;

	memcpy(out, front, sizeof(front) - 1);
	out += sizeof(front) - 1;
	for (in = launch->place; *in && out < end; in++) {
		if (*in == ',' || *in == '\\')
			*out++ = '\\';
		*out++ = *in;
	}
	memcpy(out, back, sizeof(back));
	return *in ? reason_give(why, STATUS_USAGE, "--share %s: the path is too long; choose a shorter one", launch->folder)
		   : STATUS_OK;
}

enum status virtiofsd_start(int *socket, pid_t *process, const char *folder, bool readonly, struct reason *why)
{
	struct launch launch = {.folder = folder, .readonly = readonly, .own_user = geteuid() != 0};
	enum status status = launch_check(&launch, why);
	int failed[2];

	if (!status)
		status = source_option_make(&launch, why);
	if (!status)
		status = sockets_make(&launch.listener, socket, why);
	if (status)
		return status;
	if (pipe2(failed, O_CLOEXEC)) {
		close(launch.listener);
		close(*socket);
		return reason_give(why, STATUS_IO, "--share %s: no pipe: %s", folder, strerror(errno));
	}
	launch.failed = failed[1];
	snprintf(launch.fd_option, sizeof(launch.fd_option), "--fd=%d", launch.listener);
	snprintf(launch.map, sizeof(launch.map), "0 %u 1", (unsigned)geteuid());
	*process = fork();
	if (*process == 0)
		child_main(&launch);
	close(launch.listener);
	close(failed[1]);
	status = *process < 0 ? reason_give(why, STATUS_NO_MEMORY, "--share %s: no process: %s", folder, strerror(errno))
			      : child_check(failed[0], &launch, why);
	close(failed[0]);
	if (status) {
		if (*process > 0)
			waitpid(*process, NULL, 0);
		close(*socket);
	}
	return status;
}

void virtiofsd_end(pid_t process)
{
	unsigned tries;

	kill(process, SIGTERM);
	for (tries = 0; tries < 50 && waitpid(process, NULL, WNOHANG) == 0; tries++)
		usleep(20000);
	if (tries == 50) {
		kill(process, SIGKILL);
		waitpid(process, NULL, 0);
	}
}
