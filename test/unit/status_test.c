/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status_test.c - the words for a status, and the host's services: memory, events, mutexes, threads, time, files, locks.
 */
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <fcntl.h>
#include <unistd.h>
#include <cmocka.h>

#include "host/linux/linux.h"

static void every_status_has_a_name(void **state)
{
	int status, other;

	(void)state;
	for (status = STATUS_OK; status <= STATUS_CANCELLED; status++)
		for (other = STATUS_OK; other < status; other++)
			assert_string_not_equal(status_name((enum status)status), status_name((enum status)other));
	assert_string_equal(status_name((enum status)1000), "unknown");
	assert_string_equal(status_name((enum status) - 1), "unknown");
}

static void a_reason_is_cut_to_its_room(void **state)
{
	struct reason why;
	char long_text[2000];

	(void)state;
	memset(long_text, 'x', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = 0;
	assert_int_equal(reason_give(&why, STATUS_IO, "%s", long_text), STATUS_IO);
	assert_int_equal(strlen(why.text), sizeof(why.text) - 1);
	assert_int_equal(reason_give(NULL, STATUS_BUSY, "%d", 1), STATUS_BUSY);
}

static void memory_is_zero_and_aligned(void **state)
{
	static const size_t sizes[] = {1, 63, 64, 100, 4095, 4096, 100000};
	unsigned i, n;

	(void)state;
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint8_t *memory = host_allocate(sizes[i]);

		assert_non_null(memory);
		assert_int_equal((uintptr_t)memory % (sizes[i] >= 4096 ? 4096 : 64), 0);
		for (n = 0; n < sizes[i]; n++)
			assert_int_equal(memory[n], 0);
		memset(memory, 0xff, sizes[i]);
		host_free(memory, sizes[i]);
	}
	host_free(NULL, 10);
}

static void an_event_is_a_latch(void **state)
{
	struct host_event event = {0};
	uint64_t begin = host_time_ns();

	(void)state;
	assert_false(host_event_wait(&event, 0));
	assert_false(host_event_wait(&event, begin + 2000000));
	assert_true(host_time_ns() >= begin + 2000000);
	host_event_set(&event);
	host_event_set(&event);
	assert_true(host_event_wait(&event, 0));
	assert_false(host_event_wait(&event, 0));
}

struct table_tennis {
	struct host_event ping, pong;
	unsigned turns;
};

static void returning_player(void *argument)
{
	struct table_tennis *game = argument;
	unsigned i;

	for (i = 0; i < 5000; i++) {
		host_event_wait(&game->ping, HOST_FOREVER);
		game->turns++;
		host_event_set(&game->pong);
	}
}

static void events_hand_data_over(void **state)
{
	struct table_tennis game = {0};
	struct host_thread *thread;
	unsigned i;

	(void)state;
	assert_int_equal(host_thread_start(&thread, "player", returning_player, &game), STATUS_OK);
	for (i = 0; i < 5000; i++) {
		game.turns++;
		host_event_set(&game.ping);
		assert_true(host_event_wait(&game.pong, HOST_FOREVER));
	}
	host_thread_join(thread);
	assert_int_equal(game.turns, 10000);
}

struct account {
	struct host_mutex lock;
	unsigned balance;
};

static void depositor(void *argument)
{
	struct account *account = argument;
	unsigned i;

	for (i = 0; i < 20000; i++) {
		host_mutex_lock(&account->lock);
		account->balance++;
		host_mutex_unlock(&account->lock);
	}
}

static void a_mutex_keeps_threads_apart(void **state)
{
	struct account account = {0};
	struct host_thread *threads[4];
	unsigned i;

	(void)state;
	for (i = 0; i < 4; i++)
		assert_int_equal(host_thread_start(&threads[i], "a name that is too long", depositor, &account), STATUS_OK);
	for (i = 0; i < 4; i++)
		host_thread_join(threads[i]);
	assert_int_equal(account.balance, 80000);
}

/* Dekker's pattern with a compiler barrier on one side only: host_barrier_all makes up for the other. */
struct dekker {
	_Atomic unsigned a, b;
	_Atomic unsigned round, done;
	unsigned saw_b;
};

static void dekker_fast_side(void *argument)
{
	struct dekker *dekker = argument;
	unsigned round;

	for (round = 1; round <= 500; round++) {
		while (atomic_load_explicit(&dekker->round, memory_order_acquire) != round)
			host_yield();
		atomic_store_explicit(&dekker->a, 1, memory_order_relaxed);
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
		dekker->saw_b = atomic_load_explicit(&dekker->b, memory_order_relaxed);
		atomic_store_explicit(&dekker->done, round, memory_order_release);
	}
}

static void a_barrier_of_all_orders_the_other_side(void **state)
{
	struct dekker dekker = {0};
	struct host_thread *thread;
	unsigned round, saw_a;

	(void)state;
	assert_int_equal(host_thread_start(&thread, "dekker", dekker_fast_side, &dekker), STATUS_OK);
	for (round = 1; round <= 500; round++) {
		dekker.a = dekker.b = 0;
		atomic_store_explicit(&dekker.round, round, memory_order_release);
		atomic_store_explicit(&dekker.b, 1, memory_order_relaxed);
		host_barrier_all();
		saw_a = atomic_load_explicit(&dekker.a, memory_order_relaxed);
		while (atomic_load_explicit(&dekker.done, memory_order_acquire) != round)
			host_yield();
		assert_true(saw_a || dekker.saw_b);
	}
	host_thread_join(thread);
}

