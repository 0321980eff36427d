/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vm_internal.h - what the files of vm/ ask of one another about a VM that is held (vm/hold.c) and taken apart (vm/rebuild.c).
 */
#ifndef HOLON_VM_INTERNAL_H
#define HOLON_VM_INTERNAL_H

#include <holon/state.h>
#include <holon/vm.h>

/* hold.c: the vcpus alone, for a reset. paused_too: a VM that is paused is held as well. vm->lock is not held. */
bool hold_vcpus(struct vm *vm, bool paused_too) must_check;
void hold_end(struct vm *vm);
/* Clears a request of every vcpu and lets those that stood for it go on. Under vm->lock. */
void hold_request_clear_locked(struct vm *vm, uint32_t request);

/* vm.c: takes the engine away from every vcpu and the VM. struct vcpu and its thread stay. vm_vcpus_create is the reverse. */
void vm_vcpus_destroy(struct vm *vm);

/* vcpu.c: tells the engine, if the vcpu has one just now. */
void vcpu_kick(struct vcpu *vcpu);

/*
 * vcpu_state.c: a vcpu as saved state, in an image that the functions here go through. get and set copy between engine and image; save and load
 * between image and bytes. forget leaves nothing of what the engine and others told the vcpu; no engine is attached then.
 */
enum status vcpu_image_create(struct vcpu *vcpu) must_check;
void vcpu_image_destroy(struct vcpu *vcpu);
enum status vcpu_image_get(struct vcpu *vcpu, struct reason *why) must_check;
enum status vcpu_image_set(struct vcpu *vcpu, struct reason *why) must_check;
void vcpu_image_save(struct vcpu *vcpu, struct state_writer *writer);
enum status vcpu_image_load(struct vcpu *vcpu, struct state_reader *reader, struct reason *why) must_check;
void vcpu_forget(struct vcpu *vcpu);

#endif
