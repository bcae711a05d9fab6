// Any bytes as a file of numbers that train_olmo reads: safetensors, or tokens with a NumPy header.
#include "fuzz.c"

static void fuzz_start(void) {}
static void fuzz(const unsigned char *data, size_t size) {
    if (!size) return;
    const char *path = as_file(data + 1, size - 1);
    if (data[0] & 1) (void)safetensors_open(path);
    else {
        uint64_t bytes;
        int width = 2, tokens[8], targets[8];
        (void)numpy_header(map_file(path, &bytes), bytes, path, &width);
        Corpus c = corpus_open(path, NULL, 2, 8);
        for (uint64_t i = 0; i < c.windows; i++) corpus_window(&c, i, 50304, tokens, targets);
    }
}
