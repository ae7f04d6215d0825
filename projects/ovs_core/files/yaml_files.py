"""Reading YAML as plain values: nothing in a file can run code, and nothing in it is read twice."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from ..errors import UserError

MOST_BYTES = 2**20
MOST_VALUES = 100_000  # after aliases are written out, so that a small file can't fill the memory
MOST_LEVELS = 50


_PLAIN = [f"tag:yaml.org,2002:{kind}" for kind in "null bool int float str seq map".split()]
_TIME = "tag:yaml.org,2002:timestamp"


class _PlainLoader(yaml.SafeLoader):
    """Knows numbers, texts, lists and maps only; refuses keys that stand twice or are no text.

    A date without quotes is the text that a person wrote.
    """

    yaml_constructors = {  # noqa: RUF012  (PyYAML's own way to say what a loader knows)
        tag: build
        for tag, build in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag in _PLAIN
    }
    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in known if tag != _TIME]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Read a mapping whose keys are checked; see ``yaml.SafeLoader``."""
        seen: set[str] = set()
        for key, _ in node.value:
            place = f"line {key.start_mark.line + 1}"
            if key.tag == "tag:yaml.org,2002:merge":
                raise UserError(f"{place}: merge keys (<<) are not understood; write the keys out")
            if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                shown = key.value if isinstance(key, yaml.ScalarNode) else "a list or map"
                raise UserError(f"{place}: the key {shown!r} is no text; put it in quotes")
            if key.value in seen:
                raise UserError(f"{place}: the key '{key.value}' stands twice; remove one of them")
            seen.add(key.value)
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep=deep)
        return mapping


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a file that holds one map of plain values.

    Args:
        path: the file, UTF-8.

    Returns:
        The map; keys are strings.

    Raises:
        UserError: if the file is missing, too large, no valid YAML or no map, asks for Python
            objects, repeats a key, or writes out to more than ``MOST_VALUES`` values.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"larger than {MOST_BYTES // 2**20} MiB; is it a config?")
        return _parse(path.read_text(encoding="utf-8-sig"))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is no UTF-8 text ({error.reason}); save it as UTF-8") from error


def _parse(text: str) -> dict[str, Any]:
    try:
        loader = _PlainLoader(text)
        try:
            node = loader.get_single_node()
            _check_extent(node)
            content = None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.constructor.ConstructorError as error:
        raise UserError(
            f"refused: {_line(error)}holds more than plain values ({error.problem})"
        ) from error
    except yaml.YAMLError as error:
        raise UserError(f"not valid YAML ({' '.join(str(error).split())})") from error
    except ValueError as error:  # for example the date 2020-99-99
        raise UserError(f"holds a value that cannot be read ({error})") from error
    except RecursionError as error:
        raise UserError(f"is nested deeper than {MOST_LEVELS} levels") from error
    if not isinstance(content, dict):
        kind = "nothing" if content is None else f"a {type(content).__name__}"
        raise UserError(f"holds {kind} where a map of keys and values is expected")
    return content


def _check_extent(node: yaml.Node | None) -> None:
    """Refuse trees that are too deep, hold themselves, or grow too large by aliases."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node, above: tuple[int, ...]) -> int:
        if id(node) in above:
            raise UserError("an alias (*) stands inside what it names")
        if len(above) > MOST_LEVELS:
            raise UserError(f"is nested deeper than {MOST_LEVELS} levels")
        if id(node) not in sizes:
            inner = (*above, id(node))
            sizes[id(node)] = 1 + sum(size(child, inner) for child in _children(node))
        return sizes[id(node)]

    if node is not None and size(node, ()) > MOST_VALUES:
        raise UserError(f"holds more than {MOST_VALUES:,} values when its aliases are written out")


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _line(error: yaml.MarkedYAMLError) -> str:
    return "" if error.problem_mark is None else f"line {error.problem_mark.line + 1} "
