/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api.h - what can be asked and changed of a running VM: doc/control.md says it for its users.
 */
#ifndef HOLON_CONTROL_API_H
#define HOLON_CONTROL_API_H

#include <holon/board.h>
#include <holon/config.h>
#include <holon/vm.h>

#include "control/http.h"

/* A VM that runs. The caller's, and alive while requests are answered. */
struct api {
	struct vm *vm;
	const struct vm_config *config;
	const struct board_backends *backends;
};

/*
 * `argument` is a struct api. GET / is all of it, GET /disk0 one thing; PATCH /disk0 with an object sets properties of it and answers as GET does. One request at a time. It waits while the machine is held, and where a disk
 * grows for the disk's host or server, without holding anything up meanwhile.
 */
enum status api_answer(void *argument, const struct http_request *request, json_t **answer, struct reason *why) must_check;

#endif
