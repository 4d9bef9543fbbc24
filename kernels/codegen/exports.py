"""The kernels that are exported to C, and the files that the extension is built from.

`write` makes ``native.c``, which is compiled once for every level of processors, and the
declarations for callers: ``native.h`` for C and ``native.pxi`` for Cython. Only building the
extension needs this module.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_type_hints

import numpy as np

from ..contract import KERNEL_TUPLES, LEAF, TILE
from ..sources import COMPILED, digest
from . import pure_python
from .functions import FUNCTIONS
from .program import Program
from .translation import Translation, new_program
from .values import C_TYPES, KINDS, Array, Known, Operand, Record, Value, c_type

COMPONENTS = 4  # the largest number of components that kernels are translated for
TILES = (1, TILE // LEAF)  # the sizes of tiles that kernels are translated for, in leaves
ALL_TILES = (0, *TILES)  # and narrow ones, with steps of which runs of small problems are spent

F1, F2, F3, F4, F5 = (Array("f64", axes) for axes in range(1, 6))
I1, I2, I3 = (Array("i64", axes) for axes in range(1, 4))
Z1, W1, W2 = Array("f32", 1), Array("u32", 1), Array("u32", 2)
ALIVE = Array("b1", 2)


def record(named_tuple: Any) -> Record:
    """Return the type of a named tuple of the contract, which its annotations say."""
    fields: list[tuple[str, Any]] = []
    for name, hint in get_type_hints(named_tuple, include_extras=True).items():
        # a flag takes as much room as a whole number
        kind = "i64" if hint is bool else KINDS.get(hint)
        if kind is None:
            array, axes = get_args(hint)
            # the type of numbers itself from NumPy 2.5 on, where NDArray is an alias of its own
            of_array = get_args(array)[-1]
            (number,) = get_args(of_array) or (of_array,)
            fields.append((name, Array(KINDS[number], axes)))
        else:
            fields.append((name, kind))
    return Record(named_tuple.__name__, tuple(fields))


NOISE, MODEL, TIMELINE = map(record, KERNEL_TUPLES)

# tuples whose length is known: a zero or a number for each component, an item for each leaf
ZEROS, NUMBERS, LEAVES, ANY_LEAVES = "zeros", "numbers", "leaves", "any leaves"
# a tuple that is empty, or of any length if samples are summed; one that is always empty
SUMMING, EMPTY = "summing", "empty"
DESCRIPTION = (NOISE, MODEL, TIMELINE)
TURN = ("i64", F4, ALIVE, F5, I3)  # turn, state, alive, partial, diverged_at
RECURRENCE = (F2, I2, F1)  # values, entries, factors
FIELDS = (F1, F1, F1, F1)  # h, c, second moment, count

EXPORTS: dict[str, tuple[Any, ...]] = {
    "numba.start.philox_rows": (W2, W2, W2),
    "numba.start.start_tiles": (LEAVES, NOISE, F1, F1, F2),
    "numba.noise.make_normals": (LEAVES, W1, "i64", Z1),
    "numba.tile.add_leaves": (F2, F1),
    "numba.step.advance_tile": (ZEROS, ANY_LEAVES, SUMMING, *DESCRIPTION, "i64", *TURN),
    "numba.rule.advance_rule_tile": (EMPTY, LEAVES, SUMMING, *DESCRIPTION, "i64", *TURN),
    "numba.leap.leap_tile": (ZEROS, LEAVES, EMPTY, *DESCRIPTION, I1, *TURN),
    "numba.features.advance_state": (
        "i64", "u64", "u64", F1, F1, F1, F1, F3, F2, "i64", "i64", "i64", "i64", F2,
    ),
    "numba.scaled_noise.advance_scaled_state": (
        NOISE, F1, "f64", F1, F2, I1, F3, F2, "i64", "i64", "i64", "i64", F2,
    ),
    "exact.moments.propagate": (
        NUMBERS, NUMBERS, *RECURRENCE, F2, F1, I1, I1, I1, *FIELDS, F3, "i64", "i64", F2,
    ),
    "exact.moments.settings_risk": (
        NUMBERS, NUMBERS, *RECURRENCE, F2, "f64", I1, *FIELDS, F2,
    ),
    "exact.closed_form.constant_risk": ("f64", "f64", *RECURRENCE, F1, "f64", I1, *FIELDS, F2),
    "exact.closed_form.constant_settings_risk": (
        "f64", "f64", *RECURRENCE, F2, "f64", I1, *FIELDS, F2,
    ),
    "exact.first_passage.first_passage": (
        NUMBERS, *RECURRENCE, F2, F1, I1, "i64", "f64", "i64", "i64", *FIELDS, F3, F3,
    ),
    "exact.array_moments.add_moments": (F1, "f64", "i64", "i64", "i64", F1, F1, F3, I1),
}  # fmt: skip
"""The kernels that Cython calls, and the types of their arguments."""

CONSTANTS = (
    "exact.moments.TILE",
    "exact.closed_form.TILE",
    "exact.first_passage.FOUND",
    "exact.first_passage.NOT_YET",
    "exact.first_passage.UNREACHABLE",
)

EXPORT = """\
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


