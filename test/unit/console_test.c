/* SPDX-License-Identifier: Apache-2.0 */
/*
 * console_test.c - the console on pipes, on a pseudo-terminal and on a file: what goes in comes out, backpressure both ways, the way out.
 *
 * Each test puts its own descriptors in the place of stdin and stdout for a while.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <termios.h>
#include <unistd.h>
#include <cmocka.h>

#include <holon/host.h>

#include "backend/console/console.h"

/* A device with so much room, which the test widens. */
struct device {
	struct host_mutex lock;
	struct host_event heard;
	size_t room;
	char text[8192];
	size_t length;
	struct chardev_frontend frontend;
};

static size_t device_room(void *object)
{
	struct device *device = object;
	size_t room;

	host_mutex_lock(&device->lock);
	room = device->room;
	host_mutex_unlock(&device->lock);
	return room;
}

static void device_receive(void *object, const uint8_t *bytes, size_t length)
{
	struct device *device = object;

	host_mutex_lock(&device->lock);
	memcpy(device->text + device->length, bytes, length);
	device->length += length;
	device->room -= length;
	host_mutex_unlock(&device->lock);
	host_event_set(&device->heard);
}

static void device_init(struct device *device, size_t room)
{
	*device = (struct device){.room = room, .frontend = {.room = device_room, .receive = device_receive}};
	device->frontend.device = device;
}

static void device_hears(struct device *device, const char *text)
{
	bool heard = false;

	while (!heard) {
		host_mutex_lock(&device->lock);
		heard = device->length >= strlen(text);
		host_mutex_unlock(&device->lock);
		if (!heard)
			assert_true(host_event_wait(&device->heard, host_time_ns() + UINT64_C(20000000000)));
	}
	host_mutex_lock(&device->lock);
	assert_int_equal(device->length, strlen(text));
	assert_memory_equal(device->text, text, strlen(text));
	host_mutex_unlock(&device->lock);
}

static void device_widen(struct device *device, struct chardev *chardev, size_t room)
{
	host_mutex_lock(&device->lock);
	device->room = room;
	host_mutex_unlock(&device->lock);
	chardev_room_again(chardev);
}

static struct host_event left;

static void leave(void *argument)
{
	(void)argument;
	host_event_set(&left);
}

static int saved_in, saved_out;

