"""The mode ``edit``."""

from __future__ import annotations

from etils import epath

from jaxgen.apps.config import Config
from jaxgen.apps.edit import edit
from jaxgen.apps.restore import restore


def run(config: Config, workdir: epath.Path) -> None:
    """Write ``edits/<kind>/``; see ``edit.write``."""
    edited = edit.edit(restore(config, workdir))
    folder = edit.write(edited, config.edit.kind, workdir)
    for note in edited.notes:
        print(note)
    print(f'{len(edited.made)} images: {folder}/grid.png, images.npz; the steps to them: strip.png, strip.webp')
