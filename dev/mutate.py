#!/usr/bin/env python3
"""Breaks a C file in one place at a time, and asks the tests whether they notice.

    dev/mutate.py train_olmo.c --count 100                       a fresh seed, which is printed
    dev/mutate.py data/mix.c data/dedupe.c --count 60 --seed 7 --jobs 4
    dev/mutate.py train_olmo.c --lines 900-1010 --count 20       only there
    dev/mutate.py train_olmo.c --list                            every mutant there is, without running one

A mutant is the file with one fault, of the kinds that people make:

    sign        a + b -> a - b          compare   == -> !=, && -> ||, !x -> x        bound      < -> <=
    constant    256 -> 257, 0.5 -> 1    operand   x[i] -> x[j], a name of the same line
    dropped     a statement             swapped   f(a, b) -> f(b, a)                 condition  if (x) -> if (!(x))

Lines are drawn at random, then a kind, then a fault of it. Left out are comments, strings, preprocessor lines, and what a sentence
quotes (the arguments behind the text of CHECK, die and fprintf(stderr)): those change words alone. So is room: a constant
in the length of an array in its declaration, and a larger one in the size of an allocation. More of it changes no
value, and whether there is too little for some text is a question for the sanitizers; so is memory that is not given back
(release, free, tokenizer_free, json_decref). Whether strcmp(a, b) is 0 does not depend on their order. A fault that does not compile, or that the compiler turns into the same code (the program has the same
bytes), is drawn again.

Every mutant is built at -O1 in a copy of the repository, and the tests run until one is red: first those that saw a fault a
few lines away, then the quick ones. A mutant with a red test is dead. A program that crashes or hangs is as dead. At the
end the survivors are listed, and the share that died is printed. A survivor is a test to be written; or it is equivalent, a fault that no test could see (it changes speed, say, or
a value that is not used). These are listed in dev/mutants.txt with the reason, and are drawn again as well.
"""
import argparse, os, random, re, shutil, subprocess, sys, tempfile, threading, time

TOKEN = re.compile(r"""(?P<space>\s+|//[^\n]*|/\*.*?\*/|\#(?:\\\n|[^\n])*) | (?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')
    | (?P<number>\.?\d(?:[eEpP][+-]|[\w.])*) | (?P<name>[A-Za-z_]\w*)
    | (?P<sign>->|\+\+|--|<<=|>>=|\.\.\.|[-+*/%&|^!=<>]=|&&|\|\||<<|>>|.)""", re.X | re.S)
KEYWORDS = set("""auto break case char const continue default do double else enum extern float for goto if inline int long
    register restrict return short signed sizeof static struct switch typedef union unsigned void volatile while real vec
    size_t uint8_t uint16_t uint32_t uint64_t int32_t int64_t uint128 off_t FILE va_list NULL""".split())
TYPES = KEYWORDS - set("""auto break case continue default do else for goto if return sizeof switch typedef while NULL""".split())
SWAPS = {"+": "-", "-": "+", "*": "/", "/": "*", "%": "/", "+=": "-=", "-=": "+=", "++": "--", "--": "++", "*=": "/=",
         "<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "==", "&&": "||", "||": "&&",
         "&": "|", "|": "&", "^": "|", "<<": ">>", ">>": "<<", "|=": "&=", "&=": "|="}
KIND = {"<": "bound", "<=": "bound", ">": "bound", ">=": "bound", "==": "compare", "!=": "compare", "&&": "compare", "||": "compare"}
SENTENCES = {"CHECK", "die"}
GIVE_BACK = {"release", "free", "munmap", "globfree", "freeaddrinfo", "json_decref", "inflateEnd", "deflateEnd"}      # memory


class Token:
    def __init__(self, kind, text, at, line):
        self.kind, self.text, self.at, self.line = kind, text, at, line
        self.end = at + len(text)


def tokens_of(text):
    tokens, line = [], 1
    for match in TOKEN.finditer(text):
        if match.lastgroup != "space":
            tokens.append(Token(match.lastgroup, match.group(), match.start(), line))
        line += match.group().count("\n")
    return tokens


def closing(tokens, i):
    """The index of the bracket that closes the one at i."""
    depth = 0
    for k in range(i, len(tokens)):
        depth += tokens[k].text in "([{"
        depth -= tokens[k].text in ")]}"
        if depth == 0:
            return k
    return len(tokens) - 1


