"""Losses in frameworks that run the loop, with the real packages: a short training is that of torch's own loss, and a step in pieces is a step in one."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from trainers import gloo, on_two, trainer

import losskit
from losskit.integrations.keras import KerasLoss
from losskit.integrations.transformers import TrainerLoss

pytestmark = pytest.mark.filterwarnings("ignore")
SIZES = (9, 2, 5)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def layer():
    torch.manual_seed(1)
    return nn.Linear(6, 4, dtype=torch.float64)


def pieces():
    """Uneven micro-batches, of which one has nothing that counts."""
    found = [(torch.randn(n, 6, dtype=torch.float64), torch.randint(0, 4, (n,))) for n in SIZES]
    found[2][1][:] = -100
    found[0][1][::3] = -100
    return found


def gradient_of_all(given):
    model = layer()
    losskit.cross_entropy(model(torch.cat([x for x, _ in given])), torch.cat([t for _, t in given])).backward()
    return model.weight.grad


def taken(model):
    """What a step of a rate of 1 took from the weight."""
    return (layer().weight - model.weight).detach()


def accelerated(step):
    """What three micro-batches took from the weight: a count over them, and what `accelerator.backward` divides by taken back."""
    accelerate, state = trainer("accelerate"), trainer("accelerate.state")
    state.AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=3)
    model = layer()
    prepared, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=1.0))
    count = sum((t != -100).sum() for _, t in step)
    for x, t in step:
        with accelerator.accumulate(prepared):
            loss = losskit.cross_entropy(prepared(x), t, normalizer=losskit.Ranks(count))
            accelerator.backward(accelerator.gradient_accumulation_steps * loss)
            optimizer.step()
            optimizer.zero_grad()
    state.AcceleratorState._reset_state(reset_partial_state=True)
    return taken(model)


def of_two():
    """Micro-batches for two ranks, of which the second has half as much to count."""
    torch.manual_seed(2)
    first, second = pieces(), pieces()
    second[0][1][1:] = -100
    return first, second


def test_accelerate():
    step = pieces()
    torch.testing.assert_close(accelerated(step), gradient_of_all(step), rtol=1e-12, atol=1e-14)


def of_rank(number, folder):
    return accelerated(of_two()[number])


@gloo
@pytest.mark.thorough
def test_accelerate_on_two(tmp_path):
    wanted = gradient_of_all([*of_two()[0], *of_two()[1]])
    for found in on_two(of_rank, tmp_path):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-14)


def fitted(lightning, model, data, **more):
    """A fit without files."""
    quiet = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, accelerator="cpu")
    fit = lightning.Trainer(max_epochs=1, **quiet, **more)
    fit.fit(model, torch.utils.data.DataLoader(data, batch_size=None))
    return fit


def test_lightning_accumulates():
    """The division by the number of batches taken into the constant; each batch by its own mean is something else."""
    lightning, step = trainer("lightning"), pieces()
    count = sum(int((t != -100).sum()) for _, t in step)

    class Model(lightning.LightningModule):
        def __init__(self, normalizer):
            super().__init__()
            self.layer, self.loss, self.normalizer = layer(), losskit.CrossEntropyLoss(), normalizer

        def training_step(self, batch, index):
            return self.loss(self.layer(batch[0]), batch[1], normalizer=self.normalizer)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=1.0)

    exact, means = Model(count / 3), Model(None)
    for model in (exact, means):
        fitted(lightning, model, step, accumulate_grad_batches=3)
    wanted = gradient_of_all(step)
    torch.testing.assert_close(taken(exact.layer), wanted, rtol=1e-12, atol=1e-14)
    assert (taken(means.layer) - wanted).norm() > 0.1 * wanted.norm()


def test_lightning_logs_parts():
    """Two steps; the parts add up to the loss that is trained, and hold no graph."""
    lightning = trainer("lightning")
    data = [(torch.randn(2, 3, 8, 8), torch.randint(0, 4, (2, 8, 8))) for _ in range(2)]

    class Model(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer, self.loss = nn.Conv2d(3, 4, 1), losskit.DiceCELoss(task="multiclass", return_parts=True)

        def training_step(self, batch, index):
            loss, parts = self.loss(self.layer(batch[0]), batch[1])
            assert not any(part.requires_grad for part in parts)
            self.log_dict({"loss": loss, **parts._asdict()})
            return loss

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    fit = fitted(lightning, model := Model(), data)
    assert fit.global_step == 2 and model.layer.weight.isfinite().all()
    logged = fit.callback_metrics
    torch.testing.assert_close(logged["dice"] + logged["ce"], logged["loss"])


ITEMS = [(torch.randn(6, generator=torch.Generator().manual_seed(i)), torch.tensor(i % 4)) for i in range(32)]
X, T = (torch.stack(column) for column in zip(*ITEMS, strict=True))


def test_skorch():
    """Settings and losses as for torch's class, which skorch knows; probabilities as told."""
    skorch = trainer("skorch")
    nets = []
    for criterion in (nn.CrossEntropyLoss, losskit.CrossEntropyLoss):
        torch.manual_seed(0)
        how = dict(criterion__label_smoothing=0.1, max_epochs=2, verbose=0, lr=0.1, train_split=None, predict_nonlinearity=lambda scores: scores.softmax(-1))
        nets.append(skorch.NeuralNetClassifier(nn.Linear(6, 4), criterion=criterion, **how).fit(X.numpy(), T.numpy()))
    theirs, ours = nets
    assert ours.history[:, "train_loss"] == pytest.approx(theirs.history[:, "train_loss"], rel=1e-6)
    np.testing.assert_allclose(ours.predict_proba(X.numpy()), theirs.predict_proba(X.numpy()), rtol=1e-5)
    np.testing.assert_allclose(ours.predict_proba(X.numpy()).sum(1), 1.0, rtol=1e-6)


