"""The data of a report as arrays of ``interpretation/<part>.npz``; users rely on the names of the arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from etils import epath

from jaxgen.apps.interpret.ablation import Ablation
from jaxgen.apps.interpret.activations import Atlas
from jaxgen.apps.interpret.selectivity import Selectivity
from jaxgen.io import images
from jaxgen.io.files import write_atomically

if TYPE_CHECKING:
    from jaxgen.apps.interpret.interpret import Synthesis

Arrays = dict[str, np.ndarray]


def write(path: epath.Path, arrays: Arrays) -> None:
    """Write arrays to an ``.npz`` atomically."""
    write_atomically(path, images.npz(**arrays))


def study_arrays(atlas: Atlas, found: Selectivity, class_names: tuple[str, ...]) -> Arrays:
    """Return the arrays of a network.

    ``mean/<block>``, ``by_class/<block>`` and ``low/<block>`` are ``[L, K, C]``. The results of tests, such as ``index/<block>``,
    are ``[L, C]``.
    """
    arrays = {'levels': np.array(atlas.levels), 'classes': np.array(class_names), 'counts': atlas.counts}
    for block in atlas.means:
        arrays |= {f'mean/{block}': atlas.means[block], f'by_class/{block}': found.by_class[block]}
        arrays[f'low/{block}'] = found.low[block]
        for name, test in (('index', found.index), ('information', found.information)):
            arrays |= {f'{name}/{block}': test.value[block], f'{name}_excess/{block}': test.excess[block]}
            arrays |= {f'{name}_p/{block}': test.p[block], f'{name}_q/{block}': test.q[block]}
            arrays[f'{name}_strict/{block}'] = test.strict[block]
    return arrays


def ablation_arrays(found: Ablation) -> Arrays:
    """Return the arrays of an ablation, with a row for each of the E effects; ``right`` is bool ``[E, N]`` for N images."""
    effects = found.effects
    return {
        'labels': found.labels,
        'right_before': found.right,
        'right': np.stack([effect.right for effect in effects]),
        'class': np.array([effect.name for effect in effects]),
        'factor': np.array([effect.factor for effect in effects]),
        'draw': np.array([effect.control for effect in effects]),
        'channels': np.array([' '.join(map(str, effect.channels)) for effect in effects]),
        'on_class': np.array([effect.on_class for effect in effects]),
        'on_others': np.array([effect.on_others for effect in effects]),
    }


def synthesis_arrays(found: Synthesis) -> Arrays:
    """Return the arrays of synthesised images, and of the images that a diffusion model makes from them."""
    arrays = {
        'channels': np.array([str(target.channel) for target in found.targets]),
        'classes': np.array([target.label for target in found.targets]),
        'pictures': found.synthesised.images,
        'before': found.synthesised.before,
        'after': found.synthesised.after,
        'seen': found.shown,
    }
    if found.denoised is not None:
        arrays |= {'strengths': np.array(found.denoised.strengths), 'images': found.denoised.images}
        arrays |= {'told': found.denoised.classes, 'outcomes': found.outcomes}
    return arrays
