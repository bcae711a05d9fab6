// data/mix.c: rules; spans replaced in cases worked out by hand, and random ones against a slower
// way; streams, shards and proportions; a run killed again and again; hostile configurations and
// attributes.
#include "../mix.c"

// ---- rules ------------------------------------------------------------------------------------------

static void test_rules(void) {
    static const struct { const char *rule; int applies; } cases[] = {
        { "a < 6", 1 }, { "a < 5", 0 }, { "a <= 5", 1 }, { "a > 4.5", 1 }, { "a >= 5.1", 0 },
        { "a == 5", 1 }, { "a != 5", 0 }, { " a<1e3 ", 1 },
        { "missing < 5", 0 }, { "missing >= 0", 0 }, { "missing != 1", 0 }, { "empty < 5", 0 },
        { "empty", 0 }, { "a", 1 }, { "missing", 0 },
        { "a < 6 && b > 0", 1 }, { "a < 6 && missing < 6", 0 }, { "b == 2", 1 }, { "@.empty", 1 },
        { "@.empty[0]", 0 }, { "@.a[0] && @.b[0][2]<3", 1 },
        { "$@.attributes[?(@.a && @.a[0] && @.a[0][2] >= 5.0)]", 1 },
        { "$.attributes[?(@.missing && @.missing[0] && @.missing[0][2] < 50)]", 0 },
        { "$@.attributes[?(@.a && @.a[0] && @.a[0][2] > 5.0)]", 0 },
    };
    json_t *attributes =
        json_loads("{\"a\": [[0, 3, 5], [0, 3, 99]], \"b\": [[0, 1, 2.0]], \"empty\": [], \"text\": "
                   "\"x\", \"short\": [[0, 1]], \"turned\": [[3, 1, 1]], \"minus\": [[-1, 1, 1]], "
                   "\"real\": [[0.5, 1, 1]]}", 0, NULL);
    for (size_t i = 0; i < sizeof cases/sizeof *cases; i++) {
        const char *broken = NULL;
        Rule rule;
        rule_parse(&rule, cases[i].rule, "m");
        int applies = rule_applies(&rule, attributes, &broken);
        check(applies == cases[i].applies && !broken, "rule `%s`: %s", cases[i].rule,
              applies ? "applies" : "does not apply");
    }
    static const char *const malformed[] = { "text", "short", "turned", "minus", "real" };
    for (size_t i = 0; i < 5; i++) {
        const char *broken = NULL;
        Rule rule;
        rule_parse(&rule, malformed[i], "m");
        check(!rule_applies(&rule, attributes, &broken) && broken,
              "rule: the attribute \"%s\" is none, and that is seen", malformed[i]);
    }
    json_decref(attributes);
}

// ---- spans ------------------------------------------------------------------------------------------

// The text with these spans replaced: "start end text" each, separated by commas.
static const char *replaced(const char *text, const char *spans, int as_released) {
    static char out[4096], words[32][64];
    Replacement by[32];
    Cut cut[32];
    size_t n = 0;
    for (const char *s = spans; s && *s; s = (s = strchr(s, ',')) ? s + 1 : NULL, n++) {
        words[n][0] = 0;
        CHECK(sscanf(s, "%zu %zu%63[^,]", &cut[n].start, &cut[n].end, words[n]) >= 2,
              "the test's spans: %s", s);
        by[n].text = words[n] + (words[n][0] == ' '), cut[n].by = &by[n], cut[n].order = n;
    }
    qsort(cut, n, sizeof *cut, by_start);
    if (!as_released) n = cuts_merge(cut, n, code_points(text, strlen(text)));
    Text result = { NULL, 0, 0 };
    (as_released ? cuts_apply_as_released : cuts_apply)(&result, text, strlen(text), cut, n);
    snprintf(out, sizeof out, "%.*s", (int)result.size, result.size ? result.text : "");
    release(result.text);
    return out;
}
static void test_spans(void) {
    // released NULL: the same
    static const struct { const char *what, *text, *spans, *sane, *released; } cases[] = {
        { "one", "0123456789", "2 5 X", "01X56789", NULL },
        { "nothing instead", "0123456789", "2 5", "0156789", NULL },
        { "none", "0123", "", "0123", NULL },
        { "in the order of the text", "0123456789", "6 8 B,2 5 A", "01A5B89", NULL },
        { "at the start", "0123", "0 2 X", "X23", NULL },
        { "at the end", "0123", "2 4 X", "01X", NULL },
        { "all of it", "0123", "0 4 X", "X", NULL },
        { "touching", "0123456789", "2 4 A,4 6 B", "01AB6789", NULL },
        { "touching, to the end", "012345", "0 3 A,3 6 B", "AB", NULL },
        { "overlapping", "0123456789", "2 5 A,4 8 B", "01B89", "01A56789" },
        { "nested, the longer first", "0123456789", "2 8 A,4 6 B", "01A89", NULL },
        { "nested, the shorter first", "0123456789", "2 4 A,2 8 B", "01B89", "01A456789" },
        { "two of equal length", "0123456789", "2 5 A,3 6 B", "01A6789", "01A56789" },
        { "a chain", "0123456789", "1 3 A,2 6 B,5 8 C", "0B89", "0A34C89" },
        { "empty, quirk M1", "0123456789", "2 2 X,5 7 Y", "01234Y789", "01X3456789X" },
        { "empty at the end", "0123", "4 4 X", "0123", "0123X" },
        { "one past the end", "0123", "2 5 X", "01X", NULL },
        { "far past the end", "0123", "7 9 X", "0123", "0123X" },
        { "several bytes each", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z", "1 2 X,3 4 Y",
          "\xc3\xa9X\xf0\x9f\x98\x80Y", NULL },
        { "{} is what was there", "0123456789", "2 5 <{}{}>", "01<234234>56789", NULL },
        { "{} of several bytes, at the end", "a\xc3\xa9\xe2\x82\xac", "1 3 [{}]",
          "a[\xc3\xa9\xe2\x82\xac]", NULL },
        { "empty, {} is nothing", "0123456789", "1 3 A,4 4 <{}>", "0A3456789", "0A3<>56789<456789>" },
        { "no text", "", "0 0 X", "", "X" },
    };
    for (size_t i = 0; i < sizeof cases/sizeof *cases; i++)
        for (int released = 0; released < 2; released++) {
        const char *expected = released && cases[i].released ? cases[i].released : cases[i].sane;
        const char *found = replaced(cases[i].text, cases[i].spans, released);
        check(!strcmp(found, expected), "spans%s: %s", released ? " as released" : "", cases[i].what);
        if (strcmp(found, expected)) printf("      expected %s, found %s\n", expected, found);
    }
}

