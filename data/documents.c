/*
Documents: what every program in data/ reads and writes. #included by them, after train_olmo.c (die, allocate, options).

A document is a JSON object on a line of its own, as Dolma keeps them (DATA_SPEC 1.1):

    {"id": "...", "text": "...", "source": "...", ...}          any further fields are kept

in a file that is plain, gzip or zstd: its first bytes say which, not its name. A file whose name ends in neither .json,
.jsonl nor .ndjson (before .gz or .zst) is plain text: one document {"id": its path, "source": "text", "text": all of it},
or several, "path:1", "path:2" and so on, where --separator says what stands between them; these count as lines. (The path is
that below `documents/`.) "-" is standard input: JSON lines.

Every input is hostile until checked: UTF-8, JSON, the types of the three fields, lengths. What cannot be used costs one
sentence that begins with its file and line, and is skipped; or, if the user says so (--on-error stop), ends the program.

    Reader *r = reader_open(path);                       Writer *w = writer_open(path);      .gz and .zst are compressed
    for (Document d; document_read(r, &d); document_free(&d)) ...      writer_put(w, bytes, size);
    reader_close(r);                                     writer_close(w);       only now does the file have its name

Two libraries read the JSON. simdjson takes the strings that every program wants out of a line, at a gigabyte a second; jansson
makes a tree of all of it, at a tenth of that, for what changes documents (`curate mix`), and writes JSON.
*/
#include <fcntl.h>
#include <ftw.h>
#include <jansson.h>
#include <sys/file.h>
#include <zlib.h>
#include <zstd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

// ---- small things ----------------------------------------------------------------------------------------------------

// Room for `need` elements in an array that has `*room`; what it holds is kept.
static void *grown(void *array, size_t *room, size_t need, size_t size, const char *what) {
    if (need <= *room) return array;
    size_t more = need + need/2 + 16;
    void *bigger = allocate(more, size, what);
    if (array) memcpy(bigger, array, *room*size);
    release(array);
    *room = more;
    return bigger;
}
static void *room_for_one(void *array, size_t *room, size_t used, size_t size) { return grown(array, room, used + 1, size, "a document's parts"); }

static size_t code_points(const char *text, size_t size) {
    size_t n = 0;
    for (size_t i = 0; i < size; i++) n += (text[i] & 0xc0) != 0x80;
    return n;
}
// x in decimal; returns the end.
static char *put_digits(char *out, size_t x) {
    char digits[24], *d = digits;
    do *d++ = (char)('0' + x%10); while (x /= 10);
    while (d > digits) *out++ = *--d;
    return out;
}

// XXH3 of what is in a file.
static uint64_t hash_file(const char *path) {
    uint64_t bytes;
    FILE *file = open_to_read(path, &bytes);
    char *all = (char *)allocate(bytes, 1, path);
    CHECK(fread(all, 1, bytes, file) == bytes, "%s: cannot be read", path);
    uint64_t hash = XXH3_64bits(all, bytes);
    fclose(file), release(all);
    return hash;
}

// ---- white space -------------------------------------------------------------------------------------------------------
// Two kinds. Unicode's: the tokenizer's SPACE, and what Rust trims. And Python's, of str.split() and str.strip(): that and
// U+001C to U+001F (DATA_SPEC 1.3). Dolma is written in both languages; each function here says whose it is. Text is valid UTF-8.

// Is all of it Unicode's?
static int all_unicode_space(const char *s, const char *end) {
    for (int length; s < end; s += length) if (char_class(utf8_decode(s, (size_t)(end - s), &length)) != SPACE) return 0;
    return 1;
}

// The bytes of Python's at s, 0 if there is none: by hand, for every tagger asks this of every word's end.
static inline int space_at(const char *s) {
    const unsigned char *b = (const unsigned char *)s;
    if (*b < 0x80) return *b == ' ' || (*b >= 9 && *b <= 13) || (*b >= 0x1c && *b <= 0x1f);
    switch (*b) {
    case 0xc2: return b[1] == 0x85 || b[1] == 0xa0 ? 2 : 0;
    case 0xe1: return b[1] == 0x9a && b[2] == 0x80 ? 3 : 0;                                         // U+1680
    case 0xe2: return (b[1] == 0x80 && (b[2] <= 0x8a || b[2] == 0xa8 || b[2] == 0xa9 || b[2] == 0xaf))       // U+2000-200A, 2028, 2029, 202F
                   || (b[1] == 0x81 && b[2] == 0x9f) ? 3 : 0;                                       // U+205F
    case 0xe3: return b[1] == 0x80 && b[2] == 0x80 ? 3 : 0;                                         // U+3000
    }
    return 0;
}
// Bytes that no white space begins with, by one comparison: nearly all of a text.
static inline int is_solid(char c) { return (unsigned char)((unsigned char)c - 0x21) < 0xc2 - 0x21; }

// Is all of it Python's?
static int all_python_space(const char *text, size_t size) {
    size_t i = 0;
    for (int n; i < size && (n = space_at(text + i)); i += (size_t)n) {}
    return i == size;
}
// The text between Python's at its ends; its *size becomes less.
static const char *strip(const char *text, size_t *size) {
    const char *end = text + *size, *last;
    for (int n; text < end && (n = space_at(text)); text += n) {}
    for (; text < end; end = last) {
        for (last = end - 1; last > text && (*last & 0xc0) == 0x80; last--) {}
        if (!space_at(last)) break;
    }
    *size = (size_t)(end - text);
    return text;
}

