/* stories.c - tiny stories whose perfect loss is known.
 *
 * A language model is judged by its loss: the nats per byte it pays for being
 * surprised by text it has never seen. How low could that loss go? For most text
 * nobody knows. Here we do, because this program IS the source of the text. A story
 * is a chain of random choices, so -log p(story) is the sum of -log p(choice), and
 * its mean over the stories of a file is what a perfect model would pay on that
 * file: the floor. What a model pays above the floor, it has yet to learn.
 *
 *   cc -O2 -std=c11 -o data/stories data/stories.c -lm
 *   data/stories            write data/stories.txt (to train on),
 *                           data/stories_val.txt and data/stories_val.txt.floor
 *   data/stories --check    read every story back and prove the floor
 *   data/stories --chat     write conversations about stories (below): data/stories_chat.jsonl,
 *                           data/stories_pairs.jsonl, and _val.jsonl beside each
 *   data/stories --ask      write questions about the validation stories: data/stories_recall/
 *   more flags: --train N   --val N   --seed S   --out PREFIX
 *
 * How to read it. The grammar, story(), has three verbs:
 *   say     text that always stands there: free for a model that has read a few;
 *   pick    one word of a list: news, log(words in the list) nats for everybody;
 *   recall  a word from earlier in the story: free, if you remember it.
 * A model that sees only the last few bytes must guess at every recall. One with
 * attention can look up who had what, where, in which colour and how many.
 *
 * One grammar, two drivers. story() does not know who is listening. A writer draws
 * its choices at random and keeps the text. A reader is given a finished line and
 * tries all choices, depth first, leaving a path where its text and the line differ.
 * So it finds every way in which the grammar can tell the line. If there were two,
 * the line would be likelier than its writer thought and the floor too high: --check
 * proves that there is one. (Try it: write a word into a list twice, run --check.)
 *
 * A line has 256 bytes: the story, spaces up to byte 255, newline. It fills one
 * window of 256 tokens, of which the first is given and 255 are predicted. All
 * stories begin with the same letter and the padding follows from the story, so
 * neither carries news and a story's floor is -log p / 255 nats per byte, exactly. */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { LINE = 256, PREDICTED = LINE - 1, MAX_CHOICES = 64, MAX_STORIES = 1000000, MAX_PATH = 4096 };

