"""Finds the prose in a file: Markdown, comments, docstrings, help texts, error texts, log messages, other strings.

Code in prose counts as one unknown word: fenced blocks, inline code, link targets and `{placeholders}` are masked.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from dataclasses import dataclass
from pathlib import Path

from checks.rust import Source, item_end

MASK = "¤"
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
CONFIGURATION = (".toml", ".yml", ".yaml", ".sh", ".conf")
LOG_MACRO = re.compile(r"\b(?:trace|debug|info|warn|error|event)!\s*\([^;{}]*$")
CLAP_DERIVE = re.compile(r"#\s*\[\s*derive\s*\([^)]*\b(?:Args|Parser|Subcommand|ValueEnum)\b[^)]*\)\s*\]")
HASH_COMMENT = re.compile(r"(?:^|\s)#+ (.*)$")
LIST_ITEM = re.compile(r"\s*(?:[-*+]|\d+[.)])\s")


@dataclass
class Text:
    """A passage of prose. `kind` names its place, such as `doc comment`; `line` is the line of its first character."""

    kind: str
    line: int
    text: str

    def line_at(self, offset: int) -> int:
        return self.line + self.text.count("\n", 0, offset)


def texts_of(path: Path) -> list[Text]:
    """The passages of a file, without indentation, so that a pattern can look at the word before it."""
    return [Text(found.kind, found.line, re.sub(r"\n[ \t]+", "\n", found.text)) for found in passages(path)]


def passages(path: Path) -> list[Text]:
    if path.suffix == ".md":
        return [Text("document", 1, markdown(path.read_text(errors="replace")))]
    if path.suffix == ".rs":
        return rust(Source(path))
    head = path.read_bytes()[:64]
    if path.suffix == ".py" or (not path.suffix and head.startswith(b"#!") and b"python" in head):
        return python(path.read_text())
    if path.suffix in CONFIGURATION or path.name == "Makefile" or (not path.suffix and head.startswith(b"#!")):
        return hash_comments(path.read_text(errors="replace"))
    return []


def mask(pattern: str, text: str, flags: int = 0) -> str:
    """Replaces every match by as many masks and line breaks."""
    return re.sub(pattern, lambda match: re.sub(r"[^\n]", MASK, match[0]), text, flags=flags)


def mask_code(text: str) -> str:
    text = mask(r"```.*?(?:```|\Z)", text, re.S)
    return mask(r"`[^`\n]*`|`[^`\n]*\n[^`\n]*`", text)


def markdown(text: str) -> str:
    text = mask(r"\]\([^)\s]*\)|https?://\S+", mask_code(text))
    lines, code_allowed, in_list = text.split("\n"), True, False
    for number, line in enumerate(lines):
        if not line.strip():
            code_allowed = not in_list
            continue
        if not line.startswith(" "):
            in_list = LIST_ITEM.match(line) is not None
        if line.startswith("    ") and code_allowed and not in_list:
            lines[number] = mask(r".+", line)
        else:
            code_allowed = False
    return "\n".join(lines)


def rust(source: Source) -> list[Text]:
    return [*rust_comments(source), *rust_strings(source)]


def rust_comments(source: Source) -> list[Text]:
    """Comments on consecutive lines form one passage."""
    help_spans = [(match.start(), item_end(source.code, match.end())) for match in CLAP_DERIVE.finditer(source.code)]
    found, last_end, last_kind = [], -1, ""
    for piece in source.pieces:
        if piece.kind not in ("comment", "doc"):
            continue
        in_help = piece.kind == "doc" and any(start <= piece.start < end for start, end in help_spans)
        kind = "help text" if in_help else "doc comment" if piece.kind == "doc" else "comment"
        between = source.text[last_end : piece.start] if last_end >= 0 else "none"
        if kind == last_kind and re.fullmatch(r"\n[ \t]*//[/!]?", between):
            found[-1].text += "\n" + piece.text
        else:
            found.append(Text(kind, source.line_of(piece.start), piece.text))
        last_end, last_kind = piece.start + len(piece.text), kind
    for text in found:
        text.text = mask_code(text.text)
    return found


def rust_strings(source: Source) -> list[Text]:
    found = []
    for piece in source.pieces:
        if piece.kind != "string" or " " not in piece.text:
            continue
        before = source.code[max(0, piece.start - 400) : piece.start]
        raw = re.search(r'r#*"$', before) is not None
        # A raw string of several lines is a test's input in another language.
        if raw and "\n" in piece.text:
            continue
        kind = "string"
        if re.search(r"#\s*\[\s*error\s*\(\s*\"$", before):
            kind = "error text"
        elif LOG_MACRO.search(before):
            kind = "log message"
        text = mask(r"\{[^{}\n]*\}|\\[nrt0\"']|\\\n", piece.text)
        found.append(Text(kind, source.line_of(piece.start), mask_code(text).replace(MASK + "\n", "\n")))
    return found


def python(text: str) -> list[Text]:
    found, last_line = [], -1
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT or token.string.startswith("#!"):
            continue
        words, line = token.string.lstrip("#"), token.start[0]
        if line == last_line + 1 and found:
            found[-1].text += "\n" + words
        else:
            found.append(Text("comment", line, words))
        last_line = line
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node):
            first = node.body[0].value
            lines = text.split("\n")[first.lineno - 1 : first.end_lineno]
            found.append(Text("docstring", first.lineno, "\n".join(lines)))
    for passage in found:
        passage.text = mask_code(passage.text)
    return found


def hash_comments(text: str) -> list[Text]:
    found, last_line = [], -1
    for number, line in enumerate(text.split("\n"), 1):
        match = None if line.startswith("#!") else HASH_COMMENT.search(line)
        if not match:
            continue
        if number == last_line + 1 and found:
            found[-1].text += "\n" + match[1]
        else:
            found.append(Text("comment", number, match[1]))
        last_line = number
    for passage in found:
        passage.text = mask_code(passage.text)
    return found
