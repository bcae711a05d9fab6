/*
What the fuzzing harnesses share. #included first by each of them, in place of train_olmo.c and
data/documents.c: the program's own code, but die() returns to the fuzzer, what an input allocated
and opened is freed and closed after it, and an input can be had as a file.

    static void fuzz(const unsigned char *data, size_t size) { ... }         defined by the harness: one input
*/
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- exit, calloc and free as the program is to see them --------------------------------------------

static jmp_buf refused;
static void fuzz_exit(int code) __attribute__((noreturn));
static void fuzz_exit(int code) { (void)code; longjmp(refused, 1); }

typedef struct Block { struct Block *before, *after; size_t size, unused; } Block;
static Block blocks = { &blocks, &blocks, 0, 0 };           // in use: a ring
static Block *spare[16];       // large ones, kept for the next input: the sanitizer takes long to make them

static void *fuzz_malloc(size_t size) {
    Block *b = NULL;
    for (int i = 0; i < 16 && !b; i++)
        if (spare[i] && spare[i]->size == size) b = spare[i], spare[i] = NULL;
    if (!b && size < (size_t)1 << 31) b = (Block *)malloc(size + sizeof *b);
    if (!b) return NULL;
    b->size = size, b->before = &blocks, b->after = blocks.after;
    b->after->before = b, blocks.after = b;
    return b + 1;
}
static void *fuzz_calloc(size_t n, size_t size) {
    void *p = size && n > SIZE_MAX/size ? NULL : fuzz_malloc(n*size);
    return p ? memset(p, 0, n*size) : NULL;
}
static void fuzz_free(void *p) {
    if (!p) return;
    Block *b = (Block *)p - 1;
    b->before->after = b->after, b->after->before = b->before;
    for (int i = 0; i < 16 && b->size > 100000; i++) if (!spare[i]) { spare[i] = b; return; }
    free(b);
}
// Files that die() leaves open.
static FILE *opened[64];
static FILE *fuzz_fopen(const char *path, const char *mode) {
    int i = 0;
    while (i < 63 && opened[i]) i++;
    return opened[i] = fopen(path, mode);
}
static int fuzz_fclose(FILE *file) {
    for (int i = 0; i < 64; i++) if (opened[i] == file) opened[i] = NULL;
    return fclose(file);
}
static void close_all(void) {
    for (int i = 0; i < 64; i++) if (opened[i]) fclose(opened[i]), opened[i] = NULL;
}

#define exit fuzz_exit
#define fopen fuzz_fopen
#define fclose fuzz_fclose
#define calloc fuzz_calloc
#define free fuzz_free
#define OLMO_LIBRARY
#include "../../train_olmo.c"
#include "../../data/documents.c"
#undef free

// ---- the fuzzer's two calls -------------------------------------------------------------------------

static void fuzz(const unsigned char *data, size_t size);
static void fuzz_start(void);                               // once, before the first input

static int input_file = -1;
// The input as a file: its path.
static const char *as_file(const unsigned char *data, size_t size) {
    static char path[64];
    if (input_file < 0)
        input_file = memfd_create("input", 0),
            snprintf(path, sizeof path, "/proc/self/fd/%d", input_file);
    if (ftruncate(input_file, 0) || pwrite(input_file, data, size, 0) != (ssize_t)size) abort();
    return path;
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    json_set_alloc_funcs(fuzz_malloc, fuzz_free);
    fuzz_start();
    close_all();
    blocks.before = blocks.after = &blocks;                 // what the start allocated stays
    return 0;
}
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
    if (!setjmp(refused)) fuzz(data, size);
    close_all();
    while (blocks.after != &blocks) fuzz_free(blocks.after + 1);
    unfinished = NULL, half_written = NULL, origins = NULL;
    return 0;
}
