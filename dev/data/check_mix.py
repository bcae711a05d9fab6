"""Dolma's own dedupe and mix beside `curate --as-released`, on random documents: python dev/data/check_mix.py

Needs `make data`, and the PyPI package dolma (1.2.1). Prints what differs; the exit code is the number of differences.
"""
import glob, gzip, json, os, random, shutil, subprocess, sys, tempfile, time

DOLMA = os.path.join(os.path.dirname(sys.executable), "dolma")
CURATE = os.path.abspath("data/curate")
random.seed(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
work = tempfile.mkdtemp()
os.chdir(work)

def lines(pattern):
    return [json.loads(l) for f in sorted(glob.glob(pattern)) for l in gzip.open(f, "rt")]

def run(*command):
    began = time.time()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(" ".join(command) + "\n" + done.stdout + done.stderr)
    return time.time() - began

def dolma(command, config):
    with open("config.json", "w") as f:
        json.dump(config | {"processes": 1, "work_dir": {"input": "in", "output": "out"}}, f)
    return run(DOLMA, "-c", "config.json", command)

# Documents of few different paragraphs; attributes of random spans, which overlap, touch, are empty, or end after the text.
pieces = ["one", "two words", "", "café", "naïve €", "\U0001f600 smile", "a b c d e f", " "]
os.makedirs("d/documents"), os.makedirs("d/attributes/t")
with gzip.open("d/documents/x.json.gz", "wt") as f, gzip.open("d/attributes/t/x.json.gz", "wt") as a:
    for i in range(3000):
        text = "\n".join(random.choices(pieces, k=random.randint(0, 5)))
        f.write(json.dumps({"id": str(i), "text": text, "source": "s", "metadata": {"url": random.randrange(2000).__str__()}}) + "\n")
        spans = {k: [[s, s + random.choice([0, 1, 2, 3, 7]), random.choice([0, 0.25, 0.5, 1])]
                     for s in (random.randint(0, len(text)) for _ in range(random.randint(0, 4)))] for k in "abc" if random.random() < 0.8}
        a.write(json.dumps({"id": str(i), "attributes": spans}) + "\n")

bad = 0
def compare(what, theirs, ours):
    global bad
    differ = [(t, o) for t, o in zip(theirs, ours) if t != o]
    bad += len(differ) + abs(len(theirs) - len(ours))
    print(f"{what}: {len(theirs)} and {len(ours)} lines, {len(differ)} differ", *differ[:2], sep="\n    " if differ else " ")

for by, section in [("document", {"documents": {"attribute_name": "r", "key": "$.text"}}), ("url", {"documents": {"attribute_name": "r", "key": "$.metadata.url"}}),
                    ("paragraph", {"paragraphs": {"attribute_name": "r"}})]:
    dolma("dedupe", {"documents": ["d/documents/*.gz"], "dedupe": {"name": "r"} | section,
                     "bloom_filter": {"file": by + ".bin", "size_in_bytes": 0, "read_only": False, "estimated_doc_count": 100000, "desired_false_positive_rate": 1e-9}})
    theirs = [(d["id"], d["attributes"].get("r", [])) for d in lines("d/attributes/r/*")]
    shutil.rmtree("d/attributes/r")
    run(CURATE, "dedupe", "--by", by, "--as-released", "--name", "r", "--expected", "100000", "--false-positives", "1e-9", "d/documents")
    compare("dedupe by " + by, theirs, [(d["id"], d["attributes"]["r"]) for d in lines("d/attributes/r/*")])
    shutil.rmtree("d/attributes/r")

for case, rules in enumerate([[], ["$@.attributes[?(@.a && @.a[0] && @.a[0][2] >= 0.5)]"], ["$.attributes[?(@.b && @.b[0] && @.b[0][2] < 0.5)]"]]):
    def config(path):
        return {"streams": [{"name": "m", "documents": ["d/documents/*.gz"], "attributes": ["t"], "filter": {"include": [], "exclude": rules or ["$.attributes[?(@.no && @.no[0] && @.no[0][2] < 1)]"]},
                "span_replacement": [{"span": "$.attributes.a", "min_score": 0.25, "replacement": "<{}>"}, {"span": "$.attributes.b", "min_score": 0.5, "replacement": ""},
                                     {"span": "$.attributes.c", "min_score": 0, "max_score": 0.5, "replacement": "C"}],
                "output": {"path": path, "max_size_in_bytes": 10**9, "discard_fields": ["attributes"], "min_text_length": 2}}]}
    dolma("mix", config(f"theirs{case}"))
    with open("config.json", "w") as f:
        json.dump(config(f"ours{case}"), f)
    run(CURATE, "mix", "config.json", "--as-released")
    compare("mix " + " ".join(rules), lines(f"theirs{case}/*"), lines(f"ours{case}/*"))
sys.exit(min(bad, 100))
