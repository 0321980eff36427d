/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json.h - what --stats and the control socket both tell, as JSON.
 */
#ifndef HOLON_CONTROL_JSON_H
#define HOLON_CONTROL_JSON_H

#include <stdint.h>

#include <jansson.h>

#include <holon/balloon.h>

void json_count(json_t *object, const char *name, uint64_t value);
/* What the guest does not tell is left out. The caller's. */
json_t *balloon_json(const struct balloon_report *report);

#endif
