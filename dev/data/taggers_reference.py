"""What check_taggers.py and bench_taggers.py share: documents of this machine, and the reference's taggers (dolma 1.2.1)."""
import glob, gzip, json, os, random

TAGGERS = ["gopher_v1", "gopher_v2", "c4_v1", "c4_v2", "pii_regex_with_counts_fast_v2",
           "uniseg_length_paragraphs_with_empty_v1", "not_alphanum_paragraph_v1", "char_length_v1",
           "tokenizer_repetitions_v2r2"]
TOKENIZER = "data/tokenizers/allenai_eleuther-ai-gpt-neox-20b-pii-special.json"                     # the one that it names


def real_documents(n, longest=40_000):
    """Files that Debian packages bring along: documentation, manual pages in many languages, licences, code."""
    names = [name for pattern in ("/usr/share/doc/**", "/usr/share/man/**", "/usr/share/perl/**", "/usr/lib/python3*/**", "/usr/include/**")
             for name in glob.glob(pattern, recursive=True) if os.path.isfile(name) and not os.path.islink(name)]
    random.Random(1).shuffle(names)
    for name in names:
        try:
            data = gzip.open(name).read() if name.endswith(".gz") else open(name, "rb").read()
            text = data.decode("utf-8")[:longest]
        except (OSError, EOFError, UnicodeDecodeError):
            continue
        if text.strip() and n > 0:
            n -= 1
            yield name, text


PIECES = ["\n", "\n\n", " ", "  ", "\t", "\r", "\x1c", "\x1f", "\x85", "\xa0", "\u1680", "\u180e", "\u2003", "\u200b", "\u2028", "\u202f",
          "\u3000", "\ufeff", "\0", "\x7f", "the", "be", "The", "to", "of", "a", "b", "word", "word word", "* ", "- ", "#", "\u2026", "...",
          ".", "?", "!", '"', "{", "}", "JavaScript", "javascript", "javascripts", "Lorem Ipsum", "lorem  ipsum", "LOREM \u0130PSUM",
          "\u0130", "\u212a", "\u0131", "\u1e9e", "\u03a3", "\xe9", "e\u0301", "\u65e5\u672c\u8a9e", "\U0001f600", "\u2764\ufe0f",
          "\u0661\u0662\u0663", "\U0001d7d8", "123", "456", "7890", "555-123-4567", " (555) 123-4567", "1.2.3.4", "256.1.1.1", "10.0.0.255",
          "@", "@@", "a@b.co", "(@x.y", "x@y", "john.doe@example.com", ",", ";", ":", "(", ")", "sex", "Ass", "two girls one cup", "\ud55c"]


def fuzzed_documents(n, seed=0):
    r = random.Random(seed)
    for i in range(n):
        pieces = r.sample(PIECES, r.randint(2, 12)) if r.random() < 0.7 else PIECES
        text = "".join(r.choice(pieces) for _ in range(r.choice((1, 3, 10, 40, 200))))
        if r.random() < 0.2:
            text += "".join(chr(r.choice((r.randrange(0x20, 0x250), r.randrange(0x250, 0xd800), r.randrange(0xe000, 0x20000)))) for _ in range(30))
        if r.random() < 0.3:
            text += "".join("".join(r.choices(pieces, k=r.randint(1, 6)))*r.randint(2, 30) for _ in range(r.randint(1, 5)))
        yield f"fuzz{i}", text


def reference_taggers(names=TAGGERS):
    import types, tokenizers
    import dolma.taggers.repetitions.repetitions_taggers as repetitions
    from dolma.core.registry import TaggerRegistry
    tokenizer = tokenizers.Tokenizer.from_file(TOKENIZER)               # instead of from the hub, by its name
    repetitions.Tokenizer = types.SimpleNamespace(from_pretrained=lambda name: tokenizer)
    return {name: TaggerRegistry.get(name)() for name in names}


def reference_attributes(taggers, document):
    """As `dolma tag` groups them, but with all digits of the scores."""
    from dolma.core.data_types import Document
    attributes = {}
    for name, tagger in taggers.items():
        for span in tagger.predict(Document(source="", id=document["id"], text=document["text"])).spans:
            attributes.setdefault(f"{name}__{span.type}", []).append([span.start, span.end, float(span.score)])
    return attributes


def write_documents(path, documents):
    with open(path, "w") as file:
        for name, text in documents:
            file.write(json.dumps({"id": name, "text": text, "source": "test"}) + "\n")
