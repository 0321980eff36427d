/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.h - asks a running VM by its control socket (HTTP, by libcurl, which is loaded for it).
 */
#ifndef HOLON_CONTROL_CLIENT_H
#define HOLON_CONTROL_CLIENT_H

#include <jansson.h>

#include <holon/status.h>

/*
 * Sends `method` for `path` ("/disk0") with `body` (NULL: none) to the VM whose socket is at `place`, and waits for so long. *answer is the caller's; it is what another process
 * says, so believe nothing of it. STATUS_NOT_FOUND: nobody listens at `place`. STATUS_TIMEOUT: no answer. STATUS_USAGE: the VM refuses, and `why` is its own reason.
 */
enum status client_ask(const char *place, const char *method, const char *path, const json_t *body, unsigned seconds,
		       json_t **answer, struct reason *why) must_check;

#endif
