"""
How fast `data/curate tag` is beside dolma's Python taggers: the same documents, one thread beside one process, in turns; medians
of processor time, so that other work on the machine counts for neither. (Starting is included in curate's time, not in dolma's.)

    make data/curate && python dev/data/bench_taggers.py [documents] [rounds]           (pip install dolma==1.2.1)

Both read the documents from a file, and write attributes to one: Python's side is the loop of `dolma tag`, with its JSON library.
"""
import os, statistics, subprocess, sys, tempfile, time
import msgspec
from taggers_reference import TAGGERS, TOKENIZER, real_documents, reference_taggers, write_documents

n, rounds = [int(a) for a in sys.argv[1:]] + [600, 3][len(sys.argv) - 1:]


def reference(names, source, target):
    from dolma.core.data_types import InputSpec, OutputSpec
    taggers = reference_taggers(names)
    decoder, encoder = msgspec.json.Decoder(InputSpec), msgspec.json.Encoder()
    began = time.process_time()
    with open(source) as lines, open(target, "w") as out:
        for line in lines:
            row = decoder.decode(line)
            attributes = {f"{name}__{name}__{key}": value for name, tagger in taggers.items() for key, value in tagger.tag(row).items()}
            out.write(encoder.encode(OutputSpec(source=row.source, id=row.id, attributes=attributes)).decode() + "\n")
    return time.process_time() - began


def ours(names, source, target):
    before = os.times()
    with open(source) as documents, open(target, "w") as out:
        subprocess.run(["data/curate", "tag", "--threads", "1", "--tokenizer", TOKENIZER, "--taggers", ",".join(names), "-"],
                       stdin=documents, stdout=out, stderr=subprocess.DEVNULL, check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


with tempfile.TemporaryDirectory() as directory:
    source, target = directory + "/documents.jsonl", directory + "/attributes.jsonl"
    documents = list(real_documents(n))
    write_documents(source, documents)
    megabytes = sum(len(text.encode()) for _, text in documents) / 1e6
    print(f"{len(documents)} documents, {megabytes:.1f} MB of text; median of {rounds}, MB a second of processor time")
    print(f"{'':42}{'curate':>8}{'dolma':>8}{'ratio':>8}")
    for names in [TAGGERS] + [[name] for name in TAGGERS]:
        both = [(ours(names, source, target), reference(names, source, target)) for _ in range(rounds)]
        a, b = (megabytes / statistics.median(times) for times in zip(*both))
        print(f"{names[0] if len(names) == 1 else 'all of them':42}{a:8.1f}{b:8.2f}{a / b:8.1f}", flush=True)