static void streams_take(int in, int out)
{
	fflush(stdout);
	saved_in = dup(STDIN_FILENO);
	saved_out = dup(STDOUT_FILENO);
	dup2(in, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
}

static void streams_give_back(void)
{
	dup2(saved_in, STDIN_FILENO);
	dup2(saved_out, STDOUT_FILENO);
	close(saved_in);
	close(saved_out);
}

static void read_exactly(int fd, char *text, size_t length)
{
	size_t got = 0;

	while (got < length) {
		ssize_t part = read(fd, text + got, length - got);

		assert_true(part > 0);
		got += (size_t)part;
	}
}

static void pipes_carry_both_ways_and_end_of_input_is_fine(void **state)
{
	struct chardev *chardev = NULL;
	struct device device;
	struct reason why;
	enum status status;
	int in[2], out[2];
	char text[16];

	(void)state;
	assert_int_equal(pipe(in), 0);
	assert_int_equal(pipe(out), 0);
	device_init(&device, sizeof(device.text));
	streams_take(in[0], out[1]);
	status = console_stdio_open(&chardev, leave, NULL, &why);
	streams_give_back();
	assert_int_equal(status, STATUS_OK);
	console_close(chardev);
	/* Once more with stdin in its place: the reader uses descriptor 0. */
	streams_take(in[0], out[1]);
	status = console_stdio_open(&chardev, leave, NULL, &why);
	if (!status) {
		chardev_connect(chardev, &device.frontend);
		(void)!write(in[1], "\035qhello", 7); /* no terminal: Ctrl-] is a character */
		close(in[1]);
		device_hears(&device, "\035qhello");
		chardev_write(chardev, (const uint8_t *)"world", 5);
		console_close(chardev);
	}
	streams_give_back();
	assert_int_equal(status, STATUS_OK);
	close(out[1]);
	read_exactly(out[0], text, 5);
	assert_memory_equal(text, "world", 5);
	close(in[0]);
	close(out[0]);
}

static void input_waits_until_the_device_has_room(void **state)
{
	struct chardev *chardev = NULL;
	struct device device;
	struct reason why;
	int in[2], null = open("/dev/null", O_WRONLY);

	(void)state;
	assert_int_equal(pipe(in), 0);
	device_init(&device, 2);
	streams_take(in[0], null);
	if (!console_stdio_open(&chardev, leave, NULL, &why)) {
		chardev_connect(chardev, &device.frontend);
		(void)!write(in[1], "abcdef", 6);
		device_hears(&device, "ab");
		device_widen(&device, chardev, 3);
		device_hears(&device, "abcde");
		device_widen(&device, chardev, 1);
		device_hears(&device, "abcdef");
	}
	console_close(chardev);
	streams_give_back();
	assert_non_null(chardev);
	close(in[0]);
	close(in[1]);
	close(null);
}

static void nobody_reading_stalls_a_writer_once_and_briefly(void **state)
{
	static uint8_t bytes[1 << 20];
	struct chardev *chardev = NULL;
	uint64_t begin = 0, first = 0, second = 0;
	struct reason why;
	int in[2], out[2];

	(void)state;
	assert_int_equal(pipe(in), 0);
	assert_int_equal(pipe(out), 0);
	streams_take(in[0], out[1]);
	if (!console_stdio_open(&chardev, leave, NULL, &why)) {
		begin = host_time_ns();
		chardev_write(chardev, bytes, sizeof(bytes)); /* far more than ring and pipe hold */
		first = host_time_ns() - begin;
		chardev_write(chardev, bytes, sizeof(bytes));
		second = host_time_ns() - begin - first;
		close(out[0]); /* and now never: the close below need not wait */
	}
	console_close(chardev);
	streams_give_back();
	assert_non_null(chardev);
	assert_true(first < UINT64_C(5000000000));
	assert_true(second < first);
	close(in[0]);
	close(in[1]);
	close(out[1]);
}

static void a_terminal_is_raw_and_then_as_before(void **state)
{
	struct chardev *chardev = NULL;
	struct termios before, during, after;
	struct device device;
	struct reason why;
	bool left_at_q = false;
	int master = posix_openpt(O_RDWR | O_NOCTTY), terminal;

	(void)state;
	assert_true(master >= 0);
	assert_int_equal(grantpt(master), 0);
	assert_int_equal(unlockpt(master), 0);
	terminal = open(ptsname(master), O_RDWR | O_NOCTTY);
	assert_true(terminal >= 0);
	assert_int_equal(tcgetattr(terminal, &before), 0);
	assert_true(before.c_lflag & ICANON);
	device_init(&device, sizeof(device.text));
	memset(&left, 0, sizeof(left));
	streams_take(terminal, terminal);
	if (!console_stdio_open(&chardev, leave, NULL, &why)) {
		chardev_connect(chardev, &device.frontend);
		tcgetattr(terminal, &during);
		(void)!write(master, "a\003\035\035b\035cq", 8);
		device_hears(&device, "a\003\035b\035cq"); /* Ctrl-C too goes to the guest */
		assert_false(host_event_wait(&left, 0));
		(void)!write(master, "\035q", 2);
		left_at_q = host_event_wait(&left, host_time_ns() + UINT64_C(20000000000));
	}
	console_close(chardev);
	tcgetattr(terminal, &after);
	streams_give_back();
	assert_non_null(chardev);
	assert_true(left_at_q);
	assert_false(during.c_lflag & (ICANON | ECHO | ISIG));
	assert_int_equal(after.c_lflag, before.c_lflag);
	assert_int_equal(after.c_iflag, before.c_iflag);
	assert_int_equal(after.c_oflag, before.c_oflag);
	close(terminal);
	close(master);
}

static void the_way_out_works_when_the_guest_takes_no_input(void **state)
{
	struct chardev *chardev = NULL;
	struct device device;
	struct reason why;
	bool left_at_q = false;
	int master = posix_openpt(O_RDWR | O_NOCTTY), terminal;
	char flood[6000];

	(void)state;
	assert_int_equal(grantpt(master), 0);
	assert_int_equal(unlockpt(master), 0);
	terminal = open(ptsname(master), O_RDWR | O_NOCTTY);
	memset(flood, 'x', sizeof(flood));
	device_init(&device, 0);
	memset(&left, 0, sizeof(left));
	streams_take(terminal, terminal);
	if (!console_stdio_open(&chardev, leave, NULL, &why)) {
		chardev_connect(chardev, &device.frontend);
		(void)!write(master, flood, sizeof(flood));
		(void)!write(master, "\035q", 2);
		left_at_q = host_event_wait(&left, host_time_ns() + UINT64_C(20000000000));
	}
	console_close(chardev);
	streams_give_back();
	assert_true(left_at_q);
	close(terminal);
	close(master);
}

static void a_file_keeps_what_it_has_until_the_vm_starts(void **state)
{
	char path[] = "/tmp/holon-test.XXXXXX", text[6] = "";
	struct chardev *chardev = NULL;
	struct reason why;
	int fd = mkstemp(path);

	(void)state;
	assert_int_equal(write(fd, "older lines", 11), 11);
	assert_int_equal(console_file_open(&chardev, path, &why), STATUS_OK);
	console_close(chardev); /* the run was refused */
	assert_int_equal(lseek(fd, 0, SEEK_END), 11);
	assert_int_equal(console_file_open(&chardev, path, &why), STATUS_OK);
	assert_int_equal(console_start(chardev, &why), STATUS_OK);
	chardev_write(chardev, (const uint8_t *)"new.\n", 5);
	console_close(chardev);
	assert_int_equal(lseek(fd, 0, SEEK_END), 5);
	assert_int_equal(pread(fd, text, 5, 0), 5);
	assert_string_equal(text, "new.\n");
	close(fd);
	unlink(path);
	assert_int_equal(console_file_open(&chardev, "/tmp", &why), STATUS_INVALID);
	assert_int_equal(console_start(NULL, &why), STATUS_OK);
}

static void a_file_gets_all_output(void **state)
{
	char path[] = "/tmp/holon-test.XXXXXX", text[6] = "";
	struct chardev *chardev = NULL;
	struct reason why;
	unsigned i;
	int fd = mkstemp(path);

	(void)state;
	assert_int_equal(console_file_open(&chardev, path, &why), STATUS_OK);
	for (i = 0; i < 20000; i++)
		chardev_write(chardev, (const uint8_t *)"line.\n", 6);
	console_close(chardev);
	assert_int_equal(lseek(fd, 0, SEEK_END), 120000);
	assert_int_equal(pread(fd, text, 5, 119994), 5);
	assert_string_equal(text, "line.");
	close(fd);
	unlink(path);
	assert_int_equal(console_file_open(&chardev, "/nowhere/at/all", &why), STATUS_NOT_FOUND);
	assert_non_null(strstr(why.text, "/nowhere/at/all"));
	console_close(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pipes_carry_both_ways_and_end_of_input_is_fine),
		cmocka_unit_test(input_waits_until_the_device_has_room),
		cmocka_unit_test(nobody_reading_stalls_a_writer_once_and_briefly),
		cmocka_unit_test(a_terminal_is_raw_and_then_as_before),
		cmocka_unit_test(the_way_out_works_when_the_guest_takes_no_input),
		cmocka_unit_test(a_file_keeps_what_it_has_until_the_vm_starts),
		cmocka_unit_test(a_file_gets_all_output),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
