"""Finds the mutants of a file, except those that no test need notice.

Not mutated: docstrings, annotations, `__all__`, slots, `if TYPE_CHECKING`, `assert` and `assert_never`,
`__repr__`, imports, and what a log line says (that it is written is a promise, its words are none). Nor is
what the results do not depend on in any program: how much `lru_cache` keeps; `strict=True` of `zip`, which
asserts that nothing lacks a partner; the defaults of a function without a body, such as a protocol's.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from . import expressions, literals, statements
from .source import Edit, Mutant, Source

_LEVELS: Final = frozenset({"info", "warn", "error", "critical", "failure"})
_LOGS: Final = frozenset({"log", "_log", "logger"})
_TYPE_MAKERS: Final = frozenset({"TypeVar", "ParamSpec", "NewType", "cast", "Logger", "assert_never", "namedtuple"})
_CLASS_OPTIONS: Final = frozenset({"slots", "frozen", "kw_only", "gc", "eq", "order", "weakref"})
_NAMES_LEFT: Final = frozenset({"__all__", "__slots__"})
_LOG_FUNCTIONS: Final = frozenset({"log_failure"})
"""Functions that only write to the log; see drivers."""
_Function = (ast.FunctionDef, ast.AsyncFunctionDef)


def mutants(path: Path, data: bytes) -> list[Mutant]:
    """All mutants of a file; some may not be Python any more (`Mutant.is_valid`)."""
    return list(_Finder(Source(path, data)).find())


class _Finder:
    def __init__(self, source: Source) -> None:
        self._source = source
        self._names: list[str] = []
        self._functions: list[ast.FunctionDef | ast.AsyncFunctionDef] = []
        self._lines = (0, 0)
        self._enum: tuple[type, ...] = ()  # kinds of values that name a member only

    def find(self) -> Iterator[Mutant]:
        yield from self._body(self._source.tree.body)

    def _made(self, edits: Iterator[Edit]) -> Iterator[Mutant]:
        body = _body(self._functions[-1]) if self._functions else (0, -1)
        for edit in edits:
            yield Mutant(self._source, edit, ".".join(self._names), self._lines, not self._functions, body)

    def _body(self, body: list[ast.stmt]) -> Iterator[Mutant]:
        for statement in body:
            yield from self._statement(statement)
        for first, edit in statements.order(self._source, body):
            self._lines = (first.lineno, first.end_lineno or first.lineno)
            yield from self._made(iter([edit]))

    def _statement(self, node: ast.stmt) -> Iterator[Mutant]:
        match node:
            case ast.Import() | ast.ImportFrom() | ast.Assert() | ast.Global() | ast.Nonlocal():
                return
            case ast.Expr(value=ast.Constant()):
                return
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                return
            case ast.Assign() | ast.AnnAssign() if _is_declaration(node):
                return
            case ast.Expr(value=ast.Call(func=ast.Name(id="assert_never"))):
                return
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield from self._function(node)
            case ast.ClassDef():
                yield from self._class(node)
            case _:
                yield from self._other(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[Mutant]:
        if node.name == "__repr__":
            return
        self._names.append(node.name)
        # A default is noticed by tests that call the function.
        self._functions.append(node)
        defaults = () if _has_no_body(node) else (*node.args.defaults, *node.args.kw_defaults)
        for default in defaults:
            self._lines = (node.body[0].lineno, node.body[-1].end_lineno or node.lineno)
            if default is not None:
                yield from self._expression(default, node)
        yield from self._body(node.body)
        self._functions.pop()
        self._names.pop()

    def _class(self, node: ast.ClassDef) -> Iterator[Mutant]:
        functions, self._functions = self._functions, []
        enum, self._enum = self._enum, _enum(node)
        self._names.append(node.name)
        self._lines = (node.lineno, node.lineno)
        for keyword in node.keywords:
            if keyword.arg not in _CLASS_OPTIONS:
                yield from self._expression(keyword.value, keyword)
        yield from self._body(node.body)
        self._names.pop()
        self._functions, self._enum = functions, enum

    def _other(self, node: ast.stmt) -> Iterator[Mutant]:
        source = self._source
        if is_log(node):
            if is_log(node, _LEVELS):
                self._lines = _extent(node)
                yield from self._made(iter([source.replaced("statement deleted", node, "pass")]))
            return
        self._lines = _extent(node)
        yield from self._made(statements.statement(source, node, self._functions[-1] if self._functions else None))
        for field, value in ast.iter_fields(node):
            if field in ("annotation", "type_params"):
                continue
            parts = value if isinstance(value, list) else [value]
            if parts and isinstance(parts[0], ast.stmt):
                yield from self._body(parts)
                continue
            for part in parts:
                self._lines = _extent(node)
                yield from self._part(part, node)

    def _part(self, part: object, parent: ast.AST) -> Iterator[Mutant]:
        match part:
            case ast.expr():
                yield from self._expression(part, parent)
            case ast.ExceptHandler():
                self._lines = (part.lineno, part.lineno)
                if part.type is not None:
                    yield from self._expression(part.type, part)
                yield from self._body(part.body)
            case ast.match_case():
                self._lines = (part.pattern.lineno, part.pattern.lineno)
                if isinstance(part.pattern, ast.MatchOr):
                    yield from self._made(expressions.pattern(self._source, part.pattern))
                if part.guard is not None:
                    yield from self._made(expressions.condition(self._source, part.guard))
                    yield from self._expression(part.guard, part)
                yield from self._body(part.body)
            case ast.withitem():
                yield from self._expression(part.context_expr, part)
            case _:
                pass

    def _expression(self, node: ast.expr, parent: ast.AST) -> Iterator[Mutant]:
        source = self._source
        children: Iterable[ast.AST] = ast.iter_child_nodes(node)
        match node:
            case ast.Constant():
                if self._functions or not isinstance(node.value, self._enum):
                    yield from self._made(literals.constant(source, node, parent))
                return
            case ast.JoinedStr():
                # Positions within it are unreliable before Python 3.12.
                yield from self._made(iter([source.replaced("string", node, '"XX"')]))
                return
            case ast.Call() if _name(node.func) in _TYPE_MAKERS or is_log(ast.Expr(node)):
                return
            case ast.Call(func=ast.Attribute(value=ast.Name(id="functools"), attr="lru_cache")):
                return
            case ast.Call(func=ast.Name(id="zip")) if _has_strict(node):
                children = (*node.args, *(keyword for keyword in node.keywords if keyword.arg != "strict"))
            case ast.Call():
                yield from self._made(expressions.call(source, node))
            case ast.Compare():
                yield from self._made(expressions.comparison(source, node))
            case ast.BoolOp():
                yield from self._made(expressions.boolean(source, node))
            case ast.BinOp():
                yield from self._made(expressions.arithmetic(source, node))
            case ast.UnaryOp():
                yield from self._made(expressions.unary(source, node))
            case ast.IfExp():
                yield from self._made(expressions.condition(source, node.test))
            case ast.Subscript():
                yield from self._made(expressions.subscript(source, node))
            case ast.Attribute():
                yield from self._made(expressions.member(source, node))
            case ast.Lambda():
                yield from self._made(iter([source.replaced("value", node.body, "None")]))
            case _:
                pass
        yield from self._made(expressions.members(source, node, parent))
        for child in children:
            yield from self._inner(child, node)

    def _inner(self, child: ast.AST, parent: ast.AST) -> Iterator[Mutant]:
        match child:
            case ast.expr():
                yield from self._expression(child, parent)
            case ast.keyword():
                yield from self._expression(child.value, child)
            case ast.comprehension():
                for part in (child.iter, *child.ifs):
                    yield from self._expression(part, child)
            case ast.arguments():
                for default in (*child.defaults, *child.kw_defaults):
                    if default is not None:
                        yield from self._expression(default, child)
            case _:
                pass


def is_log(node: ast.stmt, levels: frozenset[str] | None = None) -> bool:
    """Whether a statement writes to the log, at one of these levels if any are given."""
    match node:
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=owner, attr=level))):
            known = levels or _LEVELS | {"debug"}
            return level in known and _name(owner) in _LOGS
        case ast.Expr(value=ast.Call(func=ast.Name(id=name))):
            return name in _LOG_FUNCTIONS
    return False


def _has_strict(node: ast.Call) -> bool:
    """Whether a call of zip asserts that nothing lacks a partner; False in that place says that something may."""
    return any(
        keyword.arg == "strict" and isinstance(keyword.value, ast.Constant) and keyword.value.value is True
        for keyword in node.keywords
    )


def _has_no_body(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a function is a declaration: it has a docstring or ``...``, and nothing else."""
    return all(isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant) for part in node.body)


