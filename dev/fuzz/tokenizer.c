// Any bytes as a tokenizer.json; if it loads, its encoder and decoder have to agree on a text.
#include "fuzz.c"

static void fuzz_start(void) {}
static void fuzz(const unsigned char *data, size_t size) {
    static const char text[] = "hello  hello'll |||IP||| e\xcc\x81 \xc3\xa9\t\n <|end|>aaaaa 12";
    Tokenizer *t = tokenizer_load(as_file(data, size));
    Encoder *e = encoder_new(t);
    size_t n = encode(e, text, sizeof text - 1), total = 0;
    char *out = (char *)allocate(n*(size_t)t->longest, 1, "an input");
    for (size_t i = 0; i < n; i++)
        if (e->ids[i] < 0 || e->ids[i] >= t->vocab || t->size[e->ids[i]] <= 0) abort();
    else total += (size_t)t->size[e->ids[i]];
    if (decode(t, out, e->ids, n) != total) abort();
}
