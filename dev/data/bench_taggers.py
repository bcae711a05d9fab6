"""
How fast `data/curate tag` is beside dolma's Python taggers: the same documents, one thread beside one process, in turns; medians
of processor time, so that other work on the machine counts for neither. (Starting is included in curate's time, not in dolma's.)

    make data/curate && python dev/data/bench_taggers.py [documents] [rounds]           (uv pip install dolma==1.2.1 pycld2)

Both read the documents from a file, and write attributes to one: Python's side is the loop of `dolma tag`, with its JSON library.
Languages: CLD2 beside CLD2, in which nearly all the time of both goes; our n-grams beside fastText, which Dolma used. Its model,
lid.176, cannot be had from PyPI; speed does not ask what a model learned, so one of its kind (16 dimensions, 2- to 4-grams,
hierarchical softmax; 2,000,000 buckets) is made from the documents, whose labels are made up.
"""
import os, statistics, subprocess, sys, tempfile, time
import msgspec
from taggers_reference import TAGGERS, TOKENIZER, real_documents, reference_taggers, write_documents

n, rounds = [int(a) for a in sys.argv[1:]] + [600, 3][len(sys.argv) - 1:]
CLD2, NGRAM, FASTTEXT = "cld2_en_paragraph_with_doc_score_v2", "ngram_en_paragraph_with_doc_score_v1", "ft_lang_id_en_paragraph_with_doc_score_v2"
SLOW = {"uniseg_length_paragraphs_with_empty_v1", "tokenizer_repetitions_v2r2", CLD2, FASTTEXT}     # there: a twentieth of the documents


def make_fasttext(directory, documents):
    import fasttext
    import dolma.taggers.language as language
    with open(directory + "/labelled.txt", "w") as out:
        for i, (_, text) in enumerate(documents):
            out.write(f"__label__{['en', *(f'x{k}' for k in range(175))][i % 176]} {' '.join(text.split())[:2000]}\n")
    path = directory + "/model.bin"
    fasttext.train_supervised(directory + "/labelled.txt", dim=16, minn=2, maxn=4, loss="hs", epoch=1, thread=1, bucket=2_000_000, verbose=0).save_model(path)
    language.FastTextAllLanguagesDocumentTagger.MODEL_PATH = path


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
    source, part, target = directory + "/documents.jsonl", directory + "/part.jsonl", directory + "/attributes.jsonl"
    documents = list(real_documents(n))
    few = documents[::20]
    write_documents(source, documents), write_documents(part, few)
    make_fasttext(directory, documents)
    size = lambda some: sum(len(text.encode()) for _, text in some) / 1e6
    print(f"{len(documents)} documents, {size(documents):.1f} MB of text; median of {rounds}, MB a second of processor time")
    print(f"{'':82}{'curate':>8}{'dolma':>8}{'ratio':>8}")
    for names, theirs in [([name], [name]) for name in TAGGERS + [CLD2]] + [([NGRAM], [CLD2]), ([NGRAM], [FASTTEXT]), (TAGGERS, TAGGERS)]:
        slow = SLOW & set(theirs)
        both = [(ours(names, source, target), reference(theirs, part if slow else source, target)) for _ in range(rounds)]
        a, b = statistics.median(t for t, _ in both), statistics.median(t for _, t in both)
        a, b = size(documents) / a, size(few if slow else documents) / b
        what = "all but languages" if len(names) > 1 else names[0] + (" beside " + theirs[0] if names != theirs else "")
        print(f"{what:82}{a:8.1f}{b:8.2f}{a / b:8.1f}", flush=True)
