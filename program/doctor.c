/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor.c - the verb `doctor`: asks the engines and the host, prints what they said. Called from holon.c; control/doctor.h has the report.
 *
 * The probe guest of KVM may take its whole deadline, so it runs once: what it found serves the line about /dev/kvm, the engine and --engine auto.
 */
#include "program/doctor.h"

#include <string.h>
#include <unistd.h>

#include "control/doctor.h"
#include "engine/kvm/kvm_probe.h"
#include "host/linux/linux.h"
#include "program/exit.h"

/* The engine's line ends in the next step, behind the last colon or semicolon: "kvm: WHAT: REASON: NEXT STEP". */
static void kvm_line_split(struct doctor_finding *finding, const char *line)
{
	const char *at = line, *end = NULL;

	for (at = line; *at; at++)
		if ((at[0] == ':' || at[0] == ';') && at[1] == ' ')
			end = at;
	if (finding->grade == DOCTOR_GOOD || !end)
		end = at;
	snprintf(finding->found, sizeof(finding->found), "%.*s", (int)(end - line), line);
	snprintf(finding->next, sizeof(finding->next), "%s", *end ? end + 2 : "");
}

static void kvm_find(struct doctor_report *report, struct engine_finding *engine)
{
	struct doctor_finding *finding = doctor_finding_add(report, "kvm");
	struct kvm_probe found = {0};

	engine->why.text[0] = 0;
	engine->status = kvm_probe(&found, &engine->why);
	finding->grade = engine->status ? DOCTOR_NONE : DOCTOR_GOOD;
	kvm_line_split(finding, engine->why.text + (strncmp(engine->why.text, "kvm: ", 5) ? 0 : 5));
	finding->facts = json_pack("{s:b, s:b, s:b, s:b, s:i, s:s?, s:i}", "present", found.present, "permitted", found.permitted,
				   "interface_good", found.interface_good, "runs_64_bit_guest", found.runs, "api_version",
				   found.api_version, "lacking", found.lacking, "elapsed_ms", (int)found.elapsed_ms);
}

static void engines_find(struct doctor_report *report)
{
	struct engine_finding kvm, *finding;
	unsigned i;

	kvm_find(report, &kvm);
	for (i = 0; engines[i] && i < ENGINE_FINDINGS_MAX; i++) {
		finding = &report->engine[report->engines++];
		*finding = kvm;
		if (strcmp(engines[i]->name, "kvm")) {
			finding->why.text[0] = 0;
			finding->status = engines[i]->probe(&finding->why);
		}
		finding->engine = engines[i];
	}
	report->automatic = engine_choose(report->engine, report->engines, &report->choice);
}

int doctor(int count, char **arguments)
{
	static const struct doctor_host host = {.root = "", .call = syscall};
	static struct doctor_report report; /* zero */
	bool json = count == 1 && !strcmp(arguments[0], "--json");
	enum status status;
	int result;

	if (count > 1 || (count == 1 && !json)) {
		host_log(HOST_LOG_ERROR, "%s: doctor takes --json or nothing; `holon help doctor` says more", arguments[count - 1]);
		return EXIT_USAGE;
	}
	engines_find(&report);
	doctor_look(&report, &host);
	status = doctor_print(&report, HOLON_VERSION, json, stdout);
	result = exit_with(status, NULL);
	if (result == EXIT_DONE && !report.automatic)
		result = exit_status_of(STATUS_UNSUPPORTED); /* the report has said it */
	doctor_report_free(&report);
	return result;
}
