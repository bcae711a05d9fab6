/*
The grader of the exercises.                    make class        lists them, with their state
                                                make class N=02   grades one (HINT=1: the next hint;
                                                SEED=7: those inputs again)

How it judges. An exercise is a scenario: a function in scenarios.c that draws inputs, calls the
functions the student writes, and records what they return. The scenario runs twice from one seed:
with our own functions, which are the truth, and with the student's. Both records must agree, number
by number, within a budget that follows from the length of the sums. All of this happens in float
and in double; in double, scenarios also hold each backward function against difference quotients,
of our forward function: the two are judged apart. Outputs are poisoned with NaN before each call,
so that an element nobody wrote is seen, and guards around each array tell who wrote beyond it.

Where the records differ, the scenario runs again with every wrong solution we know
(dev/class/solutions: `// WRONG k:` says what is wrong with it). If one of them gives the student's
numbers, the grader names that mistake. `make class-check` turns this round: every wrong solution
must fail, and the right one must pass.

Each judgement runs in a process of its own, so that a crash is a failed exercise and no more.
*/
#define OLMO_LIBRARY
#include "../../train_olmo.c"
#include <dlfcn.h>
#include <sys/time.h>
#include <sys/wait.h>

static const int in_double = sizeof(real) == sizeof(double);
static const double unit_roundoff = sizeof(real) == sizeof(double) ? 0x1p-53 : 0x1p-24;

// ---- random inputs ------------------------------------------------------------------------------
// all inputs of a scenario follow from the seed
static uint64_t seed, draws;

static double random_uniform(void) { return uniform(hash64(hash64(seed) + draws++)); }

static int random_int(int low, int high) {
    return low + (int)(random_uniform()*(high - low + 1)*(1 - 1e-12));
}

static double random_normal(void) {
    double radius = sqrt(-2*log(random_uniform()));
    return radius*cos(2*M_PI*random_uniform());
}

// ---- arrays with a guard on either side ---------------------------------------------------------
enum { GUARD = 16, MAX_ARRAYS = 4096 };
static const real guard_value = (real)-12345.5;
static struct { real *at; size_t n; } array[MAX_ARRAYS];
static int n_arrays;

static real *new_array(size_t n) {
    real *x = (real *)allocate(n + 2*GUARD, sizeof(real), "an exercise") + GUARD;
    CHECK(n_arrays < MAX_ARRAYS, "a scenario uses more than %d arrays", MAX_ARRAYS);
    for (size_t i = 0; i < GUARD; i++) x[n + i] = *(x - 1 - i) = guard_value;
    array[n_arrays].at = x, array[n_arrays++].n = n;
    return x;
}

static int guards_intact(void) {
    for (int k = 0; k < n_arrays; k++)
        for (size_t i = 0; i < GUARD; i++) {
            const real before = *(array[k].at - 1 - i), behind = array[k].at[array[k].n + i];
            if (before != guard_value || behind != guard_value) return 0;
        }
    return 1;
}

static void release_arrays(void) {
    for (int k = 0; k < n_arrays; k++) release(array[k].at - GUARD);
    n_arrays = 0;
}

// n normal numbers. Give them a mean that is not 0, lest a wrong answer be right by symmetry.
static real *random_reals(size_t n, double mean, double std) {
    real *x = new_array(n);
    for (size_t i = 0; i < n; i++) x[i] = (real)(mean + std*random_normal());
    return x;
}

// An output, before anybody has written to it.
static real *poisoned(size_t n) {
    real *x = new_array(n);
    for (size_t i = 0; i < n; i++) x[i] = (real)NAN;
    return x;
}

static real *copied(const real *from, size_t n) {
    real *x = new_array(n);
    memcpy(x, from, n*sizeof(real));
    return x;
}

// ---- whose functions are called -----------------------------------------------------------------
// the student's, a wrong solution's, or NULL: our own
static void *library;

// the function called last: what is recorded next is its answer
static const char *judged = "";

static void *function_named(const char *name, void *ours) {
    judged = name;
    if (!library) return ours;
    void *theirs = dlsym(library, name);
    CHECK(theirs, "the function %s is missing; stub.c shows how it is declared", name);
    return theirs;
}

// STUDENT(norm_forward)(...) calls the function that is judged. Its type is that of ours, which has
// the same name.
#define STUDENT(name) ((__typeof__(&name))function_named(#name, (void *)&name))

// ---- the record ---------------------------------------------------------------------------------
typedef struct {
    const char *function;
    char what[48];                                          // "dx[row][channel]"
    // must_equal: NULL, or what the difference quotients say; rounding: how far that may be off
    double *value, *must_equal, rounding;
    size_t n, shape[4];
    int dims;
    // how many numbers were added up in one element
    double terms;
} Record;
static Record *record_of;                                   // of the run that is going on
static int n_records;

static Record *new_record(const char *what, double terms, int dims, const int *shape) {
    record_of = (Record *)realloc(record_of, (size_t)(n_records + 1)*sizeof(Record));
    CHECK(record_of, "not enough memory for the record of an exercise");
    Record *r = &record_of[n_records++];
    memset(r, 0, sizeof *r);
    r->function = judged;
    snprintf(r->what, sizeof r->what, "%s", what);
    r->n = 1, r->dims = dims, r->terms = terms;
    for (int i = 0; i < dims; i++) r->n *= r->shape[i] = (size_t)shape[i];
    r->value = (double *)allocate(r->n, sizeof(double), "a record");
    return r;
}