static void the_tsc_frequency_fits_the_clock(void **state)
{
	struct host_event never = {0};
	uint64_t tsc = host_tsc(), ns = host_time_ns(), khz;

	(void)state;
	host_event_wait(&never, ns + 50000000);
	tsc = host_tsc() - tsc;
	ns = host_time_ns() - ns;
	khz = tsc * 1000000 / ns;
	assert_true(khz > host_tsc_khz() * UINT64_C(98) / 100 && khz < host_tsc_khz() * UINT64_C(102) / 100);
}

static void random_bytes_differ(void **state)
{
	uint8_t a[64] = {0}, b[64] = {0};

	(void)state;
	host_random(a, sizeof(a));
	host_random(b, sizeof(b));
	assert_memory_not_equal(a, b, sizeof(a));
}

static void guest_ram_is_zero_shared_and_sparse(void **state)
{
	uint64_t size = UINT64_C(8) << 30;
	struct reason why;
	struct stat stat;
	uint8_t *ram;
	uint8_t byte;
	int fd;

	(void)state;
	assert_int_equal(host_ram_create(&ram, &fd, size, true, &why), STATUS_OK);
	assert_int_equal(ram[size - 1], 0);
	ram[5000] = 7;
	assert_int_equal(pread(fd, &byte, 1, 5000), 1);
	assert_int_equal(byte, 7);
	assert_int_equal(fstat(fd, &stat), 0);
	assert_true((uint64_t)stat.st_blocks * 512 < UINT64_C(64) << 20);
	host_ram_discard(ram + 4096, 4096);
	assert_int_equal(ram[5000], 0);
	host_ram_destroy(ram, fd, size);
	assert_true(host_memory_total() > UINT64_C(64) << 20);
}

static void private_guest_ram_begins_at_a_large_page(void **state)
{
	uint64_t size = UINT64_C(512) << 20;
	struct reason why;
	uint8_t *ram;
	int fd;

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(host_ram_create(&ram, &fd, size, false, &why), STATUS_OK);
		assert_int_equal(fd, -1);
		assert_int_equal((uintptr_t)ram & 0x1fffff, 0);
		assert_int_equal(ram[size - 1], 0);
		ram[5000] = ram[4095] = ram[8192] = 7;
		host_ram_discard(ram + 4096, 4096);
		assert_int_equal(ram[5000], 0);
		assert_int_equal(ram[4095], 7);
		assert_int_equal(ram[8192], 7);
		host_ram_destroy(ram, fd, size);
	}
}

static void bad_files_are_refused_with_a_reason(void **state)
{
	char directory[] = "/tmp/holon-test.XXXXXX", path[64];
	const uint8_t *bytes;
	struct reason why;
	uint64_t length;
	FILE *file;

	(void)state;
	assert_non_null(mkdtemp(directory));
	assert_int_equal(host_file_map(&bytes, &length, directory, "kernel", &why), STATUS_INVALID);
	assert_non_null(strstr(why.text, "is a directory"));
	snprintf(path, sizeof(path), "%s/file", directory);
	assert_int_equal(host_file_map(&bytes, &length, path, "kernel", &why), STATUS_NOT_FOUND);
	assert_non_null(strstr(why.text, path));
	file = fopen(path, "w");
	assert_int_equal(host_file_map(&bytes, &length, path, "kernel", &why), STATUS_INVALID);
	assert_non_null(strstr(why.text, "empty"));
	fputs("hello", file);
	fclose(file);
	assert_int_equal(host_file_map(&bytes, &length, path, "kernel", &why), STATUS_OK);
	assert_int_equal(length, 5);
	assert_memory_equal(bytes, "hello", 5);
	host_file_unmap(bytes, length);
	assert_int_equal(host_file_map(&bytes, &length, "/dev/null", "kernel", &why), STATUS_INVALID);
	unlink(path);
	rmdir(directory);
}

static void a_lock_keeps_the_second_writer_out(void **state)
{
	char path[] = "/tmp/holon-test.XXXXXX";
	struct reason why;
	int one = mkstemp(path), two = open(path, O_RDWR), three = open(path, O_RDONLY);

	(void)state;
	assert_int_equal(host_file_lock(one, true, path, &why), STATUS_OK);
	assert_int_equal(host_file_lock(two, true, path, &why), STATUS_BUSY);
	assert_non_null(strstr(why.text, path));
	assert_int_equal(host_file_lock(three, false, path, &why), STATUS_BUSY);
	close(one);
	assert_int_equal(host_file_lock(three, false, path, &why), STATUS_OK);
	assert_int_equal(host_file_lock(two, false, path, &why), STATUS_OK);
	assert_int_equal(host_file_lock(two, true, path, &why), STATUS_BUSY);
	close(two);
	close(three);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_status_has_a_name),
		cmocka_unit_test(a_reason_is_cut_to_its_room),
		cmocka_unit_test(memory_is_zero_and_aligned),
		cmocka_unit_test(an_event_is_a_latch),
		cmocka_unit_test(events_hand_data_over),
		cmocka_unit_test(a_mutex_keeps_threads_apart),
		cmocka_unit_test(a_barrier_of_all_orders_the_other_side),
		cmocka_unit_test(the_tsc_frequency_fits_the_clock),
		cmocka_unit_test(random_bytes_differ),
		cmocka_unit_test(guest_ram_is_zero_shared_and_sparse),
		cmocka_unit_test(private_guest_ram_begins_at_a_large_page),
		cmocka_unit_test(bad_files_are_refused_with_a_reason),
		cmocka_unit_test(a_lock_keeps_the_second_writer_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
