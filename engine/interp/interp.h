/* SPDX-License-Identifier: Apache-2.0 */
/* interp.h - the interpreter engine's row for engine/engines.c. */
#ifndef HOLON_ENGINE_INTERP_H
#define HOLON_ENGINE_INTERP_H

#include <holon/engine.h>

extern const struct engine engine_interp;

#endif
