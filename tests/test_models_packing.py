import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModel

from models.backbone import load_backbone
from models.packing import hidden_states, mean_by_text, pack
from models.text import encode, with_limit
from models.trunk import split


def random_texts(lengths, vocabulary=40, seed=3):
    random = np.random.default_rng(seed)
    return [random.integers(4, vocabulary, size=length) for length in lengths]


def plain_forward(folder, texts):
    model = AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        return torch.cat(
            [model(input_ids=torch.from_numpy(ids)[None]).last_hidden_state[0] for ids in texts]
        )


def packed_forward(backbone, texts, **how):
    packed = pack(texts, position_offset=backbone.position_offset, **how)
    with torch.inference_mode():
        return hidden_states(backbone.model, packed), packed


@pytest.mark.parametrize(
    "lengths", [[64], [1], [*range(1, 65)], [5, 5, 5, 9, 60, 2]], ids=["one", "1", "all", "mix"]
)
@pytest.mark.parametrize(
    "how", [{}, {"slack_tokens": 32, "round_to": 64}], ids=["exact", "rounded"]
)
def test_packed_forward_equals_the_library_forward(
    tiny_backbone_folder, tiny_backbone, lengths, how
):
    texts = random_texts(lengths)
    packed_states, packed = packed_forward(tiny_backbone, texts, **how)
    expected = plain_forward(tiny_backbone_folder, texts)
    difference = (packed_states[: len(expected)] - expected).abs().max()
    assert difference < 1e-5
    assert len(packed_states) == len(expected) + packed.filler


def test_empty_and_too_long_texts(tiny_backbone_folder, tiny_backbone):
    encoded = encode(with_limit(tiny_backbone.tokenizer, 64), ["", "bulb " * 300, "a wire"])
    states, _ = packed_forward(tiny_backbone, encoded.token_ids)
    expected = plain_forward(tiny_backbone_folder, encoded.token_ids)
    assert encoded.lengths.tolist() == [2, 64, 4]
    assert (states - expected).abs().max() < 1e-5


@settings(max_examples=30, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=12), round_to=st.sampled_from([1, 64])
)
def test_groups_cover_every_token_once(lengths, round_to):
    packed = pack(random_texts(lengths), round_to=round_to)
    assert [group.start for group in packed.groups[1:]] == [g.stop for g in packed.groups[:-1]]
    assert packed.groups[-1].stop == sum(lengths)
    assert sum(group.count for group in packed.groups) == len(lengths)
    assert packed.input_ids.shape[1] % round_to == 0


def test_training_attention_has_the_gradients_of_the_plain_one(tiny_backbone_folder, tiny_backbone):
    texts = random_texts([4, 6, 9])
    plain = AutoModel.from_pretrained(tiny_backbone_folder, attn_implementation="eager").eval()
    for ids in texts:
        output = plain(input_ids=torch.from_numpy(ids)[None]).last_hidden_state
        output.mean(dim=1).square().sum().backward()
    ours = load_backbone(str(tiny_backbone_folder)).model.requires_grad_(True)
    packed = pack(texts, slack_tokens=32, round_to=64)
    mean_by_text(hidden_states(ours, packed), packed).square().sum().backward()
    for (name, left), right in zip(plain.named_parameters(), ours.parameters(), strict=True):
        if left.grad is not None and right.grad is not None:
            torch.testing.assert_close(left.grad, right.grad, atol=2e-5, rtol=1e-3, msg=name)


def test_a_cut_encoder_gives_what_the_whole_gives(tiny_backbone):
    packed = pack(random_texts([4, 6, 9]), round_to=64)
    lower, upper = split(tiny_backbone.model, 1)
    with torch.inference_mode():
        whole = hidden_states(tiny_backbone.model, packed)
        assert torch.equal(hidden_states(upper, packed, hidden_states(lower, packed)), whole)
        assert torch.equal(hidden_states(tiny_backbone.model, packed), whole)


def test_starts_point_at_the_first_token_of_each_text():
    texts = random_texts([3, 1, 5])
    packed = pack(texts, round_to=64)
    first = packed.input_ids[0, packed.starts]
    last = packed.input_ids[0, packed.starts + packed.lengths - 1]
    assert first.tolist() == [ids[0] for ids in texts]
    assert last.tolist() == [ids[-1] for ids in texts]


def test_a_text_without_tokens_is_refused():
    with pytest.raises(ValueError, match="text 1 of 3 has no token"):
        pack(random_texts([3, 0, 5]))
