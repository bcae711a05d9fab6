#!/usr/bin/env python3
"""
Sentences with weak labels, for data/toxic.safetensors and data/nsfw.safetensors.

    dev/data/toxicity.py FOLDER         downloads Debian packages into FOLDER (installing none), and writes there
        toxic.jsonl  nsfw.jsonl         documents {"id", "text", "label"}, each a sentence: __label__toxic or __label__non_toxic, ...
        toxic_new.jsonl  nsfw_new.jsonl the same with phrases that the files above never show

No sentence was judged by a person. The text is clean English (GNOME's user guides, the stories of Wesnoth,
fortune cookies, WordNet's definitions and examples); into every fourth sentence a phrase from a public list is put, at a place drawn by chance, and that
makes it toxic. What a model can learn from this is the lists, and that other words are harmless; not tone, not irony, not a
threat made of harmless words. The lists: e2guardian's phrases against web pages ("pornography", "intolerance", single phrases
of weight 20 and more), and the words that WordNet 3.0 marks as obscenity, ethnic slur or disparagement.
A sentence that holds a listed phrase of itself is left out: whether it is toxic, nobody has said.
"""
import collections, hashlib, json, os, re, sys

import languages

TOPICS = {'toxic': ('intolerance', {'ethnic_slur', 'disparagement'}), 'nsfw': ('pornography', {'obscenity'})}
EVERY = 4


def chance(*what):
    """A number drawn by the hash of what it is for: every run draws the same."""
    return int.from_bytes(hashlib.sha256('\0'.join(map(str, what)).encode()).digest()[:8], 'big')


def words(text):
    return re.findall('[a-z]+', text.lower())


def guardian(folder, topic):
    for path, data in languages.package(folder, 'e2guardian'):
        if path.endswith(f'/phraselists/{topic}/weighted') or path.endswith(f'/phraselists/ukenglish/{topic}/weighted'):
            for line in data.decode('utf-8', 'replace').split('\n'):
                single = re.fullmatch(r'<([^<>&]*)><(\d+)>', line.strip())
                if single and int(single[2]) >= 20 and single[1].isascii():
                    yield single[1]


def synsets(folder):
    """WordNet's sets of synonyms, as wndb(5) describes its files: (name, [(usage domain, lemma)], gloss)."""
    lines = [line.partition('|') for path, data in languages.package(folder, 'wordnet-base') if re.search(r'/data\.(noun|verb|adj|adv)$', path)
             for line in data.decode('latin1').split('\n') if line[:1].isdigit()]
    fields = [(head.split(), gloss) for head, _, gloss in lines]
    noun = {f[0]: f[4] for f, _ in fields if f[2] == 'n'}
    for f, gloss in fields:
        end = 4 + 2*int(f[3], 16)
        lemmas = f[4:end:2]
        usages = []
        for symbol, target, _, which in zip(*[iter(f[end + 1:end + 1 + 4*int(f[end])])]*4):
            if symbol == ';u':                                          # of one of the lemmas, or (0) of all
                source = int(which[:2], 16)
                usages += [(noun.get(target), lemma) for lemma in (lemmas[source - 1:source] if source else lemmas)]
        yield f[2] + f[0], usages, gloss


def sentences(folder):
    glosses = ((f'wordnet/{name}', 'en', [part.strip().strip('"') for part in gloss.split(';')]) for name, usages, gloss in synsets(folder) if not usages)
    for source in languages.gnome(folder), languages.wesnoth(folder), languages.fortunes(folder), glosses:
        for name, label, lines in source:
            if label == 'en':
                for i, sentence in enumerate(s for line in lines for s in re.split(r'(?<=[.!?])\s+', line)):
                    if 4 <= len(sentence.split()) <= 60:
                        yield f'{name}#{i}', sentence


def write(folder, topic, text):
    category, usages = TOPICS[topic]
    phrases = {' '.join(words(p)) for p in [*guardian(folder, category), *(lemma.replace('_', ' ') for _, marks, _ in synsets(folder) for usage, lemma in marks if usage in usages)]}
    phrases = sorted(p for p in phrases if len(p) > 2)
    new = [p for p in phrases if chance(topic, p) % 10 == 0]
    old = [p for p in phrases if chance(topic, p) % 10]
    listed, longest = set(phrases), max(len(p.split()) for p in phrases)
    print(topic, len(old), 'phrases,', len(new), 'never shown;', end=' ')
    for path, pool in (f'{topic}.jsonl', old), (f'{topic}_new.jsonl', new):
        kept = collections.Counter()
        with open(os.path.join(folder, path), 'w', encoding='utf-8') as out:
            for name, sentence in text:
                w = words(sentence)
                if any(' '.join(w[i:j]) in listed for i in range(len(w)) for j in range(i + 1, min(i + longest, len(w)) + 1)):
                    kept['left out'] += 1
                    continue
                label = '__label__non_' + topic
                if chance(name, path) % EVERY == 0:
                    label, pieces = '__label__' + topic, sentence.split(' ')
                    pieces.insert(chance(name, 'place', path) % len(pieces), pool[chance(name, 'phrase', path) % len(pool)])
                    sentence = ' '.join(pieces)
                kept[label] += 1
                json.dump({'id': name, 'text': sentence, 'label': label}, out, ensure_ascii=False)
                out.write('\n')
        print(path, dict(kept), end=' ')
    print()


if __name__ == '__main__':
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    os.makedirs(sys.argv[1], exist_ok=True)
    text = list(dict((s, n) for n, s in sentences(sys.argv[1])).items())
    for topic in TOPICS:
        write(sys.argv[1], topic, [(n, s) for s, n in text])
