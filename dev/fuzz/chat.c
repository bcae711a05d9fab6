// Any bytes as a .jsonl: the first one chooses conversations or pairs, and the labels of the
// released runs. What is read must be rows.
#include "fuzz.c"

static void fuzz_start(void) {}
static void fuzz(const unsigned char *data, size_t size) {
    enum { T = 64 };
    int tokens[T], targets[T];
    if (!size) return;
    const int group = 1 + (*data & 1), released = *data >> 1 & 1;
    char path[PATH];
    snprintf(path, sizeof path, "build/fuzz/chat-%d.jsonl", (int)getpid());
    unlink(path);
    CHECK(symlink(as_file(data + 1, size - 1), path) == 0, "%s: %s", path, strerror(errno));
    Conversations *c = conversations_open("--data", path, group, NULL, 0, T, released);
    Rows rows = conversation_rows(c), val;
    Conversations held;
    if (!rows.groups || c->rows % (size_t)group) abort();
    for (uint64_t i = 0; i < rows.groups*(uint64_t)group; i++) {
        int n = rows.read(rows.source, i, 256, tokens, targets), labels = 0;
        if (n < 2 || n > T || tokens[0] != 0 || targets[n - 1] != IGNORE) abort();
        for (int t = 0; t < n; t++) labels += targets[t] >= 0;
        for (int t = 0; t + 1 < n; t++) if (targets[t] >= 0 && targets[t] != tokens[t + 1]) abort();
        if (!labels) abort();
    }
    val = hold_out_conversations(&rows, &held);
    if (val.groups && val.read(val.source, 0, 256, NULL, NULL) < 2) abort();
}
