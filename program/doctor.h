/* SPDX-License-Identifier: Apache-2.0 */
/* doctor.h - the verb `doctor`, for holon.c. */
#ifndef HOLON_PROGRAM_DOCTOR_H
#define HOLON_PROGRAM_DOCTOR_H

/* The words behind `doctor`. Returns the exit status. */
int doctor(int count, char **arguments);

#endif
