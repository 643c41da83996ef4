"""Splits a Rust file into code, comments and string literals. Offsets always refer to the original text."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

TOKEN = re.compile(
    r"""
      (?P<line>//[^\n]*)
    | (?P<block>/\*)
    | (?P<raw>\b(?:b|c)?r(?P<hashes>\#*)".*?"(?P=hashes))
    | (?P<string>(?:\b[bc])?"(?:[^"\\]|\\.)*")
    | (?P<char>'(?:[^'\\\n]|\\(?:u\{[^}]*\}|x..|.))')
    """,
    re.X | re.S,
)
TEST_ONLY = re.compile(r"#\s*\[\s*cfg\s*\(\s*(?:test\s*\)|all\s*\(\s*test\b[^\]]*\))\s*\]")
ATTRIBUTE = re.compile(r"\s*#\s*\[")
ITEM = re.compile(
    r"\s*(?:pub\b(?:\s*\([^)]*\))?\s*)?"
    r"(?P<word>mod|fn|impl|struct|enum|union|use|const|static|type|trait|unsafe|async|extern|macro_rules)\b"
)
OPENING, CLOSING = "([{", ")]}"


@dataclass
class Piece:
    """A comment or a string literal: `text` is what lies between its marks, `start` is the offset of that text."""

    start: int
    text: str
    kind: str


class Source:
    def __init__(self, path: Path, text: str | None = None) -> None:
        self.path = path
        self.text = path.read_text(errors="replace") if text is None else text

    @cached_property
    def starts(self) -> list[int]:
        return [0] + [match.end() for match in re.finditer("\n", self.text)]

    def line_of(self, offset: int) -> int:
        return bisect_right(self.starts, offset)

    @cached_property
    def pieces(self) -> list[Piece]:
        return [Piece(start, self.text[start:end], kind) for _, _, start, end, kind in self._scan]

    @cached_property
    def code(self) -> str:
        """The text with comments, strings and characters replaced by spaces. Quotes of strings stay."""
        parts, last = [], 0
        for outer, outer_end, start, end, kind in self._scan:
            first, last_masked = (start, end) if kind == "string" else (outer, outer_end)
            parts.append(self.text[last:first] + spaces(self.text[first:last_masked]))
            last = last_masked
        parts.append(self.text[last:])
        return "".join(parts)

    @cached_property
    def code_without_tests(self) -> str:
        """The code without items under `#[cfg(test)]`."""
        code = self.code
        while match := TEST_ONLY.search(code):
            end = item_end(code, match.end())
            code = code[: match.start()] + spaces(code[match.start() : end]) + code[end:]
        return code

    @cached_property
    def _scan(self) -> list[tuple[int, int, int, int, str]]:
        """For each comment, string and character: outer start, outer end, inner start, inner end, kind."""
        found, position = [], 0
        while match := TOKEN.search(self.text, position):
            start, end = match.span()
            if match["line"] is not None:
                marks = re.match(r"//(?:/(?!/)|!)?", match[0])[0]
                kind = "comment" if marks == "//" else "doc"
                inner = (start + len(marks), end)
            elif match["block"] is not None:
                end = block_end(self.text, start)
                kind, inner = "comment", (start + 2, max(start + 2, end - 2))
            elif match["char"] is not None:
                kind, inner = "char", (start, end)
            else:
                opening = self.text.index('"', start) + 1
                kind, inner = "string", (opening, end - 1 - len(match["hashes"] or ""))
            found.append((start, end, *inner, kind))
            position = end
        return found


def spaces(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


def block_end(text: str, start: int) -> int:
    """The end of a block comment. Rust nests them."""
    depth = 0
    for match in re.finditer(r"/\*|\*/", text[start:]):
        depth += 1 if match[0] == "/*" else -1
        if depth == 0:
            return start + match.end()
    return len(text)


def closing(code: str, opening: int) -> int:
    """The offset behind the bracket that closes the one at `opening`."""
    depth = 0
    for match in re.finditer(r"[(\[{)\]}]", code[opening:]):
        depth += 1 if match[0] in OPENING else -1
        if depth == 0:
            return opening + match.end()
    return len(code)


def item_end(code: str, position: int) -> int:
    """The end of the item, field or match arm behind an attribute."""
    while match := ATTRIBUTE.match(code, position):
        position = closing(code, match.end() - 1)
    item = ITEM.match(code, position)
    stops = ";" if item and item["word"] in ("use", "const", "static", "type") else ";{" if item else ";,"
    while position < len(code):
        here = code[position]
        if here in stops:
            return closing(code, position) if here == "{" else position + 1
        if here in CLOSING:
            return position
        position = closing(code, position) if here in OPENING else position + 1
    return len(code)
