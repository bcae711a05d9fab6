/*
Documents: what every program in data/ reads and writes. #included by them, after train_olmo.c
(die, allocate, options).

A document is a JSON object on a line of its own, as Dolma keeps them (DATA_SPEC 1.1):

    {"id": "...", "text": "...", "source": "...", ...}          any further fields are kept

in a file that is plain, gzip or zstd: its first bytes say which, not its name. A name that ends in
.json, .jsonl or .ndjson (before .gz or .zst, in capitals or not) says that a file holds such lines,
and .txt that it does not. Of any other name, such as part-00000, the first line decides: if it is an
object with a string "text", all lines are documents. What is left is plain text: one document
{"id": its path, "source": "text", "text": all of it}, or several, "path:1", "path:2" and so on, where
--separator says what stands between them; these count as lines. (The path is that below `documents/`.)
Lines may end with CR LF, which is read as LF. "-" is standard input: JSON lines.

Every input is hostile until checked: UTF-8, JSON, the types of the fields, lengths. What cannot be
used costs one sentence that begins with its file and line, and is skipped; or, if the user says so
(--on-error stop), ends the program. Of a kind of sentence that a file earns again and again only the
first few are printed; all are counted. A program's last words are the inputs that gave no document,
and where none of them gave any, it has failed.

    Reader *r = reader_open(path);             Writer *w = writer_open(path);      .gz and .zst are compressed
    for (Document d; document_read(r, &d); document_free(&d)) ...          writer_put(w, bytes, size);
    reader_close(r);                           writer_close(w);       only now does the file have its name
    return documents_finished();               the last words, and the exit code

Two libraries read the JSON. simdjson takes the strings that every program wants out of a line, at a
gigabyte a second. jansson makes trees of what is about documents (attributes, configurations), and
writes JSON. Nobody reads the rest of a document: `curate mix` copies its bytes as they stand.
*/
#include <fcntl.h>
#include <ftw.h>
#include <jansson.h>
#include <strings.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>
#define XXH_INLINE_ALL
#include <xxhash.h>
#include "whole.c"

// ---- small things -----------------------------------------------------------------------------------

