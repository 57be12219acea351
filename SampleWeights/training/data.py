"""Corpus and tokenizer.

Code is the Python standard library and NumPy's Python sources; prose is the
text of the Python, PostgreSQL, SQLite and Apache httpd manuals with markup,
code blocks and tables removed. `SOURCES` names the package, folder and licence
of each. Held-out files are chosen whole, by a seeded hash of their names,
before anything else is done; neither tokenizer nor model sees them.
"""

import hashlib
import html.parser
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

EOS = "<|endoftext|>"  # id 0; starts every window and ends every document
DOCS = Path("/usr/share/doc")


@dataclass(frozen=True)
class Source:
    name: str
    package: str
    root: Path
    suffix: str
    licence: str
    kind: str  # "code", "rst" or "html"
    skip: str = "$^"  # regular expression on the relative path


SOURCES = [
    Source("stdlib", "libpython3.11-stdlib, libpython3.11-minimal (Debian)", Path("/usr/lib/python3.11"),
           ".py", "PSF-2.0", "code",
           r"^(pydoc_data|encodings|test|lib2to3/tests|idlelib)/|(^|/)(_sysconfigdata|sitecustomize)|html/entities|config-3"),
    Source("numpy", "numpy (PyPI)", Path(numpy.__file__).parent, ".py", "BSD-3-Clause", "code",
           r"(^|/)(tests|_vendored|typing/tests)/"),
    Source("python-doc", "python3.11-doc (Debian)", DOCS / "python3.11/html/_sources",
           ".rst.txt", "PSF-2.0", "rst", r"^(license|copyright|contents)"),
    Source("postgresql-doc", "postgresql-doc-15 (Debian)", DOCS / "postgresql-doc-15/html",
           ".html", "PostgreSQL", "html", r"^(bookindex|legalnotice|biblio|contrib-prog)"),
    Source("sqlite-doc", "sqlite3-doc (Debian)", DOCS / "sqlite3", ".html", "blessing (public domain)",
           "html", r"^(changes|keyword_index|doc_|sitemap|copyright|matrix|syntax/|toc|.*crossref)"),
    Source("apache-doc", "apache2-doc (Debian)", DOCS / "apache2-doc/manual/en", ".html", "Apache-2.0",
           "html", r"(^|/)(license|sitemap|mod/quickreference|mod/directives|style/)"),
]

# --- markup to prose ---------------------------------------------------------

DROP_BLOCK = {
    "code-block", "code", "sourcecode", "testcode", "testsetup", "testcleanup", "testoutput", "doctest",
    "productionlist", "literalinclude", "image", "figure", "index", "highlight", "toctree", "table",
    "csv-table", "list-table", "audit-event", "only", "math", "tabularcolumns", "parsed-literal", "grammar-snippet",
}


def rst_to_prose(text):
    """Paragraphs of an rst file; literal blocks, doctests and tables dropped."""
    text = re.sub(r":(?:[a-z0-9+_-]+:)?[a-zA-Z0-9+_-]+:`[~!]?([^`<]*?)(?:\s*<[^`>]*>)?`", r"\1", text)
    text = re.sub(r"`([^`<]+?)\s*<[^`>]+>`__?", r"\1", text)
    text = re.sub(r"``([^`]*)``", r"\1", text)
    text = re.sub(r"(?<!\w)\|(\w+)\|", r"\1", text)
    text = re.sub(r"(?<![\w*])\*{1,2}([^*\s][^*\n]*?)\*{1,2}(?![\w*])", r"\1", text)
    paragraphs, current, skip_deeper_than = [], [], None

    def flush():
        if current:
            paragraphs.append(" ".join(current))
            current.clear()

    for line in text.split("\n"):
        stripped = line.strip()
        indent = len(line) - len(line.lstrip())
        if not stripped:
            flush()
            continue
        if skip_deeper_than is not None:
            if indent > skip_deeper_than:
                continue
            skip_deeper_than = None
        if stripped.startswith(".."):
            flush()
            match = re.match(r"\.\.\s+([\w:-]+)::", stripped)
            if match is None or match.group(1) in DROP_BLOCK:
                skip_deeper_than = indent
            continue
        if re.match(r":[\w ]+:(\s|$)", stripped) or re.fullmatch(r"([=\-~^*#+.\"'`_|>])\1*(\s*\1+)*|[+|].*[+|]", stripped):
            flush()
            continue
        if stripped.startswith(">>>"):
            flush()
            skip_deeper_than = indent - 1
            continue
        if re.match(r"([*\-#]|\d+\.|#\.)\s", stripped):
            flush()
            stripped = re.sub(r"^([*\-#]|\d+\.|#\.)\s+", "", stripped)
        if stripped.endswith("::"):
            current.append(stripped[:-1] if stripped != "::" else "")
            flush()
            skip_deeper_than = indent
            continue
        current.append(stripped)
    flush()
    return paragraphs