// A code point at a time: is it in a span? Two neighbours belong together if one span has both. Each
// island becomes the name of the longest span in it, the first of several.
static const char *replaced_slowly(int n, const size_t *start, const size_t *end, int spans) {
    static char out[4096];
    size_t at = 0;
    for (int i = 0; i < n; i++) {
        int longest = -1, inside = 0, continues = 0, last = i;
        for (int s = 0; s < spans; s++)
            inside |= start[s] <= (size_t)i && (size_t)i < end[s],
                continues |= start[s] < (size_t)i && (size_t)i < end[s];
        if (!inside) { out[at++] = (char)('A' + i); continue; }
        if (continues) continue;
        for (int grown = 1; grown; ) {                      // the island's last code point
            grown = 0;
            for (int s = 0; s < spans; s++)
                if (start[s] <= (size_t)last && start[s] >= (size_t)i && end[s] < 1000 &&
                    (int)end[s] - 1 > last && start[s] < end[s])
                last = (int)end[s] - 1, grown = 1;
        }
        for (int order = i; order <= last; order++)         // first by start, then as listed
            for (int s = 0; s < spans; s++)
                if (start[s] == (size_t)order && end[s] > start[s] &&
                    (longest < 0 || end[s] - start[s] > end[longest] - start[longest]))
                    longest = s;
        out[at++] = (char)('0' + longest);
    }
    out[at] = 0;
    return out;
}
static void test_random_spans(void) {
    uint64_t seed = 7;
    int wrong = 0, agree = 0, disjoint = 0;
    for (int round = 0; round < 20000; round++) {
        char text[32] = "", list[512] = "";
        size_t start[8], end[8], at = 0;
        int n = 1 + (int)((seed = hash64(seed)) % 20);
        int spans = (int)((seed = hash64(seed)) % 8), apart = 1;
        for (int i = 0; i < n; i++) text[i] = (char)('A' + i);
        for (int s = 0; s < spans; s++) {
            start[s] = (seed = hash64(seed)) % (uint64_t)n;
            end[s] = start[s] + (seed = hash64(seed)) % (uint64_t)(n - (int)start[s] + 1);
            at += (size_t)sprintf(list + at, "%s%zu %zu %d", s ? "," : "", start[s], end[s], s);
            for (int r = 0; r <= s; r++)
                apart &= start[s] < end[s] && (r == s || end[r] <= start[s] || end[s] <= start[r]);
        }
        wrong += strcmp(replaced(text, list, 0), replaced_slowly(n, start, end, spans)) != 0;
        if (apart)
            disjoint++, agree += !strcmp(replaced(text, list, 1), replaced_slowly(n, start, end, spans));
    }
    check(!wrong, "spans: 20000 random lists, as a slower way has it (%d differ)", wrong);
    check(agree == disjoint && disjoint > 1000,
          "spans: as released the same where none overlap (%d of %d)", agree, disjoint);
}

// ---- streams ----------------------------------------------------------------------------------------

static char mix_out[1 << 18];
// Runs a stream with these members beside name, documents and output's path, over m/documents; its
// output, or its sentence.
static const char *mix_of(const char *members, const char *output, const char *arguments) {
    char config[8192];
    snprintf(config, sizeof config,
             "{\"streams\": [{\"name\": \"s\", \"documents\": [\"%s/m/documents\"], \"output\": "
             "{\"path\": \"%s/m/out\"%s} %s}]}", scratch, scratch, output, members);
    put_text("m/config.json", config);
    int code = run(mix_out, sizeof mix_out,
                   "rm -rf %s/m/out; data/curate mix %s/m/config.json %s 2>%s/m/errors >%s/m/table",
                   scratch, scratch, arguments, scratch, scratch);
    if (code) run(mix_out, sizeof mix_out, "grep ^error %s/m/errors", scratch);
    else run(mix_out, sizeof mix_out, "cat %s/m/out/* | gzip -dc", scratch);
    return mix_out;
}
static void put_mix(const char *documents, const char *attributes) {
    put_text("m/documents/d.jsonl", documents), put_text("m/attributes/t/d.jsonl", attributes);
}

static void test_mix_documents(void) {
    put_mix("{\"id\":\"a\",\"text\":\"mail x@y.z "
            "now\",\"source\":\"s\",\"other\":[1,{\"b\":null}],\"attributes\":{\"old\":[[0,1,"
            "1]]}}\n"
            "not JSON\n"
            "{\"id\":\"b\",\"text\":\"b\",\"metadata\":{\"url\":\"u\"}}\n"
            "{\"id\":\"c\",\"text\":\"  c \"}\n",
            "{\"id\":\"a\",\"attributes\":{\"words\":[[0,14,3]],\"pii\":[[5,10,1]]}}\n"
            "{\"id\":\"b\",\"attributes\":{\"words\":[[0,1,1]]}}\n{\"id\":\"c\",\"attributes\":{}}\n");
    const char *a = "{\"id\":\"a\",\"text\":\"mail <PII> "
                    "now\",\"source\":\"s\",\"other\":[1,{\"b\":null}],"
                    "\"metadata\":{\"provenance\":\"d.jsonl:1\"}}\n";
    const char *c = "{\"id\":\"c\",\"text\":\"  c \",\"metadata\":{\"provenance\":\"d.jsonl:4\"}}\n";
    const char *pii = ", \"attributes\": [\"t\"], \"filter\": {\"exclude\": [\"words < 2\"]}, "
                      "\"span_replacement\": [{\"span\": \"$.attributes.pii\", \"min_score\": 0.5, "
                      "\"replacement\": \"<PII>\"}]";
    char both[1024];
    sprintf(both, "%s%s", a, c);
    check(!strcmp(mix_of(pii, ", \"discard_fields\": [\"attributes\"]", ""), both),
          "mix: a rule drops b; c, of which it knows nothing, stays; PII is replaced; unknown "
          "fields stay; the bad line shifts nothing");
    check(!strcmp(mix_of(pii, ", \"discard_fields\": [\"attributes\"], \"min_text_length\": 2", ""), a),
          "mix: a text of one byte between blanks is shorter than two");
    check(strstr(mix_of(pii, ", \"discard_fields\": [\"other\", \"metadata\", \"attributes\"]", ""),
                 "now\",\"source\":\"s\",\"metadata\":{\"provenance\":\"d.jsonl:1\"}}\n") != NULL,
          "mix: other fields can be discarded, too: %s", mix_out);
    check(strstr(mix_of(pii, "", ""),
                 "\"attributes\":{\"old\":[[0,1,1]],\"words\":[[0,14,3]],\"pii\":[[5,10,1]]}") != NULL,
          "mix: attributes join those that a document has");
    check(strstr(mix_of(", \"attributes\": [\"t\"], \"filter\": {\"include\": [\"words == 3\", "
                        "\"words == 9\"]}", "", ""), "\"id\":\"b\"") == NULL &&
          strstr(mix_out, "\"id\":\"a\"") && !strstr(mix_out, "\"id\":\"c\""),
          "mix: include rules keep what one of them matches");
    check(!strstr(mix_of(", \"attributes\": [\"t\"], \"span_replacement\": [{\"span\": \"pii\", "
                         "\"max_score\": 1, \"replacement\": \"X\"}]", "", ""), "X"),
          "mix: a score must be below max_score");

    static const struct { const char *what, *attributes, *expected; } broken[] = {
        { "another id", "{\"id\":\"a\",\"attributes\":{}}\n{\"id\":\"c\",\"attributes\":{}}\n"
                        "{\"id\":\"c\",\"attributes\":{}}\n", ":2: the id is c, that of" },
        { "a longer id", "{\"id\":\"a\",\"attributes\":{}}\n{\"id\":\"bb\",\"attributes\":{}}\n"
                         "{\"id\":\"c\",\"attributes\":{}}\n", ":2: the id is bb, that of" },
        { "a line too few", "{\"id\":\"a\",\"attributes\":{}}\n{\"id\":\"b\",\"attributes\":{}}\n",
          "ends before" },
        { "a line too many",
          "{\"id\":\"a\",\"attributes\":{}}\n{\"id\":\"b\",\"attributes\":{}}\n"
          "{\"id\":\"c\",\"attributes\":{}}\n{\"id\":\"c\",\"attributes\":{}}\n",
          "goes on after the last" },
        { "no JSON", "{\"id\":\"a\",\"attributes\":{}}\n{{{{\n{\"id\":\"c\",\"attributes\":{}}\n",
          ":2: not JSON" },
        { "no attributes", "{\"id\":\"a\"}\n{\"id\":\"b\",\"attributes\":{}}\n"
                           "{\"id\":\"c\",\"attributes\":{}}\n",
          ":1: expected an object \"attributes\"" },
        { "no id", "[]\n{}\n{}\n", ":1: the id is no string" },
    };
    for (size_t i = 0; i < sizeof broken/sizeof *broken; i++) {
        put_text("m/attributes/t/d.jsonl", broken[i].attributes);
        const char *found = mix_of(pii, "", "");
        check(!strncmp(found, "error: ", 7) && strstr(found, broken[i].expected),
              "mix: attributes with %s: `%s`", broken[i].what, broken[i].expected);
    }
    static const char *const spans[] = { "3", "[3]", "[[0,1]]", "[[0,1,1,1]]", "[[1,0,1]]", "[[-1,2,1]]",
                                         "[[0,1,\"x\"]]", "[[0,99999999999999999,1],[0,1,null]]", "{}" };
    for (size_t i = 0; i < sizeof spans/sizeof *spans; i++) {
        char line[512];
        sprintf(line, "{\"id\":\"a\",\"attributes\":{}}\n"
                      "{\"id\":\"b\",\"attributes\":{\"pii\":%s}}\n"
                      "{\"id\":\"c\",\"attributes\":{}}\n", spans[i]);
        put_text("m/attributes/t/d.jsonl", line);
        mix_of(pii, "", "");
        check(strstr(mix_out, "\"id\":\"a\"") && !strstr(mix_out, "\"id\":\"b\"") &&
              strstr(mix_out, "\"id\":\"c\""), "mix: a document with the spans %s is skipped", spans[i]);
    }
    put_text("m/attributes/t/d.jsonl", "{\"id\":\"a\",\"attributes\":{}}\n"
             "{\"id\":\"b\",\"attributes\":{\"words\":3,\"pii\":3}}\n{\"id\":\"c\",\"attributes\":{}}\n");
    mix_of(pii, "", "");
    run(mix_out, sizeof mix_out, "grep 'list of spans' %s/m/errors", scratch);
    check(strstr(mix_out, "d.jsonl:3: expected \"words\" of this document") && !strstr(mix_out, "pii"),
          "mix: of two broken lists the one that was asked for first is named: %s", mix_out);
    put_text("m/attributes/t/d.jsonl", "{\"id\":\"a\",\"attributes\":{\"pii\":3}}\n"
             "{\"id\":\"b\",\"attributes\":{\"pii\":3}}\n{\"id\":\"c\",\"attributes\":{\"pii\":3}}\n");
    check(!strncmp(mix_of(pii, "", ""), "error: no document at all came of ", 34),
          "mix: nothing but broken lists is a failure: %s", mix_out);
}

