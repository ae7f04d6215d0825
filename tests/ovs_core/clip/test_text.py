import pytest
import torch

from ovs_core.clip import TextEmbedder, TextEncoder, text_embeddings
from ovs_core.words.vocabulary import Vocabulary

TEMPLATES = ["a photo of a {}.", "the {}"]


def test_short_forward_equals_open_clip(tiny_clip):
    encoder = TextEncoder(tiny_clip)
    tokens = encoder.tokenize(["a cat", "a very long sentence about several dogs in a park"])
    with torch.no_grad():
        torch.testing.assert_close(encoder(tokens), tiny_clip.model.encode_text(tokens))


def test_batches_keep_the_order(tiny_clip):
    encoder = TextEncoder(tiny_clip)
    prompts = ["a", "a much longer prompt than the first", "middle sized one", "b"]
    one_by_one = torch.cat([encoder.encode([p]) for p in prompts])
    torch.testing.assert_close(encoder.encode(prompts, batch_size=2), one_by_one)


def test_pooling_of_templates_and_synonyms(tiny_clip, tmp_path):
    encoder = TextEncoder(tiny_clip)
    embedder = TextEmbedder(encoder, folder=tmp_path)
    words = Vocabulary.parse("cat, sofa|couch")
    rows = embedder.classes(words, TEMPLATES)

    def ensemble(text):
        units = encoder.encode([t.format(text) for t in TEMPLATES])
        return torch.nn.functional.normalize(units.mean(0), dim=-1)

    torch.testing.assert_close(rows[0], ensemble("cat"))
    mean = torch.nn.functional.normalize(ensemble("sofa") + ensemble("couch"), dim=-1)
    torch.testing.assert_close(rows[1], mean)
    torch.testing.assert_close(rows.norm(dim=-1), torch.ones(2))


def test_nothing_is_embedded_twice(tiny_clip, tmp_path):
    words = Vocabulary.parse("cat, dog, sofa|couch")
    encoder = TextEncoder(tiny_clip)
    first = TextEmbedder(encoder, folder=tmp_path)
    rows = first.classes(words, TEMPLATES)
    assert encoder.num_computed == 8
    first.classes(words, TEMPLATES)
    first.classes(Vocabulary.parse("dog, bird"), TEMPLATES)
    assert encoder.num_computed == 10  # only the bird is new

    fresh = TextEncoder(tiny_clip)  # as after a restart: the disk knows the words
    again = TextEmbedder(fresh, folder=tmp_path).classes(words, TEMPLATES)
    assert fresh.num_computed == 0
    assert torch.equal(again, rows)


def test_vocabularies_that_share_texts_share_embeddings(tiny_clip, tmp_path):
    TextEmbedder(TextEncoder(tiny_clip), folder=tmp_path).texts(["cat", "dog"], TEMPLATES)
    encoder = TextEncoder(tiny_clip)
    TextEmbedder(encoder, folder=tmp_path).texts(["bird", "dog", "cat"], TEMPLATES)
    assert encoder.num_computed == len(TEMPLATES)


def test_an_interrupted_encoding_goes_on(tiny_clip, tmp_path, monkeypatch):
    monkeypatch.setattr(text_embeddings, "PROMPTS_PER_FILE", 4)  # two texts in a file
    words = ["cat", "dog", "bird", "fish", "horse"]
    encoder = TextEncoder(tiny_clip)
    original = encoder.encode

    def interrupted(prompts, **options):
        if encoder.num_computed == 4:
            raise KeyboardInterrupt
        return original(prompts, **options)

    monkeypatch.setattr(encoder, "encode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        TextEmbedder(encoder, folder=tmp_path).texts(words, TEMPLATES)
    fresh = TextEncoder(tiny_clip)
    rows = TextEmbedder(fresh, folder=tmp_path).texts(words, TEMPLATES)
    assert fresh.num_computed == 6  # of 10, four were there
    whole = TextEmbedder(TextEncoder(tiny_clip), folder="").texts(words, TEMPLATES)
    torch.testing.assert_close(rows, whole)


def test_progress_is_shown_when_it_takes_long(tiny_clip, capsys, monkeypatch):
    embedder = TextEmbedder(TextEncoder(tiny_clip), folder="")
    embedder.texts(["cat"], TEMPLATES)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(text_embeddings, "PROMPTS_PER_FILE", 2)
    embedder.texts(["dog", "bird"], TEMPLATES)
    assert "text embeddings: 100%" in capsys.readouterr().err


def test_other_templates_are_other_embeddings(tiny_clip, tmp_path):
    encoder = TextEncoder(tiny_clip)
    embedder = TextEmbedder(encoder, folder=tmp_path)
    a = embedder.texts(["cat"], ["a {}"])
    b = embedder.texts(["cat"], ["the {}"])
    assert not torch.equal(a, b)


def test_a_damaged_cache_file_is_made_again(tiny_clip, tmp_path, caplog):
    words = Vocabulary.parse("cat")
    rows = TextEmbedder(TextEncoder(tiny_clip), folder=tmp_path).classes(words, TEMPLATES)
    (file,) = tmp_path.rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:20])
    encoder = TextEncoder(tiny_clip)
    again = TextEmbedder(encoder, folder=tmp_path).classes(words, TEMPLATES)
    assert encoder.num_computed == 2
    assert "damaged text cache" in caplog.text
    torch.testing.assert_close(again, rows)


def test_cut_prompts_are_reported(tiny_clip, caplog):
    with caplog.at_level("INFO"):
        TextEncoder(tiny_clip).tokenize(["word " * 40, "short"])
    assert "1 prompt(s) are longer than the text tower's 18 tokens" in caplog.text


def test_words_that_are_too_long_are_found(tiny_clip):
    encoder = TextEncoder(tiny_clip)
    room = encoder.clip.tokenizer.context_length - 2
    fits = " ".join("a" for _ in range(room - 1))
    assert encoder.cut_texts([fits, "short"], ["{}"]) == []
    assert encoder.cut_texts([fits + " a a", fits], ["{}"]) == [fits + " a a"]
    assert encoder.cut_texts([fits], ["{}", "a photo of a {}"]) == [fits]  # one template suffices
    tokens = encoder.clip.tokenizer([fits, fits + " a"])
    assert encoder.cut_texts([fits + " a"], ["{}"]) == []  # as many tokens as there is room
    assert (tokens[:, -1] != 0).tolist() == [False, True]
