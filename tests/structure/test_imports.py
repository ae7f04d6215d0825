"""Who may import whom: no circle, nothing upward, no method from the core."""

from collections import defaultdict
from graphlib import CycleError, TopologicalSorter

from .source import CORE, METHODS, expect_none, files, imported_modules, module_name, place

# The rooms of the core, lowest first. A room imports from its own floor and from those below.
FLOORS = (
    ("errors", "load_report"),
    ("files", "methods", "words", "tensor"),
    ("clip", "draw", "data"),
    ("modeling", "evaluation"),
    ("engine",),
    ("predict", "reports"),
    ("export", "web"),
    ("commands",),
    ("__main__",),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def room_of(module):
    """``ovs_core.clip.loading`` -> ``clip``; the core itself and other packages have none."""
    parts = module.split(".")
    return parts[1] if parts[0] == "ovs_core" and len(parts) > 1 else ""


def arrows():
    """From file, statement, importing room, imported room; for files of the core."""
    for path in files(CORE):
        home = room_of(module_name(path))
        for target, node in imported_modules(path):
            room = room_of(target)
            if home and room and home != room:
                yield path, node, home, room


def test_every_room_has_a_floor():
    rooms = {path.relative_to(CORE).parts[0].removesuffix(".py") for path in files(CORE)}
    assert rooms - {"__init__"} == FLOOR.keys()


def test_no_room_imports_from_above():
    upward = [
        f"{place(path, node)}: {home} imports {room}"
        for path, node, home, room in arrows()
        if FLOOR[room] > FLOOR[home]
    ]
    expect_none(upward)


def test_models_do_not_import_data():
    assert not [
        place(p, n) for p, n, home, room in arrows() if (home, room) == ("modeling", "data")
    ]


def circle(graph):
    """A circle of a graph as a list of names; empty if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_rooms_form_no_circle():
    graph = defaultdict(set)
    for *_, home, room in arrows():
        graph[home].add(room)
    assert not circle(graph)


def test_modules_form_no_circle():
    graph = defaultdict(set)
    for path in files():
        here = module_name(path)
        # The core's own front door hands names on when they are asked for.
        graph[here] |= {m for m, _ in imported_modules(path)} - {here, "ovs_core"}
    assert not circle(graph)


def test_the_core_imports_no_method():
    wrong = [
        f"{place(path, node)}: {target}"
        for path in files(CORE)
        for target, node in imported_modules(path)
        if target.split(".")[0] != "ovs_core"
    ]
    expect_none(wrong)


def test_no_method_imports_another():
    wrong = [
        f"{place(path, node)}: {target}"
        for path in files()
        for target, node in imported_modules(path)
        if (home := module_name(path).split(".")[0]) in METHODS
        and target.split(".")[0] not in (home, "ovs_core")
    ]
    expect_none(wrong)


def test_no_model_imports_the_engine():
    """Nor does what a model is made of: but for its commands, claims, figures, tables."""
    above = {room for room, floor in FLOOR.items() if floor >= FLOOR["engine"]}
    allowed = {"claims", "commands", "figures", "leaderboard", "tables"}
    wrong = [
        f"{place(path, node)}: {target}"
        for path in files()
        for target, node in imported_modules(path)
        if (parts := module_name(path).split("."))[0] in METHODS
        and not allowed & set(parts)
        and room_of(target) in above
    ]
    expect_none(wrong)
