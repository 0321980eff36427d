/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vhost_message.c - messages of the vhost-user protocol, one at a time, each with its answer where it has one.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend/vhost/vhost_internal.h"

#define FLAG_VERSION 1u
#define FLAG_REPLY 4u
#define FLAG_NEED_REPLY 8u
#define PROTOCOL_REPLY_ACK (UINT64_C(1) << 3)
#define FDS_MAX 2

static enum status socket_failed(const struct vhost_user *vhost, const char *what, struct reason *why)
{
	return reason_give(why, STATUS_IO, "%s: the process behind it %s (%s); look at what that process says", vhost->path, what,
			   errno ? strerror(errno) : "the connection has ended");
}

static enum status message_write(struct vhost_user *vhost, const struct vhost_message *message, const int *fd, unsigned fds,
				 struct reason *why)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} control;
	struct iovec vector = {(void *)message, VHOST_HEADER + message->size};
	struct msghdr header = {.msg_iov = &vector, .msg_iovlen = 1};
	ssize_t sent;

	memset(&control, 0, sizeof(control));
	if (fds) {
		header.msg_control = control.bytes;
		header.msg_controllen = CMSG_SPACE(fds * sizeof(int));
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(fds * sizeof(int));
		memcpy(CMSG_DATA(&control.header), fd, fds * sizeof(int));
	}
	do
		sent = sendmsg(vhost->socket, &header, MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	if (sent == (ssize_t)vector.iov_len)
		return STATUS_OK; /* these are small: a stream socket takes them whole */
	if (sent >= 0)
		errno = 0;
	return socket_failed(vhost, "does not take messages", why);
}

static enum status bytes_read(struct vhost_user *vhost, void *bytes, size_t length, struct reason *why)
{
	while (length) {
		ssize_t got = recv(vhost->socket, bytes, length, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			if (got == 0)
				errno = 0;
			return socket_failed(vhost, errno == EAGAIN ? "does not answer" : "does not answer as it should", why);
		}
		bytes = (uint8_t *)bytes + got;
		length -= (size_t)got;
	}
	return STATUS_OK;
}

static enum status reply_read(struct vhost_user *vhost, struct vhost_message *message, struct reason *why)
{
	uint32_t type = message->type;
	enum status status = bytes_read(vhost, message, VHOST_HEADER, why);

	if (status)
		return status;
	if (message->type != type || !(message->flags & FLAG_REPLY) || message->size > sizeof(*message) - VHOST_HEADER)
		return reason_give(why, STATUS_INVALID,
				   "%s: what is behind it answers request %u with %u of %u bytes; does it speak vhost-user?",
				   vhost->path, type, message->type, message->size);
	return bytes_read(vhost, &message->number, message->size, why);
}

enum status vhost_number_whole(const struct vhost_user *vhost, const struct vhost_message *message, struct reason *why)
{
	if (message->size == sizeof(message->number))
		return STATUS_OK;
	return reason_give(why, STATUS_INVALID, "%s: what is behind it answers request %u with %u bytes; does it speak vhost-user?",
			   vhost->path, message->type, message->size);
}

enum status vhost_send(struct vhost_user *vhost, struct vhost_message *message, size_t size, const int *fd, unsigned fds,
		       struct reason *why)
{
	bool acknowledged = vhost->protocol & PROTOCOL_REPLY_ACK;
	uint32_t type = message->type;
	enum status status;

	message->flags = FLAG_VERSION | (acknowledged ? FLAG_NEED_REPLY : 0);
	message->size = (uint32_t)size;
	status = message_write(vhost, message, fd, fds, why);
	if (status || !acknowledged)
		return status;
	status = reply_read(vhost, message, why);
	if (!status)
		status = vhost_number_whole(vhost, message, why);
	if (!status && message->number)
		return reason_give(why, STATUS_IO, "%s: the process behind it refuses vhost-user request %u; look at what it says",
				   vhost->path, type);
	return status;
}

enum status vhost_ask(struct vhost_user *vhost, struct vhost_message *message, size_t size, struct reason *why)
{
	enum status status;

	message->flags = FLAG_VERSION;
	message->size = (uint32_t)size;
	status = message_write(vhost, message, NULL, 0, why);
	return status ? status : reply_read(vhost, message, why);
}
