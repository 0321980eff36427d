/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvm_probe.h - can /dev/kvm run a 64-bit guest here? For --engine auto (struct engine's probe) and for `holon doctor`.
 */
#ifndef HOLON_ENGINE_KVM_PROBE_H
#define HOLON_ENGINE_KVM_PROBE_H

#include <stdbool.h>

#include <holon/status.h>

/* The probe guest has this long; then its process is killed. The whole answer comes within 2 s. */
#define KVM_PROBE_DEADLINE_MS 1500

/* How far the probe came: each step includes those before it. */
struct kvm_probe {
	bool present;        /* /dev/kvm exists */
	bool permitted;      /* and this process may open it */
	bool interface_good; /* and it speaks version 12, with every capability that the engine needs */
	bool runs;           /* and a 64-bit guest ran to its end */
	int api_version;
	const char *lacking; /* a capability that is not there; NULL: none */
	unsigned elapsed_ms; /* how long the guest took, until its end or the deadline */
};

/*
 * Forks: call it before other threads matter. Keeps nothing: each call looks anew. STATUS_OK: runs is true. `why`
 * says "kvm: ..." in one line, good or bad, with the next step. `found` may be NULL.
 */
enum status kvm_probe(struct kvm_probe *found, struct reason *why) must_check;

/* KVM's version and capabilities, with /dev/kvm open: the part of the probe that the engine itself repeats. */
enum status kvm_probe_interface(int kvm, struct kvm_probe *found, struct reason *why) must_check;

/* What to do about a call that failed with this errno; `otherwise` where that says nothing. */
const char *kvm_probe_step(int error, const char *otherwise);

#endif
