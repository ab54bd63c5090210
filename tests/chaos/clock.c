/* Preloaded into every process of a yard: sets the clocks of server, recorder and worker apart, by what a shared file says. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* For server, recorder and worker: seconds to add, and how often a process has read a clock with them. */
struct clocks { int64_t seconds[3]; uint64_t reads[3]; };

static volatile struct clocks *clocks;
static int party = -1;
static int (*system_clock)(clockid_t, struct timespec *);

__attribute__((constructor)) static void open_clocks(void) {
    static char line[4096];
    const char *path = getenv("CHAOS_CLOCKS");
    int file = open("/proc/self/cmdline", O_RDONLY);
    ssize_t length = file < 0 ? 0 : read(file, line, sizeof line - 1);
    close(file);
    for (char *word = line; word < line + length; word += strlen(word) + 1) {
        if (!strcmp(word, "server")) party = 0;
        if (!strcmp(word, "recorder")) party = 1;
        if (!strcmp(word, "worker") || strstr(word, "multiprocessing.forkserver")) party = 2;
    }
    if (!path || party < 0 || (file = open(path, O_RDWR)) < 0) return;
    void *found = mmap(NULL, sizeof *clocks, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (found != MAP_FAILED) clocks = found;
}

static int64_t apart(void) {
    int64_t seconds = clocks ? clocks->seconds[party] : 0;
    if (seconds) __atomic_fetch_add(&clocks->reads[party], 1, __ATOMIC_RELAXED);
    return seconds;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    if (!system_clock) system_clock = dlsym(RTLD_NEXT, "clock_gettime");
    int status = system_clock(clock, now);
    if (!status && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += apart();
    return status;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &exact)) return -1;
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *result) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (result) *result = now.tv_sec;
    return now.tv_sec;
}