class ProseParser(html.parser.HTMLParser):
    DROP = {"script", "style", "pre", "table", "svg", "head", "nav", "form"}
    DROP_CLASS = re.compile(r"navheader|navfooter|toc|synopsis|programlisting|screen|quickview|nosearch|codeblock|fancy_toc|menu|footer")
    BLOCK = {"p", "div", "li", "dd", "dt", "h1", "h2", "h3", "h4", "h5", "blockquote", "ul", "ol", "dl", "br", "hr", "body"}
    VOID = {"br", "hr", "img", "meta", "link", "input", "col", "area", "base", "wbr"}

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.paragraphs, self.current, self.drop, self.depth = [], [], None, 0

    def flush(self):
        text = re.sub(r"\s+", " ", "".join(self.current)).strip()
        if text:
            self.paragraphs.append(text)
        self.current = []

    def handle_starttag(self, tag, attrs):
        if self.drop:
            self.depth += tag == self.drop
            return
        css = dict(attrs).get("class") or ""
        if tag in self.DROP or (tag in {"div", "p"} and self.DROP_CLASS.search(css)):
            self.flush()
            self.drop, self.depth = tag, 1
        elif tag in self.BLOCK:
            self.flush()

    def handle_endtag(self, tag):
        if self.drop:
            self.depth -= tag == self.drop
            if not self.depth:
                self.drop = None
        elif tag in self.BLOCK:
            self.flush()

    def handle_data(self, data):
        if not self.drop:
            self.current.append(data)


def html_to_prose(text):
    parser = ProseParser()
    parser.feed(text)
    parser.flush()
    return parser.paragraphs


def is_prose(paragraph):
    letters = sum(c.isalpha() or c == " " for c in paragraph)
    return len(paragraph.split()) >= 6 and letters >= 0.85 * len(paragraph)


# --- corpus ------------------------------------------------------------------


def read_documents(kinds):
    """(name, text) of every usable file, exact duplicates removed, in name order."""
    documents, seen = [], set()
    for source in (s for s in SOURCES if s.kind in kinds):
        if not source.root.is_dir():
            raise SystemExit(f"{source.root} is missing: install {source.package}")
        for path in sorted(source.root.rglob("*" + source.suffix)):
            relative = path.relative_to(source.root).as_posix()
            if path.is_symlink() or re.search(source.skip, relative):
                continue
            try:
                text = path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue
            if source.kind != "code":
                convert = rst_to_prose if source.kind == "rst" else html_to_prose
                paragraphs = [re.sub(r"[\s¶]+", " ", p).strip() for p in convert(text)]
                paragraphs = [p for p in paragraphs if is_prose(p)]
                kept = [p for p in paragraphs if p not in seen]
                seen.update(kept)
                text = "\n\n".join(kept)
            text = text.replace("\r\n", "\n").strip("\n") + "\n"
            digest = hashlib.sha256(text.encode()).digest()
            if len(text) < 400 or digest in seen:
                continue
            seen.add(digest)
            documents.append((f"{source.name}/{relative}", text))
    return documents


def split(documents, seed, target=160_000, largest=40_000):
    """Hold out whole files in the order of a seeded hash until `target` bytes are reached."""
    held, size = [], 0
    for name, text in sorted(documents, key=lambda d: hashlib.sha256(f"{seed}:{d[0]}".encode()).digest()):
        length = len(text.encode())
        if size < target and length <= largest:
            held.append((name, text))
            size += length
    held_names = {name for name, _ in held}
    held_lines = {line for _, text in held for line in text.split("\n") if len(line) >= 30}
    train = []
    for name, text in documents:
        if name in held_names:
            continue
        lines = [line for line in text.split("\n") if len(line) >= 30]
        # A near copy of a held-out file must not be trained on either.
        if sum(line in held_lines for line in lines) <= 0.2 * len(lines):
            train.append((name, text))
    return train, held


def train_tokenizer(texts, vocab_size):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[EOS], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{EOS} $A", pair=f"{EOS} $A {EOS} $B", special_tokens=[(EOS, 0)])
    return tokenizer


def build(work, seed, vocab_size):
    """Write tokenizer.json, {code,prose}.npy and the held-out texts into `work`."""
    corpora, report = {}, {}
    for label, kinds in (("code", {"code"}), ("prose", {"rst", "html"})):
        train, held = split(read_documents(kinds), seed)
        corpora[label] = train
        (work / f"heldout-{label}.txt").write_text("\n\n".join(text for _, text in held), encoding="utf-8")
        report[label] = {
            "train_files": len(train), "train_bytes": sum(len(t.encode()) for _, t in train),
            "train_bytes_by_source": {s.name: n for s in SOURCES if (n := sum(
                len(t.encode()) for name, t in train if name.startswith(s.name + "/")))},
            "heldout_files": [name for name, _ in held],
            "heldout_bytes": (work / f"heldout-{label}.txt").stat().st_size}
    # Equal shares of code and prose for the merges, whatever the corpora's sizes.
    share = min(report[label]["train_bytes"] for label in corpora)
    sample = []
    for label, documents in corpora.items():
        taken = 0
        for name, text in sorted(documents, key=lambda d: hashlib.sha256(f"bpe{seed}:{d[0]}".encode()).digest()):
            if taken < share:
                sample.append(text)
                taken += len(text.encode())
    tokenizer = train_tokenizer(sample, vocab_size)
    tokenizer.save(str(work / "tokenizer.json"))
    for label, documents in corpora.items():
        ids = []
        for encoding in tokenizer.encode_batch([text for _, text in documents], add_special_tokens=False):
            ids += encoding.ids + [0]
        numpy.save(work / f"{label}.npy", numpy.array(ids, dtype=numpy.uint16))
        report[label]["train_tokens"] = len(ids)
    (work / "data.json").write_text(json.dumps(report, indent=1) + "\n")
    return report
