/*
The tests of the data room. One program, run from the top of the project by `make test` where the
libraries of `make data` are installed; its parts stand beside it, one for each file they test. The
last line is `N passed, N failed`.

A check that cannot fail is a defect: each has been seen red, with the code broken on purpose.
*/
#define _GNU_SOURCE
#include "clock.c"
#define OLMO_LIBRARY
#include "../../train_olmo.c"
#include "../documents.c"
#include <sys/wait.h>

#include "check.c"

static char scratch[] = "/tmp/olmo_data_XXXXXX";   // a directory for files of the tests, removed at the end
static pid_t scratch_of;                           // by the process that made it, not by those it forks

static void remove_scratch(void) {
    char command[64];
    if (getpid() != scratch_of) return;
    snprintf(command, sizeof command, "rm -rf %s", scratch);
    if (system(command)) printf("%s: cannot be removed\n", scratch);
}

// Every command runs in an empty directory, scratch/here, where links lead to the programs and to
// data/: so that no test finds what somebody left in the project (./out, say), and none leaves
// anything there.
static void enter_scratch(void) {
    char home[PATH], link[PATH], here[PATH];
    CHECK(getcwd(home, sizeof home) && mkdtemp(scratch), "%s: cannot be made", scratch);
    scratch_of = getpid();
    atexit(remove_scratch);
    path_join(here, scratch, "here");
    make_directory(here);
    CHECK(chdir(here) == 0 && setenv("PWD", here, 1) == 0, "%s: cannot be entered", here);
    static const char *const seen[] = { "data", "dev", "train_olmo" };
    for (size_t i = 0; i < sizeof seen/sizeof *seen; i++) {
        path_join(link, home, seen[i]);
        CHECK(symlink(link, seen[i]) == 0, "%s/%s: cannot be made", here, seen[i]);
    }
}

// Runs a shell command; its exit code (128 + signal, if one killed it), and the first bytes of what
// it printed on standard output and standard error together.
static int run(char *out, size_t room, const char *format, ...) __attribute__((format(printf, 3, 4)));
static int run(char *out, size_t room, const char *format, ...) {
    char command[8192], rest[4096];
    va_list args;
    va_start(args, format);
    int n = snprintf(command, sizeof command, "exec 2>&1; ");
    CHECK(vsnprintf(command + n, sizeof command - (size_t)n, format, args) < (int)sizeof command - n,
          "this command is too long: %s", format);
    va_end(args);
    fflush(stdout);
    FILE *pipe = popen(command, "r");
    CHECK(pipe, "no shell can be started");
    size_t got = fread(out, 1, room - 1, pipe);
    out[got] = 0;
    while (fread(rest, 1, sizeof rest, pipe)) {}
    int status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// scratch/name, which holds until the eighth call after it.
static const char *in_scratch(const char *name) {
    static char path[8][PATH];
    static int turn = 0;
    turn = (turn + 1) % 8;
    path_join(path[turn], scratch, name);
    return path[turn];
}
static const char *put_file(const char *name, const char *bytes, size_t size) {
    const char *path = in_scratch(name);
    make_parents(path);
    FILE *file = open_to_write(path);
    CHECK(fwrite(bytes, 1, size, file) == size && fclose(file) == 0, "%s: cannot be written", path);
    return path;
}
static const char *put_text(const char *name, const char *text) {
    return put_file(name, text, strlen(text));
}

// What this thread has computed so far, in seconds: others that are busy do not count.
static double processor_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9*(double)t.tv_nsec;
}

// All of the document that was read last, as a tree that document_free frees.
static json_t *tree_of(Document *d) {
    return d->attributes = json_loadb(d->from->text, d->from->size, JSON_ALLOW_NUL, NULL);
}

#include "documents.c"
#include "tokenizer.c"
#include "tokenize.c"
#include "stats.c"
#include "classifier.c"
#include "taggers.c"
#include "dedupe.c"
#include "mix.c"
#include "command.c"
#include "stories.c"

static const struct { const char *name; void (*run)(void); } parts[] = {
    { "tokenizer", test_tokenizer }, { "tokenize", test_tokenize }, { "documents", test_documents },
    { "stats", test_stats },
    { "classifier", test_classifier }, { "taggers", test_taggers }, { "dedupe", test_dedupe },
    { "mix", test_mix },
    { "command", test_command }, { "stories", test_stories },
};

int main(int argc, char **argv) {
    // of test_olmo's report, which repeats our failures itself
    int part = argc > 1 && !strcmp(argv[1], "--part");
    begin_tests();
    enter_scratch();
    snprintf(small_path, sizeof small_path, "%s", small_tokenizer("small.json", 0));
    for (size_t i = 0; i < sizeof parts/sizeof *parts; i++) {
        int named = 0;                                       // data/test/test_data mix taggers: only these
        for (int k = 1 + part; k < argc; k++) named |= !strcmp(argv[k], parts[i].name);
        if (!named && argc > 1 + part) continue;
        run_group(parts[i].name, parts[i].run);
    }
    return verdict(part);
}