def quoted_by_sentences(tokens):
    """Indices of what stands behind the text of a sentence: CHECK(fine, "text", this)."""
    out = set()
    for i, t in enumerate(tokens[:-1]):
        stderr = t.text == "fprintf" and tokens[i + 2].text == "stderr"
        if (t.text in SENTENCES or stderr) and tokens[i + 1].text == "(":
            end = closing(tokens, i + 1)
            text = next((k for k in range(i + 2, end) if tokens[k].kind == "string" and tokens[k - 1].text == ","), end)
            out.update(range(text, end))
    return out


def is_length(tokens, i):
    """Does the number tokens[i] stand in the length of an array where that is declared?  `char a[64], b[SIZE + 32];`"""
    first, last = i, i
    while first and tokens[first - 1].text not in "[](){};,":
        first -= 1
    while last + 1 < len(tokens) and tokens[last + 1].text not in "[](){};,":
        last += 1
    if first < 3 or tokens[first - 1].text != "[" or last + 1 == len(tokens) or tokens[last + 1].text != "]":
        return False
    while first > 3 and tokens[first - 2].text == "]":      # the second length of a[2][8192]
        first -= 3
        while first > 3 and tokens[first - 1].text != "[":
            first -= 1
    start, depth, given = first - 1, 0, None
    while start and depth >= 0 and tokens[start - 1].text not in (";", "{", "}"):
        start -= 1
        depth += (tokens[start].text in ")]") - (tokens[start].text in "([")
        if given is None and depth == 0 and tokens[start].text in (",", "="):
            given = tokens[start].text == "="               # `= 2*a[1]` has no length in it
    type_first = tokens[start].text in TYPES or tokens[start].text not in KEYWORDS and tokens[start + 1].kind == "name"
    declares = tokens[first - 3].kind == "name" or tokens[first - 3].text in ("*", ",")
    return type_first and declares and depth == 0 and not given


def rooms(tokens):
    """Indices of the numbers in the sizes of allocations."""
    out = set()
    for i, t in enumerate(tokens[:-1]):
        if t.text in ("allocate", "malloc", "calloc", "realloc") and tokens[i + 1].text == "(":
            out.update(k for k in range(i + 2, closing(tokens, i + 1)) if tokens[k].kind == "number")
    return out


def is_variable(tokens, i):
    t = tokens[i]
    after = tokens[i + 1].text if i + 1 < len(tokens) else ""
    return t.kind == "name" and t.text not in KEYWORDS and after != "(" and not t.text.isupper()


def is_member(tokens, i):
    return i > 0 and tokens[i - 1].text in (".", "->")


def is_declaration(tokens, i, end):
    """Is the statement of tokens[i:end] a declaration?  `Type name`, `Type *name = ...`"""
    words = [t for t in tokens[i:end]]
    if words[0].kind != "name" or words[0].text in KEYWORDS:
        return True                         # also return, break, if: nothing that can be dropped alone
    if len(words) > 1 and words[1].kind == "name":
        return True
    return len(words) > 3 and words[1].text == "*" and words[2].kind == "name" and words[3].text in "=;,["


