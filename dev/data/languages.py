#!/usr/bin/env python3
"""
Text of known language, from Debian packages: what data/language.safetensors is trained on, and judged by.

    dev/data/languages.py FOLDER        downloads about 150 MB of packages into FOLDER (installing none), and writes there
        languages.jsonl                 documents {"id", "text", "label"}: GNOME's user guides and the stories of Wesnoth
        elsewhere.jsonl                 others, from elsewhere: LibreOffice's help and fortune cookies; never trained on

A document is a page of a guide or ten messages of a story, one paragraph a line. The label is the folder's name, so it is
only as good as the translation: a paragraph that stands in the English text as well is left out of the others.
At most 400,000 characters of a language are kept, drawn by a hash of the document's id: every run writes the same bytes
from the same packages, whose versions are printed.
"""
import collections, hashlib, html.parser, io, json, os, re, struct, subprocess, sys, tarfile

LANGUAGES = ('bg ca cs da de el en es et fa fi fr hr hu id it ja ko lt lv nl no pl pt ru sk sl sv tr uk vi zh').split()
SAME = {'nb': 'no', 'nn': 'no', 'C': 'en', 'br': 'pt'}                  # fortunes-br is Brazilian
CAMPAIGNS = 'did dm dw ei httt l low nr sof sota sotbe thot tsg ttb utbs'.split()
HELP = 'ca cs da de el en-us es et fi fr hu id it ja ko nl pl pt pt-br ru sl sv tr vi zh-cn zh-tw'.split()
FORTUNES = 'bg br cs de es it pl ru zh'.split()
MOST = 400_000                                                          # characters of a language


def label_of(name):
    """pt_BR, sr@latin, zh-cn: the language alone. Serbian in two scripts, Old English and the like are no labels of ours."""
    short = re.split(r'[_-]', name)[0]
    short = SAME.get(short, short)
    return short if short in LANGUAGES and '@' not in name else None


def package(folder, name):
    """The files of a Debian package, downloaded unless the folder has it: (path, bytes) for each."""
    found = [f for f in os.listdir(folder) if f.startswith(name + '_') and f.endswith('.deb')]
    if not found:
        subprocess.run(['apt-get', 'download', name], cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        found = [f for f in os.listdir(folder) if f.startswith(name + '_') and f.endswith('.deb')]
    print(found[0])
    tar = subprocess.run(['dpkg-deb', '--fsys-tarfile', found[0]], cwd=folder, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(tar)) as members:
        for member in sorted(members, key=lambda m: m.name):
            if member.isfile():
                yield member.name, members.extractfile(member).read()


class Paragraphs(html.parser.HTMLParser):
    """HTML or Mallard: the text of each p, title, h1..h6, one a line; what is code, keys or a script is left out."""
    BLOCK = {'p', 'title', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'desc', 'td', 'li', 'div'}
    SILENT = {'script', 'style', 'code', 'pre', 'screen', 'cmd', 'credit', 'info'}

    def __init__(self):
        super().__init__()
        self.lines, self.line, self.silent = [], [], 0

    def end(self):
        text = ' '.join(''.join(self.line).split())
        if text:
            self.lines.append(text)
        self.line = []

    def handle_starttag(self, tag, attributes):
        self.silent += tag in self.SILENT
        if tag in self.BLOCK:
            self.end()

    def handle_endtag(self, tag):
        self.silent -= tag in self.SILENT and self.silent > 0
        if tag in self.BLOCK:
            self.end()

    def handle_data(self, data):
        if not self.silent:
            self.line.append(data)


def paragraphs(markup):
    parser = Paragraphs()
    parser.feed(markup.decode('utf-8', 'replace'))
    parser.end()
    return parser.lines


def messages(mo, which):
    """The strings of a gettext .mo file: the originals (0) or the translations (1); of plural forms the first."""
    count, *tables = struct.unpack_from('<3I', mo, 8)
    for i in range(1, count):                                           # the first is about the file
        length, start = struct.unpack_from('<2I', mo, tables[which] + 8 * i)
        text = mo[start:start + length].split(b'\0')[0].decode('utf-8', 'replace')
        text = text.split('^', 1)[-1] if which == 0 else text           # Wesnoth's context
        yield re.sub(r'<[^>]*>', '', text)


def gnome(folder):
    for path, data in package(folder, 'gnome-user-docs'):
        parts = path.split('/')
        if path.endswith('.page') and label_of(parts[4]):
            yield 'gnome/' + '/'.join(parts[4:]), label_of(parts[4]), paragraphs(data)


def wesnoth(folder):
    for campaign in CAMPAIGNS:
        english = None
        for path, data in package(folder, 'wesnoth-1.16-' + campaign):
            if not path.endswith('.mo') or not label_of(path.split('/')[-3]):
                continue
            name = path.split('/')[-3]
            if name == 'de':
                english = data
            if name.startswith('en'):
                continue                                                # British spelling of the same
            texts = list(messages(data, 1))
            for i in range(0, len(texts), 10):
                yield f'wesnoth/{campaign}/{name}/{i // 10}', label_of(name), [' '.join(t.split()) for t in texts[i:i + 10]]
        texts = list(messages(english, 0))
        for i in range(0, len(texts), 10):
            yield f'wesnoth/{campaign}/en/{i // 10}', 'en', [' '.join(t.split()) for t in texts[i:i + 10]]


def libreoffice(folder):
    for language in HELP:
        for path, data in package(folder, 'libreoffice-help-' + language):
            if path.endswith('.html') and '/text/' in path:
                yield 'libreoffice/' + path.split('/help/')[1], label_of(language), paragraphs(data)


def fortunes(folder):
    for language in FORTUNES + ['']:
        for path, data in package(folder, 'fortunes-' + language if language else 'fortunes'):
            if '/games/fortunes/' in path and not path.endswith(('.dat', '.u8')):
                cookies = data.decode('utf-8', 'replace').split('\n%')
                for i, cookie in enumerate(cookies):
                    yield f'fortunes/{language or "en"}/{os.path.basename(path)}/{i}', label_of(language or 'en'), [' '.join(cookie.split())]


def write(path, sources):
    documents = sorted((d for source in sources for d in source), key=lambda d: hashlib.sha256(d[0].encode()).digest())
    english = {line for _, label, lines in documents if label == 'en' for line in lines}
    kept = collections.Counter()
    with open(path, 'w', encoding='utf-8') as out:
        for name, label, lines in documents:
            lines = [l for l in lines if len(l) >= (8 if label in ('ja', 'ko', 'zh') else 20) and (label == 'en' or l not in english)]
            size = sum(map(len, lines))
            if lines and kept[label] + size <= MOST:
                kept[label] += size
                json.dump({'id': name, 'text': '\n'.join(lines) + '\n', 'label': label}, out, ensure_ascii=False)
                out.write('\n')
    print(path, ' '.join(f'{k}:{v}' for k, v in sorted(kept.items())))


if __name__ == '__main__':
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = sys.argv[1]
    os.makedirs(folder, exist_ok=True)
    write(os.path.join(folder, 'languages.jsonl'), [gnome(folder), wesnoth(folder)])
    write(os.path.join(folder, 'elsewhere.jsonl'), [libreoffice(folder), fortunes(folder)])
