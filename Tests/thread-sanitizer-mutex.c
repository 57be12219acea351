// Tells ThreadSanitizer of the standard library's Mutex: preloaded by Tests/sanitize.sh, into the tests alone.
//
// Mutex takes and leaves an uncontended lock by an exchange in the caller, which the sanitizer sees, and hands a contended one over in
// libswiftSynchronization (futexes with FUTEX_LOCK_PI: the kernel changes the word), which is not built for it: everything behind a lock that
// two threads wanted at once was reported as a race. Here the two slow paths say what they order. Should a toolchain rename them,
// nothing is said any more, and the reports are back.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>

// _MutexHandle._lockSlow(UInt32) and _unlockSlow(): the handle comes in the register of self, and is the word of the lock.
#define LOCK "$s15Synchronization12_MutexHandleV9_lockSlowyys6UInt32VF"
#define UNLOCK "$s15Synchronization12_MutexHandleV11_unlockSlowyyF"
#define SWIFT_SELF __attribute__((swift_context))
typedef __attribute__((swiftcall)) void Lock(uint32_t, SWIFT_SELF void *);
typedef __attribute__((swiftcall)) void Unlock(SWIFT_SELF void *);

// Absent in programs that are not built for the sanitizer, such as the package manager that starts the tests.
__attribute__((weak)) void __tsan_acquire(void *);
__attribute__((weak)) void __tsan_release(void *);

Lock lock_slow __asm__(LOCK);
Unlock unlock_slow __asm__(UNLOCK);

__attribute__((swiftcall)) void lock_slow(uint32_t found, SWIFT_SELF void *mutex) {
    ((Lock *)dlsym(RTLD_NEXT, LOCK))(found, mutex);
    if (__tsan_acquire) __tsan_acquire(mutex);
}

__attribute__((swiftcall)) void unlock_slow(SWIFT_SELF void *mutex) {
    if (__tsan_release) __tsan_release(mutex);
    ((Unlock *)dlsym(RTLD_NEXT, UNLOCK))(mutex);
}
