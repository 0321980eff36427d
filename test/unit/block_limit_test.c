/* SPDX-License-Identifier: Apache-2.0 */
/*
 * block_limit_test.c - the filter that limits requests and bytes a second, in front of a disk that answers at once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <holon/host.h>

#include "backend/block/limit.h"

#define REQUESTS 64

struct bench {
	struct block inner;
	struct block *block;
	bool closed;
	struct block_segment segment;
	struct block_request request[REQUESTS];
	_Atomic unsigned done;
	struct host_event event;
};

static struct bench bench;

static void inner_submit(struct block *block, struct block_request *list)
{
	(void)block;
	while (list) {
		struct block_request *request = list;

		list = request->next;
		request->done(request, STATUS_OK);
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

static enum status inner_extend(struct block *block, uint64_t size, struct reason *why)
{
	(void)block, (void)size, (void)why;
	return STATUS_OK;
}

static void request_done(struct block_request *request, enum status status)
{
	(void)request;
	assert_int_equal(status, STATUS_OK);
	bench.done++;
	host_event_set(&bench.event);
}

static void bench_create(struct disk_rate requests, struct disk_rate bytes)
{
	memset(&bench, 0, sizeof(bench));
	bench.inner = (struct block){.submit = inner_submit,
				     .drain = inner_drain,
				     .close = inner_close,
				     .extend = inner_extend,
				     .size = 1 << 20,
				     .block_size = 512,
				     .path = "memory"};
	bench.block = &bench.inner;
	assert_int_equal(block_limit_add(&bench.block, &requests, &bytes, NULL), STATUS_OK);
	assert_ptr_not_equal(bench.block, &bench.inner);
}

static void requests_submit(unsigned from, unsigned count, uint64_t length)
{
	static uint8_t memory[1 << 20];

	bench.segment = (struct block_segment){memory, length};
	for (unsigned i = from; i < from + count; i++)
		bench.request[i] = (struct block_request){.operation = BLOCK_WRITE,
							  .length = length,
							  .segment = &bench.segment,
							  .segments = 1,
							  .done = request_done,
							  .next = i + 1 < from + count ? &bench.request[i + 1] : NULL};
	block_submit(bench.block, &bench.request[from]);
}

static void done_wait(unsigned count)
{
	while (bench.done < count)
		assert_true(host_event_wait(&bench.event, host_time_ns() + UINT64_C(20000000000)));
}

static void bench_destroy(void)
{
	bench.block->close(bench.block);
	assert_true(bench.closed);
}

static void a_burst_goes_at_once_and_the_rest_at_the_rate(void **state)
{
	uint64_t begin = host_time_ns();

	(void)state;
	bench_create((struct disk_rate){200, 10}, (struct disk_rate){0, 0});
	requests_submit(0, 50, 512);
	/* Not more than the burst and what came in meanwhile. */
	assert_true(bench.done >= 10);
	assert_true(bench.done <= 11 + (host_time_ns() - begin) / 5000000);
	done_wait(50);
	assert_true(host_time_ns() - begin >= 190000000); /* (50 - 10) / 200 s, less rounding */
	bench_destroy();
}

static void bytes_are_counted_and_large_requests_go_into_debt(void **state)
{
	uint64_t begin = host_time_ns();

	(void)state;
	bench_create((struct disk_rate){0, 0}, (struct disk_rate){4 << 20, 4096});
	requests_submit(0, 1, 1 << 19); /* larger than the burst: it goes, and the next pays */
	assert_int_equal(bench.done, 1);
	requests_submit(1, 1, 512);
	assert_int_equal(bench.done, 1);
	done_wait(2);
	assert_true(host_time_ns() - begin >= 110000000); /* (512 KiB - 4 KiB) / 4 MiB/s, less rounding */
	bench_destroy();
}

static void draining_sends_what_waits(void **state)
{
	(void)state;
	bench_create((struct disk_rate){1, 1}, (struct disk_rate){0, 0});
	requests_submit(0, 60, 512);
	assert_true(bench.done < 60);
	bench.block->drain(bench.block);
	assert_int_equal(bench.done, 60);
	requests_submit(60, 1, 512); /* in debt for a minute: closing must not wait for it */
	bench_destroy();
	assert_int_equal(bench.done, 61);
}

static void device_resized(void *device)
{
	++*(unsigned *)device;
}

static void growing_passes_through(void **state)
{
	struct reason why = {""};
	unsigned resized = 0;

	(void)state;
	bench_create((struct disk_rate){1000, 0}, (struct disk_rate){0, 0});
	bench.block->device = &resized;
	bench.block->resized = device_resized;
	assert_int_equal(block_resize(bench.block, 2 << 20, &why), STATUS_OK);
	assert_int_equal(bench.block->size, 2 << 20);
	assert_int_equal(bench.inner.size, 2 << 20);
	assert_int_equal(resized, 1);
	assert_int_equal(block_resize(bench.block, 1 << 20, &why), STATUS_RANGE);
	assert_int_equal(block_resize(bench.block, (3 << 20) + 1, &why), STATUS_USAGE);
	bench.block->readonly = true;
	assert_int_equal(block_resize(bench.block, 3 << 20, &why), STATUS_PERMISSION);
	bench.block->extend = NULL;
	assert_int_equal(block_resize(bench.block, 3 << 20, &why), STATUS_UNSUPPORTED);
	assert_int_equal(resized, 1);
	bench_destroy();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_burst_goes_at_once_and_the_rest_at_the_rate),
		cmocka_unit_test(bytes_are_counted_and_large_requests_go_into_debt),
		cmocka_unit_test(draining_sends_what_waits),
		cmocka_unit_test(growing_passes_through),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