static void *room_for_one(void *array, size_t *room, size_t used, size_t size) {
    return with_room(array, used, used + 1, room, size, "a document's parts");
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

// Bytes of memory that this process may have: the machine's, or what its container leaves of them.
static double memory_there_is(void) {
    double bytes = (double)sysconf(_SC_PHYS_PAGES)*(double)sysconf(_SC_PAGESIZE), limit;
    FILE *file = fopen("/sys/fs/cgroup/memory.max", "r");
    if (file && fscanf(file, "%lf", &limit) == 1 && limit < bytes) bytes = limit;      // or "max"
    if (file) fclose(file);
    return bytes;
}
// The system promises more memory than there is, and ends the program when it is used: so ask first.
static void check_memory(double bytes, const char *what, const char *advice) {
    CHECK(bytes < memory_there_is(), "%s would need %.2f GiB of memory, and there are %.2f; %s", what,
          bytes/0x1p30, memory_there_is()/0x1p30, advice);
}

// ---- white space ------------------------------------------------------------------------------------
// Two kinds. Unicode's: the tokenizer's SPACE, and what Rust trims. And Python's, of str.split() and
// str.strip(): that and U+001C to U+001F (tokenizer.c: space_at, strip). Dolma is written in both
// languages; each function here says whose it is. Text is valid UTF-8.

// Is all of it Unicode's?
static int all_unicode_space(const char *s, const char *end) {
    for (int length; s < end; s += length)
        if (char_class(utf8_decode(s, (size_t)(end - s), &length)) != SPACE) return 0;
    return 1;
}

// Bytes that no white space begins with, by one comparison: nearly all of a text.
static inline int is_solid(char c) { return (unsigned char)((unsigned char)c - 0x21) < 0xc2 - 0x21; }

// Is all of it Python's?
static int all_python_space(const char *text, size_t size) {
    size_t i = 0;
    for (int n; i < size && (n = space_at(text + i)); i += (size_t)n) {}
    return i == size;
}

// ---- what is wrong with the input -------------------------------------------------------------------

// An input file, and what became of it. They live as long as the program: its last words are of them.
enum { KINDS_OF_SENTENCES = 8, SHOWN_OF_A_FILE = 3, SHOWN_IN_ALL = 50 };
typedef struct Origin {
    char *path;                                             // as sentences name it
    uint64_t used, lost;                                    // documents that were fit for use; sentences
    struct { const char *format; uint64_t n; } kind[KINDS_OF_SENTENCES];        // of those sentences
    struct Origin *next;
} Origin;

static Origin *origins = NULL;
static int stop_on_error = 0;                               // --on-error stop
static int told_before = 0;                          // a second pass: its sentences were those of the first
static uint64_t problems = 0, shown = 0;                    // sentences so far; those that were printed

static Origin *origin_new(const char *path) {
    Origin *o = (Origin *)allocate(1, sizeof *o, "the name of a file");
    o->path = (char *)allocate(strlen(path) + 1, 1, "the name of a file");
    strcpy(o->path, path);
    #pragma omp critical (problem)
    o->next = origins, origins = o;
    return o;
}

// A document is fit for use; or it was, and turns out not to be: after its sentence.
static void origin_gave(Origin *o) {
    if (told_before) return;
    #pragma omp atomic
    o->used++;
}
static void origin_lost(Origin *o) {
    if (told_before) return;
    #pragma omp atomic
    o->used--;
}

// Shall a sentence of this kind be shown once more? Its format is the kind. *more: what to add to
// the last one.
static int is_to_be_shown(Origin *o, const char *format, const char **more) {
    static struct { const char *format; uint64_t n; } all[64];
    size_t i = 0, k = 0;
    while (i < KINDS_OF_SENTENCES - 1 && o->kind[i].format && o->kind[i].format != format) i++;
    while (k < 63 && all[k].format && all[k].format != format) k++;
    o->kind[i].format = all[k].format = format;
    if (++o->kind[i].n > SHOWN_OF_A_FILE || all[k].n == SHOWN_IN_ALL) return 0;
    if (o->kind[i].n == SHOWN_OF_A_FILE) *more = "; more like this of this file are only counted";
    if (++all[k].n == SHOWN_IN_ALL) *more = "; more like this are only counted";
    return 1;
}

// problem(origin, 7, "not JSON") says "docs.jsonl:7: not JSON; skipped". The caller skips what the
// sentence is about. number: the line, or 0 for all of the file.
static void problem(Origin *o, uint64_t number, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void problem(Origin *o, uint64_t number, const char *format, ...) {
    char sentence[8192];
    va_list args;
    int n = snprintf(sentence, 6000, number ? "%s:%llu: " : "%s: ", o->path, (unsigned long long)number);
    n = imin(n, 5999);
    va_start(args, format);
    vsnprintf(sentence + n, sizeof sentence - (size_t)n, format, args);
    va_end(args);
    if (told_before) return;
    #pragma omp critical (problem)
    {
        const char *more = "";
        if (stop_on_error) die("%s", sentence);
        for (char *c = sentence; *c; c++) if ((unsigned char)*c < ' ' || *c == 127) *c = ' ';
        o->lost++, problems++;
        if (is_to_be_shown(o, format, &more))
            fprintf(stderr, "warning: %s; skipped%s\n", sentence, more), shown++;
    }
}

// The last words of a program, and its exit code. An input that gave no document at all is named
// once more, at the very end, where nobody overlooks it; if that holds for all of them, the program
// has failed.
static int documents_finished(void) {
    enum { NAMED = 3 };
    const Origin *named[NAMED];
    int inputs = 0, hollow = 0;
    int code = finished();
    for (const Origin *o = origins; o; o = o->next) {
        inputs += o->used || o->lost;
        if (o->used || !o->lost) continue;
        if (hollow < NAMED) named[hollow] = o;
        hollow++;
    }
    if (problems)
        fprintf(stderr, "%llu problem%s: %s above\n", (unsigned long long)problems, problems > 1 ? "s" : "",
                shown == problems ? "each has its sentence" : "the first of each kind have their sentences");
    if (!hollow) return code;
    fprintf(stderr, "%s: no document at all came of ", hollow == inputs ? "error" : "WARNING");
    if (inputs > 1) fprintf(stderr, "%d of %d inputs: ", hollow, inputs);
    for (int i = 0; i < imin(hollow, NAMED); i++) {
        char name[PATH];
        snprintf(name, sizeof name, "%s", named[i]->path);
        for (char *c = name; *c; c++) if ((unsigned char)*c < ' ' || *c == 127) *c = ' ';
        fprintf(stderr, "%s%s", i ? ", " : "", name);
    }
    fprintf(stderr, hollow > NAMED ? " ...\n" : "\n");
    return hollow == inputs ? EXIT_FAILURE : code;
}

// "skip" or "stop", as given to --on-error
static void choose_on_error(const char *word) {
    stop_on_error = !strcmp(word, "stop");
    CHECK(stop_on_error || !strcmp(word, "skip"), "--on-error %s: expected skip or stop", word);
}

// ---- reading ----------------------------------------------------------------------------------------

// bytes read, or unpacked, at a time; readable behind every line
enum { BLOCK = 1 << 18, PADDING = 64, ZSTD_HEADER = 5 };
static const size_t longest_line = 64 << 20, longest_text = 200 << 20;      // what is longer is refused

typedef enum { PLAIN, GZIP, ZSTD } Packing;

typedef struct {                                            // of a file; or a piece of a plain text
    const char *path;                                       // as sentences name it
    Origin *origin;
    uint64_t number;                                        // from 1
    const char *text;                                       // PADDING bytes behind it can be read
    size_t size;
    int json;                                               // a JSON object, not plain text
    int several;                                            // may be in its file
    const char *extra[2];                                  // paths, such as metadata.url, of wanted strings
} Line;

typedef struct {
    Line line;                                              // the last one read: reader_line
    FILE *file;
    Packing packing;
    z_stream gzip;
    ZSTD_DStream *zstd;
    unsigned char *packed;                        // [BLOCK] of the file: [packed_at, packed_end) are unused
    size_t packed_at, packed_end;
    size_t wanted;                                          // of them, by zstd's next call
    int inside;                                             // of a compressed stream that has not ended
    int ended;                                              // nothing follows [at, end) ...
    const char *broken;                                     // ... for this reason, which has yet to be told
    int cut_off;                                            // ... and what is left is no whole line
    int cr;                                                 // a CR follows, if no LF comes
    char *buffer;                                           // [capacity] unpacked: [at, end) are unused
    size_t at, end, capacity;
    const char *separator;                           // of documents: a newline; in text the user's, or none
    uint64_t packed_read, unpacked_read;                    // bytes so far ...
    uint64_t packed_shown, unpacked_shown;                  // ... and those that the progress bar knows of
} Reader;

// ---- reading: names, and what they say

static const char *separator = NULL;                // --separator: between the documents of a text; or none
// --text-field, --id-field: where documents have them
static const char *text_field = "text", *id_field = "id";

// Does the name, less .gz or .zst, end in this, in capitals or not?
static int name_ends_with(const char *path, const char *end) {
    size_t n = strlen(path), m = strlen(end);
    if (n >= 3 && !strcasecmp(path + n - 3, ".gz")) n -= 3;
    else if (n >= 4 && !strcasecmp(path + n - 4, ".zst")) n -= 4;
    return n >= m && !strncasecmp(path + n - m, end, m);
}
static int is_json_name(const char *path) {
    return name_ends_with(path, ".jsonl") || name_ends_with(path, ".json") ||
        name_ends_with(path, ".ndjson");
}
static Packing packing_named(const char *path) {
    size_t n = strlen(path);
    if (n >= 3 && !strcasecmp(path + n - 3, ".gz")) return GZIP;
    return n >= 4 && !strcasecmp(path + n - 4, ".zst") ? ZSTD : PLAIN;
}

// The files and directories that the command line, or a configuration, has named.
static struct { char **name; int n; } named_inputs;

// What follows the next directory named documents in `from`, which is a part of `path`; or NULL.
static const char *after_documents(const char *path, const char *from) {
    const char *s = from;
    while ((s = strstr(s, "documents/")) && s > path && s[-1] != '/') s++;
    return s ? s + strlen("documents/") : NULL;
}
// What follows the directory named documents; the whole path, if there is none. Where one lies below
// another, as in web/documents/project/documents/x.txt, it is the last one in the name that the user
// gave, or else the first: so `web/documents` is one corpus, whatever lies in it.
static const char *below_documents(const char *path) {
    const char *below = after_documents(path, path), *next = below;
    size_t given = 0;
    if (!below) return path;
    if (!after_documents(path, below)) return below;
    for (int i = 0; i < named_inputs.n; i++) {
        const char *name = named_inputs.name[i];
        size_t n = strlen(name);
        if (n > given && !strncmp(path, name, n) && (path[n] == '/' || !path[n] || name[n - 1] == '/'))
            given = n;
    }
    for (; next && (size_t)(next - 1 - path) <= given; next = after_documents(path, next)) below = next;
    return below;
}

// ---- reading: bytes

static void reader_fill_packed(Reader *r) {
    r->packed_at = 0;
    r->packed_end = fread(r->packed, 1, BLOCK, r->file);
    r->packed_read += r->packed_end;
    if (!ferror(r->file)) return;
    problem(r->line.origin, 0, "reading failed after byte %llu: %s", (unsigned long long)r->packed_read,
            strerror(errno));
    r->ended = 1;
}

// The compressed stream cannot be followed to its end: the file ends here, and says so when it has
// been read up to here. whole: it fails only the check that ends it, or is followed by something
// else. Otherwise its last line is cut off, and lost.
static void reader_break(Reader *r, const char *why, int whole) {
    r->broken = why, r->cut_off = !whole, r->ended = 1;
}

// One step of unpacking into out[0..room): returns how many bytes; 0 may also mean that more input is
// needed. Compressed streams may follow each other (`cat a.gz b.gz`).
static size_t reader_unpack_gzip(Reader *r, char *out, size_t room) {
    z_stream *z = &r->gzip;
    if (!r->inside) inflateReset(z);
    z->next_in = r->packed + r->packed_at, z->avail_in = (uInt)(r->packed_end - r->packed_at);
    z->next_out = (unsigned char *)out, z->avail_out = (uInt)(room = zmin(room, BLOCK));
    int code = inflate(z, Z_NO_FLUSH);
    r->packed_at = r->packed_end - z->avail_in;
    r->inside = code != Z_STREAM_END;
    if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR) {
        const char *why = z->msg ? z->msg : "unknown trouble";
        reader_break(r, why, strstr(why, " check") != NULL);       // of a stream's sum, length or beginning
    }
    return room - z->avail_out;
}
static size_t reader_unpack_zstd(Reader *r, char *out, size_t room) {
    size_t have = r->packed_end - r->packed_at;
    ZSTD_inBuffer input = { r->packed + r->packed_at, zmin(have, r->wanted), 0 };
    ZSTD_outBuffer output = { out, room, 0 };
    size_t code = ZSTD_decompressStream(r->zstd, &output, &input);
    r->packed_at += input.pos;
    r->inside = code != 0;
    r->wanted = code ? code : ZSTD_HEADER;     // no more: so a checksum comes in a call of its own, and
    if (!ZSTD_isError(code)) return output.pos;            // takes nothing with it that is unpacked already
    ZSTD_ErrorCode error = ZSTD_getErrorCode(code);
    reader_break(r, ZSTD_getErrorName(code),
                 error == ZSTD_error_checksum_wrong || error == ZSTD_error_prefix_unknown);
    return output.pos;
}
static size_t reader_unpack(Reader *r, char *out, size_t room) {
    size_t have = r->packed_end - r->packed_at;
    if (!have) return 0;
    if (r->packing == GZIP) return reader_unpack_gzip(r, out, room);
    if (r->packing == ZSTD) return reader_unpack_zstd(r, out, room);
    size_t made = zmin(have, room);
    memcpy(out, r->packed + r->packed_at, made);
    r->packed_at += made;
    return made;
}

// CR LF as LF, in place; returns the new size.
static size_t unix_newlines(char *text, size_t size) {
    const char *in = (const char *)memchr(text, '\r', size), *end = text + size;
    if (!in) return size;
    char *out = text + (in - text);
    for (; in < end; in++) if (*in != '\r' || in + 1 == end || in[1] != '\n') *out++ = *in;
    return (size_t)(out - text);
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
    for (size_t made = 0; !made && !r->ended; ) {
        char *start = r->buffer + r->end;
        if (r->cr) *start = '\r';
        made = reader_unpack(r, start + r->cr, r->capacity - r->end - (size_t)r->cr);
        r->unpacked_read += made;
        if (made) {
            size_t size = unix_newlines(start, made + (size_t)r->cr);
            r->cr = size && start[size - 1] == '\r';        // is the next byte its LF?
            r->end += size - (size_t)r->cr;
        }
        if (made || r->ended || r->packed_at < r->packed_end) continue;
        reader_fill_packed(r);
        if (!r->packed_end && r->inside && !r->ended) reader_break(r, "the file is cut off", 0);
        r->ended |= !r->packed_end;
    }
    if (r->ended && r->cr) r->buffer[r->end++] = '\r', r->cr = 0;
}

// The next line (or the next piece of a text file), without its separator, whatever its size; 0
// after the last. *too_long: it is, and r->line.text is not all of it.
static int reader_piece(Reader *r, int *too_long) {
    Line *line = &r->line;
    size_t n = r->separator ? strlen(r->separator) : 0, searched = 0;
    size_t most = line->json ? longest_line : longest_text;
    for (*too_long = 0; ; ) {
        char *start = r->buffer + r->at, *found = NULL;
        size_t have = r->end - r->at;
        if (n && have >= n) found = (char *)memmem(start + searched, have - searched, r->separator, n);
        if (!found && !r->ended) {
            if (have > most) *too_long = 1, r->at = r->end - n, have = n;     // forget it, look for its end
            searched = have >= n && n ? have - n + 1 : 0;
            reader_fill(r);
            continue;
        }
        if (!found && r->broken) {
            problem(line->origin, 0,
                    "the %s stream breaks off after line %llu (%s): its rest cannot be read",
                    r->packing == GZIP ? "gzip" : "zstd", (unsigned long long)line->number, r->broken);
            r->broken = NULL;
            if (r->cut_off) r->at = r->end, have = 0, *too_long = 0;
        }
        line->text = start, line->size = found ? (size_t)(found - start) : have;
        r->at += found ? line->size + n : line->size;
        if (!found && !line->size && !*too_long) return 0;
        *too_long |= line->size > most;
        return 1;
    }
}

// Reads the next line, or piece, that is not too long; 0 after the last.
static int reader_line(Reader *r) {
    Line *line = &r->line;
    for (int too_long; reader_piece(r, &too_long); ) {
        int first = ++line->number == 1;
        if (too_long) {
            problem(line->origin, line->number, "longer than %zu MB",
                    (line->json ? longest_line : longest_text) >> 20);
            continue;
        }
        int mark = first && line->size >= 3 && !memcmp(line->text, "\xef\xbb\xbf", 3);  // of the byte order
        if (mark) line->text += 3, line->size -= 3;
        return 1;
    }
    return 0;
}

// ---- reading: what kind of file is this?

const char *json_strings(const char **value, size_t *size, const char *const *path, int n,
                         const char *json, size_t bytes);   // json.cc
enum { ABSENT, IS_NULL, IS_OTHER };                      // what it says of a place where there is no string

// [at, end) holds the first `lines` lines of the file, if it has so many, and if they are not too long.
static const char *reader_look_ahead(Reader *r, int lines) {
    for (;;) {
        const char *s = r->buffer + r->at, *end = r->buffer + r->end;
        int found = 0;
        while (found < lines && (s = (const char *)memchr(s, '\n', (size_t)(end - s)))) found++, s++;
        if (found == lines) return s - 1;
        if (r->ended || r->end - r->at > longest_line) return end;
        reader_fill(r);
    }
}

// A whole JSON object? *goes_on: it is none only because it ends too early.
static int is_object(const char *text, size_t size, int *goes_on) {
    json_error_t error;
    json_t *json = json_loadb(text, size, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &error);
    int found = json_is_object(json);
    *goes_on = !json && json_error_code(&error) == json_error_premature_end_of_input;
    json_decref(json);
    return found;
}

static void reader_refuse(Reader *r, const char *what) {
    problem(r->line.origin, 0, "%s", what);
    r->at = r->end, r->ended = 1;
}
// Before anything is read: what the file holds, if its name does not say (named: 0). And what would look
// like thousands of broken documents, but is a file of another kind.
static void reader_decide(Reader *r, int named) {
    if (!r->ended) reader_fill(r);
    if (r->end > 262 && !memcmp(r->buffer + 257, "ustar", 5)) {
        reader_refuse(r, "a tar archive, not documents: unpack it first");
        return;
    }
    if (!memchr("{[ \t\xef", r->end ? *r->buffer : 0, 5)) return;         // no JSON begins so
    const char *end = reader_look_ahead(r, 2), *first = r->buffer + r->at;
    if (end - first >= 3 && !memcmp(first, "\xef\xbb\xbf", 3)) first += 3;
    while (first < end && (*first == ' ' || *first == '\t')) first++;
    const char *newline = (const char *)memchr(first, '\n', (size_t)(end - first));
    const char *first_end = newline ? newline : end, *second = newline ? newline + 1 : end;
    size_t size = (size_t)(first_end - first);
    if (!size || size > longest_line || (*first != '{' && *first != '[')) return;
    int goes_on, unused, object = is_object(first, size, &goes_on);
    if (!named && object) r->line.json = 1;
    if (!r->line.json || object) return;
    int spread = goes_on && second < end;
    if ((*first == '[' || spread) && !is_object(second, (size_t)(end - second), &unused))
        reader_refuse(r, "one JSON value over several lines, or a list, not JSON lines: a document has a "
                      "line of its own. `jq -c . FILE` writes such lines, of a list `jq -c '.[]' FILE`");
}

// What is packed in another way, by its first bytes.
static const struct { const char *bytes, *sentence; } other_packings[] = {
    { "\xfd" "7zXZ", "packed by xz; expected a plain file, gzip or zstd: unpack it first" },
    { "BZh", "packed by bzip2; expected a plain file, gzip or zstd: unpack it first" },
    { "\x04\x22\x4d\x18", "packed by lz4; expected a plain file, gzip or zstd: unpack it first" },
    { "PK\x03\x04", "a zip archive; expected a plain file, gzip or zstd: unpack it first" },
    { "PAR1", "a Parquet file; expected JSON lines or text: convert it first" },
    { "ARROW1", "an Arrow file; expected JSON lines or text: convert it first" },
};

static void reader_start_unpacking(Reader *r) {
    const unsigned char *p = r->packed;
    size_t have = r->packed_end;
    uint32_t magic = 0;
    for (int i = 0; i < 4 && have >= 4; i++) magic |= (uint32_t)p[i] << 8*i;
    if (have >= 2 && p[0] == 0x1f && p[1] == 0x8b) {
        r->packing = GZIP;
        CHECK(inflateInit2(&r->gzip, 15 + 16) == Z_OK, "%s: zlib cannot start", r->line.path);
    } else if (magic == 0xfd2fb528 || (magic & 0xfffffff0) == 0x184d2a50) {  // a frame; one that is skipped
        r->packing = ZSTD, r->wanted = ZSTD_HEADER;
        r->zstd = ZSTD_createDStream();
        int wide = r->zstd && !ZSTD_isError(ZSTD_DCtx_setParameter(r->zstd, ZSTD_d_windowLogMax, 31));
        CHECK(wide, "%s: libzstd cannot start", r->line.path);       // `zstd --long=31`: 2 GiB to look back
    }
    for (size_t i = 0; i < sizeof other_packings/sizeof *other_packings; i++) {
        size_t n = strlen(other_packings[i].bytes);
        if (have >= n && !memcmp(p, other_packings[i].bytes, n)) {
            reader_refuse(r, other_packings[i].sentence);
            return;
        }
    }
}

// Opens a file, or standard input. NULL, with a sentence, if there is none that can be read; what
// turns out not to hold documents has its sentence, too, and no line.
static Reader *reader_open(const char *path) {
    int standard = !strcmp(path, "-");
    struct stat s;
    Origin *origin = origin_new(standard ? "standard input" : path);
    int missing = !standard && stat(path, &s);
    if (missing || (!standard && S_ISDIR(s.st_mode))) {
        problem(origin, 0, "cannot be read: %s",
                missing ? strerror(errno) : "expected a file, found a directory");
        return NULL;
    }
    FILE *file = standard ? stdin : fopen(path, "rb");
    int ours = !file && (errno == EMFILE || errno == ENFILE || errno == ENOMEM);     // not the file's fault
    CHECK(!ours, "%s: cannot be read: %s", path, strerror(errno));
    if (!file) { problem(origin, 0, "cannot be read: %s", strerror(errno)); return NULL; }
    Reader *r = (Reader *)allocate(1, sizeof *r, "a reader");
    r->line.origin = origin, r->line.path = origin->path, r->file = file;
    r->packed = (unsigned char *)allocate(BLOCK, 1, "a file's bytes");
    r->capacity = 4*BLOCK, r->buffer = (char *)allocate(r->capacity + PADDING, 1, "a file's text");
    reader_fill_packed(r);
    reader_start_unpacking(r);
    r->line.json = standard || is_json_name(path);
    reader_decide(r, r->line.json || name_ends_with(path, ".txt"));
    r->separator = r->line.json ? "\n" : separator, r->line.several = r->separator != NULL;
    return r;
}

static void reader_close(Reader *r) {
    if (!r) return;
    if (r->packing == GZIP) inflateEnd(&r->gzip);
    if (r->packing == ZSTD) ZSTD_freeDStream(r->zstd);
    if (r->file != stdin) fclose(r->file);
    release(r->packed), release(r->buffer), release(r);
}

// ---- documents --------------------------------------------------------------------------------------

typedef struct {
    const char *id, *source, *text, *extra[2];           // source: "" if there is none; extra: NULL if none
    size_t id_size, source_size, size, extra_size[2];       // bytes, of text: `size`. UTF-8, even with NULs
    char *own;                                              // where these strings are
    json_t *attributes;                                // what is known about it, if a program asks for that
    const Line *from;
    Origin *origin;                                         // where it was read ...
    const char *path;
    uint64_t line;
} Document;

static void document_free(Document *d) {
    release(d->own), json_decref(d->attributes);
    d->own = NULL, d->attributes = NULL;
}

// "path:number", or "path" if the number is 0. In UTF-8, which a file's name need not be. Returns
// its size.
enum { PLACE = 3*(PATH + 32) };
static size_t put_place(char out[PLACE], const char *path, uint64_t number) {
    char place[PATH + 32];
    int n = snprintf(place, sizeof place, number ? "%s:%llu" : "%s", path, (unsigned long long)number);
    return utf8_repair(out, place, (size_t)imin(n, (int)sizeof place - 1));
}

// ---- documents: JSON as it stands
// Of an object that is known to be JSON, the members, without a look at what is in them: so that a
// number of any size, and any spelling, can be passed on as it was.

typedef struct { const char *name, *value; size_t name_size, size; } Member;     // name: between its quotes

// Moves *s from an object's opening brace, or from behind a member, to behind the next: 0 if there
// is none.
static int next_member(const char **s, Member *m) {
    const char *c = *s + strspn(*s, "{, \t\r\n");
    int depth = 0;
    if (*c != '"') return 0;
    m->name = ++c;
    for (; *c != '"'; c++) c += *c == '\\';
    m->name_size = (size_t)(c++ - m->name);
    m->value = c += strspn(c, ": \t\r\n");
    for (; depth || (*c != ',' && *c != '}'); c++) {        // to the comma, or the brace, behind the value
        if (*c == '"') for (c++; *c != '"'; c++) c += *c == '\\';
        depth += (*c == '{' || *c == '[') - (*c == '}' || *c == ']');
    }
    *s = c;
    while (strchr(" \t\r\n", c[-1])) c--;
    m->size = (size_t)(c - m->value);
    return 1;
}
// Is this its name? Escapes in it are read by jansson.
static int is_named(const Member *m, const char *name) {
    size_t n = strlen(name);
    if (!memchr(m->name, '\\', m->name_size)) return m->name_size == n && !memcmp(m->name, name, n);
    json_t *string = json_loadb(m->name - 1, m->name_size + 2, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    int same = json_string_length(string) == n && !memcmp(json_string_value(string), name, n);
    json_decref(string);
    return same;
}
// What stands at a path such as metadata.url, of names that occur twice the last; 0 if nothing does.
static int find_member(Member *found, const char *object, const char *path) {
    for (const char *name = path, *s = object; ; s = found->value) {
        size_t n = strcspn(name, ".");
        char part[PATH];
        int there = 0;
        if (*s != '{' || n >= sizeof part) return 0;
        memcpy(part, name, n), part[n] = 0;
        for (Member m; next_member(&s, &m); ) if (is_named(&m, part)) *found = m, there = 1;
        if (!there || !name[n]) return there;
        name += n + 1;
    }
}
// The object of a line: what is before it is white space.
static const char *object_of(const Line *line) { return line->text + strspn(line->text, " \t\r\n"); }

// The "id" of a line of attributes or ids, of which jansson has made a tree, as documents have theirs: a
// string, or what else stands there; NULL if it is absent or null. The caller's to free.
static json_t *line_id(const Line *line, const json_t *tree) {
    json_t *id = json_object_get(tree, "id");
    Member m;
    if (!id || json_is_null(id)) return NULL;
    if (json_is_string(id)) return json_incref(id);
    return find_member(&m, object_of(line), "id") ? json_stringn(m.value, m.size) : NULL;
}

// ---- documents: from a line

// What is wrong with a line that simdjson refused: jansson knows the place, too.
static void explain_json(const Line *line, const char *why) {
    json_error_t error;
    json_t *json = json_loadb(line->text, line->size, JSON_ALLOW_NUL, &error);
    int code = json ? 0 : json_error_code(&error);
    if (!json && code == json_error_numeric_overflow)
        problem(line->origin, line->number, "a number that is too large ends at byte %d",
                error.position);
    else if (!json)
        problem(line->origin, line->number, "not JSON at byte %d: %s", error.position, error.text);
    else if (!json_is_object(json)) problem(line->origin, line->number, "expected a JSON object");
    else problem(line->origin, line->number, "not JSON: %s", why);
    json_decref(json);
}

// The strings of a JSON line, or 0 with a sentence. But for the text, what is no string, an id that
// is a number say, is taken as it stands there.
enum { THE_TEXT, THE_ID, THE_SOURCE, EXTRA, STRINGS = EXTRA + 2 };
static int line_strings(const Line *line, const char *value[STRINGS], size_t size[STRINGS]) {
    const char *path[STRINGS] = { text_field, id_field, "source", line->extra[0], line->extra[1] };
    int n = EXTRA + (line->extra[0] != NULL) + (line->extra[0] && line->extra[1]);
    const char *why = json_strings(value, size, path, n, line->text, line->size);
    if (why) { explain_json(line, why); return 0; }
    if (!value[THE_TEXT]) {
        if (size[THE_TEXT] != ABSENT)
            problem(line->origin, line->number, "expected \"%s\" to be a string", text_field);
        else
            problem(line->origin, line->number,
                    "expected a string \"%s\", found none (--text-field names another)", text_field);
        return 0;
    }
    for (int i = THE_ID; i < STRINGS; i++) {
        Member m;
        if (!value[i] && size[i] == IS_OTHER && find_member(&m, object_of(line), path[i]))
            value[i] = m.value, size[i] = m.size;
    }
    return 1;
}
static int text_strings(const Line *line, const char *value[STRINGS], size_t size[STRINGS]) {
    size_t valid = utf8_valid(line->text, line->size);
    value[THE_TEXT] = line->text, size[THE_TEXT] = line->size;
    value[THE_SOURCE] = "text", size[THE_SOURCE] = strlen("text");
    if (valid == line->size) return 1;
    problem(line->origin, line->number, "expected UTF-8 text, found another byte at byte %zu", valid);
    return 0;
}

// A line as a document: 1, or 0 with a sentence. One without an id gets "path:line" for one, for
// public corpora often have none (the path below `documents/`, however the rest is spelled); one
// without a source gets "". A null is no id, and no source.
static int document_parse(const Line *line, Document *d) {
    const char *value[STRINGS] = { NULL };
    size_t size[STRINGS] = { 0 }, all = 0;
    char place[PLACE];
    memset(d, 0, sizeof *d);
    d->from = line, d->origin = line->origin, d->path = line->path, d->line = line->number;
    if (!(line->json ? line_strings(line, value, size) : text_strings(line, value, size))) return 0;
    if (!value[THE_ID]) {
        value[THE_ID] = place;
        size[THE_ID] = put_place(place, below_documents(line->path), line->several ? line->number : 0);
    }
    if (!value[THE_SOURCE]) value[THE_SOURCE] = "", size[THE_SOURCE] = 0;
    for (int i = 0; i < STRINGS; i++) all += value[i] ? size[i] + 1 : 0;
    char *own = d->own = (char *)allocate(all, 1, "a document");
    for (int i = 0; i < STRINGS; i++) if (value[i]) {
        value[i] = (char *)memcpy(own, value[i], size[i]);
        own += size[i] + 1;
    }
    d->text = value[THE_TEXT], d->id = value[THE_ID], d->source = value[THE_SOURCE];
    d->size = size[THE_TEXT], d->id_size = size[THE_ID], d->source_size = size[THE_SOURCE];
    for (int i = 0; i < 2; i++) {
        d->extra[i] = value[EXTRA + i];
        d->extra_size[i] = value[EXTRA + i] ? size[EXTRA + i] : 0;
    }
    origin_gave(d->origin);
    return 1;
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

// ---- writing ----------------------------------------------------------------------------------------
// To a file that has its name when it is whole (whole.c), compressed if its name says so.

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
    w->path = w->whole ? w->whole->path : "standard output";
    w->file = w->whole ? w->whole->file : stdout;
    w->packing = packing_named(path);
    w->packed = (unsigned char *)allocate(BLOCK, 1, "a file's bytes");
    w->held = (char *)allocate(BLOCK, 1, "a file's text");
    if (w->packing == GZIP) {
        int code = deflateInit2(&w->gzip, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
        CHECK(code == Z_OK, "%s: zlib cannot start", path);
    }
    if (w->packing == ZSTD) CHECK((w->zstd = ZSTD_createCStream()), "%s: libzstd cannot start", path);
    return w;
}

static void writer_raw(Writer *w, const void *bytes, size_t size) {
    CHECK(fwrite(bytes, 1, size, w->file) == size, "%s: writing failed: %s; is the disk full?",
          w->path, strerror(errno));
}
// last: also what the compressor still holds.
static void writer_pack(Writer *w, const void *bytes, size_t size, int last) {
    if (w->packing == PLAIN) writer_raw(w, bytes, size);
    if (w->packing == GZIP) {
        w->gzip.next_in = (unsigned char *)bytes, w->gzip.avail_in = (uInt)size;
        do {
            w->gzip.next_out = w->packed, w->gzip.avail_out = BLOCK;
            CHECK(deflate(&w->gzip, last ? Z_FINISH : Z_NO_FLUSH) != Z_STREAM_ERROR,
                  "%s: zlib failed", w->path);
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

char *shortest_decimal(char *out, double x);                // json.cc
// The fewest digits that read back as the same number. Of JSON's two kinds: 1 is whole, 1.0 is not.
static void writer_number(Writer *w, double x) {
    char digits[32];
    writer_put(w, digits, (size_t)(shortest_decimal(digits, x) - digits));
}
static void writer_real(Writer *w, double x) {
    char digits[40], *end = shortest_decimal(digits, x);
    *end = 0;
    writer_text(w, digits);
    if (!strpbrk(digits, ".e")) writer_text(w, ".0");
}

static int put_json(const char *bytes, size_t size, void *w) {
    writer_put((Writer *)w, bytes, size);
    return 0;
}
// Any JSON value, compact, in UTF-8 (no newline after it).
static void writer_json(Writer *w, const json_t *value) {
    const char *name, *comma = "";
    char digits[32];
    json_t *part;
    size_t i;
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        writer_text(w, "{");
        json_object_foreach((json_t *)value, name, part) {
            json_t *string = json_string(name);
            writer_text(w, comma), writer_json(w, string), writer_text(w, ":"), writer_json(w, part);
            json_decref(string), comma = ",";
        }
        writer_text(w, "}");
        break;
    case JSON_ARRAY:
        writer_text(w, "[");
        json_array_foreach(value, i, part) writer_text(w, comma), writer_json(w, part), comma = ",";
        writer_text(w, "]");
        break;
    case JSON_REAL:
        writer_real(w, json_real_value(value));
        break;
    case JSON_INTEGER:
        snprintf(digits, sizeof digits, "%lld", (long long)json_integer_value(value));
        writer_text(w, digits);
        break;
    default:
        json_dump_callback(value, put_json, w, JSON_ENCODE_ANY);
    }
}
static void writer_json_string(Writer *w, const char *text, size_t size) {
    json_t *value = json_stringn(text, size);
    CHECK(value, "%s: this string is not UTF-8: %.60s", w->path, text);
    writer_json(w, value);
    json_decref(value);
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
    else
        CHECK(fflush(stdout) == 0 && !ferror(stdout), "%s: writing failed: %s", w->path,
              strerror(errno));
    release(w->packed), release(w->held), release(w);
}

// ---- the command line -------------------------------------------------------------------------------

// Rows of the table of a program that reads documents.
#define FIELD_OPTIONS \
    { "--text-field", TEXT, &text_field, \
      "where JSON lines have their text: a name, or names with dots between them" }, \
    { "--id-field", TEXT, &id_field, "... and their ids; a document without one gets path:line" }
#define READING_OPTIONS FIELD_OPTIONS, \
    { "--separator", TEXT, &separator, \
      "between the documents of a plain text, such as '<|endoftext|>' (without it a file is one)" }

// metadata.url, which may be written $.metadata.url: names with dots between them.
static const char *field_path(const char *option, const char *path) {
    const char *names = strncmp(path, "$.", 2) ? path : path + 2;
    int fine = *names && *names != '.' && !strstr(names, "..") && !ends_with(names, ".");
    CHECK(fine, "%s %s: expected names with dots between them", option, path);
    return names;
}

// What was given of these options, as far as results depend on it: ", --separator 0a0a, --text-field
// content". The separator is in hexadecimal, for it may be a newline. out: of `room` bytes; returns
// how many are used.
static int reading_note(char *out, size_t room) {
    int n = 0, most = (int)room;
    *out = 0;
    if (separator) n += snprintf(out, room, ", --separator ");
    for (const char *s = separator; s && *s && n < most; s++)
        n += snprintf(out + n, room - (size_t)n, "%02x", (unsigned char)*s);
    if (n < most && strcmp(text_field, "text"))
        n += snprintf(out + n, room - (size_t)n, ", --text-field %s", text_field);
    if (n < most && strcmp(id_field, "id"))
        n += snprintf(out + n, room - (size_t)n, ", --id-field %s", id_field);
    CHECK(n < most, "--separator, --text-field, --id-field: too long to be noted");
    return n;
}

// Sets the table's options; with --help (*help is its value) prints usage and table, and what `more`
// has to say, and ends the program. Returns the other arguments, *names of them: the caller's to
// release.
static const char **command_line(const char *usage, void (*more)(void), const Option *table, int n,
                                 const int *help, int argc, char **argv, int *names) {
    const char **name = (const char **)allocate((size_t)argc + 1, sizeof *name, "the command line");
    memory_advice = "";                                     // that of train_olmo
    *names = parse_options(table, n, argc, argv, name, NULL);
    if (separator) {                                        // texts are read with LF for CR LF
        char *unix_separator = (char *)allocate(strlen(separator) + 1, 1, "--separator");
        strcpy(unix_separator, separator);
        unix_separator[unix_newlines(unix_separator, strlen(separator))] = 0;
        separator = *separator ? unix_separator : NULL;     // --separator ''
    }
    text_field = field_path("--text-field", text_field), id_field = field_path("--id-field", id_field);
    if (!*help) return name;
    printf("usage: %s\n", usage);
    print_options(table, n);
    if (more) more();
    release(name);
    exit(finished());
}

// ---- many files -------------------------------------------------------------------------------------

typedef struct { char **path; int n, room; uint64_t bytes; } Files;

// Attributes lie in a directory `attributes` beside `documents`; so where both are below what was
// named, they are no documents.
static int is_attributes(const char *path, const char *name) {
    char beside[PATH];
    int n = snprintf(beside, sizeof beside, "%.*sdocuments", (int)(name - path), path);
    return !strcmp(name, "attributes") && n < PATH && file_exists(beside);
}

static Files *files_found;                                  // nftw's callback has no argument of ours
static int file_found(const char *path, const struct stat *s, int type, struct FTW *place) {
    const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    if (place->level && (*name == '.' || is_attributes(path, name))) return FTW_SKIP_SUBTREE;
    if (place->level && ends_with(path, ".tmp")) return FTW_CONTINUE;
    if (type == FTW_DNR || type == FTW_NS || type == FTW_SLN)
        problem(origin_new(path), 0, "cannot be read: %s",
                type == FTW_SLN ? "the link leads nowhere" : "permission is denied");
    if (type != FTW_F || (place->level && !S_ISREG(s->st_mode))) return FTW_CONTINUE;
    Files *f = files_found;
    if (f->n == f->room) {
        f->room = 2*f->room + 64;
        f->path = (char **)realloc(f->path, (size_t)f->room*sizeof *f->path);
        CHECK(f->path, "not enough memory for the names of %d files", f->room);
    }
    f->bytes += (uint64_t)s->st_size;
    CHECK((f->path[f->n++] = strdup(path)), "not enough memory for the names of %d files", f->n);
    return FTW_CONTINUE;
}
static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

typedef struct { char *real; const char *name; } Named;
static int by_real(const void *a, const void *b) {
    return strcmp(((const Named *)a)->real, ((const Named *)b)->real);
}

// Bytes of the files, as they lie on the disk: for the progress bar.
static uint64_t files_bytes(char **path, int n) {
    struct stat s;
    uint64_t bytes = 0;
    for (int i = 0; i < n; i++) bytes += stat(path[i], &s) ? 0 : (uint64_t)s.st_size;
    return bytes;
}

// A file that is named twice would count twice.
static void check_no_twins(const Files *f) {
    Named *named = (Named *)allocate((size_t)f->n, sizeof *named, "the names of the files");
    for (int i = 0; i < f->n; i++) {
        char *real = realpath(f->path[i], NULL);           // NULL: standard input, or a pipe of the shell's
        named[i] = (Named){ real ? real : strdup(f->path[i]), f->path[i] };
        CHECK(named[i].real, "not enough memory for the names of %d files", f->n);
    }
    qsort(named, (size_t)f->n, sizeof *named, by_real);
    for (int i = 1; i < f->n; i++)
        CHECK(strcmp(named[i - 1].real, named[i].real), "%s and %s are one file, which is named twice",
              named[i - 1].name, named[i].name);
    for (int i = 0; i < f->n; i++) free(named[i].real);
    release(named);
}

// The files that the command line names; of a directory all files below it, in the order of their
// names, but for what is hidden or in hidden directories (.git, .cache), attributes, and *.tmp.
// Nothing at all is an error.
static Files files_named(const char **name, int n) {
    Files f = { NULL, 0, 0, 0 };
    size_t names = (size_t)(named_inputs.n + n);
    files_found = &f;
    named_inputs.name = (char **)realloc(named_inputs.name, (names + 1)*sizeof *named_inputs.name);
    CHECK(named_inputs.name, "not enough memory for %zu names", names);
    for (int i = 0; i < n; i++) {
        int first = f.n;
        struct stat s;
        struct FTW top = { 0, 0 };
        CHECK((named_inputs.name[named_inputs.n++] = strdup(name[i])),
              "not enough memory for %zu names", names);
        if (!strcmp(name[i], "-")) memset(&s, 0, sizeof s), file_found("-", &s, FTW_F, &top);
        else
            CHECK(nftw(name[i], file_found, 32, FTW_ACTIONRETVAL) == 0, "%s: cannot be read: %s",
                  name[i], strerror(errno));
        CHECK(f.n > first, "%s: there is no file that could be read", name[i]);
        qsort(f.path + first, (size_t)(f.n - first), sizeof *f.path, by_name);
    }
    files_found = NULL;
    CHECK(f.n, "expected files or directories of documents on the command line; --help explains");
    check_no_twins(&f);
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

// ---- attributes: beside the documents ---------------------------------------------------------------

// .../documents/x.jsonl.gz -> .../attributes/NAME/, and x.jsonl.gz in it (DATA_SPEC 1.2). Attributes
// of what does not call itself JSON lines are JSON lines all the same.
static void attributes_directory(char out[PATH], const char *path, const char *name) {
    const char *rest = below_documents(path);
    CHECK(rest > path, "%s: expected a path through a directory named documents: attributes go to "
                       "attributes/%s beside it", path, name);
    int before = (int)(rest - path) - (int)strlen("documents/");
    int n = snprintf(out, PATH, "%.*sattributes/%s/", before, path, name);
    CHECK(n < PATH, "%s: this path is too long", path);
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
    char (*sorted)[PATH] = (char (*)[PATH])allocate((size_t)n + 1, sizeof *sorted,
                                                    "the names of the files");
    memcpy(sorted, out, (size_t)n*sizeof *out);
    qsort(sorted, (size_t)n, sizeof *sorted, by_path);
    for (int i = 1; i < n; i++)
        CHECK(strcmp(sorted[i - 1], sorted[i]),
              "%s: two of the files named have their attributes there; rename one", sorted[i]);
    release(sorted);
}
static void check_name(const char *option, const char *name) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";
    CHECK(name, "%s: is missing; expected the name of an attribute", option);
    CHECK(*name && *name != '.' && !name[strspn(name, letters)],
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

// One command makes what is below attributes/NAME/; the file .command there holds it, as far as the
// attributes depend on it. Another command may neither add to them nor replace some. documents: one
// of its input files.
static void note_command(const char *command, const char *documents, const char *name) {
    char note[PATH], directory[PATH], own[PATH], whole[2*PATH], reading[PATH];
    reading_note(reading, sizeof reading);
    int size = snprintf(whole, sizeof whole, "%s%s", command, reading);
    CHECK(size < (int)sizeof whole, "this command is too long to be noted: %.100s ...", command);
    note_path(note, documents, name), attributes_directory(directory, documents, name);
    int missing = !file_exists(note);
    if (missing && holds_files(directory)) {             // unless a run beside us has noted its command now
        missing = !file_exists(note);
        CHECK(!missing, "%s is missing: who made the attributes there? Choose another --name, or "
                        "remove them", note);
    }
    int n = snprintf(own, PATH, "%s.%ld", note, (long)getpid());
    CHECK(n < PATH, "%s: this path is too long", documents);
    if (missing) {
        Whole *w = whole_begin(own);                        // a run beside us may write the same now
        fprintf(w->file, "%s\n", whole), whole_end(w);
        CHECK(rename(own, note) == 0, "%s: cannot be renamed to %s: %s", own, note, strerror(errno));
    }
    char *before = read_text(note);
    before[strcspn(before, "\n")] = 0;
    CHECK(!strcmp(before, whole), "%s: the attributes there were made by\n    %s\nand not by\n    %s\n"
          "choose another --name, or remove them", note, before, whole);
    release(before);
}

// Attributes carry the time of the documents that they are about (those that others made, a later
// one): so those of another time are about what is no longer there. Sets it; asks for it.
static void set_time_of(const char *attributes, const struct stat *documents) {
    const struct timespec times[2] = { { 0, UTIME_OMIT }, documents->st_mtim };
    int code = utimensat(AT_FDCWD, attributes, times, 0);
    CHECK(code == 0, "%s: its time cannot be set: %s", attributes, strerror(errno));
}
static int time_order(const struct stat *a, const struct stat *b) {     // -1: a is older, 1: younger
    const struct timespec x = a->st_mtim, y = b->st_mtim;
    if (x.tv_sec != y.tv_sec) return x.tv_sec < y.tv_sec ? -1 : 1;
    return (x.tv_nsec > y.tv_nsec) - (x.tv_nsec < y.tv_nsec);
}

// ---- the progress bar -------------------------------------------------------------------------------
// On a terminal, on standard error, at most five times a second; on anything else only its last
// line. Its length is the part of the files that has been read, as they lie on the disk; its speed
// is that of what is in them.

static struct { const char *what; double total, done, unpacked, documents, began, shown; } bar;

static void bar_begin(const char *what, uint64_t total_bytes) {
    bar.what = what, bar.total = (double)total_bytes, bar.done = bar.unpacked = bar.documents = 0;
    bar.began = bar.shown = seconds();
}
static void bar_print(const char *end) {
    static const char full[] = "##############################";
    double past = seconds() - bar.began;
    double part = bar.total > 0 && bar.done < bar.total ? bar.done/bar.total : 1;
    char documents[64];
    fprintf(stderr, "\r%s [%-30.*s] %3.0f%%  %s documents  %.1f MB/s of text  %.0f s%s", bar.what,
            (int)(30*part), full, 100*part, with_commas(bar.documents, documents),
            1e-6*bar.unpacked/(past + 1e-9), past, end);
}
// What the reader (or NULL) has read since it was last shown here, and `documents` more that are
// done. Called from any thread.
static void bar_add(Reader *r, uint64_t documents) {
    uint64_t packed = r ? r->packed_read - r->packed_shown : 0;
    uint64_t unpacked = r ? r->unpacked_read - r->unpacked_shown : 0;
    if (r) r->packed_shown = r->packed_read, r->unpacked_shown = r->unpacked_read;
    #pragma omp critical (bar)
    {
        bar.done += (double)packed, bar.unpacked += (double)unpacked, bar.documents += (double)documents;
        if (isatty(2) && seconds() - bar.shown > 0.2)
            bar_print(""), fflush(stderr), bar.shown = seconds();
    }
}
static void bar_end(void) { bar_print("\n"); }
