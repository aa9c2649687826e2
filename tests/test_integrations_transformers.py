"""Losses in Hugging Face's Trainer: a step of uneven micro-batches changes the parameters as one large batch does, on one device and on two."""

import pytest
import torch
from torch import nn
from trainers import gloo, on_two, trainer

import losskit
from losskit.integrations.transformers import TrainerLoss

transformers = trainer("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")
LENGTHS = (24, 3, 15, 2, 9, 5)


def sentences():
    draw = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 30, (len(LENGTHS), max(LENGTHS)), generator=draw)
    there = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    return [{"input_ids": x, "labels": torch.where(m, x, -100)} for x, m in zip(tokens, there, strict=True)]


def causal():
    """A small model of language, in float64."""
    torch.manual_seed(0)
    ends = dict(vocab_size=30, bos_token_id=None, eos_token_id=None)
    config = transformers.LlamaConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, **ends)
    return transformers.LlamaForCausalLM(config).double()


def step(model, data, folder, loss=None, *, of=1, pieces=1, **more):
    """What one step of a rate of 1 has taken from the parameters: their gradient."""
    before = [p.detach().clone() for p in model.parameters()]
    arguments = transformers.TrainingArguments(
        output_dir=str(folder), per_device_train_batch_size=of, gradient_accumulation_steps=pieces, max_steps=1, learning_rate=1.0, optim="sgd",
        lr_scheduler_type="constant", max_grad_norm=0.0, report_to=[], save_strategy="no", disable_tqdm=True, use_cpu=True, logging_strategy="no",
        remove_unused_columns=False, train_sampling_strategy="sequential", **more,
    )  # fmt: skip
    result = transformers.Trainer(model, arguments, train_dataset=data, compute_loss_func=loss).train()
    return torch.cat([(b - p.detach()).flatten() for b, p in zip(before, model.parameters(), strict=True)]), result.training_loss


LOSSES = {
    "cross-entropy": losskit.CrossEntropyLoss(),
    "smoothed": losskit.CrossEntropyLoss(label_smoothing=0.1),
    "focal": losskit.FocalLoss(task="multiclass", gamma=1.5),
}


@pytest.mark.parametrize("name", LOSSES)
def test_uneven_micro_batches_are_one_batch(name, tmp_path):
    loss = TrainerLoss(LOSSES[name], shift=True)
    pieces, by_pieces = step(causal(), sentences(), tmp_path, loss, of=1, pieces=6)
    whole, by_whole = step(causal(), sentences(), tmp_path, loss, of=6)
    model, batch = causal(), {key: torch.stack([row[key] for row in sentences()]) for key in ("input_ids", "labels")}
    direct = LOSSES[name](model(input_ids=batch["input_ids"]).logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten())
    direct.backward()
    wanted = torch.cat([p.grad.flatten() for p in model.parameters()])
    assert (pieces - wanted).norm() < 1e-12 * wanted.norm() and (whole - wanted).norm() < 1e-12 * wanted.norm()
    assert by_pieces == pytest.approx(direct.item(), rel=1e-6) and by_whole == pytest.approx(direct.item(), rel=1e-6)


@pytest.mark.parametrize(("name", "smoothing"), [("cross-entropy", 0.0), ("smoothed", 0.1)])
def test_cross_entropy_is_the_trainers_own(name, smoothing, tmp_path):
    theirs, _ = step(causal(), sentences(), tmp_path, of=2, pieces=3, label_smoothing_factor=smoothing)
    ours, _ = step(causal(), sentences(), tmp_path, TrainerLoss(LOSSES[name], shift=True), of=2, pieces=3)
    assert (ours - theirs).norm() < 1e-6 * theirs.norm()  # theirs is partly in float32


@pytest.mark.parametrize("kind", [None, "ForCausalLM"])
def test_what_the_trainer_counts_of_other_models(kind, tmp_path):
    """It knows causal models by the names of their classes; of others, as GPT-2's, it counts the first labels, too, unless it is told."""
    torch.manual_seed(0)
    sizes = dict(vocab_size=30, n_positions=32, n_embd=8, n_layer=1, n_head=2, attn_pdrop=0, embd_pdrop=0, resid_pdrop=0)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(bos_token_id=None, eos_token_id=None, **sizes)).double()
    if kind:
        model.loss_type = kind
    batch = {key: torch.stack([row[key] for row in sentences()]) for key in ("input_ids", "labels")}
    with torch.no_grad():
        wanted = losskit.cross_entropy(model(input_ids=batch["input_ids"]).logits[:, :-1], batch["labels"][:, 1:], dim=-1).item()
    _, value = step(model, sentences(), tmp_path, TrainerLoss(losskit.CrossEntropyLoss(), shift=True), of=1, pieces=6)
    count = sum(LENGTHS)
    assert value == pytest.approx(wanted if kind else wanted * (count - len(LENGTHS)) / count, rel=1e-6)


