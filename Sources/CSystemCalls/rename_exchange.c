// Exchanging two names in one step: renameat2 is not in the C library's default declarations, so Swift cannot see it.
#if defined(__linux__)
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>

#include "CSystemCalls.h"

int32_t ingot_rename_exchange(const char *a, const char *b) { return renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE); }
#endif
