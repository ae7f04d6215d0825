from PIL import Image

from ovs_core.commands import main

LINE = ["compare", "pictures", "--words", "car, sky, sand", "--methods", "cliptrase/tiny_maskclip"]


def test_a_picture_that_cannot_be_segmented_is_a_line_and_not_on_the_sheet(user, capsys):
    assert main([*LINE, "--output", "three"]) == 0
    (user / "pictures" / "aa.png").write_bytes(b"no picture")
    Image.new("RGB", (5000, 4)).save(user / "pictures" / "ab.png")
    capsys.readouterr()
    assert main([*LINE, "--output", "five"]) == 1
    captured = capsys.readouterr()
    assert captured.err.count("error: ") == 2 and "five/sheet.png" in captured.out
    assert "aa.png: cannot be decoded" in captured.err and "ab.png: a picture of" in captured.err
    with Image.open("three/sheet.png") as three, Image.open("five/sheet.png") as five:
        assert three.tobytes() == five.tobytes()


def test_without_a_good_picture_there_is_one_line(user, capsys):
    for path in (user / "pictures").iterdir():
        path.write_bytes(b"no picture")
    assert main([*LINE, "--output", "none"]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "none of the pictures can be segmented; " in err
    assert not (user / "none" / "sheet.png").exists()


def test_the_sheet_is_no_picture_of_the_next_run(user, capsys):
    assert main([*LINE, "--output", "pictures"]) == 0
    sheet = (user / "pictures" / "sheet.png").read_bytes()
    capsys.readouterr()
    segment = ["segment", "pictures", "--words", "car, sky", "--method", LINE[-1]]
    assert main([*segment, "--output", "out"]) == 0
    assert "3 segmented" in capsys.readouterr().out
    assert main([*LINE, "--output", "pictures"]) == 1
    assert "sheet.png: exists" in capsys.readouterr().err
    assert (user / "pictures" / "sheet.png").read_bytes() == sheet
