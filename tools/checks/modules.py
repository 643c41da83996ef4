"""The module tree of a Rust crate, and the files from which each file imports.

Paths are resolved as by rustc, as far as the text allows: through child modules, `use` aliases, re-exports and globs.
`mod x;` is not an import. `pub use x::…` of a descendant is one only if the file's own code uses the name.
Code under `#[cfg(test)]` is ignored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional, Tuple

from checks.rust import Source, closing, spaces

NAME = r"(?:r#)?[A-Za-z_]\w*"
MODULE = re.compile(rf"\bmod\s+({NAME})\s*([;{{])")
PATH_ATTRIBUTE = re.compile(
    r'#\s*\[\s*path\s*=\s*"([^"]+)"\s*\]\s*(?:#\s*\[[^\]]*\]\s*)*(?:pub\b(?:\s*\([^)]*\))?\s*)?$'
)
USE = re.compile(r"(?P<pub>\bpub\b(?:\s*\([^)]*\))?\s*)?\buse\s+(?P<tree>(?:::)?[\w{*#][^;]*);")
USE_TOKEN = re.compile(rf"{NAME}|::|[{{}},*]")
INLINE = re.compile(rf"(?<![\w:.])({NAME})((?:\s*::\s*{NAME})+)")
DEFINITION = re.compile(rf"\b(?:fn|struct|enum|union|trait|type|const|static)\s+({NAME})|\bmacro_rules!\s*({NAME})")
VISIBILITY_PATH = re.compile(r"\bpub\s*\(\s*in\s[^)]*\)")


@dataclass
class Use:
    """One leaf of a `use` tree."""

    path: list[str]
    alias: str | None
    glob: bool
    public: bool
    offset: int


@dataclass
class Module:
    file: Path
    name: str
    parent: Module | None
    source: Source
    span: tuple[int, int]
    children: dict[str, Module] = field(default_factory=dict)
    uses: list[Use] = field(default_factory=list)
    definitions: set[str] = field(default_factory=set)
    code: str = ""

    @property
    def root(self) -> Module:
        return self if self.parent is None else self.parent.root

    def alias(self, name: str) -> Use | None:
        return next((use for use in self.uses if use.alias == name), None)

    def descends_from(self, other: Module) -> bool:
        return self is other or (self.parent is not None and self.parent.descends_from(other))

    def all(self) -> list[Module]:
        return [self] + [module for child in self.children.values() for module in child.all()]


# A module and the name of an item in it, or None for the module itself.
Definition = Tuple[Module, Optional[str]]


@dataclass(frozen=True)
class Import:
    """One line of `importer` that names something defined in `file`."""

    importer: Path
    file: Path
    line: int
    text: str


def read_crate(root_file: Path, sources: dict[Path, Source]) -> Module:
    """The module tree below a crate's root file."""
    source = sources.setdefault(root_file, Source(root_file))
    module = Module(root_file, "crate", None, source, (0, len(source.text)))
    fill(module, root_file.parent, sources)
    return module


def fill(module: Module, folder: Path, sources: dict[Path, Source]) -> None:
    """Reads a module's children, uses and definitions. `folder` holds the files of its children."""
    code = VISIBILITY_PATH.sub(lambda match: spaces(match[0]), module.source.code_without_tests)
    start, end = module.span
    code = spaces(code[:start]) + code[start:end] + spaces(code[end:])
    for match in MODULE.finditer(code):
        if code[match.start()] == " ":
            continue
        name = match[1].removeprefix("r#")
        if match[2] == "{":
            span = (match.end(), closing(code, match.end() - 1) - 1)
            child = Module(module.file, name, module, module.source, span)
            if not inside_child(module, match.start()):
                fill(child, folder / name, sources)
                module.children[name] = child
        elif not inside_child(module, match.start()):
            read_child(module, name, match.start(), folder, sources)
    for child in module.children.values():
        if child.file == module.file:
            code = code[: child.span[0]] + spaces(code[child.span[0] : child.span[1]]) + code[child.span[1] :]
    for match in USE.finditer(code):
        module.uses += read_use(match["tree"], match["pub"] is not None, match.start("tree"))
    module.code = MODULE.sub(lambda match: spaces(match[0]), USE.sub(lambda match: spaces(match[0]), code))
    module.definitions = {match[1] or match[2] for match in DEFINITION.finditer(module.code)}


def inside_child(module: Module, offset: int) -> bool:
    return any(
        child.file == module.file and child.span[0] <= offset < child.span[1] for child in module.children.values()
    )


def read_child(module: Module, name: str, offset: int, folder: Path, sources: dict[Path, Source]) -> None:
    named = PATH_ATTRIBUTE.search(module.source.text[:offset])
    candidates = [module.file.parent / named[1]] if named else [folder / f"{name}.rs", folder / name / "mod.rs"]
    file = next((path.resolve() for path in candidates if path.is_file()), None)
    if file is None:
        return
    source = sources.setdefault(file, Source(file))
    child = Module(file, name, module, source, (0, len(source.text)))
    fill(child, file.parent if file.name == "mod.rs" or named else file.with_suffix(""), sources)
    module.children[name] = child


