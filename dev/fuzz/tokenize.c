// What data/tokenize reads beside documents and vocabularies: lines {"id", "ids"} to decode, and the
// state of an interrupted run.
#define main tokenize_main
#include "fuzz.c"
#define free fuzz_free                                      // of what jansson has allocated
#include "../../data/tokenize.c"
#undef free
#undef main

static Work work;

static void fuzz_start(void) {
    work.tokenizer = tokenizer_load("dev/fuzz/seeds/tokenizer/small.json");
    work.width = 2, work.set.ring = 8, work.set.batch = 10000;
    work.set.out = "build/fuzz/finished", make_directory(work.set.out);
    char path[PATH];
    static const struct { const char *name; size_t size; } finished[] = { { "part-0-00000.npy", 4 },
            { "part-0-00000.csv.gz", 0 }, { "x", 4 } };
    for (int i = 0; i < 3; i++) {
        path_join(path, work.set.out, finished[i].name);
        FILE *file = fopen(path, "wb");
        CHECK(file && fwrite("1234", 1, finished[i].size, file) == finished[i].size && !fclose(file),
              "%s: %s", path, strerror(errno));
    }
}

static void fuzz(const unsigned char *data, size_t size) {
    if (!size) return;
    const char *path = as_file(data + 1, size - 1);
    if (data[0] & 1) {
        Output o;
        memset(&o, 0, sizeof o);
        o.work = &work, o.groups = 3, o.recipe = json_object(), o.files = json_array();
        state_read(&o, path, 4);
        if (o.group < 0 || o.group > 3 || o.place.n > 8) abort();
        for (int k = 0; k < o.place.n; k++) if (o.place.file[k] < 0 || o.place.file[k] > 3) abort();
        return;
    }
    Reader *r = reader_open(path);
    if (!r) return;
    r->line.json = 1, r->separator = "\n";
    while (reader_line(r)) {
        Item item;
        memset(&item, 0, sizeof item);
        item.line = r->line;
        item_decode(&work, NULL, &item);
        if (item.out && utf8_valid(item.out, item.out_size) != item.out_size) abort();
    }
    reader_close(r);
}