// What a mix does not change leaves it as it came, byte for byte, whatever any JSON library thinks
// of it: numbers of any size and spelling, names with a NUL, metadata that is no object.
static void test_mix_untouched(void) {
    static const char *const others[] = {
        "\"n\":18446744073709551615", "\"n\":-9223372036854775809",
        "\"n\":123456789012345678901234567890",
        "\"n\":0.1", "\"n\":1E+2", "\"n\":-0.0", "\"n\":1.50", "\"a\\u0000b\":1",
        "\"caf\\u00e9\":\"\\ud83d\\ude00 \\/\"",
        "\"x\":[ 1 , {\"y}\\\"\":[]} ]", "\"metadataX\":1", "\"source\":7", "\"attributes\":\"none\"",
    };
    for (size_t i = 0; i < sizeof others/sizeof *others; i++) {
        char line[512], expected[512];
        sprintf(line, "{ \"id\" : \"a\", %s, \"text\":\"one\" } \r\n", others[i]);
        sprintf(expected, "{\"id\":\"a\",\"text\":\"one\",%s,"
                          "\"metadata\":{\"provenance\":\"d.jsonl:1\"}}\n", others[i]);
        put_mix(line, "");
        check(!strcmp(mix_of("", "", ""), expected), "mix: %s stays as it is: %s", others[i], mix_out);
    }
    static const struct { const char *metadata, *expected; } metadata[] = {
        { "{\"url\":\"u\",\"provenance\":\"old\",\"n\":1e1}",
          "{\"provenance\":\"d.jsonl:1\",\"url\":\"u\",\"n\":1e1}" },
        { "null", "{\"provenance\":\"d.jsonl:1\"}" }, { "{}", "{\"provenance\":\"d.jsonl:1\"}" },
        { "\"a string\"", "\"a string\"" }, { "[1]", "[1]" }, { "7", "7" },
    };
    for (size_t i = 0; i < sizeof metadata/sizeof *metadata; i++) {
        char line[512], expected[512];
        sprintf(line, "{\"id\":\"a\",\"metadata\":%s,\"text\":\"one\"}\n", metadata[i].metadata);
        sprintf(expected, "{\"id\":\"a\",\"text\":\"one\",\"metadata\":%s}\n", metadata[i].expected);
        put_mix(line, "");
        check(!strcmp(mix_of("", "", ""), expected), "mix: the metadata %s: %s",
              metadata[i].metadata, mix_out);
    }
    put_mix("{\"id\":\"a\",\"text\":\"one\"}\n",
            "{\"id\":\"a\",\"attributes\":{\"k\":[[0,1,0.1],[1,2,1.0]]}}\n");
    check(strstr(mix_of(", \"attributes\": [\"t\"]", "", ""),
                 "\"attributes\":{\"k\":[[0,1,0.1],[1,2,1.0]]}") != NULL,
          "mix: attributes keep their numbers: %s", mix_out);
}

// Every program calls a document by the same id: without one, or with a null, by its place; by a
// number as it is written.
static void test_mix_ids(void) {
    char out[8192];
    run(out, sizeof out,
        "P=$PWD/data; rm -rf %s/i; mkdir -p %s/i/documents; cd %s/i; printf "
        "'{\"id\":null,\"text\":\"one\"}\\n{\"id\":7,"
        "\"text\":\"two\"}\\n{\"text\":\"three\"}\\n{\"id\":18446744073709551616.50,"
        "\"text\":\"four\"}\\n"
        "{\"id\":{\"$oid\":\"x\"},\"text\":\"five\"}\\n' > documents/a.jsonl; echo "
        "'{\"streams\":[{\"name\":\"s\",\"documents\":[\"documents\"],\"attributes\":[\"tags\","
        "\"d\"],\"output\":{\"path\":\"mixed\",\"discard_fields\":[\"attributes\"]}}]}' > m.json; { "
        "$P/curate tag --taggers char_length_v1 documents; $P/curate dedupe --by document "
        "--expected 9 --name d documents; $P/curate mix m.json; $P/tokenize --tokenizer %s --eos 1 "
        "--no-shuffle --out tokens documents; } >/dev/null 2>log || cat log; sed 's/,\"attr.*//' "
        "attributes/tags/a.jsonl; sed 's/,\"attr.*//' attributes/d/a.jsonl; zcat mixed/* | sed "
        "'s/,\"text.*//'; zcat tokens/*.csv.gz | cut -d, -f3", scratch, scratch, scratch, small_path);
    static const char ids[] =
        "{\"id\":\"a.jsonl:1\"\n{\"id\":\"7\"\n{\"id\":\"a.jsonl:3\"\n"
        "{\"id\":\"18446744073709551616.50\"\n{\"id\":\"{\\\"$oid\\\":\\\"x\\\"}\"\n";
    char expected[4096];
    sprintf(expected, "%s%s%sa.jsonl:1\n7\na.jsonl:3\n18446744073709551616.50\n"
                      "\"{\"\"$oid\"\":\"\"x\"\"}\"\n", ids, ids, ids);
    check(!strcmp(out, expected), "tag, dedupe, mix and tokenize call documents by the same ids: %s",
          out);
}

// Odd texts and ids.
static void test_mix_odd(void) {
    char told[PATH];
    put_mix("{\"id\":\"a\\u0000b\",\"text\":\"o\\u0000ne\",\"attributes\":7}\n"
            "{\"text\":\"no id\"}\n",
            "{\"id\":\"a\\u0000b\",\"attributes\":{\"q\":[[0,1,1]]}}\n"
            "{\"id\":\"d.jsonl:2\",\"attributes\":{}}\n");
    check(strstr(mix_of(", \"attributes\": [\"t\"]", "", ""), "\"text\":\"o\\u0000ne\"") &&
          strstr(mix_out, "\"q\":[[0,1,1]]") && strstr(mix_out, "\"id\":\"d.jsonl:2\""),
          "mix: texts and ids with a NUL, attributes that are no object, a document without an id: "
          "%.300s", mix_out);
    put_text("m/attributes/t/d.jsonl",
             "{\"id\":\"a\\u0000c\",\"attributes\":{}}\n{\"id\":\"d.jsonl:2\",\"attributes\":{}}\n");
    check(strstr(mix_of(", \"attributes\": [\"t\"]", "", ""), "are not of these documents") != NULL,
          "mix: ids that differ behind a NUL differ: %.300s", mix_out);
    put_mix("{\"id\":\"a\",\"text\":\"one\",\"attributes\":{\"k\":[[0,1,18446744073709551616]]}}\n"
            "{\"id\":\"b\",\"text\":\"two\"}\n", "");
    check(strstr(mix_of("", "", ""), "\"id\":\"b\"") && !strstr(mix_out, "\"id\":\"a\""),
          "mix: attributes that cannot be read: %s", mix_out);
    run(told, sizeof told,
        "grep -c 'd.jsonl:1: its \"attributes\" cannot be used' %s/m/errors; grep -c 'skipped "
        "*broken *1 documents' %s/m/table", scratch, scratch);
    check(!strcmp(told, "1\n1\n"), "mix: it is said, and counted: %s", told);
}

