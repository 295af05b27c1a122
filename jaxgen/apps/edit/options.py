"""The options of editing images: the section ``edit``."""

from __future__ import annotations

import dataclasses

from jaxgen.schema import Options, option, require

KINDS = ('image2image', 'inpaint', 'interpolate', 'transfer')
# The option that a kind of edit needs, and what to set it to
NEEDED = {
    'inpaint': ('mask', 'name an image of the size of the model, white where the model paints'),
    'interpolate': ('other', 'name the image at which the interpolation ends'),
    'transfer': ('source_class', 'name the class of the input image'),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class EditOptions(Options):
    """Which images are edited, and how."""

    kind: str = option('image2image', 'kind of edit', choices=KINDS)
    input: str | None = option(
        None,
        'image to edit: a file, or an image of a data set, as in cifar10:test:17; needed by --mode=edit',
        path=True,
    )
    other: str | None = option(
        None,
        'image at which an interpolation ends, a file or an image of a data set; needed by kind=interpolate',
        path=True,
    )
    mask: str | None = option(
        None, 'image of the size of the model, white where kind=inpaint paints; needed by kind=inpaint', path=True
    )
    strength: float = option(
        0.6, 'how much of the image may change: near 0 almost nothing, 1 everything', above=0, at_most=1
    )
    source_class: str | None = option(None, 'class of the input image; needed by kind=transfer')
    num: int = option(8, 'number of images to make', at_least=1, at_most=100_000)
    inversion_iterations: int = option(
        3, 'fixed-point iterations at each noise level on the way from an image to noise', at_least=1, at_most=1000
    )

    def check(self) -> None:
        """Refuse a kind of edit if the option that it needs is not set."""
        if self.kind not in NEEDED:
            return
        field, remedy = NEEDED[self.kind]
        require(getattr(self, field) is not None, field, f' is not set, but edit.kind={self.kind} needs it: {remedy}')
