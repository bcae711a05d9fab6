// data/stories writes texts whose answers it knows. Here they are found in another way: read out of
// the text.

// What there is to remember in the first two sentences of a story.
enum { CHILD, FOUND, COLOUR, THING, WHERE, PET, AMOUNT, FOOD, FACTS };
typedef struct { char fact[FACTS][48]; const char *rest; } Opening;

static Opening read_opening(const char *text) {
    Opening o;
    int end = 0;
    text += strncmp(text, "On a ", 5) ? strlen("One ") : strlen("On a ");
    const int n = sscanf(text, "%*s %*s %47s %47s a %*s %47s %47s %47[^.]. %47s the %*s %*s had %47s %*s "
                         "%47[^.]. %n", o.fact[CHILD], o.fact[FOUND], o.fact[COLOUR], o.fact[THING],
                         o.fact[WHERE], o.fact[PET], o.fact[AMOUNT], o.fact[FOOD], &end);
    CHECK(n == FACTS && end, "a test cannot read this opening of a story: %s", text);
    o.rest = text + end;
    return o;
}

// A question about it, the answer as a sentence, and as a word. A digit stands for a fact.
enum { QUESTIONS = 5 };
static const char *const asked[QUESTIONS][3] = {
    { "Who 1 the 3?", "0 1 the 3.", "0" },
    { "Where was the 3?", "The 3 was 4.", "4" },
    { "Which colour was the 3?", "The 3 was 2.", "2" },
    { "How many 7 did 5 have?", "5 had 6 7.", "6" },
    { "Who had the 7?", "5 had the 7.", "5" },
};

static int spells(const char *text, const char *form, const Opening *o) {
    for (; *form; form++) {
        char letter[2] = { *form, 0 };
        const char *part = *form >= '0' && *form <= '9' ? o->fact[*form - '0'] : letter;
        if (strncmp(text, part, strlen(part))) return 0;
        text += strlen(part);
    }
    return !*text;
}
// 2*question + whether the answer is the bare word; -1 if the answer is wrong.
static int answered(const char *question, const char *answer, const Opening *o) {
    for (int q = 0; q < QUESTIONS; q++) for (int word = 0; word < 2; word++)
        if (spells(question, asked[q][0], o) && spells(answer, asked[q][1 + word], o)) return 2*q + word;
    return -1;
}

// A line's messages: what they say, and in *bytes how long data/chat.c makes them.
static int contents(json_t *messages, const char **said, size_t *bytes) {
    *bytes = 0;
    for (size_t i = 0; i < json_array_size(messages); i++) {
        json_t *m = json_array_get(messages, i);
        said[i] = json_string_value(json_object_get(m, "content"));
        const char *role = json_string_value(json_object_get(m, "role"));
        if (strcmp(role, i % 2 ? "assistant" : "user")) return -1;
        *bytes += strlen("<||>\n") + strlen(role) + strlen(said[i]) + strlen("\n");
    }
    return (int)json_array_size(messages);
}

// Are all of about n/parts? (Six standard deviations of n draws.)
static int even(const int *count, int parts) {
    double n = 0, p = 1.0/parts;
    for (int i = 0; i < parts; i++) n += count[i];
    for (int i = 0; i < parts; i++) if (fabs(count[i] - n*p) > 6*sqrt(n*p*(1 - p))) return 0;
    return n > 0;
}

// The next line of a file, as JSON; NULL after the last.
static json_t *next_line(char **at) {
    char *end = strchr(*at, '\n');
    json_t *line = end ? json_loadb(*at, (size_t)(end - *at), 0, NULL) : NULL;
    CHECK(!end || line, "a test needs JSON, found %.200s", *at);
    if (end) *at = end + 1;
    return line;
}

static void test_conversations(const char *name, int lines) {
    char *text = read_text(in_scratch(name)), *at = text;
    const char *said[8];
    int n = 0, wrong = 0, again = 0, first[2*QUESTIONS] = { 0 }, second[2*QUESTIONS] = { 0 };
    size_t longest = 0, bytes;
    for (json_t *line; (line = next_line(&at)); json_decref(line), n++) {
        if (contents(json_object_get(line, "messages"), said, &bytes) != 4) { wrong++; continue; }
        const Opening o = read_opening(said[0]);
        const int a = answered(o.rest, said[1], &o), b = answered(said[2], said[3], &o);
        if (a < 0 || b < 0) wrong++;
        else first[a]++, second[b]++, again += a/2 == b/2;
        if (bytes > longest) longest = bytes;
    }
    check(n == lines && !wrong && !again, "%s: %d conversations, %d answers are wrong, %d questions asked "
          "again", name, n, wrong, again);
    check(even(first, 2*QUESTIONS) && even(second, 2*QUESTIONS), "... as often this as that");
    check(longest > 230 && longest <= 256, "... each in one window: at most %zu bytes", longest);
    release(text);
}

