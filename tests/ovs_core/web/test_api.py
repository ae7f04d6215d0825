"""Programs ask the page through gradio_client, where it is served for them."""

import base64

import numpy as np
import pytest
from pycocotools import mask

gradio_client = pytest.importorskip("gradio_client", reason="gradio is not installed")
httpx = pytest.importorskip("httpx", reason="gradio is not installed")


@pytest.fixture(scope="module")
def served(serve_page):
    return serve_page(api=True)


@pytest.fixture(scope="module")
def program(served):
    cookies = dict(httpx.get(served.address).cookies)
    return gradio_client.Client(
        served.address, httpx_kwargs={"cookies": cookies}, analytics_enabled=False, verbose=False
    )


@pytest.fixture
def picture(tmp_path, png):
    file = tmp_path / "my cat.png"
    file.write_bytes(png(40, 30))
    return gradio_client.handle_file(file)


def test_a_program_gets_masks(program, picture):
    answer = program.predict(picture, "left|west, right", "two/tiny", api_name="/segment_picture")
    assert answer["method"] == "two/tiny" and answer["names"] == ["left", "right"]
    assert answer["size"] == [30, 40] and "error" not in answer
    first, second = answer["coco"]["annotations"]
    left = mask.decode(first["segmentation"])
    assert np.array_equal(np.flatnonzero(left[0]), np.arange(20))
    assert not (left & mask.decode(second["segmentation"])).any()


@pytest.mark.parametrize(
    "words, method, message",
    [
        ("left, left", "one/tiny", "left"),
        ("left", "three/tiny", "'three/tiny' is not on offer"),
        ("left", ["one/tiny"], "method"),
    ],
)
def test_a_program_is_told_what_is_wrong(program, picture, words, method, message):
    answer = program.predict(picture, words, method, api_name="/segment_picture")
    assert list(answer) == ["error"] and message in answer["error"]


def test_a_program_needs_a_picture(program):
    answer = program.predict(None, "left", "one/tiny", api_name="/segment_picture")
    assert answer["error"].startswith("add a picture first")


def test_with_a_password_a_program_brings_it(serve_page, picture):
    address = serve_page(api=True, password="sesame").address
    headers = {"authorization": "Basic " + base64.b64encode(b":sesame").decode()}
    cookies = dict(httpx.get(address, headers=headers).cookies)
    asked = {"headers": headers, "httpx_kwargs": {"cookies": cookies}, "verbose": False}
    program = gradio_client.Client(address, analytics_enabled=False, **asked)
    answer = program.predict(picture, "left, right", "one/tiny", api_name="/segment_picture")
    assert answer["method"] == "one/tiny"


def test_nothing_but_that_is_offered(program, page):
    endpoints = program.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert list(endpoints) == ["/segment_picture"]
    visitor = page.visit()  # of a page that is for people alone
    assert visitor.http.get("/gradio_api/info").status_code == 404
    assert "segment_picture" not in visitor.events
