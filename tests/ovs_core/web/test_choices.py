import pytest

from ovs_core.clip.architectures import EMBEDDED
from ovs_core.engine.config import load_cfg
from ovs_core.errors import UserError
from ovs_core.methods.configs import find_config, list_configs
from ovs_core.web import choices as module
from ovs_core.web.choices import found_choices, named_choices


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # OUTPUT_DIR is relative
    monkeypatch.setattr(module, "find_weights", lambda *_: None)


@pytest.fixture(scope="module")
def offer(tmp_path_factory):
    """What is found where nothing was trained and no CLIP lies on the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("empty"))
        patch.setattr(module, "find_weights", lambda *_: None)
        return found_choices()


def test_all_embedded_configs_are_offered_and_the_ready_ones_come_first(offer):
    tops = [name for name in list_configs() if name.count("/") == 1]
    clips = {name: load_cfg(find_config(name)).MODEL.CLIP.ARCHITECTURE for name in tops}
    embedded = {name for name, clip in clips.items() if clip in EMBEDDED}
    assert {choice.name for choice in offer} == embedded
    trained = [choice.trained for choice in offer]
    assert trained == sorted(trained, reverse=True) and any(trained) and not all(trained)


def test_what_lies_on_this_disk_is_offered_too(offer, tmp_path, monkeypatch):
    learner = offer[-1]
    folder = tmp_path / load_cfg(find_config(learner.name)).OUTPUT_DIR
    folder.mkdir(parents=True)
    (folder / "last_checkpoint").write_text("model_final.pth")
    monkeypatch.setattr(module, "find_weights", lambda *_: "somewhere")
    found = {choice.name: choice for choice in found_choices()}
    assert not learner.trained and found[learner.name].trained
    assert found[learner.name].config == str(folder.relative_to(tmp_path))
    real = [choice for name, choice in found.items() if name not in {c.name for c in offer}]
    assert real and all(choice.trained and choice.sees_photographs for choice in real)
    # First a person's own training, then what sees photographs.
    order = list(found.values())
    assert order[0] == found[learner.name] and order[1 : len(real) + 1] == real


def test_named_methods_keep_their_order_and_weights(offer, tmp_path):
    ready, learner = offer[0], offer[-1]
    file = tmp_path / "model.pth"
    file.touch()
    named = named_choices([learner.name, ready.name], [str(file), str(file)])
    assert [choice.name for choice in named] == [learner.name, ready.name]
    assert named[0].weights == str(file) and named[0].trained
    assert not named_choices([learner.name])[0].trained


def test_mistakes_are_told_before_the_page_opens(offer):
    name = offer[0].name
    for methods, weights, said in [
        ([name + "x"], [], "Did you mean"),
        ([name, name], [], "more than once"),
        ([name], ["none.pth"], "none.pth: no such checkpoint"),
        ([name], ["a", "b"], "2 --weights for 1 --methods"),
    ]:
        with pytest.raises(UserError, match=said):
            named_choices(methods, weights)


def test_visitors_read_what_a_method_is_and_no_comment_of_its_config(offer, tmp_path):
    said = {choice.about for choice in offer}
    assert "Needs no training. Small CLIP of the suite: knows drawings, not photographs" in said
    assert all(
        about.startswith(("Needs no training.", "Trained: ", "Untrained.")) for about in said
    )
    file = tmp_path / "mine.pth"
    file.touch()
    (real,) = named_choices(["hclip/vitb16"], [str(file)])
    assert real.about.startswith("Trained: mine.pth. CLIP ViT-B") and real.sees_photographs
