"""Reading compiled programs: known text, and the program of a train step on one to eight devices."""

import jax
import pytest

from jaxgen.apps.compile import hlo
from jaxgen.apps.compile.compile import lower_train
from jaxgen.apps.untrained import build
from jaxgen.runtime.mesh import make_mesh
from jaxgen.runtime.random import root_key
from tests.tiny import LONG, tiny_config

TEXT = """
HloModule jit_step

%sum (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %add.1 = f32[] add(%a, %b)
}

%fused (p: f32[4,100]) -> f32[100,4] {
  %p = f32[4,100]{1,0:T(8,128)} parameter(0)
  ROOT %transpose.1 = f32[100,4]{1,0:T(8,128)} transpose(%p), dimensions={1,0}
}

ENTRY %main (x: f32[4,100], k: bf16[100,100]) -> f32[4,100] {
  %x = f32[4,100]{1,0:T(8,128)} parameter(0)
  %k = bf16[100,100]{1,0:T(8,128)(2,1)} parameter(1)
  %copy.1 = f32[4,100]{0,1:T(8,128)} copy(%x), metadata={op_name="jit(step)/reshape"}
  %ahead = (f32[4,100]{1,0:T(8,128)S(1)}, f32[4,100]{1,0:T(8,128)}, u32[]) copy-start(%x)
  %turned = (f32[4,100]{0,1:T(8,128)}, f32[4,100]{1,0:T(8,128)}, u32[]) copy-start(%x)
  %dot.1 = f32[4,100]{1,0:T(8,128)} dot(%x, %copy.1), lhs_contracting_dims={1}, metadata={op_name="jit(step)/dot_general"}
  %dot.2 = f32[4,100]{1,0:T(8,128)} dot(%k, %k), lhs_contracting_dims={1}
  %fusion.1 = f32[100,4]{1,0:T(8,128)} fusion(%x), kind=kLoop, calls=%fused
  %all-reduce.1 = (f32[4,100]{1,0:T(8,128)}, f32[10]{0:T(128)}) all-reduce(%dot.1, %dot.2), to_apply=%sum
  ROOT %all-gather.1 = f32[8,100]{1,0:T(8,128)} all-gather(%dot.2), dimensions={0}
}
"""


def test_a_known_program_is_read():
    found = hlo.read(TEXT)
    assert found.collectives == {'all-reduce': (1, 4 * 410), 'all-gather': (1, 4 * 800)}
    assert found.copies == 3200 and found.largest_copies == [('jit(step)/reshape', 1600), ('turned', 1600)]
    assert found.float32_products == ['jit(step)/dot_general']
    arrays = [400, 400, 400, 400, 400, 400, 410, 800]  # three copies, two products, fusion, sum of two, gathered
    padded = [128 * 104, 8 * 128, 128 * 104, 8 * 128, 8 * 128, 104 * 128, 8 * 128 + 128, 8 * 128]
    assert found.arrays == 4 * sum(arrays)
    assert found.padding == 4 * (sum(padded) - sum(arrays))


def test_types_are_measured_in_their_bits():
    (shape,) = hlo.shapes('bf16[4,3,100]{0,2,1:T(8,128)(2,1)S(1)}')
    assert (shape.bytes, shape.padded_bytes) == (2400, 2 * 128 * 104 * 3)
    assert hlo.shapes('pred[7]{0}')[0].bytes == 7 and hlo.shapes('f32[]')[0].bytes == 4
    assert [s.bytes for s in hlo.shapes('(u32[2]{0}, s8[3]{0})')] == [8, 3]


@pytest.mark.parametrize('family', [pytest.param('ddpm', marks=LONG), 'dcgan'])
def test_what_a_step_sends_does_not_grow_with_the_batch(family):
    """Weak scaling: with more devices and the same number of images on each, little but one sum of the gradients is sent."""
    config = tiny_config(family, **{'model.conditional': False})
    sent = {}
    for devices in (1, 2, 4, 8):
        config = config.replace({'data.batch_size': 4 * devices})
        found = hlo.read(lower_train(config, make_mesh(1, jax.devices()[:devices])).compile().as_text())
        sent[devices] = sum(volume for _, volume in found.collectives.values())
        assert set(found.collectives) <= {'all-reduce'}
    built, _ = build(config)
    model = jax.eval_shape(built.init, root_key(config.seed, config.train.prng))
    sizes = {n: 4 * sum(x.size for x in jax.tree.leaves(p)) for n, p in built.networks(model).items()}
    assert sent[1] == 0
    assert sent[2] == sent[4] == sent[8]
    most = sum(sizes.values()) + sizes.get('discriminator', 0)  # DCGAN's discriminator learns from two batches
    assert sum(sizes.values()) <= sent[2] <= 1.1 * most  # and a little for the statistics of batches and the log
