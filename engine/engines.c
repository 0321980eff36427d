/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engines.c - the engines of this build, a row each (include/holon/engine.h). program/run.c picks.
 */
#include <stddef.h>

#include <holon/engine.h>

extern const struct engine engine_kvm;    /* engine/kvm: the host's processor, through /dev/kvm */
extern const struct engine engine_jit;    /* engine/jit: translates; hosts with BMI2 and AVX */
extern const struct engine engine_interp; /* engine/interp: decodes and executes; runs everywhere */

const struct engine *const engines[] = {
	&engine_kvm,
	&engine_jit,
	&engine_interp,
	NULL,
};
