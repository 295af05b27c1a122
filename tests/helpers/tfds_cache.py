"""Archives in the download cache of TFDS."""

import json
import pathlib

import pytest

from jaxgen.data import tfds_source


def lay_in_tfds_cache(monkeypatch, data_dir, name, archives):
    """Put archives, by their URLs, where TFDS keeps its downloads, so that TFDS's own builder of ``name`` prepares them."""
    pytest.importorskip('tensorflow')
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import resource

    infos = tfds.builder(name, data_dir=data_dir).url_infos
    (data_dir / 'downloads').mkdir(exist_ok=True)
    for url, content in archives.items():
        cached = data_dir / 'downloads' / resource.get_dl_fname(url, infos[url].checksum)
        cached.write_bytes(content)
        about = {'urls': [url], 'original_fname': url.rpartition('/')[2]}
        pathlib.Path(f'{cached}.INFO').write_text(json.dumps(about))
    monkeypatch.setenv('TFDS_DATA_DIR', str(data_dir))
    monkeypatch.setattr(tfds_source, 'reachable', lambda url: True)
