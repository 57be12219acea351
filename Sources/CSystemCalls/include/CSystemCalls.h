// System calls and signal handling that Swift cannot express. Arithmetic is in CKernels.

#ifndef INGOT_CSYSTEMCALLS_H
#define INGOT_CSYSTEMCALLS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Guarded access (guarded_access.c)

/// Installs the SIGBUS handler; later calls do nothing. Returns 0 or an errno.
int32_t ingot_guarded_copy_install(void);
/// memcpy(result, source, n) that survives SIGBUS while reading `source`, for example from a mapped file that was truncated.
/// Returns 0, or -1 if the copy was interrupted; then `result` is partly written. Call ingot_guarded_copy_install first.
int32_t ingot_guarded_copy(void *result, const void *source, size_t n);
/// Copies `rows` rows of n bytes, as ingot_guarded_copy does. Rows are `stride` bytes apart in `source` and contiguous in `result`.
int32_t ingot_guarded_copy_rows(void *result, const void *source, size_t n, size_t rows, size_t stride);

// Files (file_advice.c)

// Hints, which the system may ignore: they report no error. `descriptor` is an open file.
/// Starts writing out a range of dirty pages and does not wait.
void ingot_advise_write_out(int descriptor, uint64_t start, uint64_t count);
/// Drops the cached pages of a range, except dirty pages.
void ingot_advise_drop(int descriptor, uint64_t start, uint64_t count);

// Names (rename_exchange.c)

/// Exchanges two paths, of files or directories, atomically. Returns 0, or -1 with errno set. Linux only.
int32_t ingot_rename_exchange(const char *a, const char *b);

// Threads (thread_room.c)

/// Starts `count` threads (at most 16) that run at the same time, and joins them. Returns 0, or the error of pthread_create.
int32_t ingot_try_threads(int32_t count);

// Interrupts (interrupt.c)

/// Records SIGINT and SIGTERM instead of ending the process; ignores SIGPIPE and SIGXFSZ. Returns 0 or an errno.
int32_t ingot_interrupt_install(void);
/// The number of the signal recorded last, or 0.
int32_t ingot_interrupt_received(void);

#ifdef __cplusplus
}
#endif

#endif
