/* SPDX-License-Identifier: Apache-2.0 */
/*
 * block_retry_test.c - the filter behind onerror=pause, in front of a disk that fails as long as the test wants.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include <holon/host.h>

#include "backend/block/disk_failure.h"
#include "backend/block/retry.h"

#define REQUESTS 8

static struct {
	struct block inner;
	struct block *block;
	_Atomic enum status fail;
	_Atomic unsigned tries, done, told, over;
	enum status result[REQUESTS];
	struct block_request request[REQUESTS];
	struct host_event event;
	bool closed;
} bench;

static void inner_submit(struct block *block, struct block_request *list)
{
	(void)block;
	while (list) {
		struct block_request *request = list;

		list = request->next;
		memset(request->backend_word, 0xff, sizeof(request->backend_word));
		bench.tries++;
		host_event_set(&bench.event);
		request->done(request, bench.fail);
	}
}

static void inner_drain(struct block *block)
{
	(void)block;
}

static void inner_close(struct block *block)
{
	(void)block;
	bench.closed = true;
}

static void waiting(void *object, bool on)
{
	assert_ptr_equal(object, &bench);
	if (on)
		bench.told++;
	else
		bench.over++;
}

static void request_done(struct block_request *request, enum status status)
{
	assert_ptr_equal(request->device, &bench);
	bench.result[request - bench.request] = status;
	bench.done++;
	host_event_set(&bench.event);
}

static void bench_create(enum status fail)
{
	static const struct block_retry_owner owner = {waiting, &bench};

	memset(&bench, 0, sizeof(bench));
	bench.fail = fail;
	bench.inner = (struct block){.submit = inner_submit,
				     .drain = inner_drain,
				     .close = inner_close,
				     .size = 1 << 20,
				     .block_size = 512,
				     .path = "memory"};
	bench.block = &bench.inner;
	assert_int_equal(block_retry_add(&bench.block, &owner, NULL), STATUS_OK);
}

static void submit(unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		bench.request[i] = (struct block_request){.operation = BLOCK_FLUSH,
							  .done = request_done,
							  .device = &bench,
							  .next = i + 1 < count ? &bench.request[i + 1] : NULL};
	block_submit(bench.block, bench.request);
}

static void event_wait(void)
{
	assert_true(host_event_wait(&bench.event, host_time_ns() + UINT64_C(20000000000)));
}

static void requests_come_back_when_the_host_recovers(void **state)
{
	(void)state;
	bench_create(STATUS_NO_SPACE);
	submit(4);
	assert_int_equal(bench.done, 0);
	assert_int_equal(bench.told, 1); /* once, however many */
	while (bench.tries < 8)          /* all are tried again */
		event_wait();
	assert_int_equal(bench.done, 0);
	bench.fail = STATUS_OK;
	bench.block->drain(bench.block);
	assert_int_equal(bench.done, 4);
	assert_int_equal(bench.over, 1);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(bench.result[i], STATUS_OK);
	bench.fail = STATUS_IO; /* and again */
	submit(1);
	assert_int_equal(bench.told, 2);
	bench.fail = STATUS_OK;
	bench.block->drain(bench.block);
	assert_int_equal(bench.over, 2);
	bench.block->close(bench.block);
	assert_true(bench.closed);
}

static void what_is_no_fault_of_the_disk_is_told_at_once(void **state)
{
	(void)state;
	bench_create(STATUS_UNSUPPORTED);
	submit(2);
	assert_int_equal(bench.done, 2);
	assert_int_equal(bench.result[0], STATUS_UNSUPPORTED);
	assert_int_equal(bench.told, 0);
	bench.block->close(bench.block);
}

/* What is said on stderr between the two goes into a file. */
static int stderr_take(int *file)
{
	char name[] = "/tmp/holon-test.XXXXXX";
	int kept = dup(STDERR_FILENO);

	*file = mkstemp(name);
	assert_true(*file >= 0 && kept >= 0);
	unlink(name);
	assert_int_equal(dup2(*file, STDERR_FILENO), STDERR_FILENO);
	return kept;
}

static void stderr_give_back(int kept, int file, char *said, size_t size)
{
	ssize_t length;

	assert_int_equal(dup2(kept, STDERR_FILENO), STDERR_FILENO);
	length = pread(file, said, size - 1, 0);
	assert_true(length >= 0);
	said[length] = 0;
	close(kept);
	close(file);
}

static unsigned lines(const char *said)
{
	unsigned count = 0;

	for (; *said; said++)
		count += *said == '\n';
	return count;
}

static void a_failure_is_said_once_however_often_it_comes(void **state)
{
	char said[1024];
	int file, kept = stderr_take(&file);

	(void)state;
	for (unsigned i = 0; i < 50; i++) {
		disk_failure_log("a.img", "write", i, 512, ENOSPC);
		disk_failure_log("b.img", "write", i, 512, ENOSPC);
		disk_failure_log("a.img", "read", i, 512, EIO);
	}
	stderr_give_back(kept, file, said, sizeof(said));
	assert_int_equal(lines(said), 3);
	assert_non_null(strstr(said, "a.img: read of 512 bytes at 0 failed"));
}

static void giving_up_tells_the_guest(void **state)
{
	char said[1024];
	int file, kept = stderr_take(&file);

	(void)state;
	bench_create(STATUS_IO);
	submit(3);
	assert_int_equal(bench.done, 0);
	bench.block->give_up(bench.block);
	bench.block->drain(bench.block);
	assert_int_equal(bench.done, 3);
	assert_int_equal(bench.result[2], STATUS_IO);
	assert_int_equal(bench.over, 1);
	submit(1); /* from then on at once */
	assert_int_equal(bench.done, 4);
	bench.block->close(bench.block);
	stderr_give_back(kept, file, said, sizeof(said));
	assert_non_null(strstr(said, "the VM is paused"));
	assert_null(strstr(said, "works again"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_come_back_when_the_host_recovers),
		cmocka_unit_test(what_is_no_fault_of_the_disk_is_told_at_once),
		cmocka_unit_test(a_failure_is_said_once_however_often_it_comes),
		cmocka_unit_test(giving_up_tells_the_guest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