// record("dx[row][channel]", dx, terms, 2, (int[]){N, C}): these numbers are an answer, each a sum
// of `terms` products.
static void record(const char *what, const real *value, double terms, int dims, const int *shape) {
    Record *r = new_record(what, terms, dims, shape);
    for (size_t i = 0; i < r->n; i++) r->value[i] = (double)value[i];
}
static void record_doubles(const char *what, const double *value, double terms, int n) {
    Record *r = new_record(what, terms, 1, &n);
    memcpy(r->value, value, sizeof(double)*(size_t)n);
}
static void record_ints(const char *what, const int *value, int n) {
    Record *r = new_record(what, 0, 1, &n);
    for (int i = 0; i < n; i++) r->value[i] = value[i];
}

// sum of up*y: a loss whose gradient with respect to y is `up`. For the roundings of such sums: how
// many terms they had, and the largest of their partial sums.
static double loss_terms, largest_sum;

static double weighted_sum(const real *y, const real *up, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)y[i]*(double)up[i];
        largest_sum = fmax(largest_sum, fabs(sum));
    }
    loss_terms += (double)n;
    return sum;
}

// In double: dx[i] beside (loss(x + h e_i) - loss(x - h e_i))/2h, at some elements i of x[0..n). dx
// may hold `before` (NULL: zeros) from earlier on: backward functions that add are called on random
// numbers.
//
// How far rounding moves the quotient: each of the n additions in a loss rounds by at most u*|partial
// sum|, up or down. Independent errors add up like a random walk, to u*sqrt(n)*(the largest partial
// sum) at most. The quotient has two such errors over 2h: a deviation of u*sqrt(n/2)*(that sum)/h,
// of which we allow more than five, since the roundings inside of y come on top.
static void record_differences(const char *what, const real *dx, const real *before, real *x, size_t n,
    double (*loss)(void)) {
    enum { MOST = 24 };
    const double h = 1e-5;
    if (!in_double) return;
    int count = (int)zmin(n, MOST);
    Record *r = new_record(what, 1, 1, &count);
    r->must_equal = (double *)allocate((size_t)count, sizeof(double), "a record");
    for (int k = 0; k < count; k++) {
        size_t i = n <= MOST ? (size_t)k : (size_t)(random_uniform()*(double)n);
        real kept = x[i];
        x[i] = kept + (real)h;
        loss_terms = largest_sum = 0;
        double up = loss();
        r->rounding = fmax(r->rounding, 4*unit_roundoff*sqrt(loss_terms)*largest_sum/h);
        x[i] = kept - (real)h;
        double down = loss();
        x[i] = kept;
        r->value[k] = (double)(dx[i] - (before ? before[i] : 0));
        r->must_equal[k] = (up - down)/(2*h);
    }
}

static double root_mean_square(const double *x, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += x[i]*x[i];
    return n ? sqrt(sum/(double)n) : 0;
}

// How far value i may be from what is expected. A sum of K products has an error of about K
// roundings, in units of its terms; their size is that of the whole array. A difference quotient
// with h = 1e-5 is good to about h^2 = 1e-10, and to what its rounding is.
static double allowed(const Record *r, const double *expected, size_t i, double size) {
    if (r->must_equal) return 1e-7*fmax(fabs(expected[i]), size) + r->rounding;
    return (r->terms ? (16 + 2*r->terms)*unit_roundoff : 0)*fmax(fabs(expected[i]), size);
}

// The first element of r that is not finite, else the first that is not what is expected; or -1.
static long first_wrong(const Record *r, const double *expected) {
    const double size = root_mean_square(expected, r->n);
    for (size_t i = 0; i < r->n; i++) {
        if (!isfinite(r->value[i]) && isfinite(expected[i])) return (long)i;
    }
    for (size_t i = 0; i < r->n; i++) {
        if (!(fabs(r->value[i] - expected[i]) <= allowed(r, expected, i, size))) return (long)i;
    }
    return -1;
}

// "dx[row][channel]" and an index as "dx[2][17]"
static void element_name(char *out, size_t size, const Record *r, size_t i) {
    size_t at[4] = {0, 0, 0, 0}, used = (size_t)snprintf(out, size, "%.*s", (int)strcspn(r->what, "["),
        r->what);
    for (int d = r->dims - 1; d >= 0; d--) at[d] = i % r->shape[d], i /= r->shape[d];
    for (int d = 0; d < r->dims && used < size; d++) {
        used += (size_t)snprintf(out + used, size - used, "[%zu]", at[d]);
    }
}

// ---- the exercises ------------------------------------------------------------------------------
typedef struct {
    // of the directory: two digits, and what it is about
    const char *name;
    const char *functions;                                  // what the student writes
    void (*scenario)(void);
    // train_olmo.c has no function of this name to put it in place of
    int ours_alone;
} Exercise;

#include "scenarios.c"

enum { N_EXERCISES = sizeof exercises/sizeof *exercises };

