"""Vector code made while the program runs: what LLVM needs to hear, in few words.

A loop over vectors of floats is written once, with LLVM's own vector types, and becomes the
best instructions of the machine at hand: no compiler is needed and nothing is built beforehand.
"""

import ctypes
import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir

I16, I32, I64, F32 = ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
POINTER = ir.PointerType()
# 2^f for f in -0.5..0.5: the Taylor series to this order is exact to float32's last place.
EXP2_ORDER = 6
# Pairs of bfloat16 per vector, where the processor multiplies pairs.
PAIR_LANES = 16

Body = Callable[[Any, list[Any]], Sequence[Any] | None]

llvm.initialize_native_target()
llvm.initialize_native_asmprinter()


def host_processor() -> str:
    """LLVM's name for this machine's kind of processor."""
    name: str = llvm.get_host_cpu_name()
    return name


@cache
def host_lanes() -> int:
    """Floats in the machine's widest vector register."""
    features = llvm.get_host_cpu_features()
    if features.get("avx512f"):
        return 16
    return 8 if features.get("avx2") else 4


@cache
def host_has_pairs() -> bool:
    """Whether the machine multiplies pairs of bfloat16 and adds both products at once."""
    return bool(llvm.get_host_cpu_features().get("avx512bf16"))


def compiled(module: ir.Module, name: str, signature: Any) -> Any:
    """Compile a module for this machine; returns its function ``name`` as a ctypes function.

    Calls let go of Python's lock, so threads run side by side.
    """
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3
    )
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_unrolling = options.loop_vectorization = False  # done by hand
    passes = llvm.create_pass_builder(machine, options)
    passes.getModulePassManager().run(parsed, passes)
    engine = llvm.create_mcjit_compiler(parsed, machine)
    engine.finalize_object()
    function = signature(engine.get_function_address(name))
    function.engine = engine  # keeps the code alive as long as the function
    return function


class _BFloat16(ir.Type):  # type: ignore[misc]
    """LLVM's name for the type, which llvmlite lacks."""

    def _to_string(self) -> str:
        return "bfloat"


_PAIRS = ir.VectorType(_BFloat16(), 2 * PAIR_LANES)


