/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor.c - the report of `holon doctor`, as lines and as JSON. What is looked at is in doctor_host.c.
 */
#include "control/doctor.h"

#include <string.h>

static const char *const grade_names[] = {[DOCTOR_GOOD] = "good", [DOCTOR_POOR] = "poor", [DOCTOR_NONE] = "none"};

struct doctor_finding *doctor_finding_add(struct doctor_report *report, const char *name)
{
	struct doctor_finding *finding = &report->finding[report->findings++];

	memset(finding, 0, sizeof(*finding));
	finding->name = name;
	return finding;
}

/* "kvm: text" -> "text": the name stands before it already. */
static const char *without_name(const struct engine_finding *finding)
{
	size_t length = strlen(finding->engine->name);
	const char *text = finding->why.text;

	return !strncmp(text, finding->engine->name, length) && !strncmp(text + length, ": ", 2) ? text + length + 2 : text;
}

static void report_print_lines(const struct doctor_report *report, FILE *out)
{
	const struct doctor_finding *finding;
	unsigned i;

	for (i = 0; i < report->findings; i++) {
		finding = &report->finding[i];
		fprintf(out, "%-15s %-5s %s%s%s\n", finding->name, grade_names[finding->grade], finding->found,
			finding->next[0] ? "; next: " : "", finding->next);
	}
	for (i = 0; i < report->engines; i++)
		fprintf(out, "engine %-8s %-5s %s\n", report->engine[i].engine->name, report->engine[i].status ? "none" : "good",
			without_name(&report->engine[i]));
	fprintf(out, "--engine auto takes %s\n", report->choice.text);
}

static json_t *report_json(const struct doctor_report *report, const char *version)
{
	json_t *root = json_object(), *findings = json_array(), *engines = json_array(), *automatic = json_object(), *item;
	unsigned i;

	for (i = 0; i < report->findings; i++) {
		item = json_object();
		json_object_set_new(item, "name", json_string(report->finding[i].name));
		json_object_set_new(item, "grade", json_string(grade_names[report->finding[i].grade]));
		json_object_set_new(item, "found", json_string(report->finding[i].found));
		json_object_set_new(item, "next", report->finding[i].next[0] ? json_string(report->finding[i].next) : json_null());
		json_object_set(item, "facts", report->finding[i].facts ? report->finding[i].facts : json_null());
		json_array_append_new(findings, item);
	}
	for (i = 0; i < report->engines; i++) {
		item = json_object();
		json_object_set_new(item, "name", json_string(report->engine[i].engine->name));
		json_object_set_new(item, "works", json_boolean(!report->engine[i].status));
		json_object_set_new(item, "why", json_string(without_name(&report->engine[i])));
		json_array_append_new(engines, item);
	}
	json_object_set_new(automatic, "engine", report->automatic ? json_string(report->automatic->name) : json_null());
	json_object_set_new(automatic, "why", json_string(report->choice.text));
	json_object_set_new(root, "version", json_string(version));
	json_object_set_new(root, "findings", findings);
	json_object_set_new(root, "engines", engines);
	json_object_set_new(root, "engine_auto", automatic);
	return root;
}

enum status doctor_print(const struct doctor_report *report, const char *version, bool json, FILE *out)
{
	bool failed = false;
	json_t *root;

	if (json) {
		root = report_json(report, version);
		failed = json_dumpf(root, out, JSON_INDENT(2)) || fputc('\n', out) == EOF;
		json_decref(root);
	} else {
		report_print_lines(report, out);
	}
	return fflush(out) || ferror(out) || failed ? STATUS_IO : STATUS_OK;
}

void doctor_report_free(struct doctor_report *report)
{
	unsigned i;

	for (i = 0; i < report->findings; i++)
		json_decref(report->finding[i].facts);
	report->findings = 0;
}