def _fused_multiply_add(this: Translation, x: Operand, y: Operand, z: Operand) -> Value:
    """Translate ``fma(x, y, z)``, which is ``x * y + z`` rounded once."""
    values = [this.as_value(operand) for operand in (x, y, z)]
    kind = "f32" if all(value.type == "f32" for value in values) else "f64"
    return Value(f"fma_{kind}({', '.join(this.cast(v, kind).code for v in values)})", kind)


def _product_error(this: Translation, x: Operand, y: Operand, product: Operand) -> Value:
    """Translate what rounding has taken from a product of two float64 numbers."""
    a, b, p = (this.cast(this.as_value(operand), "f64").code for operand in (x, y, product))
    return Value(f"fma_f64({a}, {b}, -({p}))", "f64")


def _low_product(this: Translation, x: Operand, y: Operand) -> Value:
    """Translate the product of the low halves of numbers."""
    a, b = this.of_one_type(x, y)
    return Value(f"product_{a.type}({a.code}, {b.code})", a.type)


def _one_of(if_empty: Any, otherwise: Any) -> Any:
    """Return the translation of a function that calls one of two kernels."""

    def call(this: Translation, switch: Known, *more: Operand) -> Operand:
        return this.call(otherwise if switch.value else if_empty, list(more))

    return call


def _noise_buffer(this: Translation, summing: Known, size: Operand) -> Operand:
    """Translate the array for noise, which a function of C could not return."""
    return FUNCTIONS[np.empty](this, size, Known(np.float64 if summing.value else np.float32))


def _replace_component(this: Translation, items: Operand, at: Known, operand: Operand) -> Operand:
    """Translate the replacement of one item of a tuple."""
    new = list(map(Known, items.value)) if isinstance(items, Known) else list(items)
    new[at.value] = operand
    return tuple(new)


WORDS = """\
static void draw_words_{leaves}({parameters}, u32_1 words, int64_t begin)
{{
    uint32_t *const p = words.p + begin;
    u64v at = first + LANES;
    for (int64_t j = 0; j < {size}; j += sizeof(u32v) / 4, at += sizeof(u32v) / 4) {{
        const u64v zero = {{0}};
        const {result} drawn = {philox}(at, zero + c1, zero + c2, zero + c3, k0, k1);
{stores}    }}
}}
"""


