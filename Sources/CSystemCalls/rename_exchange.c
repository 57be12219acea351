// Exchanges two names atomically. Swift cannot call renameat2, because glibc declares it only with _GNU_SOURCE.
#if defined(__linux__)
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>

#include "CSystemCalls.h"

int32_t ingot_rename_exchange(const char *a, const char *b) { return renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE); }
#endif
