"""The model card: what it states, and the scores that it reads."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from parlo_training import evaluate
from parlo_training.card import LIMITS, model_card, score_table
from parlo_training.checkpoint import Checkpoint
from parlo_training.codec import Codec
from parlo_training.errors import UserError
from support import scores, setting


@pytest.fixture
def card(tmp_path):
    """A card of a bundle of a mebibyte and a half, with changes to configuration and checkpoint."""

    def card(*changes, sources="", scores="", licence="CC0-1.0", **changed):
        codec = Codec(setting("tiny", *changes))
        weights = codec.state_dict()
        checkpoint = Checkpoint(codec.config, 1200, 930.0, weights, weights)
        for name, value in changed.items():
            setattr(checkpoint, name, value)
        (tmp_path / "manifest.toml").write_text(
            f'name = "the-name"\ndescription = "Parla più."\nlicence = "{licence}"\n',
            encoding="utf-8",
        )
        (tmp_path / "encoder.onnx").write_bytes(bytes(3 * 2**19))
        (tmp_path / "README.md").write_bytes(bytes(2**22))  # the card before: it does not count
        return model_card(checkpoint, codec, tmp_path, sources, scores)

    return card


def test_a_card_states_what_a_model_is(card):
    notes = {"hours": 5.55, "speakers": 386, "hardware": "a machine"}
    text = card(notes=notes, sources="Read *sentences*.\n")
    assert text.startswith("# Model card: the-name\n\nParla più.\n\n| | |\n| --- | --- |\n")
    codec = Codec(setting("tiny"))
    weights = sum(parameter.numel() for parameter in codec.parameters()) / 1e6
    compute = codec.compute()
    for row in (
        "| audio | 16 kHz mono, frames of 320 samples (20 ms) |",
        "| codes | 4 codebooks of 32 entries, residual, Euclidean |",
        f"| parameters | {weights:.2f} million, and codebooks of 0.00 million;",
        f"| compute | {compute['encoder']:.0f} + {compute['decoder']:.0f} million multiply-",
        "| size | 1.5 MiB |",
        "| training | 1200 steps of 2 x 0.4 s, 16 minutes on a machine |",
        "| speech | 5.5 hours, 386 speakers |",
        "| licence | CC0-1.0 |",
    ):
        assert f"\n{row}" in text, row
    assert text.index("## Scores") < text.index("## Limits") < text.index("## Data")
    assert LIMITS in text and "## Data\n\nRead *sentences*.\n" in text
    assert "Not measured yet" in text and text.endswith("hash.\n")


def test_a_card_says_what_is_not_known(card):
    text = card("audio.rate=22000", licence="")
    assert "| audio | 22 kHz mono, frames of 440 samples (20 ms) |" in text
    assert "| licence | not stated |" in text and "on unknown hardware |" in text
    assert "## Data\n\nNot stated." in text
    assert "| audio | 16.4 kHz mono" in card("audio.rate=16400")


def test_a_card_holds_the_scores(card, tmp_path):
    rows = scores("parlo-12", "6", estoi=[0.9, 0.9015], per=[10, 11.02], visqol=[4, "nan"])
    rows += scores("parlo-3", "1.5", estoi=[0.8, 0.9], spk=[0.75, 0.25])
    rows += scores("lyra2-6.0", "6", estoi=[0.5, 0.5])
    names = list(dict.fromkeys(name for row in rows for name in row))
    path = tmp_path / "scores.csv"
    evaluate.write_rows(path, [{name: row.get(name, "") for name in names} for row in rows])
    table = score_table(path).splitlines()
    assert table[0].startswith("Means over 2 clips")
    # depths in order, each metric rounded towards the worse, what was not measured a dash
    assert table[-2:] == [
        "| 3 | 1.5 | 0.850 | - | 0.500 | - | - | - |",
        "| 12 | 6 | 0.900 | 4.00 | - | 10.6 | - | - |",
    ]
    assert len({line.count("|") for line in table[2:]}) == 1
    text = card(scores=score_table(path))
    assert "\n".join(table) in text and "Not measured" not in text


@pytest.mark.parametrize(("text", "words"), [
    ("codec,stem,kbps,estoi\nlyra2-6.0,a,6,0.9\n", "holds no scores of a bundle"),
    ("", "holds no scores of a bundle"),
    ("stem,estoi\na,0.9\n", "is not a scores.csv"),
    ("codec,stem,kbps,estoi\nparlo-3,a,much,0.9\n", "is not a scores.csv"),
    ("codec,stem,kbps,estoi\nparlo-3,a,1.5,good\n", "is not a scores.csv"),
])
def test_what_holds_no_scores_is_refused(text, words, tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=words):
        score_table(path)
    with pytest.raises(UserError, match="cannot read .*none.csv: No such file"):
        score_table(tmp_path / "none.csv")
