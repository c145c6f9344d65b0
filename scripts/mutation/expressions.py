"""Makes mutants of expressions: an operator, a comparison, a constant replaced."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from typing import Final

from .source import Edit, Source

_COMPARISONS: Final[dict[type[ast.cmpop], tuple[str, tuple[str, ...]]]] = {
    ast.Lt: ("<", ("<=", ">=")),
    ast.LtE: ("<=", ("<", ">")),
    ast.Gt: (">", (">=", "<=")),
    ast.GtE: (">=", (">", "<")),
    ast.Eq: ("==", ("!=",)),
    ast.NotEq: ("!=", ("==",)),
    ast.Is: ("is", ("is not",)),
    ast.IsNot: (r"is\s+not", ("is",)),
    ast.In: ("in", ("not in",)),
    ast.NotIn: (r"not\s+in", ("in",)),
}
_ARITHMETIC: Final[dict[type[ast.operator], tuple[str, str]]] = {
    ast.Add: (r"\+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: (r"\*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "*"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: (r"\|", "&"),
    ast.LShift: ("<<", ">>"),
    ast.RShift: (">>", "<<"),
}
_NAMES: Final = {"min": "max", "max": "min", "all": "any", "any": "all", "reversed": "iter", "sorted": "list"}
_METHODS: Final = {
    "append": "appendleft",
    "appendleft": "append",
    "popleft": "pop",
    "extendleft": "extend",
    "startswith": "endswith",
    "endswith": "startswith",
    "partition": "rpartition",
    "rpartition": "partition",
    "lstrip": "rstrip",
    "rstrip": "lstrip",
    "removeprefix": "removesuffix",
    "lower": "upper",
    "fullmatch": "match",
    "match": "search",
    "add": "discard",
    "discard": "add",
    "callback": "errback",
    "addCallback": "addBoth",
    "addErrback": "addBoth",
    "addBoth": "addCallback",
    "find": "rfind",
    "rfind": "find",
    "union": "intersection",
    "monotonic": "time",
}
_OTHER_KIND: Final = frozenset(
    "len iter next repr type set list tuple dict frozenset int float bool bytearray any all sum super hash id "
    "callable vars ord chr range enumerate open fail succeed".split()
)
_SEQUENCES: Final = (ast.List, ast.Tuple, ast.Set)


def comparison(source: Source, node: ast.Compare) -> Iterator[Edit]:
    """A comparison with another relation."""
    sides = [node.left, *node.comparators]
    for left, operation, right in zip(sides, node.ops, node.comparators, strict=False):
        written, others = _COMPARISONS[type(operation)]
        place = _sign(source, left, right, written)
        for other in others if place else ():
            assert place is not None
            yield Edit("comparison", *place, other)


def boolean(source: Source, node: ast.BoolOp) -> Iterator[Edit]:
    """`and` for `or`, and each operand left out."""
    is_and = isinstance(node.op, ast.And)
    for left, right in zip(node.values, node.values[1:], strict=False):
        place = _sign(source, left, right, "and" if is_and else "or")
        if place:
            yield Edit("and, or", *place, "or" if is_and else "and")
    for value in node.values:
        yield source.replaced("operand left out", value, str(is_and))


def arithmetic(source: Source, node: ast.BinOp) -> Iterator[Edit]:
    """Another operation; for texts and lists the other order."""
    texts = (ast.JoinedStr, ast.List, ast.Tuple)
    for side in (node.left, node.right) if isinstance(node.op, ast.Add) else ():
        if isinstance(side, texts) or (isinstance(side, ast.Constant) and isinstance(side.value, str | bytes)):
            swapped = f"{source.text(node.right)} + {source.text(node.left)}"
            yield source.replaced("order of parts", node, swapped)
            return
    if isinstance(node.op, ast.Add) and _is_plural(node.left) and _is_plural(node.right):
        swapped = f"{source.text(node.right)} + {source.text(node.left)}"
        yield source.replaced("order of parts", node, swapped)
    if isinstance(node.op, ast.Mod) and isinstance(node.left, ast.Constant):
        return
    written, other = _ARITHMETIC.get(type(node.op), ("", ""))
    place = _sign(source, node.left, node.right, written) if written else None
    if place:
        yield Edit("arithmetic", *place, other)


def _is_plural(node: ast.expr) -> bool:
    """Whether a name is that of several things, hence of a list, and not of seconds."""
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return name.endswith("s") and not name.endswith("_s")


def unary(source: Source, node: ast.UnaryOp) -> Iterator[Edit]:
    """The operand without its sign."""
    if isinstance(node.op, ast.Not | ast.USub | ast.Invert):
        name = "not" if isinstance(node.op, ast.Not) else "arithmetic"
        yield source.replaced(name, node, source.text(node.operand))


def condition(source: Source, test: ast.expr, *, only_false: bool = False) -> Iterator[Edit]:
    """A condition that is always true, always false, or negated."""
    if isinstance(test, ast.Constant):
        return
    yield source.replaced("condition", test, "False")
    if not only_false:
        yield source.replaced("condition", test, "True")
        yield source.replaced("condition", test, f"not ({source.text(test)})")


def call(source: Source, node: ast.Call) -> Iterator[Edit]:
    """A call of a similar function, or without one of its arguments."""
    if isinstance(node.func, ast.Name) and node.func.id in _NAMES and node.args:
        yield source.replaced("function", node.func, _NAMES[node.func.id])
    if isinstance(node.func, ast.Attribute) and node.func.attr in _METHODS:
        end = source.end(node.func)
        start = end - len(node.func.attr)
        yield Edit("method", start, end, _METHODS[node.func.attr])
    if isinstance(node.func, ast.Attribute) and node.func.attr in ("strip", "lower", "upper", "casefold"):
        yield source.replaced("method left out", node, source.text(node.func.value))
    if isinstance(node.func, ast.Name) and _keeps_kind(node):
        yield source.replaced("call left out", node, source.text(node.args[0]))
    arguments = [*node.args, *(keyword for keyword in node.keywords)]
    for index, argument in enumerate(arguments):
        if isinstance(argument, ast.keyword) and argument.arg and not _is_default(node, argument):
            yield from _left_out(source, arguments, index, "argument left out")
    last = node.args[-1] if node.args else None
    if isinstance(last, ast.Name) and last.id.isupper() and len(node.args) > 1:
        yield from _left_out(source, arguments, len(node.args) - 1, "argument left out")
    if isinstance(node.func, ast.Attribute) and node.func.attr in ("get", "pop") and len(node.args) == 2:
        yield from _left_out(source, arguments, 1, "argument left out")


def _is_default(node: ast.Call, argument: ast.keyword) -> bool:
    """Whether an argument says what goes without saying: ``strict=False`` of zip."""
    is_zip = isinstance(node.func, ast.Name) and node.func.id == "zip"
    return is_zip and argument.arg == "strict" and isinstance(argument.value, ast.Constant) and not argument.value.value


def _keeps_kind(node: ast.Call) -> bool:
    """Whether a call may be one that makes a value fit, such as printable(text): the value itself would do."""
    name = node.func.id if isinstance(node.func, ast.Name) else "_"
    one = len(node.args) == 1 and not node.keywords and not isinstance(node.args[0], ast.Starred | ast.GeneratorExp)
    return one and name[:1].islower() and name not in _OTHER_KIND


def subscript(source: Source, node: ast.Subscript) -> Iterator[Edit]:
    """The bounds of a slice by one; constants are changed as constants."""
    if isinstance(node.slice, ast.Slice):
        for bound in (node.slice.lower, node.slice.upper):
            if bound is not None and not isinstance(bound, ast.Constant | ast.UnaryOp):
                for change in ("+ 1", "- 1"):
                    yield source.replaced("bound", bound, f"({source.text(bound)}) {change}")


def members(source: Source, node: ast.expr, parent: ast.AST) -> Iterator[Edit]:
    """A set, list, dict or tuple without one member; starred parts in the other order."""
    if isinstance(node, ast.Dict):
        for index, key in enumerate(node.keys):
            if key is None or len(node.keys) < 2:
                continue
            following = node.keys[index + 1] if index + 1 < len(node.keys) else None
            if following is not None:
                yield Edit("member left out", source.start(key), source.start(following), "")
            elif index + 1 == len(node.keys):
                yield Edit("member left out", source.end(node.values[index - 1]), source.end(node.values[index]), "")
    elif isinstance(node, _SEQUENCES):
        if isinstance(node, ast.Tuple) and not _is_collection(node, parent):
            return
        if isinstance(node, ast.Tuple) and len(node.elts) == 2:
            for element in node.elts:  # with the comma that makes it a tuple still
                yield source.replaced("member left out", node, f"({source.text(element)},)")
        elif len(node.elts) > 1:
            for index in range(len(node.elts)):
                yield from _left_out(source, node.elts, index, "member left out")
        if not isinstance(node, ast.Set):
            for left, right in zip(node.elts, node.elts[1:], strict=False):
                if isinstance(left, ast.Starred) or isinstance(right, ast.Starred):
                    text = source.text(right) + source.between(left, right) + source.text(left)
                    yield Edit("order of parts", source.start(left), source.end(right), text)
    elif isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp):
        for generator in node.generators:
            for test in generator.ifs:
                yield source.replaced("condition", test, "True")


def member(source: Source, node: ast.Attribute) -> Iterator[Edit]:
    """Another member of the enum, one that the module names, too."""
    named = source.enums.get(getattr(node.value, "id", ""), [])
    if node.attr in named and len(named) > 1:
        end = source.end(node)
        other = named[(named.index(node.attr) + 1) % len(named)]
        yield Edit("member of an enum", end - len(node.attr), end, other)


def pattern(source: Source, node: ast.MatchOr) -> Iterator[Edit]:
    """A pattern with an alternative less."""
    for index in range(len(node.patterns)):
        yield from _left_out(source, node.patterns, index, "alternative left out")


def _is_collection(node: ast.Tuple, parent: ast.AST) -> bool:
    """Whether a tuple may as well be shorter: something is looked for in it, or done with each member."""
    if any(isinstance(element, ast.Starred) for element in node.elts):
        return True
    if isinstance(parent, ast.Compare):
        return any(isinstance(operation, ast.In | ast.NotIn) for operation in parent.ops)
    if isinstance(parent, ast.Call):
        name = parent.func.attr if isinstance(parent.func, ast.Attribute) else getattr(parent.func, "id", "")
        return name in (
            "isinstance",
            "issubclass",
            "startswith",
            "endswith",
            "frozenset",
            "set",
            "tuple",
            "trap",
            "check",
        )
    if isinstance(parent, ast.For | ast.comprehension):
        return parent.iter is node
    if isinstance(parent, ast.ExceptHandler):
        return True
    if isinstance(parent, ast.Assign | ast.AnnAssign):
        target = parent.targets[0] if isinstance(parent, ast.Assign) else parent.target
        return isinstance(target, ast.Name) and target.id.isupper()
    return False


def _left_out(source: Source, nodes: Sequence[ast.AST], index: int, operator: str) -> Iterator[Edit]:
    if index + 1 < len(nodes):
        yield Edit(operator, source.start(nodes[index]), source.start(nodes[index + 1]), "")
    elif index:
        yield Edit(operator, source.end(nodes[index - 1]), source.end(nodes[index]), "")
    else:
        yield Edit(operator, source.start(nodes[0]), source.end(nodes[0]), "")


def _sign(source: Source, left: ast.AST, right: ast.AST, written: str) -> tuple[int, int] | None:
    """Where the sign between two operands stands; None where a comment may hold another."""
    between = source.between(left, right)
    word = written[0].isalpha()
    found = re.search(rf"\b{written}\b" if word else written, between)
    if found is None or "#" in between:
        return None
    start = source.end(left) + len(between[: found.start()].encode())
    return start, start + len(found.group().encode())
