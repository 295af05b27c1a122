"""Commands of pages and notebooks, resolved as the command line resolves them; nothing is computed."""

import dataclasses
import importlib.util
import pathlib
import re
import shlex
import tomllib

from jaxgen.apps.rules import validate
from jaxgen.cli import flags, modes
from jaxgen.data.options import kind_of

ROOT = pathlib.Path(__file__).parents[2]


def in_bash_blocks(text):
    """Return the commands in the bash blocks of a page in Markdown, each in one line."""
    blocks = re.findall(r'^```bash\n(.*?)^```', text, flags=re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in re.sub(r'\\\n\s*', '', block).splitlines() if line.strip()]


def parts(line):
    """Return the commands that a line of a shell holds, each as its words; so does an argument, as one of ssh."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars='&;|')
    lexer.whitespace_split = True
    found, words = [], []
    for word in [*lexer, ';']:
        if set(word) <= set('&;|'):
            found += [words] if words else []
            words = []
        else:
            words.append(word)
    nested = [word.partition('=')[2] or word for words in found for word in words if 'main.py ' in word]
    return found + [inner for command in nested for inner in parts(command)]


def own_arguments(words):
    """Return the arguments of a command of jaxgen, also behind ``timeout`` and the like; None for any other command."""
    for i, word in enumerate(words):
        if word == 'jaxgen' and i == 0:
            return words[1:]
        if word == 'main.py' and i > 0 and words[i - 1].endswith('python'):
            return words[i + 1 :]
    return None


def check(words):
    """Check a command: the config of jaxgen's own, a target of make, an extra of pip, a module of Python.

    Raises:
      UserError: as the command itself would.
      AssertionError: if it names what is not there.
    """
    words = [word for word in words if not re.match(r'[A-Z_]+=', word)] or words
    own = own_arguments(words)
    if own is not None:
        resolved(own)
    elif words[0] == 'make':
        targets = re.findall(r'^([\w-]+):', (ROOT / 'Makefile').read_text(), flags=re.MULTILINE)
        assert words[1] in targets, f'make has no target {words[1]}'
    elif words[:2] == ['pip', 'install']:
        extras = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']['optional-dependencies']
        wanted = {name for word in words for name in re.findall(r'^\.\[(.+)\]$', word)}
        assert wanted <= extras.keys(), f'pyproject.toml has no extra {wanted}'
    elif words[:2] == ['python', '-m']:
        assert importlib.util.find_spec(words[2]), f'there is no module {words[2]}'


def resolved(argv):
    """Return the mode and the checked config of the arguments of a command; no config where the mode has none."""
    arguments = flags.parse(argv)
    if arguments.mode in ('help', 'doctor') and arguments.config is None:
        return arguments.mode, None
    arguments = dataclasses.replace(arguments, config=_present(arguments.config))
    draft = flags.load(arguments)
    if arguments.mode == 'help':
        return 'help', None
    modes.require_read(arguments.mode, arguments.names)
    mode = modes.MODES[arguments.mode]
    if kind_of(draft.data.name) is not None:  # what is known when its images have been looked at
        draft.data.update({'class_names': ('a', 'b'), 'channels': 3, 'image_size': draft.data.image_size or 64})
    config = modes.config_of(mode, draft)
    if mode.validates:
        validate(config)
    return arguments.mode, config


def _present(config):
    """Return the config that made a run, for the config.json of one that is not there."""
    run = re.fullmatch(r'runs/(\w+)(?:-(\w+))?/config\.json', config or '')
    if run is None or pathlib.Path(run[0]).exists():
        return config
    return f'configs/{run[1]}.py' + (f':{run[2]}' if run[2] else '')