def read_use(tree: str, public: bool, offset: int) -> list[Use]:
    """The leaves of a `use` tree: `a::{b as c, self}` gives `a::b` named c, and `a`."""
    tokens = [(match[0].removeprefix("r#"), offset + match.start()) for match in USE_TOKEN.finditer(tree)]
    leaves: list[Use] = []

    def branch(prefix: list[str], at: int) -> int:
        path, place = list(prefix), tokens[at][1] if at < len(tokens) else offset
        while at < len(tokens) and tokens[at][0] not in ("}", ","):
            token, here = tokens[at]
            if token == "{":
                at += 1
                while at < len(tokens) and tokens[at][0] != "}":
                    at = branch(path, at)
                    at += at < len(tokens) and tokens[at][0] == ","
                return at + 1
            if token == "*":
                leaves.append(Use(path, None, True, public, here))
                return at + 1
            if token == "as":
                leaves.append(Use(path, tokens[at + 1][0], False, public, place))
                return at + 2
            if token == "self" and path:
                pass
            elif token != "::":
                path, place = path + [token], here
            at += 1
        if path:
            leaves.append(Use(path, path[-1], False, public, place))
        return at

    branch([], 0)
    return leaves


class Crate:
    """A module tree with the means to resolve paths. `library` is the package's library, for its other targets."""

    def __init__(self, root: Module, library: tuple[str, Module] | None = None) -> None:
        self.root = root
        self.library = library
        exported = [(name, module) for module in root.all() for name in module.definitions if "!" not in name]
        self.macros = {name: module for name, module in exported if f"macro_rules! {name}" in module.code}

    def resolve(self, module: Module, path: list[str], seen: frozenset = frozenset()) -> Definition | None:
        """The definition of a path. None if it is in another crate."""
        key = (id(module), tuple(path))
        if key in seen or not path:
            return None
        seen = seen | {key}
        here, rest = self.first(module, path, seen)
        while here is not None and rest:
            name, rest = rest[0], rest[1:]
            step = self.step(here, name, seen)
            if step is None:
                return None
            here, item = step
            if item is not None:
                return here, item
        return (here, None) if here is not None else None

    def first(self, module: Module, path: list[str], seen: frozenset) -> tuple[Module | None, list[str]]:
        """The first module of a path, and the remaining names."""
        here, rest = module, path
        if path[0] == "crate":
            return module.root, path[1:]
        if path[0] in ("self", "super"):
            while rest and rest[0] in ("self", "super") and here is not None:
                here, rest = (here.parent if rest[0] == "super" else here), rest[1:]
            return here, rest
        if self.library and path[0] == self.library[0]:
            return self.library[1], path[1:]
        if path[0] in module.children or module.alias(path[0]):
            return module, path
        return None, []

    def step(self, module: Module, name: str, seen: frozenset) -> Definition | None:
        """The definition of one name inside a module. None if it is in another crate."""
        if name in module.children:
            return module.children[name], None
        alias = module.alias(name)
        if alias:
            return self.resolve(module, alias.path, seen)
        if name in module.definitions:
            return module, name
        for use in module.uses:
            target = self.resolve(module, use.path, seen) if use.glob else None
            if target and target[1] is None and target[0] is not module:
                known = name in target[0].children or name in target[0].definitions or target[0].alias(name)
                if known:
                    return self.step(target[0], name, seen)
        if module.parent is None and name in self.macros:
            return self.macros[name], name
        return module, name

    def imports(self) -> list[Import]:
        return [found for module in self.root.all() for found in self.imports_of(module)]

    def imports_of(self, module: Module) -> list[Import]:
        found = []
        inline = [(self.segments(match), match.start()) for match in INLINE.finditer(module.code)]
        heads = {path[0] for path, _ in inline}
        for use in module.uses:
            target = self.resolve(module, use.path)
            if target is None:
                continue
            reexport = use.public and target[0].descends_from(module)
            if reexport and not (use.alias and re.search(rf"(?<![\w:.])(?<!fn ){use.alias}\b", module.code)):
                continue
            # An imported module is only a prefix: the paths behind it name the files.
            if target[1] is None and not use.glob and use.alias in heads:
                continue
            found.append((target[0], use.offset))
        for path, offset in inline:
            target = self.resolve(module, path)
            if target:
                found.append((target[0], offset))
        return [self.describe(module, target, offset) for target, offset in found if target.file != module.file]

    @staticmethod
    def segments(match: re.Match) -> list[str]:
        return [part.strip().removeprefix("r#") for part in match[0].split("::")]

    @staticmethod
    def describe(module: Module, target: Module, offset: int) -> Import:
        line = module.source.line_of(offset)
        text = module.source.text.splitlines()[line - 1].strip()
        return Import(module.file, target.file, line, text if len(text) <= 80 else text[:79] + "…")
