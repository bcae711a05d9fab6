// What data/documents.c needs from C++, as C functions: simdjson (Debian: libsimdjson-dev) reads
// strings, std::to_chars writes numbers.
#include <charconv>
#include <cstring>
#include <simdjson.h>
using namespace simdjson;

// What stands at a path such as metadata.url; of a name that an object has twice the last, as Python
// reads it.
static bool find(dom::element *at, const char *path) {
    for (const char *name = path; *name; name += *name == '.') {
        size_t n = strcspn(name, ".");
        dom::object object;
        bool found = false;
        if (at->get(object)) return false;
        for (dom::key_value_pair member : object)
            if (member.key == std::string_view(name, n)) *at = member.value, found = true;
        if (!found) return false;
        name += n;
    }
    return true;
}

// JSON sets no bounds to numbers, simdjson does: 64 bits for whole ones. No one asks for their
// values here, so a copy in which 123456789012345678901 reads 1.3456789012345678901 has the same
// strings, and is wrong where the original is.
static padded_string with_small_numbers(const char *json, size_t bytes) {
    padded_string copy(json, bytes);
    char *s = copy.data(), *end = s + bytes;
    while (s < end) {
        if (*s == '"') {                                    // a string: to behind its end
            for (s++; s < end && *s != '"'; s++) s += *s == '\\';
            s++;
            continue;
        }
        char *number = s += *s == '-';
        while (s < end && strchr("0123456789+-.eE", *s) && *s) s++;
        size_t digits = 0;
        while (number + digits < s && number[digits] >= '0' && number[digits] <= '9') digits++;
        if (number + digits == s && digits > 18 && *number != '0') number[1] = '.';
        s += s == number;
    }
    return copy;
}

enum { ABSENT, IS_NULL, IS_OTHER };                         // as in data/documents.c

// The strings at n paths of a JSON object: value[i], of size[i] bytes, good until this thread's next
// call. Where there is none, value[i] is NULL and size[i] one of the three above. All of the object
// is checked, and that it is UTF-8; returns NULL, or why it cannot be used. 64 bytes behind the
// object must be readable, whatever they are.
extern "C" const char *json_strings(const char **value, size_t *size, const char *const *path, int n,
                                    const char *json, size_t bytes) {
    static_assert(SIMDJSON_PADDING <= 64, "data/documents.c leaves 64 bytes behind every piece");
    static thread_local dom::parser parser;
    // 2048: the depth that jansson allows
    if (!parser.capacity() && parser.allocate(1 << 20, 2048)) return "not enough memory";
    dom::element root;
    error_code error = parser.parse(json, bytes, false).get(root);
    if (error == NUMBER_ERROR) error = parser.parse(with_small_numbers(json, bytes)).get(root);
    if (error) return error_message(error);
    if (!root.is_object()) return "expected an object";
    for (int i = 0; i < n; i++) {
        dom::element e = root;
        std::string_view s;
        bool found = find(&e, path[i]), is_string = found && !e.get(s);
        value[i] = is_string ? s.data() : nullptr;
        size[i] = is_string ? s.size() : size_t(!found ? ABSENT : e.is_null() ? IS_NULL : IS_OTHER);
    }
    return nullptr;
}

// The shortest decimal that reads back as the same number, into out[0..32); returns its end.
extern "C" char *shortest_decimal(char *out, double x) { return std::to_chars(out, out + 32, x).ptr; }
