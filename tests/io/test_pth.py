"""Reading PyTorch's files: both forms, every kind of view, and what is refused."""

import collections
import os
import pickle

import numpy as np
import pytest
import torch

from jaxgen.errors import UserError
from jaxgen.io import pth

FORMS = pytest.mark.parametrize('zipped', [True, False])


def save(value, path, zipped):
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    return path


@FORMS
def test_tensors_of_every_type_and_view(tmp_path, zipped):
    base = torch.arange(24.0).reshape(4, 6)
    state = collections.OrderedDict(
        plain=base,
        transposed=base.T,
        part=base[1:3, ::2],
        scalar=torch.tensor(3.5),
        empty=torch.zeros(0, 3),
        double=torch.randn(3, dtype=torch.float64),
        half=torch.randn(3).half(),
        counter=torch.tensor(7),
        parameter=torch.nn.Parameter(torch.ones(2)),
    )
    got = pth.read(save(state, tmp_path / 'x.pth', zipped))
    assert set(got) == set(state)
    for name, tensor in state.items():
        np.testing.assert_array_equal(got[name], tensor.detach().numpy())
        assert got[name].dtype == tensor.detach().numpy().dtype and got[name].shape == tuple(tensor.shape)


@FORMS
def test_a_modules_state_dict(tmp_path, zipped):
    state = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3)).state_dict()
    got = pth.read(save(state, tmp_path / 'x.pth', zipped))
    for name, tensor in state.items():
        np.testing.assert_array_equal(got[name], tensor.numpy())


@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
def test_every_protocol_of_pickle(tmp_path, protocol):
    state = torch.nn.Linear(2, 3).state_dict()
    torch.save(state, tmp_path / 'x.pth', pickle_protocol=protocol)
    np.testing.assert_array_equal(pth.read(tmp_path / 'x.pth')['weight'], state['weight'])


@FORMS
def test_tied_weights_take_their_memory_once(tmp_path, zipped):
    tied = torch.ones(5)
    got = pth.read(save({str(i): tied for i in range(100)}, tmp_path / 'x.pth', zipped))
    assert len(got) == 100 and len({id(x) for x in got.values()}) == 1


class Harmful:
    def __reduce__(self):
        return os.mkdir, ('harmed',)


@FORMS
@pytest.mark.parametrize(
    ('value', 'name'), [(Harmful(), 'mkdir'), (torch.nn.Linear(2, 2), 'torch.nn.modules.linear.Linear')]
)
def test_any_other_object_is_refused_by_name(tmp_path, monkeypatch, value, name, zipped):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f'x.pth holds .*{name}, but only a dictionary of tensors can be read'):
        pth.read(save({'weight': torch.ones(2), 'other': value}, tmp_path / 'x.pth', zipped))
    assert not (tmp_path / 'harmed').exists()


def test_a_pickle_that_is_not_a_torch_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'x.pth').write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(UserError, match='mkdir, but only a dictionary of tensors can be read'):
        pth.read(tmp_path / 'x.pth')
    assert not (tmp_path / 'harmed').exists()


@FORMS
def test_incomplete_files_and_other_objects_are_refused(tmp_path, zipped):
    path = save({'weight': torch.ones(1000)}, tmp_path / 'x.pth', zipped)
    whole = path.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 5):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match='not a complete file of PyTorch tensors'):
            pth.read(path)
    for value, words in (
        ([torch.ones(2)], 'something other'),
        ({'weight': torch.ones(2), 'epoch': 3}, 'epoch, which is'),
    ):
        with pytest.raises(UserError, match=f'holds {words} .*, but only a dictionary of tensors can be read'):
            pth.read(save(value, path, zipped))
    with pytest.raises(UserError, match='is not a file'):
        pth.read(tmp_path / 'absent.pth')