// The exercise of this number or name (2, 02, norm, 02_norm), or a sentence.
static const Exercise *exercise_named(const char *wanted) {
    char *end;
    const long number = strtol(wanted, &end, 10);
    for (int i = 0; i < N_EXERCISES; i++) {
        const char *name = exercises[i].name;
        if (!*end && number == atoi(name)) return &exercises[i];
        if (!strcmp(wanted, name) || !strcmp(wanted, name + strlen("02_"))) return &exercises[i];
    }
    die("N=%s: there is no such exercise; `make class` lists them", wanted);
}

// ---- one judgement ------------------------------------------------------------------------------
static Record *run_scenario(const Exercise *e, void *functions, int *n, int *intact) {
    library = functions, draws = 0, record_of = NULL, n_records = 0;
    e->scenario();
    *n = n_records, *intact = guards_intact();
    release_arrays();
    return record_of;
}

// What a record must be: difference quotients where it has them, else the truth.
static const double *expected_of(const Record *r, const Record *truth) {
    return r->must_equal ? r->must_equal : truth->value;
}

// The index of the first record of a function (NULL: of any) that differs, its element in *element;
// or -1.
static int compare(const Record *student, const Record *truth, int n, const char *function,
                   long *element) {
    for (int i = 0; i < n; i++) {
        if (function && strcmp(student[i].function, function)) continue;
        const int comparable = student[i].n == truth[i].n;
        *element = comparable ? first_wrong(&student[i], expected_of(&student[i], &truth[i])) : 0;
        if (*element >= 0) return i;
    }
    return -1;
}

static void *open_library(const char *path) {
    void *opened = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    CHECK(opened, "cannot be loaded: %s", dlerror());       // which begins with the path
    return opened;
}

// What can be said of wrong numbers without knowing any solution.
static void print_likeliest(const Record *r, const double *expected) {
    const double size = root_mean_square(expected, r->n);
    double ratio = 0, zeros = 0, farthest = 0, compared = 0;
    int steady = 1;
    for (size_t i = 0; i < r->n; i++) {
        if (isnan(r->value[i])) return;
        zeros += r->value[i] == 0;
        farthest = fmax(farthest, fabs(r->value[i] - expected[i]));
        if (fabs(expected[i]) < 1e-3*size) continue;
        double here = r->value[i]/expected[i];
        if (compared++ == 0) ratio = here;
        steady &= fabs(here - ratio) <= 1e-3*fabs(ratio);
    }
    if (zeros == (double)r->n) printf("    all of them are 0\n");
    else if (r->terms && !r->must_equal && farthest <= 1e-3*size) {
        printf("    all elements agree to about %.0e of their size: %s?\n", farthest/size,
               in_double ? "a constant or a function in float (1e-5f, sqrtf), or another eps"
                         : "another eps, or a constant that is not quite right");
    } else if (steady && compared > 1) {
        printf("    every element is %.4g times what it must be: a factor is missing, or one too many\n",
               ratio);
    }
}

static void print_difference(const Record *r, const double *expected, size_t i) {
    const int digits = in_double ? 16 : 9;                  // all that the type has
    char element[96];
    element_name(element, sizeof element, r, i);
    if (isnan(r->value[i])) {
        printf("    %s is not a number, or was never written; expected %.*g\n", element, digits,
               expected[i]);
    } else if (r->must_equal) {
        printf("    %s: the difference quotient of the loss says %.9g, your gradient %.9g "
               "(element %zu of those tried)\n", r->what, expected[i], r->value[i], i);
    } else {
        printf("    %s: expected %.*g, got %.*g\n", element, digits, expected[i], digits, r->value[i]);
    }
}

// Compares the student's answers of one function with those of each wrong solution, built as
// PREFIX1.so, PREFIX2.so, ... Returns whether one of them gives the same.
static int print_known_mistake(const Exercise *e, const Record *student, int n, const char *function,
                               const char *prefix, char (*mistake)[160], int mistakes) {
    for (int k = 1; k <= mistakes; k++) {
        char path[PATH + 32];
        int m, intact;
        long element;
        snprintf(path, sizeof path, "%s%d.so", prefix, k);
        Record *wrong = run_scenario(e, open_library(path), &m, &intact);
        if (m != n || compare(student, wrong, n, function, &element) >= 0) continue;
        printf("    these are the numbers one gets if %s\n", mistake[k]);
        return 1;
    }
    return 0;
}

// ---- solutions, stubs, and how they are built ---------------------------------------------------
enum { MAX_WRONG = 32 };

// "// WRONG 3: the mean is not subtracted" lines of a solution into mistake[3]; returns the largest
// number.
static int known_mistakes(const char *solution, char (*mistake)[160]) {
    FILE *file = fopen(solution, "r");
    char line[512];
    int most = 0, k;
    while (file && fgets(line, sizeof line, file)) {
        char text[160];
        if (sscanf(line, "// WRONG %d: %159[^\n]", &k, text) != 2) continue;
        CHECK(k == most + 1 && k < MAX_WRONG, "%s: expected WRONG %d, found WRONG %d", solution,
            most + 1, k);
        memcpy(mistake[most = k], text, sizeof text);
    }
    if (file) fclose(file);
    return most;
}

static void path_of(char *out, const char *format, const char *name) {
    CHECK(snprintf(out, PATH, format, name) < PATH, "%s: too long", name);
}

