"""The list of weights that configs can use, and fetching some from a server on this machine."""

import hashlib
import http.server
import re
import threading

import pytest
import timm
import torch

from ovs_core.clip import lookup
from ovs_core.clip.published import PublishedFile, timm_files
from ovs_core.commands import main
from ovs_core.errors import UserError
from ovs_core.methods.configs import list_configs
from ovs_core.methods.published_lists import Statement, read_statements
from ovs_core.modeling.checkpoint import read_checkpoint
from ovs_core.reports import catalog, weights

CONTENT = b"weights" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Hub(http.server.BaseHTTPRequestHandler):
    """Gives every file, and states its SHA-256 as the Hugging Face hub does."""

    def do_HEAD(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.send_header("X-Linked-Etag", f'"{SHA256 if "good" in self.path else "0" * 64}"')
        self.send_header("X-Repo-Commit", "abc")
        self.end_headers()

    def do_GET(self):
        self.do_HEAD()
        self.wfile.write(CONTENT)

    def log_message(self, *args):
        """Say nothing."""


@pytest.fixture(scope="module")
def hub():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def few():
    """What a few configs need; reading all takes seconds."""
    return catalog.offers(["cliptrase/tiny", "cliptrase/vitb16", "cliptrase/vitb16_336"])


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch, few):
    monkeypatch.setenv("OVS_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(weights, "offers", lambda: few)
    monkeypatch.setattr(lookup, "try_to_load_from_cache", lambda *names: None)  # of this machine
    return tmp_path / "weights"


@pytest.fixture
def stated(monkeypatch):
    """Let one project's list state something."""

    def state(**about):
        one = Statement("some/thing", "checkpoint", **about)
        monkeypatch.setattr(weights, "read_statements", lambda: [one])

    return state


def test_the_lists_of_the_projects_are_sound():
    entries = read_statements()
    names = [one.name for one in entries]
    assert len(names) == len(set(names)) > 20
    known = set(list_configs())
    for one in entries:
        assert set(one.configs) <= known, one.name
        assert bool(one.timm) or (bool(one.stated_by) and bool(one.url or one.page)), one.name
        assert not one.timm or timm.is_model(one.timm)
        assert all(url.startswith("https://") for url in (one.url, one.page) if url)


def test_what_is_known_is_listed_and_the_rest_is_unknown(capsys, folder):
    assert main(["weights"]) == 0
    shown = capsys.readouterr().out
    entries = {block.split(" (")[0]: block for block in shown.split("\n\n")}
    clip = entries["ViT-B-16-quickgelu/openai"]
    for part in ("(tower)", "here:       no", "open_clip_model.safetensors (SHA-256 unknown)",
                 "ViT-B-16.pt (SHA-256 5806e77cd80f8b59", "size:       unknown",
                 "licence:    MIT", "stated by:  open_clip", "2 configs, such as cliptrase/vitb16",
                 f"looked for: {folder}/ViT-B-16-quickgelu/openai.safetensors"):  # fmt: skip
        assert part in clip, part
    assert "here:       " in entries["embedded-vit"] and "MiB" in entries["embedded-vit"]
    dino = entries["timm/vit_base_patch16_224.dino"]
    assert "(backbone)" in dino and "stated by:  timm" in dino and "apache-2.0" in dino
    catseg = entries["hclip/catseg_base"]
    assert "(checkpoint)" in catseg and "licence:    unknown" in catseg
    assert "the read-me of" in catseg and "SHA-256 unknown" in catseg
    assert "address:    page https://drive.google.com/" in entries["maftplus/base"]
    assert shown.splitlines()[-1].endswith(f"Weights folder: {folder}")


def test_what_is_here_is_said(capsys, folder):
    (folder / "hclip").mkdir(parents=True)
    (folder / "hclip" / "catseg_base.pth").write_bytes(b"1" * 2**20)
    (folder / "maftp_b.pth").write_bytes(b"1")
    assert main(["weights", "--missing"]) == 0
    shown = capsys.readouterr().out
    assert "hclip/catseg_large" in shown and "embedded-vit (" not in shown
    assert "hclip/catseg_base (" not in shown and "maftplus/base (" not in shown
    assert weights.find_entry("hclip/catseg_base").size == 2**20


def test_a_file_is_fetched_once_and_verified(hub, folder, stated, capsys):
    stated(url=f"{hub}/model.pth", file="model.pth", sha256=SHA256[:8])
    assert main(["weights", "get", "some/thing"]) == 0
    path = folder / "some" / "thing.pth"
    assert path.read_bytes() == CONTENT
    assert f"{path}, 0.0 MiB, SHA-256 {SHA256}, as stated" in capsys.readouterr().out
    assert main(["weights", "get", "some/thing"]) == 0
    assert "was there" in capsys.readouterr().out


def test_what_nobody_states_is_said(hub, stated, capsys):
    stated(url=f"{hub}/model.pth", file="model.pth")
    assert main(["weights", "get", "some/thing"]) == 0
    assert f"SHA-256 {SHA256}, which nobody states" in capsys.readouterr().out


def test_another_file_is_not_kept(hub, folder, stated, capsys):
    stated(url=f"{hub}/model.pth", file="model.pth", sha256="00000000")
    assert main(["weights", "get", "some/thing"]) == 1
    assert "is not what was published" in capsys.readouterr().err
    assert not list(folder.rglob("*.pth"))


@pytest.mark.parametrize("name", ["good", "bad"])
def test_a_file_of_the_hub_is_held_against_what_the_hub_states(hub, folder, monkeypatch, name):
    file = PublishedFile("ViT-X/tag", f"{hub}/{name}.safetensors", "x.safetensors", "", "a/b")
    monkeypatch.setattr(weights, "published_files", lambda *names: [file])
    monkeypatch.setattr(weights, "find_weights", lambda *names: None)
    if name == "good":
        got = weights.fetch_weights("ViT-X/tag")
        assert got.path == folder / "ViT-X" / "tag.safetensors" and got.verified
    else:
        with pytest.raises(UserError, match="is not what was published"):
            weights.fetch_weights("ViT-X/tag")


def test_the_next_address_is_tried(hub, monkeypatch):
    files = [
        PublishedFile("ViT-X/tag", f"{hub}/{name}.pt", f"{name}.pt", sha256)
        for name, sha256 in (("a", "00000000"), ("b", SHA256))
    ]
    monkeypatch.setattr(weights, "published_files", lambda *names: files)
    monkeypatch.setattr(weights, "find_weights", lambda *names: None)
    assert weights.fetch_weights("ViT-X/tag").sha256 == SHA256


def test_what_only_a_page_leads_to_is_left_to_the_person(stated, folder):
    stated(page="https://pages.example/thing", file="thing.pth")
    with pytest.raises(UserError) as told:
        weights.fetch_weights("some/thing")
    for part in ("https://pages.example/thing", str(folder / "thing.pth"), "--weights"):
        assert part in str(told.value)


def test_mistakes_on_the_line_are_named(capsys, monkeypatch):
    monkeypatch.setattr(weights, "why_unreachable", lambda url: "the net is down")
    for line, message in [
        (["get"], "name what to fetch"),
        (["list", "x"], "'x' is too much"),
        (["get", "hclip/catseg_bas"], "Did you mean 'hclip/catseg_base'"),
        (["get", "hclip/catseg_base"], "could not be fetched .*the net is down"),
    ]:
        assert main(["weights", *line]) == 1
        error = capsys.readouterr().err
        assert len(error.splitlines()) == 1

        assert re.search(message, error), error


def test_a_checkpoint_is_found_in_the_weights_folder(folder):
    folder.mkdir()
    torch.save({"model": {"a": torch.ones(1)}}, folder / "mine.pth")
    assert read_checkpoint("mine.pth")["model"]["a"].tolist() == [1.0]


def test_timm_states_addresses_and_licences():
    first, second = timm_files("vit_base_patch16_224.dino")
    assert first.url.endswith("timm/vit_base_patch16_224.dino/resolve/main/model.safetensors")
    assert first.name == "timm/vit_base_patch16_224.dino" and first.licence == "apache-2.0"
    assert second.file == "dino_vitbase16_pretrain.pth"
    assert timm_files("no_such_model") == []
