"""Makes mutants of statements: one left out or replaced."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from .expressions import condition
from .source import Edit, Source

_KEPT_ORDER = frozenset({"append", "appendleft", "write", "writeSequence", "extend", "extendleft", "insert"})


def statement(source: Source, node: ast.stmt, function: ast.AST | None) -> Iterator[Edit]:
    """Mutants of a statement as a whole."""
    match node:
        case ast.Expr() | ast.AugAssign() | ast.Delete() | ast.Raise():
            yield source.replaced("statement deleted", node, "pass")
        case ast.Assign() | ast.AnnAssign() if node.value is not None:
            yield from _assignment(source, node, node.value, function)
        case ast.Return():
            yield from _return(source, node, function)
        case ast.Break() | ast.Continue():
            yield source.replaced("jump", node, "continue" if isinstance(node, ast.Break) else "break")
            yield source.replaced("jump", node, "pass")
        case ast.If() | ast.While():
            yield from condition(source, node.test, only_false=isinstance(node, ast.While))
        case ast.For() | ast.AsyncFor():
            yield source.replaced("loop left out", node.iter, "()")
        case ast.Try():
            yield from _try(source, node)
        case _:
            pass
    if isinstance(node, ast.AugAssign):
        yield from _augmented(source, node)


def order(source: Source, body: list[ast.stmt]) -> Iterator[tuple[ast.stmt, Edit]]:
    """Neighbouring statements that append or write, in the other order."""
    for left, right in pairwise(body):
        if _puts(left) and _puts(right):
            text = source.text(right) + source.between(left, right) + source.text(left)
            yield left, Edit("order of parts", source.start(left), source.end(right), text)


def _puts(node: ast.stmt) -> bool:
    called = node.value if isinstance(node, ast.Expr) else None
    return isinstance(called, ast.Call) and isinstance(called.func, ast.Attribute) and called.func.attr in _KEPT_ORDER


def _assignment(
    source: Source, node: ast.Assign | ast.AnnAssign, value: ast.expr, function: ast.AST | None
) -> Iterator[Edit]:
    """An assignment left out, unless the name would then be unknown: any test notices that."""
    if function is None or getattr(function, "name", "") == "__init__":
        return
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    for index, target in enumerate(targets if len(targets) > 1 else ()):
        if isinstance(target, ast.Attribute | ast.Subscript):
            end = source.start(targets[index + 1] if index + 1 < len(targets) else value)
            yield Edit("statement deleted", source.start(target), end, "")
    if all(isinstance(target, ast.Attribute | ast.Subscript) for target in targets):
        yield source.replaced("statement deleted", node, "pass")
        if not isinstance(value, ast.Constant):
            yield source.replaced("value", value, "None")
    elif isinstance(targets[0], ast.Name) and _bound(function)[targets[0].id] > 1:
        yield source.replaced("statement deleted", node, "pass")
    elif isinstance(targets[0], ast.Tuple):
        yield from _unpacked(source, targets[0], value)


def _unpacked(source: Source, target: ast.Tuple, value: ast.expr) -> Iterator[Edit]:
    """An assignment of several targets without one of them: `a, self.b = self.b, None`."""
    if not isinstance(value, ast.Tuple) or len(value.elts) != len(target.elts):
        return
    for to, new in zip(target.elts, value.elts, strict=True):
        if isinstance(to, ast.Attribute | ast.Subscript):
            yield source.replaced("statement deleted", new, source.text(to))


def _bound(function: ast.AST) -> Counter[str]:
    """How often each name gets a value in a function."""
    names: Counter[str] = Counter()
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names[node.id] += 1
        elif isinstance(node, ast.arg):
            names[node.arg] += 1
    return names


def _return(source: Source, node: ast.Return, function: ast.AST | None) -> Iterator[Edit]:
    if node.value is None:
        yield source.replaced("statement deleted", node, "pass")
    elif isinstance(node.value, ast.Constant) and (node.value.value is None or _is_answer(node.value, function)):
        return
    else:
        yield source.replaced("value", node.value, "None")


def _is_answer(value: ast.Constant, function: ast.AST | None) -> bool:
    """Whether a constant is what a function says to a question, which is negated as a constant; None is no answer."""
    returns = getattr(function, "returns", None)
    return isinstance(value.value, bool) and isinstance(returns, ast.Name) and returns.id == "bool"


def _augmented(source: Source, node: ast.AugAssign) -> Iterator[Edit]:
    between = source.between(node.target, node.value)
    for sign, other in (("+=", "-="), ("-=", "+="), ("|=", "&="), ("&=", "|=")):
        if sign in between:
            start = source.end(node.target) + between.index(sign)
            yield Edit("arithmetic", start, start + 2, other)
            yield Edit("arithmetic", start, start + 2, "=")


def _try(source: Source, node: ast.Try) -> Iterator[Edit]:
    """A try statement with a handler, or the finally block, that does nothing."""
    for handler in node.handlers:
        only_raises = len(handler.body) == 1 and isinstance(handler.body[0], ast.Raise)
        if not only_raises:
            yield _body(source, "except left out", handler.body, "raise")
        if len(handler.body) > 1:
            yield _body(source, "except left out", handler.body, "pass")
    if len(node.finalbody) > 1:
        yield _body(source, "finally left out", node.finalbody, "pass")


def _body(source: Source, operator: str, body: list[ast.stmt], text: str) -> Edit:
    return Edit(operator, source.start(body[0]), source.end(body[-1]), text)
