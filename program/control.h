/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control.h - the control socket of the verb `run`, and where the sockets of running VMs are found.
 */
#ifndef HOLON_PROGRAM_CONTROL_H
#define HOLON_PROGRAM_CONTROL_H

#include <holon/board.h>
#include <holon/status.h>

struct control;

/* Where this user's VMs are found: a folder that is open, with a socket PID.sock for each. -1: errno says why. */
int control_folder_open(void);

/*
 * A socket at config->control_path, or in that folder; none is made where there is none wanted. Where the owner named no place, a host that cannot have one is no failure: a line says so, and *made
 * is NULL. Before the VM's threads.
 */
enum status control_open(struct control **made, const struct vm_config *config, struct reason *why) must_check;
/* The VM is about to run: who connects is answered. `backends` as the board got them. */
enum status control_start(struct control *control, struct vm *vm, const struct board_backends *backends,
			  struct reason *why) must_check;
/* Nobody is answered any more, and the socket's name is gone. Each may be called with NULL. */
void control_stop(struct control *control);
void control_close(struct control *control);

#endif
