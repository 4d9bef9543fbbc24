"""The translation of expressions of Python to expressions of C."""

from __future__ import annotations

import ast
import inspect
import textwrap
from typing import Any

import numpy as np

from .functions import FUNCTIONS, METHODS
from .program import Program
from .values import (
    KINDS,
    Array,
    Known,
    Operand,
    Record,
    Value,
)
from .writer import CodeWriter

OPERATORS = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "/", ast.Mod: "%",
    ast.LShift: "<<", ast.RShift: ">>", ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^",
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
}  # fmt: skip


class Expressions(CodeWriter, ast.NodeVisitor):
    """The translation of expressions, which writes the statements that must come before them."""

    def __init__(self, program: Program, function: Any) -> None:
        super().__init__(program)
        self.function = function
        tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
        assert isinstance(tree, ast.FunctionDef)
        self.tree = tree
        self.names: dict[str, Operand] = {}

    def refuse(self, node: ast.AST, what: str) -> Exception:
        """Return the error for a part that cannot be translated."""
        line = self.function.__code__.co_firstlineno + getattr(node, "lineno", 1) - 1
        return NotImplementedError(
            f"{self.function.__module__}.{self.function.__name__}, line {line}: {what}: "
            f"{ast.unparse(node)}"
        )

    def value(self, node: ast.expr) -> Value:
        """Translate an expression that is not a tuple to a value."""
        return self.as_value(self.expression(node))

    def visit(self, node: ast.AST) -> Any:
        """Translate a part; errors name its line."""
        try:
            return super().visit(node)
        except (TypeError, ValueError, KeyError) as error:
            raise self.refuse(node, str(error)) from error

    def settled_expression(self, node: ast.expr) -> Operand:
        """Translate an expression that may write no statements, as these would come too soon."""
        before = len(self.lines)
        operand = self.expression(node)
        if len(self.lines) > before:
            raise self.refuse(node, "a call with several results, which is made on a condition")
        return operand

    def expression(self, node: ast.expr) -> Operand:
        """Translate an expression to an operand."""
        return self.visit(node)

    def generic_visit(self, node: ast.AST) -> Any:
        """Refuse a part that there is no method for."""
        raise self.refuse(node, "not translated")

    def visit_Constant(self, node: ast.Constant) -> Operand:
        """Return a literal, which is known."""
        return Known(node.value)

    def visit_Name(self, node: ast.Name) -> Operand:
        """Return a local variable, or a known object of the function's module."""
        if node.id in self.names:
            return self.names[node.id]
        if node.id in self.function.__code__.co_freevars:
            return Known(inspect.getclosurevars(self.function).nonlocals[node.id])
        if node.id in self.function.__code__.co_varnames:
            raise self.refuse(node, "read where it has no value")
        known = self.function.__globals__
        builtins = known["__builtins__"]
        builtins = builtins if isinstance(builtins, dict) else vars(builtins)
        return Known(known[node.id] if node.id in known else builtins[node.id])

    def visit_Tuple(self, node: ast.Tuple) -> Operand:
        """Return a known tuple if all items are known, else a tuple of operands."""
        parts = tuple(self.expression(part) for part in node.elts)
        if all(isinstance(part, Known) for part in parts):
            return Known(tuple(part.value for part in parts))
        return parts

    def visit_IfExp(self, node: ast.IfExp) -> Operand:
        """Choose one of two values, while translating if the test is known."""
        test = self.expression(node.test)
        if isinstance(test, Known):
            return self.expression(node.body if test.value else node.orelse)
        return self.choose(
            test, self.settled_expression(node.body), self.settled_expression(node.orelse)
        )

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Operand:
        """Translate a minus or a ``not``."""
        if not isinstance(node.op, ast.USub | ast.Not):
            raise self.refuse(node, "not translated")
        operand = self.expression(node.operand)
        if isinstance(operand, Known):
            return Known(-operand.value if isinstance(node.op, ast.USub) else not operand.value)
        if isinstance(node.op, ast.USub):
            return Value(f"(-{operand.code})", operand.type)
        return Value(f"(!{operand.code})", "b1")

    def visit_BinOp(self, node: ast.BinOp) -> Operand:
        """Translate arithmetic of two numbers of one type."""
        x, y = self.expression(node.left), self.expression(node.right)
        if isinstance(x, Known) and isinstance(y, Known):
            with np.errstate(all="ignore"):
                return Known(_evaluated(node.op, x.value, y.value))
        if type(node.op) not in OPERATORS:
            raise self.refuse(node, "not translated")
        a, b = self.of_one_type(x, y)
        operator = OPERATORS[type(node.op)]
        if isinstance(node.op, ast.FloorDiv | ast.Mod) and a.type in ("f64", "f32"):
            raise self.refuse(node, "of whole numbers only")
        if isinstance(node.op, ast.Div) and a.type == "i64":
            a, b = self.cast(a, "f64"), self.cast(b, "f64")
        if isinstance(node.op, ast.LShift) and a.type in ("i64", "i32"):
            unsigned = "u" + str(a.type)[1:]
            moved = f"({self.cast(a, unsigned).code} << {self.cast(b, unsigned).code})"
            return self.cast(Value(moved, unsigned), a.type)
        return Value(f"({a.code} {operator} {b.code})", a.type)

    def visit_BoolOp(self, node: ast.BoolOp) -> Operand:
        """Translate ``and`` and ``or``; known parts are left out, or decide it."""
        decisive = isinstance(node.op, ast.Or)
        codes: list[str] = []
        for number, part in enumerate(node.values):
            operand = self.settled_expression(part) if number else self.expression(part)
            if isinstance(operand, Known):
                if not isinstance(operand.value, bool | np.bool_):
                    raise self.refuse(part, "neither true nor false")
                if bool(operand.value) is decisive:
                    if not codes:
                        return Known(decisive)
                    codes.append(str(int(decisive)))
                    break
            else:
                codes.append(operand.code)
        if not codes:
            return Known(not decisive)
        return Value(f"({(' || ' if decisive else ' && ').join(codes)})", "b1")

    def visit_Compare(self, node: ast.Compare) -> Operand:
        """Translate a comparison of numbers, or of tuples of numbers."""
        operands = [self.expression(part) for part in (node.left, *node.comparators)]
        found = []
        for operation, x, y in zip(node.ops, operands, operands[1:], strict=False):
            operator = OPERATORS[type(operation)]
            if isinstance(x, Known) and isinstance(y, Known):
                if not _evaluated(operation, x.value, y.value):
                    return Known(False)
            elif isinstance(x, Known | Value) and isinstance(y, Known | Value):
                a, b = self.of_one_type(x, y)
                found.append(f"({a.code} {operator} {b.code})")
            else:
                pairs = [self.of_one_type(a, b) for a, b in zip(x, y, strict=True)]
                every = [f"({a.code} {operator} {b.code})" for a, b in pairs]
                found.append(f"({(' || ' if operator == '!=' else ' && ').join(every)})")
        if not found:
            return Known(True)
        return Value(found[0] if len(found) == 1 else f"({' && '.join(found)})", "b1")

    def visit_Attribute(self, node: ast.Attribute) -> Operand:
        """Return an attribute of a module, a record or an array."""
        operand = self.expression(node.value)
        if isinstance(operand, Known):
            return Known(getattr(operand.value, node.attr))
        if isinstance(operand.type, Record):
            return Value(f"{operand.code}->{node.attr}", dict(operand.type.fields)[node.attr])
        axes = [Value(f"{operand.code}.n[{k}]", "i64") for k in range(operand.type.axes)]
        if node.attr == "shape":
            return tuple(axes)
        if node.attr == "size":
            return Value(f"({' * '.join(axis.code for axis in axes)})", "i64")
        raise self.refuse(node, "unknown attribute")

    def visit_Subscript(self, node: ast.Subscript) -> Operand:
        """Return an item of a tuple, an element of an array, or a part of it."""
        operand = self.expression(node.value)
        if isinstance(operand, Known):
            if isinstance(node.slice, ast.Slice):
                bounds = (node.slice.lower, node.slice.upper)
                return Known(
                    operand.value[slice(*(b and self.expression(b).value for b in bounds))]
                )
            return Known(operand.value[self.expression(node.slice).value])
        if not isinstance(operand, Value):
            return operand[self.expression(node.slice).value]
        if any(isinstance(x, ast.Slice) and x.step is not None for x in ast.walk(node.slice)):
            raise self.refuse(node, "a part with steps")
        indices = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        return self.part_of(operand, indices)

    def part_of(self, array: Value, indices: list[ast.expr]) -> Value:
        """Return an element, or an array that shares the memory of the given one."""
        kind = array.type
        assert isinstance(kind, Array)
        address, lengths, strides = f"{array.code}.p", [], []
        for axis in range(kind.axes):
            last = axis == kind.axes - 1
            stride = "" if last else f" * {array.code}.s[{axis}]"
            index = indices[axis] if axis < len(indices) else ast.Slice(None, None, None)
            if isinstance(index, ast.Slice):
                lower = self.value(index.lower).code if index.lower else None
                upper = self.value(index.upper).code if index.upper else f"{array.code}.n[{axis}]"
                if lower:
                    address += f" + {lower}{stride}"
                lengths.append(f"{upper} - {lower}" if lower else upper)
                strides.append("1" if last else f"{array.code}.s[{axis}]")
            else:
                at = self.expression(index)
                if isinstance(at, Known) and at.value < 0:
                    raise self.refuse(index, "an index from the end")
                address += f" + {self.as_value(at).code}{stride}"
        if not lengths:
            base, _, offset = address.partition(" + ")
            return Value(f"{base}[{offset}]", kind.element)
        if strides[-1] != "1":
            raise TypeError(f"the last axis of {array.code} is not kept")
        new = self.program.declare(Array(kind.element, len(lengths)))
        more = f", {{{', '.join(strides[:-1])}}}" if len(lengths) > 1 else ""
        return Value(f"({new.c}){{{address}, {{{', '.join(lengths)}}}{more}}}", new)

    # -- calls ---------------------------------------------------------------------------

    def visit_Call(self, node: ast.Call) -> Operand:
        """Translate a call of a method, of a function that C has, or of another kernel."""
        if isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
            operand = self.expression(node.func.value)
            if not isinstance(operand, Known) or node.func.attr == "view":
                arguments = [self.expression(argument) for argument in node.args]
                return METHODS[node.func.attr](self, operand, *arguments)
        function = self.expression(node.func)
        if not isinstance(function, Known):
            raise self.refuse(node, "not a function")
        arguments = [self.expression(argument) for argument in node.args]
        named = {str(word.arg): self.expression(word.value) for word in node.keywords}
        called = function.value
        if called in self.program.special:
            return self.program.special[called](self, *arguments)
        if called in KINDS:
            (operand,) = arguments
            if isinstance(operand, Known):
                return Known(called(operand.value))
            return self.cast(operand, KINDS[called], asked_for=True)
        if called in FUNCTIONS:
            return FUNCTIONS[called](self, *arguments, **named)
        if named:
            raise self.refuse(node, "an argument by name")
        return self.call(called, arguments)

    def call(self, function: Any, arguments: list[Operand]) -> Operand:
        """Translate the call of another kernel, and that kernel for these types."""
        if function not in self.program.inline:
            arguments = [
                self.as_value(x) if isinstance(x, Known) and not isinstance(x.value, tuple) else x
                for x in arguments
            ]
        translated = self.program.function(function, tuple(arguments))
        self.allocates |= translated.allocates
        codes = ["arena"] * translated.allocates
        for operand in arguments:
            codes += _argument_codes(operand)
        code = f"{translated.name}({', '.join(codes)})"
        if isinstance(translated.result, tuple):
            self.temporaries += 1
            name = f"t{self.temporaries}"
            self.emit(f"const {self.program.tuple_struct(translated.result)} {name} = {code};")
            return tuple(Value(f"{name}.e{i}", kind) for i, kind in enumerate(translated.result))
        return Value(code, translated.result)


def _argument_codes(operand: Operand) -> list[str]:
    """Return the C arguments for an operand; what is known is not passed."""
    if isinstance(operand, Known):
        return []
    if isinstance(operand, Value):
        return [operand.code]
    return [code for part in operand for code in _argument_codes(part)]


def _evaluated(operation: ast.AST, x: Any, y: Any) -> Any:
    """Return the result of an operation on known numbers."""
    symbol = "//" if isinstance(operation, ast.FloorDiv) else OPERATORS[type(operation)]
    return eval(f"x {symbol} y", {"x": x, "y": y})