// The report counts what was cut out in bytes, spans and documents.
static void test_report(void) {
    char arguments[PATH];
    put_mix("{\"id\":\"a\",\"text\":\"\xc3\xa9\xc3\xa9 x \xc3\xa9\"}\n"
            "{\"id\":\"b\",\"text\":\"two\"}\n",
            "{\"id\":\"a\",\"attributes\":{\"k\":[[0,2,1],[5,6,1]]}}\n"
            "{\"id\":\"b\",\"attributes\":{\"k\":[[0,1,1]]}}\n");
    snprintf(arguments, sizeof arguments, "--report %s", in_scratch("m/report.json"));
    mix_of(", \"attributes\": [\"t\"], \"span_replacement\": [{\"span\": \"k\"}]", "", arguments);
    json_t *report = json_load_file(in_scratch("m/report.json"), 0, NULL), *row = NULL, *rows;
    rows = json_object_get(json_array_get(json_object_get(report, "streams"), 0), "rows");
    for (size_t i = 0; i < json_array_size(rows); i++)
        if (!strcmp(json_string_value(json_object_get(json_array_get(rows, i), "row")), "replaced"))
            row = json_array_get(rows, i);
    check(json_integer_value(json_object_get(row, "bytes")) == 7 &&
          json_integer_value(json_object_get(row, "spans")) == 3 &&
          json_integer_value(json_object_get(row, "documents")) == 2,
          "mix: 3 spans of 2 documents, 7 bytes, were replaced: %lld bytes",
          (long long)json_integer_value(json_object_get(row, "bytes")));
    json_decref(report);
}

// Without min_text_length nothing is too short; and attributes that cannot be read end the mix.
static void test_least(void) {
    put_mix("{\"id\":\"a\",\"text\":\"\"}\n{\"id\":\"b\",\"text\":\" \\n\"}\n",
            "{\"id\":\"a\",\"attributes\":{}}\n{\"id\":\"b\",\"attributes\":{}}\n");
    const char *all = mix_of(", \"attributes\": [\"t\"]", "", "");
    check(strstr(all, "\"a\"") && strstr(all, "\"b\""), "mix: documents without a letter stay: %s", all);
    char out[64];
    run(out, sizeof out, "cd %s/m/attributes/t && rm d.jsonl && mkdir d.jsonl", scratch);
    const char *error = mix_of(", \"attributes\": [\"t\"]", "", "");
    check(strstr(error, "error: ") && strstr(error, "m/attributes/t/d.jsonl: needed for ") != NULL,
          "mix: a directory in place of attributes: %s", error);
    run(out, sizeof out, "rmdir %s/m/attributes/t/d.jsonl", scratch);
}

// The whole table: 30, 50 and 20 kB and one short text, of which the first two are included and the
// second is removed.
static void test_table(void) {
    static const int sizes[] = { 30000, 50000, 20000, 5 };
    static const char *const attributes[] =
        { "\"words\":[[0,1,9]],\"pii\":[[0,10000,1],[20000,25000,1]]",
          "\"words\":[[0,1,9]],\"bad\":[[0,1,1]]", "\"bad\":[[0,1,1]]", "\"words\":[[0,1,9]]" };
    char *documents = (char *)allocate(101000, 1, "a test"), given[1024];
    int n = 0, m = 0;
    for (int i = 0; i < 4; i++) {
        n += sprintf(documents + n, "{\"id\":\"%d\",\"text\":\"", i);
        memset(documents + n, 'a', (size_t)sizes[i]), n += sizes[i];
        n += sprintf(documents + n, "\"}\n");
        m += sprintf(given + m, "{\"id\":\"%d\",\"attributes\":{%s}}\n", i, attributes[i]);
    }
    put_mix(documents, given);
    mix_of(", \"attributes\": [\"t\"], \"filter\": {\"include\": [\"words > 3\"], \"exclude\": "
           "[\"bad > 0\"]}, \"span_replacement\": [{\"span\": \"pii\"}]", ", \"min_text_length\": 10",
           "");
    char *table = read_text(in_scratch("m/table"));
    static const struct { const char *row, *documents, *megabytes, *note; } rows[] = {
        { "read ", "4", "0.10", "" }, { "included words > 3", "3", "0.08", "" },
        { "removed no include rule matches", "1", "0.02", "" },
        { "removed bad > 0", "1", "0.05", "   (matches 2)" },
        { "replaced pii", "1", "0.01", "   (2 spans)" }, { "removed min_text_length", "1", "0.00", "" },
        { "written at rate 1", "1", "0.01", "" },
    };
    char expected[2048] = "s: 1 file\n";
    for (size_t i = 0; i < sizeof rows/sizeof *rows; i++)
        sprintf(expected + strlen(expected), "  %-72s %13s documents %10s MB%s\n", rows[i].row,
                rows[i].documents, rows[i].megabytes, rows[i].note);
    check(!strcmp(table, expected), "mix: its table, row by row%s%s", strcmp(table, expected) ? ":\n" : "",
          strcmp(table, expected) ? table : "");
    release(table), release(documents);
}

// What no document has is said, rule and replacement alike; what some have is not.
static void test_absent(void) {
    put_mix("{\"id\":\"a\",\"text\":\"one\"}\n{\"id\":\"b\",\"text\":\"two\"}\n",
            "{\"id\":\"a\",\"attributes\":{\"words\":[[0,3,3]]}}\n{\"id\":\"b\",\"attributes\":{}}\n");
    mix_of(", \"attributes\": [\"t\"], \"filter\": {\"exclude\": [\"words < 1\", \"word < 2\", "
           "\"words < 1 && word\"]}, \"span_replacement\": [{\"span\": \"words\", \"max_score\": "
           "1}, {\"span\": \"pii\"}]", "", "");
    char *said = read_text(in_scratch("m/errors"));
    int notes = 0;
    for (const char *note = said; (note = strstr(note, "note: ")); note++) notes++;
    check(notes == 3 && strstr(said, "of the rule word < 2:") &&
          strstr(said, "of the rule words < 1 && word:") &&
          strstr(said, "of the replacement of pii:"),
          "mix: says of which attributes no document has any (%d notes)", notes);
    release(said);
}

// The configuration that --help shows is one.
static void test_mix_help(void) {
    char out[8192];
    const int code = run(out, sizeof out, "data/curate mix --help");
    json_t *shown = json_loads(strstr(out, "{\"streams\"") ? strstr(out, "{\"streams\"") : "", 0, NULL);
    check(code == 0 && json_array_size(json_object_get(shown, "streams")) == 1,
          "curate mix --help shows a configuration");
    json_decref(shown);
}