def test_evaluation(tmp_path):
    """The loss of an evaluation's one batch is the loss."""
    model = causal()
    quiet = dict(report_to=[], disable_tqdm=True, use_cpu=True, per_device_eval_batch_size=8, remove_unused_columns=False)
    trainer = transformers.Trainer(
        model, transformers.TrainingArguments(str(tmp_path), **quiet), eval_dataset=sentences(), compute_loss_func=TrainerLoss(LOSSES["focal"], shift=True)
    )
    batch = {key: torch.stack([row[key] for row in sentences()]) for key in ("input_ids", "labels")}
    with torch.no_grad():
        wanted = LOSSES["focal"](model(input_ids=batch["input_ids"]).logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten())
    assert trainer.evaluate()["eval_loss"] == pytest.approx(wanted.item(), rel=1e-6)


class Pictures(nn.Module):
    """Scores of half the labels' size, as SegFormer's are."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv2d(3, 4, 3, stride=2, padding=1, dtype=torch.float64)

    def forward(self, pixel_values):
        return {"logits": self.layer(pixel_values)}


def pictures():
    draw = torch.Generator().manual_seed(1)
    return [
        {"pixel_values": torch.randn(3, 8, 12, generator=draw, dtype=torch.float64), "labels": torch.randint(0, 4, (8, 12), generator=draw)} for _ in range(5)
    ]


def add(input, target):
    return losskit.dice_loss(input, target, task="multiclass") + losskit.cross_entropy(input, target)


@pytest.mark.parametrize("loss", [losskit.DiceLoss(task="multiclass"), losskit.DiceCELoss(task="multiclass"), losskit.CrossEntropyLoss(), add], ids=str)
def test_pictures_in_uneven_micro_batches_are_one_batch(loss, tmp_path):
    """Five in micro-batches of two: the last has one."""
    pieces, _ = step(Pictures(), pictures(), tmp_path, TrainerLoss(loss), of=2, pieces=3)
    whole, value = step(Pictures(), pictures(), tmp_path, TrainerLoss(loss), of=5)
    assert (pieces - whole).norm() < 1e-12 * whole.norm()
    data = {key: torch.stack([row[key] for row in pictures()]) for key in ("pixel_values", "labels")}
    scores = nn.functional.interpolate(Pictures()(data["pixel_values"])["logits"], size=(8, 12), mode="bilinear")
    assert value == pytest.approx(loss(scores, data["labels"]).item(), rel=1e-6)


def test_calls_as_recorded():
    """Outputs that are tuples; a regression's one score; no count, as in an evaluation without labels counted; a count for each device of DataParallel."""
    x, t = torch.randn(4, 1), torch.randn(4)
    assert TrainerLoss(losskit.MSELoss())((x,), t) == losskit.mse_loss(x[:, 0], t)
    scores, labels = torch.randn(4, 7, 3), torch.randint(0, 3, (4, 7))
    loss = TrainerLoss(losskit.CrossEntropyLoss())
    assert torch.equal(loss({"logits": scores}, labels), losskit.cross_entropy(scores.flatten(0, 1), labels.flatten()))
    for dim in (-1, 2):  # said by who knows where the classes of tokens are
        assert torch.allclose(TrainerLoss(losskit.CrossEntropyLoss(dim=dim))({"logits": scores}, labels), loss({"logits": scores}, labels))
    on_two = loss({"logits": scores}, labels, num_items_in_batch=torch.tensor([[28], [28]]))  # the Trainer multiplies by the number of devices afterwards
    assert torch.allclose(2 * on_two, losskit.cross_entropy(scores, labels, dim=-1))
    own = torch.tensor([1.0, 0.5, 2.0])
    weighed = TrainerLoss(losskit.CrossEntropyLoss(weight=own))({"logits": scores}, labels, num_items_in_batch=28)
    torch.testing.assert_close(weighed, losskit.cross_entropy(scores, labels, dim=-1, weight=own, reduction="sum") / 28)
    dice = TrainerLoss(losskit.DiceLoss(task="multiclass"))
    nothing = dice((torch.randn(1, 3, 4, 4),), torch.full((1, 4, 4), -100), num_items_in_batch=torch.tensor(0))
    assert nothing == 0
    with pytest.raises(ValueError, match="name the column of the data set 'labels'"):
        loss({"logits": scores}, None)


def both(number, folder):
    """The gradient of a rank's three micro-batches, with one count over the ranks, and with its own."""
    loss = TrainerLoss(losskit.CrossEntropyLoss(), shift=True)
    how = dict(of=1, pieces=3, ddp_backend="gloo")
    return {average: step(causal(), sentences(), folder, loss, average_tokens_across_devices=average, **how)[0] for average in (True, False)}


@gloo
@pytest.mark.thorough
def test_two_devices(tmp_path):
    """One count over both is exact. With a count on each, the gradient is the mean of two, as the docstring says."""
    found = on_two(both, tmp_path)
    loss = TrainerLoss(losskit.CrossEntropyLoss(), shift=True)
    whole, _ = step(causal(), sentences(), tmp_path, loss, of=6)
    each = [step(causal(), sentences()[number::2], tmp_path, loss, of=3)[0] for number in range(2)]
    of_means = (each[0] + each[1]) / 2
    assert (whole - of_means).norm() > 1e-2 * whole.norm()
    for average, wanted in ((True, whole), (False, of_means)):
        assert all((gradient[average] - wanted).norm() < 1e-12 * wanted.norm() for gradient in found)