// Compiles one C file into a shared library; wrong 0: as it stands. Returns whether the compiler
// was content.
static int compile(const char *out, const char *source, const char *type, int wrong, int quiet) {
    char command[4*PATH];
    const char *cc = getenv("CC");
    snprintf(command, sizeof command, "%s -O1 -g -Wall -fPIC -shared -DREAL=%s -DWRONG=%d -o %s %s -lm%s",
             cc && *cc ? cc : "cc", type, wrong, out, source, quiet ? " 2>/dev/null" : "");
    return system(command) == 0;
}

// What a process that judges ends with. Any other end but by a signal, such as an error that die()
// has told, is no judgement of the code.
typedef enum { RIGHT = 0, WRONG_ANSWER = 3, NOT_JUDGED = 4 } Verdict;

// How long a scenario may compute: seconds of the processor, lest a busy machine count as a loop.
enum { SECONDS = 10 };

// The process ends by SIGVTALRM after so many seconds; 0: never.
static void end_after(int seconds) {
    struct itimerval timer = { { 0, 0 }, { seconds, 0 } };
    setitimer(ITIMER_VIRTUAL, &timer, NULL);
}

// The record of `path` beside the truth; says what differs. Runs in a process of its own: see judge().
static Verdict judge_here(const Exercise *e, const char *path, int verbose) {
    int n, m, intact, wrong_record;
    long element;
    void *opened = open_library(path);
    end_after(SECONDS);
    Record *student = run_scenario(e, opened, &n, &intact);
    end_after(0);
    dlclose(opened);                        // its static variables are new for the next seed
    Record *truth = run_scenario(e, NULL, &m, &wrong_record);
    CHECK(n == m, "a scenario records %d answers with one library and %d with another", n, m);
    if (intact && compare(student, truth, n, NULL, &element) < 0) return RIGHT;
    if (!verbose) return WRONG_ANSWER;
    if (!intact) printf("    something was written before the begin of an array, or behind its end\n");

    char solution[PATH], mistake[MAX_WRONG][160], built[PATH];
    path_of(solution, "dev/class/solutions/%s.c", e->name);
    path_of(built, in_double ? "build/class/%s.double.wrong" : "build/class/%s.float.wrong", e->name);
    const int mistakes = known_mistakes(solution, mistake);
    for (int k = 1; k <= mistakes; k++) {
        char out[PATH];
        snprintf(out, sizeof out, "%.4000s%d.so", built, k);
        compile(out, solution, in_double ? "double" : "float", k, 1);
    }
    for (int i = 0; i < n; i++) {           // each function once, where its first answer stands
        int first = 1;
        for (int k = 0; k < i; k++) first &= strcmp(student[k].function, student[i].function) != 0;
        if (!first) continue;
        wrong_record = compare(student, truth, n, student[i].function, &element);
        printf("  %s: %s\n", student[i].function, wrong_record < 0 ? "right" : "wrong");
        if (wrong_record < 0) continue;
        const Record *r = &student[wrong_record], *t = &truth[wrong_record];
        if (r->n == t->n) print_difference(r, expected_of(r, t), (size_t)element);
        else printf("    %s: expected %zu numbers, got %zu\n", r->what, t->n, r->n);
        const int known = print_known_mistake(e, student, n, r->function, built, mistake, mistakes);
        if (!known && r->n == t->n) print_likeliest(r, expected_of(r, t));
    }
    return WRONG_ANSWER;
}

// The first verdict that is not the expected one, with `seeds` seeds from `seed` on.
static Verdict judge_seeds(const Exercise *e, const char *path, int seeds, Verdict expected,
                           int verbose) {
    for (int k = 0; k < seeds; k++, seed++) {
        Verdict v = judge_here(e, path, verbose);
        if (v == expected) continue;
        if (seeds > 1) {
            printf("    in %s it %s with seed %llu\n", in_double ? "double" : "float",
                   v == RIGHT ? "passes" : "fails", (unsigned long long)seed);
        }
        return v;
    }
    return expected;
}

// Judges a C file in one type, in a process of its own: the program for that type, called as `judge
// NAME LIBRARY SEED SEEDS EXPECTED VERBOSE`. One that ends by a signal is judged with that seed alone.
static Verdict judge(const Exercise *e, const char *source, const char *type, int wrong, int seeds,
                     Verdict expected, int verbose) {
    char built[PATH], text[32], count[32], wanted[32], program[PATH];
    snprintf(built, sizeof built, "build/class/%s.%s.%d.so", e->name, type, wrong);
    if (!compile(built, source, type, wrong, !verbose)) {
        if (verbose) printf("    %s does not compile: the compiler's reasons stand above\n", source);
        return NOT_JUDGED;
    }
    path_of(program, "build/class/grade_%s", type);
    snprintf(text, sizeof text, "%llu", (unsigned long long)seed);
    snprintf(count, sizeof count, "%d", seeds);
    snprintf(wanted, sizeof wanted, "%d", (int)expected);
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0, "no process can be made: %s", strerror(errno));
    if (child == 0) {
        if (!verbose) (void)!freopen("/dev/null", "w", stderr);
        execl(program, program, "judge", e->name, built, text, count, wanted,
              verbose ? "1" : "0", (char *)NULL);
        _exit(127);
    }
    int status;
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGVTALRM) {
        if (verbose) printf("    it did not end within %d s of computing: an endless loop?\n", SECONDS);
        return WRONG_ANSWER;
    }
    if (WIFSIGNALED(status)) {
        if (verbose) printf("    it ended by signal %d (%s): an address outside the arrays?\n",
                            WTERMSIG(status), strsignal(WTERMSIG(status)));
        return WRONG_ANSWER;
    }
    const int code = WEXITSTATUS(status);
    return code == RIGHT || code == WRONG_ANSWER ? (Verdict)code : NOT_JUDGED;
}

