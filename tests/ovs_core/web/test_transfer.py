"""Uploads that are on their way for long; `test_hostile.py` has those that arrive."""

import asyncio
import json

import pytest

from ovs_core.web import transfer
from ovs_core.web.answers import Refused
from ovs_core.web.limits import UPLOADS, Limits
from ovs_core.web.sessions import Visitors

pytest.importorskip("starlette", reason="gradio is not installed: pip install -e '.[web]'")

HEAD = b'--x\r\ncontent-disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
SCOPE = {
    "type": "http", "method": "POST", "path": "/", "query_string": b"",
    "headers": [(b"content-type", b"multipart/form-data; boundary=x")],
}  # fmt: skip


@pytest.fixture
def visitors(tmp_path):
    return Visitors(tmp_path)


async def upload(to, visitor, go_on):
    """Sends the head of a file, and the rest when it may; returns the ticket."""
    parts = [(HEAD, None), (b"1\r\n--x--\r\n", go_on)]
    sent = []

    async def receive():
        body, wait_for = parts.pop(0)
        if wait_for is not None:
            await wait_for.wait()
        return {"type": "http.request", "body": body, "more_body": bool(parts)}

    async def send(message):
        sent.append(message)

    await to.upload(dict(SCOPE), receive, send, visitor)
    return json.loads(sent[1]["body"])[0]


def test_a_visitor_has_few_uploads_on_the_way_and_holds_up_nobody_else(visitors):
    async def scenario():
        to = transfer.Transfer(visitors, Limits())
        slow, other = visitors.enter(), visitors.enter()
        go_on, at_once = asyncio.Event(), asyncio.Event()
        at_once.set()
        begun = [asyncio.create_task(upload(to, slow, go_on)) for _ in range(UPLOADS)]
        await asyncio.sleep(0)
        with pytest.raises(Refused) as refused:
            await upload(to, slow, at_once)
        assert refused.value.status == 429
        assert refused.value.line == "wait until the other pictures have arrived"
        assert visitors.file(other, await upload(to, other, at_once))
        go_on.set()
        assert all(visitors.file(slow, ticket) for ticket in await asyncio.gather(*begun))
        assert visitors.file(slow, await upload(to, slow, at_once))

    asyncio.run(scenario())


def test_an_upload_that_never_ends_is_cut_off(visitors, monkeypatch):
    monkeypatch.setattr(transfer, "UPLOAD_SECONDS", 0.05)

    async def scenario():
        to, visitor = transfer.Transfer(visitors, Limits()), visitors.enter()
        for _ in range(UPLOADS + 1):
            with pytest.raises(Refused) as refused:
                await upload(to, visitor, asyncio.Event())
            assert refused.value.status == 408
        assert not visitor.files

    asyncio.run(scenario())
