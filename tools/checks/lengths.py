"""Bounds on lengths: lines of 120 columns, functions of 50 lines, files of 500 lines.

Rust and Python count with strings and comments. Markdown counts only where a line can be broken: not in tables, code or
links. A file's unit tests count, too.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Iterable

from checks.base import ROOT, Exemptions, Plant, chosen_files
from checks.rust import Source, closing

EXCEPTIONS = ROOT / "tools" / "lengths-exceptions.txt"
COLUMNS = 120
FUNCTION_LINES = 50
FILE_LINES = 500
CODE = (".rs", ".py")
FUNCTION = re.compile(r"\bfn\s+(?:r#)?(\w+)")
FENCE = re.compile(r"\s*(```|~~~)")
UNBREAKABLE = re.compile(r"^\s*\||^\s*\[[^\]]+\]:|\S{60,}")


def check_lengths(root: Path) -> list[str]:
    exemptions = Exemptions(root / "tools" / EXCEPTIONS.name)
    return [*lengths(root, exemptions, []), *exemptions.complaints()]


def lengths(root: Path, exemptions: Exemptions, paths: list[str]) -> list[str]:
    found = []
    for file in chosen_files(root, paths):
        path = str(file.relative_to(root))
        text = file.read_text(errors="replace") if file.suffix in (*CODE, ".md") else ""
        lines = text.splitlines()
        for rule, number, complaint in [*long_lines(file, lines), *long_file(file, lines), *long_functions(file, text)]:
            if not exemptions.cover(path, rule, f"{rule}: {complaint.split()[0]}"):
                found.append(f"{file}:{number}: {complaint}")
    return found


def long_lines(file: Path, lines: list[str]) -> Iterable[tuple[str, int, str]]:
    fenced = False
    for number, line in enumerate(lines, 1):
        markdown = file.suffix == ".md"
        if markdown and FENCE.match(line):
            fenced = not fenced
        if len(line) > COLUMNS and not (markdown and (fenced or line.startswith("    ") or UNBREAKABLE.search(line))):
            yield "line", number, f"{len(line)} columns; a line has at most {COLUMNS}"


def long_file(file: Path, lines: list[str]) -> Iterable[tuple[str, int, str]]:
    if file.suffix in CODE and len(lines) > FILE_LINES:
        yield "file", 1, f"{len(lines)} lines; a file has at most {FILE_LINES}: split it by subject"


def long_functions(file: Path, text: str) -> Iterable[tuple[str, int, str]]:
    functions = {".rs": rust_functions, ".py": python_functions}.get(file.suffix, lambda _file, _text: [])
    for name, first, last in functions(file, text):
        if last - first + 1 > FUNCTION_LINES:
            yield "function", first, f"{name} has {last - first + 1} lines; a function has at most {FUNCTION_LINES}"


def rust_functions(file: Path, text: str) -> Iterable[tuple[str, int, int]]:
    source = Source(file, text)
    for match in FUNCTION.finditer(source.code):
        body = body_start(source.code, match.end())
        if body is not None:
            yield match[1], source.line_of(match.start()), source.line_of(closing(source.code, body) - 1)


def body_start(code: str, position: int) -> int | None:
    """The brace that opens a function's body; None for a declaration in a trait."""
    while position < len(code):
        if code[position] in "([":
            position = closing(code, position)
        elif code[position] == "{":
            return position
        elif code[position] == ";":
            return None
        else:
            position += 1
    return None


def python_functions(file: Path, text: str) -> Iterable[tuple[str, int, int]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, node.lineno, node.end_lineno


LONG = "long words " * 12
BODY = "    f();\n" * 51
PLANTS = [
    Plant("a long line of code", {"a.rs": f"fn f() {{ {LONG} }}"}, check_lengths, "a.rs:1: "),
    Plant("a long comment", {"a.rs": f"// {LONG}"}, check_lengths, "a.rs:1: "),
    Plant("a long line of Python", {"a.py": f"# {LONG}"}, check_lengths, "a.py:1: "),
    Plant("a long line of Markdown", {"a.md": f"x\n{LONG}"}, check_lengths, "a.md:2: "),
    Plant("a long file", {"a.rs": "// x\n" * 501}, check_lengths, "501 lines; a file has at most 500"),
    Plant("a long function", {"a.rs": f"fn f(x: [u8; 2]) {{\n{BODY}}}"}, check_lengths, "f has 53 lines"),
    Plant("a long function of Python", {"a.py": f"def f():\n{BODY}"}, check_lengths, "f has 52 lines"),
    Plant(
        "a stale exception",
        {"a.rs": "", "tools/lengths-exceptions.txt": "a.rs | file | a table"},
        check_lengths,
        "matches no violation",
    ),
    Plant("a table and code", {"a.md": f"| {LONG} |\n\n```\n{LONG}\n```\n\n    {LONG}\n"}, check_lengths, None),
    Plant(
        "an exception",
        {"a.rs": f"fn f() {{\n{BODY}}}", "tools/lengths-exceptions.txt": "a.rs | function: f | a table"},
        check_lengths,
        None,
    ),
]
