/*
curate mix: documents and what is known about them in, a corpus out. (DATA_SPEC 5: `dolma mix`.)

    curate mix data/mix.json --report report.json

The configuration is Dolma's, as JSON. Each stream takes documents and their attributes and

    1. drops a document if there are `include` rules and none applies, or if an `exclude` rule applies;
    2. replaces spans of its text: PII by a mask, bad lines and duplicate paragraphs by nothing;
    3. drops what is now shorter than `min_text_length` bytes (white space around it not counted);
    4. writes the document, or several copies, or none, as its rate says: id and text, its other fields byte
       for byte as they stand, but for `discard_fields`, and metadata.provenance, its file and line.

    {"streams": [{
        "name": "web",  "documents": ["web/documents"],  "attributes": ["tags", "duplicate_paragraphs"],
        "filter": {"include": [], "exclude": ["gopher_v1__word_count < 50", "duplicate_documents"]},
        "span_replacement": [{"span": "pii_regex_with_counts_fast_v2__EMAIL_ADDRESS", "min_score": 0.5,
                              "replacement": " |||EMAIL_ADDRESS||| "}],
        "output": {"path": "mixed", "max_size_in_bytes": 1e9, "discard_fields": ["attributes"],
                   "min_text_length": 1},
        "sample": 0.51
    }]}

A rule says  key < number  (also <= > >= == !=) of the score of the attribute's first span, or just 
key : there is a span; several are joined by &&. An attribute that is missing makes its rule false.
Dolma's way to say so is understood as well: $@.attributes[?(@.key && @.key[0] && @.key[0][2] < 50)].
Spans are code points, [start, end).

Proportions: `sample` is how often a document is written: 0.51 keeps about half, 2.5 writes all twice
and half of them three times; a hash of the id decides. Or every stream has a `weight` w_s: then
rate_s = N w_s/(c_s sum w), where c_s is what bytes of text pass its rules (counted by a first pass
over the files), and N is `total_bytes`, or without it sum_s c_s.

A shard has its name once it is whole. A run that was interrupted is simply started again: it writes
the same bytes, and refuses to leave shards of another mix beside its own. Attributes of documents
that have changed since `curate` made them are refused, too.
*/
#include <glob.h>

enum { MAX_TERMS = 8, MAX_RULES = 64, MAX_REPLACEMENTS = 32, MAX_ATTRIBUTES = 64 };

// ---- rules ------------------------------------------------------------------------------------------

// no one begins with an earlier one
static const char *const comparisons[] = { "<=", ">=", "==", "!=", "<", ">" };
typedef enum { LESS_EQUAL, GREATER_EQUAL, EQUAL, UNEQUAL, LESS, GREATER, HAS_SPAN, EXISTS } Comparison;
typedef struct { char key[128]; Comparison comparison; double number; } Term;
// all of its terms must be true
typedef struct { const char *text; Term term[MAX_TERMS]; int terms; } Rule;

static const char *skip_blanks(const char *s) { return s + strspn(s, " \t\n"); }
static int skip_word(const char **s, const char *word) {
    if (strncmp(*s, word, strlen(word))) return 0;
    *s = skip_blanks(*s + strlen(word));
    return 1;
}

// key    key < 50    @.key    @.key[0]    @.key[0][2] < 50
static const char *term_parse(Term *t, const char *s, const char *rule, const char *where) {
    int path = skip_word(&s, "@.");
    size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.");
    CHECK(n && n < sizeof t->key, "%s: the rule `%s`: expected the key of an attribute at `%s`",
          where, rule, s);
    memcpy(t->key, s, n), t->key[n] = 0;
    s = skip_blanks(s + n);
    int first = skip_word(&s, "[0]"), score = first && skip_word(&s, "[2]");
    t->comparison = path && !first ? EXISTS : HAS_SPAN;
    for (int i = 0; i < HAS_SPAN && t->comparison >= HAS_SPAN; i++)
        if (skip_word(&s, comparisons[i])) t->comparison = (Comparison)i;
    if (t->comparison >= HAS_SPAN) {
        CHECK(!score, "%s: the rule `%s`: expected a comparison after [0][2]", where, rule);
        return s;
    }
    char *end;
    t->number = strtod(s, &end);
    CHECK((score || (!path && !first)) && end != s && isfinite(t->number),
          "%s: the rule `%s`: expected `%s < 50` or `@.%s[0][2] < 50`", where, rule, t->key, t->key);
    return skip_blanks(end);
}

// where: the stream, for sentences
static void rule_parse(Rule *r, const char *text, const char *where) {
    const char *s = skip_blanks(text);
    int wrapped = skip_word(&s, "$@.attributes[?(") || skip_word(&s, "$.attributes[?(");
    r->text = text, r->terms = 0;
    do {
        CHECK(r->terms < MAX_TERMS, "%s: the rule `%s`: more than %d terms", where, text, MAX_TERMS);
        s = term_parse(&r->term[r->terms++], s, text, where);
    } while (skip_word(&s, "&&"));
    if (wrapped && skip_word(&s, ")")) wrapped = !skip_word(&s, "]");
    CHECK(!wrapped && !*s,
          "%s: the rule `%s`: cannot be understood from `%s` on; expected `key < number`, several "
          "joined by &&", where, text, s);
}

typedef struct { size_t start, end; double score; } AttributeSpan;
// Span i of an attribute; 0 if it is none.
static int span_read(const json_t *spans, size_t i, AttributeSpan *span) {
    const json_t *triple = json_array_get(spans, i), *start = json_array_get(triple, 0);
    const json_t *end = json_array_get(triple, 1);
    if (json_array_size(triple) != 3 || !json_is_integer(start) || !json_is_integer(end) ||
        !json_is_number(json_array_get(triple, 2))) return 0;
    if (json_integer_value(start) < 0 || json_integer_value(end) < json_integer_value(start)) return 0;
    span->start = (size_t)json_integer_value(start), span->end = (size_t)json_integer_value(end);
    span->score = json_number_value(json_array_get(triple, 2));
    return 1;
}

