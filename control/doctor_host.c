/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor_host.c - what the host's kernel offers, for `holon doctor`: a function and a row for each thing. Called through doctor_look.
 *
 * The thing itself is asked wherever that changes nothing: a node is opened, a system call made, in a child where it would change this process.
 * Files under /proc and /sys only say why. Every path and call goes through struct doctor_host, so that tests can take things away.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "control/doctor.h"

#define CAPABILITY_NET_ADMIN 12 /* linux/capability.h */
#define MEMORY_DEFAULT_MIB 1024 /* of holon run */
#define LANDLOCK_VERSION 1      /* LANDLOCK_CREATE_RULESET_VERSION */

/* Reading the host */

/* A small file's text without its last newline; "" where there is none. */
static const char *text_of(const struct doctor_host *host, char *text, size_t size, const char *path)
{
	char whole[512];
	FILE *file;
	size_t length = 0;

	snprintf(whole, sizeof(whole), "%s%s", host->root, path);
	file = fopen(whole, "re");
	if (file) {
		length = fread(text, 1, size - 1, file);
		fclose(file);
	}
	while (length && text[length - 1] == '\n')
		length--;
	text[length] = 0;
	return text;
}

static bool there(const struct doctor_host *host, const char *path, int mode)
{
	char whole[512];

	snprintf(whole, sizeof(whole), "%s%s", host->root, path);
	return !access(whole, mode);
}

/* The number of a file, or of the line that begins with `key`; -1: not there. */
static long long number_of(const struct doctor_host *host, const char *path, const char *key)
{
	char text[8192], *line, *rest, *end;
	long long value;

	text_of(host, text, sizeof(text), path);
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		if (strncmp(line, key, strlen(key)))
			continue;
		line += strlen(key);
		value = strtoll(line, &end, 10);
		return end == line ? -1 : value;
	}
	return -1;
}

/* Does a word stand in a text of words? */
static bool has_word(const char *text, const char *word)
{
	size_t length = strlen(word);
	const char *at = text;

	while ((at = strstr(at, word))) {
		if ((at == text || strchr(" \t\n:,", at[-1])) && (!at[length] || strchr(" \t\n:,", at[length])))
			return true;
		at += length;
	}
	return false;
}

/* The choice in brackets of a /sys file: "always [madvise] never". */
static const char *bracketed(char *text)
{
	char *begin = strchr(text, '['), *end = begin ? strchr(begin, ']') : NULL;

	if (!end)
		return text;
	*end = 0;
	return begin + 1;
}

static bool capable(const struct doctor_host *host, unsigned capability)
{
	char text[8192], *line;

	text_of(host, text, sizeof(text), "/proc/self/status");
	line = strstr(text, "CapEff:");
	return line && strtoull(line + strlen("CapEff:"), NULL, 16) >> capability & 1;
}

static void fact(struct doctor_finding *finding, const char *name, json_t *value)
{
	if (!finding->facts)
		finding->facts = json_object();
	json_object_set_new(finding->facts, name, value);
}

