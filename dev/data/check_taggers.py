"""
Compares `data/curate tag` with the taggers of dolma 1.2.1 on real documents and on fuzzed strings: every key, span and score.

    make data/curate && python dev/data/check_taggers.py [documents] [fuzzed strings] [seed]         (uv pip install dolma==1.2.1)

Python 3.11 and PCRE2 know Unicode 14, ICU 72 knows 15, uniseg 16: where the text has code points that are newer than Unicode 14,
or whose properties changed since, differences are counted apart.
"""
import collections, json, subprocess, sys, tempfile, unicodedata
from taggers_reference import TAGGERS, TOKENIZER, fuzzed_documents, real_documents, reference_attributes, reference_taggers, write_documents

n, fuzzed, seed = [int(a) for a in sys.argv[1:]] + [3000, 20000, 0][len(sys.argv) - 1:]
documents = [d for d in list(real_documents(n)) + list(fuzzed_documents(fuzzed, seed))]
with tempfile.NamedTemporaryFile(suffix=".jsonl") as file:
    write_documents(file.name, documents)
    with open(file.name) as standard_input:
        ours = subprocess.run(["data/curate", "tag", "--as-released", "--tokenizer", TOKENIZER, "--taggers", ",".join(TAGGERS), "-"],
                              stdin=standard_input, stdout=subprocess.PIPE, check=True).stdout.decode().splitlines()
assert len(ours) == len(documents), (len(ours), len(documents))
taggers, different, values, examples = reference_taggers(), collections.Counter(), 0, []
for (name, text), line in zip(documents, ours):
    mine, reference = json.loads(line), reference_attributes(taggers, {"id": name, "text": text})
    assert mine["id"] == name
    mine = mine["attributes"]
    young = any(unicodedata.category(c) == "Cn" for c in text)
    for key in {**mine, **reference}:
        a, b = mine.get(key, []), [[s, e, round(x, 5)] for s, e, x in reference.get(key, [])]
        values += len(b)
        if a != b:
            different[key, "code points newer than Unicode 14" if young else ""] += 1
            if not young and len(examples) < 20:
                examples.append((name, key, [x for x in a if x not in b][:3], [x for x in b if x not in a][:3], text[:200]))
for example in examples:
    print(*map(repr, example))
for key, count in different.items():
    print(*key, count)
print(f"{n} real documents, {fuzzed} fuzzed strings, {values} values: {sum(different.values())} keys differ")