// Whether a right solution is right with every seed, in float and in double.
static int always_right(const Exercise *e, const char *source, int seeds) {
    return judge(e, source, "float", 0, seeds, RIGHT, 1) == RIGHT
        && judge(e, source, "double", 0, seeds, RIGHT, 1) == RIGHT;
}

// Whether a wrong one fails with every seed, in float or in double: with a seed that lets a mistake
// pass, a student's would pass, too.
static int always_wrong(const Exercise *e, const char *source, int wrong, int seeds) {
    return judge(e, source, "float", wrong, seeds, WRONG_ANSWER, 0) == WRONG_ANSWER
        || judge(e, source, "double", wrong, seeds, WRONG_ANSWER, 0) == WRONG_ANSWER;
}

// ---- a student's work ---------------------------------------------------------------------------
// It is dev/class/NN_name/mine.c, made from stub.c by the first `make class N=NN`; git does not
// look at it.
typedef enum { UNTOUCHED, UNJUDGED, FAILED, PASSED } State;
static const char *const state_name[] = { "untouched", "not judged", "failed", "passed" };

static int same_text(const char *a, const char *b) {
    char *x = file_exists(a) ? read_text(a) : NULL, *y = file_exists(b) ? read_text(b) : NULL;
    int same = x && y && !strcmp(x, y);
    release(x), release(y);
    return same;
}

static State grade(const Exercise *e, int verbose) {
    char stub[PATH], mine[PATH], note[PATH];
    path_of(stub, "dev/class/%s/stub.c", e->name), path_of(mine, "dev/class/%s/mine.c", e->name);
    path_of(note, "build/class/%s.state", e->name);
    if (!file_exists(mine) && verbose) {
        char *text = read_text(stub);
        FILE *file = open_to_write(mine);
        fputs(text, file);
        close_written(file, mine);
        release(text);
        printf("made %s from stub.c: your code goes there. The question: dev/class/%s/README.md\n",
               mine, e->name);
        return UNTOUCHED;
    }
    if (!file_exists(mine) || same_text(mine, stub)) {
        if (verbose) printf("%s: nothing to grade yet; your code goes into %s\n", e->name, mine);
        return UNTOUCHED;
    }
    if (verbose) printf("%s, seed %llu\n", e->name, (unsigned long long)seed);
    State state = PASSED;
    for (int type = 0; type < 2; type++) {
        const char *name = type ? "double" : "float";
        Verdict v = judge(e, mine, name, 0, 1, RIGHT, verbose);
        const char *said = v == RIGHT ? "right" : v == NOT_JUDGED ? "not judged" : "wrong";
        if (verbose) printf("in %s: %s\n", name, said);
        if (v != RIGHT) { state = v == NOT_JUDGED ? UNJUDGED : FAILED; break; }
    }
    if (state == FAILED && verbose) {
        printf("(SEED=%llu gives these inputs again; HINT=1 gives a hint)\n", (unsigned long long)seed);
    }
    FILE *file = open_to_write(note);
    fprintf(file, "%s\n", state_name[state]);
    fclose(file);
    return state;
}

// The next of the lines "1. ..." of hints.txt; which one is next is remembered.
static void hint(const Exercise *e) {
    char path[PATH], note[PATH], line[2048];
    int given = 0, number, shown = 0, wanted;
    path_of(note, "build/class/%s.hints", e->name), path_of(path, "dev/class/%s/hints.txt", e->name);
    FILE *file = fopen(note, "r");
    if (file) { if (fscanf(file, "%d", &given) != 1) given = 0; fclose(file); }
    file = fopen(path, "r");
    CHECK(file, "%s: cannot be read: %s", path, strerror(errno));
    wanted = given + 1;
    // a hint may go on in the lines below its number
    for (int current = 0; fgets(line, sizeof line, file); ) {
        if (sscanf(line, "%d.", &number) == 1) current = number;
        if (current == wanted) fputs(line, stdout), shown = 1;
    }
    fclose(file);
    if (!shown) {
        printf("that was the last hint of %s; the next call begins with the first again\n", e->name);
        wanted = 0;
    }
    file = open_to_write(note);
    fprintf(file, "%d\n", wanted);
    fclose(file);
}

static void list(void) {
    printf("The exercises. In the order of the story: 1 2 3 8 9 (layers), 4 5 6 7 (products),\n"
           "10 11 12 16 17 (training), 13 14 15 (text), 18 19 20 (open). dev/class/README.md says how\n"
           "long each takes.\n");
    for (int i = 0; i < N_EXERCISES; i++) {
        const Exercise *e = &exercises[i];
        char note[PATH], mine[PATH], stub[PATH], state[32] = "untouched";
        struct stat done, changed;
        path_of(note, "build/class/%s.state", e->name);
        path_of(mine, "dev/class/%s/mine.c", e->name), path_of(stub, "dev/class/%s/stub.c", e->name);
        if (stat(mine, &changed) == 0 && !same_text(mine, stub)) {
            FILE *file = fopen(note, "r");
            int known = file && stat(note, &done) == 0 && done.st_mtime >= changed.st_mtime
                && fscanf(file, "%31[^\n]", state) == 1;
            if (!known) snprintf(state, sizeof state, "not graded");
            if (file) fclose(file);
        }
        printf("  %-22s %-11s %s\n", e->name, state, e->functions);
    }
    printf("`make class N=02` grades one, `make class N=02 HINT=1` gives a hint.\n");
}

