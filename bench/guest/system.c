/* SPDX-License-Identifier: Apache-2.0 */
/* system.c - workloads that are mostly the kernel's: system calls, page faults, processes, pipes. */
#include "workload.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define GETPPIDS 1000000
#define FAULT_PAGES 80000
#define PAGE 4096UL
/* So many pages at a time: the guest's memory stays small. */
#define FAULT_WINDOW 8000
#define FORKS 1000
#define EXECS 300
#define PIPE_ROUNDS 50000

static uint64_t getppid_run(void)
{
	uint64_t same = 0;
	long parent = syscall(SYS_getppid);

	for (unsigned int i = 0; i < GETPPIDS; i++)
		same += syscall(SYS_getppid) == parent;
	return same;
}

static uint64_t faults_run(void)
{
	uint64_t sum = 0;
	uint8_t *window;

	for (unsigned int i = 0; i < FAULT_PAGES; i += FAULT_WINDOW) {
		window = mmap(NULL, FAULT_WINDOW * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (window == MAP_FAILED)
			workload_fail("faults: no memory");
		/* Each page by a fault of its own. */
		madvise(window, FAULT_WINDOW * PAGE, MADV_NOHUGEPAGE);
		for (unsigned int page = 0; page < FAULT_WINDOW; page++)
			window[page * PAGE] = (uint8_t)page;
		for (unsigned int page = 0; page < FAULT_WINDOW; page += 100)
			sum += window[page * PAGE];
		munmap(window, FAULT_WINDOW * PAGE);
	}
	return sum;
}

static uint64_t child_wait(pid_t child)
{
	int status;

	if (child < 0 || waitpid(child, &status, 0) != child)
		workload_fail("no child process");
	return WIFEXITED(status) ? (uint64_t)WEXITSTATUS(status) : 1000;
}

static uint64_t fork_run(void)
{
	uint64_t sum = 0;
	pid_t child;

	for (unsigned int i = 0; i < FORKS; i++) {
		child = fork();
		if (!child)
			_exit((int)(i & 63));
		sum += child_wait(child);
	}
	return sum;
}

static uint64_t exec_once(void)
{
	pid_t child = fork();

	if (!child) {
		execl("/bin/busybox", "busybox", "true", NULL);
		_exit(127);
	}
	return child_wait(child);
}

static void exec_prepare(void)
{
	exec_once();
}

static uint64_t exec_run(void)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < EXECS; i++)
		sum += exec_once();
	return sum;
}

static void pipe_echo(int from, int to)
{
	char byte;

	while (read(from, &byte, 1) == 1) {
		byte++;
		if (write(to, &byte, 1) != 1)
			_exit(1);
	}
	_exit(0);
}

static uint64_t pipe_run(void)
{
	int there[2], back[2];
	uint64_t sum = 0;
	char byte = 0;
	pid_t child;

	if (pipe(there) || pipe(back))
		workload_fail("pipe: no pipe");
	child = fork();
	if (!child) {
		close(there[1]);
		close(back[0]);
		pipe_echo(there[0], back[1]);
	}
	close(there[0]);
	close(back[1]);
	for (unsigned int i = 0; i < PIPE_ROUNDS; i++) {
		if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
			workload_fail("pipe: the other end went away");
		sum += (uint8_t)byte;
	}
	close(there[1]);
	close(back[0]);
	return sum + child_wait(child);
}

const struct workload system_workloads[] = {
	{"getppid", NULL, getppid_run},   {"faults", NULL, faults_run}, {"fork", NULL, fork_run},
	{"exec", exec_prepare, exec_run}, {"pipe", NULL, pipe_run},     {NULL, NULL, NULL},
};
