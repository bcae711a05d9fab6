// Random visits to memory, as the Bloom filter of data/dedupe.c makes them, and nothing else: what bounds it.
// visits BYTES VISITS A_KEY prints how many million keys a second that would be.
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

int main(int argc, char **argv) {
    const size_t bytes = argc > 1 ? strtoull(argv[1], NULL, 10) : 64 << 20;
    const size_t visits = argc > 2 ? strtoull(argv[2], NULL, 10) : 20, keys = 2000000;
    const int mode = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_ANONYMOUS;
    uint64_t *word = (uint64_t *)mmap(NULL, bytes, mode, flags, -1, 0), x = 1, there = 0;
    if (word == MAP_FAILED || bytes < 8 || bytes & (bytes - 1)) {
        fprintf(stderr, "error: expected a power of two of bytes that fit in memory\n");
        return 1;
    }
    madvise(word, bytes, MADV_HUGEPAGE);
    memset(word, 0, bytes);
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (size_t key = 0; key < keys; key++)
        for (size_t i = 0; i < visits; i++) {
            x = x*6364136223846793005u + 1442695040888963407u;
            uint64_t *w = &word[(x >> 20) & (bytes/8 - 1)];
            there += *w >> (x >> 58) & 1, *w |= 1ull << (x >> 58);
        }
    clock_gettime(CLOCK_MONOTONIC, &b);
    double past = (double)(b.tv_sec - a.tv_sec) + 1e-9*(double)(b.tv_nsec - a.tv_nsec);
    printf("%.2f%s", 1e-6*(double)keys/past, there ? "\n" : " \n");
    return 0;
}
