/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor.h - `holon doctor`: what this host offers to Holon and what it lacks, a line each with the next step. program/doctor.c puts a report together:
 * the engines' probes and doctor_look, then doctor_print.
 */
#ifndef HOLON_CONTROL_DOCTOR_H
#define HOLON_CONTROL_DOCTOR_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include <holon/status.h>

#include "control/engine_choice.h"

#define DOCTOR_FINDINGS_MAX 16

enum doctor_grade {
	DOCTOR_GOOD, /* all that Holon can use */
	DOCTOR_POOR, /* there, or done without, and something is slower or weaker for it */
	DOCTOR_NONE, /* not there */
};

struct doctor_finding {
	const char *name;
	enum doctor_grade grade;
	char found[512];
	char next[384]; /* what to do about it; empty: nothing */
	json_t *facts;  /* an object for programs, or NULL; the report's */
};

struct doctor_report {
	struct doctor_finding finding[DOCTOR_FINDINGS_MAX];
	unsigned findings;
	struct engine_finding engine[ENGINE_FINDINGS_MAX]; /* in the order of engines[] */
	unsigned engines;
	const struct engine *automatic; /* what --engine auto takes; NULL: none works */
	struct reason choice;           /* and why */
};

/* The host as the looks see it; tests bring another. */
struct doctor_host {
	const char *root; /* before every path: "" */
	/* syscall(2): -1 and errno where it fails. */
	long (*call)(long number, ...);
};

/* Adds a finding with neither text nor facts; the report must have room. */
struct doctor_finding *doctor_finding_add(struct doctor_report *report, const char *name);
/* control/doctor_host.c: adds what the host's kernel offers: processor, tun, io_uring, memory... Looks anew each time, changes nothing. */
void doctor_look(struct doctor_report *report, const struct doctor_host *host);

/* Lines for a person, or one JSON object. STATUS_IO: `out` did not take it all. */
enum status doctor_print(const struct doctor_report *report, const char *version, bool json, FILE *out) must_check;
void doctor_report_free(struct doctor_report *report);

#endif
