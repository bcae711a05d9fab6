// A clock that a test can set going: by CLOCK_STEP seconds with every look at it, and not otherwise. Where
// CLOCK_STEP is not in the environment it is the system's. Included before train_olmo.c.
#include <stdlib.h>
#include <time.h>

static int stepping_clock(clockid_t id, struct timespec *t) {
    static double now = 1000;
    const char *step = getenv("CLOCK_STEP");
    if (!step) return clock_gettime(id, t);
    now += strtod(step, NULL);
    t->tv_sec = (time_t)now, t->tv_nsec = (long)(1e9*(now - (double)t->tv_sec));
    return 0;
}
#define clock_gettime(id, t) stepping_clock(id, t)
