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

#include <stddef.h>
#include <stdint.h>

#include <holon/host.h>

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
	struct host_mutex lock;            /* held while the frontend is called; before the device's own lock */
	struct chardev_frontend *frontend; /* under it; NULL: nobody is connected */
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