static void test_pairs(const char *name, int lines) {
    char *text = read_text(in_scratch(name)), *at = text;
    const char *better[8], *worse[8];
    int n = 0, wrong = 0, count[QUESTIONS] = { 0 };
    size_t bytes;
    for (json_t *line; (line = next_line(&at)); json_decref(line), n++) {
        if (contents(json_object_get(line, "chosen"), better, &bytes) != 2
            || contents(json_object_get(line, "rejected"), worse, &bytes) != 2) { wrong++; continue; }
        const Opening o = read_opening(better[0]);
        const int a = answered(o.rest, better[1], &o), b = answered(o.rest, worse[1], &o);
        wrong += a < 0 || a % 2 || b != a + 1 || strcmp(better[0], worse[0]);
        if (a >= 0) count[a/2]++;
    }
    check(n == lines && !wrong && even(count, QUESTIONS),
          "%s: %d pairs of a sentence and a bare word, %d are wrong", name, n, wrong);
    release(text);
}

// Of the choices that --ask offers, one is how the story goes on.
static void test_recall(const char *stories, const char *task) {
    char path[256], gold[64];
    snprintf(path, sizeof path, "stories/s_recall/%s/rc_0shot/requests.jsonl", task);
    char *text = read_text(in_scratch(path)), *at = text;
    int n = 0, wrong = 0, count[4] = { 0 }, tempted = 0;
    for (json_t *line; (line = next_line(&at)); json_decref(line), n++) {
        const char *context, *goes_on, *choice[4] = { "", "", "", "" };
        int document, native, index, label, right;
        json_t *choices;
        const int read = json_unpack(
            line, "{s:i, s:i, s:i, s:i, s:{s:i, s:o}, s:{s:s, s:s}}",
            "doc_id", &document, "native_id", &native, "idx", &index, "label", &label,
            "doc", "gold", &right, "choices", &choices,
            "request", "context", &context, "continuation", &goes_on);
        CHECK(read == 0 && document < 100 && label >= 0 && label < 4, "%s: a test cannot read line %d",
              path, n + 1);
        const char *story = stories + 256*document;
        const size_t told = strlen(context);
        for (int i = 0; i < 4; i++) choice[i] = json_string_value(json_array_get(choices, (size_t)i));
        for (int i = 0; i < 4; i++) for (int k = 0; k < i; k++) wrong += !strcmp(choice[i], choice[k]);
        const int length = snprintf(gold, sizeof gold, " %s", choice[label]);
        wrong += strncmp(story, context, told) || strncmp(story + told, gold, (size_t)length);
        wrong += document != n/4 || native != document || index != n % 4 || right != label;
        wrong += *goes_on != ' ' || strcmp(goes_on + 1, choice[index]) || json_array_size(choices) != 4;
        // who ate is the other one who could have had the thing
        const char *other = strstr(story + told, " and ");
        for (int i = 0; i < 4; i++)
            tempted += other && !strncmp(other + strlen(" and "), choice[i], strlen(choice[i]));
        count[label]++;
    }
    for (int i = 0; i < 4; i++) wrong += count[i] % 4, count[i] /= 4;    // four lines ask one question
    check(n == 400 && !wrong && even(count, 4), "%s: 100 questions, 4 choices, %d are wrong", task, wrong);
    check(tempted == (strcmp(task, "recall_who") ? 0 : 400), "... both names are offered in %d of %d lines",
          tempted, n);
    release(text);
}

// What data/stories says about the files that it has written.
static void test_figures(const char *said) {
    char *text = read_text(in_scratch("stories/s.txt"));
    char *val = read_text(in_scratch("stories/s_val.txt"));
    char *floor_text = read_text(in_scratch("stories/s_val.txt.floor")), expected[256];
    int shortest = 256, longest = 0;
    double sum = 0, floor, mean, error;
    unsigned long long hash;
    for (const char *story = text; *story; story += 256) {
        int length = 255;
        while (story[length - 1] == ' ') length--;
        shortest = imin(shortest, length), longest = imax(longest, length), sum += length;
    }
    snprintf(expected, sizeof expected, "s.txt: 300 stories of %d to %d bytes, %.0f on average", shortest,
             longest, sum/300);
    check(strlen(text) == 300*256 && strstr(said, expected), "%s: %s", expected, said);
    const char *at = strstr(said, "this grammar: ");
    CHECK(at && sscanf(at, "this grammar: %lf +- %lf", &mean, &error) == 2
          && sscanf(floor_text, "%lf windows of 256 bytes, in a file with the FNV-1a hash %llx",
                    &floor, &hash) == 2, "a test cannot read %s and %s", said, floor_text);
    // 100 stories beside 300: their mean is sqrt(300/100) times as uncertain
    check(fabs(floor - mean) <= 5*error*sqrt(1 + 300.0/100) && error > 1e-4 && error < 1e-3,
          "the floor of 100 stories, %.6f, beside the mean of 300, %.6f +- %.6f", floor, mean, error);
    check(hash == fnv1a(fnv1a_start, (const unsigned char *)val, 100*256),
          "... is that of the file beside it");
    release(text), release(floor_text), release(val);
}

