/*
The tokenizer: text to ids and back, exactly as OLMo's (GPT-NeoX-20B's byte-level BPE), read from a Hugging Face tokenizer.json.
#included by train_olmo.c (prompts and samples), and so by the programs in data/.

    Tokenizer *t = tokenizer_load("tokenizer.json");
    Encoder *e = encoder_new(t);                            one for each thread: it remembers the words it has seen
    size_t n = encode(e, text, size);                       e->ids[0..n), until the next call; text: valid UTF-8
    size_t m = decode(t, text, ids, n);                     text: room for n*t->longest bytes
    encoder_free(e), tokenizer_free(t);
*/
#ifdef ICU
#include <unicode/uchar.h>
#include <unicode/unorm2.h>
#include <unicode/ustring.h>
#endif

// ---- UTF-8 and Unicode -----------------------------------------------------------------------------------------------

// The code point that starts at s, of which n > 0 bytes are left, and its *length in bytes. Anything that is not UTF-8
// (cut off, overlong, a surrogate, above U+10FFFF) is -1, of length 1.
static int utf8_decode(const char *s, size_t n, int *length) {
    const unsigned char *b = (const unsigned char *)s;
    int size = b[0] < 0x80 ? 1 : b[0] < 0xc2 ? 0 : b[0] < 0xe0 ? 2 : b[0] < 0xf0 ? 3 : b[0] < 0xf5 ? 4 : 0;
    int code = size < 2 ? b[0] : b[0] & (0x7f >> size);
    static const int least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    *length = 1;
    if (size == 0 || (size_t)size > n) return -1;
    for (int i = 1; i < size; i++) {
        if ((b[i] & 0xc0) != 0x80) return -1;
        code = code << 6 | (b[i] & 0x3f);
    }
    if (code < least[size] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return -1;
    *length = size;
    return code;
}
// The bytes of a code point; returns how many.
static int utf8_encode(char *out, int code) {
    unsigned char *b = (unsigned char *)out;
    if (code < 0x80) { b[0] = (unsigned char)code; return 1; }
    int size = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (int i = size - 1; i > 0; i--, code >>= 6) b[i] = (unsigned char)(0x80 | (code & 0x3f));
    b[0] = (unsigned char)(0xf00 >> size | code);
    return size;
}
// How many bytes from the start are valid UTF-8: n if all of them are.
static size_t utf8_valid(const char *s, size_t n) {
    size_t i = 0;
    for (int length; i < n; i += (size_t)length) if (utf8_decode(s + i, n - i, &length) < 0) break;
    return i;
}

// What the pre-tokenizer sees in a code point: \s, \p{L}, \p{N}, or none of them. (Marks are none of them.)
typedef enum { OTHER, SPACE, LETTER, DIGIT } CharClass;
static CharClass char_class(int code) {
    if (code < 128) return (code | 32) >= 'a' && (code | 32) <= 'z' ? LETTER : code >= '0' && code <= '9' ? DIGIT
                         : code == ' ' || (code >= 9 && code <= 13) ? SPACE : OTHER;
#ifdef ICU
    if (u_isUWhiteSpace(code)) return SPACE;
    uint32_t category = U_MASK(u_charType(code));
    return category & U_GC_L_MASK ? LETTER : category & U_GC_N_MASK ? DIGIT : OTHER;
#else
    return OTHER;                                           // never reached: tokenizer_load has refused
#endif
}
