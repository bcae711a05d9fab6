/* ngram.c - what can be learned by counting alone? A yardstick for a language model.
 *
 *   cc -O2 -std=gnu11 -o dev/ngram dev/ngram.c -lm
 *   dev/ngram data/stories.txt data/stories_val.txt [--window 256]
 *
 * An n-gram model guesses a byte from the n-1 bytes before it, by counting what
 * followed them in the training text. It prints nats per predicted byte, as the
 * trainer does: the text is cut into windows, byte 1 of each is given, the others
 * are predicted, and no context reaches back over the start of its window. If
 * VAL.floor exists, its first number, the loss of a perfect model, is printed too.
 *
 * Long contexts are rarely seen, short ones know little, so every order leans on
 * the one below it (Witten-Bell interpolation). After the context h of n-1 bytes,
 *
 *     P_n(c | h) = (count(h c) + types(h) P_(n-1)(c | h')) / (count(h) + types(h))
 *
 * where count(h) says how often h was followed by anything, types(h) by how many
 * different bytes, and h' is h without its oldest byte; P_0 is 1/256 for all. The
 * more kinds of byte followed h, the likelier the next one is new: hence types. */
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ORDERS = 5, SLOTS = 1 << 22 };
enum Kind { COUNT_PAIR, COUNT, TYPES }; /* count(h c), count(h), types(h) */

typedef struct {
    uint64_t key; /* 0: the slot is free */
    uint32_t n;
} Slot;

static void die(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fputs("error: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

static unsigned char *read_file(const char *path, long *size) {
    FILE *f = fopen(path, "rb");
    if (!f)
        die("%s: expected a text file, cannot open it; data/stories writes the default one", path);
    unsigned char *bytes = NULL;
    long room = 0;
    *size = 0;
    for (;;) {
        if (*size == room) {
            room = room ? 2 * room : 1 << 20;
            bytes = realloc(bytes, room);
            if (!bytes)
                die("%s: expected room for %ld bytes in memory, found none; use a smaller file",
                    path, room);
        }
        size_t got = fread(bytes + *size, 1, room - *size, f);
        if (got == 0) break;
        *size += got;
    }
    if (ferror(f))
        die("%s: expected to read it to its end, stopped after %ld bytes; check the disk", path,
            *size);
    fclose(f);
    return bytes;
}

/* One number packs what is counted: the kind, how many bytes, and the bytes. */
static uint64_t key_of(enum Kind kind, const unsigned char *bytes, int n) {
    uint64_t key = 1 + kind;
    key = key * 8 + n;
    for (int i = 0; i < n; i++) key = key * 256 + bytes[i];
    return key;
}

/* The slot of a key, or the free slot where it belongs (open addressing). */
static Slot *find(Slot *table, uint64_t key) {
    uint64_t hash = key * 0x9e3779b97f4a7c15u;
    uint64_t i = (hash ^ (hash >> 32)) % SLOTS;
    while (table[i].key && table[i].key != key) i = (i + 1) % SLOTS;
    return &table[i];
}

/* Adds one to a key's count and returns the new count. */
static uint32_t add(Slot *table, uint64_t key) {
    static long used;
    Slot *slot = find(table, key);
    if (!slot->key && ++used > SLOTS / 4 * 3)
        die("the count table has %d slots and the training text needs more; "
            "raise SLOTS in dev/ngram.c", SLOTS);
    slot->key = key;
    return ++slot->n;
}

/* Counts a byte after each of the contexts it has: 0 to ORDERS-1 bytes, `past` at most. */
static void learn(Slot *table, const unsigned char *byte, int past) {
    for (int h = 0; h < ORDERS && h <= past; h++) {
        uint32_t seen = add(table, key_of(COUNT_PAIR, byte - h, h + 1));
        add(table, key_of(COUNT, byte - h, h));
        if (seen == 1) add(table, key_of(TYPES, byte - h, h));
    }
}

/* Adds the surprise at a byte, -log P_n, to nats[n] for every order n. */
static void judge(Slot *table, const unsigned char *byte, int past, double *nats) {
    double p = 1.0 / 256;
    for (int h = 0; h < ORDERS; h++) {
        if (h <= past) { /* near the window's start a long context is only as long as it can be */
            double pair = find(table, key_of(COUNT_PAIR, byte - h, h + 1))->n;
            double count = find(table, key_of(COUNT, byte - h, h))->n;
            double types = find(table, key_of(TYPES, byte - h, h))->n;
            if (count > 0) p = (pair + types * p) / (count + types);
        }
        nats[h + 1] -= log(p);
    }
}

int main(int argc, char **argv) {
    const char *path[2] = {NULL, NULL};
    long window = 256, size[2];
    int paths = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--window") == 0 && i + 1 < argc) window = strtol(argv[++i], NULL, 10);
        else if (argv[i][0] != '-' && paths < 2) path[paths++] = argv[i];
        else die("expected dev/ngram TRAIN VAL [--window 256], found '%s'", argv[i]);
    }
    if (paths < 2)
        die("expected two files, found %d; run dev/ngram TRAIN VAL [--window 256]", paths);
    if (window < 2 || window > 1 << 20)
        die("--window: expected 2 to %d bytes, found %ld", 1 << 20, window);

    unsigned char *train = read_file(path[0], &size[0]), *val = read_file(path[1], &size[1]);
    for (int i = 0; i < 2; i++)
        if (size[i] < window)
            die("%s: expected at least one window of %ld bytes, found %ld", path[i], window,
                size[i]);
    Slot *table = calloc(SLOTS, sizeof(Slot));
    if (!table)
        die("expected room for %d counts in memory, found none; lower SLOTS in dev/ngram.c", SLOTS);

    double nats[ORDERS + 1] = {0};
    long windows = size[1] / window, judged = windows * (window - 1);
    for (long i = 0; i < size[0] / window * window; i++)
        if (i % window) learn(table, train + i, i % window);
    for (long i = 0; i < windows * window; i++)
        if (i % window) judge(table, val + i, i % window, nats);

    printf("%s after counting %s, nats per predicted byte\n", path[1], path[0]);
    for (int n = 1; n <= ORDERS; n++) printf("  %d-gram  %.4f\n", n, nats[n] / judged);
    char floor_path[4096];
    double floor;
    snprintf(floor_path, sizeof floor_path, "%s.floor", path[1]);
    FILE *f = fopen(floor_path, "r");
    if (f && fscanf(f, "%lf", &floor) == 1) printf("  floor   %.4f\n", floor);
    if (f) fclose(f);
    free(train);
    free(val);
    free(table);
    return 0;
}
