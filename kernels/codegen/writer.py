"""Lines of C as they are written, and values made fit for them."""

from __future__ import annotations

from .program import Program
from .values import C_TYPES, Array, Item, Known, Type, Value, c_type, literal, scalar_type


class CodeWriter:
    """The body of one function of C, line by line, in a program."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.lines: list[str] = []
        self.depth = 1
        self.temporaries = 0
        self.allocates = False  # it, or a function that it calls, takes memory from the arena
        self.own_memory = False  # it does so itself, and gives the memory back when it ends

    def emit(self, line: str) -> None:
        """A line of C."""
        self.lines.append("    " * self.depth + line)

    def temporary(self, item: Value) -> Value:
        """A variable of its own for a value."""
        self.temporaries += 1
        name = f"t{self.temporaries}"
        self.emit(f"const {c_type(item.type)} {name} = {item.code};")
        return Value(name, item.type)

    def fill(self, place: Value, item: Item, operator: str) -> None:
        """Assign to every element of an array of one axis."""
        assert isinstance(place.type, Array)
        item = self.number(item)
        k = f"k{self.depth}"
        self.emit("{")
        self.emit(f"    const {place.type.c} to = {place.code};")
        if isinstance(item.type, Array):
            self.emit(f"    const {item.type.c} from = {item.code};")
            each = Value(f"from.p[{k}]", item.type.of)
        else:
            self.emit(f"    const {c_type(item.type)} each = {item.code};")
            each = Value("each", item.type)
        self.emit(f"    for (int64_t {k} = 0; {k} < to.n[0]; {k}++)")
        self.emit(f"        to.p[{k}] {operator} {self.cast(each, place.type.of).code};")
        self.emit("}")

    def number(self, item: Item) -> Value:
        """What is known, written out."""
        if isinstance(item, Value):
            return item
        kind = scalar_type(item.value)
        return Value(literal(item.value, kind), kind)

    def cast(self, item: Item, kind: Type, asked_for: bool = False) -> Value:
        """Of another type; no number loses its fraction unless the kernel says so."""
        given = self.number(item).type
        if given in ("f64", "f32") and kind not in ("f64", "f32") and not asked_for:
            raise TypeError(f"a number of type {given} does not fit into {kind}")
        if isinstance(item, Known):
            return Value(literal(item.value, str(kind)), kind)
        assert isinstance(item, Value)
        if item.type == kind:
            return item
        if item.type == "u64v":
            return Value(f"__builtin_convertvector({item.code}, u32v)", "u32v")
        if isinstance(item.type, str) and isinstance(kind, str):
            return Value(f"({C_TYPES[kind]})({item.code})", kind)
        raise TypeError(f"{item.code} is of type {item.type}, not {kind}")

    def chosen(self, test: Value, yes: Item, no: Item) -> Value:
        """``test ? yes : no``."""
        a, b = self.alike(yes, no)
        return Value(f"({test.code} ? {a.code} : {b.code})", a.type)

    def alike(self, x: Item, y: Item) -> tuple[Value, Value]:
        """Both of one type: known whole numbers, and flags, become what the other is."""
        kinds = [self.number(item).type for item in (x, y)]
        if kinds[0] == kinds[1]:
            return self.number(x), self.number(y)
        plain = [isinstance(item, Known) and type(item.value) in (int, float) for item in (x, y)]
        if "u64v" in kinds and "u64" in kinds:
            a, b = (Value(self.number(item).code, "u64v") for item in (x, y))
            return a, b
        for kind in ("f64", "i64"):
            if kind in kinds and all(k in ("f64", "i64", "b1") for k in kinds):
                return self.cast(x, kind), self.cast(y, kind)
        for at in (0, 1):
            if plain[at] and type((x, y)[at].value) is int:
                return self.cast(x, kinds[1 - at]), self.cast(y, kinds[1 - at])
        raise TypeError(f"values of types {kinds[0]} and {kinds[1]}")
