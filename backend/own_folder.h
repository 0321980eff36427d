/* SPDX-License-Identifier: Apache-2.0 */
/*
 * own_folder.h - folders for the sockets of this user's VMs, which nobody else can enter.
 */
#ifndef HOLON_BACKEND_OWN_FOLDER_H
#define HOLON_BACKEND_OWN_FOLDER_H

/*
 * Opens $XDG_RUNTIME_DIR/holon/KIND where that is this user's, or KIND/NAME where there is a name, else /tmp/holon-UID/KIND; makes what is not there yet. A descriptor, for reading and as the place of
 * names: no path is too long then, and nobody can put another folder in its place. -1: errno says why; EPERM where somebody else made it, or it lets others in.
 */
int own_folder_open(const char *kind, const char *name);

#endif
