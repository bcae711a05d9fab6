#!/usr/bin/env python3
"""
How often CLD2 and the n-gram model are right about a document's language, and how often they agree.

    dev/data/languages_agree.py FOLDER              after dev/data/languages.py FOLDER, and make data

Two sets of documents: the tenth of languages.jsonl that a model trained here on the other nine tenths has not seen, and
elsewhere.jsonl, judged by the model as it is committed. The labels are only as good as the translations: some pages of
LibreOffice's help are half English. Where Python has pycld2 or fasttext (with --fasttext lid.176.ftz), they judge too.
"""
import argparse, collections, hashlib, itertools, json, os, subprocess, tempfile

SAME = {'zh-Hant': 'zh', 'zh-TW': 'zh', 'nb': 'no', 'nn': 'no'}
CURATE = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'data', 'curate')


def best(attributes, tagger):
    scores = {key[len(tagger) + 2:]: spans[0][2] for key, spans in attributes.items() if key.startswith(tagger + '__')}
    top = max(scores, key=scores.get, default='none')
    return SAME.get(top, top)


def judge(documents, options):
    """For each document: {judge: language}."""
    text = ''.join(json.dumps(d) + '\n' for d in documents)
    out = subprocess.run([CURATE, 'tag', '--taggers', 'cld2_doc_v2,ngram_doc_v1', *options, '-'], input=text, text=True, capture_output=True, check=True).stdout
    verdicts = [{'CLD2': best(a, 'cld2_doc_v2'), 'n-grams': best(a, 'ngram_doc_v1')} for a in (json.loads(line)['attributes'] for line in out.splitlines())]
    try:
        import pycld2
        for verdict, d in zip(verdicts, documents):
            try:
                reliable, _, details = pycld2.detect(d['text'])
                verdict['pycld2'] = SAME.get(details[0][1], details[0][1]) if reliable else 'none'
            except pycld2.error:
                verdict['pycld2'] = 'error'
    except ImportError:
        pass
    if arguments.fasttext:
        import fasttext
        model = fasttext.load_model(arguments.fasttext)
        for verdict, d in zip(verdicts, documents):
            top = model.predict(d['text'].lower().replace('\n', ' ').strip())[0][0][len('__label__'):]
            verdict['fastText'] = SAME.get(top, top)
    return verdicts


def report(name, documents, options):
    verdicts = judge(documents, options)
    labels = [d['label'] for d in documents]
    print(f'{name}: {len(documents)} documents in {len(set(labels))} languages')
    for who in verdicts[0]:
        right = sum(v[who] == l for v, l in zip(verdicts, labels))
        called = [l for v, l in zip(verdicts, labels) if v[who] == 'en']
        english = [v[who] for v, l in zip(verdicts, labels) if l == 'en']
        print(f'  {who:8} right {right/len(labels):.4f}   English: precision {called.count("en")/max(1, len(called)):.4f} recall {english.count("en")/len(english):.4f}')
    for one, other in itertools.combinations(verdicts[0], 2):
        pairs = [(v[one], v[other]) for v in verdicts]
        print(f'  {one} and {other} agree on {sum(a == b for a, b in pairs)/len(pairs):.4f}, on English or not on '
              f'{sum((a == "en") == (b == "en") for a, b in pairs)/len(pairs):.4f}; most often not:',
              ', '.join(f'{a}/{b} {n}' for (a, b), n in collections.Counter(p for p in pairs if p[0] != p[1]).most_common(4)))


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument('folder')
parser.add_argument('--fasttext', help='lid.176.bin or lid.176.ftz')
arguments = parser.parse_args()
with open(os.path.join(arguments.folder, 'languages.jsonl'), encoding='utf-8') as lines:
    everything = [json.loads(line) for line in lines]
held_out = [d for d in everything if hashlib.sha256(d['id'].encode()).digest()[1] % 10 == 0]
with tempfile.TemporaryDirectory() as scratch:
    lessons, model = os.path.join(scratch, 'lessons.jsonl'), os.path.join(scratch, 'model.safetensors')
    held = {d['id'] for d in held_out}
    with open(lessons, 'w', encoding='utf-8') as out:
        out.writelines(json.dumps(d) + '\n' for d in everything if d['id'] not in held)
    subprocess.run([CURATE, 'train', '--out', model, lessons], check=True, capture_output=True)
    report('held out', held_out, ['--language-model', model])
with open(os.path.join(arguments.folder, 'elsewhere.jsonl'), encoding='utf-8') as lines:
    report('elsewhere', [json.loads(line) for line in lines], [])
