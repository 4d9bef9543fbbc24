"""What of the kernels is compiled ahead of time, and the C around it.

`write` makes ``native.c``, which is compiled once for every level of processors, and what is needed
to call it: ``native.h`` for C, ``native.pxi`` for Cython. Only building the extension needs this.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_type_hints

from ..contract import LEAF, RECORDS, TILE
from ..sources import COMPILED, digest
from . import pure_python
from .program import Program
from .translation import Translation, new_program
from .values import C_TYPES, OF_NUMPY, Array, Item, Known, Record, Value, c_type

COMPONENTS = 4  # numbers in a coordinate's state, at most
TILES = (1, TILE // LEAF)  # leaves in a tile

F1, F2, F3, F4, F5 = (Array("f64", axes) for axes in range(1, 6))
I1, I2, I3 = (Array("i64", axes) for axes in range(1, 4))
Z1, W1, W2 = Array("f32", 1), Array("u32", 1), Array("u32", 2)
ALIVE = Array("b1", 2)


def record(named_tuple: Any) -> Record:
    """The struct of C for a named tuple of the contract, from its annotations."""
    fields: list[tuple[str, Any]] = []
    for name, hint in get_type_hints(named_tuple, include_extras=True).items():
        kind = (
            "i64" if hint is bool else OF_NUMPY.get(hint)
        )  # a flag takes as much room as a number
        if kind is None:
            array, axes = get_args(hint)
            (number,) = get_args(get_args(array)[1])
            fields.append((name, Array(OF_NUMPY[number], axes)))
        else:
            fields.append((name, kind))
    return Record(named_tuple.__name__, tuple(fields))


NOISE, MODEL, TIMELINE = map(record, RECORDS)

ZEROS, NUMBERS, UNIT = "zeros", "numbers", "unit"  # tuples as long as a state
DESCRIBED = (ZEROS, UNIT, NOISE, MODEL, TIMELINE)
ITEM = ("i64", F4, ALIVE, F5, I3)  # which, state, alive, partial, exceeded
RECURRENCE = (F2, I2, F1)  # values, place, scale
FIELDS = (F1, F1, F1, F1)  # h, c, second moment, count

ENTRIES: dict[str, tuple[Any, ...]] = {
    "numba.start.philox_rows": (W2, W2, W2),
    "numba.start.start_tiles": (UNIT, NOISE, F1, F1, F2),
    "numba.noise.make_normals": (UNIT, W1, "i64", Z1),
    "numba.tile.add_leaves": (F2, F1),
    "numba.step.advance_item": (*DESCRIBED, "i64", *ITEM),
    "numba.leap.leap_item": (*DESCRIBED, I1, *ITEM),
    "exact.moments.propagate": (
        NUMBERS, NUMBERS, *RECURRENCE, F2, F1, I1, I1, I1, *FIELDS, F2, "i64", "i64", F2,
    ),
    "exact.closed_form.constant_risk": ("f64", "f64", *RECURRENCE, F1, "f64", I1, *FIELDS, F2),
    "exact.first_passage.first_passage": (
        NUMBERS, *RECURRENCE, F2, F1, I1, "i64", "f64", "i64", "i64", *FIELDS, F2, F2,
    ),
}  # fmt: skip
"""Functions that are called from outside, and the types of their arguments."""

CONSTANTS = (
    "exact.moments.TILE",
    "exact.closed_form.TILE",
    "exact.first_passage.FOUND",
    "exact.first_passage.NOT_YET",
    "exact.first_passage.UNREACHABLE",
)

ENTRY = """\
static int {name}({parameters})
{{
    if (setjmp(arena->out_of_memory)) {{
        arena_release(arena, &(Mark){{NULL, 0}});
        return -1;
    }}
    {call};
{out}    return 0;
}}
"""

FUSED = """\
#if defined(__FMA__) || defined(__aarch64__) || defined(__FP_FAST_FMAF)
#define fma_f32 __builtin_fmaf
#define fma_f64 __builtin_fma
#else
#define fma_f32 {soft}
#define fma_f64 fma
#endif
"""


def _fused(this: Translation, x: Item, y: Item, z: Item) -> Value:
    """``x * y + z`` rounded once."""
    values = [this.number(item) for item in (x, y, z)]
    kind = "f32" if all(value.type == "f32" for value in values) else "f64"
    return Value(f"fma_{kind}({', '.join(this.cast(v, kind).code for v in values)})", kind)


def _product(this: Translation, x: Item, y: Item) -> Value:
    """Of the low halves of numbers."""
    a, b = this.alike(x, y)
    return Value(f"product_{a.type}({a.code}, {b.code})", a.type)


def _replaced(this: Translation, items: Item, at: Known, item: Item) -> Item:
    """The tuple with one item replaced."""
    new = list(map(Known, items.value)) if isinstance(items, Known) else list(items)
    new[at.value] = item
    return tuple(new)


WORDS = """\
static void draw_words_{leaves}({parameters}, u32_1 words)
{{
    u64v at = first + LANES;
    for (int64_t j = 0; j < {size}; j += sizeof(u32v) / 4, at += sizeof(u32v) / 4) {{
        const u64v none = {{0}};
        const {several} drawn = {philox}(at, none + c1, none + c2, none + c3, k0, k1);
{stores}    }}
}}
"""


def _add_words(program: Program, draw_words: Any, philox: Any) -> None:
    """Words for a tile, in vectors: left to itself, GCC multiplies 64 bits by 64."""
    counters = [Value(name, "u64v") for name in ("at", "c1", "c2", "c3")]
    drawn = program.function(philox, (*counters, Value("k0", "u64"), Value("k1", "u64")))
    program.needed(W1)
    for leaves in TILES:
        size = LEAF * leaves
        program.text.append(
            WORDS.format(
                leaves=leaves,
                size=size,
                parameters="uint64_t first, "
                + ", ".join(f"uint64_t {x}" for x in ["c1", "c2", "c3", "k0", "k1"]),
                several=program.several(drawn.result),
                philox=drawn.name,
                stores="".join(
                    f"        memcpy(words.p + {k * size} + j, &drawn.e{k}, sizeof drawn.e{k});\n"
                    for k in range(4)
                ),
            )
        )

    def draw(this: Translation, unit: Known, first: Item, *rest: Item) -> Value:
        codes = [this.cast(first, "u64").code, *(this.number(item).code for item in rest)]
        return Value(f"draw_words_{len(unit.value)}({', '.join(codes)})", "i64")

    program.special[draw_words] = draw


class Entry(NamedTuple):
    """Functions that are called from outside, for tiles and states of several sizes."""

    field: str  # of the table: NAME[components][tiles], with the axes that there are
    parameters: list[str]
    filled: str


def _entry(program: Program, function: Any, kinds: tuple[Any, ...]) -> Entry:
    """Translate a function for all sizes."""
    name = function.__name__
    field, rows = name, []
    for n in range(1, COMPONENTS + 1) if {ZEROS, NUMBERS} & set(kinds) else (1,):
        row = []
        for leaves in TILES if UNIT in kinds else (1,):
            row.append(f"{name}_{n}_{leaves}")
            parameters = _function(program, row[-1], function, kinds, n, leaves)
        rows.append("{" + ", ".join(row) + "}" if UNIT in kinds else row[0])
    if len(rows) > 1:
        field += f"[{COMPONENTS}]"
        rows = ["{" + ", ".join(rows) + "}"]
    if UNIT in kinds:
        field += f"[{len(TILES)}]"
    return Entry(field, parameters, f".{name} = {rows[0]}")


def _function(
    program: Program, name: str, function: Any, kinds: tuple[Any, ...], n: int, leaves: int
) -> list[str]:
    """Translate a function for one size; returns its C parameters."""
    items: list[Item] = []
    parameters, passed = ["Arena *arena"], []
    for word, kind in zip(inspect.signature(function).parameters, kinds, strict=True):
        if kind == ZEROS:
            items.append(Known((0.0,) * n))
        elif kind == UNIT:
            items.append(Known((0,) * leaves))
        elif kind == NUMBERS:
            items.append(tuple(Value(word, "f64") for _ in range(n)))
            parameters.append(f"const double *{word}")
            passed += [f"{word}[{i}]" for i in range(n)]
        else:
            items.append(Value(word, program.needed(kind)))
            parameters.append(f"{c_type(kind)} {word}")
            passed.append(word)
    done = program.function(function, tuple(items))
    call = f"{done.name}({', '.join(['arena'] * done.allocates + passed)})"
    out = ""
    if done.result:
        call = f"const {program.several(done.result)} found = {call}"
        parameters.append("int64_t *result")
        out = "".join(f"    result[{i}] = found.e{i};\n" for i in range(len(done.result)))
    text = ENTRY.format(name=name, parameters=", ".join(parameters), call=call, out=out)
    program.text.append(text)
    return parameters


def _translated() -> tuple[Program, list[Entry], dict[str, Any]]:
    """All entries, for states of up to `COMPONENTS` numbers."""
    sources = pure_python.load(COMPILED)
    noise, compiler = sources["noise"], sources["numba.jit"]
    program = new_program()
    program.inline = compiler.inline | {noise.fma, *noise.SHARED}
    program.special = {
        compiler.fma: _fused,
        compiler.replaced: _replaced,
        noise.select: Translation.chosen,
        noise.product: _product,
    }
    soft = program.function(noise.fma, tuple(Value(name, "f32") for name in "xyz"))
    program.text.append(FUSED.format(soft=soft.name))
    program.special[noise.fma] = _fused
    _add_words(program, sources["numba.noise"].draw_words, noise.philox)
    entries = []
    for path, kinds in ENTRIES.items():
        module, _, name = path.rpartition(".")
        entries.append(_entry(program, getattr(sources[module], name), kinds))
    constants = {}
    for path in CONSTANTS:
        module, _, name = path.rpartition(".")
        constants[f"{module.rpartition('.')[2]}_{name}"] = getattr(sources[module], name)
    return program, entries, constants


def _for_cython(program: Program, entries: list[Entry], constants: dict[str, Any]) -> str:
    """Declarations, and arrays as the structs of C."""
    lines = ['cdef extern from "native.h":', "    ctypedef struct Arena:"]
    lines += ["        void *top", "        void *spare"]
    for name, fields in program.structs.items():
        lines += [f"    ctypedef struct {name}:", *(f"        {field}" for field in fields)]
    lines.append("    ctypedef struct Level:")
    for entry in entries:
        parameters = ", ".join(p.replace("const ", "") for p in entry.parameters)
        lines.append(f"        int (*{entry.field})({parameters}) noexcept nogil")
    for kind in sorted(program.arrays):
        axes = range(kind.axes)
        c = C_TYPES[kind.of]
        lines += [
            "",
            f"cdef inline {kind.c} as_{kind.c}(const {c}[{':, ' * (kind.axes - 1)}::1] a):",
            f"    cdef {kind.c} new",
            f"    new.p = <{c} *>&a[{', '.join('0' for _ in axes)}]",
            *(f"    new.n[{k}] = a.shape[{k}]" for k in axes),
            *(f"    new.s[{k}] = a.strides[{k}] // sizeof({c})" for k in axes[:-1]),
            "    return new",
        ]
    for named in (NOISE, MODEL, TIMELINE):
        lines += _filled_record(named)
    lines += ["", f"COMPONENTS = {COMPONENTS}", f"DIGEST = {digest()!r}"]
    lines += [f"{name} = {value}" for name, value in constants.items()]
    return "\n".join(lines) + "\n"


def _filled_record(kind: Record) -> list[str]:
    """A function that makes the struct of a named tuple."""
    lines = ["", f"cdef {kind.name} as_{kind.name.lower()}(given):", f"    cdef {kind.name} new"]
    for name, field in kind.fields:
        value = f"as_{field.c}(given.{name})" if isinstance(field, Array) else f"given.{name}"
        lines.append(f"    new.{name} = {value}")
    return [*lines, "    return new"]


def _defined(structs: dict[str, list[str]]) -> list[str]:
    return [
        f"typedef struct {{ {'; '.join(fields)}; }} {name};" for name, fields in structs.items()
    ]


def write(folder: Path) -> None:
    """Write ``native.c``, ``native.h`` and ``native.pxi`` into a folder."""
    program, entries, constants = _translated()
    here = Path(__file__).parent
    fields = "".join(f"    int (*{e.field})({', '.join(e.parameters)});\n" for e in entries)
    structs = _defined(program.structs)
    structs.append(f"typedef struct {{\n{fields}}} Level;")
    head = (here / "head.h").read_text().replace("/* structs */", "\n".join(structs))
    support = (here / "support.h").read_text()
    table = "".join(f"    {entry.filled},\n" for entry in entries)
    code = [
        support,
        *_defined(program.tuples),
        *program.text,
        f"const Level NQM_LEVEL = {{\n{table}}};\n",
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "native.h").write_text(head)
    (folder / "native.c").write_text("\n".join(code))
    (folder / "native.pxi").write_text(_for_cython(program, entries, constants))
