"""The peak rates of a chip of each TPU generation, from its data sheet."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Chip:
    """The peak rates of one chip, from cloud.google.com/tpu/docs/v5e, /v5p and /v6e.

    Attributes:
      flops: products of bfloat16, in FLOP/s.
      memory: high-bandwidth memory, in bytes.
      bandwidth: traffic of that memory, in bytes/s.
      interconnect: traffic to other chips in one direction, in bytes/s; the data sheets give it in bits/s.
    """

    flops: float
    memory: float
    bandwidth: float
    interconnect: float


CHIPS = {
    'v5e': Chip(197e12, 16e9, 819e9, 1600e9 / 8),
    'v5p': Chip(459e12, 95e9, 2765e9, 4800e9 / 8),
    'v6e': Chip(918e12, 32e9, 1600e9, 3200e9 / 8),
}
