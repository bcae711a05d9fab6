// A Bloom filter's file (data/dedupe.c), whose header and names the input changes, or cuts off:
// refused, or as good as one of ours.
#include "fuzz.c"
#include "../../data/words.c"
#include "../../data/dedupe.c"

static unsigned char *whole;    // a filter's file of `length` bytes: 1 MiB of bits between header and names
static size_t length;

static void fuzz_start(void) {
    uint64_t bytes;
    Filter f = filter_new(1000, 1e-6, "paragraphs", "");
    filter_add(&f, XXH3_128bits("b", 1));
    name_append(&f, "12 34.567 /documents/x.jsonl"), name_append(&f, "1 2.3 /documents/y.jsonl");
    char path[] = "/tmp/fuzz_filter_XXXXXX";
    close(mkstemp(path)), unlink(path);
    filter_save(&f, path);
    const unsigned char *saved = map_file(path, &bytes);
    length = bytes, whole = (unsigned char *)allocate(length, 1, "a filter");
    memcpy(whole, saved, length), unlink(path);
}

// The input: how the file is cut, whether its header's check is made good, then changes (place,
// byte) of header and names.
static void fuzz(const unsigned char *data, size_t size) {
    if (size < 4) return;
    static unsigned char *file;
    size_t header = sizeof(FilterHeader), names = length - header - (1 << 20);
    size_t cut = data[0] | data[1] << 8;
    if (!file) file = (unsigned char *)malloc(length);
    memcpy(file, whole, header), memcpy(file + header, whole + header, length - header);
    for (size_t i = 3; i + 2 < size; i += 3) {
        size_t at = (data[i] | (size_t)data[i + 1] << 8) % (header + names);
        file[at < header ? at : length - names + at - header] = data[i + 2];
    }
    if (data[2] & 1) ((FilterHeader *)file)->check = filter_check((FilterHeader *)file);
    Filter f = filter_load(as_file(file, data[2] & 2 ? length - zmin(cut, length) : length),
                           "paragraphs", NULL);
    Key key = XXH3_128bits("a", 1);
    if (!filter_has(&f, key)) filter_add(&f, key);
    if (!filter_has(&f, key)) abort();
    filter_free(&f);
}
