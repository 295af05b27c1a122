"""A plain convolutional denoiser: the UNet's residual blocks at one resolution, without skips and without attention."""

from __future__ import annotations

import functools

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float, Int, Num

from jaxgen.models.layers import GroupNorm, MakeLayer, at_least_float32, conditioning, uniform_fan_avg
from jaxgen.models.unet import ResBlock, fold, unfold
from jaxgen.types import Array, Dtype, Fields


class CNN(nn.Module):
    """A noise-conditional network: ``[N, H, W, C], t [N], labels [N] -> [N, H, W, C]`` (float32 out).

    All convolutions are 3x3 with stride 1, so the network accepts images of any side that ``patch_size`` divides. An output
    depends on a window of 4 * num_blocks + 5 pixels (of the folded image), and beyond it only on the statistics of the group
    norms.

    Attributes:
      out_channels: channels of the image, C.
      base_channels: width of every block.
      num_blocks: number of residual blocks, of two convolutions each.
      dropout: dropout rate within the residual blocks, active when ``train`` is true.
      num_classes: size of the label embedding that is added to the time embedding; 0 for an unconditional network.
      augment_dim: number of inputs that describe an augmentation, whose layer has no bias; 0 for a network without them.
      norm_groups: number of groups of every group normalisation.
      norm_eps: epsilon of every group normalisation.
      freq_shift, flip_sin_to_cos: form of the time embedding, see ``timestep_embedding``.
      patch_size: side p of the patches into which the image is folded (space to depth); 1 works on the pixels.
      dtype: dtype of the computation (with bfloat16, norms and parameters stay in float32).

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxgen import models
      >>> network = models.CNN(out_channels=1, base_channels=4, num_blocks=1, norm_groups=2)
      >>> x, t = jnp.zeros((2, 8, 8, 1)), jnp.array([0.0, 500.0])
      >>> jax.eval_shape(lambda key: network.init_with_output(key, x, t)[0], jax.random.key(0)).shape
      (2, 8, 8, 1)
    """

    out_channels: int = 3
    base_channels: int = 128
    num_blocks: int = 8
    dropout: float = 0.1
    num_classes: int = 0
    augment_dim: int = 0
    norm_groups: int = 32
    norm_eps: float = 1e-6
    freq_shift: int = 1
    flip_sin_to_cos: bool = False
    patch_size: int = 1
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, 'n h w c'],
        t: Num[Array, 'n ...'],
        labels: Int[Array, ' n'] | None = None,
        *,
        augment: Float[Array, 'n a'] | None = None,
        train: bool = False,
    ) -> Float[Array, 'n h w out']:
        """Return the output of the network for noisy images, their times, class labels and augmentations."""
        common: Fields = {'dtype': self.dtype, 'param_dtype': self.param_dtype}
        conv: MakeLayer = functools.partial(nn.Conv, kernel_size=(3, 3), **common)
        emb = conditioning(
            self, t, labels, sinusoids=self.base_channels, features=4 * self.base_channels, augment=augment
        )
        h = fold(x.astype(self.dtype), self.patch_size)
        h = conv(self.base_channels, kernel_init=uniform_fan_avg(), name='conv_in')(h)
        for i in range(self.num_blocks):
            block = ResBlock(
                self.base_channels, self.norm_groups, self.dropout, epsilon=self.norm_eps, name=f'block{i}', **common
            )
            h = block(h, emb, train)
        h = nn.swish(GroupNorm(self.norm_groups, self.param_dtype, self.norm_eps, name='norm_out')(h))
        h = conv(self.out_channels * self.patch_size**2, kernel_init=uniform_fan_avg(0.0), name='conv_out')(h)
        return unfold(h, self.patch_size).astype(at_least_float32(self.dtype))