static void test_configurations(void) {
    put_mix("{\"id\":\"a\",\"text\":\"a\"}\n", "{\"id\":\"a\",\"attributes\":{}}\n");
    static const struct { const char *members, *output, *expected; } cases[] = {
        { ", \"filters\": {}", "", "config.json: stream 1: there is no \"filters\" here" },
        { ", \"filter\": {\"exclude\": [\"a <\"]}", "", "expected `a < 50`" },
        { ", \"filter\": {\"exclude\": [\"a < 5 || b\"]}", "", "cannot be understood from `|| b` on" },
        { ", \"filter\": {\"exclude\": [\"$.attributes[?(@.a < 5)]\"]}", "",
          "expected `a < 50` or `@.a[0][2] < 50`" },
        { ", \"filter\": {\"exclude\": [\"$.attributes[?(@.a[0][2] < 5)\"]}", "",
          "cannot be understood" },
        { ", \"filter\": {\"exclude\": [\"\"]}", "", "expected the key" },
        { ", \"filter\": {\"exclude\": [\"a < nan\"]}", "", "expected `a < 50`" },
        { ", \"filter\": {\"exclude\": [\".attributes.a[0][2] < 5\"], \"syntax\": \"jq\"}", "",
          "config.json: stream s: filter: the syntax jq is not understood" },
        { ", \"filter\": {\"exclude\": [7]}", "", "a list of strings" },
        { ", \"span_replacement\": [{\"span\": \"a\", \"replacement\": \"$.id\"}]", "",
          "config.json: stream s: span_replacement: the replacement $.id would be a selector of jq" },
        { ", \"span_replacement\": [{}]", "", "stream s: span_replacement: expected a string \"span\"" },
        { ", \"span_replacement\": 3", "", "config.json: stream s: span_replacement: expected a list" },
        { ", \"sample\": -1", "", "expected \"sample\" from 0" },
        { ", \"sample\": \"x\"", "", "config.json: stream s: expected \"sample\" to be a number" },
        { ", \"sample\": 1, \"weight\": 1", "", "found both" },
        { ", \"attributes\": [\"nothing\"]", "", "d.jsonl: missing: the attributes nothing of " },
        { ", \"compression\": {\"output\": \"lzma\"}", "", "stream s: compression lzma: expected gz or zst" },
        { "", ", \"discard_fields\": [\"text\"]", "without its text is none" },
        { "", ", \"max_size\": 3", "config.json: stream s: output: there is no \"max_size\" here" },
        { ", \"name\": \"t\"", "", "not JSON" },
    };
    for (size_t i = 0; i < sizeof cases/sizeof *cases; i++) {
        const char *found = mix_of(cases[i].members, cases[i].output, "");
        check(!strncmp(found, "error: ", 7) && strstr(found, cases[i].expected), "configuration: %s",
              cases[i].expected);
        if (!strstr(found, cases[i].expected)) printf("      found %s\n", found);
    }
    char out[1024];
    int code = run(out, sizeof out, "data/curate mix %s",
                   put_text("deep.json", "[[[[[[[[{\"streams\": 1}"));
    check(code == 1 && strstr(out, "not JSON"), "configuration: not JSON");
}

// ---- the edges of what is allowed, and of what is counted -------------------------------------------

// Mixes by a whole configuration, in which ' stands for " and paths begin in scratch/m; what is
// said, after `rc N: `.
static const char *mix_by(const char *config) {
    char text[4096];
    snprintf(text, sizeof text, "%s", config);
    for (char *c = text; *c; c++) if (*c == '\'') *c = '"';
    put_text("m/whole.json", text);
    run(mix_out, sizeof mix_out,
        "cd %s/m; rm -rf out report.json; said=$(%s/data/curate mix whole.json --report report.json "
        "2>&1); echo \"rc $?: $said\"", scratch, getenv("PWD"));
    return mix_out;
}
// mix_of, with a report in m/report.json.
static const char *mix_reported(const char *members, const char *output, const char *option) {
    char arguments[PATH + 64];
    snprintf(arguments, sizeof arguments, "%s --report %s", option, in_scratch("m/report.json"));
    return mix_of(members, output, arguments);
}
// A number of m/report.json: of a stream, the row that is called so, of what it speaks of (NULL:
// anything); -1 if there is none.
static double reported(size_t stream, const char *row, const char *what, const char *name) {
    json_t *report = json_load_file(in_scratch("m/report.json"), 0, NULL), *one;
    json_t *rows = json_object_get(json_array_get(json_object_get(report, "streams"), stream), "rows");
    double number = -1;
    size_t i;
    json_array_foreach(rows, i, one)
        if (!strcmp(json_string_value(json_object_get(one, "row")), row) &&
            (!what || !strcmp(json_string_value(json_object_get(one, "what")), what)))
            number = json_number_value(json_object_get(one, name));
    json_decref(report);
    return number;
}

static void test_nearly_right(void) {
    put_mix("{\"id\":\"a\",\"text\":\"a\"}\n", "");
    put_text("m/others/o.jsonl", "{\"id\":\"o\",\"text\":\"o\"}\n");
    static const struct { const char *members, *output, *expected; } members[] = {
        { ", \"filter\": {\"exclude\": [\"a && a && a && a && a && a && a && a && a\"]}", "",
          "more than 8 terms" },
        { "", ", \"size_in_bytes\": 5", "there is no \"size_in_bytes\" here" },
        { "", ", \"discard_fields\": [\"id\"]", "without its id is none" },
        { ", \"compression\": {\"output\": \"gzip\"}", "", "compression gzip: expected gz or zst" },
        { ", \"weight\": -1", "", "\"weight\" not negative" },
        { ", \"sample\": 1000.5", "", "expected \"sample\" from 0 to 1000" },
    };
    for (size_t i = 0; i < sizeof members/sizeof *members; i++) {
        const char *found = mix_of(members[i].members, members[i].output, "");
        check(!strncmp(found, "error: ", 7) && strstr(found, members[i].expected),
              "configuration: %s", members[i].expected);
        if (!strstr(found, members[i].expected)) printf("      found %s\n", found);
    }
    check(strstr(mix_of(", \"filter\": {\"exclude\": [\"a && a && a && a && a && a && a && a\"]}",
                        "", ""), "\"id\":\"a\"") != NULL, "configuration: a rule may have 8 terms");

    static const struct { const char *config, *expected; } wholes[] = {
        { "{'streams': [{'name': 'a', 'documents': ['documents/**'], 'output': {'path': 'out'}}]}",
          "documents/**: ** is not understood" },
        { "{'streams': [{'name': 'a/b', 'documents': ['documents'], 'output': {'path': 'out'}}]}",
          "expected a \"name\" that can begin a file's" },
        { "{'streams': [{'name': 'a', 'documents': ['documents'], 'output': {'path': 'out'}, "
          "'weight': 1},"
                       "{'name': 'b', 'documents': ['others'], 'output': {'path': 'out'}}]}",
                       "a \"weight\" for every stream, or for none" },
        { "{'streams': [{'name': 'a', 'documents': ['documents'], 'output': {'path': 'out'}},"
                       "{'name': 'b', 'documents': ['others'], 'output': {'path': 'out'}, 'weight': "
                       "1}]}",
          "a \"weight\" for every stream, or for none" },
        { "{'streams': [{'name': 'a', 'documents': ['documents'], 'output': {'path': 'out'}},"
                       "{'name': 'a', 'documents': ['others'], 'output': {'path': 'out'}}]}",
                       "two streams write out/a" },
        { "{'total_bytes': 9, 'streams': [{'name': 'a', 'documents': ['documents'], 'output': "
          "{'path': 'out'}}]}",
          "\"total_bytes\" needs a \"weight\"" },
        { "{'total_bytes': 1e18, 'streams': [{'name': 'a', 'documents': ['documents'], 'output': "
          "{'path': 'out'}, 'weight': 1}]}",
          "asks for 1000000000000000000 copies of each document" },
        { "{'streams': [{'name': 'a', 'documents': ['others'], 'output': {'path': 'out'}},"
                       "{'name': 'b', 'documents': ['documents'], 'output': {'path': 'others'}}]}",
                       "others: is written to, but holds inputs" },
    };
    for (size_t i = 0; i < sizeof wholes/sizeof *wholes; i++) {
        const char *found = mix_by(wholes[i].config);
        check(!strncmp(found, "rc 1: ", 6) && strstr(found, wholes[i].expected), "configuration: %s",
              wholes[i].expected);
        if (!strstr(found, wholes[i].expected)) printf("      found %s\n", found);
    }
    check(!strncmp(mix_by("{'streams': [{'name': 'a', 'documents': ['documents'], 'output': "
                          "{'path': 'out'}},{'name': 'b', 'documents': ['others'], 'output': "
                          "{'path': 'out'}}]}"), "rc 0: ", 6),
          "configuration: two streams may share a folder");
}

