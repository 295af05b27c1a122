"""Published files: they are downloaded once and compared with their whole hash, and a failure leaves nothing behind."""

import dataclasses
import hashlib

import pytest

from jaxgen.errors import UserError
from jaxgen.io import published
from jaxgen.io.published import PublishedFile, published_path

CONTENT = b'the published file'
FILE = PublishedFile(
    'the weights', 'https://example.org/1/model.bin', hashlib.sha256(CONTENT).hexdigest(), 99, 'network.bin'
)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('JAXGEN_CACHE_DIR', str(tmp_path / 'cache'))
    monkeypatch.setattr(published, 'reachable', lambda url: True)
    return tmp_path / 'cache'


@pytest.fixture
def sent(monkeypatch):
    """A list with what the address sends, and one entry for each download."""
    found = {'content': CONTENT, 'downloads': []}

    def download(url, path, max_bytes):
        assert (url, max_bytes) == (FILE.url, FILE.max_bytes)
        found['downloads'].append(url)
        path.write_bytes(found['content'])

    monkeypatch.setattr(published, 'download', download)
    return found


def test_a_file_is_downloaded_once(cache, sent):
    for _ in range(2):
        path = published_path(FILE)
        assert path == cache / 'network.bin' and path.read_bytes() == CONTENT
    assert len(sent['downloads']) == 1


def test_a_file_in_the_cache_is_used_as_it_is(cache, sent):
    cache.mkdir()
    (cache / 'network.bin').write_bytes(b'put here by hand')
    assert published_path(FILE).read_bytes() == b'put here by hand' and not sent['downloads']


def test_no_network_is_one_sentence_with_the_address(cache, sent, monkeypatch):
    monkeypatch.setattr(published, 'reachable', lambda url: False)
    with pytest.raises(UserError) as e:
        published_path(FILE)
    assert str(e.value) == (
        f'the weights are not at {cache / "network.bin"} and {FILE.url} cannot be reached: download it elsewhere, and put '
        f'it at {cache / "network.bin"} or pass the path of the file'
    )
    assert not cache.exists() and not sent['downloads']


def test_another_file_is_refused(cache, sent):
    sent['content'] = b'something else'
    with pytest.raises(UserError, match='its SHA-256 differs'):
        published_path(FILE)
    assert not list(cache.iterdir())


def test_the_whole_hash_is_compared(cache, sent):
    """Anybody can find another file whose hash has the same first eight digits within an hour."""
    alike = dataclasses.replace(FILE, sha256=FILE.sha256[:8] + '0' * 56)
    with pytest.raises(UserError, match='its SHA-256 differs'):
        published_path(alike)
    assert not list(cache.iterdir())


def test_a_download_that_fails_leaves_nothing(cache, monkeypatch):
    def download(url, path, max_bytes):
        path.write_bytes(b'half')
        raise TimeoutError('timed out')

    monkeypatch.setattr(published, 'download', download)
    with pytest.raises(UserError, match=f'downloading {FILE.url} failed .timed out.: download it elsewhere'):
        published_path(FILE)
    assert not list(cache.iterdir())