static void die(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fputs("error: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

/* ---- The words. The words of a list are equally likely; NULL ends a list. */

static const char *const ON_A[] = {"On a", "One", NULL};
static const char *const WEATHER[] = {"rainy", "sunny", "windy", "foggy", "cold", "warm",
    "dark", "grey", "misty", "hot", "mild", "snowy", NULL};
static const char *const DAY[] = {"Monday", "Tuesday", "Friday", "Sunday", "morning",
    "evening", "night", NULL};
static const char *const CHILD[] = {"Ann", "Bea", "Cleo", "Dora", "Ella", "Fay", "Gwen",
    "Hana", "Iris", "Jill", "Kate", "Lucy", "Mia", "Nina", "Olga", "Rosa", "Adam", "Ben",
    "Carl", "Dan", "Emil", "Finn", "Gus", "Hugo", "Ivan", "Jack", "Karl", "Leo", "Max",
    "Noah", "Otto", "Ron", NULL};
static const char *const FOUND[] = {"found", "saw", "made", "left", "got", "hid", NULL};
static const char *const SIZE[] = {"tiny", "big", "small", "huge", "long", "new", "dusty",
    "shiny", "thin", "round", "soft", "rusty", "wet", "flat", "muddy", "fancy", NULL};
static const char *const COLOUR[] = {"red", "blue", "green", "pink", "white", "black",
    "gold", "brown", "amber", "coral", "lilac", "tan", NULL};
static const char *const THING[] = {"kite", "ball", "drum", "hat", "boat", "lamp", "sock",
    "key", "ring", "doll", "book", "cup", "coin", "fan", "flag", "jar", "map", "net", "pen",
    "rope", "shoe", "vase", "wand", "toy", NULL};
static const char *const PLACE[] = {"in the barn", "on the hill", "by the pond",
    "in the loft", "at the zoo", "in the park", "on the roof", "by the lake", "in the cave",
    "at the farm", "on the path", "by the gate", "in the yard", "on the moor",
    "by the well", "at the mill", NULL};
static const char *const PET[] = {"Pip", "Rex", "Sooty", "Tuff", "Ziggy", "Waldo", "Yum",
    "Bingo", "Fluff", "Momo", "Nibs", "Dot", "Gogo", "Hops", "Kiki", "Lulu", "Coco", "Jojo",
    "Quill", "Vivi", NULL};
static const char *const MOOD[] = {"shy", "kind", "wise", "proud", "merry", "silly",
    "hasty", "lazy", "funny", "brave", "quick", "young", "fussy", "fat", "timid", "greedy",
    NULL};
static const char *const ANIMAL[] = {"goat", "hen", "fox", "cat", "dog", "pig", "duck",
    "frog", "mouse", "owl", "bear", "lamb", "crow", "toad", "rat", "swan", "crab", "newt",
    NULL};
static const char *const NUMBER[] = {"two", "three", "four", "five", "six", "seven",
    "eight", "nine", "ten", NULL};
static const char *const TASTE[] = {"tasty", "sweet", "fresh", "nice", "warm", "cold", "yummy",
    "plump", "crisp", "fine", NULL};
static const char *const FOOD[] = {"plums", "nuts", "figs", "buns", "pies", "beans", "cakes",
    "eggs", "dates", "limes", "peas", "tarts", "rolls", "yams", "kiwis", "beets", "mints",
    "jams", NULL};
static const char *const PRAISE[] = {"lovely", "nice", "fine", "great", "funny", "strange",
    "jolly", "super", "dear", "rare", NULL};
static const char *const SAID[] = {"said", "cried", "sang", NULL};
static const char *const PLAYED[] = {"danced", "sang", "swam", "jumped", "ran", "played",
    "fished", "hummed", "napped", "talked", "skated", "read", NULL};
static const char *const TIME[] = {"noon", "dusk", "tea", "four", "lunch", "dawn", NULL};
static const char *const THEN[] = {"Then", "Next", "Soon", NULL};
static const char *const ATE[] = {"ate", "kept", "shared", "sold", "hid", NULL};

/* ---- A teller walks the grammar, for a writer or for a reader. */

/* A place where a story can only go on in one way, for those who remember. */
typedef struct {
    int at;                   /* bytes before it, the space included */
    const char *word;         /* what comes, */
    const char *const *list;  /* of all that could be expected, */
    const char *tempting;     /* above all this, which the story has named, too; or NULL */
} Recall;
enum { WHO, COLOURED, WHERE, HOW_MANY, RECALLS };

typedef struct {
    char *line;               /* written, or compared, as the story goes on */
    int length;               /* bytes told so far */
    double p;                 /* the product of the probabilities of the choices */
    uint64_t *random;         /* writer: the state of its random numbers; reader: NULL */
    int lost;                 /* reader: the text has left the line */
    int choice[MAX_CHOICES];  /* reader: the path to try: which option at each step, */
    int options[MAX_CHOICES]; /* of how many, */
    int known, step;          /* steps laid out, and steps taken */
    Recall asked[RECALLS];    /* what a model can be asked about this story */
} Teller;

/* splitmix64: a counter, well stirred. The same numbers on every machine. */
static uint64_t next_random(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Every decision of every story is made here: one of n equally likely options. */
static int choose(Teller *t, int n) {
    if (t->lost) return 0;
    t->p /= n;
    if (t->random) return next_random(t->random) % n; /* n is tiny: the bias is below 1e-17 */
    if (t->step == MAX_CHOICES)
        die("data/stories.c: expected at most %d choices in a story, found more; "
            "raise MAX_CHOICES", MAX_CHOICES);
    if (t->step == t->known) { /* a new step: begin with its first option */
        t->choice[t->known] = 0;
        t->options[t->known] = n;
        t->known++;
    }
    return t->choice[t->step++];
}

static void say(Teller *t, const char *text) {
    for (; *text && !t->lost; text++) {
        int full = t->length == PREDICTED;
        if (t->random && full)
            die("data/stories.c: expected stories of at most %d bytes, found a longer one; "
                "shorten the grammar", PREDICTED);
        if (t->random) t->line[t->length] = *text;
        else if (full || t->line[t->length] != *text) t->lost = 1;
        t->length++;
    }
}

static const char *pick(Teller *t, const char *before, const char *const *list) {
    int n = 0;
    while (list[n]) n++;
    say(t, before);
    const char *word = list[choose(t, n)];
    say(t, word);
    return word;
}

static void recall(Teller *t, const char *before, const char *word) {
    say(t, before);
    say(t, word);
}

/* A recall that makes a question; `before` ends with a space. */
static void ask(Teller *t, int which, const char *before, const char *word,
                const char *const *list, const char *tempting) {
    say(t, before);
    t->asked[which] = (Recall){t->length, word, list, tempting};
    say(t, word);
}

/* ---- The grammar. */

typedef struct { const char *child, *found, *colour, *thing, *place, *pet, *number, *food; } Scene;

/* Two sentences, but for the last full stop: what there is to remember. */
static Scene opening(Teller *t) {
    Scene s;
    pick(t, "", ON_A);
    pick(t, " ", WEATHER);
    pick(t, " ", DAY);
    s.child = pick(t, " ", CHILD);
    s.found = pick(t, " ", FOUND);
    pick(t, " a ", SIZE);
    s.colour = pick(t, " ", COLOUR);
    s.thing = pick(t, " ", THING);
    s.place = pick(t, " ", PLACE);

    s.pet = pick(t, ". ", PET);
    pick(t, " the ", MOOD);
    pick(t, " ", ANIMAL);
    s.number = pick(t, " had ", NUMBER);
    pick(t, " ", TASTE);
    s.food = pick(t, " ", FOOD);
    return s;
}

static void story(Teller *t) {
    const Scene s = opening(t);
    const char *child = s.child, *colour = s.colour, *thing = s.thing, *place = s.place;
    const char *pet = s.pet, *number = s.number, *food = s.food;
    const char *keeper = child, *eater = pet; /* who will have the thing, and the food */
    switch (choose(t, 4)) {
    case 0:
        pick(t, ". \"What a ", PRAISE);
        recall(t, " ", thing);
        pick(t, "!\" ", SAID);
        recall(t, " ", pet);
        break;
    case 1:
        recall(t, ". \"I like your ", colour);
        recall(t, " ", thing);
        pick(t, ",\" ", SAID);
        recall(t, " ", pet);
        break;
    case 2:
        recall(t, ". \"Whose ", thing);
        pick(t, "?\" ", SAID);
        recall(t, " ", pet);
        recall(t, ". It was ", child);
        say(t, "'s");
        break;
    default:
        recall(t, ". They swapped the ", thing);
        recall(t, " for the ", number);
        recall(t, " ", food);
        keeper = pet;
        eater = child;
    }

    pick(t, ". They ", PLAYED);
    pick(t, " until ", TIME);
    pick(t, ". ", THEN);
    ask(t, WHO, " ", keeper, CHILD, eater);
    ask(t, COLOURED, " put the ", colour, COLOUR, NULL);
    recall(t, " ", thing);
    ask(t, WHERE, " back ", place, PLACE, NULL);
    recall(t, " and ", eater);
    pick(t, " ", ATE);
    ask(t, HOW_MANY, " the ", number, NUMBER, NULL);
    recall(t, " ", food);
    say(t, ".");
}

/* A whole line but its newline: a story and its padding. Returns the story's length. */
static int tell(Teller *t) {
    t->length = t->step = t->lost = 0;
    t->p = 1;
    story(t);
    int length = t->length;
    while (t->length < PREDICTED && !t->lost) say(t, " ");
    return length;
}

/* ---- The reader: every path through the grammar that tells this line. */

/* Returns how many there are; *p is their total probability. */
static int read_line(char *line, double *p) {
    Teller t = {.line = line};
    int ways = 0;
    *p = 0;
    for (;;) {
        tell(&t);
        if (!t.lost) {
            ways++;
            *p += t.p;
        }
        /* Next path: go back to the last step with an option left, and take that. */
        while (t.known > 0 && t.choice[t.known - 1] + 1 == t.options[t.known - 1]) t.known--;
        if (t.known == 0) return ways;
        t.choice[t.known - 1]++;
    }
}

/* ---- The writer: a corpus is n lines, and what a perfect model pays for them. */

typedef struct {
    char *lines;
    long n;
    int shortest, longest;       /* stories, without their padding */
    double length, floor, error; /* means: bytes; nats per predicted byte, its standard error */
} Corpus;

static Corpus write_corpus(long n, uint64_t seed) {
    Corpus c = {.lines = malloc(n * LINE), .n = n, .shortest = LINE};
    double squares = 0;
    if (!c.lines) die("expected memory for %ld stories, found none; ask for fewer", n);
    for (long i = 0; i < n; i++) {
        Teller t = {.line = c.lines + i * LINE, .random = &seed};
        int length = tell(&t);
        double nats = -log(t.p) / PREDICTED;
        t.line[PREDICTED] = '\n';
        c.length += (double)length / n;
        c.floor += nats / n;
        squares += nats * nats / n;
        if (t.line[0] != c.lines[0])
            die("data/stories.c: expected all stories to begin with '%c', found '%c'; "
                "the floor counts on it", c.lines[0], t.line[0]);
        if (length < c.shortest) c.shortest = length;
        if (length > c.longest) c.longest = length;
    }
    c.error = sqrt((squares - c.floor * c.floor) / n);
    return c;
}

static int compare_lines(const void *a, const void *b) { return memcmp(a, b, LINE); }

/* How many stories of val are also in train? Sorts train. */
static long count_repeats(Corpus train, Corpus val) {
    long repeats = 0;
    qsort(train.lines, train.n, LINE, compare_lines);
    for (long i = 0; i < val.n; i++)
        repeats += bsearch(val.lines + i * LINE, train.lines, train.n, LINE, compare_lines) != NULL;
    return repeats;
}

/* A file appears whole or not at all: it is written beside its place, then renamed. */
static void write_file(const char *path, const char *bytes, size_t size) {
    char temporary[MAX_PATH];
    snprintf(temporary, sizeof temporary, "%s.tmp", path);
    FILE *f = fopen(temporary, "wb");
    if (!f)
        die("%s: expected to create it, found: %s; change --out or start in the project's root",
            temporary, strerror(errno));
    size_t written = fwrite(bytes, 1, size, f);
    if (fclose(f) != 0 || written != size || rename(temporary, path) != 0)
        die("%s: expected to write %zu bytes, found: %s; make room, or change --out", path, size,
            strerror(errno));
}

/* FNV-1a: by it train_olmo knows that a floor is that of the file beside it. */
static uint64_t fnv1a(const char *bytes, size_t n) {
    uint64_t hash = 0xcbf29ce484222325;
    for (size_t i = 0; i < n; i++) hash = (hash ^ (unsigned char)bytes[i]) * 0x100000001b3;
    return hash;
}

static void write_floor(const char *path, const char *stories_path, Corpus c) {
    char text[MAX_PATH + 1000];
    int size = snprintf(text, sizeof text,
        "%.9f\n"
        "windows of %d bytes, in a file with the FNV-1a hash 0x%016llx\n"
        "nats per predicted byte: the loss of a perfect model on the %ld stories of\n"
        "%s. It knows the grammar that wrote them, data/stories.c, and\n"
        "pays only for choices that nobody can foresee. The number is the mean, over these\n"
        "very stories, of -log p(story) / 255: one story fills a window of 256 bytes, of\n"
        "which the first is given and 255 are predicted.\n",
        c.floor, LINE, (unsigned long long)fnv1a(c.lines, (size_t)c.n * LINE), c.n, stories_path);
    write_file(path, text, size);
}

/* ---- Conversations about stories, for supervised fine-tuning and for DPO.
 *
 * The user tells the opening of a story and asks for something in it; the right answer is
 * known, and can be said in two forms: a full sentence, or the bare word. Conversations have
 * either, by the toss of a coin, and a second question where it fits into a window. Pairs
 * prefer the sentence. So two things can be measured on questions nobody has seen: is the
 * answer right, to the letter, in one of its forms; and in which? */

typedef struct { char question[64], sentence[64], word[32]; } Talk;

enum { QUESTIONS = 5 };

static Talk talk(const Scene *s, int which) {
    Talk t;
    memset(&t, 0, sizeof t);
    switch (which) {
    case 0:
        snprintf(t.question, sizeof t.question, "Who %s the %s?", s->found, s->thing);
        snprintf(t.sentence, sizeof t.sentence, "%s %s the %s.", s->child, s->found, s->thing);
        snprintf(t.word, sizeof t.word, "%s", s->child);
        break;
    case 1:
        snprintf(t.question, sizeof t.question, "Where was the %s?", s->thing);
        snprintf(t.sentence, sizeof t.sentence, "The %s was %s.", s->thing, s->place);
        snprintf(t.word, sizeof t.word, "%s", s->place);
        break;
    case 2:
        snprintf(t.question, sizeof t.question, "Which colour was the %s?", s->thing);
        snprintf(t.sentence, sizeof t.sentence, "The %s was %s.", s->thing, s->colour);
        snprintf(t.word, sizeof t.word, "%s", s->colour);
        break;
    case 3:
        snprintf(t.question, sizeof t.question, "How many %s did %s have?", s->food, s->pet);
        snprintf(t.sentence, sizeof t.sentence, "%s had %s %s.", s->pet, s->number, s->food);
        snprintf(t.word, sizeof t.word, "%s", s->number);
        break;
    default:
        snprintf(t.question, sizeof t.question, "Who had the %s?", s->food);
        snprintf(t.sentence, sizeof t.sentence, "%s had the %s.", s->pet, s->food);
        snprintf(t.word, sizeof t.word, "%s", s->pet);
    }
    return t;
}

/* What the templates of data/chat.c add to a turn, in bytes. */
enum { TURN = sizeof "<|user|>\n" + sizeof "\n<|assistant|>\n" + sizeof "\n" };

/* {"messages": [...]} with one question or two. */
static int write_conversation(char *out, int size, uint64_t *random) {
    char line[LINE] = "";
    Teller t = {.line = line, .random = random};
    const Scene s = opening(&t);
    const int first = next_random(random) % QUESTIONS;
    const int second = (first + 1 + next_random(random) % (QUESTIONS - 1)) % QUESTIONS;
    const Talk a = talk(&s, first), b = talk(&s, second);
    const char *says_a = next_random(random) % 2 ? a.sentence : a.word;
    const char *says_b = next_random(random) % 2 ? b.sentence : b.word;
    int n = snprintf(out, size, "{\"messages\": [{\"role\": \"user\", \"content\": \"%s. %s\"}, "
        "{\"role\": \"assistant\", \"content\": \"%s\"}", line, a.question, says_a);
    const size_t bytes = strlen(line) + strlen(a.question) + strlen(says_a) + strlen(b.question)
        + strlen(says_b) + 2 * TURN;
    if (bytes <= LINE)
        n += snprintf(out + n, size - n, ", {\"role\": \"user\", \"content\": \"%s\"}, "
            "{\"role\": \"assistant\", \"content\": \"%s\"}", b.question, says_b);
    return n + snprintf(out + n, size - n, "]}\n");
}

/* {"chosen": [...], "rejected": [...]}: the same question, two right answers. */
static int write_pair(char *out, int size, uint64_t *random) {
    char line[LINE] = "";
    Teller t = {.line = line, .random = random};
    const Scene s = opening(&t);
    const Talk a = talk(&s, next_random(random) % QUESTIONS);
    const char *name[] = {"chosen", "rejected"}, *says[] = {a.sentence, a.word};
    int n = 0;
    for (int i = 0; i < 2; i++)
        n += snprintf(out + n, size - n, "%s\"%s\": [{\"role\": \"user\", \"content\": \"%s. %s\"}, "
            "{\"role\": \"assistant\", \"content\": \"%s\"}]", i ? ", " : "{", name[i], line,
            a.question, says[i]);
    return n + snprintf(out + n, size - n, "}\n");
}

static void write_lines(const char *prefix, const char *name, long n, uint64_t seed,
                        int (*write)(char *, int, uint64_t *)) {
    enum { LONGEST = 1024 };
    char path[MAX_PATH + 32], *text = malloc(n * LONGEST);
    size_t size = 0;
    if (!text) die("expected memory for %ld conversations, found none; ask for fewer", n);
    for (long i = 0; i < n; i++) size += write(text + size, LONGEST, &seed);
    snprintf(path, sizeof path, "%s_%s.jsonl", prefix, name);
    write_file(path, text, size);
    printf("%s: %ld lines\n", path, n);
    free(text);
}

/* ---- Questions about stories, for evaluation.
 *
 * A story up to one of four places, and four ways to go on, of which only one fits: who had
 * what, where, in which colour and how many. In the form of AI2's request files, which
 * `train_olmo --eval-tasks` and `dev/eval/eval tasks` ask. Guessing is right in one of four; a
 * model that remembers has all of them right. */

enum { ASKED = 100, OFFERED = 4 };

/* The choices of a question, the right one at a random place; returns that. */
static int offer(const char **choice, const Recall *q, uint64_t *random) {
    int listed = 0, n = 1, place = next_random(random) % OFFERED;
    while (q->list[listed]) listed++;
    choice[0] = q->word;
    if (q->tempting) choice[n++] = q->tempting;
    while (n < OFFERED) {
        const char *word = q->list[next_random(random) % listed];
        int again = 0;
        for (int i = 0; i < n; i++) again |= strcmp(choice[i], word) == 0;
        if (!again) choice[n++] = word;
    }
    choice[0] = choice[place], choice[place] = q->word;
    return place;
}

static int write_question(char *out, int size, const char *line, const Recall *q, int number,
                          const char *task, uint64_t *random) {
    const char *choice[OFFERED];
    int n = 0, right = offer(choice, q, random);
    for (int i = 0; i < OFFERED; i++) {
        n += snprintf(out + n, size - n, "{\"request_type\": \"loglikelihood\", \"task_name\": \"%s\", "
            "\"doc_id\": %d, \"native_id\": %d, \"idx\": %d, \"label\": %d, \"doc\": {\"gold\": %d, "
                "\"choices\": [",
            task, number, number, i, right, right);
        for (int k = 0; k < OFFERED; k++)
            n += snprintf(out + n, size - n, "%s\"%s\"", k ? ", " : "", choice[k]);
        n += snprintf(out + n, size - n, "]}, \"request\": {\"context\": \"");
        for (int k = 0; k < q->at - 1; k++) /* the space belongs to the choice */
            n += snprintf(out + n, size - n, line[k] == '"' ? "\\%c" : "%c", line[k]);
        n += snprintf(out + n, size - n, "\", \"continuation\": \" %s\"}}\n", choice[i]);
    }
    return n;
}

static void write_questions(const char *prefix, uint64_t seed) {
    static const char *const name[RECALLS] = {"recall_who", "recall_colour", "recall_where", "recall_number"};
    enum { ROOM = ASKED * OFFERED * 1024 };
    char path[MAX_PATH + 64], config[256], *text = malloc(ROOM), line[LINE];
    if (!text) die("expected memory for %d questions, found none", ASKED);
    for (int which = 0; which < RECALLS; which++) {
        uint64_t stories = seed, choices = seed ^ which; /* the stories are those of val */
        int n = 0;
        for (int i = 0; i < ASKED; i++) {
            Teller t = {.line = line, .random = &stories};
            tell(&t);
            n += write_question(text + n, ROOM - n, line, &t.asked[which], i, name[which], &choices);
        }
        const char *const parts[] = {"_recall", "/", name[which], "/rc_0shot"};
        snprintf(path, sizeof path, "%s", prefix);
        for (int i = 0; i < 4; i++) {
            strcat(path, parts[i]);
            if (i != 1 && mkdir(path, 0777) != 0 && errno != EEXIST)
                die("%s: expected to make this directory, found: %s", path, strerror(errno));
        }
        char file[MAX_PATH + 96];
        int size = snprintf(config, sizeof config, "{\"task_name\": \"%s\", \"task_config\": "
            "{\"primary_metric\": \"acc_raw\", \"num_shots\": 0}}\n", name[which]);
        snprintf(file, sizeof file, "%s/config.json", path), write_file(file, config, size);
        snprintf(file, sizeof file, "%s/requests.jsonl", path), write_file(file, text, n);
        printf("%s: %d questions with %d choices\n", file, ASKED, OFFERED);
    }
    free(text);
}

/* ---- The check: write every story again, and read the one in the file. */

static FILE *open_to_check(const char *path) {
    FILE *f = fopen(path, "rb");
    if (!f)
        die("%s: expected a file to check, found: %s; run data/stories first", path,
            strerror(errno));
    return f;
}

/* Returns the floor, from the probabilities the reader found. */
static double check_stories(const char *path, long n, uint64_t seed) {
    char line[LINE], written[LINE] = {[PREDICTED] = '\n'};
    double p, floor = 0;
    FILE *f = open_to_check(path);
    for (long i = 0; i < n; i++) {
        Teller t = {.line = written, .random = &seed};
        tell(&t);
        if (fread(line, 1, LINE, f) != LINE || memcmp(line, written, LINE) != 0)
            die("%s: line %ld: expected the story this program writes there, found another; "
                "run data/stories again with the same flags", path, i + 1);
        int ways = read_line(line, &p);
        if (ways != 1)
            die("%s: line %ld: expected one way to tell this story, found %d; "
                "mend the grammar: %.*s", path, i + 1, ways, PREDICTED, line);
        if (fabs(log(p) - log(t.p)) > 1e-9)
            die("%s: line %ld: expected log p %.12f as written, found %.12f as read; "
                "mend the grammar: %.*s", path, i + 1, log(t.p), log(p), PREDICTED, line);
        floor -= log(p) / PREDICTED / n;
    }
    if (fgetc(f) != EOF)
        die("%s: expected %ld stories, found more; check with the flags it was written with", path,
            n);
    fclose(f);
    printf("%s: %ld stories, each can be told in exactly one way, as likely as when written\n",
        path, n);
    return floor;
}

static void check_floor(const char *path, double floor) {
    double found = 0;
    FILE *f = open_to_check(path);
    if (fscanf(f, "%lf", &found) != 1 || fabs(found - floor) > 1e-9)
        die("%s: expected %.9f in the first line, found %.9f; run data/stories again", path, floor,
            found);
    fclose(f);
    printf("%s: %.9f nats per predicted byte, confirmed\n", path, floor);
}

/* ---- The command line. */

static long parse_number(const char *flag, const char *text, long least) {
    char *end = NULL;
    long value = text ? strtol(text, &end, 10) : 0;
    if (!text || end == text || *end || value < least || value > MAX_STORIES)
        die("%s: expected a whole number from %ld to %d, found '%s'", flag, least, MAX_STORIES,
            text ? text : "nothing");
    return value;
}

int main(int argc, char **argv) {
    long train_n = 24000, val_n = 256, seed = 1;
    const char *out = "data/stories";
    int check = 0, chat = 0, asking = 0;
    signal(SIGXFSZ, SIG_IGN);                               // a file that may not grow is a sentence
    for (int i = 1; i < argc; i++) {
        const char *flag = argv[i];
        if (strcmp(flag, "--help") == 0 || strcmp(flag, "-h") == 0) {
            printf("usage: data/stories [--check | --chat | --ask] [--train N] [--val N] [--seed S] [--out "
                   "PREFIX]\n"
                   "writes PREFIX.txt, PREFIX_val.txt and PREFIX_val.txt.floor (data/stories); "
                   "--check proves what is there\n");
            return 0;
        }
        if (strcmp(flag, "--check") == 0) check = 1;
        else if (strcmp(flag, "--chat") == 0) chat = 1;
        else if (strcmp(flag, "--ask") == 0) asking = 1;
        else if (strcmp(flag, "--train") == 0) train_n = parse_number(flag, argv[++i], 1);
        else if (strcmp(flag, "--val") == 0) val_n = parse_number(flag, argv[++i], 1);
        else if (strcmp(flag, "--seed") == 0) seed = parse_number(flag, argv[++i], 0);
        else if (strcmp(flag, "--out") == 0 && argv[i + 1]) out = argv[++i];
        else
            die("expected [--check | --chat | --ask] [--train N] [--val N] [--seed S] [--out PREFIX], "
                "found '%s'",
                flag);
    }
    char train_path[MAX_PATH], val_path[MAX_PATH], floor_path[MAX_PATH];
    if (strlen(out) > MAX_PATH - 30)
        die("--out: expected at most %d bytes, found %zu; use a shorter path", MAX_PATH - 30,
            strlen(out));
    snprintf(train_path, sizeof train_path, "%s.txt", out);
    snprintf(val_path, sizeof val_path, "%s_val.txt", out);
    snprintf(floor_path, sizeof floor_path, "%s_val.txt.floor", out);

    /* The generator's counter goes round in 2^64 steps; val starts half a round after train. */
    uint64_t train_seed = seed, val_seed = train_seed + (1ull << 63);
    if (chat) {
        write_lines(out, "chat", train_n, train_seed, write_conversation);
        write_lines(out, "chat_val", val_n, val_seed, write_conversation);
        write_lines(out, "pairs", train_n / 6, train_seed + (1ull << 62), write_pair);
        write_lines(out, "pairs_val", val_n, val_seed + (1ull << 62), write_pair);
        return 0;
    }
    if (asking) {
        write_questions(out, val_seed);
        return 0;
    }
    if (check) {
        check_stories(train_path, train_n, train_seed);
        check_floor(floor_path, check_stories(val_path, val_n, val_seed));
        return 0;
    }
    Corpus train = write_corpus(train_n, train_seed), val = write_corpus(val_n, val_seed);
    write_file(train_path, train.lines, train.n * LINE);
    write_file(val_path, val.lines, val.n * LINE);
    write_floor(floor_path, val_path, val);
    printf("%s: %ld stories of %d to %d bytes, %.0f on average, padded to %d\n", train_path,
        train.n,
        train.shortest, train.longest, train.length, LINE);
    printf("%s: %ld stories of %d to %d bytes, of which %ld are also in %s\n", val_path, val.n,
        val.shortest, val.longest, count_repeats(train, val), train_path);
    printf("%s: %.9f nats per predicted byte, exact for this file\n", floor_path, val.floor);
    printf("expected for any file of this grammar: %.6f +- %.6f, from %s\n", train.floor,
        train.error, train_path);
    free(train.lines);
    free(val.lines);
    return 0;
}
