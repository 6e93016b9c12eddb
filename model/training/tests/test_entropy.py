"""The entropy model: nothing knows what it may not, and what repeats is learned."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from parlo_training.entropy import EntropyConfig, EntropyModel
from parlo_training.entropy_data import Batches, Run, known, split

SMALL = EntropyConfig(books=4, modelled=3, entries=32, embedding=8, width=32, heads=2, layers=2,
                      hidden=32, content_hidden=16, fine_from=2, book_hidden=16, fine_hidden=8,
                      reach=6)


def untrained(seed: int = 0) -> EntropyModel:
    """A model whose every weight is at work."""
    torch.manual_seed(seed)
    model = EntropyModel(SMALL)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.3 * torch.randn_like(value))
    return model.eval()


def codes(time: int, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(SMALL.entries, (1, time, SMALL.books), generator=generator)


@torch.no_grad()
def bits(model: EntropyModel, values: torch.Tensor, may: np.ndarray, depth: int = 4) -> np.ndarray:
    """[T, depth]."""
    found = model.bits(values, torch.tensor([depth]), torch.from_numpy(may)[None, None])
    return torch.stack([found[k][1][0] for k in range(depth)], 1).numpy()


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("context", ["file", "call", "one-way"])
def test_bits_depend_on_known_frames_and_coarser_codes_alone(context, rounded):
    model, values = untrained(), codes(14)
    model.rounding.on = rounded
    may = known(context, 14)
    base = bits(model, values, may)
    reached = set()
    for s in range(14):
        for k in range(SMALL.books):
            other = values.clone()
            other[0, s, k] = (other[0, s, k] + 7) % SMALL.entries
            changed = np.abs(bits(model, other, may) - base) > 1e-6
            for t, j in zip(*np.nonzero(changed)):
                own = t == s and j >= k
                past = may[t, s] and t - s <= SMALL.reach and k < SMALL.modelled
                assert own or past, (s, k, t, j)
                reached.add("own" if own else "past")
    assert reached == {"own", "past"}


def test_codes_that_are_absent_count_for_nothing():
    model, values, may = untrained(), codes(9), known("file", 9)
    other = values.clone()
    other[..., 2:] = 3
    assert np.array_equal(bits(model, values, may, 2), bits(model, other, may, 2))


def test_probabilities_sum_to_one():
    model, values = untrained(), codes(5)
    may = known("file", 5)
    for k in range(SMALL.books):
        total = 0
        for code in range(SMALL.entries):
            other = values.clone()
            other[0, 3, k] = code
            total += 2.0 ** -bits(model, other, may)[3, k]
        assert total == pytest.approx(1, abs=1e-5)


def test_a_call_knows_its_packet_and_what_was_acknowledged():
    may = known("call", 12)  # packets 0-2, 3-5, 6-8, 9-11, each acknowledged 100 ms later
    assert not may[3, :3].any() and may[5, 3:5].all()
    assert may[6, :3].all() and not may[6, 3:].any()
    assert may[9, :6].all() and not may[9, 6:].any()
    assert np.array_equal(known("one-way", 12)[9:, :9], np.zeros((3, 9), bool))
    assert np.array_equal(known("file", 12), np.tri(12, k=-1, dtype=bool))


def test_what_is_drawn_never_knows_itself_or_what_follows():
    random = np.random.default_rng(3)
    for _ in range(50):
        for context in ("file", "call", "one-way"):
            assert not np.triu(known(context, 40, random)).any()


def runs(count: int = 6, time: int = 30) -> list[Run]:
    random = np.random.default_rng(2)
    return [
        Run(f"voice {n}", {depth: random.integers(0, 32, (time, depth)) for depth in (3, 6, 12)})
        for n in range(count)
    ]


def test_batches_are_what_their_depths_say_and_the_same_again():
    one, two = (Batches(runs(), 5, 40, seed=4) for _ in range(2))
    for _ in range(20):
        values, depths, may = one.draw()
        assert values.shape == (5, 40, 12) and may.shape == (5, 1, 40, 40)
        assert ((depths >= 1) & (depths <= 12)).all()
        for row, depth in zip(values, depths):
            assert not row[:, depth:].any()
        assert all(torch.equal(a, b) for a, b in zip((values, depths, may), two.draw()))


def test_voices_kept_apart_are_not_learned_from():
    learn, check = split(runs(40), 0.3, seed=7)
    assert learn and check
    assert not {run.voice for run in learn} & {run.voice for run in check}
    assert len(learn) + len(check) == 40


def test_it_learns_what_repeats():
    """Codes that follow from the frame before become nearly free."""
    torch.manual_seed(0)
    model = EntropyModel(SMALL)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    may = torch.from_numpy(known("file", 24))[None, None]
    random = np.random.default_rng(0)
    depth = torch.full((8,), 3)
    for _ in range(120):
        first = random.integers(0, SMALL.entries, (8, 1, 1))
        values = (first + 5 * np.arange(24)[:, None] + np.arange(4)) % SMALL.entries
        found = model.bits(torch.from_numpy(values), depth, may)
        loss = sum(lost[:, 1:].mean() for _, lost in found.values()) / 3
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 1.0  # of 5 bits