// As much of each as a stream may have, and one more.
static void test_limits(void) {
    static const struct {
        const char *begin, *one, *end;
        int most, in_output;
        const char *sentence;
    } limits[] = {
        { ", \"filter\": {\"include\": [", "\"a\"", "]}", 64, 0, "a list of at most 64 strings" },
        { ", \"filter\": {\"include\": [\"a\"], \"exclude\": [", "\"a\"", "]}", 63, 0,
          "a list of at most 63 strings" },
        { ", \"span_replacement\": [", "{\"span\": \"a\"}", "]", 32, 0, "a list of at most 32 objects" },
        { ", \"attributes\": [", "\"t\"", "]", 64, 0, "a list of at most 64 strings" },
        { ", \"discard_fields\": [", "\"x\"", "]", 64, 1, "a list of at most 64 strings" },
    };
    put_mix("{\"id\":\"a\",\"text\":\"a\"}\n", "{\"id\":\"a\",\"attributes\":{}}\n");
    for (size_t i = 0; i < sizeof limits/sizeof *limits; i++) for (int more = 0; more < 2; more++) {
        char members[2048];
        size_t n = (size_t)sprintf(members, "%s", limits[i].begin);
        for (int k = 0; k < limits[i].most + more; k++)
            n += (size_t)sprintf(members + n, "%s%s", k ? "," : "", limits[i].one);
        sprintf(members + n, "%s", limits[i].end);
        const char *said = mix_of(limits[i].in_output ? "" : members, limits[i].in_output ? members : "", "");
        check(more ? !strncmp(said, "error: ", 7) && strstr(said, limits[i].sentence) != NULL
              : strncmp(said, "error: ", 7), "configuration: %d of %s ... %s: %.200s", limits[i].most + more,
              limits[i].begin + 2, limits[i].one, said);
    }
    for (int size = 127; size <= 128; size++) {
        char members[256];
        snprintf(members, sizeof members, ", \"filter\": {\"exclude\": [\"%0*d\"]}", size, 0);
        const char *said = mix_of(members, "", "");
        check((strstr(said, "expected the key of an attribute") != NULL) == (size > 127),
              "configuration: a key of %d letters: %.60s", size, said);
    }
    char out[64];
    mix_of(", \"sample\": 1000", "", "");
    run(out, sizeof out, "cat %s/m/out/* | gzip -dc | wc -l", scratch);
    check(atoi(out) == 1000, "configuration: a document may be written 1000 times: %s", out);
    for (int copies = 1000; copies <= 1001; copies++) {
        char config[256];
        snprintf(config, sizeof config, "{'total_bytes': %d, 'streams': [{'name': 'a', 'documents': "
                 "['documents'], 'output': {'path': 'out'}, 'weight': 1}]}", copies);
        const char *said = mix_by(config);
        check(copies > 1000 ? strstr(said, "asks for 1001 copies of each document") != NULL
              : !strncmp(said, "rc 0: ", 6),
              "configuration: its weight asks for %d copies: %.100s", copies, said);
    }
}

static void test_edges_of_documents(void) {
    put_mix("{\"id\":\"a\",\"text\":\"one\",\"attributes\":{\"k\":[[0,1,1]],\"own\":[[0,1,2]]}}\n"
            "{\"id\":\"b\",\"text\":\"two\",\"attributes\":7}\n"
            "{\"id\":\"c\",\"text\":\"three\",\"metadata\":null}\n",
            "{\"id\":\"a\",\"attributes\":{\"k\":[[0,1,0.5]]}}\n{\"id\":\"b\",\"attributes\":{}}\n"
            "{\"id\":\"c\",\"attributes\":{}}\n");
    mix_of(", \"attributes\": [\"t\"]", "", "");
    check(strstr(mix_out, "\"k\":[[0,1,0.5]]") && strstr(mix_out, "\"own\":[[0,1,2]]"),
          "mix: of an attribute that document and attribute file have, the file's counts");
    check(strstr(mix_out, "{\"id\":\"b\",\"text\":\"two\",\"attributes\":{},") != NULL,
          "mix: attributes that are no object give way: %s", mix_out);
    const char *replaced =
        ", \"attributes\": [\"t\"], \"span_replacement\": [{\"span\": \"k\", \"min_score\": 0.5, "
        "\"replacement\": \"X\"}]";
    check(strstr(mix_of(replaced, "", ""), "\"text\":\"Xne\"") != NULL,
          "mix: a score may be min_score itself");

    put_mix("{\"id\":\"fs\",\"text\":\"\\u001c\"}\n{\"id\":\"blank\",\"text\":\" \\u3000\\n\"}\n"
            "{\"id\":\"nothing\",\"text\":\"\"}\n", "");
    mix_reported("", ", \"min_text_length\": 1", "");
    check(strstr(mix_out, "\"id\":\"fs\"") && !strstr(mix_out, "\"id\":\"blank\"") &&
          !strstr(mix_out, "\"id\":\"nothing\""),
          "mix: U+001C is no white space to Unicode, so a text of it has one byte");
    check(reported(0, "removed", "min_text_length", "documents") == 2,
          "mix: the report has a row for a minimum of 1");
    put_mix("{\"id\":\"two\",\"text\":\"ab\"}\n{\"id\":\"within\",\"text\":\" ab\\n\"}\n"
            "{\"id\":\"one\",\"text\":\" a \"}\n", "");
    mix_of("", ", \"min_text_length\": 2", "");
    check(strstr(mix_out, "\"id\":\"two\"") && strstr(mix_out, "\"id\":\"within\"") &&
          !strstr(mix_out, "\"id\":\"one\""), "mix: a text of the least length is kept");
}

// What was removed is counted once, by what removed it.
static void test_counted_once(void) {
    put_mix("{\"id\":\"a\",\"text\":\"four\"}\n{\"id\":\"b\",\"text\":\"b\"}\n"
            "{\"id\":\"c\",\"text\":\"cc\"}\n",
            "{\"id\":\"a\",\"attributes\":{\"k\":[[0,1,1]],\"l\":[[0,1,1]]}}\n"
            "{\"id\":\"b\",\"attributes\":{\"k\":[[0,1,1]],\"bad\":3}}\n"
            "{\"id\":\"c\",\"attributes\":{}}\n");
    mix_reported(", \"attributes\": [\"t\"], \"filter\": {\"exclude\": [\"bad > 9\", \"l\", \"k\"]}",
                 "", "");
    check(reported(0, "removed", "l", "documents") == 1 && reported(0, "removed", "l", "bytes") == 4 &&
          reported(0, "removed", "l", "matches") == 1,
          "report: the first rule that matches a document removes it");
    check(reported(0, "removed", "k", "documents") == 0 && reported(0, "removed", "k", "matches") == 2,
          "report: a later one only matches it");
    check(reported(0, "skipped", "broken", "documents") == 1 &&
          reported(0, "skipped", "broken", "bytes") == 1 &&
          reported(0, "written", NULL, "documents") == 1,
          "report: a broken document is removed by no rule");
    mix_reported(", \"attributes\": [\"t\"], \"filter\": {\"include\": [\"l\", \"k\", \"l == 1\"]}",
                 "", "");
    check(reported(0, "included", "l", "documents") == 1 &&
          reported(0, "included", "l", "bytes") == 4 &&
          reported(0, "included", "k", "documents") == 2 &&
          reported(0, "included", "k", "bytes") == 5 &&
          reported(0, "removed", "l", "documents") == -1,
          "report: an include rule's row says what it matches");
    check(reported(0, "removed", "no include rule matches", "documents") == 1 &&
          reported(0, "removed", "no include rule matches", "bytes") == 2 &&
          reported(0, "written", NULL, "documents") == 2,
          "report: what no include rule matches is removed");

    char documents[4096];
    size_t n = 0;
    for (int i = 0; i < 40; i++)
        n += (size_t)sprintf(documents + n, "{\"id\":\"%d\",\"text\":\"%.*s\"}\n", i, 1 + i % 7,
                             "abcdefg");
    put_mix(documents, "");
    mix_reported(", \"sample\": 0.5", "", "");
    double all = reported(0, "read", NULL, "bytes");
    double out = reported(0, "removed", "sampling", "documents");
    check(out > 0 && out < 40 && out + reported(0, "written", NULL, "documents") == 40 &&
          reported(0, "removed", "sampling", "bytes") + reported(0, "written", NULL, "bytes") == all,
          "report: what sampling left out (%g documents) and what was written are all of it", out);
    mix_reported(", \"sample\": 1", "", "");
    check(reported(0, "removed", "sampling", "documents") == -1,
          "report: at rate 1 nothing is left out");
    put_mix("{\"id\":\"a\",\"text\":\"\xc3\xa9\xc3\xa9 x \xc3\xa9\"}\n",
            "{\"id\":\"a\",\"attributes\":{\"k\":[[0,2,1],[5,6,1]]}}\n");
    mix_reported(", \"attributes\": [\"t\"], \"span_replacement\": [{\"span\": \"k\"}]", "",
                 "--as-released");
    check(reported(0, "replaced", "k", "bytes") == 6 && reported(0, "replaced", "k", "spans") == 2,
          "report: as released, 6 bytes were replaced");
}