// Runs it in scratch/stories with the flags of these tests, and more.
static int stories(char *out, size_t room, const char *before, const char *more) {
    return run(out, room, "S=$PWD/data/stories; cd %s/stories; %s $S --train 300 --val 100 --seed 7 "
               "--out s %s", scratch, before, more);
}
static void refused_by_stories(const char *what, const char *sentence, const char *before,
                               const char *more) {
    char out[8192];
    const int code = stories(out, sizeof out, before, more);
    check(code == 1 && !strncmp(out, "error: ", 7) && strstr(out, sentence), "%s is refused: %.300s",
          what, out);
}

static void test_stories(void) {
    char out[4096], *text;
    make_directory(in_scratch("stories"));
    check(stories(out, sizeof out, "", "") == 0, "300 stories, and 100: %s", out);
    test_figures(out);
    check(stories(out, sizeof out, "", "--check") == 0 && strstr(out, "confirmed"), "proved: %s", out);

    check(stories(out, sizeof out, "", "--chat --train 3000") == 0, "conversations: %s", out);
    test_conversations("stories/s_chat.jsonl", 3000);
    test_conversations("stories/s_chat_val.jsonl", 100);
    test_pairs("stories/s_pairs.jsonl", 500);
    test_pairs("stories/s_pairs_val.jsonl", 100);
    check(run(out, sizeof out, "cd %s/stories; cat s_chat*.jsonl s_pairs*.jsonl | "
              "sed 's/ Wh.*//; s/ How many.*//; s/.*content\": //' | sort | uniq -d | wc -l", scratch) == 0
          && atoi(out) == 0, "... of which no two tell of the same: %s", out);

    check(stories(out, sizeof out, "", "--ask") == 0, "questions: %s", out);
    text = read_text(in_scratch("stories/s_val.txt"));
    test_recall(text, "recall_who"), test_recall(text, "recall_where");
    test_recall(text, "recall_colour"), test_recall(text, "recall_number");
    release(text);

    run(out, sizeof out, "cd %s/stories; cat s.txt s_val.txt s_chat.jsonl s_chat_val.jsonl s_pairs.jsonl "
        "s_pairs_val.jsonl s_recall/*/*/* | cksum", scratch);
    check(!strcmp(out, "3375208285 2049402\n"), "all of these are the same bytes in every version: %s", out);

    refused_by_stories("a story of another seed", "line 1: expected the story", "", "--check --seed 8");
    refused_by_stories("a file that may not grow", "make room", "ulimit -f 10;", "--out full");
    refused_by_stories("a letter of the last story", "line 100: expected the story",
                       "printf x | dd of=s_val.txt bs=1 seek=$((100*256 - 2)) conv=notrunc 2>/dev/null;",
                       "--check");
    refused_by_stories("a story too few", "line 100: expected the story",
                       "truncate -s $((99*256)) s_val.txt;", "--check");
    refused_by_stories("a story too many", "expected 299 stories, found more", "", "--check --train 299");
    stories(out, sizeof out, "", "");
    refused_by_stories("another floor", "in the first line, found 0.1", "sed -i 1s/.*/0.1/ s_val.txt.floor;",
                       "--check");
    refused_by_stories("a file that is not there", "s.txt: expected a file to check", "rm s.txt;", "--check");
    refused_by_stories("a place that is not there", "no/where.txt.tmp: expected to create", "",
                       "--out no/where");
    refused_by_stories("no stories", "--train: expected a whole number from 1 to 1000000, found '0'",
                       "", "--train 0");
    refused_by_stories("too many stories", "--val: expected", "", "--val 1000001");
    refused_by_stories("a number with a unit", "found '3k'", "", "--val 3k");
    refused_by_stories("a flag without its number", "found 'nothing'", "", "--seed");
    refused_by_stories("more conversations than there is memory for", "expected memory for 1000000 conversat",
                       "ulimit -v 300000;", "--chat --train 1000000");
    check(stories(out, sizeof out, "", "-h") == 0 && strstr(out, "usage: data/stories"), "-h is --help");
    refused_by_stories("an unknown flag", "found '--model'", "", "--model 1");
    // The longest prefix that is taken: 4066 bytes.
    check(stories(out, sizeof out,
                  "D=$(printf '%0199d/' 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0); mkdir -p $D;",
                  "--out $D$(printf '%066d' 0) --chat") == 0
          && run(out, sizeof out,
                 "cd %s/stories; find 000* -name '*_chat.jsonl' -o -name '*_chat_val.jsonl' "
                 "-o -name '*_pairs.jsonl' -o -name '*_pairs_val.jsonl' | wc -l", scratch) == 0
          && atoi(out) == 4,
          "a path of 4066 bytes is taken: %.60s", out);
    refused_by_stories("a path that is too long", "--out: expected at most", "",
                       "--out $(printf '%04100d' 0)");
}
