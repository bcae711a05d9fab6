/*
Words as Unicode cuts them: the word boundaries of UAX #29, without dictionaries, as WIMBD and Dolma
count words (DATA_SPEC 3.7, 8.2). "don't" and "3.14" are one word, "a-b" is three, every Han
character is one. What lies between two boundaries is a word unless all of it is white space.
#included after documents.c.

    size_t size;
    for (const char *word = text; (word = unicode_word(word, end, &size)); word += size) ...

The text, up to `end`, is UTF-8.
*/
#include <unicode/uchar.h>

// The values of the property Word_Break, one bit each.
enum {
    WB_OTHER = 1 << U_WB_OTHER, WB_CR = 1 << U_WB_CR, WB_LF = 1 << U_WB_LF,
        WB_LINE = WB_CR | WB_LF | 1 << U_WB_NEWLINE,
    WB_SPACE = 1 << U_WB_WSEGSPACE, WB_ZWJ = 1 << U_WB_ZWJ,
    WB_IGNORED = 1 << U_WB_EXTEND | 1 << U_WB_FORMAT | WB_ZWJ,
    WB_HEBREW = 1 << U_WB_HEBREW_LETTER, WB_LETTER = 1 << U_WB_ALETTER | WB_HEBREW,
    WB_DIGIT = 1 << U_WB_NUMERIC,
    WB_KATAKANA = 1 << U_WB_KATAKANA, WB_UNDERSCORE = 1 << U_WB_EXTENDNUMLET,
    WB_FLAG = 1 << U_WB_REGIONAL_INDICATOR,
    WB_QUOTE = 1 << U_WB_SINGLE_QUOTE, WB_DOUBLE_QUOTE = 1 << U_WB_DOUBLE_QUOTE,
    WB_IN_LETTERS = 1 << U_WB_MIDLETTER | 1 << U_WB_MIDNUMLET | WB_QUOTE,
    WB_IN_DIGITS = 1 << U_WB_MIDNUM | 1 << U_WB_MIDNUMLET | WB_QUOTE,
};

// That of a code point. ASCII by hand, for speed; a test compares it with ICU.
static int word_break(int code) {
    static const unsigned char ascii[128] = {
        ['\r'] = U_WB_CR, ['\n'] = U_WB_LF, ['\v'] = U_WB_NEWLINE, ['\f'] = U_WB_NEWLINE,
            [' '] = U_WB_WSEGSPACE,
        ['"'] = U_WB_DOUBLE_QUOTE, ['\''] = U_WB_SINGLE_QUOTE, ['.'] = U_WB_MIDNUMLET,
        [':'] = U_WB_MIDLETTER,
        [','] = U_WB_MIDNUM, [';'] = U_WB_MIDNUM, ['_'] = U_WB_EXTENDNUMLET,
    };
    if (code < 0) return WB_OTHER;                          // not UTF-8
    if (code >= 128) return 1 << u_getIntPropertyValue(code, UCHAR_WORD_BREAK);
    if ((code | 32) >= 'a' && (code | 32) <= 'z') return 1 << U_WB_ALETTER;
    return code >= '0' && code <= '9' ? WB_DIGIT : 1 << ascii[code];
}

// Do the two belong together, whatever follows?
static int words_join(int left, int right) {
    const int inside = WB_LETTER | WB_DIGIT, outside = inside | WB_KATAKANA;
    return (left & inside && right & inside)                                                // WB5, 8, 9, 10
        || (left & right & WB_KATAKANA)                                                              // WB13
        || (left & (outside | WB_UNDERSCORE) && right & WB_UNDERSCORE)                              // WB13a
        || (left & WB_UNDERSCORE && right & outside)                                                // WB13b
        || (left & WB_HEBREW && right & WB_QUOTE);                                                   // WB7a
}
// If one of these comes after `left` and `middle`, all three belong together, as in don't and 3.14
// (WB6, 7, 7b, 7c, 11, 12).
static int words_bridge(int left, int middle) {
    if (left & WB_LETTER && middle & WB_IN_LETTERS) return WB_LETTER;
    if (left & WB_HEBREW && middle & WB_DOUBLE_QUOTE) return WB_HEBREW;
    if (left & WB_DIGIT && middle & WB_IN_DIGITS) return WB_DIGIT;
    return 0;
}
// The property of the first code point of [*s, end) that WB4 does not ignore; *s moves behind it.
static int word_break_after(const char **s, const char *end) {
    int found = WB_IGNORED;
    for (int length; *s < end && found & WB_IGNORED; *s += length)
        found = word_break(utf8_decode(*s, (size_t)(end - *s), &length));
    return found;
}

// The first boundary after s < end.
static const char *word_boundary(const char *s, const char *end) {
    int length, code = utf8_decode(s, (size_t)(end - s), &length);
    // left: the last one that WB4 does not ignore; last: the very last
    int left = word_break(code), last = left, right;
    s += length;
    if (left & WB_LINE) return left & WB_CR && s < end && *s == '\n' ? s + 1 : s;                 // WB3, 3a
    for (; s < end; s += length, last = right) {
        code = utf8_decode(s, (size_t)(end - s), &length);
        right = word_break(code);
        if (right & WB_IGNORED) continue;                                                             // WB4
        const char *after = s + length;
        int wanted = words_bridge(left, right);
        int found = wanted ? word_break_after(&after, end) & wanted : 0;
        // WB3c: joined emoji
        if (last & WB_ZWJ && u_hasBinaryProperty(code, UCHAR_EXTENDED_PICTOGRAPHIC)) left = right;
        else if (last & right & WB_SPACE) left = right;                                              // WB3d
        else if (found) left = right = found, s = after, length = 0;
        else if (words_join(left, right)) left = right;
        else if (left & right & WB_FLAG) left = WB_OTHER;                                 // WB15, 16: pairs
        else return s;                                                                              // WB999
    }
    return s;
}

// The first word of [s, end), or NULL.
static const char *unicode_word(const char *s, const char *end, size_t *size) {
    for (const char *boundary; s < end; s = boundary) {
        boundary = word_boundary(s, end);
        *size = (size_t)(boundary - s);
        if (!all_unicode_space(s, boundary)) return s;
    }
    return NULL;
}
