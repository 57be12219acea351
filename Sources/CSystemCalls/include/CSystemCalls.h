// System calls and signal handling that Swift cannot express. Arithmetic is in CKernels.

#ifndef INGOT_CSYSTEMCALLS_H
#define INGOT_CSYSTEMCALLS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Guarded access (guarded_access.c)

/// Installs the SIGBUS handler, once however often it is called. Returns 0 or an errno.
int32_t ingot_guarded_copy_install(void);
/// memcpy(result, source, n) that survives a SIGBUS raised by reading `source`, as when a mapped file was cut short.
/// Returns 0, or -1 if the copy was cut off; then `result` is partly written. Call `install` first.
int32_t ingot_guarded_copy(void *result, const void *source, size_t n);
/// The same for `rows` runs of n bytes, `stride` bytes apart in the source, next to each other in the result.
int32_t ingot_guarded_copy_rows(void *result, const void *source, size_t n, size_t rows, size_t stride);
/// Adds n bytes to an XXH3_state_t that is being updated for 128 bits. Returns 0, or -1 if the source was cut off; then the
/// state is spoilt.
int32_t ingot_guarded_hash(void *state, const void *source, size_t n);

// Files (file_advice.c)

/// Hints to the system, which it may ignore; there is no error. `descriptor` is an open file.
/// Starts writing a range that was written to, without waiting.
void ingot_advise_write_out(int descriptor, uint64_t start, uint64_t count);
/// Drops the cached pages of a range that are not waiting to be written.
void ingot_advise_drop(int descriptor, uint64_t start, uint64_t count);

// Names (rename_exchange.c)

/// Exchanges what two paths lead to, in one step. Returns 0, or -1 with errno set. Linux only.
int32_t ingot_rename_exchange(const char *a, const char *b);

// Threads (thread_room.c)

/// Starts `count` threads, 16 at most, at once, and ends them. Returns 0, or the error of the one that could not be started.
int32_t ingot_try_threads(int32_t count);

// Interrupts (interrupt.c)

/// Records SIGINT and SIGTERM instead of ending the process; ignores SIGPIPE and SIGXFSZ. Returns 0 or an errno.
int32_t ingot_interrupt_install(void);
/// The number of the last signal recorded, or 0.
int32_t ingot_interrupt_received(void);

#ifdef __cplusplus
}
#endif

#endif