static void found(struct doctor_finding *finding, enum doctor_grade grade, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
static void found(struct doctor_finding *finding, enum doctor_grade grade, const char *format, ...)
{
	va_list arguments;

	finding->grade = grade;
	va_start(arguments, format);
	vsnprintf(finding->found, sizeof(finding->found), format, arguments);
	va_end(arguments);
}

static void next(struct doctor_finding *finding, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void next(struct doctor_finding *finding, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(finding->next, sizeof(finding->next), format, arguments);
	va_end(arguments);
}

/* What is looked at */

static void look_processor(const struct doctor_host *host, struct doctor_finding *finding)
{
	char text[8192], model[128] = "unknown", *line, *end;
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	const char *virtualization = NULL;

	/* The first processor's lines: the others' are the same. */
	text_of(host, text, sizeof(text), "/proc/cpuinfo");
	end = strstr(text, "\n\n");
	if (end)
		*end = 0;
	line = strstr(text, "model name");
	if (line && (line = strchr(line, ':')))
		snprintf(model, sizeof(model), "%.*s", (int)strcspn(line + 1, "\n") - 1, line + 2);
	if (has_word(text, "vmx"))
		virtualization = "VMX";
	else if (has_word(text, "svm"))
		virtualization = "SVM";
	fact(finding, "model", json_string(model));
	fact(finding, "processors", json_integer(processors));
	fact(finding, "virtualization", virtualization ? json_string(virtualization) : json_null());
	fact(finding, "hypervisor", json_boolean(has_word(text, "hypervisor")));
	if (virtualization) {
		found(finding, DOCTOR_GOOD, "%s, %ld online, %s", model, processors, virtualization);
		return;
	}
	found(finding, DOCTOR_POOR, "%s, %ld online, shows no hardware virtualization (vmx, svm)", model, processors);
	if (has_word(text, "hypervisor"))
		next(finding, "this host is a virtual machine: ask for nested virtualization");
	else
		next(finding, "switch it on in the firmware's setup");
}

static void look_tun(const struct doctor_host *host, struct doctor_finding *finding)
{
	bool admin = capable(host, CAPABILITY_NET_ADMIN);
	char path[512];
	int fd, error;

	snprintf(path, sizeof(path), "%s/dev/net/tun", host->root);
	fd = open(path, O_RDWR | O_CLOEXEC);
	error = errno;
	fact(finding, "opens", json_boolean(fd >= 0));
	fact(finding, "net_admin", json_boolean(admin));
	if (fd >= 0) {
		close(fd);
		found(finding, admin ? DOCTOR_GOOD : DOCTOR_POOR, "/dev/net/tun opens; this user %s make interfaces",
		      admin ? "may" : "may not");
		if (!admin)
			next(finding, "use interfaces made beforehand: sudo ip tuntap add dev NAME mode tap user $USER");
		return;
	}
	found(finding, DOCTOR_NONE, "/dev/net/tun: %s", strerror(error));
	if (error == EACCES || error == EPERM)
		next(finding, "sudo chmod 666 /dev/net/tun, as Debian has it");
	else
		next(finding, "sudo modprobe tun; in a container, have the device passed in");
}

static void look_io_uring(const struct doctor_host *host, struct doctor_finding *finding)
{
	struct io_uring_params parameters = {0};
	int fd = (int)host->call(SYS_io_uring_setup, 4, &parameters), error = errno;
	long long disabled = number_of(host, "/proc/sys/kernel/io_uring_disabled", "");

	fact(finding, "works", json_boolean(fd >= 0));
	if (fd >= 0) {
		close(fd);
		fact(finding, "features", json_integer(parameters.features));
		found(finding, DOCTOR_GOOD, "works: disks use it");
		return;
	}
	fact(finding, "error", json_string(strerror(error)));
	if (error == ENOSYS) {
		found(finding, DOCTOR_POOR, "this kernel has none: disks use threads");
		next(finding, "use a kernel from Linux 5.10 on, with CONFIG_IO_URING");
	} else if (disabled > 0) {
		found(finding, DOCTOR_POOR, "kernel.io_uring_disabled=%lld forbids it (%s): disks use threads", disabled,
		      strerror(error));
		next(finding, "sudo sysctl kernel.io_uring_disabled=0");
	} else if (error == EPERM || error == EACCES) {
		found(finding, DOCTOR_POOR, "forbidden (%s), as containers often have it: disks use threads", strerror(error));
		next(finding, "allow io_uring in the container's seccomp profile");
	} else {
		found(finding, DOCTOR_POOR, "fails (%s): disks use threads", strerror(error));
		next(finding, "raise the limit on locked memory or on open files (ulimit -l, -n)");
	}
}

/* A row of /proc/meminfo in MiB; -1: not there. */
static long long memory_mib(const struct doctor_host *host, const char *row)
{
	long long kib = number_of(host, "/proc/meminfo", row);

	return kib < 0 ? -1 : kib / 1024;
}

static void look_memory(const struct doctor_host *host, struct doctor_finding *finding)
{
	/* Where a container sees its own limit: v2, v1. */
	static const char *const limits[] = {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"};
	long long total = memory_mib(host, "MemTotal:");
	long long available = memory_mib(host, "MemAvailable:");
	long long swap = memory_mib(host, "SwapFree:"), limit;
	bool strict = number_of(host, "/proc/sys/vm/overcommit_memory", "") == 2;
	struct rlimit space;
	unsigned i;

	for (i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		limit = number_of(host, limits[i], "");
		if (limit >= 0 && limit >> 20 < total)
			total = limit >> 20;
	}
	if (available > total)
		available = total;
	fact(finding, "total_mib", json_integer(total));
	fact(finding, "available_mib", json_integer(available));
	fact(finding, "free_swap_mib", json_integer(swap));
	if (available < 0) {
		found(finding, DOCTOR_POOR, "/proc/meminfo does not say how much is available");
		next(finding, "mount /proc");
		return;
	}
	found(finding, available < MEMORY_DEFAULT_MIB ? DOCTOR_POOR : DOCTOR_GOOD, "%lld MiB of %lld available, %lld of swap%s",
	      available, total, swap, strict ? ", vm.overcommit_memory=2" : "");
	if (available < MEMORY_DEFAULT_MIB)
		next(finding, "a vm has %d MiB if not told otherwise: give --memory, or stop other programs", MEMORY_DEFAULT_MIB);
	if (!getrlimit(RLIMIT_AS, &space) && space.rlim_cur != RLIM_INFINITY) {
		fact(finding, "address_space_mib", json_integer((json_int_t)(space.rlim_cur >> 20)));
		finding->grade = DOCTOR_POOR;
		next(finding, "the address space is limited to %llu MiB, guest RAM included: ulimit -v unlimited",
		     (unsigned long long)space.rlim_cur >> 20);
	}
}

/* Guest RAM is shared memory, about which shmem_enabled decides; under kvm it is private, where no other process serves a device: `enabled` decides. */
static void look_huge_pages(const struct doctor_host *host, struct doctor_finding *finding)
{
	static const char folder[] = "/sys/kernel/mm/transparent_hugepage";
	char shared[256], private[256], path[128];
	const char *choice, *alone;
	long long pool = number_of(host, "/proc/sys/vm/nr_hugepages", "");

	snprintf(path, sizeof(path), "%s/shmem_enabled", folder);
	choice = bracketed((char *)text_of(host, shared, sizeof(shared), path));
	snprintf(path, sizeof(path), "%s/enabled", folder);
	fact(finding, "shared", json_string(choice));
	alone = bracketed((char *)text_of(host, private, sizeof(private), path));
	fact(finding, "private", json_string(alone));
	fact(finding, "pool", json_integer(pool));
	if (!*alone) {
		found(finding, DOCTOR_NONE, "this kernel has no transparent huge pages: guest RAM has pages of 4 KiB");
		next(finding, "use a kernel with CONFIG_TRANSPARENT_HUGEPAGE");
	} else if (!strcmp(alone, "never")) {
		found(finding, DOCTOR_POOR, "transparent ones are off: guest RAM has pages of 4 KiB");
		next(finding, "echo madvise | sudo tee %s/enabled", folder);
	} else if (!*choice || !strcmp(choice, "never") || !strcmp(choice, "deny")) {
		found(finding, DOCTOR_POOR,
		      "transparent ones: %s for private memory, which is RAM under kvm; off for shared memory, which it is "
		      "otherwise",
		      alone);
		next(finding, "echo advise | sudo tee %s/shmem_enabled", folder);
	} else {
		found(finding, DOCTOR_GOOD, "transparent ones: %s for private memory (RAM under kvm), %s for shared", alone,
		      choice);
	}
}

/* This process's cgroup of the unified tree: "0::/PATH". */
static bool cgroup_path(const struct doctor_host *host, char *path, size_t size)
{
	char text[4096], *line, *rest;

	text_of(host, text, sizeof(text), "/proc/self/cgroup");
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		if (!strncmp(line, "0::", 3)) {
			snprintf(path, size, "%s", line + 3);
			return true;
		}
	}
	return false;
}

static void look_cgroups(const struct doctor_host *host, struct doctor_finding *finding)
{
	char controllers[256], own[256] = "/", path[512];
	bool delegated;

	text_of(host, controllers, sizeof(controllers), "/sys/fs/cgroup/cgroup.controllers");
	cgroup_path(host, own, sizeof(own));
	snprintf(path, sizeof(path), "/sys/fs/cgroup%s/cgroup.procs", own);
	delegated = there(host, path, W_OK);
	fact(finding, "controllers", json_string(controllers));
	fact(finding, "delegated", json_boolean(delegated));
	if (!there(host, "/sys/fs/cgroup/cgroup.controllers", F_OK)) {
		if (there(host, "/sys/fs/cgroup/unified/cgroup.controllers", F_OK) || there(host, "/sys/fs/cgroup/memory", F_OK)) {
			found(finding, DOCTOR_POOR, "a tree of version 1 or mixed: its controllers cannot be given to a vm");
			next(finding, "boot with systemd.unified_cgroup_hierarchy=1");
		} else {
			found(finding, DOCTOR_NONE, "no tree at /sys/fs/cgroup");
			next(finding, "mount one: sudo mount -t cgroup2 none /sys/fs/cgroup");
		}
	} else if (!has_word(controllers, "cpu") || !has_word(controllers, "memory")) {
		found(finding, DOCTOR_POOR, "version 2 without the controllers cpu and memory (there are: %s)",
		      *controllers ? controllers : "none");
		next(finding, "have the outer manager delegate them (systemd: Delegate=cpu memory io pids)");
	} else if (!delegated) {
		found(finding, DOCTOR_POOR, "version 2 (%s), but this process may not write to its group", controllers);
		next(finding, "start under: systemd-run --user --scope -p Delegate=yes");
	} else {
		found(finding, DOCTOR_GOOD, "version 2 (%s), and this process's group is its own to write", controllers);
	}
}

/* 0 or errno, tried in a child: a namespace cannot be left again. */
static int user_namespace_try(const struct doctor_host *host)
{
	pid_t child = fork();
	int status;

	if (child < 0)
		return errno;
	if (!child)
		_exit(host->call(SYS_unshare, CLONE_NEWUSER) ? errno & 0xff : 0);
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : ECHILD;
}

static void look_user_namespaces(const struct doctor_host *host, struct doctor_finding *finding)
{
	int error = user_namespace_try(host);

	fact(finding, "works", json_boolean(!error));
	if (!error) {
		found(finding, DOCTOR_GOOD, "this user can make them");
		return;
	}
	found(finding, DOCTOR_NONE, "this user cannot make them: %s", strerror(error));
	fact(finding, "error", json_string(strerror(error)));
	if (number_of(host, "/proc/sys/user/max_user_namespaces", "") == 0)
		next(finding, "sudo sysctl user.max_user_namespaces=10000");
	else if (number_of(host, "/proc/sys/kernel/unprivileged_userns_clone", "") == 0)
		next(finding, "sudo sysctl kernel.unprivileged_userns_clone=1");
	else if (number_of(host, "/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "") == 1)
		next(finding, "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0");
	else if (error == EINVAL || error == ENOSYS)
		next(finding, "use a kernel with CONFIG_USER_NS");
	else
		next(finding, "in a container, allow unshare in its seccomp profile");
}

static void look_seccomp(const struct doctor_host *host, struct doctor_finding *finding)
{
	uint32_t action = SECCOMP_RET_KILL_PROCESS;
	bool works = !host->call(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action);
	int error = works ? 0 : errno;

	fact(finding, "works", json_boolean(works));
	if (works) {
		found(finding, DOCTOR_GOOD, "filters may end a process");
		return;
	}
	found(finding, DOCTOR_NONE, "no filters that end a process: %s", strerror(error));
	next(finding, "use a kernel from Linux 4.14 on, with CONFIG_SECCOMP_FILTER");
}

static void look_landlock(const struct doctor_host *host, struct doctor_finding *finding)
{
	long version = host->call(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_VERSION);
	int error = version < 0 ? errno : 0;

	fact(finding, "version", json_integer(version < 0 ? 0 : version));
	if (version > 0) {
		found(finding, DOCTOR_GOOD, "version %ld of its interface", version);
		return;
	}
	if (error == EOPNOTSUPP) {
		found(finding, DOCTOR_NONE, "built in, but not switched on at boot");
		next(finding, "add landlock to the kernel's lsm= parameter");
	} else if (error == ENOSYS) {
		found(finding, DOCTOR_NONE, "this kernel has none");
		next(finding, "use a kernel from Linux 5.13 on, with CONFIG_SECURITY_LANDLOCK");
	} else {
		found(finding, DOCTOR_NONE, "forbidden: %s", strerror(error));
		next(finding, "in a container, allow landlock_create_ruleset in its seccomp profile");
	}
}

static const struct look {
	const char *name;
	void (*look)(const struct doctor_host *host, struct doctor_finding *finding);
} looks[] = {
	{"processor", look_processor},
	{"tun", look_tun},
	{"io_uring", look_io_uring},
	{"memory", look_memory},
	{"huge pages", look_huge_pages},
	{"cgroups", look_cgroups},
	{"user namespaces", look_user_namespaces},
	{"seccomp", look_seccomp},
	{"landlock", look_landlock},
};

void doctor_look(struct doctor_report *report, const struct doctor_host *host)
{
	unsigned i;

	for (i = 0; i < sizeof(looks) / sizeof(looks[0]); i++)
		looks[i].look(host, doctor_finding_add(report, looks[i].name));
}
