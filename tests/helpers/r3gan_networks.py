"""The networks of R3GAN in PyTorch, with the names of the official state dicts."""

import math

import torch
from torch import nn
from torch.nn import functional


def conv(inputs, outputs, size=1, groups=1):
    layer = nn.Module()
    layer.Layer = nn.Conv2d(inputs, outputs, size, padding=size // 2, groups=groups, bias=False)
    layer.forward = layer.Layer.forward
    return layer


class Bias(nn.Module):
    """A bias for each channel, and a leaky ReLU."""

    def __init__(self, channels):
        super().__init__()
        self.Bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        return functional.leaky_relu(x + self.Bias[:, None, None], 0.2)


class Block(nn.Module):
    def __init__(self, channels, groups):
        super().__init__()
        self.LinearLayer1 = conv(channels, 2 * channels)
        self.LinearLayer2 = conv(2 * channels, 2 * channels, 3, groups)
        self.LinearLayer3 = conv(2 * channels, channels)
        self.NonLinearity1, self.NonLinearity2 = Bias(2 * channels), Bias(2 * channels)

    def forward(self, x):
        y = self.NonLinearity1(self.LinearLayer1(x))
        return x + self.LinearLayer3(self.NonLinearity2(self.LinearLayer2(y)))


class Resampler(nn.Module):
    """The filter [1, 2, 1] joined with the repetition of two pixels, as one kernel for all channels."""

    def __init__(self):
        super().__init__()
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
        self.register_buffer('Kernel', taps[:, None] * taps / 64)

    def forward(self, x, up):
        kernel = self.Kernel.to(x.dtype).expand(x.shape[1], 1, 4, 4)
        if up:
            return functional.conv_transpose2d(x, 4 * kernel, stride=2, padding=1, groups=x.shape[1])
        return functional.conv2d(x, kernel, stride=2, padding=1, groups=x.shape[1])


class Transition(nn.Module):
    def __init__(self, inputs, outputs, up):
        super().__init__()
        self.up, self.Resampler = up, Resampler()
        self.LinearLayer = conv(inputs, outputs) if inputs != outputs else None

    def forward(self, x):
        if self.up:
            return self.Resampler(x if self.LinearLayer is None else self.LinearLayer(x), up=True)
        x = self.Resampler(x, up=False)
        return x if self.LinearLayer is None else self.LinearLayer(x)


class FirstLayer(nn.Module):
    def __init__(self, inputs, channels):
        super().__init__()
        self.Basis = nn.Parameter(torch.randn(channels, 4, 4))
        self.LinearLayer = nn.Linear(inputs, channels, bias=False)

    def forward(self, z):
        return self.Basis * self.LinearLayer(z)[:, :, None, None]


class LastLayer(nn.Module):
    def __init__(self, channels, outputs):
        super().__init__()
        self.Basis = nn.Conv2d(channels, channels, 4, groups=channels, bias=False)
        self.LinearLayer = nn.Linear(channels, outputs, bias=False)

    def forward(self, x):
        return self.LinearLayer(self.Basis(x).flatten(1))


class Stage(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.Layers = nn.ModuleList(layers)

    def forward(self, x):
        for layer in self.Layers:
            x = layer(x)
        return x


class Network(nn.Module):
    """A generator or a discriminator: stages, with a pointwise convolution at their end or their start."""

    def __init__(self, stages, classes, embedding):
        super().__init__()
        self.MainLayers = nn.ModuleList(stages)
        self.EmbeddingLayer = nn.Linear(classes, embedding, bias=False) if classes else None

    def embedding(self, label):
        dtype = self.EmbeddingLayer.weight.dtype
        return self.EmbeddingLayer(functional.one_hot(label, self.EmbeddingLayer.in_features).to(dtype))


class Generator(Network):
    def __init__(self, latent, widths, group_size, blocks, classes=0, channels=3):
        def stage(first, width):
            return Stage(first, *(Block(width, 2 * width // group_size) for _ in range(blocks)))

        stages = [stage(FirstLayer(latent * (2 if classes else 1), widths[0]), widths[0])]
        stages += [stage(Transition(a, b, up=True), b) for a, b in zip(widths, widths[1:], strict=False)]
        super().__init__(stages, classes, latent)
        self.AggregationLayer = conv(widths[-1], channels)

    def forward(self, z, label):
        x = z if self.EmbeddingLayer is None else torch.cat([z, self.embedding(label)], 1)
        for stage in self.MainLayers:
            x = stage(x)
        return self.AggregationLayer(x)


class Discriminator(Network):
    def __init__(self, widths, group_size, blocks, classes=0, channels=3):
        def stage(width, last):
            return Stage(*(Block(width, 2 * width // group_size) for _ in range(blocks)), last)

        down = widths[::-1]
        stages = [stage(a, Transition(a, b, up=False)) for a, b in zip(down, down[1:], strict=False)]
        stages.append(stage(down[-1], LastLayer(down[-1], down[-1] if classes else 1)))
        super().__init__(stages, classes, down[-1])
        self.ExtractionLayer = conv(channels, down[0])

    def forward(self, x, label):
        x = self.ExtractionLayer(x)
        for stage in self.MainLayers:
            x = stage(x)
        return (x if self.EmbeddingLayer is None else x * self.embedding(label)).sum(1)


def r3gan_networks(widths, group_size=16, blocks=2, latent=64, *, classes=0, channels=3):
    """Return the generator and the discriminator; ``widths`` are the channels of the stages from 4x4 pixels on."""
    widths = list(widths)
    generator = Generator(latent, widths, group_size, blocks, classes, channels)
    return generator, Discriminator(widths, group_size, blocks, classes, channels)


def randomise(network, rng):
    """Give every parameter random numbers of a size that keeps activations of order 1."""
    with torch.no_grad():
        for name, p in network.named_parameters():
            fan_in = p[0].numel() if p.ndim > 1 and not name.endswith('0.Basis') else 1
            p.copy_(torch.from_numpy(rng.normal(size=p.shape) / math.sqrt(fan_in)))


def state_dict(network):
    """Return the state dict of a network as NumPy arrays."""
    return {name: x.numpy().copy() for name, x in network.state_dict().items()}
