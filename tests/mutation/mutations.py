"""Small changes of a Python module, each of which a test should notice."""

from __future__ import annotations

import ast
import copy
import dataclasses
import hashlib
from collections.abc import Iterator

OPERATORS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
COMPARISONS = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
DELETED_FUNCTIONS = ('stop_gradient', 'fold_in')  # whose call becomes its first argument
SKIPPED_FIELDS = {'annotation', 'returns', 'decorator_list'}
SKIPPED_NODES = (ast.Raise, ast.JoinedStr, ast.Import, ast.ImportFrom)


Path = tuple[tuple[str, int | None], ...]  # the field, and the place in a list, on the way from the module to a node


@dataclasses.dataclass(frozen=True)
class Mutation:
    """A change of one expression.

    Attributes:
      line: line of the expression.
      text: the change in one line.
      id: identifies the change in a module that computes the same, whatever its comments.
      kind: class of the expression that is changed.
    """

    line: int
    text: str
    id: str
    kind: str
    _module: ast.Module = dataclasses.field(compare=False, repr=False)
    _path: Path = dataclasses.field(compare=False, repr=False)
    _changed: ast.expr = dataclasses.field(compare=False, repr=False)

    @property
    def source(self) -> str:
        """The whole module after the change."""
        whole = copy.deepcopy(self._module)
        parent, (field, i) = _at(whole, self._path[:-1]), self._path[-1]
        if i is None:
            setattr(parent, field, self._changed)
        else:
            getattr(parent, field)[i] = self._changed
        return ast.unparse(ast.fix_missing_locations(whole)) + '\n'


def mutations(source: str) -> list[Mutation]:
    """Return all changes of a module, in the order of its lines.

    They swap + and -, * and /, < and <=, and > and >=; make a number c into c + 1 or 0, and a truth value into the other;
    drop a ``not``; replace an argument by another one of the same call; and delete ``astype``, ``stop_gradient`` and
    ``fold_in``.
    """
    tree = ast.parse(source)
    program = hashlib.sha256(ast.unparse(tree).encode()).hexdigest()[:12]
    found: list[Mutation] = []
    for path in _paths(tree):
        node = _at(tree, path)
        for changed in _changes(node):
            text = _difference(ast.unparse(node), ast.unparse(changed))
            found.append(
                Mutation(node.lineno, text, f'{program}-{len(found)}', type(node).__name__, tree, path, changed)
            )
    return sorted(found, key=lambda mutation: mutation.line)


def _paths(node: ast.AST, prefix: Path = ()) -> Iterator[Path]:
    """Yield the path of every expression that is computed when the program runs."""
    if isinstance(node, ast.expr):
        yield prefix
    for field, value in ast.iter_fields(node):
        if field in SKIPPED_FIELDS:
            continue
        children = enumerate(value) if isinstance(value, list) else [(None, value)]
        for i, child in children:
            if isinstance(child, ast.AST) and not isinstance(child, SKIPPED_NODES):
                yield from _paths(child, (*prefix, (field, i)))


def _at(tree: ast.AST, path: Path) -> ast.expr:
    node = tree
    for field, i in path:
        node = getattr(node, field) if i is None else getattr(node, field)[i]
    return node


def _changes(node: ast.expr) -> Iterator[ast.expr]:
    """Yield what may stand in the place of an expression."""
    match node:
        case ast.BinOp() if type(node.op) in OPERATORS:
            yield ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right)
        case ast.Compare():
            for i, op in enumerate(node.ops):
                if type(op) in COMPARISONS:
                    ops = [*node.ops[:i], COMPARISONS[type(op)](), *node.ops[i + 1 :]]
                    yield ast.Compare(node.left, ops, node.comparators)
        case ast.Constant(value=bool()):
            yield ast.Constant(not node.value)
        case ast.Constant(value=int() | float()):
            yield ast.Constant(node.value + 1)
            if node.value not in (0, -1):
                yield ast.Constant(type(node.value)(0))
        case ast.UnaryOp(op=ast.Not()):
            yield node.operand
        case ast.Call():
            yield from _changed_calls(node)


def _changed_calls(node: ast.Call) -> Iterator[ast.expr]:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, 'id', '')
    if name == 'astype' and isinstance(node.func, ast.Attribute):
        yield node.func.value
    if name in DELETED_FUNCTIONS and node.args:
        yield node.args[0]
    for i, arg in enumerate(node.args):
        other = node.args[(i + 1) % len(node.args)]
        if ast.dump(other) != ast.dump(arg) and not isinstance(arg, ast.Starred) and not isinstance(other, ast.Starred):
            yield ast.Call(node.func, [*node.args[:i], other, *node.args[i + 1 :]], node.keywords)


def _difference(before: str, after: str, length: int = 80, shared: int = 30) -> str:
    """Return both texts in one line, cut to the part where they differ."""
    first = next((i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), 0)
    start = 0 if max(len(before), len(after)) <= length else max(0, first - shared)
    parts = []
    for text in (before, after):
        part = ' '.join(text[start : start + length].split())
        parts.append(('... ' if start else '') + part + (' ...' if len(text) > start + length else ''))
    return '  ->  '.join(parts)
