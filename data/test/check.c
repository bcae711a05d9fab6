// What the test programs share (test_olmo.c, data/test/test_data.c, dev/eval/test_eval.c): they count checks,
// and end with the names of those that failed and `N passed, N failed`. Included behind train_olmo.c.
//
// A program that another one runs gets --part: its last line is then `part: N passed, N failed`, and the
// other repeats the names itself.
static int passed, failed;
static FILE *failures;                                  // the names of what failed, for the end of the report

// Counts one test, and says which it was: check(it is so, "what should be so").
static int check(int fine, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int check(int fine, const char *format, ...) {
    char name[16384];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    printf("%s%s\n", fine ? "ok    " : "FAIL  ", name);
    fflush(stdout);
    if (!fine) fprintf(failures, "FAIL  %s\n", name);
    if (fine) passed++; else failed++;
    if (!fine && getenv("STOP_AT_FAILURE")) exit(EXIT_FAILURE);         // enough for dev/mutate.py
    return fine;
}

// Whoever started this program may have closed files 0 to 2, and left others open. What a test starts has the
// first three, and no others.
static void only_three_files(void) {
    int file;
    do CHECK((file = open("/dev/null", O_RDWR)) >= 0, "/dev/null: %s", strerror(errno)); while (file < 3);
    close(file);
    for (file = 3; file < 1024; file++) fcntl(file, F_SETFD, FD_CLOEXEC);
}

// To be called before the first check.
static void begin_tests(void) {
    // A shell's jobs in the background ignore the first, nohup's the second, some runners of tests the third;
    // and so does all that they start.
    const int ignored[] = { SIGINT, SIGHUP, SIGPIPE };
    for (int i = 0; i < 3; i++) signal(ignored[i], SIG_DFL);
    only_three_files();
    failures = tmpfile();
    CHECK(failures, "no temporary file can be made");
    fcntl(fileno(failures), F_SETFD, FD_CLOEXEC);
}

// The files that this process holds open.
static int open_files(void) {
    DIR *directory = opendir("/proc/self/fd");
    int n = 0;
    CHECK(directory, "/proc/self/fd: %s", strerror(errno));
    while (readdir(directory)) n++;
    closedir(directory);
    return n;
}
// Until print_again, what is printed to this stream goes to a file. Returns where it went before.
static int print_into(FILE *stream, const char *path) {
    fflush(stream);
    const int before = dup(fileno(stream));
    CHECK(before >= 0 && freopen(path, "w", stream), "%s: cannot be written", path);
    return before;
}
static void print_again(FILE *stream, int before) {
    fflush(stream);
    dup2(before, fileno(stream));
    close(before);
}

// Runs one group of tests, which must close what it opens.
static void run_group(const char *name, void (*group)(void)) {
    const int before = open_files();
    group();
    const int more = open_files() - before;
    if (more) check(0, "%s: what it opens, it closes (%+d files)", name, more);
}

// The last lines of a report: what failed, by name, and the counts. Returns the exit code.
static int verdict(int part) {
    rewind(failures);
    for (int c; !part && (c = fgetc(failures)) != EOF; ) putchar(c);
    printf("%s%d passed, %d failed\n", part ? "part: " : "", passed, failed);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
