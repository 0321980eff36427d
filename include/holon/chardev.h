/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chardev.h - a stream of bytes between a device (serial, virtio-console) and the host.
 *
 * The device embeds a `struct chardev_frontend`, the backend a `struct chardev`; the board joins them. Any thread.
 * A NULL chardev is allowed everywhere: output vanishes, input never comes.
 */
#ifndef HOLON_CHARDEV_H
#define HOLON_CHARDEV_H

#include <stddef.h>
#include <stdint.h>

struct chardev_frontend {
	/* How many bytes receive() would take now. */
	size_t (*room)(void *device);
	/* Input from the host; length <= what room() said on this thread. The device takes its own lock. */
	void (*receive)(void *device, const uint8_t *bytes, size_t length);
	void *device;
};

struct chardev {
	/* Never blocks for long; bytes that the host does not take in time are dropped and counted. */
	void (*write)(struct chardev *chardev, const uint8_t *bytes, size_t length);
	/* The device has room again: the backend may go on reading from the host. */
	void (*room_again)(struct chardev *chardev);
	struct chardev_frontend *frontend; /* set by chardev_connect */
};

static inline void chardev_write(struct chardev *chardev, const uint8_t *bytes, size_t length)
{
	if (chardev)
		chardev->write(chardev, bytes, length);
}

static inline void chardev_room_again(struct chardev *chardev)
{
	if (chardev && chardev->room_again)
		chardev->room_again(chardev);
}

static inline void chardev_connect(struct chardev *chardev, struct chardev_frontend *frontend)
{
	if (chardev) {
		chardev->frontend = frontend;
		if (chardev->room_again)
			chardev->room_again(chardev);
	}
}

#endif