def test_fastai():
    """A fit, predictions through `activation` and `decodes`, and losses of each item by `reduction`."""
    Learner, DataLoaders = trainer("fastai.learner").Learner, trainer("fastai.data.core").DataLoaders
    found = []
    for loss in (nn.CrossEntropyLoss(), losskit.CrossEntropyLoss()):
        torch.manual_seed(0)
        loss.activation, loss.decodes = (lambda scores: scores.softmax(-1)), (lambda scores: scores.argmax(-1))
        data = DataLoaders.from_dsets(ITEMS, ITEMS, bs=16, device="cpu", shuffle=False)
        learner = Learner(data, nn.Linear(6, 4), loss_func=loss, train_bn=False)
        learner.fit(2, 0.1)
        found.append((*learner.get_preds(with_loss=True, with_decoded=True), loss.reduction))
    (p, _, decoded, losses, _), (q, _, ours, each, reduction) = found
    torch.testing.assert_close(q, p)
    torch.testing.assert_close(each, losses)
    assert torch.equal(ours, decoded) and each.shape == (32,) and reduction == "mean"


@pytest.fixture
def keras(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    return trainer("keras")


def test_keras(keras):
    """A fit with weighed samples is that of Keras' own loss; so are evaluations of labels (N, 1), of one score, and of a regression."""
    weights, histories = np.random.default_rng(0).random(32), []
    for loss in (keras.losses.SparseCategoricalCrossentropy(from_logits=True), KerasLoss(losskit.CrossEntropyLoss(dim=-1))):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.layers.Input((6,)), keras.layers.Dense(4)])
        model.compile(optimizer="sgd", loss=loss)
        histories.append(model.fit(X.numpy(), T.numpy(), sample_weight=weights, epochs=2, verbose=0, shuffle=False).history["loss"])
        histories[-1].append(model.evaluate(X.numpy(), T.numpy()[:, None], verbose=0))
    assert histories[1] == pytest.approx(histories[0], rel=1e-5)
    model = keras.Sequential([keras.layers.Input((6,)), keras.layers.Dense(1)])
    for theirs, ours in (
        (keras.losses.BinaryCrossentropy(from_logits=True), losskit.BCEWithLogitsLoss()),
        (keras.losses.Huber(delta=0.7), losskit.HuberLoss(delta=0.7)),
    ):
        values = []
        for loss in (theirs, KerasLoss(ours)):
            model.compile(optimizer="sgd", loss=loss)
            values.append(model.evaluate(X.numpy(), (T.numpy() > 1).astype("float32"), verbose=0))
        assert values[1] == pytest.approx(values[0], rel=1e-5)


def test_keras_calls_as_recorded(keras):
    """Pictures with their classes last; Dice of each sample; labels that are none."""
    x, t = torch.randn(2, 5, 6, 3), torch.randint(0, 3, (2, 5, 6))
    each = KerasLoss(losskit.FocalLoss(task="multiclass", dim=-1))(t.float(), x)
    assert torch.equal(each, losskit.focal_loss(x, t, task="multiclass", dim=-1, reduction="none"))
    dice = KerasLoss(losskit.DiceLoss(task="multiclass", dim=-1, average="none"))(t.float(), x)
    assert torch.equal(dice, losskit.dice_loss(x, t, task="multiclass", dim=-1, average="none")) and dice.shape == (2, 3)
    one_hot = F.one_hot(t, 3).float()
    assert torch.equal(KerasLoss(losskit.CrossEntropyLoss(dim=-1))(one_hot, x), losskit.cross_entropy(x, one_hot, dim=-1, reduction="none"))
    with pytest.raises(ValueError, match="no whole numbers"):
        KerasLoss(losskit.CrossEntropyLoss(dim=-1))(t + 0.5, x)


def test_trl(tmp_path):
    """A step of uneven micro-batches takes from the parameters what TRL's own loss takes."""
    trl, transformers, datasets, tokenizers = (trainer(name) for name in ("trl", "transformers", "datasets", "tokenizers"))
    rows = [{"input_ids": list(range(1, n)), "labels": [-100, *range(2, n)]} for n in (4, 20, 3, 9)]
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"end": 0}))
    words = transformers.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="end", eos_token="end")
    found = []
    for loss in (None, TrainerLoss(losskit.CrossEntropyLoss(), shift=True)):
        torch.manual_seed(0)
        sizes = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, vocab_size=30, bos_token_id=None, eos_token_id=None)
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes))
        before = torch.cat([p.detach().flatten() for p in model.parameters()])
        arguments = trl.SFTConfig(
            str(tmp_path), max_steps=1, save_strategy="no", use_cpu=True, bf16=False, gradient_checkpointing=False, report_to=[], learning_rate=1.0, optim="sgd",
            per_device_train_batch_size=1, gradient_accumulation_steps=4, lr_scheduler_type="constant", max_grad_norm=0.0, disable_tqdm=True,
        )  # fmt: skip
        data = datasets.Dataset.from_list(rows)
        trl.SFTTrainer(model, arguments, train_dataset=data, processing_class=words, compute_loss_func=loss).train()
        found.append(before - torch.cat([p.detach().flatten() for p in model.parameters()]))
    theirs, ours = found
    assert (ours - theirs).norm() < 1e-5 * theirs.norm()
