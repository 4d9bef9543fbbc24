"""The writer of lines of C, and conversions between types of values."""

from __future__ import annotations

from .program import Program
from .values import C_TYPES, Array, Known, Operand, Type, Value, c_type, literal, scalar_type


class CodeWriter:
    """The body of one function of C, line by line, in a program."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.lines: list[str] = []
        self.depth = 1
        self.temporaries = 0
        self.allocates = False  # whether it, or a function it calls, takes memory from the arena
        self.own_memory = False  # whether it takes memory itself, to give it back at its end

    def emit(self, line: str) -> None:
        """Write a line of C."""
        self.lines.append("    " * self.depth + line)

    def temporary(self, operand: Value) -> Value:
        """Assign a value to a new variable, and return that."""
        self.temporaries += 1
        name = f"t{self.temporaries}"
        self.emit(f"const {c_type(operand.type)} {name} = {operand.code};")
        return Value(name, operand.type)

    def fill_array(self, target: Value, operand: Operand, operator: str) -> None:
        """Assign to every element of an array of one axis."""
        assert isinstance(target.type, Array)
        operand = self.as_value(operand)
        k = f"k{self.depth}"
        self.emit("{")
        self.emit(f"    const {target.type.c} to = {target.code};")
        if isinstance(operand.type, Array):
            self.emit(f"    const {operand.type.c} from = {operand.code};")
            each = Value(f"from.p[{k}]", operand.type.element)
        else:
            self.emit(f"    const {c_type(operand.type)} each = {operand.code};")
            each = Value("each", operand.type)
        self.emit(f"    for (int64_t {k} = 0; {k} < to.n[0]; {k}++)")
        self.emit(f"        to.p[{k}] {operator} {self.cast(each, target.type.element).code};")
        self.emit("}")

    def as_value(self, operand: Operand) -> Value:
        """Return an operand as a value, with a known number as a literal."""
        if isinstance(operand, Value):
            return operand
        kind = scalar_type(operand.value)
        return Value(literal(operand.value, kind), kind)

    def cast(self, operand: Operand, kind: Type, asked_for: bool = False) -> Value:
        """Convert to another type; no number loses its fraction unless the kernel asks for it."""
        given = self.as_value(operand).type
        if given in ("f64", "f32") and kind not in ("f64", "f32") and not asked_for:
            raise TypeError(f"a number of type {given} does not fit into {kind}")
        if isinstance(operand, Known):
            return Value(literal(operand.value, str(kind)), kind)
        assert isinstance(operand, Value)
        if operand.type == kind:
            return operand
        if operand.type == "u64v":
            return Value(f"__builtin_convertvector({operand.code}, u32v)", "u32v")
        if isinstance(operand.type, str) and isinstance(kind, str):
            return Value(f"({C_TYPES[kind]})({operand.code})", kind)
        raise TypeError(f"{operand.code} is of type {operand.type}, not {kind}")

    def choose(self, test: Value, yes: Operand, no: Operand) -> Value:
        """Return ``test ? yes : no``."""
        a, b = self.of_one_type(yes, no)
        return Value(f"({test.code} ? {a.code} : {b.code})", a.type)

    def of_one_type(self, x: Operand, y: Operand) -> tuple[Value, Value]:
        """Convert two operands to one type; known whole numbers and flags take the other's."""
        kinds = [self.as_value(operand).type for operand in (x, y)]
        if kinds[0] == kinds[1]:
            return self.as_value(x), self.as_value(y)
        is_literal = [
            isinstance(operand, Known) and type(operand.value) in (int, float) for operand in (x, y)
        ]
        if "u64v" in kinds and "u64" in kinds:
            a, b = (Value(self.as_value(operand).code, "u64v") for operand in (x, y))
            return a, b
        for kind in ("f64", "i64"):
            if kind in kinds and all(k in ("f64", "i64", "b1") for k in kinds):
                return self.cast(x, kind), self.cast(y, kind)
        for at in (0, 1):
            if is_literal[at] and type((x, y)[at].value) is int:
                return self.cast(x, kinds[1 - at]), self.cast(y, kinds[1 - at])
        raise TypeError(f"values of types {kinds[0]} and {kinds[1]}")
