"""The exact model where nothing is compiled: the same kernels, their loops as NumPy's operations.

A loop over the coordinates of a tile, whose variable is always called j, becomes one operation on
slices. What a loop does with one number, NumPy does with an array, once choices between values
are calls of a function, and sums are not made in place.
"""

from __future__ import annotations

import ast
from functools import cache, partial
from importlib.machinery import SourceFileLoader
from types import ModuleType
from typing import Any

import numpy as np

from ..codegen import pure_python

EXPORTS = {
    "moments": "propagate",
    "closed_form": "constant_risk",
    "first_passage": "first_passage",
}
TILE = 1024  # coordinates at a time: more than elsewhere, as every operation is a call


class Lanes:
    """The values of j, and what is added to them: a part of an array."""

    def __init__(self, start: int, stop: int) -> None:
        self.start, self.stop = start, stop

    def __radd__(self, offset: int) -> Lanes:
        return Lanes(offset + self.start, offset + self.stop)


def _lanes(*bounds: int) -> Lanes:
    return Lanes(0, *bounds) if len(bounds) == 1 else Lanes(*bounds)


def _at(index: Any) -> Any:
    return slice(index.start, index.stop) if isinstance(index, Lanes) else index


def _select(test: Any, yes: Any, no: Any) -> Any:
    """Choose between two values that are computed on demand, or in every lane."""
    if isinstance(test, np.ndarray):
        return np.where(test, yes(), no())
    return yes() if test else no()


def _larger(x: Any, y: Any) -> Any:
    return np.where(y > x, y, x) if isinstance(x, np.ndarray) else max(x, y)


def _smaller(x: Any, y: Any) -> Any:
    return np.where(y < x, y, x) if isinstance(x, np.ndarray) else min(x, y)


GIVEN: dict[str, Any] = {
    "_lanes": _lanes,
    "_at": _at,
    "_select": _select,
    "_root": np.sqrt,
    "max": _larger,
    "min": _smaller,
}


def _calling(name: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(name, ast.Load()), list(arguments), [])


def _later(value: ast.expr) -> ast.expr:
    nothing = ast.arguments([], [], None, [], [], None, [])
    return ast.Lambda(nothing, value)


class _OnArrays(ast.NodeTransformer):
    """From numbers to arrays, for tiles of a given size."""

    def __init__(self, tile: int) -> None:
        self.tile = tile

    def visit_For(self, node: ast.For) -> Any:
        """A loop over j is done at once."""
        self.generic_visit(node)
        if isinstance(node.target, ast.Name) and node.target.id == "j":
            assert isinstance(node.iter, ast.Call)
            return [ast.Assign([node.target], _calling("_lanes", *node.iter.args)), *node.body]
        return node

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        """Indices may be lanes."""
        self.generic_visit(node)
        axes = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        axes = [x if isinstance(x, ast.Slice) else _calling("_at", x) for x in axes]
        node.slice = ast.Tuple(axes, ast.Load()) if len(axes) > 1 else axes[0]
        return node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        """A name may stand for a part of an array, which is not to be changed."""
        self.generic_visit(node)
        if isinstance(node.target, ast.Name):
            old = ast.Name(node.target.id, ast.Load())
            return ast.Assign([node.target], ast.BinOp(old, node.op, node.value))
        return node

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        """A test may have many answers."""
        self.generic_visit(node)
        return _calling("_select", node.test, _later(node.body), _later(node.orelse))

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """NumPy's roots are of arrays."""
        self.generic_visit(node)
        return ast.Name("_root", node.ctx) if node.attr == "sqrt" else node

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        """Tiles have another size."""
        self.generic_visit(node)
        if isinstance(node.targets[0], ast.Name) and node.targets[0].id == "TILE":
            node.value = ast.Constant(self.tile)
        return node


class _Loader(SourceFileLoader):
    """Loads a module of kernels, changed."""

    def __init__(self, name: str, path: str, tile: int) -> None:
        super().__init__(name, path)
        self.tile = tile

    def exec_module(self, module: ModuleType) -> None:
        """Run what became of its source."""
        tree = _OnArrays(self.tile).visit(ast.parse(self.get_data(self.path), self.path))
        module.__dict__.update(GIVEN)
        exec(compile(ast.fix_missing_locations(tree), self.path, "exec"), module.__dict__)


def _quiet(function: Any) -> Any:
    """Overflow is an answer here, as in compiled code."""

    def run(*arguments: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(*arguments)

    return run


@cache
def load(tile: int = TILE) -> dict[str, Any]:
    """The parts of the exact model, for tiles of so many coordinates."""
    names = tuple(f"exact.{name}" for name in EXPORTS)
    loaded: dict[str, Any] = pure_python.load(names, partial(_Loader, tile=tile))
    modules = {name: loaded[f"exact.{name}"] for name in EXPORTS}
    for name, entry in EXPORTS.items():
        setattr(modules[name], entry, _quiet(getattr(modules[name], entry)))
    return modules
