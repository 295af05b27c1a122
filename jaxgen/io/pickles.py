"""Read the pickles inside PyTorch's files without executing them.

A pickle is a program for a small stack machine: it may import and call any function, ask for any amount of memory, and double
a list until the memory is full. The machine of this module implements only the instructions that make dictionaries, lists,
tuples, text and numbers. It calls only the functions that it is given, and limits the number of instructions and of bytes.
"""

from __future__ import annotations

import pickletools
import types
from collections.abc import Callable, Mapping
from typing import IO, TypeVar, cast

T = TypeVar('T')
MAX_BYTES = 16 * 2**20  # largest size of one pickle; PyTorch needs about 200 bytes for each tensor
MAX_WORK = (
    1_000_000  # largest number of instructions, plus items passed to functions; PyTorch needs about 40 for each tensor
)
MAX_BITS = 128  # largest length of a whole number in bits

# The functions and other objects that a pickle may refer to by name, such as 'torch.FloatStorage'.
Names = Mapping[str, object]

LITERALS = {
    *('INT', 'LONG', 'BININT', 'BININT1', 'BININT2', 'LONG1', 'LONG4', 'FLOAT', 'BINFLOAT'),
    *('STRING', 'BINSTRING', 'SHORT_BINSTRING', 'UNICODE', 'BINUNICODE', 'SHORT_BINUNICODE', 'BINUNICODE8'),
}
CONSTANTS = {'NONE': None, 'NEWTRUE': True, 'NEWFALSE': False, 'EMPTY_TUPLE': ()}
EMPTY = {'EMPTY_DICT': dict, 'EMPTY_LIST': list}
TUPLES = {'TUPLE1': 1, 'TUPLE2': 2, 'TUPLE3': 3}
WITHOUT_EFFECT = {'PROTO', 'FRAME'}


class Refused(ValueError):
    """An error for a file that holds something that this reader never makes; its message says what."""


def load(file: IO[bytes], names: Names, storage: Callable[[object], object]) -> object:
    """Return the value that the next pickle in a file describes, and move the file position behind it.

    Args:
      file: an open file.
      names: the objects that the pickle may refer to, by name.
      storage: function that returns the value of a persistent id, which is how PyTorch refers to numbers outside the pickle.

    Returns:
      Nested dictionaries, lists and tuples of text, numbers, and values from ``names`` and ``storage``. A dictionary may contain
      itself.

    Raises:
      Refused: if the pickle refers to anything else.
      Exception: of many types, if the pickle is damaged, too long, or has other instructions.
    """
    return _Machine(names, storage).run(cast(IO[bytes], _Bounded(file, MAX_BYTES)))


def new_dictionary(items: object = ()) -> dict[str, object]:
    """Make a dictionary in place of ``collections.OrderedDict``, which Python 2 pickled with a list of pairs."""
    found: dict[str, object] = {}
    for name, value in _of_type(list, items or []):
        _set(found, name, value)
    return found


def _of_type(kind: type[T], value: object) -> T:
    if type(value) is not kind:
        raise TypeError(f'its pickle has {type(value).__name__} instead of {kind.__name__}')
    return value


def _set(target: dict[str, object], name: object, value: object) -> None:
    """Set an item of a dictionary whose keys must be text, since hashing a nested tuple could take forever."""
    if _of_type(str, name) in target:
        raise ValueError('its pickle has a name twice')
    target[cast(str, name)] = value


class _Bounded:
    """A file of which at most ``limit`` bytes can be read in all, so that no length in it can claim more memory."""

    def __init__(self, file: IO[bytes], limit: int):
        self._file, self._left = file, limit

    def read(self, size: int) -> bytes:
        if size > self._left:
            raise ValueError('its pickle is too long')
        return self._counted(self._file.read(size))

    def readline(self) -> bytes:
        return self._counted(self._file.readline(self._left + 1))

    def _counted(self, data: bytes) -> bytes:
        self._left -= len(data)
        if self._left < 0:
            raise ValueError('its pickle is too long')
        return data


