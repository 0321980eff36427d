/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chardev.h - a stream of bytes between a device (serial, virtio-console) and the host.
 *
 * The device embeds a `struct chardev_frontend`, the backend a `struct chardev`; the board joins them. Any thread. A device connects itself when it is
 * resumed and disconnects when it is quiesced (device.h); what comes from the host meanwhile stays with the backend.
 * A NULL chardev is allowed everywhere: output vanishes, input never comes.
 */
#ifndef HOLON_CHARDEV_H
#define HOLON_CHARDEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <holon/host.h>

struct chardev_frontend {
	/* How many bytes receive() would take now. */
	size_t (*room)(void *device);
	/* Input from the host; length <= what room() said on this thread. The device takes its own lock. */
	void (*receive)(void *device, const uint8_t *bytes, size_t length);
	void *device;
	/*
	 * Optional: a program on the host has the stream open, or none has; and there is room again for what did not fit (chardev_write_room). After each
	 * room_again, and whenever either may have changed. true: call again soon, there is more.
	 */
	bool (*state)(void *device, bool open);
};

struct chardev {
	/* Never blocks for long; bytes that the host does not take in time are dropped and counted. */
	void (*write)(struct chardev *chardev, const uint8_t *bytes, size_t length);
	/* How many bytes write() would not drop now; not needed where it drops none, or what the device has could not wait. */
	size_t (*write_room)(struct chardev *chardev);
	/* The device has room again: the backend may go on reading from the host. */
	void (*room_again)(struct chardev *chardev);
	struct host_mutex lock;            /* held while the frontend is called; before the device's own lock */
	struct chardev_frontend *frontend; /* under it; NULL: nobody is connected */
};

static inline void chardev_write(struct chardev *chardev, const uint8_t *bytes, size_t length)
{
	if (chardev)
		chardev->write(chardev, bytes, length);
}

static inline size_t chardev_write_room(struct chardev *chardev)
{
	return chardev && chardev->write_room ? chardev->write_room(chardev) : SIZE_MAX;
}

static inline void chardev_room_again(struct chardev *chardev)
{
	if (chardev && chardev->room_again)
		chardev->room_again(chardev);
}

/* For the backend: hands over what the device takes now. Returns how many bytes that were. */
static inline size_t chardev_deliver(struct chardev *chardev, const uint8_t *bytes, size_t length)
{
	size_t room = 0;

	host_mutex_lock(&chardev->lock);
	if (chardev->frontend)
		room = chardev->frontend->room(chardev->frontend->device);
	if (room > length)
		room = length;
	if (room)
		chardev->frontend->receive(chardev->frontend->device, bytes, room);
	host_mutex_unlock(&chardev->lock);
	return room;
}

/* For the backend: tells the device. Returns whether it should be told again at once. */
static inline bool chardev_state(struct chardev *chardev, bool open)
{
	bool again = false;

	host_mutex_lock(&chardev->lock);
	if (chardev->frontend && chardev->frontend->state)
		again = chardev->frontend->state(chardev->frontend->device, open);
	host_mutex_unlock(&chardev->lock);
	return again;
}

/* For the device, none of its locks held. frontend NULL disconnects: when this returns nobody is in it and nobody will be. */
static inline void chardev_connect(struct chardev *chardev, struct chardev_frontend *frontend)
{
	if (!chardev)
		return;
	host_mutex_lock(&chardev->lock);
	chardev->frontend = frontend;
	host_mutex_unlock(&chardev->lock);
	if (frontend)
		chardev_room_again(chardev);
}

#endif
