/* SPDX-License-Identifier: Apache-2.0 */
/*
 * command.c - workloads that are Debian's own programs, run from the benchmark's root: /tmp/files has their inputs.
 * A command's checksum is that of all it wrote.
 */
#include "workload.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (1024UL * 1024)
#define TEXT_PATH "/tmp/text"
#define TEXT_SIZE (8 * MIB)
#define ZEROES_PATH "/tmp/zeroes"
#define ZEROES_SIZE (64 * MIB)

static void output_to(int fd)
{
	int nothing = open("/dev/null", O_RDWR);

	dup2(nothing, STDIN_FILENO);
	dup2(fd, STDOUT_FILENO);
	dup2(nothing, STDERR_FILENO);
	if (nothing > STDERR_FILENO)
		close(nothing);
	close(fd);
}

/* Without a shell, so that only the command itself is measured. */
static uint64_t command_run(const char *const *words)
{
	uint64_t sum = 0xcbf29ce484222325;
	static char buffer[65536];
	int ends[2], status;
	ssize_t got;
	pid_t child;

	if (pipe(ends))
		workload_fail("command: no pipe");
	child = fork();
	if (!child) {
		close(ends[0]);
		output_to(ends[1]);
		execv(words[0], (char *const *)words);
		_exit(127);
	}
	close(ends[1]);
	while ((got = read(ends[0], buffer, sizeof(buffer))) > 0)
		for (ssize_t i = 0; i < got; i++)
			sum = (sum ^ (uint8_t)buffer[i]) * 0x100000001b3;
	close(ends[0]);
	if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status)) {
		printf("failed %s: it did not end well\n", words[0]);
		return 0;
	}
	return sum;
}

#define COMMAND(...) command_run((const char *const[]){__VA_ARGS__, NULL})

static void file_make(const char *path, size_t size, void (*fill)(char *block, size_t size, uint64_t *state))
{
	static char block[65536];
	uint64_t state = 2862933555777941757;
	int fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0644);

	if (fd < 0)
		return;
	for (size_t done = 0; done < size; done += sizeof(block)) {
		fill(block, sizeof(block), &state);
		if (write(fd, block, sizeof(block)) != (ssize_t)sizeof(block))
			workload_fail("command: /tmp is full");
	}
	close(fd);
}

/* About as compressible as prose: words of a small vocabulary, common ones more often. */
static void text_fill(char *block, size_t size, uint64_t *state)
{
	static const char letters[] = "etaoinshrdlucmfwygpbvkxqjz";
	size_t at = 0;

	while (at < size) {
		uint64_t value = workload_random(state), word = (value & 0xffff) * (value >> 16 & 0xffff) >> 21;

		for (uint64_t left = 2 + word % 7; left && at < size; left--, word = word * 31 + 7)
			block[at++] = letters[word % 26];
		if (at < size)
			block[at++] = value >> 60 ? ' ' : '\n';
	}
}

static void zeroes_fill(char *block, size_t size, uint64_t *state)
{
	(void)state;
	memset(block, 0, size);
}

static void shell_prepare(void)
{
	COMMAND("/bin/busybox", "true");
}

static uint64_t shell_run(void)
{
	return COMMAND("/bin/busybox", "sh", "/tmp/files/count.sh");
}

static void sha256_prepare(void)
{
	file_make(ZEROES_PATH, ZEROES_SIZE, zeroes_fill);
	shell_prepare();
}

static uint64_t sha256_run(void)
{
	return COMMAND("/bin/busybox", "sha256sum", ZEROES_PATH);
}

static void openssl_prepare(void)
{
	file_make(ZEROES_PATH, ZEROES_SIZE, zeroes_fill);
	COMMAND("/usr/bin/openssl", "version");
}

static uint64_t openssl_run(void)
{
	return COMMAND("/usr/bin/openssl", "dgst", "-sha256", ZEROES_PATH);
}

static void gzip_prepare(void)
{
	file_make(TEXT_PATH, TEXT_SIZE, text_fill);
	COMMAND("/bin/gzip", "--version");
}

static uint64_t gzip_run(void)
{
	return COMMAND("/bin/gzip", "-nc", TEXT_PATH);
}

static void sqlite_prepare(void)
{
	COMMAND("/usr/bin/sqlite3", "-version");
}

static uint64_t sqlite_run(void)
{
	return COMMAND("/usr/bin/sqlite3", ":memory:", ".read /tmp/files/query.sql");
}

static void python_prepare(void)
{
	COMMAND("/usr/bin/python3", "-c", "pass");
}

static uint64_t python_run(void)
{
	return COMMAND("/usr/bin/python3", "/tmp/files/program.py");
}

static uint64_t gcc_run(void)
{
	return COMMAND("/usr/bin/gcc", "-O2", "-c", "-o", "/tmp/compiled.o", "/tmp/files/compute.c") ^
	       COMMAND("/bin/busybox", "sha256sum", "/tmp/compiled.o");
}

static void gcc_prepare(void)
{
	gcc_run();
}

const struct workload command_workloads[] = {
	{"shell", shell_prepare, shell_run},
	{"sha256", sha256_prepare, sha256_run},
	{"openssl", openssl_prepare, openssl_run},
	{"gzip", gzip_prepare, gzip_run},
	{"sqlite", sqlite_prepare, sqlite_run},
	{"python", python_prepare, python_run},
	{"gcc", gcc_prepare, gcc_run},
	{NULL, NULL, NULL},
};
