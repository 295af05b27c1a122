"""Run main.py with a folder, STAND_IN_BUCKET, as gs://, which like an object store can neither append nor move files."""

import os
import pathlib
import runpy
import sys

from etils.epath import backend, gpath
from orbax.checkpoint._src.path import gcs_utils

ROOT = os.environ['STAND_IN_BUCKET']


def local(path):
    return os.fspath(path).replace('gs://', f'{ROOT}/')


class Bucket(backend._OsPathBackend):
    def open(self, path, mode):
        if set(mode) - set('rwb'):
            raise OSError(f'{path}: an object is written as a whole')
        pathlib.Path(local(path)).parent.mkdir(parents=True, exist_ok=True)  # a bucket knows no folders
        return super().open(local(path), mode)

    def rename(self, path, dst):
        raise OSError(f'{path}: an object is not moved')

    replace = rename


def at_local_paths(name):
    original = getattr(backend._OsPathBackend, name)
    return lambda self, path, *args, **kwargs: original(self, local(path), *args, **kwargs)


for name in ('exists', 'isdir', 'listdir', 'glob', 'makedirs', 'mkdir', 'rmtree', 'remove', 'stat'):
    setattr(Bucket, name, at_local_paths(name))
gpath._PREFIX_TO_BACKEND['gs'] = Bucket()
gcs_utils.get_kvstore_for_gcs = lambda path: {'driver': 'file', 'path': local(path)}
gcs_utils.is_hierarchical_namespace_enabled = lambda path: False
sys.modules['tensorflow'] = None  # its own gs:// is the real one

sys.path.insert(0, os.getcwd())
runpy.run_path('main.py', run_name='__main__')
