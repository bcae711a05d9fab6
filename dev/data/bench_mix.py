"""
How fast `data/curate mix` is beside `dolma mix` (Rust): the same documents, attributes, rules and replaced spans, one process beside
one, in turns; medians of processor time. The rules are those of debian.json's stream "pages", as both can read them.

    make data/curate && python dev/data/bench_mix.py [FOLDER] [rounds]              (uv pip install dolma==1.2.1)

FOLDER holds documents/ and attributes/, tagged and deduplicated as data/README.md has it (data/corpora/debian).
"""
import glob, gzip, json, os, re, resource, shutil, statistics, subprocess, sys, tempfile

folder, rounds = (sys.argv[1:] + ["data/corpora/debian", "3"][len(sys.argv) - 1:])[:2]
rounds = int(rounds)
DOLMA, CURATE = os.path.join(os.path.dirname(sys.executable), "dolma"), os.path.abspath("data/curate")
pages = json.load(open("data/debian.json"))["streams"][0]

def rule(text):                                             # "key < 50" as dolma writes it
    key, *rest = text.split(" ", 1)
    return f"$@.attributes[?(@.{key} && @.{key}[0] && @.{key}[0][2] {rest[0] if rest else '>= 0.5'})]"

with tempfile.TemporaryDirectory() as work:
    size = 0
    for i, name in enumerate(sorted(glob.glob(folder + "/documents/**/*.jsonl.gz", recursive=True))):      # flat
        for kind in ["documents"] + ["attributes/" + a for a in pages["attributes"]]:
            os.makedirs(f"{work}/d/{kind}", exist_ok=True)
            shutil.copy2(name.replace("/documents/", f"/{kind}/"), f"{work}/d/{kind}/{i:04}.jsonl.gz")
        size += sum(len(json.loads(line)["text"].encode()) for line in gzip.open(name))
    os.chdir(work)
    config = {"streams": [{"name": "m", "documents": ["d/documents/*.gz"], "attributes": pages["attributes"],
        "filter": {"include": [], "exclude": [rule(r) for r in pages["filter"]["exclude"]]},
        "span_replacement": [{"span": "$.attributes." + r["span"], "min_score": r.get("min_score", 0.5), "replacement": r["replacement"]}
                             for r in pages["span_replacement"]],
        "output": {"path": "out", "max_size_in_bytes": 10**10, "discard_fields": ["attributes"], "min_text_length": 200}}],
        "processes": 1, "work_dir": {"input": "in", "output": "work"}}
    with open("config.json", "w") as f:
        json.dump(config, f)

    def seconds(*command):
        shutil.rmtree("out", True)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
        kept = sum(1 for f in glob.glob("out/*") for _ in gzip.open(f)) if os.path.isdir("out") else 0
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, kept

    starting = seconds(DOLMA, "mix", "--help")[0]
    both = [(seconds(CURATE, "mix", "config.json", "--threads", "1", "--as-released"), seconds(DOLMA, "-c", "config.json", "mix")) for _ in range(rounds)]
    a, b = statistics.median(o[0] for o, _ in both), statistics.median(t[0] for _, t in both) - starting
    print(f"{size / 1e6:.1f} MB of text in .gz; medians of {rounds}, seconds of processor time; dolma's start, {starting:.2f}, subtracted")
    print(f"curate mix {a:.2f} ({size / 1e6 / a:.1f} MB/s, {both[0][0][1]:,} documents kept), dolma mix {b:.2f} ({size / 1e6 / b:.1f} MB/s, "
          f"{both[0][1][1]:,} kept): {b / a:.2f} times")
