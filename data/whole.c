/*
Whole files: what has its name is whole. #included after train_olmo.c by all that writes beside it.

    Whole *w = whole_begin(path);       w->file is open; it writes to path.tmp
    fprintf(w->file, ...);
    whole_end(w);                       all of it is on the disk, and only now has its name

If the program fails in between, path.tmp is removed. A program that is killed leaves it behind: nobody
reads it, and the next run writes over it.
*/

typedef struct Whole { char path[PATH], temporary[PATH]; FILE *file; struct Whole *next; } Whole;

static Whole *unfinished = NULL;
static pthread_mutex_t naming = PTHREAD_MUTEX_INITIALIZER;

// The program ends, and keeps the lock: no other thread begins a file any more, or gives one its name.
static void remove_unfinished(void) {
    pthread_mutex_lock(&naming);
    for (Whole *w = unfinished; w; w = w->next) unlink(w->temporary);
}

// w->file is open, or something else may write to w->temporary. Only a file is replaced, no device
// or pipe; and a lock keeps out other runs that write to the same name.
static Whole *whole_begin(const char *path) {
    static int registered = 0;
    Whole *w = (Whole *)allocate(1, sizeof *w, "a file's name");
    struct stat s, named;
    int fits = *path && snprintf(w->path, PATH, "%s", path) < PATH &&
        snprintf(w->temporary, PATH, "%s.tmp", path) < PATH;
    CHECK(fits, "%s: expected the name of a file, of less than %d bytes", path, PATH);
    CHECK(stat(path, &s) || S_ISREG(s.st_mode),
          "%s: expected the name of a file, found a directory, a pipe or a device", path);
    make_parents(path);
    pthread_mutex_lock(&naming);
    int fd = open(w->temporary, O_RDWR | O_CREAT, 0666), why = errno;
    // where there are no locks, we do without
    int locked = fd >= 0 && (!flock(fd, LOCK_EX | LOCK_NB) || errno != EWOULDBLOCK);
    int ours = locked && !fstat(fd, &s) && !stat(w->temporary, &named) && s.st_ino == named.st_ino;
    int emptied = ours && ftruncate(fd, 0) == 0 && (w->file = fdopen(fd, "wb"));
    if (fd >= 0) why = errno;
    if (emptied) w->next = unfinished, unfinished = w;
    if (emptied && !registered++) atexit(remove_unfinished);
    pthread_mutex_unlock(&naming);
    CHECK(fd < 0 || ours, "%s: another run is writing it", path);
    CHECK(emptied, "%s: cannot be written: %s", w->temporary, strerror(why));
    return w;
}
// Gives the file its name, or (to: NULL) removes it. Returns 0, or what went wrong.
static int whole_leave(Whole *w, const char *to) {
    pthread_mutex_lock(&naming);
    Whole **link = &unfinished;
    int failed = to ? rename(w->temporary, to) : unlink(w->temporary), why = errno;
    while (*link != w) link = &(*link)->next;
    if (!failed || !to) *link = w->next;
    pthread_mutex_unlock(&naming);
    return failed ? why : 0;
}
static int same_bytes(const char *a, const char *b) {
    struct stat s, t;
    if (stat(a, &s) || stat(b, &t) || s.st_size != t.st_size) return 0;
    FILE *f = fopen(a, "rb"), *g = fopen(b, "rb");
    char x[4096], y[4096];
    size_t n = 1;
    int same = f && g;
    while (same && n) {
        n = fread(x, 1, sizeof x, f);
        same = fread(y, 1, sizeof y, g) == n && !memcmp(x, y, n);
    }
    if (f) fclose(f);
    if (g) fclose(g);
    return same;
}
// A file that is there already, with the same bytes, stays: with its time, by which others know it.
static void whole_end(Whole *w) {
    flush_written(w->file, w->temporary);
    const int why = whole_leave(w, same_bytes(w->temporary, w->path) ? NULL : w->path);
    CHECK(!why, "%s: cannot be renamed to %s: %s", w->temporary, w->path, strerror(why));
    fclose(w->file), release(w);            // and with it the lock, when nobody can take our file for theirs
}
// Can it be written when a long run is over? NULL, nothing, and "-" can.
static void whole_check(const char *path) {
    if (!path || !strcmp(path, "-")) return;
    Whole *w = whole_begin(path);
    (void)whole_leave(w, NULL);
    fclose(w->file), release(w);
}

// The same for a picture that gnuplot has drawn: its exit code says nothing of a full disk.
static void whole_end_png(Whole *w) {
    char end[12] = "";
    FILE *drawn = fopen(w->temporary, "rb");
    CHECK(drawn && !fseek(drawn, -12, SEEK_END) && fread(end, 1, 12, drawn) == 12 &&
          !memcmp(end + 4, "IEND", 4), "%s: the picture is cut off; is the disk full?", w->path);
    fclose(drawn), whole_end(w);
}