class _Machine:
    """A stack machine: the stack, the stacks below its marks, and the memo, which holds the values that the pickle numbers."""

    def __init__(self, names: Names, storage: Callable[[object], object]):
        self._names, self._storage = names, storage
        self._stack: list[object] = []
        self._below: list[list[object]] = []
        self._memo: dict[object, object] = {}
        self._work = 0

    def run(self, file: IO[bytes]) -> object:
        """Execute one pickle and return the only value that it leaves on the stack."""
        for opcode, argument, _ in pickletools.genops(file):
            self._count(1)
            if opcode.name == 'STOP':
                break
            self._execute(opcode.name, argument)
        (value,) = self._stack
        return value

    def _execute(self, name: str, argument: object) -> None:
        if name in LITERALS:
            if isinstance(argument, int) and argument.bit_length() > MAX_BITS:
                raise ValueError('a number in its pickle is too long')
            self._stack.append(argument)
        elif name in CONSTANTS:
            self._stack.append(CONSTANTS[name])
        elif name in EMPTY:
            self._stack.append(EMPTY[name]())
        elif name in TUPLES:
            self._stack.append(tuple(self._pop_many(TUPLES[name])))
        elif name in STEPS:
            STEPS[name](self, argument)
        elif name not in WITHOUT_EFFECT:
            raise ValueError(f'the instruction {name} of its pickle makes no tensor')

    def _count(self, work: int) -> None:
        self._work += work
        if self._work > MAX_WORK:
            raise ValueError('its pickle is too long')

    def _pop_many(self, count: int) -> list[object]:
        return [self._stack.pop() for _ in range(count)][::-1]

    def _pop_mark(self) -> list[object]:
        items, self._stack = self._stack, self._below.pop()
        return items

    def push_mark(self, _: object) -> None:
        self._below.append(self._stack)
        self._stack = []

    def make_tuple(self, _: object) -> None:
        items = tuple(self._pop_mark())
        self._stack.append(items)

    def append_one(self, _: object) -> None:
        (item,) = self._pop_many(1)
        _of_type(list, self._stack[-1]).append(item)

    def append_many(self, _: object) -> None:
        items = self._pop_mark()
        _of_type(list, self._stack[-1]).extend(items)

    def set_one(self, _: object) -> None:
        name, value = self._pop_many(2)
        _set(_of_type(dict, self._stack[-1]), name, value)

    def set_many(self, _: object) -> None:
        items = self._pop_mark()
        target = _of_type(dict, self._stack[-1])
        for name, value in zip(items[::2], items[1::2], strict=True):
            _set(target, name, value)

    def put(self, number: object) -> None:
        self._memo[number] = self._stack[-1]

    def memoize(self, _: object) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def get(self, number: object) -> None:
        self._stack.append(self._memo[number])

    def push_name(self, argument: object) -> None:
        """Push the object that a name refers to; the argument is the module and the name with a space between them."""
        name = str(argument).replace(' ', '.', 1)
        if name not in self._names:
            raise Refused(name)
        self._stack.append(self._names[name])

    def push_name_on_stack(self, _: object) -> None:
        module, name = self._pop_many(2)
        self.push_name(f'{_of_type(str, module)} {_of_type(str, name)}')

    def call(self, _: object) -> None:
        function, arguments = self._pop_many(2)
        if not isinstance(function, types.FunctionType):  # a pickle cannot make one, so it is one of the names
            raise TypeError('its pickle calls something that is not a function')
        arguments = _of_type(tuple, arguments)
        self._count(sum(len(x) for x in arguments if isinstance(x, list)))
        self._stack.append(function(*arguments))

    def forget_state(self, _: object) -> None:
        """Drop the attributes of a dictionary: PyTorch keeps versions of its modules there."""
        target, _ = self._pop_many(2)
        self._stack.append(_of_type(dict, target))

    def persistent(self, _: object) -> None:
        self._stack.append(self._storage(self._stack.pop()))


STEPS: dict[str, Callable[[_Machine, object], None]] = {
    'MARK': _Machine.push_mark,
    'TUPLE': _Machine.make_tuple,
    'APPEND': _Machine.append_one,
    'APPENDS': _Machine.append_many,
    'SETITEM': _Machine.set_one,
    'SETITEMS': _Machine.set_many,
    **dict.fromkeys(('PUT', 'BINPUT', 'LONG_BINPUT'), _Machine.put),
    'MEMOIZE': _Machine.memoize,
    **dict.fromkeys(('GET', 'BINGET', 'LONG_BINGET'), _Machine.get),
    'GLOBAL': _Machine.push_name,
    'STACK_GLOBAL': _Machine.push_name_on_stack,
    'REDUCE': _Machine.call,
    'BUILD': _Machine.forget_state,
    'BINPERSID': _Machine.persistent,
}