def mutants_of(text):
    """All mutants: (line, kind, start, end, replacement), where text[start:end] is replaced."""
    tokens, found = tokens_of(text), []
    quoted, room = quoted_by_sentences(tokens), rooms(tokens)
    lines = {}
    for i, t in enumerate(tokens):
        lines.setdefault(t.line, []).append(i)
    depth = 0

    def add(t, kind, start, end, replacement):
        found.append((t.line, kind, start, end, replacement))

    for i, t in enumerate(tokens):
        if i in quoted:
            continue
        before = tokens[i - 1] if i else t
        after = tokens[i + 1] if i + 1 < len(tokens) else t
        binary = before.kind in ("name", "number") and before.text not in ("return", "case", "sizeof") or before.text in (")", "]")
        if t.text in SWAPS and (binary or t.text in ("++", "--")):
            add(t, KIND.get(t.text, "sign"), t.at, t.end, SWAPS[t.text])
        if t.text == "-" and not binary:
            add(t, "sign", t.at, t.end, "")
        if t.text == "!":
            add(t, "compare", t.at, t.end, "")
        if t.kind == "number" and not is_length(tokens, i):
            whole = re.fullmatch(r"(0[xX][0-9a-fA-F]+|\d+)([uUlL]*)", t.text)
            if whole:
                value = int(whole[1], 0) if not re.fullmatch(r"0\d+", whole[1]) else int(whole[1], 8)
                for other in (value - 1,) if i in room else (value + 1, value - 1):
                    if other >= 0:
                        add(t, "constant", t.at, t.end, f"{other}{whole[2]}")
            else:
                real = re.fullmatch(r"([0-9.eE+-]+)(f?)", t.text)
                if real:
                    value = float(real[1])
                    add(t, "constant", t.at, t.end, f"{2*value if value else 1.0}{real[2]}")
        if is_variable(tokens, i):
            others = sorted({tokens[k].text for k in lines[t.line] if is_variable(tokens, k) and tokens[k].text != t.text
                             and is_member(tokens, k) == is_member(tokens, i)})
            for other in others:
                add(t, "operand", t.at, t.end, other)
        if t.kind == "name" and after.text == "(" and t.text not in KEYWORDS:
            end, depth, parts = closing(tokens, i + 1), 0, [i + 2]
            for k in range(i + 2, end):
                depth += (tokens[k].text in "([{") - (tokens[k].text in ")]}")
                if depth == 0 and tokens[k].text == ",":
                    parts.append(k + 1)
            spans = [(tokens[a].at, tokens[b - 2].end if b != end + 1 else tokens[end - 1].end)
                     for a, b in zip(parts, parts[1:] + [end + 1])] if end > i + 2 else []
            for (a, b), (c, d), k in zip(spans, spans[1:], parts[1:]):
                if text[a:b] != text[c:d] and k not in quoted and not (t.text == "strcmp" and before.text in "!("):
                    add(t, "swapped", a, d, text[c:d] + text[b:c] + text[a:b])
        if t.text == "if" and after.text == "(":
            end = closing(tokens, i + 1)
            add(t, "condition", after.end, tokens[end].at, f"!({text[after.end:tokens[end].at]})")
        if before.text in (";", "{", "}") or before.text == ")" and t.kind == "name" or before.text in ("else", ":"):
            end, depth = i, 0
            while end < len(tokens) and not (depth == 0 and tokens[end].text in (";", "{", "}")):
                depth += (tokens[end].text in "([") - (tokens[end].text in ")]")
                if depth < 0:
                    break
                end += 1
            if end < len(tokens) and tokens[end].text == ";" and depth == 0 and end > i and not is_declaration(tokens, i, end):
                if t.text not in SENTENCES | GIVE_BACK and not t.text.endswith("_free"):
                    add(t, "dropped", t.at, tokens[end].at, "")
    return found


# ---- building and testing --------------------------------------------------------------------------------------------
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("files", nargs="+")
parser.add_argument("--count", type=int, default=100, help="mutants to run")
parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
parser.add_argument("--jobs", type=int, default=1, help="mutants at a time; most tests wait more than they compute")
parser.add_argument("--lines", help="FIRST-LAST: only these lines")
parser.add_argument("--list", action="store_true", help="print all mutants and run none")
parser.add_argument("--equivalents", default="dev/mutants.txt")
options = parser.parse_args()
os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

CFLAGS = "-O1 -march=native -Werror=int-conversion -Werror=incompatible-pointer-types"        # these no one would overlook
MAKE = f"ulimit -t 60 -v 16000000; make -s CFLAGS='{CFLAGS}'"            # a fault may loop, or ask for all memory
OLMO = [f"{MAKE} test_olmo && ./test_olmo units"] + [f"{MAKE} test_olmo train_olmo && ./test_olmo {test}" for test in
        "hostile_files command_line save_load_save full_disk runs companions adaptation resume".split()] + [
        f"{MAKE} test_olmo_double && ./test_olmo_double units",
        f"{MAKE} dev/eval/eval dev/eval/test_eval && dev/eval/test_eval"] + [
        f"{MAKE} test_olmo train_olmo && ./test_olmo {test}" for test in "ranks signals kill_while_saving".split()]
