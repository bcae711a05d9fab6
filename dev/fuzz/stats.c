// Any bytes as an attribute file, of which data/stats makes distributions: percentiles in their
// order, between least and most.
#define main stats_main
#include "fuzz.c"
#include "../../data/stats.c"
#undef main

static void fuzz_start(void) {}
static void fuzz(const unsigned char *data, size_t size) {
    Trackers *all = (Trackers *)allocate(1, sizeof *all, "trackers");
    Reader *r = reader_open(as_file(data, size));
    if (!r) return;
    r->line.json = 1, r->separator = "\n";
    while (reader_line(r)) {
        Sample *s = (Sample *)allocate(1, sizeof *s, "a sample");
        s->line = r->line;
        parse_attributes(s);
        if (s->fit) attributes_add(all, s, 0), document_free(&s->d);
    }
    reader_close(r);
    json_t *report = attributes_report(all, 0), *row;
    size_t i;
    json_array_foreach(json_object_get(report, "names"), i, row) {
        const char *const names[] = { "min", "p1", "p10", "median", "p90", "p99", "max" };
        double before = -INFINITY;
        for (size_t k = 0; k < 7; k++) {
            double now = json_number_value(json_object_get(row, names[k]));
            if (now < before) abort();
            before = now;
        }
    }
}