static int grade_all(const char *json) {
    int passed = 0;
    FILE *file = json && *json ? open_to_write(json) : NULL;
    if (file) fprintf(file, "{\"seed\": %llu, \"exercises\": {", (unsigned long long)seed);
    for (int i = 0; i < N_EXERCISES; i++) {
        State s = grade(&exercises[i], 0);
        passed += s == PASSED;
        printf("%-22s %s\n", exercises[i].name, state_name[s]);
        if (file) fprintf(file, "%s\n  \"%s\": \"%s\"", i ? "," : "", exercises[i].name, state_name[s]);
    }
    if (file) {
        fprintf(file, "\n}, \"passed\": %d, \"of\": %d}\n", passed, N_EXERCISES);
        close_written(file, json);
    }
    printf("%d of %d passed\n", passed, N_EXERCISES);
    return finished();
}

// ---- the grader's own proof ---------------------------------------------------------------------
static int passed, failed;
static void check(int fine, const char *name, const char *what) {
    printf("%s  %s: %s\n", fine ? "ok  " : "FAIL", name, what);
    if (fine) passed++; else failed++;
}

// Forged records, one answer at a time: none of them may pass.
static void check_forgeries(const Exercise *e) {
    static const char *const forgery[] = {
        "zeros", "NaN", "a wrong last element", "a last row that was not written", "a factor 1.001",
        "neighbours exchanged",
    };
    int n, m, intact;
    Record *truth = run_scenario(e, NULL, &n, &intact), *forged = run_scenario(e, NULL, &m, &intact);
    for (int kind = 0; kind < 6; kind++) {
        int caught = 1;
        for (int k = 0; k < n; k++) {
            Record *r = &forged[k];
            const double *right = expected_of(&truth[k], &truth[k]);
            size_t row = r->dims > 1 ? r->n/r->shape[0] : 1;
            double size = root_mean_square(right, r->n);
            if (!r->n || (size == 0 && (kind == 0 || kind == 4 || kind == 5))) continue;
            for (size_t i = 0; i < r->n; i++) {
                double v = right[i];
                if (kind == 0) v = 0;
                if (kind == 1) v = NAN;
                if (kind == 2 && i == r->n - 1) v += 1e-2*fmax(size, fabs(v)) + (r->terms == 0);
                if (kind == 3 && i >= r->n - row) v = NAN;
                if (kind == 4) v = v*1.001 + (r->terms == 0);
                if (kind == 5) v = right[i ^ 1 && (i ^ 1) < r->n ? i ^ 1 : i];
                r->value[i] = v;
            }
            // neighbours that are equal cannot be told apart
            int same = kind == 5;
            for (size_t i = 0; same && i < r->n; i++) same = r->value[i] == right[i];
            caught &= same || first_wrong(r, right) >= 0;
        }
        check(caught, e->name, forgery[kind]);
    }
}

// The commands that the classroom's texts quote: `make` knows its targets, and ./train_olmo its options.
static void check_commands(void) {
    char line[PATH], command[2*PATH];
    FILE *quotes = popen("grep -ohE '`((make|[.]/train_olmo)[^`]*|--[a-z-]+ [a-z0-9.]+)`' -r dev/class "
                         "--include='*.md' --include=hints.txt | tr -d '`' | sed 's/ && .*//' | sort -u",
                         "r");
    CHECK(quotes, "the classroom's texts cannot be searched: %s", strerror(errno));
    while (fgets(line, sizeof line, quotes)) {
        line[strcspn(line, "\n")] = 0;
        const int to_make = !strncmp(line, "make", 4), option = !strncmp(line, "--", 2);
        if (to_make) snprintf(command, sizeof command, "make -n %s >/dev/null 2>&1", line + 4);
        else snprintf(command, sizeof command, "%s %s --steps 1 --eval-every 0 --sample-every 0 --no-save "
                      "--out build/class/quoted >/dev/null 2>&1", option ? "./train_olmo" : "", line);
        check(system(command) == 0, "the texts quote", line);
    }
    pclose(quotes);
}

