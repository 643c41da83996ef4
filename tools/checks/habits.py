"""The prose habits that this project avoids, and the share of relative words."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterable

from checks.base import ROOT, Exemptions, Plant, chosen_files
from checks.texts import texts_of

EXCEPTIONS = ROOT / "tools" / "prose-exceptions.txt"
# name: (pattern with single blanks, a sentence with the habit, the remedy)
HABITS = {
    "headless what": (
        r"\b[Ww]hat (is|was|has|are|were|came|becomes|waits|serves|runs|the|it|they|a|one|of|no|must|cannot)\b",
        "It drops what waits longest.",
        "name the thing: `pending messages`",
    ),
    "say for report": (
        r"\b(is|are|be|was|were) (said|told)\b|\bsays? (so|why|what|that|which|how|of|whether)\b",
        "The worker says why it stopped.",
        "a machine logs, returns or reports",
    ),
    "of its own": (
        r"\b(by (itself|themselves)|of (its|their|our|your) own)\b",
        "Each route has a queue of its own.",
        "`a separate …`, `individually`, `automatically`",
    ),
    "nobody, who": (
        r"\b([Ss]omebody|[Nn]obody|[Ee]verybody|strangers?|[Ww]hoever)\b"
        r"|(?<![a-z]\s)\b[Ww]ho (is|was|has|can|wants|asks|reads|had|gets|waits|takes|needs|makes)\b",
        "Nobody reads the reply.",
        "name the client, caller, thread or worker",
    ),
    "has no": (
        r"\b(has|have|takes?|needs?|gives?|makes?|gets?|costs?|knows?|keeps?) (no|none|nothing)\b",
        "The route has no output.",
        "`does not …` or `without`",
    ),
    "so many": (r"\bso (many|much|long)\b", "It waits for so long.", "`N`, `this many`, or the bound"),
    "in hand": (r"\bin hand\b", "Twelve messages are in hand.", "`in flight`"),
    "anew": (r"\b(anew|made again|again and again)\b", "The stream is created anew.", "`again`"),
    "goes, stands, lies": (
        r"\b(lies?|stands?|goes?|comes?) (where|there|beside|behind|below|before|back|on|away|by)\b",
        "The library lies beside the program.",
        "`is`, `continues`, `returns`",
    ),
    "mend": (r"\b(mend(ed|s|ing)?|befell|beforehand)\b", "This mends the stream.", "`repair`, `fix`, `in advance`"),
    "bury, blame": (
        r"\b(bury|buried|guilty|innocent|blame|farewell|appetite|hungry)\b",
        "The message is guilty of the crash.",
        "the field's term: `dead-letter`, `drop`, `cause`",
    ),
}
PATTERNS = {name: re.compile(pattern.replace(" ", r"\s+")) for name, (pattern, _, _) in HABITS.items()}
RELATIVE = re.compile(r"\b(that|which|who|what|where)\b", re.I)
WORD = re.compile(r"[A-Za-z]+")
# The most relative words per 100 words that each group may have.
GOALS = {
    "README": 1.0,
    "ARCHITECTURE": 2.3,
    "other documents": None,
    "code comments": 2.5,
    "code strings": None,
    "rest": None,
}
COMMENTS = ("doc comment", "comment", "help text")


@dataclass
class Count:
    words: int = 0
    relative: int = 0
    hits: int = 0

    @property
    def per_hundred(self) -> float:
        return 100 * self.relative / max(self.words, 1)


@dataclass
class Report:
    violations: list[str] = field(default_factory=list)
    groups: dict[str, Count] = field(default_factory=lambda: {name: Count() for name in GOALS})
    kinds: dict[str, int] = field(default_factory=dict)


def group_of(path: str, kind: str) -> str:
    if path.endswith(".md"):
        return {"README.md": "README", "ARCHITECTURE.md": "ARCHITECTURE"}.get(path, "other documents")
    if path.endswith(".rs"):
        return "code comments" if kind in COMMENTS else "code strings"
    return "rest"


def read(root: Path, exemptions: Exemptions, paths: list[str]) -> Report:
    report = Report()
    for file in chosen_files(root, paths):
        read_file(file, str(file.relative_to(root)), exemptions, report)
    return report


def read_file(file: Path, path: str, exemptions: Exemptions, report: Report) -> None:
    for text in texts_of(file):
        count = report.groups[group_of(path, text.kind)]
        count.words += len(WORD.findall(text.text))
        count.relative += len(RELATIVE.findall(text.text))
        for name, pattern in PATTERNS.items():
            for hit in pattern.finditer(text.text):
                words = " ".join(hit[0].split())
                if exemptions.cover(path, name, f"{name}: {words}"):
                    continue
                count.hits += 1
                report.kinds[name] = report.kinds.get(name, 0) + 1
                around = " ".join(text.text[max(0, hit.start() - 25) : hit.end() + 25].split())
                place = f"{file}:{text.line_at(hit.start())}"
                report.violations.append(f"{place}: {text.kind}: {name}: “…{around}…”: {HABITS[name][2]}")


def exceeded(report: Report) -> Iterable[str]:
    for name, count in report.groups.items():
        goal = GOALS[name]
        if goal is not None and count.per_hundred > goal:
            found = f"{count.per_hundred:.2f} relative words per 100 ({count.relative} of {count.words})"
            yield f"{name}: {found}; the goal is {goal} at most"


def numbers(report: Report) -> Iterable[str]:
    yield f"{'':16} {'words':>7} {'per 100':>8} {'goal':>5} {'hits':>5}"
    for name, count in report.groups.items():
        goal = "" if GOALS[name] is None else GOALS[name]
        yield f"{name:16} {count.words:7} {count.per_hundred:8.2f} {goal:>5} {count.hits:5}"
    for name, hits in sorted(report.kinds.items(), key=lambda item: -item[1]):
        yield f"  {name}: {hits}"


def check_prose(root: Path) -> list[str]:
    exemptions = Exemptions(root / "tools" / EXCEPTIONS.name)
    report = read(root, exemptions, [])
    return [*report.violations, *exemptions.complaints(), *exceeded(report)]


def plants() -> list[Plant]:
    made = []
    for name, (_, sentence, _) in HABITS.items():
        code = "/// " + sentence.replace(" ", "\n/// ") + "\nfn f() {}"
        made += [
            Plant(f"`{name}` in Markdown", {"a.md": sentence}, check_prose, f"a.md:1: document: {name}"),
            Plant(f"`{name}` across lines", {"a.rs": code}, check_prose, f"doc comment: {name}"),
        ]
    says = "the worker says why"
    error = f'#[derive(Error)]\nenum Fault {{\n    #[error("{says} {{0}}")]\n    A(u8),\n}}\n'
    log = f'fn f() {{\n    warn!(count, "{says}");\n}}\n'
    arguments = f"#[derive(Args)]\nstruct Arguments {{\n    /// {says}\n    name: String,\n}}\n"
    continued = 'const TEXT: &str = "the worker says \\\n    why";\n'
    exception = "a.md | say for report | a name of the field\n"
    return made + [
        Plant("an error text", {"a.rs": error}, check_prose, "a.rs:3: error text: say for report"),
        Plant("a log message", {"a.rs": log}, check_prose, "a.rs:2: log message: say for report"),
        Plant("a help text", {"a.rs": arguments}, check_prose, "a.rs:3: help text: say for report"),
        Plant("a string of two lines", {"a.rs": continued}, check_prose, "string: say for report"),
        Plant("a comment", {"a.rs": f"fn f() {{}} // {says}"}, check_prose, "a.rs:1: comment: say for report"),
        Plant("a docstring", {"a.py": f'"""{says}"""\n'}, check_prose, "a.py:1: docstring: say for report"),
        Plant("a Python comment", {"a.py": f"# {says}\n"}, check_prose, "a.py:1: comment: say for report"),
        Plant("a comment of a manifest", {"Cargo.toml": f"# {says}\n"}, check_prose, "comment: say for report"),
        Plant("a stale exception", {"tools/prose-exceptions.txt": exception}, check_prose, "matches no violation"),
        Plant("many relative words", {"README.md": "that " * 3}, check_prose, "README: 100.00 relative words per 100"),
        Plant("inline code", {"a.md": f"Run `{says}`.\n\n    {says}\n\n```\n{says}\n```\n"}, check_prose, None),
        Plant("an exception", {"a.md": says, "tools/prose-exceptions.txt": exception}, check_prose, None),
    ]
