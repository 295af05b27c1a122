"""The tiny models that the tests of interpretation share: ``(trained, run directory)``."""

import pytest

from tests.helpers.interpretation import tiny_model


@pytest.fixture(scope='session')
def ddpm(tmp_path_factory):
    return tiny_model('ddpm', tmp_path_factory.mktemp('ddpm'))


@pytest.fixture(scope='session')
def dcgan(tmp_path_factory):
    return tiny_model('dcgan', tmp_path_factory.mktemp('dcgan'))


@pytest.fixture(params=['ddpm', 'dcgan'])
def trained(request):
    return request.getfixturevalue(request.param)