// number NULL: all exercises. The right solutions must pass, and the wrong ones fail, with each of
// `seeds` seeds.
static int check_exercises(const char *number, int seeds) {
    if (!number) check_commands();

    for (int i = 0; i < N_EXERCISES; i++) {
        const Exercise *e = &exercises[i];
        char path[PATH], mistake[MAX_WRONG][160], what[256];
        if (number && e != exercise_named(number)) continue;
        path_of(path, "dev/class/%s/stub.c", e->name);
        check(always_wrong(e, path, 0, seeds), e->name, "the untouched stub fails");
        path_of(path, "dev/class/solutions/%s.c", e->name);
        int wrong = known_mistakes(path, mistake);
        snprintf(what, sizeof what, "the right solution passes with %d seed%s", seeds,
            seeds == 1 ? "" : "s");
        check(always_right(e, path, seeds), e->name, what);
        for (int k = 1; k <= wrong; k++) {
            snprintf(what, sizeof what, "fails if %s", mistake[k]);
            check(always_wrong(e, path, k, seeds), e->name, what);
        }
        check(wrong >= 6, e->name, "six wrong solutions at least");
        check_forgeries(e);
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

// ---- plain.c as a witness -----------------------------------------------------------------------
// Judges plain.c as if a student had handed it in, function by function; then the whole model:
// losses and every gradient.
static void witness_model(const char *name, int tied, int G, double z) {
    int sizes[] = { 24, 3, 4, G, 40, 37, tied, 2, 11 }, B = sizes[7], T = sizes[8], N = B*T;
    Config c = preset_named("tiny").config;
    c.d_model = sizes[0], c.n_layers = sizes[1], c.n_heads = sizes[2], c.n_kv_heads = sizes[3];
    c.mlp_hidden = sizes[4], c.vocab = sizes[5], c.seq_len = T, c.tied = tied, c.z_loss = z;
    Olmo *m = olmo_build(&c, 1);
    void *opened = open_library(in_double ? "build/class/plain.double.so"
                                          : "build/class/plain.float.so");
    void (*plain)(real *, real *, const real *, const int *, const int *, const real *, const int *,
        double, double);
    *(void **)&plain = dlsym(opened, "plain_gradients");
    CHECK(plain, "plain_gradients is missing: %s", dlerror());

    int *tokens = (int *)allocate(2*(size_t)N, sizeof(int), "a test"), *targets = tokens + N;
    real *losses = new_array(N), *zlosses = new_array(N), *weights = random_reals(N, 0.1, 0.05);
    real *theirs = poisoned(N), *grads = poisoned(m->layout.size);
    for (size_t i = 0; i < m->layout.size; i++) m->params[i] = (real)(0.2*random_normal());
    for (int n = 0; n < N; n++) {
        tokens[n] = random_int(0, c.vocab - 1);
        targets[n] = n % 5 == 3 ? -1 : random_int(0, c.vocab - 1);
    }
    olmo_forward(m, losses, zlosses, tokens, targets, weights, B, T);
    olmo_backward(m);
    plain(theirs, grads, m->params, tokens, targets, weights, sizes, c.rope_theta, z);

    double worst = 0;
    // the distance of each tensor's gradients, in units of their size
    for (int k = 0; k < m->layout.n; k++) {
        const Tensor *t = &m->layout.tensor[k];
        double distance = 0, size = 0;
        for (size_t i = t->offset; i < t->offset + (size_t)t->rows*t->cols; i++) {
            double d = (double)grads[i] - (double)m->grads[i];
            distance += d*d, size += (double)m->grads[i]*(double)m->grads[i];
        }
        worst = fmax(worst, isfinite(distance) ? sqrt(distance/size) : INFINITY);
    }
    for (int n = 0; n < N; n++) worst = fmax(worst, fabs((double)(theirs[n] - losses[n]))/4);
    char what[128];
    snprintf(what, sizeof what,
             "%s: losses and gradients beside train_olmo.c's, %s: worst distance %.1e", name,
             in_double ? "double" : "float", worst);
    // sums of up to 100 terms, three layers deep
    check(worst <= 300*unit_roundoff, "plain.c", what);
    olmo_free(m), release(tokens), release_arrays();
}

static int witness(int part) {
    static const char *const numbers[] = { "01", "02", "03", "05", "06", "07", "08", "09" };
    for (size_t i = 0; i < sizeof numbers/sizeof *numbers && !in_double; i++) {
        const Exercise *e = exercise_named(numbers[i]);
        const char *source = "dev/class/plain.c -DOLMO_LIBRARY";
        check(always_right(e, source, 1), "plain.c", e->functions);
    }
    CHECK(compile(in_double ? "build/class/plain.double.so" : "build/class/plain.float.so",
                  "dev/class/plain_witness.c", in_double ? "double" : "float", 0, 0),
          "dev/class/plain_witness.c: cannot be compiled");
    witness_model("tied, with z-loss", 1, 4, 1e-3);
    witness_model("untied, grouped queries", 0, 2, 0);
    if (!in_double) {                                       // the same in double, whose count is added
        FILE *other = popen("build/class/grade_double witness", "r");
        char line[512];
        int p = 0, f = 1;
        while (other && fgets(line, sizeof line, other))
            if (sscanf(line, "%d passed, %d failed", &p, &f) != 2) fputs(line, stdout);
        if (other) pclose(other);
        passed += p, failed += f;
    }
    printf("%s%d passed, %d failed\n", part ? "part: " : "", passed, failed);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

// ---- training with the student's functions ------------------------------------------------------
// The default model for 300 steps, with every function that the student has finished put in the
// place of ours (a library that is loaded first). Its curve stands beside ours, and beside that of
// a build whose sums run in another order: rounding alone moves a curve that far, and ten times as
// far is the most we allow.
enum { TRAIN_STEPS = 300 };

static void train_with(const char *program, const char *preload, const char *out, double *loss,
    char *hash) {
    char command[4*PATH], path[PATH], line[4096];
    snprintf(command, sizeof command, "rm -rf %s && LD_PRELOAD='%s' %s --steps %d --sample-every 0 "
             "--eval-every 0 --out %s | tail -n 1", out, preload, program, TRAIN_STEPS, out);
    FILE *run = popen(command, "r");
    CHECK(run && fgets(line, sizeof line, run) && sscanf(line, "params hash %31s", hash) == 1,
        "%s: this run failed", command);
    pclose(run);
    path_join(path, out, "metrics.jsonl");
    FILE *metrics = fopen(path, "r");
    int steps = 0;
    while (metrics && steps < TRAIN_STEPS && fgets(line, sizeof line, metrics))
        loss[steps++] = json_number(line, path, "train/CrossEntropyLoss", 0, 1e9, NAN);
    CHECK(steps == TRAIN_STEPS, "%s: expected %d steps, found %d", path, TRAIN_STEPS, steps);
    fclose(metrics);
}

static double farthest(const double *a, const double *b) {
    double most = 0;
    for (int i = 0; i < TRAIN_STEPS; i++) most = fmax(most, fabs(a[i] - b[i]));
    return most;
}

static int train_student(void) {
    static double ours[TRAIN_STEPS], other[TRAIN_STEPS], student[TRAIN_STEPS];
    char hash[3][32], preload[8*PATH] = "", directory[PATH];
    int replaced = 0;
    CHECK(getcwd(directory, sizeof directory), "this directory has no name: %s", strerror(errno));
    for (int i = 0; i < N_EXERCISES; i++) {
        const Exercise *e = &exercises[i];
        char built[PATH], mine[PATH];
        if (e->ours_alone || grade(e, 0) != PASSED) continue;
        path_of(mine, "dev/class/%s/mine.c -O3 -march=native", e->name);
        path_of(built, "build/class/%s.train.so", e->name);
        CHECK(compile(built, mine, "float", 0, 0), "%s: cannot be compiled", mine);
        const size_t used = strlen(preload);
        snprintf(preload + used, sizeof preload - used, "%s%s/%s", used ? ":" : "", directory, built);
        printf("yours: %s\n", e->functions), replaced++;
    }
    if (!replaced) {
        printf("none of the exercises that stand in the model is finished yet: nothing to train with\n");
        return EXIT_FAILURE;
    }
    printf("%d steps of the default model, three times (plain loops take a few minutes) ...\n",
        TRAIN_STEPS);
    fflush(stdout);
    train_with("build/class/train", "", "build/class/run_ours", ours, hash[0]);
    train_with("build/class/train_sse", "", "build/class/run_other", other, hash[1]);
    train_with("build/class/train", preload, "build/class/run_student", student, hash[2]);
    double by_rounding = farthest(ours, other), by_student = farthest(ours, student);
    printf("loss after %d steps: ours %.4f, yours %.4f\n", TRAIN_STEPS, ours[TRAIN_STEPS - 1],
        student[TRAIN_STEPS - 1]);
    if (!strcmp(hash[0], hash[2])) {
        printf("and the same bits: params hash %s\n", hash[2]);
        return finished();
    }
    printf("largest distance of the curves: yours %.2e; a build of ours whose sums run in another "
           "order %.2e\n", by_student, by_rounding);
    int fine = by_student <= 10*by_rounding;
    printf(fine ? "that is rounding: your functions train the model\n" :
        "that is more than rounding: something is not as it should be\n");
    return fine ? finished() : EXIT_FAILURE;
}

// What `make class SEED=7` gave, or `otherwise`.
static uint64_t whole_number(const char *variable, uint64_t otherwise) {
    const char *given = getenv(variable);
    if (!given || !*given) return otherwise;
    const size_t digits = strspn(given, "0123456789");
    CHECK(!given[digits] && digits < 20, "%s=%s: expected a whole number, as in %s=7", variable, given,
          variable);
    return strtoull(given, NULL, 10);
}

int main(int argc, char **argv) {
    // Named build/class/witness, the program is one of those that make test runs.
    int as_witness = ends_with(argv[0], "/witness");
    const char *what = as_witness ? "witness" : argc > 1 ? argv[1] : "list";
    // Students get new inputs every time; the grader's own proofs are the same for everybody.
    const int is_proof = !strcmp(what, "check") || !strcmp(what, "witness");
    seed = whole_number("SEED", is_proof ? 1 : (uint64_t)time(NULL));
    if (!strcmp(what, "judge") && argc == 8) {
        seed = strtoull(argv[4], NULL, 10);
        return judge_seeds(exercise_named(argv[2]), argv[3], atoi(argv[5]), (Verdict)atoi(argv[6]),
            atoi(argv[7]));
    }
    make_directory("build/class");
    if (!strcmp(what, "list")) { list(); return finished(); }
    if (!strcmp(what, "all")) return grade_all(argc > 2 ? argv[2] : NULL);
    if (!strcmp(what, "check")) {
        return check_exercises(argc > 2 ? argv[2] : NULL, (int)whole_number("SEEDS", 1));
    }
    if (!strcmp(what, "witness")) return witness(as_witness && argc > 1 && !strcmp(argv[1], "--part"));
    if (!strcmp(what, "train")) return train_student();
    if (!strcmp(what, "hint") && argc == 3) { hint(exercise_named(argv[2])); return finished(); }
    return grade(exercise_named(what), 1) == PASSED ? finished() : EXIT_FAILURE;
}
