// Checks that the system can start threads. Without this check, a runtime that cannot get a thread waits forever.

#include "CSystemCalls.h"

#include <pthread.h>
#include <unistd.h>

// Sleeps long enough for all threads to exist at the same time.
static void *stay(void *unused) {
    (void)unused;
    usleep(200);
    return NULL;
}

int32_t ingot_try_threads(int32_t count) {
    pthread_t threads[16];
    int32_t started = 0;
    int error = 0;
    while (started < count && started < 16) {
        error = pthread_create(&threads[started], NULL, stay, NULL);
        if (error != 0) { break; }
        started += 1;
    }
    for (int32_t i = 0; i < started; i += 1) { pthread_join(threads[i], NULL); }
    return error;
}
