#!/usr/bin/env python3
"""data/tokenize beside `dolma tokens`: the same documents through both, and how long each takes.

    python dev/data/roundtrip.py [--threads N] [--runs N] DOCUMENTS...

DOCUMENTS are JSON lines with an id and a text, plain or gzip (Dolma reads zstd
only where Python has a zstd module, and says nothing where it has not).  Both
programs write Dolma token files with OLMo's tokenizer; from each pair of .npy
and .csv.gz we take every document's source file, line, id and the bytes of its
tokens.  The two must hold the same documents, each as often, byte for byte.
Nothing else is compared, because nothing else can be equal: Dolma's order of
documents cannot be had twice (DATA_SPEC 6.3, T3), so offsets differ too.

Also compared: what is in the files themselves.  In both, the rows' spans must
follow each other without a gap and fill the .npy file to its end.

The time of a run is that of the whole program, from its start to its end, so
Python's imports count; the median of --runs is printed, ours and Dolma's
measured in turn.  Beside it stands the processor time, of all threads and
processes, which other work on the machine disturbs less.

Needs dolma 1.2.1 in the Python that runs this:  uv pip install dolma==1.2.1
"""
import argparse
import collections
import csv
import gzip
import importlib.metadata
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
TOKENIZER = TOP / "data/tokenizers/allenai_eleuther-ai-gpt-neox-20b-pii-special.json"
EOS = 50279
csv.field_size_limit(1 << 30)


def read_documents(directory):
    """The documents of all token files in a directory: {(source, line, id, tokens): how many}, and their tokens in all."""
    documents, tokens = collections.Counter(), 0
    files = sorted(pathlib.Path(directory).rglob("*.npy"))
    for npy in files:
        data, at = npy.read_bytes(), 0
        with gzip.open(npy.with_suffix(".csv.gz"), "rt", newline="", encoding="utf-8") as rows:
            for start, end, name, source, line in csv.reader(rows):
                start, end = int(start), int(end)
                if start != at or end <= start:
                    sys.exit(f"{npy}: a span {start}-{end} does not follow one that ends at {at}")
                documents[source, int(line), name, data[2 * start:2 * end]] += 1
                at = end
        if 2 * at != len(data):
            sys.exit(f"{npy}: the spans end at token {at}, the file holds {len(data)} bytes")
        tokens += at
    return documents, tokens, len(files)


def timed(command, environment=None):
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    if result.returncode:
        sys.exit(f"{' '.join(map(str, command))}\nfailed:\n{result.stdout[-2000:]}{result.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.monotonic() - start, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("documents", nargs="+")
    parser.add_argument("--threads", type=int, default=1, help="threads of ours, processes of Dolma's [1]")
    parser.add_argument("--runs", type=int, default=1, help="how often each is timed [1]")
    parser.add_argument("--tokenizer", default=str(TOKENIZER))
    options = parser.parse_args()
    work = pathlib.Path(tempfile.mkdtemp(prefix="roundtrip_"))
    dolma = pathlib.Path(sys.executable).with_name("dolma")
    ours = [TOP / "data/tokenize", "--tokenizer", options.tokenizer, "--eos", str(EOS), "--threads", str(options.threads),
            "--groups", str(options.threads), "--out", work / "ours", *options.documents]
    theirs = [dolma, "tokens", "--documents", *options.documents, "--destination", str(work / "theirs"),
              "--tokenizer.name_or_path", options.tokenizer, "--tokenizer.eos_token_id", str(EOS), "--tokenizer.pad_token_id", "1",
              "--processes", str(options.threads), "--max_size", str(1 << 27), "--dtype", "uint16"]
    environment = dict(os.environ, TOKENIZERS_PARALLELISM="false")
    seconds = {"ours": [], "theirs": []}
    try:
        for _ in range(options.runs):
            for name, command in (("ours", ours), ("theirs", theirs)):
                shutil.rmtree(work / name, ignore_errors=True)
                seconds[name].append(timed(list(map(str, command)), environment))
        a, tokens, files = read_documents(work / "ours")
        b, their_tokens, their_files = read_documents(work / "theirs")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f"data/tokenize: {sum(a.values()):,} documents, {tokens:,} tokens in {files} files")
    print(f"dolma {importlib.metadata.version('dolma')}:   {sum(b.values()):,} documents, {their_tokens:,} tokens in {their_files} files")
    for name, only in (("data/tokenize", a - b), ("dolma", b - a)):
        for source, line, identity, slice_ in list(only)[:5]:
            print(f"only from {name}: {source}:{line} id {identity!r}, {len(slice_) // 2} tokens: {slice_[:16].hex(' ', 2)} ...")
    size = sum(os.path.getsize(path) for path in options.documents)
    print(f"{size * 1e-6:.1f} MB of input files, {options.threads} thread(s) or process(es), median of {options.runs}:")
    for i, what in enumerate(("time", "processor time")):
        mine, other = (statistics.median(run[i] for run in seconds[name]) for name in ("ours", "theirs"))
        print(f"    {what}: data/tokenize {mine:.2f} s ({size * 1e-6 / mine:.1f} MB/s), "
              f"dolma {other:.2f} s ({size * 1e-6 / other:.2f} MB/s): {other / mine:.1f} times")
    if a != b:
        sys.exit(f"NOT EQUAL: {sum((a - b).values())} documents only from data/tokenize, {sum((b - a).values())} only from dolma")
    print("equal: the same documents, byte for byte, up to their order")


if __name__ == "__main__":
    main()
