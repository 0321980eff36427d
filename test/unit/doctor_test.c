/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor_test.c - `holon doctor` says what a host lacks, each thing taken away in turn: a folder plays /dev, /proc and /sys, a function the system calls.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmocka.h>

#include "control/doctor.h"

static char root[64];
static int error_of[512]; /* by system call; 0: it works */

static long play_call(long number, ...)
{
	if (error_of[number]) {
		errno = error_of[number];
		return -1;
	}
	if (number == SYS_io_uring_setup)
		return open("/dev/null", O_RDONLY | O_CLOEXEC);
	return number == SYS_landlock_create_ruleset ? 3 : 0;
}

static struct doctor_host host = {.root = root, .call = play_call};
static struct doctor_report report;

static void file_put(const char *path, const char *text)
{
	char whole[256], *slash;
	FILE *file;

	snprintf(whole, sizeof(whole), "%s%s", root, path);
	for (slash = strchr(whole + strlen(root) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = 0;
		mkdir(whole, 0755);
		*slash = '/';
	}
	file = fopen(whole, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void file_drop(const char *path)
{
	char whole[256];

	snprintf(whole, sizeof(whole), "%s%s", root, path);
	assert_int_equal(remove(whole), 0);
}

static int removed(const char *path, const struct stat *status, int kind, struct FTW *at)
{
	(void)status;
	(void)kind;
	(void)at;
	return remove(path);
}

/* A host that has it all. */
static int host_make(void **state)
{
	(void)state;
	strcpy(root, "/tmp/holon-doctor.XXXXXX");
	assert_non_null(mkdtemp(root));
	memset(error_of, 0, sizeof(error_of));
	file_put("/proc/cpuinfo", "processor\t: 0\nmodel name\t: Some Processor 9\nflags\t\t: fpu svm npt\n\nprocessor\t: 1\n");
	file_put("/proc/meminfo",
		 "MemTotal:       4194304 kB\nMemFree:         100 kB\nMemAvailable:    2097152 kB\nSwapFree:        1024 kB\n");
	file_put("/proc/self/status", "Name:\tholon\nCapEff:\t0000000000001000\n");
	file_put("/proc/self/cgroup", "0::/vms\n");
	file_put("/dev/net/tun", "");
	file_put("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "always within_size [advise] never deny force\n");
	file_put("/sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n");
	file_put("/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n");
	file_put("/sys/fs/cgroup/vms/cgroup.procs", "");
	return 0;
}

static int host_drop(void **state)
{
	(void)state;
	doctor_report_free(&report);
	return nftw(root, removed, 16, FTW_DEPTH | FTW_PHYS);
}

static const struct doctor_finding *look(const char *name)
{
	unsigned i;

	doctor_report_free(&report);
	memset(&report, 0, sizeof(report));
	doctor_look(&report, &host);
	for (i = 0; i < report.findings; i++)
		if (!strcmp(report.finding[i].name, name))
			return &report.finding[i];
	fail_msg("no finding %s", name);
	return NULL;
}

static void expect(const char *name, enum doctor_grade grade, const char *found, const char *next)
{
	const struct doctor_finding *finding = look(name);

	if (finding->grade != grade || !strstr(finding->found, found) || !strstr(finding->next, next))
		fail_msg("%s: grade %d, '%s', next '%s'", name, finding->grade, finding->found, finding->next);
}

static void a_host_that_has_all_is_good(void **state)
{
	unsigned i;

	(void)state;
	look("processor");
	assert_int_equal(report.findings, 9);
	for (i = 0; i < report.findings; i++) {
		if (report.finding[i].grade != DOCTOR_GOOD)
			fail_msg("%s: %s", report.finding[i].name, report.finding[i].found);
		assert_string_equal(report.finding[i].next, "");
	}
	expect("processor", DOCTOR_GOOD, "Some Processor 9", "");
	expect("processor", DOCTOR_GOOD, "SVM", "");
	expect("landlock", DOCTOR_GOOD, "version 3", "");
}

static void every_lack_has_a_next_step(void **state)
{
	unsigned i;

	(void)state;
	host_drop(state);
	for (i = 0; i < sizeof(error_of) / sizeof(error_of[0]); i++)
		error_of[i] = ENOSYS;
	look("processor");
	for (i = 0; i < report.findings; i++) {
		assert_int_not_equal(report.finding[i].grade, DOCTOR_GOOD);
		assert_string_not_equal(report.finding[i].found, "");
		assert_string_not_equal(report.finding[i].next, "");
		assert_null(strchr(report.finding[i].found, '\n'));
	}
	assert_int_equal(mkdir(root, 0700), 0);
}

static void processor_without_virtualization(void **state)
{
	(void)state;
	file_put("/proc/cpuinfo", "model name\t: X\nflags\t: fpu svmish\n");
	expect("processor", DOCTOR_POOR, "no hardware virtualization", "firmware");
	file_put("/proc/cpuinfo", "model name\t: X\nflags\t: fpu hypervisor\n");
	expect("processor", DOCTOR_POOR, "no hardware virtualization", "nested");
	file_put("/proc/cpuinfo", "model name\t:\nflags\t: vmx\n");
	expect("processor", DOCTOR_GOOD, "VMX", "");
}

static void tun_missing_or_without_rights(void **state)
{
	(void)state;
	file_put("/proc/self/status", "CapEff:\t0000000000000000\n");
	expect("tun", DOCTOR_POOR, "may not make", "ip tuntap");
	file_drop("/dev/net/tun");
	expect("tun", DOCTOR_NONE, "No such file", "modprobe tun");
}

static void io_uring_forbidden_in_each_way(void **state)
{
	(void)state;
	error_of[SYS_io_uring_setup] = ENOSYS;
	expect("io_uring", DOCTOR_POOR, "none: disks use threads", "5.10");
	error_of[SYS_io_uring_setup] = EPERM;
	expect("io_uring", DOCTOR_POOR, "forbidden", "seccomp profile");
	file_put("/proc/sys/kernel/io_uring_disabled", "2\n");
	expect("io_uring", DOCTOR_POOR, "kernel.io_uring_disabled=2", "sysctl");
	file_put("/proc/sys/kernel/io_uring_disabled", "0\n");
	error_of[SYS_io_uring_setup] = ENOMEM;
	expect("io_uring", DOCTOR_POOR, "Cannot allocate memory", "ulimit");
}

static void memory_small_limited_or_unknown(void **state)
{
	(void)state;
	expect("memory", DOCTOR_GOOD, "2048 MiB of 4096 available", "");
	file_put("/sys/fs/cgroup/memory.max", "536870912\n");
	expect("memory", DOCTOR_POOR, "512 MiB of 512 available", "--memory");
	file_put("/sys/fs/cgroup/memory.max", "max\n");
	expect("memory", DOCTOR_GOOD, "2048 MiB of 4096", "");
	file_put("/proc/meminfo", "nothing\n");
	expect("memory", DOCTOR_POOR, "does not say", "/proc");
}

static void huge_pages_off(void **state)
{
	(void)state;
	file_put("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "always within_size advise [never] deny force\n");
	expect("huge pages", DOCTOR_POOR, "always for private memory, which is RAM under kvm; off for shared", "shmem_enabled");
	file_drop("/sys/kernel/mm/transparent_hugepage/shmem_enabled");
	expect("huge pages", DOCTOR_POOR, "off for shared", "shmem_enabled");
	file_put("/sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n");
	expect("huge pages", DOCTOR_POOR, "transparent ones are off", "/enabled");
	file_drop("/sys/kernel/mm/transparent_hugepage/enabled");
	expect("huge pages", DOCTOR_NONE, "no transparent huge pages", "CONFIG_TRANSPARENT_HUGEPAGE");
}

static void cgroups_of_every_kind(void **state)
{
	(void)state;
	file_drop("/sys/fs/cgroup/vms/cgroup.procs");
	expect("cgroups", DOCTOR_POOR, "may not write", "Delegate");
	file_put("/sys/fs/cgroup/cgroup.controllers", "cpuset pids\n");
	expect("cgroups", DOCTOR_POOR, "without the controllers", "elegate");
	file_drop("/sys/fs/cgroup/cgroup.controllers");
	expect("cgroups", DOCTOR_NONE, "no tree", "mount");
	file_put("/sys/fs/cgroup/unified/cgroup.controllers", "");
	expect("cgroups", DOCTOR_POOR, "version 1 or mixed", "unified_cgroup_hierarchy");
}

static void user_namespaces_forbidden_in_each_way(void **state)
{
	(void)state;
	error_of[SYS_unshare] = EPERM;
	expect("user namespaces", DOCTOR_NONE, "Operation not permitted", "seccomp profile");
	file_put("/proc/sys/kernel/unprivileged_userns_clone", "0\n");
	expect("user namespaces", DOCTOR_NONE, "not permitted", "unprivileged_userns_clone=1");
	error_of[SYS_unshare] = ENOSPC;
	file_put("/proc/sys/user/max_user_namespaces", "0\n");
	expect("user namespaces", DOCTOR_NONE, "No space", "max_user_namespaces");
}

static void confinement_missing(void **state)
{
	(void)state;
	error_of[SYS_seccomp] = ENOSYS;
	expect("seccomp", DOCTOR_NONE, "not implemented", "CONFIG_SECCOMP_FILTER");
	error_of[SYS_landlock_create_ruleset] = EOPNOTSUPP;
	expect("landlock", DOCTOR_NONE, "not switched on", "lsm=");
	error_of[SYS_landlock_create_ruleset] = ENOSYS;
	expect("landlock", DOCTOR_NONE, "none", "5.13");
	error_of[SYS_landlock_create_ruleset] = EPERM;
	expect("landlock", DOCTOR_NONE, "forbidden", "seccomp profile");
}

static const struct engine engine = {.name = "interp"};

static void report_as_lines_and_as_json(void **state)
{
	char text[16384] = "", *line, *rest;
	unsigned lines = 0;
	json_t *root_json;
	FILE *out;

	(void)state;
	error_of[SYS_landlock_create_ruleset] = ENOSYS;
	look("landlock");
	report.engine[0] = (struct engine_finding){.engine = &engine, .why.text = "interp: runs anywhere"};
	report.engines = 1;
	report.automatic = engine_choose(report.engine, 1, &report.choice);

	out = fmemopen(text, sizeof(text), "w");
	assert_int_equal(doctor_print(&report, "1.2", false, out), STATUS_OK);
	fclose(out);
	assert_non_null(strstr(text, "landlock        none  this kernel has none; next: use a kernel from Linux 5.13 on"));
	assert_non_null(strstr(text, "engine interp   good  runs anywhere\n"));
	assert_non_null(strstr(text, "--engine auto takes interp: runs anywhere\n"));
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		lines++;
	assert_int_equal(lines, report.findings + 2);

	memset(text, 0, sizeof(text));
	out = fmemopen(text, sizeof(text), "w");
	assert_int_equal(doctor_print(&report, "1.2", true, out), STATUS_OK);
	fclose(out);
	root_json = json_loads(text, 0, NULL);
	assert_non_null(root_json);
	assert_int_equal(json_array_size(json_object_get(root_json, "findings")), report.findings);
	assert_string_equal(json_string_value(json_object_get(json_object_get(root_json, "engine_auto"), "engine")), "interp");
	assert_true(json_is_true(json_object_get(json_array_get(json_object_get(root_json, "engines"), 0), "works")));
	json_decref(root_json);
}

static void a_full_output_is_noticed(void **state)
{
	FILE *out = fopen("/dev/full", "w");

	(void)state;
	assert_non_null(out);
	look("landlock");
	assert_int_equal(doctor_print(&report, "1.2", false, out), STATUS_IO);
	fclose(out);
}

#define ON_A_HOST(test) cmocka_unit_test_setup_teardown(test, host_make, host_drop)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		ON_A_HOST(a_host_that_has_all_is_good),
		ON_A_HOST(every_lack_has_a_next_step),
		ON_A_HOST(processor_without_virtualization),
		ON_A_HOST(tun_missing_or_without_rights),
		ON_A_HOST(io_uring_forbidden_in_each_way),
		ON_A_HOST(memory_small_limited_or_unknown),
		ON_A_HOST(huge_pages_off),
		ON_A_HOST(cgroups_of_every_kind),
		ON_A_HOST(user_namespaces_forbidden_in_each_way),
		ON_A_HOST(confinement_missing),
		ON_A_HOST(report_as_lines_and_as_json),
		ON_A_HOST(a_full_output_is_noticed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
