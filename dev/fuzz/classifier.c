// Any bytes as a model of `curate train`: refused, or its probabilities are some.
#include "fuzz.c"
#include "../../data/words.c"
#include "../../data/dedupe.c"
#include "../../data/taggers.c"
#include "../../data/classifier.c"

static void fuzz_start(void) {}
static void fuzz(const unsigned char *data, size_t size) {
    static const char text[] = "The cat sat.\nEl ni\xc3\xb1o, \xe4\xb8\xad\xe6\x96\x87!";
    const Classifier *c = classifier_load(as_file(data, size));
    double p[MAX_LABELS], sum = 0;
    classify(p, c, text, sizeof text - 1);
    for (int l = 0; l < c->labels; l++) sum += p[l];
    if (!(fabs(sum - 1) < 1e-6)) abort();
}