static void test_weights(void) {
    put_mix("{\"id\":\"a\",\"text\":\"0123456789\"}\n",
            "{\"id\":\"a\",\"attributes\":{\"k\":[[0,5,1]]}}\n");
    put_text("m/others/o.jsonl", "{\"id\":\"o\",\"text\":\"01234\"}\n");
    mix_by("{'total_bytes': 20, 'streams': [{'name': 'a', 'documents': ['documents'], 'attributes': "
           "['t'], 'output': {'path': 'out'},'span_replacement': [{'span': 'k'}], 'weight': 1}]}");
    check(reported(0, "written", "at rate 4", "documents") == 4 &&
          reported(0, "written", NULL, "bytes") == 20,
          "weights: what spans lose is not counted, so 4 times 5 bytes make 20");
    mix_by("{'streams': [{'name': 'a', 'documents': ['others'], 'output': {'path': 'out'}, "
           "'weight': 3},{'name': 'b', 'documents': ['documents'], 'attributes': ['t'], 'output': "
           "{'path': 'out'}, 'span_replacement': [{'span': 'k'}],'weight': 1}]}");
    check(reported(0, "written", "at rate 1.5", "documents") >= 1 &&
          reported(1, "written", "at rate 0.5", "documents") >= 0,
          "weights 3 and 1 without total_bytes: the 5 and 5 bytes that pass are shared out anew");
}

// Files fill a shard to its last byte; one that is empty begins one as well.
static void test_full_shards(void) {
    static const struct { int bytes; const char *shards; } cases[] = {
        { 44, "s-0000.jsonl.gz " }, { 43, "s-0000.jsonl.gz s-0001.jsonl.gz " },
    };
    put_text("m/three/1.jsonl", ""), put_text("m/three/2.jsonl", "{\"id\":\"2\",\"text\":\"2\"}\n");
    put_text("m/three/3.jsonl", "{\"id\":\"3\",\"text\":\"3\"}\n");
    for (size_t i = 0; i < 2; i++) {
        char config[512], out[256];
        snprintf(config, sizeof config, "{'streams': [{'name': 's', 'documents': ['three'], "
                 "'output': {'path': 'out', 'max_size_in_bytes': %d}}]}", cases[i].bytes);
        mix_by(config);
        run(out, sizeof out, "ls %s/m/out | tr '\\n' ' '", scratch);
        check(!strcmp(out, cases[i].shards),
              "shards: files of 0, 22 and 22 bytes, at most %d in one: %s", cases[i].bytes, out);
    }
    static const struct { const char *name; int is_one; } names[] = {
        { "s-0000.jsonl.gz", 1 }, { "a-b-12345.json.zst", 1 }, { "a.b-0000.jsonl.gz", 1 },
        { "s-000.jsonl.gz", 0 }, { "0000.jsonl.gz", 0 },
        { "s0000.jsonl.gz", 0 }, { "s-0000x.jsonl.gz", 0 }, { "s-0000.txt", 0 },
        { "s-0000.jsonl.gz.tmp", 0 }, { "s_0000.json", 0 },
    };
    for (size_t i = 0; i < sizeof names/sizeof *names; i++)
        check(is_shard_name(names[i].name) == names[i].is_one, "shards: %s %s the name of one",
              names[i].name, names[i].is_one ? "is" : "is not");
}

// ---- shards, proportions, interruptions -------------------------------------------------------------