// *broken: the key, if it is no list of spans.
static int term_applies(const Term *t, const json_t *attributes, const char **broken) {
    const json_t *spans = json_object_get(attributes, t->key);
    AttributeSpan first;
    if (!spans || t->comparison == EXISTS) return spans != NULL;
    if (json_is_array(spans) && !json_array_size(spans)) return 0;
    if (!span_read(spans, 0, &first)) { *broken = t->key; return 0; }
    switch (t->comparison) {
    case LESS: return first.score < t->number;
    case LESS_EQUAL: return first.score <= t->number;
    case GREATER: return first.score > t->number;
    case GREATER_EQUAL: return first.score >= t->number;
    case EQUAL: return first.score == t->number;
    case UNEQUAL: return first.score != t->number;
    default: return 1;
    }
}
static int rule_applies(const Rule *r, const json_t *attributes, const char **broken) {
    for (int i = 0; i < r->terms; i++) if (!term_applies(&r->term[i], attributes, broken)) return 0;
    return 1;
}
// Dolma's released configurations ask for attributes that its taggers spell otherwise, and nobody
// noticed [3.2, G1]: so we look.
static int rule_has_keys(const Rule *r, const json_t *attributes) {
    int n = 0;
    while (n < r->terms && json_object_get(attributes, r->term[n].key)) n++;
    return n == r->terms;
}

// ---- replacing spans [5.3] --------------------------------------------------------------------------

// of spans with min_score <= score < max_score
typedef struct { const char *key, *text; double min_score, max_score; } Replacement;
// code points; order: as listed; bytes: cut out
typedef struct { size_t start, end, order; const Replacement *by; size_t bytes; } Cut;
typedef struct { char *text; size_t size, room; } Text;

static void text_put(Text *t, const char *bytes, size_t size) {
    if (t->size + size > t->room) {
        char *bigger = (char *)allocate(t->room = 2*(t->size + size) + 1024, 1, "a text");
        if (t->size) memcpy(bigger, t->text, t->size);
        release(t->text);
        t->text = bigger;
    }
    if (size) memcpy(t->text + t->size, bytes, size);
    t->size += size;
}
// {} in a replacement stands for what it replaces.
static void put_replacement(Text *out, const char *replacement, const char *old, size_t size) {
    for (const char *hole; (hole = strstr(replacement, "{}")); replacement = hole + 2)
        text_put(out, replacement, (size_t)(hole - replacement)), text_put(out, old, size);
    text_put(out, replacement, strlen(replacement));
}