DATA_TESTS = "tokenizer documents classifier command stats mix dedupe taggers tokenize".split()
DATA_PROGRAMS = {"tokenizer": "train_olmo data", "documents": "data", "whole": "data", "tokenize": "data/tokenize", "stats": "data/stats",
                 "words": "data/curate data/stats", "taggers": "data/curate data/stats", "dedupe": "data/curate",
                 "mix": "data/curate", "classifier": "data/curate", "curate": "data/curate"}     # that a file goes into
PROGRAMS = """train_olmo test_olmo test_olmo_double data/stories data/tokenize data/curate data/stats data/test/test_data
    dev/eval/eval dev/eval/test_eval""".split()
NEAR = 40                                   # lines


def steps_for(file, line):
    """The commands that a mutant of this line must survive, the most promising ones first."""
    name = os.path.splitext(os.path.basename(file))[0]
    steps = OLMO
    if file == "data/stories.c":
        steps = [f"{MAKE} data/stories && data/stories --check", f"{MAKE} data/test/test_data && data/test/test_data stories"]
    elif os.path.dirname(file) == "data" and name in DATA_PROGRAMS:
        own = sorted(DATA_TESTS, key=lambda test: test != name)
        steps = [f"{MAKE} {DATA_PROGRAMS[name]} data/test/test_data && data/test/test_data {test}" for test in own]
    distance = {step: min([abs(line - where) for by, at, where in saw if by == step and at == file] + [NEAR]) for step in steps}
    return sorted(steps, key=distance.get)


def test_of(command):
    """A step without its first part, which builds what the test needs."""
    return command.split(" && ", 1)[1]


def run(yard, command, seconds):
    """None if it went well, otherwise how it ended."""
    process = subprocess.Popen(["bash", "-c", command], cwd=yard, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               stdin=subprocess.DEVNULL, start_new_session=True, errors="replace")
    try:
        said, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.communicate()
        return "hangs"
    finally:                                # what a broken program has started may go on, and fill the machine
        try:
            os.killpg(process.pid, 9)
        except ProcessLookupError:
            pass
    if process.returncode == 0:
        return None
    red = [line for line in said.splitlines() if line.startswith("FAIL")] or [line for line in said.splitlines() if line.strip()] or [""]
    return red[0 if red[0].startswith("FAIL") else -1][:150]


def compiled(yard, file):
    """The bytes of the first program that the file goes into, or None where it does not compile."""
    name = os.path.splitext(os.path.basename(file))[0]
    data = os.path.dirname(file) == "data"
    program = "data/stories" if file == "data/stories.c" else DATA_PROGRAMS.get(name, "train_olmo").split()[0] if data else "train_olmo"
    program = "data/curate" if program == "data" else program
    if subprocess.run(["bash", "-c", f"{MAKE} {program}"], cwd=yard, capture_output=True).returncode:
        return None
    with open(os.path.join(yard, program), "rb") as built:
        return built.read()


def write(yard, file, text):
    with open(os.path.join(yard, file), "w") as out:
        out.write(text)


def equivalents():
    """dev/mutants.txt: `file: original line => mutated line   # reason`, blanks not counted."""
    known = set()
    if os.path.exists(options.equivalents):
        for line in open(options.equivalents):
            entry, mark, reason = line.partition("  # ")
            if mark and reason.strip() and "=>" in entry:
                known.add(re.sub(r"\s", "", entry))
    return known


def around(text, start, end):
    return text[text.rfind("\n", 0, start) + 1:(text + "\n").find("\n", end)]


sources = {file: open(file).read() for file in options.files}
first, last = map(int, options.lines.split("-")) if options.lines else (1, 1 << 30)
by_line = {}
for file, text in sources.items():
    for mutant in mutants_of(text):
        if first <= mutant[0] <= last:
            by_line.setdefault((file, mutant[0]), []).append(mutant)
print(f"{sum(map(len, by_line.values()))} mutants on {len(by_line)} lines of {', '.join(sources)}; seed {options.seed}", flush=True)
if options.list:
    for (file, line), mutants in by_line.items():
        for _, kind, start, end, new in mutants:
            text = sources[file]
            print(f"{file}:{line}: {kind}: {around(text, start, end).strip()}  =>  {around(text[:start] + new + text[end:], start, start + len(new)).strip()}")
    sys.exit()

