/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control.c - a VM's control socket: makes it, and has a thread answer who connects. Called from run.c; control/http.c and control/api.c do the talking, vms.c finds the sockets.
 */
#include "program/control.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <holon/host.h>
#include <holon/vm.h>

#include "backend/own_folder.h"
#include "backend/unix_listen.h"
#include "control/api.h"

#define BACKLOG 16

struct control {
	char path[108]; /* the socket's, to be removed; empty: there is none */
	int folder;     /* that the path goes through; -1: the owner named a place */
	int listener;   /* -1: none */
	bool served;    /* the thread closes it */
	int stop;
	struct host_thread *thread;
	struct http_owner owner;
	struct api api;
};

int control_folder_open(void)
{
	return own_folder_open("vm", NULL);
}

static void name_remove(struct control *control)
{
	if (control->path[0])
		unlink(control->path);
	control->path[0] = 0;
}

static enum status listen_begin(struct control *control, const char *path, struct reason *why)
{
	char own[sizeof(control->path)];
	enum status status;

	if (!path) {
		control->folder = control_folder_open();
		if (control->folder < 0)
			return reason_give(why, STATUS_PERMISSION, "its folder in $XDG_RUNTIME_DIR (or /tmp) cannot be used: %s",
					   strerror(errno));
		snprintf(own, sizeof(own), "/proc/self/fd/%d/%d.sock", control->folder, (int)getpid());
		path = own;
	}
	status = unix_listen(&control->listener, path, 0600, BACKLOG, "--control", why);
	if (!status) /* it is short enough */
		snprintf(control->path, sizeof(control->path), "%s", path);
	return status;
}

enum status control_open(struct control **made, const struct vm_config *config, struct reason *why)
{
	const char *path = config->control_path;
	struct control *control;
	enum status status;

	*made = NULL;
	if (config->no_control)
		return STATUS_OK;
	control = host_allocate(sizeof(*control));
	if (!control)
		return reason_give(why, STATUS_NO_MEMORY, "no memory for the control socket; free some");
	control->folder = control->listener = -1;
	control->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (control->stop < 0)
		status = reason_give(why, STATUS_NO_MEMORY, "no descriptor for the control socket; raise the limit on open files");
	else
		status = listen_begin(control, path, why);
	if (!status) {
		*made = control;
		return STATUS_OK;
	}
	control_close(control);
	if (path)
		return status;
	host_log(HOST_LOG_INFO, "no control socket, `holon show` and `holon set` will not find this VM: %s",
		 why ? why->text : status_name(status));
	*why = (struct reason){""};
	return STATUS_OK;
}

static void control_main(void *argument)
{
	struct control *control = argument;

	http_serve(control->listener, control->stop, &control->owner);
}

enum status control_start(struct control *control, struct vm *vm, const struct board_backends *backends, struct reason *why)
{
	enum status status;

	if (!control)
		return STATUS_OK;
	control->api = (struct api){vm, vm->config, backends};
	control->owner = (struct http_owner){api_answer, &control->api};
	status = host_thread_start(&control->thread, "control", control_main, control);
	if (status)
		return reason_give(why, status, "the control socket: no thread: %s; raise the limit on threads",
				   status_name(status));
	control->served = true;
	return STATUS_OK;
}

void control_stop(struct control *control)
{
	if (!control || !control->thread)
		return;
	name_remove(control); /* while nobody else can have taken it */
	eventfd_write(control->stop, 1);
	host_thread_join(control->thread);
	control->thread = NULL;
}

void control_close(struct control *control)
{
	if (!control)
		return;
	name_remove(control);
	if (control->listener >= 0 && !control->served)
		close(control->listener);
	if (control->stop >= 0)
		close(control->stop);
	if (control->folder >= 0)
		close(control->folder);
	host_free(control, sizeof(*control));
}
