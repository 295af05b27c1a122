"""A stand-in of the Hugging Face Hub on loopback: repositories of models in memory, with what huggingface_hub asks of them."""

import base64
import contextlib
import hashlib
import http.server
import json
import re
import threading
from unittest import mock

from huggingface_hub import constants

TOKEN, OWNER = 'hf_stand_in', 'me'
LARGE = '.safetensors'  # files of this suffix travel through LFS
TEMPLATE = '{repo_id}/resolve/{revision}/{filename}'


class StandIn:
    """The state of the stand-in.

    Attributes:
      repositories: the commits of each repository, the newest last, each a dict of files.
      objects: the contents of large files by their SHA-256.
      requests: the methods and paths that were asked for.
      is_private: whether each repository is private.
    """

    def __init__(self):
        self.repositories, self.objects, self.requests, self.is_private = {}, {}, [], {}

    def newest(self, name):
        return self.repositories[name][-1]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def log_message(self, *args):
        """Print nothing."""

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        hub, path = self._noted(), self.path.partition('?')[0]
        if found := re.fullmatch(r'/api/models/([^/]+/[^/]+)(?:/(revision|tree)/[^/]+)?', path):
            name, listing = found.groups()
            if name not in hub.repositories:
                return self._answer(404, {'error': 'Repository not found'}, {'X-Error-Code': 'RepoNotFound'})
            files = hub.newest(name)
            if listing == 'tree':
                return self._answer(200, [_entry(path, data) for path, data in files.items()])
            siblings = [{'rfilename': path, 'size': len(data)} for path, data in files.items()]
            return self._answer(200, {'id': name, 'modelId': name, 'sha': _sha(files), 'siblings': siblings})
        if found := re.fullmatch(r'/([^/]+/[^/]+)/resolve/[^/]+/(.+)', path):
            files = hub.newest(found[1])
            data = files[found[2]]
            headers = {'ETag': f'"{_etag(found[2], data)}"', 'X-Repo-Commit': _sha(files)}
            if found[2].endswith(LARGE):
                headers |= {'X-Linked-Etag': headers['ETag'], 'X-Linked-Size': str(len(data))}
            return self._answer(200, data, headers)
        return self._answer(200, {})

    def do_PUT(self):
        data = self._body()
        self._noted().objects[hashlib.sha256(data).hexdigest()] = data
        self._answer(200, b'')

    def do_POST(self):
        hub, body = self._noted(), self._body()
        if self.headers['Authorization'] != f'Bearer {TOKEN}':
            return self._answer(401, {'error': 'Invalid username or password.'})
        if self.path == '/api/validate-yaml':
            return self._answer(200, {'errors': [], 'warnings': []})
        if self.path == '/api/repos/create':
            return self._create(hub, json.loads(body))
        if found := re.fullmatch(r'/api/models/([^/]+/[^/]+)/preupload/main', self.path):
            modes = [
                {'path': path, 'uploadMode': 'lfs' if path.endswith(LARGE) else 'regular', 'shouldIgnore': False}
                for path in (file['path'] for file in json.loads(body)['files'])
            ]
            return self._answer(200, {'files': modes})
        if self.path.endswith('.git/info/lfs/objects/batch'):
            objects = [
                o | {'actions': {'upload': {'href': f'http://{self.headers["Host"]}/lfs/{o["oid"]}'}}}
                for o in json.loads(body)['objects']
            ]
            return self._answer(200, {'transfer': 'basic', 'objects': objects})
        found = re.fullmatch(r'/api/models/([^/]+/[^/]+)/commit/main', self.path)
        files = dict(hub.newest(found[1]))
        for line in body.decode().splitlines():
            kind, value = (json.loads(line)[key] for key in ('key', 'value'))
            if kind == 'file':
                files[value['path']] = base64.b64decode(value['content'])
            if kind == 'lfsFile':
                files[value['path']] = hub.objects[value['oid']]
        hub.repositories[found[1]].append(files)
        return self._answer(
            200,
            {'commitUrl': f'http://{self.headers["Host"]}/{found[1]}/commit/{_sha(files)}', 'commitOid': _sha(files)},
        )

    def _create(self, hub, asked):
        name = f'{asked["organization"]}/{asked["name"]}'
        url = {'url': f'http://{self.headers["Host"]}/{name}'}
        if asked['organization'] != OWNER:
            return self._answer(403, {'error': "You don't have the rights to create a model under this namespace"})
        if name in hub.repositories:
            return self._answer(409, url | {'error': 'You already created this model repo'})
        hub.repositories[name] = [{'.gitattributes': b'*.safetensors filter=lfs\n'}]
        hub.is_private[name] = asked.get('visibility') == 'private' or asked.get('private', False)
        return self._answer(200, url)

    def _noted(self):
        self.server.hub.requests.append((self.command, self.path))
        return self.server.hub

    def _body(self):
        return self.rfile.read(int(self.headers.get('Content-Length', 0)))

    def _answer(self, status, content, headers=()):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(data)))
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(data)


def _sha(files):
    return hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()


def _etag(path, data):
    """Return the hash under which the Hub stores a file: its SHA-256 if it is large, or else that of git."""
    is_large = path.endswith(LARGE)
    return hashlib.sha256(data).hexdigest() if is_large else hashlib.sha1(b'blob %d\0' % len(data) + data).hexdigest()


def _entry(path, data):
    entry = {'type': 'file', 'path': path, 'size': len(data), 'oid': hashlib.sha1(data).hexdigest()}
    lfs = {'oid': hashlib.sha256(data).hexdigest(), 'size': len(data), 'pointerSize': 130}
    return entry | ({'lfs': lfs} if path.endswith(LARGE) else {})


@contextlib.contextmanager
def stand_in(cache):
    """Yield a stand-in that huggingface_hub takes for the Hub within the block, with an empty cache in a folder."""
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), _Handler)
    server.hub = StandIn()
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01}, daemon=True)
    thread.start()
    endpoint = f'http://127.0.0.1:{server.server_port}'
    settings = {
        'ENDPOINT': endpoint,
        'HUGGINGFACE_CO_URL_TEMPLATE': f'{endpoint}/{TEMPLATE}',
        'HF_HUB_CACHE': str(cache),
        'HF_TOKEN_PATH': str(cache / 'token'),
        'HF_HUB_OFFLINE': False,
        'HF_HUB_DISABLE_XET': True,
    }
    if hasattr(constants, 'HF_URL_HOSTS'):
        settings['HF_URL_HOSTS'] = constants.HF_URL_HOSTS | {'127.0.0.1'}
    try:
        with mock.patch.multiple(constants, **settings), mock.patch.dict('os.environ', {'HF_TOKEN': TOKEN}):
            yield server.hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
