// Hints to the page cache and the file system. On platforms that lack them, the functions do nothing.

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "CSystemCalls.h"

#include <errno.h>
#include <fcntl.h>

void ingot_advise_write_out(int descriptor, uint64_t start, uint64_t count) {
#ifdef __linux__
    int saved = errno;
    sync_file_range(descriptor, (off64_t)start, (off64_t)count, SYNC_FILE_RANGE_WRITE);
    errno = saved;
#else
    (void)descriptor, (void)start, (void)count;
#endif
}

void ingot_advise_drop(int descriptor, uint64_t start, uint64_t count) {
#ifdef __linux__
    posix_fadvise(descriptor, (off_t)start, (off_t)count, POSIX_FADV_DONTNEED);
#else
    (void)descriptor, (void)start, (void)count;
#endif
}