def _add_draw_words(program: Program, draw_words: Any, philox: Any, sizes: Any) -> None:
    """Write `draw_words` in vectors by hand, because GCC would multiply 64 bits by 64."""
    counters = [Value(name, "u64v") for name in ("at", "c1", "c2", "c3")]
    drawn = program.function(philox, (*counters, Value("k0", "u64"), Value("k1", "u64")))
    program.declare(W1)
    for leaves in ALL_TILES:
        size, row = (of_tile((0,) * leaves) for of_tile in sizes)
        program.text.append(
            WORDS.format(
                leaves=leaves,
                size=size,
                parameters="uint64_t first, "
                + ", ".join(f"uint64_t {x}" for x in ["c1", "c2", "c3", "k0", "k1"]),
                result=program.tuple_struct(drawn.result),
                philox=drawn.name,
                stores="".join(
                    f"        memcpy(p + {k * row} + j, &drawn.e{k}, sizeof drawn.e{k});\n"
                    for k in range(4)
                ),
            )
        )

    def draw(this: Translation, leaves: Known, first: Operand, *rest: Operand) -> Value:
        codes = [this.cast(first, "u64").code, *(this.as_value(operand).code for operand in rest)]
        return Value(f"draw_words_{len(leaves.value)}({', '.join(codes)})", "i64")

    program.special[draw_words] = draw


class ExportedFunction(NamedTuple):
    """An exported function, in all its sizes, as a member of the table `Level` of C."""

    # NAME[components][tiles][summing], without the axes that its size does not depend on
    field: str
    parameters: list[str]  # each as it is declared in C
    initializer: str  # the member's part of the table, in C


def _export(program: Program, function: Any, kinds: tuple[Any, ...]) -> ExportedFunction:
    """Translate a function for all numbers of components, sizes of tiles, and kinds of noise."""
    name = function.__name__
    axes = [
        range(1, COMPONENTS + 1) if {ZEROS, NUMBERS} & set(kinds) else (1,),
        ALL_TILES if ANY_LEAVES in kinds else TILES if LEAVES in kinds else (1,),
        (0, 1) if SUMMING in kinds else (0,),
    ]
    parameters: list[str] = []

    def table(*chosen: int) -> str:
        if len(chosen) == len(axes):
            one = f"{name}_" + "_".join(map(str, chosen))
            parameters[:] = _export_one_size(program, one, function, kinds, *chosen)
            return one
        cells = [table(*chosen, number) for number in axes[len(chosen)]]
        return cells[0] if len(cells) == 1 else "{" + ", ".join(cells) + "}"

    cells = table()
    field = name + "".join(f"[{len(axis)}]" for axis in axes if len(axis) > 1)
    return ExportedFunction(field, parameters, f".{name} = {cells}")


def _export_one_size(
    program: Program,
    name: str,
    function: Any,
    kinds: tuple[Any, ...],
    n: int,
    leaves: int,
    summing: int,
) -> list[str]:
    """Translate a function for one size, and return its C parameters."""
    items: list[Operand] = []
    parameters, passed = ["Arena *arena"], []
    for word, kind in zip(inspect.signature(function).parameters, kinds, strict=True):
        if kind == ZEROS:
            items.append(Known((0.0,) * n))
        elif kind in (LEAVES, ANY_LEAVES):
            items.append(Known((0,) * leaves))
        elif kind in (SUMMING, EMPTY):
            items.append(Known((0,) * summing))
        elif kind == NUMBERS:
            items.append(tuple(Value(word, "f64") for _ in range(n)))
            parameters.append(f"const double *{word}")
            passed += [f"{word}[{i}]" for i in range(n)]
        else:
            items.append(Value(word, program.declare(kind)))
            parameters.append(f"{c_type(kind)} {word}")
            passed.append(word)
    translated = program.function(function, tuple(items))
    call = f"{translated.name}({', '.join(['arena'] * translated.allocates + passed)})"
    out = ""
    if translated.result:
        call = f"const {program.tuple_struct(translated.result)} found = {call}"
        parameters.append("int64_t *result")
        out = "".join(f"    result[{i}] = found.e{i};\n" for i in range(len(translated.result)))
    text = EXPORT.format(name=name, parameters=", ".join(parameters), call=call, out=out)
    program.text.append(text)
    return parameters