// ---- what is wrong with the input ------------------------------------------------------------------------------------

static int stop_on_error = 0;                               // --on-error stop
static int told_before = 0;                                 // a second pass over the same files: its sentences were those of the first
static uint64_t problems = 0;                               // sentences so far: a program ends by printing how many

// problem("docs.jsonl:7: ..."): the caller skips what the sentence is about.
static void problem(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void problem(const char *format, ...) {
    char sentence[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    if (told_before) return;
    #pragma omp critical (problem)
    {
        if (stop_on_error) die("%s", sentence);
        for (char *c = sentence; *c; c++) if ((unsigned char)*c < ' ' || *c == 127) *c = ' ';
        fprintf(stderr, "warning: %s; skipped\n", sentence);
        problems++;
    }
}

static void problems_print(void) {
    if (problems) fprintf(stderr, "%llu problem%s: each has its sentence above\n", (unsigned long long)problems, problems > 1 ? "s" : "");
}

// "skip" or "stop", as given to --on-error
static void choose_on_error(const char *word) {
    stop_on_error = !strcmp(word, "stop");
    CHECK(stop_on_error || !strcmp(word, "skip"), "--on-error %s: expected skip or stop", word);
}

// ---- reading ---------------------------------------------------------------------------------------------------------

enum { BLOCK = 1 << 18, PADDING = 64 };                     // bytes read, or decompressed, at a time; readable behind every line
static const size_t longest_line = 64 << 20, longest_text = 200 << 20;       // what is longer is refused; the tokenizer counts in 32 bits

typedef enum { PLAIN, GZIP, ZSTD } Packing;

typedef struct {                                            // of a file; or a piece of a plain text, between separators
    const char *path;                                       // as sentences name it
    uint64_t number;                                        // from 1
    const char *text;                                       // PADDING bytes behind it can be read
    size_t size;
    int json;                                               // a JSON object, not plain text
    int several;                                            // may be in its file
    const char *extra[2];                                   // paths, such as metadata.url, of strings that documents are asked for
} Line;

typedef struct {
    Line line;                                              // the last one read: reader_line
    FILE *file;
    Packing packing;
    z_stream gzip;
    ZSTD_DStream *zstd;
    unsigned char *packed;                                  // [BLOCK] bytes of the file: [packed_at, packed_end) not yet used
    size_t packed_at, packed_end;
    uint64_t packed_read;                                   // bytes of the file so far: what a progress bar counts
    int inside;                                             // of a compressed stream that has not ended
    int ended;                                              // nothing follows [at, end)
    char *buffer;                                           // [capacity] unpacked: [at, end) not yet used
    size_t at, end, capacity;
    const char *separator;                                  // between documents: a newline; in plain text the caller's, or none
} Reader;

// What follows the last directory named documents; the whole path, if there is none.
static const char *below_documents(const char *path) {
    const char *below = path;
    for (const char *s = path; (s = strstr(s, "documents/")); s++) if (s == path || s[-1] == '/') below = s + strlen("documents/");
    return below;
}

// Does the name, less .gz or .zst, end in this?
static int name_ends_with(const char *path, const char *end) {
    size_t n = strlen(path), m = strlen(end);
    if (ends_with(path, ".gz")) n -= 3; else if (ends_with(path, ".zst")) n -= 4;
    return n >= m && !strncmp(path + n - m, end, m);
}

static int is_json_name(const char *path) {
    return name_ends_with(path, ".jsonl") || name_ends_with(path, ".json") || name_ends_with(path, ".ndjson");
}

static void reader_fill_packed(Reader *r) {
    r->packed_at = 0;
    r->packed_end = fread(r->packed, 1, BLOCK, r->file);
    r->packed_read += r->packed_end;
    if (!ferror(r->file)) return;
    problem("%s: reading failed after byte %llu: %s", r->line.path, (unsigned long long)r->packed_read, strerror(errno));
    r->ended = 1;
}

static const char *separator = NULL;                        // --separator: between the documents of a plain text; NULL: it is one

// Returns NULL, with a sentence, if the file cannot be read.
static Reader *reader_open(const char *path) {
    int standard = !strcmp(path, "-");
    struct stat s;
    int missing = !standard && stat(path, &s);
    if (missing || (!standard && S_ISDIR(s.st_mode))) {
        problem("%s: cannot be read: %s", path, missing ? strerror(errno) : "expected a file, found a directory");
        return NULL;
    }
    FILE *file = standard ? stdin : fopen(path, "rb");
    CHECK(file || (errno != EMFILE && errno != ENFILE && errno != ENOMEM), "%s: cannot be read: %s", path, strerror(errno));    // not its fault
    if (!file) { problem("%s: cannot be read: %s", path, strerror(errno)); return NULL; }
    Reader *r = (Reader *)allocate(1, sizeof *r, "a reader");
    r->line.path = standard ? "standard input" : path, r->file = file;
    r->line.json = standard || is_json_name(path);
    r->separator = r->line.json ? "\n" : separator, r->line.several = r->separator != NULL;
    r->packed = (unsigned char *)allocate(BLOCK, 1, "a file's bytes");
    r->capacity = 4*BLOCK, r->buffer = (char *)allocate(r->capacity + PADDING, 1, "a file's text");
    reader_fill_packed(r);
    const unsigned char *p = r->packed;
    if (r->packed_end >= 2 && p[0] == 0x1f && p[1] == 0x8b) {
        r->packing = GZIP;
        CHECK(inflateInit2(&r->gzip, 15 + 16) == Z_OK, "%s: zlib cannot start", path);
    } else if (r->packed_end >= 4 && p[0] == 0x28 && p[1] == 0xb5 && p[2] == 0x2f && p[3] == 0xfd) {
        r->packing = ZSTD;
        r->zstd = ZSTD_createDStream();
        CHECK(r->zstd, "%s: libzstd cannot start", path);
    }
    return r;
}

static void reader_close(Reader *r) {
    if (!r) return;
    if (r->packing == GZIP) inflateEnd(&r->gzip);
    if (r->packing == ZSTD) ZSTD_freeDStream(r->zstd);
    if (r->file != stdin) fclose(r->file);
    release(r->packed), release(r->buffer), release(r);
}

// The compressed stream cannot be followed to its end: the file ends here, with its last whole line.
static void reader_break(Reader *r, const char *why) {
    problem("%s: the %s stream breaks off after line %llu (%s): its rest cannot be read", r->line.path, r->packing == GZIP ? "gzip" : "zstd",
            (unsigned long long)(r->line.number - 1), why);
    r->at = r->end, r->ended = 1;
}

// One step of unpacking into out[0..room): returns how many bytes; 0 may also mean that more input is needed. Compressed
// streams may follow each other (`cat a.gz b.gz`). A broken one ends the file, with a sentence.
static size_t reader_unpack(Reader *r, char *out, size_t room) {
    unsigned char *in = r->packed + r->packed_at;
    size_t have = r->packed_end - r->packed_at, used = have, made = 0;
    const char *broken = NULL;
    if (!have) return 0;
    if (r->packing == PLAIN) {
        used = made = zmin(have, room);
        memcpy(out, in, made);
    } else if (r->packing == GZIP) {
        if (!r->inside) inflateReset(&r->gzip);
        r->gzip.next_in = in, r->gzip.avail_in = (uInt)have;
        r->gzip.next_out = (unsigned char *)out, r->gzip.avail_out = (uInt)zmin(room, BLOCK);
        int code = inflate(&r->gzip, Z_NO_FLUSH);
        used = have - r->gzip.avail_in, made = zmin(room, BLOCK) - r->gzip.avail_out;
        r->inside = code != Z_STREAM_END;
        if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR) broken = r->gzip.msg ? r->gzip.msg : "unknown trouble";
    } else {
        ZSTD_inBuffer input = { in, have, 0 };
        ZSTD_outBuffer output = { out, room, 0 };
        size_t code = ZSTD_decompressStream(r->zstd, &output, &input);
        used = input.pos, made = output.pos;
        r->inside = code != 0;
        if (ZSTD_isError(code)) broken = ZSTD_getErrorName(code);
    }
    r->packed_at += used;
    if (broken) reader_break(r, broken);
    return made;
}

// More unpacked bytes behind [at, end), whose beginning may move; or r->ended.
static void reader_fill(Reader *r) {
    if (r->at) memmove(r->buffer, r->buffer + r->at, r->end - r->at), r->end -= r->at, r->at = 0;
    if (r->capacity - r->end < BLOCK) {
        char *bigger = (char *)allocate(2*r->capacity + PADDING, 1, r->line.path);
        memcpy(bigger, r->buffer, r->end);
        release(r->buffer);
        r->buffer = bigger, r->capacity *= 2;
    }
    while (!r->ended) {
        size_t made = reader_unpack(r, r->buffer + r->end, r->capacity - r->end);
        r->end += r->ended ? 0 : made;
        if (made || r->ended) return;
        if (r->packed_at < r->packed_end) continue;
        reader_fill_packed(r);
        if (!r->packed_end && r->inside && !r->ended) reader_break(r, "the file is cut off");
        r->ended = r->ended || !r->packed_end;
    }
}

// Reads the next line (or the next piece of a text file), without its separator; 0 after the last.
static int reader_line(Reader *r) {
    Line *line = &r->line;
    size_t n = r->separator ? strlen(r->separator) : 0, most = line->json ? longest_line : longest_text, searched = 0;
    int too_long = 0;
    line->number++;
    for (;;) {
        char *start = r->buffer + r->at, *found = NULL;
        size_t have = r->end - r->at;
        if (n && have >= n) found = (char *)memmem(start + searched, have - searched, r->separator, n);
        if (!found && !r->ended) {
            if (have > most) too_long = 1, r->at = r->end - n, have = n;                    // forget it, look for its end
            searched = have >= n && n ? have - n + 1 : 0;
            reader_fill(r);
            continue;
        }
        line->text = start, line->size = found ? (size_t)(found - start) : have;
        r->at += found ? line->size + n : line->size;
        if (!found && !line->size && !too_long) { line->number--; return 0; }
        int mark = line->number == 1 && line->size >= 3 && !memcmp(line->text, "\xef\xbb\xbf", 3);         // of the byte order
        if (mark) line->text += 3, line->size -= 3;
        if (!too_long && line->size <= most) return 1;
        problem("%s:%llu: longer than %zu MB", line->path, (unsigned long long)line->number, most >> 20);
        too_long = 0, searched = 0, line->number++;
    }
}

// ---- documents -------------------------------------------------------------------------------------------------------

typedef struct {
    const char *id, *source, *text, *extra[2];              // source: "" if there is none; extra: NULL if there is none
    size_t id_size, source_size, size, extra_size[2];       // bytes, of text: `size`. Valid UTF-8, in which even a NUL may stand
    char *own;                                              // where these strings are
    json_t *json;                                           // all of the document, after document_json
    const Line *from;
    const char *path;                                       // where it was read: sentences about it begin path:line
    uint64_t line;
} Document;

static void document_free(Document *d) { release(d->own), json_decref(d->json), d->own = NULL, d->json = NULL; }

const char *json_strings(const char **value, size_t *size, const char *const *path, int n, const char *json, size_t bytes);      // json.cc
enum { ABSENT, IS_NULL, IS_OTHER };                         // what it says of a place where there is no string

// "path:number", or "path" if the number is 0. In UTF-8, which a file's name need not be. Returns its size.
enum { PLACE = 3*(PATH + 32) };
static size_t put_place(char out[PLACE], const char *path, uint64_t number) {
    char place[PATH + 32];
    int n = snprintf(place, sizeof place, number ? "%s:%llu" : "%s", path, (unsigned long long)number);
    return utf8_repair(out, place, (size_t)n);
}

// What is wrong with a line that simdjson refused: jansson knows the place, too.
static void explain_json(const Line *line, const char *why) {
    json_error_t error;
    json_t *json = json_loadb(line->text, line->size, JSON_ALLOW_NUL, &error);
    if (!json && json_error_code(&error) == json_error_numeric_overflow)
        problem("%s:%llu: a number that is too large ends at byte %d", line->path, (unsigned long long)line->number, error.position);
    else if (!json) problem("%s:%llu: not JSON at byte %d: %s", line->path, (unsigned long long)line->number, error.position, error.text);
    else if (!json_is_object(json)) problem("%s:%llu: expected a JSON object", line->path, (unsigned long long)line->number);
    else problem("%s:%llu: not JSON: %s", line->path, (unsigned long long)line->number, why);
    json_decref(json);
}

// A line as a document: 1, or 0 with a sentence. A document without an id gets
// "path:line" for one, for public corpora often have none (the path below `documents/`, however the rest is spelled); and one
// without a source "". A null is no id, and no source.
static int document_parse(const Line *line, Document *d) {
    enum { THE_TEXT, THE_ID, THE_SOURCE, EXTRA, STRINGS = EXTRA + 2 };
    const char *path[STRINGS] = { "text", "id", "source", line->extra[0], line->extra[1] }, *value[STRINGS] = { NULL };
    size_t size[STRINGS] = { 0 }, all = 0;
    char place[PLACE];
    memset(d, 0, sizeof *d);
    d->from = line, d->path = line->path, d->line = line->number;
    if (line->json) {
        const char *why = json_strings(value, size, path, EXTRA + (line->extra[0] ? line->extra[1] ? 2 : 1 : 0), line->text, line->size);
        if (why) { explain_json(line, why); return 0; }
    } else {
        value[THE_TEXT] = line->text, size[THE_TEXT] = line->size, value[THE_SOURCE] = "text", size[THE_SOURCE] = 4;
        size_t valid = utf8_valid(line->text, line->size);
        if (valid < line->size) {
            problem("%s:%llu: expected UTF-8 text, found another byte at byte %zu", line->path, (unsigned long long)line->number, valid);
            return 0;
        }
    }
    for (int i = 0; i < EXTRA; i++) if (!value[i]) {
        if (i == THE_ID && size[i] != IS_OTHER) value[i] = place, size[i] = put_place(place, below_documents(line->path), line->several ? line->number : 0);
        else if (i == THE_SOURCE && size[i] != IS_OTHER) value[i] = "", size[i] = 0;
        else {
            problem(size[i] == ABSENT ? "%s:%llu: expected a string \"%s\", found none" : "%s:%llu: expected \"%s\" to be a string",
                    line->path, (unsigned long long)line->number, path[i]);
            return 0;
        }
    }
    for (int i = 0; i < STRINGS; i++) all += value[i] ? size[i] + 1 : 0;
    char *own = d->own = (char *)allocate(all, 1, "a document");
    for (int i = 0; i < STRINGS; i++) if (value[i]) value[i] = (char *)memcpy(own, value[i], size[i]), own += size[i] + 1;
    d->text = value[THE_TEXT], d->id = value[THE_ID], d->source = value[THE_SOURCE];
    d->size = size[THE_TEXT], d->id_size = size[THE_ID], d->source_size = size[THE_SOURCE];
    for (int i = 0; i < 2; i++) d->extra[i] = value[EXTRA + i], d->extra_size[i] = value[EXTRA + i] ? size[EXTRA + i] : 0;
    return 1;
}

// All of the document that was read last, as a tree; NULL, with a sentence, if jansson refuses what simdjson took: a whole number
// beyond 63 bits, a NUL in a name.
static json_t *document_json(Document *d) {
    json_error_t error;
    if (!d->from->json) d->json = json_object();
    else if (!(d->json = json_loadb(d->from->text, d->from->size, JSON_ALLOW_NUL, &error))) {
        problem("%s:%llu: cannot be used, at byte %d: %s", d->path, (unsigned long long)d->line, error.position, error.text);
        return NULL;
    }
    if (!json_object_get(d->json, "id")) json_object_set_new(d->json, "id", json_stringn(d->id, d->id_size));
    if (d->from->json) return d->json;
    json_object_set_new(d->json, "source", json_string(d->source));
    json_object_set_new(d->json, "text", json_stringn(d->text, d->size));
    return d->json;
}

// Blank lines are no documents.
static int line_is_blank(const Line *line) {
    size_t blank = 0;
    while (blank < line->size && memchr(" \t\r", line->text[blank], 3)) blank++;
    return line->json && blank == line->size;
}

// The next document that is fit for use: 1; 0 after the last.
static int document_read(Reader *r, Document *d) {
    while (reader_line(r)) if (!line_is_blank(&r->line) && document_parse(&r->line, d)) return 1;
    return 0;
}

// ---- writing ---------------------------------------------------------------------------------------------------------
// A file is written as path.tmp and renamed when the last byte is on the disk: what has its name is whole.

// Makes the directories that a path leads through.
static void make_directories_of(const char *path) {
    char part[PATH];
    CHECK(strlen(path) < PATH, "%s: this path is too long", path);
    for (size_t i = 1; path[i]; i++) if (path[i] == '/') memcpy(part, path, i), part[i] = 0, make_directory(part);
}

// A file that has its name only when it is whole. What is unfinished when the program fails is removed.
typedef struct Whole { char path[PATH], temporary[PATH]; FILE *file; struct Whole *next; } Whole;

static Whole *unfinished = NULL;
static void remove_unfinished(void) { for (Whole *w = unfinished; w; w = w->next) unlink(w->temporary); }

// w->file is open, or something else may write to w->temporary. Only a file is replaced, no device or pipe; and a lock keeps out
// other runs that write to the same name.
static Whole *whole_begin(const char *path) {
    static int registered = 0;
    Whole *w = (Whole *)allocate(1, sizeof *w, "a file's name");
    struct stat s, named;
    CHECK(*path && snprintf(w->path, PATH, "%s", path) < PATH && snprintf(w->temporary, PATH, "%s.tmp", path) < PATH,
          "%s: expected the name of a file, of less than %d bytes", path, PATH);
    CHECK(stat(path, &s) || S_ISREG(s.st_mode), "%s: expected the name of a file, found a directory, a pipe or a device", path);
    make_directories_of(path);
    int fd = open(w->temporary, O_RDWR | O_CREAT, 0666);
    CHECK(fd >= 0, "%s: cannot be written: %s", w->temporary, strerror(errno));
    int locked = !flock(fd, LOCK_EX | LOCK_NB) || errno != EWOULDBLOCK;      // where there are no locks, we do without
    CHECK(locked && !fstat(fd, &s) && !stat(w->temporary, &named) && s.st_ino == named.st_ino, "%s: another run is writing it", path);
    CHECK(ftruncate(fd, 0) == 0 && (w->file = fdopen(fd, "wb")), "%s: cannot be written: %s", w->temporary, strerror(errno));
    #pragma omp critical (unfinished)
    {
        if (!registered) registered = 1, atexit(remove_unfinished), signal(SIGXFSZ, SIG_IGN);    // a full disk is a sentence
        w->next = unfinished, unfinished = w;
    }
    return w;
}
static void whole_forget(Whole *w) {
    #pragma omp critical (unfinished)
    {
        Whole **link = &unfinished;
        while (*link != w) link = &(*link)->next;
        *link = w->next;
    }
    release(w);
}
static int same_bytes(const char *a, const char *b) {
    struct stat s, t;
    if (stat(a, &s) || stat(b, &t) || s.st_size != t.st_size) return 0;
    FILE *f = fopen(a, "rb"), *g = fopen(b, "rb");
    char x[4096], y[4096];
    size_t n = 1;
    int same = f && g;
    while (same && n) n = fread(x, 1, sizeof x, f), same = fread(y, 1, sizeof y, g) == n && !memcmp(x, y, n);
    if (f) fclose(f);
    if (g) fclose(g);
    return same;
}
// A file that is there already, with the same bytes, stays: with its time, by which others know it.
static void whole_end(Whole *w) {
    flush_written(w->file, w->temporary);
    if (same_bytes(w->temporary, w->path)) unlink(w->temporary);
    else CHECK(rename(w->temporary, w->path) == 0, "%s: cannot be renamed to %s: %s", w->temporary, w->path, strerror(errno));
    fclose(w->file), whole_forget(w);                       // and with it the lock, when nobody can take our file for theirs
}
// Can it be written when a long run is over? NULL, nothing, and "-" can.
static void whole_check(const char *path) {
    if (!path || !strcmp(path, "-")) return;
    Whole *w = whole_begin(path);
    unlink(w->temporary), fclose(w->file), whole_forget(w);
}

typedef struct {
    const char *path;                                       // as sentences name it
    Whole *whole;                                           // NULL: standard output
    FILE *file;
    Packing packing;
    z_stream gzip;
    ZSTD_CStream *zstd;
    unsigned char *packed;                                  // [BLOCK]
    char *held;                                             // [BLOCK] what has been put, but not yet packed
    size_t holds;
} Writer;

// "-" is standard output, never compressed.
static Writer *writer_open(const char *path) {
    Writer *w = (Writer *)allocate(1, sizeof *w, "a writer");
    if (strcmp(path, "-")) w->whole = whole_begin(path);
    w->path = w->whole ? w->whole->path : "standard output", w->file = w->whole ? w->whole->file : stdout;
    w->packing = ends_with(path, ".gz") ? GZIP : ends_with(path, ".zst") ? ZSTD : PLAIN;
    w->packed = (unsigned char *)allocate(BLOCK, 1, "a file's bytes"), w->held = (char *)allocate(BLOCK, 1, "a file's text");
    if (w->packing == GZIP) CHECK(deflateInit2(&w->gzip, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK, "%s: zlib cannot start", path);
    if (w->packing == ZSTD) CHECK((w->zstd = ZSTD_createCStream()), "%s: libzstd cannot start", path);
    return w;
}

static void writer_raw(Writer *w, const void *bytes, size_t size) {
    CHECK(fwrite(bytes, 1, size, w->file) == size, "%s: writing failed: %s; is the disk full?", w->path, strerror(errno));
}
// last: also what the compressor still holds.
static void writer_pack(Writer *w, const void *bytes, size_t size, int last) {
    if (w->packing == PLAIN) writer_raw(w, bytes, size);
    if (w->packing == GZIP) {
        w->gzip.next_in = (unsigned char *)bytes, w->gzip.avail_in = (uInt)size;
        do {
            w->gzip.next_out = w->packed, w->gzip.avail_out = BLOCK;
            CHECK(deflate(&w->gzip, last ? Z_FINISH : Z_NO_FLUSH) != Z_STREAM_ERROR, "%s: zlib failed", w->path);
            writer_raw(w, w->packed, BLOCK - w->gzip.avail_out);
        } while (w->gzip.avail_out == 0);
    }
    if (w->packing == ZSTD) {
        ZSTD_inBuffer input = { bytes, size, 0 };
        size_t left = 0;
        do {
            ZSTD_outBuffer output = { w->packed, BLOCK, 0 };
            left = ZSTD_compressStream2(w->zstd, &output, &input, last ? ZSTD_e_end : ZSTD_e_continue);
            CHECK(!ZSTD_isError(left), "%s: libzstd failed: %s", w->path, ZSTD_getErrorName(left));
            writer_raw(w, w->packed, output.pos);
        } while (last ? left > 0 : input.pos < input.size);
    }
}
static void writer_put(Writer *w, const void *bytes, size_t size) {
    for (size_t done = 0, some; done < size; done += some) {
        some = zmin(size - done, BLOCK - w->holds);
        memcpy(w->held + w->holds, (const char *)bytes + done, some);
        if ((w->holds += some) == BLOCK) writer_pack(w, w->held, BLOCK, 0), w->holds = 0;
    }
}
static void writer_text(Writer *w, const char *text) { writer_put(w, text, strlen(text)); }

static int put_json(const char *bytes, size_t size, void *w) { writer_put((Writer *)w, bytes, size); return 0; }
// Any JSON value, compact, in UTF-8 (no newline after it).
static void writer_json(Writer *w, const json_t *value) { json_dump_callback(value, put_json, w, JSON_COMPACT | JSON_ENCODE_ANY); }
static void writer_json_string(Writer *w, const char *text, size_t size) {
    json_t *value = json_stringn(text, size);
    CHECK(value, "%s: this string is not UTF-8: %.60s", w->path, text);
    writer_json(w, value);
    json_decref(value);
}
char *shortest_decimal(char *out, double x);                // json.cc
static void writer_number(Writer *w, double x) {
    char digits[32];
    writer_put(w, digits, (size_t)(shortest_decimal(digits, x) - digits));
}

// [start,end,score]
static void writer_span(Writer *w, size_t start, size_t end, double score) {
    char text[64], *s = text;
    *s++ = '[', s = put_digits(s, start), *s++ = ',', s = put_digits(s, end), *s++ = ',';
    writer_put(w, text, (size_t)(s - text)), writer_number(w, score), writer_text(w, "]");
}

static void writer_close(Writer *w) {
    writer_pack(w, w->held, w->holds, 1);
    if (w->packing == GZIP) deflateEnd(&w->gzip);
    if (w->packing == ZSTD) ZSTD_freeCStream(w->zstd);
    if (w->whole) whole_end(w->whole);
    else CHECK(fflush(stdout) == 0 && !ferror(stdout), "%s: writing failed: %s", w->path, strerror(errno));
    release(w->packed), release(w->held), release(w);
}

// ---- the command line ------------------------------------------------------------------------------------------------

// A row of the table of a program that reads documents.
#define SEPARATOR_OPTION { "--separator", TEXT, &separator, "between the documents of a plain text, such as '<|endoftext|>' (without it a file is one)" }

// Sets the table's options; with --help (*help is its value) prints usage and table, and what `more` has to say, and ends the
// program. Returns the other arguments, *names of them: the caller's to release.
static const char **command_line(const char *usage, void (*more)(void), const Option *table, int n, const int *help,
                                 int argc, char **argv, int *names) {
    const char **name = (const char **)allocate((size_t)argc + 1, sizeof *name, "the command line");
    memory_advice = "";                                     // that of train_olmo
    *names = parse_options(table, n, argc, argv, name, NULL);
    if (separator && !*separator) separator = NULL;         // --separator ''
    if (!*help) return name;
    printf("usage: %s\n", usage);
    print_options(table, n);
    if (more) more();
    release(name);
    exit(finished());
}

// ---- many files ------------------------------------------------------------------------------------------------------

typedef struct { char **path; int n, room; uint64_t bytes; } Files;

static Files *files_found;                                  // nftw's callback has no argument of ours
static int file_found(const char *path, const struct stat *s, int type, struct FTW *place) {
    const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    if (place->level && (*name == '.' || ends_with(path, ".tmp"))) return 0;
    if (type == FTW_DNR || type == FTW_NS || type == FTW_SLN)
        problem("%s: cannot be read: %s", path, type == FTW_SLN ? "the link leads nowhere" : "permission is denied");
    if (type != FTW_F || (place->level && !S_ISREG(s->st_mode))) return 0;
    Files *f = files_found;
    if (f->n == f->room) {
        f->room = 2*f->room + 64;
        f->path = (char **)realloc(f->path, (size_t)f->room*sizeof *f->path);
        CHECK(f->path, "not enough memory for the names of %d files", f->room);
    }
    f->bytes += (uint64_t)s->st_size;
    CHECK((f->path[f->n++] = strdup(path)), "not enough memory for the names of %d files", f->n);
    return 0;
}
static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

typedef struct { char *real; const char *name; } Named;
static int by_real(const void *a, const void *b) { return strcmp(((const Named *)a)->real, ((const Named *)b)->real); }

// Bytes of the files, as they lie on the disk: for the progress bar.
static uint64_t files_bytes(char **path, int n) {
    struct stat s;
    uint64_t bytes = 0;
    for (int i = 0; i < n; i++) bytes += stat(path[i], &s) ? 0 : (uint64_t)s.st_size;
    return bytes;
}

// The files that the command line names; of a directory all files below it, in the order of their names, but for hidden
// ones and *.tmp. Nothing at all is an error, and so is a file that is named twice: its documents would count twice.
static Files files_named(const char **name, int n) {
    Files f = { NULL, 0, 0, 0 };
    files_found = &f;
    for (int i = 0; i < n; i++) {
        int first = f.n;
        struct stat s;
        struct FTW top = { 0, 0 };
        if (!strcmp(name[i], "-")) memset(&s, 0, sizeof s), file_found("-", &s, FTW_F, &top);
        else CHECK(nftw(name[i], file_found, 32, 0) == 0, "%s: cannot be read: %s", name[i], strerror(errno));
        CHECK(f.n > first, "%s: there is no file that could be read", name[i]);
        qsort(f.path + first, (size_t)(f.n - first), sizeof *f.path, by_name);
    }
    files_found = NULL;
    CHECK(f.n, "expected files or directories of documents on the command line; --help explains");
    Named *named = (Named *)allocate((size_t)f.n, sizeof *named, "the names of the files");
    for (int i = 0; i < f.n; i++) {
        char *real = realpath(f.path[i], NULL);             // NULL: standard input, or a pipe of the shell's
        named[i] = (Named){ real ? real : strdup(f.path[i]), f.path[i] };
        CHECK(named[i].real, "not enough memory for the names of %d files", f.n);
    }
    qsort(named, (size_t)f.n, sizeof *named, by_real);
    for (int i = 1; i < f.n; i++)
        CHECK(strcmp(named[i - 1].real, named[i].real), "%s and %s are one file, which is named twice", named[i - 1].name, named[i].name);
    for (int i = 0; i < f.n; i++) free(named[i].real);
    release(named);
    return f;
}

// No output may be written over one of them.
static void check_no_input(const Files *files, const char *output) {
    struct stat in, out;
    if (!output || stat(output, &out)) return;
    for (int i = 0; i < files->n; i++)
        CHECK(stat(files->path[i], &in) || in.st_ino != out.st_ino || in.st_dev != out.st_dev,
              "%s: would be written over, but is an input; choose another output path", output);
}

// ---- attributes: beside the documents ----------------------------------------------------------------------------------

// .../documents/x.jsonl.gz -> .../attributes/NAME/, and x.jsonl.gz in it (DATA_SPEC 1.2). Attributes of a plain text are JSON lines
// all the same.
static void attributes_directory(char out[PATH], const char *path, const char *name) {
    const char *rest = below_documents(path);
    CHECK(rest > path, "%s: expected a path through a directory named documents: attributes go to attributes/%s beside it", path, name);
    int before = (int)(rest - path) - (int)strlen("documents/");
    CHECK(snprintf(out, PATH, "%.*sattributes/%s/", before, path, name) < PATH, "%s: this path is too long", path);
}
static void attributes_path(char out[PATH], const char *path, const char *name) {
    attributes_directory(out, path, name);
    const char *rest = below_documents(path), *end = is_json_name(rest) ? "" : ".jsonl";
    CHECK(strlen(out) + strlen(rest) + strlen(end) < PATH, "%s: this path is too long", path);
    strcat(strcat(out, rest), end);
}
// Two inputs with one output, as x.txt and x.txt.jsonl are, would be written at the same time.
static int by_path(const void *a, const void *b) { return strcmp((const char *)a, (const char *)b); }
static void check_different(char (*out)[PATH], int n) {
    char (*sorted)[PATH] = (char (*)[PATH])allocate((size_t)n + 1, sizeof *sorted, "the names of the files");
    memcpy(sorted, out, (size_t)n*sizeof *out);
    qsort(sorted, (size_t)n, sizeof *sorted, by_path);
    for (int i = 1; i < n; i++)
        CHECK(strcmp(sorted[i - 1], sorted[i]), "%s: two of the files named have their attributes there; rename one", sorted[i]);
    release(sorted);
}
static void check_name(const char *option, const char *name) {
    CHECK(name, "%s: is missing; expected the name of an attribute", option);
    CHECK(*name && *name != '.' && !name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")],
          "%s %s: expected the name of an attribute: letters, digits, _ - .", option, name);
}

static int holds_files(const char *path) {
    DIR *directory = opendir(path);
    int found = 0;
    for (struct dirent *entry; !found && directory && (entry = readdir(directory)); )
        found = *entry->d_name != '.' && !ends_with(entry->d_name, ".tmp");
    if (directory) closedir(directory);
    return found;
}
static void note_path(char out[PATH], const char *documents, const char *name) {
    attributes_directory(out, documents, name);
    CHECK(strlen(out) + strlen(".command") < PATH, "%s: this path is too long", documents);
    strcat(out, ".command");
}

// One command makes what is below attributes/NAME/; the file .command there holds it, as far as the attributes depend on it.
// Another command may neither add to them nor replace some; nor may one with another --separator (noted in hexadecimal, for it may be
// a newline). documents: one of its input files.
static void note_command(const char *command, const char *documents, const char *name) {
    char note[PATH], directory[PATH], temporary[PATH], whole[2*PATH];
    int size = snprintf(whole, sizeof whole, "%s%s", command, separator ? ", --separator " : "");
    CHECK(size < (int)sizeof whole, "this command is too long to be noted: %.100s ...", command);
    for (const char *s = separator; s && *s && size < (int)sizeof whole - 8; s++) size += sprintf(whole + size, "%02x", (unsigned char)*s);
    note_path(note, documents, name), attributes_directory(directory, documents, name);
    int missing = !file_exists(note);
    if (missing && holds_files(directory)) {                // unless a run beside us has noted its command now, and then written
        missing = !file_exists(note);
        CHECK(!missing, "%s is missing: who made the attributes there? Choose another --name, or remove them", note);
    }
    CHECK(snprintf(temporary, PATH, "%s.%ld.tmp", note, (long)getpid()) < PATH, "%s: this path is too long", documents);
    if (missing) {
        make_directories_of(note);
        FILE *file = open_to_write(temporary);
        fprintf(file, "%s\n", whole), close_written(file, temporary);
        CHECK(rename(temporary, note) == 0, "%s: cannot be renamed to %s: %s", temporary, note, strerror(errno));
    }
    char *before = read_text(note);
    before[strcspn(before, "\n")] = 0;
    CHECK(!strcmp(before, whole), "%s: the attributes there were made by\n    %s\nand not by\n    %s\nchoose another --name, or remove them",
          note, before, whole);
    release(before);
}

// Attributes carry the time of the documents that they are about (those that others made, a later one): so those of another time
// are about what is no longer there. Sets it; asks for it.
static void set_time_of(const char *attributes, const struct stat *documents) {
    const struct timespec times[2] = { { 0, UTIME_OMIT }, documents->st_mtim };
    CHECK(utimensat(AT_FDCWD, attributes, times, 0) == 0, "%s: its time cannot be set: %s", attributes, strerror(errno));
}
static int time_order(const struct stat *a, const struct stat *b) {     // -1: a is older, 1: younger
    const struct timespec x = a->st_mtim, y = b->st_mtim;
    return x.tv_sec != y.tv_sec ? (x.tv_sec < y.tv_sec ? -1 : 1) : (x.tv_nsec > y.tv_nsec) - (x.tv_nsec < y.tv_nsec);
}

// ---- the progress bar ------------------------------------------------------------------------------------------------
// On a terminal, on standard error, at most five times a second; on anything else only its last line.

static struct { const char *what; double total, done, documents, began, shown; } bar;

static void bar_begin(const char *what, uint64_t total_bytes) {
    bar.what = what, bar.total = (double)total_bytes, bar.done = bar.documents = 0, bar.began = bar.shown = seconds();
}
static void bar_print(const char *end) {
    double past = seconds() - bar.began, part = bar.total > 0 && bar.done < bar.total ? bar.done/bar.total : 1;
    char documents[64];
    fprintf(stderr, "\r%s [%-30.*s] %3.0f%%  %s documents  %.1f MB/s  %.0f s%s", bar.what, (int)(30*part), "##############################",
            100*part, with_commas(bar.documents, documents), 1e-6*bar.done/(past + 1e-9), past, end);
}
// `bytes` more of the input files have been read, and `documents` more are done. Called from any thread.
static void bar_add(uint64_t bytes, uint64_t documents) {
    #pragma omp critical (bar)
    {
        bar.done += (double)bytes, bar.documents += (double)documents;
        if (isatty(2) && seconds() - bar.shown > 0.2) bar_print(""), fflush(stderr), bar.shown = seconds();
    }
}
static void bar_end(void) {
    bar_print("\n");
    problems_print();
}
