// Guarded access: a copy that survives SIGBUS. Reading a mapped file raises SIGBUS after the file was truncated.
//
// The handler jumps back into this file. The jump crosses only memcpy, which holds no lock and allocates nothing.

#include "CSystemCalls.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>

static _Thread_local sigjmp_buf guard;
// The range being read; empty outside a guarded access. Only one thread and its signal handler use it.
static _Thread_local volatile uintptr_t guarded_start;
static _Thread_local volatile uintptr_t guarded_end;

static struct sigaction previous;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int32_t install_error;

// Does what the process would have done without this handler.
static void pass_on(int signal_number, siginfo_t *information, void *context) {
    if (previous.sa_flags & SA_SIGINFO) {
        previous.sa_sigaction(signal_number, information, context);
    } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
        previous.sa_handler(signal_number);
    } else {
        // Returning from the handler repeats a fault, now with the default action. A signal that was sent must be raised again.
        struct sigaction fallback;
        memset(&fallback, 0, sizeof fallback);
        fallback.sa_handler = SIG_DFL;
        sigaction(signal_number, &fallback, NULL);
        if (information->si_code <= 0) { raise(signal_number); }
    }
}

static void on_bus_error(int signal_number, siginfo_t *information, void *context) {
    uintptr_t address = (uintptr_t)information->si_addr;
    // si_code is positive for a fault, zero or less for a signal that a process sent.
    if (information->si_code > 0 && address >= guarded_start && address < guarded_end) {
        siglongjmp(guard, 1);
    }
    pass_on(signal_number, information, context);
}

static void install(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_bus_error;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGBUS, &action, &previous) != 0) { install_error = errno; }
}

int32_t ingot_guarded_copy_install(void) {
    int error = pthread_once(&once, install);
    return error != 0 ? error : install_error;
}

int32_t ingot_guarded_copy(void *result, const void *source, size_t n) {
    return ingot_guarded_copy_rows(result, source, n, 1, n);
}

int32_t ingot_guarded_copy_rows(void *result, const void *source, size_t n, size_t rows, size_t stride) {
    if (n == 0 || rows == 0) { return 0; }
    // The mask is saved: SIGBUS is blocked while its handler runs, and the jump must unblock it.
    if (sigsetjmp(guard, 1) != 0) {
        guarded_end = 0;
        guarded_start = 0;
        return -1;
    }
    // The system may report the start of the page instead of the byte that was read.
    guarded_start = (uintptr_t)source & ~(uintptr_t)4095;
    guarded_end = (uintptr_t)source + (rows - 1) * stride + n;
    __asm__ volatile("" ::: "memory");
    for (size_t row = 0; row < rows; row += 1) {
        memcpy((char *)result + row * n, (const char *)source + row * stride, n);
    }
    __asm__ volatile("" ::: "memory");
    guarded_end = 0;
    guarded_start = 0;
    return 0;
}