def sound_copy(yard):
    """A copy of the repository, with what the tests need built; how long each step may take, and the programs' bytes."""
    tracked = subprocess.run(["git", "ls-files", "-z"], capture_output=True, check=True, text=True).stdout.split("\0")[:-1]
    for name in filter(os.path.exists, tracked):
        os.makedirs(os.path.join(yard, os.path.dirname(name)), exist_ok=True)
        shutil.copy2(name, os.path.join(yard, name))
    if os.path.isdir("data/tokenizers"):
        shutil.copytree("data/tokenizers", os.path.join(yard, "data/tokenizers"))
    subprocess.run(["bash", "-c", f"{MAKE} {' '.join(PROGRAMS)}"], cwd=yard, capture_output=True)
    for name in filter(lambda name: os.path.exists(os.path.join(yard, name)), PROGRAMS):
        os.makedirs(os.path.dirname(os.path.join(yard, "sound", name)), exist_ok=True)
        shutil.copy2(os.path.join(yard, name), os.path.join(yard, "sound", name))
    patience, sound = {}, {}
    for file in sources:                    # what has no fault must be green, and tells how long a test may take
        for test in map(test_of, steps_for(file, 0)):
            start = time.time()
            if test not in patience and (wrong := run(yard, test, 1800)):
                sys.exit(f"error: without any fault, `{test}` fails: {wrong}")
            patience.setdefault(test, 60 + 10*(time.time() - start))
        sound[file] = compiled(yard, file)
    return patience, sound


def next_mutant():
    """Draws one that was not drawn before; None when enough are dead, alive or at work."""
    global equal
    while len(results) + at_work < options.count and len(tried) < everything:
        file, line = draw.choice(sorted(by_line))
        kind = draw.choice(sorted({mutant[1] for mutant in by_line[file, line]}))        # or names would outnumber all else
        mutant = draw.choice([mutant for mutant in by_line[file, line] if mutant[1] == kind])
        if (file, mutant) in tried:
            continue
        tried.add((file, mutant))
        _, _, start, end, new = mutant
        text = sources[file]
        changed = text[:start] + new + text[end:]
        was, now = around(text, start, end).strip(), around(changed, start, start + len(new)).strip()
        if re.sub(r"\s", "", f"{file}: {was} => {now}") not in known:
            return file, line, kind, changed, was, now
        equal += 1
    return None


def work(yard):
    global at_work, same
    while True:
        with lock:
            if not (mutant := next_mutant()):
                return
            at_work += 1
        file, line, kind, changed, was, now = mutant
        write(yard, file, changed)
        program, how = compiled(yard, file), None
        different = program not in (None, sound[file])
        if different:
            for command in steps_for(file, line):
                if how := run(yard, command, patience[test_of(command)]):
                    saw.append((command, file, line))
                    break
        write(yard, file, sources[file])
        # or the next mutant, of another file, would die of what this one left
        subprocess.run(["cp", "-a", "--remove-destination", "sound/.", "."], cwd=yard, check=True)
        with lock:
            at_work -= 1
            same += program == sound[file]
            if different:
                results.append(how)
                if not how:
                    survivors.append(f"{file}:{line}: {kind}\n    {was}\n    {now}")
                print(f"{len(results):4d}  {'dead ' if how else 'ALIVE'}  {file}:{line} {kind}: {now[:90]}   {how or ''}", flush=True)


home = tempfile.mkdtemp(prefix="mutate")
environment = dict(os.environ, STOP_AT_FAILURE="1", OMP_WAIT_POLICY="passive", OMP_NUM_THREADS="1")
draw, known, lock = random.Random(options.seed), equivalents(), threading.Lock()
tried, saw, results, survivors = set(), [], [], []
everything, at_work, same, equal = sum(map(len, by_line.values())), 0, 0, 0
try:
    yards = [os.path.join(home, str(job)) for job in range(options.jobs)]
    patience, sound = sound_copy(yards[0])
    for yard in yards[1:]:
        subprocess.run(["cp", "-a", yards[0], yard], check=True)
    workers = [threading.Thread(target=work, args=[yard]) for yard in yards]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    dead, total = len(results) - len(survivors), len(results)
    print("\nsurvivors:\n" + "\n".join(survivors) if survivors else "\nno survivors")
    print(f"{dead} of {total} died ({100*dead/max(1, total):.0f} %), seed {options.seed}; "
          f"not counted: {same} that the compiler finds equal, {equal} listed as equivalent")
finally:
    shutil.rmtree(home, ignore_errors=True)
