"""The auditor finds what contradicts itself in a pasted table, and nothing in a right one."""

import random

import pytest

from ovs_core.commands.audit_table import run
from ovs_core.errors import UserError
from ovs_core.reports.audit import audit
from ovs_core.reports.pasted_table import parse_number, read_table

SETS = ["VOC20", "PC59", "ADE150", "COCO"]


def harmonic(s, u):
    return 2 * s * u / (s + u)


def means_table(rng):
    """Datasets with their mean, and a last line of means."""
    lines = [[f"method {i}", *(round(rng.uniform(20, 90), 2) for _ in SETS)] for i in range(5)]
    lines.append(
        ["Avg.", *(round(sum(column) / 5, 2) for column in list(zip(*lines, strict=True))[1:])]
    )
    return [["Method", *SETS, "Avg."], *([*x, round(sum(x[1:]) / 4, 2)] for x in lines)]


def split_table(rng):
    """Seen, unseen and harmonic mean; pixel accuracy above the frequency-weighted IoU."""
    rows = []
    for i in range(6):
        s, u = rng.uniform(50, 90), rng.uniform(20, 80)
        accuracy = rng.uniform(85, 95)
        cells = (accuracy, accuracy - rng.uniform(5, 20), s, u, harmonic(s, u))
        rows.append([f"method {i}", *(round(x, 1) for x in cells)])
    return [["Method", "pAcc", "fwIoU", "mIoU(S)", "mIoU(U)", "hIoU"], *rows]


def context_table(rng):
    """Context-459 by both rules, and panoptic figures."""
    rows = []
    for i in range(6):
        pc, rq = rng.uniform(8, 25), rng.uniform(20, 40)
        sq = rng.uniform(70, 80)
        cells = (pc, pc * rng.uniform(0.78, 0.98), sq * rq / 100, sq, rq)
        rows.append([f"method {i}", *(round(x, 1) for x in cells)])
    return [["Method", "PC-459", "PC-459 (union)", "PQ", "SQ", "RQ"], *rows]


TABLES = [means_table, split_table, context_table]
# (table, column) -> a figure that the rest of the line or column forbids.
ERRORS = [
    (means_table, 1, lambda x, row: x + 4.0),  # also in the mean of the column
    (means_table, 5, lambda x, row: x + 0.1),
    (split_table, 2, lambda x, row: row[1] + 0.4),
    (split_table, 5, lambda x, row: (row[3] + row[4]) / 2 + 1),
    (split_table, 1, lambda x, row: 104.2),
    (context_table, 2, lambda x, row: row[1] * 0.6),
    (context_table, 2, lambda x, row: row[1] + 0.7),
    (context_table, 3, lambda x, row: row[5] + 2.0),
    (context_table, 1, lambda x, row: -row[1]),
]


def markdown(table):
    head, *rows = ([str(cell) for cell in line] for line in table)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def latex(table):
    rows = [" & ".join(f"\\textbf{{{c}}}" if i == 1 else str(c) for i, c in enumerate(line))
            for line in table]  # fmt: skip
    body = " \\\\ \n".join([rows[0], "\\midrule " + rows[1], *rows[2:]])
    return f"\\begin{{tabular}}{{lrrrr}}\n{body} \\\\ \\bottomrule\n\\end{{tabular}}"


def comma(table):
    return "\n".join(",".join(map(str, line)) for line in table)


FORMS = [markdown, latex, comma]


def read(tmp_path, text):
    path = tmp_path / "table.txt"
    path.write_text(text)
    return read_table(path)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("form", FORMS)
def test_nothing_is_found_in_right_tables(tmp_path, seed, form):
    for make in TABLES:
        assert audit(read(tmp_path, form(make(random.Random(seed))))) == []


@pytest.mark.parametrize("form", FORMS)
def test_each_of_twenty_errors_is_found(tmp_path, form):
    """Twenty tables with an error each: the line that has it is named, in every form."""
    rng = random.Random(7)
    for index in range(20):
        make, column, wrong = ERRORS[index % len(ERRORS)]
        table = make(rng)
        line = table[rng.randrange(1, 6)]
        line[column] = round(wrong(line[column], line), 2)
        found = audit(read(tmp_path, form(table)))
        assert line[0] in {one.row for one in found}, (make.__name__, column, table)


def test_twenty_errors_of_one_table_are_all_found(tmp_path):
    rng = random.Random(3)
    rows = []
    for i in range(20):
        s, u = rng.uniform(50, 90), rng.uniform(20, 80)
        rows.append([f"m{i}", round(s, 1), round(u, 1), round(harmonic(s, u) + 0.3, 1)])
    found = audit(read(tmp_path, markdown([["Method", "S", "U", "h"], *rows])))
    assert [one.row for one in found] == [row[0] for row in rows]


def test_spans_and_lines_of_names_above_each_other_are_read(tmp_path):
    text = r"""\begin{tabular}{lcccccc} \toprule
    \multirow{2}{*}{Model} & \multicolumn{3}{c}{VOC} & \multicolumn{3}{c}{COCO} \\ \hline
     & S & U & h & S & U & h \\ \midrule
    ours~\cite{x} & 80.0 & 40.0 & \underline{53.3} & 40.0 & 40.0 & $41.0$ \\
    \end{tabular}"""
    (found,) = audit(read(tmp_path, text))
    assert (found.row, found.column, found.stated) == ("ours", "COCO h", 41.0)


def test_what_is_no_figure_is_left_out(tmp_path):
    text = "| m | a | b | Params | Avg. |\n|---|---|---|---|---|\n| x | 10.0 | – | 500 | 10.0 |"
    assert audit(read(tmp_path, text)) == []
    assert parse_number("41.0 ± 0.3").value == 41.0
    assert parse_number("224px") is None


def test_the_command_says_both_rules_and_ends_with_1(tmp_path, capsys):
    class Args:
        file = tmp_path / "t.csv"

    Args.file.write_text("Method,PC-459,VOC,Avg\nours,10.0,20.0,16.0\n")
    assert run(Args) == 1
    out = capsys.readouterr().out
    assert "7.52 to 10.00 with the predicted ones" in out
    assert "ours, Avg: 16 is printed, the mean of its line gives 14.95 to 15.05" in out


def test_a_file_without_a_table_is_refused(tmp_path):
    for text in ("no table", "1,2\n3,4"):
        with pytest.raises(UserError, match="table"):
            read(tmp_path, text)
    with pytest.raises(UserError, match="cannot be read"):
        read_table(tmp_path / "none")