def _enum(node: ast.ClassDef) -> tuple[type, ...]:
    """The kinds of values that nothing sees: an Enum's numbers, and of a private one the texts, too."""
    if not any("Enum" in ast.unparse(base) for base in node.bases):
        return ()
    return (int, str) if node.name.startswith("_") else (int,)


def _is_declaration(node: ast.Assign | ast.AnnAssign) -> bool:
    """Whether an assignment declares something to readers or checkers only, such as a type."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    name = targets[0].id if isinstance(targets[0], ast.Name) else ""
    if isinstance(node, ast.AnnAssign) and "TypeAlias" in ast.unparse(node.annotation):
        return True
    is_type = name.lstrip("_")[:1].isupper() and not name.isupper()
    return name in _NAMES_LEFT or (is_type and isinstance(node.value, ast.Subscript | ast.BinOp | ast.Name))


def _extent(node: ast.stmt) -> tuple[int, int]:
    """The lines of a statement; of a compound one, those before its body."""
    body = getattr(node, "body", None) or getattr(node, "cases", None)
    if isinstance(body, list):
        first = body[0].pattern if isinstance(body[0], ast.match_case) else body[0]
        return node.lineno, max(node.lineno, first.lineno - 1)
    return node.lineno, node.end_lineno or node.lineno


def _body(function: ast.FunctionDef | ast.AsyncFunctionDef) -> tuple[int, int]:
    """The lines of a function's body."""
    return function.body[0].lineno, function.end_lineno or function.body[-1].lineno


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
