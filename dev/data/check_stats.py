"""data/stats against a recount in Python: the same corpus, other code (uniseg for words, dictionaries for counts).

    data/stats --exact --json stats.json corpus.jsonl && python dev/data/check_stats.py stats.json corpus.jsonl...

Needs uniseg (PyPI). With --tokens N, the number of ids in data/tokenize's files less one end for each document, too.
JSON lines only, plain or gzip; the words of a corpus of 100 MB take Python some minutes.
"""
import argparse, collections, gzip, json, math, sys, urllib.parse
from uniseg.wordbreak import words

parser = argparse.ArgumentParser()
parser.add_argument("report")
parser.add_argument("files", nargs="+")
parser.add_argument("--tokens", type=int)
args = parser.parse_args()
report = json.load(open(args.report, encoding="utf-8"))

total = collections.Counter()
grams = {n: collections.Counter() for n in (1, 2, 3, 10)}
seen = {kind: collections.Counter() for kind in ("documents", "paragraphs", "urls")}
domains, sources = collections.Counter(), collections.Counter()
lengths = []
for path in args.files:
    opened = gzip.open(path, "rt", encoding="utf-8", newline="\n") if path.endswith(".gz") else open(path, encoding="utf-8", newline="\n")
    for line in opened:
        try:
            document = json.loads(line)
        except ValueError:
            continue
        text = document["text"]
        tokens = [w for w in words(text) if w.strip()]
        total.update(documents=1, bytes=len(text.encode()), characters=len(text), words=len(tokens), words_between_spaces=len(text.split()))
        lengths.append(len(tokens))
        for n in grams:
            grams[n].update(zip(*(tokens[i:] for i in range(n))))
        paragraphs = [p for p in text.split("\n") if p.strip()]
        total["paragraphs"] += len(paragraphs)
        seen["documents"][text] += 1
        seen["paragraphs"].update(paragraphs)
        sources[document.get("source", "")] += len(tokens)
        url = (document.get("metadata") or {}).get("url")
        if url:
            seen["urls"][url] += 1
            host = urllib.parse.urlsplit(url).hostname
            if host:
                domains[host.removeprefix("www.")] += len(tokens)

bad = 0
def same(what, ours, theirs):
    global bad
    bad += ours != theirs
    print("same     " if ours == theirs else "DIFFERENT", what, ours if ours == theirs else f"data/stats {ours}, Python {theirs}")

for name in ("documents", "bytes", "characters", "words", "words_between_spaces", "paragraphs"):
    same(name, report["size"][name], total[name])
lengths.sort()
of = report["document_lengths"]
if of["unit"] == "words":
    quantile = lambda q: lengths[math.ceil(q*len(lengths)) - 1]
    same("lengths", [of[k] for k in ("min", "median", "p99", "max")], [lengths[0], quantile(.5), quantile(.99), lengths[-1]])
    same("domains", [r["words"] for r in report["domains"]["top"]], [c for _, c in domains.most_common(len(report["domains"]["top"]))])
    same("sources", [r["words"] for r in report["sources"]["top"]], [c for _, c in sources.most_common(len(report["sources"]["top"]))])
same("the histogram's documents", sum(r["documents"] for r in of["histogram"]), len(lengths))
for kind, counts in seen.items():
    section = report["duplicate_" + kind]
    same("duplicate " + kind, (section["total"], section["distinct"]), (sum(counts.values()), len(counts)))
    rows = section["most_duplicated"]
    same("  most duplicated", [r["count"] for r in rows], [c for _, c in counts.most_common(len(rows)) if c > 1])
for n, counts in grams.items():
    rows, most = report[f"{n}-grams"]["top"], counts.most_common(len(report[f"{n}-grams"]["top"]))
    if "distinct" in report[f"{n}-grams"]:
        same(f"{n}-grams, distinct", report[f"{n}-grams"]["distinct"], len(counts))
        same(f"{n}-grams, counts", [r["count"] for r in rows], [c for _, c in most])
        same(f"{n}-grams, texts", all(counts[k] == r["count"] for r in rows for k in [tuple(r["ngram"].split(" "))] if len(k) == n), True)
    else:
        bound = report[f"{n}-grams"]["a_count_is_too_high_by_at_most"]
        same(f"{n}-grams in the sketch", all(c <= r["count"] <= c + bound for r, (_, c) in zip(rows, most)), True)
    same(f"{n}-grams, in all", report[f"{n}-grams"]["ngrams"], sum(counts.values()))
same("distinct words", report["word_frequency"]["distinct_words"], len(grams[1]))
if args.tokens is not None:
    same("tokens", report["size"]["tokens"], args.tokens)
print(bad, "differences")
sys.exit(bad > 0)
