// Records the signals that ask a conversion to stop, and turns SIGPIPE and SIGXFSZ into errors of system calls.

#include "CSystemCalls.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

// An atomic, because the handler may run on any thread while others read. sig_atomic_t is safe only within one thread.
static atomic_int received;
_Static_assert(ATOMIC_INT_LOCK_FREE == 2, "a signal handler may touch lock-free atomics only");

static void on_interrupt(int signal_number) { atomic_store_explicit(&received, signal_number, memory_order_relaxed); }

static int32_t set_handler(int signal_number, void (*handler)(int)) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    return sigaction(signal_number, &action, NULL) == 0 ? 0 : errno;
}

int32_t ingot_interrupt_install(void) {
    int32_t error = set_handler(SIGINT, on_interrupt);
    if (error == 0) { error = set_handler(SIGTERM, on_interrupt); }
    // Writing to a closed pipe, or past a file size limit, then fails with EPIPE and EFBIG.
    if (error == 0) { error = set_handler(SIGPIPE, SIG_IGN); }
    if (error == 0) { error = set_handler(SIGXFSZ, SIG_IGN); }
    return error;
}

int32_t ingot_interrupt_received(void) {
    return (int32_t)atomic_load_explicit(&received, memory_order_relaxed);
}
