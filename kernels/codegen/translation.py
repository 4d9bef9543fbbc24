"""The translation of one function of Python to a function of C."""

from __future__ import annotations

import ast
from typing import Any

from .expressions import OPERATORS, Expressions
from .program import Program, TranslatedFunction
from .values import Array, Known, Operand, Value, c_type

UNROLLED = 16  # the most turns of a loop with known bounds that is unrolled
LANE = "j"  # counts the coordinates of a tile: the loop is left to be vectorised
RESERVED = {"float", "double", "int", "short", "long", "auto", "register", "signed", "new"}


class Translation(Expressions):
    """The translation of one function, for arguments of certain types."""

    def __init__(self, program: Program, function: Any, arguments: Any, number: int) -> None:
        super().__init__(program, function)
        self.name = f"{function.__name__.lstrip('_')}_{number}"
        self.variables: dict[str, str] = {}
        self.result: Any = None
        self.counters: list[str] = []  # names that count the loops around a statement
        named = [argument.arg for argument in self.tree.args.args]
        changed = [
            node.id
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        ]
        self.assigned_once = {name for name in changed if (changed + named).count(name) == 1}
        self.parameters: list[str] = []
        for name, operand in zip(named, arguments, strict=True):
            self.names[name] = self.parameter(name, operand)

    def parameter(self, name: str, operand: Operand) -> Operand:
        """Add a parameter of the C function for every number that is not known."""
        if isinstance(operand, Known):
            return operand
        if isinstance(operand, tuple) and not isinstance(operand, Value):
            return tuple(self.parameter(f"{name}_{k}", part) for k, part in enumerate(operand))
        code = name + "_" * (name in RESERVED)
        self.parameters.append(f"{c_type(operand.type)} {code}")
        return Value(code, operand.type)

    def translate(self) -> TranslatedFunction:
        """Translate the body, and add the function to the program."""
        self.block(self.tree.body)
        if self.own_memory:
            self.emit("arena_release(arena, &mark);")
        returned = "void"
        if isinstance(self.result, tuple):
            returned = self.program.tuple_struct(self.result)
        elif self.result is not None:
            returned = c_type(self.result)
        parameters = ["Arena *arena"] * self.allocates + self.parameters
        inline = "INLINED " if self.function in self.program.inline else ""
        head = [f"static {inline}{returned} {self.name}({', '.join(parameters) or 'void'})", "{"]
        head += [f"    {kind} {name};" for name, kind in self.variables.items()]
        if self.own_memory:
            head.append("    Mark mark = arena_mark(arena);")
        self.program.text.append("\n".join([*head, *self.lines, "}", ""]))
        return TranslatedFunction(self.name, self.result, self.allocates)

    # -- statements ----------------------------------------------------------------------

    def block(self, body: list[ast.stmt]) -> None:
        """Translate statements one after the other."""
        for statement in body:
            self.visit(statement)

    def nested(self, body: list[ast.stmt]) -> None:
        """Translate statements between braces."""
        self.depth += 1
        self.block(body)
        self.depth -= 1

    def visit_Expr(self, node: ast.Expr) -> None:
        """Translate a call; docstrings are left out."""
        if not isinstance(node.value, ast.Constant):
            self.emit(f"{self.value(node.value).code};")

    def visit_Pass(self, _: ast.Pass) -> None:
        """Write nothing."""

    def visit_Break(self, _: ast.Break) -> None:
        """Leave a loop that is not unrolled."""
        self.emit("break;")

    def visit_Continue(self, _: ast.Continue) -> None:
        """Go on with the next turn of a loop that is not unrolled."""
        self.emit("continue;")

    def visit_Assign(self, node: ast.Assign) -> None:
        """Assign to a name, a tuple of names, an element or a part of an array."""
        (target,) = node.targets
        operand = self.expression(node.value)
        if isinstance(target, ast.Tuple):
            if isinstance(operand, Value):
                raise self.refuse(node, "not a tuple")
            parts = operand.value if isinstance(operand, Known) else operand
            parts = [Known(x) for x in parts] if isinstance(operand, Known) else parts
            names = [part.id for part in target.elts if isinstance(part, ast.Name)]
            # all values are read before a name is assigned
            for name, part in zip(names, self.copied(parts), strict=True):
                self.bind(name, part)
        elif isinstance(target, ast.Name):
            self.bind(target.id, operand)
        else:
            self.store(target, operand, "=")

    def copied(self, parts: Any) -> list[Operand]:
        """Copy values to variables of their own, which do not change when names are assigned."""
        return [
            part
            if isinstance(part, Known) or (isinstance(part, Value) and isinstance(part.type, Array))
            else self.temporary(part)
            for part in parts
        ]

    def bind(self, name: str, operand: Operand) -> None:
        """Give a name a value; a known value needs no variable if it is the only one."""
        if name == "_":
            return
        if name in self.counters:
            raise TypeError(f"{name} counts a loop, which goes on from where it was")
        if isinstance(operand, Known):
            if name in self.assigned_once:
                self.names[name] = operand
                return
            value = operand.value
            operand = (
                tuple(map(Known, value)) if isinstance(value, tuple) else self.as_value(operand)
            )
        if not isinstance(operand, Value):
            parts = [self.as_value(part) for part in operand]
            if len(parts) > 1:
                parts = self.copied(parts)
            self.names[name] = tuple(
                self.variable(f"{name}_{k}", part) for k, part in enumerate(parts)
            )
            return
        self.names[name] = self.variable(name, operand)

    def variable(self, name: str, operand: Value) -> Value:
        """Assign to a variable, which has the type of the first value that is assigned to it."""
        code = name + "_" * (name in RESERVED)
        now = self.names.get(name)
        kind = now.type if isinstance(now, Value) and now.code == code else operand.type
        if kind == "b1":
            kind = "i64"
        declared = f"{c_type(kind)} {code}" in self.parameters
        if not declared and self.variables.setdefault(code, c_type(kind)) != c_type(kind):
            raise TypeError(f"{name} has two types")
        self.emit(f"{code} = {self.cast(operand, kind).code};")
        return Value(code, kind)

    def store(self, target: ast.expr, operand: Operand, operator: str) -> None:
        """Assign to an element, or to every element of a part of an array."""
        destination = self.value(target)
        if not isinstance(destination.type, Array):
            self.emit(f"{destination.code} {operator} {self.cast(operand, destination.type).code};")
        elif destination.type.axes > 1:
            raise self.refuse(target, "more than one axis")
        else:
            self.fill_array(destination, self.as_value(operand), operator)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        """Change a name, an element, or a part of an array."""
        if isinstance(node.target, ast.Name):
            old = ast.Name(node.target.id, ast.Load())
            both = ast.copy_location(ast.BinOp(old, node.op, node.value), node)
            self.bind(node.target.id, self.expression(ast.fix_missing_locations(both)))
        else:
            self.store(node.target, self.expression(node.value), OPERATORS[type(node.op)] + "=")

    def visit_Return(self, node: ast.Return) -> None:
        """Return nothing, a number, or a tuple of numbers."""
        operand = self.expression(node.value) if node.value is not None else None
        if isinstance(operand, Known) and isinstance(operand.value, tuple):
            operand = tuple(map(Known, operand.value))
        if operand is None:
            code = "return;"
        elif isinstance(operand, Value | Known):
            one = self.as_value(operand)
            self.result = self.result or one.type
            code = f"return {self.cast(one, self.result).code};"
        else:
            parts = [self.as_value(part) for part in operand]
            self.result = self.result or tuple(part.type for part in parts)
            name = self.program.tuple_struct(self.result)
            codes = (self.cast(p, k).code for p, k in zip(parts, self.result, strict=True))
            code = f"return ({name}){{{', '.join(codes)}}};"
        if self.own_memory:
            if isinstance(operand, Value | Known):
                code = f"return {self.temporary(self.cast(one, self.result)).code};"
            self.emit("arena_release(arena, &mark);")
        self.emit(code)

    def visit_If(self, node: ast.If) -> None:
        """Translate a condition; if the test is known, only the branch that is taken."""
        test = self.expression(node.test)
        if isinstance(test, Known):
            self.block(node.body if test.value else node.orelse)
            return
        self.emit(f"if ({test.code}) {{")
        self.nested(node.body)
        if node.orelse:
            self.emit("} else {")
            self.nested(node.orelse)
        self.emit("}")

    def visit_While(self, node: ast.While) -> None:
        """Translate a loop with a test."""
        test = self.settled_expression(node.test)
        code = str(int(bool(test.value))) if isinstance(test, Known) else test.code
        self.emit(f"while ({code}) {{")
        self.nested(node.body)
        self.emit("}")

    def visit_For(self, node: ast.For) -> None:
        """Translate a loop over a range, an array, or a known tuple."""
        assert isinstance(node.target, ast.Name)
        name = node.target.id
        source = node.iter
        if isinstance(source, ast.Call) and self.expression(source.func) == Known(range):
            bounds = [self.expression(argument) for argument in source.args]
            if len(bounds) == 1:
                bounds.insert(0, Known(0))
            if all(isinstance(bound, Known) for bound in bounds):
                turns = range(*(int(bound.value) for bound in bounds))
                if len(turns) <= UNROLLED and name != LANE:
                    self.unroll(name, turns, node.body)
                    return
            self.counted_loop(name, bounds, node.body)
            return
        items = self.expression(source)
        if isinstance(items, Known):
            self.unroll(name, items.value, node.body)
            return
        self.depth += 1
        index = f"index{self.depth}"
        self.lines.append("    " * (self.depth - 1) + "{")
        self.emit(f"const {items.type.c} each{self.depth} = {items.code};")
        self.emit(f"for (int64_t {index} = 0; {index} < each{self.depth}.n[0]; {index}++) {{")
        self.depth += 1
        self.assigned_once.discard(name)
        self.bind(name, Value(f"each{self.depth - 1}.p[{index}]", items.type.element))
        self.depth -= 1
        self.nested(node.body)
        self.emit("}")
        self.depth -= 1
        self.emit("}")

    def unroll(self, name: str, items: Any, body: list[ast.stmt]) -> None:
        """Translate the body once for each item."""
        if any(isinstance(x, ast.Break | ast.Continue) for part in body for x in ast.walk(part)):
            raise self.refuse(body[0], "break or continue in a loop that is unrolled")
        for operand in items:
            self.names[name] = Known(operand)
            self.block(body)

    def counted_loop(self, name: str, bounds: list[Operand], body: list[ast.stmt]) -> None:
        """Write a loop of C, whose bounds are evaluated once."""
        begin, end = (self.as_value(bound) for bound in bounds[:2])
        step = bounds[2] if len(bounds) > 2 else Known(1)
        if not isinstance(step, Known):
            raise TypeError("a range whose steps are not known")
        code = name + "_" * (name in RESERVED)
        if not isinstance(bounds[1], Known):
            self.emit("{")
            self.depth += 1
            end = self.temporary(end)
        test = ">" if step.value < 0 else "<"
        move = f"{code} += {self.as_value(step).code}"
        self.emit(f"for (int64_t {code} = {begin.code}; {code} {test} {end.code}; {move}) {{")
        self.names[name] = Value(code, "i64")
        self.counters.append(name)
        self.nested(body)
        self.counters.pop()
        del self.names[name]  # after the loop it may have no value
        self.emit("}")
        if not isinstance(bounds[1], Known):
            self.depth -= 1
            self.emit("}")


def new_program() -> Program:
    """Return an empty program, which translates the functions that it is asked for."""
    return Program(lambda *given: Translation(*given).translate())
