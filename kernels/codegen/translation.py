"""One function of Python as a function of C."""

from __future__ import annotations

import ast
from typing import Any

from .expressions import OPERATORS, Expressions
from .program import Program, TranslatedFunction
from .values import Array, Item, Known, Value, c_type

UNROLLED = 16  # turns of a loop with known bounds
TAKEN = {"float", "double", "int", "short", "long", "auto", "register", "signed", "new"}


class Translation(Expressions):
    """One function, for arguments of certain types."""

    def __init__(self, program: Program, function: Any, arguments: Any, number: int) -> None:
        super().__init__(program, function)
        self.name = f"{function.__name__.lstrip('_')}_{number}"
        self.declared: dict[str, str] = {}
        self.result: Any = None
        self.counters: list[str] = []  # of the loops around
        named = [argument.arg for argument in self.tree.args.args]
        changed = [
            node.id
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        ]
        self.once = {name for name in changed if (changed + named).count(name) == 1}
        self.parameters: list[str] = []
        for name, item in zip(named, arguments, strict=True):
            self.names[name] = self.parameter(name, item)

    def parameter(self, name: str, item: Item) -> Item:
        """A parameter of the C function for every number that is not known."""
        if isinstance(item, Known):
            return item
        if isinstance(item, tuple) and not isinstance(item, Value):
            return tuple(self.parameter(f"{name}_{k}", part) for k, part in enumerate(item))
        code = name + "_" * (name in TAKEN)
        self.parameters.append(f"{c_type(item.type)} {code}")
        return Value(code, item.type)

    def done(self) -> TranslatedFunction:
        """Translate the body, and add the function to the program."""
        self.block(self.tree.body)
        if self.own_memory:
            self.emit("arena_release(arena, &mark);")
        returned = "void"
        if isinstance(self.result, tuple):
            returned = self.program.several(self.result)
        elif self.result is not None:
            returned = c_type(self.result)
        parameters = ["Arena *arena"] * self.allocates + self.parameters
        inline = "INLINED " if self.function in self.program.inline else ""
        head = [f"static {inline}{returned} {self.name}({', '.join(parameters) or 'void'})", "{"]
        head += [f"    {kind} {name};" for name, kind in self.declared.items()]
        if self.own_memory:
            head.append("    Mark mark = arena_mark(arena);")
        self.program.text.append("\n".join([*head, *self.lines, "}", ""]))
        return TranslatedFunction(self.name, self.result, self.allocates)

    # -- statements ----------------------------------------------------------------------

    def block(self, body: list[ast.stmt]) -> None:
        """Statements one after the other."""
        for statement in body:
            self.visit(statement)

    def inner(self, body: list[ast.stmt]) -> None:
        """Statements between braces."""
        self.depth += 1
        self.block(body)
        self.depth -= 1

    def visit_Expr(self, node: ast.Expr) -> None:
        """A call, or a docstring."""
        if not isinstance(node.value, ast.Constant):
            self.emit(f"{self.value(node.value).code};")

    def visit_Pass(self, _: ast.Pass) -> None:
        """Nothing."""

    def visit_Break(self, _: ast.Break) -> None:
        """Of loops that are not unrolled."""
        self.emit("break;")

    def visit_Continue(self, _: ast.Continue) -> None:
        """Of loops that are not unrolled."""
        self.emit("continue;")

    def visit_Assign(self, node: ast.Assign) -> None:
        """To a name, a tuple of names, an element or a part of an array."""
        (target,) = node.targets
        item = self.expression(node.value)
        if isinstance(target, ast.Tuple):
            if isinstance(item, Value):
                raise self.refuse(node, "not a tuple")
            parts = item.value if isinstance(item, Known) else item
            parts = [Known(x) for x in parts] if isinstance(item, Known) else parts
            names = [part.id for part in target.elts if isinstance(part, ast.Name)]
            # all are read before one is written
            for name, part in zip(names, self.held(parts), strict=True):
                self.bind(name, part)
        elif isinstance(target, ast.Name):
            self.bind(target.id, item)
        else:
            self.store(target, item, "=")

    def held(self, parts: Any) -> list[Item]:
        """Values that do not change when names do."""
        return [
            part
            if isinstance(part, Known) or (isinstance(part, Value) and isinstance(part.type, Array))
            else self.temporary(part)
            for part in parts
        ]

    def bind(self, name: str, item: Item) -> None:
        """Give a name a value: known ones need no variable where nothing else is assigned."""
        if name == "_":
            return
        if name in self.counters:
            raise TypeError(f"{name} counts a loop, which goes on from where it was")
        if isinstance(item, Known):
            if name in self.once:
                self.names[name] = item
                return
            value = item.value
            item = tuple(map(Known, value)) if isinstance(value, tuple) else self.number(item)
        if not isinstance(item, Value):
            parts = [self.number(part) for part in item]
            if len(parts) > 1:
                parts = self.held(parts)
            self.names[name] = tuple(
                self.variable(f"{name}_{k}", part) for k, part in enumerate(parts)
            )
            return
        self.names[name] = self.variable(name, item)

    def variable(self, name: str, item: Value) -> Value:
        """Assign to a variable, declared with the type of what was assigned first."""
        code = name + "_" * (name in TAKEN)
        now = self.names.get(name)
        kind = now.type if isinstance(now, Value) and now.code == code else item.type
        if kind == "b1":
            kind = "i64"
        declared = f"{c_type(kind)} {code}" in self.parameters
        if not declared and self.declared.setdefault(code, c_type(kind)) != c_type(kind):
            raise TypeError(f"{name} has two types")
        self.emit(f"{code} = {self.cast(item, kind).code};")
        return Value(code, kind)

    def store(self, target: ast.expr, item: Item, operator: str) -> None:
        """Assign to an element, or to every element of a part of an array."""
        place = self.value(target)
        if not isinstance(place.type, Array):
            self.emit(f"{place.code} {operator} {self.cast(item, place.type).code};")
        elif place.type.axes > 1:
            raise self.refuse(target, "more than one axis")
        else:
            self.fill(place, self.number(item), operator)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        """Of a name, an element, or a part of an array."""
        if isinstance(node.target, ast.Name):
            old = ast.Name(node.target.id, ast.Load())
            both = ast.copy_location(ast.BinOp(old, node.op, node.value), node)
            self.bind(node.target.id, self.expression(ast.fix_missing_locations(both)))
        else:
            self.store(node.target, self.expression(node.value), OPERATORS[type(node.op)] + "=")

    def visit_Return(self, node: ast.Return) -> None:
        """Of nothing, a number, or a tuple of numbers."""
        item = self.expression(node.value) if node.value is not None else None
        if isinstance(item, Known) and isinstance(item.value, tuple):
            item = tuple(map(Known, item.value))
        if item is None:
            code = "return;"
        elif isinstance(item, Value | Known):
            one = self.number(item)
            self.result = self.result or one.type
            code = f"return {self.cast(one, self.result).code};"
        else:
            parts = [self.number(part) for part in item]
            self.result = self.result or tuple(part.type for part in parts)
            name = self.program.several(self.result)
            codes = (self.cast(p, k).code for p, k in zip(parts, self.result, strict=True))
            code = f"return ({name}){{{', '.join(codes)}}};"
        if self.own_memory:
            if isinstance(item, Value | Known):
                code = f"return {self.temporary(self.cast(one, self.result)).code};"
            self.emit("arena_release(arena, &mark);")
        self.emit(code)

    def visit_If(self, node: ast.If) -> None:
        """Only the branch that is taken, if that is known."""
        test = self.expression(node.test)
        if isinstance(test, Known):
            self.block(node.body if test.value else node.orelse)
            return
        self.emit(f"if ({test.code}) {{")
        self.inner(node.body)
        if node.orelse:
            self.emit("} else {")
            self.inner(node.orelse)
        self.emit("}")

    def visit_While(self, node: ast.While) -> None:
        """Until the test fails."""
        test = self.settled(node.test)
        code = str(int(bool(test.value))) if isinstance(test, Known) else test.code
        self.emit(f"while ({code}) {{")
        self.inner(node.body)
        self.emit("}")

    def visit_For(self, node: ast.For) -> None:
        """Over a range, an array, or the items of a known tuple."""
        assert isinstance(node.target, ast.Name)
        name = node.target.id
        source = node.iter
        if isinstance(source, ast.Call) and self.expression(source.func) == Known(range):
            bounds = [self.expression(argument) for argument in source.args]
            if len(bounds) == 1:
                bounds.insert(0, Known(0))
            if all(isinstance(bound, Known) for bound in bounds):
                turns = range(*(int(bound.value) for bound in bounds))
                if len(turns) <= UNROLLED:
                    self.unrolled(name, turns, node.body)
                    return
            self.counted(name, bounds, node.body)
            return
        items = self.expression(source)
        if isinstance(items, Known):
            self.unrolled(name, items.value, node.body)
            return
        self.depth += 1
        index = f"index{self.depth}"
        self.lines.append("    " * (self.depth - 1) + "{")
        self.emit(f"const {items.type.c} each{self.depth} = {items.code};")
        self.emit(f"for (int64_t {index} = 0; {index} < each{self.depth}.n[0]; {index}++) {{")
        self.depth += 1
        self.once.discard(name)
        self.bind(name, Value(f"each{self.depth - 1}.p[{index}]", items.type.of))
        self.depth -= 1
        self.inner(node.body)
        self.emit("}")
        self.depth -= 1
        self.emit("}")

    def unrolled(self, name: str, items: Any, body: list[ast.stmt]) -> None:
        """The body once for each item."""
        if any(isinstance(x, ast.Break | ast.Continue) for part in body for x in ast.walk(part)):
            raise self.refuse(body[0], "break or continue in a loop that is unrolled")
        for item in items:
            self.names[name] = Known(item)
            self.block(body)

    def counted(self, name: str, bounds: list[Item], body: list[ast.stmt]) -> None:
        """A loop in C; its bounds are looked at once."""
        begin, end = (self.number(bound) for bound in bounds[:2])
        step = bounds[2] if len(bounds) > 2 else Known(1)
        if not isinstance(step, Known):
            raise TypeError("a range whose steps are not known")
        code = name + "_" * (name in TAKEN)
        if not isinstance(bounds[1], Known):
            self.emit("{")
            self.depth += 1
            end = self.temporary(end)
        test = ">" if step.value < 0 else "<"
        move = f"{code} += {self.number(step).code}"
        self.emit(f"for (int64_t {code} = {begin.code}; {code} {test} {end.code}; {move}) {{")
        self.names[name] = Value(code, "i64")
        self.counters.append(name)
        self.inner(body)
        self.counters.pop()
        del self.names[name]  # which is not known to be there after the loop
        self.emit("}")
        if not isinstance(bounds[1], Known):
            self.depth -= 1
            self.emit("}")


def new_program() -> Program:
    """A program that translates the functions it is asked for."""
    return Program(lambda *given: Translation(*given).done())