def _translate_exports() -> tuple[Program, list[ExportedFunction], dict[str, Any]]:
    """Translate all exports; return the program, the exports, and constants by their C names."""
    sources = pure_python.load(COMPILED)
    noise, rules, compiler = (sources[name] for name in ("noise", "rules", "numba.jit"))
    lanes, pitch = sources["numba.lanes"].lanes, sources["numba.lanes"].pitch
    program = new_program()
    program.inline = compiler.inline | {noise.fma, *noise.SHARED, *rules.SHARED}
    program.special = {
        compiler.fma: _fused_multiply_add,
        compiler.product_error: _product_error,
        compiler.replace_component: _replace_component,
        noise.select: Translation.choose,
        noise.product: _low_product,
        lanes: lambda _, leaves: Known(lanes(leaves.value)),
        pitch: lambda _, leaves: Known(pitch(leaves.value)),
        **{function: _one_of(*pair) for function, pair in compiler.choices.items()},
        sources["numba.noise"].noise_buffer: _noise_buffer,
    }
    soft = program.function(noise.fma, tuple(Value(name, "f32") for name in "xyz"))
    program.text.append(FUSED.format(soft=soft.name))
    program.special[noise.fma] = _fused_multiply_add
    sizes = lanes, pitch
    _add_draw_words(program, sources["numba.noise"].draw_words, noise.philox, sizes)
    exports = []
    for path, kinds in EXPORTS.items():
        module, _, name = path.rpartition(".")
        exports.append(_export(program, getattr(sources[module], name), kinds))
    constants = {}
    for path in CONSTANTS:
        module, _, name = path.rpartition(".")
        constants[f"{module.rpartition('.')[2]}_{name}"] = getattr(sources[module], name)
    return program, exports, constants


def _cython_declarations(
    program: Program, exports: list[ExportedFunction], constants: dict[str, Any]
) -> str:
    """Return the declarations for Cython, and conversions of arrays to structs of C."""
    lines = ['cdef extern from "native.h":', "    ctypedef struct Arena:"]
    lines += ["        void *top", "        void *spare"]
    for name, fields in program.structs.items():
        lines += [f"    ctypedef struct {name}:", *(f"        {field}" for field in fields)]
    lines.append("    ctypedef struct Level:")
    for export in exports:
        parameters = ", ".join(p.replace("const ", "") for p in export.parameters)
        lines.append(f"        int (*{export.field})({parameters}) noexcept nogil")
    for kind in sorted(program.arrays):
        axes = range(kind.axes)
        c = C_TYPES[kind.element]
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
        lines += _record_conversion(named)
    lines += ["", f"COMPONENTS = {COMPONENTS}", f"DIGEST = {digest()!r}"]
    lines += [f"{name} = {value}" for name, value in constants.items()]
    return "\n".join(lines) + "\n"


def _record_conversion(kind: Record) -> list[str]:
    """Return a Cython function that converts a named tuple to its struct."""
    lines = ["", f"cdef {kind.name} as_{kind.name.lower()}(given):", f"    cdef {kind.name} new"]
    for name, field in kind.fields:
        value = f"as_{field.c}(given.{name})" if isinstance(field, Array) else f"given.{name}"
        lines.append(f"    new.{name} = {value}")
    return [*lines, "    return new"]


def _typedefs(structs: dict[str, list[str]]) -> list[str]:
    """Return the definitions of structs, given their members by name."""
    return [
        f"typedef struct {{ {'; '.join(fields)}; }} {name};" for name, fields in structs.items()
    ]


def write(folder: Path) -> None:
    """Write ``native.c``, ``native.h`` and ``native.pxi`` into a folder."""
    program, exports, constants = _translate_exports()
    here = Path(__file__).parent
    fields = "".join(f"    int (*{e.field})({', '.join(e.parameters)});\n" for e in exports)
    structs = _typedefs(program.structs)
    structs.append(f"typedef struct {{\n{fields}}} Level;")
    head = (here / "head.h").read_text().replace("/* structs */", "\n".join(structs))
    support = (here / "support.h").read_text()
    table = "".join(f"    {export.initializer},\n" for export in exports)
    code = [
        support,
        *_typedefs(program.tuples),
        *program.text,
        f"const Level NQM_LEVEL = {{\n{table}}};\n",
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "native.h").write_text(head)
    (folder / "native.c").write_text("\n".join(code))
    (folder / "native.pxi").write_text(_cython_declarations(program, exports, constants))
