/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
 *
 * What LLVM's archives want of libtinfo, to ask whether a terminal has colours.
 * Distributions' libtinfo.a cannot go into a shared object, and libtinfo.so need
 * not be where a wheel is installed. So the answer is that there is no terminal.
 */

int setupterm(char *name, int file, int *error) {
  (void)name, (void)file;
  if (error)
    *error = 0;
  return -1;
}

void *set_curterm(void *terminal) { return terminal; }

int del_curterm(void *terminal) {
  (void)terminal;
  return 0;
}

int tigetnum(char *capability) {
  (void)capability;
  return -1;
}
