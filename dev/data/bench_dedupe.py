"""
How fast `data/curate dedupe` is beside `dolma dedupe` (Rust): the same files, one process beside one, in turns; medians of processor
time. And what bounds it: the same bytes through `cat` (reading), and as many random visits to as much memory as the filter makes (dev/data/visits.c).

    make data/curate && python dev/data/bench_dedupe.py [FOLDER] [rounds]            (uv pip install dolma==1.2.1)

FOLDER holds documents/**/*.jsonl.gz (data/corpora/debian, by data/debian.sh); they are read as .gz and as plain JSON lines.
Both filters are made for the same keys and the same false positives (Dolma's takes as many bits a key as its size allows).
"""
import glob, gzip, json, os, re, resource, shutil, statistics, subprocess, sys, tempfile, time

folder, rounds = (sys.argv[1:] + ["data/corpora/debian", "3"][len(sys.argv) - 1:])[:2]
rounds = int(rounds)
DOLMA, CURATE = os.path.join(os.path.dirname(sys.executable), "dolma"), os.path.abspath("data/curate")
EXPECTED = {"document": 200_000, "paragraph": 10_000_000}

with tempfile.TemporaryDirectory() as work:
    for packing in "gz", "plain":
        os.makedirs(f"{work}/{packing}/documents")
    names = sorted(glob.glob(folder + "/documents/**/*.jsonl.gz", recursive=True))
    documents = text = 0
    for i, name in enumerate(names):                        # flat, and as one file each in both packings
        lines = gzip.open(name).read()
        documents += lines.count(b"\n")
        shutil.copy(name, f"{work}/gz/documents/{i:04}.jsonl.gz")
        with open(f"{work}/plain/documents/{i:04}.jsonl", "wb") as out:
            out.write(lines)
    subprocess.run(["cc", "-O3", "-march=native", "-o", work + "/visits", "dev/data/visits.c"], check=True)
    os.chdir(work)

    def processor_seconds(command):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout

    def theirs(by, packing):
        config = {"documents": [f"{packing}/documents/*"], "dedupe": {"name": "r", by + "s": {"attribute_name": "r"} | ({"key": "$.text"} if by == "document" else {})},
                  "bloom_filter": {"file": "theirs.bin", "size_in_bytes": 0, "read_only": False, "estimated_doc_count": EXPECTED[by],
                                   "desired_false_positive_rate": 1e-6}, "processes": 1, "work_dir": {"input": "in", "output": "out"}}
        with open("config.json", "w") as f:
            json.dump(config, f)
        for left in ("theirs.bin", packing + "/attributes"):
            shutil.rmtree(left, True) if os.path.isdir(left) else os.path.exists(left) and os.remove(left)
        return processor_seconds([DOLMA, "-c", "config.json", "dedupe"])

    def ours(by, packing, *more):
        shutil.rmtree(packing + "/attributes", True)
        return processor_seconds([CURATE, "dedupe", "--by", by, "--name", "r", "--expected", str(EXPECTED[by]), "--threads", "1", *more, packing + "/documents"])

    starting = statistics.median(processor_seconds([DOLMA, "dedupe", "--help"])[0] for _ in range(rounds))
    print(f"{documents:,} documents in {len(names)} files; medians of {rounds}, seconds of processor time; `dolma dedupe --help` takes {starting:.2f}, subtracted below")
    for by in EXPECTED:
        for packing in "plain", "gz":
            both = [(ours(by, packing), theirs(by, packing)) for _ in range(rounds)]
            a, b = statistics.median(o[0] for o, _ in both), statistics.median(t[0] for _, t in both) - starting
            read = statistics.median(processor_seconds(["sh", "-c", f"{'zcat' if packing == 'gz' else 'cat'} {packing}/documents/* | wc -l"])[0] for _ in range(rounds))
            print(f"by {by}, {packing:5}: curate {a:.2f} ({documents / a:,.0f} documents/s), dolma {b:.2f}, {b / a:.2f} times; {'zcat' if packing == 'gz' else 'cat'} | wc -l: {read:.2f}", flush=True)
        told = ours(by, "plain", "--exact")[1]
        mib, bits = re.search(r"filter +([\d.]+) MiB, (\d+) bits a key", told).groups()
        bare = subprocess.run(["./visits", str(int(float(mib) * 2**20)), bits], capture_output=True, text=True).stdout.strip()
        print(f"{told}bare visits to as much memory, as many a key: {bare} million keys a second\n")