static const char *lines_of(const char *arguments, const char *members, const char *output) {
    mix_of(members, output, arguments);
    static char out[64];
    run(out, sizeof out, "cat %s/m/out/*.gz | gzip -dc | wc -l", scratch);
    return out;
}
static void test_shards(void) {
    static char text[1 << 16];
    char out[4096];
    run(out, sizeof out, "rm -rf %s/m", scratch);
    for (int f = 0; f < 20; f++) {
        char name[64];
        size_t n = 0;
        snprintf(name, sizeof name, "m/documents/%02d.jsonl", f);
        for (int d = 0; d < 200; d++)
            n += (size_t)sprintf(text + n,
                                 "{\"id\":\"%d-%d\",\"text\":\"a text of some words and the number "
                                 "%d\"}\n", f, d, d);
        put_file(name, text, n);
    }
    check(atoi(lines_of("", "", ", \"max_size_in_bytes\": 30000")) == 4000,
          "shards: every document is in one of them");
    run(out, sizeof out, "ls %s/m/out | tr '\\n' ' '", scratch);
    check(!strncmp(out, "s-0000.jsonl.gz s-0001.jsonl.gz ", 32) && strstr(out, "s-0009.jsonl.gz ") &&
          !strstr(out, "s-0010"), "shards: two files of 13 kB go into one of 30 kB");
    lines_of("--as-released", "", ", \"max_size_in_bytes\": 30000");
    run(out, sizeof out, "ls %s/m/out | tr '\\n' ' '", scratch);
    check(strstr(out, "s-0008.jsonl.gz s-0009.json.gz ") != NULL,
          "shards: as released the last one is called .json.gz");
    mix_of(", \"compression\": {\"output\": \"zst\"}", "", "");
    check(run(out, sizeof out, "zstd -dc %s/m/out/s-0000.jsonl.zst | wc -l", scratch) == 0 &&
          (atoi(out) == 4000 || strstr(out, "not found")), "shards: zstd");

    double half = atof(lines_of("", ", \"sample\": 0.51", ""));
    double more = atof(lines_of("", ", \"sample\": 2.25", ""));
    check(fabs(half/4000 - 0.51) < 0.03 && fabs(more/4000 - 2.25) < 0.03,
          "proportions: 0.51 writes %.0f of 4000 documents, 2.25 writes %.0f", half, more);
    run(out, sizeof out,
        "gzip -dc %s/m/out/*.gz | grep -o '\"id\":\"[^\"]*' | sort | uniq -c | awk '{print $1}' | "
        "sort | uniq -c | tr -s ' \\n' ' '", scratch);
    check(strstr(out, " 2 ") && strstr(out, " 3 ") && atoi(out) + atoi(strstr(out, " 2 ") + 3) == 4000,
          "proportions: each document two or three times:%s", out);
    char config[2048];
    snprintf(config, sizeof config,
             "{\"total_bytes\": 100000, \"streams\": [{\"name\": \"a\", \"documents\": "
             "[\"%s/m/documents/0*\"], \"weight\": 3, \"output\": {\"path\": \"%s/m/w\"}}, "
             "{\"name\": \"b\", \"documents\": [\"%s/m/documents/1*\"], \"weight\": 1, \"output\": "
             "{\"path\": \"%s/m/w\"}}]}", scratch, scratch, scratch, scratch);
    put_text("m/weights.json", config);
    run(out, sizeof out,
        "echo not JSON >> %s/m/documents/00.jsonl; data/curate mix %s/m/weights.json --report "
        "%s/m/report.json 2>&1 >/dev/null | grep -c 'not JSON'", scratch, scratch, scratch);
    check(!strcmp(out, "1\n"),
          "proportions: what cannot be read is said once, though files are read twice: %s", out);
    json_t *report = json_load_file(in_scratch("m/report.json"), 0, NULL);
    double bytes[2];
    for (size_t i = 0; i < 2; i++) {
        json_t *rows = json_object_get(json_array_get(json_object_get(report, "streams"), i),
                                       "rows"), *last = json_array_get(rows, json_array_size(rows) - 1);
        bytes[i] = json_number_value(json_object_get(last, "bytes"));
    }
    json_decref(report);
    check(fabs(bytes[0]/75000 - 1) < 0.05 && fabs(bytes[1]/25000 - 1) < 0.1,
          "proportions: weights 3 and 1 of 100,000 bytes give %.0f and %.0f", bytes[0], bytes[1]);
    int code = run(out, sizeof out,
                   "touch %s/m/w/b-0007.jsonl.gz; data/curate mix %s/m/weights.json", scratch, scratch);
    check(code == 1 && strstr(out, "left by another mix"),
          "shards: those of another mix are not left beside the new ones");
    code = run(out, sizeof out,
               "ln -s %s/m/documents/00.jsonl %s/m/w/b-0000.jsonl.gz -f; rm %s/m/w/b-0007*; "
               "data/curate mix %s/m/weights.json", scratch, scratch, scratch, scratch);
    check(code == 1 && strstr(out, "is an input"), "shards: an input is not written over");
    snprintf(config, sizeof config,
             "{\"streams\": [{\"name\": \"a\", \"documents\": [\"%s/m/documents\"], \"output\": "
             "{\"path\": \"%s/m/documents\"}}]}", scratch, scratch);
    code = run(out, sizeof out, "data/curate mix %s", put_text("m/into.json", config));
    check(code == 1 && strstr(out, "is written to, but holds inputs"),
          "shards: a folder of inputs is not written to: %s", out);

    char expected[128];
    mix_of("", ", \"max_size_in_bytes\": 30000", "--threads 1");
    run(expected, sizeof expected, "cd %s/m/out && md5sum * | md5sum", scratch);
    for (int threads = 2; threads < 5; threads++) {
        char arguments[32];
        sprintf(arguments, "--threads %d", threads);
        mix_of("", ", \"max_size_in_bytes\": 30000", arguments);
        run(out, sizeof out, "cd %s/m/out && md5sum * | md5sum", scratch);
        check(!strcmp(out, expected), "mix: %d threads write the same bytes as one", threads);
    }
    int killed = 0, whole = 1, runs = 0;
    run(out, sizeof out, "rm -rf %s/m/out", scratch);
    uint64_t seed = 25;                                      // of the pauses
    // longest: so that about half are killed
    for (double longest = 0.05; runs < 25 || (killed < 5 && runs < 500); runs++) {
        double pause = longest*uniform(seed = hash64(seed));
        int in_time = run(out, sizeof out,
                          "data/curate mix %s/m/config.json --threads 1 >/dev/null 2>&1 & p=$!; "
                          "sleep %.4f; kill -9 $p 2>/dev/null; wait $p 2>/dev/null; test $? = 137",
                          scratch, pause) == 0;
        killed += in_time, longest *= in_time ? 1.1 : 0.9;
        whole &= run(out, sizeof out,
                     "for f in %s/m/out/*.gz; do test ! -e $f || gzip -t $f || exit 1; done",
                     scratch) == 0;
    }
    check(killed >= 5, "mix: killed %d times of %d", killed, runs);
    run(out, sizeof out,
        "data/curate mix %s/m/config.json >/dev/null 2>&1; cd %s/m/out && md5sum * | md5sum",
        scratch, scratch);
    check(whole && !strcmp(out, expected),
          "mix: killed, what has a name is whole, and the last run writes the same bytes");
}

// What must not be mixed: attributes of other text than is there, left-overs, devices.
static void test_mix_refuses(void) {
    char out[4096], config[2048];
    run(out, sizeof out, "rm -rf %s/m", scratch);
    put_mix("{\"id\":\"a\",\"text\":\"mail x@y.zz now\"}\n", "");
    snprintf(config, sizeof config,
             "{\"streams\": [{\"name\": \"s\", \"documents\": [\"%s/m/documents/d*\"], "
             "\"attributes\": [\"tags\"], \"output\": {\"path\": \"%s/m/out\"}}]}", scratch, scratch);
    put_text("m/config.json", config), put_text("m/documents/d.jsonl.tmp", "left over");
    const char *mix = "data/curate tag --taggers pii_regex_with_counts_fast_v2 %s/m/documents 2>&1 "
                      "&& data/curate mix %s/m/config.json --report %s/m/report";
    int code = run(out, sizeof out, mix, scratch, scratch, scratch);
    check(code == 0 && strstr(out, "s: 1 file\n"),
          "mix: attributes as old as their documents are of these documents; *.tmp is none: %s", out);
    code = run(out, sizeof out,
               "touch -d '1 minute' %s/m/documents/d.jsonl; data/curate mix %s/m/config.json", scratch,
               scratch);
    check(code == 1 && strstr(out, "attributes/tags/d.jsonl: is older than"),
          "mix: documents that are younger than their attributes: %s", out);
    code = run(out, sizeof out, mix, scratch, scratch, scratch);
    check(code == 0, "mix: ... until they are tagged again: %s", out);
    // Others' attributes have no time that must be right.
    for (int older = 0; older < 2; older++) {
        code = run(out, sizeof out, "rm -rf %s/m/attributes/tags/.[a-z]* %s/m/out; touch -d '%d minutes' "
                   "%s/m/attributes/tags/d.jsonl; data/curate mix %s/m/config.json", scratch, scratch,
                   older ? -1 : 1, scratch, scratch);
        check(code == 0 && !strstr(out, "is older than") == !older,
              "mix: others' attributes, %s than their documents: %s", older ? "older" : "younger", out);
    }
    run(out, sizeof out, "rm -rf %s/m/attributes", scratch);
    code = run(out, sizeof out, mix, scratch, scratch, scratch);
    check(code == 0, "mix: ... and ours again: %s", out);
    code = run(out, sizeof out,
               "sed -i 's/\"name\": \"s\"/\"name\": \"t\"/' %s/m/config.json; data/curate mix "
               "%s/m/config.json; ls %s/m/out", scratch, scratch, scratch);
    check(strstr(out, "s-0000.jsonl.gz: left by another mix") && !strstr(out, "t-0000"),
          "mix: shards of a stream that is no more: %s", out);
    code = run(out, sizeof out,
               "rm %s/m/out/*; touch %s/m/out/s-000.jsonl.gz %s/m/out/0000.json %s/m/out/s-1.json; "
               "mkfifo %s/m/fifo; data/curate mix %s/m/config.json --report %s/m/fifo; test -p "
               "%s/m/fifo && echo still", scratch, scratch, scratch, scratch, scratch, scratch,
               scratch, scratch);
    check(strstr(out, "m/fifo: expected the name of a file, found a directory, a pipe or a device") &&
          strstr(out, "still"), "mix: a pipe is not replaced by a file: %s", out);
}

static void test_mix(void) {
    test_rules();
    test_spans();
    test_random_spans();
    test_mix_documents();
    test_mix_untouched();
    test_mix_ids();
    test_mix_odd();
    test_report();
    test_least();
    test_table();
    test_absent();
    test_configurations();
    test_mix_help();
    test_nearly_right();
    test_limits();
    test_edges_of_documents();
    test_counted_once();
    test_weights();
    test_full_shards();
    test_shards();
    test_mix_refuses();
}
