// CLD2 (Debian: libcld2-dev) speaks C++. This is all of it that data/classifier.c calls, in C.
#include <cstdio>                                        // its header needs this
#include <cld2/public/compact_lang_det.h>
#include <cld2/public/encodings.h>

// Up to three languages, as ISO 639 codes, and how many percent of the text are in each. Returns how many; 0 if CLD2 does
// not trust its own answer; -1 if the text holds what CLD2 refuses to look at: control characters, noncharacters.
extern "C" int cld2_languages(const char **code, int *percent, const char *text, int size) {
    CLD2::CLDHints none = { 0, 0, CLD2::UNKNOWN_ENCODING, CLD2::UNKNOWN_LANGUAGE };
    CLD2::Language language[3];
    double score[3];
    bool reliable;
    int bytes, fine, n = 0;
    CLD2::ExtDetectLanguageSummaryCheckUTF8(text, size, false, &none, 0, language, percent, score, 0, &bytes, &reliable, &fine);
    if (fine < size) return -1;
    while (reliable && n < 3 && language[n] != CLD2::UNKNOWN_LANGUAGE) code[n] = CLD2::LanguageCode(language[n]), n++;
    return n;
}
