/* SPDX-License-Identifier: Apache-2.0 */
/* jit.h - the translating engine's row for engine/engines.c. */
#ifndef HOLON_ENGINE_JIT_H
#define HOLON_ENGINE_JIT_H

#include <holon/engine.h>

extern const struct engine engine_jit;

#endif
