#!/usr/bin/env python3
"""Is our tokenizer the Hugging Face one? By hand:

    python3 dev/data/check_tokenizer.py DOCS.jsonl[.gz]... [--fuzz N] [--seed N] [--tokenizer FILE]...

Compares `data/tokenize --print` and `--decode` with the Python package `tokenizers` (pip install tokenizers), id for id, on
  - the text of the documents given: 50 MB or more, of prose, code and many scripts;
  - N random strings joined from awkward pieces (DATA_SPEC 10.6);
  - every code point, U+0000 to U+10FFFF without surrogates: alone, as "a<c>b", and as " <c>"
for each tokenizer file in data/tokenizers that we support. Prints counts and the first 20 differences; exit code 1 if any.
"""
import argparse, glob, gzip, json, os, random, subprocess, sys, tempfile
import tokenizers

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM = os.environ.get("TOKENIZE", os.path.join(HERE, "../../data/tokenize"))

PIECES = ([" " * n for n in range(1, 61)] + ["\t" * n for n in range(1, 5)] + ["\n", "\r\n", "\r", "\n\n", "\v", "\f"] +
    list("\x00\x1b\x1c\x1d\x1e\x1f\x7f\x85\xa0\u1680\u180e\u2000\u200b\u2028\u2029\u202f\u205f\u2060\u3000\ufeff") +
    ["\u0300", "\u0301\u0323", "\u0323\u0301", "\u0345", "e\u0301", "\u1100\u1161\u11a8", "\u1161", "\uac00\u11a8", "\u212b", "\u2126",
     "\u0958", "\u2adc", "\ufb1d", "\u0f43", "\u0344", "\U0001d15e", "\ufb01", "\u1e9b\u0323", "\u0b47\u0b3e", "\U00011131\U00011127"] +
    list("0123456789") + ["12", "1234567", "\u0663", "\u096a", "\u0e53", "\u00b2", "\u00bd", "\u2167", "\u3289", "\U0001d7d8", "\u4e09", "\u0bf0"] +
    ["\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea", "\u2764\ufe0f", "\U0001f44d\U0001f3fd", "\U0010ffff", "\ue000", "\uffff"] +
    ["'", "''", "'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'LL", "\u2019s", "\u2019", "\u02bc"] +
    ["|||EMAIL_ADDRESS|||", "|||PHONE_NUMBER|||", "|||IP_ADDRESS|||", "|||", "|", "||||IP_ADDRESS|||", "|||IP_ADDRESS||", "<|endoftext|>",
     "<|padding|>", "<|endoftext", "|>", "<|", "<|endof\u0301text|>"] +
    ["a", "b", "x", "the", "Hello", "WORLD", "def", "return", "\u00e9", "\u00df", "\u0130", "\u01c5", "\u03a3", "\u05d0", "\u0639", "\u0e01", "\u4e2d\u6587",
     "\ud55c", "\u304b\u3099", "\U00020000", "\u02b0", "\u00aa", "!", "...", "\u2026", "_", "#", "{}", "\\", "\"", "\u20ac", "+=", "//", "-", "a" * 300, "\u00e9" * 99])

def documents(paths):
    for path in paths:
        opened = gzip.open(path, "rt", encoding="utf-8") if path.endswith(".gz") else open(path, encoding="utf-8")
        with opened as lines:
            for line in lines: yield json.loads(line)["text"]

def fuzzed(n, seed):
    rng = random.Random(seed)
    for _ in range(n): yield "".join(rng.choice(PIECES) for _ in range(rng.randint(1, 24)))

def code_points():
    for c in range(0x110000):
        if 0xd800 <= c < 0xe000: continue
        yield from (chr(c), f"a{chr(c)}b", f" {chr(c)}")

def batches(texts, strings=20000, characters=2_000_000):
    batch, size = [], 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if len(batch) == strings or size > characters:
            yield batch
            batch, size = [], 0
    if batch: yield batch

def ours(arguments, records):
    """Runs data/tokenize on JSON lines; its JSON lines."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as given:
        for record in records: given.write(json.dumps(record, ensure_ascii=False) + "\n")
        given.seek(0)
        result = subprocess.run([PROGRAM, *arguments], stdin=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if result.returncode: sys.exit(f"data/tokenize failed: {result.stderr.decode()}")
    return [json.loads(line) for line in result.stdout.splitlines()]

def compare(name, texts, file, reference, differences):
    strings = size = tokens = wrong = undecoded = 0
    for batch in batches(texts):
        records = [{"id": str(i), "text": text} for i, text in enumerate(batch)]
        found = ours(["--tokenizer", file, "--print", "-"], records)
        if [line["id"] for line in found] != [record["id"] for record in records]:
            sys.exit(f"{name}: data/tokenize --print gave {len(found)} lines for {len(records)} documents, or in another order")
        expected = [encoding.ids for encoding in reference.encode_batch(batch, add_special_tokens=False)]
        decoded = ours(["--tokenizer", file, "--decode", "-"], [{"id": line["id"], "ids": ids} for line, ids in zip(found, expected)])
        for text, line, ids, back in zip(batch, found, expected, decoded):
            if line["ids"] != ids:
                wrong += 1
                at = next((i for i, (a, b) in enumerate(zip(line["ids"], ids)) if a != b), min(len(ids), len(line["ids"])))
                differences.append(f"{name}: {reference.decode(ids[:at], skip_special_tokens=False)[-40:]!r} then "
                                   f"{line['ids'][at:at + 8]}, expected {ids[at:at + 8]}; the text begins {text[:60]!r}")
            whole = reference.decode(ids, skip_special_tokens=False)
            if back["text"] != whole:
                undecoded += 1
                differences.append(f"{name}, decoded: {back['text'][:80]!r}, expected {whole[:80]!r}")
            tokens += len(ids)
        strings += len(batch)
        size += sum(len(text.encode()) for text in batch)
    print(f"  {name:12} {strings:>9,} strings {size:>13,} bytes {tokens:>12,} tokens   encoded otherwise: {wrong}   decoded otherwise: {undecoded}", flush=True)

def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("documents", nargs="*")
    parser.add_argument("--fuzz", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tokenizer", action="append")
    given = parser.parse_args()
    differences = []
    print(f"tokenizers {tokenizers.__version__}")
    for file in given.tokenizer or sorted(glob.glob(os.path.join(HERE, "../../data/tokenizers/*.json"))):
        print(os.path.basename(file))
        tried = subprocess.run([PROGRAM, "--tokenizer", file, "--print", "-"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if "expected OLMo-1's kind of tokenizer" in tried.stderr:
            print("  not supported, and refused in a sentence:", tried.stderr.strip())
            continue
        if tried.returncode: sys.exit(tried.stderr)
        reference = tokenizers.Tokenizer.from_file(file)
        if given.documents: compare("documents", documents(given.documents), file, reference, differences)
        compare("fuzzed", fuzzed(given.fuzz, given.seed), file, reference, differences)
        compare("code points", code_points(), file, reference, differences)
    for line in differences[:20]: print(line)
    print(f"{len(differences)} differences")
    sys.exit(1 if differences else 0)

main()