class VectorCode:
    """Writes one function, in vectors of ``lanes`` floats.

    Args:
        name: the function's name.
        arguments: its LLVM types.
        lanes: floats per vector.
        half: whether rows outside the scratch memory are bfloat16 instead of float32.
    """

    def __init__(self, name: str, arguments: Sequence[Any], lanes: int, half: bool):
        self.lanes, self.half = lanes, half
        self.vector, self.integers = ir.VectorType(F32, lanes), ir.VectorType(I32, lanes)
        self.module = ir.Module()
        self.function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), arguments), name)
        for argument in self.function.args:
            if argument.type == POINTER:
                argument.add_attribute("noalias")
        self.build = ir.IRBuilder(self.function.append_basic_block())
        three = ir.FunctionType(self.vector, [self.vector] * 3)
        one = ir.FunctionType(self.vector, [self.vector])
        self._fma = ir.Function(self.module, three, f"llvm.fma.v{lanes}f32")
        self._rint = ir.Function(self.module, one, f"llvm.rint.v{lanes}f32")

    def index(self, number: int) -> Any:
        """A constant index."""
        return ir.Constant(I64, number)

    def floats(self, number: float) -> Any:
        """A vector of one number."""
        return ir.Constant(self.vector, [ir.Constant(F32, number)] * self.lanes)

    def _words(self, number: int) -> Any:
        return ir.Constant(self.integers, [number] * self.lanes)

    def splat(self, value: Any) -> Any:
        """A vector of one loaded number."""
        empty = ir.Constant(self.vector, ir.Undefined)
        first = self.build.insert_element(empty, value, ir.Constant(I32, 0))
        return self.build.shuffle_vector(first, empty, self._words(0))

    def scalar(self, base: Any, index: Any, type_: Any) -> Any:
        """Load one value."""
        return self.build.load(self.at(base, index, type_), typ=type_)

    def at(self, base: Any, index: Any, type_: Any = F32) -> Any:
        """The address of an element."""
        return self.build.gep(base, [index], inbounds=True, source_etype=type_)

    def load(self, base: Any, index: Any) -> Any:
        """A vector from scratch memory."""
        return self.build.load(self.at(base, index), align=4, typ=self.vector)

    def store(self, vector: Any, base: Any, index: Any) -> None:
        """A vector to scratch memory."""
        self.build.store(vector, self.at(base, index), align=4)

    def load_row(self, base: Any, index: Any) -> Any:
        """A vector of a row outside, which may be bfloat16: the upper half of a float32."""
        if not self.half:
            return self.load(base, index)
        build = self.build
        short = ir.VectorType(I16, self.lanes)
        raw = build.load(self.at(base, index, I16), align=2, typ=short)
        return build.bitcast(
            build.shl(build.zext(raw, self.integers), self._words(16)), self.vector
        )

    def store_row(self, vector: Any, base: Any, index: Any) -> None:
        """A vector to a row outside, rounded to the nearest, ties to even."""
        if not self.half:
            self.store(vector, base, index)
            return
        build = self.build
        bits = build.bitcast(vector, self.integers)
        odd = build.and_(build.lshr(bits, self._words(16)), self._words(1))
        rounded = build.add(build.add(bits, self._words(0x7FFF)), odd)
        # The carry of rounding would turn what is no number, its last bits set, into a zero.
        wrong = build.fcmp_unordered("uno", vector, vector)
        rounded = build.select(wrong, self._words(0x7FC00000), rounded)
        short = build.trunc(build.lshr(rounded, self._words(16)), ir.VectorType(I16, self.lanes))
        build.store(short, self.at(base, index, I16), align=2)

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        """The product of two, and a third added."""
        return self.build.call(self._fma, [a, b, c])

    def load_words(self, base: Any, index: Any) -> Any:
        """A vector of pairs from a row of bfloat16, whose columns ``index`` counts."""
        return self.build.load(self.at(base, index, I16), align=2, typ=self.vector)

    def paired(self, first: Any, second: Any) -> Any:
        """Each lane's two numbers as a pair of bfloat16, rounded to the nearest.

        What is no number must come from bfloat16: with all of its last bits set it would be lost.
        """
        build = self.build
        low, high = (
            build.add(build.bitcast(vector, self.integers), self._words(0x8000))
            for vector in (first, second)
        )
        high = build.and_(high, self._words(0xFFFF0000))
        return build.bitcast(build.or_(build.lshr(low, self._words(16)), high), self.vector)

    def multiply_add_pairs(self, a: Any, b: Any, c: Any) -> Any:
        """Per lane the sum of the products of two pairs, and a third number added."""
        kind = ir.FunctionType(self.vector, [self.vector, _PAIRS, _PAIRS])
        name = "llvm.x86.avx512bf16.dpbf16ps.512"
        if name not in self.module.globals:
            ir.Function(self.module, kind, name)
        a, b = (self.build.bitcast(vector, _PAIRS) for vector in (a, b))
        return self.build.call(self.module.globals[name], [c, a, b])

    def larger(self, a: Any, b: Any) -> Any:
        """The larger of each pair."""
        return self.build.select(self.build.fcmp_ordered(">", a, b), a, b)

    def at_most(self, index: Any, last: Any) -> Any:
        """An index, or the last one if that is smaller."""
        return self.build.select(self.build.icmp_signed("<", index, last), index, last)

    def exp2(self, vector: Any) -> Any:
        """2 to each power; powers under -126 count as -126, what is no number stays so."""
        build = self.build
        low = build.fcmp_ordered("<", vector, self.floats(-126.0))
        power = build.select(low, self.floats(-126.0), vector)
        whole = build.call(self._rint, [power])
        part = build.fsub(power, whole)
        terms = [math.log(2) ** k / math.factorial(k) for k in range(EXP2_ORDER + 1)]
        result = self.floats(terms[-1])
        for term in reversed(terms[:-1]):
            result = self.multiply_add(result, part, self.floats(term))
        exponent = build.shl(build.fptosi(whole, self.integers), self._words(23))
        result = build.bitcast(
            build.add(build.bitcast(result, self.integers), exponent), self.vector
        )
        return build.select(build.fcmp_unordered("uno", vector, vector), vector, result)

    def transpose(self, rows: Sequence[Any]) -> list[Any]:
        """Turn ``lanes`` vectors into the vectors of their first, second ... elements."""
        step, turned = 1, list(rows)
        while step < self.lanes:
            lower = [e if not e & step else self.lanes + e - step for e in range(self.lanes)]
            upper = [e + step if not e & step else self.lanes + e for e in range(self.lanes)]
            for i in (i for i in range(self.lanes) if not i & step):
                pair = turned[i], turned[i + step]
                turned[i], turned[i + step] = (
                    self.build.shuffle_vector(*pair, ir.Constant(self.integers, mask))
                    for mask in (lower, upper)
                )
            step *= 2
        return turned

    def loop(self, stop: Any, step: int, carried: Sequence[Any], body: Body) -> list[Any]:
        """Count from 0 to ``stop``; ``body`` takes count and carried values, returns new ones."""
        build, function = self.build, self.function
        before = build.block
        head, inner, after = (function.append_basic_block() for _ in range(3))
        build.branch(head)
        build.position_at_end(head)
        count = build.phi(I64)
        count.add_incoming(self.index(0), before)
        values = [build.phi(value.type) for value in carried]
        for phi, value in zip(values, carried, strict=True):
            phi.add_incoming(value, before)
        build.cbranch(build.icmp_signed("<", count, stop), inner, after)
        build.position_at_end(inner)
        changed = body(count, list(values)) or ()
        count.add_incoming(build.add(count, self.index(step)), build.block)
        for phi, value in zip(values, changed, strict=True):
            phi.add_incoming(value, build.block)
        build.branch(head)
        build.position_at_end(after)
        return values

    def until(self, limit: Any, steps: Sequence[Callable[[], None]]) -> None:
        """Do the first ``limit`` of the steps."""
        build = self.build
        after = self.function.append_basic_block()
        for number, step in enumerate(steps):
            inner = self.function.append_basic_block()
            build.cbranch(build.icmp_signed("<", self.index(number), limit), inner, after)
            build.position_at_end(inner)
            step()
        build.branch(after)
        build.position_at_end(after)


def c_function(*arguments: Any) -> Any:
    """The ctypes signature of a function that returns nothing."""
    return ctypes.CFUNCTYPE(None, *arguments)
