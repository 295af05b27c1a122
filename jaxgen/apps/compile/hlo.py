"""Find the costs of a program in the text of XLA's optimised HLO: collectives, copies, padding and float32 products."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Iterator

BITS = {'pred': 8, 'bf16': 16, 's4': 4, 'u4': 4}  # bits of the types whose names do not end in that number
COLLECTIVES = ('all-reduce', 'all-gather', 'reduce-scatter', 'all-to-all', 'collective-permute')
COPIES = ('copy', 'transpose')

COMPUTATION = re.compile(r'^(ENTRY )?%([\w.\-]+) \(')
INSTRUCTION = re.compile(r'^\s+(?:ROOT )?%([\w.\-]+) = (\(.*?\)|\S+) ([a-z][a-z\-0-9]*)\((.*)$')
SHAPE = re.compile(r'([a-z]+\d*\w*)\[([\d,]*)\](?:\{([^}]*)\})?')
TILES = re.compile(r'T\((\d+)(?:,(\d+))?\)')


@dataclasses.dataclass(frozen=True)
class Shape:
    """The shape of an array.

    Attributes:
      dtype: the type of the elements, as XLA writes it.
      sizes: the sizes of the dimensions.
      order: the order of the dimensions in memory, the minor one first.
      tile: the sizes of the tiles in memory.
    """

    dtype: str
    sizes: tuple[int, ...]
    order: tuple[int, ...] = ()
    tile: tuple[int, ...] = ()

    @property
    def bytes(self) -> int:
        """The size in bytes, without padding."""
        return math.prod(self.sizes) * self._bits() // 8

    @property
    def padded_bytes(self) -> int:
        """The size in bytes, with the minor dimensions padded to whole tiles."""
        sizes = [self.sizes[i] for i in self.order] if self.order else list(self.sizes[::-1])
        for i, tile in enumerate(self.tile[::-1][: len(sizes)]):
            sizes[i] = math.ceil(sizes[i] / tile) * tile
        return math.prod(sizes) * self._bits() // 8

    def _bits(self) -> int:
        if self.dtype in BITS:
            return BITS[self.dtype]
        digits = re.search(r'\d+', self.dtype)
        if digits is None:
            raise ValueError(f'the size of the type {self.dtype} is not known')
        return int(digits[0])


@dataclasses.dataclass(frozen=True)
class Instruction:
    """An instruction, which is one line of a program.

    Attributes:
      name: the name of the instruction.
      kind: the operation.
      shapes: the shapes of the results.
      operands: the names of the inputs.
      where: the function of the source from which it comes; empty if not known.
    """

    name: str
    kind: str
    shapes: tuple[Shape, ...]
    operands: tuple[str, ...]
    where: str


def shapes(text: str) -> tuple[Shape, ...]:
    """Return the shapes in the type of an instruction, which may be a tuple."""
    found = []
    for dtype, sizes, layout in SHAPE.findall(text):
        order, _, rest = layout.partition(':')
        tile = TILES.search(rest)
        found.append(
            Shape(
                dtype,
                tuple(int(n) for n in sizes.split(',') if n),
                tuple(int(n) for n in order.split(',') if n),
                tuple(int(n) for n in tile.groups() if n) if tile else (),
            )
        )
    return tuple(found)


def instructions(text: str) -> Iterator[tuple[bool, Instruction]]:
    """Yield every instruction, and whether its result is an array in memory.

    The instructions of a computation that is fused, or that a reduction applies, make no arrays in memory: the instruction
    that calls the computation does.
    """
    inner = set(re.findall(r'(?:calls|to_apply)=%([\w.\-]+)', text))
    inside = ''
    for line in text.splitlines():
        if begins := COMPUTATION.match(line):
            inside = begins[2]
        elif match := INSTRUCTION.match(line):
            name, kind_of, kind, rest = match.groups()
            where = re.search(r'op_name="([^"]*)"', rest)
            operands = tuple(re.findall(r'%([\w.\-]+)', rest.split('), ')[0]))
            yield inside not in inner, Instruction(name, kind, shapes(kind_of), operands, where[1] if where else '')


@dataclasses.dataclass(frozen=True)
class Program:
    """The sums over the instructions of a program, in bytes on each device.

    Attributes:
      collectives: number and bytes of the collectives of each kind.
      copies: bytes that copies and transposes write; a copy that only prefetches an unchanged array into the chip's own
        memory does not count.
      largest_copies: the functions of the source with the most bytes of copies, and these bytes.
      padding: bytes of the unused parts of tiles, of all arrays in memory.
      arrays: bytes of all arrays in memory, without padding.
      float32_products: the functions of the source with convolutions and matrix products of float32.
    """

    collectives: dict[str, tuple[int, int]]
    copies: int
    largest_copies: list[tuple[str, int]]
    padding: int
    arrays: int
    float32_products: list[str]


def read(text: str) -> Program:
    """Return the sums over the instructions of a program, from the text of its optimised HLO."""
    counts: Counter[str] = Counter()
    volumes: Counter[str] = Counter()
    copies: Counter[str] = Counter()
    padding = arrays = 0
    products = []
    dtypes: dict[str, str] = {}
    for in_memory, op in instructions(text):
        dtypes[op.name] = op.shapes[0].dtype if op.shapes else ''
        kind = op.kind.removesuffix('-start')
        if kind in COLLECTIVES:
            made = op.shapes[len(op.shapes) // 2 :] if op.kind == 'all-gather-start' else op.shapes
            counts[kind] += 1
            volumes[kind] += sum(s.bytes for s in made)
        if op.kind in ('convolution', 'dot') and {dtypes.get(n) for n in op.operands[:2]} == {'f32'}:
            products.append(op.where or op.name)
        if not in_memory or op.kind in ('parameter', 'tuple', 'get-tuple-element', 'bitcast', 'constant', 'while'):
            continue
        starts_copy = op.kind == 'copy-start'  # its shapes are the result, the operand and a context
        made = op.shapes[:1] if starts_copy else op.shapes
        size = sum(s.bytes for s in made)
        arrays += size
        padding += sum(s.padded_bytes for s in made) - size
        if op.kind in COPIES or (starts_copy and op.shapes[0].order != op.shapes[1].order):
            copies[op.where or op.name] += op.shapes[0].bytes if op.shapes else 0
    return Program(
        {kind: (counts[kind], volumes[kind]) for kind in counts},
        copies.total(),
        copies.most_common(5),
        padding,
        arrays,
        products,
    )