static int by_start(const void *a, const void *b) {
    const Cut *x = (const Cut *)a, *y = (const Cut *)b;
    if (x->start != y->start) return x->start < y->start ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

// Cuts that overlap become one, which the longest of them replaces; those that are empty, or end
// after the text, are put right. cut[]: sorted. Returns how many are left: disjoint, though they may
// touch.
static size_t cuts_merge(Cut *cut, size_t n, size_t code_points_in_text) {
    size_t m = 0, longest = 0;
    for (size_t i = 0; i < n; i++) {
        Cut c = cut[i];
        if (c.end > code_points_in_text) c.end = code_points_in_text;
        if (c.start >= c.end) continue;
        size_t length = c.end - c.start;
        if (!m || c.start >= cut[m - 1].end) { cut[m++] = c, longest = length; continue; }
        if (length > longest) cut[m - 1].by = c.by, longest = length;
        if (c.end > cut[m - 1].end) cut[m - 1].end = c.end;
    }
    return m;
}

static size_t next_char(const char *text, size_t size, size_t at) {
    do at++; while (at < size && (text[at] & 0xc0) == 0x80);
    return at;
}

// The text with the cuts replaced, which are sorted and disjoint.
static void cuts_apply(Text *out, const char *text, size_t size, Cut *cut, size_t n) {
    size_t at = 0, i = 0;                                   // of code point i
    for (Cut *c = cut; c < cut + n; c++) {
        size_t from = at, began;
        for (; i < c->start; i++) at = next_char(text, size, at);
        text_put(out, text + from, at - from);
        for (began = at; i < c->end; i++) at = next_char(text, size, at);
        put_replacement(out, c->by->text, text + began, c->bytes = at - began);
    }
    text_put(out, text + at, size - at);
}

// As Dolma walks over it: before code point i, if the current cut ends there, comes its replacement,
// and all cuts that began before i are done with. Where cuts overlap, those that begin inside
// another one are lost, and their tails stay; an empty cut takes a code point with it, and all later
// cuts are lost (quirk M1).
static void cuts_apply_as_released(Text *out, const char *text, size_t size, Cut *cut, size_t n) {
    size_t c = 0, began = 0;                                // began: the byte where the current cut starts
    for (size_t at = 0, i = 0, length; at < size; at += length, i++) {
        length = next_char(text, size, at) - at;
        if (c < n && i == cut[c].start) began = at;
        if (c < n && i == cut[c].end) {
            put_replacement(out, cut[c].by->text, text + began, cut[c].bytes = at - began);
            while (c < n && cut[c].start < i) c++;
        }
        if (c < n && i == cut[c].start) began = at;
        if (c < n && (i == cut[c].start || (i > cut[c].start && i < cut[c].end))) continue;
        text_put(out, text + at, length);
    }
    if (c < n) put_replacement(out, cut[c].by->text, text + began, cut[c].bytes = size - began);
}

// ---- the configuration ------------------------------------------------------------------------------

typedef struct {
    const char *name, *output;                              // output: a directory
    Files files;
    const char *attributes[MAX_ATTRIBUTES], *discard[MAX_ATTRIBUTES];
    Rule rule[MAX_RULES];                                   // `include` rules, then `exclude` rules
    Replacement replacement[MAX_REPLACEMENTS];
    int n_attributes, n_discard, n_include, n_rules, n_replacements;
    // of a shard's inputs; of a text; weight: 0 if there is none
    double max_bytes, min_length, rate, weight;
    const char *packing;                                    // gz or zst
} Stream;

typedef struct { Stream *stream; int n; double total_bytes; } Mix;

// Every member must be one that is known: a misspelt rule would be a rule that is not there.
static void check_members(json_t *object, const char *where, const char *known) {
    const char *name;
    json_t *value;
    CHECK(json_is_object(object), "%s: expected an object", where);
    json_object_foreach(object, name, value) {
        const char *found = *name ? strstr(known, name) : NULL;
        size_t n = strlen(name);
        while (found && !((found == known || found[-1] == ' ') && (found[n] == ' ' || !found[n])))
            found = strstr(found + 1, name);
        CHECK(found, "%s: there is no \"%s\" here; expected some of: %s", where, name, known);
    }
}
static const char *config_string(json_t *object, const char *where, const char *name,
                                 const char *otherwise) {
    json_t *value = json_object_get(object, name);
    CHECK(json_is_string(value) || (!value && otherwise), "%s: expected a string \"%s\"", where, name);
    return value ? json_string_value(value) : otherwise;
}
static double config_number(json_t *object, const char *where, const char *name, double otherwise) {
    json_t *value = json_object_get(object, name);
    CHECK(!value || json_is_null(value) || json_is_number(value),
          "%s: expected \"%s\" to be a number", where, name);
    return json_is_number(value) ? json_number_value(value) : otherwise;
}
// Returns how many strings the list holds; one that is absent, or null, holds none.
static int config_strings(const char **out, int most, json_t *object, const char *where,
                          const char *name) {
    json_t *list = json_object_get(object, name);
    int n = (int)json_array_size(list);
    CHECK((!list || json_is_null(list) || json_is_array(list)) && n <= most,
          "%s: expected \"%s\" to be a list of at most %d strings", where, name, most);
    for (int i = 0; i < n; i++) {
        out[i] = json_string_value(json_array_get(list, (size_t)i));
        CHECK(out[i], "%s: expected \"%s\" to be a list of strings", where, name);
    }
    return n;
}

// Patterns name files, or directories of them.
static Files files_matching(json_t *stream, const char *where) {
    enum { MAX_PATTERNS = 1 << 12 };
    static const char *pattern[MAX_PATTERNS];
    glob_t found;
    int n = config_strings(pattern, MAX_PATTERNS, stream, where, "documents");
    CHECK(n, "%s: expected \"documents\": a list of files, patterns or directories", where);
    memset(&found, 0, sizeof found);
    for (int i = 0; i < n; i++) {
        CHECK(!strstr(pattern[i], "**"),
              "%s: the pattern %s: ** is not understood; name the directory instead", where, pattern[i]);
        CHECK(glob(pattern[i], i ? GLOB_APPEND : 0, NULL, &found) == 0, "%s: no file matches %s",
              where, pattern[i]);
    }
    int names = 0;
    // an interrupted run's is nobody's
    for (size_t i = 0; i < found.gl_pathc; i++) if (!ends_with(found.gl_pathv[i], ".tmp")) {
        char *name = found.gl_pathv[i];
        found.gl_pathv[i] = found.gl_pathv[names], found.gl_pathv[names++] = name;
    }
    Files files = files_named((const char **)found.gl_pathv, names);
    globfree(&found);
    return files;
}

static void stream_rules(Stream *s, json_t *filter, const char *where) {
    const char *text[MAX_RULES];
    check_members(filter, where, "include exclude syntax");
    CHECK(!strcmp(config_string(filter, where, "syntax", "jsonpath"), "jsonpath"),
          "%s: the syntax %s is not understood; write rules as `key < number`", where,
          config_string(filter, where, "syntax", ""));
    s->n_include = config_strings(text, MAX_RULES, filter, where, "include");
    s->n_rules = s->n_include + config_strings(text + s->n_include, MAX_RULES - s->n_include, filter,
                                               where, "exclude");
    for (int i = 0; i < s->n_rules; i++) rule_parse(&s->rule[i], text[i], where);
}

static void stream_replacements(Stream *s, json_t *list, const char *where) {
    s->n_replacements = (int)json_array_size(list);
    CHECK(json_is_array(list) && s->n_replacements <= MAX_REPLACEMENTS,
          "%s: expected a list of at most %d objects", where, MAX_REPLACEMENTS);
    for (int i = 0; i < s->n_replacements; i++) {
        json_t *object = json_array_get(list, (size_t)i);
        Replacement *r = &s->replacement[i];
        check_members(object, where, "span min_score max_score replacement syntax");
        CHECK(!strcmp(config_string(object, where, "syntax", "jsonpath"), "jsonpath"),
              "%s: the only syntax is jsonpath", where);
        r->key = config_string(object, where, "span", NULL);
        r->text = config_string(object, where, "replacement", "");
        if (!strncmp(r->key, "$.attributes.", 13)) r->key += 13;
        CHECK(r->text[0] != '$',
              "%s: the replacement %s would be a selector of jq, which is not understood", where,
              r->text);
        r->min_score = config_number(object, where, "min_score", -INFINITY);
        r->max_score = config_number(object, where, "max_score", INFINITY);
        CHECK(r->min_score < r->max_score,
              "%s: %s: expected \"min_score\" to be less than \"max_score\"", where, r->key);
    }
}

static void stream_parse(Stream *s, json_t *config, const char *path, size_t index) {
    char where[PATH];
    snprintf(where, sizeof where, "%s: stream %zu", path, index + 1);
    check_members(config, where,
                  "name documents attributes filter span_replacement output compression sample weight");
    s->name = config_string(config, where, "name", NULL);
    CHECK(*s->name && *s->name != '.' && !strchr(s->name, '/'),
          "%s: expected a \"name\" that can begin a file's", where);
    snprintf(where, sizeof where, "%s: stream %s", path, s->name);
    s->files = files_matching(config, where);
    s->n_attributes = config_strings(s->attributes, MAX_ATTRIBUTES, config, where, "attributes");
    json_t *filter = json_object_get(config, "filter");
    json_t *replacements = json_object_get(config, "span_replacement");
    json_t *output = json_object_get(config, "output");
    json_t *compression = json_object_get(config, "compression");
    char part[PATH + 32];
    snprintf(part, sizeof part, "%s: filter", where);
    if (filter && !json_is_null(filter)) stream_rules(s, filter, part);
    snprintf(part, sizeof part, "%s: span_replacement", where);
    if (replacements && !json_is_null(replacements)) stream_replacements(s, replacements, part);
    snprintf(part, sizeof part, "%s: output", where);
    check_members(output, part, "path max_size_in_bytes discard_fields min_text_length");
    s->output = config_string(output, where, "path", NULL);
    s->max_bytes = config_number(output, where, "max_size_in_bytes", 1e9);
    s->min_length = config_number(output, where, "min_text_length", 0);
    CHECK(*s->output, "%s: expected \"path\": the name of a directory", part);
    CHECK(s->max_bytes >= 0 && s->min_length >= 0,
          "%s: expected \"max_size_in_bytes\" and \"min_text_length\" not to be negative", part);
    s->n_discard = config_strings(s->discard, MAX_ATTRIBUTES, output, where, "discard_fields");
    for (int i = 0; i < s->n_discard; i++)
        CHECK(strcmp(s->discard[i], "id") && strcmp(s->discard[i], "text"),
              "%s: a document without its %s is none", where, s->discard[i]);
    s->packing = "gz";
    if (compression && !json_is_null(compression)) {
        check_members(compression, where, "input output");             // input: a file's first bytes say it
        s->packing = config_string(compression, where, "output", "gz");
    }
    CHECK(!strcmp(s->packing, "gz") || !strcmp(s->packing, "zst"),
          "%s: compression %s: expected gz or zst", where, s->packing);
    s->rate = config_number(config, where, "sample", 1);
    s->weight = config_number(config, where, "weight", 0);
    CHECK(s->rate >= 0 && s->rate <= 1000 && s->weight >= 0,
          "%s: expected \"sample\" from 0 to 1000, and \"weight\" not negative", where);
    CHECK(!json_object_get(config, "sample") || !json_object_get(config, "weight"),
          "%s: expected \"sample\" or \"weight\", found both", where);
}

// work_dir and processes are Dolma's; --threads is ours.
static Mix mix_parse(const char *path) {
    json_error_t error;
    char *text = read_text(path);
    json_t *config = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    json_t *streams = json_object_get(config, "streams");
    CHECK(config, "%s:%d: not JSON: %s", path, error.line, error.text);
    check_members(config, path, "streams total_bytes processes work_dir");
    Mix mix = { NULL, (int)json_array_size(streams), config_number(config, path, "total_bytes", 0) };
    CHECK(mix.n > 0, "%s: expected \"streams\": a list", path);
    mix.stream = (Stream *)allocate((size_t)mix.n, sizeof *mix.stream, "the streams");
    for (int i = 0, weights = 0; i < mix.n; i++) {
        stream_parse(&mix.stream[i], json_array_get(streams, (size_t)i), path, (size_t)i);
        weights += mix.stream[i].weight > 0;
        CHECK(!weights || weights == i + 1,
              "%s: expected a \"weight\" for every stream, or for none", path);
        for (int k = 0; k < i; k++)
            CHECK(strcmp(mix.stream[i].name, mix.stream[k].name) ||
                  strcmp(mix.stream[i].output, mix.stream[k].output), "%s: two streams write %s/%s",
                  path, mix.stream[i].output, mix.stream[i].name);
    }
    CHECK(mix.total_bytes >= 0 && (!mix.total_bytes || mix.stream[0].weight > 0),
          "%s: \"total_bytes\" needs a \"weight\" for every stream", path);
    release(text);
    return mix;                                             // its strings belong to `config`, which stays
}

// ---- one document -----------------------------------------------------------------------------------

// What happened to documents: how many, and the bytes of their text. All of these are sums: tallies
// can be added up.
typedef struct { uint64_t documents, bytes, spans; } Amount;
typedef struct {
    Amount read, broken, not_included, rule[MAX_RULES], matched[MAX_RULES],
        replaced[MAX_REPLACEMENTS], too_short, passed, written;
    // documents that have the attributes a rule, or a replacement, speaks of
    uint64_t asked[MAX_RULES], offered[MAX_REPLACEMENTS];
} Tally;

static void count(Amount *a, size_t bytes) { a->documents++, a->bytes += bytes; }
static void tally_add(Tally *sum, const Tally *t) {
    for (size_t i = 0; i < sizeof *t/sizeof(uint64_t); i++)
        ((uint64_t *)sum)[i] += ((const uint64_t *)t)[i];
}

// Is the document kept? Every rule is tried, to count what it matches; the first one that matches
// removes it.
static int stream_keeps(const Stream *s, const json_t *attributes, size_t bytes, Tally *t,
                        const char **broken) {
    int included = !s->n_include, excluded_by = -1;
    for (int i = 0; i < s->n_rules; i++) {
        t->asked[i] += (uint64_t)rule_has_keys(&s->rule[i], attributes);
        if (!rule_applies(&s->rule[i], attributes, broken)) continue;
        count(&t->matched[i], bytes);
        if (i < s->n_include) included = 1; else if (excluded_by < 0) excluded_by = i;
    }
    if (*broken) return 0;
    if (!included) count(&t->not_included, bytes);
    else if (excluded_by >= 0) count(&t->rule[excluded_by], bytes);
    return included && excluded_by < 0;
}

// The spans that the stream replaces, sorted; NULL and *n = 0 if there are none.
static Cut *document_cuts(const Stream *s, const json_t *attributes, size_t *n, const char **broken) {
    Cut *cut = NULL;
    size_t room = *n = 0;
    for (int r = 0; r < s->n_replacements; r++) {
        const Replacement *by = &s->replacement[r];
        const json_t *spans = json_object_get(attributes, by->key);
        if (spans && !json_is_array(spans)) *broken = by->key;
        for (size_t i = 0; i < json_array_size(spans); i++) {
            AttributeSpan span = { 0, 0, 0 };
            if (!span_read(spans, i, &span)) *broken = by->key;
            else if (span.score >= by->min_score && span.score < by->max_score) {
                Cut c = { span.start, span.end, *n, by, 0 };
                cut = (Cut *)room_for_one(cut, &room, *n, sizeof *cut);
                cut[(*n)++] = c;
            }
        }
    }
    if (*n) qsort(cut, *n, sizeof *cut, by_start);
    return cut;
}

// The new text is in *out, if there is one.
static void replace_spans(Text *out, const Stream *s, Document *d, int as_released, Tally *t,
                          const char **broken) {
    size_t n;
    uint64_t touched = 0;
    Cut *cut = document_cuts(s, d->attributes, &n, broken);
    if (n && !as_released) n = cuts_merge(cut, n, code_points(d->text, d->size));
    if (n && !*broken) {
        if (as_released) cuts_apply_as_released(out, d->text, d->size, cut, n);
        else cuts_apply(out, d->text, d->size, cut, n);
        for (size_t i = 0; i < n; i++) {
            Amount *a = &t->replaced[cut[i].by - s->replacement];
            a->spans++, a->bytes += cut[i].bytes;
            a->documents += !(touched >> (cut[i].by - s->replacement) & 1);
            touched |= 1ull << (cut[i].by - s->replacement);
        }
        d->text = out->size ? out->text : "", d->size = out->size;
    }
    release(cut);
}

// Bytes between the white space at the text's ends; Unicode's, for Dolma's mixer is Rust.
static size_t trimmed_size(const char *text, size_t size) {
    const char *end = text + size, *last = text, *first = NULL;
    for (int length; text < end; text += length) {
        int space = char_class(utf8_decode(text, (size_t)(end - text), &length)) == SPACE;
        if (!space) first = first ? first : text, last = text + length;
    }
    return first ? (size_t)(last - first) : 0;
}

// How often to write a document: floor(rate) times, and once more with probability frac(rate),
// whatever its place.
static int copies(const char *id, size_t size, double rate) {
    double whole = floor(rate);
    return (int)whole + (uniform(XXH3_64bits(id, size)) < rate - whole);
}

// ---- writing a document: what a mix does not change, it does not even read

// A member of the document, or of its metadata, as it stands.
static void write_member(Writer *w, const Member *m) {
    writer_text(w, ",\""), writer_put(w, m->name, m->name_size);
    writer_text(w, "\":"), writer_put(w, m->value, m->size);
}
static int is_discarded(const Stream *s, const Member *m) {
    for (int i = 0; i < s->n_discard; i++) if (is_named(m, s->discard[i])) return 1;
    return 0;
}

// Its metadata with a note of its file and line. What is no object has no place for one, and stays
// as it is.
static void write_metadata(Writer *w, const Document *d, const Member *metadata) {
    int object = metadata && *metadata->value == '{', none = !metadata || *metadata->value == 'n';
    if (!object && !none) { write_member(w, metadata); return; }
    char place[PLACE];
    const char *file = strrchr(d->path, '/') ? strrchr(d->path, '/') + 1 : d->path;
    size_t size = put_place(place, file, d->line);
    writer_text(w, ",\"metadata\":{\"provenance\":"), writer_json_string(w, place, size);
    const char *s = object ? metadata->value : NULL;
    for (Member m; s && next_member(&s, &m); ) if (!is_named(&m, "provenance")) write_member(w, &m);
    writer_text(w, "}");
}

// {"id", "text", what else there is, "attributes", "metadata"}. The fields that --id-field and
// --text-field have named are "id" and "text" from now on.
static void write_document(Writer *w, const Stream *s, const Document *d) {
    const char *const ours[] = { "id", "text", id_field, text_field, "metadata", "attributes" };
    int n_ours = s->n_attributes ? 6 : 5, has_metadata = 0, keeps_attributes = s->n_attributes > 0;
    const char *at = d->from->json ? object_of(d->from) : NULL;
    Member m, metadata;
    writer_text(w, "{\"id\":"), writer_json_string(w, d->id, d->id_size);
    writer_text(w, ",\"text\":"), writer_json_string(w, d->text, d->size);
    if (!at) writer_text(w, ",\"source\":"), writer_json_string(w, d->source, d->source_size);
    while (at && next_member(&at, &m)) {
        int i = 0;
        while (i < n_ours && !is_named(&m, ours[i])) i++;
        if (is_discarded(s, &m)) continue;
        if (i == n_ours) write_member(w, &m);
        if (i == 4) metadata = m, has_metadata = 1;
    }
    for (int i = 0; i < s->n_discard; i++) keeps_attributes &= strcmp(s->discard[i], "attributes") != 0;
    if (keeps_attributes) writer_text(w, ",\"attributes\":"), writer_json(w, d->attributes);
    write_metadata(w, d, has_metadata ? &metadata : NULL);
    writer_text(w, "}\n");
}

// Steps 1 to 4 of the header. w: NULL to count only.
static void mix_document(const Stream *s, Document *d, int as_released, Tally *t, Writer *w) {
    const char *broken = NULL;
    size_t bytes = d->size;
    Text new_text = { NULL, 0, 0 };
    count(&t->read, bytes);
    for (int r = 0; r < s->n_replacements; r++)
        t->offered[r] += json_object_get(d->attributes, s->replacement[r].key) != NULL;
    int keep = stream_keeps(s, d->attributes, bytes, t, &broken);
    if (keep) replace_spans(&new_text, s, d, as_released, t, &broken);
    if (broken) {
        problem(d->origin, d->line,
                "expected \"%s\" of this document to be a list of spans [start, end, score]", broken);
        origin_lost(d->origin);
        count(&t->broken, bytes);
    } else if (keep && (double)trimmed_size(d->text, d->size) < s->min_length)
        count(&t->too_short, bytes);
    else if (keep) {
        count(&t->passed, d->size);
        int n = w ? copies(d->id, d->id_size, s->rate) : 0;
        for (int i = 0; i < n; i++) write_document(w, s, d), count(&t->written, d->size);
    }
    release(new_text.text);
}

// ---- one file ---------------------------------------------------------------------------------------

// What a document says of itself under "attributes"; 0, with a sentence, if jansson cannot read it.
static int own_attributes(Document *d) {
    Member m;
    if (!d->from->json || !find_member(&m, object_of(d->from), "attributes") || *m.value != '{')
        return 1;
    json_error_t error;
    d->attributes = json_loadb(m.value, m.size, JSON_ALLOW_NUL, &error);
    if (d->attributes) return 1;
    problem(d->origin, d->line, "its \"attributes\" cannot be used: %s", error.text);
    origin_lost(d->origin);
    return 0;
}

// The next line of an attribute file, which must be about the document `d`, into what is known about
// it. Files of attributes have a line for every document that can be read, in the same order:
// anything else is a mistake nobody can mend.
static void merge_attributes(Document *d, Reader *r) {
    json_error_t error;
    const char *path = r->line.path;
    CHECK(reader_line(r), "%s: ends before %s:%llu; expected a line for each document", path, d->path,
          (unsigned long long)d->line);
    unsigned long long number = (unsigned long long)r->line.number;
    json_t *line = json_loadb(r->line.text, r->line.size, JSON_ALLOW_NUL, &error);
    json_t *from = json_object_get(line, "attributes"), *name = line_id(&r->line, line);
    CHECK(line, "%s:%llu: not JSON at byte %d: %s", path, number, error.position, error.text);
    const char *id = json_string_value(name);
    int same = id && json_string_length(name) == d->id_size && !memcmp(id, d->id, d->id_size);
    CHECK(same, "%s:%llu: the id is %s, that of %s:%llu is %s: these attributes are not of these "
                "documents", path, number, id ? id : "no string", d->path,
          (unsigned long long)d->line, d->id);
    CHECK(json_is_object(from), "%s:%llu: expected an object \"attributes\"", path, number);
    if (!d->attributes) d->attributes = json_object();
    json_object_update(d->attributes, from);
    json_decref(name), json_decref(line);
}

static void mix_file(const Stream *s, const char *path, int as_released, Tally *t, Writer *w) {
    Reader *r = reader_open(path), *attributes[MAX_ATTRIBUTES];
    char attribute_path[MAX_ATTRIBUTES][PATH];
    if (!r) return;
    for (int i = 0; i < s->n_attributes; i++) {
        attributes_path(attribute_path[i], path, s->attributes[i]);
        attributes[i] = reader_open(attribute_path[i]);
        CHECK(attributes[i], "%s: needed for %s", attribute_path[i], path);
    }
    for (Document d; document_read(r, &d); document_free(&d)) {
        int whole = own_attributes(&d);
        for (int i = 0; i < s->n_attributes; i++) merge_attributes(&d, attributes[i]);
        if (whole) mix_document(s, &d, as_released, t, w);
        else count(&t->read, d.size), count(&t->broken, d.size);
    }
    for (int i = 0; i < s->n_attributes; i++) {
        CHECK(!reader_line(attributes[i]), "%s:%llu: goes on after the last document of %s",
              attribute_path[i], (unsigned long long)attributes[i]->line.number, path);
        reader_close(attributes[i]);
    }
    bar_add(r, t->read.documents);
    reader_close(r);
}

// ---- shards [5.4] -----------------------------------------------------------------------------------

// of the stream: files first to last - 1
typedef struct { Stream *stream; int first, last; char path[PATH]; } Shard;

// Files go into a shard as long as their sizes, compressed as they are, do not exceed its limit.
// None is split.
static Shard *shards_of(Mix mix, int as_released, int *n) {
    Shard *shard = NULL;
    size_t room = 0;
    *n = 0;
    for (int i = 0; i < mix.n; i++) {
        Stream *s = &mix.stream[i];
        double bytes = 0;
        for (int f = 0, number = 0; f < s->files.n; f++) {
            struct stat st;
            CHECK(stat(s->files.path[f], &st) == 0, "%s: cannot be read: %s", s->files.path[f],
                  strerror(errno));
            if (f && bytes + (double)st.st_size <= s->max_bytes) {
                shard[*n - 1].last++, bytes += (double)st.st_size;
                continue;
            }
            shard = (Shard *)room_for_one(shard, &room, (size_t)*n, sizeof *shard);
            Shard *new_one = &shard[(*n)++];
            new_one->stream = s, new_one->first = f, new_one->last = f + 1, bytes = (double)st.st_size;
            path_print(new_one->path, "%s/%s-%04d.jsonl.%s", s->output, s->name, number++, s->packing);
        }
        char *end = strrchr(shard[*n - 1].path, '.');
        // the last one of a stream
        if (as_released) sprintf(end - strlen(".jsonl"), ".json.%s", s->packing);
    }
    return shard;
}

// NAME-0123.jsonl.gz and the like
static int is_shard_name(const char *name) {
    static const char *const ends[] = { ".jsonl.gz", ".jsonl.zst", ".json.gz", ".json.zst" };
    size_t n = strlen(name), digits = 0;
    for (int i = 0; i < 4; i++) if (ends_with(name, ends[i])) {
        n -= strlen(ends[i]);
        while (digits < n && name[n - 1 - digits] >= '0' && name[n - 1 - digits] <= '9') digits++;
        return digits >= 4 && digits < n && name[n - 1 - digits] == '-';
    }
    return 0;
}
// The file of a directory, however that is spelled.
static Key place_of_file(const char *directory, const char *name) {
    char path[2*PATH], *real = realpath(directory, NULL);
    int n = snprintf(path, sizeof path, "%s/%s", real ? real : directory, name);
    free(real);
    return XXH3_128bits(path, (size_t)imin(n, (int)sizeof path - 1));
}

// Shards of an earlier mix, of other streams or of more files, would be read with the new ones:
// their documents would come twice. And no input may be written over.
static void check_output(Mix mix, const Shard *shard, int n) {
    KeySet ours = { NULL, 0, 0 };
    for (int i = 0; i < n; i++)
        CHECK(!set_add(&ours, place_of_file(shard[i].stream->output,
                                            strrchr(shard[i].path, '/') + 1)),
              "two streams write %s", shard[i].path);
    for (int i = 0; i < mix.n; i++) {
        const Stream *s = &mix.stream[i];
        DIR *directory = opendir(s->output);
        char path[PATH];
        for (struct dirent *entry; directory && (entry = readdir(directory)); ) {
            if (!is_shard_name(entry->d_name)) continue;
            path_join(path, s->output, entry->d_name);
            CHECK(set_add(&ours, place_of_file(s->output, entry->d_name)),
                  "%s: left by another mix; remove it, or choose another output path", path);
            for (int k = 0; k < mix.n; k++) check_no_input(&mix.stream[k].files, path);
        }
        if (directory) closedir(directory);
    }
    release(ours.slot);
}

static void check_inputs(Mix mix) {
    char path[PATH];
    for (int i = 0; i < mix.n; i++) {
        const Stream *s = &mix.stream[i];
        for (int f = 0; f < s->files.n; f++) {
            const char *file = s->files.path[f];
            struct stat in, out;
            snprintf(path, sizeof path, "%.*s",
                     strrchr(file, '/') ? (int)(strrchr(file, '/') - file) : 1,
                     strrchr(file, '/') ? file : ".");
            for (int k = 0; k < mix.n && !stat(*path ? path : "/", &in); k++)
                CHECK(stat(mix.stream[k].output, &out) || in.st_ino != out.st_ino ||
                      in.st_dev != out.st_dev,
                      "%s: is written to, but holds inputs; choose another output path",
                      mix.stream[k].output);
            if (stat(file, &in) || access(file, R_OK)) continue;            // it will have its sentence
            for (int a = 0; a < s->n_attributes; a++) {
                attributes_path(path, file, s->attributes[a]);
                CHECK(stat(path, &out) == 0,
                      "%s: missing: the attributes %s of %s; `curate tag` or `curate dedupe` makes "
                      "them", path, s->attributes[a], file);
                char note[PATH];                            // ours have the very time of their documents
                note_path(note, file, s->attributes[a]);
                int is_ours = file_exists(note), order = time_order(&out, &in);
                CHECK(!is_ours || !order,
                      "%s: is %s than %s, which has changed since? Make it again; or, if both are "
                      "only copies, `touch -r` it", path, order < 0 ? "older" : "younger", file);
                if (!is_ours && order < 0)
                    fprintf(stderr, "note: %s is older than %s: is it still about that?\n", path, file);
            }
        }
    }
}

// tally[stream] = what happened. write: 0 to count only.
static void mix_shards(Mix mix, const Shard *shard, int n, int as_released, int write, Tally *tally) {
    uint64_t bytes = 0;
    for (int i = 0; i < mix.n; i++) bytes += mix.stream[i].files.bytes;
    memset(tally, 0, (size_t)mix.n*sizeof *tally);
    bar_begin(write ? "mix" : "count", bytes);
    #pragma omp parallel for schedule(dynamic, 1)
    for (int i = 0; i < n; i++) {
        Writer *w = write ? writer_open(shard[i].path) : NULL;
        Tally sum, file;
        memset(&sum, 0, sizeof sum);
        for (int f = shard[i].first; f < shard[i].last; f++) {
            memset(&file, 0, sizeof file);
            mix_file(shard[i].stream, shard[i].stream->files.path[f], as_released, &file, w);
            tally_add(&sum, &file);
        }
        if (w) writer_close(w);
        #pragma omp critical (tally)
        tally_add(&tally[shard[i].stream - mix.stream], &sum);
    }
    bar_end();
}

// rate_s = N w_s/(c_s sum w), after the counting pass
static void weights_to_rates(Mix mix, const Tally *counted) {
    double weights = 0, bytes = 0;
    for (int i = 0; i < mix.n; i++)
        weights += mix.stream[i].weight, bytes += (double)counted[i].passed.bytes;
    if (mix.total_bytes) bytes = mix.total_bytes;
    for (int i = 0; i < mix.n; i++) {
        Stream *s = &mix.stream[i];
        CHECK(counted[i].passed.bytes, "stream %s: has a weight, but no document passes its rules",
              s->name);
        s->rate = bytes*s->weight/weights/(double)counted[i].passed.bytes;
        CHECK(s->rate <= 1000,
              "stream %s: its weight asks for %.0f copies of each document; expected at most 1000",
              s->name, s->rate);
    }
}

// ---- the report -------------------------------------------------------------------------------------

// One row, as text and as JSON: {"row", "what", "documents", "bytes", ...}
static json_t *report_row(json_t *rows, const char *row, const char *what, Amount a) {
    char documents[64], label[200];
    json_t *object = json_pack("{s:s, s:s, s:I, s:I}", "row", row, "what", what, "documents",
                               (json_int_t)a.documents, "bytes", (json_int_t)a.bytes);
    snprintf(label, sizeof label, "%s %s", row, what);
    printf("  %-72.110s %13s documents %10.2f MB", label,
           with_commas((double)a.documents, documents), 1e-6*(double)a.bytes);
    json_array_append_new(rows, object);
    return object;
}

// A rule about an attribute that no document has does nothing, and looks as if it did.
static void note_absent(const Stream *s, const char *what, const char *name, uint64_t documents) {
    if (!documents)
        fprintf(stderr, "note: stream %s: no document has the attribute of the %s %s: is it "
                        "misspelt, never tagged, or only rare?\n", s->name, what, name);
}

static json_t *report_stream(const Stream *s, const Tally *t) {
    json_t *rows = json_array(), *row;
    char number[64], rate[64];
    printf("%s: %d file%s\n", s->name, s->files.n, s->files.n == 1 ? "" : "s");
    report_row(rows, "read", "", t->read), printf("\n");
    if (t->broken.documents) report_row(rows, "skipped", "broken", t->broken), printf("\n");
    for (int i = 0; i < s->n_include; i++)
        report_row(rows, "included", s->rule[i].text, t->matched[i]), printf("\n");
    if (s->n_include)
        report_row(rows, "removed", "no include rule matches", t->not_included), printf("\n");
    for (int i = s->n_include; i < s->n_rules; i++) {
        row = report_row(rows, "removed", s->rule[i].text, t->rule[i]);
        json_object_set_new(row, "matches", json_integer((json_int_t)t->matched[i].documents));
        printf("   (matches %s)\n", with_commas((double)t->matched[i].documents, number));
    }
    for (int i = 0; i < s->n_replacements; i++) {
        row = report_row(rows, "replaced", s->replacement[i].key, t->replaced[i]);
        json_object_set_new(row, "spans", json_integer((json_int_t)t->replaced[i].spans));
        printf("   (%s spans)\n", with_commas((double)t->replaced[i].spans, number));
    }
    if (s->min_length > 0) report_row(rows, "removed", "min_text_length", t->too_short), printf("\n");
    for (int i = 0; i < s->n_rules && t->read.documents; i++)
        note_absent(s, "rule", s->rule[i].text, t->asked[i]);
    for (int i = 0; i < s->n_replacements && t->read.documents; i++)
        note_absent(s, "replacement of", s->replacement[i].key, t->offered[i]);
    if (s->rate < 1) {
        Amount left_out = { t->passed.documents - t->written.documents,
                            t->passed.bytes - t->written.bytes, 0 };
        report_row(rows, "removed", "sampling", left_out), printf("\n");
    }
    snprintf(rate, sizeof rate, "at rate %.4g", s->rate);
    row = report_row(rows, "written", rate, t->written), printf("\n");
    return json_pack("{s:s, s:i, s:f, s:o}", "stream", s->name, "files", s->files.n, "rate", s->rate,
                     "rows", rows);
}

static void report(Mix mix, const Tally *tally, const char *path) {
    json_t *streams = json_array();
    for (int i = 0; i < mix.n; i++)
        json_array_append_new(streams, report_stream(&mix.stream[i], &tally[i]));
    if (path) {
        Writer *w = writer_open(path);
        json_t *whole = json_pack("{s:o}", "streams", streams);
        CHECK(json_dump_callback(whole, put_json, w, JSON_INDENT(1) | JSON_REAL_PRECISION(15)) == 0,
              "%s: the report cannot be written as JSON", path);
        writer_text(w, "\n"), writer_close(w);
    }
}

// ---- the command ------------------------------------------------------------------------------------

static void print_configuration(void) {
    printf("\na configuration (data/mix.json and data/debian.json are whole ones; data/mix.c "
           "explains)\n"
           "  {\"streams\": [{\"name\": \"web\", \"documents\": [\"web/documents\"], "
                         "\"attributes\": [\"tags\"],\n"
           "    \"filter\": {\"exclude\": [\"gopher_v1__word_count < 50\"]},\n"
           "    \"span_replacement\": [{\"span\": \"pii_regex_with_counts_fast_v2__EMAIL_ADDRESS\", "
           "\"replacement\": \" |||EMAIL_ADDRESS||| \"}],\n"
           "    \"output\": {\"path\": \"mixed/documents\", \"discard_fields\": [\"attributes\"]}, "
           "\"sample\": 0.5}]}\n");
}

static int mix_command(int argc, char **argv) {
    const char *report_path = NULL, *on_error = "skip";
    int threads = 0, help = 0, as_released = 0, shards;
    const Option table[] = {
        { "options", GROUP, NULL, "" },
        READING_OPTIONS,
        { "--report", TEXT, &report_path,
          "write the table of what each rule removed to this file as well, as JSON" },
        { "--as-released", FLAG, &as_released,
          "as Dolma's code: spans that overlap or are empty; the last shard is named .json.gz "
          "(DATA_SPEC 5.3, 5.4)" },
        { "--threads", WHOLE, &threads, "threads (0: all); the result does not depend on it" },
        { "--on-error", TEXT, &on_error, "skip what cannot be read, or stop" },
        { "--help", FLAG, &help, "this text" },
    };
    int names;
    const char **name = command_line("curate mix CONFIGURATION.json [options]", print_configuration,
                                     table, (int)(sizeof table/sizeof *table), &help, argc, argv,
                                     &names);
    CHECK(names == 1, "expected one file with the configuration; --help explains");
    choose_on_error(on_error);
    use_threads(threads);
    Mix mix = mix_parse(name[0]);
    check_inputs(mix);
    for (int i = 0; i < mix.n; i++)
        check_no_input(&mix.stream[i].files, report_path), make_directory(mix.stream[i].output);
    check_no_input(&(Files){ (char **)name, 1, 0, 0 }, report_path), whole_check(report_path);
    Shard *shard = shards_of(mix, as_released, &shards);
    check_output(mix, shard, shards);
    Tally *tally = (Tally *)allocate((size_t)mix.n, sizeof *tally, "the tallies");
    if (mix.stream[0].weight > 0) {
        mix_shards(mix, shard, shards, as_released, 0, tally), weights_to_rates(mix, tally);
        told_before = 1;
    }
    mix_shards(mix, shard, shards, as_released, 1, tally);
    report(mix, tally, report_path);
    release(tally), release(shard), release(mix.stream), release(name);
    return documents_finished();
}
