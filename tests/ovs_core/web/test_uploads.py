"""Uploads to the page as it is served: size, form and names, and a disk that is full."""

import errno
import os
import re

import pytest

NOT_OURS = "this request is not one of the page's"
FILE_HEAD = b'--x\r\ncontent-disposition: form-data; name="files"; filename="a.png"\r\n\r\n'


def test_files_are_bounded_on_the_server(page, visit, png):
    large = bytes(300_000)
    sizes = [visit.http.post("/gradio_api/upload", files={"files": ("a.png", large)})]
    sizes.append(visit.http.post("/gradio_api/upload", files={"files": ("a.png", bytes(2**20))}))
    sizes.append(visit.http.post(
        "/gradio_api/upload", headers={"content-type": "multipart/form-data; boundary=x"},
        content=iter([FILE_HEAD, *[bytes(100_000)] * 10]),  # in pieces, without a stated length
    ))  # fmt: skip
    assert [answer.status_code for answer in sizes] == [413] * 3
    message, _ = visit.segment({"path": visit.upload(png(500, 500), "big.png")})
    assert "big.png has 0.2 million pixels" in message or "0.3 million" in message
    message, _ = visit.segment({"path": visit.upload(b"GIF89a", "<b>.gif")})
    assert "&lt;b&gt;.gif cannot be read as a picture" in message


@pytest.mark.parametrize(
    "form",
    [
        {"files": [("files", ("a.png", b"1")), ("files", ("b.png", b"2"))]},
        {"files": {"file": ("a.png", b"1")}},
        {"data": {"files": "text"}},
        {"content": b"x", "headers": {"content-type": "multipart/form-data"}},
        {"content": b"x", "headers": {"content-type": "multipart/form-data; boundary=x"}},
        {"content": b"x", "headers": {"content-type": "image/png"}},
        {"json": {"files": "x"}},
    ],
)
def test_an_upload_is_one_file_in_a_form(page, visit, form):
    before = page.files()
    answer = visit.http.post("/gradio_api/upload", **form)
    assert answer.status_code == 400 and answer.json() == {"detail": NOT_OURS}
    assert page.files() == before


@pytest.mark.parametrize(
    "name", ["../../x.png", "..\\x.png", "/etc/x.png", "x.svg", "x.html", "x.png\x00", "x" * 900]
)
def test_names_of_uploads_choose_no_place_and_no_kind(page, visit, png, name):
    ticket = visit.upload(png(), name)
    assert re.fullmatch(r"[\w-]{32}(\.png)?", ticket)
    assert len(list(page.folder.rglob(ticket))) == 1
    answer = visit.http.get(f"/gradio_api/file={ticket}")
    assert answer.headers["content-type"] in ("image/png", "application/octet-stream")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "no-store" in answer.headers["cache-control"]


def test_an_upload_on_a_full_disk(page, visit, png, monkeypatch, caplog):
    """The writer is patched; test_sessions.py has a disk that is really full."""
    ticket = visit.upload(png())
    before = page.files()
    with monkeypatch.context() as patch:
        patch.setattr("ovs_core.web.sessions.atomic_write", raise_full)
        answer = visit.http.post("/gradio_api/upload", files={"files": ("cat.png", png())})
        line = answer.json()["detail"]
        assert answer.status_code == 507 and str(page.folder) not in line
        assert line.startswith("cat.png cannot be kept in this page's folder for uploads")
        assert f"{page.folder}/" in caplog.text and "No space left on device" in caplog.text
    with monkeypatch.context() as patch:
        patch.setattr("starlette.datastructures.UploadFile.write", raise_full)
        answer = visit.http.post("/gradio_api/upload", files={"files": ("cat.png", png())})
        assert answer.status_code == 507
        assert "the folder for temporary files is full" in answer.json()["detail"]
    assert page.files() == before and visit.segment({"path": ticket})[0] == ""
    assert visit.segment({"path": visit.upload(png())})[0] == ""


def raise_full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
